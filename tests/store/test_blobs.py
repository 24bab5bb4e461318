"""Bytes by their digest: stored once, small, and never handed out changed."""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
import zlib

import pytest

from devtrace.errors import EnvironmentError
from devtrace.store import blobs
from devtrace.store.append import append
from tests.store.frames import begin, count, events, frame

DB = sqlite3.Connection


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"x",
        b"short text",
        bytes(range(256)) * 40,
        b"line\r\n" * 5000,
        random.Random(7).randbytes(100_000),
    ],
    ids=["empty", "one byte", "short", "binary", "repetitive", "random"],
)
def test_bytes_come_back_as_they_went_in(db: DB, payload: bytes) -> None:
    digest = blobs.put(db, payload)

    assert digest == hashlib.sha256(payload).hexdigest()
    assert blobs.get(db, digest) == payload
    assert db.execute("SELECT size FROM blobs").fetchone() == (len(payload),)


def test_equal_bytes_are_stored_once(db: DB) -> None:
    begin(db)
    append(
        db,
        [
            frame(blobs={"output": b"same", "timing": b"[[0,4]]"}),
            frame(blobs={"output": b"same", "other": b"same"}),
        ],
    )

    assert blobs.put(db, b"same") == blobs.put(db, b"same")
    assert count(db, "blobs") == 2


def test_what_shrinks_is_compressed_and_nothing_else(db: DB) -> None:
    for payload in (b"line\n" * 1000, random.Random(1).randbytes(4000), b"tiny"):
        blobs.put(db, payload)

    rows = db.execute("SELECT codec, size, length(data) FROM blobs ORDER BY id").fetchall()

    assert [codec for codec, _, _ in rows] == ["zlib", "raw", "raw"]
    assert rows[0][2] < rows[0][1] / 20
    assert all(stored == size for codec, size, stored in rows if codec == "raw")


def test_an_event_names_its_blobs_by_digest_and_size(db: DB) -> None:
    append(db, [frame(blobs={"output": b"hello\n", "timing": b"[[0,6]]"})])

    named = json.loads(events(db, "data")[0])["blobs"]

    assert set(named) == {"output", "timing"}
    assert named["output"] == {"sha256": hashlib.sha256(b"hello\n").hexdigest(), "size": 6}
    assert blobs.get(db, named["output"]["sha256"]) == b"hello\n"


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM blobs",
        "UPDATE blobs SET data = x'00'",
        "UPDATE blobs SET data = x''",
        "UPDATE blobs SET codec = 'raw'",
        "UPDATE blobs SET size = size - 1",
        "UPDATE blobs SET size = 0",
        "UPDATE blobs SET size = -1",
        "UPDATE blobs SET data = substr(data, 1, length(data) / 2)",
        "UPDATE blobs SET data = CAST(substr(data, 1, 20) || x'ff' || substr(data, 22) AS BLOB)",
    ],
)
def test_a_damaged_blob_is_an_error_and_no_wrong_bytes(db: DB, damage: str) -> None:
    digest = blobs.put(db, b"line of text\n" * 200)
    db.execute(damage)

    with pytest.raises(EnvironmentError) as caught:
        blobs.get(db, digest)

    assert caught.value.code == "ERR_STORE_DAMAGED"


def test_a_blob_of_zeros_without_end_does_not_fill_the_memory(db: DB) -> None:
    digest = blobs.put(db, b"line of text\n" * 200)
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    db.execute("UPDATE blobs SET data = ?", (bomb,))

    with pytest.raises(EnvironmentError):
        blobs.get(db, digest)
