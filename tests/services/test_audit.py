"""What `audit` adds to the questions: whether it is enough, and of which agents hooks are known."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from devtrace.events import Event, GitCommit
from devtrace.ids import new_span_id
from devtrace.query.blame import Blame
from devtrace.services.audit import audit_range, hooked, is_under, programs, share
from devtrace.store.connection import open_store
from tests.edits import Recorded
from tests.query.blamed import begun, edit, emit


@pytest.fixture
def place(tmp_path: Path) -> Recorded:
    return begun(tmp_path / "repo")


def failed(place: Recorded, text: str) -> Event:
    """A command that failed just now."""
    event = place.command(text)
    now_us = time.time_ns() // 1000
    body = replace(event.body, exit_code=6)  # type: ignore[type-var]
    return replace(event, id=new_span_id(), started_us=now_us, ended_us=now_us, status="failed", body=body)


def test_a_failure_after_a_commit_that_was_amended_since_is_none_of_its_concern(place):
    emit(place, failed(place, "before"))
    event = edit(place, "one\ntwo\nthree\nfour\n", "echo four >> a.txt")
    place.git("commit", "-qam", "second")
    now_us = time.time_ns() // 1000
    commit = GitCommit(new=place.git("rev-parse", "HEAD"), how="commit")
    emit(place, replace(event, id=new_span_id(), started_us=now_us, ended_us=now_us, body=commit))
    emit(place, failed(place, "after"))
    place.git("commit", "-q", "--amend", "-m", "other words")

    with closing(open_store(place.workspace)) as db:
        told = audit_range(Blame(db, place.workspace), place.root, "HEAD")

    assert [row["text"].split()[0] for row in told["findings"] if row["kind"] == "failed"] == ["before"]


def test_hooks_are_known_of_those_whose_adapter_installs_some():
    assert {"claude-code", "codex", "gemini", "opencode"} <= hooked()
    assert not {"manual", "continue", "aider"} & hooked()


def test_each_agent_is_started_by_some_program():
    assert (programs()["claude-code"], programs()["cursor"]) == (("claude",), ("cursor-agent", "cursor"))


def told(percent: float | None, *classes: str) -> dict[str, object]:
    return {"percent": percent, "whole": [{"path": "x", "class": name, "why": None} for name in classes]}


@pytest.mark.parametrize(
    ("row", "least", "expected"),
    [
        (told(95.0), 95, False),
        (told(94.9), 95, True),
        (told(None), 100, False),
        (told(100.0, "observed", "unexplained"), 99, False),
        (told(100.0, "observed", "unexplained"), 100, True),
        (told(100.0, "observed", "human"), 100, False),
        (told(None, "unexplained"), 1, True),
        (told(None, "unexplained", "human"), 50, False),
        (told(None, "unexplained"), 0, False),
    ],
)
def test_less_than_was_asked_for_is_under(row, least, expected):
    assert is_under(row, least) is expected


def test_nothing_to_explain_has_no_share():
    assert (share(told(None)), share(told(None, "before"))) == (None, 0)
