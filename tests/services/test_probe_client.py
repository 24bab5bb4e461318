"""Asking a program: by a socket of ours that answers as a program would, or does not."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devtrace.probes import registry
from devtrace.services.probe_client import CANNOT_WAKE, NoAnswer, ask
from devtrace.workspace import Workspace
from tests.processes import DEADLINE

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\n{"a": 1}'
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="others are looked at through /proc")
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / ".devtrace")
    made.run.mkdir(parents=True)
    return made


@pytest.fixture
def program() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until the test is over, and does not know of any signal."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.fixture
def place() -> Iterator[str]:
    """A name for a socket, which must be short."""
    with tempfile.TemporaryDirectory(prefix="dt") as folder:
        yield f"{folder}/s"


def listed(workspace: Workspace, known: dict[str, Any]) -> dict[str, Any]:
    """The same, and so it stands in the registry."""
    registry.write(workspace, known)
    return known


def entry(program: subprocess.Popen[bytes], address: str = "", **more: Any) -> dict[str, Any]:
    known = {"pid": program.pid, "started": registry.started(program.pid), "python": "3.12.1", "session": "",
             "span": "", "socket": address, "engine": "", "wakes": True}  # fmt: skip
    return {**known, **more}


@contextlib.contextmanager
def answering(address: str, *answers: bytes | None) -> Iterator[list[bytes]]:
    """A listener that answers one request after the other so; None: it takes it and says nothing."""
    requests: list[bytes] = []
    over = threading.Event()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()

    def serve() -> None:
        with contextlib.ExitStack() as silent, contextlib.suppress(OSError):
            for answer in answers:
                connection = listener.accept()[0]
                requests.append(_whole(connection))
                if answer is None:
                    silent.enter_context(connection)
                    continue
                with connection:
                    connection.sendall(answer)
            if None in answers:
                over.wait(DEADLINE)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield requests
    finally:
        over.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(DEADLINE)


def _whole(connection: socket.socket) -> bytes:
    """A request with its body."""
    data = b""
    while True:
        head, end, body = data.partition(b"\r\n\r\n")
        _, _, size = head.partition(b"Content-Length: ")
        if end and len(body) >= int(size.split(b"\r\n")[0] or 0):
            return data
        data += connection.recv(65536)


def reason(workspace: Workspace, process: dict[str, Any], timeout_s: float = 2.0) -> str:
    with pytest.raises(NoAnswer) as caught:
        ask(workspace, process, "GET", "/points", timeout_s=timeout_s)
    return caught.value.reason


def test_a_request_is_answered(workspace, program, place):
    with answering(place, ANSWER) as requests:
        assert ask(workspace, entry(program, place), "POST", "/tracepoints", {"line": 3}) == (200, {"a": 1})

    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /tracepoints HTTP/1.1\r\nHost: localhost\r\n")
    assert b"Content-Type: application/json" in head
    assert json.loads(body) == {"line": 3}


def test_an_answer_without_a_body_has_no_document(workspace, program, place):
    with answering(place, EMPTY):
        assert ask(workspace, entry(program, place), "DELETE", "/points/a") == (204, None)


def test_who_has_no_socket_is_woken_and_waited_for(workspace, place):
    """It is woken by SIGURG, and writes its socket into its entry then."""
    woken = Path(__file__).with_name("woken_program.py")
    words = [sys.executable, str(woken), str(registry.folder(workspace)), place]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        try:
            with answering(place, ANSWER):
                assert ask(workspace, entry(program), "GET", "/points") == (200, {"a": 1})
        finally:
            program.kill()


def test_who_cannot_be_woken_says_so(workspace, program):
    assert reason(workspace, entry(program, wakes=False)) == CANNOT_WAKE


def test_who_has_ended_is_told_from_who_is_silent(workspace, program, place):
    known = entry(program, place)
    program.kill()
    program.wait(DEADLINE)

    assert reason(workspace, known) == "it has ended"
    assert reason(workspace, {**known, "socket": ""}) == "it has ended"


def test_who_does_not_answer_in_time_is_not_waited_for(workspace, program, place):
    with answering(place, None):
        told = reason(workspace, entry(program, place), timeout_s=0.05)

    assert told == "it has not answered within 0.05 s: it may be busy in C code, or have stopped its probes"


@on_linux
def test_who_is_stopped_is_told(workspace, program, place):
    os.kill(program.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, program.pid, os.WSTOPPED)
    with answering(place, None):
        assert reason(workspace, entry(program, place), timeout_s=0.05) == "it is stopped"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"hello\r\n\r\n", "its answer cannot be read"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope", "its answer cannot be read"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "the answer is no JSON object"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{}", "898 bytes of it are missing"),
    ],
)
def test_what_is_no_answer_is_told(workspace, program, place, answer, told):
    with answering(place, answer):
        assert told in reason(workspace, entry(program, place))


def test_who_closes_each_connection_is_told(workspace, program, place, hearing):
    with answering(place, *[b""] * 100):
        told = reason(workspace, listed(workspace, entry(hearing, place)), timeout_s=0.2)

    assert told == "it closed the connection without an answer"


@on_linux
def test_a_socket_at_which_nobody_can_listen_again_is_told_at_once(workspace, program, place):
    """It hears no signal: whoever listened there has gone with an exec."""
    known = listed(workspace, entry(program, place))

    assert reason(workspace, known, timeout_s=DEADLINE).startswith("its socket cannot be used: ")


# --- asked again ------------------------------------------------------------------------------------------


@pytest.fixture
def hearing() -> Iterator[subprocess.Popen[bytes]]:
    """A process that hears the signal, and does nothing about it."""
    code = "import signal\nsignal.signal(signal.SIGURG, lambda *_: None)\nprint(flush=True)\n"
    code += "while True:\n    signal.pause()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.parametrize("lost", [b"", None], ids=["cut off", "silent"])
def test_a_request_that_is_lost_is_made_again(workspace, hearing, place, lost):
    with answering(place, lost, ANSWER) as requests:
        told = ask(workspace, listed(workspace, entry(hearing, place)), "GET", "/points", timeout_s=DEADLINE)

    assert (told, len(requests)) == ((200, {"a": 1}), 2)


def test_who_is_silent_is_woken_more_often_than_asked(workspace, hearing, place, monkeypatch):
    """The thread that one signal woke may have ended before it saw the request."""
    signals: list[int] = []
    monkeypatch.setattr(registry, "poke", lambda pid: not signals.append(pid))
    with answering(place, None) as requests:
        reason(workspace, listed(workspace, entry(hearing, place)), timeout_s=0.45)

    assert len(signals) > len(requests) == 1


def test_a_late_answer_is_as_good_as_that_to_the_second_request(workspace, hearing, place):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen()

        def serve() -> None:
            first, second = listener.accept()[0], listener.accept()[0]
            with first, second:
                _whole(first)
                first.sendall(ANSWER)

        thread = threading.Thread(target=serve)
        thread.start()
        known = listed(workspace, entry(hearing, place))
        assert ask(workspace, known, "GET", "/points", timeout_s=DEADLINE) == (200, {"a": 1})
        thread.join(DEADLINE)


def test_who_has_another_socket_by_now_is_asked_there(workspace, hearing, place):
    listed(workspace, entry(hearing, place))
    with answering(place, ANSWER):
        assert ask(workspace, entry(hearing, f"{place}.old"), "GET", "/points") == (200, {"a": 1})


def test_what_changes_something_is_not_asked_twice(workspace, hearing, place):
    known = listed(workspace, entry(hearing, place))
    with answering(place, b"", ANSWER) as requests, pytest.raises(NoAnswer):
        ask(workspace, known, "POST", "/tracepoints", {}, timeout_s=DEADLINE)

    assert len(requests) == 1


def test_who_took_itself_off_the_list_is_not_waited_for(workspace, hearing, place):
    told = reason(workspace, entry(hearing, place), timeout_s=DEADLINE)

    assert told == "it lets itself be asked no more"


@on_linux
def test_who_was_stopped_meanwhile_is_not_waited_for(workspace, hearing, place):
    os.kill(hearing.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, hearing.pid, os.WSTOPPED)
    known = listed(workspace, entry(hearing, ""))

    assert reason(workspace, known, timeout_s=DEADLINE) == "it is stopped"
