"""`objects.git`: whose objects are whose, who may read them, and what survives a move."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from devtrace.errors import EnvironmentError
from devtrace.store.checkpoints.objects import open_objects, place_of
from devtrace.workspace import Workspace, create
from tests.processes import environment
from tests.working_trees import Watched

WRITER = """if True:
    import sys
    from pathlib import Path
    from devtrace.store.checkpoints.objects import open_objects
    from devtrace.workspace import Workspace
    objects = open_objects(Workspace(Path(sys.argv[1])), create=True)
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(300):
        objects.write("blob", b"both %d" % n)
        objects.write("blob", f"{sys.argv[2]} {n}".encode())
        objects.withhold(f"{n:040d}", "secret")
"""


@pytest.fixture
def place(tmp_path):
    found = Workspace(tmp_path / ".devtrace")
    create(found)
    return found


def test_two_processes_write_at_once(place):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(place.dir), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), text=True,
        )
        for name in ("one", "two")
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()

    assert [writer.communicate()[1] and writer.returncode for writer in writers] == [None, None]
    assert [writer.returncode for writer in writers] == [0, 0]
    objects = open_objects(place)
    assert sum(1 for _ in (objects.path / "objects").glob("??/*")) == 900
    assert objects.withheld(f"{299:040d}") == "secret"
    told = subprocess.run(
        ["git", "--git-dir", objects.path, "fsck", "--full"], capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr


def test_nobody_else_may_read_anything(place):
    mask = os.umask(0)
    try:
        objects = open_objects(place, create=True)
        objects.withhold(objects.write("blob", b"content"), "secret")
        objects.borrow_from(place.root)
    finally:
        os.umask(mask)

    for path in (objects.path, *objects.path.rglob("*")):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_an_object_that_the_user_has_is_written_all_the_same(tmp_path):
    repo = Watched(tmp_path / "repo")
    repo.write("f", "content\n")
    repo.commit()
    repo.checkpoint()
    oid = repo.git("rev-parse", "HEAD:f")
    objects = repo.points.objects
    assert (objects.has(oid), objects.owns(oid)) == (True, False)

    assert objects.write("blob", b"content\n") == oid

    assert objects.owns(oid)


def test_repository_and_store_are_moved_together(tmp_path):
    repo = Watched(tmp_path / "before" / "repo")
    repo.write("a/f", "content\n")
    repo.commit()
    repo.write("a/g", "more\n")
    tree = repo.checkpoint()
    (tmp_path / "before").rename(tmp_path / "after")

    moved = Watched(tmp_path / "after" / "repo")

    tip = moved.points.tip()
    assert tip is not None
    assert tip.tree == tree
    assert moved.kept("a/f") == b"content\n"
    alternates = moved.points.objects.path / "objects/info/alternates"
    assert alternates.read_text() == "../../../.git/objects\n"


def test_a_store_elsewhere_follows_the_tree_by_its_whole_path(tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    repo = Watched(tmp_path / "repo", store=store)
    repo.write("a/f", "content\n")
    repo.commit()
    repo.checkpoint()

    assert repo.kept("a/f") == b"content\n"
    assert repo.fsck() == ""


def test_a_store_that_is_a_symbolic_link_is_refused(place, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    open_objects(place, create=True)
    shutil.move(place_of(place), elsewhere)
    place_of(place).symlink_to(elsewhere)

    for create_it in (True, False):
        with pytest.raises(EnvironmentError) as caught:
            open_objects(place, create=create_it)
        assert caught.value.code == "ERR_STORE_UNSAFE"


@pytest.mark.parametrize("inside", ["objects", "refs", "objects/info", "refs/devtrace"])
def test_a_link_inside_the_store_is_refused(place, tmp_path, inside):
    objects = open_objects(place, create=True)
    shutil.move(objects.path / inside, tmp_path / "elsewhere")
    (objects.path / inside).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(EnvironmentError) as caught:
        open_objects(place, create=True)

    assert caught.value.code == "ERR_STORE_UNSAFE"


def test_a_store_without_checkpoints_says_so(place):
    with pytest.raises(EnvironmentError) as caught:
        open_objects(place)

    assert caught.value.code == "ERR_NO_CHECKPOINT"


def test_making_it_again_changes_nothing(place):
    open_objects(place, create=True).write("blob", b"x")
    before = {path: path.lstat().st_mtime_ns for path in place_of(place).rglob("*")}

    open_objects(place, create=True)

    assert {path: path.lstat().st_mtime_ns for path in place_of(place).rglob("*")} == before


def test_half_a_repository_is_finished(place):
    (place_of(place) / "objects").mkdir(parents=True)

    objects = open_objects(place, create=True)

    assert objects.read(objects.write("blob", b"x")) == b"x"


def test_a_damaged_object_is_an_error_of_ours(place):
    objects = open_objects(place, create=True)
    oid = objects.write("blob", b"content")
    file = Path(objects.path, "objects", oid[:2], oid[2:])
    file.chmod(0o600)
    file.write_bytes(b"no zlib")

    with pytest.raises(EnvironmentError) as caught:
        open_objects(place).read(oid)

    assert caught.value.code == "ERR_STORE_DAMAGED"


def test_why_something_is_withheld_is_heard_by_other_processes(place):
    one, other = open_objects(place, create=True), open_objects(place)
    oid = one.write("blob", b"[withheld]")
    assert other.withheld(oid) is None

    one.withhold(oid, "path")
    one.withhold(oid, "path")

    assert other.withheld(oid) == "path"
    assert (one.path / "withheld").read_text() == f"{oid} path - -\n"
