"""Which worker id a process makes Snowflake ids with: leased and fenced in the database."""

from twelvefold.engines.identity.lease import WorkerLease

__all__ = ["WorkerLease"]
