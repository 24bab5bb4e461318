"""What a command printed, as it is read back: head and tail cut where they were joined."""

from __future__ import annotations

import json
from typing import Any

import pytest

from devtrace.events import OUTPUT_BLOB, TIMING_BLOB, Event, RunCommand
from devtrace.events import Output as Info
from devtrace.ids import new_span_id
from devtrace.policy.chain import Policy
from devtrace.query.events import get_event
from devtrace.query.output import Output, output
from devtrace.store.append import append
from tests.recorded import Recorded

SECRET = b"tr0ub4dor-and-3"


def stored(store: Recorded, data: bytes, **info: Any) -> Output:
    """Through the policy and the store, and back."""
    frame = Event(
        session=store.session_id, id=new_span_id(), actor="human", started_us=1, ended_us=2, status="ok",
        source="interactive", trusted=2, body=RunCommand(command="x", cwd="/", output=Info(**info)),
        blobs={OUTPUT_BLOB: data, TIMING_BLOB: json.dumps([[0, len(data)]]).encode()},
    ).to_frame()  # fmt: skip
    append(store.db, [Policy.for_session({"API_TOKEN": SECRET.decode()}, b"salt").redact(frame)])
    return output(store.db, get_event(store.db, frame["session"], frame["id"]))


@pytest.fixture
def store(tmp_path: Any) -> Any:
    made = Recorded(tmp_path)
    made.session()
    yield made
    made.close()


def test_a_secret_masked_in_the_head_does_not_move_the_cut(store: Recorded) -> None:
    head, tail = b"head " + SECRET + b" end\n", b"tail\n"

    read = stored(store, head + tail, seen=1000, head=len(head), tail=len(tail), truncated=True)

    first, missing, last = read.parts()
    assert first.startswith(b"head [redacted:known-value:")
    assert first.endswith(b"] end\n")
    assert last == tail
    assert missing == 1000 - len(head) - len(tail)


def test_a_secret_masked_in_the_tail_does_not_move_the_cut(store: Recorded) -> None:
    head, tail = b"head\n", b"tail " + SECRET + b" " + SECRET + b"\n"

    first, missing, last = stored(
        store, head + tail, seen=1000, head=5, tail=len(tail), truncated=True
    ).parts()

    assert first == head
    assert last.startswith(b"tail [redacted:")
    assert missing == 1000 - len(head) - len(tail)


def test_what_the_alternate_screen_showed_is_not_missing_between_head_and_tail(store: Recorded) -> None:
    told = {"seen": 1000, "head": 5, "tail": 5, "truncated": True, "alternate_screen": 900}

    assert stored(store, b"head\ntail\n", **told).parts() == (b"head\n", 90, b"tail\n")


def test_output_that_was_kept_whole_has_no_cut(store: Recorded) -> None:
    data = SECRET + b"\n"

    first, missing, last = stored(
        store, data, seen=len(data), head=len(data), tail=0, truncated=False
    ).parts()

    assert first.startswith(b"[redacted:")
    assert (missing, last) == (0, b"")
