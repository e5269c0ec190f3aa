"""The gate in front of the API, and who guesses."""

import httpx2
from tests.unit.web.application.things import KEY, problem_in

from twelvefold.kernel.errors import RateLimitedError
from twelvefold.web.guard import GateDecision


class FixedGate:
    def __init__(self):
        self.asked = []
        self.failures = []
        self.refuse = False
        self.too_many = RateLimitedError(retry_after_seconds=2)

    async def admit(self, principal, facts):
        self.asked.append((principal.key_id if principal else None, facts.method, facts.path, facts.client))
        refused = RateLimitedError(retry_after_seconds=9.1) if self.refuse else None
        return GateDecision(headers=(("ratelimit-remaining", "4"),), refused=refused)

    def barred(self, client):
        return self.too_many if client == "192.0.2.66" else None

    async def failed(self, client):
        self.failures.append(client)
        return self.too_many if len(self.failures) > 2 else None


async def test_the_gate_is_asked_for_each_api_request_and_its_headers_are_sent_either_way(make):
    gate = FixedGate()
    transport = httpx2.ASGITransport(app=make(gate=gate), client=("192.0.2.1", 5))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/v1/things", headers=KEY)
        assert response.headers["ratelimit-remaining"] == "4"
        gate.refuse = True
        response = await client.get("/v1/things")
        problem_in(response, 429, "rate_limited")
        assert response.headers["retry-after"] == "10"
        assert response.headers["ratelimit-remaining"] == "4"
        await client.get("/healthz")
    assert gate.asked == [(1, "GET", "/v1/things", "192.0.2.1"), (None, "GET", "/v1/things", "192.0.2.1")]


async def test_an_address_that_guesses_is_told_to_wait_and_a_key_that_was_good_still_passes(make):
    gate = FixedGate()
    app = make(gate=gate)
    wrong = {"authorization": "Bearer wrong"}
    transport = httpx2.ASGITransport(app=app, client=("192.0.2.1", 5))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        statuses = [(await client.get("/v1/things", headers=wrong)).status_code for _ in range(3)]
        assert statuses == [401, 401, 429]
        assert gate.failures == ["192.0.2.1"] * 3
    barred = httpx2.ASGITransport(app=app, client=("192.0.2.66", 5))
    async with httpx2.AsyncClient(transport=barred, base_url="http://test") as client:
        refused = await client.get("/v1/things", headers=KEY)
        problem_in(refused, 429, "rate_limited")
        assert refused.headers["retry-after"] == "2"
        assert (await client.get("/v1/things")).status_code == 200, "who shows nothing guesses nothing"
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/v1/things", headers=KEY)).status_code == 200
    async with httpx2.AsyncClient(transport=barred, base_url="http://test") as client:
        assert (await client.get("/v1/things", headers=KEY)).status_code == 200
