"""What agents did: their claims beside what really ran and changed."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from devtrace.ids import new_span_id
from devtrace.query.agents import Work, Works, headline, under_calls
from devtrace.query.events import get_event, list_events
from devtrace.query.filters import Filters
from devtrace.services.edits.attribution import Verdict
from devtrace.store.connection import open_store
from tests.edits import Recorded
from tests.query.blamed import by

SCRIPT = {"source": "transcript"}


@pytest.fixture
def session(recorded):
    """An agent at work in a command that takes 100 seconds."""
    recorded.session(agent="claude-code")
    recorded.client = recorded.command("claude", 0, 100)
    return recorded


def calls(recorded: Any) -> list[dict[str, Any]]:
    return Work(recorded.db, recorded.session_id).calls


def ran(recorded: Any) -> list[list[str] | None]:
    return [call["ran"] and [one["command"] for one in call["ran"]] for call in calls(recorded)]


def test_the_command_with_the_claimed_text_is_what_ran(session):
    session.tool("Bash", "make  all\n", 1, 5, call="a", parent=session.client)
    session.nested("cc x.c", session.client, 1.5)
    inner = session.nested("make all", session.client, 2, exit_code=2)

    (call,) = calls(session)

    assert call["ran"] == [{"event": f"{session.session_id}/{inner}", "command": "make all", "exit_code": 2}]
    assert call["differs"] == ["status"]  # it was said to have gone well


def test_equal_commands_are_joined_in_their_order(session):
    for at in (1, 3, 5):
        session.tool("Bash", "make", at, 1, call=f"c{at}", parent=session.client)
        session.nested("make", session.client, at + 0.1, exit_code=at)

    assert [call["ran"][0]["exit_code"] for call in calls(session)] == [1, 3, 5]


def test_a_command_that_carries_the_id_of_its_call_is_its_own(session):
    session.tool("Bash", "make", 1, 5, call="a", parent=session.client)
    session.tool("Bash", "make", 1, 5, call="b", parent=session.client)
    for exit_code, call in ((4, "b"), (3, "a")):
        event = session.nested("make", session.client, 2, exit_code=exit_code)
        add_to_data(session, event, call=call)

    assert {call["call"]: call["ran"][0]["exit_code"] for call in calls(session)} == {"a": 3, "b": 4}


def add_to_data(recorded: Any, event: str, **more: Any) -> None:
    """What a newer recorder adds to a command; the chain is of no concern here."""
    import json

    row = get_event(recorded.db, recorded.session_id, event)
    values = (json.dumps(row["data"] | more), event)
    recorded.db.execute("UPDATE events SET data = ? WHERE id = ?", values)
    recorded.db.commit()


def test_a_command_under_the_event_of_its_call_is_its_own(session):
    call = session.tool("Bash", "make", 1, 5, call="a", parent=session.client)
    session.nested("true", call, 2)

    assert ran(session) == [["true"]]
    assert calls(session)[0]["differs"] == ["command"]


def test_another_text_in_the_time_of_the_call_is_what_ran_and_differs(session):
    session.tool("Bash", "bash -c 'echo x > y'", 1, 1, call="a", parent=session.client, exit_code=0)
    session.nested("echo x > y", session.client, 1.2, exit_code=1)
    session.nested("echo later", session.client, 3)

    (call,) = calls(session)

    assert [one["command"] for one in call["ran"]] == ["echo x > y"]
    assert call["differs"] == ["command", "exit_code"]


def test_nobody_knows_which_of_two_parallel_calls_ran_a_text_that_neither_claims(session):
    session.tool("Bash", "one", 1, 5, call="a", parent=session.client)
    session.tool("Bash", "two", 2, 5, call="b", parent=session.client)
    session.nested("three", session.client, 3)

    assert ran(session) == [None, None]
    assert [call["differs"] for call in calls(session)] == [[], []]


def test_what_ran_in_another_session_or_at_the_prompt_is_no_calls(session):
    session.tool("Bash", "make", 1, 5, call="a", parent=session.client)
    session.command("make", 2)
    first = session.session_id
    session.session(agent="codex")
    session.nested("make", session.command("codex", 0, 9), 2)

    assert Work(session.db, first).calls[0]["ran"] is None


def test_a_call_whose_end_nobody_told_ran_until_the_next_one_began(session):
    session.tool("Bash", "one", 1, None, call="a", parent=session.client)
    session.tool("Bash", "two", 5, 1, call="b", parent=session.client)
    session.nested("first", session.client, 2)
    session.nested("second", session.client, 5.5)

    assert ran(session) == [["first"], ["second"]]


def test_an_event_leads_to_its_call(session):
    hook = session.tool("Bash", "make", 1, 5, call="a", parent=session.client)
    script = session.tool("Bash", "make", 1, 5, call="a", **SCRIPT)
    inner = session.nested("make", session.client, 2)
    deeper = session.nested("cc", inner, 2)
    works = Works(session.db)

    for event in (hook, script, inner, deeper):
        (call,) = works.of_event(session.session_id, event)
        assert call["event"].endswith(hook)
    assert works.of_event(session.session_id, session.client) == []
    assert works.of(session.session_id).clients == {f"{session.session_id}/{session.client}"}


def test_a_store_without_agents_has_no_calls(recorded):
    recorded.session()
    event = recorded.command("make")

    assert Works(recorded.db).of_event(recorded.session_id, event) == []


def test_the_headline_of_a_call_names_what_it_is_about():
    empty: dict[str, Any] = {"command": None, "paths": None, "tool": "add"}

    assert headline(empty) == "add"
    assert headline(empty | {"command": "ls"}) == "add: ls"
    assert headline(empty | {"paths": ["a", "b"]}) == "add: a, b"


# --- the edits ------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Recorded:
    made = Recorded(tmp_path / "repo", agent="claude-code")
    made.write("a.txt", "one\ntwo\n")
    made.git("add", "-A")
    made.git("commit", "-qm", "first")
    made.begin()
    return made


def edits(place: Recorded) -> list[tuple[str, list[tuple[list[str], str]]]]:
    with closing(open_store(place.workspace)) as db:
        return [
            (headline(call), [(one["paths"], one["confidence"]) for one in call["edits"]])
            for call in Work(db, place.session).calls
        ]


def test_what_the_client_changed_while_a_tool_ran_that_claims_the_path_is_the_tools(place):
    client = place.client()
    path = str(place.root / "a.txt")
    with place.calling("Read", {"file_path": path}, call="r", parent=client.id):
        pass
    with place.calling("Edit", {"file_path": path}, call="a", parent=client.id):
        place.write("a.txt", "one\n2\n")
        place.write("b.txt", "not claimed\n")
        place.changed(client)
    place.write("a.txt", "one\n3\n")
    place.changed(client)

    assert edits(place) == [(f"Read: {path}", []), (f"Edit: {path}", [(["a.txt"], "claim")])]


def test_what_the_command_of_a_call_changed_is_the_calls(place):
    client = place.client()
    with place.calling("Bash", "sed -i s/two/2/ a.txt", call="a", parent=client.id):
        place.write("a.txt", "one\n2\n")
        outer = place.command("sed -i s/two/2/ a.txt", parent=client.id)
        place.write("a.txt", "one\n3\n")
        place.command("inner", parent=outer.id)

    assert [found for _, found in edits(place)] == [[(["a.txt"], "command"), (["a.txt"], "command")]]


def test_what_stands_under_the_call_itself_is_the_calls(place):
    client = place.client()
    identity = new_span_id()
    with place.calling("Write", {"file_path": "other"}, id=identity, call="a", parent=client.id):
        place.write("a.txt", "new\n")
        place.command("write", parent=identity)

    assert [found for _, found in edits(place)] == [[(["a.txt"], "call")]]


def test_a_relative_path_is_seen_from_where_the_call_was_made(place):
    client = place.client()
    here = place.root / "in"
    with place.calling("Write", {"file_path": "x.txt"}, call="a", parent=client.id, cwd=str(here)):
        place.write("in/x.txt", "new\n")
        place.write("x.txt", "new\n")
        place.changed(client)

    assert [found for _, found in edits(place)] == [[(["in/x.txt"], "claim")]]


def test_a_change_that_nobody_was_seen_making_is_that_of_the_tool_that_claims_it(place):
    with place.calling("Write", {"file_path": str(place.root / "x.txt")}, call="a"):
        place.write("x.txt", "new\n")
        by(place, Verdict("background", "none"))

    assert [found for _, found in edits(place)] == [[(["x.txt"], "claim")]]


def test_what_a_command_of_somebody_else_changed_is_no_tools(place):
    with place.calling("Write", {"file_path": str(place.root / "x.txt")}, call="a"):
        place.write("x.txt", "new\n")
        place.command("by hand at another prompt")

    assert [found for _, found in edits(place)] == [[]]


def test_of_two_that_may_have_written_a_line_the_one_that_was_given_it_did(place):
    client = place.client()
    path = str(place.root / "a.txt")
    with (
        place.calling("Edit", {"file_path": path, "new_string": '\tsay "2"'}, call="a", parent=client.id),
        place.calling("Edit", {"file_path": path, "new_string": "3"}, call="b", parent=client.id),
    ):
        place.write("a.txt", '\tsay "2"\n3\n')
        (edit,) = place.changed(client)

    with closing(open_store(place.workspace)) as db:
        work = Work(db, place.session)
        name = f"{place.session}/{edit.id}"

        assert [call["call"] for call in work.of_edit(name, "a.txt", '\tsay "2"')] == ["a"]
        assert [call["call"] for call in work.of_edit(name, "a.txt", "3")] == ["b"]
        assert len(work.of_edit(name, "a.txt", "4")) == 2
        assert work.of_edit(name, "b.txt") == []


def test_where_the_record_names_two_calls_the_one_that_was_given_the_line_did_it(place):
    client = place.client()
    path = str(place.root / "a.txt")
    ids = [new_span_id(), new_span_id()]
    with place.calling(
        "Write", {"file_path": path, "content": "zero"}, id=ids[0], call="a", parent=client.id
    ):
        pass
    with place.calling(
        "Edit", {"file_path": path, "new_string": "ten"}, id=ids[1], call="b", parent=client.id
    ):
        place.write("a.txt", "zero\nten\n")
    names = tuple(f"{place.session}/{one}" for one in ids)
    by(place, Verdict("ambiguous", "none", None, names))

    with closing(open_store(place.workspace)) as db:
        work, name = Work(db, place.session), f"{place.session}/{place.rows()[-1]['id']}"

        assert [call["call"] for call in work.of_edit(name, "a.txt", "zero")] == ["a"]
        assert [call["call"] for call in work.of_edit(name, "a.txt", "ten")] == ["b"]
        assert [call["call"] for call in work.of_edit(name, "a.txt", "")] == ["a", "b"]


def ambiguous(place: Recorded, text: str, *calls: tuple[str, Any, dict[str, Any]]) -> str:
    """A change of `a.txt` that the record says any of the calls made; SESSION/EVENT of its edit."""
    client = place.client()
    ids = [new_span_id() for _ in calls]
    with ExitStack() as stack:
        for identity, (tool, given, more) in zip(ids, calls, strict=True):
            more = {"call": identity, "parent": client.id} | more
            stack.enter_context(place.calling(tool, given, id=identity, **more))
        place.write("a.txt", text)
    by(place, Verdict("ambiguous", "none", None, tuple(f"{place.session}/{one}" for one in ids)))
    return f"{place.session}/{place.rows()[-1]['id']}"


def tools(place: Recorded, edit: str, text: str) -> list[str]:
    with closing(open_store(place.workspace)) as db:
        return [headline(call) for call in Work(db, place.session).of_edit(edit, "a.txt", text)]


def test_a_search_for_a_line_did_not_write_it(place):
    edit = ambiguous(
        place,
        "QQ = 1\n",
        ("Bash", "grep 'QQ = 1' .", {}),
        ("Bash", "sh gen.sh", {}),
    )

    assert tools(place, edit, "QQ = 1") == ["Bash: grep 'QQ = 1' .", "Bash: sh gen.sh"]


def test_an_edit_tool_that_was_given_the_line_wrote_it_and_not_a_search_for_it(place):
    path = str(place.root / "a.txt")
    write = ("Write", {"file_path": path, "content": "QQ = 1\n"}, {})
    edit = ambiguous(place, "QQ = 1\n", ("Bash", "grep 'QQ = 1' .", {}), write)

    assert tools(place, edit, "QQ = 1") == [f"Write: {path}"]
    assert len(tools(place, edit, "something else")) == 2


def test_the_tool_that_took_a_line_away_did_not_write_it(place):
    path = str(place.root / "a.txt")
    edit = ambiguous(
        place,
        "two\n",
        ("Edit", {"file_path": path, "old_string": "QQ = 1", "new_string": "R"}, {}),
        ("Edit", {"file_path": path, "old_string": "x", "new_string": "QQ = 1"}, {"call": "b"}),
    )

    with closing(open_store(place.workspace)) as db:
        assert [call["call"] for call in Work(db, place.session).of_edit(edit, "a.txt", "QQ = 1")] == ["b"]


def test_a_line_of_a_patch_and_a_part_of_a_text_are_known_too(place):
    client = place.client()
    patch = {"command": "apply_patch <<'E'\n+  zero\nE"}
    more = {"paths": ["a.txt"], "does": "edit", "parent": client.id}
    with (
        place.calling("apply_patch", patch, call="a", **more),
        place.calling("other", {"list": [{"inner": "x = zero + ten"}]}, call="b", **more),
        place.calling("cut", {}, call="c", **more | {"input": '{"text": "eleven ... '}),
    ):
        place.write("a.txt", "  zero\nten\neleven\n")
        (edit,) = place.changed(client)

    with closing(open_store(place.workspace)) as db:
        work, name = Work(db, place.session), f"{place.session}/{edit.id}"

        assert [call["call"] for call in work.of_edit(name, "a.txt", "  zero")] == ["a"]
        assert [call["call"] for call in work.of_edit(name, "a.txt", "ten")] == ["b"]
        assert [call["call"] for call in work.of_edit(name, "a.txt", "eleven")] == ["c"]


def test_where_something_else_may_have_done_it_no_call_is_named(place):
    client = place.client()
    with place.calling("Bash", "make", id=(one := new_span_id()), call="a", parent=client.id):
        place.write("a.txt", "new\n")
    by(place, Verdict("ambiguous", "none", None, (f"{place.session}/{one}", "background")))

    assert edits(place) == [("Bash: make", [])]


# --- as people read it ----------------------------------------------------------------------------------


def test_a_command_stands_under_its_call_and_a_subagents_work_under_what_started_it(session):
    outer = session.tool("Agent", {}, 1, 9, call="a", parent=session.client, does="subagent", starts="s")
    prompt = session.prompt("a part", 2, subagent="s", **SCRIPT)
    inner = session.tool("Bash", "make", 3, 1, call="b", parent=session.client, subagent="s")
    command = session.nested("make", session.client, 3.5)
    other = session.nested("env", session.client, 8)

    rows = list_events(session.db, Filters(session=session.session_id))
    shown = {row["id"]: row["parent"] for row in under_calls(Works(session.db).of(session.session_id), rows)}

    assert shown == {
        session.client: None,
        outer: session.client,
        prompt: outer,
        inner: outer,
        command: inner,
        other: session.client,
    }


def test_calls_that_start_each_other_stay_where_they_are(session):
    session.tool("Agent", {}, 1, call="a", parent=session.client, subagent="s", starts="r")
    session.tool("Agent", {}, 1, call="b", parent=session.client, subagent="r", starts="s")

    rows = list_events(session.db, Filters(session=session.session_id, kinds=("tool_call",)))
    shown = under_calls(Works(session.db).of(session.session_id), rows)

    assert {row["parent"] for row in shown} == {session.client}
