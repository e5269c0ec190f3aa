"""A node's slices of leased rules: what they tell, and how they make room."""

from twelvefold.kernel.tenancy import DEFAULT_TENANT
from twelvefold.systems.limiter.contracts import Hit, Rule
from twelvefold.systems.limiter.service.leased import Slot
from twelvefold.systems.limiter.service.limiter import Limiter


async def test_a_slice_tells_the_same_for_a_millisecond_and_never_beyond_its_lease(limiter: Limiter) -> None:
    rule = Rule(name="r", limit=1000, period_seconds=60, mode="leased")
    ((bound, key, _),) = limiter.resolve(DEFAULT_TENANT, [Hit(rule, "k")])
    slot = Slot(bound, key, 0.0, None)
    slot.until, slot.reset_at = 10.0, 20.0
    assert slot.freshen(5.0)
    assert (slot.reset_us, slot.fresh_until) == (15_000_001, 5.001)
    assert slot.freshen(9.9995)
    assert slot.fresh_until == 10.0
    assert not slot.freshen(10.0)


async def test_what_had_to_make_room_is_not_dropped_a_second_time(limiter: Limiter) -> None:
    rule = Rule(name="r", limit=1000, period_seconds=60, mode="leased")
    await limiter.check(rule, "k")
    ((bound, key, _),) = limiter.resolve(DEFAULT_TENANT, [Hit(rule, "k")])
    book = limiter._leases
    first = book._slot(bound, key)
    assert first is not None
    book._drop(first)
    book._drop(first)
    assert (await limiter.check(rule, "k")).allowed
    book._drop(first)
    assert book._slot(bound, key) is not None
    assert book._count == 1
