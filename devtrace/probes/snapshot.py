"""What a program's values are at one moment, as plain data: within limits, and without its secrets.

No code of the program's types is run, and no reference to its values is kept.

Lives here: `SnapshotLimits`, `Encoder`. Not here: one value (walk.py), its form (markers.py),
whose names hide it (hiding.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

from time import monotonic_ns
from weakref import ref

from devtrace.probes.anatomy import class_of, names_of
from devtrace.probes.hiding import REDACTED, Hidden, hides_name
from devtrace.probes.kinds import Secret
from devtrace.probes.leaves import MOST_EXACT, SHORT, quoted_size
from devtrace.probes.markers import line
from devtrace.probes.walk import Walk

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType, FrameType
    from typing import Any, TypeVar

    Told = TypeVar("Told")
    Named = tuple[str, str, int, bool]  # a name, as it is told, its bytes of JSON (0: look anew), if it hides
    # What is known of the names, the variables, and the places of those among them that are hidden.
    Scope = tuple[list[Named], list[tuple[str, Any]], list[int]]

__all__ = ["NOTHING", "REDACTED", "Encoder", "SnapshotLimits", "hides_name"]

_MOST_PLACES = 512  # code objects that are remembered
_MOST_SCOPES = 64  # of which the names are remembered
MOST_DEPTH = 20  # each level is a few frames of the program's own stack
_LINE_DEPTH, _LINE_ITEMS = 2, 20  # of a value in a log message

_NO_NAMES: Any = ([], [], [])
NOTHING: Any = object()  # in the place of a return value: the function has not returned


class SnapshotLimits:
    """How much one snapshot keeps of a program's values. None may be negative."""

    __slots__ = (
        "max_bytes",
        "max_depth",
        "max_frames",
        "max_nodes",
        "max_ns",
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
        self.max_ns = int(max_ms * 1_000_000)


class Encoder:
    """Values as plain data. Keeps nothing of them between two snapshots: any thread may use it."""

    __slots__ = (
        "_learn",
        "_line_limits",
        "_names",
        "_places",
        "callback",
        "clock",
        "hides_name",
        "hides_type",
        "limits",
        "redact",
        "types",
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
            _LINE_DEPTH,
            min(_LINE_ITEMS, limits.max_properties),
            limits.max_string,
            max_ms=limits.max_ns / 1_000_000,
        )
        self.types: dict[str, str] = {}  # names of classes as they are told
        self._names: dict[tuple[str, ...], tuple[list[Named], list[int]]] = {}
        self._places: dict[int, tuple[Any, dict[str, Any]]] = {}  # by id: hashing a code object reads it all

    def encode(self, value: Any) -> Any:
        """One value. Raises only what was raised outside of us: by `redact`, by a handler of a signal."""
        return self._told(lambda walk: walk.guarded(value), self.limits)

    def encode_names(self, names: Mapping[str, Any]) -> dict[str, Any]:
        """The variables of a scope: `{name: value}`, and `__tpd_remaining__` where there are more.

        A scope of a class of the program's own is not read: `exec` takes any mapping.
        """
        scope = self._scope(names)
        return self._told(lambda walk: walk.names(scope), self.limits, scope)

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

        own, given = self._scope(variables), self._scope(arguments)
        asked = self._scope(watch) if watch else _NO_NAMES

        def tell(walk: Walk) -> dict[str, Any]:
            watched = None if watch is None else walk.names(asked)
            value = None if returned is NOTHING else walk.guarded(returned)
            exception = None if raised is None else walk.exception(raised)
            told_first = walk.names(given)
            told: dict[str, Any] = {"locals": walk.names(own), "arguments": told_first}
            told |= {"returnValue": value, "exception": exception}
            return told if watched is None else told | {"watch": watched}

        return self._told(tell, self.limits, own, given, asked)

    def show(self, value: Any) -> str:
        """A value in a log message: a text as it is, an exception by its message, else as Python has it."""
        kind = type(value)
        if kind is Secret:
            return REDACTED
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
        place = self.place
        while frame is not None and len(told) < most:
            told.append(place(frame.f_code, frame.f_lineno))
            frame = frame.f_back
        return told

    def place(self, code: CodeType, line: int | None) -> dict[str, Any]:
        """`{file, line, method, className?}` of a line of some code; line 0: of none."""
        known = self._places.get(id(code))
        if known is None or known[0]() is not code:  # code that is gone may have left its id to another
            known = self._place(code)
        told = known[1].copy()
        if line:
            told["line"] = line
        return told

    def learn(self, secrets: list[bytes]) -> None:
        """Pass on what was found under a hidden name."""
        if secrets and self._learn is not None:
            self._learn(secrets)
            self._places.clear()
            self._names.clear()
            self.types.clear()

    def told_type(self, name: str, told: str) -> str:
        """Remember how the name of a class is told."""
        if told == name:  # what a hidden value masked is not for the next snapshot
            if len(self.types) >= _MOST_PLACES:
                self.types.clear()
            self.types[name] = told
        return told

    def _place(self, code: CodeType) -> tuple[Any, dict[str, Any]]:
        told = {"file": self.redact(code.co_filename), "line": 0, "method": self.redact(code.co_name)}
        if (class_ := class_of(code)) is not None:
            told["className"] = self.redact(class_)
        if len(self._places) >= _MOST_PLACES:
            self._places.clear()
        known = self._places[id(code)] = ref(code), told
        return known

    def _scope(self, scope: Mapping[str, Any]) -> Scope:
        pairs = names_of(scope)
        names = tuple([name for name, _ in pairs])
        known = self._names.get(names)
        if known is None:
            known = self._named(names)
            if len(names) <= self.limits.max_properties:
                if len(self._names) >= _MOST_SCOPES:
                    self._names.clear()
                self._names[names] = known
        return known[0], pairs, known[1]

    def _named(self, names: tuple[str, ...]) -> tuple[list[Named], list[int]]:
        """What is known of a scope by its names, which are the program's text: they are redacted once, and
        again when a hidden value was found.
        """
        hiding = [at for at, name in enumerate(names) if self.hides_name(name)]
        hides = set(hiding)
        told: list[Named] = []
        for at, name in enumerate(names[: self.limits.max_properties]):
            key = self.redact(name) if len(name) <= SHORT else ""
            told.append((name, key, quoted_size(key) + 4 if key else 0, at in hides))
        return told, hiding

    def _told(self, tell: Callable[[Walk], Told], limits: SnapshotLimits, *scopes: Scope) -> Told:
        """What `tell` makes: again, when something told before turned out to be hidden elsewhere."""
        hidden, deadline = Hidden(), self.clock() + limits.max_ns
        walk = Walk(self, limits, hidden, deadline)
        for scope in scopes:
            for at in scope[2]:
                if (value := scope[1][at][1]) is not None:
                    walk.hide(value)
        known = len(hidden.wholes)
        told = tell(walk)
        if len(hidden.wholes) > known and any(map(hidden.is_in, walk.seen)):
            told = tell(Walk(self, limits, hidden, deadline))
        return told
