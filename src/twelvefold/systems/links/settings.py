"""The section `[links]` of the configuration."""

from typing import Annotated, Literal

import msgspec


class LinksSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How links behave; every default is meant to be kept."""

    public_url: str = ""
    """What short URLs begin with; empty: the address the server listens on."""
    code_mode: Literal["counter", "hash"] = "counter"
    """`counter` never collides; `hash` gives the same URL the same code (the handbook's two ways)."""
    code_block: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1000
    """Counters leased at a time; a crash skips at most so many."""
    near_cache_entries: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 400_000
    """Codes remembered in each process, about 0.5 KB each; 0 switches the near-cache off."""
    tombstone_days: Annotated[int, msgspec.Meta(ge=0)] = 30
    """How long an ended code answers 410 before it is free again."""
    fact_days: Annotated[int, msgspec.Meta(ge=2)] = 90
    """How long single clicks are kept after their day was rolled up."""
    trusted_proxies: Annotated[int, msgspec.Meta(ge=0, le=10)] = 0
    """How many proxies in front of the server may be believed in X-Forwarded-For."""
    password_tries_a_minute: Annotated[int, msgspec.Meta(ge=1)] = 10
    """For one link, over all visitors."""
