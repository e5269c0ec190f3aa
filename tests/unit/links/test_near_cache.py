"""The near-cache: bounded, and never older than what was announced."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from twelvefold.systems.links.contracts import Destination
from twelvefold.systems.links.service.near_cache import FLOOR_SECONDS, MISSING_SECONDS, NearCache


class Time:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def link(version, **fields):
    defaults = {
        "link_id": 7,
        "kind": "link",
        "state": "active",
        "url": f"https://e.com/{version}",
        "redirect": 302,
    }
    return Destination(version=version, **(defaults | fields))


def make(entries=100):
    clock = Time()
    near = NearCache(entries, clock)
    return near, near.space(0), clock


def test_what_was_put_is_found_ready_to_be_sent():
    near, space, _ = make()
    near.put(space, b"abc", link(1), near.ticket())
    answer, link_id, expires, _ = near.get(space, b"abc")
    assert answer.startswith(b"HTTP/1.1 302 Found\r\nlocation: https://e.com/1\r\n")
    assert link_id == 7
    assert expires == float("inf")


def test_a_link_that_is_not_the_same_for_everybody_has_no_ready_answer():
    near, space, _ = make()
    near.put(space, b"abc", link(1, password_hash="x"), near.ticket())
    assert near.get(space, b"abc")[0] is None


def test_a_late_refill_loses_against_a_newer_version():
    near, space, _ = make()
    ticket = near.ticket()  # a reader begins, and reads version 1 …
    near.invalidate(0, b"abc", 2)  # … a writer commits version 2 …
    near.put(space, b"abc", link(1), ticket)  # … and the reader comes too late
    assert near.get(space, b"abc") is None
    near.put(space, b"abc", link(2), near.ticket())
    assert near.get(space, b"abc")[3].version == 2


def test_a_floor_outlives_the_turn_of_its_generation():
    near, space, clock = make()
    ticket = near.ticket()
    near.invalidate(0, b"abc", 2)
    clock.now += FLOOR_SECONDS + 1
    near.invalidate(0, b"other", 9)
    near.put(space, b"abc", link(1), ticket)
    assert near.get(space, b"abc") is None


def test_an_announcement_in_the_past_leaves_a_newer_entry_alone():
    near, space, _ = make()
    near.put(space, b"abc", link(5), near.ticket())
    near.invalidate(0, b"abc", 3)
    assert near.get(space, b"abc")[3].version == 5


def test_after_a_gap_nothing_is_trusted_not_even_what_is_being_read():
    near, space, _ = make()
    near.put(space, b"abc", link(1), near.ticket())
    ticket = near.ticket()
    near.forget_all()
    assert near.get(space, b"abc") is None
    near.put(space, b"def", link(1), ticket)
    assert near.get(space, b"def") is None


def test_a_creation_beats_a_remembered_absence_however_they_interleave():
    near, space, clock = make()
    near.put_missing(space, b"new", near.ticket())
    assert near.is_missing(space, b"new")
    near.invalidate(0, b"new", 1)
    assert not near.is_missing(space, b"new")

    ticket = near.ticket()  # a reader found nothing …
    near.forget_missing()  # … then a bulk call made many codes
    near.put_missing(space, b"bulk", ticket)
    assert not near.is_missing(space, b"bulk")

    near.put_missing(space, b"gone", near.ticket())
    clock.now += MISSING_SECONDS
    assert not near.is_missing(space, b"gone")


def test_a_scan_of_unknown_codes_evicts_no_link_and_stays_bounded():
    near, space, _ = make(entries=100)
    near.put(space, b"hot", link(1), near.ticket())
    for number in range(10_000):
        near.put_missing(space, b"%d" % number, near.ticket())
    assert near.get(space, b"hot") is not None
    assert len(near._missing) <= 50


def test_what_is_asked_for_survives_and_the_rest_is_evicted():
    near, space, _ = make(entries=100)
    near.put(space, b"hot", link(1), near.ticket())
    for number in range(1000):
        near.put(space, b"%d" % number, link(1), near.ticket())
        assert near.get(space, b"hot") is not None
        assert len(near) <= 101


def test_switched_off_it_remembers_nothing():
    near, space, _ = make(entries=0)
    near.put(space, b"abc", link(1), near.ticket())
    near.put_missing(space, b"def", near.ticket())
    assert near.get(space, b"abc") is None
    assert not near.is_missing(space, b"def")


class Interleavings(RuleBasedStateMachine):
    """Readers, a writer and lost announcements in any order: nothing announced as old is ever served."""

    reads = Bundle("reads")

    @initialize()
    def begin(self):
        self.near, self.space, self.clock = make(entries=8)
        self.committed = dict.fromkeys((b"a", b"b"), 1)
        self.announced = dict.fromkeys((b"a", b"b"), 1)
        self.version = 1

    @rule(target=reads, code=st.sampled_from([b"a", b"b"]))
    def read(self, code):
        return code, self.committed[code], self.near.ticket()

    @rule(read=reads)
    def fill(self, read):
        code, version, ticket = read
        self.near.put(self.space, code, link(version), ticket)

    @rule(code=st.sampled_from([b"a", b"b"]))
    def write(self, code):
        self.version += 1
        self.committed[code] = self.version

    @rule(code=st.sampled_from([b"a", b"b"]))
    def announce(self, code):
        self.announced[code] = self.committed[code]
        self.near.invalidate(0, code, self.committed[code])

    @rule()
    def lose_announcements(self):
        self.announced.update(self.committed)
        self.near.forget_all()

    @rule()
    def fill_with_others(self):
        for number in range(8):
            self.near.put(self.space, b"x%d" % number, link(1), self.near.ticket())

    @invariant()
    def serves_nothing_older_than_announced(self):
        for code, version in getattr(self, "announced", {}).items():
            entry = self.near.get(self.space, code)
            assert entry is None or entry[3].version >= version


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
