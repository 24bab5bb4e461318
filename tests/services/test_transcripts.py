"""What a client kept of its own work, beside what its hooks told of it and without that."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devtrace.errors import UsageError
from devtrace.events import Event, RunCommand
from devtrace.pipeline import Pipeline
from devtrace.policy.chain import Policy
from devtrace.query.accounts import Accounts
from devtrace.services import agent_hook
from devtrace.services.transcripts import Filling, Imported, import_records
from devtrace.store import retention, sessions
from devtrace.store.connection import open_store
from devtrace.store.drain import drain
from devtrace.store.hold import hold
from devtrace.store.retention import EVENTS, WHENEVER, Author, Order
from devtrace.workspace import Workspace, create
from tests.sources.agents.adapters import PAYLOADS
from tests.store.frames import SESSION, is_whole

NATIVE = "e35eb547-d670-46b0-8b78-17e533428062"
RECORDED = PAYLOADS / "claude-code-2.1.197"
SINCE_US, UNTIL_US = 1_795_226_330_000_000, 1_795_226_400_000_000  # around the recorded run
CLIENT = "1234567890123456"
POLICY = Policy.for_session({}, b"salt")


class Place:
    """A repository with a store, and a home in which Claude Code left its transcripts."""

    def __init__(self, folder: Path):
        self.workspace = Workspace(folder / "repo" / ".devtrace")
        self.workspace.root.mkdir()
        create(self.workspace)
        self.home = folder / "home"
        slug = str(self.workspace.root).replace("/", "-").replace("_", "-").replace(".", "-")
        self.kept = self.home / ".claude" / "projects" / slug
        self.kept.mkdir(parents=True)
        self.environ = {"HOME": str(self.home)}

    def keep(self, number: int | None = None) -> None:
        """The transcript of the recorded run, or its first lines."""
        shutil.copytree(RECORDED / NATIVE, self.kept / NATIVE, dirs_exist_ok=True)
        text = (RECORDED / f"{NATIVE}.jsonl").read_text().replace('"/repo', f'"{self.workspace.root}')
        (self.kept / f"{NATIVE}.jsonl").write_text("".join(text.splitlines(keepends=True)[:number]))

    def hear(self, db: Any, *left_out: str, **own: str) -> None:
        """The hooks of the same run, as the hook process takes them."""
        for number, line in enumerate((RECORDED / "hooks.jsonl").read_text().splitlines()):
            event = json.loads(line)["hook_event_name"]
            if event not in left_out:
                data = line.replace('"/repo', f'"{self.workspace.root}').encode()
                at_us = SINCE_US + 10_000_000 + number * 10_000
                agent_hook.take("claude-code", event, data, at_us, {**self.environ, **own})
        drain(db, self.workspace)

    def traced(self, db: Any, command: str) -> dict[str, str]:
        """A traced shell in which that was typed; returns what its programs find in their environment."""
        sessions.begin(db, id=SESSION, kind="shell", agent="claude-code", actor="human", started_us=SINCE_US)
        event = Event(
            session=SESSION, id=CLIENT, actor="human", started_us=SINCE_US, ended_us=UNTIL_US, status="ok",
            source="interactive", trusted=2, body=RunCommand(command=command, cwd=str(self.workspace.root)),
        )  # fmt: skip
        self.write(db, [event])
        named = {"DEVTRACE_SESSION": SESSION, "DEVTRACE_DIR": str(self.workspace.dir)}
        return {**named, "DEVTRACE_SPAN": CLIENT}

    def write(self, db: Any, events: list[Event]) -> None:
        pipeline = Pipeline(db, self.workspace, Policy.for_session({}, b"salt"))
        for event in events:
            pipeline.emit(event)
        pipeline.close()
        assert not pipeline.n_lost

    def take_in(self, db: Any, name: str | None = None, since_us: int = 0) -> list[Imported]:
        policy = Policy.for_session({}, b"salt")
        done = list(import_records(db, self.workspace, policy, self.environ, name=name, since_us=since_us))
        assert is_whole(db)
        return [one for one in done if one.events]

    def fill(self, db: Any, agent: str = "claude-code") -> list[Event]:
        held = hold(self.workspace, SESSION)
        events = Filling(self.workspace, self.environ, POLICY, SESSION, agent).events(db, SINCE_US, UNTIL_US)
        held.close()
        self.write(db, events)
        return events


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def db(place: Place) -> Iterator[Any]:
    with closing(open_store(place.workspace, create=True)) as db:
        yield db


def kinds(db: Any, source: str, session: str | None = None) -> Counter[str]:
    rows = db.execute("SELECT kind, session FROM events WHERE source = ?", (source,))
    return Counter(kind for kind, of in rows if session in (None, of))


# --- import ---


def test_what_nobody_recorded_becomes_a_session_of_its_own_once(place: Place, db: Any) -> None:
    place.keep()

    (done,) = place.take_in(db)

    assert (done.agent, done.native) == ("claude-code", NATIVE)
    row = db.execute("SELECT kind, agent, status, n_events FROM sessions WHERE id = ?", (done.session,))
    assert row.fetchone() == ("import", "claude-code", "ended", kinds(db, "transcript").total())
    told = kinds(db, "transcript", done.session)
    assert told["tool_call"] >= 8
    assert told["prompt"] == 2  # a person's, and a subagent's
    assert db.execute("SELECT count(*) FROM events WHERE status = 'failed'").fetchone()[0] >= 1
    assert place.take_in(db) == []
    assert kinds(db, "transcript", done.session) == told


def test_a_transcript_that_has_grown_brings_what_is_new(place: Place, db: Any) -> None:
    place.keep(9)
    (first,) = place.take_in(db, "claude-code")
    place.keep()

    (second,) = place.take_in(db, "claude-code")

    assert second.session == first.session
    assert kinds(db, "transcript").total() >= first.events + second.events - 1
    other = [row[0] for row in db.execute("SELECT id FROM events ORDER BY id")]
    assert len(set(other)) == len(other)


def test_only_what_was_touched_since_then_is_read(place: Place, db: Any) -> None:
    place.keep()
    for path in place.kept.rglob("*.jsonl"):
        os.utime(path, (1_000, 1_000))

    assert place.take_in(db, since_us=2_000_000_000) == []
    assert place.take_in(db) != []


def test_what_hooks_told_is_not_told_again(place: Place, db: Any) -> None:
    place.keep()
    place.hear(db, **place.traced(db, "claude -p 'add a greeting'"))
    told = kinds(db, "hook")

    place.take_in(db)

    assert kinds(db, "hook") == told
    assert {session for (session,) in db.execute("SELECT session FROM events")} == {SESSION}
    more = db.execute("SELECT kind, json_extract(data, '$.subagent') FROM events WHERE source = 'transcript'")
    assert {subagent is None for _, subagent in more.fetchall()} <= {
        False
    }  # of what a subagent says hooks are silent
    assert kinds(db, "transcript")["prompt"] == 1


def test_the_end_of_a_call_that_no_hook_told_comes_from_the_transcript(place: Place, db: Any) -> None:
    place.keep()
    place.hear(db, "PostToolUse", "PostToolUseFailure", **place.traced(db, "claude"))
    sessions.end(db, SESSION, ended_us=UNTIL_US, status="ended", exit_code=0)

    place.take_in(db)

    assert {call["status"] for call in Accounts(db).calls} == {"ok", "failed"}
    assert place.take_in(db) == []


def test_a_record_that_cannot_be_read_costs_no_other(place: Place, db: Any) -> None:
    place.keep()
    (place.kept / "00000000-0000-0000-0000-000000000000.jsonl").symlink_to("/nowhere")
    (place.kept / "11111111-0000-0000-0000-000000000000.jsonl").write_bytes(b"\xff\x00torn\n{")

    assert NATIVE in {one.native for one in place.take_in(db)}


@pytest.mark.parametrize(("name", "code"), [("cursor", "ERR_USAGE"), ("emacs", "ERR_AGENT_UNKNOWN")])
def test_an_agent_of_which_no_record_is_known_is_refused(place: Place, db: Any, name: str, code: str) -> None:
    with pytest.raises(UsageError) as raised:
        place.take_in(db, name)
    assert raised.value.code == code


# --- at the end of a traced session ---


def test_a_session_without_hooks_is_filled_and_says_so(place: Place, db: Any) -> None:
    place.keep()
    place.traced(db, "claude -p 'add a greeting'")

    *news, gap = place.fill(db)

    assert gap.body.reason == "agent_hooks_silent"
    assert gap.body.detail.endswith("turned off; filled from its transcript")
    assert {event.session for event in news} == {SESSION}
    (prompt,) = [event for event in news if event.body.kind == "prompt" and event.body.subagent is None]
    assert prompt.parent == CLIENT
    own = [event for event in news if event.body.kind == "tool_call"]
    assert {event.parent for event in own} == {prompt.id}
    assert is_whole(db)
    assert [event.body.kind for event in place.fill(db)] == ["gap"]


def test_a_session_whose_hooks_spoke_has_no_gap(place: Place, db: Any) -> None:
    place.keep()
    place.hear(db, **place.traced(db, "claude"))

    filled = place.fill(db)

    assert "gap" not in {event.body.kind for event in filled}
    assert {event.body.subagent is None for event in filled} <= {False}


def test_where_the_client_was_never_started_nothing_was_to_be_heard(place: Place, db: Any) -> None:
    place.keep()
    place.traced(db, "ls")

    assert place.fill(db) == []


def test_a_client_without_hooks_is_said_to_have_none(place: Place, db: Any) -> None:
    place.traced(db, "aider --yes")

    (gap,) = place.fill(db, "aider")

    assert (gap.body.reason, gap.body.detail) == ("agent_hooks_silent", "aider: hooks: none known")


def test_work_of_another_day_is_none_of_the_session_s(place: Place, db: Any) -> None:
    place.keep()
    place.traced(db, "claude")
    filling = Filling(place.workspace, place.environ, POLICY, SESSION, "claude-code")

    (gap,) = filling.events(db, SINCE_US - 86_400_000_000, SINCE_US - 86_000_000_000)

    assert gap.body.detail.endswith("turned off")


# --- whose it is ---


OTHER = "019aa6e0c1de7abc8000000000000002"


def test_a_client_that_a_script_started_is_known_by_what_our_shells_saw_it_run(place: Place, db: Any) -> None:
    place.keep()
    named = place.traced(db, "./go")
    event = Event(
        session=SESSION, id="aaaaaaaaaaaaaaaa", parent=named["DEVTRACE_SPAN"], actor="agent:claude-code",
        started_us=SINCE_US, ended_us=SINCE_US, status="ok", source="bash_env", trusted=1,
        body=RunCommand(command="echo two", cwd=str(place.workspace.root), depth=1),
    )  # fmt: skip
    place.write(db, [event])

    *news, gap = place.fill(db)

    assert gap.body.reason == "agent_hooks_silent"
    assert {one.body.kind for one in news} >= {"prompt", "tool_call"}


def test_a_client_in_a_shell_without_a_label_is_missed_too(place: Place, db: Any) -> None:
    place.keep()
    place.traced(db, "claude -p x")

    *news, gap = place.fill(db, "manual")

    assert (gap.body.reason, bool(news)) == ("agent_hooks_silent", True)


def test_what_another_session_recorded_does_not_fill_ours(place: Place, db: Any) -> None:
    place.keep()
    named = place.traced(db, "claude")
    sessions.begin(db, id=OTHER, kind="shell", agent="claude-code", actor="human", started_us=SINCE_US)
    place.hear(db, **{**named, "DEVTRACE_SESSION": OTHER})

    (gap,) = place.fill(db)

    assert gap.body.detail.endswith("turned off")


def test_what_was_filled_is_not_imported_again(place: Place, db: Any) -> None:
    place.keep()
    place.traced(db, "claude -p x")
    assert place.fill(db)

    assert place.take_in(db) == []


def test_a_session_that_is_resumed_goes_on_where_it_was_resumed(place: Place, db: Any) -> None:
    """The first half was heard in one traced shell, the second in another."""
    place.keep()
    named = place.traced(db, "claude")
    lines = (RECORDED / "hooks.jsonl").read_text().splitlines()
    started_us = SINCE_US + 10_000_000
    sessions.begin(db, id=OTHER, kind="shell", agent="claude-code", actor="human", started_us=started_us)
    for number, line in enumerate(lines):
        own = {**named, "DEVTRACE_SESSION": SESSION if number < len(lines) // 2 else OTHER}
        data = line.replace('"/repo', f'"{place.workspace.root}').encode()
        agent_hook.take("claude-code", "", data, started_us + number * 10_000, {**place.environ, **own})
    drain(db, place.workspace)
    before = dict(db.execute("SELECT session, count(*) FROM events GROUP BY 1").fetchall())

    place.take_in(db)
    assert place.take_in(db) == []

    told = db.execute("SELECT session FROM events WHERE source = 'transcript'").fetchall()
    assert {session for (session,) in told} <= {SESSION, OTHER}
    assert {session for (session,) in db.execute("SELECT DISTINCT session FROM events")} == set(before)


def test_the_end_of_a_call_that_was_imported_while_it_ran_is_taken_in(place: Place, db: Any) -> None:
    lines = (RECORDED / f"{NATIVE}.jsonl").read_text().splitlines()
    first_result = next(number for number, line in enumerate(lines) if '"tool_result"' in line)
    place.keep(first_result)
    place.take_in(db)
    assert "unknown" in {call["status"] for call in Accounts(db).calls}
    place.keep()

    place.take_in(db)

    assert {call["status"] for call in Accounts(db).calls} == {"ok", "failed"}
    assert place.take_in(db) == []


def test_what_was_pruned_is_not_imported_again(place: Place, db: Any) -> None:
    place.keep()
    (done,) = place.take_in(db)
    order = Order(EVENTS, WHENEVER)
    assert list(retention.prune(db, place.workspace, order, Author("human", "cli", 0)))

    assert place.take_in(db) == []
    assert kinds(db, "transcript", done.session).total() == 0


def test_a_session_begins_with_its_first_event_however_it_came_in(place: Place, db: Any) -> None:
    place.keep(9)
    (first,) = place.take_in(db)
    place.keep()
    (second,) = place.take_in(db)

    assert second.session == first.session
    began = "SELECT s.started_us, min(e.started_us) FROM sessions s JOIN events e ON e.session = s.id"
    assert len(set(db.execute(began).fetchone())) == 1


def test_a_record_that_is_a_pipe_keeps_nobody_waiting(place: Place, db: Any) -> None:
    os.mkfifo(place.kept / "00000000-0000-0000-0000-000000000000.jsonl")
    place.keep()

    assert [one.native for one in place.take_in(db)] == [NATIVE]
