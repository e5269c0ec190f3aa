"""The truth: PostgreSQL behind a bounded pool, numbered migrations, and notifications."""

from twelvefold.engines.database.arrays import number_array
from twelvefold.engines.database.database import Database
from twelvefold.engines.database.errors import (
    ConstraintError,
    ContendedError,
    OutcomeUnknownError,
    StatementError,
    StatementTimeoutError,
)
from twelvefold.engines.database.listener import Listener
from twelvefold.engines.database.migrations import migrate
from twelvefold.engines.database.session import Record
from twelvefold.engines.database.transaction import Transaction

__all__ = [
    "ConstraintError",
    "ContendedError",
    "Database",
    "Listener",
    "OutcomeUnknownError",
    "Record",
    "StatementError",
    "StatementTimeoutError",
    "Transaction",
    "migrate",
    "number_array",
]
