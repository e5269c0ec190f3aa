"""A NUL in a body is told by the field that has it."""

import pytest

from twelvefold.kernel.errors import InvalidInputError, MalformedRequestError
from twelvefold.web.api import check_json


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"text":"\\u0000"}', "text"),
        (b'{"a":{"b":["x","y\\u0000"]}}', "a.b[1]"),
        (b'{"\\u0000":1}', None),
        (b'"\\u0000"', None),
    ],
)
def test_a_nul_is_told_by_its_field(body, field):
    with pytest.raises(InvalidInputError) as refused:
        check_json(body)
    assert refused.value.field == field


def test_a_nul_in_the_depth_is_refused_whether_its_field_can_be_found_or_not():
    for levels in (10, 500, 950):
        with pytest.raises((InvalidInputError, MalformedRequestError)):
            check_json(b"[" * levels + b'"\\u0000"' + b"]" * levels)
