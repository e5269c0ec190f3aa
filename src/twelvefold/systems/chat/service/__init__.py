"""Chat's public API."""

from twelvefold.systems.chat.service.chat import Chat

__all__ = ["Chat"]
