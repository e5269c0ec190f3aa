"""The auditor: what the chain must be, worked out from the entries alone."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any

from twelvefold.engines.timeline.contract import Audit, digest_of

MAX_FAULTS = 20


class Auditor:
    """Walks a stream in order. A link of the chain closes where the next append opens.

    Args:
        first_seq: where the stream begins (after retention, not at 1).
        chain: what the chain was before that.
    """

    def __init__(self, first_seq: int, chain: bytes) -> None:
        self._next = first_seq
        self._chain = chain
        self._open = b""
        self._entries = 0
        self._amended = 0
        self._faults: list[str] = []

    def take(self, rows: Iterable[Mapping[str, Any]] | Iterable[Any]) -> None:
        """Check the next rows."""
        for row in rows:
            if row["seq"] != self._next:
                self._say(f"after {self._next - 1} comes {row['seq']}")
            self._next = row["seq"] + 1
            self._entries += 1
            if row["amended"]:
                self._amended += 1
            elif digest_of(row["id"], row["kind"], row["author"], row["data"]) != row["digest"]:
                self._say(f"entry {row['seq']} is not what was written")
            if row["opens"]:
                self._close()
            self._open += row["digest"]

    def verdict(self, stream_id: int, last_seq: int, chain: bytes) -> Audit:
        """Compare with where the stream says that it stands."""
        self._close()
        if self._next != last_seq + 1:
            self._say(f"the stream says that it ends at {last_seq}, its entries end at {self._next - 1}")
        if not hmac.compare_digest(self._chain, chain):
            self._say("the chain does not end where the stream says")
        return Audit(
            stream_id=stream_id, entries=self._entries, amended=self._amended, faults=tuple(self._faults)
        )

    def _close(self) -> None:
        if self._open:
            self._chain = hashlib.sha256(self._chain + self._open).digest()
            self._open = b""

    def _say(self, fault: str) -> None:
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(fault)
