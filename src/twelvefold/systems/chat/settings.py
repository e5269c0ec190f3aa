"""The section `[chat]` of the configuration."""

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1)]


class ChatSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How chat behaves; every default is meant to be kept."""

    retention_days: Annotated[int, msgspec.Meta(ge=1)] = 2557
    """How long messages are kept: seven years. Whole buckets of 30 days are dropped."""
    max_members: Count = 100_000
    large_from: Count = 10_000
    """From so many members on, servers are told that there is something new and read it from the log themselves."""
    user_messages_per_second: Annotated[float, msgspec.Meta(ge=0)] = 50.0
    """What one user may send through one process, over ten seconds; 0: no limit."""
    max_socket_bytes: Annotated[int, msgspec.Meta(ge=65_536)] = 1 << 20
    """How much may wait for a reader that does not read, before it is cut (and recovers by its cursor)."""
    token_minutes: Count = 60
    """Life of a user token made here, unless it is asked for otherwise."""
    media_max_bytes: Count = 50 << 20
    media_max_pixels: Count = 40_000_000
    media_link_seconds: Count = 3600
    push_contact: str = "mailto:operator@localhost"
    """Told to push services, so that they can reach somebody (RFC 8292)."""
    push_private_endpoints: bool = False
    """Whether push endpoints may be in private networks; for tests and closed networks."""
    fcm_service_account: str = ""
    """Path of the JSON file of the service account; empty: no FCM."""
    fcm_url: str = "https://fcm.googleapis.com"
    apns_key: str = ""
    """Path of the .p8 file; empty: no APNs."""
    apns_key_id: str = ""
    apns_team_id: str = ""
    apns_topic: str = ""
    apns_url: str = "https://api.push.apple.com"
