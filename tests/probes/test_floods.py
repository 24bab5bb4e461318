"""More than anybody wants: floods of hits, probes, signals and forks, and programs that do odd things.

The program goes on, its results are its own, and each hit is told, or counted as not told.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devtrace.probes import registry
from tests.probes.armed import NAMES
from tests.probes.running import Program, running, until
from tests.processes import DEADLINE

APP = """\
import os, signal, sys, threading

def loop(n):
    total = 0
    for i in range(n):
        total += i  # here
    return total

def deep(n):
    return deep(n - 1) + 1 if n else 0  # deep

def deepest(n=0):
    try:
        return deepest(n + 1)  # deepest
    except RecursionError:
        return "caught"

class Alarm(Exception):
    pass

def ring(*_):
    raise Alarm

def alarmed():
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        while True:
            loop(1000)
    except Alarm as alarm:
        return alarm.__traceback__ is not None

def alarmed_often(n):
    signal.signal(signal.SIGALRM, ring)
    caught = 0
    for _ in range(n):
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.002)
            for _ in range(2000):
                loop(1000)
        except Alarm:
            caught += 1
    return caught

def interrupted():
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        while True:
            loop(1000)
    except KeyboardInterrupt:
        return "interrupted"

def forks(n):
    statuses = set()
    for i in range(n):
        pid = os.fork()
        if not pid:
            os._exit(7 if loop(10) == 45 else 1)
        loop(10)
        statuses.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return statuses

def forks_beside_threads(n):
    ends = threading.Event()
    def hit():
        while not ends.is_set():
            loop(100)
    threads = [threading.Thread(target=hit) for _ in range(3)]
    for one in threads: one.start()
    try:
        return forks(n)
    finally:
        ends.set()
        for one in threads: one.join()
"""
PLENTY = {"limitPerSecond": 1_000_000, "burst": 100_000}


@pytest.fixture(params=NAMES)
def program(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Program]:
    (tmp_path / "app.py").write_text(APP)
    with running(tmp_path, TRACEPOINTDEBUG_ENGINE=request.param) as program:
        program.do("import app, os, sys, threading")
        yield program


def at(mark: str) -> int:
    (line,) = [number for number, one in enumerate(APP.splitlines(), 1) if one.endswith(mark)]
    return line


def log(program: Program, mark: str = "# here", **more: Any) -> dict[str, Any]:
    body = {"message": "{i}", "rateLimit": PLENTY, "cpuPercent": 100, **more}
    return program.set("logpoint", file="app.py", line=at(mark), **body)


def health(program: Program) -> dict[str, Any]:
    return program.ask("GET", "/health")[1]


# --- hits ---------------------------------------------------------------------------------------------------


def test_of_a_flood_each_hit_is_told_or_counted(program):
    point = log(program)

    assert program.do("app.loop(200_000)") == str(sum(range(200_000)))

    until(lambda: health(program)["events"]["sent"])
    standing = program.ask("GET", f"/points/{point['id']}")[1]
    events = health(program)["events"]
    program.end()
    assert standing["status"] == "installed"
    assert standing["totalHits"] == 200_000
    assert standing["hitCount"] + standing["droppedCount"] == 200_000
    assert len(program.told("probe.hit")) + events["lost"] + events["unwritten"] == standing["hitCount"]
    assert (
        sum(one["droppedCount"] for one in program.told("probe.error.rateLimit")) == standing["droppedCount"]
    )


def test_what_waits_is_bounded_though_nobody_writes(program):
    """The worker is kept from its work; the program is not."""
    log(program)
    program.do("import devtrace.probes.agent as agent; outbox = agent.current().outbox")
    program.do("lock = outbox._lock.acquire()")

    assert program.do("app.loop(20_000)") == str(sum(range(20_000)))
    assert int(program.do("len(agent.current().hits.waiting)")) <= 1000
    lost = int(program.do("agent.current().hits.lost"))
    program.do("outbox._lock.release()")

    program.end()
    assert lost > 0
    assert 0 < len(program.told("probe.hit")) <= 20_000 - lost


def test_a_dear_probe_ends_and_the_program_goes_on(program):
    log(program, cpuPercent=1)

    assert program.do("app.loop(300_000)") == str(sum(range(300_000)))

    (told,) = program.waits_for("probe.status.error")
    assert told["message"].startswith("CPU_BUDGET")
    program.end()


def test_a_hundred_probes_on_a_line(program):
    points = [log(program, message="{i}", rateLimit={"burst": 1}) for _ in range(100)]

    assert program.do("app.loop(50)") == str(sum(range(50)))

    program.end()
    assert {hit["probeId"] for hit in program.told("probe.hit")} == {point["id"] for point in points}


def test_probes_come_and_go_beside_a_loop(program):
    program.do("ends = threading.Event()")
    program.do("totals = set()")
    turn = "(totals.add(app.loop(1000)), ends.wait(0.001))"  # else the GIL is free every 5 ms only
    program.do(f"work = lambda: [{turn} for _ in iter(ends.is_set, True)]")
    program.do("thread = threading.Thread(target=work); thread.start()")

    for _ in range(40):
        point = log(program)
        assert program.ask("DELETE", f"/points/{point['id']}") == (204, None)

    program.do("ends.set(); thread.join()")
    assert program.do("totals") == str({sum(range(1000))})
    before = len(program.told("probe.hit"))
    program.do("app.loop(10)")
    assert health(program)["failures"] == 0
    program.end()
    assert before > 0
    assert program.told_errors == ""


# --- the program's own ends and jumps -----------------------------------------------------------------------


def test_a_recursion_to_the_limit_is_the_program_s(program):
    log(program, "# deepest", message="{n}")

    assert program.do("app.deepest()") == "'caught'"
    assert program.do("app.deepest()") == "'caught'"

    assert program.end() == 0
    assert program.told_errors == ""
    assert len(program.told("probe.hit")) > 100


def test_a_recursion_below_the_limit_returns(program):
    program.set(file="app.py", line=at("# deep"), rateLimit=PLENTY, cpuPercent=100)

    assert program.do("app.deep(600)") == "600"
    program.end()


def test_a_signal_s_handler_raises_into_the_program(program):
    log(program)

    assert program.do("app.alarmed()") == "True"
    assert program.do("app.alarmed_often(50)") == "50"
    assert program.do("app.loop(10)") == "45"
    assert program.end() == 0


def test_so_it_does_beside_snapshots(program):
    program.set(file="app.py", line=at("# here"), rateLimit=PLENTY, cpuPercent=100)

    assert program.do("app.alarmed_often(50)") == "50"
    assert program.end() == 0


def test_an_interrupt_arrives_in_the_program(program):
    log(program)

    assert program.do("app.interrupted()") == "'interrupted'"
    assert program.end() == 0


def test_a_storm_of_signals_changes_nothing(program):
    log(program)
    for _ in range(1000):
        registry.poke(program.pid)

    assert program.do("app.loop(10)") == "45"
    assert program.ask("GET", "/health")[0] == 200
    until(lambda: int(program.do("threading.active_count()")) <= 2)
    assert program.end() == 0
    assert program.told_errors == ""


# --- forks --------------------------------------------------------------------------------------------------


def test_a_storm_of_forks_is_hit_in_parent_and_children(program):
    log(program, message="{os.pid}", condition="i == 9")

    assert program.do("app.forks(100)") == "{7}"

    program.end()
    hits = program.told("probe.hit")
    assert len(hits) == 200
    assert len({hit["pid"] for hit in hits}) == 101
    assert program.told_errors == ""
    assert registry.registered(program.store) == []


def test_forks_beside_threads_that_are_hit(program):
    log(program)
    if sys.version_info >= (3, 12):  # Python warns of any fork beside a thread of the program's own
        program.do("import warnings; warnings.simplefilter('ignore')")

    assert program.do("app.forks_beside_threads(8)") == "{7}"

    assert program.end() == 0
    assert program.told_errors == ""


DAEMON = """\
import os, sys
import app
sys.stdin.readline()
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.closerange(0, 256)
os.open(os.devnull, os.O_RDWR); os.dup2(0, 1); os.dup2(0, 2)
files = [open(f"mine{i}", "w+") for i in range(12)]
for _ in range(20):
    app.loop(10)
for file in files:
    file.write("mine")
    file.flush()
    file.seek(0)
    assert file.read() == "mine"
os.rename("mine0", "done")
os._exit(0)
"""


def test_a_program_that_becomes_a_daemon_is_hit_and_keeps_its_files(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "daemon.py").write_text(DAEMON)
    with running(tmp_path, "daemon.py") as program:
        log(program, condition="i == 9")
        program.child.stdin.write("go\n")
        program.child.stdin.flush()
        program.child.wait(DEADLINE)
        until((tmp_path / "done").exists)

        until(lambda: len(program.messages()) == 20)  # written as it leaves

    assert [(tmp_path / f"mine{i}").read_text() for i in range(1, 12)] == ["mine"] * 11


def test_descriptors_that_the_program_closes_are_not_used(program):
    log(program)
    program.do("app.loop(3)")
    program.waits_for("probe.hit", 3)

    program.do("os.closerange(3, 256)")
    program.do("files = [open(f'mine{i}', 'w+') for i in range(12)]")
    for _ in range(5):
        program.do("app.loop(1)")
    program.waits_for("probe.hit", 5)
    program.do("[(one.write('mine'), one.flush()) for one in files]")
    assert program.ask("GET", "/health")[0] == 200
    program.end()

    assert [(program.home / f"mine{i}").read_text() for i in range(12)] == ["mine"] * 12
    assert len(program.messages()) == 8


# --- the store ----------------------------------------------------------------------------------------------


def test_a_spool_that_takes_nothing_is_counted(program):
    log(program)
    shutil.rmtree(program.store.spool)
    program.store.spool.write_text("no folder")

    assert program.do("app.loop(10)") == "45"

    until(lambda: health(program)["events"]["unwritten"] >= 10)
    assert program.end() == 0
    assert program.told_errors == ""


def test_a_store_that_goes_disturbs_nobody(program):
    log(program)
    program.do("app.loop(3)")
    program.waits_for("probe.hit", 3)
    shutil.rmtree(program.store.dir)

    assert program.do("app.loop(100)") == "4950"
    assert program.end() == 0
    assert program.told_errors == ""
    assert not program.store.dir.exists()


def test_a_damaged_list_of_probes_is_told_and_changes_nothing(program):
    log(program)
    path = program.store.dir / "probes.json"
    whole = path.read_bytes()
    for damage in (b"", b"{", b"[]", b'{"until":1,"v":1,"points":{"a":1}}', b"\xff" * 100, b"[" * 100_000):
        path.write_bytes(damage)
        assert "cannot be read" in health(program)["problem"]
    program.do("app.loop(1)")
    path.write_bytes(whole)
    assert health(program)["problem"] == ""
    program.end()

    assert program.messages() == ["0"]


# --- interpreters -------------------------------------------------------------------------------------------

INTERPRETERS = "__import__('_interpreters' if sys.version_info >= (3, 13) else '_xxsubinterpreters')"


def test_an_interpreter_beside_the_main_one_disturbs_nothing(program):
    log(program)
    program.do(f"interpreters = {INTERPRETERS}")
    program.do("other = interpreters.create()")
    code = "import sys; sys.path.insert(0, ''); import app; app.loop(3)"
    program.do(f"interpreters.run_string(other, {code!r})")
    program.do("interpreters.destroy(other)")

    assert program.entry()["wakes"] is True
    assert program.ask("GET", "/health")[0] == 200
    program.do("app.loop(2)")
    assert program.end() == 0
    assert program.messages()[-2:] == ["0", "1"]
    assert program.told_errors == ""


def test_a_kill_leaves_what_was_told_before(program):
    log(program)
    program.do("app.loop(20)")
    program.waits_for("probe.hit", 20)
    os.kill(program.pid, signal.SIGKILL)
    program.child.wait(DEADLINE)

    assert program.messages() == [str(i) for i in range(20)]
    assert registry.registered(program.store) == []
