"""The Prometheus page of all web processes, whichever of them is asked.

Requests come from the traffic reports, with the process as a label, so that a process that restarts
is a counter that starts anew and nothing is counted twice. What systems count with prometheus_client
comes from its multiprocess folder: `use_folder` must be called before that library is first imported.
"""

import os
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from twelvefold.web.histogram import UPPER_SECONDS
from twelvefold.web.traffic import Report, Traffic

_FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


def use_folder(folder: Path, *, clean: bool) -> None:
    """Let all processes of a platform count into `folder`. `clean`: the first one removes what the last run left."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if clean:
        for file in folder.glob("*.db"):
            file.unlink()
    os.environ[_FOLDER_VARIABLE] = str(folder)


async def page(traffic: Traffic) -> bytes:
    """The page, in Prometheus' text format."""
    # Imported late: the library decides at import whether it counts into the folder.
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

    registry = CollectorRegistry()
    if os.environ.get(_FOLDER_VARIABLE):
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library has no types here
    reports, _ = await traffic.reports()
    registry.register(_Reports(reports))
    return generate_latest(registry)


class _Reports:
    """A collector over what the processes reported."""

    def __init__(self, reports: dict[str, Report]) -> None:
        self._reports = reports

    def collect(self) -> Iterable[Any]:
        """See prometheus_client."""
        from prometheus_client.core import (  # noqa: PLC0415
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        labels = ["system", "process"]
        requests = CounterMetricFamily("twelvefold_requests", "Requests answered.", labels=labels)
        errors = CounterMetricFamily(
            "twelvefold_request_errors", "Requests that the server failed.", labels=labels
        )
        depth = GaugeMetricFamily("twelvefold_queue_depth", "Work that waits.", labels=labels)
        seconds = HistogramMetricFamily(
            "twelvefold_request_seconds",
            "Time to the first byte of the response; fast-lane answers by sample.",
            labels=labels,
        )
        gauges: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for process, report in self._reports.items():
            for system, tally in report.totals.items():
                where = [system, process]
                requests.add_metric(where, tally.requests)
                errors.add_metric(where, tally.errors)
                depth.add_metric(where, tally.queue_depth)
                cumulative = list(accumulate(tally.buckets))
                bounds = [*(f"{bound:.6f}" for bound in UPPER_SECONDS[:-1]), "+Inf"]
                seconds.add_metric(where, list(zip(bounds, cumulative, strict=True)), _sum_of(tally.buckets))
            for name, value in report.gauges.items():
                kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
                family = gauges.setdefault(
                    name, kind(f"twelvefold_{name}", f"{name} of a process.", labels=["process"])
                )
                family.add_metric([process], value)
        return [requests, errors, depth, seconds, *gauges.values()]


def _sum_of(buckets: list[int]) -> float:
    """From the middles of the buckets; the histogram keeps no sum."""
    return sum(
        count * 0.75 * bound
        for count, bound in zip(buckets, (*UPPER_SECONDS[:-1], 2 * UPPER_SECONDS[-2]), strict=True)
    )
