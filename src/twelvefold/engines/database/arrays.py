"""Arrays of numbers as PostgreSQL reads them from text.

The driver looks at each element of a list three times; one join is a tenth of that, so statements that
take columns of thousands of numbers cast a text: `unnest($1::text::bigint[])`.
"""

from collections.abc import Iterable


def number_array(values: Iterable[int]) -> str:
    """Numbers or flags as an array literal."""
    return f"{{{','.join(map(str, values))}}}"
