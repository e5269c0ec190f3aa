"""Valkey: counters, buckets, presence, queues, channels. A client that pipelines by itself."""

from twelvefold.engines.valkey.client import Valkey
from twelvefold.engines.valkey.cluster_subscription import ClusterSubscription
from twelvefold.engines.valkey.errors import CrossSlotError, ReplyError, ServerStateError
from twelvefold.engines.valkey.script import Script
from twelvefold.engines.valkey.subscription import Subscription

__all__ = [
    "ClusterSubscription",
    "CrossSlotError",
    "ReplyError",
    "Script",
    "ServerStateError",
    "Subscription",
    "Valkey",
]
