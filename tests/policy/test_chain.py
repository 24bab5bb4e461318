"""The chain over whole frames: what is passed, how a secret is marked, and what happens when a rule fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from devtrace.events import OUTPUT_BLOB, TIMING_BLOB, Event, Gap, Note, Output, RunCommand
from devtrace.policy import chain
from devtrace.policy.chain import WITHHELD, Policy

VALUE = "tr0ub4dor-and-3"
Knowing = Callable[..., Policy]


def frame(
    command: str = "true", printed: bytes = b"", output: Output | None = None, **body: Any
) -> dict[str, Any]:
    blobs = {OUTPUT_BLOB: printed, TIMING_BLOB: json.dumps([[0, len(printed)]]).encode()} if printed else {}
    return Event(
        session="0" * 31 + "1", id="0" * 15 + "1", actor="human", started_us=1, ended_us=2, status="ok",
        source="interactive", trusted=2, blobs=blobs,
        body=RunCommand(command=command, cwd="/x", output=output, **body),
    ).to_frame()  # fmt: skip


def truncated(head: bytes, tail: bytes, seen: int = 1_000_000) -> dict[str, Any]:
    info = Output(seen=seen, head=len(head), tail=len(tail), truncated=True)
    return frame("cat big", head + tail, info)


def test_the_names_of_the_blobs_are_those_of_the_events() -> None:
    assert (chain._OUTPUT, chain._TIMING) == (OUTPUT_BLOB, TIMING_BLOB)


def test_title_cwd_data_and_blobs_are_redacted(knowing: Knowing) -> None:
    body = {"cwd_end": f"/tmp/{VALUE}", "reason": VALUE}
    given = {**frame(f"echo {VALUE}", f"{VALUE}\r\n".encode(), **body), "cwd": f"/tmp/{VALUE}"}
    given["data"]["nested"] = {"list": [VALUE, [VALUE]], VALUE: VALUE, "number": 7, "none": None}
    given["blobs"]["other"] = VALUE.encode()

    kept = knowing(API_TOKEN=VALUE).redact(given)

    assert VALUE not in repr(kept)
    assert kept["data"]["redacted"] == ["known-value"]
    assert len(kept["data"]["nested"]) == len(given["data"]["nested"])
    assert kept["data"]["nested"]["number"] == 7
    assert kept["title"] == f"$ echo {kept['data']['command'].removeprefix('echo ')}"
    assert VALUE in repr(given), "the frame that was given is not changed"


def test_a_frame_without_secrets_passes_as_it_is(knowing: Knowing) -> None:
    given = frame("make test", b"ok\r\n", Output(seen=4, head=4, tail=0, truncated=False))

    assert knowing(API_TOKEN=VALUE).redact(given) == given


@pytest.mark.parametrize("body", [Note(text=f"use {VALUE}"), Gap(reason="x", detail=f"lost {VALUE}")])
def test_every_kind_is_redacted(knowing: Knowing, body: Any) -> None:
    given = Event(
        session="0" * 31 + "1", id="0" * 15 + "1", actor="human", started_us=1, status="ok",
        source="cli", trusted=0, body=body,
    ).to_frame()  # fmt: skip

    assert VALUE not in repr(knowing(API_TOKEN=VALUE).redact(given))


# --- the marker ---


def test_equal_secrets_have_equal_markers_and_others_have_others(knowing: Knowing) -> None:
    policy = knowing()

    def marker(text: str) -> str:
        return policy.redact_text(text).partition("variable:")[2][:8]

    assert marker("API_TOKEN=first-1") == marker("OTHER_TOKEN='first-1'") != marker("API_TOKEN=second-2")
    assert (
        marker("API_TOKEN=first-1") == policy.redact_text("https://a:first-1@h").partition("password:")[2][:8]
    )


def test_another_salt_makes_other_markers() -> None:
    one, other = (
        Policy.for_session({}, salt).redact_text("API_TOKEN=first-1") for salt in (b"one", b"other")
    )

    assert one != other


def test_without_a_salt_the_marker_does_not_tell_secrets_apart() -> None:
    assert (
        Policy.for_session({}, None).redact_text("API_TOKEN=first-1")
        == "API_TOKEN=[redacted:secret-variable]"
    )


def test_a_marker_does_not_hold_a_hash_that_could_be_guessed(knowing: Knowing) -> None:
    import hashlib

    redacted = knowing().redact_text("API_TOKEN=first-1")

    assert hashlib.sha256(b"first-1").hexdigest()[:8] not in redacted


def test_secrets_that_overlap_become_one_marker(knowing: Knowing) -> None:
    policy = knowing(API_TOKEN="abcdef-9", DB_PASSWORD="def-9xyz")

    assert policy.redact_text("<abcdef-9xyz>").count("[redacted:") == 1
    assert policy.redact_text("<abcdef-9xyz>").endswith("]>")


# --- the cut between head and tail ---


@pytest.mark.parametrize("place", range(len(VALUE) + 1))
def test_a_known_value_at_the_cut_leaves_no_part_behind(knowing: Knowing, place: int) -> None:
    given = truncated(b"x" * 50 + b"\n" + VALUE[:place].encode(), VALUE[place:].encode() + b"\n" + b"y" * 50)

    kept = knowing(API_TOKEN=VALUE).redact(given)

    left = kept["blobs"][OUTPUT_BLOB].decode()
    parts = [VALUE[at : at + 4] for at in range(len(VALUE) - 3)]
    assert [part for part in parts if part in left] == []


@pytest.mark.parametrize("secret", ["API_TOKEN=tr0ub4dor-and-3", "https://ana:tr0ub4dor-and-3@example.org/x"])
def test_a_secret_known_by_its_shape_leaves_no_long_part_at_the_cut(policy: Policy, secret: str) -> None:
    for place in range(len(secret) + 1):
        kept = policy.redact(
            truncated(b"x" * 50 + b" " + secret[:place].encode(), secret[place:].encode() + b" " + b"y" * 50)
        )
        left = kept["blobs"][OUTPUT_BLOB].decode()
        parts = [VALUE[at : at + 8] for at in range(len(VALUE) - 7)]
        assert [part for part in parts if part in left] == [], place


def test_a_private_key_across_the_cut_is_masked_on_both_sides(policy: Policy) -> None:
    lines = [
        f"{number}IEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKjx" for number in range(10, 30)
    ]
    key = "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----"])
    for place in range(28, len(key), 7):
        kept = policy.redact(truncated(f"x\n{key[:place]}".encode(), f"{key[place + 5 :]}\ny\n".encode()))
        assert b"QIBADAN" not in kept["blobs"][OUTPUT_BLOB], place


def test_what_stands_beside_the_cut_is_not_read_as_one_text(policy: Policy) -> None:
    kept = policy.redact(truncated(b"export API_TOKEN=", b"make all\n"))

    assert kept["blobs"][OUTPUT_BLOB] == b"export API_TOKEN=make all\n"


def test_a_secret_at_every_place_of_a_truncated_output_is_masked_and_the_cut_stays_right(
    knowing: Knowing,
) -> None:
    policy = knowing(API_TOKEN=VALUE)
    plain_head, plain_tail = b"h" * 40, b"t" * 40
    for place in range(81):
        head, tail = plain_head, plain_tail
        if place <= 40:
            head = head[:place] + VALUE.encode() + head[place:]
        if place >= 40:
            tail = tail[: place - 40] + VALUE.encode() + tail[place - 40 :]
        given = truncated(head, tail)

        kept = policy.redact(given)

        data, info = kept["blobs"][OUTPUT_BLOB], kept["data"]["output"]
        assert VALUE.encode() not in data
        assert info["head"] + info["tail"] == len(data)
        assert info["redacted"] == len(head) + len(tail) - len(data)
        assert data[: info["head"]].replace(b"h", b"").startswith((b"", b"[redacted:"))
        assert set(data[info["head"] :].decode()) >= {"t"}
        assert b"h" * 5 not in data[info["head"] :]
        assert b"t" * 5 not in data[: info["head"]]
        assert sum(size for _, size in json.loads(kept["blobs"][TIMING_BLOB])) == len(data)


def test_output_that_was_kept_whole_says_its_size_after_redaction(knowing: Knowing) -> None:
    printed = f"token {VALUE}\n".encode()

    kept = knowing(API_TOKEN=VALUE).redact(
        frame("env", printed, Output(seen=len(printed), head=len(printed), tail=0, truncated=False))
    )

    info = kept["data"]["output"]
    assert info["seen"] == len(printed)
    assert info["head"] == len(kept["blobs"][OUTPUT_BLOB])
    assert info["head"] + info["redacted"] == len(printed)


@pytest.mark.parametrize(
    "info",
    [
        {"truncated": True},
        {"truncated": True, "head": -3},
        {"truncated": True, "head": "x"},
        {"truncated": True, "head": 1 << 40},
    ],
)
def test_numbers_that_do_not_fit_do_not_stop_the_policy(knowing: Knowing, info: dict[str, Any]) -> None:
    given = frame("x", f"{VALUE}\n".encode())
    given["data"]["output"] = info

    assert VALUE.encode() not in knowing(API_TOKEN=VALUE).redact(given)["blobs"][OUTPUT_BLOB]


# --- failure ---


def broken(*_: object) -> list[tuple[int, int, str, bytes | None]]:
    raise ZeroDivisionError


def test_what_a_rule_fails_on_is_withheld_and_counted() -> None:
    policy = Policy([broken])

    kept = policy.redact(frame("echo hello", b"hello\r\n"))

    assert "hello" not in repr(kept)
    assert kept["title"] == kept["data"]["command"] == WITHHELD
    assert kept["blobs"][OUTPUT_BLOB] == WITHHELD.encode()
    assert kept["data"]["redacted"] == ["policy-failure"]
    assert policy.redact_text("x") == policy.redact_bytes(b"x").decode() == WITHHELD


def test_what_nests_too_deeply_is_withheld(policy: Policy) -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    given = frame()
    given["data"] = deep

    assert policy.redact(given)["data"] == WITHHELD


@pytest.mark.parametrize("text", ["\ud800", "a\udfff\udc80b", "API_TOKEN=x\ud800y9 z", "\udcff\ud800"])
def test_surrogates_of_every_kind_pass(policy: Policy, text: str) -> None:
    redacted = policy.redact_text(text)

    assert redacted == text or "[redacted:" in redacted


def test_a_blob_that_is_no_bytes_is_withheld(policy: Policy) -> None:
    given = {**frame(), "blobs": {"odd": "text", "none": None}}

    assert policy.redact(given)["blobs"] == {"odd": WITHHELD.encode(), "none": WITHHELD.encode()}
