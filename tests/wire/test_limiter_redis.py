"""The Redis door with ordinary clients: redis-py, redis-benchmark, and bytes on a socket."""

import asyncio
import shutil

import pytest
import redis.asyncio
from redis.exceptions import AuthenticationError, ResponseError
from tests.systems.limiter.house import House

pytestmark = pytest.mark.wire


def client_of(house: House, **more: object) -> redis.asyncio.Redis:
    return redis.asyncio.Redis(port=house.resp_port, password=more.pop("password", house.key), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", [2, 3])
async def test_throttle_answers_five_integers_as_redis_cell_does(house: House, protocol: int) -> None:
    async with client_of(house, protocol=protocol) as client:
        answers = [await client.execute_command("CL.THROTTLE", "user:1", 2, 3, 3600) for _ in range(4)]
        assert [answer[:3] for answer in answers] == [[0, 3, 2], [0, 3, 1], [0, 3, 0], [1, 3, 0]]
        assert [answer[3] for answer in answers[:3]] == [-1, -1, -1]
        assert 1190 < answers[3][3] <= 1200
        assert 3500 < answers[3][4] <= 3600
        assert await client.execute_command("CL.THROTTLE", "user:2", 2, 3, 3600, 3) == [0, 3, 0, -1, 3600]
        assert (await client.execute_command("CL.THROTTLE", "user:3", 2, 3, 3600, 4))[:4] == [1, 3, 3, -1]
        assert (await client.execute_command("CL.THROTTLE", "user:3", 2, 3, 3600, 0))[:3] == [0, 3, 3]
        assert await client.ping()


async def test_pipelines_are_answered_in_order(house: House) -> None:
    async with client_of(house) as client, client.pipeline(transaction=False) as pipe:
        for number in range(500):
            pipe.execute_command("CL.THROTTLE", f"k{number % 50}", 4, 5, 3600)
        answers = await pipe.execute()
        assert [answer[0] for answer in answers] == [0] * 250 + [1] * 250


async def test_the_same_key_and_numbers_are_the_same_state_over_http(house: House) -> None:
    async with client_of(house) as client:
        assert (await client.execute_command("CL.THROTTLE", "k", 0, 1, 3600))[0] == 0
        rule = {"name": "cl", "limit": 1, "burst": 1, "period_seconds": 3600}
        assert (await house.ask("POST", "/check", {"rule": rule, "key": "k"})).json()["allowed"] is False


@pytest.mark.parametrize(
    "arguments",
    [
        ("k",), ("k", 1, 2), ("k", 1, 2, 3, 4, 5), ("k", "x", 2, 3), ("k", -1, 2, 3), ("k", 1, 0, 3), ("k", 1, 2, 0),
        ("k", 1, 2, "1.5"), ("k", 1, 2, 3, -1), ("", 1, 2, 3), ("k" * 5000, 1, 2, 3), ("k", 1, 10**30, 3),
        ("k", 999_999_999, 1, 31_000_000),
    ],
)  # fmt: skip
async def test_wrong_arguments_get_an_error_and_the_connection_stays(
    house: House, arguments: tuple[object, ...]
) -> None:
    async with client_of(house, single_connection_client=True) as client:
        with pytest.raises(ResponseError):
            await client.execute_command("CL.THROTTLE", *arguments)  # type: ignore[arg-type] # wrong on purpose
        assert await client.ping()
        with pytest.raises(ResponseError, match="unknown command"):
            await client.execute_command("GET", "k")


async def test_without_a_key_nothing_is_counted(house: House) -> None:
    async with client_of(house, password="tf_wrong") as client:
        with pytest.raises(AuthenticationError):
            await client.execute_command("CL.THROTTLE", "k", 1, 2, 3)
    got = await exchange(
        house, b"*5\r\n$11\r\nCL.THROTTLE\r\n$1\r\nk\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n", lines=1
    )
    assert got.startswith(b"-NOAUTH")


async def test_a_revoked_key_is_out_within_a_second(house: House) -> None:
    made = await house.client.post(
        "/v1/keys",
        json={"name": "door", "scopes": ["limiter:write"], "tier": "free"},
        headers={"authorization": f"Bearer {house.key}"},
    )
    async with client_of(house, password=made.json()["key"], single_connection_client=True) as client:
        assert (await client.execute_command("CL.THROTTLE", "k", 100, 2, 3))[0] == 0
        await house.client.delete(
            f"/v1/keys/{made.json()['id']}", headers={"authorization": f"Bearer {house.key}"}
        )
        async with asyncio.timeout(30):  # redis-py tries again for a while
            with pytest.raises((AuthenticationError, ResponseError)):
                await ask_for_ever(client)


async def ask_for_ever(client: redis.asyncio.Redis) -> None:
    while True:
        await client.execute_command("CL.THROTTLE", "k", 100, 2, 3)
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "attack",
    [
        b"*1000000000\r\n", b"*1\r\n$1000000000\r\n", b"*1\r\n*1\r\n*1\r\n$1\r\nx\r\n", b"*2\r\n$4\r\nPING\r\n:1\r\n",
        b"GET / HTTP/1.1\r\n\r\n", b"*-5\r\n", b"$5\r\nhello\r\n", b"*1\r\n$-1\r\n", b"\x00\xff\r\n",
        b"*9000\r\n" + b"$9000\r\n" + b"x" * 9000 + b"\r\n" + (b"$9000\r\n" + b"x" * 9000 + b"\r\n") * 40,
    ],
)  # fmt: skip
async def test_malformed_and_oversized_streams_are_refused_and_closed(house: House, attack: bytes) -> None:
    got = await exchange(house, attack, lines=None)
    assert got.startswith(b"-ERR")
    async with client_of(house) as client:
        assert await client.ping()


async def test_bytes_may_come_one_by_one(house: House) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.resp_port)
    for byte in b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%b\r\n*1\r\n$4\r\nPING\r\n" % (
        len(house.key),
        house.key.encode(),
    ):
        writer.write(bytes((byte,)))
        await writer.drain()
    async with asyncio.timeout(5):
        assert await reader.readexactly(12) == b"+OK\r\n+PONG\r\n"
    writer.close()
    await writer.wait_closed()


async def test_redis_benchmark_runs_against_the_door(house: House) -> None:
    program = shutil.which("redis-benchmark")
    if program is None:
        pytest.skip("redis-benchmark is missing: apt-get install redis-tools")
    process = await asyncio.create_subprocess_exec(
        program, "-p", str(house.resp_port), "-a", house.key, "-n", "5000", "-c", "20", "-P", "8", "-r", "1000",
        "--csv", "CL.THROTTLE", "user:__rand_int__", "15", "30", "60",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    assert b"CL.THROTTLE" in out, (out, errors)
    assert house.system.limiter.tally.decided >= 0


async def exchange(house: House, data: bytes, *, lines: int | None) -> bytes:
    """What comes back: so many lines, or all until the door closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", house.resp_port)
    writer.write(data)
    async with asyncio.timeout(10):
        got = await reader.readline() if lines else await reader.read()
    writer.close()
    return got
