"""Frames in a file: how processes that do not open the database leave their events, and what survives them.

    file   spool/<time and random>.spool, 0600, made with O_EXCL; its writer holds LOCK_SH while it lives
    frame  magic (4 bytes), length (4, big-endian), CRC-32 of the payload (4), payload: a frame as JSON

A full disk tears a frame in the middle; the reader skips to the next magic and counts what it skipped. A
payload is ASCII, so the magic is never a part of one.

Lives here: writing and reading, and telling a host that there is something. Not here: taking frames into the
database (drain.py). Standard library only, and no dataclass: guests import this.
"""

from __future__ import annotations

import binascii
import fcntl
import json
import os
import stat
import struct
import time
from pathlib import Path
from typing import Any

MAGIC = b"\xd7DTF"
SUFFIX = ".spool"
SESSION_FRAME = "@session"  # no event: the row of a session that no host can write into the database
FRAME_LIMIT = 64 << 20  # bytes of one payload; a longer one is not written, a longer length is damage
HEADER_SIZE = 12
_HEADER = struct.Struct(">4sII")
_EXCERPT = 1024  # bytes of a damaged stretch that are shown, enough to find its session in them


class SpoolWriter:
    """One file of our own in the spool, made at the first frame. For one thread.

    A process that was forked from its owner writes into a file of its own.
    """

    __slots__ = ("_directory", "_fd", "_file", "_pid", "path", "size")

    def __init__(self, directory: Path):
        self._directory = directory
        self._fd = -1
        self._file = (0, 0)  # device and inode of what we have opened
        self._pid = 0
        self.path: Path | None = None  # of the file that is open, or was the last
        self.size = 0  # bytes of whole frames in it

    def write(self, frame: dict[str, Any]) -> bool:
        """Append a redacted frame; False when it could not be written whole. Never raises."""
        try:
            payload = encode(frame)
        except (TypeError, ValueError, RecursionError):  # no JSON, or no bytes in a blob
            return False
        if len(payload) > FRAME_LIMIT:
            return False
        data = _HEADER.pack(MAGIC, len(payload), binascii.crc32(payload)) + payload
        try:
            self._open()
            start = os.lseek(self._fd, 0, os.SEEK_END)
        except OSError:
            return False
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            self._take_back(start)
            return False
        self.size = start + len(data)
        return True

    def close(self) -> None:
        """Let go of the file, so that a drain may remove it. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and _file_of(fd) == self._file:  # a program that became a daemon has given it to another
            os.close(fd)

    def _open(self) -> None:
        if self._fd >= 0 and not self._is_ours():
            self.close()
        if self._fd < 0:
            self._fd, self.path = _open_new(self._directory)
            self._file = _file_of(self._fd)
            self._pid = os.getpid()
            self.size = 0

    def _is_ours(self) -> bool:
        """Whether we made the file and a reader would find it: somebody may have moved the spool away."""
        assert self.path is not None
        try:
            there = self.path.stat()
        except OSError:
            return False
        is_there = (there.st_dev, there.st_ino) == self._file == _file_of(self._fd)
        return is_there and self._pid == os.getpid()

    def _take_back(self, start: int) -> None:
        """A torn frame is cut off where that can be done; else the reader skips it."""
        try:
            os.ftruncate(self._fd, start)
        except OSError:
            return


def wake_host(fifo: str) -> None:
    """Let the host of a session look into the spool at once: of an empty line it makes nothing else.

    `fifo`: its `DEVTRACE_FIFO`. Never waits, never raises; where nobody listens, who opens the store next
    takes everything in.
    """
    try:
        fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (OSError, ValueError):
        return
    try:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.write(fd, b"\n")
    except OSError:
        pass  # it has more to do than we could tell it
    finally:
        os.close(fd)


def encode(frame: dict[str, Any]) -> bytes:
    """A frame as JSON; bytes in `blobs` become base64, lone surrogates become escapes."""
    blobs = frame.get("blobs") or {}
    plain = {**frame, "blobs": {name: _to_base64(data) for name, data in blobs.items()}}
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def decode(payload: bytes) -> dict[str, Any]:
    """The frame of a payload. Raises ValueError when it is none."""
    frame = json.loads(payload)
    if not isinstance(frame, dict):
        raise ValueError("a frame is an object")
    blobs = frame.get("blobs") or {}
    if not isinstance(blobs, dict) or not all(isinstance(text, str) for text in blobs.values()):
        raise ValueError("blobs are base64 by their names")
    frame["blobs"] = {name: binascii.a2b_base64(text, strict_mode=True) for name, text in blobs.items()}
    return frame


class Damage:
    """A stretch that is no frame: it stood before the frame of that number, and begins with these bytes.

    `reason` and `detail` are those of the gap that tells of it.
    """

    __slots__ = ("before", "detail", "excerpt", "reason")

    def __init__(self, before: int, excerpt: bytes, reason: str = "damaged_frame", detail: str = ""):
        self.before = before
        self.excerpt = excerpt
        self.reason = reason
        self.detail = detail


class Read:
    """What one look at a spool file gave: frames, where to go on, and the damaged stretches between them."""

    __slots__ = ("damages", "frames", "offset")

    def __init__(self, frames: list[dict[str, Any]], offset: int, damages: list[Damage]):
        self.frames = frames
        self.offset = offset
        self.damages = damages

    @property
    def damaged(self) -> int:
        """How many damaged stretches were skipped."""
        return len(self.damages)


def read_frames(data: bytes, offset: int = 0, *, is_finished: bool) -> Read:
    """The frames of `data`, a spool file's content from byte `offset` of the file on.

    The returned offset is one of the file. A frame that is not whole yet is waited for, unless the writer is
    gone (`is_finished`): then it is damage. A damaged stretch reaches to the next whole frame.
    """
    frames: list[dict[str, Any]] = []
    damages: list[Damage] = []
    at = 0
    while at < len(data):
        end = _frame_end(data, at)
        if end is None:
            if not is_finished and _may_grow(data, at):
                break
            damages.append(Damage(len(frames), data[at : at + _EXCERPT]))
            at = _next_frame(data, at + 1, is_finished)
            continue
        try:
            frames.append(decode(data[at + HEADER_SIZE : end]))
        except (ValueError, RecursionError):
            damages.append(Damage(len(frames), data[at : at + _EXCERPT]))
        at = end
    return Read(frames, offset + at, damages)


def _frame_end(data: bytes, at: int) -> int | None:
    """Where the whole, undamaged frame that begins at `at` ends; None when there is none."""
    if len(data) - at < HEADER_SIZE:
        return None
    magic, length, crc = _HEADER.unpack_from(data, at)
    end: int = at + HEADER_SIZE + length
    if magic != MAGIC or length > FRAME_LIMIT or end > len(data):
        return None
    return end if binascii.crc32(data[at + HEADER_SIZE : end]) == crc else None


def _may_grow(data: bytes, at: int) -> bool:
    """Whether the bytes from `at` on are the beginning of a frame that is still being written."""
    if len(data) - at < HEADER_SIZE:
        return MAGIC.startswith(data[at : at + len(MAGIC)])
    magic, length, _ = _HEADER.unpack_from(data, at)
    is_short = bool(at + HEADER_SIZE + length > len(data))
    return magic == MAGIC and length <= FRAME_LIMIT and is_short and _whole_frame_after(data, at + 1) is None


def _whole_frame_after(data: bytes, at: int) -> int | None:
    while (at := data.find(MAGIC, at)) >= 0:
        if _frame_end(data, at) is not None:
            return at
        at += 1
    return None


def _next_frame(data: bytes, at: int, is_finished: bool) -> int:
    """Where to go on after damage: the next whole frame, else the last beginning that may still grow."""
    found = _whole_frame_after(data, at)
    if found is not None:
        return found
    if is_finished:
        return len(data)
    tail = data.find(MAGIC, at)
    while tail >= 0 and not _may_grow(data, tail):
        tail = data.find(MAGIC, tail + 1)
    return len(data) if tail < 0 else tail


def _open_new(directory: Path) -> tuple[int, Path]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        # Files are drained by name: in the order in which they were made.
        path = directory / f"{time.time_ns():016x}{os.urandom(4).hex()}{SUFFIX}"
        try:
            fd = os.open(path, flags, 0o600)
        except FileNotFoundError:  # somebody removed the directory
            directory.mkdir(mode=0o700)
            fd = os.open(path, flags, 0o600)
        fcntl.flock(fd, fcntl.LOCK_SH)
        if os.fstat(fd).st_nlink:
            return fd, path
        os.close(fd)  # a drain came between the two lines above, took it for a dead writer's, and removed it


def _file_of(fd: int) -> tuple[int, int]:
    try:
        state = os.fstat(fd)
    except OSError:
        return (0, 0)
    return state.st_dev, state.st_ino


def _to_base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()
