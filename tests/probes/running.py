"""A real program that is asked: a Python of its own, as it would run in a traced shell.

The program reads lines and answers each, so that a test decides what runs when; what it was hit by is read
from the spool, as a drain would.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from devtrace import bootstrap, workspace
from devtrace.probes import registry
from devtrace.services.probe_hits import with_floats
from devtrace.store.spool import read_frames
from tests.processes import DEADLINE

SESSION, SPAN = "0198c9a7b1d27a3c8e5f0a1b2c3d4e5f", "00f067aa0ba902b7"
PAUSE = 0.005

# Each line is a statement or an expression, whose value is answered.
LISTENS = """\
import sys
sys.path.insert(0, "")
for line in sys.stdin:
    try:
        code = compile(line, "<line>", "eval")
    except SyntaxError:
        exec(line)
        print("done", flush=True)
    else:
        print(repr(eval(code)), flush=True)
"""


class Program:
    """One of them. `home`: the folder it runs in; `store`: the `.devtrace` it belongs to."""

    def __init__(
        self,
        home: Path,
        *words: str,
        listens: str = LISTENS,
        options: tuple[str, ...] = (),
        python: str = sys.executable,
        **environment: str,
    ):
        self.home = home
        self.store = workspace.Workspace(home / ".devtrace")
        workspace.create(self.store)
        if not words:
            (home / "listens.py").write_text(listens)
            words = ("listens.py",)
        self.child = subprocess.Popen(
            [python, *options, *words],
            cwd=home,
            env=traced(self.store, **environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self.child.pid
        self.told_errors = ""

    # --- what it does ---------------------------------------------------------------------------------------

    def do(self, line: str) -> str:
        """Let it run a line, and wait until it has."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()
        answer = self.child.stdout.readline()
        assert answer, self._rest()
        return answer.rstrip("\n")

    def end(self) -> int:
        """Let it end as programs do; its status."""
        out, self.told_errors = self.child.communicate(timeout=DEADLINE)
        assert out == "", out
        return self.child.returncode

    def _rest(self) -> str:
        _, self.told_errors = self.child.communicate(timeout=DEADLINE)
        return self.told_errors

    # --- what it is asked -----------------------------------------------------------------------------------

    def entry(self, pid: int | None = None) -> dict[str, Any]:
        """How it is listed, once it is."""
        wanted = self.pid if pid is None else pid

        def listed() -> dict[str, Any] | None:
            found = [one for one in registry.registered(self.store) if one["pid"] == wanted]
            assert found or wanted != self.pid or self.child.poll() is None, self._rest()
            return found[0] if found else None

        entry: dict[str, Any] = until(listed)
        return entry

    def ask(self, method: str, path: str, body: object = None, pid: int | None = None) -> tuple[int, Any]:
        """A request over its unix socket: status, document."""
        connection = OverUnix(until(lambda: self._woken(pid)))
        connection.connect()
        registry.poke(self.entry(pid)["pid"])
        return asked(connection, method, path, body)

    def _woken(self, pid: int | None) -> str:
        """Its socket. One signal may come too early for a program that has just begun."""
        entry = self.entry(pid)
        registry.poke(entry["pid"])
        return str(entry["socket"])

    def set(self, kind: str = "tracepoint", **body: Any) -> dict[str, Any]:
        """Set a point; as it was answered."""
        status, point = self.ask("POST", f"/{kind}s", body)
        assert status == 201, point
        return point

    # --- what it told ---------------------------------------------------------------------------------------

    def frames(self) -> list[dict[str, Any]]:
        """What stands in the spool now, the first written first, without rows of sessions."""
        found = []
        for file in sorted(self.store.spool.glob("*.spool")):
            found += read_frames(file.read_bytes(), is_finished=False).frames
        return [frame for frame in found if "columns" not in frame]

    def told(self, name: str = "") -> list[dict[str, Any]]:
        """The payloads of events whose name begins so."""
        found = [one["data"] for one in self.frames() if one["data"]["name"].startswith(name)]
        return [with_floats(data["payload"]) for data in found]

    def waits_for(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        """The same, once there are so many."""
        return until(lambda: (found := self.told(name))[count - 1 :] and found)

    def messages(self) -> list[str]:
        """Those of logpoints."""
        return [payload["message"] for payload in self.told("probe.hit.logpoint")]

    def statuses(self) -> list[str]:
        """The names of what happened, without hits."""
        return [one["data"]["name"] for one in self.frames() if one["kind"] == "probe_status"]


@contextlib.contextmanager
def running(home: Path, *words: str, **more: Any) -> Iterator[Program]:
    """A program that is over when the block is."""
    program = Program(home, *words, **more)
    try:
        yield program
    finally:
        if program.child.poll() is None:
            program.child.kill()
        program.child.communicate(timeout=DEADLINE)


def traced(store: workspace.Workspace, **more: str) -> dict[str, str]:
    """The environment of a traced shell."""
    ours = {
        "DEVTRACE_DIR": str(store.dir),
        "DEVTRACE_SESSION": SESSION,
        "DEVTRACE_SPAN": SPAN,
        "PYTHONPATH": bootstrap.FOLDER,
    }
    return {**os.environ, **ours, **more}


class OverUnix(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str):
        super().__init__("localhost", timeout=DEADLINE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(self._path)


def asked(
    connection: http.client.HTTPConnection, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, Any]:
    """Status and document of one request."""
    if body is not None:
        headers.setdefault("Content-Type", "application/json")
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    connection.request(method, path, data, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if text else None


def until(look: Any, seconds: float = DEADLINE) -> Any:
    """What `look` gives as soon as that is something."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(PAUSE)  # another process is waited for, which tells nobody
    return found
