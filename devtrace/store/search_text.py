"""What of an event is searched: its texts, by where they stand.

Lives here: `texts_of`, and output as plain text. Not here: the tables of the texts (search_index.py), asking
them (query/search.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

LONGEST = 16 << 10  # characters of an event's texts together
TAIL = 4 << 10  # of them, of an output
_READ = 8 * TAIL  # bytes of an output that are looked at: escape sequences take their part
_CUT = "\n[...]\n"  # between the head and the tail of a text that is longer
_DEEPEST = 20  # levels of JSON

# ECMA-48: strings (OSC, DCS, ...), CSI, and the short sequences.
_SEQUENCE = re.compile(
    "(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x9c|\x1b\\\\)?"
    "|(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]?"
    "|\x1b[ -/]*[0-~]?"
)
_OVERWRITTEN = re.compile("^[^\n]*\r(?!\n|$)", re.MULTILINE)  # a line of which only the last state stands
# Control characters but for line ends and tabs; lone surrogates, which JSON may hold and SQLite refuses.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
# They say what the record itself does, or are a part of what another event tells.
_SILENT = frozenset({"io", "policy", "agent_session", "agent_payload", "probe_status", "mcp_frames"})


class Texts(NamedTuple):
    """The texts of an event by where they stand; None: there is none."""

    title: str | None = None  # the command, the tool and its command, the headline
    paths: str | None = None  # of files, one a line
    said: str | None = None  # a prompt, a message, a note
    input: str | None = None  # what a tool was given
    output: str | None = None  # the end of what a command printed, or a tool answered, that failed


def texts_of(event: Mapping[str, Any], output: Callable[[], bytes | None] = lambda: None) -> Texts:
    """The texts of an event: `kind`, `title`, `status` and `data` are asked.

    `output()` reads what a command printed, where it is kept; it is called for one that failed. Whatever
    `data` holds, this does not fail.
    """
    kind, data = event["kind"], event["data"]
    if kind in _SILENT or not isinstance(data, dict):
        return Texts()
    told = _TEXTS.get(kind, _titled)(event, data)
    if kind == "run_command" and event["status"] == "failed":
        told["output"] = _printed(output() or b"")
    return _capped({name: clean(text) for name, text in told.items()})


def clean(text: str) -> str:
    """A text without control characters, but for line ends and tabs."""
    return _UNFIT.sub(" ", text.replace("\r\n", "\n")).strip()


def plain(text: str) -> str:
    """What a terminal was sent, without escape sequences; of a line written over itself the last state."""
    return clean(_OVERWRITTEN.sub("", _SEQUENCE.sub("", text)))


# --- by kind --------------------------------------------------------------------------------------------


def _titled(event: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, str]:
    del data
    return {"title": _text(event["title"])}


def _command(event: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, str]:
    del event
    return {"title": _text(data.get("command"))}


def _said(event: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, str]:
    del event
    return {"said": _text(data.get("text"))}


def _tool_call(event: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, str]:
    command, paths = _text(data.get("command")), _texts(data.get("paths"))
    given = [text for text in _leaves(_text(data.get("input"))) if text not in (command, *paths)]
    return {
        "title": f"{_text(data.get('tool'))}: {command}" if command else _text(data.get("tool")),
        "paths": "\n".join(paths),
        "input": "\n".join(given),
        "output": _failure(event, _text(data.get("result"))),
    }


def _mcp_call(event: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, str]:
    return {
        "title": f"{_text(data.get('server'))}/{_text(data.get('tool'))}",
        "input": "\n".join(_leaves(_text(data.get("arguments")))),
        "output": _failure(event, _text(data.get("error")) or _text(data.get("result"))),
    }


def _mcp_server(event: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, str]:
    started = _text(data.get("command")) or _text(data.get("url"))
    return {"title": _text(event["title"]), "input": started}


def _edit_files(event: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, str]:
    del event
    changes = data.get("changes")
    names = [
        _text(change.get(name))
        for change in (changes if isinstance(changes, list) else [])
        if isinstance(change, dict)
        for name in ("path", "old_path")
    ]
    return {"paths": "\n".join(dict.fromkeys(filter(None, names)))}


def _git_commit(event: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, str]:
    return {"title": _text(event["title"]), "input": _text(data.get("branch"))}


def _python_trace(event: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, str]:
    return {"title": " ".join(_texts(data.get("argv"))) or _text(event["title"])}


_TEXTS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, str]]] = {
    "run_command": _command,
    "prompt": _said,
    "assistant_message": _said,
    "note": _said,
    "tool_call": _tool_call,
    "mcp_call": _mcp_call,
    "mcp_server": _mcp_server,
    "edit_files": _edit_files,
    "git_commit": _git_commit,
    "python_trace": _python_trace,
}


# --- parts ----------------------------------------------------------------------------------------------


def _printed(data: bytes) -> str:
    text = data[-_READ:].decode("utf-8", "replace")
    if len(data) > _READ:  # it may begin within a sequence
        text = text[text.find("\n") + 1 :]
    return plain(text)[-TAIL:]


def _failure(event: Mapping[str, Any], told: str) -> str:
    return plain(told)[-TAIL:] if event["status"] == "failed" else ""


def _leaves(told: str) -> list[str]:
    """The texts and numbers in some JSON, without its keys; what is no JSON, as it is."""
    try:
        return list(_values(json.loads(told)))
    except (ValueError, RecursionError):
        return [told] if told else []


def _values(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, dict | list) and depth < _DEEPEST:
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _values(inner, depth + 1)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield str(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _capped(told: dict[str, str]) -> Texts:
    """All of them within `LONGEST`: the shorter ones lose nothing to the longer ones."""
    room, kept = LONGEST, {}
    for at, (name, text) in enumerate(sorted(told.items(), key=lambda one: len(one[1]))):
        share = room // (len(told) - at)
        kept[name] = _cut(text, share)
        room -= len(kept[name])
    return Texts(**{name: text or None for name, text in kept.items()})


def _cut(text: str, room: int) -> str:
    if len(text) <= room:
        return text
    half = (room - len(_CUT)) // 2
    return text[:half] + _CUT + text[len(text) - half :]
