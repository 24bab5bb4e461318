"""What a stranger's type is: its name, its lineage, what its classes hold. No metaclass is asked.

Two traps shape this file. A set or dictionary of types hashes them, which asks their metaclass: tables here
are keyed by `id`, and lineages are searched by `is`. And looking a name up compares it with every stored key
of the same hash: where a dictionary has other keys than exact texts, they are compared one by one.

Lives here: types, names in the dictionaries of classes, modules and frames, and `Unsafe`. Not here: what
values hold and answer (reading.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import sys
from itertools import islice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable
    from typing import Any

MOST_ELEMENTS = 10_000  # of a container that is searched or compared
MISSING: Any = object()

MRO: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
CLASS_DICT = type.__dict__["__dict__"].__get__
MODULE = type(sys)
MODULE_DICT: Callable[[Any], dict[Any, Any]] = CLASS_DICT(MODULE)["__dict__"].__get__
_QUALNAME = type.__dict__["__qualname__"].__get__
MODULE_OF = type.__dict__["__module__"].__get__
_PROXY = type(type.__dict__)


class Unsafe(Exception):
    """Reading that would run code of the program, or would cost too much. The message says which."""


class Secret:
    """In the place of what stands under a secret's name: whatever is asked of it is refused."""

    __slots__ = ()


SECRET: Any = Secret()


def ids(*kinds: type) -> frozenset[int]:
    return frozenset(map(id, kinds))


SCALARS = ids(int, str, float, bool, type(None), bytes, complex)
TEXTS = ids(str, bytes, bytearray)
SEQUENCES = TEXTS | ids(list, tuple, range)
SETS = ids(set, frozenset)
SIZED = SEQUENCES | SETS | ids(dict)
EXACT = SIZED | SCALARS


def class_name(kind: type) -> str:
    """`module.Class`, and `Class` of a builtin: read from the type itself, whatever its metaclass says."""
    name, module = str.__str__(_QUALNAME(kind)), MODULE_OF(kind)
    return f"{module}.{name}" if type(module) is str and module != "builtins" else name


def short_name(kind: type) -> str:
    """A type as Python's own messages name it."""
    return class_name(kind).rpartition(".")[2]


def is_kind(kind: type, base: type) -> bool:
    """Whether a type descends from another. No metaclass is asked."""
    return any(one is base for one in MRO(kind))


def class_entry(kind: type, name: str) -> Any:
    """What a class or its bases hold under a name, as it stands there. MISSING: nothing."""
    for one in MRO(kind):
        if (found := own_entry(one, name)) is not MISSING:
            return found
    return MISSING


def own_entry(kind: type, name: str) -> Any:
    """The same of a class without its bases."""
    table = CLASS_DICT(kind)
    if _are_texts(table):
        return _PROXY.get(table, name, MISSING)
    return _searched(_PROXY.items(table), name)  # type() takes any keys


_NATIVES = {
    "collections.OrderedDict": "_collections",
    "collections.defaultdict": "_collections",
    "collections.deque": "_collections",
    "datetime.date": "_datetime",
    "datetime.datetime": "_datetime",
    "datetime.timedelta": "_datetime",
    "decimal.Decimal": "_decimal",
}


def native(kind: type) -> str:
    """The name of an exact type that the standard library has in C, whose operators are its own; else ''."""
    name = class_name(kind)
    module = sys.modules.get(_NATIVES.get(name, ""))
    if type(module) is not MODULE or named(MODULE_DICT(module), name.rpartition(".")[2]) is not kind:
        return ""
    return name


def is_dict(kind: type) -> bool:
    return kind is dict or (is_kind(kind, dict) and native(kind) != "")


def is_sized(kind: type) -> bool:
    """Whether it is a container whose length and items are Python's own."""
    return id(kind) in SIZED or is_dict(kind) or native(kind) == "collections.deque"


def refusal(kind: type, doing: str) -> Unsafe:
    """Why something is not done with a value of that type."""
    if kind is Secret:
        return Unsafe("what stands under a secret's name is not read")
    return Unsafe(f"{doing} a {class_name(kind)} would run the program's code")


# --- names in dictionaries ---


def _sizes_of_mixed_tables() -> Container[int]:
    """The sizes of dictionaries that have, or once had, other keys than exact texts.

    The interpreter keeps those in wider rows: a dictionary of another size has none. Where it turns out to
    be otherwise, any size will do, and the keys are looked at one by one.
    """
    fixed = size_of({0: 0}) - 8 - 5 * 24
    sizes = set()
    for power in range(3, 40):
        width = 1 if power < 8 else 2 if power < 16 else 4 if power < 32 else 8
        sizes.add(fixed + (width << power) + 24 * ((2 << power) // 3))
    for count in (1, 7, 30, 200):
        texts = {f"{number}": 0 for number in range(count)}
        if size_of(dict.fromkeys(range(count))) not in sizes or size_of(texts) in sizes:
            return range(1 << 62)
    return frozenset(sizes)


size_of = dict.__sizeof__
MIXED_TABLES = _sizes_of_mixed_tables()


def has_text_keys(table: dict[Any, Any]) -> bool:
    """Whether looking a text up in a dictionary compares it with exact texts only."""
    if type(table) is dict and size_of(table) not in MIXED_TABLES:
        return True
    return dict.__len__(table) <= MOST_ELEMENTS and _are_texts(dict.keys(table))


def _are_texts(keys: Iterable[Any]) -> bool:
    try:
        for key in keys:
            if type(key) is not str:
                return False
    except RuntimeError:  # another thread changed it
        return False
    return True


def named(table: dict[Any, Any], name: str) -> Any:
    """What stands under a name in the dictionary of a frame, a module or an instance, or MISSING."""
    if type(table) is dict and size_of(table) not in MIXED_TABLES:  # has_text_keys, without a call
        return table.get(name, MISSING)
    if has_text_keys(table):
        return dict.get(table, name, MISSING)
    return _searched(taken(dict.items(table), dict.__len__(table)), name)


def _searched(items: Iterable[tuple[Any, Any]], name: str) -> Any:
    for key, value in items:
        if type(key) is str and key == name:
            return value
    return MISSING


def taken(items: Iterable[Any], count: int) -> list[Any]:
    """The elements of a builtin container of so many."""
    if count > MOST_ELEMENTS:
        raise Unsafe(f"more than {MOST_ELEMENTS} elements would have to be looked at")
    try:
        return list(islice(items, MOST_ELEMENTS))
    except RuntimeError:
        raise Unsafe("another thread changed it while it was read") from None
