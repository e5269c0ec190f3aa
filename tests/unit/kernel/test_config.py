"""Configuration: three sources, each value's origin known, nothing wrong ignored."""

from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from twelvefold.kernel.config import load
from twelvefold.kernel.errors import ConfigurationError


class Server(msgspec.Struct, frozen=True):
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8012
    drain_seconds: float = 10.0
    debug: bool = False
    hosts: list[str] = []
    token: str | None = None


class Log(msgspec.Struct, frozen=True):
    url: str = "embedded"


class LogShip(msgspec.Struct, frozen=True):
    url: str = "none"


class Config(msgspec.Struct, frozen=True):
    server: Server = Server()
    log: Log = Log()
    log_ship: LogShip = LogShip()


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "twelvefold.toml"
    path.write_text(text)
    return path


def test_without_sources_all_is_default() -> None:
    loaded = load(Config)
    assert loaded.value == Config()
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.origins.keys() >= {"server.port", "log.url", "log_ship.url"}


def test_later_sources_win_and_origins_tell(tmp_path: Path) -> None:
    path = file(tmp_path, '[server]\nport = 1\nhost = "file"\ndrain_seconds = 3\n')
    environ = {"TWELVEFOLD_SERVER_PORT": "2", "TWELVEFOLD_SERVER_HOST": "env", "HOME": "/x"}
    loaded = load(Config, file=path, environ=environ, overrides=["server.port=3", "server.debug=true"])
    assert loaded.value.server == Server(host="env", port=3, drain_seconds=3.0, debug=True)
    assert {key: loaded.origins[f"server.{key}"] for key in ("host", "port", "drain_seconds", "hosts")} == {
        "host": "TWELVEFOLD_SERVER_HOST",
        "port": "-X server.port",
        "drain_seconds": str(path),
        "hosts": "default",
    }


def test_lists_come_as_comma_separated_text() -> None:
    assert load(Config, overrides=["server.hosts=a, b ,c"]).value.server.hosts == ["a", "b", "c"]
    assert load(Config, environ={"TWELVEFOLD_SERVER_HOSTS": ""}).value.server.hosts == []


def test_a_value_may_hold_equal_signs() -> None:
    url = "valkey://h:1/?cluster=true"
    assert load(Config, overrides=[f"log.url={url}"]).value.log.url == url


def test_sections_that_begin_alike_are_told_apart() -> None:
    loaded = load(Config, environ={"TWELVEFOLD_LOG_SHIP_URL": "a", "TWELVEFOLD_LOG_URL": "b"})
    assert (loaded.value.log_ship.url, loaded.value.log.url) == ("a", "b")


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (
            {"overrides": ["server.prot=1"]},
            "-X server.prot: unknown key 'server.prot'; did you mean 'server.port'?",
        ),
        ({"overrides": ["sever.port=1"]}, "-X: unknown key 'sever'; did you mean 'server'?"),
        ({"overrides": ["port=1"]}, "-X port=1: write it as section.key=value"),
        ({"overrides": ["server.port"]}, "-X server.port: write it as section.key=value"),
        (
            {"environ": {"TWELVEFOLD_SERVER_PROT": "1"}},
            "TWELVEFOLD_SERVER_PROT: unknown key 'server.prot'; did you mean 'server.port'?",
        ),
        (
            {"environ": {"TWELVEFOLD_SRVER_PORT": "1"}},
            "TWELVEFOLD_SRVER_PORT: no such setting; did you mean TWELVEFOLD_SERVER_PORT?",
        ),
        (
            {"environ": {"TWELVEFOLD_ZZZZZZ": "1"}},
            "TWELVEFOLD_ZZZZZZ: no such setting; see `twelvefold config show`",
        ),
        (
            {"overrides": ["server.qqqqqq=1"]},
            "-X server.qqqqqq: unknown key 'server.qqqqqq'; known here: debug, drain_seconds, host,",
        ),
        ({"overrides": ["server.port=many"]}, "-X server.port: server.port: Expected `int`"),
        ({"overrides": ["server.port=70000"]}, "-X server.port: server.port: Expected `int` <= 65535"),
        (
            {"environ": {"TWELVEFOLD_SERVER_DEBUG": "maybe"}},
            "TWELVEFOLD_SERVER_DEBUG: server.debug: Expected `bool`",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_source_and_the_nearest(
    sources: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(Config, **sources)  # type: ignore[arg-type]
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\nprot = 1", "unknown key 'server.prot'; did you mean 'server.port'?"),
        ("[serv]\nport = 1", "unknown key 'serv'; did you mean 'server'?"),
        ("server = 1", "'server' is a section; write [server] above its keys"),
        ("[server\nport = 1", "not valid TOML"),
        ("[server]\nport = '1'x", "not valid TOML"),
        ("[server]\nport = [1]", "server.port: Expected `int`, got `array`"),
    ],
)
def test_a_wrong_file_is_named_with_the_fault(tmp_path: Path, text: str, message: str) -> None:
    path = file(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load(Config, file=path)
    assert caught.value.message.startswith(f"{path}: ")
    assert message in caught.value.message


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file or directory; check that it exists"):
        load(Config, file=tmp_path / "absent.toml")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        load(Config, file=tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'[server]\nhost = "\xfc"')
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        load(Config, file=tmp_path / "latin.toml")


class Strict(msgspec.Struct, frozen=True):
    name: str
    low: int = 1
    high: int = 2

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low must not be above high")


class StrictConfig(msgspec.Struct, frozen=True):
    strict: Strict


def test_a_setting_without_a_default_must_be_given() -> None:
    with pytest.raises(ConfigurationError, match=r"strict.name is not set; .*TWELVEFOLD_STRICT_NAME"):
        load(StrictConfig)
    assert load(StrictConfig, overrides=["strict.name=x"]).value.strict.name == "x"


def test_a_section_that_contradicts_itself_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"strict: low must not be above high"):
        load(StrictConfig, overrides=["strict.name=x", "strict.low=5"])


def test_secrets_do_not_show_in_type_errors() -> None:
    class Bank(msgspec.Struct, frozen=True):
        pin: int = 0

    class Root(msgspec.Struct, frozen=True):
        bank: Bank = Bank()

    with pytest.raises(ConfigurationError) as caught:
        load(Root, overrides=["bank.pin=secret-word"])
    assert "secret-word" not in caught.value.message
