"""The form of a fact: a plain dict that an adapter makes and a frame is made of.

    {kind, native, key, started_us, ended_us, status, data}

`key` tells one fact of a kind from all others of the client's session `native`, however often and by
whatever way it is told: a call's id, a message's, of a prompt the turn's. `started_us` None: not told, and so
the moment at which it was heard. `ended_us` None: it goes on. `data` are the fields of the event
(events/agent.py); `data["turn"]` is the key of the prompt that the fact belongs under.

Lives here: making facts, the ids that follow from them, reading JSON that may hold anything. Not here: any
client's format.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Protocol

Fact = dict[str, Any]

_ADAPTERS = {
    "claude-code": "claude_code",
    "codex": "codex",
    "gemini": "gemini_cli",
    "opencode": "opencode",
    "cline": "cline",
    "cursor": "cursor",
    "aider": "aider",
}


class Memory(Protocol):
    """What is kept between two hook processes of one session of a client."""

    def count(self, name: str) -> int:
        """1, 2, 3 ...: how often that name has been counted in this session."""


# Fields of an event that hold JSON as text, by its kind: what redacts them looks inside.
JSON_FIELDS = {"tool_call": ("input", "result"), "agent_payload": ("payload",)}
_WRAPPING = ("claude-code", "codex", "gemini")  # put something around what their shells are told


def adapter(name: str) -> ModuleType | None:
    """The adapter of an agent; None for one of which nothing but its name is known."""
    module = _ADAPTERS.get(name)
    return import_module(f"devtrace.sources.agents.{module}") if module else None


def adapters() -> dict[str, ModuleType]:
    """All of them, by the agents' names."""
    return {name: import_module(f"devtrace.sources.agents.{module}") for name, module in _ADAPTERS.items()}


def unwrapped(command: str) -> str | None:
    """What was meant, where a client put something of its own around it; None: nobody did."""
    for name in _WRAPPING:
        with contextlib.suppress(Exception):  # whatever a client wrote: then it stands as it came
            inner: str | None = getattr(adapter(name), "unwrapped")(command)  # noqa: B009 - not every adapter has one
            if inner is not None:
                return inner
    return None


def event_id(channel: str, agent: str, fact: Fact) -> str:
    """The span id of a fact: the same each time it is told by this channel, `hook` or `transcript`."""
    named = (channel, agent, fact["native"], fact["kind"], fact["key"])
    digest = hashlib.sha256("\0".join(named).encode("utf-8", "surrogatepass")).hexdigest()
    return digest[:16] if digest[:16].strip("0") else digest[16:32]


# --- facts ----------------------------------------------------------------------------------------------


def fact(
    kind: str,
    native: str,
    key: str,
    started_us: int | None,
    data: Mapping[str, Any],
    *,
    ended_us: int | None = None,
    status: str = "ok",
) -> Fact:
    """Something that happened at one moment, unless `ended_us` or the status `running` says otherwise."""
    return {
        "kind": kind,
        "native": native,
        "key": key,
        "started_us": started_us,
        "ended_us": ended_us if status == "running" or ended_us is not None else started_us,
        "status": status,
        "data": {name: value for name, value in data.items() if value is not None},
    }


def prompt(native: str, key: str, at_us: int | None, text: str, **data: Any) -> Fact:
    """What the agent was told; `data`: more fields of the event."""
    return fact("prompt", native, key, at_us, {"text": text, "native": native, **data})


def said(native: str, key: str, at_us: int | None, text: str, **data: Any) -> Fact:
    """What the agent said."""
    return fact("assistant_message", native, key, at_us, {"text": text, "native": native, **data})


def tool_call(
    native: str,
    key: str,
    started_us: int | None,
    tool: str,
    does: str,
    given: object,
    *,
    status: str = "running",
    ended_us: int | None = None,
    **data: Any,
) -> Fact:
    """A tool that was called with `given`, JSON-like; `status` tells whether and how it has ended."""
    told = {"tool": tool, "does": does, "native": native, "input": as_json(given), **data}
    return fact("tool_call", native, key, started_us, told, ended_us=ended_us, status=status)


def session(native: str, key: str, at_us: int | None, phase: str, **data: Any) -> Fact:
    """The client, or a subagent of it, began or ended."""
    return fact("agent_session", native, key, at_us, {"phase": phase, "native": native, **data})


def unknown(native: str | None, event: str, payload: object, why: str, at_us: int | None = None) -> Fact:
    """What an adapter does not understand, kept as it came."""
    text = payload if isinstance(payload, str) else as_json(payload)
    data = {"native": native, "event": event, "payload": text, "why": why}
    key = hashlib.sha256(f"{at_us} {text}".encode("utf-8", "replace")).hexdigest()
    return fact("agent_payload", native or "", key, at_us, data, status="unknown")


# --- reading what may hold anything -----------------------------------------------------------------------


def text_of(value: object) -> str | None:
    """A text, or None for whatever else stands there."""
    return value if isinstance(value, str) else None


def number_of(value: object) -> int | None:
    """A whole number, or None; a number with a fraction is rounded."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # NaN
        return None
    return round(value) if abs(value) < 1 << 62 else None


def dict_of(value: object) -> dict[str, Any]:
    """An object, or an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: object) -> list[Any]:
    """A list, or an empty one."""
    return value if isinstance(value, list) else []


def as_json(value: object) -> str:
    """As JSON, in the order in which it came; what JSON does not know is told by its repr."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=repr)
    except RecursionError:  # so deep that it could just be read
        return '"nested too deep"'


def moment(value: object) -> int | None:
    """Microseconds since the Unix epoch of `2026-11-21T01:58:59.717Z` (RFC 3339); None for anything else."""
    from datetime import datetime  # only records need it

    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if when is None or when.tzinfo is None:
        return None
    micros = round(when.timestamp() * 1_000_000)
    return micros if micros >= 0 else None


def opened(path: Path) -> BinaryIO:
    """A client's own record, to be read. Raises OSError, for a pipe as well, which has no end."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return os.fdopen(fd, "rb")
    os.close(fd)
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


def lines_of(path: Path) -> Iterator[tuple[int, Any]]:
    """(number from 1, value) of each line of a JSONL file; a line that is no JSON, or torn, is None.

    Raises OSError where the file cannot be read.
    """
    with opened(path) as file:
        for number, line in enumerate(file, 1):
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, None
