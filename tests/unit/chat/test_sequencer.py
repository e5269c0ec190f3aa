"""The sequencer's own rules; how it appends is tested with the service."""

from collections import Counter

from twelvefold.kernel.clock import ManualClock
from twelvefold.kernel.ids import SnowflakeGenerator
from twelvefold.systems.chat.store.sequencer import lane_of


def test_conversations_begun_at_any_pace_are_spread_over_the_lanes():
    clock = ManualClock()
    ids = SnowflakeGenerator(7, clock, wait=lambda ms: clock.advance(ms=int(ms)))
    made = []
    for turn in range(1000):
        made.append(ids.make())
        clock.advance(ms=turn % 7)
    for lanes in (2, 3, 4):
        spread = Counter(lane_of(one, lanes) for one in made)
        assert set(spread) == set(range(lanes))
        assert min(spread.values()) > 500 / lanes
