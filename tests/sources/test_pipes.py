"""Between pipes a traced program behaves as it does without us: bytes, order, closed readers, signals."""

from __future__ import annotations

import hashlib
import os
import random
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from devtrace.sources.shell.output import mark
from tests.sources.hosting import NONCE, SPAN, alive, command, environment, marked, reports
from tests.terminals import PATIENCE_S, Terminal

UNIX = subprocess.PIPE


@contextmanager
def host(tmp_path: Path, *argv: str, way: str = "pipes", **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A host between pipes; killed at the end if it still runs."""
    env = environment(options.pop("env", None))
    given = {"stdin": subprocess.DEVNULL, "stdout": UNIX, "stderr": UNIX, **options}
    with subprocess.Popen(command(way, tmp_path / "report", *argv), env=env, **given) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def run(tmp_path: Path, *argv: str, **options: Any) -> tuple[int, bytes, bytes]:
    """A host's status, stdout and stderr; `data` is its standard input."""
    data = options.pop("data", None)
    if data is not None:
        options["stdin"] = UNIX
    with host(tmp_path, *argv, **options) as process:
        out, err = process.communicate(data, timeout=PATIENCE_S * 3)
        return process.returncode, out, err


def captured(tmp_path: Path) -> list[dict[str, Any]]:
    return [line for line in reports(tmp_path / "report") if "span" in line]


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
def test_the_status_of_the_child_is_the_hosts(tmp_path, script, code):
    assert run(tmp_path, "sh", "-c", script) == (code, b"", b"")


def test_the_two_streams_stay_two(tmp_path):
    assert run(tmp_path, "sh", "-c", "echo out; echo err >&2") == (0, b"out\n", b"err\n")


def test_standard_input_is_the_childs_own(tmp_path):
    assert run(tmp_path, "sh", "-c", "read x; echo $x; cat", data=b"one\ntwo\n") == (0, b"one\ntwo\n", b"")
    assert run(tmp_path, "wc", "-c")[1].strip() == b"0"


def test_one_pipe_for_both_keeps_their_order(tmp_path):
    script = "for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done"

    _, out, err = run(tmp_path, "sh", "-c", script, way="joined")

    assert out == b"".join(b"out %d\nerr %d\n" % (n, n) for n in range(1, 10))
    assert err == b""


def test_twenty_megabytes_on_each_pipe_come_out_byte_for_byte(tmp_path):
    dice = random.Random(8)
    sums = []
    for name in ("out", "err"):
        parts, plain = [], hashlib.sha256()
        for number in range(200):
            noise = dice.randbytes(dice.randrange(2, 204_800))
            plain.update(noise)
            span = f"{number + 1:016x}"
            parts += [mark(NONCE, "C", span), noise, mark(NONCE, "D", span)]
        (tmp_path / name).write_bytes(b"".join(parts))
        sums.append(plain.digest())

    code, out, err = run(
        tmp_path, "sh", "-c", 'cat "$0" & cat "$1" >&2; wait', *map(str, (tmp_path / "out", tmp_path / "err"))
    )

    assert code == 0
    assert [hashlib.sha256(data).digest() for data in (out, err)] == sums
    assert sorted(int(one["span"], 16) for one in captured(tmp_path))[-1] == 200


def test_marks_on_both_pipes_are_removed_and_make_one_capture(tmp_path):
    script = f"printf '{marked('out')}'; printf '{marked('err')}' >&2; printf rest"

    assert run(tmp_path, "sh", "-c", script) == (0, b"outrest", b"err")
    (kept,) = captured(tmp_path)
    assert (kept["span"], sorted(kept["data"]), kept["stderr"]) == (SPAN, sorted("outerr"), 3)


def test_the_beginning_of_a_mark_passes_on_when_nothing_follows(tmp_path):
    script = r"printf 'a\033]6973;'; printf 'b\033]6973;' >&2; read x"
    with host(tmp_path, "sh", "-c", script, stdin=UNIX) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(8) == b"a\x1b]6973;"
        assert process.stderr.read(8) == b"b\x1b]6973;"
        process.communicate(b"\n", PATIENCE_S)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the name in /proc")
def test_a_mark_written_by_name_comes_in_its_place(tmp_path):
    script = 'fifo=$(readlink /proc/$$/fd/1); printf before; printf MARK 1<>"$fifo"; printf after'

    assert run(tmp_path, "sh", "-c", script)[1] == b"beforeMARKafter"


def test_two_hundred_short_programs_lose_nothing(tmp_path):
    code, out, err = run(tmp_path, "printf", "<%s>", env={"RUNS": "200"})

    assert (code, err) == (0, b"")
    assert out == b"".join(b"<%d>" % number for number in range(1, 201))


def test_a_background_job_that_keeps_the_pipes_does_not_hold_up_the_end(tmp_path):
    with host(tmp_path, "sh", "-c", "sleep 300 & echo $!; exit 5") as process:
        assert process.stdout is not None
        job = int(process.stdout.readline())
        try:
            assert process.wait(PATIENCE_S) == 5
            assert alive(job)
        finally:
            os.kill(job, signal.SIGKILL)


def test_the_last_words_before_a_kill_are_not_lost(tmp_path):
    code, out, _ = run(tmp_path, "sh", "-c", "head -c 50000 /dev/zero | tr '\\0' x; printf END; kill -9 $$")

    assert (code, out) == (137, b"x" * 50_000 + b"END")


def test_output_may_go_to_a_file(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        run(tmp_path, "sh", "-c", "seq 1 50000", stdout=file)

    assert (tmp_path / "file").read_text() == "".join(f"{number}\n" for number in range(1, 50_001))


def test_a_program_whose_reader_went_away_ends_as_it_would_without_us(tmp_path):
    with host(tmp_path, "yes") as process:
        assert process.stdout is not None
        assert process.stdout.read(2) == b"y\n"
        process.stdout.close()

        assert process.wait(PATIENCE_S) == 128 + signal.SIGPIPE


def test_a_closed_output_leaves_the_errors_readable(tmp_path):
    script = "trap '' PIPE; read x; while echo y; do :; done 2>/dev/null; echo over >&2"
    with host(tmp_path, "sh", "-c", script, stdin=UNIX) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(b"go\n")
        process.stdin.close()

        assert process.stderr.read() == b"over\n"
        assert process.wait(PATIENCE_S) == 0


def test_a_slow_reader_slows_the_program_and_loses_nothing(tmp_path):
    """What waits in between is bounded: the program is held up, as by a pipe."""
    wrote = tmp_path / "wrote"
    program = (
        "import os, pathlib, select, sys\n"
        "os.set_blocking(1, False)\n"
        "total, told, line = 0, False, b'0123456789abcde\\n' * 256\n"
        "while total < 8_000_000:\n"
        "    try:\n"
        "        total += os.write(1, line[total % 16:])\n"
        "    except BlockingIOError:\n"
        "        if not select.select([], [1], [], 0.3)[1] and not told:\n"
        "            pathlib.Path(sys.argv[1]).write_text(str(total)); told = True\n"
        "            os.set_blocking(1, True)\n"
        "os.write(2, str(total).encode())\n"
    )
    with host(tmp_path, sys.executable, "-c", program, str(wrote)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        poll_until(lambda: wrote.exists() and wrote.read_text() != "")
        assert int(wrote.read_text()) < 1_000_000
        out = process.stdout.read()

        assert len(out) == int(process.stderr.read())
        assert out == (b"0123456789abcde\n" * (len(out) // 16 + 1))[: len(out)]


def poll_until(claim: Callable[[], object]) -> None:
    with Terminal(["cat"]) as clock:
        clock.until(claim)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP])
def test_a_signal_to_the_host_goes_on_to_the_program_and_its_children(tmp_path, number):
    ready = "import signal, sys, os\nprint(os.getpid(), flush=True)\nsignal.pause()\n"
    with host(tmp_path, "sh", "-c", f'{sys.executable} -c "{ready}"; exit 9') as process:
        assert process.stdout is not None
        inner = int(process.stdout.readline())
        process.send_signal(number)

        assert process.wait(PATIENCE_S) in (128 + number, 9)
        poll_until(lambda: not alive(inner))


def test_a_program_may_answer_a_signal_in_its_own_time(tmp_path):
    with host(
        tmp_path,
        "sh",
        "-c",
        "trap 'echo cleaned up; exit 3' TERM; echo ready; while :; do read x; done",
        stdin=UNIX,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)

        assert process.communicate(b"\n", PATIENCE_S)[0] == b"cleaned up\n"
        assert process.returncode == 3


def test_an_interactive_shell_is_hung_up_by_the_signal_that_it_would_ignore(tmp_path):
    with host(tmp_path, "bash", "--norc", "-i", stdin=UNIX, env={"HANG_UP": "1"}) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"echo ready\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)

        assert process.wait(PATIENCE_S) == 128 + signal.SIGHUP


def test_stopping_the_host_stops_the_program_and_continuing_continues_it(tmp_path):
    program = "import itertools, os\nfor n in itertools.count(): os.write(1, b'%d\\n' % n)\n"
    # In a group of its own: ours may be an orphaned one, which SIGTSTP does not stop (POSIX 2.4.3).
    with host(tmp_path, sys.executable, "-c", program, process_group=0) as process:
        assert process.stdout is not None
        child = reports_of(tmp_path)["child"]
        lines = [process.stdout.readline() for _ in range(1000)]
        process.send_signal(signal.SIGTSTP)
        poll_until(lambda: state(child) == "T" and state(process.pid) == "T")
        process.send_signal(signal.SIGCONT)
        lines += [process.stdout.readline() for _ in range(100_000)]
        process.send_signal(signal.SIGTERM)
        process.stdout.close()

    assert lines == [b"%d\n" % number for number in range(101_000)]


def reports_of(tmp_path: Path) -> dict[str, Any]:
    poll_until(lambda: reports(tmp_path / "report"))
    return reports(tmp_path / "report")[0]


def state(pid: int) -> str:
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout[:1]


@pytest.mark.parametrize("signalled", [False, True], ids=["Ctrl-C", "kill -INT"])
def test_a_program_in_our_group_is_interrupted_once(tmp_path, signalled):
    """By the terminal, or by us if the signal was for us alone."""
    program = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: os.write(2, b'interrupted\\n'))\n"
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(4))\n"
        "os.write(2, b'ready\\n')\n"
        "while True: time.sleep(0.05)\n"  # pause() may miss a signal that came just before
    )
    inside = shlex.join(command("pipes", tmp_path / "report", sys.executable, "-c", program))
    # sh's own group is in front; a job in the background is in a group that is not.
    line = f"set -m; {inside} | cat & wait" if signalled else f"trap : INT; {inside} | (trap '' INT; cat)"
    with Terminal(["bash", "-c", line], env=environment({"SAME_GROUP": "1"})) as terminal:
        terminal.wait_for("ready")
        if signalled:
            os.kill(reports_of(tmp_path)["pid"], signal.SIGINT)
        else:
            terminal.send("\x03")
        terminal.wait_for("interrupted")
        os.kill(reports_of(tmp_path)["pid"], signal.SIGTERM)
        terminal.wait_exit()

        assert terminal.text.count("interrupted\r\n") == 1


def test_our_output_pipe_stays_as_blocking_as_it_was(tmp_path):
    """O_NONBLOCK would be shared with whoever else has the same pipe open."""
    read, write = os.pipe()
    try:
        with host(tmp_path, "sh", "-c", "echo ready; read x", stdin=UNIX, stdout=write) as process:
            assert os.read(read, 100) == b"ready\n"
            assert os.get_blocking(write)
            process.communicate(b"\n", PATIENCE_S)
        assert os.get_blocking(write)
    finally:
        os.close(read)
        os.close(write)


def test_the_pipes_are_gone_afterwards(tmp_path):
    run(tmp_path, "true")

    for path in reports(tmp_path / "report")[0]["paths"]:
        assert not Path(path).exists()
