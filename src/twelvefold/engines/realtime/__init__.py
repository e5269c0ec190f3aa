"""Channels across processes: what one publishes, all who subscribe receive, at most once."""

from twelvefold.engines.realtime.contract import Realtime, Subscriber
from twelvefold.engines.realtime.valkey_pubsub import ValkeyPubSub

__all__ = ["Realtime", "Subscriber", "ValkeyPubSub"]
