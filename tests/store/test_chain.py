"""The hash chain: filled from the first event, broken by any change to what is stored."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from typing import Any

import pytest

from devtrace.store import chain, sessions
from devtrace.store.append import append
from tests.store.frames import OTHER, SESSION, START, begin, events, frame

DB = sqlite3.Connection


@pytest.fixture
def recorded(db: DB) -> DB:
    """Five events in one session and two in another, in turn."""
    begin(db)
    begin(db, OTHER)
    parent = {"parent": "1" * 16, "exit_source": "shell"}
    append(db, [frame("1", blobs={"output": b"one"}), frame("2"), frame("other 1", OTHER)])
    append(
        db,
        [frame("3", **parent), frame("other 2", OTHER), frame("4"), frame("5", status="failed", exit_code=1)],
    )
    return db


def test_the_chain_is_filled_from_the_first_event(recorded: DB) -> None:
    rows = recorded.execute(
        f"SELECT hash, {', '.join(chain.COLUMNS)} FROM events WHERE session = ? ORDER BY seq", (SESSION,)
    )

    previous = "0" * 64
    for stored, *values in rows.fetchall():
        row = dict(zip(chain.COLUMNS, values, strict=True))
        text = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        previous = hashlib.sha256(previous.encode() + text.encode()).hexdigest()
        assert stored == previous


def test_an_untouched_chain_holds(recorded: DB) -> None:
    assert chain.check(recorded, SESSION) is None
    assert chain.check(recorded, OTHER) is None
    assert chain.check(recorded, "0" * 32) is None


CHANGES: dict[str, Any] = {
    "id": "e" * 16, "parent": "e" * 16, "kind": "note", "actor": "agent:codex", "started_us": 1,
    "ended_us": 1, "recorded_us": 1, "status": "unknown", "title": "$ rm", "cwd": "/tmp", "exit_code": 9,
    "source": "cli", "exit_source": "pidfd", "trusted": 0, "data": "{}", "hash": "0" * 64,
}  # fmt: skip


def test_every_column_is_tried() -> None:
    assert set(CHANGES) == {*chain.COLUMNS, "hash"} - {"session"}


@pytest.mark.parametrize("column", CHANGES)
@pytest.mark.parametrize("which", [0, 2, 4], ids=["the first", "a middle one", "the last"])
def test_a_change_of_any_column_breaks_the_chain_there(recorded: DB, column: str, which: int) -> None:
    seqs = events(recorded, "seq")

    recorded.execute(f"UPDATE events SET {column} = ? WHERE seq = ?", (CHANGES[column], seqs[which]))

    assert chain.check(recorded, SESSION) == seqs[which]
    assert chain.check(recorded, OTHER) is None


@pytest.mark.parametrize("column", ["parent", "ended_us", "cwd", "exit_code", "exit_source"])
def test_a_value_that_is_taken_away_breaks_the_chain(recorded: DB, column: str) -> None:
    seq = events(recorded, "seq")[2]

    recorded.execute(f"UPDATE events SET {column} = NULL WHERE seq = ?", (seq,))

    assert chain.check(recorded, SESSION) == seq


def test_an_event_moved_to_another_session_breaks_both(recorded: DB) -> None:
    first, second, *_ = events(recorded, "seq")

    recorded.execute("UPDATE events SET session = ? WHERE seq = ?", (OTHER, first))

    assert chain.check(recorded, SESSION) == second
    assert chain.check(recorded, OTHER) == first


def test_an_event_taken_out_breaks_the_chain_at_the_next(recorded: DB) -> None:
    seqs = events(recorded, "seq")

    recorded.execute("DELETE FROM events WHERE seq = ?", (seqs[1],))

    assert chain.check(recorded, SESSION) == seqs[2]


def test_two_events_that_change_places_break_the_chain(recorded: DB) -> None:
    seqs = events(recorded, "seq")

    for old, new in ((seqs[1], 1000), (seqs[2], seqs[1]), (1000, seqs[2])):
        recorded.execute("UPDATE events SET seq = ? WHERE seq = ?", (new, old))

    assert chain.check(recorded, SESSION) == seqs[1]


def test_the_last_events_cannot_be_taken_away_from_a_sealed_session(recorded: DB) -> None:
    sessions.end(recorded, SESSION, ended_us=START + 9, status="ended", exit_code=0)
    *_, last = events(recorded, "seq")
    assert chain.check(recorded, SESSION) is None

    recorded.execute("DELETE FROM events WHERE seq = ?", (last,))

    assert chain.check(recorded, SESSION) == last


def test_a_rewritten_chain_does_not_fit_its_seal(recorded: DB) -> None:
    sessions.end(recorded, SESSION, ended_us=START + 9, status="ended", exit_code=0)
    seq = events(recorded, "seq")[-1]
    recorded.execute("UPDATE events SET title = 'harmless' WHERE seq = ?", (seq,))
    *_, before = events(recorded, "hash")[:-1]
    values = recorded.execute(
        f"SELECT {', '.join(chain.COLUMNS)} FROM events WHERE seq = ?", (seq,)
    ).fetchone()
    recorded.execute(
        "UPDATE events SET hash = ? WHERE seq = ?",
        (chain.link(before, dict(zip(chain.COLUMNS, values, strict=True))), seq),
    )

    assert chain.check(recorded, SESSION) == seq


def test_a_session_is_sealed_anew_only_when_its_head_moved(recorded: DB) -> None:
    for moment in (1, 2, 3):
        sessions.end(recorded, SESSION, ended_us=START + moment, status="ended", exit_code=0)

    assert recorded.execute("SELECT sealed_us, late FROM seals").fetchall() == [(START + 1, 0)]


def test_an_empty_session_has_a_seal_too(db: DB) -> None:
    begin(db)
    sessions.end(db, SESSION, ended_us=START, status="ended", exit_code=0)

    assert db.execute("SELECT seq, hash FROM seals").fetchall() == [(None, chain.FIRST)]
    assert chain.check(db, SESSION) is None

    append(db, [frame()])

    assert chain.check(db, SESSION) is None
    assert db.execute("SELECT seq, late FROM seals ORDER BY n").fetchall() == [(None, 0), (1, 1)]


# --- the canonical form ---


def test_the_form_does_not_depend_on_the_order_of_names() -> None:
    assert chain.dumps({"b": 1, "a": {"d": None, "c": True}}) == '{"a":{"c":true,"d":null},"b":1}'


@pytest.mark.parametrize(
    "text", ['"', "\\", "\x00", "\x7f", "é", "\u2028", "😀", "</script>", "\n\t\r", "a" * 10_000], ids=ascii
)
def test_columns_are_written_as_json_writes_them(text: str) -> None:
    row = dict.fromkeys(chain.COLUMNS) | {"title": text, "started_us": -5, "data": '{"a":1}'}

    plain = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    assert chain.canonical(row) == plain.encode("ascii")


@pytest.mark.parametrize("value", [1.0, True, b"x", ["x"]], ids=repr)
def test_a_column_of_another_type_has_no_form(value: object) -> None:
    with pytest.raises(TypeError):
        chain.canonical(dict.fromkeys(chain.COLUMNS) | {"exit_code": value})


@pytest.mark.parametrize("value", [1.5, [1.5], {"a": (1, {"b": 1.5})}, float("nan")], ids=repr)
def test_a_float_has_no_form(value: object) -> None:
    with pytest.raises(ValueError, match="float"):
        chain.dumps(value)
