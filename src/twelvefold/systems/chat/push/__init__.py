"""Waking devices: one contract, three services."""

from twelvefold.systems.chat.push.contract import (
    Gone,
    Notification,
    PushService,
    Refused,
    Retry,
    Wake,
    WokenUp,
)

__all__ = ["Gone", "Notification", "PushService", "Refused", "Retry", "Wake", "WokenUp"]
