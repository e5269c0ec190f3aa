"""The only part of chat that touches engines."""
