"""Every Python of a traced shell can be asked, and none of them notices until it is."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from devtrace import bootstrap
from devtrace.probes import registry
from devtrace.probes.desired import Desired
from tests.probes.running import LISTENS, running, until

NOTHING_OF_OURS = "[name for name in sys.modules if 'devtrace' in name]"
THREADS = "len(__import__('os').listdir('/proc/self/task'))"
linux = pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")


def test_a_program_is_listed_while_it_lives(tmp_path):
    with running(tmp_path) as program:
        program.do("1")
        entry = program.entry()

        assert (entry["pid"], entry["wakes"], entry["socket"]) == (program.pid, True, "")
        assert entry["argv"][-1] == "listens.py"
        assert entry["cwd"] == str(tmp_path)
        program.end()

    assert os.listdir(registry.folder(program.store)) == []


def test_one_that_was_killed_is_forgotten(tmp_path):
    with running(tmp_path) as program:
        program.do("1")
        program.child.kill()
        program.child.wait()

        assert os.listdir(registry.folder(program.store)) == [str(program.pid)]
        assert registry.registered(program.store) == []
        assert os.listdir(registry.folder(program.store)) == []


@linux
def test_nothing_is_there_until_somebody_asks(tmp_path):
    with running(tmp_path) as program:
        assert program.do(NOTHING_OF_OURS) == "[]"
        assert program.do(THREADS) == "1"
        assert program.do("'threading' in sys.modules") == "False"
        program.ask("GET", "/health")
        program.end()

    assert program.frames() == []  # who only looks leaves no event


@linux
def test_when_all_is_answered_our_thread_is_gone(tmp_path):
    with running(tmp_path) as program:
        program.do("import threading")
        program.ask("GET", "/health")

        until(lambda: program.do(THREADS) == "1")
        assert program.entry()["socket"] == ""
        assert program.ask("GET", "/health")[0] == 200  # and it is back when it is wanted
        assert program.do("threading.main_thread() is threading.current_thread()") == "True"
        program.end()


def test_files_and_directories_are_the_owner_s(tmp_path):
    with running(tmp_path) as program:
        program.set(location="json:loads")
        entry = program.entry()

        for path in (program.store.dir / "probes.json", registry.folder(program.store) / str(program.pid)):
            assert oct(path.stat().st_mode)[-3:] == "600"
        socket = Path(entry["socket"])
        assert oct(socket.stat().st_mode)[-3:] == "600"
        assert oct(socket.parent.stat().st_mode)[-3:] == "700"
        program.end()

    assert not socket.exists()


@pytest.mark.parametrize("options", [("-S",), ("-I",)])
def test_who_starts_without_site_cannot_be_asked(tmp_path, options):
    with running(tmp_path, options=options) as program:
        program.do("1")

        assert registry.registered(program.store) == []
        program.end()


def test_who_does_not_want_it_is_left_alone(tmp_path):
    with running(tmp_path, DEVTRACE_PROBES="0") as program:
        program.do("1")

        assert registry.registered(program.store) == []
        program.end()


def test_a_store_that_went_disturbs_nobody(tmp_path):
    with running(tmp_path, DEVTRACE_DIR=str(tmp_path / "gone")) as program:
        assert program.do("1") == "1"
        assert program.end() == 0

    assert program.told_errors == ""


def test_the_signal_is_the_program_s_if_it_wants_it(tmp_path):
    listens = (
        "import signal\nsignal.signal(signal.SIGURG, lambda *_: heard.append(1))\nheard = []\n" + LISTENS
    )
    with running(tmp_path, listens=listens) as program:
        program.do("1")
        registry.poke(program.pid)

        assert program.do("heard") == "[1]"
        program.end()


def test_a_program_that_waits_for_a_system_call_is_reached(tmp_path):
    with running(tmp_path) as program:  # it waits in read(2), for a line
        program.do("1")

        assert program.ask("GET", "/health")[0] == 200
        assert program.do("2") == "2"
        program.end()


def test_signals_that_come_while_it_begins_do_it_no_harm(tmp_path):
    for _ in range(5):
        with running(tmp_path) as program:
            program.entry()
            for _ in range(40):
                registry.poke(program.pid)
            assert program.do("1") == "1"
            assert program.ask("GET", "/health")[0] == 200
            assert program.end() == 0
            assert program.told_errors == ""


RAISES = """\
import signal, sys, time
class Late(Exception): pass
def late(*_): raise Late
signal.signal(signal.SIGALRM, late)
def waits(seconds):
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        spin(time.monotonic() + 5)
    except Late:
        return "late"
def spin(until):
    while time.monotonic() < until:
        pass
"""


def test_what_a_handler_raises_while_we_begin_arrives_in_the_program(tmp_path):
    (tmp_path / "app.py").write_text(RAISES)
    for delay in (0.0002, 0.0005, 0.001, 0.002, 0.005):
        with running(tmp_path) as program:
            program.do("import app")
            program.child.stdin.write(
                f"(app.signal.raise_signal(app.signal.SIGURG), app.waits({delay}))[1]\n"
            )
            program.child.stdin.flush()
            registry.poke(program.pid)
            assert program.child.stdout.readline() == "'late'\n"
            program.child.kill()


def test_a_program_that_sleeps_sleeps_on(tmp_path):
    (tmp_path / "app.py").write_text(
        "from time import monotonic, sleep\n"
        "def nap():\n    began = monotonic()\n    sleep(0.5)\n    return monotonic() - began\n"
    )
    with running(tmp_path) as program:
        program.do("import app")
        program.child.stdin.write("app.nap()\n")
        program.child.stdin.flush()
        assert program.ask("GET", "/health")[0] == 200

        assert float(program.child.stdout.readline()) >= 0.5
        program.end()


def test_the_user_s_own_sitecustomize_runs(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "sitecustomize.py").write_text("import sys; sys.own = 1\n")
    path = f"{bootstrap.FOLDER}{os.pathsep}{tmp_path / 'own'}"
    with running(tmp_path, PYTHONPATH=path) as program:
        assert program.do("sys.own") == "1"
        assert program.entry()["wakes"]
        program.end()


# --- what is wanted already ---------------------------------------------------------------------------------

APP = "def load(n):\n    held = n\n    return held\n"


def test_a_probe_survives_a_restart(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    with running(tmp_path) as first:
        first.do("import app")
        point = first.set("logpoint", file="app.py", line=2, message="{n}", tags=["kept"])
        first.end()
    with running(tmp_path) as second:
        second.do("import app")
        second.do("app.load(7)")
        ((_, listed),) = [second.ask("GET", "/points")]
        second.end()

    assert [(one["id"], one["status"], one["tags"]) for one in listed["points"]] == [
        (point["id"], "installed", ["kept"])
    ]
    assert second.messages() == ["7"]


def test_the_first_line_of_a_short_program_is_not_missed(tmp_path):
    (tmp_path / "script.py").write_text("x = 1\ny = x + 1\n")
    with running(tmp_path) as first:
        first.set("logpoint", file="script.py", line=2, message="x={x}")
        first.end()
    with running(tmp_path, "script.py") as second:
        assert second.end() == 0

    assert second.messages() == ["x=1"]


def test_one_that_has_expired_is_not_set_again(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    with running(tmp_path) as first:
        first.do("import app")
        first.set("logpoint", file="app.py", line=2, message="{n}", maxHits=1)
        first.do("app.load(1)")
        first.waits_for("probe.status.expired")
        first.ask("GET", "/points")
        first.end()
    with running(tmp_path) as second:
        second.do("import app")
        second.do("app.load(2)")
        second.end()

    assert second.messages() == ["1"]


def test_programs_that_run_learn_of_it(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    with running(tmp_path) as one, running(tmp_path) as other:
        other.do("import app")
        one.do("1")
        point = one.set("logpoint", file="app.py", line=2, message="{n}")

        installed = until(lambda: other.told("probe.status.installed"))
        other.do("app.load(3)")
        assert [told["pid"] for told in other.waits_for("probe.hit")] == [other.pid]
        one.ask("DELETE", f"/points/{point['id']}")
        until(lambda: not other.ask("GET", "/points")[1]["points"])
        one.end()
        other.end()

    assert installed[0]["probeId"] == point["id"]
    assert Desired(one.store).read() == []


def test_a_module_that_is_not_imported_yet_is_waited_for(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    with running(tmp_path) as program:
        point = program.set("logpoint", file="app.py", line=2, message="{n}")

        assert (point["status"], point["statusMessage"]) == ("pending", "the file is not imported yet")
        program.do("import app")
        program.do("app.load(1)")
        program.end()

    assert program.messages() == ["1"]
    assert [name.rpartition(".")[2] for name in program.statuses() if "probe" in name][:3] == [
        "set",
        "pending",
        "installed",
    ]


def test_a_module_that_is_loaded_again_has_it_still(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    with running(tmp_path) as program:
        program.do("import app, importlib, os")
        program.set("logpoint", file="app.py", line=3, message="{held}", rateLimit={"burst": 9})
        program.do("app.load(1)")
        (tmp_path / "app.py").write_text("def load(n):\n    held = n * 10\n    return held\n# longer\n")
        program.do("importlib.reload(app).load(2)")
        program.end()

    assert program.messages() == ["1", "20"]


def test_a_file_that_was_edited_since_is_flagged(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    with running(tmp_path) as program:
        program.do("import app")
        (tmp_path / "app.py").write_text("# a line more\n" + APP)
        point = program.set(file="app.py", line=3)
        program.end()

    assert "edited since it was imported" in point["statusMessage"]


def test_code_that_is_made_by_exec_is_found(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    with running(tmp_path) as program:
        program.set("logpoint", file="app.py", line=2, message="{n}")
        program.do("space = {}; exec(compile(open('app.py').read(), 'app.py', 'exec'), space)")
        program.do("space['load'](5)")
        program.end()

    assert program.messages() == ["5"]


FREE = next(filter(None, map(shutil.which, ("python3.14t", "python3.13t"))), None)


@pytest.mark.skipif(FREE is None, reason="no free-threaded Python is here")
def test_without_a_gil_the_trace_function_is_used_and_that_is_said(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    with running(tmp_path, python=FREE) as program:
        program.do("import app")
        health = program.ask("GET", "/health")[1]
        program.set("logpoint", file="app.py", line=2, message="{n}")
        program.do("app.load(1)")
        program.end()

    assert (health["engine"]["name"], health["features"]["freeThreaded"]) == ("pytrace", True)
    assert program.messages() == ["1"]


# --- processes ----------------------------------------------------------------------------------------------

FORKS = """\
import os, sys
import app
def child(n):
    pid = os.fork()
    if not pid:
        app.load(n)
        os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def test_a_child_of_a_fork_has_the_probes_and_a_record_of_its_own(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "forks.py").write_text(FORKS)
    with running(tmp_path, PYTHONWARNINGS="always") as program:
        program.do("import forks")
        program.set("logpoint", file="app.py", line=2, message="{n}", rateLimit={"burst": 9})
        program.do("forks.app.load(0)")

        assert program.do("forks.child(1)") == "3"
        assert program.do("forks.child(2)") == "3"
        program.do("forks.app.load(3)")
        program.end()

    hits = program.told("probe.hit")
    assert sorted(hit["message"] for hit in hits) == ["0", "1", "2", "3"]
    assert len({hit["pid"] for hit in hits}) == 3
    assert program.told_errors == ""  # Python warns who forks beside a thread


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_are_reached(tmp_path, method):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "many.py").write_text(
        "import multiprocessing, app\n"
        "def work(method):\n"
        "    with multiprocessing.get_context(method).Pool(2) as pool:\n"
        "        found = pool.map(app.load, [1, 2, 3], chunksize=1)\n"
        "        pool.close()\n"
        "        pool.join()\n"
        "    return found\n"
    )
    (tmp_path / "script.py").write_text(
        f"import many\nif __name__ == '__main__':\n    many.work('{method}')\n"
    )
    with running(tmp_path) as first:
        first.set("logpoint", file="app.py", line=2, message="{n}", rateLimit={"burst": 9})
        first.end()
    with running(tmp_path, "script.py") as second:
        assert second.end() == 0

    assert sorted(second.messages()) == ["1", "2", "3"]
    assert second.told_errors == ""


def test_a_kill_in_the_middle_of_hits_leaves_a_record_that_can_be_read(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "script.py").write_text("import app\nwhile True:\n    app.load(1)\n")
    with running(tmp_path) as first:
        first.set("logpoint", file="app.py", line=2, message="{n}", cpuPercent=100,
                  rateLimit={"limitPerSecond": 100_000, "burst": 100})  # fmt: skip
        first.end()
    with running(tmp_path, "script.py") as second:
        second.waits_for("probe.hit", 50)
        os.kill(second.pid, signal.SIGKILL)
        second.child.wait()

        counts = [hit["hitCount"] for hit in second.told("probe.hit")]
    assert counts == list(range(1, len(counts) + 1))
