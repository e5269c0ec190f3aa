"""`POST /v1/limiter/check` between the socket's read and its write.

The head of a keep-alive connection repeats, so who it belongs to is believed for a second; only the body is
new. Whatever is not a plain, sound check (a batch, an unknown rule, bad JSON) takes the ordinary path,
which words the error.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.kernel.tenancy import Principal
from twelvefold.systems.limiter.contracts import Verdict
from twelvefold.systems.limiter.routes.answers import single_hits, whole_response
from twelvefold.systems.limiter.routes.forms import CheckRequest
from twelvefold.systems.limiter.rules.headers import Reset
from twelvefold.systems.limiter.service.limiter import Limiter
from twelvefold.web.guard import Gate, Guard
from twelvefold.web.proxies import client_of

log = structlog.get_logger("limiter")

Done = Callable[[bytes | None], None]
_BELIEVED_SECONDS: Final = 1.0
_MAX_HEADS: Final = 10_000
_IDENTIFY_SECONDS: Final = 5.0
_decode = msgspec.json.Decoder(CheckRequest).decode


class CheckLane:
    """A `web.fast_lane.BodyLane`; `gate` and `trusted_proxies` as in `web.application.Application`."""

    def __init__(
        self,
        limiter: Limiter,
        guard: Guard | None,
        *,
        reset: Reset,
        gate: Gate | None = None,
        trusted_proxies: int = 0,
    ) -> None:
        self._limiter = limiter
        self._guard = guard
        self._gate = gate
        self._trusted_proxies = trusted_proxies
        self._reset: Reset = reset
        self._known: dict[bytes, tuple[float, Principal]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.answered = 0

    def answer(self, head: bytes, body: bytes, client: str, /) -> bytes | None:
        """Nothing without asking, since asking debits."""
        del head, body, client
        return None

    def start(self, head: bytes, body: bytes, client: str, done: Done, /) -> bool:
        """See `BodyLane.start`."""
        known = self._known.get(head)
        if known is not None and known[0] > time.monotonic():
            return self._check(known[1], body, done)
        if self._guard is None or b"\r\ncookie:" in head.lower():
            return False
        task = asyncio.create_task(self._identify(head, body, client, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def _check(self, principal: Principal, body: bytes, done: Done) -> bool:
        try:
            data = _decode(body)
            if data.batch is not None or not principal.may("limiter:write"):
                return False
            asked = self._limiter.resolve(principal.tenant_id, single_hits(data))
        except (TwelvefoldError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        several = data.checks is not None

        def made(verdict: Verdict) -> None:
            self.answered += 1
            done(whole_response(verdict, several=several, reset=self._reset))

        verdict = self._limiter.ask(principal.tenant_id, asked, made)
        if verdict is not None:
            made(verdict)
        return True

    async def _identify(self, head: bytes, body: bytes, peer: str, done: Done) -> None:
        try:
            assert self._guard is not None
            scope = {"headers": _headers(head), "method": "POST", "client": (peer, 0) if peer else None}
            client = client_of(scope, self._trusted_proxies)
            # A wrong key is counted by the ordinary path, which meets it next.
            if self._gate is not None and self._gate.barred(client) is not None:
                done(None)
                return
            async with asyncio.timeout(_IDENTIFY_SECONDS):
                principal = await self._guard.identify(scope)
        except Exception as error:  # noqa: BLE001 - the ordinary path will meet the same trouble and word it
            log.debug("limiter.lane.unidentified", reason=str(error))
            principal = None
        if principal is None or not _is_json(head):
            done(None)
            return
        if len(self._known) >= _MAX_HEADS:
            self._known.clear()
        self._known[head] = (time.monotonic() + _BELIEVED_SECONDS, principal)
        if not self._check(principal, body, done):
            done(None)


def _headers(head: bytes) -> list[tuple[bytes, bytes]]:
    lines = head.split(b"\r\n")[1:-2]
    return [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]


def _is_json(head: bytes) -> bool:
    for name, value in _headers(head):
        if name == b"content-type":
            kind = value.partition(b";")[0].strip().lower()
            return kind == b"application/json" or kind.endswith(b"+json")
    return True


__all__: list[Any] = ["CheckLane"]
