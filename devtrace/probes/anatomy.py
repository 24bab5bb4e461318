"""What a stranger's value is made of, read where the interpreter keeps it: no code of its type is ever run.

Fields come through the descriptors that C makes for `__slots__` and `__dict__`. Types are compared by
identity and looked up by their `id`, and a class's namespace is walked and not searched: a metaclass can have
a `__hash__` of its own, and a key in a namespace an `__eq__`. What is known of a type is kept in a `Plan`.

Lives here: `plan_of`, `fields_of`, and the texts of types that say best by a text what they are. Not here:
how a value is written (snapshot.py), expressions over it (reading.py). Standard library only: a guest
imports this.
"""

from __future__ import annotations

import sys
from collections import deque
from contextlib import suppress
from itertools import islice
from weakref import ref

from devtrace.probes.kinds import CLASS_DICT, MIXED_TABLES, MODULE, MODULE_DICT, MODULE_OF, MRO, size_of

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, TracebackType
    from typing import Any

    Tell = Callable[[Any], str | None]

MOST_BITS = 1024  # of an integer whose digits are told: they take their square in time
_MOST_PLANS = 1024
_MOST_PARTS = 256  # of a path
_LARGE_DECIMAL = 2048  # bytes
_LONGEST_NAME = 128  # characters by which a name is judged
_MOST_NAMES = 10_000  # of one scope that are looked at
_MOST_LEVELS = 10_000  # of a traceback
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE, which no static type of C's has

_FLAGS = type.__dict__["__flags__"].__get__
_QUALNAME = type.__dict__["__qualname__"].__get__
_GETSET: Any = type(CLASS_DICT(type("_", (), {}))["__dict__"])  # getset_descriptor
_SLOT: Any = type(CLASS_DICT(type("_", (), {"__slots__": ("a",)}))["a"])  # member_descriptor
_FUNCTION = type(lambda: None)
_BUILTIN = type(len)
_METHOD = type((lambda _: None).__get__(0))
_SCOPE: Any = type((lambda: sys._getframe().f_locals)())  # a dict; a proxy of C's from 3.13 on

# Containers of items -> how they are walked and measured, by C functions that subclasses do not change.
WALKS: dict[type, tuple[Callable[[Any], Iterator[Any]], Callable[[Any], int]]] = {
    list: (list.__iter__, list.__len__),
    tuple: (tuple.__iter__, tuple.__len__),
    set: (set.__iter__, set.__len__),
    frozenset: (frozenset.__iter__, frozenset.__len__),
    deque: (deque.__iter__, deque.__len__),
}
_BASES = (*WALKS, dict, str, int, float, bytes, bytearray, complex)
# Of these the type alone is told: what they hold lies behind code of their own.
_CLOSED = ("_io.", "pandas.", "polars.", "torch.", "tensorflow.", "jax.", "jaxlib.", "pyarrow.", "pyspark.")


class Plan:
    """How the instances of one type are read. Never changed once it is made: any thread may use it.

    `name`: `module.Class`, and `Class` of a builtin. `base`: the builtin that it is, or is a subclass of.
    `tell`: the text that a value is best told by; it gives None where it cannot promise to run no code.
    """

    __slots__ = ("base", "form", "item_names", "kind", "name", "own", "slots", "tell")

    def __init__(self, kind: type):
        lineage = MRO(kind)
        self.kind = ref(kind)
        self.name = class_name(kind)
        self.form = _form_of(kind, self.name)
        self.base = next((one for one in lineage if any(one is base for base in _BASES)), None)
        self.tell = _tell_of(kind)
        self.item_names = _item_names(lineage) if self.base is tuple else None
        self.slots = () if self.form == "closed" else tuple(_slots_of(lineage))
        self.own = None if self.form == "closed" else _own_of(lineage)


_plans: dict[int, Plan] = {}


def plan_of(kind: type) -> Plan:
    """How instances of the type are read; remembered for the types seen last."""
    plan = _plans.get(id(kind))
    if plan is None or plan.kind() is not kind:  # a type that is gone may have left its id to another
        plan = Plan(kind)
        if len(_plans) >= _MOST_PLANS:
            _plans.clear()
        _plans[id(kind)] = plan
    return plan


def fields_of(plan: Plan, value: Any, most: int) -> list[tuple[str, Any]]:
    """The first fields of an instance: its slots that are set, then its dictionary; at most `most`.

    Raises RuntimeError when another thread changes the dictionary meanwhile.
    """
    found = []
    for name, slot in plan.slots:
        try:
            found.append((name, slot.__get__(value)))
        except (AttributeError, TypeError):  # not set; or another class's slot, put here under a name
            continue
    own = own_of(plan, value)
    if own is not None and len(found) < most:
        inner = islice(dict.items(own), most - len(found))
        found += [(name, one) for name, one in list(inner) if type(name) is str]
    return found[:most]


def own_of(plan: Plan, value: Any) -> dict[Any, Any] | None:
    """The dictionary of an instance, where C keeps it; None: it has none."""
    own = plan.own.__get__(value) if plan.own is not None else None
    return own if issubclass(type(own), dict) else None


def class_name(kind: type) -> str:
    """`module.Class`, and `Class` of a builtin, whatever a metaclass says."""
    name = str.__str__(_QUALNAME(kind))
    module = member(kind, "__module__") if _FLAGS(kind) & _HEAP_TYPE else MODULE_OF(kind)
    return f"{module}.{name}" if type(module) is str and module != "builtins" else name


def member(kind: type, wanted: str) -> Any:
    """What a class itself has under a name, as it lies there; None: nothing."""
    for name, found in list(CLASS_DICT(kind).items()):
        if type(name) is str and name == wanted:
            return found
    return None


def names_of(scope: Any) -> list[tuple[str, Any]]:
    """The variables of a scope, at most 10,000; none of one whose class is the program's own."""
    if type(scope) is dict and len(scope) <= _MOST_NAMES and size_of(scope) not in MIXED_TABLES:
        with suppress(RuntimeError):  # another thread changed it
            return list(scope.items())
    if issubclass(type(scope), dict):
        inner = copied(lambda: iter(dict.items(scope)), _MOST_NAMES)
    elif type(scope) is _SCOPE:
        inner = copied(lambda: iter(scope.items()), _MOST_NAMES)
    else:
        return []
    return [(name, value) for name, value in inner or () if type(name) is str]


def copied(begin: Callable[[], Iterator[Any]], most: int) -> list[Any] | None:
    """The first items of a container, read at once; None: another thread changed it, twice."""
    for _ in range(2):
        try:
            return list(islice(begin(), most))
        except RecursionError:
            raise
        except RuntimeError:  # it grew or shrank meanwhile
            continue
    return None


def spoken(key: Any) -> str | None:
    """The name that a key is, if it is one."""
    kind = type(key)
    if kind is str:
        return key  # type: ignore[no-any-return]
    if issubclass(kind, str):
        return str.__getitem__(key, slice(0, _LONGEST_NAME))
    if issubclass(kind, bytes):
        return bytes.__getitem__(key, slice(0, _LONGEST_NAME)).decode("latin-1")
    return None


def levels_of(traceback: TracebackType | None, most: int) -> list[str]:
    """The innermost levels of a traceback."""
    levels: list[TracebackType] = []
    while traceback is not None and len(levels) < _MOST_LEVELS:
        levels.append(traceback)
        traceback = traceback.tb_next
    codes = [(level.tb_frame.f_code, level.tb_lineno) for level in levels[max(0, len(levels) - most) :]]
    return [f'File "{code.co_filename}", line {number}, in {code.co_name}' for code, number in codes]


def class_of(code: CodeType) -> str | None:
    """The class in whose body a function was written, by its qualified name; None: in none."""
    around = str.__str__(code.co_qualname).rpartition(".")[0]
    return around.rpartition("<locals>.")[2] if around and not around.endswith("<locals>") else None


def digits(value: int) -> str:
    """An exact int in decimal, or its size where that would take long."""
    bits = value.bit_length()
    return int.__repr__(value) if bits <= MOST_BITS else f"<an integer of {bits} bits>"


def array_form(value: Any) -> tuple[list[int], str] | None:
    """Shape and type of the items of an exact numpy.ndarray, by its C descriptors."""
    kind, dtype = type(value), _loaded("numpy", "dtype")
    shape, items = member(kind, "shape"), member(kind, "dtype")
    label = None if dtype is None else member(dtype, "str")
    if shape is None or items is None or label is None:
        return None
    return list(shape.__get__(value)), str.__str__(label.__get__(items.__get__(value)))


def number_of(value: Any) -> int | float | bool | complex | None:
    """The builtin number that a numpy number holds; None: it holds another."""
    plain = value.item()  # an exact type of C's, so this is C's
    return plain if type(plain) in (int, float, bool, complex) else None


def _form_of(kind: type, name: str) -> str:
    """What kind of thing its instances are, when that is no plain object."""
    enum = _loaded("enum", "EnumMeta")
    if issubclass(kind, BaseException):
        return "exception"
    if enum is not None and issubclass(type(kind), enum):
        return "enum"
    if kind is _loaded("numpy", "ndarray"):
        return "array"
    if _is_a_number_of_numpys(kind):
        return "number"
    return "closed" if name.startswith(_CLOSED) else "object"


def _is_a_number_of_numpys(kind: type) -> bool:
    number, truth = _loaded("numpy", "number"), _loaded("numpy", "bool_")
    is_static = not _FLAGS(kind) & _HEAP_TYPE
    return number is not None and is_static and (kind is truth or issubclass(kind, number))


def _loaded(module: str, name: str) -> Any:
    """What a module that the program has imported calls so; None: it is not there."""
    found = sys.modules.get(module) if type(sys.modules) is dict else None
    return MODULE_DICT(found).get(name) if type(found) is MODULE else None


def _item_names(lineage: tuple[type, ...]) -> tuple[str, ...] | None:
    """Of a named tuple."""
    for kind in lineage:
        found = member(kind, "_fields")
        if type(found) is tuple and all(type(name) is str for name in found):
            return found
    return None


def _slots_of(lineage: tuple[type, ...]) -> Iterator[tuple[str, Any]]:
    for kind in reversed(lineage):
        if member(kind, "__slots__") is None:
            continue  # a type of C's has members too: a match its pattern, a method its object
        for name, found in list(CLASS_DICT(kind).items()):
            if type(found) is _SLOT and type(name) is str and name != "__weakref__":
                yield name, found


def _own_of(lineage: tuple[type, ...]) -> Any:
    for kind in lineage:
        found = member(kind, "__dict__")
        if type(found) is _GETSET and kind is not type:
            return found
    return None


# --- types that a text tells best ---


def _tell_of(kind: type) -> Tell | None:
    for one, tell in _OWN_TYPES:
        if kind is one:
            return tell
    if issubclass(kind, type):
        return lambda value: f"<class {class_name(value)!r}>"
    for module, names, tell in _KNOWN:
        if any(kind is _loaded(module, name) for name in names):
            return tell
    return None


def _moment(value: Any) -> str | None:
    """A datetime or time. A zone of the program's own would be asked for its offset."""
    zone = value.tzinfo
    ours = (_loaded("_datetime", "timezone"), _loaded("_zoneinfo", "ZoneInfo"))
    if zone is None or any(type(zone) is one for one in ours):
        return str(value)
    return f"{value.replace(tzinfo=None)} {class_name(type(zone))}"


def _decimal(value: Any) -> str | None:
    return str(value) if value.__sizeof__() < _LARGE_DECIMAL else None


def _fraction(value: Any) -> str | None:
    parts = dict(fields_of(plan_of(type(value)), value, 8))
    over, under = parts.get("_numerator"), parts.get("_denominator")
    return f"{digits(over)}/{digits(under)}" if type(over) is int and type(under) is int else None


def _uuid(value: Any) -> str | None:
    number = dict(fields_of(plan_of(type(value)), value, 8)).get("int")
    if type(number) is not int or not 0 <= number < 1 << 128:
        return None
    text = f"{number:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _path(value: Any) -> str | None:
    """From the slots that pathlib keeps it in, which are others in Python 3.11 than from 3.12 on."""
    kept = dict(fields_of(plan_of(type(value)), value, 32))
    whole, raw, parts = kept.get("_str"), kept.get("_raw_paths"), kept.get("_parts")
    if type(whole) is str:
        return whole
    given = raw if type(raw) is list else parts
    if type(given) is not list or not all(type(one) is str for one in given[:_MOST_PARTS]):
        return None
    import ntpath  # pathlib has imported both
    import posixpath

    flavour = ntpath if "Windows" in class_name(type(value)) else posixpath
    return flavour.join("", *given[:_MOST_PARTS]) or "."


def _range(value: range) -> str:
    step = "" if value.step == 1 else f", {digits(value.step)}"
    return f"range({digits(value.start)}, {digits(value.stop)}{step})"


def _function(value: Any) -> str:
    module = value.__module__
    name = str.__str__(value.__qualname__)
    return f"<function {module}.{name}>" if type(module) is str else f"<function {name}>"


def _method(value: Any) -> str | None:
    function = value.__func__
    return f"<method {str.__str__(function.__qualname__)}>" if type(function) is _FUNCTION else None


def _module(value: Any) -> str:
    name = MODULE_DICT(value).get("__name__")
    return f"<module {name!r}>" if type(name) is str else "<module>"


_OWN_TYPES: tuple[tuple[type, Tell], ...] = (
    (range, _range),
    (_FUNCTION, _function),
    (_BUILTIN, lambda value: f"<built-in function {value.__name__}>"),
    (_METHOD, _method),
    (MODULE, _module),
    (type(...), repr),
    (type(NotImplemented), repr),
)
# Exact types only; those of C tell by their own text, which runs nothing but C.
_KNOWN: tuple[tuple[str, tuple[str, ...], Tell], ...] = (
    ("_datetime", ("date", "timedelta"), str),
    ("_datetime", ("datetime", "time"), _moment),
    ("_decimal", ("Decimal",), _decimal),
    ("fractions", ("Fraction",), _fraction),
    ("uuid", ("UUID",), _uuid),
    ("pathlib", ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"), _path),
)
