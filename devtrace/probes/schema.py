"""What an event of a probe may hold: the table that its schema, its paper and its receiver are written from.

Lives here: `EVENTS`, `ENVELOPE`. Not here: making the events (wire.py), which needs none of this: the program
that is asked never loads it.
"""

from __future__ import annotations

from devtrace.probes.wire import (
    CONDITION_ERROR,
    LOGPOINT,
    RATE_LIMIT_ERROR,
    SNAPSHOT,
    SNAPSHOT_ERROR,
    STARTED,
    STATUSES,
    STOPPED,
)


class Member:
    """One member of a payload: its path (`snapshot.locals`, `stack[].file`), its JSON type, its meaning.

    `type`: names of JSON Schema with "|" between them; "any" is all of them. `is_required`: an event without
    it is refused by a sink. `is_ours`: it is none of the documented ones, and clients may not wait for it.
    `may_lack`: it is left out where it tells nothing.
    """

    __slots__ = ("is_ours", "is_required", "may_lack", "meaning", "path", "type")

    def __init__(
        self,
        path: str,
        type_: str,
        meaning: str,
        *,
        required: bool = False,
        ours: bool = False,
        may_lack: bool = False,
    ):
        self.path = path
        self.type = type_
        self.meaning = meaning
        self.is_required = required
        self.is_ours = ours
        self.may_lack = may_lack


def _ours(path: str, type_: str, meaning: str, *, may_lack: bool = True) -> Member:
    return Member(path, type_, meaning, ours=True, may_lack=may_lack)


_PROBE = (
    Member("probeId", "string", "The probe's id.", required=True),
    Member("probeType", "string", "tracepoint or logpoint."),
    Member("file", "string", "The file, as the probe names it.", required=True),
    Member("line", "integer", "The line; 0: not known.", required=True),
)
_IN_PROCESS = (
    _ours("requestedLine", "integer", "The line that was asked for, where that has no code."),
    _ours("pid", "integer", "The process.", may_lack=False),
)
_THREAD = _ours("thread", "string", "The thread's name.")
_CODE = (
    Member("method", "string", "The function that was running."),
    Member("className", "string", "Its class.", may_lack=True),
)
_CONDITION = (
    Member("condition", "string|null", "The condition as it was written."),
    Member("conditionEvaluated", "boolean", "Whether it could be evaluated, or there is none."),
)
_COUNTS = (
    Member("hitCount", "integer", "Hits of the probe that this process has told, this one with them."),
    Member("totalHits", "integer", "Those too that a limit held back."),
    Member("rateLimit", "object", "What the probe's limit does."),
    Member("rateLimit.allowedThisSecond", "integer", "How many hits it would let pass now."),
    Member("rateLimit.dropped", "integer", "How many it has held back."),
    _ours("at", "string", "line, entry, return, raise, or unwind: an exception leaves the function."),
    _ours("durationNs", "integer", "From the function's entry to its exit."),
    *_IN_PROCESS,
    _THREAD,
)
_ERROR = (
    Member("error", "string", "What happened: `NameError: name 'x' is not defined`.", required=True),
    Member("errorType", "string", "The exception's class."),
)
_FEATURES = (
    Member("features", "object", "What the agent can do."),
    *(
        Member(f"features.{name}", "boolean", meaning)
        for name, meaning in (
            ("tracepoints", "It makes snapshots."),
            ("logpoints", "It writes messages."),
            ("conditions", "It asks conditions."),
            ("rateLimit", "It keeps limits."),
            ("freeThreaded", "The interpreter runs without a global lock."),
        )
    ),
)

# name -> when it is told, and its payload
EVENTS: dict[str, tuple[str, tuple[Member, ...]]] = {
    SNAPSHOT: ("A tracepoint was hit.", (
        *_PROBE, *_CODE, *_CONDITION,
        Member("snapshot", "object", "The values, as they were before the line ran."),
        Member("snapshot.locals", "object", "The function's variables."),
        Member("snapshot.arguments", "object", "What it was called with."),
        Member("snapshot.returnValue", "any", "What it returns; null elsewhere than at its exit."),
        Member("snapshot.exception", "object|null", "What was raised."),
        Member("snapshot.exception.type", "string", "Its class."),
        Member("snapshot.exception.message", "string", "Its message."),
        Member("snapshot.exception.stack", "string", "Where, a line a level, the innermost last."),
        Member("stack", "array", "The frames, the innermost first."),
        Member("stack[].file", "string", "The frame's file, as Python has it."),
        Member("stack[].line", "integer", "The line it is at."),
        Member("stack[].method", "string", "Its function."),
        Member("stack[].className", "string", "The function's class.", may_lack=True),
        *_COUNTS,
        _ours("watch", "object", "The values of the expressions to watch, by their text."),
    )),
    LOGPOINT: ("A logpoint was hit.", (
        *_PROBE, *_CODE, *_CONDITION,
        Member("conditionResult", "boolean", "What the condition said."),
        Member("message", "string", "The message, its fields filled in.", required=True),
        Member("messageTemplate", "string", "The message as it was written."),
        *_COUNTS,
        _ours("level", "string", "The level that the message was given."),
        _ours("errors", "array", "The fields of the message that failed."),
        _ours("errors[].expression", "string", "The field."),
        _ours("errors[].error", "string", "Why."),
    )),
    CONDITION_ERROR: ("A condition could not be evaluated: once a minute, however often.", (
        *_PROBE,
        Member("condition", "string", "What failed, as it was written.", required=True),
        *_ERROR,
        Member("errorStack", "string", "The same, where there is no more to tell."),
        _ours("code", "string", "CPU_BUDGET: the probe cost too much, and was disabled."),
        _ours("suppressedCount", "integer", "How often it failed so since it was last told."),
        *_IN_PROCESS, _THREAD,
    )),
    SNAPSHOT_ERROR: ("A snapshot could not be made.", (
        *_PROBE, *_ERROR,
        Member("failedVariable", "string|null", "The variable at which it failed, where it was one."),
        Member("attemptedValue", "string|null", "The type of its value."),
        _ours("suppressedCount", "integer", "How often it failed so since it was last told."),
        *_IN_PROCESS, _THREAD,
    )),
    RATE_LIMIT_ERROR: ("Hits were held back: told once a second at most, for all of them.", (
        *_PROBE,
        Member("limit", "object", "The limit."),
        Member("limit.limitPerSecond", "number", "Hits a second."),
        Member("limit.burst", "integer", "Hits at once."),
        Member("droppedCount", "integer", "How many were held back since it was last told."),
        Member("message", "string", "The same in words."),
        _ours("scope", "string", "probe, or process: the limit that all probes share.", may_lack=False),
        *_IN_PROCESS,
    )),
    STARTED: ("A program can be asked.", (
        Member("message", "string", "The same in words.", required=True),
        Member("engine", "string", "monitoring or pytrace."),
        *_FEATURES,
        _ours("because", "string", "Why that engine."),
        _ours("pid", "integer", "The process.", may_lack=False),
    )),
    STOPPED: ("A program can no longer be asked.", (
        Member("message", "string", "The same in words.", required=True),
        Member("uptime", "integer", "Milliseconds since it could."),
        Member("totalProbes", "integer", "Probes that it had."),
        Member("totalEvents", "integer", "Events that it told."),
        _ours("pid", "integer", "The process.", may_lack=False),
    )),
}  # fmt: skip
_STATUS_MEANINGS = {
    "set": "A probe was set.",
    "changed": "A probe was changed.",
    "enabled": "A probe was enabled.",
    "disabled": "A probe was disabled.",
    "removed": "A probe was removed.",
    "pending": "A process has no place for the probe yet.",
    "installed": "The probe sits in a process.",
    "error": "A process can give the probe no place, or took it out since it cost too much.",
    "expired": "The probe's time or its hits are used up.",
}
_STATUS_MEMBERS = (
    _ours("probeId", "string", "The probe's id.", may_lack=False),
    _ours("probeType", "string", "tracepoint or logpoint.", may_lack=False),
    _ours("file", "string|null", "The file; null while only a module is named.", may_lack=False),
    _ours("line", "integer|null", "The line; null while only a function is named.", may_lack=False),
    _ours("requestedLine", "integer", "The line that was asked for, where that has no code."),
    _ours("location", "string", "Where it was asked for, as people write it.", may_lack=False),
    _ours("status", "string", "pending, installed, error, expired or removed.", may_lack=False),
    Member("message", "string", "Why, in words.", required=True, ours=True),
    _ours("by", "object|null", "Who did it; null: nobody did.", may_lack=False),
    _ours("by.pid", "integer", "The process."),
)
EVENTS |= {f"probe.status.{status}": (_STATUS_MEANINGS[status], _STATUS_MEMBERS) for status in STATUSES}
ENVELOPE = (
    Member("name", "string", "Which event it is.", required=True),
    Member("timestamp", "string", "When it happened: ISO 8601, UTC, with milliseconds.", required=True),
    Member("id", "string", "A UUID.", required=True),
    Member("client", "object", "The process that tells it.", required=True),
    Member("client.hostname", "string", "The machine."),
    Member("client.applicationName", "string", "The program."),
    Member("client.applicationInstanceId", "string", "Which of several.", may_lack=True),
    Member("client.agentVersion", "string", "DevTrace's version."),
    Member("client.runtime", "string", "python."),
    Member("client.runtimeVersion", "string", "Python's version."),
    Member("payload", "object", "What the event's name promises.", required=True),
)  # fmt: skip
