"""Contexts of clicks as objects: what web processes hand in, and what a batch gives back."""

from dataclasses import dataclass

import numpy as np

from twelvefold.systems.links.click_codec import ContextTable


@dataclass(frozen=True)
class Context:
    client: str
    tail: bytes


def contexts_of(table: ContextTable) -> list[Context]:
    sizes = table.tail_sizes
    ends = np.cumsum(sizes + 1) - 1
    return [
        Context(client, table.tails[end - size : end])
        for client, size, end in zip(table.clients, sizes.tolist(), ends.tolist(), strict=True)
    ]
