"""What stands between a code and the database: never older than the last change, and one reader for many."""

import asyncio
from importlib.resources import files

import pytest

from twelvefold.engines.database import migrate
from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.clock import SystemClock
from twelvefold.systems.links.contracts import Destination
from twelvefold.systems.links.service.near_cache import NearCache
from twelvefold.systems.links.service.resolver import SERVERS_OWN, Resolver
from twelvefold.systems.links.store.cache import DestinationCache, read_plain
from twelvefold.systems.links.store.domains import DomainStore
from twelvefold.systems.links.store.links import LinkStore


def destination(version, url, **more):
    return Destination(
        link_id=7,
        version=version,
        kind="link",
        state="active",
        url=url,
        redirect=302,
        expires_at_ms=None,
        **more,
    )


@pytest.fixture
async def cache(cache_url):
    async with await Valkey.open(cache_url, name="cache") as valkey:
        yield DestinationCache(valkey)


async def test_a_reader_who_was_overtaken_by_an_edit_cannot_put_the_old_address_back(cache):
    old, new = destination(1, "https://old.example/"), destination(2, "https://new.example/")
    # The reader holds the old row; the writer commits; only then does the reader fill.
    assert await cache.raise_floor(0, "code", new.version)
    await cache.fill(0, "code", old, 0)
    assert await cache.get(0, "code") is None
    await cache.fill(0, "code", new, 0)
    assert (await cache.get(0, "code")).url == "https://new.example/"
    await cache.fill(0, "code", old, 0)
    assert (await cache.get(0, "code")).url == "https://new.example/"


async def test_another_epoch_is_another_name(cache):
    await cache.fill(0, "code", destination(1, "https://old.example/"), 0)
    cache.epoch += 1
    assert await cache.get(0, "code") is None


async def test_the_lane_reads_plain_values_only(cache):
    got = asyncio.get_running_loop().create_future()
    await cache.fill(0, "code", destination(1, "https://a.example/"), 0)
    cache.get_with(got.set_result, 0, b"code")
    link_id, expires, answer = read_plain(await got)
    assert (link_id, expires) == (7, float("inf"))
    assert b"location: https://a.example/\r\n" in answer
    await cache.fill(0, "locked", destination(1, "https://a.example/", password_hash="x"), 0)
    locked = asyncio.get_running_loop().create_future()
    cache.get_with(locked.set_result, 0, b"locked")
    assert read_plain(await locked) is None
    assert read_plain(None) is None


async def test_five_hundred_who_miss_at_once_cost_the_database_one_read(database, cache):
    await migrate(database, "links", files("twelvefold.systems.links") / "schema")
    reads = []

    class Counting(LinkStore):
        async def destination(self, place):
            reads.append(place)
            return await super().destination(place)

    clock = SystemClock()
    near = NearCache(1000, clock.monotonic)
    resolver = Resolver(Counting(database, cache), DomainStore(database), cache, near, clock)
    await resolver.start()
    found = await asyncio.gather(*(resolver.resolve(SERVERS_OWN, "nothing") for _ in range(500)))
    assert found == [None] * 500
    assert reads == [(0, "nothing")]
    await resolver.close()
