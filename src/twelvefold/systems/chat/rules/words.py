"""Text as search knows it: the same letters whatever keyboard they came from, and emoji as words.

PostgreSQL's parser takes an emoji for punctuation and `e` with a combining accent for two things. Invariant: texts
and queries go through the same function, and what makes a query (quotes, `-`, `*`, `or`) comes out as it went in.
"""

import re
import unicodedata

_FIRST_LONE = 0x1F000
"""From here to the end of the emoji every character is one, also those that this Python does not know yet."""
_LAST_LONE = 0x1FAFF
_TONES = range(0x1F3FB, 0x1F400)
_MAYBE = re.compile("[^\x00-\u00a8\u00ab-\u1fff\u3400-\ud7ff]")
"""Where there is none of these, there is no emoji."""


def searchable(text: str) -> str:
    """`text` for `to_tsvector` or `websearch_to_tsquery`; 👍 in any tone of skin is one word."""
    text = unicodedata.normalize("NFKC", text)
    if _MAYBE.search(text) is None:
        return text
    made: list[str] = []
    for character in text:
        point = ord(character)
        if (
            point in _TONES or character in "\u200d\ufe0f"
        ):  # a tone; what joins several to one; "as a picture"
            continue
        if _FIRST_LONE <= point <= _LAST_LONE or (point > 0xA8 and unicodedata.category(character) == "So"):
            between = "" if not made or made[-1][-1] in ' -"' else " "
            made.append(f"{between}emoji{point:x} ")
        else:
            made.append(character)
    return "".join(made)
