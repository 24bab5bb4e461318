"""What an event, a session and a store may hold, where the events pass."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from devtrace.events import OUTPUT_BLOB, Event, Note, Output, RunCommand
from devtrace.ids import new_session_id, new_span_id
from devtrace.pipeline import Pipeline
from devtrace.policy.chain import Policy
from devtrace.query.verify import verify
from devtrace.store import sessions
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace, create
from tests.store.frames import is_whole

SECRET = "s3cr3t-Zq9v7Xw2Lk5p"  # made up
START = 1_700_000_000_000_000
MIB = 1 << 20


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / ".devtrace")
    create(made)
    return made


@pytest.fixture
def db(workspace: Workspace) -> Iterator[sqlite3.Connection]:
    with closing(open_store(workspace, create=True)) as connection:
        yield connection


def begin(db: sqlite3.Connection) -> str:
    session = new_session_id()
    sessions.begin(db, id=session, kind="shell", agent="manual", started_us=START)
    return session


def event(session: str, body, **more) -> Event:
    known = {"actor": "human", "started_us": START, "ended_us": START, "status": "ok", "source": "cli"}
    return Event(session=session, id=new_span_id(), trusted=0, body=body, **(known | more))


def command(session: str, printed: bytes) -> Event:
    told = Output(seen=len(printed), head=len(printed), tail=0, truncated=False)
    body = RunCommand(command="make", cwd="/", exit_code=0, output=told)
    return event(session, body, blobs={OUTPUT_BLOB: printed})


def pipeline(db, workspace: Workspace) -> Pipeline:
    return Pipeline(db, workspace, Policy.for_session({"API_TOKEN": SECRET}, b"salt" * 8))


def data(db, session: str) -> list[dict]:
    rows = db.execute("SELECT data FROM events WHERE session = ? ORDER BY seq", (session,))
    return [json.loads(text) for (text,) in rows]


def test_a_secret_is_masked_before_its_text_is_cut(db, workspace):
    workspace.config.write_text("[limits]\nevent_kb = 4\n")
    session = begin(db)
    made = pipeline(db, workspace)
    text = "x" * 2_040 + SECRET + "y" * 100_000  # the cut would go through it
    made.emit(event(session, Note(text=text)))
    made.close()

    (told,) = data(db, session)
    assert SECRET[:6] not in told["text"]
    assert told["redacted"] == ["known-value"]
    assert 100_000 < told["truncated"]["text"] < len(text) + 100
    assert len(told["text"]) < 5_000
    assert verify(db).findings == []


def test_outputs_beyond_the_session_s_share_are_left_out_with_one_line_at_the_end(db, workspace):
    workspace.config.write_text("[limits]\nsession_mb = 1\n")
    session, other = begin(db), begin(db)
    made = pipeline(db, workspace)
    for size in (600_000, 600_000, 300_000, 500_000):
        made.emit(command(session, os.urandom(size)))
        made.flush()
    made.emit(command(other, b"x"))
    made.close()

    *told, policy = data(db, session)
    assert ["blobs" in one for one in told] == [True, False, True, False]
    assert [one.get("dropped") for one in told] == [None, "limits.session_mb", None, "limits.session_mb"]
    assert [one["output"]["seen"] for one in told] == [600_000, 600_000, 300_000, 500_000]
    assert (policy["action"], policy["rule"]) == ("dropped", "limits.session_mb")
    assert (policy["count"], policy["size"], policy["listed"]) == (2, 1_100_000, None)
    assert len(data(db, other)) == 1
    assert (verify(db).findings, made.n_events) == ([], 6)
    assert is_whole(db)


def test_a_store_that_is_too_large_takes_events_and_no_outputs(db, workspace):
    workspace.config.write_text("[limits]\nstore_mb = 1\n")
    db.execute("CREATE TABLE filler (data BLOB)")
    session = begin(db)
    made = pipeline(db, workspace)
    made.emit(command(session, b"before"))
    made.flush()
    db.execute("INSERT INTO filler VALUES (zeroblob(?))", (2 * MIB,))
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    made.emit(command(session, b"after"))
    made.close()

    before, after, policy = data(db, session)
    assert ("blobs" in before, "blobs" in after, after["dropped"]) == (True, False, "limits.store_mb")
    assert (policy["rule"], policy["count"], policy["size"]) == ("limits.store_mb", 1, 5)


def test_what_was_left_out_is_told_where_the_store_cannot_be_written(db, workspace):
    workspace.config.write_text("[limits]\nsession_mb = 1\n")
    session = begin(db)
    made = pipeline(None, workspace)
    made.emit(command(session, bytes(2 * MIB)))
    made.close()
    made = pipeline(db, workspace)
    made.session({"id": session, "kind": "shell", "started_us": START})
    made.emit(event(session, Note(text="later")))
    made.close()
    from devtrace.store.drain import drain

    drain(db, workspace)

    kinds = [kind for (kind,) in db.execute("SELECT kind FROM events ORDER BY seq")]
    assert sorted(kinds) == ["note", "policy", "run_command"]


def test_settings_that_cannot_be_read_leave_the_defaults(db, workspace):
    workspace.config.write_text("[limits\n")
    session = begin(db)
    made = pipeline(db, workspace)
    made.emit(event(session, Note(text="x" * MIB)))
    made.close()

    (told,) = data(db, session)
    assert told["truncated"] == {"text": MIB}
