"""One walk over a program's values, from each to what it holds.

Lives here: `Walk`. Not here: plain values and what may be spent (leaves.py), whole snapshots (snapshot.py),
the forms in which values are told (markers.py), how a value is read (anatomy.py), whose names hide it
(hiding.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

from itertools import islice

from devtrace.probes.anatomy import (
    WALKS,
    array_form,
    class_name,
    copied,
    fields_of,
    levels_of,
    number_of,
    own_of,
    plan_of,
    spoken,
)
from devtrace.probes.hiding import Hidden
from devtrace.probes.leaves import LEAVES, MARKER, PLAIN, Leaves, is_something
from devtrace.probes.markers import assembled, changing, line, more

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from devtrace.probes.anatomy import Plan
    from devtrace.probes.snapshot import Scope

    Ids = tuple[int, ...]  # of the objects in which a value lies

_MOST_KEYS = 10  # of a dict of which not all are told
_MOST_ARGUMENTS = 10  # of an exception that are part of its message
_FILES = {one.__code__.co_filename for one in (lambda: 0, Leaves.leaf, class_name, Hidden.add, line)}
_ARGUMENTS: Any = vars(BaseException)["args"].__get__
_TRACEBACK: Any = vars(BaseException)["__traceback__"].__get__
_FILE_NAME: Any = vars(OSError)["filename"].__get__


class Walk(Leaves):
    """One snapshot in the making."""

    __slots__ = ()

    # --- what a snapshot is made of ---

    def guarded(self, value: Any) -> Any:
        """A value at the top. Raises only what was raised outside of us, as by a handler of a signal."""
        try:
            return self.any(value, self._limits.max_depth, ())
        except Exception as error:
            return self._unread(value, error)

    def _unread(self, value: Any, error: Exception) -> Any:
        """While that error is handled."""
        if isinstance(error, RecursionError):
            return self._cut(class_name(type(value)), "the program's stack has no room left to read it")
        if not _is_ours(error):
            raise error
        return self._cut(class_name(type(value)), "it could not be read")

    def names(self, scope: Scope) -> dict[str, Any]:
        """The variables of a scope. What most of them hold is told here, without a call."""
        names, pairs, _ = scope
        told: dict[str, Any] = {}
        wholes, seen, depth = self._hidden.wholes, self.seen, self._limits.max_depth
        is_bare = self._callback is None
        for (name, known, size, hides), (_, value) in zip(names, pairs, strict=False):
            if self.stopped:
                break
            if size and not wholes:
                self._room -= size
                seen.append(name)
                key = known
            else:
                key = self._key(name)
            kind = type(value)
            try:
                if hides and is_something(value):
                    told[key] = self._hide(value)
                elif not is_bare or self._nodes <= 1:
                    told[key] = self.any(value, depth, ())
                elif kind is str:
                    self._nodes -= 1
                    told[key] = self._str(value)
                elif kind is bool or value is None or (kind is int and -1000 < value < 1000):
                    self._nodes -= 1
                    self._room -= 7
                    told[key] = value
                else:
                    told[key] = self.any(value, depth, ())
            except Exception as error:
                told[key] = self._unread(value, error)
            if self._room <= 0:
                self.stopped = "bytes"
        left = len(pairs) - len(told)
        return told | more(left) if left else told

    def exception(self, raised: BaseException) -> dict[str, Any]:
        """`{type, message, stack}`."""
        told = {"type": self.clean(class_name(type(raised))), "message": self.message(raised)}
        stack = "\n".join(levels_of(_TRACEBACK(raised), self._limits.max_frames))
        self._spend(len(stack) + 2 * MARKER)
        return told | {"stack": self.clean(stack)}

    def message(self, error: BaseException) -> str:
        """What `str` says of an exception whose class leaves that to C."""
        given = _ARGUMENTS(error)[:_MOST_ARGUMENTS]
        if len(given) == 1 and type(given[0]) is str and not issubclass(type(error), KeyError):
            return line(self._str(given[0]), is_whole=True)
        texts = [line(self.any(one, 1, ())) for one in given]
        if issubclass(type(error), OSError) and len(given) == 2 and type(given[1]) is str:
            file = _FILE_NAME(error)
            told = f"[Errno {texts[0]}] {self.clean(given[1])}"
            return f"{told}: {self.clean(file)!r}" if type(file) is str else told
        return "".join(texts) if len(texts) < 2 else f"({', '.join(texts)})"

    # --- one value ---

    def any(self, value: Any, depth: int, above: Ids) -> Any:
        """Any value, with so many levels left."""
        self._nodes -= 1
        self._ticks -= 1
        if self._ticks <= 0 or self._nodes <= 0:
            self._look()
        kind = type(value)
        tell = LEAVES.get(id(kind))
        if tell is not None:
            return tell(self, value) if self._callback is None else self.leaf(kind, value)
        plan = plan_of(kind)
        if id(value) in above:
            levels = len(above) - above.index(id(value))
            message = f"the same object, {levels} level{'s'[: levels > 1]} above"
            return self._typed(plan.name, __tpd_circular__=True, __message__=message)
        return self._other(plan, value, depth, (*above, id(value)))

    def _other(self, plan: Plan, value: Any, depth: int, inside: Ids) -> Any:
        hides_type = self._encoder.hides_type
        if hides_type is not None and hides_type(plan.name):
            return self._hide(value)
        if type(value) is plan.base:
            return self._contents(plan.base, value, depth, inside)
        if plan.tell is not None and (text := plan.tell(value)) is not None:
            return self._told_by(plan.name, text)
        if plan.form != "object":
            return _FORMS[plan.form](self, plan, value, depth, inside)
        if plan.item_names is not None:
            return self._named_items(plan, value, depth, inside)
        if plan.base is not None:
            return self._derived(plan, plan.base, value, depth, inside)
        return self._object(plan, value, depth, inside, {})

    # --- what holds others ---

    def _contents(self, base: type, value: Any, depth: int, inside: Ids) -> Any:
        """What a container holds, or one of a class derived from it."""
        if base is dict:
            return self._dict(value, depth, inside)
        first, length = WALKS[base]
        size, name = length(value), class_name(base)
        if depth <= 0 and size:
            return self._deep(name, size)
        inner = copied(lambda: first(value), self._limits.max_properties)
        if inner is None:
            return changing(name)
        told = []
        for one in inner:
            if self.stopped:
                break
            told.append(self.any(one, depth - 1, inside))
        if len(told) < size:
            told.append(more(size - len(told)))
        return told if base is list else self._typed(name, __tpd_items__=told)

    def _dict(self, value: dict[Any, Any], depth: int, inside: Ids) -> dict[str, Any]:
        size = dict.__len__(value)
        if depth <= 0 and size:
            return self._deep("dict", size) | {"__tpd_keys__": self._keys(value)}
        inner = copied(lambda: iter(dict.items(value)), self._limits.max_properties)
        if inner is None:
            return changing("dict")
        told = self._pairs(inner, depth, inside)
        document = assembled(told)
        if len(told) < size:
            keys = [key for key, _ in told[:_MOST_KEYS] if type(key) is str]
            document |= {"__tpd_type__": "dict", **more(size - len(told)), "__tpd_keys__": [*keys, "..."]}
            document["__summary__"] = f"{size} keys, {len(told)} told"
        return document

    def _keys(self, value: dict[Any, Any]) -> list[str]:
        inner = copied(lambda: dict.__iter__(value), _MOST_KEYS) or []
        told = [self._key(key) for key in inner if type(key) is str]
        return told if len(told) == dict.__len__(value) else [*told, "..."]

    def _named_items(self, plan: Plan, value: Any, depth: int, inside: Ids) -> dict[str, Any]:
        """A tuple whose items have names."""
        size = tuple.__len__(value)
        if depth <= 0:
            return self._deep(plan.name, size)
        items = list(islice(tuple.__iter__(value), self._limits.max_properties))
        names = [*(plan.item_names or ()), *map(str, range(size))]
        return self._fields(plan, list(zip(names, items, strict=False)), size, depth, inside)

    def _derived(self, plan: Plan, base: type, value: Any, depth: int, inside: Ids) -> Any:
        """What the builtin holds from which its class is derived, and its fields."""
        if base in PLAIN:
            inner = self.derived_leaf(base, value)
        else:
            inner = self._contents(base, value, depth, inside)
        return self._object(plan, value, depth, inside, {"__tpd_value__": inner})

    def _object(self, plan: Plan, value: Any, depth: int, inside: Ids, head: dict[str, Any]) -> Any:
        """An instance by its fields; `head` is told of it too."""
        if plan.slots or plan.own is not None:
            if depth <= 0:
                return self._cut(plan.name, "") | head
            try:
                fields = fields_of(plan, value, self._limits.max_properties)
            except RecursionError:
                raise
            except RuntimeError:
                return changing(plan.name) | head
            size = len(fields)
            if size == self._limits.max_properties:  # there may be more
                size = max(size, len(plan.slots) + dict.__len__(own_of(plan, value) or {}))
            if fields:
                return self._fields(plan, fields, size, depth, inside) | head
        return self._typed(plan.name, **head) if head else self._opaque(plan, value)

    def _fields(
        self, plan: Plan, fields: list[tuple[str, Any]], size: int, depth: int, inside: Ids
    ) -> dict[str, Any]:
        told = self._pairs(fields, depth, inside)
        self._spend(MARKER)
        document = assembled(told, self._type_name(plan.name))
        return document if len(told) == size else document | more(size - len(told))

    def _pairs(self, pairs: list[tuple[Any, Any]], depth: int, inside: Ids) -> list[tuple[Any, Any]]:
        """Keys or names with their values, until something is spent."""
        told: list[tuple[Any, Any]] = []
        hides_name, depth = self._encoder.hides_name, depth - 1
        for key, value in pairs:
            if self.stopped:
                break
            is_text = type(key) is str
            name = key if is_text else spoken(key)
            is_hidden = name is not None and hides_name(name) and is_something(value)
            shown = self._hide(value) if is_hidden else self.any(value, depth, inside)
            told.append((self._key(key) if is_text else self.any(key, depth, inside), shown))
        return told

    # --- forms of their own ---

    def _enum(self, plan: Plan, value: Any, depth: int, inside: Ids) -> Any:
        fields = dict(fields_of(plan, value, self._limits.max_properties))
        name = fields.get("_name_")
        text = f"{plan.name.rpartition('.')[2]}.{name}" if type(name) is str else f"<{plan.name}>"
        told = self._told_by(plan.name, text)
        return told | {"value": self.any(fields.get("_value_"), depth - 1, inside)}

    def _exception(self, plan: Plan, value: Any, depth: int, inside: Ids) -> Any:
        return self._object(plan, value, depth, inside, {"__message__": self.message(value)})

    def _array(self, plan: Plan, value: Any, *_: Any) -> Any:
        found = array_form(value)
        return self._opaque(plan, value) if found is None else self._typed(
            plan.name, shape=found[0], dtype=found[1]
        )  # fmt: skip

    def _number(self, plan: Plan, value: Any, depth: int, inside: Ids) -> Any:
        plain = number_of(value)
        if plain is None:
            return self._opaque(plan, value)
        return self._typed(plan.name, __tpd_value__=self.any(plain, depth, inside))

    def _opaque(self, plan: Plan, value: Any, *_: Any) -> dict[str, Any]:
        return self._told_by(plan.name, f"<{plan.name} object at {id(value):#x}>")

    def _deep(self, name: str, size: int) -> dict[str, Any]:
        return self._cut(name, f"{size} items, deeper than {self._limits.max_depth} levels")

    def _cut(self, name: str, why: str) -> dict[str, Any]:
        told = self._typed(name, __tpd_truncated__=True)
        return told | {"__summary__": why} if why else told


def _is_ours(error: BaseException) -> bool:
    """Whether it was raised by our own code, and not by a handler of a signal in the midst of it."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is None or traceback.tb_frame.f_code.co_filename in _FILES


_FORMS: dict[str, Callable[..., Any]] = {
    "enum": Walk._enum,
    "exception": Walk._exception,
    "array": Walk._array,
    "number": Walk._number,
    "closed": Walk._opaque,
}
