"""`envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit` over the limiter.

Envoy repeats its questions, so what a question's bytes mean (rules, keys, the fixed part of the answer) is
remembered until the configuration changes. All descriptors of a request are debited together or not at
all; each unmatched one is OK. A call is answered well within Envoy's own 20 ms.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.limiter.compat.callers import Callers
from twelvefold.systems.limiter.compat.grpc.frames import Stream
from twelvefold.systems.limiter.compat.grpc.http2 import Http2Connection
from twelvefold.systems.limiter.compat.grpc.messages import (
    OK,
    OVER_LIMIT,
    Descriptor,
    MalformedMessageError,
    RateLimitRequest,
    limit_field,
    response,
    status,
)
from twelvefold.systems.limiter.contracts import (
    MAX_LIMIT,
    UNLIMITED_REMAINING,
    Decision,
    Failure,
    Mode,
    Rule,
    TooManyFailuresError,
    Verdict,
)
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.rules.envoy import UNIT_SECONDS, EnvoyDomain, EnvoyLimit, Node
from twelvefold.systems.limiter.rules.headers import header_fields
from twelvefold.systems.limiter.rules.keys import client_network, encode_key
from twelvefold.systems.limiter.service.limiter import Limiter

PATH: Final = b"/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
HEALTH: Final = b"/grpc.health.v1.Health/Check"
MAX_CONNECTIONS: Final = 2_000
_MAX_MEMO: Final = 8_192
_MAX_MEMO_BYTES: Final = 512
UNAUTHENTICATED, UNIMPLEMENTED, INVALID_ARGUMENT, INTERNAL, RESOURCE_EXHAUSTED = 16, 12, 3, 13, 8
_UNIT_OF_SECONDS: Final = {seconds: unit for unit, seconds in UNIT_SECONDS.items()}
_SERVING: Final = b"\x08\x01"


class _Plan:
    """What a question's bytes mean: which rules for which keys, and for each descriptor its place among them."""

    __slots__ = ("asked", "limits", "places")

    def __init__(
        self, asked: list[tuple[Bound, bytes, int]], places: list[int | None], limits: list[bytes]
    ) -> None:
        self.asked = asked
        self.places = places
        self.limits = limits


class RateLimitService:
    """A `Handler` of HTTP/2 connections.

    Args:
        domains: compiled configurations by tenant and domain, asked anew after `forget`.
        mode, failure: of limits that a request brings itself, and of domains that do not say.
        ipv6_prefix: how much of a `remote_address` is one client, where a stored rule is asked.
    """

    def __init__(
        self,
        limiter: Limiter,
        callers: Callers,
        domains: Callable[[], Mapping[tuple[TenantId, str], EnvoyDomain]],
        *,
        mode: Mode,
        failure: Failure,
        ipv6_prefix: int = 64,
    ) -> None:
        self._limiter = limiter
        self._ipv6_prefix = ipv6_prefix
        self._callers = callers
        self._domains = domains
        self._mode: Mode = mode
        self._failure: Failure = failure
        self._memo: dict[tuple[TenantId, bytes], _Plan] = {}
        self._authorizations: dict[bytes, str] = {}
        self.connections: set[Http2Connection] = set()
        self._tasks: set[Any] = set()

    def protocol(self) -> Http2Connection:
        """A new connection's protocol; pass this method to `create_server`."""
        return Http2Connection(self)

    def forget(self) -> None:
        """The configuration has changed."""
        self._memo.clear()

    def opened(self, connection: Http2Connection) -> bool:
        """See `Handler`."""
        if len(self.connections) >= MAX_CONNECTIONS:
            return False
        self.connections.add(connection)
        return True

    def closed(self, connection: Http2Connection) -> None:
        """See `Handler`."""
        self.connections.discard(connection)

    def call(self, connection: Http2Connection, stream: Stream) -> None:
        """See `Handler`."""
        request = stream.request
        if request.path != PATH or request.method != b"POST":
            if request.path == HEALTH:
                connection.answer(stream, _SERVING)
            else:
                connection.fail(stream, UNIMPLEMENTED, "only ShouldRateLimit is served here")
            return
        message = stream.message
        if len(message) < 5 or len(message) != 5 + int.from_bytes(message[1:5], "big"):
            connection.fail(stream, INTERNAL, "a unary call has exactly one message")
            return
        if message[0]:
            connection.fail(stream, UNIMPLEMENTED, "compressed messages are not read here")
            return
        secret = self._secret_of(request.authorization)
        tenant = self._callers.known(secret)
        payload = bytes(message[5:])
        if tenant is None:
            task = connection._loop.create_task(self._verify(connection, stream, secret, payload))  # noqa: SLF001 - its loop
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._ask(connection, stream, tenant, payload)

    def close(self) -> None:
        """Drain all connections."""
        for connection in list(self.connections):
            connection.drain()

    # -- a question -----------------------------------------------------------------------------

    def _secret_of(self, authorization: bytes) -> str:
        if not authorization:
            return ""
        scheme, _, secret = authorization.decode("latin-1").partition(" ")
        return secret.strip() if scheme.lower() == "bearer" else "-"

    async def _verify(self, connection: Http2Connection, stream: Stream, secret: str, payload: bytes) -> None:
        try:
            tenant = await self._callers.verify(secret, connection.peer)
        except TooManyFailuresError as error:
            wait = math.ceil(error.retry_after_seconds or 1)
            connection.fail(stream, RESOURCE_EXHAUSTED, f"{error.message} (again in {wait} s)")
            return
        if tenant is None:
            connection.fail(
                stream, UNAUTHENTICATED, "send an API key as metadata: authorization: Bearer tf_..."
            )
        else:
            self._ask(connection, stream, tenant, payload)

    def _ask(self, connection: Http2Connection, stream: Stream, tenant: TenantId, payload: bytes) -> None:
        plan = self._memo.get((tenant, payload))
        if plan is None:
            try:
                plan = self._understand(tenant, RateLimitRequest(payload))
            except (MalformedMessageError, TwelvefoldError) as error:
                connection.fail(stream, INVALID_ARGUMENT, str(error))
                return
            if len(payload) <= _MAX_MEMO_BYTES:
                if len(self._memo) >= _MAX_MEMO:
                    self._memo.clear()
                self._memo[tenant, payload] = plan
        if not plan.asked:
            connection.answer(stream, _answer(plan, ()))
            return
        known = plan

        def done(verdict: Verdict) -> None:
            connection.answer(stream, _answer(known, verdict.decisions, verdict))

        verdict = self._limiter.ask(tenant, plan.asked, done)
        if verdict is not None:
            done(verdict)

    def _understand(self, tenant: TenantId, request: RateLimitRequest) -> _Plan:
        if not request.domain:
            raise MalformedMessageError("a request names its domain")
        domain = self._domains().get((tenant, request.domain))
        matched = [self._limit_for(domain, descriptor) for descriptor in request.descriptors]
        replaced = {name for limit in matched if limit is not None for name in limit.replaces}
        merged: dict[tuple[Bound, bytes], list[int]] = {}
        places: list[int | None] = []
        limits: list[bytes] = []
        for descriptor, limit in zip(request.descriptors, matched, strict=True):
            if limit is None or (limit.name and limit.name in replaced):
                places.append(None)
                limits.append(b"")
                continue
            bound = self._limiter.book.bound(tenant, limit.rule)
            if bound.rule.algorithm == "concurrency":
                raise MalformedMessageError(f"'{bound.name}' limits how many at once, which Envoy cannot ask")
            key = encode_key(self._key_of(domain, request.domain, descriptor, limit))
            cost = descriptor.cost if descriptor.cost is not None else request.hits_addend or 1
            if cost > MAX_LIMIT:
                raise MalformedMessageError("hits_addend is larger than any limit")
            place = merged.setdefault((bound, key), [len(merged), 0])
            place[1] += cost
            places.append(place[0])
            unit = limit.unit or _UNIT_OF_SECONDS.get(bound.rule.period_seconds, "")
            limits.append(
                b"" if bound.rule.limit is None else limit_field(bound.rule.limit, unit, limit.name)
            )
        asked = [(bound, key, cost) for (bound, key), (_, cost) in merged.items()]
        return _Plan(asked, places, limits)

    def _key_of(
        self, domain: EnvoyDomain | None, name: str, descriptor: Descriptor, limit: EnvoyLimit
    ) -> tuple[str, ...]:
        """Of a stored rule it is what the other doors make of the same request: the values alone."""
        parts = _key_parts(domain, descriptor)
        if not isinstance(limit.rule, str):
            return (name, *parts)
        pairs = zip(parts[::2], parts[1::2], strict=True)
        return tuple(
            client_network(value, self._ipv6_prefix) if key == "remote_address" else value
            for key, value in pairs
        )

    def _limit_for(self, domain: EnvoyDomain | None, descriptor: Descriptor) -> EnvoyLimit | None:
        if descriptor.override is not None:
            count, unit = descriptor.override
            rule = Rule(
                name="override",
                limit=min(count, MAX_LIMIT),
                period_seconds=UNIT_SECONDS[unit],
                algorithm="fixed_window",
                mode=self._mode,
                failure=self._failure,
            )
            return EnvoyLimit(rule=rule, unit=unit)
        return None if domain is None else domain.match(descriptor.entries)


def _key_parts(domain: EnvoyDomain | None, descriptor: Descriptor) -> Sequence[str]:
    """Keys and values in order; a value whose node shares its threshold stands as the node's prefix."""
    parts: list[str] = []
    node: Node | None = domain.root if domain is not None else None
    for key, value in descriptor.entries:
        node = node.child(key, value) if node is not None else None
        shared = node.limit.share_prefix if node is not None and node.limit is not None else None
        parts += (key, value if shared is None else f"{shared}*")
    return parts


def _answer(plan: _Plan, decisions: Sequence[Decision], verdict: Verdict | None = None) -> bytes:
    statuses: list[bytes] = []
    for place, limit in zip(plan.places, plan.limits, strict=True):
        # A rule that was not asked, because another had refused before, is in nobody's way.
        if place is None or place >= len(decisions):
            statuses.append(status(OK, limit))
            continue
        decision = decisions[place]
        if decision.limit is None:
            statuses.append(status(OK, b"", UNLIMITED_REMAINING))
            continue
        statuses.append(
            status(
                OK if decision.allowed else OVER_LIMIT,
                limit,
                decision.remaining,
                int(decision.reset_seconds * 1_000_000),
            )
        )
    if verdict is None or verdict.allowed:
        return response(OK, statuses)
    fields = header_fields(verdict.binding, verdict.decisions, reset="seconds")
    return response(OVER_LIMIT, statuses, fields)
