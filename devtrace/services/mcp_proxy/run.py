"""The proxy in front of an MCP server: who it records for, and the process that records.

In a traced shell a call belongs to its session. Agents start their servers with an environment of their own
choice, so what the shell had told is looked for in the processes above us too, as far as /proc shows them.
Elsewhere the proxy has a session of its own, kind `mcp`, in the store above the directory; where there is no
store nothing is recorded, and the bytes pass all the same.

Lives here: finding session and store, starting the recording process, the two kinds of proxies. Not here:
moving bytes (sources/mcp/), recording (recorder.py). Standard library only, but for what HTTP needs.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from devtrace.errors import DevTraceError
from devtrace.ids import is_session_id, is_span_id, new_session_id, new_span_id
from devtrace.sources.mcp import stdio
from devtrace.sources.mcp.tap import END, TO_CLIENT, Tap
from devtrace.workspace import Workspace, checked, find

if TYPE_CHECKING:
    from devtrace.store.hold import Hold

_MOST_ABOVE = 12  # processes above us that are asked; an agent and its wrappers are a few
_LONGEST_ENVIRON = 1 << 20
_LONGEST_COMMAND = 32_768  # that is told, so that it goes into a pipe at once
_NAMES = ("DEVTRACE_DIR", "DEVTRACE_SESSION", "DEVTRACE_SPAN", "DEVTRACE_AGENT", "DEVTRACE_FIFO")
_RESET = [getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name)]


class Belonging(NamedTuple):
    """Whose record the calls go into."""

    workspace: Workspace
    session: str
    is_own: bool
    span: str | None
    agent: str
    fifo: str


class Order(NamedTuple):
    """What the user asked for."""

    name: str
    frames: bool


def proxy_stdio(command: Sequence[str], order: Order, environ: Mapping[str, str]) -> int:
    """Run a server behind the proxy; returns its exit status. Raises TargetError ERR_TARGET_START."""
    recording = _Recording(
        order, environ, {"transport": "stdio", "command": shlex.join(command)[:_LONGEST_COMMAND], "url": None}
    )
    try:
        status = stdio.forward(command, environ, recording.begin)
    finally:
        recording.over()
    return stdio.end(status)


def proxy_http(
    url: str, port: int, headers: Mapping[str, str], order: Order, environ: Mapping[str, str], announce: Any
) -> int:
    """Listen on loopback for a server elsewhere until a signal ends it. Raises DevTraceError."""
    from devtrace.sources.mcp import http

    recording = _Recording(order, environ, {"transport": "http", "command": None, "url": http.public(url)})
    tap = recording.begin() or _Nowhere()
    try:
        return http.serve(url, port=port, tap=tap, extra_headers=headers, announce=announce)
    finally:
        tap.put(END, TO_CLIENT, 0, b'{"exit_code": null, "signal": null}')
        tap.close(stdio.PATIENCE_S)
        recording.over()


class _Nowhere:
    """A tap where nothing records."""

    def put(self, kind: int, direction: int, channel: int, payload: bytes) -> None:
        """Nothing."""

    def close(self, patience_s: float) -> None:
        """Nothing."""


class _Recording:
    """The recording process of one run, and the proof that its session lives."""

    def __init__(self, order: Order, environ: Mapping[str, str], about: Mapping[str, Any]):
        self._order = order
        self._environ = environ
        self._about = about
        self._hold: Hold | None = None

    def begin(self) -> Tap | None:
        """Start it. None where nothing is recorded; what is wrong with a store is nobody's trouble here."""
        try:
            where = belonging(self._environ)
            if where is None:
                return None
            if where.is_own:
                from devtrace.store.hold import hold

                self._hold = hold(where.workspace, where.session)
            return Tap(self._start, self._told(where))
        except (DevTraceError, OSError):
            return None

    def over(self) -> None:
        """The recording process has been told all; may be called twice."""
        if self._hold is not None:
            self._hold.close()

    def _told(self, where: Belonging) -> dict[str, Any]:
        return {
            **self._about,
            "dir": str(where.workspace.dir),
            "root": str(where.workspace.root),
            "session": where.session,
            "own": where.is_own,
            "span": where.span,
            "event": new_span_id(),
            "agent": where.agent,
            "name": self._order.name,
            "cwd": _here(),
            "frames": self._order.frames,
            "started_us": time.time_ns() // 1000,
            "fifo": where.fifo,
        }

    def _start(self, fd: int) -> int:
        file = Path(__file__).with_name("recorder.py")
        # A session of its own: what the terminal or the client sends to our group is not for it.
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", str(file), "0"],
            dict(self._environ),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, fd, 0),
                # The client reads both, and is not to read anything of ours.
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=_RESET,
        )


def belonging(environ: Mapping[str, str]) -> Belonging | None:
    """Whose record it is; None where nothing records. Raises DevTraceError, OSError."""
    traced = _traced(environ)
    if traced is not None:
        return traced
    try:
        place = find(Path(_here()))
    except DevTraceError:
        return None
    return Belonging(place, new_session_id(), True, None, environ.get("DEVTRACE_AGENT", ""), "")


def _traced(environ: Mapping[str, str]) -> Belonging | None:
    """The traced shell we are in, by our own environment or by that of a process above us."""
    if environ.get("DEVTRACE_SESSION"):
        return _named(environ)
    pid = os.getppid()
    for _ in range(_MOST_ABOVE):
        above = _environ_of(pid)
        if above.get("DEVTRACE_SESSION"):
            return _named(above)
        pid = _parent_of(pid)
        if pid <= 1:
            break
    return None


def _named(told: Mapping[str, str]) -> Belonging | None:
    session, directory = told.get("DEVTRACE_SESSION", ""), told.get("DEVTRACE_DIR", "")
    if not is_session_id(session) or not directory or not Path(directory).is_dir():
        return None
    span = told.get("DEVTRACE_SPAN", "")
    return Belonging(
        checked(Workspace(Path(directory))),
        session,
        False,
        span if is_span_id(span) else None,
        told.get("DEVTRACE_AGENT", ""),
        told.get("DEVTRACE_FIFO", ""),
    )


def _environ_of(pid: int) -> dict[str, str]:
    """What a process above us was started with, our own names of it; nothing where that cannot be seen."""
    try:
        with Path(f"/proc/{pid}/environ").open("rb") as file:
            entries = file.read(_LONGEST_ENVIRON).split(b"\0")
    except OSError:
        return {}
    pairs = (os.fsdecode(entry).partition("=") for entry in entries if entry.startswith(b"DEVTRACE_"))
    return {name: value for name, _, value in pairs if name in _NAMES}


def _parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _here() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return "/"
