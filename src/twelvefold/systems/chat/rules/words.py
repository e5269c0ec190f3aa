"""Text as search knows it: the same letters whatever keyboard they came from, and emoji as words.

PostgreSQL's parser takes an emoji for punctuation and `e` with a combining accent for two things. Invariant: texts
and queries go through the same function, and what makes a query (quotes, `-`, `*`, `or`) comes out as it went in.
"""

import re
import unicodedata

_EMOJI = range(0x1F000, 0x1FB00)
"""Every character here is one, also those that this Python does not know yet; there are others among the symbols."""
_UNHEARD = frozenset(map(chr, range(0x1F3FB, 0x1F400))) | {"\u200d", "\ufe0f"}
"""Tones of skin; what joins several emoji to one; "as a picture"."""
_MAYBE = re.compile("[^\x00-\u00a8\u00ab-\u1fff\u3400-\ud7ff]")
"""Where there is none of these, there is no emoji."""


def searchable(text: str) -> str:
    """`text` for `to_tsvector` or `websearch_to_tsquery`; 👍 in any tone of skin is one word."""
    text = unicodedata.normalize("NFKC", text)
    if _MAYBE.search(text) is None:
        return text
    made: list[str] = []
    for character in text:
        if character in _UNHEARD:
            continue
        point = ord(character)
        if point in _EMOJI or (point > 0xA8 and unicodedata.category(character) == "So"):
            between = "" if not made or made[-1][-1] in ' -"' else " "
            made.append(f"{between}emoji{point:x} ")
        else:
            made.append(character)
    return "".join(made)
