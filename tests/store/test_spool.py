"""The spool: frames in a file that survive their writer, a full disk and bytes that went wrong."""

from __future__ import annotations

import binascii
import fcntl
import json
import os
import random
import stat
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devtrace.store import spool
from devtrace.store.spool import HEADER_SIZE, MAGIC, SpoolWriter, decode, encode, read_frames
from tests.processes import environment
from tests.store.frames import frame


def numbered(number: int, size: int = 20) -> dict[str, Any]:
    return {"kind": "note", "number": number, "text": "x" * size}


def bytes_of(frames: list[dict[str, Any]], folder: Path) -> bytes:
    """What a writer makes of these frames."""
    folder.mkdir()
    writer = SpoolWriter(folder)
    assert all(writer.write(one) for one in frames)
    writer.close()
    (file,) = folder.iterdir()
    return file.read_bytes()


def numbers(read: spool.Read) -> list[int]:
    return [one["number"] for one in read.frames]


def framed(frames: list[dict[str, Any]], folder: Path) -> tuple[bytes, list[int]]:
    """The bytes, and where each frame begins."""
    data = bytes_of(frames, folder)
    starts, at = [], 0
    while at < len(data):
        starts.append(at)
        at += HEADER_SIZE + struct.unpack_from(">4sII", data, at)[1]
    assert at == len(data)
    return data, starts


# --- writing ---


def test_frames_come_back_as_they_were_written(tmp_path: Path) -> None:
    frames = [
        frame("echo é\udcff\ud800", blobs={"output": bytes(range(256)), "empty": b""}),
        frame(data={"deep": [{"x": None, "y": True}], "n": 1 << 70}),
        numbered(3, 100_000),
    ]
    data = bytes_of(frames, tmp_path / "spool")

    read = read_frames(data, is_finished=True)

    assert read.frames == [one | {"blobs": one.get("blobs") or {}} for one in frames]
    assert (read.damaged, read.offset) == (0, len(data))


def test_a_file_is_private_new_and_held_while_it_is_written(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        writer = SpoolWriter(tmp_path)
        assert list(tmp_path.iterdir()) == [], "nothing is made before the first frame"
        writer.write(numbered(1))
    finally:
        os.umask(before)
    (file,) = tmp_path.iterdir()

    assert writer.path == file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with file.open("rb") as other:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        writer.close()
        writer.close()
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_no_file_of_somebody_else_is_ever_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is taken already, by a symbolic link at that, fails instead of being written to."""
    monkeypatch.setattr(spool.time, "time_ns", lambda: 1)
    monkeypatch.setattr(spool.os, "urandom", lambda size: b"\0" * size)
    target = tmp_path / "elsewhere"
    target.write_bytes(b"theirs")
    folder = tmp_path / "spool"
    folder.mkdir()
    (folder / f"{1:016x}{'00' * 4}.spool").symlink_to(target)

    assert not SpoolWriter(folder).write(numbered(1))
    assert target.read_bytes() == b"theirs"


def test_writers_have_files_of_their_own_that_sort_by_their_age(tmp_path: Path) -> None:
    writers = [SpoolWriter(tmp_path) for _ in range(20)]
    for number, writer in enumerate(writers):
        assert writer.write(numbered(number))

    files = sorted(tmp_path.iterdir())

    assert [numbers(read_frames(file.read_bytes(), is_finished=True)) for file in files] == [
        [n] for n in range(20)
    ]
    for writer in writers:
        writer.close()


def test_a_spool_that_was_removed_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    writer = SpoolWriter(folder)
    assert writer.write(numbered(1))
    (first,) = folder.iterdir()
    first.unlink()
    folder.rmdir()

    assert writer.write(numbered(2))

    (file,) = folder.iterdir()
    assert numbers(read_frames(file.read_bytes(), is_finished=True)) == [2]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    writer.close()


def test_a_spool_that_was_moved_away_is_not_written_to_any_more(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    writer = SpoolWriter(folder)
    writer.write(numbered(1))
    folder.rename(tmp_path / "old")

    assert writer.write(numbered(2))

    (file,) = folder.iterdir()
    assert numbers(read_frames(file.read_bytes(), is_finished=True)) == [2]
    writer.close()


FORKS = """
import os, sys
from pathlib import Path
from devtrace.store.spool import SpoolWriter

writer = SpoolWriter(Path(sys.argv[1]))
assert writer.write({"number": 1})
child = os.fork()
assert writer.write({"number": 2 if child == 0 else 3})
if child:
    os.waitpid(child, 0)
"""


def test_a_forked_child_writes_into_a_file_of_its_own(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", FORKS, tmp_path], env=environment(), check=True)

    found = sorted(numbers(read_frames(file.read_bytes(), is_finished=True)) for file in tmp_path.iterdir())

    assert found == [[1, 3], [2]]


@pytest.mark.parametrize(
    "odd",
    [{"blobs": {"x": "text"}}, {"blobs": {"x": None}}, {"x": b"bytes"}, {"x": object()}, {("a",): 1}],
    ids=["text as a blob", "nothing as a blob", "bytes", "an object", "a tuple as a name"],
)
def test_what_is_no_frame_is_refused_and_leaves_no_trace(tmp_path: Path, odd: dict[Any, Any]) -> None:
    writer = SpoolWriter(tmp_path)
    assert writer.write(numbered(1))

    assert not writer.write(odd)

    assert writer.write(numbered(2))
    writer.close()
    (file,) = tmp_path.iterdir()
    assert numbers(read_frames(file.read_bytes(), is_finished=True)) == [1, 2]


def test_what_nests_without_an_end_is_refused(tmp_path: Path) -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]

    assert not SpoolWriter(tmp_path).write({"x": deep})


def test_a_frame_longer_than_any_reader_takes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "FRAME_LIMIT", 1000)
    writer = SpoolWriter(tmp_path)

    assert not writer.write(numbered(1, 1000))
    assert writer.write(numbered(2, 100))
    writer.close()


def test_a_directory_that_cannot_be_made_is_no_exception(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    assert not SpoolWriter(tmp_path / "file" / "spool").write(numbered(1))
    assert not SpoolWriter(tmp_path / "a" / "b").write(numbered(1))


def test_the_magic_is_never_a_part_of_a_payload() -> None:
    strange = frame(
        MAGIC.decode("latin-1"), data={"x": MAGIC.decode("latin-1")}, blobs={MAGIC.decode("latin-1"): MAGIC}
    )

    assert MAGIC not in encode(strange)
    assert decode(encode(strange)) == strange


# --- reading ---


def test_a_torn_last_frame_is_waited_for_while_its_writer_lives(tmp_path: Path) -> None:
    data, starts = framed([numbered(n) for n in range(3)], tmp_path / "spool")

    for size in range(starts[2], len(data)):
        read = read_frames(data[:size], is_finished=False)
        assert (numbers(read), read.offset, read.damaged) == ([0, 1], starts[2], 0), size

    assert numbers(read_frames(data, is_finished=False)) == [0, 1, 2]


def test_a_torn_last_frame_is_damage_once_its_writer_is_gone(tmp_path: Path) -> None:
    data, starts = framed([numbered(n) for n in range(3)], tmp_path / "spool")

    for size in range(starts[2] + 1, len(data)):
        read = read_frames(data[:size], is_finished=True)
        assert (numbers(read), read.offset, read.damaged) == ([0, 1], size, 1), size


@pytest.mark.parametrize("is_finished", [True, False])
def test_a_torn_middle_frame_is_skipped_to_the_next_magic_and_counted(
    tmp_path: Path, is_finished: bool
) -> None:
    data, starts = framed([numbered(n) for n in range(4)], tmp_path / "spool")

    for kept in range(1, starts[2] - starts[1]):
        torn = data[: starts[1] + kept] + data[starts[2] :]
        read = read_frames(torn, is_finished=is_finished)
        assert (numbers(read), read.damaged, read.offset) == ([0, 2, 3], 1, len(torn)), kept
        assert read.damages[0].before == 1
        assert read.damages[0].excerpt.startswith(torn[starts[1] : starts[1] + kept])


def test_two_torn_frames_in_a_row_are_one_damaged_stretch(tmp_path: Path) -> None:
    data, starts = framed([numbered(n) for n in range(5)], tmp_path / "spool")
    torn = data[: starts[1] + 15] + data[starts[2] : starts[2] + 15] + data[starts[3] :]

    read = read_frames(torn, is_finished=True)

    assert (numbers(read), read.damaged) == ([0, 3, 4], 1)


def test_rubbish_before_and_after_frames_costs_no_frame(tmp_path: Path) -> None:
    data, _ = framed([numbered(n) for n in range(3)], tmp_path / "spool")

    read = read_frames(b"\0" * 100 + data + MAGIC + b"\xff" * 8 + b"rubbish", is_finished=True)

    assert (numbers(read), read.damaged) == ([0, 1, 2], 2)


def test_a_length_beyond_the_limit_is_damage_and_not_waited_for(tmp_path: Path) -> None:
    data, _ = framed([numbered(1)], tmp_path / "spool")
    endless = struct.pack(">4sII", MAGIC, spool.FRAME_LIMIT + 1, 0)

    assert numbers(read_frames(endless + data, is_finished=False)) == [1]
    alone = read_frames(endless + b"x" * 50, is_finished=False)
    assert (alone.damaged, alone.offset) == (1, len(endless) + 50)


def test_a_damaged_frame_that_claims_the_whole_rest_does_not_hide_it(tmp_path: Path) -> None:
    data, starts = framed([numbered(n) for n in range(4)], tmp_path / "spool")
    claimed = bytearray(data)
    struct.pack_into(">I", claimed, starts[1] + 4, 1 << 20)

    for is_finished in (True, False):
        read = read_frames(bytes(claimed), is_finished=is_finished)
        assert (numbers(read), read.damaged) == ([0, 2, 3], 1)


@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b"1",
        b"null",
        b'"x"',
        b"{",
        b"",
        b'{"blobs": 1}',
        b'{"blobs": {"x": 1}}',
        b'{"blobs": {"x": "?"}}',
        b'{"blobs":{"x":"\xc3\xa9"}}',
        b"[" * 200_000,
    ],
)
def test_a_whole_payload_that_is_no_frame_is_damage(tmp_path: Path, payload: bytes) -> None:
    data, _ = framed([numbered(1)], tmp_path / "spool")
    odd = struct.pack(">4sII", MAGIC, len(payload), binascii.crc32(payload)) + payload

    read = read_frames(odd + data, is_finished=False)

    assert (numbers(read), read.damaged) == ([1], 1)


def test_reading_goes_on_where_it_was(tmp_path: Path) -> None:
    data, starts = framed([numbered(n) for n in range(5)], tmp_path / "spool")

    for start, number in zip(starts, range(5), strict=True):
        read = read_frames(data[start:], start, is_finished=True)
        assert numbers(read) == list(range(number, 5))
        assert read.offset == len(data)


@pytest.mark.parametrize("seed", range(40))
def test_any_damage_costs_only_the_frames_it_touches(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    data, starts = framed([numbered(n, chance.randrange(200)) for n in range(20)], tmp_path / "spool")
    ends = [*starts[1:], len(data)]
    damaged = bytearray(data)
    touched = set()
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(data))
        damaged[place] ^= chance.randrange(1, 256)
        touched.add(next(n for n, end in enumerate(ends) if place < end))
    spared = [n for n in range(20) if bytes(damaged[starts[n] : ends[n]]) == data[starts[n] : ends[n]]]

    read = read_frames(bytes(damaged), is_finished=True)

    assert numbers(read) == spared
    assert 1 <= read.damaged <= len(touched) or spared == list(range(20))
    assert read.offset == len(data)


@pytest.mark.parametrize("seed", range(20))
def test_a_file_read_while_it_grows_gives_every_frame_once(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    data, _ = framed([numbered(n, chance.randrange(300)) for n in range(30)], tmp_path / "spool")
    found: list[int] = []
    offset = size = 0
    while size < len(data):
        size = min(len(data), size + chance.randrange(1, 400))
        read = read_frames(data[offset:size], offset, is_finished=False)
        found += numbers(read)
        offset = read.offset
        assert read.damaged == 0

    assert found == list(range(30))


def test_a_payload_is_readable_json_for_other_tools(tmp_path: Path) -> None:
    data = bytes_of([frame("make", blobs={"output": b"\xff"})], tmp_path / "spool")

    told = json.loads(data[HEADER_SIZE:])

    assert told["data"]["command"] == "make"
    assert told["blobs"] == {"output": "/w=="}
