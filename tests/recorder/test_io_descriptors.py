"""`--io-capture proxies+fd`: what is written below Python too, in its order, and nothing twice.

Not here: the mirror by itself (test_fd_mirror.py, test_mirror_process.py), what Python writes
(test_io_cases.py).
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from devtrace.store.trace import records
from tests.processes import DEADLINE
from tests.recorder.captured import LAUNCHER, Captured, buffered, numbered, run_captured
from tests.terminals import Terminal

MIXED = """\
import ctypes, os, subprocess, sys
c = ctypes.CDLL(None)
def work(round):
    print("own", round, "@@")
    sys.stdout.flush()
    os.write(1, b"native %d\\n" % round)
    subprocess.run(["sh", "-c", "echo child %d; echo of it >&2" % round])
    print("again", round, "@@", flush=True)
    c.puts(b"libc %d" % round)
    c.fflush(None)
    print("err", round, "@@", file=sys.stderr)
    sys.stdout.buffer.write(b"bytes \\xff\\n")
for round in range(3):
    work(round)
"""


def plain(source, folder, **variables):
    script = folder / "script.py"
    script.write_text(numbered(source))
    return subprocess.run(
        [sys.executable, script.name],
        cwd=folder,
        env=buffered(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_all_bytes_are_captured_once_and_in_their_order(tmp_path, unbuffered):
    expected = plain(MIXED, tmp_path, PYTHONUNBUFFERED=unbuffered)
    ran = run_captured(MIXED, tmp_path, "--io-capture", "proxies+fd", PYTHONUNBUFFERED=unbuffered)

    assert (ran.status, ran.out, ran.err) == (0, expected.stdout, expected.stderr)
    assert ran.captured.bytes_of("stdout") == expected.stdout
    assert ran.captured.bytes_of("stderr") == expected.stderr
    mirrored = [chunk for chunk in ran.captured.chunks if chunk.flags & records.MIRROR]
    of_kind = {re.sub(rb"\d|\n", b"", chunk.payload) for chunk in mirrored}
    assert of_kind - {b""} == {b"native ", b"child ", b"of it", b"libc "}
    assert ran.captured.misplaced() == []
    (told,) = ran.captured.note("io")
    assert (told["mirror"]["drained"], told["mirror"]["failed"]) == (True, "")


LATE = """\
import os, signal, subprocess
from pathlib import Path
def mirrors():
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\\0")
        except OSError:
            continue
        if any(word.endswith(b"mirror_process.py") for word in words) and os.fsencode(KEPT) in words:
            yield int(entry.name)
KEPT = os.path.abspath("kept")
(mirror,) = mirrors()
os.kill(mirror, signal.SIGSTOP)
os.write(1, b"native\\n")
wakes = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -CONT {mirror}"], stdout=2)
print("own", "words", flush=True)
wakes.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the mirror's process is found in /proc")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_waits_in_a_mirror_that_is_slow_was_there_first(tmp_path, unbuffered):
    ran = run_captured(LATE, tmp_path, "--io-capture", "proxies+fd", PYTHONUNBUFFERED=unbuffered)

    assert (ran.status, ran.out) == (0, b"native\nown words\n")
    assert ran.captured.bytes_of("stdout") == b"native\nown words\n"


def test_at_a_terminal_children_see_a_terminal_of_its_size(tmp_path):
    (tmp_path / "script.py").write_text(
        "import os, subprocess, sys\n"
        "print(sys.stdout.isatty(), os.get_terminal_size())\n"
        "subprocess.run([sys.executable, '-c', 'import os, sys; "
        'print("child", sys.stdout.isatty(), os.get_terminal_size())\'])\n'
        "os.write(1, b'native\\n')\n"
        "print('end')\n"
    )
    shown = []
    for words in ([], [LAUNCHER, "--io-capture", "proxies+fd", "--out-dir", str(tmp_path / "kept")]):
        with Terminal(
            [sys.executable, *words, "script.py"], cwd=tmp_path, env=buffered(), rows=31, cols=97
        ) as terminal:
            assert terminal.wait_exit() == 0
            shown.append(terminal.shown)

    assert shown[0] == shown[1]
    assert shown[0].count(b"True") == 2
    assert shown[0].count(b"columns=97, lines=31") == 2
    captured = Captured(tmp_path / "kept")
    assert captured.bytes_of("stdout").replace(b"\n", b"\r\n") == shown[0]


def test_what_native_code_prints_of_a_secret_is_shown_and_not_kept(tmp_path):
    source = "import os\nos.write(1, b'key ' + os.environ['API_TOKEN'].encode()[:9])\n"
    source += "os.write(1, os.environ['API_TOKEN'].encode()[9:] + b' end\\n')\n"
    secret = "q7Zk0vW3nB8xTfLr2MdS"
    ran = run_captured(source, tmp_path, "--io-capture", "proxies+fd", API_TOKEN=secret)

    assert ran.out == f"key {secret} end\n".encode()
    assert secret.encode() not in ran.raw
    assert secret[:9].encode() not in ran.raw
    assert secret[9:].encode() not in ran.raw


def test_where_no_descriptor_can_be_had_that_is_said_and_the_program_runs(tmp_path):
    source = """\
import resource
from devtrace import recorder
used = len(__import__("os").listdir("/proc/self/fd")) - 1
recorder.configure_policy(io_capture="proxies+fd", log_file="log")
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (used + 4, limits[1]))
recorder.start("kept")
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
print("still here")
recorder.stop()
"""
    ran = plain(source, tmp_path, PYTHONPATH=":".join(sys.path))

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"still here\n", b"")
    captured = Captured(tmp_path / "kept")
    assert captured.bytes_of("stdout") == b"still here\n"
    assert [gap["reason"] for gap in captured.note("gap")] == ["fd_mirror_failed"]
    assert "what is written below Python is not recorded" in (tmp_path / "log").read_text()


def test_afterwards_the_descriptors_are_those_that_were_there(tmp_path):
    source = """\
import os
from devtrace import recorder
def state():
    return sorted(os.listdir("/proc/self/fd")), [(os.fstat(fd).st_dev, os.fstat(fd).st_ino) for fd in (1, 2)]
recorder.start("kept", policy={"io_capture_fd_fallback": True})
recorder.stop()
before = state()
for number in range(5):
    with recorder.trace("kept", policy={"io_capture_fd_fallback": True}):
        os.write(1, b"native\\n")
assert state() == before
"""
    ran = plain(source, tmp_path, PYTHONPATH=":".join(sys.path))

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"native\n" * 5, b"")
    mirrored = [one for one in Captured(tmp_path / "kept").chunks if one.flags & records.MIRROR]
    assert b"".join(one.payload for one in mirrored) == b"native\n" * 5
