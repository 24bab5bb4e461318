"""The receiver of probes' events over raw HTTP: its routes, what it refuses, and how much it keeps."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devtrace.errors import UsageError
from devtrace.probes.sink import Sink
from devtrace.services import probe_sink
from devtrace.services.probe_sink import MOST_BODY, ProbeSink, Received, fault_of, serve

DEADLINE_S = 30.0
STATUS: dict[str, Any] = {
    "name": "agent.status.started",
    "timestamp": "2026-01-01T12:00:00.123Z",
    "id": "550e8400-e29b-41d4-a716-446655440000",
    "client": {"hostname": "h", "applicationName": "a", "agentVersion": "0.3.0", "runtime": "python"},
    "payload": {"message": "started"},
}
HEAD = {"probeId": "p", "probeType": "tracepoint", "file": "app.py", "line": 42}
PAYLOADS: dict[str, dict[str, Any]] = {
    "probe.hit.snapshot": HEAD,
    "probe.hit.logpoint": {**HEAD, "message": "user 7"},
    "probe.error.condition": {**HEAD, "condition": "x > 1", "error": "NameError: x"},
    "probe.error.snapshot": {**HEAD, "error": "it broke"},
    "probe.error.rateLimit": HEAD,
    "agent.status.started": {"message": "started"},
    "agent.status.stopped": {"message": "stopped"},
}
NEEDED = [(name, key) for name, payload in PAYLOADS.items() for key in payload if key != "probeType"]


def event(name: str = "agent.status.started", number: int = 0, **settings: Any) -> dict[str, Any]:
    return {**STATUS, "name": name, "id": str(number), "payload": PAYLOADS[name], **settings}


class Client:
    """Speaks to a receiver; an answer is a status and a document."""

    def __init__(self, served: ProbeSink):
        self.served = served
        self.port = served.port

    def __call__(
        self, request: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        method, _, target = request.partition(" ")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        kind = {"Content-Type": "application/json"} if raw is not None else {}
        try:
            connection.request(method, target, raw, {**kind, **(headers or {})})
            answer = connection.getresponse()
            assert answer.headers["Access-Control-Allow-Origin"] is None
            assert answer.headers["Content-Type"] == "application/json"
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def raw(self, request: bytes) -> bytes:
        """All that is answered to these bytes."""
        with socket.create_connection(("127.0.0.1", self.port), DEADLINE_S) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            read = b""
            while more := connection.recv(65_536):
                read += more
            return read


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that notices soon that it is closed."""
    monkeypatch.setattr(probe_sink, "POLL_S", 0.005)


@pytest.fixture
def start() -> Iterator[Callable[..., Client]]:
    served: list[tuple[ProbeSink, threading.Thread]] = []

    def make(**settings: Any) -> Client:
        receiver = serve(0, **settings)
        thread = threading.Thread(target=receiver.serve_forever)
        thread.start()
        served.append((receiver, thread))
        return Client(receiver)

    yield make
    for receiver, thread in served:
        receiver.close()
        thread.join()


@pytest.fixture
def client(start) -> Client:
    return start()


# --- POST /api/events ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(PAYLOADS))
def test_an_event_with_no_more_than_is_needed_is_accepted(name, client) -> None:
    status, told = client("POST /api/events", event(name))

    assert (status, told["status"], told["id"]) == (200, "accepted", "0")
    assert told["timestamp"].endswith("Z")


@pytest.mark.parametrize(("name", "key"), NEEDED, ids=lambda value: value)
def test_an_event_without_what_is_needed_is_invalid(name, key, client) -> None:
    payload = {**PAYLOADS[name]}
    del payload[key]
    status, told = client("POST /api/events", event(name, payload=payload))

    assert (status, told["code"]) == (400, "INVALID_EVENT")
    assert told["error"] == f"Invalid event: payload.{key} is missing"


@pytest.mark.parametrize("key", ["name", "timestamp", "id", "client", "payload"])
def test_an_event_without_its_envelope_is_invalid(key, client) -> None:
    bare = {name: value for name, value in event().items() if name != key}

    assert client("POST /api/events", bare) == (
        400,
        {"error": f"Invalid event: {key} is missing", "code": "INVALID_EVENT"},
    )


@pytest.mark.parametrize(
    "damaged",
    [[], 7, b"null", {**event(), "name": "probe.hit.unknown"}, {**event(), "name": ["x"]},
     {**event(), "payload": []}, {**event("probe.hit.snapshot"), "payload": {**HEAD, "line": "42"}},
     {**event("probe.hit.snapshot"), "payload": {**HEAD, "line": True}}],
    ids=["list", "number", "null", "unknown", "name", "payload", "line as text", "line as truth"],
)  # fmt: skip
def test_what_is_no_event_is_told_so(damaged, client) -> None:
    assert client("POST /api/events", damaged)[0] == 400
    assert fault_of(None if damaged == b"null" else damaged) != ""
    assert client("GET /health")[1]["events_received"] == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"1" * 10_000])
def test_what_is_no_json_is_told_so(body, client) -> None:
    status, told = client("POST /api/events", body)

    assert (status, told["code"] in ("INVALID_JSON", "INVALID_EVENT")) == (400, True)


def test_a_body_that_is_too_long_is_refused_and_its_sender_hears_it(client) -> None:
    status, told = client("POST /api/events", b"x" * (MOST_BODY + 1))

    assert (status, told["code"]) == (413, "BODY_TOO_LARGE")


@pytest.mark.parametrize(
    "length", [b"-1", b"x", b"1\r\nContent-Length: 2", b"2\r\nTransfer-Encoding: chunked"]
)
def test_a_length_that_is_none_is_refused(length, client) -> None:
    host = f"127.0.0.1:{client.port}".encode()
    answer = client.raw(
        b"POST /api/events HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: " + length + b"\r\n\r\n{}"
    )

    assert answer.startswith(b"HTTP/1.1 400 ")


def test_a_body_of_an_endless_length_is_refused_at_once(client) -> None:
    host = f"127.0.0.1:{client.port}".encode()
    length = b"9" * 100
    answer = client.raw(
        b"POST /api/events HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: " + length + b"\r\n\r\n"
    )

    assert answer.startswith(b"HTTP/1.1 413 ")


# --- reading ------------------------------------------------------------------------------------------------


def test_health_counts_what_was_received(client) -> None:
    client("POST /api/events", event())
    status, told = client("GET /health")

    assert (status, told["status"], told["service"]) == (200, "healthy", "debugin-event-sink")
    assert (told["events_received"], set(told)) == (1, {"status", "service", "events_received", "timestamp"})


def test_events_are_listed_in_pages(client) -> None:
    for number in range(5):
        client("POST /api/events", event(number=number))

    status, told = client("GET /api/events?limit=2&offset=1")

    assert status == 200
    assert {name: told[name] for name in ("total", "offset", "limit", "count")} == {
        "total": 5,
        "offset": 1,
        "limit": 2,
        "count": 2,
    }
    assert [one["id"] for one in told["events"]] == ["1", "2"]
    assert client("GET /api/events")[1]["limit"] == 100


def test_events_are_chosen_by_their_runtime_and_their_name(client) -> None:
    client("POST /api/events", event())
    client("POST /api/events", event("probe.hit.logpoint", client={"runtime": "node"}))
    client("POST /api/events", event("probe.hit.logpoint"))

    def total(query: str) -> int:
        return int(client(f"GET /api/events?{query}")[1]["total"])

    assert total("runtime=python") == 2
    assert total("event_type=probe.hit.logpoint") == 2
    assert total("event_type=probe.hit.logpoint&runtime=node") == 1
    assert total("runtime=java") == 0


@pytest.mark.parametrize("query", ["limit=x", "offset=-1", "limit=1e3", "limit=99999999999999999999"])
def test_a_page_that_is_none_is_refused(query, client) -> None:
    assert client(f"GET /api/events?{query}")[0] == 400


def test_cleared_events_are_gone_and_still_counted(client) -> None:
    client("POST /api/events", event())

    assert client("POST /api/events/clear") == (200, {"status": "cleared", "cleared": 1})
    assert client("GET /api/events")[1]["total"] == 0
    assert client("GET /health")[1]["events_received"] == 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [("GET /", 404), ("POST /health", 405), ("GET /api/events/clear", 405), ("PUT /api/events", 405),
     ("DELETE /api/events", 405), ("OPTIONS /api/events", 405)],
)  # fmt: skip
def test_what_is_not_there_is_refused_as_json(request_, status, client) -> None:
    answered, told = client(request_)

    assert (answered, set(told)) == (status, {"error", "code"})


def test_what_is_no_http_is_refused(client) -> None:
    assert b'"INVALID_REQUEST"' in client.raw(b"what?\r\n\r\n")
    assert client("GET /health")[0] == 200


# --- what a web page can do: nothing ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
     {"Sec-Fetch-Site": "same-site"}],
    ids=["origin", "null origin", "cross-site", "same-site"],
)  # fmt: skip
@pytest.mark.parametrize(
    "request_", ["GET /health", "GET /api/events", "POST /api/events", "POST /api/events/clear"]
)
def test_csrf_a_page_of_another_origin_is_refused(request_, headers, client) -> None:
    client("POST /api/events", event())
    body = event() if request_.endswith("events") and request_.startswith("POST") else None

    assert client(request_, body, headers)[1]["code"] == "FORBIDDEN"
    assert client("GET /api/events")[1]["total"] == 1


def test_csrf_a_form_of_a_page_is_refused(client) -> None:
    """The body of a form can be made to look like JSON; its type cannot."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert client("POST /api/events", event(), {"Content-Type": kind})[0] == 415


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost:1", ""])
def test_dns_rebinding_a_name_that_is_not_ours_is_refused(host, client) -> None:
    assert client("GET /api/events", None, {"Host": host.format(port=client.port)})[0] == 403


@pytest.mark.parametrize("host", ["localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}"])
def test_our_own_names_are_good(host, client) -> None:
    host = host.format(port=client.port)

    assert client("GET /health", None, {"Host": host})[0] == 200
    assert client("GET /health", None, {"Host": host, "Origin": f"http://{host}"})[0] == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", ""])
def test_it_listens_on_this_machine_alone(host) -> None:
    with pytest.raises(UsageError) as told:
        serve(0, host=host)

    assert told.value.code == "ERR_USAGE"


# --- how much is kept, and who is told ----------------------------------------------------------------------


def test_of_too_many_events_the_oldest_go(start) -> None:
    client = start(most=3)
    for number in range(5):
        client("POST /api/events", event(number=number))

    told = client("GET /api/events")[1]
    assert [one["id"] for one in told["events"]] == ["2", "3", "4"]
    assert client("GET /health")[1]["events_received"] == 5


def test_of_too_many_bytes_the_oldest_go(monkeypatch) -> None:
    monkeypatch.setattr(probe_sink, "MOST_BYTES", 100)
    received = Received(10)
    for number in range(3):
        received.add(event(number=number), 40)

    assert [one["id"] for one in received.chosen(None, None)] == ["1", "2"]
    assert (received.clear(), received.total) == (2, 3)


def test_each_event_is_told_once_and_one_at_a_time(start) -> None:
    told: list[str] = []
    client = start(on_event=lambda one: told.append(one["id"]))
    threads = [
        threading.Thread(target=client, args=("POST /api/events", event(number=number)))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(told) == [str(number) for number in range(8)]


def test_a_reader_that_has_gone_ends_the_receiver() -> None:
    def gone(_: object) -> None:
        raise BrokenPipeError

    receiver = serve(0, on_event=gone)
    raised: list[BaseException] = []

    def run() -> None:
        try:
            receiver.serve_forever()
        except BrokenPipeError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert Client(receiver)("POST /api/events", event())[0] == 200
    thread.join(DEADLINE_S)
    receiver.close()

    assert [type(error) for error in raised] == [BrokenPipeError]


def test_more_connections_than_there_may_be_are_closed(start, monkeypatch) -> None:
    monkeypatch.setattr(probe_sink, "MOST_CONNECTIONS", 2)
    client = start()
    held = [socket.create_connection(("127.0.0.1", client.port), DEADLINE_S) for _ in range(3)]
    try:
        assert held[2].recv(1) == b""
    finally:
        for one in held:
            one.close()


def test_it_can_be_closed_twice_and_before_it_serves() -> None:
    receiver = serve(0)
    receiver.close()
    receiver.close()

    with socket.create_server(("127.0.0.1", receiver.port)):
        pass  # the port is free again


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        serve(taken.getsockname()[1])


def test_the_client_and_the_receiver_understand_each_other(client) -> None:
    sink = Sink(f"http://127.0.0.1:{client.port}")
    for number in range(50):
        sink.offer(event(number=number))
    sink.offer({"name": "nothing"})

    assert sink.flush(DEADLINE_S)
    told = sink.status()
    assert (told["sent"], told["failed"], told["dropped"]) == (50, 1, 0)
    assert client("GET /api/events")[1]["total"] == 50
    sink.stop()


def test_nothing_is_printed(client, capfd) -> None:
    client("POST /api/events", event())
    client("GET /nowhere")
    client.raw(b"what?\r\n\r\n")

    assert capfd.readouterr() == ("", "")
