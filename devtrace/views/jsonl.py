"""JSON lines: one object a line, ASCII only, with documented fields.

ASCII only means that whatever a recorded text holds, control characters and bidi marks included, is an
escape in the line: it is safe to print, and any JSON reader gives the text back.

Lives here: the line of each kind of record, and what its fields mean (`FIELDS`, from which
docs/reference/json.md is generated). Not here: which records there are (query/).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_EVENT = {
    "record": "`event`",
    "seq": "the order of the record in its store; null while the command runs",
    "session": "the session's id: 32 hex digits, a W3C trace id",
    "id": "16 hex digits, a W3C span id, unique in its session",
    "parent": "the event it happened in; null: directly in the session",
    "kind": "see [the events](events.md)",
    "actor": "`human`, or `agent:<name>`",
    "started_us": "microseconds since the Unix epoch, UTC",
    "ended_us": "the same; null: it runs, or its end was never seen",
    "recorded_us": "when it was written to the store",
    "status": "`running`, `ok`, `failed`, `stopped` (set aside, as by Ctrl-Z; it may have gone on later),"
    " `interrupted` (no end was seen), `unknown` (nobody said how)",
    "title": "one line or more: the headline",
    "cwd": "the directory it happened in",
    "exit_code": "as the shell says it: 128+n for signal n; null: not known, or not a thing that exits",
    "source": "which channel told us: `interactive`, `bash_env`, `zshenv`, `fifo`, `host`, `cli`",
    "exit_source": "who told us the end: `shell`, `next_prompt`, `waitpid`, `pidfd`, `unknown`",
    "trusted": "2: carried the session's nonce; 1: from the session's process tree; 0: neither",
    "data": "an object of the kind's own fields; `<field>_b64` holds the true bytes of a text that was not"
    " UTF-8; `blobs` names kept bytes by their digests",
    "hash": "SHA-256 over the previous hash of the session and this event",
}  # fmt: skip
_SESSION = {
    "record": "`session`",
    "id": "32 hex digits, a W3C trace id",
    "kind": "`shell`, `run`, or `import`",
    "parent_session": "the session in which it was started",
    "parent_event": "the command that started it",
    "agent": "the name given by `--agent`",
    "actor": "`human`, or `agent:<name>`",
    "title": "the label given by `--label`",
    "repo_root": "the repository's root",
    "cwd": "the directory it started in",
    "shell": "bash, zsh or fish, or the program's name",
    "host": "the machine",
    "branch": "the branch that was checked out at the start",
    "head_start": "the commit at the start",
    "head_end": "the commit at the end",
    "started_us": "microseconds since the Unix epoch, UTC",
    "ended_us": "the same; null: it runs, or was interrupted",
    "status": "`active`, `ended`, or `interrupted`",
    "exit_code": "of the shell or program",
    "n_events": "how many events are recorded",
    "n_failed": "how many of them failed",
    "meta": "an object: the terminal's size and type, the techniques that were chosen and why",
}
_OUTPUT = {
    "record": "`output`",
    "session": "the session's id",
    "event": "the command's id",
    "text": "what was printed, without escape sequences, lines as they were left standing",
    "seen": "bytes the command wrote",
    "head": "bytes kept from the start",
    "tail": "bytes kept from the end; 0: nothing was cut",
    "truncated": "whether something between the two is not kept",
}
_TOTALS = {
    "record": "`totals`",
    "commands": "how many commands ran, nested ones included",
    "nested": "how many of them ran inside another command",
    "failed": "how many failed",
    "stopped": "how many were set aside, as by Ctrl-Z",
    "interrupted": "how many have no known end",
    "time_us": "microseconds they took, without the nested ones, which lie inside others",
    "sessions": "in how many sessions",
    "stores": "with `--global`: the stores that were read",
    "missing": "with `--global`: the registered stores that could not be read",
}
_COMMAND = {
    "record": "`command`",
    "command": "the program, with its verb where it has verbs: `git push`; `(private)` for all private ones",
    "commands": "how many times it ran",
    "failed": "how many of them failed",
    "time_us": "microseconds they took",
}
_AGENT = {"record": "`agent`", "agent": "the name given by `--agent`"} | {
    name: meaning for name, meaning in _TOTALS.items() if name not in ("record", "stores", "missing")
}
_SETTING = {
    "record": "`setting`",
    "key": "its name",
    "value": "what is in force",
    "default": "what it would be",
    "set": "whether config.toml names it",
    "meaning": "what it does",
}
_FINDING = {
    "record": "`finding`",
    "section": "`platform`, `shells`, `store`, `sessions`, `settings` or `environment`",
    "what": "what was looked at",
    "chosen": "what was found, or what is done",
    "because": "why; empty where there is nothing to explain",
    "state": "`ok`, `note` (a fallback, or something absent), or `problem`",
}

# Each record: which commands write it, and its fields in their order.
FIELDS: dict[str, tuple[str, dict[str, str]]] = {
    "event": ("`show`, `log` and `export --format jsonl`", _EVENT),
    "session": ("`sessions`, and the first line of `show` of a session", _SESSION),
    "output": ("`show --output`", _OUTPUT),
    "totals": ("the first line of `stats`", _TOTALS),
    "command": ("`stats`, the most frequent first", _COMMAND),
    "agent": ("`stats`, after the programs", _AGENT),
    "setting": ("`config list` and `config get`", _SETTING),
    "finding": ("`doctor`", _FINDING),
}


def line(record: str, fields: Mapping[str, Any]) -> str:
    """One object as one line, without its newline; `record` says what it is."""
    return json.dumps({"record": record, **fields}, separators=(",", ":"))
