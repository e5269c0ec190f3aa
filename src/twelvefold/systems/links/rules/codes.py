"""Codes: a counter through a keyed permutation, or a hash; and which aliases may be used.

Invariant: two counters never give the same code, since the permutation is a bijection of
[0, radix^7); without the key the next code cannot be guessed from the last. The permutation is a
Feistel network over two unequal halves with addition instead of xor, so that it fits the space
exactly and no value has to be walked again (Black and Rogaway, "Ciphers with Arbitrary Finite
Domains", 2002). It hides the order, it is no promise of secrecy: that is what passwords are for.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from twelvefold.systems.links.contracts import AliasRefusedError

LENGTH = 7
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
ROUNDS = 8

RESERVED = frozenset(
    """
    about account admin api app apps assets auth blog bulk callback console contact dashboard data
    docs domains download export favicon.ico files healthz help home humans.txt ids import index.html
    internal legal links live login logout manifest.json metrics new null oauth openapi.json
    privacy public qr raw readyz register report reports robots.txt root schema security.txt
    session settings setup share sitemap.xml signin signup static stats status support system tenants terms
    undefined upload user users v1 v2 well-known .well-known www yourls-api.php connection
    """.split()
)
"""Compared without case: addresses that the platform, browsers or crawlers expect at the root."""

_ALIAS = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z._~-]*[0-9A-Za-z_~-])?")
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


class CodeSpace:
    """The codes of seven characters over one alphabet, in an order that only the key knows.

    Args:
        alphabet: 62 characters, or 36 for domains that ignore case.
        key: at least 16 secret bytes; the same key gives the same order for ever.
    """

    def __init__(self, alphabet: str, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("the code key needs at least 16 bytes")
        radix = len(alphabet)
        self.size = radix**LENGTH
        self._left = np.uint64(radix**4)
        self._right = np.uint64(radix**3)
        self._radix = np.uint64(radix)
        self._letters = np.frombuffer(alphabet.encode(), dtype=np.uint8)
        digest = hashlib.blake2b(
            alphabet.encode(), key=key[:64], digest_size=ROUNDS * 8, person=b"links.codes"
        ).digest()
        self._round_keys = np.frombuffer(digest, dtype="<u8").astype(np.uint64)

    def codes(self, first: int, count: int) -> list[str]:
        """The codes of the counters `first` to `first + count - 1`."""
        if first < 0 or first + count > self.size:
            raise OverflowError(f"the space of {self.size} codes is used up")
        places = self._permute(np.arange(first, first + count, dtype=np.uint64))
        letters = np.empty((count, LENGTH), dtype=np.uint8)
        for position in range(LENGTH - 1, -1, -1):
            places, digit = np.divmod(places, self._radix)
            letters[:, position] = self._letters[digit]
        text = letters.tobytes().decode("ascii")
        return [text[start : start + LENGTH] for start in range(0, len(text), LENGTH)]

    def _permute(self, counters: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = np.divmod(counters, self._right)
        for index, key in enumerate(self._round_keys):
            if index % 2 == 0:
                left = (left + _mix(right, key)) % self._left
            else:
                right = (right + _mix(left, key)) % self._right
        return left * self._right + right


def _mix(half: NDArray[np.uint64], key: np.uint64) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea and Flood, 2014) over the keyed half; it wraps at 2^64."""
    mixed = half ^ key
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
    result: NDArray[np.uint64] = (mixed ^ (mixed >> np.uint64(31))) >> np.uint64(8)
    return result


def hash_codes(url: str, alphabet: str = BASE62) -> Iterator[str]:
    """Candidates for a URL in hash mode: the same URL gives the same ones; take the next on a collision."""
    number = int.from_bytes(hashlib.sha256(url.encode()).digest(), "big")
    text = ""
    while number:
        number, digit = divmod(number, len(alphabet))
        text += alphabet[digit]
    for start in range(len(text) - LENGTH + 1):
        yield text[start : start + LENGTH]


def is_reserved(code: str) -> bool:
    """Whether the platform, browsers or crawlers expect something else at this address."""
    return code.lower() in RESERVED


def checked_alias(alias: str) -> str:
    """An alias as it will be stored. Raises `AliasRefusedError` naming the character or word at fault.

    Only ASCII letters, digits, `.`, `_`, `~` and `-` are taken: look-alikes from other scripts would let
    two aliases look the same.
    """
    if is_reserved(alias):
        raise AliasRefusedError(f"'{alias}' is a reserved word", field="alias", hint="choose another alias")
    if _ALIAS.fullmatch(alias):
        return alias
    bad = next((letter for letter in alias if not re.fullmatch(r"[0-9A-Za-z._~-]", letter)), None)
    if bad is None:
        raise AliasRefusedError(
            "an alias begins with a letter or digit and does not end with a dot", field="alias"
        )
    name = unicodedata.name(bad, f"U+{ord(bad):04X}").lower()
    raise AliasRefusedError(
        f"an alias cannot have {name}", field="alias", hint="use letters, digits, '.', '_', '~' and '-'"
    )


def folded(code: str, *, ignore_case: bool) -> str:
    """The form of a code that must be unique on its domain."""
    return code.lower() if ignore_case else code
