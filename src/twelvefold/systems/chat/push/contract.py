"""What a push service must do, whoever runs it.

`send` is told the same notification again after a crash or a lost answer; `collapse` is the same then, and
the service (or the device) shows the notification once.
"""

from typing import Protocol

import msgspec

from twelvefold.systems.chat.contracts import PushKeys


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """What a device shows. `collapse`: 32 characters of base64url that name the message."""

    conversation_id: str
    seq: int
    message_id: str
    title: str
    body: str
    collapse: str


class WokenUp(msgspec.Struct, frozen=True):
    """The service has taken it."""


class Gone(msgspec.Struct, frozen=True):
    """The subscription has ended: remove it."""


class Refused(msgspec.Struct, frozen=True):
    """The service does not want this one; trying again will not help."""

    reason: str


class Retry(msgspec.Struct, frozen=True):
    """Not now."""

    after_seconds: float
    reason: str


Wake = WokenUp | Gone | Refused | Retry


class PushService(Protocol):
    """One service."""

    async def send(self, address: str, keys: PushKeys | None, notification: Notification) -> Wake:
        """Wake one device. Raises nothing but what it cannot foresee."""

    async def close(self) -> None:
        """Let go of connections."""
