"""Chat: conversations in one order, on disk before they are acknowledged."""

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
