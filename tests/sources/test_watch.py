"""Watcher: what the kernel tells about a tree, when, and what it cannot tell.

Any order of any changes, and mounts: test_watch_anything.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from devtrace.sources.watch import EXTRA, Hint, Moment, Watcher, interval
from tests.acceptance.hosts import until

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's own")
Watching = Callable[..., Watcher]


def nothing(_: bytes) -> bool:
    return False


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "root"
    place.mkdir()
    return place


@pytest.fixture
def watching(root: Path) -> Iterator[Watching]:
    with ExitStack() as stack:
        yield lambda is_ignored=nothing, **options: stack.enter_context(Watcher(root, is_ignored, **options))


def settled(watcher: Watcher) -> list[Hint]:
    assert watcher.settle()
    return watcher.take()


def paths(watcher: Watcher) -> set[bytes]:
    return {hint.path for hint in settled(watcher)}


def wholes(watcher: Watcher) -> set[bytes]:
    return {hint.path for hint in settled(watcher) if hint.is_directory}


def now_us() -> int:
    return time.time_ns() // 1000


# What is told.


@on_linux
def test_every_kind_of_change_to_a_file_is_hinted(root, watching):
    for name in ("written", "removed", "renamed", "mode"):
        (root / name).write_text("before")
    watcher = watching()

    (root / "written").write_text("after")
    (root / "new").touch()
    (root / "removed").unlink()
    (root / "renamed").rename(root / "to")
    (root / "mode").chmod(0o600)
    (root / "link").symlink_to("nowhere")

    assert paths(watcher) == {b"written", b"new", b"removed", b"renamed", b"to", b"mode", b"link"}
    assert settled(watcher) == []
    assert watcher.choice.chosen == "inotify"
    assert watcher.is_complete


@on_linux
@pytest.mark.parametrize("name", [b"two\nlines", b"not \xff utf-8", b" spaces ", b"n" * 255])
def test_a_name_is_bytes(root, watching, name):
    watcher = watching()
    folder = os.fsencode(root)

    os.mkdir(folder + b"/" + name)
    assert watcher.settle()
    with open(folder + b"/" + name + b"/" + name, "w"):
        pass

    assert paths(watcher) >= {name, name + b"/" + name}


@on_linux
def test_many_events_of_one_read_are_one_hint(root, watching):
    is_free = threading.Event()
    watcher = watching(on_hint=is_free.wait)
    (root / "plug").touch()  # the thread is in the callback now, and the rest waits in the queue
    until(lambda: watcher.take(), "the first hint")
    for _ in range(50):
        (root / "a").write_text("x")
        (root / "b").write_text("x")
    is_free.set()

    hints = settled(watcher)

    assert sum(hint.path == b"a" for hint in hints) <= 2


@on_linux
def test_a_file_that_stays_open_is_told_at_each_write(root, watching):
    watcher = watching()
    with (root / "log").open("w") as log:
        assert watcher.settle()
        watcher.take()
        log.write("a line\n")
        log.flush()
        assert paths(watcher) == {b"log"}


# When.


@on_linux
def test_the_call_that_made_a_change_was_under_way_in_the_interval(root, watching):
    watcher = watching()
    calls = {}
    for number in range(300):
        before = now_us()
        (root / str(number)).touch()
        calls[str(number).encode()] = (before, now_us())
        if number % 50 == 0:
            assert watcher.settle()

    for path, since, until_us, *_ in settled(watcher):
        began, ended = calls[path]
        assert since <= ended
        assert began <= until_us


@on_linux
def test_intervals_stay_sound_under_load(root, watching):
    watcher = watching()
    is_over = threading.Event()

    def burn() -> None:
        while not is_over.is_set():
            pass

    burners = [threading.Thread(target=burn) for _ in range(2)]
    for thread in burners:
        thread.start()
    try:
        calls = {}
        for number in range(100):
            folder = root / f"d{number}"
            before = now_us()
            folder.mkdir()
            (folder / "file").touch()
            calls[os.fsencode(folder.name)] = (before, now_us())
    finally:
        is_over.set()
        for thread in burners:
            thread.join()

    hints = settled(watcher)
    assert {hint.path.partition(b"/")[0] for hint in hints} == set(calls)
    for path, since, until_us, *_ in hints:
        began, ended = calls[path.partition(b"/")[0]]
        assert since <= ended
        assert began <= until_us


@on_linux
def test_what_comes_after_settle_is_told_to_be_later(root, watching):
    watcher = watching()
    (root / "first").touch()
    assert watcher.settle()
    watcher.take()
    boundary = now_us()
    assert watcher.settle()

    (root / "second").touch()

    assert [hint.path for hint in settled(watcher) if hint.since_us < boundary] == []


def test_a_clock_that_was_set_back_widens_the_interval():
    assert interval(Moment(1_000_000, 0), Moment(1_002_000, 2_000)) == (1_000_000, 1_002_001)
    since, until_us = interval(Moment(9_000_000, 0), Moment(4_000_000, 50_000))
    assert since <= 4_000_000 - 50_000
    assert until_us >= 9_000_000 + 50_000


# Directories.


@on_linux
def test_files_in_directories_made_at_once_are_all_found(root, watching):
    watcher = watching()
    for number in range(200):
        folder = root / str(number) / "e" / "f"
        folder.mkdir(parents=True)
        (folder / "file").touch()

    found = [path for path in paths(watcher) if path.endswith(b"/e/f/file")]

    assert len(found) == 200
    assert watcher.n_watches == 1 + 3 * 200


@on_linux
def test_an_unpacked_archive_is_found_whole(root, tmp_path, watching):
    source = tmp_path / "source"
    for number in range(840):
        file = source / f"d{number % 40}" / f"e{number % 7}" / f"f{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(number))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(source, "unpacked")
    watcher = watching()

    subprocess.run(["tar", "xf", tmp_path / "a.tar"], cwd=root, check=True)

    assert len({path for path in paths(watcher) if b"/f" in path}) == 840


@on_linux
def test_a_renamed_directory_is_told_by_both_names_and_later_by_the_new_one(root, watching):
    (root / "old/below").mkdir(parents=True)
    watcher = watching()
    (root / "old").rename(root / "new")
    assert wholes(watcher) >= {b"old", b"new"}

    (root / "new/below/file").touch()

    assert paths(watcher) == {b"new/below/file"}
    assert watcher.n_watches == 3


@on_linux
def test_a_directory_moved_away_is_watched_no_more(root, tmp_path, watching):
    (root / "a/b/c").mkdir(parents=True)
    watcher = watching()
    (root / "a").rename(tmp_path / "away")
    assert wholes(watcher) == {b"a"}
    assert watcher.n_watches == 1

    (tmp_path / "away/b/c/file").touch()
    assert paths(watcher) == set()

    (tmp_path / "away").rename(root / "back")
    assert b"back/b/c/file" in paths(watcher)
    assert watcher.n_watches == 4


@on_linux
def test_a_deleted_directory_made_again_is_watched_again(root, watching):
    watcher = watching()
    for number in range(30):
        (root / "d/e").mkdir(parents=True)
        (root / f"d/e/{number}").touch()
        if number % 3:
            assert watcher.settle()
        shutil.rmtree(root / "d")
    assert b"d" in wholes(watcher)
    assert watcher.n_watches == 1

    (root / "d").mkdir()
    assert watcher.settle()
    watcher.take()
    (root / "d/last").touch()
    assert paths(watcher) == {b"d/last"}


@on_linux
def test_exchanged_directories_are_both_watched(root, watching):
    import ctypes

    exchange = getattr(ctypes.CDLL(None), "renameat2", None)
    if exchange is None:
        pytest.skip("this C library has no renameat2")
    (root / "a/in_a").mkdir(parents=True)
    (root / "b/in_b").mkdir(parents=True)
    watcher = watching()
    if exchange(-100, os.fsencode(root / "a"), -100, os.fsencode(root / "b"), 2):
        pytest.skip("this file system cannot exchange")
    assert wholes(watcher) >= {b"a", b"b"}

    (root / "b/in_a/file").touch()
    (root / "a/in_b/file").touch()

    assert paths(watcher) == {b"b/in_a/file", b"a/in_b/file"}
    assert watcher.n_watches == 5


@on_linux
def test_a_link_to_a_directory_is_not_followed(root, tmp_path, watching):
    (tmp_path / "elsewhere").mkdir()
    (root / "link").symlink_to(tmp_path / "elsewhere")
    watcher = watching()
    (root / "later").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/file").touch()

    assert paths(watcher) == {b"later"}
    assert watcher.n_watches == 1


@on_linux
def test_a_tree_deeper_than_pythons_stack_may_go(root, watching):
    depth = 1500
    watcher = watching()
    subprocess.run(["mkdir", "-p", root / "/".join("d" * depth)], check=True)
    until(lambda: watcher.settle() and watcher.n_watches == depth + 1, "all are watched")

    (root / "d").rename(root.parent / "away")

    until(lambda: watcher.settle() and watcher.n_watches == 1, "none is watched")
    assert watcher.is_complete
    subprocess.run(["rm", "-rf", root.parent / "away"], check=True)


# What is not told.


@on_linux
def test_an_ignored_directory_is_asked_about_once_and_not_told(root, watching):
    asked = []

    def is_ignored(path: bytes) -> bool:
        asked.append(path)
        return path.endswith(b"target")

    (root / "src/target/deep").mkdir(parents=True)
    watcher = watching(is_ignored)
    (root / "src/target/deep/file").touch()
    (root / "target").mkdir()
    (root / "target/file").touch()
    assert watcher.settle()
    shutil.rmtree(root / "target")

    assert paths(watcher) == set()
    assert asked == [b"src", b"src/target", b"target"]
    assert watcher.n_watches == 2


@on_linux
def test_refresh_obeys_new_rules_both_ways(root, watching):
    ignored = {b"a"}
    (root / "a/deep").mkdir(parents=True)
    (root / "b/deep").mkdir(parents=True)
    watcher = watching(lambda path: path in ignored)
    ignored = {b"b"}

    watcher.refresh()

    assert [(hint.path, hint.is_directory) for hint in settled(watcher)] == [(b"a", True)]
    (root / "a/deep/file").touch()
    (root / "b/deep/file").touch()
    assert paths(watcher) == {b"a/deep/file"}
    assert watcher.n_watches == 3


@on_linux
def test_our_own_and_gits_directories_are_not_watched(root, watching):
    (root / ".git/objects").mkdir(parents=True)
    (root / ".devtrace").mkdir()
    (root / "sub/.devtrace").mkdir(parents=True)
    watcher = watching()
    (root / ".git/objects/file").touch()
    (root / ".devtrace/file").touch()
    (root / "sub/.devtrace/file").touch()

    assert paths(watcher) == set()
    assert watcher.n_watches == 2


@on_linux
def test_another_repository_is_told_once_and_not_watched_below(root, watching):
    watcher = watching()
    (root / "vendor/src").mkdir(parents=True)
    assert watcher.settle()
    (root / "vendor/.git").mkdir()
    assert b"vendor" in wholes(watcher)

    (root / "vendor/src/file").touch()
    (root / "vendor/file").touch()
    assert paths(watcher) == set()

    shutil.rmtree(root / "vendor/.git")  # and now its files are this repository's
    assert paths(watcher) >= {b"vendor", b"vendor/file", b"vendor/src/file"}
    (root / "vendor/src/file").write_text("x")
    assert paths(watcher) == {b"vendor/src/file"}


@on_linux
def test_a_submodule_that_was_there_before_is_not_watched_below(root, watching):
    (root / "module/src").mkdir(parents=True)
    (root / "module/.git").write_text("gitdir: ../.git/modules/module\n")
    watcher = watching()

    (root / "module/src/file").touch()
    (root / "module/file").touch()

    assert paths(watcher) == set()


@on_linux
def test_extras_are_told_without_their_names(root, watching):
    (root / ".git/logs").mkdir(parents=True)
    head = root / ".git/HEAD"
    head.write_text("ref: refs/heads/main\n")
    watcher = watching(extra=[head, root / ".git/logs", root / ".git/later"])
    (root / ".git/index").touch()
    assert paths(watcher) == set()

    for _ in range(2):  # git replaces the file: the second time it is another one
        (root / ".git/HEAD.lock").touch()
        (root / ".git/HEAD.lock").rename(head)
        assert paths(watcher) == {EXTRA}
    (root / ".git/logs/HEAD").touch()
    assert paths(watcher) == {EXTRA}
    (root / ".git/later").mkdir()
    assert paths(watcher) == {EXTRA}
    (root / ".git/later/file").touch()
    assert paths(watcher) == {EXTRA}


@on_linux
def test_extras_are_found_when_the_repository_is_made_later(root, watching):
    watcher = watching(extra=[root / ".git/HEAD"])
    (root / ".git").mkdir()
    assert paths(watcher) == {EXTRA}
    (root / ".git/HEAD").touch()
    assert paths(watcher) == {EXTRA}


# Limits and ends.


@on_linux
def test_too_many_hints_become_one_for_everything(root, watching):
    watcher = watching(most_pending=100)
    before = now_us()
    for number in range(500):
        (root / str(number)).touch()

    hints = settled(watcher)

    assert len(hints) <= 100
    assert Hint(b"", hints[0].since_us, hints[0].until_us, True) == hints[0]
    assert hints[0].until_us >= before


@on_linux
def test_one_file_written_for_hours_does_not_become_everything(root, watching):
    watcher = watching(most_pending=10)
    for _ in range(50):
        (root / "log").write_text("x")
        assert watcher.settle()

    hints = watcher.take()

    assert {hint.path for hint in hints} == {b"log"}
    assert len(hints) <= 10


@on_linux
def test_an_overflow_of_the_queue_means_everything_and_nothing_is_lost_later(root, watching):
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 50_000:
        pytest.skip("the queue of this machine is too long to fill")
    is_free = threading.Event()
    watcher = watching(on_hint=is_free.wait)
    (root / "plug").touch()
    until(lambda: watcher.take(), "the thread is held in the callback")
    (root / "moved").mkdir()
    for number in range(limit // 2 + 1_000):
        os.close(os.open(root / f"f{number % 2}", os.O_CREAT | os.O_WRONLY))
        os.unlink(root / f"f{number % 2}")
    (root / "moved").rename(root / "lost")
    (root / "lost/deep").mkdir()
    is_free.set()

    hints = until(lambda: settled(watcher), "hints")

    assert any(hint.path == b"" and hint.is_directory for hint in hints)
    assert watcher.is_complete
    since_us, until_us, count = watcher.overrun
    assert since_us < until_us
    assert count > 0
    (root / "lost/deep/file").touch()
    assert paths(watcher) == {b"lost/deep/file"}
    assert watcher.n_watches == 3


@on_linux
def test_more_directories_than_allowed_are_confessed(root, watching):
    for number in range(10):
        (root / str(number)).mkdir()

    watcher = watching(most=5)

    assert watcher.n_watches == 5
    assert not watcher.is_complete
    assert "fs.inotify.max_user_watches" in watcher.choice.because
    (root / "file").touch()
    assert paths(watcher) == {b"file"}


@on_linux
@pytest.mark.parametrize("end", ["deleted", "moved", "moved with its parent"])
def test_a_root_that_is_gone_is_confessed(tmp_path, end):
    root = tmp_path / "parent/root"
    root.mkdir(parents=True)
    with Watcher(root, nothing) as watcher:
        if end == "deleted":
            root.rmdir()
        elif end == "moved":
            root.rename(tmp_path / "away")
        else:
            root.parent.rename(tmp_path / "away")

        until(lambda: not watcher.is_complete, "it is confessed")
        until(lambda: b"" in {hint.path for hint in watcher.take()}, "anything may have changed")
        assert watcher.choice.because == "the root was deleted or moved"


@on_linux
def test_no_descriptor_left_to_open_is_a_reason_and_no_error(root, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("devtrace.sources.watch.Inotify", refuse)
    with Watcher(root, nothing) as watcher:
        assert not watcher.is_complete
        assert watcher.choice.chosen == "none"
        assert "max_user_instances" in watcher.choice.because
        assert watcher.settle()


def test_elsewhere_it_says_so_and_does_nothing(root, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with Watcher(root, nothing) as watcher:
        watcher.refresh()
        assert watcher.settle()
        assert (watcher.choice.chosen, watcher.is_complete, watcher.n_watches) == ("none", False, 0)
        assert watcher.take() == []


@on_linux
@pytest.mark.parametrize("culprit", ["is_ignored", "on_hint"])
def test_a_callback_that_fails_is_confessed_and_harms_nobody(root, watching, culprit):
    def fail(*_: object) -> bool:
        raise ValueError("no such rule")

    watcher = watching(fail) if culprit == "is_ignored" else watching(on_hint=fail)

    (root / "folder").mkdir()

    until(lambda: not watcher.is_complete, "it is confessed")
    assert "ValueError: no such rule" in watcher.choice.because
    until(lambda: b"" in {hint.path for hint in watcher.take()}, "anything may have changed")
    assert watcher.settle()


@on_linux
def test_it_ends_twice_and_leaves_no_descriptor_and_no_thread(root):
    before = set(os.listdir("/proc/self/fd"))
    watcher = Watcher(root, nothing)
    for _ in range(20):
        watcher = Watcher(root, nothing)
        with watcher:
            assert [thread.name for thread in threading.enumerate()].count("devtrace-watch") == 1
            (root / "file").touch()
        watcher.__exit__(None, None, None)
        assert watcher.settle()
    assert set(os.listdir("/proc/self/fd")) == before
    assert "devtrace-watch" not in {thread.name for thread in threading.enumerate()}


@on_linux
def test_importing_it_does_not_load_ctypes():
    code = "import sys, devtrace.sources.watch; sys.exit('ctypes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
