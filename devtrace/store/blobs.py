"""Bytes by their digest: stored once, compressed where that helps, gone when no event keeps them.

Lives here: putting, getting, letting go. Not here: which events keep theirs (the table `outputs`: append.py,
retention.py).
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from devtrace.errors import EnvironmentError

_LEVEL = 6
_WORTH_IT = 64  # bytes under which compressing is not tried


class Stored(NamedTuple):
    """Bytes that are there already, and were counted for the event that is to name them."""

    sha256: str
    size: int


def put(db: sqlite3.Connection, payload: bytes, level: int = _LEVEL) -> str:
    """Store the bytes if they are not there yet, and count one name more for them.

    Returns their SHA-256 as 64 hex digits. To be done in the transaction that writes the event.
    """
    digest = hashlib.sha256(payload).hexdigest()
    if not db.execute("UPDATE blobs SET refs = refs + 1 WHERE sha256 = ?", (digest,)).rowcount:
        packed = zlib.compress(payload, level) if len(payload) >= _WORTH_IT else payload
        codec = "zlib" if len(packed) < len(payload) else "raw"
        db.execute(
            "INSERT INTO blobs (sha256, size, codec, data, refs) VALUES (?, ?, ?, ?, 1)",
            (digest, len(payload), codec, packed if codec == "zlib" else payload),
        )
    return digest


def let_go(db: sqlite3.Connection, names: Mapping[str, int]) -> int:
    """Take so many names off each digest; what has none left goes. Returns the bytes that it took.

    To be done in the transaction that takes away what named them.
    """
    freed = 0
    for digest, number in names.items():
        db.execute("UPDATE blobs SET refs = refs - ? WHERE sha256 = ?", (number, digest))
        gone = "DELETE FROM blobs WHERE sha256 = ? AND refs <= 0 RETURNING length(data)"
        freed += sum(size for (size,) in db.execute(gone, (digest,)).fetchall())
    return freed


def get(db: sqlite3.Connection, digest: str) -> bytes:
    """The bytes of that digest. Raises EnvironmentError ERR_STORE_DAMAGED when they are gone or changed."""
    row = db.execute("SELECT codec, size, data FROM blobs WHERE sha256 = ?", (digest,)).fetchone()
    payload = b"" if row is None else _unpacked(*row)
    if row is None or hashlib.sha256(payload).hexdigest() != digest:
        raise EnvironmentError(
            f"the blob {digest[:12]} is missing or damaged",
            code="ERR_STORE_DAMAGED",
            hint="the event itself is intact; its output is lost",
            context={"sha256": digest},
        )
    return payload


def is_pruned(db: sqlite3.Connection, digest: str) -> bool:
    """Whether the bytes are gone because somebody wanted them to."""
    if db.execute("SELECT 1 FROM blobs WHERE sha256 = ?", (digest,)).fetchone() is not None:
        return False
    try:
        row = db.execute("SELECT 1 FROM pruned_blobs WHERE sha256 = ?", (digest,)).fetchone()
    except sqlite3.OperationalError:  # a database of an older version, which can only be read
        return False
    return row is not None


def _unpacked(codec: str, size: int, data: bytes) -> bytes:
    if codec == "raw":
        return data
    try:  # not a byte more than was put in, whatever the data would become
        return zlib.decompressobj().decompress(data, max(size, 1))
    except (zlib.error, OverflowError):
        return b""
