"""Reading a stranger's values without running any code of his.

A value is read where the interpreter keeps it: slots, instance dictionaries, and the operators of *exact*
builtin types. No property, operator, hash, `__len__`, `__getattr__`, descriptor or metaclass of a program's
class is ever called; what would need one is `Unsafe`. A subclass of a builtin is a program's class too.

What is compared in depth is copied first, within limits, and the copy compared: cycles end, and no other
thread can slip an object in between.

Lives here: items, lengths, truth, comparison, containment. Not here: types (kinds.py), attributes
(attributes.py), arithmetic, functions and methods (calls.py), the text of an expression (expressions.py),
snapshots (snapshot.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import operator
import sys

from devtrace.probes.hiding import hides_name
from devtrace.probes.kinds import (
    EXACT,
    MISSING,
    MIXED_TABLES,
    MOST_ELEMENTS,
    SCALARS,
    SECRET,
    SEQUENCES,
    SETS,
    SIZED,
    TEXTS,
    class_entry,
    class_name,
    is_dict,
    is_sized,
    native,
    refusal,
    short_name,
    size_of,
    taken,
)
from devtrace.probes.kinds import Unsafe as Unsafe  # what readers raise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MOST_TEXT = 100_000  # characters or bytes that are searched

_LONGEST_NAME = 128
_MOST_DEPTH = 50
_MOST_SAME = 1_000_000  # characters of two equally long texts that are compared
_CHARACTERS = 10  # of a text that count as one element, when what it is in is copied


def find(table: dict[Any, Any], key: Any) -> Any:
    """The value of a key in a dictionary, or MISSING. A TypeError for a key that cannot be one."""
    if type(key) is str and type(table) is dict and size_of(table) not in MIXED_TABLES:
        return dict.get(table, key, MISSING)
    if id(type(key)) in EXACT and (is_plain := _is_plain_key(key)):
        hash(key)
    else:
        is_plain = False
    is_strange = not is_plain
    for stored, value in taken(dict.items(table), dict.__len__(table)):
        if stored is key:
            return value
        if not _is_plain_key(stored):
            is_strange = True
        elif is_plain and stored == key:
            return value
    if is_strange:
        raise Unsafe("looking that key up would compare it by the program's code")
    return MISSING


def unless_hidden(key: Any, value: Any) -> Any:
    """The value, or SECRET where its key is a secret's name."""
    kind = type(key)
    if kind is not str and kind is not bytes:
        return value
    name = key if kind is str else key[:_LONGEST_NAME].decode("latin-1")
    is_told = value is None or (type(value) is str and not value)
    return SECRET if not is_told and hides_name(name) else value


def _is_plain_key(key: Any) -> bool:
    if id(type(key)) in SCALARS:
        return True
    if id(type(key)) not in EXACT:
        return False
    try:
        _copied(key, [200], 10)
    except Unsafe:
        return False
    return True


# --- copies that hold exact builtin values only ---


def elements(value: Any) -> list[Any]:
    """What iterating over a builtin container gives. TypeError for what is none."""
    kind = type(value)
    if is_dict(kind):
        return taken(dict.keys(value), dict.__len__(value))
    if id(kind) in EXACT or native(kind) == "collections.deque":
        return taken(iter(value), length(value) if is_sized(kind) else 0)
    raise refusal(kind, "iterating over")


def plain(value: Any) -> Any:
    """The value itself, or a copy of a container, in which all is of exact builtin types."""
    if id(type(value)) in SCALARS:
        return value
    return _copied(value, [MOST_ELEMENTS], _MOST_DEPTH)


def _copied(value: Any, room: list[int], depth: int) -> Any:
    kind = type(value)
    if id(kind) in TEXTS:
        room[0] -= len(value) // _CHARACTERS
    elif kind is int:
        room[0] -= int.bit_length(value) // 64
    room[0] -= 1
    if room[0] < 0:
        raise Unsafe("it has more to compare than is looked at in a running program")
    if id(kind) in SCALARS or kind is range:
        return value
    if depth == 0:
        raise Unsafe("it is nested too deeply, or holds itself")
    if kind is dict:
        pairs = taken(dict.items(value), room[0])
        return {
            _copied(key, room, depth - 1): _copied(unless_hidden(key, inner), room, depth - 1)
            for key, inner in pairs
        }
    if id(kind) in SIZED:
        return kind(_copied(one, room, depth - 1) for one in taken(value, room[0]))
    if native(kind) in _SAYING_THEMSELVES and _has_own_zone(value):
        return value
    raise refusal(kind, "comparing")


_SAYING_THEMSELVES = ("decimal.Decimal", "datetime.date", "datetime.datetime", "datetime.timedelta")


def _has_own_zone(value: Any) -> bool:
    """A moment's zone may be an object of the program's, which is asked when moments are compared."""
    datetime = sys.modules.get("_datetime")
    if class_name(type(value)) != "datetime.datetime" or datetime is None:
        return True
    return value.tzinfo is None or type(value.tzinfo) is datetime.timezone


# --- questions ---


def truth(value: Any) -> bool:
    """bool() of a value: its own for builtins, True for what has no say of its own."""
    kind = type(value)
    if id(kind) in EXACT or native(kind):
        return bool(value)
    for name in ("__bool__", "__len__"):
        if class_entry(kind, name) is not MISSING:
            raise refusal(kind, "the truth of")
    return True


def length(value: Any) -> int:
    kind = type(value)
    if is_sized(kind) or id(kind) in SCALARS:
        try:
            return len(value)
        except OverflowError:
            raise Unsafe("the range is too long") from None
    if class_entry(kind, "__len__") is MISSING:
        raise TypeError(f"object of type '{short_name(kind)}' has no len()")
    raise refusal(kind, "the length of")


def item(value: Any, key: Any) -> Any:
    """`value[key]` of builtin containers."""
    kind = type(value)
    if is_dict(kind):
        if (found := find(value, key)) is MISSING:
            raise KeyError(key)
        return unless_hidden(key, found)
    if id(kind) not in EXACT and native(kind) != "collections.deque":
        raise refusal(kind, "an item of")
    if id(type(key)) not in EXACT:
        raise refusal(type(key), "an index that is")
    return value[key]  # of what has no items, and for what is no index, a TypeError


def part(value: Any, start: Any, stop: Any, step: Any) -> Any:
    """`value[start:stop:step]` of a text, list, tuple or range."""
    for one in (value, start, stop, step):
        if id(type(one)) not in EXACT:
            raise refusal(type(one), "a part of")
    chosen = slice(start, stop, step)
    if id(type(value)) not in SEQUENCES:
        empty: dict[Any, Any] = {}
        return (empty if type(value) is dict else value)[chosen]  # Python's own error
    most = MOST_TEXT if id(type(value)) in TEXTS else MOST_ELEMENTS
    if len(value) > most and len(range(*chosen.indices(len(value)))) > most:
        raise Unsafe("that part is too long")
    return value[chosen]


def _guard_long(left: Any, right: Any) -> None:
    if (
        id(type(left)) in TEXTS
        and len(left) > _MOST_SAME
        and id(type(right)) in TEXTS
        and len(right) > _MOST_SAME
    ):
        raise Unsafe("the two are too long to be compared")


def equal(left: Any, right: Any) -> bool:
    """`left == right`: values of builtins, and the identity of objects whose classes define no equality."""
    one, other = id(type(left)) in SCALARS, id(type(right)) in SCALARS
    if one and other:
        _guard_long(left, right)
        return bool(left == right)
    if (one or _is_only_itself(type(left))) and (other or _is_only_itself(type(right))):
        return left is right
    return bool(plain(left) == plain(right))


_OBJECT_EQ = object.__dict__["__eq__"]


def _is_only_itself(kind: type) -> bool:
    if id(kind) in EXACT:
        return False
    return (
        class_entry(kind, "__eq__") is _OBJECT_EQ and class_entry(kind, "__ne__") is object.__dict__["__ne__"]
    )


def unequal(left: Any, right: Any) -> bool:
    return not equal(left, right)


def _ordering(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], bool]:
    def ordered(left: Any, right: Any) -> bool:
        if id(type(left)) in SCALARS and id(type(right)) in SCALARS:
            _guard_long(left, right)
            return bool(compare(left, right))
        return bool(compare(plain(left), plain(right)))

    return ordered


less = _ordering(operator.lt)
less_equal = _ordering(operator.le)
greater = _ordering(operator.gt)
greater_equal = _ordering(operator.ge)


def same(left: Any, right: Any) -> bool:
    return left is right


def contains(container: Any, value: Any) -> bool:
    """`value in container` of builtin containers."""
    kind = type(container)
    if id(kind) in TEXTS:
        if id(type(value)) not in EXACT:
            raise refusal(type(value), "looking for")
        if len(container) > MOST_TEXT:
            raise Unsafe("the text is too long to be searched")
        return value in container
    if is_dict(kind):
        return find(container, value) is not MISSING
    if id(kind) in SCALARS or (kind is range and type(value) is int):
        return value in container  # a number holds nothing, and Python says so
    if id(kind) in SETS and id(type(value)) in EXACT and type(value) is not set:
        hash(plain(value))
    return _is_among(value, elements(container))


def _is_among(value: Any, inside: list[Any]) -> bool:
    if any(one is value for one in inside):
        return True
    if id(type(value)) not in SCALARS and not _is_only_itself(type(value)):
        return plain(value) in plain(inside)
    return any(equal(one, value) for one in inside)
