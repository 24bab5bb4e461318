"""Under what each event stands where a session is read."""

from __future__ import annotations

from typing import Any

import pytest

from devtrace.query.agents import Work, under_calls
from devtrace.query.events import list_events
from devtrace.query.filters import Filters

Row = dict[str, Any]


@pytest.fixture
def session(recorded):
    recorded.session(agent="claude-code")
    recorded.client = recorded.command("claude", 0, 100)
    return recorded


def parents(recorded: Any, *more: Row) -> dict[str, str | None]:
    rows = list_events(recorded.db, Filters(session=recorded.session_id))
    shown = under_calls(Work(recorded.db, recorded.session_id), [*rows, *more])
    return {row["id"]: row["parent"] for row in shown}


def edit(recorded: Any, at: float, *candidates: str) -> Row:
    """An edit that stands under nothing: several may have made it."""
    (row,) = (one for one in list_events(recorded.db, Filters()) if one["id"] == recorded.client)
    names = [f"{recorded.session_id}/{one}" for one in candidates]
    data = {"attribution": "ambiguous", "candidates": names}
    return row | {
        "id": "e" * 16, "kind": "edit_files", "data": data, "started_us": row["started_us"] + int(at * 1e6),
    }  # fmt: skip


def test_what_a_client_runs_by_itself_stands_under_the_prompt_that_it_works_on(session):
    early = session.nested("before any prompt", session.client, 1)
    prompt = session.prompt("do it", 2, parent=session.client)
    during = session.nested("env", session.client, 3)
    late = session.nested("when the next prompt is given", session.client, 8)
    second = session.prompt("and that", 7, parent=session.client)

    shown = parents(session)

    assert (shown[early], shown[during], shown[late]) == (session.client, prompt, second)
    assert (shown[prompt], shown[second]) == (session.client, session.client)


def test_what_one_of_two_calls_did_stands_under_their_prompt(session):
    prompt = session.prompt("do it", 2, parent=session.client)
    one = session.tool("Bash", "one", 3, 5, call="a", parent=prompt)
    two = session.tool("Bash", "two", 3, 5, call="b", parent=prompt)
    made = edit(session, 4, one, two)

    assert parents(session, made)[made["id"]] == prompt


def test_what_one_of_two_commands_of_a_call_did_stands_under_the_call(session):
    call = session.tool("Bash", "one & two", 3, 5, call="a", parent=session.client)
    one, two = (session.nested(text, call, 4) for text in ("one", "two"))
    made = edit(session, 4, one, two)

    assert parents(session, made)[made["id"]] == call


@pytest.mark.parametrize("other", ["background", "other/1234"])
def test_what_may_have_come_from_elsewhere_stands_alone(session, other):
    one = session.nested("one", session.client, 3)
    made = edit(session, 4, one)
    made["data"]["candidates"].append(other)

    assert parents(session, made)[made["id"]] is None
