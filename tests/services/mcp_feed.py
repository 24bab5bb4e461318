"""A recording process as the proxy starts it, and a test in the place of the forwarder.

    with Feed(place) as feed:
        feed.client(id=1, method="tools/call", params={"name": "echo"})
        feed.server(id=1, result={})
        feed.end()
    feed.wait()

Lives here: `Feed`, and what came of it. Not here: any test.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from devtrace.ids import new_session_id, new_span_id
from devtrace.query.events import list_events
from devtrace.query.filters import Filters
from devtrace.services.mcp_proxy import recorder as mcp_recorder
from devtrace.services.refresh import open_fresh
from devtrace.sources.mcp.tap import BEGIN, DATA, END, HEADER, TO_CLIENT, TO_SERVER
from devtrace.store.drain import drain
from devtrace.store.hold import hold
from devtrace.workspace import Workspace
from tests.processes import environment
from tests.store.frames import is_whole

PATIENCE_S = 20.0
_T = TypeVar("_T")
Row = dict[str, Any]


def begin_of(place: Workspace, **changes: Any) -> dict[str, Any]:
    """What the first record says, of a run in a session of its own."""
    told = {
        "dir": str(place.dir), "root": str(place.root), "cwd": str(place.root), "session": new_session_id(),
        "own": True, "span": None, "event": new_span_id(), "agent": "", "name": "files", "url": None,
        "transport": "stdio", "command": "node files.js", "frames": False, "fifo": "",
        "started_us": time.time_ns() // 1000,
    }  # fmt: skip
    return told | changes


def spawn(fd: int, environ: Mapping[str, str], out: str = os.devnull) -> int:
    """Start the process with that descriptor as its standard input; its output goes to a file."""
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", mcp_recorder.__file__, "0"],
        dict(environ),
        file_actions=[
            (os.POSIX_SPAWN_DUP2, fd, 0),
            (os.POSIX_SPAWN_OPEN, 1, out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def until(found: Callable[[], _T | None]) -> _T:
    """What a question gives as soon as it gives something."""
    deadline = time.monotonic() + PATIENCE_S
    while not (told := found()):
        assert time.monotonic() < deadline, "it did not come"
        threading.Event().wait(0.01)
    return told


class Feed:
    """One run of the proxy, of which only the recording process is real."""

    def __init__(self, place: Workspace, *, environ: Mapping[str, str] | None = None, **begin: Any):
        self.begin = begin_of(place, **begin)
        self.session, self.event = str(self.begin["session"]), str(self.begin["event"])
        self._hold = hold(place, self.session) if self.begin["own"] else None
        self.out = place.root.parent / f"printed-{self.event}"
        reading, self._fd = os.pipe()
        self.pid = spawn(reading, environment(**(environ or {})), str(self.out))
        os.close(reading)
        self.record(BEGIN, 0, 0, json.dumps(self.begin).encode())

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
        if self._hold is not None:
            self._hold.close()
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            if not os.waitpid(self.pid, os.WNOHANG)[0]:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)

    def record(
        self, kind: int, direction: int, channel: int, payload: bytes, at_ns: int | None = None
    ) -> None:
        at_ns = time.time_ns() if at_ns is None else at_ns
        view = memoryview(HEADER.pack(kind, direction, channel, at_ns, len(payload)) + payload)
        while view:
            view = view[os.write(self._fd, view) :]

    def data(self, direction: int, data: bytes, size: int = 1 << 16) -> None:
        for at in range(0, len(data), size):
            self.record(DATA, direction, 0, data[at : at + size])

    def client(self, **message: Any) -> None:
        self.data(TO_SERVER, json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def server(self, **message: Any) -> None:
        self.data(TO_CLIENT, json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def calls(self, id: object, tool: str = "echo", **params: Any) -> None:
        self.client(id=id, method="tools/call", params={"name": tool, **params})

    def answers(self, id: object, text: str = "hi", **result: Any) -> None:
        self.server(id=id, result={"content": [{"type": "text", "text": text}], **result})

    def end(self, exit_code: int | None = 0, signal: int | None = None) -> None:
        told = {"exit_code": exit_code, "signal": signal}
        self.record(END, TO_CLIENT, 0, json.dumps(told).encode())

    def leave(self) -> None:
        """The forwarder is gone."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def wait(self) -> None:
        """Until the process has ended by itself: well, and without a word."""
        self.leave()
        ended = until(lambda: _ended(self.pid))
        if self._hold is not None:
            self._hold.close()
        assert ended == ("ended", 0), ended
        assert self.out.read_bytes() == b""

    def finish(self, exit_code: int | None = 0, signal: int | None = None) -> None:
        """The server has ended, and so has the forwarder."""
        self.end(exit_code, signal)
        self.wait()


def _ended(pid: int) -> tuple[str, int] | None:
    done, status = os.waitpid(pid, os.WNOHANG)
    return ("ended", os.waitstatus_to_exitcode(status)) if done else None


def spooled(place: Workspace) -> bytes:
    """All bytes that wait in the spool."""
    return b"".join(path.read_bytes() for path in Path(place.spool).iterdir() if path.is_file())


# --- what came of it --------------------------------------------------------------------------------------


def events(db: Any, place: Workspace, *kinds: str) -> list[Row]:
    """All events, or those of some kinds, by the way in which a reading command sees them."""
    fresh = open_fresh(place)
    fresh.db.close()
    assert fresh.stale is None
    assert is_whole(db)
    damaged = [
        row
        for row in list_events(db, Filters())
        if row["data"].get("reason") in ("unfit_frame", "damaged_frame")
    ]
    assert damaged == []
    return [row for row in list_events(db, Filters()) if row["kind"] in (kinds or (row["kind"],))]


def one(db: Any, place: Workspace, kind: str) -> Row:
    (row,) = events(db, place, kind)
    return row


def running(db: Any, place: Workspace, kind: str = "mcp_call") -> list[Row]:
    drain(db, place)
    rows = db.execute("SELECT id, parent, actor, data FROM running WHERE kind = ? ORDER BY n", (kind,))
    return [{"id": row[0], "parent": row[1], "actor": row[2], "data": json.loads(row[3])} for row in rows]


def noted(place: Workspace, event: str) -> int:
    """How many calls the note tells of."""
    path = place.run / f"mcp-{event}.json"
    try:
        return len(json.loads(path.read_bytes())["frames"])
    except (OSError, ValueError):
        return -1


def note_text(place: Workspace, event: str) -> str:
    try:
        return (place.run / f"mcp-{event}.json").read_text()
    except OSError:
        return ""
