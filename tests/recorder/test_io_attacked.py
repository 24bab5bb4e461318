"""What programs did that broke the capture of their output once: handlers that print, streams replaced.

Not here: the cases that every capture must pass (io_cases.py).
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

from tests.processes import DEADLINE
from tests.recorder.captured import LAUNCHER, Captured, buffered, run_captured


def test_a_handler_that_prints_in_the_midst_of_printing_ends_nothing(tmp_path):
    ran = run_captured(
        """\
import signal, sys
def told(*_): sys.stdout.write("told by the handler\\n")
signal.signal(signal.SIGALRM, told)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
for number in range(4_000): print("number", number)
signal.setitimer(signal.ITIMER_REAL, 0)
""",
        tmp_path,
    )

    assert (ran.status, ran.err) == (0, b"")
    assert ran.out.count(b"told by the handler\n") > 0
    captured, console = Counter(ran.captured.bytes_of("stdout")), Counter(ran.out)
    missed = (console - captured).total() + (captured - console).total()
    assert missed < len(ran.out) / 100  # a handler may come between any two steps of a hook of ours


def test_what_a_handler_interrupts_is_written_as_without_us(tmp_path):
    ran = run_captured(
        """\
import signal, sys
class Over(Exception): pass
def stop(*_): raise Over
signal.signal(signal.SIGALRM, stop)
text = "\\xe9" * 3_000_000 + "\\n"
signal.setitimer(signal.ITIMER_REAL, 0.002)
try:
    sys.stdout.write(text)
    signal.pause()
except Over: pass
sys.stdout.flush()
""",
        tmp_path,
    )

    assert (ran.status, ran.err, len(ran.out)) == (0, b"", 6_000_001)


def test_a_stream_that_is_replaced_is_recorded_once_and_a_wrapper_of_it_too(tmp_path):
    ran = run_captured(
        """\
import os, sys
print("one @@")
sys.stdout.flush()
sys.stdout = os.fdopen(1, "w", 1, closefd=False)
print("two @@")
class Tee:
    def __init__(self, old): self.old = old
    def write(self, text): return self.old.write(text)
    def __getattr__(self, name): return getattr(self.old, name)
mine = sys.stdout = Tee(sys.stdout)
print("three")
assert sys.stdout is mine
""",
        tmp_path,
    )

    assert (ran.status, ran.err) == (0, b"")
    assert ran.captured.bytes_of("stdout") == ran.out
    assert ran.captured.misplaced() == []


def test_a_wrong_call_of_a_stream_says_what_it_says_without_us(tmp_path):
    source = """\
import sys, traceback
for given, named in (((5,), {}), ((), {}), ((b"x",), {}), (("x",), {"end": ""})):
    try: sys.stdout.write(*given, **named)
    except TypeError: traceback.print_exc()
"""
    ran = run_captured(source, tmp_path)
    plain = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=buffered(), capture_output=True, check=False
    )

    assert (ran.status, ran.err) == (plain.returncode, plain.stderr)


def test_what_is_typed_behind_a_prompt_for_a_secret_is_not_kept(tmp_path):
    (tmp_path / "script.py").write_text(
        "import sys\nprint('Password: ', end='', flush=True)\nfound = sys.stdin.readline()\nprint('thanks')\n"
    )
    kept = tmp_path / "kept"
    done = subprocess.run(
        [sys.executable, LAUNCHER, "--out-dir", str(kept), "--io-capture", "proxies", "script.py"],
        cwd=tmp_path,
        env=buffered(DEVTRACE_RECORD_DETAIL="lines"),
        input=b"plum-Canyon-4471\n",
        capture_output=True,
        timeout=DEADLINE,
        check=True,
    )

    assert done.stdout == b"Password: thanks\n"
    assert Captured(kept).bytes_of("stdin").startswith(b"[redacted")
    assert not any(b"Canyon" in path.read_bytes() for path in kept.glob("*.seg"))
