"""How a topic lives in Valkey: its keys, its bounds, the scripts that change it."""

from functools import lru_cache
from importlib import resources

import msgspec


class TopicLimits(msgspec.Struct, frozen=True):
    """Bounds of each topic. Beyond them a publish is refused, never an unread record dropped.

    A batch that is published twice is recognised for `remember_batches_seconds`.
    """

    max_records: int = 1_000_000
    max_bytes: int = 256 << 20
    max_record_bytes: int = 8 << 20
    max_deliveries: int = 5
    max_dead_letters: int = 10_000
    remember_batches_seconds: int = 7 * 86_400


@lru_cache(maxsize=1024)
def topic_keys(topic: str) -> "TopicKeys":
    """The keys of a topic. Raises `ValueError` for a name that would break them."""
    return TopicKeys(topic)


class TopicKeys:
    """Where a topic lives; all in one slot of a cluster."""

    __slots__ = ("dead", "size", "stream")

    def __init__(self, topic: str) -> None:
        if not topic or "{" in topic or "}" in topic:
            raise ValueError(f"a topic needs a name without braces, not '{topic}'")
        self.stream = f"log:{{{topic}}}".encode()
        self.size = self.stream + b":size"
        self.dead = self.stream + b":dead"

    def publisher(self, name: str) -> bytes:
        """Where a publisher's last sequence is kept."""
        return self.stream + b":publisher:" + name.encode()


def script_source(name: str, *preludes: str) -> str:
    """The Lua source of a script, with what it builds on."""
    folder = resources.files(__package__) / "scripts"
    return "".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in (*preludes, name))
