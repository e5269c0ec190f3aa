"""Tenants, API keys and console sessions: who may ask, and for whom. The service is in `service`, which needs a database."""

from twelvefold.web.access.contracts import ApiKey, KeyInUseError, MadeKey, NewKey, SessionView, Tenant
from twelvefold.web.access.rules import key_from_seed

__all__ = [
    "ApiKey",
    "KeyInUseError",
    "MadeKey",
    "NewKey",
    "SessionView",
    "Tenant",
    "key_from_seed",
]
