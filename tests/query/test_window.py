"""Of a long session a part tells the same of its calls as the whole."""

from __future__ import annotations

import random
from typing import Any

import pytest

from devtrace.events import Event, RunCommand
from devtrace.ids import new_span_id
from devtrace.query.agents import Works
from devtrace.query.window import window_of
from devtrace.store.append import append
from tests import told
from tests.recorded import SECOND, START

Row = dict[str, Any]
N_CALLS = 4_200  # a session of fewer is read whole


def at(second: float) -> int:
    return START + round(second * SECOND)


def add(recorded: Any, events: list[Event]) -> None:
    for start in range(0, len(events), 500):
        append(recorded.db, [event.to_frame() for event in events[start : start + 500]])


def command(recorded: Any, text: str, second: float, parent: str) -> Event:
    return Event(
        session=recorded.session_id, id=new_span_id(), parent=parent, actor="agent:claude-code",
        started_us=at(second), ended_us=at(second + 0.2), status="ok", source="bash_env",
        exit_source="shell", trusted=1,
        body=RunCommand(command=text, cwd="/", exit_code=0, interactive=False, depth=1),
    )  # fmt: skip


def invented(recorded: Any, client: str, dice: random.Random) -> list[Event]:
    """Prompts, messages, subagents, calls one after the other and at once, some for long, in any order."""
    session, events = recorded.session_id, []
    subagent: str | None = None
    turn = 0
    for number in range(N_CALLS):
        now = float(number)
        if dice.random() < 0.02:
            turn += 1
            events.append(
                told.prompt(session, f"prompt {turn}", at(now - 0.3), turn=f"t{turn}", parent=client)
            )
        if dice.random() < 0.3:
            events.append(told.said(session, f"reason {number}", at(now - 0.2), subagent=subagent))
        text = dice.choice(["make", "npm test", f"echo {number}"])
        more: Row = {"call": f"c{number}", "parent": client, "subagent": subagent, "turn": f"t{turn}"}
        took = dice.choice([0.1, 0.5, 0.9, 1.5, 300.0]) if dice.random() < 0.2 else 0.5
        if subagent is None and dice.random() < 0.02:
            subagent = f"s{number}"
            started: Row = more | {"subagent": None, "does": "subagent", "starts": subagent}
            events.append(told.tool(session, "Agent", at(now), at(now + 20), {}, **started))
            continue
        if dice.random() < 0.1:
            subagent = None
        events.append(told.tool(session, "Bash", at(now), at(now + took), text, **more))
        if dice.random() < 0.3:
            script = more | {"source": "transcript"}
            events.append(told.tool(session, "Bash", at(now + 0.01), at(now + took), text, **script))
        if dice.random() < 0.8:
            events.append(command(recorded, text, now + 0.05, client))
    dice.shuffle(events)
    return events


@pytest.fixture
def session(recorded):
    """An agent at work for longer than all that is invented."""
    recorded.session(agent="claude-code")
    recorded.client = recorded.command("claude", 0, 100_000)
    return recorded


def test_a_part_tells_the_same_as_the_whole(session):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when the test fails
    dice = random.Random(seed)
    add(session, invented(session, session.client, dice))
    whole = Works(session.db).of(session.session_id).calls
    works = Works(session.db)

    for _ in range(8):
        since_us, until_us = at(first := dice.randrange(N_CALLS)), at(first + dice.randrange(100))
        part = works.between(session.session_id, since_us, until_us).calls
        asked, expected = (
            {call["event"]: call for call in calls if since_us <= call["started_us"] <= until_us}
            for calls in (part, whole)
        )

        assert expected
        assert asked == expected


def calls(session: Any, **more: Any) -> list[Event]:
    """As many as make a session long, of one second each."""
    return [
        told.tool(
            session.session_id, "Bash", at(number), at(number + 0.5), "make", **more | {"call": f"c{number}"}
        )
        for number in range(N_CALLS)
    ]


def test_a_long_session_is_read_in_part(session):
    add(session, calls(session))

    works = Works(session.db)

    assert len(works.between(session.session_id, at(2_000), at(2_010)).calls) < 200
    assert len(works.between(session.session_id, at(0), at(4_000)).calls) == N_CALLS


def test_a_reason_that_was_stated_long_before_is_found(session):
    asked = told.tool(session.session_id, "Bash", at(3_000.6), at(3_000.7), "make", call="x", subagent="s")
    said = told.said(session.session_id, "long before", at(3), subagent="s")
    add(session, [*calls(session), said, asked])

    found = Works(session.db).between(session.session_id, at(3_000), at(3_001)).calls

    assert [call["reason"]["text"] for call in found if call["call"] == "x"] == ["long before"]


def test_where_a_call_has_no_end_nothing_is_read_in_part(session):
    events = calls(session)
    add(
        session,
        [*events, told.tool(session.session_id, "Bash", at(5), None, "x", call="x", status="unknown")],
    )

    assert window_of(session.db, session.session_id, at(3_000), at(3_001)) is None


def statements(session: Any, sessions: list[str]) -> int:
    """How many questions the work of some sessions takes."""
    asked: list[str] = []
    works = Works(session.db)
    session.db.set_trace_callback(asked.append)
    for one in sessions:
        works.of(one)
    session.db.set_trace_callback(None)
    return len(asked)


def test_sessions_that_overlap_do_not_read_each_other(session):
    sessions = []
    for number in range(20):
        sessions.append(session.session(agent="claude-code"))
        session.tool("Bash", "make", number / 100, 60, call="a", native=f"n{number}")

    few, many = statements(session, sessions[:10]), statements(session, sessions)

    assert many < 2 * few


def test_a_short_session_is_read_whole(session):
    session.tool("Bash", "make", 1, 1, call="a")

    assert window_of(session.db, session.session_id, at(1), at(2)) is None
