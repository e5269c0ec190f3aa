"""The guard of our own API: every request by key and tier, by tenant, by address and by endpoint.

Those who can repair the limits are never locked out by them: what a key with `limiter:admin` does below
`/v1/limiter`, logging in, and the platform's own status pass freely. So do checks themselves, which are
limited by the rules that they ask.
"""

from typing import Final

from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.kernel.tenancy import Principal, TenantId
from twelvefold.systems.limiter.contracts import EndpointRule, Failure, Hit, Rule
from twelvefold.systems.limiter.rules.headers import Reset, header_fields
from twelvefold.systems.limiter.rules.keys import client_network
from twelvefold.systems.limiter.service.decisions import refusal
from twelvefold.systems.limiter.service.guesses import Guesses
from twelvefold.systems.limiter.service.limiter import Limiter
from twelvefold.systems.limiter.service.rules import RuleService
from twelvefold.web.guard import GateDecision, RequestFacts

_FREE: Final = frozenset({"/v1/session", "/v1/limiter/check", "/v1/limiter/auth"})
_FREE_PREFIXES: Final = ("/v1/platform/", "/v1/limiter/permits", "/healthz", "/readyz")
_OURS: Final = "/v1/limiter"
_ADMITTED: Final = GateDecision()
_NOBODY: Final = TenantId(0)


class ApiGate:
    """A `web.guard.Gate`.

    Args:
        guesses: counts credentials that prove nothing.
        failure: what happens while the limiter's state cannot be reached.
        ip_requests_a_minute: for requests without a key; 0 is no limit.
        tenant_requests_a_minute: over all keys of a tenant; 0 is no limit.
    """

    def __init__(
        self,
        limiter: Limiter,
        rules: RuleService,
        guesses: Guesses,
        *,
        failure: Failure,
        ip_requests_a_minute: int,
        tenant_requests_a_minute: int,
        ipv6_prefix: int,
        reset: Reset,
    ) -> None:
        self._limiter = limiter
        self._rules = rules
        self._guesses = guesses
        self._failure: Failure = failure
        self._ipv6_prefix = ipv6_prefix
        self._reset: Reset = reset
        self._cache: dict[Rule, Rule] = {}
        self._by_ip = self._own("ip-minute", ip_requests_a_minute)
        self._by_tenant = self._own("tenant-minute", tenant_requests_a_minute)

    async def admit(self, principal: Principal | None, facts: RequestFacts) -> GateDecision:
        """See `Gate.admit`. The gateway counts under a tenant that nobody is, so no key can reach it."""
        if _passes_freely(principal, facts.path):
            return _ADMITTED
        hits = self._hits(principal, facts)
        if not hits:
            return _ADMITTED
        verdict = await self._limiter.check_all(hits[:16], tenant=_NOBODY)
        fields = header_fields(verdict.binding, verdict.decisions, reset=self._reset)
        if verdict.allowed:
            return GateDecision(headers=fields)
        # The problem brings Retry-After by itself.
        others = tuple(field for field in fields if field[0] != "retry-after")
        return GateDecision(headers=others, refused=refusal(verdict.binding))

    def barred(self, client: str) -> TwelvefoldError | None:
        """See `Gate.barred`."""
        return self._guesses.barred(client)

    async def failed(self, client: str) -> TwelvefoldError | None:
        """See `Gate.failed`."""
        return await self._guesses.failed(client)

    def _hits(self, principal: Principal | None, facts: RequestFacts) -> list[Hit]:
        hits: list[Hit] = []
        address = client_network(facts.client, self._ipv6_prefix)
        if principal is None:
            whose = ("gateway", "ip", address)
            if self._by_ip is not None:
                hits.append(Hit(self._by_ip, whose))
        else:
            whose = ("gateway", "key", str(principal.key_id))
            tier = self._rules.gateway.tiers.get(principal.tier)
            hits += [Hit(self._with_failure(rule), whose) for rule in (tier.rules if tier else ())]
            if self._by_tenant is not None:
                hits.append(Hit(self._by_tenant, ("gateway", "tenant", str(principal.tenant_id))))
        for endpoint in self._rules.gateway.endpoints:
            if _covers(endpoint, facts):
                hits.append(Hit(self._with_failure(endpoint.rule), (*whose, endpoint.method, endpoint.path)))
        return hits

    def _own(self, name: str, limit: int) -> Rule | None:
        return Rule(name=name, limit=limit, period_seconds=60, failure=self._failure) if limit else None

    def _with_failure(self, rule: Rule) -> Rule:
        """Tiers that say nothing else go by the gateway's own policy."""
        if rule.failure != "open" or self._failure == "open":
            return rule
        known = self._cache.get(rule)
        if known is None:
            fields = {name: getattr(rule, name) for name in rule.__struct_fields__}
            if len(self._cache) > 1000:
                self._cache.clear()
            known = self._cache[rule] = Rule(**(fields | {"failure": self._failure}))
        return known


def _passes_freely(principal: Principal | None, path: str) -> bool:
    if path in _FREE or path.startswith(_FREE_PREFIXES):
        return True
    return principal is not None and path.startswith(_OURS) and principal.may("limiter:admin")


def _covers(endpoint: EndpointRule, facts: RequestFacts) -> bool:
    if endpoint.method not in ("*", facts.method):
        return False
    if endpoint.path.endswith("*"):
        return facts.path.startswith(endpoint.path[:-1])
    return facts.path == endpoint.path
