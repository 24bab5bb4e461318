"""Whatever guests tell of an agent's work, the questions over it are answered."""

from __future__ import annotations

import random
from typing import Any

import pytest

from devtrace.events import check_body, check_frame
from devtrace.query.agents import Works, told_once, under_calls
from devtrace.query.events import list_events
from devtrace.query.filters import Filters
from devtrace.query.findings import Findings
from devtrace.store.append import append
from devtrace.views.event import event_lines
from devtrace.views.timeline import Reader, timeline
from tests import told
from tests.recorded import START

TEXTS = (
    "",
    "a",
    "b",
    "\x1b[2J",
    "{",
    '{"a": ["b", {"c": "d"}]}',
    "a\0b",
    "../" * 9,
    "/etc/passwd",
    "é\u202e",
    "x" * 999,
)
FIELDS = ("call", "turn", "subagent", "starts", "command", "input", "result", "model", "cwd")


@pytest.fixture
def dice() -> random.Random:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when the test fails
    return random.Random(seed)


def anything(dice: random.Random, session: str, events: list[str]) -> Any:
    """An event of an agent with any values that the shape of its kind allows."""
    at_us = START + dice.randrange(50)
    more: dict[str, Any] = {
        "source": dice.choice(("hook", "transcript")),
        "native": dice.choice(TEXTS[:3]),
        "parent": dice.choice([None, *events]),
    }
    kind = dice.randrange(4)
    if kind < 2:
        more |= {name: dice.choice(TEXTS) for name in ("turn", "subagent") if dice.random() < 0.5}
        return (told.prompt, told.said)[kind](session, dice.choice(TEXTS), at_us, **more)
    more |= {name: dice.choice(TEXTS) for name in FIELDS if dice.random() < 0.4}
    if dice.random() < 0.5:
        more["paths"] = dice.choices(TEXTS, k=dice.randrange(3))
    more |= {"does": dice.choice(("shell", "edit", "read", "odd")), "exit_code": dice.choice((None, 0, 3))}
    ended_us = None if dice.random() < 0.3 else at_us + dice.randrange(9)
    more["status"] = dice.choice(("ok", "failed", "interrupted", "unknown")) if ended_us else "running"
    return told.tool(session, dice.choice(TEXTS), at_us, ended_us, {}, **more)


def test_anything_that_fits_its_shape_is_answered(recorded, dice):
    session = recorded.session(agent="claude-code", took=None)
    events = [recorded.command("claude", 0, 1)]
    events += [
        recorded.nested(dice.choice(TEXTS), dice.choice(events), dice.random() / 1e5) for _ in range(20)
    ]
    for _ in range(150):
        event = anything(dice, session, events)
        append(recorded.db, [check_body(check_frame(event.to_frame()))])
        events.append(event.id)

    works = Works(recorded.db)
    rows = list_events(recorded.db, Filters(session=session))
    shown = under_calls(works.of(session), told_once(rows))
    reader = Reader(now_us=START, width=80)
    row = {"id": session, "cwd": "/", "repo_root": "/r", "started_us": START, "actor": "human"}
    assert timeline(row, shown, {}, reader)
    for event in rows:
        calls = works.of_event(session, event["id"])
        assert event_lines(event, row, [], {}, reader, calls)
        for call in calls:
            assert call["event"] in call["events"]
    Findings(recorded.db, works, [session], ()).of([], [], None, "/r")
    names = [name for call in works.of(session).calls for name in call["events"]]
    assert sorted(names) == sorted(
        f"{session}/{event['id']}" for event in rows if event["kind"] == "tool_call"
    )
