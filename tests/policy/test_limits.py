"""What is too much loses its middle or is left out, and it is said how much that was."""

from __future__ import annotations

import random
import re

import pytest

from devtrace.config import Config, days_by_kind
from devtrace.errors import UsageError
from devtrace.policy.limits import Limits

KIB, MIB = 1 << 10, 1 << 20
SESSION = "0" * 32
SEED = random.SystemRandom().randrange(1 << 32)


def limits(**settings: int) -> Limits:
    return Limits(Config({f"limits.{name}": value for name, value in settings.items()}))


def frame(data=None, **more):
    return {"session": SESSION, "title": "$ x", "data": data or {}, "blobs": {}} | more


def test_what_fits_is_the_same_frame():
    given = frame({"command": "x" * (4 * KIB - 10), "n": 7, "none": None})

    assert limits(event_kb=4).apply(given, 0) is given


def test_a_long_text_keeps_its_two_ends_and_tells_its_true_size():
    text = "".join(f"{number:06d}\n" for number in range(10_000))
    given = frame({"command": text, "cwd": "/home/ana", "exit_code": 1}, title=f"$ {text}")

    kept = limits(event_kb=8).apply(given, 0)

    command = kept["data"]["command"]
    assert len(command) < 9 * KIB
    assert command.startswith(text[:4_000])
    assert command.endswith(text[-4_000:])
    (cut, number) = re.search(r"\n\[\.\.\. ([\d,]+) bytes were not kept \.\.\.\]\n", command).group(0, 1)
    assert len(command) - len(cut) + int(number.replace(",", "")) == len(text)
    assert kept["data"]["truncated"] == {"command": len(text)}
    assert (kept["data"]["cwd"], kept["data"]["exit_code"]) == ("/home/ana", 1)
    assert len(kept["title"]) < 9 * KIB
    assert given["data"]["command"] is text


def test_short_texts_lose_nothing_to_long_ones():
    data = {"a": "x" * 3_000, "b": {"c": ["y" * 100_000, "z" * 900]}, "d": "w" * 50_000}
    kept = limits(event_kb=16).apply(frame(data), 0)["data"]

    assert (kept["a"], kept["b"]["c"][1]) == (data["a"], data["b"]["c"][1])
    assert kept["truncated"] == {"b.c.0": 100_000, "d": 50_000}
    assert abs(len(kept["b"]["c"][0]) - len(kept["d"])) < 10


def test_many_short_texts_are_never_cut():
    data = {"changes": [{"path": f"folder/{number}"} for number in range(5_000)]}
    given = frame(data)

    assert limits(event_kb=4).apply(given, 0)["data"]["changes"] == data["changes"]


@pytest.mark.parametrize("number", range(10))
def test_no_character_is_torn_and_strange_bytes_survive(number):
    print(f"seed {SEED + number}")  # noqa: T201 - to be able to try it again
    chance = random.Random(SEED + number)
    raw = b"".join(chance.choice(["é", "日", "😀", "a"]).encode() for _ in range(9_000))
    strange = chance.randbytes(9_000).decode("utf-8", "surrogateescape")

    kept = limits(event_kb=4).apply(frame({"text": raw.decode()}), 0)["data"]["text"]
    start, end = kept.split("\n[... ")[0], kept.rpartition("...]\n")[2]
    assert raw.decode().startswith(start)
    assert raw.decode().endswith(end)
    assert len(start.encode()) > 2_000
    kept = limits(event_kb=4).apply(frame({"text": strange}), 0)["data"]["text"]
    assert strange.startswith(kept.partition("\n[... ")[0])
    lone = limits(event_kb=4).apply(frame({"text": "\ud83d" * 9_000}), 0)["data"]
    assert lone["truncated"] == {"text": 9_000}


def test_outputs_beyond_what_a_session_may_keep_are_left_out_and_counted():
    bounds = limits(session_mb=1)
    first = frame(blobs={"output": bytes(MIB - 10), "timing": b"[[0,10]]"})
    more = frame({"command": "make"}, blobs={"output": bytes(100)})

    assert bounds.apply(first, 0) is first
    kept = bounds.apply(more, 0)
    assert (kept["blobs"], kept["data"]) == ({}, {"command": "make", "dropped": "limits.session_mb"})
    assert bounds.apply(more | {"session": "1" * 32}, 0)["blobs"]
    bounds.apply(more, 0)
    assert bounds.take_dropped() == [(SESSION, "limits.session_mb", 2, 200)]
    assert bounds.take_dropped() == []


def test_a_small_output_still_finds_room_after_a_large_one_did_not():
    bounds = limits(session_mb=1)
    assert not bounds.apply(frame(blobs={"output": bytes(2 * MIB)}), 0)["blobs"]
    assert bounds.apply(frame(blobs={"output": b"x"}), 0)["blobs"]


def test_a_store_that_is_large_enough_takes_no_outputs():
    bounds = limits(store_mb=1)
    given = frame(blobs={"output": b"x"})

    assert bounds.apply(given, MIB) is given
    assert bounds.apply(given, MIB + 1)["data"] == {"dropped": "limits.store_mb"}


def test_zero_is_no_limit():
    given = frame(blobs={"output": bytes(MIB)})

    assert limits(session_mb=0, store_mb=0).apply(given, 1 << 50) is given


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("", {}),
        ("note=0", {"note": 0}),
        (" edit_files=90  python_trace=30 ", {"edit_files": 90, "python_trace": 30}),
        ("io=7,note=1", {"io": 7, "note": 1}),
    ],
)
def test_ages_by_kind_are_read_as_they_are_written(text, days):
    assert days_by_kind(text) == days


@pytest.mark.parametrize("text", ["io", "io=", "=7", "io=x", "io=-1", "io=7 d", "io=9999999", "io=७"])
def test_what_is_no_age_is_refused(text):
    with pytest.raises(UsageError) as raised:
        days_by_kind(text)

    assert raised.value.code == "ERR_CONFIG_VALUE"
