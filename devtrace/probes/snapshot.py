"""What a program's values are at one moment, as plain data: within limits, and without its secrets.

No code of the program's types is run, and no reference to its values is kept.

Lives here: `SnapshotLimits`, `Encoder`, `apply_legacy`. Not here: one value (walk.py), its form (markers.py),
whose names hide it (hiding.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

from functools import lru_cache
from time import monotonic_ns
from typing import TYPE_CHECKING

from devtrace.probes.anatomy import class_of, names_of
from devtrace.probes.hiding import REDACTED, Hidden, hides_name
from devtrace.probes.leaves import MOST_EXACT
from devtrace.probes.markers import line
from devtrace.probes.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType, FrameType
    from typing import Any, TypeVar

    Told = TypeVar("Told")

__all__ = ["NOTHING", "REDACTED", "Encoder", "SnapshotLimits", "apply_legacy", "hides_name"]

MOST_DEPTH = 20  # each level is a few frames of the program's own stack
_LINE_DEPTH, _LINE_ITEMS = 2, 20  # of a value in a log message
_PLACE = ("file_name", "line_no", "method_name")
_PLAIN = frozenset(map(id, (str, int, float, bool, type(None))))

NOTHING: Any = object()  # in the place of a return value: the function has not returned


class SnapshotLimits:
    """How much one snapshot keeps of a program's values. None may be negative."""

    __slots__ = (
        "max_bytes",
        "max_depth",
        "max_frames",
        "max_ms",
        "max_nodes",
        "max_properties",
        "max_string",
    )

    def __init__(
        self,
        max_depth: int = 3,  # levels of containers and objects; at most 20
        max_properties: int = 100,  # items of a container, fields of an object, names of a scope
        max_string: int = 1024,  # characters of a text; bytes of bytes
        max_frames: int = 20,
        max_nodes: int = 1000,  # values in all
        max_bytes: int = 65_536,  # of JSON in all
        max_ms: float = 5,
    ):
        self.max_depth = min(max_depth, MOST_DEPTH)
        self.max_properties = max_properties
        self.max_string = max_string
        self.max_frames = max_frames
        self.max_nodes = max_nodes
        self.max_bytes = max_bytes
        self.max_ms = max_ms


class Encoder:
    """Values as plain data. Keeps nothing of them between two snapshots: any thread may use it."""

    __slots__ = (
        "_learn",
        "_line_limits",
        "_place",
        "callback",
        "clock",
        "hides_name",
        "hides_type",
        "limits",
        "redact",
    )

    def __init__(
        self,
        limits: SnapshotLimits,
        redact: Callable[[str], str],
        hides_name: Callable[[str], bool] = hides_name,
        callback: Callable[[Any], Any] | None = None,
        *,
        learn: Callable[[list[bytes]], object] | None = None,
        hides_type: Callable[[str], bool] | None = None,
        clock: Callable[[], int] = monotonic_ns,
    ):
        """`redact`: a text as it may leave. `hides_name`: whether what stands under a name is not told.

        `hides_type`: the same of a `module.Class`. `callback`: the user's own, from a plain value to what may
        leave of it. `learn` is told what was found under hidden names and can be nothing but a secret.
        `clock`: nanoseconds.
        """
        self.limits = limits
        self.redact = redact
        self.hides_name = hides_name
        self.hides_type = hides_type
        self.callback = callback
        self.clock = clock
        self._learn = learn
        self._line_limits = SnapshotLimits(
            _LINE_DEPTH, min(_LINE_ITEMS, limits.max_properties), limits.max_string, max_ms=limits.max_ms
        )
        self._place = lru_cache(maxsize=512)(self._place_of)

    def encode(self, value: Any) -> Any:
        """One value. Raises only what was raised outside of us: by `redact`, by a handler of a signal."""
        return self._told(lambda walk: walk.guarded(value), self.limits)

    def encode_names(self, names: Mapping[str, Any]) -> dict[str, Any]:
        """The variables of a scope: `{name: value}`, and `__tpd_remaining__` where there are more.

        A scope of a class of the program's own is not read: `exec` takes any mapping.
        """
        return self._told(lambda walk: walk.names(names), self.limits, names)

    def capture(
        self,
        variables: Mapping[str, Any],
        arguments: Mapping[str, Any],
        *,
        returned: Any = NOTHING,
        raised: BaseException | None = None,
        watch: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """A whole snapshot: `{locals, arguments, returnValue, exception}`, and `watch` where there is one.

        The parts have one budget, what was asked for comes first in it, and what is hidden in one of them is
        hidden in all.
        """

        def tell(walk: Walk) -> dict[str, Any]:
            watched = None if watch is None else walk.names(watch)
            value = None if returned is NOTHING else walk.guarded(returned)
            exception = None if raised is None else walk.exception(raised)
            given = walk.names(arguments)
            told: dict[str, Any] = {"locals": walk.names(variables), "arguments": given}
            told |= {"returnValue": value, "exception": exception}
            return told if watched is None else told | {"watch": watched}

        return self._told(tell, self.limits, variables, arguments, watch or {})

    def show(self, value: Any) -> str:
        """A value in a log message: a text as it is, an exception by its message, else as Python has it."""
        kind = type(value)
        if self.callback is None:
            if kind is str and len(value) <= self.limits.max_string:
                return self.redact(value)
            if kind is bool or value is None or (kind is int and -MOST_EXACT < value < MOST_EXACT):
                return repr(value)
        if issubclass(kind, BaseException):
            return str(self._told(lambda walk: walk.message(value), self._line_limits))
        return line(self._told(lambda walk: walk.guarded(value), self._line_limits), is_whole=True)

    def exception(self, raised: BaseException) -> dict[str, Any]:
        """`{type, message, stack}`; the stack is a text of a line a level, the innermost last."""
        return self._told(lambda walk: walk.exception(raised), self.limits)

    def stack(self, frame: FrameType | None, max_frames: int | None = None) -> list[dict[str, Any]]:
        """The frames from this one outwards, `{file, line, method, className?}`: without their variables."""
        most = self.limits.max_frames if max_frames is None else max_frames
        told: list[dict[str, Any]] = []
        while frame is not None and len(told) < most:
            told.append(self.place(frame.f_code, frame.f_lineno))
            frame = frame.f_back
        return told

    def place(self, code: CodeType, line: int | None) -> dict[str, Any]:
        """`{file, line, method, className?}` of a line of some code; line 0: of none."""
        file, method, class_ = self._place(code.co_filename, code.co_name, class_of(code))
        told = {"file": file, "line": line or 0, "method": method}
        return told if class_ is None else told | {"className": class_}

    def learn(self, secrets: list[bytes]) -> None:
        """Pass on what was found under a hidden name."""
        if secrets and self._learn is not None:
            self._learn(secrets)
            self._place.cache_clear()

    def _place_of(self, file: str, method: str, class_: str | None) -> tuple[str, str, str | None]:
        return self.redact(file), self.redact(method), class_ and self.redact(class_)

    def _told(self, tell: Callable[[Walk], Told], limits: SnapshotLimits, *scopes: Mapping[str, Any]) -> Told:
        """What `tell` makes: again, when something told before turned out to be hidden elsewhere."""
        hidden, deadline = Hidden(), self.clock() + int(limits.max_ms * 1_000_000)
        walk = Walk(self, limits, hidden, deadline)
        for scope in scopes:
            for name, value in names_of(scope):
                if value is not None and self.hides_name(name):
                    walk.hide(value)
        known = len(hidden.wholes)
        told = tell(walk)
        if len(hidden.wholes) > known and any(map(hidden.is_in, walk.seen)):
            told = tell(Walk(self, limits, hidden, deadline))
        return told


def apply_legacy(callback: Callable[[dict[str, Any]], object], document: dict[str, Any]) -> dict[str, Any]:
    """The document of a hit after a callback that changes it in place, as plain data again.

    `document`: `{file_name, line_no, method_name, ...}` as an encoder made it. Where the callback fails only
    these three are left of it. What it puts there that is no plain data is replaced.
    """
    kept = {name: document.get(name) for name in _PLACE if name in document}
    names = list(document)
    try:
        callback(document)
        return {name: _as_plain(document[name]) for name in names if name in document}
    except Exception:
        return {name: kept.get(name, REDACTED) for name in names}


def _as_plain(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return {key: _as_plain(inner) for key, inner in value.items() if type(key) is str}
    if kind is list:
        return [_as_plain(inner) for inner in value]
    return value if id(kind) in _PLAIN else REDACTED
