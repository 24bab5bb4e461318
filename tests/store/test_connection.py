"""Opening a store: private, current and quick, or refused with the right word."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from devtrace.errors import DevTraceError
from devtrace.store import VERSION
from devtrace.store.append import append
from devtrace.store.connection import open_reader, open_store, transaction, translated
from devtrace.store.migrations import migrations
from devtrace.workspace import Workspace, find
from tests.processes import CAN_OBEY, DEADLINE, environment, obey_permissions
from tests.store.frames import begin, count, events, frame, is_whole


def test_everything_in_a_store_is_its_owners_alone(workspace):
    before = os.umask(0)
    try:
        with closing(open_store(workspace, create=True)) as db:
            append(db, [frame()])
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in workspace.dir.iterdir()}
    finally:
        os.umask(before)

    assert modes.pop("devtrace.db-wal") == modes.pop("devtrace.db-shm") == 0o600
    folders = {name for name in modes if (workspace.dir / name).is_dir()}
    assert {modes[name] for name in folders} == {0o700}
    assert {modes[name] for name in modes.keys() - folders} == {0o600}
    assert stat.S_IMODE(workspace.dir.stat().st_mode) == 0o700


def test_a_database_that_others_could_read_is_closed_to_them(db, workspace):
    workspace.database.chmod(0o644)

    open_store(workspace).close()

    assert stat.S_IMODE(workspace.database.stat().st_mode) == 0o600


def test_a_connection_waits_for_others_and_writes_ahead(db):
    pragmas = (
        "journal_mode",
        "synchronous",
        "busy_timeout",
        "auto_vacuum",
        "foreign_keys",
        "journal_size_limit",
    )

    found = {name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas}

    assert list(found.values()) == ["wal", 1, 30_000, 2, 1, 64 << 20]


def test_every_table_of_ours_is_strict(db):
    tables = db.execute(
        "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE '%sqlite%'"
    )

    strict = dict(tables.fetchall())

    assert {"sessions", "events", "running", "seals", "links", "blobs", "spool_offsets"} <= strict.keys()
    assert set(strict.values()) == {1}


def test_the_version_counts_the_steps_of_the_schema(db):
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (steps,) = db.execute("SELECT count(*) FROM _sqlite_migrations").fetchone()

    assert version == steps == VERSION == len(migrations.pending(_Fresh()))


class _Fresh:
    """What sqlite-utils asks of a database in which no step was taken."""

    def __getitem__(self, name: str) -> _Fresh:
        return self

    def exists(self) -> bool:
        return False


@pytest.mark.unmeasured
def test_a_current_store_is_opened_without_sqlite_utils(db, workspace):
    told = _in_a_process(
        "import sys; from devtrace.store.connection import open_store;"
        f"open_store(Workspace(Path({str(workspace.dir)!r}))).close();"
        "say('sqlite_utils' in sys.modules)"
    )

    assert told is False


def test_reading_a_directory_without_a_store_says_how_to_make_one(workspace):
    for opened in (open_store, open_reader):
        error = refused(opened, workspace)

        assert error.code == "ERR_STORE_MISSING"
        assert "devtrace init" in error.hint
    assert not workspace.dir.exists()


@pytest.mark.parametrize(
    "content", [b"this is no database at all" * 200, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_file_that_is_no_database_is_called_damaged_and_left_alone(db, workspace, content):
    db.close()
    _forget_wal(workspace)
    workspace.database.write_bytes(content)

    for opened in (open_store, open_reader):
        error = refused(opened, workspace)

        assert error.code == "ERR_STORE_DAMAGED"
        assert error.hint
    assert workspace.database.read_bytes() == content


def test_a_truncated_database_is_called_damaged(db, workspace):
    begin(db)
    append(db, [frame(f"echo {number}") for number in range(500)])
    db.close()
    os.truncate(workspace.database, 8192)

    with pytest.raises(DevTraceError) as error, translated(workspace), closing(open_store(workspace)) as cut:
        events(cut)
    assert error.value.code == "ERR_STORE_DAMAGED"


def test_damage_in_the_middle_is_found_when_it_is_met(db, workspace):
    begin(db)
    append(db, [frame(f"echo {number}") for number in range(2000)])
    db.close()
    with workspace.database.open("r+b") as file:
        for page in range(10, 100):
            file.seek(page * 4096)
            file.write(b"\xee" * 2048)

    with (
        closing(open_reader(workspace)) as reader,
        pytest.raises(DevTraceError) as error,
        translated(workspace),
    ):
        reader.execute("SELECT sum(length(data)), sum(length(title)) FROM events").fetchall()
    assert error.value.code == "ERR_STORE_DAMAGED"


def test_a_database_without_our_tables_is_called_damaged(db, workspace):
    db.execute("DROP TABLE events")

    with pytest.raises(DevTraceError) as error, translated(workspace):
        append(db, [frame()])
    assert error.value.code == "ERR_STORE_DAMAGED"


def test_a_newer_store_is_neither_read_nor_written(db, workspace):
    db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    before = workspace.database.read_bytes()

    for opened in (open_store, open_reader):
        error = refused(opened, workspace)

        assert error.code == "ERR_STORE_NEWER"
        assert "update" in error.hint
    assert workspace.database.read_bytes() == before


def test_a_store_that_is_a_symbolic_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    workspace = Workspace(tmp_path / ".devtrace")
    workspace.dir.symlink_to(tmp_path / "elsewhere")

    errors = [refused(opened, workspace) for opened in WAYS]

    assert {error.code for error in errors} == {"ERR_STORE_UNSAFE"}
    assert all(error.hint for error in errors)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["devtrace.db", "spool", "run", "log"])
def test_a_store_that_leads_out_of_itself_is_refused(db, workspace, tmp_path, name):
    db.close()
    (workspace.dir / name).rename(tmp_path / "elsewhere")
    (workspace.dir / name).symlink_to(tmp_path / "elsewhere")
    before = workspace.database.read_bytes()

    errors = [refused(opened, workspace) for opened in WAYS]

    assert {error.code for error in errors} == {"ERR_STORE_UNSAFE"}
    assert {error.context["path"] for error in errors} == {str(workspace.dir / name)}
    assert workspace.database.read_bytes() == before


WAYS = (
    open_store,
    open_reader,
    lambda place: open_store(place, create=True),
    lambda place: find(place.root),
)


def test_somebody_elses_lock_is_told_after_the_patience_is_over(db, workspace):
    with (
        transaction(db),
        closing(open_store(workspace, patience_ms=20)) as other,
        pytest.raises(DevTraceError) as error,
        translated(workspace),
    ):
        append(other, [frame()])

    assert error.value.code == "ERR_STORE_LOCKED"


def test_a_transaction_that_fails_leaves_nothing(db):
    begin(db)

    with pytest.raises(ZeroDivisionError), transaction(db):
        1 / (db.execute("DELETE FROM sessions").rowcount - 1)

    assert count(db, "sessions") == 1
    assert not db.in_transaction


def test_a_reader_cannot_write(db, workspace):
    with closing(open_reader(workspace)) as reader, pytest.raises(sqlite3.OperationalError):
        reader.execute("DELETE FROM sessions")


# --- where nothing can be written -------------------------------------------------------------------------


@pytest.mark.skipif(not CAN_OBEY, reason="root is not held to permissions here")
@pytest.mark.parametrize("locked", ["the directory", "the database"])
def test_a_read_only_store_is_read_and_not_written(db, workspace, locked):
    begin(db)
    append(db, [frame()])
    db.close()
    path, mode = (workspace.dir, 0o500) if locked == "the directory" else (workspace.database, 0o400)
    path.chmod(mode)
    try:
        told = _in_a_process(_OPEN_BOTH.format(str(workspace.dir)))
    finally:
        path.chmod(0o700)

    assert told == ["ERR_STORE_READONLY", 1]


@pytest.mark.skipif(not CAN_OBEY, reason="root is not held to permissions here")
def test_what_a_killed_writer_left_beside_a_read_only_database_is_read(db, workspace, tmp_path):
    begin(db)
    append(db, [frame()])
    copy = Workspace(tmp_path / "copy" / ".devtrace")
    copy.dir.mkdir(parents=True, mode=0o700)
    for name in ("devtrace.db", "devtrace.db-wal"):  # no -shm: as on a medium that was copied after a crash
        (copy.dir / name).write_bytes((workspace.dir / name).read_bytes())
    copy.dir.chmod(0o500)
    try:
        told = _in_a_process(_OPEN_BOTH.format(str(copy.dir)))
    finally:
        copy.dir.chmod(0o700)

    assert told == ["ERR_STORE_READONLY", 1]


_OPEN_BOTH = """
from devtrace.errors import DevTraceError
from devtrace.store.connection import open_reader, open_store
place = Workspace(Path({!r}))
try:
    open_store(place)
    said = "opened"
except DevTraceError as error:
    said = error.code
say([said, open_reader(place).execute("SELECT count(*) FROM events").fetchone()[0]])
"""


# --- where there is no room -------------------------------------------------------------------------------


@pytest.mark.unmeasured
def test_a_full_disk_is_told_and_what_was_committed_stays(db, workspace):
    begin(db)
    append(db, [frame()])

    told = _in_a_process(
        "import resource\n"
        "from devtrace.store.append import append\n"
        "from devtrace.store.connection import open_store, translated\n"
        "from devtrace.errors import DevTraceError\n"
        "from tests.store.frames import frame\n"
        f"place = Workspace(Path({str(workspace.dir)!r}))\n"
        "db = open_store(place)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))\n"
        "stored = 0\n"
        "try:\n"
        "    while True:\n"
        "        with translated(place):\n"
        "            stored += append(db, [frame('x' * 5000)])\n"
        "except DevTraceError as error:\n"
        "    say([error.code, error.hint, stored])\n"
    )

    assert told[:2] == ["ERR_STORE_FULL", "free some disk space"]
    assert count(db) == 1 + told[2] > 1
    assert is_whole(db)


@pytest.mark.unmeasured
def test_a_store_that_cannot_be_made_for_lack_of_room_says_so(workspace):
    told = _in_a_process(
        "import resource\n"
        "from devtrace.store.connection import open_store\n"
        "from devtrace.errors import DevTraceError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))\n"
        "try:\n"
        f"    open_store(Workspace(Path({str(workspace.dir)!r})), create=True)\n"
        "except DevTraceError as error:\n"
        "    say(error.code)\n"
    )

    assert told == "ERR_STORE_FULL"
    with closing(open_store(workspace, create=True)) as db:  # and the next one, with room, goes on from there
        assert is_whole(db)


def refused(opened: object, workspace: Workspace) -> DevTraceError:
    with pytest.raises(DevTraceError) as error:
        opened(workspace)  # type: ignore[operator]
    return error.value


def _forget_wal(workspace: Workspace) -> None:
    for suffix in ("-wal", "-shm"):
        Path(f"{workspace.database}{suffix}").unlink(missing_ok=True)


def _in_a_process(code: str) -> object:
    """Run a program that is held to permissions; what it gave to `say`."""
    head = (
        "import json, sys\nfrom pathlib import Path\nfrom devtrace.workspace import Workspace\n"
        "def say(what): sys.stdout.write(json.dumps(what))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", head + code],
        env=environment(), preexec_fn=obey_permissions, capture_output=True, check=True, timeout=DEADLINE,
    )  # fmt: skip
    return json.loads(done.stdout)
