"""Probes among other programs, other threads and failures: what somebody else does meanwhile."""

from __future__ import annotations

import fcntl
import hashlib
import sys

import pytest

from devtrace.probes import registry
from devtrace.probes.desired import Desired
from tests.probes.running import running, until

APP = "def load(n):\n    held = n\n    return held\n"
NOTHING_OF_OURS = "[name for name in sys.modules if 'devtrace' in name]"
linux = pytest.mark.skipif(sys.platform != "linux", reason="another program is told in /proc")


HOLDS = """\
import os, signal, threading
import devtrace.probes.agent as agent
def child_while_a_lock_is_held():
    held, over = threading.Event(), threading.Event()
    def hold():
        with agent.current().engine._lock, agent.current().placing._lock:
            held.set()
            over.wait()
    threading.Thread(target=hold).start()
    held.wait()
    pid = os.fork()
    if not pid:
        signal.alarm(20)
        import app
        app.load(7)
        os._exit(3)
    over.set()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def test_a_child_of_a_fork_is_not_held_up_by_locks_of_threads_that_it_has_not(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "holds.py").write_text(HOLDS)
    with running(tmp_path) as program:
        program.set("logpoint", file="app.py", line=2, message="{n}")  # it is imported in the child
        program.do("import warnings; warnings.simplefilter('ignore')")
        program.do("import holds")

        assert program.do("holds.child_while_a_lock_is_held()") == "3"
        program.end()

    assert program.messages() == ["7"]


def test_a_probe_that_ended_in_one_program_has_ended_in_the_others(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    with running(tmp_path) as one, running(tmp_path) as other:
        one.do("import app")
        other.do("import app")
        point = one.set("logpoint", file="app.py", line=2, message="{n}", maxHits=1)
        until(lambda: len(one.told("probe.status.installed")) == 2)

        one.do("app.load(1)")
        until(lambda: len(one.told("probe.status.expired")) == 2)

        assert other.ask("GET", f"/points/{point['id']}")[1]["status"] == "expired"
        other.do("app.load(2)")
        one.end()
        other.end()

    assert one.messages() == ["1"]  # of the spool of both


def test_after_the_last_probe_has_ended_programs_begin_without_us(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    with running(tmp_path) as first:
        first.do("import app")
        first.set("logpoint", file="app.py", line=2, message="{n}", maxHits=1)
        first.do("app.load(1)")
        first.end()
    with running(tmp_path) as second:
        assert second.do(NOTHING_OF_OURS) == "[]"
        second.end()


@linux
def test_a_child_that_becomes_another_program_is_not_listed(tmp_path):
    with running(tmp_path) as program:
        program.do("import os, subprocess")
        pid = int(program.do("(child := subprocess.Popen(['sleep', '60'], preexec_fn=os.getpid)).pid"))
        until(lambda: (registry.folder(program.store) / str(pid)).exists())

        assert [entry["pid"] for entry in registry.registered(program.store)] == [program.pid]
        program.do("(child.kill(), child.wait())[1]")
        program.end()


def test_what_exit_functions_of_the_program_do_is_told(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    with running(tmp_path) as program:
        program.do("import app, atexit")
        program.do("atexit.register(app.load, 9) and 1")
        program.set("logpoint", file="app.py", line=2, message="{n}")
        program.end()

    assert program.messages() == ["9"]


def test_what_cannot_be_kept_for_others_is_said_and_tried_again(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    with running(tmp_path) as program:
        program.do("import app")
        lock = program.store.run / "probes.lock"
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            point = program.set("logpoint", file="app.py", line=2, message="{n}")
        kept = until(lambda: program.ask("GET", "/points") and Desired(program.store).read())
        program.end()

    assert "tried again" in point["warning"]
    assert [one["id"] for one in kept] == [point["id"]]


def test_a_file_that_was_wrong_for_a_while_has_its_probe_again(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    with running(tmp_path) as program:
        program.do("import app, importlib")
        program.set("logpoint", file="app.py", line=3, message="{held}", rateLimit={"burst": 9})
        (tmp_path / "app.py").write_text("def load(n):\n    held = n\n    # a comment\n    return held\n")
        program.do("importlib.reload(app).load(1)")
        assert program.ask("GET", "/points")[1]["points"][0]["status"] == "error"
        (tmp_path / "app.py").write_text(APP + "\n# longer again\n")
        program.do("importlib.reload(app).load(2)")
        program.end()

    assert program.messages() == ["2"]


@pytest.mark.parametrize("is_the_same", [True, False])
def test_a_file_is_held_against_the_hash_that_was_given(tmp_path, is_the_same):
    (tmp_path / "app.py").write_text(APP)
    digest = hashlib.sha256(APP.encode() if is_the_same else b"other").hexdigest()
    with running(tmp_path) as program:
        program.do("import app")
        point = program.set(file="app.py", line=2, file_hash=digest)
        program.end()

    assert ("another one than file_hash" in point["statusMessage"]) == (not is_the_same)


def test_what_all_probes_together_may_tell_is_named_as_the_limit(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    with running(tmp_path) as program:
        program.do("import app")
        program.set(
            file="app.py", line=2, cpuPercent=100, rateLimit={"limitPerSecond": 100_000, "burst": 1000}
        )
        program.do("[app.load(i) for i in range(400)] and 1")
        program.end()

    error = program.told("probe.error.rateLimit")[0]
    assert (error["scope"], error["limit"]) == ("process", {"limitPerSecond": 100, "burst": 100})
