"""Who may ask: pages of a browser, holders of the token, users of this machine; and the file of the token."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtrace.probes.fields import Refused
from devtrace.probes.guard import Guard, Peer, peer_of, read_or_make_token
from devtrace.probes.http import Head, read_head
from devtrace.probes.routes import MOST_BYTES, ROUTES
from tests.probes.serving import BEARER, TOKEN
from tests.processes import DEADLINE

PORT = 5001
HERE = f"Host: 127.0.0.1:{PORT}"
OVER_TCP = Peer()
OVER_UNIX = Peer(1, os.geteuid(), is_unix=True)


def head(request: str, *fields: str) -> Head:
    return read_head("\r\n".join([f"{request} HTTP/1.1", *fields]).encode("latin-1"))


def refusal(guard: Guard, request: str, *fields: str, peer: Peer = OVER_TCP, port: int = PORT) -> str | None:
    """The code of it; None: it may ask."""
    try:
        guard.check(head(request, *fields), peer, port)
    except Refused as refused:
        return refused.code
    return None


@pytest.fixture
def guard() -> Guard:
    return Guard(TOKEN)


# --- DNS rebinding: a name of somebody's that leads to us ---------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LocalHost"])
def test_this_machine_by_its_own_names_is_let_in(guard: Guard, host: str) -> None:
    assert refusal(guard, "GET /points", f"Host: {host}:{PORT}", BEARER) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        f"evil.example:{PORT}",
        f"localhost.evil.example:{PORT}",
        f"127.0.0.1.evil.example:{PORT}",
        f"evil.example#localhost:{PORT}",
        f"localhost:{PORT}@evil.example",
        f"evil.example@localhost:{PORT}",
        f"localhost.:{PORT}",
        f"192.168.1.5:{PORT}",
        f"0.0.0.0:{PORT}",
        f"2130706433:{PORT}",
        f"127.1:{PORT}",
        f"::1:{PORT}",
        f"[::1%eth0]:{PORT}",
        f":{PORT}",
        "localhost",
        "localhost:",
        "localhost:80",
        f"localhost:{PORT}0",
        f"localhost:0{PORT}",
        f"localhost:+{PORT}",
        "[::1]",
        "",
    ],
)
def test_dns_rebinding_is_refused_even_with_a_token_and_where_none_is_needed(guard: Guard, host: str) -> None:
    for one in (guard, Guard(TOKEN, is_insecure=True)):
        for request in ("GET /points", "GET /health", "GET /nothing"):
            assert refusal(one, request, f"Host: {host}", BEARER) == "FORBIDDEN"


def test_a_host_without_a_port_is_that_of_http(guard: Guard) -> None:
    assert refusal(guard, "GET /points", "Host: localhost", BEARER, port=80) is None
    assert refusal(guard, "GET /points", "Host: [::1]", BEARER, port=80) is None


def test_a_request_of_the_old_version_without_a_host_is_refused(guard: Guard) -> None:
    asked = read_head(f"GET /points HTTP/1.0\r\n{BEARER}".encode())

    with pytest.raises(Refused, match="Host"):
        guard.check(asked, OVER_TCP, PORT)


# --- CSRF: a page that sends what it cannot read ------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "",
        f"https://127.0.0.1:{PORT}",
        "http://127.0.0.1:3000",
        "http://127.0.0.1",
        f"http://localhost:{PORT}",
        f"http://127.0.0.1:{PORT}.evil.example",
        f"http://127.0.0.1:{PORT}/",
    ],
)
@pytest.mark.parametrize("peer", [OVER_TCP, OVER_UNIX], ids=["tcp", "unix"])
def test_csrf_from_another_origin_is_refused(guard: Guard, origin: str, peer: Peer) -> None:
    for one in (guard, Guard(TOKEN, is_insecure=True)):
        fields = [HERE, BEARER, f"Origin: {origin}", "Content-Type: application/json", "Content-Length: 2"]
        assert refusal(one, "POST /tracepoints", *fields, peer=peer) == "FORBIDDEN"
        assert refusal(one, "GET /health", HERE, f"Origin: {origin}", peer=peer) == "FORBIDDEN"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "whatever", ""])
def test_csrf_that_the_browser_calls_so_is_refused(guard: Guard, site: str) -> None:
    assert refusal(guard, "GET /health", HERE, f"Sec-Fetch-Site: {site}") == "FORBIDDEN"
    assert refusal(guard, "GET /points", HERE, BEARER, f"Sec-Fetch-Site: {site}") == "FORBIDDEN"


@pytest.mark.parametrize(
    "fields",
    [
        [f"Origin: http://127.0.0.1:{PORT}"],
        [f"Origin: HTTP://127.0.0.1:{PORT}", "Sec-Fetch-Site: same-origin"],
        ["Sec-Fetch-Site: none"],
    ],
)
def test_a_page_of_ours_and_a_typed_address_are_let_in(guard: Guard, fields: list[str]) -> None:
    assert refusal(guard, "GET /points", HERE, BEARER, *fields) is None


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", "", "json",
     "text/plain; application/json", "application/jsonp", "text/plain, application/json"],
)  # fmt: skip
@pytest.mark.parametrize("peer", [OVER_TCP, OVER_UNIX], ids=["tcp", "unix"])
def test_csrf_by_a_form_is_refused(guard: Guard, kind: str, peer: Peer) -> None:
    fields = [HERE, BEARER, f"Content-Type: {kind}", "Content-Length: 2"]

    for request in ("POST /tracepoints", "PUT /points/a", "POST /points/remove"):
        assert refusal(guard, request, *fields, peer=peer) == "UNSUPPORTED_MEDIA_TYPE"


def test_a_body_is_json_whatever_its_parameters(guard: Guard) -> None:
    for kind in ("application/json", "Application/JSON; charset=utf-8", "application/json ;a=b"):
        fields = [HERE, BEARER, f"Content-Type: {kind}", "Content-Length: 2"]
        assert refusal(guard, "POST /tracepoints", *fields) is None


def test_without_a_body_no_type_is_needed(guard: Guard) -> None:
    assert refusal(guard, "POST /points/a/enable", HERE, BEARER) is None
    assert refusal(guard, "POST /points/a/enable", HERE, BEARER, "Content-Length: 0") is None


# --- the token ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field",
    [
        "X-None: 1",
        "Authorization: Bearer",
        "Authorization: Bearer ",
        f"Authorization: {TOKEN}",
        f"Authorization: Basic {TOKEN}",
        f"Authorization: Bearer {TOKEN[:-1]}",
        f"Authorization: Bearer {TOKEN}0",
        f"Authorization: Bearer {TOKEN.upper()}",
        f"Authorization: Bearer {TOKEN}, Bearer x",
        f"Authorization: Bearer\t{TOKEN}",
        "Authorization: Bearer é",
    ],
)
def test_a_wrong_token_is_refused(guard: Guard, field: str) -> None:
    assert refusal(guard, "GET /points", HERE, field) == "UNAUTHORIZED"


def test_a_token_is_known_however_its_scheme_is_spelt(guard: Guard) -> None:
    for field in (BEARER, f"authorization: BEARER   {TOKEN}", f"Authorization: bearer {TOKEN}"):
        assert refusal(guard, "GET /points", HERE, field) is None


def test_an_empty_token_is_nobodys() -> None:
    for field in ("Authorization: Bearer", "Authorization: Bearer ", "Authorization:", "X-None: 1"):
        assert refusal(Guard(""), "GET /points", HERE, field) == "UNAUTHORIZED"


def test_health_alone_is_told_without_a_token(guard: Guard) -> None:
    asked = [f"{route.method} {route.path.replace('{id}', 'a')}" for route in ROUTES]

    assert [one for one in asked if refusal(guard, one, HERE) is None] == ["GET /health"]
    assert refusal(guard, "HEAD /health", HERE) is None


@pytest.mark.parametrize(
    "request_line",
    ["GET /nothing", "POST /health", "GET /health/", "GET /healthz", "TRACE /health", "PATCH /points",
     "GET //health", "GET /%68ealth", "OPTIONS /points"],
)  # fmt: skip
def test_which_routes_there_are_is_not_told_without_a_token(guard: Guard, request_line: str) -> None:
    assert refusal(guard, request_line, HERE) == "UNAUTHORIZED"
    assert refusal(guard, request_line, HERE, BEARER) is None


def test_a_query_does_not_open_a_route(guard: Guard) -> None:
    assert refusal(guard, "GET /health?a=b", HERE) is None
    assert refusal(guard, "GET /points?/health", HERE) == "UNAUTHORIZED"


def test_what_is_wrong_with_a_body_is_not_told_without_a_token(guard: Guard) -> None:
    too_long = f"Content-Length: {MOST_BYTES + 1}"

    assert refusal(guard, "POST /tracepoints", HERE, too_long) == "UNAUTHORIZED"
    assert refusal(guard, "POST /tracepoints", HERE, BEARER, too_long) == "BODY_TOO_LARGE"
    assert refusal(guard, "GET /health", HERE, too_long) == "BODY_TOO_LARGE"


def test_a_page_is_not_told_whether_a_token_is_right(guard: Guard) -> None:
    for token in (BEARER, "Authorization: Bearer wrong"):
        assert refusal(guard, "GET /points", HERE, token, "Origin: http://evil.example") == "FORBIDDEN"


def test_insecure_mode_drops_the_token_and_nothing_else() -> None:
    insecure = Guard(TOKEN, is_insecure=True)

    assert refusal(insecure, "GET /points", HERE) is None
    assert refusal(insecure, "GET /points", "Host: evil.example") == "FORBIDDEN"
    assert refusal(insecure, "GET /points", HERE, "Origin: null") == "FORBIDDEN"
    assert refusal(insecure, "POST /points", HERE, "Content-Length: 1") == "UNSUPPORTED_MEDIA_TYPE"


# --- reached from other machines ----------------------------------------------------------------------------


def test_from_everywhere_any_name_is_good_and_a_token_is_always_needed() -> None:
    for everywhere in (Guard(TOKEN, is_everywhere=True), Guard(TOKEN, is_everywhere=True, is_insecure=True)):
        for host in ("api.internal:80", "10.0.0.7:5001", "localhost"):
            assert refusal(everywhere, "GET /points", f"Host: {host}") == "UNAUTHORIZED"
            assert refusal(everywhere, "GET /points", f"Host: {host}", BEARER) is None
            foreign = ["Origin: http://evil.example", BEARER]
            assert refusal(everywhere, "GET /points", f"Host: {host}", *foreign) == "FORBIDDEN"


def test_dns_rebinding_from_everywhere_does_not_even_tell_health() -> None:
    everywhere = Guard(TOKEN, is_everywhere=True)

    assert refusal(everywhere, "GET /health", "Host: 10.0.0.7:5001") is None
    assert refusal(everywhere, "GET /health", "Host: [fd00::7]:5001") is None
    assert refusal(everywhere, "GET /health", "Host: localhost:5001") is None
    assert refusal(everywhere, "GET /health", "Host: evil.example:5001") == "UNAUTHORIZED"
    assert refusal(everywhere, "GET /health", "Host: 10.0.0.7.evil.example:5001") == "UNAUTHORIZED"


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "192.168.1.5", "127.0.0.2", "example.org", "::ffff:127.0.0.1"]
)
def test_what_others_could_reach_is_listened_at_on_demand_and_with_a_token_only(host: str) -> None:
    for refusing in (Guard(TOKEN), Guard(TOKEN, is_insecure=True), Guard("", is_everywhere=True)):
        with pytest.raises(PermissionError, match="other machines could reach it"):
            refusing.check_address(host)
    Guard(TOKEN, is_everywhere=True).check_address(host)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "LOCALHOST"])
def test_loopback_needs_nobodys_leave(host: str) -> None:
    Guard("").check_address(host)


# --- unix sockets -------------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def test_over_a_unix_socket_the_user_is_the_token(guard: Guard) -> None:
    assert refusal(guard, "POST /points/a/enable", "Host: whatever", peer=OVER_UNIX) is None
    assert refusal(Guard(""), "GET /nothing", "Host: whatever", peer=OVER_UNIX) is None


def test_the_other_end_is_known_by_its_process_and_user(pair: tuple[socket.socket, socket.socket]) -> None:
    peer = peer_of(pair[0])

    assert (peer.pid, peer.uid, peer.is_unix) == (os.getpid(), os.geteuid(), True)
    assert Guard("").admits(peer)


def test_another_user_is_not_admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    me = os.geteuid()

    assert not Guard(TOKEN, is_insecure=True).admits(Peer(1, me + 1, is_unix=True))
    assert not Guard(TOKEN).admits(Peer(1, None, is_unix=True))
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)  # a program that became somebody else
    assert not Guard(TOKEN).admits(Peer(1, me, is_unix=True))


def test_where_the_system_does_not_say_who_it_is_it_is_nobody(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "plan9")

    with pytest.raises(OSError, match="does not tell"):
        peer_of(pair[0])


# --- the file of the token ----------------------------------------------------------------------------------


def test_a_token_is_made_once_and_is_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.token"
    token = read_or_make_token(str(path))

    assert len(bytes.fromhex(token)) == 32
    assert path.read_text() == token + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_or_make_token(str(path)) == token
    assert [entry.name for entry in tmp_path.iterdir()] == ["control.token"]


def test_two_tokens_are_not_the_same(tmp_path: Path) -> None:
    assert read_or_make_token(str(tmp_path / "a")) != read_or_make_token(str(tmp_path / "b"))


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_the_umask_opens_no_token_and_shuts_none(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        token = read_or_make_token(str(tmp_path / "a"))
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert read_or_make_token(str(tmp_path / "a")) == token


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666, 0o610])
def test_a_token_that_others_could_know_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a"
    path.write_text(TOKEN)
    path.chmod(mode)

    with pytest.raises(PermissionError, match="mode 0600"):
        read_or_make_token(str(path))
    assert path.read_text() == TOKEN


def test_a_token_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "a")
    read_or_make_token(path)
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)

    with pytest.raises(PermissionError, match="of yours"):
        read_or_make_token(path)


def test_a_link_is_no_token_wherever_it_leads(tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_text(TOKEN)
    good.chmod(0o600)
    for target in (good, tmp_path / "missing"):
        link = tmp_path / f"to-{target.name}"
        link.symlink_to(target)
        with pytest.raises(OSError, match="symbolic") as raised:
            read_or_make_token(str(link))
        assert raised.value.errno == errno.ELOOP
    assert not (tmp_path / "missing").exists()


def test_what_is_no_file_is_no_token_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "folder").mkdir(0o700)

    for name in ("fifo", "folder"):
        with pytest.raises(PermissionError):
            read_or_make_token(str(tmp_path / name))


@pytest.mark.parametrize(
    "text", ["", "\n", "short", "a" * 31, "a" * 257, "a" * 20 + " " + "a" * 20, "é" * 40]
)
def test_a_file_without_a_token_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a"
    path.write_text(text)
    path.chmod(0o600)

    with pytest.raises(ValueError, match="holds no token"):
        read_or_make_token(str(path))


def test_workers_that_start_together_read_one_token(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    together = threading.Barrier(8)
    found = []

    def start() -> None:
        together.wait(DEADLINE)
        found.append(read_or_make_token(path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)

    assert len(found) == 8
    assert len(set(found)) == 1
    assert os.listdir(tmp_path) == ["a"]


def test_a_token_in_a_folder_that_is_missing_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_or_make_token(str(tmp_path / "none" / "a"))
