"""The private directory of a session: ours alone, and gone with its host, however that ended."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from devtrace.errors import EnvironmentError
from devtrace.ids import new_span_id
from devtrace.sources.shell import hooks
from devtrace.sources.shell.private import is_held, private_directory

HOST = """
import sys
from pathlib import Path
from devtrace.sources.shell.private import private_directory
with private_directory(Path(sys.argv[1])) as made:
    private = made.path
    (private / "zsh").mkdir()
    (private / "zsh" / ".zshenv").write_text("secret")
    print(private, flush=True)
    sys.stdin.read()
"""


class OtherHost:
    """A host in a process of its own."""

    def __init__(self, base: Path):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOST, base],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        self.private = Path(self.process.stdout.readline().strip())

    def end(self, number: int | None = None) -> None:
        if number is not None:
            self.process.send_signal(number)
        self.process.communicate()


def test_it_is_ours_alone_and_gone_at_the_end(tmp_path: Path) -> None:
    with private_directory(tmp_path) as made:
        private = made.path
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert stat.S_IMODE((private / "host").stat().st_mode) == 0o600
        assert is_held(private)

    assert list(tmp_path.iterdir()) == []
    assert not is_held(private)


def test_it_is_gone_after_an_error_too(tmp_path: Path) -> None:
    def fail() -> None:
        with private_directory(tmp_path):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_host_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    killed, living = OtherHost(tmp_path), OtherHost(tmp_path)
    killed.end(signal.SIGKILL)
    assert (killed.private / "zsh" / ".zshenv").exists()
    assert not is_held(killed.private)

    with private_directory(tmp_path) as made:
        assert set(tmp_path.iterdir()) == {made.path, living.private}

    assert is_held(living.private)
    living.end()
    assert list(tmp_path.iterdir()) == []


def test_its_scratch_file_in_memory_goes_with_it(tmp_path: Path) -> None:
    with private_directory(tmp_path) as made:
        scratch = hooks.scratch_directory(made.path)
        try:
            scratch.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            pytest.skip(f"because {scratch.parent} cannot be used: {error}")
        (scratch / "line").write_text("typed")

    assert not scratch.exists()


def test_a_scratch_directory_is_cleared_when_its_host_is_dead_and_only_then(tmp_path: Path) -> None:
    """`rm -rf` of the temp folder takes what would lead to it."""
    killed, living = OtherHost(tmp_path), OtherHost(tmp_path)
    scratch = {host: hooks.scratch_directory(host.private) for host in (killed, living)}
    if not scratch[living].is_dir():
        living.end()
        killed.end()
        pytest.skip("because no session gets a scratch directory here: it lies in memory already, or nowhere")
    killed.end(signal.SIGKILL)
    shutil.rmtree(killed.private)
    shutil.rmtree(living.private)
    for folder in scratch.values():
        os.utime(folder, (0, 0))

    with private_directory(tmp_path):
        assert not scratch[killed].exists()
        assert scratch[living].is_dir()

    living.end()
    assert not scratch[living].exists()


@pytest.mark.parametrize(("age_s", "is_kept"), [(3_600, True), (200_000, False)])
def test_a_scratch_directory_without_a_lock_is_left_alone_for_a_day(
    tmp_path: Path, age_s: int, is_kept: bool
) -> None:
    scratch = hooks.scratch_directory(Path(new_span_id()))
    try:
        scratch.mkdir(mode=0o700)
    except OSError as error:
        pytest.skip(f"because {scratch.parent} cannot be used: {error}")
    then = time.time() - age_s
    os.utime(scratch, (then, then))

    with private_directory(tmp_path):
        assert scratch.exists() == is_kept

    shutil.rmtree(scratch, ignore_errors=True)


@pytest.mark.parametrize(("age_s", "is_kept"), [(0, True), (3_600, False)])
def test_a_directory_without_a_lock_is_being_made_or_was_left(
    tmp_path: Path, age_s: int, is_kept: bool
) -> None:
    other = tmp_path / "0123456789abcdef"
    other.mkdir()
    then = other.stat().st_mtime - age_s
    os.utime(other, (then, then))

    with private_directory(tmp_path):
        assert other.exists() == is_kept


def test_however_many_were_left_they_are_cleared_in_the_end(tmp_path: Path) -> None:
    for number in range(150):
        folder = tmp_path / f"{number:016x}"
        folder.mkdir()
        (folder / "host").touch()

    for _ in range(3):
        with private_directory(tmp_path) as made:
            assert made.path.exists()

    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_made_it_is_said(tmp_path: Path) -> None:
    base = tmp_path / "file"
    base.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "mkdir", _no_space)

        with pytest.raises(EnvironmentError) as refused, private_directory(base):
            pass

    assert refused.value.code == "ERR_RUNTIME_DIR"


def _no_space(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_many_hosts_that_start_at_once_never_take_each_other_for_dead(tmp_path: Path) -> None:
    """Each of them looks for what dead hosts left while others are just making theirs."""
    failures: list[str] = []

    def host() -> None:
        for _ in range(150):
            with private_directory(tmp_path) as made:
                if not (made.path / "host").exists() or not is_held(made.path):
                    failures.append(made.path.name)

    threads = [threading.Thread(target=host, name=f"host-{number}") for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["all of it", "its lock", "nothing"])
def test_what_somebody_removed_is_made_anew_and_held_again(tmp_path: Path, what: str) -> None:
    with private_directory(tmp_path) as made:
        if what == "all of it":
            shutil.rmtree(made.path)
        elif what == "its lock":
            (made.path / "host").unlink()

        made.restore()

        assert is_held(made.path)
        with private_directory(tmp_path):
            assert made.path.is_dir()
            assert stat.S_IMODE(made.path.stat().st_mode) == 0o700

    assert list(tmp_path.iterdir()) == []
