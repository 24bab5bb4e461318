"""`devtrace log`: the newest events, and what happens now."""

from __future__ import annotations

import shutil
import signal

import pytest

from devtrace.store.hold import hold
from tests.recorded import Recorded


@pytest.fixture
def live(recorded):
    """A session whose host lives, so that nobody closes it."""
    recorded.session(agent="codex")
    held = hold(recorded.workspace, recorded.session_id)
    yield recorded
    held.close()


def test_the_log_is_the_newest_twenty_with_the_newest_last(run, live):
    for number in range(30):
        live.command(f"c{number}", number)

    assert [event["title"] for event in run("log", "--json").records] == [
        f"$ c{number}" for number in range(10, 30)
    ]
    assert len(run("log", "--json", "--limit", "5").records) == 5
    assert len(run("log", "--json", "--since", "2026-11-21T00:00Z").records) == 30


def test_the_log_spans_all_sessions(run, live):
    live.command("one", 0)
    live.session(10)
    live.command("two", 10)

    told = run("log")

    assert [line.split()[1] for line in told.out.splitlines() if "one" in line or "two" in line] == [
        "codex",
        "manual",
    ]


DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def test_following_tells_starts_and_ends_of_all_sessions(follow, live):
    following = follow()
    live.command("warm up", 0, None, id="1111111111111111")
    first = following.line()
    assert "warm up" in (following.line() if first.split()[0] in DAYS else first)  # it was another day

    codex = live.session_id
    live.session(5)
    second = hold(live.workspace, live.session_id)
    live.command("second", 6, 2, exit_code=3)
    live.command("warm up", 0, 9, id="1111111111111111", session=codex)

    lines = [following.line(), following.line()]
    assert "✗ 3" in lines[0]
    assert lines[0].split()[1] == "manual"
    assert "warm up" in lines[1]
    assert lines[1].split()[1] == "codex"
    second.close()


def test_following_for_machines_gives_the_rows(follow, live):
    following = follow("--json")
    event = live.command("make", 0, None)
    started = following.record()
    live.command("make", 0, 5, id=event)
    ended = following.record()

    assert (started["status"], started["seq"], started["ended_us"]) == ("running", None, None)
    assert (ended["status"], ended["exit_code"], ended["id"]) == ("ok", 0, event)


def test_following_begins_with_the_newest_and_what_runs(follow, live):
    live.command("server", 0, None)
    live.command("old", 1)
    live.command("new", 2)

    following = follow("--limit", "2", "--json")

    titles = [following.record()["title"] for _ in range(2)]
    assert titles == ["$ server", "$ new"]


def test_following_obeys_filters(follow, live):
    following = follow("--json", "--failed", "--agent", "codex")
    live.command("good", 0)
    live.command("bad", 1, exit_code=1)
    live.session(2)
    live.command("also bad, of another", 3, exit_code=1)
    live.session(4, agent="codex")
    live.command("bad again", 5, exit_code=1)

    assert [following.record()["title"] for _ in range(2)] == ["$ bad", "$ bad again"]


def test_following_may_begin_before_there_is_a_store(follow, repo):
    following = follow("--json")
    waiting = following.line("stderr")
    made = Recorded(repo)
    made.session()
    held = hold(made.workspace, made.session_id)
    made.command("first")

    assert waiting.startswith("Waiting for a store: no .devtrace/ in ")
    assert following.record()["title"] == "$ first"
    held.close()
    made.close()


def test_following_survives_a_store_that_is_moved_away_and_begun_anew(follow, live, repo, tmp_path):
    following = follow("--json")
    live.command("before")
    assert following.record()["title"] == "$ before"
    live.close()
    shutil.move(live.workspace.dir, tmp_path / "archive")

    anew = Recorded(repo)
    anew.session()
    held = hold(anew.workspace, anew.session_id)
    anew.command("after")

    assert following.record()["title"] == "$ after"
    held.close()
    anew.close()


def test_following_notices_a_killed_host(follow, recorded):
    recorded.session()
    held = hold(recorded.workspace, recorded.session_id)
    recorded.command("vim", took=None)
    following = follow("--json")
    assert following.record()["status"] == "running"

    (recorded.workspace.run / f"{recorded.session_id}.lock").unlink()

    assert following.record()["status"] == "interrupted"
    held.close()


def test_following_drains_what_a_guest_left_in_the_spool(follow, live):
    from devtrace.events import Event, Note
    from devtrace.ids import new_span_id
    from devtrace.store.spool import SpoolWriter
    from tests.recorded import START

    following = follow("--json")
    live.command("seen")
    following.record()
    note = Event(
        session=live.session_id, id=new_span_id(), actor="human", started_us=START, ended_us=START,
        status="ok", source="cli", trusted=0, body=Note(text="from the spool"),
    )  # fmt: skip
    writer = SpoolWriter(live.workspace.spool)
    assert writer.write(note.to_frame())
    writer.close()

    assert following.record()["title"] == "from the spool"


def test_ctrl_c_ends_it_with_130_and_without_a_word(follow, live):
    following = follow("--json")
    live.command("one")
    following.record()

    assert following.stop(signal.SIGINT) == (130, "")


def test_a_reader_that_goes_away_ends_it(follow, live):
    following = follow("--json")
    live.command("one")
    following.record()
    following.process.stdout.close()

    live.command("two")

    assert following.process.wait(30) == 0


def test_following_a_damaged_store_ends_with_its_code(follow, run, recorded):
    recorded.close()
    recorded.workspace.database.write_bytes(b"no database" * 1000)

    following = follow()

    assert following.process.wait(30) == 1
    assert "[ERR_STORE_DAMAGED]" in following.stop()[1]


def test_a_wrong_filter_is_refused_before_anything_is_followed(run, live):
    told = run("log", "--follow", "--kind", "nonsense")

    assert (told.status, "[ERR_EVENT_KIND]" in told.err) == (2, True)


def test_what_hook_and_transcript_tell_of_one_call_is_one_line(run, recorded):
    recorded.session(agent="claude-code")
    recorded.tool("Bash", "make", 1, 1, call="a")
    recorded.tool("Bash", "make", 1, 1, call="a", status="failed", exit_code=2, source="transcript")

    (line,) = [line for line in run("log").out.splitlines() if "Bash" in line]

    assert "✗ 2" in line
    assert len([one for one in run("log", "--json").records if one["kind"] == "tool_call"]) == 2
