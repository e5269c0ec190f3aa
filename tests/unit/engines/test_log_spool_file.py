"""The spool on disk: whole frames in order, whatever a crash or a full disk leaves."""

import resource
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvefold.engines.log import pack, unpack
from twelvefold.engines.log.packing import MAX_ENTRY_BYTES
from twelvefold.engines.log.spool_file import Frame, Spool

FRAMES = [Frame(n, n, [b"record %d" % n] * n) for n in range(1, 5)]


def spool(parent: Path, name: str = "p", max_bytes: int = 1 << 20) -> Spool:
    return Spool.create(parent, name, max_bytes=max_bytes)


def contents(opened: Spool) -> list[Frame]:
    frames = []
    while batch := opened.oldest(1):
        frames += batch
        for _ in batch:
            opened.drained()
    return frames


def crash(opened: Spool) -> None:
    """What the kernel does when a process dies: the lock goes, the files stay."""
    opened._close_file()
    __import__("os").close(opened._lock)


def test_frames_come_back_in_order_and_leave_nothing(tmp_path: Path) -> None:
    opened = spool(tmp_path)
    opened.append(FRAMES[:1])
    opened.append(FRAMES[1:])
    assert opened.records == 10
    assert contents(opened) == FRAMES
    assert opened.is_empty
    assert opened.size_bytes == 0
    opened.append(FRAMES[:2])
    assert contents(opened) == FRAMES[:2]
    opened.close()
    assert list(tmp_path.iterdir()) == []


def test_several_frames_are_handed_out_up_to_a_size(tmp_path: Path) -> None:
    opened = spool(tmp_path)
    opened.append(FRAMES)
    assert opened.oldest(1 << 20) == FRAMES
    opened.drained()
    assert opened.oldest(1) == FRAMES[1:2]


def test_a_torn_tail_is_cut_clean_at_every_byte(tmp_path: Path) -> None:
    opened = spool(tmp_path / "whole")
    ends = []
    for frame in FRAMES:
        opened.append([frame])
        ends.append(opened.size_bytes)
    crash(opened)
    (segment,) = (tmp_path / "whole" / "p").glob("*.spool")
    whole = segment.read_bytes()
    for cut in range(len(whole) + 1):
        parent = tmp_path / str(cut)
        shutil.copytree(tmp_path / "whole", parent)
        (parent / "p" / segment.name).write_bytes(whole[:cut])
        survivors = FRAMES[: sum(end <= cut for end in ends)]
        adopted = Spool.adopt(parent, max_bytes=1 << 20)
        assert len(adopted) == bool(survivors)
        if adopted:
            last = max(end for end in ends if end <= cut)
            assert adopted[0].cut_bytes == cut - last
            assert (parent / "p" / segment.name).stat().st_size == last
            late = Frame(9, 1, [b"late"])
            adopted[0].append([late])
            assert contents(adopted[0]) == [*survivors, late]
            adopted[0].close()
        assert list(parent.iterdir()) == []


@pytest.mark.parametrize("junk", [b"\x00" * 64, b"\xff" * 64, b"\x01\x00\x00\x00" * 16])
def test_a_tail_of_junk_is_cut_off(tmp_path: Path, junk: bytes) -> None:
    opened = spool(tmp_path)
    opened.append(FRAMES)
    crash(opened)
    (segment,) = (tmp_path / "p").glob("*.spool")
    segment.write_bytes(segment.read_bytes() + junk)
    (adopted,) = Spool.adopt(tmp_path, max_bytes=1 << 20)
    assert adopted.cut_bytes == 64
    assert contents(adopted) == FRAMES
    adopted.close()


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    opened = spool(tmp_path)
    opened.append(FRAMES[:2])
    size = opened.size_bytes
    crash(opened)
    (segment,) = (tmp_path / "p").glob("*.spool")
    data = bytearray(segment.read_bytes())
    data[size - 3] ^= 4
    segment.write_bytes(data)
    (adopted,) = Spool.adopt(tmp_path, max_bytes=1 << 20)
    assert contents(adopted) == FRAMES[:1]
    adopted.close()


def test_past_its_bound_the_oldest_goes_and_is_counted(tmp_path: Path) -> None:
    opened = spool(tmp_path, max_bytes=16_000)
    frames = [Frame(n, 10, [b"x" * 480]) for n in range(100)]
    dropped = sum(opened.append([frame]) for frame in frames)
    assert dropped > 0
    assert opened.size_bytes <= 16_000
    left = contents(opened)
    assert dropped == 1000 - 10 * len(left)
    assert left == frames[-len(left) :], "what is left is the newest, in order"
    assert len(left) >= 24, "no more goes than must"


def test_a_drop_while_frames_are_being_drained_keeps_the_count(tmp_path: Path) -> None:
    opened = spool(tmp_path, max_bytes=4_000)
    for n in range(7):
        opened.append([Frame(n, 1, [b"x" * 480])])
    assert opened.oldest(1)[0].sequence == 0
    opened.append([Frame(7, 1, [b"x" * 900])])
    left = contents(opened)
    assert [frame.sequence for frame in left] == list(range(8 - len(left), 8))
    assert opened.records == 0


def test_only_the_dead_are_adopted_and_only_once(tmp_path: Path) -> None:
    alive, dead = spool(tmp_path, "alive"), spool(tmp_path, "dead")
    alive.append(FRAMES[:1])
    dead.append(FRAMES[:1])
    assert Spool.adopt(tmp_path, max_bytes=1 << 20) == []
    crash(dead)
    (adopted,) = Spool.adopt(tmp_path, max_bytes=1 << 20)
    assert adopted.publisher == "dead"
    assert Spool.adopt(tmp_path, max_bytes=1 << 20) == []
    adopted.close()
    assert Spool.adopt(tmp_path / "nowhere", max_bytes=1 << 20) == []


def test_a_full_disk_appends_nothing_and_says_so(tmp_path: Path) -> None:
    opened = spool(tmp_path)
    opened.append(FRAMES[:1])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (opened.size_bytes + 100, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            opened.append([Frame(2, 1, [b"x" * 500])])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (segment,) = (tmp_path / "p").glob("*.spool")
    assert segment.stat().st_size == opened.size_bytes
    opened.append(FRAMES[1:2])
    assert contents(opened) == FRAMES[:2]


@given(st.lists(st.binary(max_size=2000), max_size=300))
def test_packing_keeps_records_and_order(records: list[bytes]) -> None:
    assert [record for entry in pack(records) for record in unpack(entry)] == records


def test_packed_entries_are_bounded() -> None:
    records = [bytes([n % 256]) * 3000 for n in range(1000)]
    entries = pack(records)
    assert max(map(len, entries)) <= MAX_ENTRY_BYTES
    assert [record for entry in entries for record in unpack(entry)] == records
    assert len(pack([b"x" * (1 << 20)])) == 1
