"""The section `[limiter]` of the configuration."""

from typing import Annotated

import msgspec

from twelvefold.systems.limiter.contracts import Failure, Mode
from twelvefold.systems.limiter.rules.headers import Reset

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class LimiterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the limiter behaves; every default is meant to be kept."""

    host: str = "127.0.0.1"
    """Where the gRPC and Redis doors listen. Both ask for an API key."""
    grpc_port: Port = 8013
    """Envoy's rate-limit service; 0: closed."""
    resp_port: Port = 8014
    """Redis protocol with CL.THROTTLE; 0: closed."""
    anonymous_tenant: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Whose limits callers without a key use on these two doors; 0: a key is needed."""
    resp_mode: Mode = "exact"
    """How CL.THROTTLE decides: by the shared state, by leases on it, or by each process on its own."""
    grpc_mode: Mode = "exact"
    """How Envoy's rules decide."""
    failure: Failure = "open"
    """What CL.THROTTLE and Envoy's rules say while the state cannot be reached."""
    envoy_config: str = ""
    """A folder of envoyproxy/ratelimit YAML files, read again when one changes; empty: none."""
    answer_ms: Annotated[int, msgspec.Meta(ge=2, le=10_000)] = 12
    """After so long without a reply a rule's failure policy speaks; raise it where Valkey is far away."""
    gateway: bool = True
    """Whether our own API is limited by tier."""
    gateway_failure: Failure = "local"
    ip_requests_a_minute: Annotated[int, msgspec.Meta(ge=0)] = 600
    """API requests of one address without a key; 0: no limit."""
    failures_a_minute: Annotated[int, msgspec.Meta(ge=0)] = 30
    """API keys and sessions of one address that may prove wrong, at any door; 0: no limit."""
    tenant_requests_a_minute: Annotated[int, msgspec.Meta(ge=0)] = 60_000
    """API requests of one tenant, over all its keys; 0: no limit."""
    ipv6_prefix: Annotated[int, msgspec.Meta(ge=32, le=128)] = 64
    """How much of an IPv6 address is one client."""
    reset: Reset = "unix"
    """`X-RateLimit-Reset` as a Unix time, or as seconds from now."""
    lease_seconds: Annotated[float, msgspec.Meta(ge=0.2, le=60)] = 2.0
    """How long a node holds a slice of a leased rule."""
    local_keys: Annotated[int, msgspec.Meta(ge=1000)] = 1_000_000
    """Keys of one rule remembered in each process for local rules and bad days, about 150 bytes each."""
    fallback_parts: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Into how many parts a limit falls where each process counts alone; 0: one for each web process."""
    home_url: str = ""
    """The Valkey that all data centres lease rules of reach `home` from; empty: our own."""
    head_start_percent: Annotated[int, msgspec.Meta(ge=0, le=50)] = 5
    """Of a `home` rule's limit, what a node may admit before its lease arrives; the slack of a partition."""
    alert_webhook: str = ""
    """Told, as JSON by POST, of keys that are refused persistently; empty: nobody."""
    alert_denials: Annotated[int, msgspec.Meta(ge=1)] = 100
    """Refusals of one key in a minute that count as abuse …"""
    alert_minutes: Annotated[int, msgspec.Meta(ge=1, le=60)] = 3
    """… when they go on for so many minutes."""
