"""devtrace prune of events and outputs: it says what would go, asks, does it, and the rest can be read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest

from devtrace.store.connection import open_reader
from devtrace.store.hold import hold
from tests.recorded import SECOND, START, Recorded


@pytest.fixture
def worked(recorded: Recorded) -> Iterator[Recorded]:
    """Two old sessions, one of them labelled, and one that goes on."""
    recorded.first = recorded.session(0, agent="codex")
    recorded.command("make", 1, printed=b"built\n" * 1_000)
    recorded.failed = recorded.command("make test", 2, exit_code=1, printed=b"failed\n")
    recorded.note("why", 3)
    recorded.end(4)
    recorded.second = recorded.session(5, title="before the release")
    recorded.command("ls", 6, printed=b"a b\n")
    recorded.end(7)
    recorded.active = recorded.session(8)
    recorded.command("pwd", 9, printed=b"/\n")
    lock = hold(recorded.workspace, recorded.active)
    yield recorded
    lock.close()


def test_a_dry_run_tells_by_session_what_would_go(run, worked):
    told = run("prune", "--older-than", "0s", "--what", "events", "--dry-run")

    heading, row, summary = told.out.splitlines()
    assert heading.split() == ["session", "agent", "started", "title", "events", "outputs", "size"]
    assert row.startswith(worked.first[:8])
    assert row.split()[1:3] == ["codex", "2026-11-21"]
    assert row.split()[4:6] == ["3", "2"]
    assert summary.startswith("Would forget 3 events with 2 outputs of 1 session (")
    assert run("log", "--kind", "policy").out == ""


def test_it_asks_and_without_an_answer_does_nothing(run, worked):
    told = run("prune", "--older-than", "0s", "--what", "outputs", stdin="y\n")

    assert told.err == "Nothing was forgotten. Do it with: --yes\n"
    assert run("show", worked.failed, "--output").out == "failed\n"


def test_what_a_reader_keeps_from_the_disk_is_told(run, worked):
    with closing(open_reader(worked.workspace)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        told = run("prune", "--older-than", "0s", "--what", "events", "--yes")
        reader.execute("COMMIT")

    assert told.status == 0, told.err
    assert "more when others who read the record now are done" in told.out.splitlines()[1]
    again = run("prune", "--older-than", "0s", "--what", "events", "--keep-labelled=false", "--yes")
    assert "others" not in again.out


def test_outputs_go_and_their_commands_stay(run, worked):
    told = run("prune", "--older-than", "0s", "--what", "outputs", "--yes")

    assert told.status == 0, told.err
    first, last = told.out.splitlines()
    assert first.startswith("Forgot 2 outputs; ")
    assert last == "Check what is left with: devtrace verify"
    shown = run("show", worked.failed, "--output")
    assert (shown.status, "[ERR_NO_OUTPUT]" in shown.err, "pruned" in shown.err) == (2, True, True)
    assert "make test" in run("show", worked.first).out
    assert run("show", worked.first, "--output").status == 0
    assert "2 pruned outputs: sound" in run("verify").out


def test_events_go_and_every_question_is_still_answered(run, worked):
    assert run("prune", "--older-than", "0s", "--what", "events", "--yes").status == 0

    checked = run("verify")
    assert (checked.status, "3 pruned events: sound" in checked.out) == (0, True)
    shown = run("show", worked.first)
    assert (shown.status, "pruned 3 events" in shown.out) == (0, True)
    assert run("show", worked.failed).status == 2
    (session,) = (row for row in run("sessions", "--json").records if row["id"] == worked.first)
    assert (session["n_events"], session["n_failed"]) == (4, 1)
    for words in (
        ["log"], ["log", "--json"], ["stats"], ["sessions"], ["show"], ["show", "--json"], ["doctor"],
        ["export", worked.first, "--format", "jsonl"], ["export", worked.first, "--format", "asciicast"],
        ["show", worked.first, "--json"], ["show", worked.first, "--output"],
    ):  # fmt: skip
        told = run(*words)
        assert (told.status, "Traceback" in told.err) == (0, False), (words, told.err)
    assert "3 events pruned" in run("stats").out
    assert run("stats", "--json").records[0]["bytes"]["n_pruned"] == 3


def test_a_label_keeps_a_session_unless_it_is_said_that_it_does_not(run, worked):
    assert "1 session" in run("prune", "--older-than", "0s", "--what", "events", "--dry-run").out
    without = run("prune", "--older-than", "0s", "--what", "events", "--no-keep-labelled", "--dry-run").out
    assert "4 events with 3 outputs of 2 sessions" in without
    assert "before the release" in without
    kept = run("prune", "--session", worked.second, "--what", "events", "--yes")
    assert "what has a label" in kept.out


def test_one_session_needs_no_age(run, worked):
    told = run("prune", "--session", worked.first[:12], "--what", "events", "--kind", "note", "--yes")

    assert told.out.startswith("Forgot 1 event; ")
    assert [row["kind"] for row in run("show", worked.first, "--json").records[1:]] == [
        "run_command", "run_command", "policy",
    ]  # fmt: skip


def test_only_what_is_larger(run, worked):
    told = run("prune", "--older-than", "0s", "--what", "outputs", "--larger-than", "2K", "--yes")

    assert told.out.startswith("Forgot 1 output; ")
    assert run("show", worked.failed, "--output").status == 0


def test_what_goes_on_cannot_be_pruned(run, worked):
    told = run("prune", "--session", worked.active, "--what", "events", "--yes")

    assert (told.status, "still goes on" in told.err, "hint:" in told.err) == (2, True, True)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], "ERR_USAGE"),
        (["--what", "events"], "ERR_USAGE"),
        (["--what", "sessions", "--older-than", "1d"], "ERR_USAGE"),
        (["--kind", "note", "--older-than", "1d"], "ERR_USAGE"),
        (["--session", "ab", "--older-than", "1d"], "ERR_USAGE"),
        (["--larger-than", "1M", "--older-than", "1d", "--what", "checkpoints"], "ERR_USAGE"),
        (["--what", "checkpoints", "--what", "events", "--session", "ab"], "ERR_USAGE"),
        (["--what", "events", "--older-than", "soon"], "ERR_FILTER"),
        (["--what", "outputs", "--older-than", "1d", "--larger-than", "much"], "ERR_FILTER"),
        (["--what", "events", "--older-than", "1d", "--kind", "colour"], "ERR_EVENT_KIND"),
        (["--what", "events", "--session", "ffff"], "ERR_ID_UNKNOWN"),
    ],
)
def test_what_makes_no_sense_is_asked_wrongly(run, worked, words, code):
    told = run("prune", *words, "--yes", "--json-errors")

    assert told.status == 2
    error = json.loads(told.err.splitlines()[-1])["error"]
    assert (error["code"], bool(error["hint"])) == (code, True)


def test_where_nothing_is_old_enough_nothing_is_asked(run, worked):
    told = run("prune", "--older-than", "1990-01-01", "--what", "events", "--what", "checkpoints")

    assert (told.status, told.out.startswith("Nothing of that kind and age is kept.")) == (0, True)


def test_the_time_of_an_event_is_when_it_ended(run, worked):
    worked.session(0)
    worked.command("long", 1, took=3_600)
    worked.end(4_000)
    stamp = datetime.fromtimestamp(START // SECOND + 1_800, UTC).isoformat()

    told = run("prune", "--older-than", stamp, "--what", "events", "--yes")
    assert told.out.startswith("Forgot 3 events with 2 outputs; ")
