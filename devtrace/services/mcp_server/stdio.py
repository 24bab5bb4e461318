"""A server on its standard streams: lines in, lines out, and nothing else on stdout, whoever prints.

The streams are ours alone from the start: descriptor 0 reads nothing, and 1 leads to stderr. A thread
reads; until the library of the protocol is there it gives the first answers itself. When the client closes
its end the process ends: at once where nothing is asked, else as soon as that is answered, or after a
moment.

Lives here: `Streams`. Not here: what is answered (serve.py, first.py).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from devtrace.errors import UsageError
from devtrace.services.mcp_server import first

Take = Callable[[bytes], None]

_LONGEST = 16 << 20  # bytes of a line
_LEAVING_S = 0.25  # for what was asked before the client closed its end
_LOADING_S = 30.0  # for the library to be there, when it closed its end before
_WRITING_S = 1.0
_TERMINATED, _INTERRUPTED = 143, 130
_TOO_LONG = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "the message is too long"}}


class Streams:
    """Both ends, from the first byte to the end of the process."""

    def __init__(self, leave: Callable[[int], Any] = os._exit):
        """`leave`: ends the process with a status. Raises UsageError ERR_USAGE where a stream is closed."""
        self._leave = leave
        try:
            self._source, self._sink = os.fdopen(os.dup(0), "rb"), os.dup(1)
        except OSError as error:
            raise UsageError(
                "standard input or output is closed",
                code="ERR_USAGE",
                hint="a client starts this command and speaks to it there",
            ) from error
        self._writing = threading.Lock()
        self._changed = threading.Condition()
        self._take: Take | None = None
        self._early: list[bytes] = []
        self._open: set[object] = set()  # ids of requests that are not answered
        self._told: set[object] = set()  # of those that were answered here: the library's answer stays unsent
        self._is_greeted = False

    def begin(self) -> None:
        """From now on the standard streams are ours, and what comes is read."""
        _divert()
        signal.signal(signal.SIGTERM, lambda *_: self._leave(_TERMINATED))
        signal.signal(signal.SIGINT, lambda *_: self._leave(_INTERRUPTED))
        threading.Thread(target=self._read, name="devtrace-mcp-in", daemon=True).start()

    def hand_over(self, take: Take) -> None:
        """The library is there: `take` gets every line, those that came already first. It must not block."""
        with self._changed:
            for line in self._early:
                take(line)
            self._take = take
            self._changed.notify_all()

    def write(self, answered: object, text: str) -> None:
        """Send a message of the library, an answer to the request of that id, or none (None).

        An answer that was given already stays unsent.
        """
        key = _key(answered)
        with self._changed:
            was_told = key in self._told
            self._told.discard(key)
        if not was_told:
            self._send(text)
        self._settle(key)

    # --- reading --------------------------------------------------------------------------------------------

    def _read(self) -> None:
        while line := self._source.readline(_LONGEST):
            if len(line) == _LONGEST and not line.endswith(b"\n"):
                self._skip()
                self._send(json.dumps(_TOO_LONG))
            elif line.strip():
                self._came(line)
        self._end()

    def _skip(self) -> None:
        while (rest := self._source.readline(_LONGEST)) and not rest.endswith(b"\n"):
            pass

    def _came(self, line: bytes) -> None:
        message = _parsed(line)
        with self._changed:
            answer = None if self._take is not None else self._first(message)
            is_request = isinstance(message, dict) and "method" in message and "id" in message
            method = message.get("method") if isinstance(message, dict) else None
            if answer is not None and method in first.HANDSHAKES:
                self._told.add(_key(message["id"]))  # it has to hear of it too
            if is_request and (answer is None or method in first.HANDSHAKES):
                self._open.add(_key(message["id"]))
            if answer is None or method in first.HANDSHAKES:
                self._pass_on(line)
        if isinstance(message, dict) and message.get("method") == "notifications/cancelled":
            self._settle(_key((message.get("params") or {}).get("requestId")))
        if answer is not None:
            self._send(
                json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": answer}, ensure_ascii=False)
            )
            if method in first.HANDSHAKES:
                self._settle(_key(message["id"]))

    def _first(self, message: object) -> dict[str, Any] | None:
        """A first answer: to a handshake, and to what follows one."""
        answer = first.answer(message)
        if answer is None or not isinstance(message, dict):
            return None
        if message["method"] in first.HANDSHAKES:
            self._is_greeted = True
        return answer if self._is_greeted else None

    def _pass_on(self, line: bytes) -> None:
        if self._take is None:
            self._early.append(line)
        else:
            self._take(line)

    # --- the end --------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """The client closed its end: nothing more will be asked."""
        until = time.monotonic() + _LOADING_S
        with self._changed:
            while self._open and time.monotonic() < until:
                if self._take is not None:
                    until = min(until, time.monotonic() + _LEAVING_S)
                self._changed.wait(max(until - time.monotonic(), 0))
        self._writing.acquire(timeout=_WRITING_S)  # no line is torn
        self._leave(0)

    def _settle(self, key: object) -> None:
        with self._changed:
            self._open.discard(key)
            self._changed.notify_all()

    def _send(self, text: str) -> None:
        data = text.encode("utf-8", "replace") + b"\n"
        try:
            with self._writing:
                while data:
                    data = data[os.write(self._sink, data) :]
        except OSError:  # nobody reads any more
            self._leave(0)


def _divert() -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # there is no stderr
        os.dup2(null, 1)
    os.close(null)
    sys.stdout = sys.stderr


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _key(identity: object) -> object:
    """An id as a key: 1 and "1" are two, and a list is none."""
    return (type(identity).__name__, identity) if isinstance(identity, str | int | float) else None
