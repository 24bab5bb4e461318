"""Where the names of an expression are sought: a frame, and what a probe adds to it.

Lives here: `FrameScope`, `Unreadable`, what a name stands for. Not here: reading the values found
(reading.py), the text of an expression (expressions.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import builtins
import sys
from weakref import ref

from devtrace.probes.kinds import (
    MISSING,
    MODULE_DICT,
    Unsafe,
    class_name,
    has_text_keys,
    is_kind,
    named,
    taken,
)
from devtrace.probes.reading import unless_hidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType, FrameType
    from typing import Any, Protocol

    class Scope(Protocol):
        """`locals` is an exact dict, or what `f_locals` of a function is; `extra` wins over them."""

        @property
        def locals(self) -> Mapping[str, Any]: ...
        @property
        def globals(self) -> dict[str, Any]: ...
        @property
        def args(self) -> tuple[Any, ...]: ...
        @property
        def extra(self) -> Mapping[str, Any] | None: ...


_OF_FUNCTION = 0x1  # CO_OPTIMIZED: its names are known beforehand
_VARARGS = 0x4
_MOST_CODES = 1_000
_TYPES = {
    name: kind
    for name, kind in MODULE_DICT(builtins).items()
    if type(kind) is type and kind.__module__ == "builtins" and not name.startswith("_")
}


class FrameScope:
    """The names of a frame as it stands. Before 3.13 its locals are dear: who needs none makes no scope."""

    __slots__ = ("extra", "frame", "locals")

    def __init__(self, frame: FrameType, extra: Mapping[str, Any] | None = None):
        self.frame = frame
        self.extra = extra
        known: Any = frame.f_locals
        kind = type(known)
        self.locals: Mapping[str, Any] = known if kind is dict or kind is _VIEW else _of_others(known)

    @property
    def globals(self) -> dict[str, Any]:
        return self.frame.f_globals

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments in order, as they are now, with `self`."""
        code, known = self.frame.f_code, self.locals
        names = code.co_varnames[: code.co_argcount]
        for name in names:
            if name not in known:
                raise Unsafe(f"args has a gap: {name} was deleted")
        rest: Any = ()
        if code.co_flags & _VARARGS:
            rest = known.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount], ())
        given = (unless_hidden(name, known[name]) for name in names)
        return (*given, *(rest if type(rest) is tuple else ()))

    @property
    def own_names(self) -> frozenset[str]:
        """Those that are no globals, even before they have a value."""
        code = self.frame.f_code
        known = _own_names.get(id(code))
        if known is None or known[0]() is not code:
            if len(_own_names) >= _MOST_CODES:
                _own_names.clear()
            known = _own_names[id(code)] = (ref(code), _names_of(code))
        return known[1]


_VIEW = (lambda: type(sys._getframe().f_locals))()  # of a function's locals, from 3.13 on; before, a dict
_own_names: dict[int, tuple[Any, frozenset[str]]] = {}  # by id: a code object's hash reads all of its bytes


def _names_of(code: CodeType) -> frozenset[str]:
    if not code.co_flags & _OF_FUNCTION:
        return frozenset()
    return frozenset(code.co_varnames + code.co_cellvars + code.co_freevars)


class Unreadable:
    """In the place of names that are kept in an object of the program's: who asks for one is refused."""

    __slots__ = ("_why",)

    def __init__(self, why: str):
        self._why = why

    def get(self, _name: str, _default: object = None) -> Any:
        raise Unsafe(self._why)

    __contains__ = __getitem__ = get

    def keys(self) -> Any:
        raise Unsafe(self._why)


def _of_others(found: Any) -> Any:
    """A class's body, or exec(), may keep its names in an object of the program's."""
    kind = type(found)
    if not is_kind(kind, dict):
        return Unreadable(f"the names here are kept in a {class_name(kind)}")
    pairs = taken(dict.items(found), dict.__len__(found))
    return {name: value for name, value in pairs if type(name) is str}


def getter(scope: Scope) -> Callable[[str, Any], Any]:
    """What gives a local or extra name, or the default, where that is more than looking in `locals`."""
    known, extra = scope.locals, scope.extra
    if extra:
        return lambda name, default: extra[name] if name in extra else _local(known, name, default)
    if type(known) is dict and not has_text_keys(known):  # a module's own, for which exec() takes any
        return lambda name, default: _local(known, name, default)
    return known.get


def _local(known: Any, name: str, default: Any) -> Any:
    found = named(known, name) if type(known) is dict else known.get(name, MISSING)
    return default if found is MISSING else found


def elsewhere(scope: Scope, get: Callable[[str, Any], Any], name: str) -> Any:
    """What a name that is no local's stands for. NameError: nothing."""
    if name in getattr(scope, "own_names", ()):
        raise UnboundLocalError(
            f"cannot access local variable '{name}' where it is not associated with a value"
        )
    if name == "args":
        return scope.args
    if name == "locals":
        return {known: unless_hidden(known, value) for known, value in dict(scope.locals).items()}
    if name == "this" and (found := get("self", MISSING)) is not MISSING:
        return found
    if (found := named(scope.globals, name)) is not MISSING:
        return found
    if (found := _TYPES.get(name, MISSING)) is not MISSING:
        return found
    raise NameError(f"name '{name}' is not defined")


def no_local(name: str) -> Any:
    raise NameError(f"no local variable is named '{name}'")
