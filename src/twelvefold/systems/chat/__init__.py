"""Chat: conversations in one order, on disk before they are acknowledged.

The service is imported on first use, so that the contracts and the settings stay cheap to import.
"""

from typing import TYPE_CHECKING, Any

from twelvefold.systems.chat.contracts import (
    Conversation,
    Event,
    Listed,
    Member,
    NewConversation,
    NewMessage,
    Presence,
    Receipt,
    Sent,
)

if TYPE_CHECKING:
    from twelvefold.systems.chat.service import Chat

__all__ = [
    "Chat",
    "Conversation",
    "Event",
    "Listed",
    "Member",
    "NewConversation",
    "NewMessage",
    "Presence",
    "Receipt",
    "Sent",
]


def __getattr__(name: str) -> Any:
    if name == "Chat":
        from twelvefold.systems.chat.service import Chat  # noqa: PLC0415

        return Chat
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
