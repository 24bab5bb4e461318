"""Bytes by their digest: stored once, compressed where that helps."""

from __future__ import annotations

import hashlib
import sqlite3
import zlib

from devtrace.errors import EnvironmentError

_LEVEL = 6
_WORTH_IT = 64  # bytes under which compressing is not tried


def put(db: sqlite3.Connection, payload: bytes) -> str:
    """Store the bytes if they are not there yet; returns their SHA-256 as 64 hex digits."""
    digest = hashlib.sha256(payload).hexdigest()
    if db.execute("SELECT 1 FROM blobs WHERE sha256 = ?", (digest,)).fetchone() is None:
        packed = zlib.compress(payload, _LEVEL) if len(payload) >= _WORTH_IT else payload
        codec = "zlib" if len(packed) < len(payload) else "raw"
        db.execute(
            "INSERT INTO blobs (sha256, size, codec, data) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (digest, len(payload), codec, packed if codec == "zlib" else payload),
        )
    return digest


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


def _unpacked(codec: str, size: int, data: bytes) -> bytes:
    if codec == "raw":
        return data
    try:  # not a byte more than was put in, whatever the data would become
        return zlib.decompressobj().decompress(data, max(size, 1))
    except (zlib.error, OverflowError):
        return b""
