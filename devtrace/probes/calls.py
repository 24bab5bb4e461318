"""Arithmetic, functions and methods on exact builtin values, with their size looked at before.

The functions are Python's own `len abs min max sum any all isinstance type str int float bool repr`,
whatever the program has put under those names; the methods are those that read a text, bytes, a dictionary,
a list or a tuple.

Lives here: the tables FUNCTIONS and METHODS, `method`, and what `+ - * / // %` do. Not here: comparison and
items (reading.py), regular expressions (patterns.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import operator

from devtrace.probes.kinds import (
    CLASS_DICT,
    EXACT,
    MISSING,
    MOST_ELEMENTS,
    SCALARS,
    TEXTS,
    Unsafe,
    class_entry,
    class_name,
    ids,
    is_dict,
    is_kind,
    native,
    refusal,
    taken,
)
from devtrace.probes.reading import MOST_TEXT, elements, equal, find, length, plain, truth, unless_hidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MOST_BITS = 20_000  # of an integer that is computed with, or written
_MOST_DIGITS = 5_000  # of a text that is read as a number
_NUMBERS = ids(int, float, bool, complex)
_INTEGERS = ids(int, bool)
_JOINED = TEXTS | ids(list, tuple)


# --- arithmetic ---


def _checked(value: Any, doing: str) -> Any:
    kind = type(value)
    if id(kind) not in EXACT and native(kind) not in _RECKONING:
        raise refusal(kind, doing)
    if kind is int and int.bit_length(value) > MOST_BITS:
        raise Unsafe("the integer is too big to compute with")
    return value


_RECKONING = ("datetime.date", "datetime.timedelta")  # decimals would leave flags in their context


def _arithmetic(
    doing: str, compute: Callable[[Any, Any], Any], guard: Callable[[Any, Any], None]
) -> Callable[[Any, Any], Any]:
    def computed(left: Any, right: Any) -> Any:
        if type(left) is float and type(right) is float:
            return compute(left, right)
        guard(_checked(left, doing), _checked(right, doing))
        return compute(left, right)

    return computed


def _free(_: Any, __: Any) -> None:
    """Costs no more than its operands did."""


def _guard_joining(left: Any, right: Any) -> None:
    if id(type(left)) in _JOINED and id(type(right)) in _JOINED:
        _guard_size(left, len(left) + len(right))


def _guard_repeating(left: Any, right: Any) -> None:
    for value, times in ((left, right), (right, left)):
        if id(type(value)) in _JOINED and id(type(times)) in _INTEGERS:
            _guard_size(value, len(value) * times)
    if type(left) is int and type(right) is int and int.bit_length(left) + int.bit_length(right) > MOST_BITS:
        raise Unsafe("the product is too big to compute")


def _guard_size(value: Any, size: int) -> None:
    if size > (MOST_TEXT if id(type(value)) in TEXTS else MOST_ELEMENTS):
        raise Unsafe("the result is too long to be made")


def _guard_formatting(left: Any, _: Any) -> None:
    if id(type(left)) in TEXTS:
        raise Unsafe("% would format a text: write a template instead")


def _guard_sets(left: Any, right: Any) -> None:
    if type(left) is set or type(left) is frozenset or type(right) is set or type(right) is frozenset:
        raise Unsafe("sets are not computed with")


add = _arithmetic("adding", operator.add, _guard_joining)
subtract = _arithmetic("subtracting", operator.sub, _guard_sets)
multiply = _arithmetic("multiplying", operator.mul, _guard_repeating)
divide = _arithmetic("dividing", operator.truediv, _free)
floor_divide = _arithmetic("dividing", operator.floordiv, _free)
modulo = _arithmetic("dividing", operator.mod, _guard_formatting)


def negative(value: Any) -> Any:
    return -_checked(value, "negating")


def positive(value: Any) -> Any:
    return +_checked(value, "negating")


# --- text ---


def written(value: Any) -> str:
    """`str(value)` of builtin values."""
    return value if type(value) is str else spelled(value)


def spelled(value: Any) -> str:
    """`repr(value)` of builtin values, and the own text of dates and decimals."""
    kind = type(value)
    if id(kind) in TEXTS:
        _guard_size(value, len(value))
    elif kind is int and int.bit_length(value) > MOST_BITS:
        raise Unsafe("the integer has too many digits to be written")
    elif id(kind) not in SCALARS:
        value = plain(value)
        return str(value) if id(kind) not in EXACT else repr(value)
    return repr(value)


# --- functions ---


def _abs(value: Any) -> Any:
    return abs(_checked(value, "the size of"))


def _extreme(choose: Callable[[Any], Any]) -> Callable[..., Any]:
    def chosen(*values: Any) -> Any:
        inside = elements(values[0]) if len(values) == 1 else list(values)
        return choose(plain(inside))

    return chosen


def _sum(values: Any, start: Any = 0) -> Any:
    for value in (start, *(inside := elements(values))):
        if id(type(_checked(value, "adding"))) not in _NUMBERS:
            raise Unsafe("sum() adds numbers only")
    return sum(inside, start)


def _any(values: Any) -> bool:
    return any(map(truth, elements(values)))


def _all(values: Any) -> bool:
    return all(map(truth, elements(values)))


def _isinstance(value: Any, kinds: Any) -> bool:
    several = taken(kinds, len(kinds)) if type(kinds) is tuple else [kinds]
    return any(_is_instance(value, kind) for kind in several)


def _is_instance(value: Any, kinds: Any) -> bool:
    if not is_kind(type(kinds), type):
        if id(type(kinds)) not in EXACT or type(kinds) is tuple:
            raise refusal(type(kinds), "isinstance() with")
        return isinstance(None, kinds)  # a TypeError: it is none
    if type(value) is kinds:
        return True
    check = class_entry(type(kinds), "__instancecheck__")
    if check is CLASS_DICT(type)["__instancecheck__"]:
        return is_kind(type(value), kinds)
    if class_name(type(kinds)) == "abc.ABCMeta" and is_kind(type(value), kinds):
        return True
    raise Unsafe(f"isinstance() would ask {class_name(type(kinds))}, the metaclass of {class_name(kinds)}")


def _number(make: Callable[..., Any]) -> Callable[..., Any]:
    def made(*values: Any) -> Any:
        for value in values:
            if id(type(value)) not in EXACT:
                raise refusal(type(value), "a number from")
            if id(type(value)) in TEXTS and len(value) > _MOST_DIGITS:
                raise Unsafe("the text is too long for a number")
        return make(*values)

    return made


# name -> the function, and how many arguments it takes: at least, at most
FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "len": (length, 1, 1),
    "abs": (_abs, 1, 1),
    "min": (_extreme(min), 1, 50),
    "max": (_extreme(max), 1, 50),
    "sum": (_sum, 1, 2),
    "any": (_any, 1, 1),
    "all": (_all, 1, 1),
    "isinstance": (_isinstance, 2, 2),
    "type": (type, 1, 1),
    "str": (written, 1, 1),
    "repr": (spelled, 1, 1),
    "int": (_number(int), 1, 2),
    "float": (_number(float), 1, 1),
    "bool": (truth, 1, 1),
}


# --- methods ---

_OF_TEXT = [
    "startswith",
    "endswith",
    "find",
    "rfind",
    "index",
    "rindex",
    "count",
    "strip",
    "lstrip",
    "rstrip",
    "lower",
    "upper",
    "title",
    "capitalize",
    "swapcase",
    "split",
    "rsplit",
    "splitlines",
    "partition",
    "rpartition",
    "removeprefix",
    "removesuffix",
    "isalnum",
    "isalpha",
    "isascii",
    "isdigit",
    "islower",
    "isspace",
    "istitle",
    "isupper",
]
_OF_STR = [*_OF_TEXT, "casefold", "isdecimal", "isidentifier", "isnumeric", "isprintable"]


def _get(table: Any, key: Any, default: Any = None) -> Any:
    return default if (found := find(table, key)) is MISSING else unless_hidden(key, found)


def _values(table: Any) -> list[Any]:
    return [value for _, value in _items(table)]


def _items(table: Any) -> list[Any]:
    pairs = taken(dict.items(table), dict.__len__(table))
    return [(key, unless_hidden(key, value)) for key, value in pairs]


def _count(values: Any, value: Any) -> int:
    return sum([one is value or equal(one, value) for one in elements(values)])


def _index(values: Any, value: Any) -> int:
    for number, one in enumerate(elements(values)):
        if one is value or equal(one, value):
            return number
    raise ValueError("the value is not in it")


_OF_LIST: dict[str, Callable[..., Any]] = {"count": _count, "index": _index}
_OF_DICT: dict[str, Callable[..., Any]] = {"get": _get, "keys": elements, "values": _values, "items": _items}
_TABLES: dict[int, dict[str, Callable[..., Any]]] = {
    id(str): {name: getattr(str, name) for name in _OF_STR},
    id(bytes): {name: getattr(bytes, name) for name in _OF_TEXT},
    id(bytearray): {name: getattr(bytearray, name) for name in _OF_TEXT},
    id(list): _OF_LIST,
    id(tuple): _OF_LIST,
    id(range): _OF_LIST,
    id(dict): _OF_DICT,
}
METHODS = frozenset(_OF_STR) | _OF_LIST.keys() | _OF_DICT.keys()


def method(value: Any, name: str, *arguments: Any) -> Any:
    """`value.name(*arguments)` of an exact builtin type, for a name of METHODS."""
    kind = type(value)
    table = _OF_DICT if is_dict(kind) else _TABLES.get(id(kind))
    if table is None:
        if id(kind) in EXACT:
            raise AttributeError(f"'{kind.__name__}' object has no attribute '{name}'")
        raise refusal(kind, f"calling {name}() of")
    if (function := table.get(name)) is None:
        raise AttributeError(f"'{kind.__name__}' object has no attribute '{name}'")
    if id(kind) not in TEXTS:
        return function(value, *arguments)
    if len(value) > MOST_TEXT:
        raise Unsafe("the text is too long to be searched")
    return function(value, *plain(arguments))
