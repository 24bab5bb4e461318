"""An event goes to the store, else to the spool, else it is counted; and never with a secret in it."""

from __future__ import annotations

import fcntl
import itertools
import json
import resource
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from devtrace.errors import EnvironmentError
from devtrace.events import OUTPUT_BLOB, TIMING_BLOB, Event, Note, Output, RunCommand
from devtrace.ids import new_session_id, new_span_id
from devtrace.pipeline import Pipeline
from devtrace.policy.chain import WITHHELD, Policy
from devtrace.store import chain, sessions
from devtrace.store.connection import open_store, transaction
from devtrace.store.drain import drain
from devtrace.store.retry import LONGEST_S, Retry
from devtrace.workspace import Workspace
from tests.processes import CAN_OBEY, environment, obey_permissions

SESSION = "019aa6e0c1de7abc8000000000000001"
START = 1_700_000_000_000_000  # long ago
SECRET = "s3cr3t-Zq9v7Xw2Lk5p"  # made up
DB = sqlite3.Connection


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / ".devtrace")


@pytest.fixture
def db(workspace: Workspace) -> Iterator[DB]:
    with closing(open_store(workspace, create=True, patience_ms=20)) as connection:
        sessions.begin(connection, id=SESSION, kind="shell", agent="manual", started_us=START)
        yield connection


@pytest.fixture
def pipeline(db: DB, workspace: Workspace) -> Iterator[Pipeline]:
    clock = itertools.count(step=60)  # a minute passes between any two tries
    made = Pipeline(
        db, workspace, Policy.for_session({"API_TOKEN": SECRET}, b"salt" * 8), Retry(lambda: next(clock))
    )
    yield made
    made.close()


def note(text: str, **envelope: object) -> Event:
    known = {
        "session": SESSION, "id": new_span_id(), "actor": "human", "started_us": START, "ended_us": START,
        "status": "ok", "source": "cli", "trusted": 0,
    }  # fmt: skip
    return Event(**(known | {"body": Note(text=text)} | envelope))  # type: ignore[arg-type]


def titles(db: DB) -> list[str]:
    return [title for (title,) in db.execute("SELECT title FROM events ORDER BY seq")]


def gaps(db: DB) -> list[tuple[str, int]]:
    rows = db.execute("SELECT data FROM events WHERE kind = 'gap' ORDER BY seq")
    return [(told["reason"], told["count"]) for told in (json.loads(data) for (data,) in rows)]


def spooled(workspace: Workspace) -> list[Path]:
    return [path for path in workspace.spool.iterdir() if path.stat().st_size]


def make_full(db: DB) -> None:
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")


def make_room(db: DB) -> None:
    db.execute("PRAGMA max_page_count = 1073741823")


def forbid(db: DB) -> None:
    db.execute("PRAGMA query_only = ON")


def allow(db: DB) -> None:
    db.execute("PRAGMA query_only = OFF")


def lock(db: DB) -> None:
    other = sqlite3.connect(db.execute("PRAGMA database_list").fetchone()[2], isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    _locks.append(other)


def unlock(_: DB) -> None:
    _locks.pop().close()


@contextmanager
def no_room() -> Iterator[None]:
    """No file of this process grows: the database does not, and neither does the spool."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


_locks: list[DB] = []
Change = Callable[[DB], None]
TROUBLE = [
    pytest.param(make_full, make_room, "ERR_STORE_FULL", id="full"),
    pytest.param(forbid, allow, "ERR_STORE_READONLY", id="read-only"),
    pytest.param(lock, unlock, "ERR_STORE_LOCKED", id="locked"),
]


def test_what_was_taken_is_there_after_a_flush(pipeline, db):
    pipeline.emit(note("one"))
    pipeline.emit(note("two"))
    assert titles(db) == []

    assert pipeline.flush()

    assert titles(db) == ["one", "two"]
    assert (pipeline.n_events, pipeline.n_lost, pipeline.failures) == (2, 0, [])


def test_a_flush_with_nothing_to_write_succeeds(pipeline, db):
    with transaction(db):
        assert pipeline.flush()


def test_a_start_is_no_event_yet(pipeline, db):
    running = note("sleep", status="running", ended_us=None)
    pipeline.emit(running)
    pipeline.flush()

    assert (pipeline.n_events, titles(db)) == (0, [])
    assert db.execute("SELECT title FROM running").fetchall() == [("sleep",)]


@pytest.mark.parametrize(("hurt", "heal", "code"), TROUBLE)
def test_what_the_store_cannot_take_waits_in_the_spool_and_keeps_its_order(
    pipeline, db, workspace, hurt, heal, code
):
    pipeline.emit(note("before"))
    assert pipeline.flush()
    hurt(db)
    for number in range(3):
        pipeline.emit(note(f"meanwhile {number} {'x' * 5000}"))
        assert not pipeline.flush()
    assert [error.code for error in pipeline.failures] == [code]
    assert len(spooled(workspace)) == 1

    heal(db)
    pipeline.emit(note("after"))
    assert pipeline.flush()

    assert [title.split(" x")[0] for title in titles(db)] == [
        "before", "meanwhile 0", "meanwhile 1", "meanwhile 2", "after",
    ]  # fmt: skip
    assert chain.check(db, SESSION) is None
    drain(db, workspace)
    assert spooled(workspace) == []
    assert len(titles(db)) == 5


def test_the_order_is_kept_through_trouble_that_comes_and_goes(pipeline, db, workspace):
    for number in range(1, 8):
        if number in (2, 6):
            forbid(db)
        pipeline.emit(note(f"{number} {'x' * 5000}"))
        assert pipeline.flush() == (number not in (2, 3, 6))
        if number in (3, 6):
            allow(db)
    pipeline.close()
    drain(db, workspace)

    assert [title[0] for title in titles(db)] == list("1234567")
    assert spooled(workspace) == []
    assert chain.check(db, SESSION) is None


def test_while_somebody_else_drains_the_order_is_kept_by_spooling_on(pipeline, db, workspace):
    forbid(db)
    pipeline.emit(note("one"))
    pipeline.flush()
    allow(db)
    with (workspace.run / "drain.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        pipeline.emit(note("two"))
        assert not pipeline.flush()
        assert titles(db) == []

    pipeline.emit(note("three"))
    assert pipeline.flush()

    assert titles(db) == ["one", "two", "three"]


def test_a_start_that_was_spooled_does_not_run_for_ever(pipeline, db, workspace):
    running = note("sleep", status="running", ended_us=None)
    lock(db)
    pipeline.emit(running)
    assert not pipeline.flush()
    unlock(db)

    pipeline.emit(note("sleep", id=running.id))
    pipeline.close()
    drain(db, workspace)

    assert titles(db) == ["sleep"]
    assert db.execute("SELECT count(*) FROM running").fetchone() == (0,)


def test_a_damaged_store_is_one_more_reason_to_spool(pipeline, db):
    db.execute("ALTER TABLE events RENAME TO gone")
    pipeline.emit(note("one"))
    assert not pipeline.flush()
    assert [error.code for error in pipeline.failures] == ["ERR_STORE_DAMAGED"]
    db.execute("ALTER TABLE gone RENAME TO events")

    pipeline.emit(note("two"))
    assert pipeline.flush()

    assert titles(db) == ["one", "two"]


def test_without_a_store_everything_waits_for_one(workspace, db):
    pipeline = Pipeline(None, workspace, Policy.for_session({}, None))
    pipeline.session({"id": SESSION, "kind": "shell", "started_us": START, "title": "in the spool"})
    pipeline.emit(note("one"))
    assert not pipeline.flush()

    pipeline.use(db)
    pipeline.emit(note("two"))
    assert pipeline.flush()

    assert titles(db) == ["one", "two"]
    pipeline.close()


def test_the_next_command_finds_what_a_pipeline_left(workspace, db):
    pipeline = Pipeline(None, workspace, Policy.for_session({}, None))
    pipeline.emit(note("left"))
    pipeline.close()

    assert drain(db, workspace).files == 1

    assert titles(db) == ["left"]
    assert spooled(workspace) == []


def test_what_nobody_could_take_is_counted_and_said_once(pipeline, db):
    with no_room():
        for text in ("one", "two", "three"):
            pipeline.emit(note(text))
            assert not pipeline.flush()
        pipeline.emit(note("sleep", status="running", ended_us=None))  # its end will tell of it
        assert not pipeline.flush()
    assert pipeline.n_lost == 3

    pipeline.emit(note("four"))
    assert pipeline.flush()

    assert pipeline.n_lost == 0
    assert gaps(db) == [("store_unwritable", 3)]
    assert titles(db)[1:] == ["four"]
    assert db.execute("SELECT started_us FROM events WHERE kind = 'gap'").fetchone() == (START,)
    pipeline.settle()
    assert len(titles(db)) == 2


def test_a_loss_is_said_even_when_nothing_else_happens(pipeline, db):
    with no_room():
        pipeline.emit(note("lost"))
        pipeline.flush()
        pipeline.settle()  # still nowhere to say it
    assert pipeline.n_lost == 1

    pipeline.settle()

    assert gaps(db) == [("store_unwritable", 1)]
    assert pipeline.n_lost == 0


def test_a_gap_waits_in_the_spool_like_any_event(pipeline, db, workspace):
    forbid(db)
    with no_room():
        pipeline.emit(note("lost"))
        pipeline.flush()
    pipeline.emit(note("kept"))
    assert not pipeline.flush()
    assert pipeline.n_lost == 0
    allow(db)
    pipeline.close()

    drain(db, workspace)

    assert titles(db) == ["gap: 1 store_unwritable", "kept"]


def test_every_session_has_a_gap_of_its_own(pipeline, db):
    other = new_session_id()
    with no_room():
        for session in (SESSION, other, other):
            pipeline.emit(note("lost", session=session))
        pipeline.flush()

    pipeline.settle()

    rows = db.execute("SELECT session, title FROM events").fetchall()
    assert sorted(rows) == sorted([(SESSION, "gap: 1 store_unwritable"), (other, "gap: 2 store_unwritable")])


def test_an_event_that_fits_nowhere_takes_no_other_with_it(pipeline, db):
    pipeline.emit(note("good"))
    pipeline.emit(note("bad", trusted=7))
    pipeline.emit(note("a float", body=RunCommand(command="x", cwd="/", exit_code=0.5)))  # type: ignore[arg-type]
    pipeline.emit(note("better"))

    pipeline.flush()
    pipeline.settle()

    assert [title for title in titles(db) if not title.startswith("gap")] == ["good", "better"]
    assert gaps(db) == [("unfit_event", 2)]


def test_a_connection_that_was_closed_is_one_more_failure(pipeline, db, workspace):
    db.close()
    pipeline.emit(note("still here"))

    assert not pipeline.flush()

    with closing(open_store(workspace)) as again:
        pipeline.close()
        drain(again, workspace)
        assert titles(again) == ["still here"]


def test_the_failures_do_not_grow_while_the_reason_stays(pipeline, db):
    forbid(db)
    for _ in range(50):
        pipeline.emit(note("again"))
        pipeline.flush()

    assert [type(error) for error in pipeline.failures] == [EnvironmentError]
    allow(db)


def test_a_policy_that_fails_withholds_the_text_and_keeps_the_event(workspace, db):
    def broken(text: bytes, edges: int) -> list[tuple[int, int, str, bytes | None]]:
        raise ZeroDivisionError

    pipeline = Pipeline(db, workspace, Policy([broken]))
    pipeline.emit(note(f"a {SECRET}"))
    assert pipeline.flush()

    assert titles(db) == [WITHHELD]
    pipeline.close()


TRIES = """
import json, sys
from pathlib import Path
from devtrace.events import Event, Note
from devtrace.pipeline import Pipeline
from devtrace.policy.chain import Policy
from devtrace.store.connection import open_reader
from devtrace.workspace import Workspace

workspace = Workspace(Path(sys.argv[1]))
db = open_reader(workspace)
pipeline = Pipeline(db, workspace, Policy([]))
pipeline.emit(
    Event(
        session=sys.argv[2], id="1" * 16, actor="human", started_us=1, ended_us=1, status="ok", source="cli",
        trusted=0, body=Note(text="x"),
    )
)
told = pipeline.flush()
pipeline.close()
db.close()
print(json.dumps([told, pipeline.n_lost, [failure.code for failure in pipeline.failures]]))
"""


@pytest.mark.skipif(not CAN_OBEY, reason="because root cannot be held to permissions here")
def test_a_store_and_a_spool_that_may_not_be_written_raise_nothing(db, workspace):
    db.close()
    places = [workspace.database, workspace.dir, *(path for path in workspace.dir.iterdir() if path.is_dir())]
    for path in places:
        path.chmod(path.stat().st_mode & 0o555)
    try:
        done = subprocess.run(
            [sys.executable, "-c", TRIES, workspace.dir, SESSION],
            env=environment(),
            preexec_fn=obey_permissions,
            capture_output=True,
            check=False,
        )
    finally:
        for path in places:
            path.chmod(path.stat().st_mode | 0o200)

    assert done.stderr == b""
    assert json.loads(done.stdout) == [False, 1, ["ERR_STORE_READONLY"]]
    assert spooled(workspace) == []


# --- nothing unredacted touches the disk ------------------------------------------------------------------


@pytest.mark.parametrize("state", ["stored", "spooled", "spooled, then drained"])
def test_no_file_of_the_store_ever_holds_a_secret(pipeline, db, workspace, state):
    coloured = SECRET[:6] + "\x1b[1m" + SECRET[6:]
    printed = f"token: {coloured}\r\nhttps://ana:{SECRET}@example.org/\r\nlast line\r\n".encode()
    if state != "stored":
        forbid(db)
        pipeline.session({"id": SESSION, "kind": "shell", "started_us": START, "title": f"with {SECRET}"})
    started = note("x", status="running", ended_us=None, body=_leaking(None))
    pipeline.emit(started)
    assert pipeline.flush() == (state == "stored")
    assert not _holding(workspace, SECRET.encode())  # while it runs, too

    timing = json.dumps([[0, 10], [5, len(printed) - 10]]).encode()
    size = len(printed)
    ended = note(
        "x",
        id=started.id,
        body=_leaking(Output(seen=size, head=size, tail=0, truncated=False)),
        blobs={OUTPUT_BLOB: printed, TIMING_BLOB: timing, "other": SECRET.encode()},
    )
    pipeline.emit(ended)
    pipeline.emit(note(f"I used {SECRET} here"))
    pipeline.emit(
        note("-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEAzzzz\n-----END RSA PRIVATE KEY-----")
    )
    pipeline.flush()
    if state == "spooled, then drained":
        allow(db)
        pipeline.close()
        drain(db, workspace)

    names = {path.name.split(".")[-1] for path in _files(workspace)}
    assert {"db", "db-wal"} <= names
    assert ("spool" in names) == (state == "spooled")
    for secret in (SECRET.encode(), SECRET[6:].encode(), b"MIIEowIBAAKCAQEAzzzz"):
        assert not _holding(workspace, secret)
    if state != "spooled":
        output, told = _output_of(db, started.id)
        assert b"last line" in output
        assert b"[redacted:" in output
        assert sum(length for _, length in told) == len(output)


def test_not_even_free_pages_hold_a_secret(pipeline, db, workspace):
    for _ in range(30):
        pipeline.emit(note("x", body=_leaking(None), blobs={OUTPUT_BLOB: SECRET.encode() * 50}))
        pipeline.flush()
    with transaction(db):
        db.execute("DELETE FROM events WHERE seq % 3")
        db.execute("DELETE FROM blobs")
    assert not _holding(workspace, SECRET.encode())

    db.execute("VACUUM")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    assert not _holding(workspace, SECRET.encode())
    assert _holding(workspace, b"[redacted:known-value:")


def _leaking(output: Output | None) -> RunCommand:
    return RunCommand(
        command=f"curl -H 'X-Thing: {SECRET}' https://u:{SECRET}@example.org", cwd=f"/tmp/{SECRET}",
        reason=SECRET, cwd_end=f"/{SECRET}", exit_code=0, output=output,
    )  # fmt: skip


def _output_of(db: DB, event: str) -> tuple[bytes, list[list[int]]]:
    data = json.loads(db.execute("SELECT data FROM events WHERE id = ?", (event,)).fetchone()[0])
    found = {}
    for name, blob in data["blobs"].items():
        codec, payload = db.execute(
            "SELECT codec, data FROM blobs WHERE sha256 = ?", (blob["sha256"],)
        ).fetchone()
        found[name] = zlib.decompress(payload) if codec == "zlib" else payload
    return found[OUTPUT_BLOB], json.loads(found[TIMING_BLOB])


def _files(workspace: Workspace) -> list[Path]:
    return [path for path in workspace.dir.rglob("*") if path.is_file()]


def _holding(workspace: Workspace, secret: bytes) -> list[Path]:
    """The files in which the bytes stand, as they are, in base64 of their blob, or compressed."""
    holding = [path for path in _files(workspace) if secret in path.read_bytes()]
    with closing(open_store(workspace)) as db:
        for codec, payload in db.execute("SELECT codec, data FROM blobs"):
            if secret in (zlib.decompress(payload) if codec == "zlib" else payload):
                holding.append(workspace.database)
    return holding


def test_a_spool_file_that_cannot_be_read_any_more_does_not_keep_a_healthy_store_waiting(
    db: DB, workspace: Workspace, pipeline: Pipeline
) -> None:
    forbid(db)
    pipeline.emit(note("first"))
    assert not pipeline.flush()
    (path,) = workspace.spool.iterdir()
    path.rename(workspace.root / "aside")
    path.mkdir()
    allow(db)

    pipeline.emit(note("second"))
    assert pipeline.flush()
    assert titles(db) == ["second"]

    path.rmdir()
    (workspace.root / "aside").rename(path)
    drain(db, workspace)
    assert titles(db) == ["second", "first"]


@pytest.mark.parametrize("times", [1, 5, 30])
def test_a_store_that_fails_is_tried_again_ever_more_rarely_but_not_too_rarely(
    db: DB, workspace: Workspace, times: int
) -> None:
    now = 0.0
    retry = Retry(lambda: now)
    pipeline = Pipeline(db, workspace, Policy.for_session({}, b"salt" * 8), retry)
    make_full(db)
    tries = [0.0]
    for number in range(400):  # two a second
        pipeline.emit(note(str(number) + "x" * (0 if number else 9_000)))
        pipeline.failures.clear()
        assert not pipeline.flush()
        tries += [now] if pipeline.failures else []
        now += 0.5
        if len(tries) > times:
            break

    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert max(pauses) <= LONGEST_S + 0.5
    assert len(tries) < 60, "in 200 seconds of a full disk"
    make_room(db)
    now += LONGEST_S
    pipeline.emit(note("last"))
    assert pipeline.flush()
    assert titles(db)[-1] == "last"
    assert gaps(db) == []
    pipeline.close()


def test_at_the_end_the_store_is_tried_whatever_the_pause(db: DB, workspace: Workspace) -> None:
    pipeline = Pipeline(db, workspace, Policy.for_session({}, b"salt" * 8), Retry(lambda: 0.0))
    forbid(db)
    for number in range(5):
        pipeline.emit(note(str(number)))
        assert not pipeline.flush()
    allow(db)
    pipeline.emit(note("5"))
    assert not pipeline.flush(), "it is not due"
    pipeline.emit(note("6"))

    pipeline.close()

    assert titles(db) == ["0", "1", "2", "3", "4", "5", "6"]
