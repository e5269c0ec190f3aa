"""Leases and permits in Valkey: slices of a limit that nodes hold, and places that end by themselves."""

import asyncio
import time
from typing import Any, Final

import msgspec

from twelvefold.engines.valkey import Script, Valkey
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.store.scripts import source

CALL_SECONDS: Final = 0.015
ACT_SECONDS: Final = 1.0
_encode = msgspec.msgpack.Encoder().encode


class Grant(msgspec.Struct, frozen=True, gc=False):
    """What a node was given. Times in microseconds; `fence` proves which grant is meant."""

    now_us: int
    fence: int
    granted: int
    ttl_us: int
    remaining: int
    reset_us: int
    retry_us: int
    outstanding: int
    kept: int


class LeaseStore:
    """Leases of one Valkey. `holder` names this node; it must be new in every process."""

    def __init__(self, valkey: Valkey, holder: str, *, call_seconds: float = CALL_SECONDS) -> None:
        self._valkey = valkey
        self._holder = holder
        self._call_seconds = call_seconds
        self._scripts: dict[int, Script] = {}

    @property
    def connected(self) -> bool:
        """Whether leases can be asked for."""
        return self._valkey.connected

    async def lease(
        self,
        bound: Bound,
        key: bytes,
        *,
        fence: int,
        unused: int,
        need: int,
        want: int,
        ttl_us: int,
        debt: int = 0,
        keeps: bool = False,
    ) -> Grant:
        """Take the next slice, and keep or give back the `unused` rest of the last.

        Raises `TimeoutError` or `EngineUnavailableError` when nobody answers.
        """
        now_us = time.time_ns() // 1000
        previous = [earlier for earlier, until_ms in bound.previous if until_ms * 1000 > now_us]
        keys = [
            bound.prefix + key,
            bound.prefix + key + b"~",
            *(earlier.prefix + key for earlier in previous),
        ]
        script = self._scripts.get(len(keys))
        if script is None:
            script = self._scripts[len(keys)] = self._valkey.script(source("lease"), keys=len(keys))
        assert bound.plan is not None
        definitions = [bound.definition(now_us), *(earlier.definition(now_us) for earlier in previous)]
        job = (
            definitions,
            self._holder,
            fence,
            unused,
            need,
            want,
            ttl_us,
            debt,
            bound.plan.time_to_full,
            int(keeps),
        )
        async with asyncio.timeout(self._call_seconds):
            reply: list[int] = await script.send(keys, (_encode(job),))
        return Grant(*reply)

    async def outstanding(self, bound: Bound, key: bytes) -> dict[str, int]:
        """Units that nodes hold now, by holder: the bound of what can be admitted beyond the limit."""
        held: dict[bytes, bytes] | list[Any] = await self._valkey.call("HGETALL", bound.prefix + key + b"~")
        pairs = held.items() if isinstance(held, dict) else zip(held[::2], held[1::2], strict=True)
        now_us = time.time_ns() // 1000
        found = {}
        for holder, text in pairs:
            _, units, expiry, _ = text.split(b":")
            if int(expiry) > now_us:
                found[holder.decode()] = int(units)
        return found


class PermitStore:
    """Places of concurrency rules."""

    def __init__(self, valkey: Valkey, *, call_seconds: float = CALL_SECONDS) -> None:
        self._script = valkey.script(source("permit"), keys=1)
        self._call_seconds = call_seconds

    async def call(self, verb: str, bound: Bound, key: bytes, permit_id: str) -> tuple[int, bool, int, int]:
        """`take`, `renew`, `free` or `look`: now, whether it was done, places in use, and the wait for one."""
        assert bound.plan is not None
        # Somebody's request waits for a place; keeping and leaving one may take its time, and fails only if it must.
        async with asyncio.timeout(self._call_seconds if verb == "take" else ACT_SECONDS):
            now_us, granted, count, wait_us = await self._script.send(
                [bound.prefix + key + b"@"], (verb, permit_id, bound.plan.limit, bound.plan.period)
            )
        return now_us, bool(granted), count, wait_us
