"""Watcher against whatever may happen to a tree: changes by dice, and mounts."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtrace.sources.watch import Watcher

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's own")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "root"
    place.mkdir()
    return place


@pytest.fixture
def watcher(root: Path) -> Iterator[Watcher]:
    with Watcher(root, lambda path: False) as watcher:
        yield watcher


def test_an_unmounted_file_system_is_confessed(root):
    script = """
import subprocess, sys
from pathlib import Path
from devtrace.sources.watch import Watcher
root = Path(sys.argv[1])
(root / "m").mkdir()
(root / "a" / "x").mkdir(parents=True)
(root / "bound").mkdir()
subprocess.run(["mount", "-t", "tmpfs", "none", root / "m"], check=True)
subprocess.run(["mount", "--bind", root / "a", root / "bound"], check=True)
(root / "m" / "d").mkdir()
with Watcher(root, lambda path: False) as watcher:
    assert watcher.is_complete
    (root / "a/x/file").touch()
    assert watcher.settle()
    assert {h.path for h in watcher.take()} == {b"a/x/file", b"bound/x/file"}
    (root / "m" / "d" / "file").touch()
    assert watcher.settle()
    assert {h.path for h in watcher.take()} == {b"m/d/file"}
    subprocess.run(["umount", root / "m"], check=True)
    assert watcher.settle()
    assert b"" in {h.path for h in watcher.take()}
    assert not watcher.is_complete
"""
    inside = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        subprocess.run([*inside, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not make a mount namespace")
    done = subprocess.run([*inside, sys.executable, "-c", script, root], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def states(root: Path) -> dict[bytes, tuple[int, ...]]:
    found: dict[bytes, tuple[int, ...]] = {}
    top = os.fsencode(root)
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            seen = os.lstat(path)
            is_file = not stat.S_ISDIR(seen.st_mode)
            found[os.path.relpath(path, top)] = (
                (seen.st_ino, seen.st_mode, seen.st_size, seen.st_mtime_ns)
                if is_file
                else (seen.st_mode,)  # what is in it has states of its own
            )
    return found


def act(root: Path, choose: random.Random) -> None:
    known = sorted(root.rglob("*"))
    folders = [root, *(path for path in known if path.is_dir())]
    here = choose.choice(folders) / choose.choice("abcdef")
    try:
        match choose.randrange(8):
            case 0 | 1:
                here.mkdir()
            case 2:
                (here / "x/y").mkdir(parents=True)
                (here / "x/y/z").write_text("deep")
            case 3 | 4:
                here.write_text("x" * choose.randrange(100))
            case 5:
                choose.choice(known or [here]).rename(here)
            case 6:
                choose.choice(known or [here]).unlink()
            case _:
                shutil.rmtree(choose.choice(folders[1:] or [here]))
    except OSError:
        pass  # the name is taken, or it is the wrong kind: another time


@pytest.mark.parametrize("round_", range(4))
def test_whatever_happens_every_difference_is_hinted(root, watcher, round_):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201  # to do it again
    choose = random.Random(seed)
    for _ in range(40):
        before = states(root)
        for _ in range(choose.randrange(1, 25)):
            act(root, choose)
        assert watcher.settle()
        hints = watcher.take()
        after = states(root)

        changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
        exact = {hint.path for hint in hints}
        whole = tuple(hint.path + b"/" for hint in hints if hint.is_directory)
        missed = {path for path in changed if path not in exact and not path.startswith(whole)}

        assert not missed, f"seed {seed}"
        assert watcher.n_watches == 1 + sum(len(state) == 1 for state in after.values())
    assert watcher.is_complete
