"""Frames in a file: how processes that do not open the database leave their events, and what survives them.

    file   spool/<random>.spool, 0600, made with O_EXCL; its writer holds LOCK_SH while it lives
    frame  magic (4 bytes), length (4, big-endian), CRC-32 of the payload (4), payload: a frame as JSON

A full disk tears a frame in the middle; the reader skips to the next magic and counts what it skipped.

Lives here: writing and reading. Not here: taking frames into the database (drain.py).
Standard library only, and no dataclass: guests import this.
"""

from __future__ import annotations

import binascii
import fcntl
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAGIC = b"\xd7DTF"
SUFFIX = ".spool"
FRAME_LIMIT = 64 << 20  # bytes of one payload; a longer length is damage
_HEADER = struct.Struct(">4sII")


class SpoolWriter:
    """One file of our own in the spool, made at the first frame. For one thread."""

    __slots__ = ("_directory", "_fd", "_torn")

    def __init__(self, directory: Path):
        self._directory = directory
        self._fd = -1
        self._torn = False

    def write(self, frame: dict[str, Any]) -> bool:
        """Append a redacted frame; False when it could not be written whole. Never raises for the disk."""
        payload = encode(frame)
        data = _HEADER.pack(MAGIC, len(payload), binascii.crc32(payload)) + payload
        try:
            if self._fd < 0:
                self._fd = _open_new(self._directory)
            start = os.lseek(self._fd, 0, os.SEEK_END)
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            self._take_back(start if self._fd >= 0 else 0)
            return False
        return True

    def _take_back(self, start: int) -> None:
        """A torn frame is cut off where that can be done; else the reader skips it."""
        try:
            if self._fd >= 0:
                os.ftruncate(self._fd, start)
        except OSError:
            pass

    def close(self) -> None:
        """Let go of the file, so that a drain may remove it. May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def encode(frame: dict[str, Any]) -> bytes:
    """A frame as JSON; bytes in `blobs` become base64, lone surrogates become escapes."""
    plain = dict(frame)
    plain["blobs"] = {name: binascii.b2a_base64(data, newline=False).decode() for name, data in _blobs(frame)}
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def decode(payload: bytes) -> dict[str, Any]:
    """The frame of a payload. Raises ValueError when it is none."""
    frame = json.loads(payload)
    if not isinstance(frame, dict):
        raise ValueError("a frame is an object")
    frame["blobs"] = {name: binascii.a2b_base64(text) for name, text in (frame.get("blobs") or {}).items()}
    return frame


class Read:
    """What one look at a spool file gave: frames, where to go on, how many damaged stretches were skipped."""

    __slots__ = ("damaged", "frames", "offset")

    def __init__(self, frames: list[dict[str, Any]], offset: int, damaged: int):
        self.frames = frames
        self.offset = offset
        self.damaged = damaged


def read_frames(data: bytes, offset: int = 0, *, is_finished: bool) -> Read:
    """The frames of `data`, a spool file's content from byte `offset` of the file on.

    The returned offset is one of the file. A frame that is not whole yet is waited for, unless the writer is
    gone (`is_finished`): then it is damage. A damaged stretch reaches to the next whole frame.
    """
    frames: list[dict[str, Any]] = []
    damaged = at = 0
    while at < len(data):
        end = _frame_end(data, at)
        if end is None:
            if not is_finished and _may_grow(data, at):
                break
            damaged += 1
            at = _next_frame(data, at + 1, is_finished)
            continue
        try:
            frames.append(decode(data[at + _HEADER.size : end]))
        except ValueError:
            damaged += 1
        at = end
    return Read(frames, offset + at, damaged)


def _frame_end(data: bytes, at: int) -> int | None:
    """Where the whole, undamaged frame that begins at `at` ends; None when there is none."""
    if len(data) - at < _HEADER.size:
        return None
    magic, length, crc = _HEADER.unpack_from(data, at)
    end: int = at + _HEADER.size + length
    if magic != MAGIC or length > FRAME_LIMIT or end > len(data):
        return None
    return end if binascii.crc32(data[at + _HEADER.size : end]) == crc else None


def _may_grow(data: bytes, at: int) -> bool:
    """Whether the bytes from `at` on are the beginning of a frame that is still being written."""
    if len(data) - at < _HEADER.size:
        return MAGIC.startswith(data[at : at + len(MAGIC)])
    magic, length, _ = _HEADER.unpack_from(data, at)
    is_short = bool(at + _HEADER.size + length > len(data))
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


def _open_new(directory: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        fd = os.open(directory / f"{os.urandom(8).hex()}{SUFFIX}", flags, 0o600)
        fcntl.flock(fd, fcntl.LOCK_SH)
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)  # a drain came between the two lines above, took it for a dead writer's, and removed it


def _blobs(frame: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    yield from (frame.get("blobs") or {}).items()
