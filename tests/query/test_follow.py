"""Following sees every start and end once, whatever happens to the file under the name."""

from __future__ import annotations

import shutil
import sqlite3

import pytest

from devtrace.errors import EnvironmentError
from devtrace.query.filters import Filters
from devtrace.query.follow import Follow
from devtrace.store.connection import open_reader
from devtrace.workspace import Workspace
from tests.recorded import Recorded


@pytest.fixture
def follow(recorded):
    recorded.session()
    following = Follow(recorded.workspace, Filters())
    following.poll()
    yield following
    following.close()


def told(rows) -> list[tuple[str, str]]:
    return [(row["title"].removeprefix("$ "), row["status"]) for row in rows]


def test_a_start_and_an_end_are_each_told_once(recorded, follow):
    event = recorded.command("make", 0, None)
    assert told(follow.poll()) == [("make", "running")]
    assert follow.poll() == []

    recorded.command("make", 0, 5, id=event)
    assert told(follow.poll()) == [("make", "ok")]
    assert follow.poll() == []


def test_what_starts_and_ends_between_two_looks_is_told_once(recorded, follow):
    event = recorded.command("quick", 0, None)
    recorded.command("quick", 0, 1, id=event)

    assert told(follow.poll()) == [("quick", "ok")]


def test_concurrent_sessions_are_told_together_in_their_order(recorded, follow):
    first = recorded.session_id
    recorded.session(agent="codex")
    recorded.command("second", 1, 5)
    recorded.command("first", 0, 2, session=first)
    recorded.note("noted", 3)

    assert told(follow.poll()) == [("first", "ok"), ("noted", "ok"), ("second", "ok")]


def test_the_first_look_tells_the_newest_and_what_runs(recorded):
    recorded.session()
    recorded.command("server", 0, None)
    for second in range(1, 6):
        recorded.command(f"c{second}", second)
    following = Follow(recorded.workspace, Filters(limit=3))

    assert told(following.poll()) == [("server", "running"), ("c4", "ok"), ("c5", "ok")]
    assert following.poll() == []
    following.close()


def test_without_a_limit_only_what_runs_is_told_first(recorded):
    recorded.session()
    recorded.command("old")
    recorded.command("server", 0, None)
    following = Follow(recorded.workspace, Filters())

    assert told(following.poll()) == [("server", "running")]
    following.close()


def test_filters_hold_while_following(recorded):
    recorded.session()
    following = Follow(recorded.workspace, Filters(failed=True))
    following.poll()
    runs = recorded.command("bad", 0, None)
    recorded.command("good")

    assert following.poll() == []
    recorded.command("bad", 0, 1, id=runs, exit_code=1)
    assert told(following.poll()) == [("bad", "failed")]
    following.close()


def test_a_look_without_news_asks_one_question(recorded, follow):
    statements = []
    follow.db.set_trace_callback(statements.append)

    follow.poll()

    assert statements == ["PRAGMA data_version"]


def test_a_store_made_later_is_told_from_its_beginning(tmp_path):
    following = Follow(Workspace(tmp_path / ".devtrace"), Filters(limit=1))
    assert following.poll() == []
    made = Recorded(tmp_path)
    made.session()
    made.command("one")
    made.command("two")

    assert told(following.poll()) == [("one", "ok"), ("two", "ok")]
    made.close()
    following.close()


def replace_by_copy(recorded) -> None:
    """What a compaction does: a copy under another name takes the place of the old file."""
    path = recorded.workspace.database
    recorded.db.execute(f"VACUUM INTO '{path}.new'")
    recorded.close()
    for part in ("-wal", "-shm"):
        path.with_name(path.name + part).unlink(missing_ok=True)
    path.with_name(path.name + ".new").replace(path)
    recorded.db = sqlite3.connect(path, isolation_level=None)


def test_a_database_replaced_by_its_copy_goes_on_where_it_was(recorded, follow):
    recorded.command("before")
    assert told(follow.poll()) == [("before", "ok")]

    replace_by_copy(recorded)
    assert follow.poll() == []
    recorded.command("after")

    assert told(follow.poll()) == [("after", "ok")]


def test_a_copy_with_other_numbers_repeats_nothing(recorded):
    recorded.session()
    for second in range(10):
        recorded.command(f"old {second}", second)
    following = Follow(recorded.workspace, Filters(limit=2))
    assert len(following.poll()) == 2
    recorded.command("seen", 20)
    assert told(following.poll()) == [("seen", "ok")]

    recorded.db.execute("DELETE FROM events WHERE seq < 4")
    recorded.db.execute("UPDATE events SET seq = seq - 3")
    replace_by_copy(recorded)
    recorded.command("new", 30)

    assert told(following.poll()) == [("new", "ok")]
    following.close()


def test_a_store_moved_away_and_begun_anew_is_followed(recorded, follow, tmp_path):
    recorded.command("before")
    follow.poll()
    recorded.close()
    shutil.move(recorded.workspace.dir, tmp_path / "archived")
    assert follow.poll() == []

    anew = Recorded(tmp_path)
    anew.session()
    anew.command("after")

    assert told(follow.poll()) == [("after", "ok")]
    anew.close()


def test_a_file_that_is_no_database_yet_is_waited_for(tmp_path):
    workspace = Workspace(tmp_path / ".devtrace")
    workspace.dir.mkdir(mode=0o700)
    workspace.database.touch()
    following = Follow(workspace, Filters())

    assert following.poll() == []
    made = Recorded(tmp_path)
    made.session()
    made.command("first")

    assert told(following.poll()) == [("first", "ok")]
    made.close()
    following.close()


def test_a_database_that_stays_damaged_is_an_error_in_the_end(recorded):
    now = [0.0]
    following = Follow(recorded.workspace, Filters(), clock=lambda: now[0])
    recorded.close()
    recorded.workspace.database.write_bytes(b"this is no database" * 100)

    assert following.poll() == []
    now[0] = 60.0
    with pytest.raises(EnvironmentError) as error:
        following.poll()

    assert error.value.code == "ERR_STORE_DAMAGED"


def test_trouble_that_passes_is_forgotten(recorded):
    recorded.session()
    now, broken = [0.0], [True]

    def connect(workspace):
        if broken[0]:
            raise sqlite3.OperationalError("unable to open database file")
        return open_reader(workspace)

    following = Follow(recorded.workspace, Filters(), connect=connect, clock=lambda: now[0])
    assert following.poll() == []
    broken[0], now[0] = False, 4.0
    following.poll()
    broken[0], now[0] = True, 60.0
    following.close()

    assert following.poll() == []


def test_a_running_command_that_vanishes_with_its_store_is_no_end(recorded, follow, tmp_path):
    recorded.command("make", 0, None)
    follow.poll()
    recorded.db.execute("DELETE FROM running")
    recorded.command("other")

    assert told(follow.poll()) == [("other", "ok")]


def test_thousands_at_once_are_all_told(recorded, follow):
    for number in range(500):
        recorded.command(f"c{number}", number)

    assert len(follow.poll()) == 500
