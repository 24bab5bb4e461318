"""The sink's client against real receivers on loopback: good, slow, dead, hanging, and none at all.

Not here: what a URL says (test_posting.py).
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from devtrace.probes import posting, sink
from tests.probes.receivers import ACCEPTED, DEADLINE_S, EVENT, Answer, Receiver, counts, dead_url, speaking

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def receivers() -> Iterator[Callable[..., Receiver]]:
    made: list[Receiver] = []

    def make(*answers: Answer, **settings: Any) -> Receiver:
        made.append(Receiver(*answers, **settings))
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timeouts and pauses short enough for a test."""
    monkeypatch.setattr(posting, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(sink, "BACKOFF_S", 0.01)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses short enough for a test."""
    monkeypatch.setattr(sink, "BACKOFF_S", 0.001)


# --- good receivers -----------------------------------------------------------------------------------------


def test_each_event_is_posted_as_json_of_its_own(receivers, sinks) -> None:
    receiver = receivers()
    one = sinks(receiver.url)

    assert all(one.offer({**EVENT, "id": str(number)}) for number in range(20))

    assert one.flush(DEADLINE_S)
    assert [event["id"] for event in receiver.events] == [str(number) for number in range(20)]
    path, head = receiver.heads[0]
    assert (path, head["Content-Type"]) == ("/api/events", "application/json")
    assert one.status() == {
        "connected": True,
        "url": receiver.url,
        "sent": 20,
        "dropped": 0,
        "failed": 0,
        "note": "",
    }


def test_what_waits_shares_a_connection(receivers, sinks) -> None:
    receiver = receivers()
    receiver.gate.clear()
    one = sinks(receiver.url)
    for _ in range(20):
        one.offer(EVENT)
    receiver.gate.set()

    assert one.flush(DEADLINE_S)
    assert len(receiver.clients) == 1


def test_a_receiver_of_http_1_0_gets_a_connection_an_event(receivers, sinks) -> None:
    receiver = receivers(protocol="HTTP/1.0")
    receiver.gate.clear()
    one = sinks(receiver.url)
    for _ in range(3):
        one.offer(EVENT)
    receiver.gate.set()

    assert one.flush(DEADLINE_S)
    assert (counts(one), len(receiver.clients)) == ((3, 0, 0), 3)


@pytest.mark.parametrize("answer", [(202, "", b""), (202, "application/json", b"{}"), (204, "", b"")])
def test_queued_is_as_good_as_accepted(answer, receivers, sinks) -> None:
    one = sinks(receivers(answer).url)
    one.offer(EVENT)

    assert one.flush(DEADLINE_S)
    assert (counts(one), one.status()["connected"], one.status()["note"]) == ((1, 0, 0), True, "")


def test_the_thread_lives_only_while_something_waits(receivers, sinks) -> None:
    receiver = receivers()
    one = sinks(receiver.url)
    for expected in (1, 2):
        one.offer(EVENT)
        assert one.flush(DEADLINE_S)
        assert one.rest(DEADLINE_S)
        assert counts(one) == (expected, 0, 0)


# --- receivers that refuse ----------------------------------------------------------------------------------


def test_what_is_invalid_is_counted_and_not_sent_again(receivers, sinks) -> None:
    receiver = receivers((400, "application/json", b"{}"), ACCEPTED)
    one = sinks(receiver.url)
    one.offer(EVENT)
    one.offer({**EVENT, "id": "2"})

    assert one.flush(DEADLINE_S)
    assert (counts(one), [event["id"] for event in receiver.events]) == ((1, 0, 1), ["1", "2"])


def test_what_fails_is_sent_again_until_it_is_taken(quick, receivers, sinks) -> None:
    failing = (500, "application/json", b"{}")
    receiver = receivers(failing, failing, ACCEPTED)
    one = sinks(receiver.url)
    one.offer(EVENT)

    assert one.flush(DEADLINE_S)
    assert (counts(one), len(receiver.events)) == ((1, 0, 0), 3)


def test_after_three_tries_it_is_given_up_and_the_next_has_one(quick, receivers, sinks) -> None:
    receiver = receivers((500, "application/json", b"{}"))
    one = sinks(receiver.url)
    for _ in range(2):
        one.offer(EVENT)

    assert one.flush(DEADLINE_S)
    assert (counts(one), len(receiver.events)) == ((0, 0, 2), 3 + 1)
    assert one.status()["note"] == "it answered 500"


def test_a_redirect_is_not_followed(receivers, sinks) -> None:
    receiver = receivers((307, "text/plain", b""))
    one = sinks(receiver.url)
    one.offer(EVENT)

    assert one.flush(DEADLINE_S)
    assert (counts(one), [path for path, _ in receiver.heads]) == ((0, 0, 1), ["/api/events"])
    assert one.status()["note"] == "it answered 307"


# --- receivers that are none --------------------------------------------------------------------------------


def test_a_dead_receiver_costs_three_tries_and_is_told(quick, sinks) -> None:
    one = sinks(dead_url())
    one.offer(EVENT)

    assert one.flush(DEADLINE_S)
    assert counts(one) == (0, 0, 1)
    assert one.status()["note"] == "not reached: Connection refused"


def test_a_receiver_that_hangs_is_given_up(impatient, sinks) -> None:
    with speaking(then="hold") as url:
        one = sinks(url)
        one.offer(EVENT)

        assert one.flush(DEADLINE_S)
    assert (counts(one), one.status()["connected"]) == ((0, 0, 1), False)
    assert one.status()["note"] == "not reached: timed out"


def test_a_receiver_that_sends_a_byte_at_a_time_does_not_hold_the_thread(impatient, sinks) -> None:
    """Each byte comes in time; the answer does not."""
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-A: ")
            while not stop.wait(0.02):
                connection.sendall(b"a")

    listening = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve() -> None:
        for _ in range(3):
            connection, _ = listening.accept()
            threads.append(threading.Thread(target=drip, args=(connection,)))
            threads[-1].start()

    serving = threading.Thread(target=serve)
    serving.start()
    one = sinks(f"http://127.0.0.1:{listening.getsockname()[1]}")
    one.offer(EVENT)
    try:
        assert one.flush(DEADLINE_S)
    finally:
        stop.set()
        serving.join()
        for thread in threads:
            thread.join()
        listening.close()

    assert counts(one) == (0, 0, 1)


SETTINGS_OF_HTTP_2 = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00"


@pytest.mark.parametrize(
    "said",
    [SETTINGS_OF_HTTP_2, b"SSH-2.0-OpenSSH_9.6\r\n", b"\x00" * 100, b"HTTP/1.1 what?\r\n\r\n", b"{}"],
    ids=["http2", "ssh", "zeros", "no status", "json"],
)
@pytest.mark.parametrize("then", ["close", "hold"])
def test_what_speaks_no_http_is_told_in_the_note(said, then, sinks) -> None:
    with speaking(said, then=then) as url:
        one = sinks(url)
        one.offer(EVENT)

        assert one.flush(DEADLINE_S)
    assert counts(one) == (0, 0, 1)
    assert one.status()["note"] == (
        "what answers does not speak HTTP: is an OpenTelemetry collector listening there?"
    )


def test_an_answer_that_is_no_json_is_told_in_the_note(receivers, sinks) -> None:
    one = sinks(receivers((200, "text/html", b"<html>")).url)
    one.offer(EVENT)

    assert one.flush(DEADLINE_S)
    assert one.status()["connected"] is False
    assert one.status()["note"] == ("its answer is no JSON: is an OpenTelemetry collector listening there?")


def test_a_receiver_that_hangs_up_is_tried_again(quick, sinks) -> None:
    with speaking() as url:
        one = sinks(url)
        one.offer(EVENT)

        assert one.flush(DEADLINE_S)
    assert counts(one) == (0, 0, 1)
    assert one.status()["note"].startswith("not reached: ")


def test_an_answer_that_is_torn_behind_its_head_counts(sinks) -> None:
    with speaking(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{") as url:
        one = sinks(url)
        one.offer(EVENT)

        assert one.flush(DEADLINE_S)
    assert counts(one) == (1, 0, 0)


def test_it_recovers_when_a_receiver_comes_back(quick, receivers, sinks) -> None:
    receiver = receivers((503, "", b""), (503, "", b""), (503, "", b""), (503, "", b""), ACCEPTED)
    one = sinks(receiver.url)
    for _ in range(3):
        one.offer(EVENT)

    assert one.flush(DEADLINE_S)
    assert (counts(one), one.status()["connected"], one.status()["note"]) == ((1, 0, 2), True, "")


def test_a_receiver_that_is_killed_costs_its_events_and_nothing_else(quick, sinks) -> None:
    program = (
        "import socket, sys\n"
        "listening = socket.create_server(('127.0.0.1', 0))\n"
        "print(listening.getsockname()[1], flush=True)\n"
        "connection, _ = listening.accept()\n"
        "connection.recv(65536)\n"
        "print('has it', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        one = sinks(f"http://127.0.0.1:{int(process.stdout.readline())}")
        for _ in range(5):
            one.offer(EVENT)
        assert process.stdout.readline() == "has it\n"
        process.kill()

        assert one.flush(DEADLINE_S)
    assert counts(one) == (0, 0, 5)


# --- how much waits, and for how long -----------------------------------------------------------------------


def test_a_slow_receiver_lets_the_program_go_on_and_what_is_too_many_is_dropped(receivers, sinks) -> None:
    receiver = receivers()
    receiver.gate.clear()
    one = sinks(receiver.url, most=3)

    taken = [one.offer(EVENT) for _ in range(10)]
    receiver.gate.set()

    assert one.flush(DEADLINE_S)
    assert (taken, counts(one)) == ([True] * 3 + [False] * 7, (3, 7, 0))


def test_large_events_are_bounded_by_their_bytes(receivers, sinks, monkeypatch) -> None:
    monkeypatch.setattr(sink, "MOST_BYTES", 1_000)
    receiver = receivers()
    receiver.gate.clear()
    one = sinks(receiver.url)

    taken = [one.offer({"name": "x" * 400}) for _ in range(3)]
    receiver.gate.set()

    assert one.flush(DEADLINE_S)
    assert taken == [True, True, False]
    assert one.offer({"name": "x" * 400})  # there is room again


@pytest.mark.parametrize("event", [{"a": object()}, {"a": float("nan")}], ids=["object", "nan"])
def test_what_is_no_json_is_dropped(event, receivers, sinks) -> None:
    one = sinks(receivers().url)

    assert not one.offer(event)
    assert counts(one) == (0, 1, 0)


def test_the_end_waits_a_moment_and_no_longer(receivers, sinks) -> None:
    receiver = receivers()
    receiver.gate.clear()
    one = sinks(receiver.url)
    for _ in range(5):
        one.offer(EVENT)

    one.stop()  # while the receiver answers nothing

    assert counts(one) == (0, 5, 0)
    assert not one.offer(EVENT)
    one.stop()
    assert counts(one) == (0, 6, 0)


def test_a_program_with_a_hanging_receiver_ends(sinks) -> None:
    """Python waits for no thread of ours; the alarm would kill a program that hangs."""
    program = (
        "import signal; signal.alarm(30)\n"
        "from devtrace.probes.sink import Sink\n"
        "import sys\n"
        "sink = Sink(sys.argv[1])\n"
        "sink.offer({'name': 'x'})\n"
        "print(sink.flush(0))\n"
    )
    with speaking(then="hold") as url:
        done = subprocess.run(
            [sys.executable, "-c", program, url], cwd=CHECKOUT, capture_output=True, text=True, check=False
        )

    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


def test_what_came_in_its_last_moment_is_sent_at_the_programs_end(receivers) -> None:
    program = (
        "import sys\n"
        "from devtrace.probes.sink import Sink\n"
        "sink = Sink(sys.argv[1])\n"
        "sink.offer({'name': 'last'})\n"
        "sink.flush(30)\n"
        "sink.stop()\n"
    )
    receiver = receivers()
    done = subprocess.run(
        [sys.executable, "-c", program, receiver.url],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert receiver.events == [{"name": "last"}]


# --- forks --------------------------------------------------------------------------------------------------


def test_before_a_fork_the_thread_ends_and_after_it_what_waits_is_sent(receivers, sinks) -> None:
    receiver = receivers()
    receiver.gate.clear()
    one = sinks(receiver.url)
    for number in range(3):
        one.offer({"id": str(number)})
    assert receiver.arrived.acquire(timeout=DEADLINE_S)

    assert one.rest(DEADLINE_S)  # though the receiver has not answered
    assert counts(one) == (0, 0, 0)
    receiver.gate.set()
    one.resume()

    assert one.flush(DEADLINE_S)
    assert counts(one) == (3, 0, 0)
    assert {event["id"] for event in receiver.events} == {"0", "1", "2"}


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells when a thread is gone")
def test_python_warns_of_no_thread_of_ours_at_a_fork() -> None:
    program = (
        "import os, sys, warnings\n"
        "from devtrace.probes.sink import Sink\n"
        "warnings.simplefilter('always')\n"
        "sink = Sink(sys.argv[1])\n"
        "sink.offer({'id': '1'})\n"
        "for _ in range(20):\n"
        "    assert sink.rest(30)\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
        "    sink.resume()\n"
    )
    with speaking(then="hold") as url:
        done = subprocess.run(
            [sys.executable, "-c", program, url], cwd=CHECKOUT, capture_output=True, text=True, check=False
        )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_child_sends_its_own_events_and_none_of_its_parents(receivers) -> None:
    program = (
        "import os, sys\n"
        "from devtrace.probes.sink import Sink\n"
        "sink = Sink(sys.argv[1])\n"
        "for number in range(3):\n"
        "    sink.offer({'id': f'parent {number}'})\n"
        "sink.rest(30)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    sink.forget()\n"
        "    sink.offer({'id': 'child'})\n"
        "    sink.flush(30)\n"
        "    os._exit(0 if sink.status()['sent'] == 1 else 1)\n"
        "sink.resume()\n"
        "sink.flush(30)\n"
        "print(os.waitpid(child, 0)[1], sink.status()['sent'])\n"
    )
    receiver = receivers()
    done = subprocess.run(
        [sys.executable, "-c", program, receiver.url],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.stderr, done.stdout.split()[0]) == ("", "0")
    told = [event["id"] for event in receiver.events]
    assert told.count("child") == 1
    assert {one for one in told if one != "child"} == {"parent 0", "parent 1", "parent 2"}
