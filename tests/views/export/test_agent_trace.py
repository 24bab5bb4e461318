"""Agent Trace records are valid by the rules of version 0.1.0, and say no more than is known."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from devtrace.query.coverage import SPAN, summed
from devtrace.views.export.agent_trace import commit_lines, model_id

Row = dict[str, Any]

HEAD = "b" * 40
CALL = "s1/c1"


def check(record: Row) -> None:
    """The rules of the schema: what must be there, of which type, and nothing else."""
    assert set(record) <= {"version", "id", "timestamp", "vcs", "tool", "files", "metadata"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", record["version"])
    assert str(uuid.UUID(record["id"])) == record["id"]
    assert datetime.fromisoformat(record["timestamp"]).tzinfo is not None
    assert set(record["vcs"]) == {"type", "revision"}
    assert record["vcs"]["type"] in ("git", "jj", "hg", "svn")
    assert set(record["tool"]) <= {"name", "version"}
    assert all("." in key for key in record["metadata"]), "metadata has reverse-domain keys"
    assert isinstance(record["files"], list)
    for file in record["files"]:
        assert set(file) == {"path", "conversations"}
        assert isinstance(file["path"], str)
        for conversation in file["conversations"]:
            check_conversation(conversation)


def check_conversation(conversation: Row) -> None:
    assert set(conversation) <= {"url", "contributor", "ranges", "related"}
    contributor = conversation["contributor"]
    assert set(contributor) <= {"type", "model_id"}
    assert contributor["type"] in ("human", "ai", "mixed", "unknown")
    assert len(contributor.get("model_id", "a/b")) <= 250
    assert re.fullmatch(r"[^/]+/.+", contributor.get("model_id", "a/b"))
    for one in conversation["ranges"]:
        assert set(one) <= {"start_line", "end_line", "content_hash", "contributor"}
        assert 1 <= one["start_line"] <= one["end_line"]
        assert re.fullmatch(r"(?:murmur3|sha256):[0-9a-f]+", one["content_hash"])
    assert conversation["ranges"]
    for other in conversation.get("related", ()):
        assert set(other) == {"type", "url"}
        assert urlsplit(other["url"]).scheme


def span(start: int, end: int, name: str, why: str = "command", **more: Any) -> Row:
    empty: Row = dict.fromkeys(SPAN)
    return empty | {"path": "a.py", "start": start, "end": end, "class": name, "why": why} | more


def record(*spans: Row, model: str | None = "claude-sonnet-4-5") -> Row:
    file = {"path": "a.py", "spans": list(spans), "deleted": 2, "whole": None, "withheld": None}
    told = summed({"range": "HEAD", "head": HEAD}, [file, file | {"path": "gone.py", "spans": []}])
    calls = {CALL: {"model": model}}
    (line,) = commit_lines(told, 1_795_269_792_000_000, calls.get, lambda span: b"x\n" * span["start"])
    found: Row = json.loads(line)
    check(found)
    return found


def conversations(*spans: Row, **more: Any) -> list[Row]:
    return [one for file in record(*spans, **more)["files"] for one in file["conversations"]]


def test_a_record_names_the_commit_the_time_and_the_tool():
    found = record(span(1, 2, "human"))

    assert (found["version"], found["vcs"]) == ("0.1.0", {"type": "git", "revision": HEAD})
    assert found["timestamp"] == "2026-11-21T14:03:12+00:00"
    assert found["tool"]["name"] == "devtrace"
    assert [file["path"] for file in found["files"]] == ["a.py"]
    assert found["metadata"]["org.devtrace"]["percent"] == 100


def test_the_same_commit_is_the_same_record():
    assert record(span(1, 2, "human")) == record(span(1, 2, "human"))
    assert record(span(1, 2, "human"))["id"] != record(span(1, 3, "human"))["id"]


@pytest.mark.parametrize(
    ("one", "contributor"),
    [
        (span(1, 1, "observed", call=CALL), {"type": "ai", "model_id": "anthropic/claude-sonnet-4-5"}),
        (span(1, 1, "observed"), {"type": "ai"}),
        (span(1, 1, "observed", "time", call=CALL), {"type": "unknown"}),
        (span(1, 1, "checkpoint", "client"), {"type": "unknown"}),
        (span(1, 1, "checkpoint", "ambiguous"), {"type": "unknown"}),
        (span(1, 1, "checkpoint", "background"), {"type": "unknown"}),
        (span(1, 1, "human"), {"type": "human"}),
        (span(1, 1, "before"), {"type": "unknown"}),
        (span(1, 1, "unexplained"), {"type": "unknown"}),
    ],
)
def test_what_nobody_was_seen_writing_is_of_nobody_known(one, contributor):
    assert [found["contributor"] for found in conversations(one)] == [contributor]


def test_lines_of_one_prompt_are_one_conversation():
    told = {"session": "s1", "prompt": "s1/p1", "call": CALL}
    found = conversations(span(1, 2, "observed", **told), span(5, 5, "human"), span(7, 9, "observed", **told))

    assert [[(one["start_line"], one["end_line"]) for one in each["ranges"]] for each in found] == [
        [(1, 2), (7, 9)],
        [(5, 5)],
    ]
    assert found[0]["related"] == [
        {"type": "session", "url": "devtrace:s1"},
        {"type": "prompt", "url": "devtrace:s1/p1"},
    ]
    digest = hashlib.sha256(b"x\nx\nx\nx\nx\n").hexdigest()
    assert found[1]["ranges"][0]["content_hash"] == f"sha256:{digest}"


def test_names_that_are_no_utf_8_have_their_true_bytes_in_the_metadata():
    file = {
        "path": "b\ufffd.py",
        "spans": [span(1, 1, "human")],
        "deleted": 0,
        "whole": None,
        "withheld": None,
    }
    files = [file | {"path_b64": "Yv8ucHk="}, file | {"path": "a.py"}, file | {"path_b64": "Yv4ucHk="}]
    told = summed({"range": "HEAD", "head": HEAD}, files)

    (line,) = commit_lines(told, 0, {}.get, lambda _: b"x\n")

    check(json.loads(line))
    assert json.loads(line)["metadata"]["org.devtrace"]["path_b64"] == ["Yv8ucHk=", None, "Yv4ucHk="]


def test_a_commit_that_only_takes_lines_away_has_no_files():
    assert record()["files"] == []


@pytest.mark.parametrize(
    ("told", "known"),
    [
        ("claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        ("gpt-5.5", "openai/gpt-5.5"),
        ("gemini-2.5-pro", "google/gemini-2.5-pro"),
        ("openrouter/qwen", "openrouter/qwen"),
        ("fake-model", None),
        ("x/" + "y" * 300, None),
        ("", None),
        (None, None),
    ],
)
def test_a_model_is_named_with_its_provider_or_not_at_all(told, known):
    assert model_id(told) == known
