"""The overview: figures of all processes through a real Valkey, live over a real socket."""

import asyncio
import json

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect as ws_connect

from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.clock import ManualClock
from twelvefold.kernel.tenancy import Principal, TenantId
from twelvefold.web import metrics
from twelvefold.web.application import Application
from twelvefold.web.guard import Guard
from twelvefold.web.hub import Hub
from twelvefold.web.limits import Limits
from twelvefold.web.platform_routes import (
    EngineStatus,
    Overview,
    SystemCard,
    platform_routes,
    platform_sockets,
)
from twelvefold.web.ports import bind
from twelvefold.web.server import Server
from twelvefold.web.traffic import Traffic

KEY = {"authorization": "Bearer good"}


@pytest.fixture
def clock():
    return ManualClock(now_ms=1_800_000_000_000)


@pytest.fixture
async def valkey(valkey_url):
    async with await Valkey.open(valkey_url) as client:
        yield client


@pytest.fixture
async def one(clock, valkey):
    return Traffic(clock, process="web-1", valkey=valkey)


@pytest.fixture
async def two(clock, valkey):
    return Traffic(clock, process="web-2", valkey=valkey)


async def second(clock, *processes):
    clock.advance(ms=1000)
    for traffic in processes:
        await traffic.tick()


async def test_any_process_knows_the_figures_of_all(clock, one, two):
    for _ in range(30):
        one.finished("links", 0.001, 200)
    for _ in range(10):
        two.finished("links", 0.004, 503)
    await second(clock, one, two)
    for traffic in (one, two):
        live = await traffic.live()
        links = live.systems["links"]
        assert (links.requests_per_second, links.errors_per_second) == (40.0, 10.0)
        assert 0.5 <= links.p50_ms <= 1.1
        assert 2.0 <= links.p99_ms <= 8.2
        assert not live.partial


async def test_client_errors_are_not_the_servers_and_no_answer_is(clock, one):
    for status in (200, 302, 404, 429, 500, 503, 0):
        one.finished("links", 0.001, status)
    await second(clock, one)
    assert (await one.live()).systems["links"].errors_per_second == 3.0


async def test_a_quiet_second_is_zero_and_its_quantiles_fade_after_five(clock, one):
    one.finished("links", 0.001, 200)
    await second(clock, one)
    await second(clock, one)
    links = (await one.live()).systems["links"]
    assert links.requests_per_second == 0.0
    assert links.p50_ms is not None
    for _ in range(4):
        await second(clock, one)
    assert (await one.live()).systems["links"].p50_ms is None


async def test_hot_requests_and_queues_are_counted_too(clock, one):
    hot = 0
    timings = one.watch("links", hot_requests=lambda: hot, queue_depth=lambda: 7)
    await second(clock, one)
    hot = 1000
    timings.sampled[4] = 1
    await second(clock, one)
    links = (await one.live()).systems["links"]
    assert links.requests_per_second == 1000.0
    assert links.p50_ms <= 0.016
    assert links.queue_depth == 7


async def test_the_history_has_steps_of_five_seconds_of_all_processes(clock, one, two):
    for _ in range(10):
        for _ in range(5):
            one.finished("links", 0.001, 200)
            two.finished("chat", 0.001, 200)
        await second(clock, one, two)
    clock.advance(ms=1500)
    history = await two.history(1)
    assert history.step_seconds == 5
    assert history.from_ms + 60_000 == clock.now_ms() // 5000 * 5000
    assert history.series["links"].requests_per_second == [0.0] * 10 + [5.0, 5.0]
    assert history.series["chat"].requests_per_second == [0.0] * 10 + [5.0, 5.0]
    assert history.series["links"].p50_ms[0] is None
    assert history.series["links"].p50_ms[-1] is not None


async def test_slots_are_forgotten_after_twenty_minutes(clock, one, valkey):
    one.finished("links", 0.001, 200)
    await second(clock, one)
    (key,) = await valkey.call("KEYS", "web:traffic:slot:*")
    assert 1200 < await valkey.call("TTL", key) <= 1260
    for _ in range(300):
        clock.advance(ms=5000)
        await one.tick()
    assert len(one._slots) <= 240


async def test_a_process_that_has_gone_counts_no_more(clock, one, two):
    two.finished("links", 0.001, 200)
    await second(clock, one, two)
    assert (await one.live()).systems["links"].requests_per_second == 1.0
    await two.close()
    assert "links" not in (await one.live()).systems
    two.finished("links", 0.001, 200)
    await second(clock, one, two)
    for _ in range(4):
        await second(clock, one)
    assert "links" not in (await one.live()).systems


async def test_without_valkey_a_process_knows_itself_and_says_so(clock, one, valkey):
    one.finished("links", 0.001, 200)
    await second(clock, one)
    await valkey.close()
    for _ in range(6):
        one.finished("links", 0.001, 200)
        await second(clock, one)
    live = await one.live()
    assert live.partial
    assert live.systems["links"].requests_per_second == 1.0
    history = await one.history(1)
    assert history.partial
    assert sum(history.series["links"].requests_per_second) > 0


class Keys:
    async def principal_of_key(self, key):
        scopes = {"good": frozenset({"*"}), "narrow": frozenset({"links:*"})}.get(key)
        tenant = TenantId(2 if key == "narrow" else 1)
        return None if scopes is None else Principal(tenant_id=tenant, key_id=1, scopes=scopes, tier="free")

    async def principal_of_session(self, token):
        return None


@pytest.fixture
async def hub():
    return Hub(asyncio.get_running_loop())


@pytest.fixture
async def overview(clock, one, hub):
    async def engines():
        return [
            EngineStatus(name="database", kind="embedded", healthy=True, detail="", latency_ms=0.3),
            EngineStatus(name="cache", kind="external", healthy=False, detail="refused", latency_ms=None),
        ]

    cards = [
        SystemCard(name="links", title="Links", group="serve", promise="p", running=True, start_command="up links"),
        SystemCard(name="chat", title="Chat", group="talk", promise="p", running=False, start_command="up chat"),
    ]  # fmt: skip
    overview = Overview(
        one,
        hub,
        clock,
        version="1.2",
        started_at_ms=clock.now_ms(),
        data_dir="/data",
        systems=cards,
        engines=engines,
    )
    yield overview
    await overview.close()


@pytest.fixture
async def app(clock, one, hub, overview):
    return Application(
        routers=[platform_routes(overview)],
        sockets=platform_sockets(overview, hub),
        hub=hub,
        guard=Guard(Keys(), clock),
        metrics=lambda: metrics.page(one),
        observer=one,
        version="1.2",
    )


@pytest.fixture
async def ask(app):
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        yield lambda path, headers=KEY: client.get(path, headers=headers)


async def test_the_status_lists_all_systems_and_engines(ask, clock, one):
    one.finished("links", 0.001, 200)
    await second(clock, one)
    status = (await ask("/v1/platform/status")).json()
    assert status["version"] == "1.2"
    assert status["started_at"] == "2027-01-15T08:00:00.000Z"
    assert status["data_dir"] == "/data"
    assert status["systems"][0] == {
        "name": "links", "title": "Links", "group": "serve", "promise": "p", "running": True,
        "start_command": "up links", "requests_per_second": 1.0, "p50_ms": pytest.approx(0.77, abs=0.3),
        "p99_ms": pytest.approx(1.0, abs=0.5), "errors_per_second": 0.0, "queue_depth": 0,
    }  # fmt: skip
    assert status["systems"][1]["running"] is False
    assert status["systems"][1]["p50_ms"] is None
    assert status["engines"][1] == {
        "name": "cache", "kind": "external", "healthy": False, "detail": "refused", "latency_ms": None,
    }  # fmt: skip


async def test_the_overview_needs_its_scope(ask):
    assert (await ask("/v1/platform/status", {})).status_code == 401
    refused = await ask("/v1/platform/status", {"authorization": "Bearer narrow"})
    assert (refused.status_code, refused.json()["scope"]) == (403, "platform:read")


async def test_the_history_answers_for_one_to_twenty_minutes(ask):
    history = (await ask("/v1/platform/history?minutes=2")).json()
    assert history["from"].endswith("Z")
    assert (await ask("/v1/platform/history")).status_code == 200
    for minutes in ("0", "21", "x"):
        assert (await ask(f"/v1/platform/history?minutes={minutes}")).status_code == 422


async def test_the_live_view_tells_what_moves_while_somebody_looks(app, hub, overview):
    server = Server(app, sockets=[bind("127.0.0.1", 0)], hub=hub, limits=Limits(drain_seconds=0.5))
    await server.start()
    url = f"ws://127.0.0.1:{server.port}/v1/platform/live"
    async with (
        ws_connect(url, additional_headers=KEY) as first,
        ws_connect(url, additional_headers=KEY) as late,
    ):
        for client in (first, late):
            told = json.loads(await asyncio.wait_for(client.recv(), 5))
            assert set(told) == {"at", "partial", "systems", "engines"}
            assert told["systems"]["links"]["requests_per_second"] == 0.0
            assert told["engines"]["cache"] == {"healthy": False, "latency_ms": None, "detail": "refused"}
    async with asyncio.timeout(5):
        await overview._task
    assert not hub.listeners("platform:live")
    await server.stop()


async def test_the_metrics_page_counts_each_process(ask, clock, one, two):
    for _ in range(3):
        one.finished("links", 0.001, 500)
    two.finished("links", 0.1, 200)
    one.gauge("connections", lambda: 5)
    await second(clock, one, two)
    page = (await ask("/metrics", {})).text
    samples = {
        (sample.name, sample.labels.get("process"), sample.labels.get("le")): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert samples["twelvefold_requests_total", "web-1", None] == 3
    assert samples["twelvefold_requests_total", "web-2", None] == 1
    assert samples["twelvefold_request_errors_total", "web-1", None] == 3
    assert samples["twelvefold_request_seconds_bucket", "web-2", "+Inf"] == 1
    assert samples["twelvefold_request_seconds_count", "web-1", None] == 3
    assert samples["twelvefold_connections", "web-1", None] == 5


async def test_requests_are_counted_under_their_system(ask, clock, one):
    await ask("/v1/platform/status")
    await ask("/healthz")
    await ask("/nowhere")
    await second(clock, one)
    assert (await one.live()).systems["platform"].requests_per_second == 3.0
