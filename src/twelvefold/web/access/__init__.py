"""Tenants, API keys and console sessions: who may ask, and for whom."""

from twelvefold.web.access.contracts import ApiKey, KeyInUseError, MadeKey, NewKey, SessionView, Tenant
from twelvefold.web.access.rules import key_from_seed
from twelvefold.web.access.service import Access

__all__ = [
    "Access",
    "ApiKey",
    "KeyInUseError",
    "MadeKey",
    "NewKey",
    "SessionView",
    "Tenant",
    "key_from_seed",
]
