"""Servers of several processes: each worker is asked, and a new one has the probes of the one before."""

from __future__ import annotations

import http.client
import importlib.util
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devtrace.probes import registry
from tests.probes.running import Program, running, until
from tests.processes import DEADLINE

WSGI = """\
import os

def app(environ, start_response):
    path = environ["PATH_INFO"]
    body = str(os.getpid()).encode()  # here
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
ASGI = """\
import os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        return await send({"type": "lifespan.shutdown.complete"})
    path = scope["path"]
    body = str(os.getpid()).encode()  # here
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""
MANY = {"limitPerSecond": 10_000, "burst": 100}


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def server(needs: Callable[..., None], request: pytest.FixtureRequest) -> str:
    """The module `gunicorn` or `uvicorn`; skipped without it."""
    name: str = request.param
    if importlib.util.find_spec(name) is None:
        needs(because=f"because the module {name} is missing")
    return name


def answer(port: int, path: str = "/") -> int:
    """The worker that answered; 0: nobody listens yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request("GET", path)
        return int(connection.getresponse().read())
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def workers(port: int, count: int) -> set[int]:
    """Ask until so many have answered."""
    found: set[int] = set()

    def ask() -> bool:
        found.update(filter(None, [answer(port)]))
        return len(found) >= count

    until(ask)
    return found


def line(source: str) -> int:
    (number,) = [at for at, one in enumerate(source.splitlines(), 1) if one.endswith("# here")]
    return number


def log(program: Program, source: str, pid: int | None = None) -> str:
    body = {"file": "app.py", "line": line(source), "message": "{path}", "rateLimit": MANY}
    status, point = program.ask("POST", "/logpoints", body, pid)
    assert status == 201, point
    return point["id"]


def pids(program: Program) -> set[int]:
    """Who has told of a hit."""
    return {hit["pid"] for hit in program.told("probe.hit")}


def ends(program: Program, *, by_signal: bool = False) -> None:
    """Asked to end, it leaves nothing of ours behind. `by_signal`: at last by its own, as uvicorn does."""
    sockets = [entry["socket"] for entry in registry.registered(program.store) if entry["socket"]]
    os.kill(program.pid, signal.SIGTERM)
    _, errors = program.child.communicate(timeout=DEADLINE)
    assert "Traceback" not in errors, errors
    assert "devtrace" not in errors, errors
    if by_signal:
        assert registry.registered(program.store) == []
    assert list(registry.folder(program.store).iterdir()) == []
    assert [path for path in sockets if os.path.exists(path)] == []


# --- gunicorn -----------------------------------------------------------------------------------------------


def gunicorn(port: int, *more: str) -> tuple[str, ...]:
    # Its control socket would be put into the home folder.
    return ("-m", "gunicorn", "app:app", "-b", f"127.0.0.1:{port}", "-w", "2", "--no-control-socket", *more)


@pytest.fixture(params=[(), ("--preload",)], ids=["sync", "preload"])
def forking(tmp_path: Path, port: int, request: pytest.FixtureRequest) -> Iterator[Program]:
    (tmp_path / "app.py").write_text(WSGI)
    with running(tmp_path, *gunicorn(port, *request.param)) as program:
        try:
            yield program
        finally:  # of a test that failed: workers live on for a while without their master
            for entry in registry.registered(program.store):
                os.kill(entry["pid"], signal.SIGKILL)


@pytest.mark.parametrize("server", ["gunicorn"], indirect=True)
def test_workers_that_run_are_all_hit(server, forking, port):
    there = workers(port, 2)

    log(forking, WSGI, min(there))
    until(lambda: {(told["by"] and 0) or 0 for told in forking.told("probe.status.installed")})

    until(lambda: answer(port) and pids(forking) == there)
    assert {told["message"] for told in forking.told("probe.hit")} == {"/"}
    ends(forking)


@pytest.mark.parametrize("server", ["gunicorn"], indirect=True)
@pytest.mark.parametrize("more", [(), ("--preload",)], ids=["sync", "preload"])
def test_workers_of_a_server_that_starts_later_are_hit_at_once(server, tmp_path, port, more):
    (tmp_path / "app.py").write_text(WSGI)
    with running(tmp_path) as first:
        log(first, WSGI)
        first.end()
    with running(tmp_path, *gunicorn(port, *more)) as program:
        there = workers(port, 2)

        until(lambda: answer(port) and pids(program) == there)
        counts = {pid: [h["hitCount"] for h in program.told("probe.hit") if h["pid"] == pid] for pid in there}
        ends(program)

    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in counts.values())


@pytest.mark.parametrize("server", ["gunicorn"], indirect=True)
def test_a_worker_that_takes_another_s_place_is_hit(server, forking, port):
    there = workers(port, 2)
    log(forking, WSGI, min(there))

    os.kill(min(there), signal.SIGKILL)

    until(lambda: answer(port) and pids(forking) - there)
    ends(forking)


# --- uvicorn ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["uvicorn"], indirect=True)
def test_after_a_reload_the_new_worker_has_the_probe(server, tmp_path, port):
    (tmp_path / "app.py").write_text(ASGI)
    words = ("-m", "uvicorn", "app:app", "--port", str(port), "--reload", "--reload-delay", "0.05")
    with running(tmp_path, *words) as program:
        (before,) = workers(port, 1)
        log(program, ASGI, before)
        until(lambda: answer(port) and pids(program) == {before})

        (tmp_path / "app.py").write_text(ASGI.replace("str(os.getpid())", "str(os.getpid() + 0)"))

        until(lambda: answer(port) and pids(program) - {before})
        (after,) = pids(program) - {before}
        assert program.ask("GET", "/points", pid=after)[1]["points"][0]["status"] == "installed"
        ends(program, by_signal=True)


if sys.platform != "linux":  # SO_REUSEPORT and signals of these servers are told for Linux
    pytestmark = pytest.mark.skip(reason="the servers are tried on Linux")
