"""debugpy: how it begins in the process that is measured, and a client that sets a breakpoint from outside.

Lives here: both sides of the Debug Adapter Protocol. Not here: the clock (worker.py), the processes
(benchmarks/probes.py). Standard library only where it is measured.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.probed import variants

PORT = "port"
_SETTLE_S = 0.05
_PATIENCE_S = 20.0


def begun(folder: Path) -> tuple[Callable[[], Any], Callable[[], None], Callable[[bool], None]]:
    """How it begins, once a client is there; a while for its messages; what is set the client knows."""

    def begin() -> None:
        import debugpy

        _, port = debugpy.listen(("127.0.0.1", 0))
        (folder / f"{PORT}.new").write_text(str(port))
        (folder / f"{PORT}.new").rename(folder / PORT)
        debugpy.wait_for_client()

    return begin, lambda: time.sleep(_SETTLE_S), lambda _: None  # it does not tell when all is sent


def breakpoint_of(variant: variants.Variant, place: variants.Place) -> dict[str, Any]:
    """As the protocol has it."""
    told: dict[str, Any] = {"line": place.line}
    if variant.condition:
        told["condition"] = variants.condition_text(variant)
    if variant.fields:
        told["logMessage"] = variants.message_text(variant)
    return told


class Client(threading.Thread):
    """Connects when there is a port, sets the breakpoints, and reads what comes until the end."""

    def __init__(self, folder: Path, variant: variants.Variant, places: list[variants.Place]):
        super().__init__(daemon=True)
        self.verified: list[bool] = []
        self.messages = 0
        self.problem = ""
        self._folder = folder
        self._wanted = [(place, breakpoint_of(variant, place)) for place in places if place.line]
        self._seq = 0
        self._is_over = False
        self._socket = socket.socket()

    def run(self) -> None:
        """Until the program is gone."""
        try:
            self._socket.connect(("127.0.0.1", self._port()))
            self._converse()
        except (OSError, ValueError) as error:
            self.problem = f"{type(error).__name__}: {error}"

    def end(self) -> None:
        """Let go of the program."""
        self._is_over = True
        with contextlib.suppress(OSError):  # it never had a peer
            self._socket.shutdown(socket.SHUT_RDWR)
        self.join()
        self._socket.close()

    def _port(self) -> int:
        until = time.monotonic() + _PATIENCE_S
        while not (self._folder / PORT).exists():
            if self._is_over or time.monotonic() > until:
                raise OSError("debugpy did not listen")
            time.sleep(0.01)  # another process makes the file, and tells nobody
        return int((self._folder / PORT).read_text())

    def _converse(self) -> None:
        stream = self._socket.makefile("rb")
        self._ask("initialize", {"adapterID": "devtrace", "linesStartAt1": True})
        while (told := _read(stream)) is not None:
            if told.get("event") == "initialized":
                for place, one in self._wanted:
                    source = {"path": str(place.file)}
                    self._ask("setBreakpoints", {"source": source, "breakpoints": [one]})
                self._ask("configurationDone", {})
            elif told.get("event") == "output":
                self.messages += 1
            elif told.get("command") == "initialize":
                self._ask("attach", {"justMyCode": False})
            elif told.get("command") == "setBreakpoints":
                self.verified += [one["verified"] for one in told["body"]["breakpoints"]]

    def _ask(self, command: str, arguments: dict[str, Any]) -> None:
        self._seq += 1
        body = json.dumps(
            {"seq": self._seq, "type": "request", "command": command, "arguments": arguments}
        ).encode()
        self._socket.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))


def _read(stream: Any) -> dict[str, Any] | None:
    """The next message; None: there are no more."""
    length = 0
    while line := stream.readline().strip():
        name, _, value = line.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
    body = stream.read(length) if length else b""
    return json.loads(body) if body else None
