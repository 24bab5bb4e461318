"""A hint says behind how many writes to a file it came, in the kernel's own order."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from devtrace.sources.watch import Watcher
from tests.sources.test_watch import nothing, on_linux, settled


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    return root


@pytest.fixture
def watching(root: Path) -> Iterator[Callable[[Path | None], Watcher]]:
    with ExitStack() as stack:
        yield lambda counted: stack.enter_context(Watcher(root, nothing, counted=counted))


@pytest.fixture
def fifo(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    yield path
    os.close(fd)


def says(fifo, line="x\n"):
    """As the hooks do."""
    subprocess.run(["bash", "-c", 'printf "%s" "$1" 1<>"$0"', fifo, line], check=True)


def placed(watcher):
    return {hint.path: hint.place for hint in settled(watcher)}


@on_linux
def test_a_hint_says_behind_how_many_writes_it_came(root, watching, fifo):
    watcher = watching(fifo)
    (root / "a").touch()
    says(fifo)
    (root / "b").touch()
    for _ in range(3):
        says(fifo)
    (root / "c").touch()

    assert placed(watcher) == {b"a": 0, b"b": 1, b"c": 4}
    assert watcher.n_writes == 4


@on_linux
def test_a_file_that_is_changed_between_writes_has_a_hint_for_each(root, watching, fifo):
    watcher = watching(fifo)
    for number in range(5):
        (root / "a").write_text(f"{number}")
        says(fifo)

    assert {hint.place for hint in settled(watcher) if hint.path == b"a"} == {0, 1, 2, 3, 4}


@on_linux
def test_what_was_found_by_looking_has_a_place_only_if_nothing_came_after(root, watching, fifo):
    watcher = watching(fifo)
    (root / "d").mkdir()
    assert placed(watcher) == {b"d": 0}

    script = 'mkdir "$1/e"; touch "$1/e/a"; printf "x\\n" 1<>"$0"; touch "$1/e/b"; printf "x\\n" 1<>"$0"'
    for _ in range(20):  # as it happens the folder is looked into before, between and after
        subprocess.run(["bash", "-c", f'{script}; rm -r "$1/e"', fifo, root], check=True)
        for hint in settled(watcher):
            if hint.path == b"e/b" and hint.place is not None:
                assert hint.place % 2 == 1 or hint.place == watcher.n_writes


@on_linux
def test_behind_a_file_that_was_replaced_nothing_has_a_place(root, watching, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    watcher = watching(path)
    path.unlink()
    os.mkfifo(path)
    settled(watcher)
    (root / "a").touch()

    assert placed(watcher) == {b"a": None}


@on_linux
def test_without_a_file_to_count_nothing_has_a_place(root, watching, tmp_path):
    for counted in (None, tmp_path / "missing"):
        watcher = watching(counted)
        (root / "a").touch()

        assert set(placed(watcher).values()) == {None}
