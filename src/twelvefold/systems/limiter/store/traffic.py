"""Counts of all processes in Valkey: a rule's decisions by step of time, who was refused, recorded traffic.

Everything here ends by itself: series after two hours, offenders after two, recordings after one, and a
recording keeps at most `MAX_BATCHES` batches. Losing some of it harms nobody.
"""

import asyncio
import zlib
from collections import defaultdict
from typing import Any, Final

import msgspec

from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.limiter.contracts import Offender, TrafficPoint
from twelvefold.systems.limiter.service.tally import Tally

STEP_SECONDS: Final = 5
_SERIES_SECONDS: Final = 7200
_MINUTE_MS: Final = 60_000
_TOP_KEPT: Final = 200
MAX_BATCHES: Final = 1200
_RECORD_SECONDS: Final = 3600
_MAX_BATCH_BYTES: Final = 4_000_000

Event = tuple[int, str, int, bool]
"""Microsecond, key, cost, whether it was refused."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Event]).decode


class TrafficStore:
    """Adds counts, and reads them."""

    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey

    async def add(self, tally: Tally, now_ms: int) -> None:
        """Hand over what a process counted; what cannot be handed over is dropped."""
        counts, denied, recorded = tally.take()
        step = now_ms // (STEP_SECONDS * 1000)
        for (tenant, rule), (allowed, refused) in counts.items():
            key = f"l:{{{tenant}}}n:{step}"
            for field, count in ((f"a:{rule}", allowed), (f"d:{rule}", refused)):
                if count:
                    await self._valkey.call("HINCRBY", key, field, count)
            await self._valkey.call("EXPIRE", key, _SERIES_SECONDS)
        by_tenant: dict[TenantId, list[tuple[str, int]]] = defaultdict(list)
        for (tenant, rule, key), count in denied.items():
            by_tenant[tenant].append((f"{rule}\n{key}", count))
        for tenant, entries in by_tenant.items():
            entries.sort(key=lambda entry: entry[1], reverse=True)
            name = _top_key(tenant, now_ms)
            for member, count in entries[:_TOP_KEPT]:
                await self._valkey.call("ZINCRBY", name, count, member)
            await self._valkey.call("ZREMRANGEBYRANK", name, 0, -10 * _TOP_KEPT - 1)
            await self._valkey.call("EXPIRE", name, _SERIES_SECONDS)
        for (tenant, rule), events in recorded.items():
            name = f"l:{{{tenant}}}r:{rule}"
            await self._valkey.call(
                "XADD", name, "MAXLEN", MAX_BATCHES, "*", "z", zlib.compress(_encode(events), 1)
            )
            await self._valkey.call("EXPIRE", name, _RECORD_SECONDS)

    async def series(
        self, tenant: TenantId, *, rule: str | None, minutes: int, now_ms: int
    ) -> list[TrafficPoint]:
        """Decisions of the last minutes, of one rule or of all, in steps of five seconds."""
        last = now_ms // (STEP_SECONDS * 1000)
        first = last - minutes * 60 // STEP_SECONDS + 1
        points = []
        steps = range(first, last + 1)
        # Asked together: one after the other an hour would be 720 round trips.
        answers = await asyncio.gather(
            *(self._valkey.call("HGETALL", f"l:{{{tenant}}}n:{step}") for step in steps)
        )
        for step, found in zip(steps, answers, strict=True):
            totals = {b"a": 0, b"d": 0}
            pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
            for field, count in pairs:
                kind, _, name = field.partition(b":")
                if rule is None or name.decode() == rule:
                    totals[kind] += int(count)
            points.append(
                TrafficPoint(at_ms=step * STEP_SECONDS * 1000, allowed=totals[b"a"], denied=totals[b"d"])
            )
        return points

    async def top(self, tenant: TenantId, *, minutes: int, limit: int, now_ms: int) -> list[Offender]:
        """Who was refused most in the last minutes."""
        totals: dict[str, float] = defaultdict(float)
        for number in range(minutes):
            found = await self._valkey.call(
                "ZRANGE", _top_key(tenant, now_ms - number * _MINUTE_MS), 0, 4 * limit, "REV", "WITHSCORES"
            )
            for member, score in _scored(found):
                totals[member] += score
        ranked = sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:limit]
        return [_offender(member, score) for member, score in ranked]

    async def persistent(
        self, tenant: TenantId, *, denials: int, minutes: int, now_ms: int
    ) -> list[Offender]:
        """Who was refused at least so often in each of the last whole minutes."""
        steady: dict[str, float] | None = None
        for number in range(1, minutes + 1):
            found = await self._valkey.call(
                "ZRANGE", _top_key(tenant, now_ms - number * _MINUTE_MS), "+inf", denials, "BYSCORE", "REV",
                "LIMIT", 0, 1000, "WITHSCORES",
            )  # fmt: skip
            minute = dict(_scored(found))
            if steady is None:
                steady = minute
            else:
                steady = {
                    member: steady[member] + score for member, score in minute.items() if member in steady
                }
        return [_offender(member, score) for member, score in sorted((steady or {}).items())]

    async def first_to_say(self, tenant: TenantId, offender: Offender, seconds: int) -> bool:
        """Whether nobody has told of this key in the last `seconds`."""
        name = _alert_key(tenant, offender)
        return await self._valkey.call("SET", name, 1, "NX", "EX", seconds) is not None

    async def unsaid(self, tenant: TenantId, offender: Offender) -> None:
        """Telling of this key has failed."""
        await self._valkey.call("UNLINK", _alert_key(tenant, offender))

    async def recording(self, tenant: TenantId, rule: str, *, max_events: int) -> list[Event]:
        """The newest recorded events of a rule, oldest first."""
        batches = await self._valkey.call(
            "XREVRANGE", f"l:{{{tenant}}}r:{rule}", "+", "-", "COUNT", MAX_BATCHES
        )
        events: list[Event] = []
        for _, fields in batches:
            inflate = zlib.decompressobj()
            events += _decode(inflate.decompress(fields[1], _MAX_BATCH_BYTES))
            if len(events) >= max_events:
                break
        events.sort(key=lambda event: event[0])
        return events[-max_events:]


def _top_key(tenant: TenantId, at_ms: int) -> str:
    return f"l:{{{tenant}}}t:{at_ms // _MINUTE_MS}"


def _alert_key(tenant: TenantId, offender: Offender) -> str:
    return f"l:{{{tenant}}}alert:{offender.rule}:{offender.key}"


def _scored(found: list[Any]) -> list[tuple[str, float]]:
    """RESP3 gives pairs, RESP2 a flat list."""
    pairs = found if found and isinstance(found[0], list) else zip(found[::2], found[1::2], strict=True)
    return [(member.decode(), float(score)) for member, score in pairs]


def _offender(member: str, score: float) -> Offender:
    rule, _, key = member.partition("\n")
    return Offender(rule=rule, key=key, denied=int(score))
