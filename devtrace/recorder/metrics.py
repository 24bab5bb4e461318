"""What the recorder left out, gave up and caught: counters of this process, and whoever listens to them.

No lock: a signal handler or a destructor that counts in the midst of a count would wait for itself. Instead
each thread counts in a table of its own, which nobody else writes, so that threads take no counts from each
other, with a GIL or without one. A thread that gets the number of one that ended goes on with its table.
Tables carry the process in their key, so that the child of a fork begins with none.

Lives here: the counters, the documented reasons, the sink. Not here: storing them with the trace (api.py).
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable
from os import getpid
from typing import Any

# What was dropped, and why. The parts of a value's place are those of the filters' selectors.
SYNTHETIC_FILENAME = "synthetic_filename"
FILENAME_LOOKUP_FAILED = "filename_lookup_failed"
FILTER_SCOPE_SKIP = "filter_scope_skip"
FILTER_RESOLUTION_ERROR = "filter_resolution_error"
PLACES = ("arg", "local", "global", "return", "attr")
FILTER_VALUE_REDACTED = {place: f"filter_value_redacted.{place}" for place in PLACES}
FILTER_VALUE_DROPPED = {place: f"filter_value_dropped.{place}" for place in PLACES}
LOG_LINE_LOST = "log_line_lost"  # neither the log file nor stderr took it

# Why the recorder let go of the program.
POLICY_DISABLE = "policy_disable"

Sink = Callable[[str, dict[str, Any]], object]
# (what is counted, reason or label, code) -> how often
_Table = dict[tuple[str, str, str | None], int]

_DROPPED, _DETACH, _PANIC, _SINK = "dropped_event", "detach", "panic", "sink_error"

_tables: dict[tuple[int, int], _Table] = {}  # by process and thread
_sink: Sink | None = None
_telling: set[tuple[int, int]] = set()  # the threads that are in the sink


def record_dropped_event(reason: str, count: int = 1) -> None:
    """Something was not recorded, or its value was not, for this reason."""
    _count(_DROPPED, reason, None, count)
    if _sink is not None:
        _tell(_sink, _DROPPED, {"reason": reason, "count": count})


def record_detach(reason: str, code: str | None = None) -> None:
    """The recorder let go of the program, with the code of the error if there was one."""
    _count(_DETACH, reason, code, 1)
    if _sink is not None:
        _tell(_sink, _DETACH, {"reason": reason, "error_code": code})


def record_panic(label: str) -> None:
    """A failure of ours was caught before it reached the program; `label` says what was being done."""
    _count(_PANIC, label, None, 1)
    if _sink is not None:
        _tell(_sink, _PANIC, {"label": label})


def snapshot() -> dict[str, Any]:
    """What was counted in this process since the last `reset`, as plain JSON values:

    `{dropped_events: {reason: n}, detaches: {reason: {code or "none": n}}, panics: {label: n},
    sink_errors: n}`
    """
    dropped: dict[str, int] = {}
    detaches: dict[str, dict[str, int]] = {}
    panics: dict[str, int] = {}
    sink_errors = 0
    for (what, name, code), count in sorted(_totals().items(), key=lambda one: str(one[0])):
        if what == _DETACH:
            detaches.setdefault(name, {})[code or "none"] = count
        elif what == _SINK:
            sink_errors = count
        else:
            (dropped if what == _DROPPED else panics)[name] = count
    return {"dropped_events": dropped, "detaches": detaches, "panics": panics, "sink_errors": sink_errors}


def set_metrics_sink(sink: Sink | None) -> None:
    """From now on call `sink(name, value)` at each count; None: nobody.

    `("dropped_event", {reason, count})`, `("detach", {reason, error_code})`, `("panic", {label})`.

    It is called in the thread that counts, between two steps of the user's program, and must be quick. What
    it raises is counted and goes no further, except KeyboardInterrupt, which is meant for the program. What
    is counted in its thread while it runs is not told to it.

    Raises TypeError for what cannot be called.
    """
    global _sink  # one for the process, as the documented surface has it
    if sink is not None and not callable(sink):
        raise TypeError("a metrics sink must be callable, or None")
    _sink = sink


def reset() -> None:
    """Begin at zero, as each trace does. The sink stays."""
    _tables.clear()


def _count(what: str, name: str, code: str | None, count: int) -> None:
    key = (getpid(), get_ident())
    table = _tables.get(key)
    if table is None:
        table = _tables.setdefault(key, {})
    table[what, name, code] = table.get((what, name, code), 0) + count


def _totals() -> _Table:
    totals: _Table = {}
    here = getpid()
    for (pid, _), table in list(_tables.items()):
        for key, count in list(table.items()) if pid == here else ():
            totals[key] = totals.get(key, 0) + count
    return totals


def _tell(sink: Sink, name: str, value: dict[str, Any]) -> None:
    me = (getpid(), get_ident())
    if me in _telling:
        return
    _telling.add(me)
    try:
        sink(name, value)
    except KeyboardInterrupt:
        raise
    except BaseException:
        _count(_SINK, "", None, 1)
    finally:
        _telling.discard(me)
