"""`start(path, format="json")`: files that CodeTracer reads, of programs as they are."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from devtrace.recorder.formats.codetracer import each_block
from devtrace.store.trace.segments import read_blocks
from tests.codetracer import Trace, plain
from tests.interpreters import recordable
from tests.recorder.recordings import CHECKOUT, record
from tests.store.pens import Pen

EVERYTHING = """
import asyncio, enum, threading
from dataclasses import dataclass

class Color(enum.Enum):
    RED = 1

@dataclass
class Point:
    x: int
    y: float

def numbers(limit):
    for number in range(limit):
        yield number

def bad(depth):
    if not depth:
        raise ValueError("bad", depth)
    return bad(depth - 1)

def kinds(big=2 ** 70):
    many = list(range(1000))
    cycle = []
    cycle.append(cycle)
    point, color, half, raw = Point(1, 2.5), Color.RED, float("nan"), b"\\x00hi"
    password = "hunter2-is-long"
    odd = "\\udce9"
    return point

def work(n):
    total = 0
    for i in range(n):
        total += i
    return total

async def sleepy(n):
    await asyncio.sleep(0)
    return n

async def both():
    return await asyncio.gather(sleepy(1), sleepy(2))

def main():
    kinds()
    print(list(numbers(3)))
    threads = [threading.Thread(target=work, args=(30,)) for _ in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    asyncio.run(both())
    try:
        bad(2)
    except ValueError:
        pass
    return len(threads)

main()
raise SystemExit(3)
"""


ORDERED = ("Step", "Call", "Return")


def in_json(source, folder, *options, **more):
    """A script that was recorded, and what its files say."""
    run = record(source, folder, "--format", "json", *options, **more)
    return run, Trace(run.folder)


@pytest.mark.parametrize("version", sorted(recordable()))
def test_each_interpreter_tells_codetracer_of_a_program_with_all_there_is(version, tmp_path):
    script = tmp_path / "app.py"
    script.write_text(EVERYTHING)
    out = tmp_path / "out"

    run = subprocess.run(
        [recordable()[version], "-m", "devtrace.recorder", "-o", str(out), "--format", "json", str(script)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip

    assert (run.returncode, run.stdout, run.stderr) == (3, "[0, 1, 2]\n", "")
    trace = Trace(out)
    assert plain(trace.top.result[0]) == 3
    (module,) = trace.top.inside
    assert module.name == "<__main__>"
    (main,) = (call for call in module.inside if call.name == "main")
    assert plain(main.result[0]) == 3
    assert [plain(call.result[0]) for call in trace.called("numbers")] == [0, 1, 2, None]
    assert [plain(call.result[0]) for call in trace.called("bad")] == ["ValueError: ('bad', 0)"] * 3
    assert [plain(call.arguments["depth"]) for call in trace.called("bad")] == [2, 1, 0]
    assert [plain(call.result[0]) for call in trace.called("work")] == [435] * 3
    (kinds,) = trace.called("kinds")
    assert plain(kinds.arguments["big"]) == 2**70
    assert plain(kinds.result[0]) == [1, 2.5]
    last = kinds.steps[-1][1]
    assert [plain(last[name]) for name in ("color", "raw", "odd")] == [("RED", 1), "b'\\x00hi'", "\ufffd"]
    many = next(variables["many"] for _, variables in kinds.steps if "many" in variables)
    assert plain(many)[99:] == [99, "… 900 more"]
    assert {kind for kind, _ in trace.threads} == {"ThreadStart", "ThreadSwitch", "ThreadExit"}
    assert "".join(content for kind, content in trace.log if kind == 0) == "[0, 1, 2]\n"


def test_steps_calls_and_returns_stand_in_the_order_of_codetracers_own_recorder(tmp_path):
    source = """def double(x):
    y = x * 1.5
    return y
def fails():
    raise ValueError("bad")
double(2)
try:
    fails()
except ValueError:
    pass
"""
    _, trace = in_json(source, tmp_path)

    told = [next(iter(event.items())) for event in trace.events]
    order = [value["line"] if kind == "Step" else kind for kind, value in told if kind in ORDERED]
    # What codetracer-python-recorder 0.3.0 writes of the same program.
    assert order == [
        "Call", 1, "Call", 1, 4, 6, 1, "Call", 2, 3, "Return", 7, 8, 4, "Call", 5, "Return", 9, 10, "Return",
        "Return",
    ]  # fmt: skip


def test_what_is_printed_and_read_stands_behind_the_step_that_did(tmp_path):
    source = """import sys
def speak(word):
    print("one", end=" ")
    print(word)
    return sys.stdin.readline()
speak("two")
print("three", file=sys.stderr)
"""
    _, trace = in_json(source, tmp_path, input="yes\n")

    by_step: list[list[object]] = []  # what was printed and read behind each step; slow writes are in parts
    for event in trace.events:
        ((kind, told),) = event.items()
        if kind == "Step":
            by_step.append([told["line"]])
        elif kind == "Event":
            about = json.loads(told["metadata"])
            assert (about["line"], about["thread"]) == (by_step[-1][0], "ThreadId(1)")
            by_step[-1] = [about["line"], told["kind"], "".join([*by_step[-1][2:], told["content"]])]
    assert by_step[-4:] == [[3, 0, "one "], [4, 0, "two\n"], [5, 3, "yes\n"], [7, 2, "three\n"]]


def test_no_more_than_the_three_files_is_left_and_they_are_private(tmp_path):
    run, _ = in_json("x = 1\n", tmp_path)

    assert sorted(path.name for path in run.folder.iterdir()) == [
        "trace.json", "trace_metadata.json", "trace_paths.json",
    ]  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) for path in run.folder.iterdir()} == {0o600}


def test_the_metadata_tell_of_the_program_and_its_end(tmp_path):
    run, trace = in_json("raise SystemExit(7)\n", tmp_path, arguments=["--fast", "in.csv"])

    assert run.status == 7
    assert trace.metadata["args"] == ["--fast", "in.csv"]
    assert trace.metadata["workdir"] == str(tmp_path)
    assert trace.metadata["recorder"]["target_script"] == str(tmp_path / "program.py")
    assert trace.metadata["process_exit_status"] == {"code": 7, "label": None}
    assert {"filters", "stats"} <= set(trace.metadata["trace_filter"])
    assert trace.paths[0] == str(tmp_path / "program.py")


def test_no_secret_is_in_the_files(tmp_path):
    source = """
def login(password, cfg):
    token = password
    raise ValueError(password)
try:
    login("Tr0ub4dor-and-3", {"password": "Tr0ub4dor-and-3"})
except ValueError:
    pass
"""
    run, trace = in_json(source, tmp_path, arguments=["--token=ghp_" + "a1B2" * 9])

    assert b"Tr0ub4dor" not in run.text()
    assert b"ghp_a1B2" not in run.text()
    value = trace.called("login")[0].arguments["password"]
    assert (value["kind"], value["msg"], trace.type_of(value)) == ("Error", "<redacted>", "Redacted")


def test_same_names_in_two_files_are_two_functions(tmp_path):
    (tmp_path / "other.py").write_text("def helper():\n    return 'other'\n")
    source = "import other\ndef helper():\n    return 'mine'\nhelper()\nother.helper()\n"

    _, trace = in_json(source, tmp_path)

    assert [plain(call.result[0]) for call in trace.called("helper")] == ["mine", "other"]
    assert len([one for one in trace.functions if one[2] == "helper"]) == 2
    assert "<other>" in {call.name for call in trace.calls}


def test_a_list_that_is_in_itself_comes_to_an_end(tmp_path):
    _, trace = in_json("def f():\n    a = []\n    a.append(a)\n    return a\nf()\n", tmp_path)

    assert plain(trace.called("f")[0].result[0]) == ["<itself, 1 up>"]


def test_a_global_of_ten_thousand_numbers_does_not_make_the_file_long(tmp_path):
    lines = "\n".join(f"    x{number} = {number}" for number in range(140))
    run, trace = in_json(f"big = list(range(10_000))\ndef f():\n{lines}\nf()\n", tmp_path)

    (call,) = trace.called("f")
    assert len(call.steps) == 140
    assert len(run.text()) < 500_000  # 29,600,000 where each line tells all globals


def test_no_code_of_the_programs_is_run_for_a_value(tmp_path):
    source = """
class Loud:
    def __init__(self): self.kept = 1
    def __str__(self): print("asked"); return "loud"
    __repr__ = __str__
def f(loud):
    x = 1
    return loud
f(Loud())
"""
    run, trace = in_json(source, tmp_path)

    assert run.stdout == ""
    assert plain(trace.called("f")[0].result[0]) == [1]


def test_many_threads_that_call_at_once_all_come_to_their_end(tmp_path):
    source = """
import threading
def leaf(n): return n
def work():
    for n in range(300): leaf(n)
threads = [threading.Thread(target=work) for _ in range(4)]
for one in threads: one.start()
for one in threads: one.join()
"""
    _, trace = in_json(source, tmp_path)

    assert len(trace.called("leaf")) == 1_200
    assert [kind for kind, _ in trace.threads].count("ThreadExit") == 5


def test_a_long_program_takes_no_more_memory_than_a_short_one(tmp_path):
    source = """
import resource, sys
sys.path.insert(0, {checkout!r})
from devtrace.recorder import api
def loop(n):
    for i in range(n): pass
api.start("out", format="json", policy={{"fold_mb": 0}})
loop({n})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
api.stop(exit_code=0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    script = tmp_path / "app.py"
    script.write_text(source.format(checkout=str(CHECKOUT), n=100_000))

    run = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert (tmp_path / "out" / "trace.json").stat().st_size > 10_000_000
    assert int(run.stdout) < 6_000  # KiB; the segments are a third of a block each, and read one by one


# --- where to ---


@pytest.mark.parametrize(
    ("told", "expected"), [("kept/trace.json", "kept"), ("kept", "kept"), ("trace.json", ".")]
)
def test_codetracers_variable_names_the_file_or_its_directory(told, expected, tmp_path):
    run = started(tmp_path, "api.start(format='json')", {"CODETRACER_DB_TRACE_PATH": told})

    assert run.stderr == ""
    assert Trace(tmp_path / expected).called("work")


def test_a_path_goes_before_the_variable(tmp_path):
    started(tmp_path, "api.start('mine', format='json')", {"CODETRACER_DB_TRACE_PATH": "theirs/trace.json"})

    assert Trace(tmp_path / "mine").called("work")
    assert not (tmp_path / "theirs").exists()


def test_the_variable_is_not_of_the_binary_format(tmp_path):
    run = started(tmp_path, "api.start()", {"CODETRACER_DB_TRACE_PATH": "theirs"})

    assert "ERR_STORE_MISSING" in run.stderr
    assert not (tmp_path / "theirs").exists()


def started(folder, how, environment):
    script = folder / "app.py"
    script.write_text(f"from devtrace.recorder import api\ndef work(): return 1\n{how}\nwork()\napi.stop()\n")
    return subprocess.run(
        [sys.executable, str(script)], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **environment},
    )  # fmt: skip


def test_with_a_store_both_have_the_trace(tmp_path):
    store = tmp_path / ".devtrace"
    subprocess.run(
        [sys.executable, "-m", "devtrace", "init"], cwd=tmp_path, check=True, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip

    run = started(tmp_path, "api.start('out', format='json')", {})

    assert run.stderr == ""
    assert Trace(tmp_path / "out").called("work")
    assert len([*(store / "spool").glob("*.seg")]) == 1


# --- reading segments ---


def test_blocks_come_in_their_order_wherever_a_fold_put_them(tmp_path):
    pen = Pen(tmp_path)
    for _ in range(5):
        pen.turn(over=2)

    blocks = [block.number for block in each_block(pen.path)]

    assert blocks == [block.number for block in read_blocks(pen.path.read_bytes())] == sorted(blocks)
    assert blocks[-1] == 6


@pytest.mark.parametrize("cut", [0, 1, 15, 16, 65_535, 65_536, 65_537])
def test_half_a_block_is_none(tmp_path, cut):
    pen = Pen(tmp_path)
    pen.turn()
    whole = pen.path.read_bytes()
    torn = tmp_path / "torn.seg"
    torn.write_bytes(whole[:cut])

    assert len([*each_block(torn)]) == cut // 65_536


def test_what_the_trace_says_of_its_process_is_redacted_and_goes_before_what_is_known(tmp_path):
    from devtrace.recorder.formats.codetracer import write_json

    pen = Pen(tmp_path / "spool").begin(argv=["app.py", "--token=<redacted>"])
    pen.close()
    out = tmp_path / "out"
    out.mkdir()

    write_json(out, [pen.path], {"argv": ["app.py", "--token=secret"], "cwd": "/"}, 0, None)

    assert json.loads((out / "trace_metadata.json").read_text())["args"] == ["--token=<redacted>"]


def test_without_its_first_block_only_what_is_no_secret_is_told(tmp_path):
    from devtrace.recorder.formats.codetracer import write_json

    write_json(tmp_path, [], {"argv": ["app.py", "--token=secret"], "cwd": "/here"}, 0, None)

    assert Path(tmp_path, "trace_metadata.json").read_text().count("secret") == 0
    assert Trace(tmp_path).metadata["workdir"] == "/here"


def test_a_hot_loop_is_told_in_part_and_the_rest_is_counted(tmp_path):
    script = tmp_path / "app.py"
    script.write_text("""
from devtrace.recorder import api
def loop(n):
    total = 0
    for i in range(n):
        total += i
    return total
api.start("out", format="json", policy={"fold_mb": 1})
loop(60_000)
api.stop(exit_code=0)
""")

    subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        check=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )

    trace = Trace(tmp_path / "out")
    (call,) = trace.called("loop")
    told = sum(line == 6 for line, _ in call.steps)
    left_out = next(int(text.split()[3]) for kind, text in trace.log if kind == 12 and ":6, in loop" in text)
    assert 0 < told < 60_000
    assert told + left_out == 60_000
    assert plain(call.result[0]) == sum(range(60_000))
