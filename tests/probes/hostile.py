"""Values that count whatever is asked of them: every dunder, property, descriptor and hook of a metaclass.

    found = hostile.values()
    ...                              # read them
    assert hostile.calls == 0, hostile.asked

Lives here: the corpus, for all tests of what reads a stranger's values. Building it asks some of them, which
is forgotten at the end of `values()`: only what happens afterwards counts.
"""

from __future__ import annotations

import collections
import enum
import functools
import types
from typing import Any

calls = 0  # since values()
asked: list[str] = []  # what, since values()


class Asked(Exception):
    """What a hook raises when it has counted, so that a swallowed call still spoils the answer."""


def count(name: str) -> None:
    global calls
    calls += 1
    asked.append(name)


def hook(name: str) -> Any:
    def asked_for(*_: Any, **__: Any) -> Any:
        count(name)
        raise Asked(name)

    return asked_for


_DUNDERS = [
    "repr",
    "str",
    "bytes",
    "format",
    "lt",
    "le",
    "eq",
    "ne",
    "gt",
    "ge",
    "hash",
    "bool",
    "getattr",
    "getattribute",
    "setattr",
    "delattr",
    "dir",
    "len",
    "length_hint",
    "getitem",
    "setitem",
    "delitem",
    "missing",
    "iter",
    "next",
    "reversed",
    "contains",
    "call",
    "add",
    "radd",
    "sub",
    "rsub",
    "mul",
    "rmul",
    "truediv",
    "rtruediv",
    "floordiv",
    "rfloordiv",
    "mod",
    "rmod",
    "divmod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
    "neg",
    "pos",
    "abs",
    "invert",
    "complex",
    "int",
    "float",
    "index",
    "round",
    "trunc",
    "floor",
    "ceil",
    "enter",
    "exit",
    "await",
    "aiter",
    "anext",
    "copy",
    "deepcopy",
    "reduce",
    "reduce_ex",
    "getstate",
    "sizeof",
    "fspath",
    "buffer",
    "iadd",
    "isub",
    "imul",
    "get",
    "set",
    "delete",
    "instancecheck",
    "subclasscheck",
]
HOOKS: dict[str, Any] = {f"__{name}__": hook(f"__{name}__") for name in _DUNDERS}
_LIES = {name: property(hook(name)) for name in ("__class__", "__dict__", "name", "value", "length", "args")}
_META = {name: HOOKS[name] for name in HOOKS if name not in ("__call__", "__setattr__", "__get__", "__set__")}

Meta: Any = type("Meta", (type,), _META)
_BASES = (object, int, str, bytes, bytearray, float, complex, list, tuple, dict, set, frozenset, Exception)
_LIBRARY = (collections.deque, collections.OrderedDict, collections.defaultdict, types.ModuleType)


class Key:
    """A key that claims to be the text it lies beside: looking that up asks it."""

    def __init__(self, text: str):
        object.__setattr__(self, "text", text)

    def __hash__(self) -> int:
        count("Key.__hash__")
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        count("Key.__eq__")
        return True


class TextKey(str):
    """The same, and a text: setattr() takes it for a name."""

    __slots__ = ()

    def __hash__(self) -> int:
        count("TextKey.__hash__")
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        count("TextKey.__eq__")
        return True


class Descriptor:
    __get__ = hook("Descriptor.__get__")


class DataDescriptor(Descriptor):
    __set__ = hook("DataDescriptor.__set__")


class Account:
    """Plain fields, beside everything that a class can compute."""

    kind = "account"
    described = Descriptor()
    guarded = DataDescriptor()

    def __init__(self) -> None:
        self.id = 7
        self.owner = "ana"
        self.described_too = 1

    @property
    def balance(self) -> int:
        count("balance")
        return 5

    @functools.cached_property
    def total(self) -> int:
        count("total")
        return 5

    def method(self) -> int:
        count("method")
        return 5

    __eq__ = hook("Account.__eq__")
    __hash__ = hook("Account.__hash__")
    __bool__ = hook("Account.__bool__")
    __repr__ = hook("Account.__repr__")
    __getattr__ = hook("Account.__getattr__")


class Narrow:
    __slots__ = ("id", "unset")

    def __init__(self) -> None:
        self.id = 7

    __getattribute__ = hook("Narrow.__getattribute__")


class Colour(enum.Enum):
    RED = "red"

    __repr__ = __str__ = __format__ = hook("Colour.__repr__")

    @property
    def shade(self) -> str:
        count("shade")
        return "dark"


class Pair(collections.namedtuple("Pair", ("left", "right"))):
    __slots__ = ()
    __getitem__ = __eq__ = __len__ = __iter__ = hook("Pair")
    __hash__ = hook("Pair.__hash__")


def of(base: type) -> Any:
    """An instance of a hostile subclass, whose metaclass is hostile too."""
    fields = {"__module__": "app", **HOOKS}
    if base is not types.ModuleType:
        fields |= _LIES
    kind = Meta(f"Hostile{base.__name__}", (base,), fields)
    return base.__new__(kind)


def oddly_named() -> Any:
    """An instance of a class whose name is no plain text."""
    kind = type("Named", (), {"method": lambda self: None, "balance": property(hook("balance"))})
    name = type("Name", (str,), dict(HOOKS))
    kind.__qualname__, kind.__module__ = str.__new__(name, "Named"), str.__new__(name, "app")
    return kind()


def oddly_keyed() -> Any:
    """An instance whose dictionary has a key that claims to be `id`."""
    odd = Account()
    odd.__dict__ = {TextKey("id"): 1, "other": 2}
    return odd


def values() -> list[Any]:
    """The corpus, built anew."""
    global calls
    plain = [of(base) for base in (*_BASES, *_LIBRARY)]
    objects = [
        Account(),
        Narrow(),
        Colour.RED,
        Pair(1, Account()),
        oddly_keyed(),
        oddly_named(),
        Key("id"),
        TextKey("id"),
    ]
    kinds = [Meta("Odd", (), {}), Colour, Account, type("OddlyKeyed", (), {TextKey("id"): 1})]
    inside = [
        [Account()],
        (Account(),),
        {"id": Account()},
        {Key("id"): 1},
        {Key("a"), Key("b")},
        {(Key("id"),): 1},
    ]
    inside += [[plain[0]], {"deep": [{"er": plain[2]}]}, {TextKey("id"): 1, 3: 4}]
    found = [*plain, *objects, *kinds, *inside]
    calls = 0
    asked.clear()
    return found
