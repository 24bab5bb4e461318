"""What a program and its console see of a mirror: nothing; and what the mirror sees of them: every byte.

Not here: how what was seen is kept (test_mirror_record.py), the process by itself (test_mirror_process.py).
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys

import pytest

from devtrace.recorder.fd_mirror import FdMirror, FdMirrorFailed
from devtrace.store.trace import records
from tests.recorder import mirrors
from tests.terminals import Terminal

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

# CI runs all of this on each interpreter that it finds.
each_python = pytest.mark.parametrize("python", [pytest.param(sys.executable, id="this")])


def mixed(seed: int, n_steps: int = 60) -> tuple[str, bytes, bytes]:
    """A program that writes in every way, and what is native of it: on its output, on its errors."""
    chance = random.Random(seed)
    lines, native = ["begin()"], {1: b"", 2: b""}
    for number in range(n_steps):
        fd, how = chance.choice([1, 1, 2]), chance.choice(["print", "print", "os", "libc", "libc", "child"])
        end = chance.choice(["\\n", "\\n", " "])
        stream = "sys.stdout" if fd == 1 else "sys.stderr"
        if how == "print":
            lines.append(f"say('own{number}', end='{end}', file={stream})")
            continue
        data = f"{how}{number}{end}"
        native[fd] += data.replace("\\n", "\n").encode()
        if how == "os":
            lines.append(f"os.write({fd}, b'{data}')")
        elif how == "libc":
            lines.append(f"native(b'{data}', {fd})")
        else:
            lines.append(f"subprocess.run(['printf', '{data}'], stdout={stream}.fileno())")
    return "\n".join(lines), native[1], native[2]


@each_python
@pytest.mark.parametrize("seed", [1, 2])
def test_two_pipes_get_what_they_get_without_us(tmp_path, python, seed):
    source, out, err = mixed(seed)

    plain = mirrors.run(source, tmp_path, python=python, variables={"PLAIN": "1"})
    seen = mirrors.run(source, tmp_path, python=python)

    assert (seen.returncode, seen.stdout, seen.stderr) == (0, plain.stdout, plain.stderr), f"seed {seed}"
    kept = mirrors.recorded(tmp_path)
    assert (mirrors.text(kept, "stdout"), mirrors.text(kept, "stderr")) == (out, err), f"seed {seed}"
    assert {one.flags for one in kept} == {records.MIRROR}


@pytest.mark.parametrize("mode", ["pipe", "file", "append"])
@pytest.mark.parametrize("seed", [3, 4])
def test_output_and_errors_in_one_place_keep_their_order(tmp_path, mode, seed):
    source, _, _ = mixed(seed)
    seen = {}
    for plain in ("1", ""):
        with open(tmp_path / "out", "wb" if mode == "file" else "ab") as file:
            file.truncate(0)
            place = subprocess.PIPE if mode == "pipe" else file
            done = mirrors.run(
                source, tmp_path, variables={"PLAIN": plain}, stdout=place, stderr=subprocess.STDOUT
            )
        mirrors.recorded(tmp_path)
        seen[plain] = done.stdout if mode == "pipe" else (tmp_path / "out").read_bytes()

    assert seen[""] == seen["1"] != b"", f"seed {seed}"


@each_python
@pytest.mark.parametrize("seed", [5])
def test_a_terminal_shows_what_it_shows_without_us(tmp_path, python, seed):
    source, out, err = mixed(seed)
    script = mirrors.written(tmp_path, source)
    shown = {}
    for plain in ("1", ""):
        with Terminal([python, str(script)], env=mirrors.environment(tmp_path, PLAIN=plain)) as terminal:
            assert terminal.wait_exit() == 0
            shown[plain] = terminal.shown

    assert shown[""] == shown["1"] != b"", f"seed {seed}"
    kept = mirrors.recorded(tmp_path)
    assert len(mirrors.text(kept, "stdout")) == len(out + err)  # one terminal, one pty: the order is known


def test_a_program_below_a_mirror_sees_a_terminal_of_the_same_size(tmp_path):
    script = mirrors.written(
        tmp_path,
        """
before = [os.isatty(fd) for fd in (1, 2)], os.get_terminal_size(1), os.get_terminal_size(2)
mirror = begin()
assert before == ([os.isatty(fd) for fd in (1, 2)], os.get_terminal_size(1), os.get_terminal_size(2))
subprocess.run(["sh", "-c", "test -t 1 && test -t 2 && stty size <&1"])
signal.signal(signal.SIGWINCH, lambda *_: native(b"resized %d %d\\n" % os.get_terminal_size(1)))
say("ready")
sys.stdin.readline()
say("read")
""",
    )
    with Terminal([sys.executable, str(script)], env=mirrors.environment(tmp_path)) as terminal:
        terminal.wait_for(r"24 80\r\nready")
        terminal.resize(50, 132)
        terminal.wait_for("resized 132 50")
        terminal.send("\r")
        terminal.wait_for("read")
        assert terminal.wait_exit() == 0


def test_ctrl_c_ends_the_program_and_not_what_it_has_written(tmp_path):
    script = mirrors.written(
        tmp_path,
        """
begin()
native(b"ready\\n")
try:
    signal.pause()
except KeyboardInterrupt:
    native(b"interrupted\\n" * 2000)
    os._exit(7)
""",
    )
    with Terminal([sys.executable, str(script)], env=mirrors.environment(tmp_path)) as terminal:
        terminal.wait_for("ready")
        terminal.send("\x03")
        terminal.until(lambda: terminal.shown.count(b"interrupted\r\n") == 2000)
        assert terminal.wait_exit() == 7

    assert mirrors.text(mirrors.recorded(tmp_path), "stdout") == b"ready\n" + b"interrupted\n" * 2000


def test_a_program_that_is_stopped_and_goes_on_has_its_output(tmp_path):
    script = mirrors.written(
        tmp_path, "begin()\nnative(b'ready\\n')\nsys.stdin.readline()\nnative(b'on\\n')\nsay('own')\n"
    )
    variables = mirrors.environment(tmp_path, PS1="prompt> ")
    with Terminal(["bash", "--norc", "--noprofile", "-i"], env=variables) as terminal:
        terminal.wait_for("prompt> ")
        terminal.send(f"{sys.executable} {script}\r")
        terminal.wait_for("ready\r\n")
        terminal.send("\x1a")
        terminal.wait_for("Stopped.*prompt> ")
        terminal.send("fg\r")
        terminal.wait_for("program.py\r\n")
        terminal.send("\r")
        terminal.wait_for("on\r\nown\r\n.*prompt> ")
        terminal.send(f"{sys.executable} {script} </dev/null & wait\r")
        terminal.wait_for("ready\r\non\r\nown\r\n")
        terminal.send("exit\r")
        terminal.wait_exit()


@each_python
def test_a_hundred_starts_and_stops_leave_the_descriptors_as_they_were(tmp_path, python):
    done = mirrors.run(
        """
def look():
    names = os.listdir("/proc/self/fd")
    return len(names), [os.stat(fd).st_ino for fd in range(3)]
class Limits:
    trace_bytes = 1 << 20
before = look()
for number in range(100):
    mirror = FdMirror.start(folder=Path(os.environ["KEPT"]), session=f"{number:032x}", number=1,
                            workspace_dir=None, limits=Limits, on_failed=print)
    mirror.stop(0)
assert look() == before, (look(), before)
say("same")
""",
        tmp_path,
        python=python,
    )

    assert (done.stdout, done.stderr) == (b"same\n", b"")
    mirrors.recorded(tmp_path)  # no process stays


def test_stopping_twice_is_stopping_once(tmp_path):
    done = mirrors.run(
        "m = begin()\nnative(b'one\\n')\nfirst = m.stop(30)\nnative(b'two\\n')\n"
        "say(first == m.stop(30) == m.statistics(), sorted(first.items()))\n",
        tmp_path,
    )

    told = [("chunks", 1), ("drained", True), ("failed", ""), ("forwarded", 4), ("recorded", 4)]
    assert done.stdout.decode() == f"one\ntwo\nTrue {told}\n"


def test_more_than_a_pipe_holds_passes_whole(tmp_path):
    done = mirrors.run(
        "m = begin()\nfor n in range(40):\n    os.write(1, bytes([65 + n % 26]) * 65_535 + b'\\n')\n"
        "    say(n)\n",
        tmp_path,
    )

    lines = [bytes([65 + n % 26]) * 65_535 + b"\n" for n in range(40)]
    assert done.stdout == b"".join(line + b"%d\n" % n for n, line in enumerate(lines))
    assert mirrors.text(mirrors.recorded(tmp_path), "stdout") == b"".join(lines)


def test_many_writers_lose_no_line_and_tear_none(tmp_path):
    done = mirrors.run(
        """
begin()
children = []
for writer in range(8):
    pid = os.fork()
    if not pid:
        for number in range(1500):
            os.write(1, b"%d %d %s\\n" % (writer, number, b"x" * (number % 300)))
        os._exit(0)
    children.append(pid)
for number in range(500):
    say("own", number)
for pid in children:
    os.waitpid(pid, 0)
""",
        tmp_path,
    )

    lines = done.stdout.splitlines()
    native = [b"%d %d %s" % (writer, n, b"x" * (n % 300)) for writer in range(8) for n in range(1500)]
    assert [line for line in lines if line.startswith(b"own")] == [b"own %d" % n for n in range(500)]
    assert sorted(line for line in lines if not line.startswith(b"own")) == sorted(native)
    kept = mirrors.text(mirrors.recorded(tmp_path), "stdout").splitlines()
    assert sorted(kept) == sorted(native)


_BESIDE = """
begin()
child = subprocess.Popen(["sh", "-c", "while echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; do :; done"])
for number in range(30):
    say("own", number)
child.kill()
child.wait()
"""


def test_a_child_that_never_ceases_to_write_does_not_keep_the_program_from_it(tmp_path):
    done = mirrors.run(_BESIDE, tmp_path)

    own = [line for line in done.stdout.splitlines() if line.startswith(b"own")]
    assert own == [b"own %d" % number for number in range(30)]


def test_at_a_terminal_neither(tmp_path):
    script = mirrors.written(tmp_path, _BESIDE)
    with Terminal([sys.executable, str(script)], env=mirrors.environment(tmp_path)) as terminal:
        assert terminal.wait_exit() == 0

        assert re.findall(rb"own (\d+)", terminal.shown) == [b"%d" % number for number in range(30)]


def test_a_reader_that_takes_nothing_stops_neither_the_errors_nor_the_end(tmp_path):
    program = mirrors.began(
        "m = begin()\nos.write(1, b'x' * 100_000)\nprint('own', file=sys.stderr, flush=True)\n"
        "told = m.stop(0.05)\nnative(b'%d\\n' % told['drained'], 2)\n",
        tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stderr is not None
    assert program.stdout is not None

    assert program.stderr.read() == b"own\n0\n"  # to its end: nobody holds it open but us
    assert program.wait(mirrors.DEADLINE_S) == 0
    assert program.stdout.read() == b"x" * 100_000
    program.stdout.close()
    program.stderr.close()
    assert mirrors.text(mirrors.recorded(tmp_path), "stdout") == b"x" * 100_000


def test_writers_learn_of_a_reader_that_went_away_as_without_us(tmp_path):
    source = """
begin()
native(b"ready\\n")
sys.stdin.readline()
child = subprocess.run(["sh", "-c", "while echo more; do :; done"])
try:
    while True:
        os.write(1, b"more\\n")
except BrokenPipeError:
    native(b"child %d, native broken" % child.returncode, 2)
try:
    say("own")
except BrokenPipeError:
    native(b", own broken\\n", 2)
os._exit(0)
"""
    program = mirrors.began(
        source, tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert program.stdout is not None
    assert program.stdout.readline() == b"ready\n"
    program.stdout.close()
    program.stdout = None
    _, told = program.communicate(b"go\n", mirrors.DEADLINE_S)

    assert told == b"child -13, native broken, own broken\n"
    mirrors.recorded(tmp_path)


def test_a_killed_process_is_told_once_and_the_program_goes_on(tmp_path):
    program = mirrors.began(
        "m = begin()\nsay('one')\nsys.stdin.readline()\nwhile not failures:\n    say('two')\n"
        "native(b'three\\n')\nsay('four')\nm.stop()\nsay(failures)\n",
        tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert program.stdout is not None
    assert program.stdout.readline() == b"one\n"
    (pid,) = mirrors.processes(tmp_path)
    os.kill(pid, signal.SIGKILL)
    mirrors.until(lambda: not mirrors.processes(tmp_path), "it did not die")
    out, _ = program.communicate(b"go\n", mirrors.DEADLINE_S)

    lines = out.splitlines()
    assert lines[-4:] == [b"two", b"three", b"four", b"['its process ended']"]
    assert set(lines[:-4]) <= {b"two"}


def test_what_a_killed_program_had_written_is_forwarded_and_recorded(tmp_path):
    program = mirrors.began(
        "begin()\nos.write(1, b'line\\n' * 10_000)\nos.kill(os.getpid(), signal.SIGKILL)\n",
        tmp_path,
        stdout=subprocess.PIPE,
    )
    out, _ = program.communicate(timeout=mirrors.DEADLINE_S)

    assert (program.returncode, out) == (-signal.SIGKILL, b"line\n" * 10_000)
    assert mirrors.text(mirrors.recorded(tmp_path), "stdout") == b"line\n" * 10_000


def test_a_process_that_outlives_the_program_writes_on(tmp_path):
    done = mirrors.run(
        "begin()\nsubprocess.Popen(['sh', '-c', 'read line; echo late', 'sh'], stdin=subprocess.PIPE)\n"
        "say('own')\nos._exit(3)\n",
        tmp_path,
    )

    assert (done.returncode, done.stdout) == (3, b"own\nlate\n")
    assert mirrors.text(mirrors.recorded(tmp_path), "stdout") == b"late\n"


@each_python
def test_a_program_has_no_child_of_ours(tmp_path, python):
    done = mirrors.run(
        "begin()\ntry:\n    os.wait()\nexcept ChildProcessError:\n    say('none')\n", tmp_path, python=python
    )

    assert done.stdout == b"none\n"


def test_a_fork_writes_in_order_too(tmp_path):
    done = mirrors.run(
        """
begin()
for number in range(50):
    pid = os.fork()
    if not pid:
        native(b"child %d\\n" % number)
        say("its own", number)
        os._exit(0)
    os.waitpid(pid, 0)
    native(b"native %d\\n" % number)
    say("own", number)
""",
        tmp_path,
    )

    told = "".join(f"child {n}\nits own {n}\nnative {n}\nown {n}\n" for n in range(50))
    assert done.stdout.decode() == told


def test_a_descriptor_that_the_program_replaces_is_its_own(tmp_path):
    done = mirrors.run(
        """
mirror = begin()
say("one")
kept = os.dup(1)
file = os.open("file", os.O_CREAT | os.O_WRONLY)
os.dup2(file, 1)
say("two")
native(b"three\\n")
os.dup2(kept, 1)
say("four")
native(b"five\\n")
say("six")
os.dup2(file, 1)
mirror.stop()
native(b"seven\\n")
""",
        tmp_path,
    )

    assert (done.stdout, done.stderr) == (b"one\nfour\nfive\nsix\n", b"")
    assert (tmp_path / "file").read_bytes() == b"two\nthree\nseven\n"


def test_a_daemon_that_closes_all_it_finds_gets_no_byte_into_its_files(tmp_path):
    done = mirrors.run(
        """
m = begin()
say("one")
os.closerange(3, 300)
files = [os.open(f"file{n}", os.O_CREAT | os.O_RDWR) for n in range(300)]
say("two")
native(b"three\\n")
say("four")
m.learn([b"a secret of mine"])
m.stop()
assert not any(os.fstat(fd).st_size for fd in files)
say("five", failures)
""",
        tmp_path,
    )

    assert (done.stdout, done.stderr) == (b"one\ntwo\nthree\nfour\nfive ['its descriptor was closed']\n", b"")


@pytest.mark.parametrize("room", range(10))
def test_without_enough_descriptors_all_is_as_it_was(tmp_path, room):
    done = mirrors.run(
        """
import resource
from importlib import import_module
import_module("signal"), import_module("contextlib"), import_module("devtrace.recorder.mirror_making")
room = int(os.environ["ROOM"])
def look():
    numbers = [fd for fd in range(30) if os.path.exists(f"/proc/self/fd/{fd}")]
    return {fd: os.stat(fd).st_ino for fd in numbers}
before = look()
resource.setrlimit(resource.RLIMIT_NOFILE, (max(before) + 1 + room, 200))
try:
    begin()
except FdMirrorFailed as error:
    native(error.reason.encode() + b"\\n", 2)
assert look() == before, (before, look())
say("done")
""",
        tmp_path,
        variables={"ROOM": str(room)},
    )

    assert (done.stdout, done.stderr) == (b"done\n", b"Too many open files\n")
    assert mirrors.recorded(tmp_path) == []


def test_without_a_pty_all_is_as_it_was(tmp_path):
    script = mirrors.written(
        tmp_path,
        """
def openpty():
    raise OSError(2, "no /dev/ptmx")
os.openpty = openpty
before = os.listdir("/proc/self/fd"), os.ttyname(1)
try:
    begin()
except FdMirrorFailed as error:
    say("failed:", error.reason, before == (os.listdir("/proc/self/fd"), os.ttyname(1)))
""",
    )
    with Terminal([sys.executable, str(script)], env=mirrors.environment(tmp_path)) as terminal:
        terminal.wait_for("failed: no /dev/ptmx True")
        assert terminal.wait_exit() == 0


def test_a_closed_descriptor_is_left_out(tmp_path):
    done = mirrors.run(
        "os.close(1)\nm = begin()\nnative(b'one\\n', 2)\nprint('two', file=sys.stderr)\n"
        "assert m.saved(1) is None and m.saved(2) > 2\nm.stop()\nassert m.saved(2) is None\nos._exit(0)\n",
        tmp_path,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"one\ntwo\n")


def test_where_nothing_is_open_nothing_is_mirrored(tmp_path):
    with pytest.raises(FdMirrorFailed, match="no descriptor is open"):
        FdMirror.start(
            descriptors=(1 << 20,),
            folder=tmp_path,
            session=mirrors.SESSION,
            number=1,
            workspace_dir=None,
            limits=None,
            on_failed=print,
        )


def test_a_folder_that_is_no_folder_is_told(tmp_path):
    done = mirrors.run(
        "os.environ['KEPT'] += '/none'\ntry:\n    begin()\nexcept FdMirrorFailed as error:\n"
        "    say(error.reason)\n",
        tmp_path,
    )

    assert done.stdout == b"No such file or directory\n"


def test_a_secret_in_two_writes_reaches_the_console_and_not_the_record(tmp_path):
    done = mirrors.run(
        "m = begin()\nos.write(1, b'password=hunter')\nsay('', end='')\nos.write(1, b'2canary\\n')\n"
        "m.learn([b'learnt-canary'])\nos.write(1, b'it is learnt')\nsay('', end='')\n"
        "os.write(1, b'-canary.\\n')\n"
        "native(b'from the environment: env-canary-4711\\n')\n",
        tmp_path,
        variables={"DB_PASSWORD": "env-canary-4711"},
    )

    told = b"password=hunter2canary\nit is learnt-canary.\nfrom the environment: env-canary-4711\n"
    assert done.stdout == told
    kept = mirrors.text(mirrors.recorded(tmp_path), "stdout").decode()
    assert "canary" not in kept
    assert [line.partition("[redacted:")[0] for line in kept.splitlines()] == [
        "password=",
        "it is ",
        "from the environment: ",
    ]
    assert b"canary" not in b"".join(path.read_bytes() for path in (tmp_path / "kept").iterdir())


def test_a_signal_handler_prints_and_raises_as_without_us(tmp_path):
    done = mirrors.run(
        """
begin()
class Over(Exception): pass
def handle(*_):
    sys.stderr.write("handled\\n")
    raise Over
signal.signal(signal.SIGALRM, handle)
for trial in range(150):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0003 + trial * 0.000007)
        number = 0
        while True:
            number += 1
            if number % 7 == 0:
                native(b"native\\n")
            say("own", trial, number)
    except Over:
        say("over", trial)
""",
        tmp_path,
    )

    assert (done.returncode, done.stderr) == (0, b"handled\n" * 150)
    lines = [line for line in done.stdout.splitlines() if line != b"native"]
    own = [line for line in lines if line.startswith(b"own ") and b"over" not in line]
    assert len(own) > 150
    assert len(set(own)) == len(own)  # none was written again


def test_own_writes_have_their_time_between_those_of_the_native_ones(tmp_path):
    done = mirrors.run(
        """
m = begin()
for number in range(200):
    native(b"a\\n")
    m.direct(1)
    native(b"%d\\n" % time.perf_counter_ns(), 2)
""",
        tmp_path,
    )

    kept = mirrors.recorded(tmp_path)
    native = [one.clock_ns for one in kept if one.channel == "stdout"]
    between = [int(line) for line in done.stderr.split()]
    assert len(native) == len(between) == 200
    assert all(one < other for one, other in zip(native, between, strict=True))
    assert all(one < other for one, other in zip(between, native[1:], strict=False))
