"""The tools by which a model asks: names, what they are for, what they take and what they give.

They stand in one order, and nothing about them changes while the server runs. All of them only read.

Lives here: `TOOLS`. Not here: their answers (answers.py and its like), the protocol (serve.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from devtrace.services.mcp_server.arguments import BYTES, PAGED, flag, text, texts, whole

Schema = dict[str, Any]

_ID = "A session or an event: its id, any unique start of it, or SESSION/EVENT."
_EVENT_ID = "An event: its id, any unique start of it, or SESSION/EVENT."
_TIMES = "10m, 2h, 3d, yesterday, 14:30, 2026-11-21, or 2026-11-21T14:30:00+01:00"
_FILTERS: Schema = {
    "agent": text("Only sessions of that agent: claude-code, codex, manual, ..."),
    "actor": text("Only what human, agent (any agent) or agent:NAME did."),
    "since": text(f"Only from then on: {_TIMES}."),
    "until": text("Only until then, in the same forms."),
    "failed": flag("Only what failed."),
    "path": text("Only what ran in that directory or below, seen from the repository's root.", 4_096),
}
_KINDS = texts(
    "Only events of these kinds: run_command, edit_files, tool_call, prompt, assistant_message, mcp_call,"
    " note, gap, git_commit, ..."
)
_FILE = text("A file, seen from the repository's root.", 4_096)
_LAST_LINE = 10_000_000


class Tool(NamedTuple):
    """One question. `answer`: the function of `module` that answers it."""

    name: str
    title: str
    description: str
    takes: Schema
    gives: Schema
    module: str
    answer: str


def _takes(fields: Schema, *required: str) -> Schema:
    schema: Schema = {"type": "object", "properties": fields, "additionalProperties": False}
    return schema | ({"required": list(required)} if required else {})


def _gives(fields: Schema, *required: str) -> Schema:
    """What an answer holds, or an error: both are told by the same schema, for clients check it."""
    return {
        "type": "object",
        "properties": {**fields, **_ALWAYS, **_ERROR},
        "anyOf": [{"required": list(required)}, {"required": ["code", "message"]}],
    }


_NUMBER: Schema = {"type": "integer"}
_TRUTH: Schema = {"type": "boolean"}
_ANY: Schema = {"type": "object"}
_ALWAYS: Schema = {
    "next_cursor": {"type": "string", "description": "For the next page; missing: there is none."},
    "cut": {"type": "boolean", "description": "Whether texts or lists lost their ends to fit."},
    "note": {"type": "string", "description": "What is to be said of the store, as that it is out of date."},
}
_ERROR: Schema = {
    "code": {"type": "string", "description": "Of an error: ERR_..."},
    "message": {"type": "string", "description": "Of an error: what happened."},
    "hint": {"type": "string", "description": "Of an error: what to do."},
}


def _text(description: str = "") -> Schema:
    return {"type": "string", **({"description": description} if description else {})}


def _list(item: Schema, description: str = "") -> Schema:
    return {"type": "array", "items": item, **({"description": description} if description else {})}


_SESSION: Schema = {
    "type": "object",
    "properties": {
        "id": _text(),
        "short": _text("A unique start of the id."),
        "kind": _text("shell, run, recorder (a Python program), mcp, ..."),
        "status": _text("active, ended or interrupted"),
        "agent": _text(),
        "actor": _text("human, or agent:NAME"),
        "title": _text("Recorded: its label."),
        "started": _text("UTC, ISO 8601"),
        "ended": _text("Missing: it runs, or was interrupted."),
        "duration_ms": _NUMBER,
        "events": _NUMBER,
        "failed": _NUMBER,
        "exit_code": _NUMBER,
        "branch": _text(),
        "head_start": _text("The commit at the start."),
        "head_end": _text("The commit at the end."),
        "shell": _text(),
        "cwd": _text("Seen from the repository's root, where it lies below."),
        "parent": _text("The session in which it was started."),
    },
    "required": ["id", "kind", "status", "started", "events", "failed"],
}
_EVENT: Schema = {
    "type": "object",
    "properties": {
        "id": _text(),
        "short": _text("A unique start of the id."),
        "session": _text(),
        "kind": _text(),
        "status": _text("running, ok, failed, stopped, interrupted or unknown"),
        "actor": _text("human, or agent:NAME"),
        "source": _text("Which channel told it; hook and transcript are an agent's own word."),
        "started": _text("UTC, ISO 8601"),
        "duration_ms": _NUMBER,
        "title": _text("Recorded: the headline."),
        "exit_code": _NUMBER,
        "cwd": _text("Seen from the repository's root, where it lies below."),
        "parent": _text("The event that it happened in."),
        "output_bytes": _NUMBER,
    },
    "required": ["id", "session", "kind", "status", "started", "title"],
}
_MATCH: Schema = {
    **_EVENT,
    "properties": {
        **_EVENT["properties"],
        "field": _text("Where it stands: title, paths, said, input or output."),
        "excerpt": _text("Recorded: the text around it."),
        "missing": _list(_text(), "Words that this event does not have."),
        "how": _text("words, some words or substring"),
    },
}
_LINE: Schema = {
    "type": "object",
    "properties": {
        "path": _text(),
        "line": _NUMBER,
        "text": _text("Recorded: the line itself."),
        "status": _text(
            "recorded, outside (any session), background, ambiguous, before (recording began), gap,"
            " unrecorded, withheld or pruned"
        ),
        "event": _text("The edit that brought it."),
        "session": _text(),
        "actor": _text("human, agent:NAME, unknown; empty: that is not known"),
        "agent": _text(),
        "when": _text("UTC, ISO 8601"),
        "command": _text("Recorded: the command or tool that did it."),
        "attribution": _text(),
        "confidence": _text("How sure that is: window, inside, claim or none."),
        "candidates": _list(_text()),
        "by_time_alone": _TRUTH,
        "call": _text("The agent's tool call, as SESSION/EVENT."),
        "tool": _text(),
        "prompt": _text("The prompt that the call belongs to, as SESSION/EVENT."),
        "reason": _text("Recorded: what the agent said before the call."),
    },
    "required": ["path", "line", "text", "status"],
}
_CHANGED: Schema = {
    "type": "object",
    "properties": {
        "path": _text(),
        "old_path": _text(),
        "change": _text("added, modified, deleted, renamed, mode or ignored"),
        "added": _NUMBER,
        "deleted": _NUMBER,
        "binary": _TRUTH,
        "withheld": _text("Why the content is not kept whole."),
        "remarks": _list(_text()),
        "edits": _NUMBER,
        "events": _list(_text(), "SESSION/EVENT of the newest edits that made it so."),
        "patch": _text("Recorded: as `git diff` writes it."),
        "is_part": {"type": "boolean", "description": "Whether the patch goes on, or began before."},
    },
    "required": ["path", "change"],
}
_FINDING: Schema = {
    "type": "object",
    "properties": {
        "kind": _text(
            "test_deleted, test_weakened, test_skipped, no_verify, secret, claim, failed, undone, ..."
        ),
        "text": _text("Recorded text may stand in it."),
        "path": _text(),
        "session": _text(),
        "event": _text(),
        "count": _NUMBER,
    },
    "required": ["kind", "text", "count"],
}
_CALL: Schema = {"type": "object", "properties": {"event": _text(), "tool": _text(), "reason": _text()}}
_PLACE: Schema = {"type": "object", "properties": {"path": _text()}}
_EVENTS = _list(_EVENT)

TOOLS: tuple[Tool, ...] = (
    Tool(
        "list_sessions",
        "Sessions",
        "List recorded sessions, the newest first: traced shells, runs, agents' work. Begin here to find out"
        " what happened in this repository and when.",
        _takes(
            {**_FILTERS, "kinds": texts("Only sessions of these kinds: shell, run, recorder, ..."), **PAGED}
        ),
        _gives({"sessions": _list(_SESSION)}, "sessions"),
        "answers",
        "list_sessions",
    ),
    Tool(
        "list_events",
        "Events",
        "List events of one session or of all, one line each: commands, edits of files, prompts, tool calls,"
        " notes. Pages stay stable while new events are recorded.",
        _takes(
            {
                "session": text("Only that session: its id, or any unique start of it."),
                "kinds": _KINDS,
                **_FILTERS,
                "order": {**text("Which come first."), "enum": ["newest", "oldest"], "default": "newest"},
                **PAGED,
            }
        ),
        _gives({"events": _EVENTS, "running": _list(_EVENT, "What runs now: on the first page.")}, "events"),
        "answers",
        "list_events",
    ),
    Tool(
        "get_event",
        "One event",
        "Tell all that is recorded of one event: a command, an edit, a prompt, a tool call with its input and"
        " result. With explain also the agent's tool call that it is of, its prompt and the stated reason,"
        " which takes longer.",
        _takes(
            {
                "id": text(_EVENT_ID),
                "explain": flag("With tool call, prompt and reason."),
                "max_bytes": BYTES,
            },
            "id",
        ),
        _gives(
            {
                "event": {**_EVENT, "properties": {**_EVENT["properties"], "data": _ANY}},
                "around": _list(_EVENT, "What it happened in, the outermost last."),
                "inside": _list(_EVENT, "What happened in it."),
                "has_more_inside": _TRUTH,
                "has_output": _TRUTH,
                "calls": _list(_ANY),
                "uri": _text("The same as a resource."),
            },
            "event",
        ),
        "answers_event",
        "get_event",
    ),
    Tool(
        "get_diff",
        "Changes",
        "Show what an event, with all that ran in it, or a whole session changed in the files, as patches.",
        _takes(
            {
                "id": text(_ID),
                "path": text("Only that file or directory, seen from the repository's root.", 4_096),
                "context": whole("Lines of context.", 0, 100, default=3),
                **PAGED,
            },
            "id",
        ),
        _gives(
            {
                "id": _text(),
                "session": _text(),
                "title": _text("Recorded: the event's headline."),
                "total_files": _NUMBER,
                "files": _list(_CHANGED),
                "unsure": _list(_text(), "Changes that may be of it too, as SESSION/EVENT."),
            },
            "files",
            "total_files",
        ),
        "answers_event",
        "get_diff",
    ),
    Tool(
        "get_output",
        "Output",
        "Read what a command printed, without escape sequences, or what a tool's call gave. Long output comes"
        " in parts: part=tail is its end, where errors usually are; offset goes on where a part ended.",
        _takes(
            {
                "id": text(_EVENT_ID),
                "part": {**text("Its start, or its end."), "enum": ["head", "tail"], "default": "head"},
                "offset": whole("From that character on: next_offset of the part before.", 0, 1 << 31),
                "max_bytes": BYTES,
            },
            "id",
        ),
        _gives(
            {
                "event": _text(),
                "session": _text(),
                "source": _text(),
                "text": _text("Recorded."),
                "offset": _NUMBER,
                "next_offset": _NUMBER,
                "total": {"type": "integer", "description": "Characters that are kept."},
                "seen_bytes": {"type": "integer", "description": "Bytes that it printed."},
                "is_whole": {"type": "boolean", "description": "Whether all that it printed is kept."},
            },
            "text",
            "total",
        ),
        "answers_event",
        "get_output",
    ),
    Tool(
        "search_commands",
        "Search",
        "Search commands, notes, prompts, stated reasons, tool calls, paths and failing output for words or a"
        " part of one; the best matches first.",
        _takes(
            {
                "query": text('Words; "a phrase"; or a part, as a path, a flag or `call(`.', 400),
                "session": text("Only that session: its id, or any unique start of it."),
                "kinds": _KINDS,
                **_FILTERS,
                **PAGED,
            },
            "query",
        ),
        _gives(
            {
                "matches": _list(_MATCH),
                "missing": _list(_text(), "Words that nothing has."),
                "not_searched": {"type": "integer", "description": "Events that are not indexed yet."},
                "is_cut": {"type": "boolean", "description": "Whether only the newest were looked at."},
            },
            "matches",
        ),
        "answers",
        "search_commands",
    ),
    Tool(
        "blame_line",
        "Who wrote a line",
        "Tell who wrote a line of a file, or some lines that follow each other: the edit, the command or tool"
        " call, the session, the actor; committed or not.",
        _takes(
            {
                "path": _FILE,
                "line": whole("The line, from 1.", 1, _LAST_LINE),
                "end_line": whole("The last line, where it is more than one: at most 50.", 1, _LAST_LINE),
                "at": text("A commit or an event: the file as it was then, not as it is now."),
                "max_bytes": BYTES,
            },
            "path",
            "line",
        ),
        _gives({"lines": _list(_LINE), "total_lines": _NUMBER}, "lines"),
        "answers_lines",
        "blame_line",
    ),
    Tool(
        "why",
        "Why a line is there",
        "Tell the whole story of one line: who wrote it, by which command or tool call, under which prompt"
        " and for which stated reason, in which session, with which commit, and what it replaced.",
        _takes({"path": _FILE, "line": whole("The line, from 1.", 1, _LAST_LINE), "max_bytes": BYTES},
               "path", "line"),
        _gives(
            {
                "line": _LINE,
                "edit": _EVENT,
                "calls": _list(_CALL),
                "commands": _EVENTS,
                "session": _SESSION,
                "suspects": _EVENTS,
                "commit": _EVENT,
                "replaced": _LINE,
            },
            "line",
        ),
        "answers_lines",
        "why",
    ),
    Tool(
        "audit",
        "Audit a change",
        "Tell how much of a range of commits, or of a session, is explained by the record, and what a"
        " reviewer should look at: deleted or weakened tests, hooks left out, secrets, failures that were"
        " left.",
        _takes(
            {
                "range": text("main..HEAD, HEAD~3.. or one commit; neither: what is not upstream yet.", 400),
                "session": text("A session instead: its id, or any unique start of it."),
                **PAGED,
            }
        ),
        _gives(
            {
                "percent": {"type": "number", "description": "Of the new lines; missing: there are none."},
                "total": _NUMBER,
                "explained": _NUMBER,
                "lines": _ANY,
                "deleted": _NUMBER,
                "range": _text(),
                "base": _text(),
                "head": _text(),
                "session": _text(),
                "files": _NUMBER,
                "unexplained": _list(_PLACE),
                "whole": _list(_PLACE, "Files that have no lines to compare."),
                "sessions": _list(_text()),
                "findings": _list(_FINDING),
                "total_findings": _NUMBER,
            },
            "total",
            "findings",
        ),
        "answers_lines",
        "audit",
    ),
)  # fmt: skip
BY_NAME = {tool.name: tool for tool in TOOLS}
SEARCHES = ("search_commands",)  # what wants the index of texts
READS_MUCH = ("get_event", "blame_line", "why", "audit")  # what agents told in a session, as a whole

_ONLY_READS = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}
LISTED: Schema = {
    "tools": [
        {
            "name": tool.name,
            "title": tool.title,
            "description": tool.description,
            "inputSchema": tool.takes,
            "outputSchema": tool.gives,
            "annotations": {"title": tool.title, **_ONLY_READS},
        }
        for tool in TOOLS
    ]
}
