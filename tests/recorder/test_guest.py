"""What a guest must not do to the program that it lives in, and what programs do to a guest.

Not here: what other recorders get wrong (test_defects.py), whole programs beside plain python
(test_identity.py).
"""

from __future__ import annotations

import sys
from collections import Counter

import pytest

from devtrace.recorder.values import Encoder
from tests.recorder.recordings import record

ENGINES = ["settrace"] if sys.version_info < (3, 12) else ["monitoring", "settrace"]
each_engine = pytest.mark.parametrize("engine", ENGINES)


def whole(run):  # type: ignore[no-untyped-def]
    """A run that ended well, and whose record has no gap."""
    assert (run.status, run.stderr) == (0, "")
    assert [told.note("gap") for told in run.told if told.note("gap")] == []
    return run


@each_engine
def test_files_that_have_got_our_descriptors_stay_as_the_program_wrote_them(tmp_path, engine):
    run = record(
        """
import os
os.closerange(3, 200)
files = []
for number in range(8):
    files.append(open(f"file{number}", "w+b", buffering=0))
for file in files:
    file.write(b"hello")
def work(n):
    found = 0
    for number in range(n):
        found += number
for _ in range(60):
    work(1000)
print(set(map(lambda file: os.pread(file.fileno(), 100, 0), files)))
""",
        tmp_path,
        "--engine",
        engine,
    )

    assert whole(run).stdout == "{b'hello'}\n"
    assert run.main.kinds("work").count("call") == 60


@each_engine
def test_a_thread_that_has_ended_holds_no_file(tmp_path, engine):
    run = record(
        """
import os, threading
def work(number):
    return number + 1
for number in range(50):
    thread = threading.Thread(target=work, args=(number,))
    thread.start()
    thread.join()
print(len(os.listdir("/proc/self/fd")) < 20)
""",
        tmp_path,
        "--engine",
        engine,
    )

    assert whole(run).stdout == "True\n"
    assert sum(told.kinds("work").count("call") for told in run.told) == 50


@each_engine
def test_a_thread_for_which_there_is_no_room_ends_the_record_and_not_the_program(tmp_path, engine):
    run = record(
        """
import threading
def work():
    return 1
for number in range(20):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
print("done")
""",
        tmp_path,
        "--engine",
        engine,
        environment={"DEVTRACE_RECORD_TRACE_MB": "1"},
    )

    assert (run.status, run.stdout) == (0, "done\n")
    assert run.main.note("gap") == {"reason": "trace_full"}
    assert run.main.note("exit")["code"] == 0


@each_engine
def test_a_call_whose_later_argument_is_no_small_number_is_told_once(tmp_path, engine):
    run = record(
        "def f(a, b):\n    return b\nfor n in range(40):\n    f('a', -n)\n    f('a', 1 << 50)\n",
        tmp_path,
        "--engine",
        engine,
    )

    assert Counter(whole(run).main.kinds("f")) == {"call": 80, "line": 80, "return": 80}
    assert len(run.main.blocks) == 1


@each_engine
def test_an_exception_at_the_place_of_one_that_is_gone_is_told(tmp_path, engine):
    run = record(
        """
class Odd:
    def __getattr__(self, name):
        raise AttributeError(name)
odd = Odd()
for _ in range(30):
    hasattr(odd, "x")
""",
        tmp_path,
        "--engine",
        engine,
    )

    assert whole(run).main.kinds("Odd.__getattr__").count("raise") == 30


@each_engine
def test_functions_that_a_test_replaces_are_not_called_by_us(tmp_path, engine):
    run = record(
        """
import json, os, threading, time
from unittest import mock
def early(text):
    return text * 2
def late():
    return 1
def later():
    return 2
with mock.patch("json.dumps") as dumps, mock.patch("time.time_ns") as clock:
    late()
    for number in range(3000):
        early("a%d" % number)
with mock.patch("os.open") as opened, mock.patch("os.getpid") as pid, mock.patch("os.path.abspath") as path:
    exec(compile("def f(): return 3\\nf()", "other.py", "exec"))
    thread = threading.Thread(target=later)
    thread.start()
    thread.join()
print(dumps.call_count, clock.call_count, opened.call_count, pid.call_count, path.call_count)
""",
        tmp_path,
        "--engine",
        engine,
    )

    assert whole(run).stdout == "0 0 0 0 0\n"


@each_engine
def test_a_working_directory_that_is_gone_is_no_matter(tmp_path, engine):
    run = record(
        """
import os, tempfile
here = tempfile.mkdtemp()
os.chdir(here)
os.rmdir(here)
exec(compile("def f():\\n    return 3\\nf()", "other.py", "exec"))
print("done")
""",
        tmp_path,
        "--engine",
        engine,
    )

    assert whole(run).stdout == "done\n"
    assert "f" in {name for _, name, _, _ in run.main.events}


@each_engine
def test_a_name_with_half_a_character_does_not_end_the_record(tmp_path, engine):
    run = record("kept = {'\\ud800': '\\udcff'}\nafter = 1\n", tmp_path, "--engine", engine)

    assert whole(run).main.values("after") == [1]


@each_engine
def test_a_task_ends_when_the_program_lets_go_of_it(tmp_path, engine):
    run = record(
        """
import asyncio, gc, weakref
async def main():
    return weakref.ref(asyncio.current_task())
task = asyncio.run(main())
gc.collect()
print(task())
""",
        tmp_path,
        "--engine",
        engine,
    )

    assert whole(run).stdout == "None\n"


@each_engine
def test_a_handlers_exception_that_looks_like_one_of_ours_reaches_the_program(tmp_path, engine):
    run = record(
        """
import signal
found = 0
def handle(*_):
    raise ValueError("the program's")
def work(number):
    held = {"a": [number]}
    return number
signal.signal(signal.SIGALRM, handle)
for trial in range(60):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005 + trial * 0.00002)
        while True:
            work(trial)
            work(trial)
    except ValueError:
        found += 1
print(found)
""",
        tmp_path,
        "--engine",
        engine,
        timeout=20,
    )

    assert (run.status, run.stdout) == (0, "60\n")


@each_engine
def test_a_value_under_a_secret_name_is_hidden_before_the_others_are_told(tmp_path, engine):
    run = record(
        """
import collections, enum, typing
made = "canary%02dxyz".__mod__
class Field(enum.StrEnum):
    PASSWORD = "password"
class Login(typing.NamedTuple):
    user: str
    api_key: str
class Refused(Exception):
    def __init__(self, password):
        self.password = password
def connect(url, password):
    return 1
def both():
    url, password = "pg://" + made(6), made(6)
login = Login("ana", made(1))
plain = collections.namedtuple("Plain", "user password")("ana", made(2))
by_bytes = {b"password": made(3)}
by_text = {Field.PASSWORD: made(4)}
try:
    raise Refused(made(5))
except Refused as error:
    pass
connect("pg://" + made(7), made(7))
both()
""",
        tmp_path,
        "--engine",
        engine,
    )

    assert whole(run).main.values("login") == [
        ["sub", "__main__.Login", ["tuple", 2, ["ana", ["redacted", "name"]]]]
    ]
    assert [number for number in range(1, 8) if b"canary%02dxyz" % number in run.text()] == []


def test_of_a_deep_table_no_more_is_read_than_a_record_has_room_for():
    seen: list[str] = []

    def redact(text: str) -> str:
        seen.append(text)
        return text

    encoder = Encoder(
        depth=3, items=100, size=1024, redact=redact, action=lambda _: 0, withheld=lambda *_: ""
    )
    row = [f"{number:0100}" for number in range(100)]

    assert encoder.encode([[row] * 100] * 100).startswith('["list",100,')
    assert len(seen) < 5_000  # of a million


# With sys.settrace CPython 3.12 and 3.13 let such an exception pass each `try` now and then, without us too.
@pytest.mark.parametrize("engine", ENGINES[:1])
def test_an_exception_of_a_signal_handler_is_caught_around_a_loop_in_one_line(tmp_path, engine):
    run = record(
        """
import signal, time
class Over(Exception): pass
def stop(*_): raise Over
signal.signal(signal.SIGALRM, stop)
def work(table):
    for number in range(20): table[number % 5] = [str(number), {"a": number}]
def turn():
    table = {}
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.004)
        while True: work(table)
    except Over:
        return 1
caught = 0
for _ in range(40):
    try:
        caught += turn()
    except Over:
        pass
print(caught)
""",
        tmp_path,
        "--engine",
        engine,
    )

    assert (run.status, run.stderr) == (0, "")
    assert run.stdout == "40\n"
