"""Agent Trace 0.1.0: which lines of a commit a person wrote, which an agent, and in what conversation.

The format is https://github.com/cursor/agent-trace: one record (application/vnd.agent-trace.record+json) a
commit, line numbers as they are in it. What nobody was seen writing is of an `unknown` contributor, be it
that something of an agent's ran at that time; never of a person.

Lives here: the record. Not here: whose lines they are (query/coverage.py), where it is written
(services/export.py).
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from devtrace import __version__
from devtrace.query.coverage import HUMAN, OBSERVED

Row = dict[str, Any]

SUFFIX = ".json"

VERSION = "0.1.0"
_METADATA = "org.devtrace"
_LONGEST_MODEL = 250
# By the start of a model's name, as https://models.dev names who provides it.
_PROVIDERS = (
    ("claude", "anthropic"), ("gpt", "openai"), ("codex", "openai"), ("o1", "openai"), ("o3", "openai"),
    ("o4", "openai"), ("gemini", "google"), ("deepseek", "deepseek"), ("grok", "xai"), ("mistral", "mistral"),
    ("codestral", "mistral"), ("devstral", "mistral"), ("qwen", "alibaba"), ("kimi", "moonshotai"),
)  # fmt: skip


def commit_lines(
    told: Row, committed_us: int, call_of: Callable[[str], Row | None], text_of: Callable[[Row], bytes]
) -> Iterator[str]:
    """The record of one commit, by its coverage.

    `call_of` tells a call by its SESSION/EVENT, `text_of` what stands in the lines of a span.
    """
    shown = [file for file in told["files"] if file["spans"]]
    files = [
        {"path": file["path"], "conversations": _conversations(file["spans"], call_of, text_of)}
        for file in shown
    ]
    about = {name: told[name] for name in ("lines", "percent", "deleted")}
    if any("path_b64" in file for file in shown):  # the format has no room for it beside the path
        about["path_b64"] = [file.get("path_b64") for file in shown]
    record: Row = {
        "version": VERSION,
        "timestamp": datetime.fromtimestamp(committed_us // 1_000_000, UTC).isoformat(),
        "vcs": {"type": "git", "revision": told["head"]},
        "tool": {"name": "devtrace", "version": __version__},
        "files": files,
        "metadata": {_METADATA: about},
    }
    # The same content is the same record, however often it is exported.
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).digest()
    yield json.dumps({"version": VERSION, "id": str(uuid.UUID(bytes=digest[:16], version=4)), **record})


def model_id(model: str | None) -> str | None:
    """`anthropic/claude-sonnet-4-5`; None where nobody knows whose model it is."""
    if not model:
        return None
    name = model.strip()
    if "/" not in name:
        known = (provider for start, provider in _PROVIDERS if name.lower().startswith(start))
        provider = next(known, None)
        if provider is None:
            return None
        name = f"{provider}/{name}"
    return name if len(name) <= _LONGEST_MODEL else None


def _conversations(
    spans: list[Row], call_of: Callable[[str], Row | None], text_of: Callable[[Row], bytes]
) -> list[Row]:
    """The ranges of a file by who wrote them and under which prompt, in the order of their first lines."""
    found: dict[str, Row] = {}
    for span in spans:
        call = call_of(span["call"]) if span["call"] else None
        conversation: Row = {"contributor": _contributor(span, call)}
        related = _related(span)
        digest = hashlib.sha256(text_of(span)).hexdigest()
        one = {"start_line": span["start"], "end_line": span["end"], "content_hash": f"sha256:{digest}"}
        key = json.dumps([conversation, related])
        found.setdefault(key, conversation | {"ranges": []} | ({"related": related} if related else {}))
        found[key]["ranges"].append(one)
    return list(found.values())


def _contributor(span: Row, call: Row | None) -> Row:
    is_agents = span["class"] == OBSERVED and span["why"] != "time"
    kind = "ai" if is_agents else "human" if span["class"] == HUMAN else "unknown"
    model = model_id(call["model"]) if call is not None and is_agents else None
    return {"type": kind, "model_id": model} if model else {"type": kind}


def _related(span: Row) -> list[Row]:
    """The session, and the prompt, by the names under which `devtrace show` knows them."""
    found = [("session", span["session"]), ("prompt", span["prompt"])]
    return [{"type": kind, "url": f"devtrace:{name}"} for kind, name in found if name]
