"""Valkey: counters, buckets, presence, queues, channels. A client that pipelines by itself."""

from twelvefold.engines.valkey.client import Valkey
from twelvefold.engines.valkey.errors import CrossSlotError, ReplyError, ServerStateError
from twelvefold.engines.valkey.script import Script
from twelvefold.engines.valkey.subscription import Subscription

__all__ = ["CrossSlotError", "ReplyError", "Script", "ServerStateError", "Subscription", "Valkey"]
