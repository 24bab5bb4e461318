"""What recorders are known to get wrong, each tried on ours: no hang, no crash, nothing lost, nothing run.

The numbers are those of the measured defects that this recorder was built against.
"""

from __future__ import annotations

import os
import signal
import sys

import pytest

from tests.recorder.recordings import record

ENGINES = ["settrace"] if sys.version_info < (3, 12) else ["monitoring", "settrace"]
each_engine = pytest.mark.parametrize("engine", ENGINES)


@each_engine
def test_d1_four_busy_threads_do_not_hang_and_none_loses_a_call(tmp_path, engine):
    run = record(
        """
import threading
class Slow:
    def __str__(self): return "slow"
def work(number, thing):
    return number + 1
def many():
    for number in range(3000):
        work(number, Slow())
threads = list(map(threading.Thread, [None] * 4, [many] * 4))
for thread in threads: thread.start()
for thread in threads: thread.join()
""",
        tmp_path,
        "--engine",
        engine,
    )

    assert (run.status, run.stderr) == (0, "")
    calls = [told.kinds("work").count("call") for told in run.told]
    assert sorted(calls) == [0, 3000, 3000, 3000, 3000]
    assert all(
        told.kinds("work").count("return") == count for told, count in zip(run.told, calls, strict=True)
    )


def test_d2_a_list_in_itself_is_a_reference(tmp_path):
    run = record("def main():\n    a = []\n    a.append(a)\n    b = {}\n    b['b'] = [b]\nmain()\n", tmp_path)

    assert run.status == 0, run.stderr
    assert run.main.values("a")[-1] == ["list", 1, [["ref", 1]]]
    assert run.main.values("b")[-1] == ["dict", 1, [["b", ["list", 1, [["ref", 2]]]]]]


def test_a_structure_that_nests_without_end_is_cut(tmp_path):
    run = record(
        """
import os
def main():
    a = []
    for _ in range(20_000):
        a = [a]
    os._exit(0)  # taking it down would nest as deeply
main()
""",
        tmp_path,
    )

    assert run.status == 0, run.stderr
    assert run.main.values("a")[-1] == ["list", 1, [["list", 1, [["list", 1, [["deep"]]]]]]]


DEATHS = {
    "os._exit(7)": 7,
    "os.kill(os.getpid(), 9)": -signal.SIGKILL,
    "ctypes.string_at(1)": -signal.SIGSEGV,
    "os.abort()": -signal.SIGABRT,
    'os.execv("/bin/true", ["true"])': 0,
}


@each_engine
@pytest.mark.parametrize("death", DEATHS)
def test_d3_every_event_up_to_the_death_is_there(tmp_path, death, engine):
    run = record(
        f"""
import ctypes, os, resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
def main():
    total = 0
    for number in range(20_000):
        total += number
    last = "the last"
    {death}
main()
""",
        tmp_path,
        "--engine",
        engine,
    )

    assert run.status == DEATHS[death]
    told = run.main
    assert told.values("total")[-1] == sum(range(20_000))
    assert told.kinds("main").count("line") >= 40_003
    assert told.events[-1][:2] == ("line", "main")
    assert told.variables[-1]["last"] == "the last"
    assert told.note("exit") is None


def test_d4_a_large_global_is_not_written_at_each_line(tmp_path):
    run = record(
        """
numbers = list(range(10_000))
def main():
    for number in range(140):
        other = number
    return len(numbers)
main()
""",
        tmp_path,
    )

    told = run.main
    assert len(told.values("numbers")) == 1
    assert told.values("numbers")[0][:2] == ["list", 10_000]
    used = sum(len(block.raw.rstrip(b"\0")) for block in told.blocks)
    assert used < 20_000  # bytes, for some 290 events


def test_d5_functions_of_one_name_in_two_files_are_two(tmp_path):
    (tmp_path / "other.py").write_text("def same():\n    return 1\n")
    run = record("import other\ndef same():\n    return 2\nsame()\nother.same()\n", tmp_path)

    found = {
        (function.path.rpartition("/")[2], function.line)
        for function in run.main.replay.functions.values()
        if function.name == "same"
    }
    assert found == {("other.py", 1), ("program.py", 2)}


def test_d6_each_thread_has_a_stack_of_its_own(tmp_path):
    run = record(
        """
import threading
gate = threading.Barrier(2)
def inner(): gate.wait()
def outer(): inner()
threads = [threading.Thread(target=outer, name=f"t{n}") for n in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
""",
        tmp_path,
    )

    names = {told.note("thread")["name"] for told in run.told}
    assert names == {"MainThread", "t0", "t1"}
    for told in run.told:
        if told.note("thread")["name"] != "MainThread":
            assert [event[:2] for event in told.events if event[0] != "line"] == [
                ("call", "outer"),
                ("call", "inner"),
                ("return", "inner"),
                ("return", "outer"),
            ]


@pytest.mark.parametrize(
    ("end", "status", "stderr"),
    [
        ("sys.exit()", 0, ""),
        ("sys.exit(3)", 3, ""),
        ('sys.exit("told")', 1, "told\n"),
        ("raise SystemExit(None)", 0, ""),
    ],
)
def test_d7_the_program_ends_as_it_would_alone(tmp_path, end, status, stderr):
    run = record(f"import sys\n{end}\n", tmp_path)

    assert (run.status, run.stderr) == (status, stderr)
    assert run.main.note("exit")["code"] == status


def test_d7_a_traceback_shows_no_frame_of_ours(tmp_path):
    run = record("def f():\n    {}['x']\nf()\n", tmp_path)

    assert run.status == 1
    assert "devtrace" not in run.stderr
    assert run.stderr.count("File ") == 2


def test_d8_a_module_beside_the_script_is_found(tmp_path):
    (tmp_path / "sibling.py").write_text("value = 5\n")
    run = record("import sibling, sys\nprint(sibling.value, __spec__, sys.path[0])\n", tmp_path)

    assert run.stdout == f"5 None {tmp_path}\n"


def test_d9_options_behind_the_script_are_its_own(tmp_path):
    words = ["--log-level", "foo", "--require-trace", "--", "-m", "x"]
    run = record("import sys\nprint(sys.argv[1:])\n", tmp_path, arguments=words)

    assert run.stdout == f"{words}\n"


@each_engine
def test_d12_no_code_of_a_value_is_ever_run(tmp_path, engine):
    run = record(
        """
ran = []
class Loud:
    def __getattribute__(self, name): ran.append(name); return object.__getattribute__(self, name)
    def __repr__(self): ran.append("repr"); return ""
    __str__ = __hash__ = __eq__ = __len__ = __iter__ = __bool__ = __format__ = __repr__
    @property
    def size(self): ran.append("size"); return 1
class Meta(type):
    def __getattribute__(cls, name): ran.append(name); return type.__getattribute__(cls, name)
class Odd(metaclass=Meta):
    pass
def main():
    loud = object.__new__(Loud)
    odd = object.__new__(Odd)
    both = [loud, odd, {1: loud}]
    both.append(loud)
    return both
found = main()
ran.clear()
found = main()
print(ran)
""",
        tmp_path,
        "--engine",
        engine,
    )

    assert run.stdout == "[]\n"
    assert run.main.values("loud")[0][:2] == ["opaque", "__main__.Loud"]


def test_d13_the_child_of_a_fork_is_recorded_by_itself(tmp_path):
    run = record(
        """
import os
def child(number): return number * 2
for number in range(2):
    pid = os.fork()
    if not pid:
        child(number)
        os._exit(number)
    os.waitpid(pid, 0)
""",
        tmp_path,
    )

    assert run.status == 0, run.stderr
    forked = [told for told in run.told if told.note("process")["forked_from"]]
    assert len(run.told) == 3
    assert [told.kinds("child") for told in forked] == [["call", "line", "return"]] * 2
    assert {told.note("process")["forked_from"] for told in forked} == {run.main.note("process")["id"]}
    assert run.main.kinds("child") == []


def test_d13_children_are_recorded_and_follow_none_leaves_them_alone(tmp_path):
    source = """
import multiprocessing, subprocess, sys
def double(number): return number * 2
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(double, [1, 2]))
    subprocess.run([sys.executable, "-c", "def f(): return 1\\nf()"], check=True)
"""
    # Children find the store, not the directory of their parent's trace.
    store = tmp_path / ".devtrace"
    from devtrace.workspace import Workspace, create

    create(Workspace(store))
    (store / "devtrace.db").touch()
    for follow in ("python", "none"):
        folder = tmp_path / follow
        folder.mkdir()
        for old in store.glob("spool/*.seg"):
            old.unlink()

        run = record(source, folder, "--follow", follow, environment={"DEVTRACE_DIR": str(store)})

        assert (run.status, run.stdout) == (0, "[2, 4]\n"), run.stderr
        processes = {path.name.split("-")[0] for path in store.glob("spool/*.seg")}
        assert (len(processes) > 2) == (follow == "python"), processes


def test_d14_an_unwinding_is_no_return(tmp_path):
    run = record(
        """
def deep():
    raise KeyError("k")
def main():
    try:
        deep()
    except KeyError:
        return 1
main()
""",
        tmp_path,
    )

    assert run.main.kinds("deep") == ["call", "line", "raise", "unwind"]
    assert [kind for kind in run.main.kinds("main") if kind != "line"] == ["call", "handle", "return"]


def test_d15_an_event_takes_few_bytes_and_the_memory_stays_small(tmp_path):
    run = record(
        """
import resource
def work(count):
    total = 0
    for number in range(count):
        total += number
    return total
work(10)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
work(150_000)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(grown)
""",
        tmp_path,
    )

    assert int(run.stdout) < 20_000  # KiB for 300,000 events
    used = sum(len(block.raw) for block in run.main.blocks)
    assert used / run.main.replay.n_events < 24  # bytes, before they are compressed


def test_a_secret_under_its_name_is_hidden_and_wherever_it_turns_up_again(tmp_path):
    run = record(
        """
class Config:
    def __init__(self): self.api_key = "k-93jf84nf02ld"
def login(user, password, **more):
    copy = password
    told = f"signing in with {copy}"
    config = {"password": password, "author": "ana"}
    other = Config()
    text = other.api_key
    return told
login("ana", "s3cr3t-h0rse", token="t-0k3n-v4lue")
""",
        tmp_path,
    )

    assert run.status == 0, run.stderr
    on_disk = run.text()
    assert [one for one in (b"s3cr3t-h0rse", b"t-0k3n-v4lue", b"k-93jf84nf02ld") if one in on_disk] == []
    told = run.main
    assert told.values("password") == [["redacted", "name"]]
    assert "[redacted:" in told.values("told")[0]
    assert told.values("config")[0][2] == [["password", ["redacted", "name"]], ["author", "ana"]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_hundred_starts_and_stops_leave_nothing_behind(tmp_path):
    run = record(
        """
import os, sys
sys.path.insert(0, os.environ["CHECKOUT"])
from devtrace import recorder
recorder.stop()
def f(): return 1
def state():
    tools = [sys.monitoring.get_tool(n) for n in range(6)] if hasattr(sys, "monitoring") else []
    return len(os.listdir("/proc/self/fd")), tools, sys.gettrace()
before = state()
for number in range(100):
    with recorder.trace(os.environ["OUT"]):
        f()
print(state() == before, len(os.listdir(os.environ["OUT"])))
""",
        tmp_path,
        environment={
            "OUT": str(tmp_path / "other"),
            "CHECKOUT": os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
        },
    )

    assert run.stdout == "True 100\n", run.stderr


@each_engine
def test_an_exception_that_leaves_a_comprehension_is_raised_once(tmp_path, engine):
    run = record(
        """
def main(items):
    try:
        return [item["price"] for item in items]
    except KeyError:
        return None
main([{"cost": 1}])
""",
        tmp_path,
        "--engine",
        engine,
    )

    told = [(kind, name) for kind, name, _, _ in run.main.events if kind in ("raise", "handle")]
    inner = "main" if sys.version_info >= (3, 12) else "main.<locals>.<listcomp>"
    assert told == [("raise", inner), ("handle", "main")]


@each_engine
def test_how_an_await_gets_its_value_is_no_exception(tmp_path, engine):
    run = record(
        """
import asyncio
async def add(one, two):
    await asyncio.sleep(0)
    return one + two
async def main():
    found = await asyncio.gather(add(1, 2), add(3, 4))
    future = asyncio.get_running_loop().create_future()
    future.set_result(5)
    return [*found, await future]
def delegate():
    got = yield from iter([1, 2])
    return got
def explicit(items):
    try:
        next(items)
    except StopIteration:
        return "over"
print(asyncio.run(main()), list(delegate()), explicit(iter(())))
""",
        tmp_path,
        "--engine",
        engine,
    )

    assert (run.status, run.stdout) == (0, "[3, 7, 5] [1, 2] over\n")
    told = [(kind, name) for kind, name, _, _ in run.main.events if kind in ("raise", "handle")]
    assert told == [("raise", "explicit"), ("handle", "explicit")]
