"""Events come back as they were written, with what still runs among them."""

from __future__ import annotations

import base64

import pytest

from devtrace.errors import UsageError
from devtrace.query.events import (
    children,
    count_events,
    each_event,
    get_event,
    is_unproven,
    list_events,
    when,
)
from devtrace.query.filters import Filters
from devtrace.query.output import has_output, output
from devtrace.query.sessions import TALLY, get_session, tally


def test_events_stand_in_the_order_in_which_they_began(recorded):
    recorded.session()
    outer = recorded.command("began first, ended last", 0, None, id="aaaaaaaaaaaaaaaa")
    recorded.nested("inner", outer, 1)
    recorded.command("began first, ended last", 0, 9, id=outer)

    titles = [event["title"] for event in list_events(recorded.db, Filters())]

    assert titles == ["$ began first, ended last", "$ inner"]
    assert [event["title"] for event in each_event(recorded.db, Filters())] == titles[::-1]


def test_a_command_in_flight_has_no_end_yet(recorded):
    recorded.session()
    recorded.command("runs", 0, None)

    (event,) = list_events(recorded.db, Filters())

    assert event["status"] == "running"
    missing = ("seq", "ended_us", "exit_code", "exit_source", "hash")
    assert [event[name] for name in missing] == [None] * 5
    assert event["data"]["command"] == "runs"


def test_what_runs_is_never_cut_off_by_a_limit_before_what_ended(recorded):
    recorded.session()
    recorded.command("server", 0, None)
    for second in range(1, 6):
        recorded.command(f"c{second}", second)

    titles = [event["title"] for event in list_events(recorded.db, Filters(limit=3))]

    assert titles == ["$ server", "$ c4", "$ c5"]
    assert count_events(recorded.db, Filters(limit=3)) == 6


def test_nothing_that_runs_has_failed_yet(recorded):
    recorded.session()
    recorded.command("runs", 0, None)

    assert list_events(recorded.db, Filters(failed=True)) == []


def test_one_event_is_read_by_its_ids_wherever_it_stands(recorded):
    session = recorded.session()
    ended, runs = recorded.command("ended"), recorded.command("runs", took=None)

    assert get_event(recorded.db, session, ended)["title"] == "$ ended"
    assert get_event(recorded.db, session, runs)["status"] == "running"
    with pytest.raises(UsageError, match="no event"):
        get_event(recorded.db, session, "f" * 16)


def test_children_are_those_directly_below(recorded):
    session = recorded.session()
    outer = recorded.command("outer", 0, 9)
    inner = recorded.nested("inner", outer, 2)
    recorded.nested("deep", inner, 3)
    recorded.nested("runs", outer, 1, None)

    assert [event["title"] for event in children(recorded.db, session, outer)] == ["$ runs", "$ inner"]


def test_bytes_that_are_not_utf8_come_back(recorded):
    recorded.session()
    recorded.command(b"cat caf\xe9".decode("utf-8", "surrogateescape"))

    (event,) = list_events(recorded.db, Filters())

    assert event["title"] == "$ cat caf�"
    assert base64.b64decode(event["data"]["command_b64"]) == b"cat caf\xe9"


def test_the_line_of_a_log_is_about_the_end_or_the_start(recorded):
    recorded.session()
    recorded.command("ended", 0, 5)
    recorded.command("runs", 1, None)
    recorded.command("lost", 2, None, status="interrupted", exit_code=None)
    ended, runs, lost = list_events(recorded.db, Filters())

    assert when(ended)[0] == ended["ended_us"]
    assert when(runs)[0] == runs["started_us"]
    assert when(lost)[0] == lost["started_us"]


@pytest.mark.parametrize(
    ("source", "trusted", "unproven"),
    [
        ("interactive", 2, False),
        ("interactive", 1, True),
        ("bash_env", 1, False),
        ("zshenv", 0, True),
        ("host", 2, False),
    ],
)
def test_proof_means_the_nonce_at_the_prompt_and_the_process_tree_inside(source, trusted, unproven):
    assert is_unproven({"kind": "run_command", "source": source, "trusted": trusted}) is unproven


def test_only_commands_can_be_unproven():
    assert not is_unproven({"kind": "note", "source": "cli", "trusted": 0})


def test_a_tally_counts_what_the_header_says(recorded):
    session = recorded.session()
    outer = recorded.command("outer", 0, 9, exit_code=1)
    recorded.nested("inner", outer, exit_code=1)
    recorded.nested("inner", outer)
    recorded.command("forged", trusted=0)
    recorded.command("lost", took=None, status="interrupted", exit_code=None)
    recorded.command("runs", took=None)
    recorded.note("a note")
    recorded.gap("lost_records")
    recorded.prompt("told by its hook")
    for source in ("hook", "transcript", "transcript"):
        recorded.tool("Bash", "make", source=source)

    counts = (3, 1, 0, 2, 1, 1, 1, 1, 1, 1, 0, 1, 2)
    assert tally(recorded.db, session) == dict(zip(TALLY, counts, strict=True))


def test_a_session_that_is_not_there_is_an_error(recorded):
    with pytest.raises(UsageError) as error:
        get_session(recorded.db, "f" * 32)

    assert error.value.code == "ERR_ID_UNKNOWN"


def test_output_comes_back_with_its_times_and_its_cut(recorded):
    session = recorded.session()
    event = recorded.command(
        "make", printed=b"head..tail", timing=[[0, 6], [900, 4]],
        output={"seen": 1000, "head": 6, "tail": 4, "truncated": True},
    )  # fmt: skip

    found = output(recorded.db, get_event(recorded.db, session, event))

    assert found.data == b"head..tail"
    assert found.timing == [(0, 6), (900, 4)]
    assert found.parts() == (b"head..", 990, b"tail")


def test_output_that_was_kept_whole_has_one_part(recorded):
    session = recorded.session()
    event = recorded.command("make", printed=b"all")

    assert output(recorded.db, get_event(recorded.db, session, event)).parts() == (b"all", 0, b"")


@pytest.mark.parametrize(("took", "hint"), [(None, "still runs"), (1, "--no-output")])
def test_a_command_without_output_says_why(recorded, took, hint):
    session = recorded.session()
    event = get_event(recorded.db, session, recorded.command("make", took=took))

    assert not has_output(recorded.db, event)
    with pytest.raises(UsageError) as error:
        output(recorded.db, event)
    assert error.value.code == "ERR_NO_OUTPUT"
    assert hint in error.value.hint


def test_the_newest_twenty_are_found_without_walking_the_table(recorded):
    recorded.session()
    statements = []
    recorded.db.set_trace_callback(statements.append)
    list_events(recorded.db, Filters(limit=20))
    list_events(recorded.db, Filters(limit=20, failed=True, since_us=1))
    list_events(recorded.db, Filters(limit=20, session="f" * 32))
    recorded.db.set_trace_callback(None)

    selects = [statement for statement in statements if " FROM events " in statement]
    assert selects
    for statement in selects:
        plan = [row[3] for row in recorded.db.execute(f"EXPLAIN QUERY PLAN {statement}")]
        assert [step for step in plan if step.startswith("SCAN events") and "INDEX" not in step] == []
        assert [step for step in plan if "TEMP B-TREE" in step] == []
