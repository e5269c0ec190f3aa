"""What a started platform tells a Prometheus about its limiter."""

from collections.abc import Callable
from typing import Any

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from tests.conftest import RunningServer


def samples(server: RunningServer) -> dict[str, float]:
    """The limiter's figures, over all web processes."""
    page = httpx2.get(f"{server.url}/metrics", headers=server.headers, timeout=30).text
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name.startswith("twelvefold_limiter_"):
                found[sample.name] = found.get(sample.name, 0) + sample.value
                assert (family.type == "counter") == sample.name.endswith("_total")
    return found


async def test_decisions_and_the_state_of_a_process_are_on_the_metrics_page(
    server: RunningServer, eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    await eventually(lambda: "twelvefold_limiter_refused_total" in samples(server))
    before = samples(server)
    rule = {"name": "measured", "limit": 0, "mode": "local"}
    for _ in range(5):
        body = {"rule": rule, "key": "metrics"}
        httpx2.post(f"{server.url}/v1/limiter/check", json=body, headers=server.headers, timeout=30)

    def told() -> bool:
        now = samples(server)
        name = "twelvefold_limiter_refused_total"
        return now[name] - before[name] == 5 and now["twelvefold_limiter_state_healthy"] >= 1

    await eventually(told)
    assert {
        f"twelvefold_limiter_{name}" for name in ("allowed_total", "degraded_total", "leased_units")
    } <= set(before)
