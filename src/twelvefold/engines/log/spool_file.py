"""Batches on disk, in order, while the log is away: a directory of segments for each publisher.

A segment is a sequence of frames; each carries its length, a checksum, the batch's sequence and how many
records are in it, and is fsynced before `append` returns. A crash can tear only the last frame; opening
cuts it off. The directory's lock tells a live publisher from a dead one, whose batches another adopts.
Synchronous: it waits for the disk, so call it from a thread, one call at a time.
"""

import contextlib
import errno
import fcntl
import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

MAGIC = b"TFSPOOL1"
HEADER = struct.Struct("<IIQI")  # payload bytes, checksum, sequence, records
_SEGMENTS = 16
_UNBORN = ".new-"
_MAX_FRAME_BYTES = 1 << 30

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[bytes])


class Frame(msgspec.Struct, frozen=True):
    """One batch: its sequence, how many records it holds, and the log entries they are packed in."""

    sequence: int
    records: int
    entries: list[bytes]


class _Segment:
    """One file; `drained_to` is where the next undrained frame begins."""

    __slots__ = ("drained_to", "path", "records", "size_bytes")

    def __init__(self, path: Path, size_bytes: int, records: int) -> None:
        self.path = path
        self.size_bytes = size_bytes
        self.records = records
        self.drained_to = len(MAGIC)


class Spool:
    """The batches of one publisher. `create` for a new one, `adopt` for those of dead processes.

    Attributes:
        publisher: whose batches they are; it names them in the log as well.
        cut_bytes: what opening cut off, because a crash had torn it.
    """

    def __init__(self, directory: Path, lock: int, *, max_bytes: int) -> None:
        self.publisher = directory.name
        self.cut_bytes = 0
        self._directory = directory
        self._lock = lock
        self._max_bytes = max_bytes
        self._handed_out: deque[tuple[int, int]] = deque()
        self._segments: deque[_Segment] = deque()
        self._next_number = 1
        self._file: int | None = None
        for path in sorted(directory.glob("*.spool")):
            self._load(path)

    @classmethod
    def create(cls, parent: Path, publisher: str, *, max_bytes: int) -> Self:
        """A directory of this name that no process has had before, locked."""
        unborn = parent / f"{_UNBORN}{publisher}"
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unborn.mkdir(mode=0o700)
        lock = os.open(unborn / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        directory = parent / publisher
        unborn.rename(directory)  # born locked: nobody can adopt it in between
        _sync_directory(parent)
        return cls(directory, lock, max_bytes=max_bytes)

    @classmethod
    def adopt(cls, parent: Path, *, max_bytes: int) -> list[Self]:
        """Lock and open what dead publishers left; empty leftovers are removed."""
        adopted = []
        for directory in sorted(parent.iterdir()) if parent.is_dir() else []:
            lock = None if directory.name.startswith(_UNBORN) else _try_lock(directory / "lock")
            if lock is None:
                continue
            spool = cls(directory, lock, max_bytes=max_bytes)
            if spool.is_empty:
                spool.close()
            else:
                adopted.append(spool)
        return adopted

    @property
    def is_empty(self) -> bool:
        """Whether everything has been drained."""
        return not self._segments

    @property
    def size_bytes(self) -> int:
        """On disk."""
        return sum(segment.size_bytes for segment in self._segments)

    @property
    def records(self) -> int:
        """In undrained frames."""
        return sum(segment.records for segment in self._segments)

    def append(self, frames: Sequence[Frame]) -> int:
        """Write and fsync. Past the bound the oldest segment goes; returns how many records that lost.

        Raises `OSError` (disk full); then nothing was appended.
        """
        data = b"".join(map(_encode, frames))
        if len(data) > self._max_bytes:
            raise OSError(errno.EFBIG, f"{len(data)} bytes in a spool of {self._max_bytes}")
        dropped = 0
        while self._segments and self.size_bytes + len(data) > self._max_bytes:
            dropped += self._drop(self._segments[0])
        segment = self._active_segment()
        assert self._file is not None
        try:
            _write(self._file, data, segment.size_bytes)
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, segment.size_bytes)
            if segment.size_bytes == len(MAGIC):
                self._drop(segment)
            raise
        segment.size_bytes += len(data)
        segment.records += sum(frame.records for frame in frames)
        return dropped

    def oldest(self, max_bytes: int) -> list[Frame]:
        """The oldest undrained frames, at least one if there is any, up to about `max_bytes`."""
        if not self._segments:
            return []
        segment = self._segments[0]
        frames, taken = [], 0
        self._handed_out.clear()
        with segment.path.open("rb") as file:
            file.seek(segment.drained_to)
            for size, frame in _read(file):
                frames.append(frame)
                self._handed_out.append((size, frame.records))
                taken += size
                if taken >= max_bytes:
                    break
        return frames

    def drained(self) -> None:
        """The first of the frames that `oldest` gave is safe elsewhere; an empty segment is removed."""
        segment = self._segments[0]
        size, records = self._handed_out.popleft()
        segment.drained_to += size
        segment.records -= records
        if segment.drained_to >= segment.size_bytes:
            self._drop(segment)

    def close(self) -> None:
        """Unlock; an empty directory is removed."""
        self._close_file()
        if not self._segments:
            with contextlib.suppress(OSError):
                (self._directory / "lock").unlink()
                self._directory.rmdir()
        os.close(self._lock)

    def _load(self, path: Path) -> None:
        """Index a segment, and cut off what a crash tore."""
        size_bytes = path.stat().st_size
        end = len(MAGIC)
        records = 0
        with path.open("rb") as file:
            if file.read(len(MAGIC)) == MAGIC:
                for size, frame in _read(file):
                    end += size
                    records += frame.records
        self._next_number = int(path.stem) + 1
        self.cut_bytes += max(0, size_bytes - end)
        if end == len(MAGIC):
            path.unlink()
            return
        if end < size_bytes:
            os.truncate(path, end)
        self._segments.append(_Segment(path, end, records))

    def _active_segment(self) -> _Segment:
        if self._file is not None and self._segments[-1].size_bytes < self._max_bytes // _SEGMENTS:
            return self._segments[-1]
        self._close_file()
        path = self._directory / f"{self._next_number:012d}.spool"
        self._next_number += 1
        self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        segment = _Segment(path, len(MAGIC), 0)
        self._segments.append(segment)
        try:
            _write(self._file, MAGIC, 0)
            _sync_directory(self._directory)
        except OSError:
            self._drop(segment)
            raise
        return segment

    def _drop(self, segment: _Segment) -> int:
        if segment is self._segments[-1]:
            self._close_file()
        if segment is self._segments[0]:
            self._handed_out.clear()
        self._segments.remove(segment)
        segment.path.unlink()
        return segment.records

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _encode(frame: Frame) -> bytes:
    payload = _encoder.encode(frame.entries)
    checksum = _checksum(frame.sequence, frame.records, payload)
    return HEADER.pack(len(payload), checksum, frame.sequence, frame.records) + payload


def _checksum(sequence: int, records: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(struct.pack("<QI", sequence, records)))


def _read(file: BinaryIO) -> Iterator[tuple[int, Frame]]:
    """Frames and their sizes in bytes, up to the first that is not whole."""
    while len(header := file.read(HEADER.size)) == HEADER.size:
        length, checksum, sequence, records = HEADER.unpack(header)
        payload = file.read(min(length, _MAX_FRAME_BYTES))
        if len(payload) < length or _checksum(sequence, records, payload) != checksum:
            return
        yield HEADER.size + length, Frame(sequence, records, _decoder.decode(payload))


def _write(file: int, data: bytes, at: int) -> None:
    written = 0
    while written < len(data):  # a full disk takes a part first, and then says why not the rest
        written += os.pwrite(file, memoryview(data)[written:], at + written)


def _try_lock(path: Path) -> int | None:
    """A lock on a dead process's file; None while its owner lives, or if another just took it away."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink:
            return lock
    except OSError:
        pass
    os.close(lock)
    return None


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
