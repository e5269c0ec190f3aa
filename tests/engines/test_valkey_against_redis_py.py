"""The same commands through our client and through redis-py, on two databases of one server: same replies."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engines.valkey_server import ValkeyServer

from twelvefold.engines.valkey import ReplyError, Valkey
from twelvefold.engines.valkey.errors import ServerStateError

Command = tuple[Any, ...]

WORDS: dict[str, st.SearchStrategy[Any]] = {
    "key": st.sampled_from(["a", b"b", "c", "ключ", b"\x00\r\n\xff"]),
    "data": st.one_of(
        st.binary(max_size=300),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from(["1", "", b"x" * 70_000]),
    ),
    "field": st.sampled_from(["f", "g", b"h\n", 7, 1.5]),
    "small": st.integers(-5, 5),
    "score": st.floats(-1e6, 1e6),
    "entry": st.integers(1, 9).map(lambda n: f"{n}-{n}"),
    "longitude": st.integers(-179, 179),
    "latitude": st.integers(-80, 80),
    "lua_array": st.just("return {KEYS[1], ARGV[1], 7, false, {ok='fine'}}"),
    "lua_call": st.just("return redis.call('GET', KEYS[1])"),
    "lua_map": st.just("redis.setresp(3) return {map={a=1}, double=1.5}"),
}
"""What a lower-case word of a template stands for; other words stand for themselves."""

TEMPLATES = """
GET key | SET key data | SET key data NX | SET key data GET | GETDEL key | APPEND key data
STRLEN key | INCR key | INCRBY key small | INCRBYFLOAT key score | GETRANGE key small small
SETRANGE key 3 data | MGET key key | PING | MSET key data key data | SETBIT key 9 1 | GETBIT key 9
BITCOUNT key | LCS key key IDX | EXISTS key key | DEL key | TYPE key | EXPIRE key 1000 | TTL key
PERSIST key | RENAME key key | COPY key key | DBSIZE | OBJECT ENCODING key | DUMP key
HSET key field data | HGET key field | HMGET key field field | HGETALL key | HDEL key field
HLEN key | HINCRBY key field small | HRANDFIELD key 100 | RPUSH key data data | LPOP key
LPOP key 2 | LLEN key | LRANGE key small small | LINDEX key small | LMOVE key key LEFT RIGHT
SADD key data data | SREM key data | SCARD key | SMEMBERS key | SMISMEMBER key data data
SINTER key key | SUNIONSTORE key key key | ZADD key score data | ZADD key INCR score data
ZSCORE key data | ZRANGE key small small WITHSCORES | ZRANGEBYSCORE key -inf score | ZPOPMIN key
ZRANK key data WITHSCORE | ZCARD key | ZMSCORE key data data | XADD key entry field data | XLEN key
XRANGE key - + | XREAD COUNT 2 STREAMS key key 0 0 | XDEL key entry | XGROUP CREATE key g 0
XPENDING key g | XREADGROUP GROUP g c STREAMS key > | XINFO GROUPS key
GEOADD key longitude latitude field | GEOPOS key field field
GEOSEARCH key FROMLONLAT 1 1 BYRADIUS 9000 km WITHDIST | PFADD key data | PFCOUNT key
EVAL lua_array 1 key data | EVAL lua_call 1 key | EVAL lua_map 0 | ECHO data
COMMAND GETKEYS MGET key key | CONFIG GET maxmemory | GET | NOSUCH data | ZADD key data data
HSET key field | PING data
"""


def command(template: str) -> st.SearchStrategy[Command]:
    verb, *words = template.split()
    spellings = st.sampled_from([verb, verb.lower(), verb.encode()])
    return st.tuples(spellings, *(WORDS.get(word, st.just(word)) for word in words))


COMMANDS = st.one_of(
    [command(template) for line in TEMPLATES.splitlines() for template in line.split("|") if line]
)

UNORDERED = {"SMEMBERS", "SINTER", "HGETALL", "HRANDFIELD"}


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    server = ValkeyServer().start()
    asyncio.run(server.answering())  # type: ignore[arg-type] # returns the server, which nobody needs here
    yield server
    server.close()


def comparable(args: Command, reply: Any) -> Any:
    """The same shape for both clients: errors as their text, unordered replies sorted."""
    if isinstance(reply, ReplyError):
        return "error", reply.message
    if isinstance(reply, ServerStateError):
        return "error", reply.reply
    if isinstance(reply, redis.RedisError):
        return "error", str(reply)
    verb = args[0].decode() if isinstance(args[0], bytes) else args[0]
    if verb.upper() in UNORDERED and not isinstance(reply, dict):
        return sorted(reply)
    return reply


async def ours(client: Valkey, commands: list[Command]) -> list[Any]:
    """All in one write, as the client does it for many callers."""
    return await asyncio.gather(*(client.call(*args) for args in commands), return_exceptions=True)


def theirs(connection: Any, args: Command) -> Any:
    try:
        connection.send_command(*args)
        return connection.read_response(disable_decoding=True)
    except redis.ResponseError as error:
        return error


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commands=st.lists(COMMANDS, min_size=20, max_size=60))
def test_replies_equal_those_of_redis_py(server: ValkeyServer, commands: list[Command]) -> None:
    async def check() -> list[Any]:
        async with await Valkey.open(server.url, deadline_seconds=10) as client:
            await client.call("FLUSHDB")
            return await ours(client, commands)

    peer = redis.Redis(unix_socket_path=str(server.path), db=1, protocol=3)
    connection = peer.connection_pool.get_connection()
    try:
        theirs(connection, ("FLUSHDB",))
        expected = [theirs(connection, args) for args in commands]
    finally:
        peer.connection_pool.release(connection)
        peer.close()
    for args, reply, wanted in zip(commands, asyncio.run(check()), expected, strict=True):
        got = comparable(args, reply)
        want = comparable(args, wanted)
        if isinstance(want, tuple) and isinstance(got, tuple):
            assert want[1].endswith(got[1]) or got[1].endswith(want[1]), (args, got, want)
        else:
            assert got == want, (args, got, want)
            assert type(got) is type(want), (args, got, want)
