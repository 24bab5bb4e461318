"""Who wrote a line, and what changed, where a part of the edits and commands was pruned."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from devtrace.query.diff import net, select
from devtrace.query.ids import Found
from devtrace.query.ranges import between
from devtrace.query.verify import verify
from devtrace.query.why import search, story
from devtrace.services.edits.once import checkpoint_now
from devtrace.store import retention
from devtrace.store.checkpoints.objects import open_objects
from devtrace.store.connection import open_store
from devtrace.store.retention import EVENTS, WHENEVER, Author, Order
from tests.edits import Recorded
from tests.query.blamed import asked, begun, edit, told, whose

pytestmark = pytest.mark.needs("git")


def prune(place: Recorded, *kinds: str, until_us: int = WHENEVER) -> int:
    with closing(open_store(place.workspace)) as db:
        order = Order(EVENTS, None if kinds else until_us, dict.fromkeys(kinds, until_us))
        done = list(retention.prune(db, place.workspace, order, Author("human", "cli", 0)))
        assert verify(db).findings == []
        return sum(share.events for share in done)


@pytest.fixture
def place(tmp_path: Path) -> Recorded:
    """Two edits in a session that is over, and one in a session that goes on."""
    made = begun(tmp_path / "repo")
    edit(made, "one\nTWO\nthree\n", "first")
    edit(made, "one\nTWO\nTHREE\n", "second")
    made.end()
    made.begin()
    edit(made, "ONE\nTWO\nTHREE\n", "third")
    return made


def test_lines_of_pruned_edits_have_no_author_and_all_others_keep_theirs(place):
    before = whose(place)
    assert prune(place) == 4

    after = whose(place)
    assert after[0] == before[0]
    assert all(command != "second" for command, *_ in after)
    rows = told(place)
    assert rows[0]["command"] == "third"
    assert [row["event"] for row in rows[1:]] == [None, None]
    assert [row["status"] for row in rows[1:]] == ["pruned", "pruned"]
    with asked(place) as blame:
        blamed = blame.on_disk(place.root / "a.txt")
        for number in (1, 2, 3):
            assert story(blame, blamed, number)["line"] == number
        assert [row["line"] for row in search(blame, "ONE", None)] == [1]


def test_a_file_of_which_every_edit_was_pruned_is_not_said_to_be_older_than_the_record(place):
    place.end()
    assert prune(place) == 6

    assert {row["status"] for row in told(place)} == {"pruned"}
    place.git("add", "-A")
    place.git("commit", "-qm", "second")
    assert {row["status"] for row in told(place, at="HEAD")} == {"pruned"}


def test_what_came_with_the_last_edit_that_was_pruned_was_recorded_once(place):
    """And what came since was not: the last checkpoint still knows the difference."""
    place.end()
    late = place.rows("edit_files")[-1]
    with closing(open_store(place.workspace)) as db:
        order = Order(EVENTS, None, {"edit_files": WHENEVER}, sessions=[late["session"]])
        done = list(retention.prune(db, place.workspace, order, Author("human", "cli", 0)))
    assert sum(share.events for share in done) == 1

    assert whose(place) == [("ONE", "pruned"), ("TWO", "first"), ("THREE", "second")]
    place.write("a.txt", "ONE\nTWO\nthree\n")
    assert whose(place) == [("ONE", "unrecorded"), ("TWO", "first"), ("three", "unrecorded")]


def test_a_line_whose_command_was_pruned_keeps_its_edit(place):
    assert prune(place, "run_command") == 2

    rows = told(place)
    assert [row["command"] for row in rows] == ["third", None, None]
    assert all(row["event"] for row in rows)
    with asked(place) as blame:
        told_story = story(blame, blame.on_disk(place.root / "a.txt"), 2)
        assert (told_story["commands"], told_story["edit"]["id"]) == ([], rows[1]["event"])


def test_a_command_whose_edits_were_pruned_changed_nothing_that_is_known(place):
    (first, *_) = place.rows("run_command")
    prune(place, "edit_files")

    with closing(open_store(place.workspace)) as db:
        assert net(db, select(db, Found(first["session"], first["id"])).edits) == []
        assert net(db, select(db, Found(first["session"])).edits) == []
        (whole,) = (between(db, open_objects(place.workspace), None, None),)
        assert [file.path for file in whole.files] == [b"a.txt"]


def test_a_checkpoint_whose_event_was_pruned_is_not_told_again(place):
    place.end()
    assert prune(place) == 6
    tip = place.points.tip()
    place.write("a.txt", "ONE\nTWO\nTHREE\nfour\n")
    session = place.begin()
    state = checkpoint_now(place.workspace, place.points, session)

    (event,) = state.events
    assert [(change.path, change.added, change.deleted) for change in event.body.changes] == [("a.txt", 1, 0)]
    assert event.body.before == tip.commit
