"""Where events are posted: what a URL says, and what of it is shown.

Not here: what receivers answer (test_sink.py).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from devtrace.probes import sink
from devtrace.probes.posting import Address, BadAddress
from devtrace.probes.sink import url_from
from tests.probes.receivers import DEADLINE_S, EVENT, counts

CHECKOUT = Path(__file__).parents[2]


def test_the_documented_variable_comes_first() -> None:
    both = {"DEBUGIN_EVENT_SINK_URL": "http://a", "EVENT_SINK_URL": "http://b"}

    assert url_from(both) == "http://a"
    assert url_from({**both, "DEBUGIN_EVENT_SINK_URL": " "}) == "http://b"
    assert url_from({}) is None


@pytest.mark.parametrize(
    "url",
    ["", "ftp://h/", "127.0.0.1:4317", "http://", "http://h:99999", "http://h:0", "http://h\r\nX: y",
     "http://h/a b", "file:///etc/passwd", "http://[::1", "http://münchen/"],
)  # fmt: skip
def test_a_url_that_is_none_is_told_and_takes_nothing(url, sinks) -> None:
    with pytest.raises(BadAddress):
        Address(url)
    one = sinks(url)

    assert not one.offer(EVENT)
    assert one.status()["note"].startswith("the URL")
    assert (one.status()["url"], counts(one)) == ("", (0, 1, 0))


@pytest.mark.parametrize(
    ("url", "shown", "target"),
    [
        ("http://h", "http://h", "/api/events"),
        ("HTTP://h:80/", "http://h:80", "/api/events"),
        ("https://h/base/", "https://h/base", "/base/api/events"),
        ("http://h/api/events", "http://h/api/events", "/api/events"),
        ("http://[::1]:4317", "http://[::1]:4317", "/api/events"),
        ("http://u:hunter2@h/x?token=hunter2#hunter2", "http://h/x", "/x/api/events?token=hunter2"),
    ],
)
def test_where_a_url_leads_and_what_is_shown_of_it(url, shown, target) -> None:
    address = Address(url)

    assert (address.shown, address.head.split(" ")[1]) == (shown, target)
    assert "hunter2" not in address.shown


def test_credentials_of_the_url_reach_the_receiver_and_nobody_else(receiver, sinks) -> None:
    one = sinks(receiver.url.replace("http://", "http://ana:p%40ss@") + "?key=k1")
    one.offer(EVENT)

    assert one.flush(DEADLINE_S)
    path, head = receiver.heads[0]
    assert (path, head["Authorization"]) == ("/api/events?key=k1", "Basic YW5hOnBAc3M=")
    assert one.status()["url"] == receiver.url


def test_a_receiver_without_tls_under_an_https_url_is_not_sent_to(receiver, sinks, monkeypatch) -> None:
    monkeypatch.setattr(sink, "BACKOFF_S", 0.001)
    one = sinks(receiver.url.replace("http://", "https://"))
    one.offer(EVENT)

    assert one.flush(DEADLINE_S)
    assert (counts(one), one.status()["connected"]) == ((0, 0, 1), False)


def test_a_guest_loads_neither_tls_nor_an_http_client() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from devtrace.probes.sink import Sink\n"
        "Sink('http://127.0.0.1:9')\n"
        "print(sorted({'ssl', 'http', 'email', 'urllib', 'socket'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(CHECKOUT)], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"
