"""The sockets in a process: their files, their descriptors, and a program that has ways of its own.

Not here: what is answered over them (test_server.py).
"""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import resource
import select
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtrace.probes import server as servers
from devtrace.probes.guard import Guard, Peer
from devtrace.probes.server import DEAF_S, Server
from tests.probes.serving import TOKEN, Said, Stepped, descriptors, heard, is_closed, stepped
from tests.processes import DEADLINE, environment


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Stepped]:
    with stepped(tmp_path) as made:
        yield made


# --- sockets and their files --------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_a_socket_is_ours_alone_whatever_the_umask(api: Stepped, umask: int) -> None:
    before = os.umask(umask)
    try:
        api.server.listen_unix(api.path)
    finally:
        os.umask(before)

    assert stat.S_IMODE(os.stat(api.path).st_mode) == 0o600
    assert api.asks(api.unix(), "GET /points").status == 200


def test_a_socket_has_its_name_when_it_listens_and_not_before(
    api: Stepped, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def rename(draft: str, path: str) -> None:
        seen.append((os.path.exists(path), stat.S_IMODE(os.stat(draft).st_mode)))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(draft)
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(os, "rename", rename)
    before = descriptors()
    with pytest.raises(OSError, match="read-only"):
        api.server.listen_unix(api.path)

    assert seen == [(False, 0o600)]
    assert os.listdir(os.path.dirname(api.path)) == []
    assert descriptors() == before


def test_a_socket_that_a_killed_process_left_is_replaced(api: Stepped) -> None:
    for name in (api.path, f"{api.path}.new"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(name)
            left.listen()
    api.server.listen_unix(api.path)

    assert api.asks(api.unix(), "GET /points").status == 200
    assert os.listdir(os.path.dirname(api.path)) == ["s"]


def test_where_somebody_listens_nobody_is_driven_away(api: Stepped) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(api.path)
        other.listen()
        with pytest.raises(OSError, match="somebody listens"):
            api.server.listen_unix(api.path)

    assert not api.server.is_listening


def test_what_is_no_socket_is_not_replaced(api: Stepped) -> None:
    Path(api.path).write_text("mine")

    with pytest.raises(FileExistsError):
        api.server.listen_unix(api.path)
    assert Path(api.path).read_text() == "mine"


def test_a_folder_that_is_missing_and_a_path_that_is_too_long_are_told(api: Stepped) -> None:
    for path in ("/none/such/s", f"{api.path}{'a' * 120}"):
        with pytest.raises(OSError, match=r"No such file|too long"):
            api.server.listen_unix(path)


def test_a_busy_port_is_told(api: Stepped) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        before = descriptors()
        with pytest.raises(OSError) as raised:  # noqa: PT011 - its words are the system's
            api.server.listen_tcp("127.0.0.1", other.getsockname()[1])
        assert raised.value.errno == errno.EADDRINUSE
        assert descriptors() == before
    assert not api.server.is_listening


def test_a_port_can_be_had_again_at_once(api: Stepped) -> None:
    client = api.tcp()
    assert api.asks(client, "GET /health", "Connection: close").status == 200
    api.server.close()

    assert api.server.listen_tcp("localhost", api.port) == api.port


def test_all_interfaces_are_refused_by_the_guard(api: Stepped) -> None:
    with pytest.raises(PermissionError):
        api.server.listen_tcp("0.0.0.0", 0)
    api.server.guard = Guard(TOKEN, is_everywhere=True)
    assert api.server.listen_tcp("0.0.0.0", 0)


def test_it_is_reached_by_the_newer_protocol_too(api: Stepped) -> None:
    try:
        port = api.server.listen_tcp("::1", 0)
    except OSError:
        pytest.skip("because this machine has no IPv6")
    with socket.create_connection(("::1", port), DEADLINE) as client:
        api.pump()
        assert api.asks(client, "GET /health", f"Host: [::1]:{port}").status == 200


def test_a_socket_is_taken_away_when_the_server_is_closed(api: Stepped) -> None:
    client = api.unix()
    api.server.close()
    api.server.close()

    assert is_closed(client)
    assert os.listdir(os.path.dirname(api.path)) == []
    assert (api.server.fds(), api.server.deadline(), api.server.is_busy) == ([], None, False)


def test_a_socket_that_is_another_by_now_stays(api: Stepped) -> None:
    api.server.listen_unix(api.path)
    os.unlink(api.path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(api.path)
        other.listen()
        api.server.close()
        assert os.path.exists(api.path)


def test_a_forked_child_forgets_and_takes_nothing_away(api: Stepped) -> None:
    client = api.unix()
    pid = os.fork()
    if not pid:
        before = descriptors()
        api.server.forget()
        os._exit(before - descriptors())
    _, status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(status) == 2  # the listener and the connection
    assert api.asks(client, "GET /points").status == 200
    assert api.asks(api.unix(), "GET /points").status == 200


def test_what_the_program_starts_inherits_nothing(api: Stepped) -> None:
    api.unix(), api.tcp()
    for fd, _ in api.server.fds():
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
    assert len(api.server.fds()) == 4


def test_a_default_timeout_of_the_program_changes_nothing(api: Stepped) -> None:
    socket.setdefaulttimeout(5)
    try:
        assert api.asks(api.unix(), "GET /points").status == 200
        assert all(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK for fd, _ in api.server.fds())
    finally:
        socket.setdefaulttimeout(None)


# --- a program that has ways of its own ---------------------------------------------------------------------


def test_a_descriptor_that_is_somebody_elses_by_now_is_left_alone(api: Stepped) -> None:
    client = api.unix()
    taken = [fd for fd, _ in api.server.fds()]
    ours, theirs = socket.socketpair()
    for fd in taken:
        os.dup2(ours.fileno(), fd)  # what a daemon does that closes all, and then opens its own
    theirs.send(b"theirs")
    api.pump()
    api.server.close()

    assert not api.server.is_listening
    assert [os.read(fd, 3) for fd in taken] == [b"the", b"irs"]
    for fd in taken:
        os.close(fd)
    for end in (client, ours, theirs):
        end.close()


def test_a_number_that_comes_back_is_not_closed_with_the_socket_that_had_it(api: Stepped) -> None:
    api.server.listen_unix(api.path)
    (listening,) = [fd for fd, _ in api.server.fds()]
    old = api.unix()
    (number,) = [fd for fd, _ in api.server.fds() if fd != listening]
    new = socket.socket(socket.AF_UNIX)
    os.close(number)  # the program does
    new.connect(api.path)
    api.server.ready(listening, select.POLLIN)
    gc.collect()

    assert number in [fd for fd, _ in api.server.fds()]
    assert api.asks(new, "GET /points").status == 200
    old.close()
    new.close()


def test_descriptors_that_were_closed_are_forgotten(api: Stepped) -> None:
    api.unix()
    for fd, _ in api.server.fds():
        os.close(fd)
    api.pump()

    assert api.server.fds() == []
    assert (api.server.is_busy, api.server.is_listening, api.server.failures) == (False, False, 0)


_STREAMS_CLOSED = """
import os, sys
from devtrace.probes.guard import Guard
from devtrace.probes.server import Server
for fd in range(3):
    os.close(fd)
server = Server(None, Guard(""))
server.listen_unix(sys.argv[1])
server.listen_tcp("127.0.0.1", 0)
os._exit(min(fd for fd, _ in server.fds()))
"""
_DEADLY_SIGPIPE = """
import os, select, sys, _signal, _socket
from devtrace.probes.guard import Guard
from devtrace.probes.server import Server
_signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
server = Server(lambda *asked: (200, {"long": "x" * 4_000_000}), Guard(""))
server.listen_unix(sys.argv[1])
client = _socket.socket(_socket.AF_UNIX)
client.connect(sys.argv[1])
client.send(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
server.ready(*server.fds()[0])
server.ready(*server.fds()[0])  # it has asked, and
client.close()                  # it goes
server.ready(*server.fds()[0])
server.ready(*server.fds()[0])
os._exit(7 if not server.is_busy else 8)
"""


@pytest.mark.parametrize(("program", "status"), [(_STREAMS_CLOSED, 3), (_DEADLY_SIGPIPE, 7)],
                         ids=["streams-closed", "deadly-sigpipe"])  # fmt: skip
def test_a_program_of_its_own_ways_is_served(tmp_path: Path, program: str, status: int) -> None:
    words = [sys.executable, "-c", program, str(tmp_path / "s")]
    done = subprocess.run(words, env=environment(), capture_output=True, timeout=DEADLINE, check=False)

    assert (done.returncode, done.stderr) == (status, b"")


def test_without_a_descriptor_left_the_listener_is_let_be_for_a_while(api: Stepped) -> None:
    api.server.listen_unix(api.path)
    client = socket.socket(socket.AF_UNIX)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        client.connect(api.path)
        api.pump()  # which would go on for ever
        assert api.server.deadline() == api.now + DEAF_S
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    api.wait(DEAF_S)

    assert api.asks(client, "GET /points").status == 200
    client.close()


def test_another_user_is_closed_without_a_word(api: Stepped, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "peer_of", lambda _: Peer(1, os.geteuid() + 1, is_unix=True))
    client = api.unix()

    assert heard(client) == b""
    assert is_closed(client)
    assert not api.server.is_busy


@pytest.mark.parametrize("error", [OSError("who?"), struct.error("what?")], ids=["unknown", "bug"])
def test_who_cannot_be_told_is_closed_and_others_are_served(
    api: Stepped, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def failing(_: object) -> Peer:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(servers, "peer_of", failing)
        assert is_closed(api.unix())
    assert api.asks(api.unix(), "GET /points").status == 200


def test_opening_and_closing_leaves_no_descriptor(api: Stepped) -> None:
    api.unix().close(), api.tcp().close()
    api.pump()
    before = descriptors()
    for number in range(200):
        client = api.unix() if number % 2 else api.tcp()
        if number % 3:
            api.says(client, api.text("GET /health")[: number * 7])
        client.close()
        api.pump()

    assert descriptors() == before
    assert not api.server.is_busy


def test_starting_and_stopping_leaves_no_descriptor(tmp_path: Path) -> None:
    before = descriptors()
    for _ in range(20):
        server = Server(Said(), Guard(TOKEN))
        server.listen_unix(str(tmp_path / "s"))
        server.listen_tcp("127.0.0.1", 0)
        server.close()

    assert descriptors() == before
