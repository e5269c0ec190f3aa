"""What was decided, counted: a rule's allowed and refused, and who was refused most.

Counting is a dictionary entry a decision; once a second what came together is handed over and goes to
Valkey, where all processes' counts meet. The number of remembered keys is bounded: beyond it the rarest go.
"""

from collections.abc import Mapping
from typing import Final

from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.limiter.rules.bound import Bound

MAX_KEYS: Final = 20_000
_KEEP_KEYS: Final = 5_000
MAX_RECORDED: Final = 5_000
"""Events a second and process that are recorded of a rule; the rest is left out, and counted as such."""

Counts = dict[tuple[TenantId, str], list[int]]


class Tally:
    """Counts of one process since they were last taken."""

    def __init__(self) -> None:
        self._counts: dict[Bound, list[int]] = {}
        self.denied: dict[tuple[TenantId, str, str], int] = {}
        self.recorded: dict[tuple[TenantId, str], list[tuple[int, str, int, bool]]] = {}
        self.decided = self.refused = self.degraded = 0
        """Since the start of the process; of `degraded` ones a failure policy decided."""

    def count(self, bound: Bound, shown_key: str, cost: int, now_us: int, *, refused: bool) -> None:
        """One decision of one rule."""
        if not refused:
            self.admit(bound, 1)
        else:
            self.decided += 1
            self.refused += 1
            self._entry(bound)[1] += 1
            who = (bound.tenant, bound.name, shown_key)
            self.denied[who] = self.denied.get(who, 0) + 1
            if len(self.denied) > MAX_KEYS:
                self._forget_rare()
        if bound.rule.record:
            events = self.recorded.setdefault((bound.tenant, bound.name), [])
            if len(events) < MAX_RECORDED:
                events.append((now_us, shown_key, cost, refused))

    def admit(self, bound: Bound, decisions: int) -> None:
        """So many decisions let through, of a rule that is not recorded."""
        self.decided += decisions
        entry = self._counts.get(bound) or self._entry(bound)
        entry[0] += decisions

    def _entry(self, bound: Bound) -> list[int]:
        return self._counts.setdefault(bound, [0, 0])

    def take(
        self,
    ) -> tuple[
        Counts,
        Mapping[tuple[TenantId, str, str], int],
        Mapping[tuple[TenantId, str], list[tuple[int, str, int, bool]]],
    ]:
        """All counts so far; counting begins again."""
        counts: Counts = {}
        for bound, (allowed, refused) in self._counts.items():  # a rule that changed is bound anew
            entry = counts.setdefault((bound.tenant, bound.name), [0, 0])
            entry[0] += allowed
            entry[1] += refused
        taken = counts, self.denied, self.recorded
        self._counts, self.denied, self.recorded = {}, {}, {}
        return taken

    def _forget_rare(self) -> None:
        kept = sorted(self.denied.items(), key=lambda item: item[1], reverse=True)[:_KEEP_KEYS]
        self.denied = dict(kept)


def shown(key: bytes) -> str:
    """A key for people: what was encoded, without its mark; parts with a dot between (`shop · user · ann`)."""
    if not key.startswith(b"+"):
        return key[1:].decode("utf-8", "replace")
    parts: list[str] = []
    rest = key[1:]
    while rest:
        size, _, rest = rest.partition(b":")
        part, rest = rest[: int(size)], rest[int(size) :]
        parts.append(part.decode("utf-8", "replace").replace("·", "··"))
    return " · ".join(parts)
