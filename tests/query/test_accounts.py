"""What agents say that they did: each call once, with its prompt and its stated reason."""

from __future__ import annotations

import random
from typing import Any

import pytest

from devtrace.query.accounts import CALL, Accounts, told_once
from devtrace.query.events import list_events
from devtrace.query.filters import Filters

SCRIPT = {"source": "transcript"}


def calls(recorded: Any) -> list[dict[str, Any]]:
    return Accounts(recorded.db, recorded.session_id).calls


def reasons(recorded: Any) -> list[str | None]:
    return [call["reason"] and call["reason"]["text"] for call in calls(recorded)]


@pytest.fixture
def session(recorded):
    recorded.session(agent="claude-code")
    return recorded


def test_hook_and_transcript_of_one_call_are_one(session):
    hook = session.tool("Bash", "make", 1, 2, call="c1", turn="t")
    script = session.tool("Bash", "make ", 1.001, 1.9, call="c1", exit_code=0, model="m", **SCRIPT)

    (call,) = calls(session)

    assert list(call) == list(CALL)
    assert call["event"] == f"{session.session_id}/{hook}"
    assert call["events"] == [f"{session.session_id}/{one}" for one in (hook, script)]
    assert call["told_by"] == ["hook", "transcript"]
    assert (call["command"], call["exit_code"], call["model"], call["turn"]) == ("make", 0, "m", "t")
    assert call["differs"] == []


def test_the_fields_in_which_the_two_disagree_are_named(session):
    session.tool("Bash", "true", 1, call="a", exit_code=0)
    session.tool("Bash", "make", 1, call="a", exit_code=2, status="failed", **SCRIPT)
    session.tool("Write", {"file_path": "/r/x"}, 2, call="b")
    session.tool("Write", {"file_path": "/r/y"}, 2, call="b", **SCRIPT)
    session.tool("add", {"a": 1, "b": 2}, 3, call="c")
    session.tool("add", {"b": 2, "a": 1}, 3, call="c", **SCRIPT)
    session.tool("add", {"a": 1}, 4, call="d")
    session.tool("add", {"a": 2}, 4, call="d", **SCRIPT)

    assert [call["differs"] for call in calls(session)] == [
        ["command", "exit_code", "status"],
        ["paths"],
        [],
        ["input"],
    ]


def test_a_relative_path_and_the_whole_one_are_the_same(session):
    session.tool("Write", {"file_path": "/r/in/x"}, 1, call="a", cwd="/r")
    session.tool("apply_patch", {}, 1, call="a", paths=["in/x"], does="edit", cwd="/r", **SCRIPT)

    assert calls(session)[0]["differs"] == []


def test_calls_without_ids_are_paired_by_tool_and_input_the_nth_with_the_nth(session):
    session.tool("Bash", "make", 1, status="ok")
    session.tool("Bash", "make", 5, status="failed")
    session.tool("Bash", "ls", 6)
    session.tool("Bash", "make", 1.1, call="x", status="ok", **SCRIPT)
    session.tool("Bash", "make", 5.1, call="y", status="failed", exit_code=2, **SCRIPT)

    found = calls(session)

    assert [(call["command"], call["call"], call["exit_code"], len(call["told_by"])) for call in found] == [
        ("make", "x", None, 2),
        ("make", "y", 2, 2),
        ("ls", None, None, 1),
    ]


def test_two_calls_with_ids_of_their_own_stay_two(session):
    session.tool("Bash", "make", 1, call="x")
    session.tool("Bash", "make", 2, call="y", **SCRIPT)

    assert [call["told_by"] for call in calls(session)] == [["hook"], ["transcript"]]


def test_the_same_id_in_another_client_is_another_call(session):
    session.tool("Bash", "make", 1, call="x")
    session.tool("Bash", "make", 1, call="x", native="n2", **SCRIPT)

    assert len(calls(session)) == 2


def test_a_call_whose_end_no_hook_told_ends_as_the_transcript_says(session):
    session.tool("Bash", "make", 1, None, call="x")
    session.tool("Bash", "make", 1, 3, call="x", status="failed", exit_code=2, **SCRIPT)

    (call,) = calls(session)

    assert (call["status"], call["exit_code"], call["ended_us"] - call["started_us"]) == (
        "failed",
        2,
        3_000_000,
    )


def test_a_transcript_in_another_session_is_joined(session):
    first = session.session_id
    session.tool("Bash", "make", 1, 2, call="x")
    session.session(100, agent="claude-code", kind="import")
    session.tool("Bash", "make", 1, 2, call="x", exit_code=0, **SCRIPT)
    session.tool("Bash", "elsewhere", 1.5, native="n2", call="z", **SCRIPT)

    (call,) = Accounts(session.db, first).calls

    assert call["told_by"] == ["hook", "transcript"]
    assert (call["session"], call["exit_code"]) == (first, 0)
    assert len(Accounts(session.db).calls) == 2


# --- the reason -----------------------------------------------------------------------------------------


def test_the_reason_is_what_was_said_between_the_call_before_and_this_one(session):
    session.said("First I look.", 1)
    session.tool("Bash", "ls", 2, 1, call="a")
    session.tool("Bash", "cat x", 4, 1, call="b")
    session.said("Too early.", 6)
    session.said("Now I mend it.", 7)
    session.tool("Bash", "sed x", 8, 1, call="c")

    assert reasons(session) == ["First I look.", None, "Now I mend it."]


def test_parallel_calls_share_their_reason(session):
    session.said("Both at once.", 1)
    session.tool("Bash", "one", 2, 3, call="a")
    session.tool("Bash", "two", 2.5, 0.1, call="b")
    session.tool("Bash", "three", 2.9, 5, call="c")

    assert reasons(session) == ["Both at once."] * 3


def test_calls_in_flight_share_their_reason_and_one_that_never_ended_keeps_its_own(session):
    session.said("Both.", 1)
    session.tool("Bash", "one", 2, None, call="a")
    session.tool("Bash", "two", 3, None, call="b")

    assert reasons(session) == ["Both.", "Both."]

    session.tool("Bash", "three", 4, 1, call="c")

    assert reasons(session) == ["Both.", "Both.", None]


def test_what_another_subagent_said_or_was_said_in_another_turn_is_no_reason(session):
    session.said("The main one speaks.", 1, turn="t1")
    session.said("The inner one speaks.", 2, turn="t1", subagent="s")
    session.tool("Bash", "inner", 3, call="a", turn="t1", subagent="s")
    session.tool("Bash", "outer", 4, call="b", turn="t2")

    assert reasons(session) == ["The inner one speaks.", None]


def test_the_transcript_knows_the_order_better_than_the_hooks(session):
    session.tool("Bash", "make", 2, 1, call="a")
    session.said("I build it.", 2.01)  # its hook came late
    session.said("I build it.", 1.9, **SCRIPT)
    session.tool("Bash", "make", 1.9, 1, call="a", **SCRIPT)

    assert reasons(session) == ["I build it."]


# --- the prompt -----------------------------------------------------------------------------------------


def prompts(recorded: Any) -> list[list[str]]:
    return [[prompt["text"] for prompt in call["prompts"]] for call in calls(recorded)]


def test_a_call_belongs_to_the_prompt_of_its_turn(session):
    session.prompt("one", 1, turn="t1")
    session.prompt("two", 2, turn="t2")
    session.tool("Bash", "a", 3, call="a", turn="t1")
    session.tool("Bash", "b", 4, call="b", turn="t2")
    session.tool("Bash", "c", 5, call="c", turn="t3")

    assert prompts(session) == [["one"], ["two"], []]


def test_where_turns_are_not_counted_the_newest_prompt_before_counts(session):
    session.prompt("one", 1)
    session.tool("Bash", "a", 2, call="a")
    session.prompt("two", 3)
    session.tool("Bash", "b", 4, call="b")
    session.tool("Bash", "c", 4, call="c", native="n2")

    assert prompts(session) == [["one"], ["two"], []]


def test_a_prompt_that_both_channels_tell_is_told_once(session):
    session.prompt("one", 1, turn="t")
    session.prompt("one", 1.1, turn="t", **SCRIPT)
    session.tool("Bash", "a", 2, call="a", turn="t")

    assert prompts(session) == [["one"]]


def test_a_subagent_was_told_by_an_agent_that_was_told_by_a_person(session):
    session.prompt("the whole", 1, turn="t")
    session.tool("Agent", {"prompt": "a part"}, 2, 9, call="a", turn="t", does="subagent", starts="s")
    session.prompt("a part", 3, subagent="s")
    session.tool("Bash", "inner", 4, call="b", turn="t", subagent="s")

    assert prompts(session) == [["the whole"], ["a part", "the whole"]]


def test_subagents_that_start_each_other_in_a_circle_end(session):
    session.tool("Agent", {}, 1, call="a", subagent="s", starts="r")
    session.tool("Agent", {}, 2, call="b", subagent="r", starts="s")

    assert prompts(session) == [[], []]


# --- as people read it ----------------------------------------------------------------------------------


def rows(recorded: Any) -> list[dict[str, Any]]:
    return list_events(recorded.db, Filters(session=recorded.session_id))


def test_what_is_told_twice_is_read_once_with_what_either_knows(session):
    kept = [session.prompt("go", 1), session.said("ok", 2), session.tool("Bash", "make", 3, None, call="a")]
    session.prompt("go", 1, **SCRIPT)
    session.said("ok", 2, **SCRIPT)
    session.said("ok", 8, **SCRIPT)
    session.tool("Bash", "make", 3, 1, call="a", exit_code=2, status="failed", **SCRIPT)
    session.note("mine", 9)

    told = told_once(rows(session))

    assert [row["kind"] for row in told] == [
        "prompt", "assistant_message", "tool_call", "assistant_message", "note",
    ]  # fmt: skip
    assert [row["id"] for row in told[:3]] == kept
    assert (told[2]["status"], told[2]["exit_code"]) == ("failed", 2)


def test_any_order_of_telling_gives_the_same_calls(session):
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when the test fails
    dice = random.Random(seed)
    told = [
        (source, at, call)
        for at in range(30)
        for call in (f"c{at}" if dice.random() < 0.5 else None,)
        for source in ("hook", "transcript")
    ]
    dice.shuffle(told)
    for source, at, call in told:
        known = call if source == "transcript" or dice.random() < 0.5 else None
        session.tool("Bash", f"make {at}", at, 0.5, call=known, source=source)

    found = calls(session)

    assert [call["command"] for call in found] == [f"make {at}" for at in range(30)]
    assert all(call["told_by"] == ["hook", "transcript"] and not call["differs"] for call in found)
