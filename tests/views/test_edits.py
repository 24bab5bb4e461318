"""An edit in words: its files, whose it was, what of it is not kept."""

from __future__ import annotations

import pytest

from devtrace.views.edits import file_lines
from devtrace.views.event import event_lines
from devtrace.views.timeline import timeline
from tests.views.conftest import SESSION


def change(path, kind="modified", **more):
    known = {"path": path, "change": kind, "old_path": None, "added": 1, "deleted": 0, "withheld": None}
    return known | {"old_mode": 0o100644, "new_mode": 0o100644} | more


@pytest.fixture
def edit(other_row):
    def make(*changes, **data):
        known = {
            "changes": list(changes), "attribution": "command", "confidence": "window", "candidates": None,
            "chain": "0123456789abcdef", "commit": "c" * 40, "before": "b" * 40, "root": "/home/ana/api",
            "files": len(changes), "added": 1, "deleted": 0,
        }  # fmt: skip
        return other_row("edit_files", "a title", 3, source="worktree", data=known | data)

    return make


@pytest.fixture
def told(session_row, look, painted):
    def show(event):
        return painted(event_lines(event, session_row(), (), {}, look()), None)

    return show


def text(lines):
    return ["".join(piece for piece, _ in line) for line in lines]


def test_an_edit_of_one_file_needs_no_list(edit):
    assert file_lines(edit(change("a.py"))) == []


def test_the_first_files_are_listed_and_the_rest_is_counted(edit):
    changes = [
        change("api.py", added=12, deleted=3),
        change("x.py", "added"),
        change("new", "renamed", old_path="old"),
        change("logo", added=None, deleted=None),
        change("old.log", "ignored"),
        change("six"),
        change("seven"),
    ]

    assert text(file_lines(edit(*changes, files=2_005))) == [
        "+12 -3 api.py",
        "+1 -0 added x.py",
        "+1 -0 old -> new",
        "binary logo",
        "+1 -0 no longer tracked: old.log",
        "... and 2,000 more files",
    ]


def test_the_timeline_lists_the_files_below_the_row(edit, session_row, look, painted):
    event = edit(*(change(f"file{number}") for number in range(7)))

    lines = painted(timeline(session_row(), [event], {}, look()), 100).splitlines()

    assert [line.strip() for line in lines[1:]] == [
        *(f"+1 -0 file{number}" for number in range(5)),
        "... and 2 more files",
    ]


def test_what_is_opened_stands_below_its_row_and_is_not_cut(edit, session_row, look, painted):
    event = edit(change("a"), change("b"))
    opened = {event["id"]: [[("+" + "x" * 200, "added")]]}

    shown = painted(timeline(session_row(), [event], {}, look(40), opened=opened), 40)

    assert "+" + "x" * 200 + "\n" in shown
    assert "+1 -0 a" not in shown


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "changed while it ran, and nothing else that is recorded did"),
        ({"confidence": "inside"}, "the innermost of the commands that ran then"),
        (
            {
                "attribution": "ambiguous",
                "confidence": "none",
                "candidates": [f"{SESSION}/{'3' * 16}", "background"],
            },
            "could be any of: 3333333333, something in the background",
        ),
        ({"candidates": [f"{'f' * 32}/{'3' * 16}"]}, "in another session: ffffffffff/3333333333"),
        ({"attribution": "background"}, "changed while no command ran that is recorded"),
        ({"attribution": "outside"}, "changed while no session was recorded here"),
    ],
)
def test_whose_it_was_is_told_in_words(edit, told, data, words):
    assert words in told(edit(change("a"), **data))


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("path", "path rule"),
        ("secret", "a secret was masked"),
        ("size", "larger than checkpoints.file_kb"),
        ("new\x1b", "new\\e"),
    ],
)
def test_what_is_withheld_says_why(edit, told, reason, words):
    assert f"+1 -0 .env  (withheld: {words})" in told(edit(change(".env", withheld=reason)))


def test_an_edit_in_full(edit, told):
    shown = told(edit(change("run", "mode", added=0, new_mode=0o100755), change("b", from_git=True)))

    assert "files       +0 -0 mode run  100644 -> 100755\n            +1 -0 b  from git\n" in shown
    assert f"checkpoint  {'c' * 40}, after bbbbbbbbbb, of the chain 0123456789abcdef\n" in shown


def test_a_commit_in_full(other_row, told):
    data = {"old": None, "new": "1" * 40, "how": "commit", "branch": "main", "subject": "Add", "root": "/r"}
    shown = told(other_row("git_commit", "commit", data=data | {"attribution": "outside"}))

    assert f"moved       commit: nothing -> {'1' * 40}\nbranch      main\nsubject     Add\n" in shown
    assert "origin      changed while no session was recorded here\n" in shown


def test_a_snapshot_in_full(other_row, told):
    data = {
        "label": "before", "chain": "0" * 16, "commit": "c" * 40, "root": "/r", "head": "1" * 40, "dirty": 2,
        "changed": 1,
    }  # fmt: skip
    shown = told(other_row("git_snapshot", "before", data=data))

    assert "label       before\n" in shown
    assert "changed     1 file since the checkpoint before; 2 files beside what is committed\n" in shown


def test_no_escape_sequence_passes(edit, told, other_row):
    nasty = "\x1b[2J\u202e"
    events = [
        edit(
            change(nasty, nasty, old_path=nasty, withheld=nasty), root=nasty, commit=nasty, candidates=[nasty]
        ),
        edit(change(nasty), attribution="ambiguous", candidates=[f"{nasty}/{nasty}"]),
        other_row("git_commit", nasty, data=dict.fromkeys(("old", "new", "how", "branch", "subject"), nasty)),
        other_row("git_snapshot", nasty, data=dict.fromkeys(("label", "chain", "commit", "root"), nasty)),
    ]

    shown = "".join(told(event) for event in events)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
