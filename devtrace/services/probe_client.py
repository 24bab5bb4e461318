"""Asking one program: its control API, over the socket that it opens when it is woken.

    socket ""    it has no socket yet: SIGURG wakes it, and it writes its path into its registry file
    connected    SIGURG once more: the thread that answers may have ended, and the backlog holds our request
    silent       where the program forks or its thread ends in that moment, a request is lost: it is made
                 again, at the socket that the registry names then. The answer to an earlier one is as good.

Lives here: `ask`, `NoAnswer`, `Ended`. Not here: which programs there are (probe_processes.py), the routes
(probes/routes.py), the other end (probes/server.py).
"""

from __future__ import annotations

import http.client
import json
import select
import socket
import time
from collections.abc import Mapping
from typing import Any

from devtrace.probes import registry
from devtrace.services.probe_processes import hears, is_there, state
from devtrace.workspace import Workspace

TIMEOUT_S = 2.0
CANNOT_WAKE = "it cannot be woken: it uses SIGURG itself, or began to be asked beside its main thread"
_AGAIN_S = 0.5  # after which who is silent is asked again
_NUDGE_S = 0.1  # after which it is woken again
_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.1
_MOST_BYTES = 16 << 20  # of an answer

Answer = tuple[int, dict[str, Any] | None]


class NoAnswer(Exception):
    """The program did not answer. `reason` is a clause that says why: `it is stopped`."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Ended(NoAnswer):
    """There is no such program any more."""

    def __init__(self) -> None:
        super().__init__("it has ended")


def ask(
    workspace: Workspace,
    process: Mapping[str, Any],
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """Status and document of one request; the document is None where the answer has no body.

    `process` is one of `registry.registered`. A GET is made again until the time is over; anything else only
    where it could not be sent. Raises NoAnswer, and Ended of a program that is gone.
    """
    asking = _Asking(workspace, process, timeout_s)
    try:
        return asking.answer(method, path, body)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _broken(process, error) from error
    finally:
        asking.close()


class _Asking:
    """One question, and the connections on which it was asked."""

    def __init__(self, workspace: Workspace, process: Mapping[str, Any], timeout_s: float):
        self._entry = registry.folder(workspace) / str(process["pid"])
        self._process = dict(process)
        self._timeout_s = timeout_s
        self._until = time.monotonic() + timeout_s
        self._open: list[_OverSocket] = []
        self._failure: OSError | None = None  # of the last that was refused or cut off

    def answer(self, method: str, path: str, body: Mapping[str, Any] | None) -> Answer:
        """Raises NoAnswer, and what an answer raises that cannot be read."""
        pause = _PAUSE_S
        while True:
            is_sent = self._is_sent(method, path, body)
            answer = self._received()
            if answer is not None:
                return answer
            if self._left() <= 0 or (is_sent and method != "GET"):
                if self._failure is None or self._open:
                    raise _silent(self._process, self._timeout_s)
                raise self._failure
            self._look_again()
            if not self._open:
                time.sleep(pause)  # nothing tells when it listens again
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    def close(self) -> None:
        for connection in self._open:
            connection.close()

    def _is_sent(self, method: str, path: str, body: Mapping[str, Any] | None) -> bool:
        address = self._address()
        if not address:
            return False
        connection = _OverSocket(address, self._patience(), int(self._process["pid"]))
        try:
            headers = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
        except OSError as error:
            connection.close()
            self._failure = None if isinstance(error, TimeoutError) else error  # its backlog is full
            return False
        self._open.append(connection)
        return True

    def _received(self) -> Answer | None:
        """The first answer to any of the requests, in the time after which another is made."""
        until = time.monotonic() + self._patience()
        while self._open:
            waiting = {one.sock: one for one in self._open}
            left = max(until - time.monotonic(), 0)
            ready, _, _ = select.select(list(waiting), (), (), min(left, _NUDGE_S))
            if not ready and not left:
                return None
            if not ready:
                registry.poke(self._process["pid"])  # the thread that the last one woke may have ended
                continue
            connection = waiting[ready[0]]
            try:
                return _answer(connection, self._until)
            except TimeoutError:
                raise _silent(self._process, self._timeout_s) from None
            except ConnectionError as error:
                self._failure = error
                self._open.remove(connection)
                connection.close()
        return None

    def _address(self) -> str:
        """Where it listens; who does not yet is woken. "": it does not within the time."""
        until = time.monotonic() + self._patience()
        if self._process["socket"]:
            return str(self._process["socket"])
        if not self._process["wakes"]:
            raise NoAnswer(CANNOT_WAKE)
        if not registry.poke(self._process["pid"]):
            raise Ended
        while not self._process["socket"] and time.monotonic() < until:
            time.sleep(_PAUSE_S)  # it replaces a file: nothing else tells of it on every platform
            self._read_entry()
        return str(self._process["socket"])

    def _look_again(self) -> None:
        """Whether it makes sense to ask again, and where. Raises NoAnswer."""
        pid = self._process["pid"]
        if state(pid) in ("T", "t"):
            raise NoAnswer("it is stopped")
        if not self._open and self._failure is not None and hears(pid) is False:
            raise self._failure
        self._read_entry()

    def _read_entry(self) -> None:
        """What it says of itself now."""
        try:
            told = json.loads(self._entry.read_bytes())
        except FileNotFoundError:
            if is_there(self._process):
                raise NoAnswer("it lets itself be asked no more") from None
            raise Ended from None
        except (OSError, ValueError, RecursionError):
            return
        for name, kind in (("socket", str), ("wakes", bool)):
            value = told.get(name) if isinstance(told, dict) else None
            if isinstance(value, kind):
                self._process[name] = value

    def _patience(self) -> float:
        return max(min(_AGAIN_S, self._left()), _PAUSE_S)

    def _left(self) -> float:
        return self._until - time.monotonic()


class _OverSocket(http.client.HTTPConnection):
    def __init__(self, address: str, timeout_s: float, pid: int):
        super().__init__("localhost", timeout=timeout_s)
        self._address = address
        self._pid = pid

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._address)
        registry.poke(self._pid)


def _answer(connection: _OverSocket, until: float) -> Answer:
    connection.sock.settimeout(max(until - time.monotonic(), _PAUSE_S))
    response = connection.getresponse()
    data = response.read(_MOST_BYTES)
    if response.length:
        raise ValueError(f"{response.length:,} bytes of it are missing")
    if not data:
        return response.status, None
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError("the answer is no JSON object")
    return response.status, document


def _silent(process: Mapping[str, Any], timeout_s: float) -> NoAnswer:
    if not is_there(process):
        return Ended()
    if state(process["pid"]) in ("T", "t"):
        return NoAnswer("it is stopped")
    return NoAnswer(
        f"it has not answered within {timeout_s:g} s: it may be busy in C code, or have stopped its probes"
    )


def _broken(process: Mapping[str, Any], error: Exception) -> NoAnswer:
    if not is_there(process):
        return Ended()
    if isinstance(error, ConnectionResetError):
        return NoAnswer("it closed the connection without an answer")
    if isinstance(error, OSError):
        return NoAnswer(f"its socket cannot be used: {error.strerror or error}")
    return NoAnswer(f"its answer cannot be read: {error or type(error).__name__}")
