"""The envelope: frames out of events, typed bodies out of stored data, and what is refused."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import pytest

from devtrace import events
from devtrace.errors import UsageError
from devtrace.events import Event, Note, Output, RunCommand

SESSION = "0198c0de" + "0" * 23 + "7"
SPAN = "1234567890123456"


def event(body: events.Body, **told: Any) -> Event:
    envelope: dict[str, Any] = {
        "session": SESSION,
        "id": SPAN,
        "actor": "human",
        "started_us": 1_000,
        "ended_us": 2_000,
        "status": "ok",
        "source": "interactive",
        "exit_source": "shell",
        "trusted": 2,
    }
    return Event(**{**envelope, **told}, body=body)


def test_a_frame_carries_the_envelope_the_headline_and_the_data() -> None:
    command = RunCommand(
        command="ls", cwd="/srv/shop", exit_code=0, output=Output(seen=3, head=3, tail=0, truncated=False)
    )

    frame = event(command, blobs={"output": b"a\r\n"}).to_frame()

    assert (frame["kind"], frame["title"], frame["cwd"], frame["exit_code"]) == (
        "run_command",
        "$ ls",
        "/srv/shop",
        0,
    )
    assert frame["data"]["output"]["seen"] == 3
    assert frame["blobs"] == {"output": b"a\r\n"}
    assert events.check_frame(frame) is frame


@pytest.mark.parametrize("kind", sorted(events.KINDS))
def test_every_kind_comes_back_from_its_own_data(kind: str) -> None:
    cls = events.KINDS[kind]
    required = {
        item.name: 0 if item.type == "int" else [] if str(item.type).startswith("list") else "x"
        for item in dataclasses.fields(cls)  # type: ignore[arg-type]
        if item.default is dataclasses.MISSING
    }
    body = cls(**required)

    assert events.body_from_data(kind, event(body).to_frame()["data"]) == body
    assert body.headline()


def test_a_field_of_a_newer_version_is_left_out() -> None:
    assert events.body_from_data("note", {"text": "hello", "mood": "good"}) == Note(text="hello")


def test_an_unknown_kind_is_an_error_for_a_body_but_not_for_a_frame() -> None:
    frame = {**event(Note(text="x")).to_frame(), "kind": "telepathy"}

    assert events.check_frame(frame)["kind"] == "telepathy"
    with pytest.raises(UsageError) as caught:
        events.body_from_data("telepathy", {})
    assert caught.value.code == "ERR_EVENT_KIND"


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("session", "7f"),
        ("id", "0" * 16),
        ("parent", "not an id"),
        ("actor", ""),
        ("started_us", 1.5),
        ("started_us", True),
        ("started_us", 1 << 63),
        ("ended_us", "now"),
        ("status", "happy"),
        ("title", None),
        ("exit_code", "1"),
        ("trusted", 3),
        ("data", []),
    ],
)
def test_a_frame_whose_envelope_does_not_fit_names_the_field(field: str, wrong: object) -> None:
    frame = {**event(Note(text="x")).to_frame(), field: wrong}

    with pytest.raises(UsageError) as caught:
        events.check_frame(frame)

    assert caught.value.code == "ERR_FRAME"
    assert caught.value.context == {"field": field}


def test_events_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        event(Note(text="x")).status = "failed"  # type: ignore[misc]


def test_text_that_is_no_utf_8_keeps_its_true_bytes_beside_it() -> None:
    raw = b"caf\xe9"
    told = events.text_and_bytes("cwd", raw.decode("utf-8", "surrogateescape"))

    assert told["cwd"] == "caf�"
    assert base64.b64decode(told["cwd_b64"]) == raw
    assert events.text_and_bytes("cwd", "café") == {"cwd": "café"}


def test_free_text_is_marked_so_that_the_policy_finds_it() -> None:
    assert {"command", "cwd", "cwd_end"} <= events.sensitive_fields("run_command")
    assert events.sensitive_fields("note") == {"text", "cwd"}
    assert events.sensitive_fields("telepathy") == frozenset()


@pytest.mark.parametrize(
    ("command", "headline"),
    [
        (RunCommand(command="make test", cwd="/"), "$ make test"),
        (
            RunCommand(command=None, text_form="private", reason="leading space", cwd="/"),
            "$ (private: leading space)",
        ),
        (RunCommand(command=None, text_form="unknown", cwd="/"), "$ (unknown)"),
        (RunCommand(command=None, folded=1, cwd="/"), "$ ... 1 more command of one parent process"),
        (RunCommand(command=None, folded=9, cwd="/"), "$ ... 9 more commands of one parent process"),
    ],
)
def test_a_command_is_told_in_one_line(command: RunCommand, headline: str) -> None:
    assert command.headline() == headline


def test_a_gap_says_how_much_is_missing_and_why() -> None:
    gap = events.Gap(reason="lost_records", count=3, detail="seq 4 to 6")

    assert gap.headline() == "gap: 3 lost_records (seq 4 to 6)"
    assert events.Gap(reason="no_hooks").headline() == "gap: no_hooks"


def test_a_policy_event_says_what_was_done() -> None:
    assert events.Policy(action="redacted", rule="url-password", count=2).headline() == (
        "policy: redacted 2 by url-password"
    )
