"""Bars: what a system promised, what was measured, whether it holds; printed, and written as JSON.

The file `bench/results/<system>.json` has `system`, `machine`, `bars` and `details`. Each bar is
`{"measure", "value", "unit", "bar", "holds", "peer", "peer_value"}`; where something is missing, `value` and
`holds` are null and `why` says what.
"""

import json
import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.fingerprint import fingerprint

RESULTS = Path(__file__).parent / "results"
_COMPARE: dict[str, Callable[[float, float], bool]] = {"≥": operator.ge, "≤": operator.le}


@dataclass(frozen=True)
class Bar:
    """One promise. `bar` is `≥ 0.90` or `≤ 2 ms`, as the specification's table has it."""

    measure: str
    unit: str
    bar: str
    value: float | None = None
    peer: str | None = None
    peer_value: float | None = None
    why: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool | None:
        """Whether the value keeps the promise; None where there is no value."""
        if self.value is None:
            return None
        sign, number, *_ = self.bar.replace(",", "").split()
        return _COMPARE[sign](self.value, _number(number))

    def as_json(self) -> dict[str, Any]:
        """The bar in the form that the file has."""
        row: dict[str, Any] = {
            "measure": self.measure,
            "value": _rounded(self.value),
            "unit": self.unit,
            "bar": self.bar,
            "holds": self.holds,
            "peer": self.peer,
            "peer_value": _rounded(self.peer_value),
        }
        return row | ({"why": self.why} if self.why else {})


def interleaved(
    subjects: Mapping[str, Callable[[], Mapping[str, float]]], rounds: int
) -> dict[str, dict[str, float]]:
    """Measure all subjects in turn, `rounds` times over (A-B-A-B), and give the median of each figure."""
    runs: dict[str, list[Mapping[str, float]]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, measure in subjects.items():
            runs[name].append(measure())
    return {
        name: {key: statistics.median(run[key] for run in several) for key in several[0]}
        for name, several in runs.items()
    }


def result(system: str, bars: Sequence[Bar], *, details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The file's content."""
    return {
        "system": system,
        "machine": fingerprint(),
        "bars": [bar.as_json() for bar in bars],
        "details": {**(details or {}), **{bar.measure: bar.details for bar in bars if bar.details}},
    }


def write(content: Mapping[str, Any]) -> Path:
    """Write a result where it belongs; returns where it is."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{content['system']}.json"
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def lines(bars: Sequence[Bar]) -> str:
    """The bars as a table of text."""
    rows = [("measure", "value", "bar", "holds", "peer")]
    for bar in bars:
        value = f"{bar.value:,.3g} {bar.unit}" if bar.value is not None else f"- {bar.why or ''}"
        if bar.value is not None and bar.value >= 1000:
            value = f"{bar.value:,.0f} {bar.unit}"
        peer = f"{bar.peer} {bar.peer_value:,.0f}" if bar.peer_value is not None else bar.peer or ""
        rows.append(
            (bar.measure, value.strip(), bar.bar, {True: "yes", False: "NO", None: "?"}[bar.holds], peer)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]).rstrip()
        for row in rows
    )


def _number(text: str) -> float:
    factors = {"k": 1e3, "M": 1e6}
    return float(text.rstrip("kM")) * factors.get(text[-1], 1)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
