"""Appending: idempotent, in one transaction with its counters, in nothing that SQLite could not give back."""

from __future__ import annotations

import base64
import json
import sqlite3
from typing import Any

import pytest

from devtrace.errors import UsageError
from devtrace.events import Event, RunCommand
from devtrace.store import chain, sessions
from devtrace.store.append import append
from devtrace.workspace import Workspace
from tests.store.frames import OTHER, SESSION, START, begin, count, events, frame, is_whole, start_of

DB = sqlite3.Connection


def counters(db: DB, session: str = SESSION) -> tuple[int, int]:
    row: tuple[int, int] = db.execute(
        "SELECT n_events, n_failed FROM sessions WHERE id = ?", (session,)
    ).fetchone()
    return row


def data_of(db: DB, event: str) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(
        db.execute("SELECT data FROM events WHERE id = ?", (event,)).fetchone()[0]
    )
    return decoded


def test_what_is_appended_again_is_there_once(db: DB) -> None:
    begin(db)
    frames = [frame(f"echo {number}") for number in range(5)]

    assert append(db, frames) == 5
    assert append(db, frames) == 0
    assert append(db, [*frames, *frames, frame("new")]) == 1

    assert events(db)[:5] == [one["id"] for one in frames]
    assert events(db, "seq") == [1, 2, 3, 4, 5, 6], "what is known uses up no number"
    assert counters(db) == (6, 0)
    assert is_whole(db)


def test_the_same_id_in_another_session_is_another_event(db: DB) -> None:
    begin(db)
    begin(db, OTHER)
    one = frame()

    assert append(db, [one, one | {"session": OTHER}]) == 2

    assert events(db) == events(db, session=OTHER) == [one["id"]]
    assert is_whole(db)


def test_what_is_there_already_is_left_as_it_was(db: DB) -> None:
    begin(db)
    one = frame("first")
    append(db, [one])

    append(db, [one | {"title": "$ second", "data": {"command": "second"}, "blobs": {"output": b"other"}}])

    assert events(db, "title") == ["$ first"]
    assert "blobs" not in data_of(db, one["id"])
    assert is_whole(db)


# --- running ---


def test_a_command_in_flight_becomes_an_event_at_its_end(db: DB) -> None:
    begin(db)
    ended = frame("make")

    assert append(db, [start_of(ended)]) == 0
    assert (count(db, "running"), count(db)) == (1, 0)

    assert append(db, [ended]) == 1
    assert (count(db, "running"), count(db)) == (0, 1)
    assert counters(db) == (1, 0)


def test_start_and_end_may_come_together_and_in_any_order(db: DB) -> None:
    begin(db)
    one, other = frame("one"), frame("other")

    append(db, [start_of(one), one, other, start_of(other)])

    assert (count(db, "running"), count(db)) == (0, 2)


def test_a_start_that_comes_after_its_end_is_no_news(db: DB) -> None:
    begin(db)
    ended = frame()
    append(db, [ended])

    append(db, [start_of(ended)])

    assert count(db, "running") == 0


def test_what_is_told_again_of_a_running_command_takes_its_place(db: DB) -> None:
    begin(db)
    started = start_of(frame("make"))
    append(db, [started])
    (before,) = db.execute("SELECT n FROM running").fetchone()

    append(db, [started | {"title": "$ make all", "cwd": "/elsewhere"}])

    assert db.execute("SELECT n, title, cwd FROM running").fetchall() == [
        (before, "$ make all", "/elsewhere")
    ]


def test_the_end_of_an_interrupted_command_is_kept_and_linked_to_it(db: DB, workspace: Workspace) -> None:
    begin(db)
    ended = frame("make", blobs={"output": b"done\n"})
    append(db, [start_of(ended)])
    sessions.close_orphans(db, workspace, START + 5)

    assert append(db, [ended]) == 1
    assert append(db, [ended]) == 0

    (first, _, second) = events(db)  # between them: that the recorder was stopped
    assert first == ended["id"]
    assert events(db, "status") == ["interrupted", "unknown", "ok"]
    assert "output" in data_of(db, second)["blobs"]
    links = db.execute("SELECT session, event, other_session, other_event, relation FROM links").fetchall()
    assert links == [(SESSION, first, SESSION, second, "end")]
    assert is_whole(db)


def test_an_interruption_that_a_shell_reported_is_an_end(db: DB) -> None:
    begin(db)
    stopped = frame("make", status="interrupted", exit_source="shell")
    append(db, [stopped])

    assert append(db, [stopped | {"status": "ok"}]) == 0
    assert count(db, "links") == 0


# --- sessions ---


def test_counters_go_with_the_events_or_not_at_all(db: DB) -> None:
    begin(db)
    good = [frame(status="failed", exit_code=1), frame(), frame()]
    append(db, good)
    assert counters(db) == (3, 1)

    with pytest.raises(UsageError):
        append(db, [frame(), frame(status="nonsense")])
    db.execute(
        "CREATE TRIGGER full BEFORE INSERT ON events WHEN new.title = '$ last'"
        " BEGIN SELECT raise(ABORT, 'no room'); END"
    )
    with pytest.raises(sqlite3.Error):
        append(db, [start_of(frame()), frame(blobs={"output": b"x" * 100}), frame("last")])

    assert counters(db) == (3, 1)
    assert (count(db), count(db, "blobs"), count(db, "running")) == (3, 0, 0)
    assert not db.in_transaction
    assert is_whole(db)


def test_an_event_of_an_unknown_session_makes_one(db: DB) -> None:
    append(db, [frame(started_us=START + 7), frame(started_us=START, status="failed")])

    assert db.execute("SELECT id, kind, status, started_us, n_events, n_failed FROM sessions").fetchall() == [
        (SESSION, "import", "ended", START + 7, 2, 1)
    ]

    begin(db, title="mine")

    assert db.execute("SELECT kind, status, title, n_events FROM sessions").fetchall() == [
        ("shell", "active", "mine", 2)
    ]


def test_what_arrives_after_the_seal_is_sealed_again_as_late(db: DB) -> None:
    begin(db)
    append(db, [frame()])
    sessions.end(db, SESSION, ended_us=START + 9, status="ended", exit_code=0)

    append(db, [frame(), frame()], recorded_us=START + 10)
    append(db, [], recorded_us=START + 11)

    seals = db.execute("SELECT seq, hash, sealed_us, late FROM seals ORDER BY n").fetchall()
    hashes = events(db, "hash")
    assert seals == [(1, hashes[0], START + 9, 0), (3, hashes[2], START + 10, 1)]
    assert is_whole(db)


def test_what_was_known_does_not_seal_again(db: DB) -> None:
    begin(db)
    one = frame()
    append(db, [one])
    sessions.end(db, SESSION, ended_us=START + 9, status="ended", exit_code=0)

    append(db, [one, start_of(one)])

    assert count(db, "seals") == 1


# --- what SQLite can hold ---


def test_text_that_is_not_utf_8_keeps_its_bytes_beside_it(db: DB) -> None:
    begin(db)
    name = b"caf\xe9-\xff\xfe.txt"
    text = name.decode("utf-8", "surrogateescape")
    one = frame(
        title=f"$ cat {text}",
        cwd=f"/tmp/{text}",
        data={"command": f"cat {text}", "argv": ["cat", text], "n": {"deep": text}},
    )

    append(db, [one])

    assert events(db, "title") == ["$ cat caf\ufffd-\ufffd\ufffd.txt"]
    assert events(db, "cwd") == ["/tmp/caf\ufffd-\ufffd\ufffd.txt"]
    data = data_of(db, one["id"])
    assert data["command"] == "cat caf\ufffd-\ufffd\ufffd.txt"
    assert base64.b64decode(data["command_b64"]) == b"cat " + name
    assert base64.b64decode(data["n"]["deep_b64"]) == name
    assert data["argv"] == ["cat", "caf\ufffd-\ufffd\ufffd.txt"]
    assert data["argv_b64"][0] is None
    assert base64.b64decode(data["argv_b64"][1]) == name
    assert is_whole(db)


ESCAPED, HIGH, LOW = chr(0xDCFF), chr(0xD800), chr(0xDFFF)  # a strange byte, and two that stand for none
ODD = [
    ESCAPED,
    HIGH,
    LOW,
    f"a{HIGH}",
    f"{chr(0xDC80)}{HIGH}{ESCAPED}",
    f"😀{ESCAPED}",
    "\x00",
    "\x1b",
    "\u2028",
]


@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_no_lone_surrogate_reaches_sqlite(db: DB, odd: str) -> None:
    begin(db, meta={"term": odd, odd: 1}, title=odd, cwd=odd)
    strange = frame(
        title=odd, cwd=odd, kind=f"kind{odd}", actor=f"agent:{odd}", source=odd, exit_source=odd,
        data={"command": odd, odd: odd, "list": [odd, {odd: [odd]}]},
    )  # fmt: skip
    append(db, [start_of(strange | {"id": "f" * 16}), strange])
    sessions.update(db, SESSION, title=odd, meta={"again": odd})

    for table in ("events", "running", "sessions"):
        for row in db.execute(f"SELECT * FROM {table}").fetchall():
            for value in row:
                if isinstance(value, str):
                    value.encode("utf-8")
                    if value.startswith("{"):
                        json.dumps(json.loads(value), ensure_ascii=False).encode("utf-8")
    assert is_whole(db)


@pytest.mark.parametrize(
    "value", [1.5, float("nan"), float("inf"), [1, 2.0], {"x": [{"y": 0.1}]}, (1.0,)], ids=repr
)
def test_a_float_is_refused(db: DB, value: Any) -> None:
    begin(db)

    with pytest.raises(ValueError, match="float"):
        append(db, [frame(), frame(data={"load": value})])

    assert count(db) == 0


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object()], ids=lambda value: type(value).__name__)
def test_what_is_no_json_is_refused(db: DB, value: Any) -> None:
    with pytest.raises(TypeError):
        append(db, [frame(data={"odd": value})])

    assert count(db) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"session": "x"}, {"id": "0" * 16}, {"id": None}, {"started_us": 1.5}, {"started_us": 1 << 63},
        {"trusted": True}, {"trusted": 3}, {"trusted": 1.0}, {"exit_code": True}, {"exit_code": "1"},
        {"data": None}, {"data": []}, {"title": None}, {"status": "odd"}, {"status": []}, {"kind": ""},
        {"parent": "x"}, {"cwd": b"/"},
    ],
    ids=repr,
)  # fmt: skip
def test_a_frame_that_does_not_fit_is_refused_whole(db: DB, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        append(db, [frame(), frame() | wrong])

    assert caught.value.code == "ERR_FRAME"
    assert count(db) == 0


def test_every_whole_number_of_64_bits_comes_back(db: DB) -> None:
    begin(db)
    most, least = (1 << 63) - 1, -(1 << 63)
    append(db, [frame(started_us=least, ended_us=most, exit_code=most, data={"n": 1 << 80})])

    assert db.execute("SELECT started_us, ended_us, exit_code FROM events").fetchone() == (least, most, most)
    assert is_whole(db)


def test_a_typed_event_comes_back_as_it_was_sent(db: DB) -> None:
    body = RunCommand(
        command="a && b | c", cwd="/x", exit_code=3, pipestatus=[0, 3], duration_us=9, shell="bash"
    )
    event = Event(
        session=SESSION, id="ab" * 8, actor="agent:codex", started_us=START, ended_us=START + 9,
        status="failed", source="interactive", trusted=2, body=body,
        blobs={"output": b"x", "timing": b"[[0,1]]"},
    )  # fmt: skip

    append(db, [event.to_frame()])

    data = data_of(db, event.id)
    assert data["pipestatus"] == [0, 3]
    assert {name: blob["size"] for name, blob in data["blobs"].items()} == {"output": 1, "timing": 7}
    assert chain.check(db, SESSION) is None


def test_nesting_without_an_end_is_refused(db: DB) -> None:
    deep: dict[str, Any] = {}
    for _ in range(50_000):
        deep = {"in": deep}

    with pytest.raises(RecursionError):
        append(db, [frame(data=deep)])

    assert count(db) == 0


def test_an_agent_s_call_that_is_told_to_have_ended_in_two_ways_keeps_both(db: DB) -> None:
    begin(db)
    told = {"tool": "Bash", "does": "shell", "agent": "codex", "native": "n"}
    first = frame(kind="tool_call", source="hook") | {"data": told}
    append(db, [start_of(first), first])

    other = first | {"status": "failed", "exit_code": 2}
    append(db, [other])
    append(db, [other, first])

    assert events(db, "status") == ["ok", "failed"]
    assert events(db)[0] == first["id"]
    linked = db.execute("SELECT event, other_event, relation FROM links").fetchall()
    assert linked == [(first["id"], events(db)[1], "contradicts")]
    assert is_whole(db)


def test_a_call_s_end_keeps_the_start_that_its_beginning_told(db: DB) -> None:
    begin(db)
    told = {"tool": "Bash", "does": "shell", "agent": "codex", "native": "n"}
    ended = frame(kind="tool_call", source="hook", started_us=START + 900) | {"data": told}

    append(db, [start_of(ended) | {"started_us": START}])
    append(db, [ended])

    assert events(db, "started_us") == [START]
    assert count(db, "running") == 0
