"""The public async API of links; `Links` is what a library user calls."""

from twelvefold.systems.links.service.links import Links

__all__ = ["Links"]
