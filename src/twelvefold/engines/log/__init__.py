"""The log: ordered topics that groups read at least once. On Valkey Streams."""

from twelvefold.engines.log.contract import (
    BatchId,
    Capability,
    Consumer,
    DeadLetter,
    Entry,
    Log,
    TopicFullError,
    require,
)
from twelvefold.engines.log.packing import pack, unpack
from twelvefold.engines.log.spool import SpooledPublisher, SpoolLimits, SpoolStats
from twelvefold.engines.log.topic import TopicLimits
from twelvefold.engines.log.valkey_streams import ValkeyStreams

__all__ = [
    "BatchId",
    "Capability",
    "Consumer",
    "DeadLetter",
    "Entry",
    "Log",
    "SpoolLimits",
    "SpoolStats",
    "SpooledPublisher",
    "TopicFullError",
    "TopicLimits",
    "ValkeyStreams",
    "pack",
    "require",
    "unpack",
]
