"""What our MCP proxy costs an agent, beside fastmcp's and mcp-proxy where they are installed.

A client of ours speaks to a server that does next to nothing, directly and through each proxy; ours records
into a store. All take turns. What counts on stdio is the time over the direct way: until `initialize` is
answered, and of one `tools/list` and one `tools/call` after the other. Over HTTP it is the time of a call on
a connection that stays open.

Not here: the peers (mcp_peers.py), the server (mcp_echo.py), whether bytes pass untouched (tests/mcp/).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from benchmarks import Row, mcp_peers
from benchmarks.mcp_peers import Found
from benchmarks.prompt import devtrace, row
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace

SERVER = Path(__file__).with_name("mcp_echo.py")
DIRECT, OURS = "the bare server", "ours"
START_BUDGET, CALL_BUDGET = "<= 100 ms", "<= 0.5 ms"
METHODS = ("tools/list", "tools/call")
_PARAMS: Mapping[str, Any] = {"tools/call": {"name": "echo", "arguments": {"path": "a.txt"}}}
_ABOUT = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}
_URL = re.compile(r"http://127\.0\.0\.1:\d+\S*?(?=[\s\"']|$)")
_PATIENCE_S = 60.0


class Amount(NamedTuple):
    """How often each is started, and how many requests it gets then."""

    starts: int
    requests: int
    warm: int  # requests before those that count


FULL, QUICK = Amount(15, 2000, 100), Amount(3, 200, 20)


class Times(NamedTuple):
    """Milliseconds."""

    start: list[float]
    requests: dict[str, list[float]]  # by method


def measure(*, quick: bool = False, amount: Amount | None = None, peers: Found | None = None) -> list[Row]:
    """The rows; `amount` overrides how much is run, `peers` beside whom."""
    size = amount or (QUICK if quick else FULL)
    found = mcp_peers.found() if peers is None else peers
    # A recording process of ours may still write when its proxy has ended.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as text:
        folder = store(Path(text))
        times, failed = stdio(folder, size, found)
        rows = list(stdio_rows(times, {**found.missing, **failed}))
        return [*rows, *http_rows(folder, size)]


def store(folder: Path) -> Path:
    """A folder with a store in it."""
    open_store(Workspace(folder / ".devtrace"), create=True).close()
    return folder


# --- stdio --------------------------------------------------------------------------------------------------


def stdio(folder: Path, amount: Amount, found: Found) -> tuple[dict[str, Times], dict[str, str]]:
    """The times of each way, and why one has none."""
    server = [sys.executable, "-S", str(SERVER), "stdio"]
    times: dict[str, Times] = {}
    failed: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        ways = {DIRECT: server, OURS: devtrace("mcp", "proxy", "--", *server)}
        for name, program in found.programs.items():
            try:
                front = mcp_peers.in_front(name, program, server, folder)
                ways[name] = stack.enter_context(front)
            except (OSError, RuntimeError) as error:
                failed[name] = str(error)
        for number in range(amount.starts):
            for name, command in ways.items():
                if name not in failed:
                    failed |= _one(times, name, command, folder, amount if number == 0 else None)
    return {name: one for name, one in times.items() if name not in failed}, failed


def _one(
    times: dict[str, Times], name: str, command: Sequence[str], folder: Path, amount: Amount | None
) -> dict[str, str]:
    """Start it once, and ask as `amount` says; nothing, or why that failed."""
    mine = times.setdefault(name, Times([], {}))
    environ = mcp_peers.environment(folder)
    try:
        with started(command, folder, environ) as server:
            mine.start.append(server.start_ms)
            for method in METHODS if amount else ():
                mine.requests[method] = server.asked(method, amount or QUICK)
    except (OSError, RuntimeError, ValueError) as error:
        return {name: f"{type(error).__name__}: {error}"[:160]}
    return {}


class Server:
    """A stdio server that has answered `initialize`."""

    def __init__(self, process: subprocess.Popen[bytes], begun: float):
        self._process = process
        self._id = 0
        self.request("initialize", _ABOUT)
        self.start_ms = (time.perf_counter() - begun) * 1000
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def asked(self, method: str, amount: Amount) -> list[float]:
        """One request after the other; milliseconds of each."""
        took = []
        for _ in range(amount.warm + amount.requests):
            begun = time.perf_counter()
            self.request(method, _PARAMS.get(method))
            took.append((time.perf_counter() - begun) * 1000)
        return took[amount.warm :]

    def request(self, method: str, params: Any) -> None:
        """And its answer."""
        self._id += 1
        told = {"jsonrpc": "2.0", "id": self._id, "method": method}
        self._write(told if params is None else {**told, "params": params})
        assert self._process.stdout is not None
        while True:
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError(f"it ended without an answer to {method}")
            answer = json.loads(line)
            if answer.get("id") == self._id and "method" not in answer:
                break
        if "result" not in answer:
            raise RuntimeError(f"{method} was refused: {answer.get('error')}")

    def _write(self, message: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()


@contextlib.contextmanager
def started(command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> Iterator[Server]:
    """A server, and its end."""
    begun = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder,
        env=environ,
    ) as process:  # fmt: skip
        try:
            yield Server(process, begun)
        finally:
            with contextlib.suppress(OSError):
                assert process.stdin is not None
                process.stdin.close()
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def stdio_rows(times: Mapping[str, Times], missing: Mapping[str, str]) -> Iterator[Row]:
    """Ours beside each peer, both over the bare server."""
    for what, budget, of in _FIGURES:
        bare = of(times[DIRECT])
        ours = of(times[OURS]) - bare if OURS in times else None
        whole = of(times[OURS]) if OURS in times else None
        yield row(f"mcp stdio: {what}", whole, DIRECT, bare, reason=missing.get(OURS, ""))
        for number, name in enumerate(mcp_peers.PROGRAMS):
            theirs = of(times[name]) - bare if name in times else None
            yield row(
                f"mcp stdio: {what}, over bare", ours, name, theirs, budget="" if number else budget,
                reason=missing.get(name, ""),
            )  # fmt: skip


def _p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100)[-1]


_FIGURES: tuple[tuple[str, str, Callable[[Times], float]], ...] = (
    ("start to initialized", START_BUDGET, lambda times: median(times.start)),
    ("tools/list, P50", "", lambda times: median(times.requests["tools/list"])),
    ("tools/list, P99", "", lambda times: _p99(times.requests["tools/list"])),
    ("tools/call, P50", CALL_BUDGET, lambda times: median(times.requests["tools/call"])),
    ("tools/call, P99", "", lambda times: _p99(times.requests["tools/call"])),
)


# --- HTTP ---------------------------------------------------------------------------------------------------


def http_rows(folder: Path, amount: Amount) -> list[Row]:
    """A call through our proxy beside one without; both on one connection, by turns."""
    try:
        with listening([sys.executable, "-S", str(SERVER), "http"], folder) as said:
            url = f"http://127.0.0.1:{said.strip()}/mcp"
            with listening(devtrace("mcp", "proxy", "--url", url), folder) as line:
                found = _URL.search(line)
                if found is None:
                    raise RuntimeError(f"it did not say where it listens: {line.strip()}")
                ours, bare = by_turns((found[0], url), amount)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        return [row("mcp HTTP: tools/call, P50", None, DIRECT, None, reason=str(error)[:160])]
    return [
        row("mcp HTTP: tools/call, P50", median(ours), DIRECT, median(bare)),
        row("mcp HTTP: tools/call, P99", _p99(ours), DIRECT, _p99(bare)),
    ]


@contextlib.contextmanager
def listening(command: Sequence[str], folder: Path) -> Iterator[str]:
    """A process that says in one line where it listens; that line."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=folder, env=mcp_peers.environment(folder),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            yield process.stdout.readline()
        finally:
            process.terminate()


def by_turns(urls: Sequence[str], amount: Amount) -> list[list[float]]:
    """Milliseconds of the calls of each, which take turns."""
    took: list[list[float]] = [[] for _ in urls]
    with contextlib.ExitStack() as stack:
        asked = []
        for url in urls:
            parts = urlsplit(url)
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_PATIENCE_S)
            stack.callback(connection.close)
            asked.append((connection, parts.path or "/"))
        for number in range(amount.warm + amount.requests):
            for times, (connection, path) in zip(took, asked, strict=True):
                times.append(_call(connection, path, number))
    return [times[amount.warm :] for times in took]


def _call(connection: http.client.HTTPConnection, path: str, number: int) -> float:
    body = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": _PARAMS["tools/call"]}
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    begun = time.perf_counter()
    connection.request("POST", path, json.dumps(body), headers)
    answer = connection.getresponse()
    told = answer.read()
    took = (time.perf_counter() - begun) * 1000
    if answer.status != 200 or b'"result"' not in told:
        raise RuntimeError(f"status {answer.status}: {told[:100]!r}")
    return took


if __name__ == "__main__":
    from benchmarks.__main__ import main

    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.exit(main(["--only", "mcp", *sys.argv[1:]]))
