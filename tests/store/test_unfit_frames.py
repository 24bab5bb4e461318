"""Frames of the spool with anything in them that JSON can hold: nothing is lost, and every reader goes on.

Lives here: what fits and what does not, mutations by chance. Not here: damaged bytes (test_drain.py).
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from devtrace.cli import app
from devtrace.cli.border import guarded
from devtrace.events import Gap, Note, Output, Policy, RunCommand, check_body
from devtrace.store.connection import open_store
from devtrace.store.drain import SESSION_FRAME, UNFIT_FOLDER, drain
from devtrace.store.spool import SpoolWriter, read_frames
from devtrace.workspace import Workspace
from tests.store.crowd import tell
from tests.store.frames import OTHER, SESSION, START, begin, events, frame, is_whole

DB = sqlite3.Connection
OUTPUT = {"seen": 3, "head": 3, "tail": 0, "truncated": False}
NESTED: list[Any] = []
for _ in range(200):
    NESTED = [NESTED]
ODD: list[Any] = [
    None, True, False, 0, -1, 7, 1 << 53, 1 << 63, -(1 << 63) - 1, 10**18, 10**400, 1.5,
    float("nan"), float("inf"), "", "x", "12", "\ud800", "\0", "\x1b[2J",
    [], [1], ["x"], [[]], {}, {"x": 1}, {"x": {"y": [None]}}, NESTED,
]  # fmt: skip
KINDS = {
    "run_command": {"command": "make", "cwd": "/", "output": OUTPUT, "pipestatus": [0, 1], "exit_code": 0},
    "note": {"text": "why", "cwd": None},
    "gap": {"reason": "no_hooks", "detail": "", "count": 1},
    "policy": {"action": "redacted", "rule": "url-password", "count": 2, "detail": ""},
    "telepathy": {"text": "hm", "output": [1], "command": {"of": "mind"}, "shell": 7, "pipestatus": "x"},
}
QUESTIONS = [
    ["stats"], ["sessions"], ["show"], ["show", "--nested"], ["show", "--output"], ["log", "--limit", "500"],
    ["stats", "--json"], ["sessions", "--json"], ["show", "--json"], ["log", "--limit", "500", "--json"],
    ["show", SESSION, "--output", "--json"],
    ["export", SESSION, "--format", "jsonl"], ["export", SESSION, "--format", "asciicast"],
]  # fmt: skip


@pytest.fixture
def here(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The store, where the commands find it."""
    monkeypatch.chdir(workspace.root)
    monkeypatch.setenv("HOME", str(workspace.root))
    for name in ("DEVTRACE_DIR", "DEVTRACE_SESSION"):
        monkeypatch.delenv(name, raising=False)
    open_store(workspace, create=True).close()
    return workspace


def spool(workspace: Workspace, *frames: dict[str, Any]) -> None:
    with closing(SpoolWriter(workspace.spool)) as writer:
        for one in frames:
            assert writer.write(one)


def kept(workspace: Workspace) -> list[dict[str, Any]]:
    """The frames that were put aside."""
    files = sorted((workspace.spool / UNFIT_FOLDER).glob("*.spool"))
    return [one for path in files for one in read_frames(path.read_bytes(), is_finished=True).frames]


def answers(*words: str) -> str:
    """A command's answer; it may end with 1 for what it found, never with our bug."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = guarded(lambda: app.main(list(words)))
    assert status in (0, 1), f"{words}: {err.getvalue()}"
    assert "ERR_INTERNAL" not in err.getvalue(), f"{words}: {err.getvalue()}"
    return out.getvalue()


def all_readers_answer(db: DB) -> None:
    for words in QUESTIONS:
        answers(*words)
    for event in events(db):
        answers("show", f"{SESSION}/{event}")


def gaps(db: DB) -> list[tuple[str, int, str]]:
    rows = db.execute("SELECT data FROM events WHERE kind = 'gap' AND source = 'host' ORDER BY seq")
    told = [json.loads(data) for (data,) in rows]
    return [(one["reason"], one["count"], one["detail"]) for one in told]


def wrong(name: str, value: object) -> dict[str, Any]:
    return frame(data={name: value})


@pytest.mark.parametrize(
    ("odd", "field"),
    [
        (wrong("command", ["rm", "-rf"]), "data.command"),
        (wrong("command", 7), "data.command"),
        (wrong("cwd", None), "data.cwd"),
        (wrong("exit_code", "0"), "data.exit_code"),
        (wrong("exit_code", True), "data.exit_code"),
        (wrong("exit_code", 1 << 63), "data.exit_code"),
        (wrong("interactive", 1), "data.interactive"),
        (wrong("pipestatus", [0, "1"]), "data.pipestatus"),
        (wrong("folded", {}), "data.folded"),
        (wrong("output", "text"), "data.output"),
        (wrong("output", OUTPUT | {"seen": "3"}), "data.output"),
        (wrong("output", {"seen": 3}), "data.output"),
        (wrong("redacted", "all"), "data.redacted"),
        (wrong("blobs", {"output": {"sha256": 7}}), "data.blobs"),
        (wrong("of a newer version", NESTED), "data"),
        (frame() | {"data": {"cwd": "/"}}, "data.command"),
        (frame(started_us=-1), "started_us"),
        (frame(ended_us=10**18), "ended_us"),
        (frame(blobs={"timing": b"soon"}), "blobs.timing"),
        (frame(blobs={"timing": b"[[0, 1.5]]"}), "blobs.timing"),
        (frame(blobs={"timing": b"[[-1, 2]]"}), "blobs.timing"),
        (frame(kind="telepathy", data={"redacted": 7}), "data.redacted"),
        (frame(kind="note"), "data.text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_frame_of_wrong_types_is_kept_aside_and_said(
    here: Workspace, odd: dict[str, Any], field: str
) -> None:
    fine = [frame("first"), frame("last")]
    spool(here, fine[0], odd, fine[1])

    with closing(open_store(here)) as db:
        drained = drain(db, here)

        assert (drained.events, drained.damaged, drained.files) == (3, 1, 1)
        assert gaps(db) == [("unfit_frame", 1, f"{field} does not fit; see spool/unfit")]
        assert kept(here) == [odd]
        assert is_whole(db)
        all_readers_answer(db)


def test_a_number_that_json_can_hold_and_we_cannot_is_kept_aside(here: Workspace) -> None:
    spool(here, frame(), frame(data={"of a newer version": float("nan")}))

    with closing(open_store(here)) as db:
        assert drain(db, here).damaged == 1

        assert [reason for reason, _, _ in gaps(db)] == ["unfit_frame"]
        assert len(kept(here)) == 1


@pytest.mark.parametrize(
    "columns",
    [
        [OTHER], "text", 7, {"id": 10**31},
        {"started_us": None}, {"started_us": "12"}, {"started_us": True}, {"ended_us": 10**18},
        {"status": ["ended"]}, {"kind": None}, {"parent_session": "\x1b[2J"}, {"parent_event": 7},
        {"meta": "[]"}, {"meta": None},
        {"meta": {"deep": NESTED}}, {"title": {}}, {"exit_code": False}, {"head_end": 12345678},
    ],
)  # fmt: skip
def test_a_session_of_wrong_types_is_kept_aside_too(here: Workspace, columns: Any) -> None:
    row = {"id": OTHER, "kind": "shell", "started_us": START, "status": "ended"}
    told = row | columns if isinstance(columns, dict) else columns
    spool(here, frame(), {"kind": SESSION_FRAME, "columns": told})

    with closing(open_store(here)) as db:
        assert drain(db, here).damaged == 1

        assert len(kept(here)) == 1
        assert is_whole(db)
        all_readers_answer(db)


def test_a_kind_of_a_newer_version_survives_with_whatever_it_holds(here: Workspace) -> None:
    odd = frame(kind="telepathy", data=KINDS["telepathy"], blobs={"output": b"thought", "timing": b"never"})
    newer = frame(data={"mood": {"good": [1, "2", None]}})
    spool(here, odd, newer)

    with closing(open_store(here)) as db:
        assert drain(db, here).damaged == 0

        assert events(db) == [odd["id"], newer["id"]]
        all_readers_answer(db)
        assert answers("show", odd["id"], "--output") == "thought\n"


def test_what_fits_is_what_our_own_classes_make() -> None:
    bodies = [
        RunCommand(command=None, cwd="/", output=Output(**OUTPUT), pipestatus=[1]),
        Note(text="x"), Gap(reason="x"), Policy(action="redacted", rule="x", count=1),
    ]  # fmt: skip
    for body in bodies:
        data = {name: getattr(body, name) for name in body.__slots__}  # type: ignore[attr-defined]
        if data.get("output"):
            data["output"] = {name: getattr(data["output"], name) for name in Output.__slots__}
        whole = frame() | {"kind": body.kind, "data": data}
        assert check_body(whole) is whole


def test_an_unfit_frame_that_cannot_be_kept_is_counted_all_the_same(here: Workspace) -> None:
    (here.spool / UNFIT_FOLDER).write_text("in the way")
    spool(here, frame(), wrong("command", 7))

    with closing(open_store(here)) as db:
        assert drain(db, here).files == 1

        assert len(gaps(db)) == 1


def test_many_times_that_add_up_beyond_64_bits_are_counted(here: Workspace) -> None:
    spool(here, *(frame("sleep", started_us=0, ended_us=10**18 - 1) for _ in range(20)))

    assert "20 commands in 1 session" in answers("stats")


def _mutated(whole: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """The frame with one to three of its values, at any depth, gone or something else."""
    odd = copy.deepcopy(whole)
    for _ in range(chance.randint(1, 3)):
        places = list(_places(odd)) or [(odd, "kind")]
        holder, key = chance.choice(places)
        if isinstance(holder, dict) and chance.random() < 0.2:
            holder.pop(key, None)
        else:
            holder[key] = chance.choice(ODD)
    blobs = odd.get("blobs")
    odd["blobs"] = (
        {name: data for name, data in blobs.items() if isinstance(data, bytes)}
        if isinstance(blobs, dict)
        else {}
    )  # what is no base64 is damage long before
    return odd


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    if depth > 6:
        return
    inner: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, one in list(inner):
        yield value, key
        yield from _places(one, depth + 1)


@pytest.mark.parametrize("round_", range(4))
def test_no_mutation_of_a_frame_breaks_a_reader(here: Workspace, round_: int) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    tell(f"seed {seed}")
    chance = random.Random(seed)
    odd = []
    for kind, data in KINDS.items():
        blobs = {"output": b"abc", "timing": b"[[0,3]]"} if kind == "run_command" else {}
        for _ in range(30):
            changes: dict[str, Any] = {"status": chance.choice(["ok", "failed", "running", "interrupted"])}
            odd.append(_mutated(frame() | {"kind": kind, "data": data, "blobs": blobs} | changes, chance))
    row = {
        "id": SESSION,
        "kind": "shell",
        "started_us": START,
        "status": "active",
        "meta": {"cols": 80},
        "title": "",
    }
    odd += [_mutated({"kind": SESSION_FRAME, "columns": row}, chance) for _ in range(30)]
    chance.shuffle(odd)
    fine = [frame(f"echo {number}") for number in range(5)]
    with closing(open_store(here)) as db:
        begin(db)
    with closing(SpoolWriter(here.spool)) as writer:
        for number, one in enumerate(odd):
            writer.write(one)  # what is no JSON at all is not written
            if number % 40 == 0:
                assert writer.write(fine[number // 40])

    all_told = answers("log", "--limit", "1000", "--json")

    assert all(one["id"] in all_told for one in fine)
    with closing(open_store(here)) as db:
        assert is_whole(db)
        assert list(here.spool.glob("*.spool")) == []
        all_readers_answer(db)
    answers("doctor")
