"""What the JSON lines of `devtrace probe` mean, field by field.

Lives here: three tables of views/jsonl.py, which would be too long with them. Not here: the documented
events, which `probe tail` writes as they are (docs/event-schema.json).
"""

from __future__ import annotations

_PROCESSES = (
    "an array of the programs that were asked: `pid`, `python`, `argv`, `session` and `span` of the command"
    " that started it, `status` (`silent`: it did not answer), `code`, `message`"
)
PROBE_SET = {
    "record": "`probe_set`",
    "id": "the probe's id; null: it was refused before it was set",
    "status": "`installed` (in one program at least), `pending` (nowhere yet), `error`, `expired`, or"
    " `refused`: it is not set",
    "code": "of an error, such as `INVALID_LINE`; empty: none",
    "message": "the same in words",
    "details": "an object: what the error knows besides, such as the `nearest` lines with code",
    "expires_us": "when its time is over: microseconds since the Unix epoch, UTC; null: it is not set",
    "processes": _PROCESSES,
    "unreachable": "an array of other Pythons of this store: `pid`, `python`, `argv`, `reason`",
    "hits": "an array of the documented events of its hits, as they came while `--wait` waited",
    "errors": "an array of the documented events of what failed meanwhile",
}
PROBE = {
    "record": "`probe`",
    "id": "its id",
    "type": "`tracepoint` or `logpoint`",
    "file": "the file; null: `location` says where",
    "line": "the line; null: the same",
    "condition": "hits count only where this is true; null: always",
    "hitCondition": "which of those hits are told; null: all",
    "watch": "an array of expressions whose values are kept too",
    "tags": "an array of what it can be found by",
    "enabled": "whether it is on",
    "rateLimit": "an object: `limitPerSecond`, `burst`",
    "maxHits": "after so many hits in a program it has expired; null: no number",
    "created": "ISO 8601, UTC",
    "expiresAt": "the same",
    "location": "the place as module and function or line; null: file and line say it",
    "logMessage": "the message of a logpoint; null: it makes snapshots",
    "status": "`installed` (in one program at least), `pending`, `error`, `expired`, `refused`",
    "code": "of an error; empty: none",
    "statusMessage": "why",
    "hits": "how many hits the store has of it",
    "installed": "in how many programs it sits",
    "processes": _PROCESSES,
}
PROGRAM = {
    "record": "`program`",
    "pid": "its process",
    "python": "its version; empty: that cannot be told",
    "engine": "`monitoring` or `pytrace`; empty: no probe was set in it yet",
    "because": "why that engine",
    "points": "how many probes it has",
    "argv": "an array: its command line",
    "cwd": "its current directory",
    "session": "the traced shell in which it was started; empty: none",
    "span": "the command that started it; empty: none",
    "reachable": "whether it can be asked",
    "reason": "why it cannot; empty: it can",
}
