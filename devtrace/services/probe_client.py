"""Asking one program: its control API, over the socket that it opens when it is woken.

    socket ""    it has no socket yet: SIGURG wakes it, and it writes its path into its registry file
    connected    SIGURG once more: the thread that answers may have ended, and the backlog holds our request

Lives here: `ask`, `NoAnswer`. Not here: which programs there are (probe_processes.py), the routes
(probes/routes.py), the other end (probes/server.py).
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devtrace.probes import registry
from devtrace.workspace import Workspace

TIMEOUT_S = 2.0
CANNOT_WAKE = "it has a handler of its own for SIGURG, by which others are woken"
_PAUSE_S = 0.005
_MOST_BYTES = 16 << 20  # of an answer

Answer = tuple[int, dict[str, Any] | None]


class NoAnswer(Exception):
    """The program did not answer. `reason` is a clause that says why: `it is stopped`."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


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

    `process` is one of `registry.registered`. Raises NoAnswer.
    """
    until = time.monotonic() + timeout_s
    try:
        address = _socket_of(workspace, process, until)
        connection = _OverSocket(address, max(until - time.monotonic(), _PAUSE_S), int(process["pid"]))
        try:
            return _answer(connection, method, path, body, until)
        finally:
            connection.close()
    except TimeoutError:
        raise NoAnswer(_silent(process, timeout_s)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswer(_broken(process, error)) from error


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


def _socket_of(workspace: Workspace, process: Mapping[str, Any], until: float) -> str:
    """Where it listens; wakes it where it does not yet. Raises NoAnswer, TimeoutError."""
    address = str(process["socket"])
    if address:
        return address
    if not process["wakes"]:
        raise NoAnswer(CANNOT_WAKE)
    if not registry.poke(process["pid"]):
        raise NoAnswer("it has ended")
    entry = registry.folder(workspace) / str(process["pid"])
    while not (address := _told_socket(entry)):
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(_PAUSE_S)  # it replaces a file: nothing else tells of it on every platform
    return address


def _told_socket(entry: Path) -> str:
    try:
        told = json.loads(entry.read_bytes())
    except FileNotFoundError:
        raise NoAnswer("it has ended") from None
    except (OSError, ValueError, RecursionError):
        return ""
    address = told.get("socket") if isinstance(told, dict) else None
    return address if isinstance(address, str) else ""


def _answer(
    connection: _OverSocket, method: str, path: str, body: Mapping[str, Any] | None, until: float
) -> Answer:
    headers = {} if body is None else {"Content-Type": "application/json"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    if connection.sock is not None:
        connection.sock.settimeout(max(until - time.monotonic(), _PAUSE_S))
    data = response.read(_MOST_BYTES)
    if response.length:
        raise ValueError(f"{response.length:,} bytes of it are missing")
    if not data:
        return response.status, None
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError("the answer is no JSON object")
    return response.status, document


def _silent(process: Mapping[str, Any], timeout_s: float) -> str:
    if not registry.is_there(process["pid"], process["started"]):
        return "it has ended"
    if _state(process["pid"]) in ("T", "t"):
        return "it is stopped"
    return f"it does not answer within {timeout_s:g} s: it is busy in C code, or waits there for input"


def _broken(process: Mapping[str, Any], error: Exception) -> str:
    if not registry.is_there(process["pid"], process["started"]):
        return "it has ended"
    if isinstance(error, http.client.RemoteDisconnected):
        return "it closed the connection without an answer"
    if isinstance(error, OSError):
        return f"its socket cannot be used: {error.strerror or error}"
    return f"its answer cannot be read: {error or type(error).__name__}"


def _state(pid: int) -> str:
    """The letter that the kernel has for what it does; "" where that cannot be told."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    return stat.rpartition(b") ")[2][:1].decode("ascii", "replace")
