"""probe_hit, probe_error, probe_status: what a probe told, what went wrong with it, what became of it.

`name`, `uuid`, `client` and `payload` are those of the documented event (docs/event-schema.json), and
together they make it again. A frame comes from somebody else's process: nothing in its payload need have a
type, and no headline fails for it.

Lives here: the shapes and their one-line summaries. Not here: making a payload (probes/wire.py), showing one
in full (views/probe.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from devtrace.events.envelope import Body, kind, sensitive

SNAPSHOT, LOGPOINT = "probe.hit.snapshot", "probe.hit.logpoint"
_HAPPENED = {"entry": "entered, ", "unwind": "left by an exception, "}
_WIDE = 72  # characters of variables in a headline
_LONGEST = 24  # of one value
_UNTOLD = "?"  # in the place of what is not told, or is something else than it should be


@kind("probe_hit")
@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeHit(Body):
    """A probe was reached: a snapshot of the variables there, or the message of a logpoint."""

    name: str  # probe.hit.snapshot or probe.hit.logpoint
    uuid: str = ""  # the id of the documented event
    # of the documented event, whole
    payload: dict[str, Any] = sensitive()  # noqa: RUF009 - a field, not a shared value
    # of the documented event: which program told it, on which machine
    client: dict[str, Any] | None = sensitive(default=None)  # noqa: RUF009 - as above
    pid: int | None = None  # None: not told
    thread: str = sensitive(default="")
    cwd: str | None = sensitive(default=None)

    def headline(self) -> str:
        """`handlers.py:42 load: user 7`; of a snapshot `handlers.py:42 load: limit=2 items=[3] user=User`."""
        told = _object(self.payload)
        where = f"{_place(told)} {_text(told.get('method')) or _UNTOLD}"
        if self.name == LOGPOINT:
            return f"{where}: {_text(told.get('message'))}"
        snapshot = _object(told.get("snapshot"))
        raised = _object(snapshot.get("exception"))
        if _text(raised.get("type")):
            return f"{where}: raised {_joined(raised.get('type'), raised.get('message'))}"
        if told.get("at") == "return":
            return f"{where}: returned {_short(snapshot.get('returnValue'))}"
        happened = _HAPPENED.get(_text(told.get("at")), "")
        return f"{where}: {happened}{_values(_object(snapshot.get('locals')))}"


@kind("probe_error")
@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeError(Body):
    """A hit could not be told: its condition failed, its values could not be read, or there were too many."""

    name: str  # probe.error.condition, probe.error.snapshot or probe.error.rateLimit
    uuid: str = ""  # the id of the documented event
    # of the documented event, whole
    payload: dict[str, Any] = sensitive()  # noqa: RUF009 - a field, not a shared value
    # of the documented event: which program told it, on which machine
    client: dict[str, Any] | None = sensitive(default=None)  # noqa: RUF009 - as above
    pid: int | None = None  # None: not told
    thread: str = sensitive(default="")
    cwd: str | None = sensitive(default=None)

    def headline(self) -> str:
        """`handlers.py:42 NameError in the condition: ...`, `handlers.py:42 rate limit: 3 hits left out`."""
        told = _object(self.payload)
        where, what = _place(told), self.name.rpartition(".")[2]
        if what == "rateLimit":
            dropped = told.get("droppedCount")
            hits = _count(dropped, "hit") if _is_number(dropped) else "hits"
            return f"{where} rate limit: {hits} left out"
        kind, failed = _text(told.get("errorType")), _text(told.get("failedVariable"))
        head = f"{where} {kind or 'an error'} in the {what}{f' of {failed}' if failed else ''}"
        return _joined(head, _text(told.get("error")).removeprefix(f"{kind}: "))


@kind("probe_status")
@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeStatus(Body):
    """What became of a probe: set, installed, removed, expired; or an agent began or ended."""

    name: str  # agent.status.*, as documented, or probe.status.*
    uuid: str = ""  # the id of the documented event
    # of the documented event, whole
    payload: dict[str, Any] = sensitive()  # noqa: RUF009 - a field, not a shared value
    # of the documented event: which program told it, on which machine
    client: dict[str, Any] | None = sensitive(default=None)  # noqa: RUF009 - as above
    pid: int | None = None  # None: not told
    thread: str = sensitive(default="")
    cwd: str | None = sensitive(default=None)

    def headline(self) -> str:
        """`installed at handlers.py:42`, `agent started in python 3.12.1, monitoring`."""
        told, what = _object(self.payload), self.name.rpartition(".")[2]
        if self.name.startswith("agent."):
            python = _text(_object(self.client).get("runtimeVersion"))
            where = f"agent {what}" + (f" in python {python}" if python else "")
            engine = _text(told.get("engine"))
            return f"{where}, {engine}" if engine else where
        return _joined(f"{what} at {_place(told)}", told.get("message"))


def _place(told: Mapping[str, Any]) -> str:
    """`handlers.py:42`; of a probe that has found no file yet, the place as it was asked for."""
    file, line = _text(told.get("file")), told.get("line")
    if not file:
        return _text(told.get("location")).rpartition("/")[2] or _UNTOLD
    name = file.replace("\\", "/").rpartition("/")[2]
    return f"{name}:{line}" if _is_number(line) else name


def _values(names: Mapping[str, Any]) -> str:
    """`limit=2 items=[3] user=User`, and how many more."""
    told, width = [], 0
    for name, value in names.items():
        one = f"{name}={_short(value)}"
        if name.startswith("__tpd_") or width + len(one) > _WIDE:
            break
        told.append(one)
        width += len(one) + 1
    left = sum(not name.startswith("__tpd_") for name in names) - len(told)
    if left > 0:
        told.append(f"and {left} more" if told else _count(left, "local"))
    return " ".join(told) or "no locals"


def _short(value: object) -> str:
    """A single value as it is; of a container its size, of anything else its type."""
    if isinstance(value, list):
        return f"[{len(value)}]"
    if isinstance(value, dict):
        kind = _text(value.get("__tpd_type__"))
        single = _text(value.get("__repr__")) if kind == "float" else ""
        return single[:_LONGEST] or kind.rpartition(".")[2] or f"{{{len(value)}}}"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _joined(head: object, tail: object) -> str:
    return ": ".join(filter(None, (_text(head), _text(tail))))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
