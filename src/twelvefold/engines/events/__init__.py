"""Facts for analytics: Parquet segments in `blobs`, read by DuckDB."""

from twelvefold.engines.events.contract import (
    CodedColumn,
    EventBatchIdError,
    EventColumnsError,
    EventQueryDeadlineError,
    EventQueryMemoryError,
    EventResultTooLargeError,
    Events,
    EventTable,
)
from twelvefold.engines.events.parquet import EventsConfig, ParquetEvents

__all__ = [
    "CodedColumn",
    "EventBatchIdError",
    "EventColumnsError",
    "EventQueryDeadlineError",
    "EventQueryMemoryError",
    "EventResultTooLargeError",
    "EventTable",
    "Events",
    "EventsConfig",
    "ParquetEvents",
]
