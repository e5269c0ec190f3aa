"""A system's card as data: what it is for, what to ask, what it costs, which way it was decided.

The guide, the planner, the console and the docs read the same card, so they cannot disagree.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

Group = Literal["serve", "talk", "place", "protect", "compute"]


class TradeOff(msgspec.Struct, frozen=True, kw_only=True):
    """One decision: both options, the choice, why, and at what cost."""

    decision: str
    option_a: str
    option_b: str
    choice: str
    why: str
    cost: str


class Guarantee(msgspec.Struct, frozen=True, kw_only=True):
    """A promise, and the command of the drill or test that proves it."""

    promise: str
    drill: str


class Connect(msgspec.Struct, frozen=True, kw_only=True):
    """How an existing client is pointed here. `how` is plain text with fenced code."""

    client: str
    how: str


class Quantity(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an estimate: a name, a unit, and the formula over the inputs and the lines above."""

    name: str
    unit: str
    formula: Callable[[Mapping[str, float]], float]


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A scale estimate: inputs with defaults, and lines in order."""

    inputs: Mapping[str, float]
    lines: tuple[Quantity, ...]

    def values(self, **given: float) -> dict[str, float]:
        """All inputs and lines. Raises `KeyError` naming an input that the estimate does not have."""
        unknown = given.keys() - self.inputs.keys()
        if unknown:
            raise KeyError(min(unknown))
        known: dict[str, float] = {**self.inputs, **given}
        for line in self.lines:
            known[line.name] = line.formula(known)
        return known


class Blueprint(msgspec.Struct, frozen=True, kw_only=True):
    """The card."""

    name: str
    title: str
    group: Group
    promise: str
    pitch: str
    signals: tuple[str, ...]
    checklist: tuple[str, ...]
    estimate: Estimate
    guarantees: tuple[Guarantee, ...]
    trade_offs: tuple[TradeOff, ...]
    connect: tuple[Connect, ...]
