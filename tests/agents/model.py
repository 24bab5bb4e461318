"""A model that follows a script: a server on loopback for real coding agents, free and without a net.

    with ModelServer(repo) as server:
        run(client, repo, "Greet [script:main]", server)
        assert len(server.results("main")) == ...
        print(server.story())

It keeps no state between requests: what it says next is told by the number of tool results in the request, so
that retries, parallel calls and subagents cannot confuse it. A request that is no step of a script (a title,
a count of tokens, a list of models, telemetry) gets a harmless answer.

It is also the proxy that the clients are given: what they would ask of anybody else ends here, is refused,
and stands in `strays`.

Lives here: the server and what it saw. Not here: the formats (wire.py), the scripts (scripts.py).
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.agents.scripts import SCRIPTS, Script, Turn, turn
from tests.agents.wire import Answer, Asked, Format, Result, format_of

SIDE_ANSWER = "A side answer"
SHORT = 160  # characters of a result in a story


class Request(NamedTuple):
    """What was asked, and what was said to it; `asked` is None for what is no question to a model."""

    method: str
    path: str
    body: Mapping[str, Any]
    format: str = ""
    asked: Asked | None = None
    said: Turn | None = None


class ModelServer:
    """The server, on a port of its own choice as long as the context is open.

    `root` is where the scripts' files are: the clients' tools want absolute paths.
    """

    def __init__(self, root: Path, scripts: Mapping[str, Script] = SCRIPTS):
        self.root = root
        self.scripts = scripts
        self.requests: list[Request] = []
        self.strays: list[str] = []  # the hosts that a client wanted to reach
        self.faults: list[str] = []  # what the server itself could not do
        self._http = _Server(self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), name="model-server")

    def __enter__(self) -> ModelServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """Without a path and a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    # --- what it saw ----------------------------------------------------------------------------------------

    def results(self, script: str) -> tuple[Result, ...]:
        """All that the tools of a script answered, as the last request of that script told it."""
        told = [request.asked.results for request in self.requests if self._is_of(script, request)]
        return max(told, key=len, default=())

    def has_said(self, script: str) -> list[Turn]:
        """What was answered in a script, in order; a request that was repeated has two."""
        return [request.said for request in self.requests if self._is_of(script, request) and request.said]

    def story(self) -> str:
        """What happened, a line for each request, for the output of a test that failed."""
        lines = [_line(request) for request in self.requests]
        lines += [f"stray: {stray}" for stray in self.strays] + [f"fault: {fault}" for fault in self.faults]
        return "\n".join(lines)

    def _is_of(self, script: str, request: Request) -> bool:
        return bool(request.asked and request.asked.tools and request.asked.script == script)

    # --- what it says ---------------------------------------------------------------------------------------

    def answer(self, speaks: Format, path: str, body: dict[str, Any]) -> Answer:
        """The next turn of the script, or a harmless word when the request belongs to none."""
        asked = speaks.read(body)
        script = self.scripts.get(asked.script or "") if asked.tools else None
        texts = [result.text for result in asked.results]
        said = turn(script, texts, asked.tools, self.root) if script else Turn(SIDE_ANSWER)
        self.requests.append(Request("POST", path, body, speaks.name, asked, said))
        return speaks.write(said, body, asked.streams or ":streamGenerateContent" in path)

    def side_answer(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        """What fits most: no models, a hundred tokens."""
        self.requests.append(Request(method, path, body))
        told = {"object": "list", "data": [], "models": [], "input_tokens": 100, "totalTokens": 100}
        return Answer("application/json", json.dumps(told).encode())


def _line(request: Request) -> str:
    if request.asked is None or request.said is None:
        return f"{request.method} {request.path}"
    script, results = request.asked.script, request.asked.results
    calls = ", ".join(call.name for call in request.said.calls)
    last = f" after {results[-1].text[-SHORT:]!r}" if results else ""
    return f"{request.format} {script} {len(results)}: {request.said.text!r} [{calls}]{last}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client's idle connection must not hold the test

    def __init__(self, model: ModelServer):
        self.model = model
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is killed leaves connections behind: that is no news, and nothing to print."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_HEAD = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET

    def do_CONNECT(self) -> None:
        """A tunnel to ourselves is what follows on this connection; one to others is refused."""
        if self._is_ours(self.path):
            self.send_response(200)
            self.end_headers()
        else:
            self._refuse(self.path)

    def log_message(self, format: str, *args: object) -> None:
        """stderr belongs to the test."""

    def _answer(self) -> None:
        model = self.server.model
        body = self._body()
        target = urlsplit(self.path)
        if target.netloc and not self._is_ours(target.netloc):
            self._refuse(target.netloc)
            return
        path = target.path + (f"?{target.query}" if target.query else "")
        speaks = format_of(path) if self.command == "POST" else None
        try:
            told = model.answer(speaks, path, body) if speaks else model.side_answer(self.command, path, body)
        except Exception as error:  # a thread's top: a format that changed must not look like a silent model
            model.faults.append(f"{self.command} {path}: {error!r}")
            self._send(400, _refusal(repr(error)))
        else:
            self._send(200, told)

    def _body(self) -> dict[str, Any]:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            raw = gzip.decompress(raw)
        try:
            body = json.loads(raw or b"{}")
        except ValueError:
            return {}
        return body if isinstance(body, dict) else {}

    def _is_ours(self, host: str) -> bool:
        return host in (f"127.0.0.1:{self.server.model.port}", f"localhost:{self.server.model.port}")

    def _refuse(self, host: str) -> None:
        self.server.model.strays.append(host)
        self._send(403, _refusal(f"{host} is not here"))

    def _send(self, status: int, answer: Answer) -> None:
        self.send_response(status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)


def _refusal(why: str) -> Answer:
    return Answer("application/json", json.dumps({"error": {"type": "scripted", "message": why}}).encode())
