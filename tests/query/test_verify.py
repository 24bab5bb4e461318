"""`verify` names what was done to a record: every way there is, at every place, in random histories."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from devtrace.ids import new_session_id, new_span_id
from devtrace.query.verify import verify
from devtrace.store import chain, sessions
from devtrace.store.append import append
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace, create

N_EVENTS = 8
START_US = 1_000_000


@pytest.fixture
def db(tmp_path):
    place = Workspace(tmp_path / ".devtrace")
    create(place)
    with closing(open_store(place, create=True)) as db:
        yield db


def recorded(db: sqlite3.Connection, count: int = N_EVENTS, *, ends: bool = True) -> str:
    """A session with so many events, each with an output; returns its id."""
    session = new_session_id()
    sessions.begin(db, id=session, kind="shell", agent="manual", actor="human", cwd="/", started_us=START_US)
    for number in range(count):
        frame = {
            "session": session, "id": new_span_id(), "parent": None, "kind": "run_command", "actor": "human",
            "started_us": START_US + number, "ended_us": START_US + number, "status": "ok",
            "title": f"$ make {number}", "cwd": "/", "exit_code": 0, "source": "interactive",
            "exit_source": "shell", "trusted": 2, "data": {"command": f"make {number}"},
            "blobs": {"output": f"output {session} {number}\n".encode()},
        }  # fmt: skip
        append(db, [frame], recorded_us=START_US + number)
    if ends:
        sessions.end(db, session, ended_us=START_US + count, status="ended", exit_code=0)
    return session


def found(db: sqlite3.Connection, session: str | None = None) -> set[str]:
    return {finding.what for finding in verify(db, session).findings}


def events(db: sqlite3.Connection, session: str) -> list[tuple[int, str]]:
    return db.execute("SELECT seq, id FROM events WHERE session = ? ORDER BY seq", (session,)).fetchall()


def relink(db: sqlite3.Connection, session: str, seq: int) -> None:
    """Write the hashes anew from there on, as somebody would who knows how."""
    before = db.execute(
        "SELECT hash FROM events WHERE session = ? AND seq < ? ORDER BY seq DESC LIMIT 1", (session, seq)
    )
    row = before.fetchone()
    previous = chain.FIRST if row is None else row[0]
    select = f"SELECT seq, {', '.join(chain.COLUMNS)} FROM events WHERE session = ? AND seq >= ? ORDER BY seq"
    for number, *values in db.execute(select, (session, seq)).fetchall():
        previous = chain.link(previous, dict(zip(chain.COLUMNS, values, strict=True)))
        db.execute("UPDATE events SET hash = ? WHERE seq = ?", (previous, number))


# --- what may be done to a record ---------------------------------------------------------------------------


def insert(db, session, at, **columns):
    """A new event between two others, which are moved up to make room; linked to the one before it."""
    rows = events(db, session)
    room = rows[at - 1][0] + 1
    for table in ("events", "seals"):  # whoever does this knows the tables
        db.execute(f"UPDATE {table} SET seq = -seq - 1 WHERE seq >= ?", (room,))
        db.execute(f"UPDATE {table} SET seq = -seq WHERE seq < 0")
    values = dict(
        zip(
            chain.COLUMNS,
            db.execute(
                f"SELECT {', '.join(chain.COLUMNS)} FROM events WHERE id = ?", (rows[at - 1][1],)
            ).fetchone(),
            strict=True,
        )
    )
    values |= {"id": new_span_id(), "title": "$ never typed", **columns}
    before = db.execute("SELECT hash FROM events WHERE id = ?", (rows[at - 1][1],)).fetchone()[0]
    names = ("seq", *chain.COLUMNS, "hash")
    db.execute(
        f"INSERT INTO events ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
        (room, *values.values(), chain.link(before, values)),
    )


def change(db, session, at):
    db.execute("UPDATE events SET title = 'something else' WHERE seq = ?", (events(db, session)[at][0],))


def change_data(db, session, at):
    db.execute("UPDATE events SET data = '{}' WHERE seq = ?", (events(db, session)[at][0],))


def change_status(db, session, at):
    db.execute("UPDATE events SET status = 'failed' WHERE seq = ?", (events(db, session)[at][0],))


def change_time(db, session, at):
    db.execute("UPDATE events SET started_us = 5 WHERE seq = ?", (events(db, session)[at][0],))


def change_hash(db, session, at):
    db.execute("UPDATE events SET hash = ? WHERE seq = ?", ("f" * 64, events(db, session)[at][0]))


def remove(db, session, at):
    db.execute("DELETE FROM events WHERE seq = ?", (events(db, session)[at][0],))


def remove_and_count(db, session, at):
    remove(db, session, at)
    db.execute("UPDATE sessions SET n_events = n_events - 1 WHERE id = ?", (session,))


def swap(db, session, at):
    (one, _), (other, _) = events(db, session)[at : at + 2]
    for old, new in ((one, -1), (other, one), (-1, other)):
        db.execute("UPDATE events SET seq = ? WHERE seq = ?", (new, old))


def put_in(db, session, at):
    insert(db, session, at)


def back_date(db, session, at):
    insert(db, session, at, recorded_us=START_US - 50)
    relink(db, session, events(db, session)[at][0])


def rewrite(db, session, at):
    change(db, session, at)
    relink(db, session, events(db, session)[at][0])


def change_output(db, session, at):
    named = f"output {session} {at}\n".encode()
    db.execute("UPDATE blobs SET codec = 'raw', data = ? WHERE data = ?", (named.upper(), named))


def remove_output(db, session, at):
    db.execute("DELETE FROM blobs WHERE data = ?", (f"output {session} {at}\n".encode(),))


WAYS: dict[Callable, set[str]] = {
    change: {"changed"},
    change_data: {"changed"},
    change_status: {"changed"},
    change_time: {"changed"},
    change_hash: {"changed"},
    remove: {"removed"},
    remove_and_count: {"changed"},
    swap: {"reordered"},
    put_in: {"inserted"},
    back_date: {"back_dated", "seal"},
    rewrite: {"seal"},
    change_output: {"blob_changed"},
    remove_output: {"blob_missing"},
}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("at", range(1, N_EVENTS - 1))
def test_what_was_done_is_named(db, way, at):
    recorded(db)
    session = recorded(db)
    recorded(db)
    assert found(db) == set()

    way(db, session, at)

    assert found(db, session) >= WAYS[way]
    assert {finding.session for finding in verify(db).findings} == {session}
    assert verify(db).is_sound is False


@pytest.mark.parametrize("many", [1, 3, N_EVENTS])
def test_a_tail_that_was_cut_off_is_seen_by_its_seal(db, many):
    session = recorded(db)
    for _ in range(many):
        remove(db, session, -1)

    assert found(db) == {"truncated"}


def test_the_first_event_cannot_be_removed_unseen(db):
    session = recorded(db)
    remove(db, session, 0)

    assert found(db) == {"removed"}


def test_an_end_without_its_seal_is_seen(db):
    session = recorded(db)
    db.execute("DELETE FROM seals")
    assert found(db) == {"unsealed"}

    append_after = recorded(db, ends=False)
    assert found(db, append_after) == set()
    assert found(db, session) == {"unsealed"}


def test_what_came_after_a_seal_is_sealed_again(db):
    session = recorded(db, ends=False)
    sessions.end(db, session, ended_us=START_US, status="ended", exit_code=0)
    frame = {
        "session": session, "id": new_span_id(), "kind": "note", "actor": "human", "started_us": START_US * 2,
        "ended_us": START_US * 2, "status": "ok", "title": "late", "source": "cli", "trusted": 0,
        "data": {"text": "late"},
    }  # fmt: skip
    append(db, [frame], recorded_us=START_US * 2)
    assert found(db) == set()

    db.execute("DELETE FROM seals WHERE late = 1")
    assert found(db) == {"unsealed"}


def test_a_session_without_its_row_is_seen(db):
    session = recorded(db)
    db.execute("DELETE FROM sessions WHERE id = ?", (session,))

    assert found(db) == {"no_session"}


def test_a_number_that_is_not_theirs_is_seen(db):
    session = recorded(db)
    db.execute("UPDATE sessions SET n_events = n_events - 2 WHERE id = ?", (session,))

    (finding,) = verify(db).findings
    assert (finding.what, finding.number) == ("count", -2)


def test_a_clock_that_was_set_back_is_a_doubt_and_no_more(db):
    session = recorded(db, ends=False)
    frame = {
        "session": session, "id": new_span_id(), "kind": "note", "actor": "human", "started_us": 1,
        "ended_us": 1, "status": "ok", "title": "early", "source": "cli", "trusted": 0,
        "data": {"text": "early"},
    }  # fmt: skip
    append(db, [frame], recorded_us=1)

    verified = verify(db)
    assert ({finding.what for finding in verified.findings}, verified.is_sound) == ({"back_dated"}, True)


def test_thousands_of_findings_are_counted_and_not_all_listed(db):
    session = recorded(db, 300)
    db.execute("UPDATE events SET title = 'no' WHERE session = ?", (session,))

    verified = verify(db)

    assert len(verified.findings) == 100
    assert verified.more >= 100


def test_nothing_recorded_is_sound(db):
    assert verify(db)[:6] == (0, 0, 0, 0, [], 0)


@pytest.mark.parametrize("seed", range(20))
def test_random_doings_are_never_overlooked(db, seed):
    chance = random.Random(seed)
    names = [recorded(db, chance.randint(3, 12), ends=chance.random() < 0.8) for _ in range(3)]
    session = chance.choice(names)
    is_sealed = db.execute("SELECT 1 FROM seals WHERE session = ?", (session,)).fetchone() is not None
    ways = [way for way in WAYS if is_sealed or way not in (rewrite, back_date)]
    done = []
    for _ in range(chance.randint(1, 3)):
        way, at = chance.choice(ways), chance.randrange(1, len(events(db, session)) - 1)
        done.append((way.__name__, at))
        way(db, session, at)
        if len(events(db, session)) < 4:
            break

    assert found(db, session), (seed, done)
    for other in set(names) - {session}:
        assert found(db, other) == set(), (seed, done)
