"""What may happen to the store while shells write into it: they go on, and nothing is lost in silence."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from devtrace.store import VERSION
from tests.acceptance.hosts import Piped, Place, until
from tests.processes import CAN_OBEY, environment, obey_permissions


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path / "repo")
    assert place.devtrace("init").returncode == 0
    return place


@pytest.fixture
def shell(place: Place) -> Iterator[Piped]:
    """A shell that has recorded one command."""
    with Piped(place) as shell:
        shell.says("echo first").waits_for("first")
        until(lambda: place.texts() == ["echo first"], "the first command is stored")
        yield shell


def lines(name: str, count: int) -> list[str]:
    return [f"echo {name} {number}" for number in range(count)]


def went_on(shell: Piped, *expected: str) -> str:
    """The shell ended by itself, and had printed what its commands print and nothing else; its stderr."""
    status, out, err = shell.ends()
    assert (status, out.decode().splitlines()) == (0, [line.removeprefix("echo ") for line in expected])
    return err.decode()


# --- the disk is full ---------------------------------------------------------------------------------------


@pytest.mark.skipif(
    not hasattr(resource, "prlimit"), reason="because no other process's limits can be set here"
)
def test_when_the_disk_is_full_the_shell_goes_on_and_a_gap_says_what_was_lost(
    place: Place, shell: Piped
) -> None:
    """The limit on the size of files stands for the disk: it can be set and lifted from outside."""
    before, during, after = lines("before", 20), lines("during", 60), lines("after", 20)
    shell.says(*before).waits_for("before 19")
    until(lambda: len(place.texts()) == 21, "all is stored")

    resource.prlimit(shell.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    for number, line in enumerate(during):  # one by one, so that the host tries to write them
        shell.says(line).waits_for(f"during {number}\n")
    resource.prlimit(shell.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    shell.says(*after).waits_for("after 19")

    err = went_on(shell, "echo first", *before, *during, *after)
    place.devtrace("sessions")
    place.is_sound()
    kept = [text for text in place.texts() if text in during]
    lost = place.gaps().get("store_unwritable", 0)
    assert len(kept) + lost == len(during)
    assert lost > 0
    assert [text for text in place.texts() if text not in during] == ["echo first", *before, *after]
    assert err == ""  # everything that could be kept is there, and the gap says the rest
    assert list(place.store.spool.iterdir()) == []


FULL_DISK = """
mount -t tmpfs -o size=3m,mode=700 none "$1" && cd "$1" || exit 9
"$2" -m devtrace init >/dev/null
"$2" -m devtrace config set edits.enabled false >/dev/null
export PYTHON="$2"
"$2" -m devtrace shell --shell bash >"$3/out" 2>"$3/err" <<'END'
echo before
until "$PYTHON" -m devtrace show --json | grep -q "echo before"; do :; done
head -c 20m /dev/zero >.filler 2>/dev/null
for n in 1 2 3; do echo "$n"; done; stat -f -c %a .
head -c 200000 /dev/urandom | base64
:
:
truncate -s -30k .filler
echo little room
echo little room
rm .filler
echo after
END
echo $? >"$3/status"
"$2" -m devtrace sessions >"$3/sessions" 2>&1
cp -r .devtrace "$3/store"
"""


def test_on_a_small_disk_that_fills_up_the_record_goes_on_when_there_is_room_again(
    tmp_path: Path, needs: Callable[..., None]
) -> None:
    needs("unshare")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("because mounting a small disk needs root")
    disk, outside = tmp_path / "disk", tmp_path / "outside"
    disk.mkdir()
    outside.mkdir()
    Place(tmp_path / "unused")  # for its .bashrc

    subprocess.run(
        ["unshare", "-m", "sh", "-c", FULL_DISK, "sh", disk, sys.executable, outside],
        env=environment(),
        check=True,
        timeout=60,
    )

    assert (outside / "status").read_text() == "0\n"
    out = (outside / "out").read_text().splitlines()
    assert [out[0], out[1:4], *out[-3:]] == ["before", ["1", "2", "3"], "little room", "little room", "after"]
    assert out[4] == "0", "the disk was not full"
    (outside / "store").rename(outside / ".devtrace")
    store = Place(outside)
    store.is_sound()
    (session,) = store.sessions()
    assert (session["status"], session["exit_code"]) == ("ended", 0)
    # What began before the disk was full is there, be it that its end was lost with others.
    ended = [command.command for command in store.commands() if command.status != "interrupted"]
    assert [ended[0], ended[-1]] == ["echo before", "echo after"]
    assert len(ended) + store.gaps().get("store_unwritable", 0) == 12
    assert store.running() == []
    assert list(store.store.spool.iterdir()) == []


# --- the database -------------------------------------------------------------------------------------------


def test_a_database_that_is_damaged_under_a_shell_costs_what_it_held_and_no_more(
    place: Place, shell: Piped
) -> None:
    more = lines("more", 10)
    shell.says("echo wait").waits_for("wait")
    until(lambda: place.texts()[-1:] == ["echo wait"], "all is stored")
    for suffix in ("", "-wal", "-shm"):
        file = place.store.database.with_name(f"devtrace.db{suffix}")
        with file.open("r+b") as database:
            database.write(b"\xff" * file.stat().st_size)
    shell.says(*more).waits_for("more 9")

    err = went_on(shell, "echo first", "echo wait", *more)

    assert "[ERR_STORE_DAMAGED]" in err
    refused = place.devtrace("sessions")
    assert (refused.returncode, "[ERR_STORE_DAMAGED]" in refused.stderr) == (1, True)
    for file in place.store.dir.glob("devtrace.db*"):
        file.rename(place.root / file.name)
    assert place.devtrace("init").returncode == 0
    place.devtrace("sessions")
    place.is_sound()
    assert place.texts() == more
    (session,) = place.sessions()
    assert session["status"] == "ended"


def test_a_database_that_a_newer_devtrace_migrated_under_a_shell_is_left_to_it(
    place: Place, shell: Piped
) -> None:
    more = lines("more", 10)
    with closing(sqlite3.connect(place.store.database)) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    shell.says(*more).waits_for("more 9")

    err = went_on(shell, "echo first", *more)

    assert "[ERR_STORE_NEWER]" in err
    with closing(sqlite3.connect(place.store.database)) as db:  # as that newer one would read it
        assert db.execute("SELECT count(*) FROM events").fetchone() == (1,)
        db.execute(f"PRAGMA user_version = {VERSION}")
    place.devtrace("sessions")
    place.is_sound()
    assert place.texts() == ["echo first", *more]
    (session,) = place.sessions()
    assert (session["status"], session["exit_code"]) == ("ended", 0)


def test_a_database_that_somebody_keeps_locked_neither_stops_the_shell_nor_its_end(
    place: Place, shell: Piped
) -> None:
    more = lines("more", 10)
    with closing(sqlite3.connect(place.store.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        shell.says(*more).waits_for("more 9")

        begun = time.monotonic()
        err = went_on(shell, "echo first", *more)
        took_s = time.monotonic() - begun

    assert "[ERR_STORE_LOCKED]" in err
    assert took_s < 15
    place.devtrace("sessions")
    place.is_sound()
    assert place.texts() == ["echo first", *more]
    assert place.sessions()[0]["status"] == "ended"


def test_a_lock_that_is_let_go_leaves_no_trace(place: Place, shell: Piped) -> None:
    more, after = lines("more", 10), lines("after", 10)
    with closing(sqlite3.connect(place.store.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        shell.says(*more).waits_for("more 9")
        until(lambda: any(place.store.spool.iterdir()), "what happens waits in the spool")
    shell.says(*after)

    assert went_on(shell, "echo first", *more, *after) == ""
    place.is_sound()
    assert place.texts() == ["echo first", *more, *after]
    assert place.gaps() == {}
    assert list(place.store.spool.iterdir()) == []


def test_what_was_spooled_by_a_host_that_was_killed_is_no_interrupted_command(
    place: Place, shell: Piped
) -> None:
    """Its end waits in the spool, and is taken in before the session is closed for it."""
    shell.says("until [ -e go ]; do :; done")
    until(lambda: place.running() != [], "the command runs")
    with closing(sqlite3.connect(place.store.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        (place.root / "go").touch()
        until(lambda: b'"status":"ok"' in spooled(place), "its end waits in the spool")
        shell.kill()
        shell.process.wait()

    place.devtrace("sessions")
    place.is_sound()
    assert [(command.command, command.status) for command in place.commands()][:2] == [
        ("echo first", "ok"),
        ("until [ -e go ]; do :; done", "ok"),
    ]
    assert place.sessions()[0]["status"] == "interrupted"


def spooled(place: Place) -> bytes:
    return b"".join(path.read_bytes() for path in place.store.spool.iterdir())


# --- the whole store ----------------------------------------------------------------------------------------


def test_a_store_that_is_deleted_under_a_shell_is_made_anew_and_says_so(place: Place, shell: Piped) -> None:
    """As `git clean -fdx` does."""
    more = lines("more", 10)
    shell.says("rm -rf .devtrace", *more).waits_for("more 9")

    err = went_on(shell, "echo first", *more)

    assert err == ""
    place.is_sound()
    assert place.texts()[-10:] == more
    assert "echo first" not in place.texts()
    assert place.gaps() == {"store_replaced": 1}
    assert place.sessions()[0]["status"] == "ended"
    assert place.store.dir.stat().st_mode & 0o777 == 0o700


def test_a_store_that_is_moved_away_under_a_shell_keeps_what_it_had(place: Place, shell: Piped) -> None:
    more = lines("more", 10)
    elsewhere = Place(place.root / "elsewhere")
    shell.says("mv .devtrace elsewhere/", *more).waits_for("more 9")

    went_on(shell, "echo first", *more)
    elsewhere.devtrace("sessions")

    place.is_sound()
    elsewhere.is_sound()
    assert place.texts()[-10:] == more
    assert elsewhere.texts()[:1] == ["echo first"]
    assert elsewhere.sessions()[0]["status"] == "interrupted"
    assert place.sessions()[0]["status"] == "ended"


def test_a_working_tree_that_is_deleted_under_a_shell_takes_the_record_with_it_and_not_the_shell(
    place: Place, shell: Piped
) -> None:
    more = lines("more", 10)
    shell.says('rm -rf "$PWD"', *more).waits_for("more 9")

    err = went_on(shell, "echo first", *more)

    assert "[ERR_STORE_" in err
    assert not place.root.exists()


def test_a_live_session_whose_lock_is_deleted_is_no_orphan_for_long(place: Place, shell: Piped) -> None:
    (lock,) = place.store.run.glob("*.lock")
    if lock.name == "drain.lock":
        pytest.fail("the session has no lock")
    lock.unlink()
    until(lock.exists, "the lock is back")

    place.devtrace("sessions")
    assert place.sessions()[0]["status"] == "active"
    shell.says("echo on")
    assert went_on(shell, "echo first", "echo on") == ""
    assert place.sessions()[0]["status"] == "ended"


def test_a_store_that_cannot_be_written_any_more_is_said_at_the_end(place: Place) -> None:
    if not CAN_OBEY:
        pytest.skip("because nothing here obeys permissions")
    with Piped(place, preexec_fn=obey_permissions) as shell:
        shell.says("echo first").waits_for("first")
        until(lambda: place.texts() == ["echo first"], "the first command is stored")
        folders = [place.store.dir, place.store.spool, place.store.run]
        for folder in folders:
            folder.chmod(0o500)
        for file in place.store.dir.glob("devtrace.db*"):
            file.chmod(0o400)
        shell.says("echo second")

        went_on(shell, "echo first", "echo second")
    for path in [*folders, *place.store.dir.glob("devtrace.db*")]:
        path.chmod(0o700)

    place.devtrace("sessions")
    place.is_sound()


# --- from the start -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["damaged", "newer", "locked", "no directory"])
def test_a_store_that_is_in_trouble_from_the_start_does_not_keep_the_shell_from_working(
    place: Place, trouble: str
) -> None:
    other: sqlite3.Connection | None = None
    if trouble == "damaged":
        place.store.database.write_bytes(b"\xff" * 8_192)
    elif trouble == "newer":
        with closing(sqlite3.connect(place.store.database)) as db:
            db.execute(f"PRAGMA user_version = {VERSION + 1}")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    elif trouble == "locked":
        other = sqlite3.connect(place.store.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
    else:
        place.store.spool.rmdir()
        place.store.spool.write_text("in the way")
        place.store.database.write_bytes(b"\xff" * 8_192)
    with Piped(place) as shell:
        shell.says("echo works", "false", "exit 3")
        status, out, err = shell.ends()
    if other is not None:
        other.close()

    assert (status, out) == (3, b"works\n")
    assert "[ERR_STORE_" in err.decode()
    if trouble in ("damaged", "no directory"):
        for file in place.store.dir.glob("devtrace.db*"):
            file.unlink()
    elif trouble == "newer":
        with closing(sqlite3.connect(place.store.database)) as db:
            db.execute(f"PRAGMA user_version = {VERSION}")
    if trouble != "no directory":
        place.devtrace("init")
        place.devtrace("sessions")
        place.is_sound()
        assert [(c.command, c.exit_code) for c in place.commands()] == [
            ("echo works", 0),
            ("false", 1),
            ("exit 3", 3),
        ]
        (session,) = place.sessions()
        assert (session["status"], session["exit_code"], session["kind"]) == ("ended", 3, "shell")


def test_a_store_that_is_locked_when_a_shell_starts_is_opened_when_it_is_free(place: Place) -> None:
    with (
        closing(sqlite3.connect(place.store.database, isolation_level=None)) as other,
        Piped(place) as shell,
    ):
        other.execute("BEGIN IMMEDIATE")
        shell.says("echo first").waits_for("first")
        until(lambda: b"echo first" in spooled(place), "what happens waits in the spool")
        other.execute("ROLLBACK")

        until(lambda: place.texts() == ["echo first"], "the host has opened the store after all")
        assert place.sessions()[0]["status"] == "active"
        shell.says("echo second")
        assert went_on(shell, "echo first", "echo second") == ""

    place.is_sound()
    assert place.texts() == ["echo first", "echo second"]
    assert list(place.store.spool.iterdir()) == []
