"""Probes in what runs already, however it was loaded, in all of its threads, with both engines."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.probes.armed import NAMES
from tests.probes.programs import MANY, at, log
from tests.probes.running import LISTENS, Program, running, until


@pytest.fixture(params=NAMES)
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def program(tmp_path: Path, engine: str) -> Iterator[Program]:
    with running(tmp_path, TRACEPOINTDEBUG_ENGINE=engine) as program:
        yield program


# --- what runs already --------------------------------------------------------------------------------------

SUSPENDED = """\
import asyncio
def gen(n):
    for x in range(n):
        y = x
        yield y  # gen
async def co(x, gate):
    await gate.wait()
    y = x  # co
    return y
def start(x):
    loop, gate = asyncio.new_event_loop(), asyncio.Event()
    task = loop.create_task(co(x, gate))
    loop.run_until_complete(asyncio.sleep(0))  # one turn: the task stands at its await
    return loop, gate, task
def finish(loop, gate, task):
    gate.set()
    result = loop.run_until_complete(task)
    loop.close()
    return result
"""


def test_a_generator_that_waits_is_hit(program):
    (program.home / "app.py").write_text(SUSPENDED)
    program.do("import app; g = app.gen(3); next(g)")
    log(program, SUSPENDED, "# gen")

    program.do("list(g)")

    program.end()
    assert program.messages() == ["1", "2"]


def test_a_coroutine_that_waits_is_hit(program):
    (program.home / "app.py").write_text(SUSPENDED)
    program.do("import app; c = app.start(7)")
    log(program, SUSPENDED, "# co")

    assert program.do("app.finish(*c)") == "7"

    program.end()
    assert program.messages() == ["7"]


TASKS = """\
import asyncio, sys
async def work(name, gate):
    await gate.wait()
    for x in range(2):
        await asyncio.sleep(0)
        y = x  # here
async def main():
    loop = asyncio.get_running_loop()
    gate = asyncio.Event()
    tasks = [asyncio.create_task(work(name, gate)) for name in "ab"]
    lines = asyncio.Queue()
    loop.add_reader(sys.stdin.fileno(), lambda: lines.put_nowait(sys.stdin.readline()))
    print("runs", flush=True)
    await lines.get()
    gate.set()
    await asyncio.gather(*tasks)
    print("done", flush=True)
asyncio.run(main())
"""


def test_tasks_of_a_loop_that_runs_are_hit(tmp_path, engine):
    (tmp_path / "app.py").write_text(TASKS)
    with running(tmp_path, "app.py", TRACEPOINTDEBUG_ENGINE=engine) as program:
        assert program.child.stdout.readline() == "runs\n"
        log(program, TASKS, message="{name}{x}")
        assert program.do("go") == "done"
        assert program.end() == 0

    assert sorted(program.messages()) == ["a0", "a1", "b0", "b1"]


LOOP = """\
import sys, threading
turns = [0]
ends = threading.Event()
def loop():
    while not ends.is_set():
        x = turns[0]
        turns[0] = x + 1  # here
def read():
    sys.stdin.readline()
    ends.set()
{how}
print(turns[0], flush=True)
"""
IN_MAIN = "threading.Thread(target=read).start()\nprint('runs', flush=True)\nloop()"
IN_THREAD = "t = threading.Thread(target=loop)\nt.start()\nprint('runs', flush=True)\nread()\nt.join()"


@pytest.mark.parametrize("how", [IN_MAIN, IN_THREAD], ids=["main", "thread"])
def test_a_loop_that_runs_is_hit_once_in_each_turn(tmp_path, engine, how):
    source = LOOP.replace("{how}", how)
    (tmp_path / "app.py").write_text(source)
    with running(tmp_path, "app.py", TRACEPOINTDEBUG_ENGINE=engine) as program:
        assert program.child.stdout.readline() == "runs\n"
        program.set("logpoint", file="app.py", line=at("# here", source), message="{x}", maxHits=50,
                    rateLimit=MANY, cpuPercent=100)  # fmt: skip
        until(lambda: program.told("probe.status.expired"))
        program.do("end")
        assert program.end() == 0

    numbers = [int(one) for one in program.messages()]
    assert len(numbers) == 50
    assert numbers == list(range(numbers[0], numbers[0] + 50))


CLOSURES = """\
def make(n):
    def inner(m):
        x = n + m
        return x  # here
    return inner
"""


def test_two_closures_of_one_code_are_both_hit(program):
    (program.home / "app.py").write_text(CLOSURES)
    program.do("import app; a, b = app.make(1), app.make(10)")
    log(program, CLOSURES)

    program.do("a(1), b(1), app.make(100)(1)")

    program.end()
    assert program.messages() == ["2", "11", "101"]


# --- how it came to be loaded -------------------------------------------------------------------------------

MODULE = """\
import sys
x = 1
y = 2  # top
def f(x):
    return x  # here
class C:
    a = 1
    b = a  # body
"""


def test_a_line_of_a_module_waits_until_it_is_loaded_again(program):
    (program.home / "app.py").write_text(MODULE)
    program.do("import app, importlib")

    point = log(program, MODULE, "# top")

    program.do("importlib.reload(app)")
    program.end()
    assert point["status"] == "pending"
    assert point["statusMessage"]
    assert program.messages() == ["1"]


def test_the_body_of_a_class_is_hit_as_it_is_made(program):
    (program.home / "app.py").write_text(MODULE)
    log(program, MODULE, "# body", message="{a}")

    program.do("import app")

    program.end()
    assert program.messages() == ["1"]


SCRIPT = "def f(x):\n    return x  # here\nif __name__ == '__main__':\n    f(1)\n"


@pytest.mark.parametrize(
    "words", [("app.py",), ("-m", "app"), ("-m", "pkg"), ("-m", "pkg.app"), ("-c", "import app; app.f(1)")]
)
def test_a_program_is_hit_however_it_is_started(tmp_path, engine, words):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").touch()
    inner = words[-1].startswith("pkg")
    for name in ("app.py", "pkg/app.py", "pkg/__main__.py"):
        (tmp_path / name).write_text(SCRIPT)
    name = {"pkg": "pkg/__main__.py", "pkg.app": "pkg/app.py"}.get(words[-1], "app.py")
    with running(tmp_path) as first:
        log(first, SCRIPT, name=name if inner else str(tmp_path / "app.py"))
        first.end()
    with running(tmp_path, *words, TRACEPOINTDEBUG_ENGINE=engine) as program:
        assert program.end() == 0

    assert program.messages() == ["1"]


def test_a_probe_that_had_its_hits_is_over_though_the_program_ends_at_once(tmp_path, engine):
    (tmp_path / "app.py").write_text(SCRIPT)
    with running(tmp_path) as first:
        first.set("logpoint", file="app.py", line=2, message="{x}", maxHits=1)
        first.end()
    for _ in range(2):
        with running(tmp_path, "app.py", TRACEPOINTDEBUG_ENGINE=engine) as program:
            assert program.end() == 0

    assert program.messages() == ["1"]
    assert program.statuses().count("probe.status.expired") == 1


def test_a_module_in_a_zip_file_is_hit(program):
    with zipfile.ZipFile(program.home / "all.zip", "w") as file:
        file.writestr("zipped.py", SCRIPT)
    program.do("sys.path.insert(0, 'all.zip')")
    program.do("import zipped")

    program.set("logpoint", file="zipped.py", line=2, message="{x}")
    program.do("zipped.f(3)")

    program.end()
    assert program.messages() == ["3"]


def test_a_module_behind_a_link_is_hit_by_both_names(program):
    (program.home / "real").mkdir()
    (program.home / "link").symlink_to("real")
    (program.home / "real" / "linked.py").write_text(SCRIPT)
    program.do("sys.path.insert(0, 'link')")
    program.do("import linked")

    for name in ("link/linked.py", "real/linked.py", "linked.py", str(program.home / "link" / "linked.py")):
        log(program, SCRIPT, name=name, message=name.replace(str(program.home), ""))
    program.do("linked.f(1)")

    program.end()
    assert sorted(program.messages()) == ["/link/linked.py", "link/linked.py", "linked.py", "real/linked.py"]


@pytest.mark.parametrize(
    "name", ["a&b.py", "ನನ್ನ_ಸ್ಕ್ರಿಪ್ಟ್.py", "with space.py", "été.py", "no_ending", "a[1].py"]
)
def test_a_file_may_have_any_name(program, name):
    (program.home / name).write_text(SCRIPT)
    program.do(f"import runpy; space = runpy.run_path({name!r})")
    log(program, SCRIPT, name=name)

    program.do("space['f'](1)")

    program.end()
    assert program.messages() == ["1"]


def test_code_of_exec_is_hit(program):
    (program.home / "app.py").write_text(MODULE)
    program.do("space = {}; exec(compile(open('app.py').read(), 'app.py', 'exec'), space)")
    log(program, MODULE)
    program.do("space['f'](1)")
    program.do("again = {}; exec(compile(open('app.py').read(), 'app.py', 'exec'), again)")
    program.do("again['f'](2)")

    program.end()
    assert program.messages() == ["1", "2"]


def test_several_versions_of_one_file_are_hit(program):
    (program.home / "app.py").write_text(SCRIPT)
    program.do("import app, importlib; old = app.f")
    program.do("importlib.reload(app)")
    log(program, SCRIPT)

    program.do("old(1), app.f(2)")

    program.end()
    assert program.messages() == ["1", "2"]


def test_of_two_files_of_one_name_neither_is_guessed(program):
    for name in ("one", "two"):
        (program.home / name).mkdir()
        (program.home / name / "models.py").write_text(SCRIPT)
        program.do(f"import {name}.models")

    status, told = program.ask("POST", "/tracepoints", {"file": "models.py", "line": 2})

    assert (status, told["code"]) == (409, "AMBIGUOUS_FILE")
    assert told["details"]["candidates"] == [
        str(program.home / name / "models.py") for name in ("one", "two")
    ]
    log(program, SCRIPT, name="two/models.py")
    program.do("one.models.f(1), two.models.f(2)")
    program.end()
    assert program.messages() == ["2"]


def test_two_that_are_waited_for_are_ambiguous_once_they_are_there(program):
    for name in ("one", "two"):
        (program.home / name).mkdir()
        (program.home / name / "models.py").write_text(SCRIPT)
    program.do("import one.models")
    log(program, SCRIPT, name="models.py")
    program.do("import two.models")

    program.do("one.models.f(1), two.models.f(2)")

    program.end()
    assert program.messages() == ["1"]  # it stays where it was set


@pytest.mark.parametrize("name", ["hits.py", "agent.py", "devtrace/probes/hits.py", "placing.py"])
def test_devtrace_itself_is_not_probed(program, name):
    program.ask("GET", "/health")

    status, told = program.ask("POST", "/tracepoints", {"file": name, "line": 100, "nearest": True})

    assert (status, told["code"]) == (404, "FILE_NOT_FOUND"), told


def test_a_file_that_is_named_as_one_of_ours_is_hit(program):
    (program.home / "there").mkdir()
    (program.home / "there" / "agent.py").write_text(SCRIPT)
    program.do("sys.path.insert(0, 'there'); import agent")

    log(program, SCRIPT, name="agent.py")
    program.do("agent.f(1)")

    program.end()
    assert program.messages() == ["1"]


# --- threads ------------------------------------------------------------------------------------------------

THREADS = """\
import threading
def work(n, gate):
    gate.wait()
    for x in range(n):
        y = x  # here
def run(count, n):
    gate = threading.Barrier(count)
    threads = [threading.Thread(target=work, args=(n, gate), name=f"t{i}") for i in range(count)]
    for one in threads: one.start()
    for one in threads: one.join()
"""


def threads_of(hits):
    """The messages of each thread, in their order."""
    names = {hit["thread"] for hit in hits}
    return {name: [hit["message"] for hit in hits if hit["thread"] == name] for name in names}


def test_hits_of_threads_are_told_apart_and_none_is_lost(program):
    (program.home / "app.py").write_text(THREADS)
    program.do("import app")
    log(program, THREADS)

    program.do("app.run(8, 20)")

    program.end()
    hits = program.told("probe.hit")
    assert program.told("probe.error") == []
    assert threads_of(hits) == {f"t{i}": [str(x) for x in range(20)] for i in range(8)}
    assert sorted(hit["hitCount"] for hit in hits) == list(range(1, 161))


WORKING = f"""\
import app, threading
gate = threading.Barrier(4)
threads = [threading.Thread(target=app.work, args=(3, gate), name=f"t{{i}}") for i in range(3)]
for one in threads: one.start()
{LISTENS}"""


def test_threads_that_run_already_are_hit(tmp_path, engine):
    (tmp_path / "app.py").write_text(THREADS)
    with running(tmp_path, listens=WORKING, TRACEPOINTDEBUG_ENGINE=engine) as program:
        program.do("1")
        log(program, THREADS)
        program.do("gate.wait()")
        program.do("[one.join() for one in threads]")
        program.end()

    assert threads_of(program.told("probe.hit")) == {f"t{i}": ["0", "1", "2"] for i in range(3)}
