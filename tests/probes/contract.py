"""A program that has called `start`, and a client of its HTTP that knows nothing but the documents.

Not here: a program that is reached without a call of its own (running.py).
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from devtrace.probes import wire
from tests.probes.running import LISTENS, OverUnix, Program, running
from tests.processes import DEADLINE

APP = """\
def add(x, y):
    z = 0
    z = x + y
    return z

def fails():
    raise ValueError("no")

def guarded():
    try:
        fails()
    except ValueError:
        return "caught"
"""
SET = {"file": "app.py", "line": 3}
LOG = {**SET, "message": "x={x}"}
OWN = object()  # the token of the store
UNTRACED = {"DEVTRACE_DIR": "", "DEVTRACE_SESSION": "", "DEVTRACE_SPAN": "", "PYTHONPATH": ""}


class Answer:
    """`document` None: there was no body."""

    def __init__(self, answer: http.client.HTTPResponse):
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        self.body = answer.read()
        self.document: Any = json.loads(self.body) if self.body else None

    @property
    def all(self) -> tuple[int, Any]:
        return self.status, self.document

    @property
    def code(self) -> str:
        return self.document["code"]


class Api:
    """The HTTP of one program; `port` is where it listens."""

    def __init__(self, program: Program):
        self.program = program
        self._port = 0

    @property
    def port(self) -> int:
        if not self._port:
            address = self.program.ask("GET", "/health")[1]["control"]["http"]
            self._port = int(address.rpartition(":")[2])
        return self._port

    @port.setter
    def port(self, port: int) -> None:
        self._port = port

    @property
    def token(self) -> str:
        return (self.program.store.run / "control.token").read_text().strip()

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: Any = OWN,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """`body`: bytes as they are, all else as JSON. `token` None: no Authorization."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        given = self.token if token is OWN else token
        bearer = {} if given is None else {"Authorization": f"Bearer {given}"}
        return _called(connection, method, path, body, {**bearer, **(headers or {})})

    def over_unix(self, path: str, method: str, target: str, body: object = None) -> Answer:
        """The same over a unix socket, whose file is `path`."""
        return _called(OverUnix(path), method, target, body, {})


def _called(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: object,
    headers: dict[str, str],
) -> Answer:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    kind = {} if data is None else {"Content-Type": "application/json"}
    with contextlib.closing(connection):
        connection.request(method, path, data, kind | headers)
        return Answer(connection.getresponse())


@contextlib.contextmanager
def starting(
    home: Path,
    *,
    call: str = "devtrace.probes.start(control_api_port=0)",
    is_traced: bool = True,
    **environment: str,
) -> Iterator[Api]:
    """A program that has called so. `is_traced` False: outside of a traced shell."""
    (home / "app.py").write_text(APP)
    listens = f"import devtrace.probes\nimport app\n{call}\n{LISTENS}"
    with running(home, listens=listens, **({} if is_traced else UNTRACED), **environment) as program:
        program.do("1")  # it has called
        yield Api(program)


def events(program: Program) -> list[dict[str, Any]]:
    """What it told, in the documented form."""
    return [wire.envelope(frame["data"], frame["ended_us"]) for frame in program.frames()]
