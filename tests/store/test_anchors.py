"""seals.log: what it takes down, what it bears, and what it never does."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from devtrace.ids import new_session_id
from devtrace.store import anchors, chain, sessions
from devtrace.store.anchors import Synced
from devtrace.store.append import append
from devtrace.store.connection import open_reader, open_store, transaction
from devtrace.workspace import Workspace
from tests.store.frames import START, frame

DB = sqlite3.Connection


def ended(db: DB, count: int = 1) -> str:
    """A session with so many events, sealed."""
    session = new_session_id()
    sessions.begin(db, id=session, kind="shell", started_us=START, cwd="/")
    append(db, [frame(f"{number}", session) for number in range(count)])
    sessions.end(db, session, ended_us=START + 5, status="ended", exit_code=0)
    return session


def lines(workspace: Workspace) -> list[str]:
    return workspace.seals.read_text().splitlines()


def test_a_seal_is_a_line_with_all_that_the_table_says(db: DB, workspace: Workspace) -> None:
    session = ended(db, 3)

    assert anchors.sync(db, workspace) == Synced((1,), is_new=True)

    seq, digest = chain.head(db, session)
    (line,) = lines(workspace)
    assert line.split()[:-1] == ["seal1", "1", session, str(seq), digest, str(START + 5), "0"]
    assert stat.S_IMODE(workspace.seals.stat().st_mode) == 0o600
    log = anchors.read(workspace.seals)
    assert log is not None
    assert (log.seals, log.broken) == ([anchors.Seal(1, session, seq, digest, START + 5, 0)], 0)


def test_a_session_without_events_has_a_line_too(db: DB, workspace: Workspace) -> None:
    session = ended(db, 0)

    anchors.sync(db, workspace)

    assert lines(workspace)[0].split()[2:5] == [session, "-", chain.FIRST]
    assert anchors.parse(workspace.seals.read_bytes()).seals[0].seq is None


def test_only_what_is_new_is_added(db: DB, workspace: Workspace) -> None:
    ended(db)
    anchors.sync(db, workspace)
    before = workspace.seals.read_bytes()
    assert anchors.sync(db, workspace) == Synced(())

    ended(db)
    ended(db)

    assert anchors.sync(db, workspace) == Synced((2, 3))
    assert workspace.seals.read_bytes().startswith(before)
    assert anchors.parse(workspace.seals.read_bytes()).broken == 0


def test_nothing_sealed_makes_no_file(db: DB, workspace: Workspace) -> None:
    assert anchors.sync(db, workspace) == Synced(())
    assert not workspace.seals.exists()


def test_a_seal_that_may_be_rolled_back_is_not_anchored(db: DB, workspace: Workspace) -> None:
    ended(db)
    db.execute("BEGIN IMMEDIATE")
    chain.seal(db, new_session_id(), START)
    assert anchors.sync(db, workspace) == Synced(())
    db.execute("ROLLBACK")

    assert anchors.sync(db, workspace).added == (1,)
    assert len(lines(workspace)) == 1


def test_what_another_process_has_not_committed_is_not_anchored(db: DB, workspace: Workspace) -> None:
    ended(db)
    with closing(open_store(workspace)) as other, transaction(other):
        chain.seal(other, new_session_id(), START)

        assert anchors.sync(db, workspace).added == (1,)


def test_a_seal_is_safe_on_the_disk_before_its_line_is_written(
    db: DB, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    wal = os.stat(f"{workspace.database}-wal")
    monkeypatch.setattr(
        os,
        "fsync",
        lambda fd: synced.append((os.path.samestat(os.fstat(fd), wal), workspace.seals.stat().st_size)),
    )
    ended(db)

    anchors.sync(db, workspace)
    anchors.sync(db, workspace)

    assert synced == [(True, 0), (False, workspace.seals.stat().st_size)]


@pytest.mark.parametrize("left", [1, 40, 150])
def test_a_torn_last_line_is_written_again(db: DB, workspace: Workspace, left: int) -> None:
    for _ in range(3):
        ended(db)
    anchors.sync(db, workspace)
    whole = workspace.seals.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    workspace.seals.write_bytes(whole[: start + left])
    torn = anchors.parse(workspace.seals.read_bytes())
    assert (torn.seals, torn.broken, torn.is_torn) == (anchors.parse(whole).seals[:2], 0, True)

    assert anchors.sync(db, workspace) == Synced((3,), was_torn=True)
    assert workspace.seals.read_bytes() == whole


def test_zeros_that_a_lost_power_left_are_written_over(db: DB, workspace: Workspace) -> None:
    ended(db)
    anchors.sync(db, workspace)
    ended(db)
    with workspace.seals.open("ab") as file:
        file.write(bytes(9000))

    assert anchors.sync(db, workspace).added == (2,)
    log = anchors.parse(workspace.seals.read_bytes())
    assert ([seal.n for seal in log.seals], log.broken) == ([1, 2], 0)


def test_a_disk_that_fills_up_leaves_no_error_and_the_next_sync_repairs_it(
    db: DB, workspace: Workspace
) -> None:
    ended(db)
    anchors.sync(db, workspace)
    ended(db)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (workspace.seals.stat().st_size + 50, limits[1]))
    try:
        assert anchors.sync(db, workspace) == Synced(())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not workspace.seals.read_bytes().endswith(b"\n")

    assert anchors.sync(db, workspace).added == (2,)
    assert anchors.parse(workspace.seals.read_bytes()).broken == 0


def test_a_symbolic_link_is_not_followed(db: DB, workspace: Workspace) -> None:
    target = workspace.root / "mine.txt"
    target.write_text("mine")
    workspace.seals.symlink_to(target)
    ended(db)

    assert anchors.sync(db, workspace) == Synced(())
    assert target.read_text() == "mine"
    with pytest.raises(OSError, match=r"Too many levels|symbolic"):
        anchors.read(workspace.seals)


def test_a_fifo_in_its_place_hangs_nobody(db: DB, workspace: Workspace) -> None:
    os.mkfifo(workspace.seals)
    ended(db)

    assert anchors.sync(db, workspace) == Synced(())
    with pytest.raises(OSError, match="no regular file"):
        anchors.read(workspace.seals)


def test_a_file_that_others_could_read_is_made_private(db: DB, workspace: Workspace) -> None:
    workspace.seals.touch(0o644)
    workspace.seals.chmod(0o644)
    ended(db)

    anchors.sync(db, workspace)

    assert stat.S_IMODE(workspace.seals.stat().st_mode) == 0o600


def test_many_at_once_write_each_seal_once_and_in_its_order(db: DB, workspace: Workspace) -> None:
    def ends_some(_: int) -> None:
        with closing(open_store(workspace)) as own:
            for _ in range(10):
                ended(own)
                anchors.sync(own, workspace)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ends_some, range(4)))
    anchors.sync(db, workspace)

    log = anchors.parse(workspace.seals.read_bytes())
    assert ([seal.n for seal in log.seals], log.broken) == (list(range(1, 41)), 0)


def test_a_new_database_begins_a_new_file(db: DB, workspace: Workspace) -> None:
    ended(db)
    anchors.sync(db, workspace)
    before = workspace.seals.read_bytes()
    db.close()
    for file in workspace.dir.glob("devtrace.db*"):
        file.unlink()

    with closing(open_store(workspace, create=True)) as anew:
        session = ended(anew)
        assert anchors.sync(anew, workspace) == Synced((1,), is_new=True)

    assert [line.split()[2] for line in lines(workspace)] == [session]
    assert workspace.seals.with_name("seals.log.old").read_bytes() == before


def test_opening_a_store_again_begins_nothing_anew(db: DB, workspace: Workspace) -> None:
    ended(db)
    anchors.sync(db, workspace)
    open_store(workspace, create=True).close()

    assert len(lines(workspace)) == 1


@pytest.mark.parametrize("with_log", [True, False])
def test_a_store_that_was_copied_goes_on(db: DB, workspace: Workspace, with_log: bool) -> None:
    ended(db)
    anchors.sync(db, workspace)
    db.close()
    other = Workspace(workspace.root / "other" / ".devtrace")
    shutil.copytree(workspace.dir, other.dir)
    if not with_log:
        other.seals.unlink()

    with closing(open_store(other)) as copied:
        ended(copied)
        assert anchors.sync(copied, other) == Synced((2,) if with_log else (1, 2), is_new=not with_log)

    assert anchors.parse(other.seals.read_bytes()).broken == 0


def test_a_database_that_can_only_be_read_gives_its_seals_too(db: DB, workspace: Workspace) -> None:
    ended(db)
    with closing(open_reader(workspace)) as reader:
        assert anchors.sync(reader, workspace).added == (1,)


@pytest.mark.parametrize("junk", ["", "seal1", "seal1 9 words", "\x00\x01", "seal2 " + "0" * 64])
def test_a_line_that_is_none_of_ours_stays_and_what_follows_it_holds(
    db: DB, workspace: Workspace, junk: str
) -> None:
    ended(db)
    anchors.sync(db, workspace)
    with workspace.seals.open("a") as file:
        file.write(junk + "\n")
    ended(db)

    assert anchors.sync(db, workspace).added == (2,)
    log = anchors.parse(workspace.seals.read_bytes())
    assert ([seal.n for seal in log.seals], log.broken) == ([1, 2], 1)


def test_junk_that_is_longer_than_what_is_looked_at_first_is_looked_behind(
    db: DB, workspace: Workspace
) -> None:
    ended(db)
    anchors.sync(db, workspace)
    with workspace.seals.open("a") as file:
        file.write("x" * 20_000 + "\n")

    assert anchors.sync(db, workspace) == Synced(())
    ended(db)
    assert anchors.sync(db, workspace).added == (2,)
