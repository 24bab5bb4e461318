"""Whose edits they are, and what is left of them: real files, a real store."""

from __future__ import annotations

import json
import os
from contextlib import closing
from types import SimpleNamespace

import pytest

from devtrace.errors import UsageError
from devtrace.query.diff import Net, inside, narrowed, net, select
from devtrace.query.events import get_event
from devtrace.query.ids import Found
from devtrace.query.ranges import between
from devtrace.store.checkpoints.objects import open_objects
from devtrace.store.connection import open_store
from tests.edits import Recorded

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def place(tmp_path):
    made = Recorded(tmp_path / "repo")
    made.write("kept.py", "one\n")
    made.begin()
    return made


@pytest.fixture
def db(place):
    with closing(open_store(place.workspace)) as db:
        yield db


@pytest.fixture
def changed(db, place):
    """`changed(event)`: {path: (old path, change)} of the net of an event, or of the session."""

    def ask(event=None):
        (found,) = nets(db, place, event)
        return {file.path: (file.old_path, file.change) for file in found.files}

    return ask


def nets(db, place, event=None):
    found = Found(place.session, event.id if event is not None else None)
    return net(db, select(db, found).edits) or [Net("", "", [])]


def read(place, entry):
    return open_objects(place.workspace).read(entry.oid)


def edits_of(db, event):
    return select(db, Found(event.session, event.id)).edits


def test_a_command_has_its_own_edits_and_no_others(place, changed):
    place.write("a.py", "1\n")
    first = place.command()
    place.write("kept.py", "two\n")
    second = place.command()

    assert changed(first) == {b"a.py": (None, "added")}
    assert changed(second) == {b"kept.py": (None, "modified")}
    assert set(changed()) == {b"a.py", b"kept.py"}


def test_a_command_has_the_edits_of_what_ran_inside_it(place, db, changed):
    outer = place.command("make")
    inner = place.command("cc", parent=outer.id)
    place.write("deep.o", "1")
    place.command("ld", parent=inner.id)

    assert changed(outer) == {b"deep.o": (None, "added")}
    assert len(edits_of(db, inner)) == 1


def test_an_edit_is_its_own(place, db):
    place.write("a.py", "1\n")
    place.command()
    (edit,) = place.rows()

    assert [one["id"] for one in select(db, Found(edit["session"], edit["id"])).edits] == [edit["id"]]


def test_the_net_is_the_first_old_side_and_the_last_new_one(place, db, changed):
    for text in ("two\n", "three\n"):
        place.write("kept.py", text)
        place.command()
    (found,) = nets(db, place)
    (file,) = found.files

    assert (read(place, file.old), read(place, file.new)) == (b"one\n", b"three\n")
    assert len(file.events) == 2
    assert not file.is_mixed


def test_what_was_added_and_deleted_again_leaves_nothing(place, changed):
    place.write("a.py", "1\n")
    place.command()
    (place.root / "a.py").unlink()
    place.command()

    assert changed() == {}


def test_a_file_is_followed_through_its_renames(place, db, changed):
    text = "".join(f"line {number}\n" for number in range(30))
    place.write("kept.py", text)
    place.command()
    start = len(place.rows())
    for source, target in (("kept.py", "b.py"), ("b.py", "c.py")):
        (place.root / source).rename(place.root / target)
        place.command()
    (place.root / "c.py").write_text(text + "more\n")
    place.command()
    (found,) = net(db, place.rows()[start:])

    assert [(file.old_path, file.path, file.change) for file in found.files] == [
        (b"kept.py", b"c.py", "renamed")
    ]
    assert len(found.files[0].events) == 3


def test_a_file_that_was_renamed_and_deleted_is_deleted(place, changed):
    (place.root / "kept.py").rename(place.root / "b.py")
    place.command()
    (place.root / "b.py").unlink()
    place.command()

    assert changed() == {b"kept.py": (None, "deleted")}


def test_a_file_that_is_back_under_its_old_name_is_no_rename(place, changed):
    for source, target in (("kept.py", "b.py"), ("b.py", "kept.py")):
        (place.root / source).rename(place.root / target)
        place.command()

    assert changed() == {}


def test_a_name_that_is_taken_again_is_no_rename(place, changed):
    (place.root / "kept.py").rename(place.root / "b.py")
    place.command()
    place.write("kept.py", "new\n")
    place.command()

    assert changed() == {b"b.py": (None, "added"), b"kept.py": (None, "modified")}


def test_what_others_changed_in_between_is_known(place, db):
    outer = place.command("make")
    place.write("kept.py", "two\n")
    place.command("first", parent=outer.id)
    place.write("kept.py", "three\n")
    (foreign,) = place.outside()
    place.write("kept.py", "four\n")
    place.command("second", parent=outer.id)

    (file,) = nets(db, place, outer)[0].files

    assert file.is_mixed
    assert file.others == (f"{foreign.session}/{foreign.id}",)
    assert read(place, file.new) == b"four\n"


def test_what_happened_outside_is_not_the_sessions(place, db):
    place.write("a.py", "1\n")
    place.outside()

    assert select(db, Found(place.session)) == ([], [])


def rewritten(db, event, **data):
    """Another attribution for an edit, as a busier machine would have come to."""
    row = get_event(db, event.session, event.id)
    merged = {**row["data"], **data}
    parent = None if "candidates" in data else row["parent"]
    db.execute(
        "UPDATE events SET data = ?, parent = ? WHERE session = ? AND id = ?",
        (json.dumps(merged), parent, event.session, event.id),
    )


def edit_by(place, *, parent=None):
    """A command that edits, and its edit."""
    place.write(f"by {os.urandom(3).hex()}", "1\n")
    command = place.command(parent=parent)
    newest = max(place.rows(), key=lambda row: row["seq"])
    return command, SimpleNamespace(session=newest["session"], id=newest["id"])


def test_an_ambiguous_edit_may_be_of_each_of_its_candidates(place, db):
    other = place.command()
    one, edit = edit_by(place)
    names = [f"{place.session}/{one.id}", f"{place.session}/{other.id}"]
    rewritten(db, edit, attribution="ambiguous", confidence="none", candidates=names)

    for command in (one, other):
        assert select(db, Found(place.session, command.id)) == ([], [Found(place.session, edit.id)])
    assert [row["id"] for row in select(db, Found(place.session)).edits] == [edit.id]


def test_an_ambiguous_edit_is_of_the_command_around_all_its_candidates(place, db):
    outer = place.command("make")
    one, edit = edit_by(place, parent=outer.id)
    other = place.command(parent=outer.id)
    names = [f"{place.session}/{one.id}", f"{place.session}/{other.id}"]
    rewritten(db, edit, attribution="ambiguous", confidence="none", candidates=names)

    assert [row["id"] for row in select(db, Found(place.session, outer.id)).edits] == [edit.id]


def test_an_edit_that_may_have_happened_in_the_background_is_nobodys_for_sure(place, db):
    one, edit = edit_by(place)
    names = [f"{place.session}/{one.id}", "background"]
    rewritten(db, edit, attribution="ambiguous", confidence="none", candidates=names)

    assert select(db, Found(place.session, one.id)) == ([], [Found(place.session, edit.id)])
    assert select(db, Found(place.session)) == ([], [Found(place.session, edit.id)])


def test_an_edit_that_another_session_told_of_is_the_commands_that_made_it(place, db):
    first = place.session
    command = place.command()
    place.begin()
    _, edit = edit_by(place)
    rewritten(db, edit, attribution="command", confidence="window", candidates=[f"{first}/{command.id}"])

    assert [row["id"] for row in select(db, Found(first, command.id)).edits] == [edit.id]
    assert [row["id"] for row in select(db, Found(first)).edits] == [edit.id]
    assert select(db, Found(place.session)) == ([], [])


def test_a_session_that_was_started_in_a_command_is_inside_it(place, db):
    outer_session, command = place.session, place.command("devtrace shell")
    place.begin()
    db.execute(
        "UPDATE sessions SET parent_session = ?, parent_event = ? WHERE id = ?",
        (outer_session, command.id, place.session),
    )
    _, edit = edit_by(place)

    assert [row["id"] for row in select(db, Found(outer_session, command.id)).edits] == [edit.id]


def test_a_file_that_is_ignored_by_now_is_not_deleted(place, db, changed):
    place.write("build.log", "1\n")
    first = place.command()
    place.write(".gitignore", "*.log\n")
    second = place.command()

    assert changed(second)[b"build.log"] == (None, "ignored")
    states = [Found(event.session, event.id) for event in (first, second)]
    assert spanned(db, place, *states)[b"build.log"] == (None, "ignored", 1)


def test_names_that_are_no_utf8_are_told_as_they_are(place, changed):
    place.write("bad\udcff", "1\n")
    event = place.command()

    assert changed(event) == {b"bad\xff": (None, "added")}
    assert changed() == {b"bad\xff": (None, "added")}


def test_an_end_that_came_late_has_the_edits_of_its_command(place, db):
    command, edit = edit_by(place)
    end = place.command()
    db.execute(
        "INSERT INTO links VALUES (?, ?, ?, ?, 'end', 'certain', 0)",
        (place.session, command.id, place.session, end.id),
    )

    assert [row["id"] for row in select(db, Found(place.session, end.id)).edits] == [edit.id]


# --- from one state to another ------------------------------------------------------------------------------


@pytest.fixture
def states(db, place):
    """Three commands: they add a.py, change kept.py, rename a.py."""
    place.write("a.py", "a long enough text\n" * 5)
    events = [place.command()]
    place.write("kept.py", "two\n")
    events.append(place.command())
    (place.root / "a.py").rename(place.root / "z.py")
    events.append(place.command())
    return [Found(event.session, event.id) for event in events]


def spanned(db, place, one, other):
    found = between(db, open_objects(place.workspace), one, other)
    return {file.path: (file.old_path, file.change, len(file.events)) for file in found.files}


def test_a_range_is_all_between_two_states(db, place, states):
    first, second, third = states

    assert spanned(db, place, first, second) == {b"kept.py": (None, "modified", 1)}
    assert spanned(db, place, first, third) == {
        b"kept.py": (None, "modified", 1),
        b"z.py": (b"a.py", "renamed", 1),
    }
    assert spanned(db, place, second, second) == {}
    assert spanned(db, place, first, Found(place.session)) == spanned(db, place, first, third)


def test_a_range_goes_backwards_too(db, place, states):
    assert spanned(db, place, states[2], states[1]) == {b"a.py": (b"z.py", "renamed", 1)}


def test_an_open_range_begins_with_the_first_state_and_ends_with_the_newest(db, place, states):
    assert spanned(db, place, states[1], None) == {b"z.py": (b"a.py", "renamed", 1)}
    assert spanned(db, place, None, states[0]) == {b"a.py": (None, "added", 1)}
    assert set(spanned(db, place, None, None)) == {b"kept.py", b"z.py"}


def test_states_of_two_working_trees_are_no_range(db, place, states):
    db.execute(
        "UPDATE events SET data = json_set(data, '$.chain', 'other') WHERE parent = ?", (states[2].event,)
    )

    with pytest.raises(UsageError, match="different working trees") as caught:
        between(db, open_objects(place.workspace), states[0], states[2])
    assert caught.value.code == "ERR_USAGE"


# --- paths --------------------------------------------------------------------------------------------------


def test_a_path_is_seen_from_the_working_tree(tmp_path):
    (tmp_path / "repo" / "src").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "repo")
    root, here = str(tmp_path / "repo"), str(tmp_path / "repo" / "src")

    assert inside(root, "a.py", here) == b"src/a.py"
    assert inside(root, "../b", here) == b"b"
    assert inside(root, ".", root) == b""
    assert inside(root, str(tmp_path / "repo" / "x"), "/") == b"x"
    assert inside(root, "x", str(tmp_path / "link")) == b"x"
    assert inside(root, "../..", here) is None
    assert inside(root, "\udcff", here) == b"src/\xff"


def test_files_are_narrowed_to_paths_and_directories(place, db):
    for path in ("src/a", "src/b/c", "srcs", "d"):
        place.write(path, path)
    place.command()
    (found,) = nets(db, place)

    assert [file.path for file in narrowed(found.files, [b"src"])] == [b"src/a", b"src/b/c"]
    assert [file.path for file in narrowed(found.files, [b"d", b"src/b"])] == [b"d", b"src/b/c"]
    assert len(narrowed(found.files, [b""])) == 4
    assert narrowed(found.files, []) == []
