"""`twelvefold up` on its bad days: one clear line, the right exit code, and nothing left behind."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys

import httpx2
import psutil
import pytest
from tests.conftest import start_server, stop_server, until

DEADLINE_SECONDS = 30.0


def twelvefold(*words, env=None):
    """Run a verb to its end."""
    return subprocess.run(
        [sys.executable, "-m", "twelvefold.cli", *words],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | (env or {}),
        check=False,
    )


def one_line(finished, code):
    assert finished.returncode == code, finished.stderr
    assert finished.stdout == ""
    assert "Traceback" not in finished.stderr
    lines = [line for line in finished.stderr.splitlines() if line.startswith("twelvefold:")]
    assert len(lines) == 1, finished.stderr
    return finished.stderr


def test_a_second_up_on_one_data_folder_is_refused_with_the_holders_pid(server):
    said = one_line(twelvefold("up", "--data", server.data_dir, "--port", "0"), 3)
    assert str(server.pid) in said


def test_a_taken_port_is_named_with_the_way_out(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = one_line(twelvefold("up", "--data", str(tmp_path / "data"), "--port", str(port)), 1)
    assert str(port) in said
    assert "--port" in said


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("[server\n", "not valid TOML"),
        ("[serverr]\nport = 1\n", "did you mean 'server'"),
        ("[server]\nprt = 1\n", "did you mean 'server.port'"),
        ("[server]\nport = 'many'\n", "server.port"),
        ("[logging]\nlevel = 'loud'\n", "logging.level"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_explained(tmp_path, content, named):
    file = tmp_path / "twelvefold.toml"
    file.write_text(content)
    said = one_line(twelvefold("up", "--data", str(tmp_path / "data"), "--config", str(file)), 1)
    assert named in said
    assert not (tmp_path / "data").exists()


def test_a_configuration_that_is_not_there_is_explained(tmp_path):
    said = one_line(twelvefold("up", "--config", str(tmp_path / "nothing.toml")), 1)
    assert "nothing.toml" in said


@pytest.mark.parametrize(
    ("setting", "engine"),
    [
        ("database.url=postgresql://u:wrong@127.0.0.1:1/nothing", "database"),
        ("valkey.url=valkey://127.0.0.1:1", "valkey"),
        ("cache.url=http://127.0.0.1", "cache"),
        ("log.url=unix:///nothing/here", "log"),
    ],
)
def test_an_engine_that_cannot_be_reached_is_named(tmp_path, setting, engine):
    finished = twelvefold("up", "--data", str(tmp_path / "data"), "--port", "0", "-X", setting)
    said = one_line(finished, 1)
    assert engine in said
    assert "wrong" not in said.replace("it went wrong", "")  # no password in a message


def test_a_wrong_password_is_said_in_one_line(tmp_path, database_url):
    wrong = (
        database_url.replace("://", "://nobody:secret-word@", 1) if "@" not in database_url else database_url
    )
    head, _, tail = wrong.partition("@")
    wrong = f"{head.rpartition(':')[0]}:secret-word@{tail}"
    finished = twelvefold(
        "up", "--data", str(tmp_path / "data"), "--port", "0", "-X", f"database.url={wrong}"
    )
    said = one_line(finished, 1)
    assert "database" in said
    assert "secret-word" not in said


def test_what_was_made_is_there_after_a_clean_end_and_a_new_start(tmp_path):
    process, running = start_server(tmp_path / "data")
    made = httpx2.post(
        f"{running.url}/v1/links", headers=running.headers, json={"url": "https://example.com/"}
    ).json()
    assert stop_server(process) == 0
    assert not psutil.pid_exists(process.pid)
    process, again = start_server(tmp_path / "data")
    try:
        assert again.api_key == running.api_key
        assert httpx2.get(f"{again.url}/{made['code']}").headers["location"] == "https://example.com/"
        more = httpx2.post(
            f"{again.url}/v1/links", headers=again.headers, json={"url": "https://example.com/"}
        ).json()
        assert more["code"] != made["code"]
        assert int(more["id"]) > int(made["id"])
    finally:
        assert stop_server(process) == 0


def test_killing_up_leaves_no_process_behind(tmp_path):
    process, running = start_server(tmp_path / "data")
    family = psutil.Process(running.pid).children(recursive=True)
    assert len(family) >= 6
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    until(lambda: not any(member.is_running() and member.status() != "zombie" for member in family))
    process, _ = start_server(tmp_path / "data")
    assert stop_server(process) == 0


@pytest.mark.parametrize("role", ["web-0", "work"])
def test_a_role_that_is_killed_comes_back(tmp_path, role):
    process, running = start_server(tmp_path / "data")
    try:

        def pid_of_role():
            for child in psutil.Process(running.pid).children():
                with contextlib.suppress(psutil.Error):  # it may end while we look
                    if child.cmdline()[3:4] == [role]:
                        return child.pid
            return None

        before = pid_of_role()
        os.kill(before, signal.SIGKILL)
        until(lambda: pid_of_role() not in (None, before))

        def answers():
            try:
                return httpx2.get(f"{running.url}/readyz").status_code == 200
            except httpx2.TransportError:
                return False

        until(answers)
    finally:
        assert stop_server(process) == 0


def test_json_is_one_line_and_nothing_else(tmp_path):
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "twelvefold.cli",
            "up",
            "--json",
            "--port",
            "0",
            "--data",
            str(tmp_path / "data"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    rest, errors = process.communicate(timeout=60)
    assert json.loads(line).keys() == {"url", "api_key", "console_url", "data_dir", "pid"}
    assert (rest, errors) == ("", "")
    assert process.returncode == 0


def test_every_verb_explains_itself_and_an_unknown_one_names_the_nearest():
    overview = twelvefold("--help").stdout
    for verb in ("up", "serve", "work", "status", "doctor", "config", "keys", "tenants", "links", "bench"):
        assert f"  {verb} " in overview
        assert twelvefold(verb, "--help").returncode == 0
    unknown = twelvefold("stats")
    assert unknown.returncode == 2
    assert "did you mean 'status'" in unknown.stderr
    assert twelvefold("up", "--prot", "1").returncode == 2


def test_verbs_speak_to_the_running_platform(server, tmp_path):
    def json_of(*words):
        finished = twelvefold(*words, "--data", server.data_dir, "--json")
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)

    link = json_of("links", "create", "https://example.com/")
    assert any(each["code"] == link["code"] for each in json_of("links", "list")["items"])
    file = tmp_path / "urls.txt"
    file.write_text("https://a.example/\nnonsense\n# a comment\n\nhttps://b.example/\n")
    imported = json_of("links", "import", str(file), "--tag", "imported")
    assert (imported["created"], imported["failed"]) == (2, 1)
    assert imported["failures"][0]["line"] == 2
    exported = tmp_path / "links.csv"
    assert json_of("links", "export", str(exported))["exported"] >= 3
    assert "https://b.example/" in exported.read_text()
    made = json_of("keys", "create", "reader", "--scope", "links:read")
    assert made["key"].startswith("tf_")
    assert json_of("keys", "revoke", made["id"])["revoked_at"]
    assert json_of("keys", "login")["console_url"].startswith(f"{server.url}/console/#login=")
    assert {engine["healthy"] for engine in json_of("status")["engines"]} == {True}
    shown = twelvefold("config", "show", "--json", env={"TWELVEFOLD_SERVER_HOST": "::1"})
    assert json.loads(shown.stdout)["server.host"] == "::1"
    nobody = twelvefold("status", "--data", str(tmp_path))
    assert nobody.returncode == 3
