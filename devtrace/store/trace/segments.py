"""Segments: mapped, append-only files that keep what a thread did up to the instant of its death.

    file    spool/<session>-<pid>-<number>.seg, 0600, made with O_EXCL; its writer holds LOCK_SH for its life
    block   64 KiB: 8 words of header, then records (records.py); a zero word is where nothing stands yet
    header  magic, number of the block (1, 2, 3 ...; written last), perf_counter ns and Unix ns of one moment,
            how many blocks in front of it were folded, three words of zero

A word is written by one store of 8 bytes, and the words behind a record's first one before it: whatever ends
the process, SIGKILL included, the kernel keeps each record that was begun by its first word. Blocks are
allocated before they are mapped, so that a full disk is an error here and not a SIGBUS there, and a file is
never made shorter.

Lives here: writing and reading blocks. Not here: what a record means (records.py), taking blocks into the
database (store/traces.py). Standard library only, and no dataclass: guests import this.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
import sys
from os import close, fstat, getpid, open  # as they are now: tests of the program's may replace them
from pathlib import Path
from time import perf_counter_ns, time_ns
from typing import Any

SUFFIX = ".seg"
BLOCK_BYTES = 1 << 16
BLOCK_WORDS = BLOCK_BYTES // 8
HEADER_WORDS = 8
RESERVED_WORDS = 128  # at a block's end, for the last word of a trace that may get no other block
MAGIC = 0x31_47_45_53_54_56_44_D7  # "\xd7DVTSEG1" as bytes
_LARGEST_REGION = 16  # blocks that are allocated and mapped at once
_HEADER = struct.Struct("=8Q")
_kept_maps: list[mmap.mmap] = []  # to end one would close a descriptor that is somebody else's by now
_UNTRACKED: dict[str, bool] = {"trackfd": False} if sys.version_info >= (3, 13) else {}  # one descriptor less


class Full(Exception):
    """The trace has as many bytes as it may have."""


class Room:
    """How many bytes the segments of one process may have together."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int):
        self.limit = limit
        self.used = 0

    def take(self, size: int) -> None:
        """Raises Full. Two threads at once may go a block beyond the limit."""
        if self.used + size > self.limit:
            raise Full
        self.used += size


class SegmentWriter:
    """One thread's file. `block` is the present block as words, its header included.

    Mappings are never closed here, only let go of: another thread may be writing a record this instant. A
    daemon closes every descriptor that it finds, and gets our numbers for files of its own: before one is
    used or closed it is asked whose it is.
    """

    __slots__ = (
        "_blocks",
        "_fd",
        "_file",
        "_offset",
        "_region",
        "_region_blocks",
        "_ring",
        "_room",
        "block",
        "path",
    )

    def __init__(self, folder: Path, session: str, number: int, room: Room):
        """Raises OSError when the file cannot be made."""
        self._fd, self._file = -1, (-1, -1)
        self._region: memoryview | None = None  # the part that is mapped, as bytes
        self._ring: list[memoryview] = []
        self.path = folder / f"{session}-{getpid()}-{number}{SUFFIX}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        while True:
            self._fd = open(self.path, flags, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_SH)
            if (made := fstat(self._fd)).st_nlink:
                break
            close(self._fd)  # who takes segments in came in between, and took it for a dead writer's
        self._file = (made.st_dev, made.st_ino)
        self._room = room
        self._offset = 0  # bytes of the file that are allocated
        self._region_blocks = 0  # of it that are used
        self._blocks = 0  # numbers that were given away
        self.block: memoryview = memoryview(b"").cast("Q")

    def turn(self) -> memoryview:
        """Begin the next block. Raises Full or OSError; then the block before stays the present one."""
        if self._region is None or self._region_blocks * BLOCK_BYTES >= len(self._region):
            self._map(min(max(1, self._blocks), _LARGEST_REGION))
        assert self._region is not None
        start = self._region_blocks * BLOCK_BYTES
        self._region_blocks += 1
        return self._begin(self._region[start : start + BLOCK_BYTES], 0)

    def turn_over(self, keep: int) -> memoryview:
        """Begin the next block in the place of an older one: of the folded ones the last `keep` stay.

        Raises as `turn`.
        """
        self._ring.append(self.block.cast("B"))
        if len(self._ring) <= keep:
            return self.turn()
        place = self._ring.pop(0)
        place[: HEADER_WORDS * 8] = bytes(HEADER_WORDS * 8)  # first its header: half a block is none
        place[HEADER_WORDS * 8 :] = bytes(BLOCK_BYTES - HEADER_WORDS * 8)
        return self._begin(place, 1)

    @property
    def size(self) -> int:
        """Bytes of the blocks that are there."""
        return self._offset

    def oldest(self, keep: int) -> memoryview | None:
        """The block that `turn_over` would give up, as words; None while it would give up none."""
        return self._ring[0].cast("Q")[HEADER_WORDS:] if len(self._ring) >= keep else None

    def unfold(self) -> None:
        """What was kept of a fold stays for good; the next one begins anew."""
        self._ring.clear()

    def close(self) -> None:
        """Let go of the file, so that it may be taken in whole. May be called twice."""
        self._let_go()
        self._ring.clear()
        self.block = memoryview(b"").cast("Q")
        if self._fd >= 0:
            if self._is_file(self._fd):
                close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()

    def _map(self, blocks: int) -> None:
        size = blocks * BLOCK_BYTES
        self._room.take(size)
        if not self._is_file(self._fd):
            self._open_again()
        self._let_go()
        allocate(self._fd, self._offset, size)
        found = mmap.mmap(self._fd, size, mmap.MAP_SHARED, offset=self._offset, **_UNTRACKED)
        self._region = memoryview(found)
        self._offset += size
        self._region_blocks = 0

    def _is_file(self, fd: int) -> bool:
        try:
            found = fstat(fd)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._file

    def _open_again(self) -> None:
        """Raises OSError when the file is gone, or another one."""
        fd = open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        if not self._is_file(fd):
            close(fd)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        fcntl.flock(fd, fcntl.LOCK_SH)
        self._fd = fd

    def _let_go(self) -> None:
        """Of the present region, and of those that are folded into: each map has a descriptor of its own."""
        if _UNTRACKED:
            self._region = None
            return
        views = [view for view in (self._region, *self._ring) if view is not None]
        self._region = None
        maps: Any = {id(view.obj): view.obj for view in views}
        for found in maps.values():
            try:
                is_ours = found.size() == self._offset  # the size of the file behind that descriptor
            except (OSError, ValueError):
                is_ours = False
            if not is_ours:
                _kept_maps.append(found)

    def _begin(self, place: memoryview, folded: int) -> memoryview:
        words = place.cast("Q")
        self._blocks += 1
        words[0] = MAGIC
        words[2] = perf_counter_ns()
        words[3] = time_ns()
        words[4] = folded
        words[1] = self._blocks
        self.block = words
        return words


def allocate(fd: int, offset: int, size: int) -> None:
    """Make the disk keep room for these bytes. Raises OSError ENOSPC."""
    if sys.platform == "linux":
        os.posix_fallocate(fd, offset, size)  # where the file system has no such thing the C library writes
        return
    while size:
        size -= (written := os.pwrite(fd, bytes(size), offset))
        offset += written


class Block:
    """A block as it was read: its number, the two clocks at its begin, its words behind the header."""

    __slots__ = ("clock_ns", "folded", "number", "raw", "wall_ns")

    def __init__(self, raw: bytes):
        """`raw`: a whole block. Raises ValueError when it is none."""
        if len(raw) != BLOCK_BYTES:
            raise ValueError("a block has 64 KiB")
        magic, self.number, self.clock_ns, self.wall_ns, self.folded, *_ = _HEADER.unpack_from(raw)
        if magic != MAGIC or not self.number:
            raise ValueError("no block begins here")
        self.raw = raw

    @classmethod
    def unpacked(cls, used: bytes) -> Block:
        """The block of which `used` was kept. Raises ValueError as `Block`."""
        return cls(used.ljust(BLOCK_BYTES, b"\0"))

    @property
    def used(self) -> bytes:
        """Its bytes without the zeros at their end."""
        return self.raw.rstrip(b"\0")

    @property
    def words(self) -> memoryview:
        """The records' words."""
        return memoryview(self.raw).cast("Q")[HEADER_WORDS:]


def read_blocks(data: bytes) -> list[Block]:
    """The blocks of a segment in their order; what is none (never begun, just being folded) is left out."""
    found = []
    for at in range(0, len(data) - BLOCK_BYTES + 1, BLOCK_BYTES):
        try:
            found.append(Block(data[at : at + BLOCK_BYTES]))
        except ValueError:
            continue
    return sorted(found, key=lambda block: block.number)
