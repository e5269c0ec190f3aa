"""Guessing where a protocol has its own way with secrets is slowed like anywhere else, and by the same count."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.conftest import RunningServer, start_server, stop_server

FAILURES = 2
SETTINGS = (
    "-X",
    f"limiter.failures_a_minute={FAILURES}",
    "-X",
    "limiter.answer_ms=5000",
    "-X",
    "limiter.grpc_port=0",
)


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[RunningServer]:
    process, running = start_server(tmp_path / "data", *SETTINGS, "-X", "limiter.resp_port=0")
    yield running
    stop_server(process)


def asked(server: RunningServer, **shown: str) -> httpx2.Response:
    form = {"action": "db-stats", "format": "json", **shown}
    return httpx2.post(f"{server.url}/yourls-api.php", data=form, timeout=30)


def test_signatures_passwords_and_timed_signatures_that_prove_wrong_count_together(
    strict: RunningServer,
) -> None:
    assert asked(strict, signature=strict.api_key).status_code == 200
    now = str(int(time.time()))
    guesses = [
        {"password": "tf_" + "a" * 43},
        {"signature": "b" * 10},
        {"signature": "c" * 32, "timestamp": now},
        {"signature": "d" * 10},
    ]
    answers = [asked(strict, **guess) for guess in guesses]
    assert [answer.status_code for answer in answers[:FAILURES]] == [403] * FAILURES
    assert [answer.status_code for answer in answers[FAILURES:]] == [429, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60 // FAILURES
    assert answers[-1].json()["errorCode"] == "429"
    # The API's own door counts with it; who was here before works on; who shows nothing has guessed nothing.
    strange = {"Authorization": "Bearer tf_" + "e" * 43}
    assert httpx2.get(f"{strict.url}/v1/keys", headers=strange, timeout=30).status_code == 429
    assert asked(strict, signature=strict.api_key).status_code == 200
    assert asked(strict).status_code == 403


def test_keys_that_prove_wrong_at_centrifugos_server_api_count_too(strict: RunningServer) -> None:
    def channels(key: str) -> httpx2.Response:
        return httpx2.post(f"{strict.url}/api/channels", headers={"X-API-Key": key}, json={}, timeout=30)

    assert channels(strict.api_key).status_code == 200
    answers = [channels(f"tf_{letter * 43}") for letter in "abcd"]
    assert [answer.status_code for answer in answers] == [401] * FAILURES + [429] * 2
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60 // FAILURES
    assert channels(strict.api_key).status_code == 200
