"""A client that keeps every byte: one server on pipes, started directly or behind the proxy.

    with Talk(PROXIED, tmp_path) as talk:
        answer = talk.call("echo", id=1)
        outcome = talk.finish()

What a test does it does by a play, a function of a `Talk`, and `played` runs it both ways and wants the same
of both: every byte on stdout and on stderr, what the server saw, how it ended, and what the play returned.

Lives here: `Talk`, the two ways, `played`; how the proxy is started (`PROXY`). Not here: what is expected
(test_stdio_*.py), the server (nasty_server.py), HTTP (peers.py).
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from devtrace.store.connection import open_store
from devtrace.workspace import Workspace
from tests.agents.clients import running
from tests.processes import DEADLINE, environment

SERVER = Path(__file__).with_name("nasty_server.py")
NAME = "nasty"
PROXY = (sys.executable, "-m", "devtrace", "mcp", "proxy", "--name")
_WRITTEN_AT_ONCE = 1 << 18
_AROUND = 300  # characters of a difference
_MARK = "NASTY_PLACE"  # in the environment of all that a run started, so that it can be found again
_PACKETS = getattr(os, "O_DIRECT", 0) if sys.platform == "linux" else 0


def through(command: Sequence[str], name: str = NAME) -> list[str]:
    """The command line with the proxy in front of it."""
    return [*PROXY, name, "--", *command]


class Way(NamedTuple):
    """How the client gets to the server."""

    name: str
    command: Callable[[Sequence[str]], list[str]]


DIRECT = Way("direct", lambda command: list(command))
PROXIED = Way("proxied", through)
WAYS = (DIRECT, PROXIED)


class Outcome(NamedTuple):
    """All that can be seen of a run from outside, and what its play returned."""

    received: bytes
    stderr: bytes
    ended: str  # "exit 7", "signal SIGKILL"
    report: list[list[Any]]  # of the server: see nasty_server.py
    returned: Any = None

    @property
    def lines(self) -> list[bytes]:
        """As the server wrote them, with the rest that has no end."""
        return self.received.splitlines(keepends=True)


class Talk:
    """A server that runs in `folder`, and our three pipes to it."""

    def __init__(
        self,
        way: Way,
        folder: Path,
        *habits: str,
        program: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int | None = None,
        packets: bool = False,
        **popen: Any,
    ):
        """`packets`: what is written at once is read at once, too (Linux). `stdin`: not a pipe of ours."""
        folder.mkdir(exist_ok=True)
        self.way, self.folder = way, folder
        self.report_file = folder / "report"
        self.received, self.stderr = bytearray(), bytearray()
        self._seen = 0  # of what was received, by `line`
        self._searched = 0  # of that, for the end of the next line
        self._unsent = bytearray()
        self._outgoing = -1
        reading, stdin_of_ours = stdin, -1
        if stdin is None:
            reading, stdin_of_ours = os.pipe2(_PACKETS) if packets and _PACKETS else os.pipe()
        server = [sys.executable, "-S", str(SERVER), str(self.report_file), *habits]
        self.process = subprocess.Popen(
            way.command(program if program is not None else server),
            stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder,
            env={**(environment() if env is None else env), _MARK: str(folder)},
            start_new_session=True, **popen,
        )  # fmt: skip
        if stdin is None:
            os.close(reading)
            self._outgoing = stdin_of_ours
            os.set_blocking(self._outgoing, False)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._incoming = {self.process.stdout.fileno(): "received", self.process.stderr.fileno(): "stderr"}

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        """The whole group goes; what the proxy started apart from it has to end by itself."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.close_stdin()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        gone_in_time(lambda: running(f"{_MARK}={self.folder}"))

    # --- writing --------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Into the pipe, as far as it goes; the rest while something is waited for."""
        self._unsent += data
        self._write()

    def flush(self) -> None:
        """Until all has gone into the pipe."""
        while self._unsent:
            self._pump(time.monotonic() + DEADLINE)

    def say(self, **message: Any) -> bytes:
        """One message in a line; returns it."""
        line = json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"
        self.send(line)
        return line

    def call(self, tool: str, id: Any = 1, arguments: Any = None, **params: Any) -> dict[str, Any]:
        """A call of a tool, and its answer."""
        self.say(id=id, method="tools/call", params={"name": tool, "arguments": arguments or {}, **params})
        return self.answer(id)

    def initialize(self, revision: str = "2025-11-25") -> dict[str, Any]:
        """As a client of the older revisions begins."""
        info = {"name": "nasty-client", "version": "1"}
        told = {"protocolVersion": revision, "capabilities": {"sampling": {}}, "clientInfo": info}
        self.say(id="init", method="initialize", params=told)
        answer = self.answer("init")
        self.say(method="notifications/initialized")
        return answer

    def close_stdin(self) -> None:
        """May be called twice."""
        if self._outgoing >= 0:
            os.close(self._outgoing)
            self._outgoing = -1

    def close_stdout(self) -> None:
        """As a client that is gone."""
        assert self.process.stdout is not None
        self._incoming.pop(self.process.stdout.fileno(), None)
        self.process.stdout.close()

    # --- reading --------------------------------------------------------------------------------------------

    def line(self) -> bytes:
        """The next one, with its end; raises EOFError where there is none any more."""
        self.until(self._has_line)
        end = self.received.index(b"\n", self._searched) + 1
        line = bytes(self.received[self._seen : end])
        self._seen = self._searched = end
        return line

    def _has_line(self) -> bool:
        if self.received.find(b"\n", self._searched) >= 0:
            return True
        self._searched = len(self.received)
        return False

    def message(self) -> Any:
        """The next line that is JSON."""
        while True:
            with suppress(ValueError):
                return json.loads(self.line())

    def answer(self, id: Any) -> dict[str, Any]:
        """The next answer to that request; what comes before it is passed over."""
        while True:
            message = self.message()
            is_answer = isinstance(message, dict) and "method" not in message
            if is_answer and json.dumps(message.get("id", "")) == json.dumps(id):
                return message

    def until(self, is_done: Callable[[], bool]) -> None:
        """Read and write until then; EOFError when nothing can come any more."""
        deadline = time.monotonic() + DEADLINE
        while not is_done():
            if self.process.stdout is None or "received" not in self._incoming.values():
                raise EOFError(f"{self.way.name}: {self.received[-300:]!r} {self.stderr[-2000:]!r}")
            self._pump(deadline)

    def until_silent(self) -> None:
        """Until the end of the server's output, which may live on."""
        deadline = time.monotonic() + DEADLINE
        while "received" in self._incoming.values():
            self._pump(deadline)

    def until_end(self) -> None:
        """Until both outputs are closed."""
        deadline = time.monotonic() + DEADLINE
        while self._incoming:
            self._pump(deadline)

    def wait_for(self, *fact: Any, reading: bool = True) -> None:
        """Until the server has put that into its report. A file tells nobody that it has grown."""
        deadline = time.monotonic() + DEADLINE
        while list(fact) not in [told[: len(fact)] for told in self.report()]:
            assert time.monotonic() < deadline, f"{self.way.name}: {fact} is not in {self.report()}"
            if reading:
                self._pump(deadline, patience_s=0.005)
            else:
                select.select([], [], [], 0.005)

    def report(self) -> list[list[Any]]:
        """What the server has told so far."""
        if not self.report_file.exists():
            return []
        *whole, _ = self.report_file.read_bytes().split(b"\n")
        return [json.loads(line) for line in whole]

    def finish(self, returned: Any = None) -> Outcome:
        """End of file for the server, and everything up to its end."""
        self.flush()
        self.close_stdin()
        return self.ended(returned)

    def ended(self, returned: Any = None) -> Outcome:
        """Everything up to its end, whatever brings that about."""
        self.until_end()
        status = self.process.wait(DEADLINE)
        ended = f"exit {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
        return Outcome(bytes(self.received), bytes(self.stderr), ended, self.report(), returned)

    def _pump(self, deadline: float, patience_s: float | None = None) -> None:
        """Whatever can go now, in each direction."""
        poll = select.poll()
        for fd in self._incoming:
            poll.register(fd, select.POLLIN)
        if self._unsent and self._outgoing >= 0:
            poll.register(self._outgoing, select.POLLOUT)
        left = deadline - time.monotonic() if patience_s is None else patience_s
        ready = poll.poll(max(0.0, left) * 1000)
        for fd, _ in ready:
            if fd == self._outgoing:
                self._write()
            else:
                self._read(fd)
        if not ready and patience_s is None:
            raise TimeoutError(f"{self.way.name}: {self.received[-300:]!r} {self.stderr[-2000:]!r}")

    def _read(self, fd: int) -> None:
        name, data = self._incoming[fd], os.read(fd, 1 << 20)
        if not data:
            del self._incoming[fd]
        getattr(self, name).extend(data)

    def _write(self) -> None:
        with suppress(BlockingIOError):
            while self._unsent:
                try:
                    del self._unsent[: os.write(self._outgoing, self._unsent[:_WRITTEN_AT_ONCE])]
                except BrokenPipeError:
                    self._unsent.clear()


def played(
    play: Callable[[Talk], Outcome],
    folder: Path,
    *habits: str,
    prepare: Callable[[Way, Path], object] = lambda way, place: None,
    **talk: Any,
) -> Outcome:
    """The same play directly and behind a proxy that records; what came of it, which is the same.

    `prepare` is called with the way and the place before the server is started there.
    """
    found = []
    for way in WAYS:
        place = recorded(folder / "place")  # the same both times: the server tells where it is
        prepare(way, place)
        with Talk(way, place, *habits, **talk) as opened:
            found.append(play(opened))
        place.rename(folder / way.name)
    for outcome in found[1:]:
        parts = [
            difference(name, getattr(found[0], name), getattr(outcome, name)) for name in Outcome._fields
        ]
        assert outcome == found[0], "".join(parts)
    return found[0]


def difference(name: str, direct: Any, proxied: Any) -> str:
    """Where two texts of a value part; or nothing."""
    one, other = repr(direct), repr(proxied)
    at = next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    part = slice(max(0, at - _AROUND), at + _AROUND)
    return "" if one == other else f"\n{name} at {at}: direct {one[part]}\n  proxied {other[part]}"


def recorded(folder: Path) -> Path:
    """The folder with a store in it."""
    folder.mkdir(parents=True, exist_ok=True)
    open_store(Workspace(folder / ".devtrace"), create=True).close()
    return folder


def gone_in_time(left: Callable[[], list[int]]) -> None:
    """Wait until no process is left; those that stay are killed, and named by the error."""
    deadline = time.monotonic() + DEADLINE
    while pids := left():
        if time.monotonic() > deadline:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"processes {pids} stayed")
        select.select([], [], [], 0.005)  # they are nobody's children of ours: nothing tells of their end


def command_line(pid: int) -> bytes:
    """Of a process; nothing of one that has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def children(pid: int) -> list[int]:
    """The processes that one has started and not yet waited for; none where there is no /proc."""
    return sorted(child for child, parent in _parents() if parent == pid)


def _parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            yield int(folder.name), int((folder / "stat").read_bytes().rpartition(b")")[2].split()[1])
