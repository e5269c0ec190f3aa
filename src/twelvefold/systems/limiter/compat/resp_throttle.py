"""`CL.THROTTLE key max_burst count period [quantity]`, as redis-cell has it: what it asks, and its five integers.

A client repeats its numbers and changes its key, so what the numbers mean is looked up by their bytes. The
commonest form of the command (capital letters, no quantity, a short key) is read straight out of a read's
bytes by `Throttles.run`; whatever is not exactly that is left to the general parser, which means the same by it.
"""

import math
import re
from collections.abc import Sequence
from typing import Final

from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.limiter.contracts import (
    MAX_LIMIT,
    MAX_PERIOD_SECONDS,
    Decision,
    Failure,
    Mode,
    Outcome,
    Rule,
)
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.rules.keys import LONGEST_PLAIN, encode_bytes

_SECOND_US: Final = 1_000_000
_MAX_MEMO: Final = 8192
_USAGE: Final = b"-ERR CL.THROTTLE key max_burst count_per_period period [quantity]\r\n"
_RANGES: Final = (
    ("max_burst", 0, MAX_LIMIT - 1),
    ("count_per_period", 1, MAX_LIMIT),
    ("period", 1, MAX_PERIOD_SECONDS),
    ("quantity", 0, MAX_LIMIT),
)

HEAD: Final = b"*5\r\n$11\r\nCL.THROTTLE\r\n$"
_HEAD_SIZE: Final = len(HEAD)
SIZES: Final = {b"%d" % size: size for size in range(1, LONGEST_PLAIN)}
"""Of keys that stand for themselves; a longer one is hashed, by the general parser."""
_TAIL: Final = re.compile(
    rb"\r\n\$([0-9]{1,2})\r\n([0-9]{1,18})\r\n\$([0-9]{1,2})\r\n([0-9]{1,18})\r\n\$([0-9]{1,2})\r\n([0-9]{1,18})\r\n"
)
_REPLIES: dict[tuple[int, int, int], bytes] = {}
_FIRST_REPLIES: Final = 4096


class Throttles:
    """The rules that commands bring with them: `cl`, by tenant and numbers."""

    def __init__(self, *, mode: Mode, failure: Failure) -> None:
        self.mode: Mode = mode
        self._failure: Failure = failure
        self._bounds: dict[tuple[TenantId, bytes, bytes, bytes], Bound] = {}
        self._tails: dict[tuple[TenantId, bytes], Bound] = {}
        self._last: tuple[TenantId, bytes, Bound | None] = (TenantId(0), b"", None)
        self._shape: tuple[TenantId, bytes, bytes, int, int, int] = (TenantId(0), b"", b"", 0, 0, -1)
        self.single_bound: Bound | None = None

    def read(self, tenant: TenantId, command: Sequence[bytes]) -> tuple[Bound, bytes, int] | bytes:
        """Rule, encoded key and cost of a whole command; or what is wrong with it, as a reply."""
        count = len(command)
        if not 5 <= count <= 6:
            return _USAGE
        bound = self.bound(tenant, command[2], command[3], command[4])
        cost = 1 if count == 5 else _whole(command[5])
        if bound is None or cost < 0 or cost > MAX_LIMIT:
            return _refused(command[2:])
        try:
            return bound, encode_bytes(command[1]), cost
        except TwelvefoldError as error:
            return f"-ERR {error.message}\r\n".encode()

    def run(self, tenant: TenantId, data: bytes, at: int) -> tuple[Bound, list[bytes], int] | None:
        """The plain commands with the same numbers that stand at `at`: their rule, their keys, where they end.

        None where no whole plain command stands there.
        """
        keys: list[bytes] = []
        known, tail, bound = self._last
        while data.startswith(HEAD, at):
            start = at + _HEAD_SIZE
            cut = data.find(b"\r\n", start, start + 4)
            size = SIZES.get(data[start:cut])
            if cut < 0 or size is None:
                break
            behind = cut + 2 + size
            if bound is None or known != tenant or not data.startswith(tail, behind):
                if keys or not self._learn(tenant, data, behind):
                    break
                known, tail, bound = self._last
            keys.append(b"=" + data[cut + 2 : behind])
            at = behind + len(tail)
        if not keys or bound is None:
            return None
        if len(keys) == 1 and at == len(data):
            self._shape = (tenant, data[:cut] + b"\r\n", tail, cut + 2, behind, at)
            self.single_bound = bound
        return bound, keys, at

    def single(self, tenant: TenantId, data: bytes) -> bytes | None:
        """The key, where a read is one plain command like the last one that `run` took alone, and nothing else.

        Like it means: of the same numbers, with a key as long; so its bytes differ in nothing but the key. It is
        what a client sends that waits for each answer, and its rule is `single_bound`.
        """
        known, head, tail, start, end, size = self._shape
        if len(data) == size and known == tenant and data.startswith(head) and data.endswith(tail):
            return b"=" + data[start:end]
        return None

    def _learn(self, tenant: TenantId, data: bytes, at: int) -> bool:
        """Read the numbers behind a key; False where they are not all there, or not plain, or no rule's."""
        found = _TAIL.match(data, at)
        if found is None:
            return False
        tail = found.group()
        bound = self._tails.get((tenant, tail))
        if bound is None:
            sizes, numbers = found.groups()[::2], found.groups()[1::2]
            if any(int(size) != len(number) for size, number in zip(sizes, numbers, strict=True)):
                return False
            bound = self.bound(tenant, *numbers)
            if bound is None:
                return False
            if len(self._tails) >= _MAX_MEMO:
                self._tails.clear()
            self._tails[tenant, tail] = bound
        self._last = (tenant, tail, bound)
        return True

    def bound(self, tenant: TenantId, burst: bytes, count: bytes, period: bytes) -> Bound | None:
        """The rule of a command's numbers; None where they are none, or out of range."""
        name = (tenant, burst, count, period)
        found = self._bounds.get(name)
        if found is None:
            numbers = [_whole(text) for text in (burst, count, period)]
            if not (0 <= numbers[0] < MAX_LIMIT and 1 <= numbers[1] <= MAX_LIMIT):
                return None
            if not 1 <= numbers[2] <= MAX_PERIOD_SECONDS:
                return None
            try:
                found = Bound(
                    tenant,
                    Rule(
                        name="cl",
                        limit=numbers[1],
                        burst=numbers[0] + 1,
                        period_seconds=numbers[2],
                        mode=self.mode,
                        failure=self._failure,
                    ),
                )
            except TwelvefoldError:
                return None
            if len(self._bounds) >= _MAX_MEMO:
                self._bounds.clear()
            self._bounds[name] = found
        return found


def throttle_reply(outcome: Outcome | Decision, limit: int) -> bytes:
    """Five integers: limited, limit, remaining, seconds to wait (-1: none), seconds until all is there."""
    if type(outcome) is Outcome:
        reset = -(-outcome.reset_us // _SECOND_US)
        if outcome.allowed:
            numbers = (limit, outcome.remaining, reset)
            reply = _REPLIES.get(numbers)
            if reply is None:
                reply = b"*5\r\n:0\r\n:%d\r\n:%d\r\n:-1\r\n:%d\r\n" % numbers
                if len(_REPLIES) < _FIRST_REPLIES:
                    _REPLIES[numbers] = reply
            return reply
        wait = -1 if outcome.retry_us < 0 else max(1, -(-outcome.retry_us // _SECOND_US))
        return b"*5\r\n:1\r\n:%d\r\n:%d\r\n:%d\r\n:%d\r\n" % (limit, outcome.remaining, wait, reset)
    assert isinstance(outcome, Decision)
    wait = -1
    if not outcome.allowed and outcome.retry_after_seconds is not None:
        wait = max(1, math.ceil(outcome.retry_after_seconds))
    return b"*5\r\n:%d\r\n:%d\r\n:%d\r\n:%d\r\n:%d\r\n" % (
        0 if outcome.allowed else 1,
        limit,
        outcome.remaining,
        wait,
        math.ceil(outcome.reset_seconds),
    )


def _refused(given: Sequence[bytes]) -> bytes:
    """Which of a command's numbers cannot be, and what can."""
    for text, (name, least, most) in zip(given, _RANGES, strict=False):
        if not least <= _whole(text) <= most:
            return f"-ERR {name} is a whole number from {least} to {most}\r\n".encode()
    return b"-ERR a bucket fills within ten years: take a smaller max_burst or a larger count_per_period\r\n"


def _whole(text: bytes) -> int:
    """A whole number of at most 18 digits; -1 for anything else."""
    return int(text) if len(text) <= 18 and text.isdigit() else -1
