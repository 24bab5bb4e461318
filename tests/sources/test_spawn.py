"""A child is started as it would be without us: its terminal, its signals, its descriptors, its errors."""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import stat
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtrace.errors import EnvironmentError, TargetError
from devtrace.sources.shell.pump import exit_code
from devtrace.sources.shell.spawn import Child, PipedChild, spawn_pipes, spawn_plain, spawn_pty

# The host forks while it has one thread; a test runner has more, of which newer Pythons warn.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

ENV = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
DEADLINE_S = 20.0


@pytest.fixture
def started() -> Iterator[list[Child | PipedChild]]:
    """Children to be closed, killed and reaped at the end of the test."""
    children: list[Child | PipedChild] = []
    yield children
    for child in children:
        child.close()
        try:
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue


def everything(child: Child) -> tuple[str, int]:
    """What the child showed until its end, lines ended by \\n, and its exit code."""
    shown = b""
    while select.select([child.fd], [], [], DEADLINE_S)[0]:
        try:
            data = os.read(child.fd, 65_536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            break
        if not data:
            break
        shown += data
    return shown.decode().replace("\r\n", "\n"), exit_code(os.waitpid(child.pid, 0)[1])


def output_of(script: str, **options: object) -> str:
    """What a shell script shows in a new terminal."""
    given = {"env": ENV, "rows": 24, "cols": 80, **options}
    child = spawn_pty(["sh", "-c", script], **given)  # type: ignore[arg-type]
    try:
        return everything(child)[0]
    finally:
        child.close()


def own_children() -> set[int]:
    """The processes whose parent we are; what runs the tests may have some of its own."""
    with subprocess.Popen(["ps", "-A", "-o", "pid=,ppid="], stdout=subprocess.PIPE, text=True) as ps:
        pairs = [tuple(map(int, line.split())) for line in ps.communicate()[0].splitlines()]
    return {pid for pid, parent in pairs if parent == os.getpid()} - {ps.pid}


def open_fds() -> set[str]:
    return set(os.listdir("/dev/fd"))


# --- in a terminal of its own ---


def test_the_size_is_there_before_the_program_starts():
    assert output_of("stty size", rows=33, cols=111) == "33 111\n"


def test_the_size_in_pixels_is_passed_on():
    script = (
        f"exec {sys.executable} -c 'import fcntl, termios, struct;"
        ' print(struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))))\''
    )

    assert output_of(script, pixels=(640, 480)) == "(24, 80, 640, 480)\n"


def test_the_erase_character_of_the_outer_terminal_is_that_of_the_inner():
    one, other = os.openpty()
    try:
        attributes = termios.tcgetattr(other)
        attributes[6][termios.VERASE] = b"\x08"
        shown = output_of("stty -a", attributes=attributes)
    finally:
        os.close(one)
        os.close(other)

    assert "erase = ^H;" in shown


def test_a_terminal_without_an_example_knows_utf8_from_the_locale():
    if sys.platform == "linux":
        assert " iutf8" in output_of("stty -a")
        assert "-iutf8" in output_of("stty -a", env={**ENV, "LANG": "C"})
    assert "erase = ^?;" in output_of("stty -a")


def test_the_terminal_is_the_controlling_one():
    assert output_of("test -t 0 && test -t 1 && test -t 2 && echo yes >/dev/tty") == "yes\n"


def test_a_pipe_can_be_the_standard_input_while_the_terminal_is_the_rest():
    read, write = os.pipe()
    os.write(write, b"from the pipe\n")
    os.close(write)
    try:
        shown = output_of("cat; test -t 0 || test -t 1 && echo terminal >/dev/tty", stdin_fd=read)
    finally:
        os.close(read)

    assert shown == "from the pipe\nterminal\n"


def test_our_own_standard_input_can_be_that_pipe():
    code = (
        "import os\n"
        "from devtrace.sources.shell.spawn import spawn_pty\n"
        "child = spawn_pty(['cat'], env=dict(os.environ), rows=24, cols=80, stdin_fd=0)\n"
        "os.set_blocking(child.fd, True)\n"
        "os.write(1, os.read(child.fd, 100))\n"
        "os.waitpid(child.pid, 0)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], input=b"words\n", capture_output=True, env=_with_path()
    )

    assert (done.stdout, done.stderr) == (b"words\r\n", b"")


def test_the_programs_name_stays_as_it_was_typed():
    child = spawn_pty(["sh", "-c", "ps -o args= -p $$"], env=ENV, rows=24, cols=80)
    try:
        assert everything(child)[0].startswith("sh -c ps")
    finally:
        child.close()


def test_the_program_is_found_by_its_own_path_and_from_its_own_directory(tmp_path):
    tool = tmp_path / "bin" / "tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\npwd\n")
    tool.chmod(0o755)
    for argv, env in ((["tool"], {"PATH": str(tool.parent)}), (["bin/tool"], ENV)):
        child = spawn_pty(argv, env=env, cwd=str(tmp_path), rows=24, cols=80)
        try:
            assert everything(child) == (f"{tmp_path}\n", 0)
        finally:
            child.close()


def test_a_script_without_a_first_line_is_run_by_sh(tmp_path):
    script = tmp_path / "script"
    script.write_text("echo $# $1\n")
    script.chmod(0o755)
    child = spawn_pty([str(script), "a b"], env=ENV, rows=24, cols=80)
    try:
        assert everything(child) == ("1 a b\n", 0)
    finally:
        child.close()


def test_environment_and_arguments_keep_bytes_that_are_no_utf8():
    odd = os.fsdecode(b"\xff\xfe")

    assert output_of('printf %s "$ODD" | od -An -tx1', env={**ENV, "ODD": odd}) == " ff fe\n"


def test_umask_and_limits_are_left_alone():
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = os.umask(0o027)
    try:
        assert output_of("umask; ulimit -n") == f"0027\n{soft}\n"
    finally:
        os.umask(before)


def test_the_child_has_only_its_three_descriptors():
    leaked = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    try:
        shown = output_of("ls /dev/fd/ | wc -l")
    finally:
        os.close(leaked)

    assert int(shown) == 4  # ls opens the directory


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("way", ["pty", "pipes", "plain"])
def test_the_child_ignores_what_the_user_had_ignored_and_nothing_else(way, tmp_path):
    code = (
        "import os, signal, sys\n"
        "from devtrace.sources.shell.spawn import spawn_pty, spawn_pipes, spawn_plain\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"  # as a host might do for itself
        "argv, env = ['grep', 'SigIgn', '/proc/self/status'], dict(os.environ)\n"
        "way, out = sys.argv[1:]\n"
        "child = {\n"
        "    'pty': lambda: spawn_pty(argv, env=env, rows=24, cols=80),\n"
        "    'pipes': lambda: spawn_pipes(argv, env=env, out_path=out, err_path=None),\n"
        "    'plain': lambda: spawn_plain(argv, env=env),\n"
        "}[way]()\n"
        "if way != 'plain':\n"
        "    fd = child.fd if way == 'pty' else child.out_fd\n"
        "    os.set_blocking(fd, True)\n"
        "    os.write(1, os.read(fd, 100))\n"
        "os.waitpid(child.pid, 0)\n"
    )
    for ignored in ([], [signal.SIGHUP]):
        before = [(number, signal.signal(number, signal.SIG_IGN)) for number in ignored]
        try:
            done = subprocess.run(
                [sys.executable, "-c", code, way, str(tmp_path / f"fifo{len(ignored)}")],
                capture_output=True,
                env=_with_path(),
            )
        finally:
            for number, handler in before:
                signal.signal(number, handler)

        assert done.stderr == b""
        mask = int(done.stdout.split()[1], 16) & ~(3 << 31)  # glibc's posix_spawn ignores its own 32 and 33
        assert mask == sum(1 << number - 1 for number in ignored)


def test_nothing_sleeps_when_a_terminal_is_made_and_closed(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"slept {seconds} s"))
    child = spawn_pty(["true"], env=ENV, rows=24, cols=80)
    everything(child)
    child.close()
    child.close()
    del child


# --- errors ---


def test_a_missing_program_is_an_error_before_anything_runs(tmp_path):
    fifo = str(tmp_path / "fifo")
    before = open_fds()
    for start in (
        lambda: spawn_pty(["no-such-program"], env=ENV, rows=24, cols=80),
        lambda: spawn_pipes(["no-such-program"], env=ENV, out_path=fifo, err_path=None),
        lambda: spawn_plain(["no-such-program"], env=ENV),
    ):
        with pytest.raises(TargetError) as caught:
            start()
        assert caught.value.code == "ERR_TARGET_START"
        assert caught.value.context == {"program": "no-such-program", "errno": errno.ENOENT}
    assert open_fds() == before
    assert list(tmp_path.iterdir()) == []


def test_a_missing_shell_has_a_code_of_its_own():
    with pytest.raises(EnvironmentError) as caught:
        spawn_pty(["/no/such/zsh"], env=ENV, rows=24, cols=80, is_shell=True)

    assert caught.value.code == "ERR_SHELL_MISSING"
    assert "/no/such/zsh" in caught.value.message


@pytest.mark.parametrize("way", [spawn_pty, spawn_pipes, spawn_plain])
def test_a_program_that_cannot_be_executed_is_an_error_and_leaves_nothing_behind(way, tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    text = tmp_path / "text"
    text.write_text("not executable\n")
    options = {
        spawn_pty: {"rows": 24, "cols": 80},
        spawn_pipes: {"out_path": str(tmp_path / "o"), "err_path": str(tmp_path / "e")},
    }.get(way, {})
    before, children = open_fds(), own_children()
    for program, number in ((script, errno.ENOENT), (text, errno.EACCES), (tmp_path, errno.EACCES)):
        with pytest.raises(TargetError) as caught:
            way([str(program)], env=ENV, **options)
        assert caught.value.context["errno"] == number

    assert open_fds() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["script", "text"]
    assert own_children() <= children


def test_a_directory_that_is_gone_is_an_error_too(tmp_path):
    with pytest.raises(TargetError) as caught:
        spawn_pty(["true"], env=ENV, cwd=str(tmp_path / "gone"), rows=24, cols=80)

    assert caught.value.context["errno"] == errno.ENOENT


# --- on pipes ---


def read_all(child: PipedChild, fd: int) -> bytes:
    """What came by a pipe until the child ended."""
    os.waitpid(child.pid, 0)
    data = b""
    while True:
        try:
            data += os.read(fd, 65_536)
        except BlockingIOError:
            return data


def test_the_two_streams_come_by_two_private_pipes(tmp_path, started):
    before = os.umask(0o777)
    try:
        child = spawn_pipes(
            ["sh", "-c", "echo out; echo err >&2"],
            env=ENV,
            out_path=str(tmp_path / "out"),
            err_path=str(tmp_path / "err"),
        )
    finally:
        os.umask(before)
    started.append(child)

    for name in ("out", "err"):
        mode = (tmp_path / name).lstat().st_mode
        assert stat.S_ISFIFO(mode)
        assert stat.S_IMODE(mode) == 0o600
    assert read_all(child, child.out_fd) == b"out\n"
    assert read_err(child) == b"err\n"
    child.close()
    assert list(tmp_path.iterdir()) == []


def read_err(child: PipedChild) -> bytes:
    return os.read(child.err_fd, 100)


def test_a_hook_writes_into_the_pipe_by_its_name(tmp_path, started):
    out = str(tmp_path / "out")
    child = spawn_pipes(
        ["sh", "-c", 'printf one; printf MARK 1<>"$0"; printf two', out], env=ENV, out_path=out, err_path=None
    )
    started.append(child)

    assert read_all(child, child.out_fd) == b"oneMARKtwo"


def test_streams_that_were_one_stay_one_in_their_order(tmp_path, started):
    child = spawn_pipes(
        ["sh", "-c", "echo 1; echo 2 >&2; echo 3"], env=ENV, out_path=str(tmp_path / "out"), err_path=None
    )
    started.append(child)

    assert (read_all(child, child.out_fd), child.err_fd) == (b"1\n2\n3\n", -1)


def test_a_child_on_pipes_has_a_session_of_its_own_unless_asked_otherwise(tmp_path, started):
    for own in (True, False):
        child = spawn_pipes(
            ["cat"], env=ENV, out_path=str(tmp_path / f"out{own}"), err_path=None, own_session=own
        )
        started.append(child)

        assert (os.getsid(child.pid) == child.pid) is own


def test_a_child_whose_reader_closed_the_pipe_is_ended_by_it(tmp_path, started):
    child = spawn_pipes(
        ["sh", "-c", "while :; do echo y; done"], env=ENV, out_path=str(tmp_path / "out"), err_path=None
    )
    started.append(child)
    child.close()

    assert exit_code(os.waitpid(child.pid, 0)[1]) == 128 + signal.SIGPIPE


def test_the_ways_to_end_are_told_apart():
    for script, code in (("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)):
        child = spawn_plain(["sh", "-c", script], env=ENV)

        assert exit_code(os.waitpid(child.pid, 0)[1]) == code


def _with_path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
