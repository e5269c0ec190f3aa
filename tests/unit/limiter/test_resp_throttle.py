"""The short way through CL.THROTTLE and the general parser mean the same by every byte."""

import hiredis
from hypothesis import given, settings
from hypothesis import strategies as st

from twelvefold.kernel.tenancy import DEFAULT_TENANT
from twelvefold.systems.limiter.compat.resp_throttle import Throttles, throttle_reply
from twelvefold.systems.limiter.contracts import Outcome

numbers = st.sampled_from(
    [b"0", b"1", b"15", b"30", b"60", b"007", b"-1", b"1_0", b"", b"99999999999999999999", b"\r\n"]
)
keys = st.one_of(
    st.binary(max_size=90),
    st.sampled_from([b"k", b"user:1", b"a\r\n$1\r\nb", b"*5\r\n$11\r\nCL.THROTTLE\r\n$"]),
)
commands = st.lists(st.tuples(keys, numbers, numbers, numbers), min_size=1, max_size=5)
damage = st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=2)), max_size=2)


def encoded(words: tuple[bytes, ...]) -> bytes:
    parts = (b"CL.THROTTLE", *words)
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


@settings(max_examples=500)
@given(commands, damage, st.integers(0, 600))
def test_what_the_short_way_takes_the_general_parser_reads_alike(
    asked: list[tuple[bytes, ...]], damaged: list[tuple[int, bytes]], cut: int
) -> None:
    data = b"".join(map(encoded, asked))
    for place, replacement in damaged:
        data = data[:place] + replacement + data[place + len(replacement) :]
    data = data[: max(len(data) - cut, 0)] if cut < 100 else data
    throttles, at, taken = Throttles(mode="exact", failure="open"), 0, []
    while (run := throttles.run(DEFAULT_TENANT, data, at)) is not None:
        bound, found, at = run
        taken += [(bound, key, 1) for key in found]
    reader = hiredis.Reader(notEnoughData=None)
    reader.feed(data[:at])
    general = []
    while (command := reader.gets()) is not None:
        assert command[0] == b"CL.THROTTLE"
        general.append(throttles.read(DEFAULT_TENANT, command))
    assert taken == general


def test_a_pipeline_of_plain_commands_is_taken_whole_and_a_torn_one_up_to_its_tear() -> None:
    throttles = Throttles(mode="local", failure="open")
    whole = encoded((b"a", b"1", b"2", b"3")) * 3 + encoded((b"b", b"1", b"2", b"60"))
    run = throttles.run(DEFAULT_TENANT, whole + whole[:40], 0)
    assert run is not None
    assert run[1] == [b"=a"] * 3
    other = throttles.run(DEFAULT_TENANT, whole + whole[:40], run[2])
    assert other is not None
    assert (other[1], other[2]) == ([b"=b"], len(whole))
    assert throttles.run(DEFAULT_TENANT, whole + whole[:40], len(whole)) is None


def test_one_tenants_numbers_are_not_anothers_rule() -> None:
    throttles = Throttles(mode="local", failure="open")
    data = encoded((b"k", b"1", b"2", b"3"))
    first, second = throttles.run(DEFAULT_TENANT, data, 0), throttles.run(DEFAULT_TENANT + 1, data, 0)  # type: ignore[arg-type]
    assert first is not None
    assert second is not None
    assert first[0].tenant != second[0].tenant


def test_a_reply_rounds_waits_up_and_never_says_zero() -> None:
    refused = Outcome(False, 0, 2_000_001, 1)
    assert throttle_reply(refused, 5) == b"*5\r\n:1\r\n:5\r\n:0\r\n:1\r\n:3\r\n"
    assert throttle_reply(Outcome(False, 0, 1, -1), 5).split(b"\r\n")[4] == b":-1"
    for _ in range(2):  # made, then remembered
        assert throttle_reply(Outcome(True, 4, 1, 0), 5) == b"*5\r\n:0\r\n:5\r\n:4\r\n:-1\r\n:1\r\n"


@settings(max_examples=500)
@given(st.tuples(keys, numbers, numbers, numbers), damage, st.integers(0, 3))
def test_a_read_like_the_last_one_means_what_the_general_parser_reads(
    words: tuple[bytes, ...], damaged: list[tuple[int, bytes]], cut: int
) -> None:
    throttles = Throttles(mode="exact", failure="open")
    data = encoded(words)
    throttles.run(DEFAULT_TENANT, data, 0)
    for place, replacement in damaged:
        data = data[:place] + replacement + data[place + len(replacement) :]
    data = data[: len(data) - cut]
    found = throttles.single(DEFAULT_TENANT, data)
    if found is not None:
        reader = hiredis.Reader(notEnoughData=None)
        reader.feed(data)
        command = reader.gets()
        assert reader.gets() is None
        assert throttles.read(DEFAULT_TENANT, command) == (throttles.single_bound, found, 1)


def test_a_read_is_like_the_last_one_of_the_same_tenant_numbers_and_length_only() -> None:
    throttles = Throttles(mode="local", failure="open")
    assert throttles.single(DEFAULT_TENANT, b"") is None
    data = encoded((b"ann", b"1", b"2", b"3"))
    throttles.run(DEFAULT_TENANT, data, 0)
    assert throttles.single(DEFAULT_TENANT, encoded((b"bob", b"1", b"2", b"3"))) == b"=bob"
    assert throttles.single(DEFAULT_TENANT + 1, data) is None  # type: ignore[arg-type] # another tenant
    for words in ((b"bo", b"1", b"2", b"3"), (b"bob", b"1", b"2", b"4"), (b"bob", b"1", b"2", b"3", b"0")):
        assert throttles.single(DEFAULT_TENANT, encoded(words)) is None
    assert throttles.single(DEFAULT_TENANT, data * 2) is None
    assert throttles.single(DEFAULT_TENANT, data[:-1]) is None
