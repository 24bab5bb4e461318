"""The envelope every event travels in, and the registry of kinds.

Lives here: `Event` (who, when, how it is known), `Body` (what), the frame: the plain dict that travels
through policy, spool and store. Not here: the kinds themselves (their own files).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, ClassVar, TypeVar

from devtrace.errors import InternalError, UsageError
from devtrace.ids import is_session_id, is_span_id

FRAME_VERSION = 1
MOMENT_END = 10**18  # microseconds since the Unix epoch

# {v, kind, session, id, parent, actor, started_us, ended_us, status, title, cwd, exit_code, source,
#  exit_source, trusted, data: {...}, blobs: {name: bytes}}
Frame = dict[str, Any]

_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # what surrogateescape does not know

STATUSES = ("running", "ok", "failed", "stopped", "interrupted", "unknown")

KINDS: dict[str, type[Body]] = {}
_B = TypeVar("_B", bound="type[Body]")


class Body:
    """What happened: a frozen dataclass with a `headline()`, registered by `@kind`."""

    kind: ClassVar[str]

    def headline(self) -> str:
        """One line for a list, unbounded and not yet made safe for a terminal."""
        raise InternalError(f"{type(self).__name__} has no headline", code="ERR_INTERNAL")


def kind(name: str) -> Callable[[_B], _B]:
    """Register a body class as the event kind `name`."""

    def register(cls: _B) -> _B:
        cls.kind = name
        KINDS[name] = cls
        return cls

    return register


def sensitive(*, default: Any = MISSING) -> Any:
    """A field of free text, which the policy redacts before anything is written."""
    return field(default=default, metadata={"sensitive": True})


def sensitive_fields(kind_name: str) -> frozenset[str]:
    """The names of a kind's free-text fields; empty for an unknown kind."""
    body = KINDS.get(kind_name)
    if body is None:
        return frozenset()
    return frozenset(item.name for item in fields(body) if item.metadata.get("sensitive"))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A span of a session. Times are microseconds since the Unix epoch, UTC."""

    session: str  # 32 hex digits
    id: str  # 16 hex digits, unique in its session
    parent: str | None = None  # None: directly under its session
    actor: str  # "human" or "agent:<name>"
    started_us: int
    ended_us: int | None = None  # None: still running, or the end was never seen
    status: str  # one of STATUSES
    source: str  # interactive, bash_env, zshenv, fifo, host, cli, recorder: which channel told us
    exit_source: str | None = (
        None  # shell, next_prompt, waitpid, pidfd, recorder, unknown; None: not a thing that exits
    )
    trusted: int  # 2 nonce, 1 process tree, 0 neither
    body: Body
    blobs: Mapping[str, bytes] = field(default_factory=dict)  # stored by digest, named in data

    def to_frame(self) -> Frame:
        """The plain dict that policy, spool and store work on; text may still hold surrogates."""
        data = asdict(self.body)  # type: ignore[call-overload]
        return {
            "v": FRAME_VERSION,
            "kind": self.body.kind,
            "session": self.session,
            "id": self.id,
            "parent": self.parent,
            "actor": self.actor,
            "started_us": self.started_us,
            "ended_us": self.ended_us,
            "status": self.status,
            "title": self.body.headline(),
            "cwd": data.get("cwd"),
            "exit_code": data.get("exit_code"),
            "source": self.source,
            "exit_source": self.exit_source,
            "trusted": self.trusted,
            "data": data,
            "blobs": dict(self.blobs),
        }


def body_from_data(kind_name: str, data: Mapping[str, Any]) -> Body:
    """Rebuild a typed body from stored data; fields that this version does not know are left out.

    Raises UsageError ERR_EVENT_KIND for a kind that this version does not know.
    """
    cls = KINDS.get(kind_name)
    if cls is None:
        raise UsageError(f"unknown event kind {kind_name!r}", code="ERR_EVENT_KIND", hint="update devtrace")
    known = {item.name for item in fields(cls)}  # type: ignore[arg-type]
    return cls(**{name: value for name, value in data.items() if name in known})


def check_frame(frame: Frame) -> Frame:
    """Return the frame when its envelope is whole: ids, times, status, a data object.

    Raises UsageError ERR_FRAME with the first field that is wrong. An unknown kind passes: a newer guest
    may know more than we do, and its record is kept.
    """
    for name, fits in _ENVELOPE.items():
        if not fits(frame.get(name)):
            raise UsageError(f"the frame's {name} does not fit", code="ERR_FRAME", context={"field": name})
    return frame


def text_and_bytes(name: str, value: str) -> dict[str, str]:
    """A text that may hold lone surrogates, as SQLite can take it.

    Returns `{name: text}`, and `{name: text with U+FFFD, name_b64: base64 of the true bytes}` when the
    bytes were not UTF-8. A surrogate that stands for no byte becomes U+FFFD in both.
    """
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raw = _NO_BYTE.sub("\ufffd", value).encode("utf-8", "surrogateescape")
        return {name: raw.decode("utf-8", "replace"), f"{name}_b64": base64.b64encode(raw).decode()}
    return {name: value}


def is_int(value: object) -> bool:
    """Whether it is a number that SQLite can hold; JSON's true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63


def is_moment(value: object) -> bool:
    """Whether it is a time that can be shown: all that the hook protocol can say, to the year 33658."""
    return is_int(value) and 0 <= value < MOMENT_END  # type: ignore[operator]


def _is_text_or_none(value: object) -> bool:
    return value is None or isinstance(value, str)


_ENVELOPE: dict[str, Callable[[Any], bool]] = {
    "kind": lambda value: isinstance(value, str) and bool(value),
    "session": lambda value: isinstance(value, str) and is_session_id(value),
    "id": lambda value: isinstance(value, str) and is_span_id(value),
    "parent": lambda value: value is None or (isinstance(value, str) and is_span_id(value)),
    "actor": lambda value: isinstance(value, str) and bool(value),
    "started_us": is_int,
    "ended_us": lambda value: value is None or is_int(value),
    "status": lambda value: value in STATUSES,
    "title": lambda value: isinstance(value, str),
    "cwd": _is_text_or_none,
    "exit_code": lambda value: value is None or is_int(value),
    "source": lambda value: isinstance(value, str),
    "exit_source": _is_text_or_none,
    "trusted": lambda value: is_int(value) and 0 <= value <= 2,
    "data": lambda value: isinstance(value, dict),
}
