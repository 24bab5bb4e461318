"""Values as JSON, by their structure alone: no code of the program's is ever run for it.

What a value is made of is read where the interpreter keeps it: through the slots and dictionaries of exact
builtin types, and the descriptors that C types bring. `__repr__`, `__eq__`, properties, `__getattr__` and
`keys()` of a class are never called.

    5  true  null  1.5  "text"             themselves, when exact and short
    ["str", 4096, "start of it"]           ["bytes", 2, "aGk="]  ["int", "9007199254740993"]  ["float", "nan"]
    ["list", 3, [1, 2, 3]]                 tuple, set, frozenset, deque; more items than stand there: cut
    ["dict", 1, [["a", 1]]]                ["object", "app.User", 140.., [["name", "ana"]]]
    ["sub", "app.Names", ["list", 0, []]]  an instance of a subclass of a builtin
    ["enum", "app.Color", "RED", 1]        ["array", "numpy.ndarray", [2, 3], "<f8"]
    ["text", "decimal.Decimal", "1.10"]    what says itself best by its own text, of exact C types only
    ["type", "app.User"]  ["function", "app.main"]  ["module", "json"]  ["exception", "ValueError", [...]]
    ["ref", 1]  ["deep"]  ["opaque", "app.Handle", 140..]  ["redacted", "name"]  ["dropped"]

Lives here: `Encoder`. Not here: where the JSON goes (writing.py), whose names are secret (filters.py,
policy/). Standard library only: a guest imports this.
"""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

try:
    from _json import encode_basestring_ascii
except ImportError:  # an interpreter without its C part
    from json.encoder import py_encode_basestring_ascii as encode_basestring_ascii

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_EXACT = 1 << 53  # JSON's numbers are doubles in many a reader
_MOST_DIGITS = 300  # of a big integer
_SHORT = 64  # characters of a text that is remembered
_MOST_TEXTS = 4_096  # that are remembered
_MOST_EVENT = 24 << 10  # characters of one value's JSON: less than half a block
_OVERLAP = (
    4_096  # characters beyond a cut that are redacted with what is kept, so that no half of a secret stays
)

quoted: Callable[[str], str] = encode_basestring_ascii
_FILE = (lambda: 0).__code__.co_filename

_MRO = type.__dict__["__mro__"].__get__
_DICT = type.__dict__["__dict__"].__get__
_derives = type.__dict__["__subclasscheck__"]  # (base, kind); `in` would compare by the program's metaclasses
_QUALNAME = type.__dict__["__qualname__"].__get__
_MODULE_OF = type.__dict__["__module__"].__get__
_INSTANCE_DICT = type(_DICT(type("_", (), {}))["__dict__"])  # getset_descriptor
_SLOT = type(_DICT(type("_", (), {"__slots__": ("a",)}))["a"])  # member_descriptor
_FUNCTION = type(lambda: None)
_BUILTIN = type(len)
_METHOD = type(Exception().with_traceback)
_MODULE = type(sys)

REDACTED = '["redacted","name"]'
DROPPED = '["dropped"]'


class _TooLong(Exception):
    """More than a record has room for: what is read beyond that is read in vain."""


class Encoder:
    """Values as JSON text (ASCII) within limits. Holds no state between two values: any thread may use it."""

    __slots__ = ("_action", "_bytes", "_depth", "_items", "_keys", "_redact", "_texts", "_withheld")

    def __init__(
        self,
        *,
        depth: int,
        items: int,
        size: int,
        redact: Callable[[str], str],
        action: Callable[[str], int],
        withheld: Callable[[int, Any], str],
        texts: dict[str, str] | None = None,
    ):
        """`redact`: a text as it may be kept. `action`: 0, or what is done with a field or key of that name.

        `withheld`: what stands for a value with which that is done. `texts`: short texts as JSON, remembered
        for several encoders; who learns a secret clears it.
        """
        self._texts = {} if texts is None else texts
        self._keys: dict[str, int] = {}  # what is done with a field of that name
        self._depth = depth
        self._items = items
        self._bytes = size
        self._redact = redact
        self._action = action
        self._withheld = withheld

    def encode(self, value: Any) -> str:
        """The JSON text of a value. Never raises, but for a lack of memory."""
        try:
            text = self._any(value, self._depth, ())
        except RecursionError as error:
            if _is_from_elsewhere(error):
                raise
            return '["deep"]'
        except RuntimeError as error:  # another thread changed a container under us, twice
            if _is_from_elsewhere(error):
                raise
            return self._opaque(type(value), value)
        except _TooLong:
            return self._narrow(value)
        return text if len(text) <= _MOST_EVENT else self._narrow(value)

    def text(self, value: str) -> str:
        """An exact str: itself, or its beginning."""
        if len(value) <= self._bytes:
            told = quoted(self._redact(value))
            if len(value) <= _SHORT and len(self._texts) < _MOST_TEXTS:
                self._texts[value] = told
            return told
        kept = self._redact(value[: self._bytes + _OVERLAP])[: self._bytes]
        return f'["str",{len(value)},{quoted(kept)}]'

    # --- one value ---

    def _any(self, value: Any, depth: int, above: tuple[int, ...]) -> str:
        kind = type(value)
        if kind is str:
            return self._texts.get(value) or self.text(value)
        if type(kind) is not type:  # nor is it any of ours: to look it up would call its metaclass
            return self._other(kind, value, depth, above)
        leaf = _LEAVES.get(kind)
        if leaf is not None:
            return str(leaf(self, value))
        walk = _WALKS.get(kind)
        if walk is None:
            return self._other(kind, value, depth, above)
        if depth <= 0:
            return '["deep"]'
        if id(value) in above:
            return f'["ref",{len(above) - above.index(id(value))}]'
        return str(walk(self, value, depth - 1, (*above, id(value))))

    def _narrow(self, value: Any) -> str:
        """The same with fewer items, until it fits."""
        items, size = self._items, self._bytes
        text = None
        try:
            while text is None and (items > 1 or size > 16):
                items, size = max(1, items // 4), max(16, size // 4)
                narrow = Encoder(
                    depth=self._depth,
                    items=items,
                    size=size,
                    redact=self._redact,
                    action=self._action,
                    withheld=self._withheld,
                    texts=self._texts,
                )
                text = narrow._fitting(value)
        except RuntimeError as error:
            if _is_from_elsewhere(error):
                raise
        return self._opaque(type(value), value) if text is None else text

    def _fitting(self, value: Any) -> str | None:
        try:
            text = self._any(value, self._depth, ())
        except _TooLong:
            return None
        return text if len(text) <= _MOST_EVENT else None

    def _int(self, value: int) -> str:
        if -MOST_EXACT <= value <= MOST_EXACT:
            return int.__repr__(value)
        bits = int.bit_length(value)
        if bits <= _MOST_DIGITS * 3:
            return f'["int","{int.__repr__(value)}"]'
        return (
            f'["int","{hex(value >> (bits - 64))}",{bits}]'  # decimal digits would take their square in time
        )

    def _float(self, value: float) -> str:
        if value != value:
            return '["float","nan"]'
        if value in (_INFINITE, -_INFINITE):
            return '["float","inf"]' if value > 0 else '["float","-inf"]'
        return float.__repr__(value)

    def _complex(self, value: complex) -> str:
        return f'["complex",{self._float(value.real)},{self._float(value.imag)}]'

    def _bytes_like(self, value: bytes | bytearray) -> str:
        from binascii import b2a_base64

        raw = bytes(value[: self._bytes + _OVERLAP])
        plain = raw.decode("latin-1")
        redacted = self._redact(plain)
        if redacted != plain:
            raw = redacted.encode("utf-8", "replace")
        form = "bytes" if type(value) is bytes else "bytearray"
        return f'["{form}",{len(value)},"{b2a_base64(raw[: self._bytes], newline=False).decode()}"]'

    # --- containers ---

    def _items_of(self, form: str, value: Any, depth: int, above: tuple[int, ...]) -> str:
        texts, inner, room = self._texts, [], _MOST_EVENT
        for item in list(islice(iter(value), self._items)):
            kind = type(item)
            if kind is str:
                inner.append(texts.get(item) or self.text(item))
            elif kind is int and -MOST_EXACT <= item <= MOST_EXACT:
                inner.append(str(item))
            else:
                inner.append(told := self._any(item, depth, above))
                if (room := room - len(told)) < 0:
                    raise _TooLong
        return f'["{form}",{len(value)},[{",".join(inner)}]]'

    def _list(self, value: list[Any], depth: int, above: tuple[int, ...]) -> str:
        return self._items_of("list", value, depth, above)

    def _tuple(self, value: tuple[Any, ...], depth: int, above: tuple[int, ...]) -> str:
        return self._items_of("tuple", value, depth, above)

    def _set(self, value: set[Any], depth: int, above: tuple[int, ...]) -> str:
        return self._items_of("set", value, depth, above)

    def _frozenset(self, value: frozenset[Any], depth: int, above: tuple[int, ...]) -> str:
        return self._items_of("frozenset", value, depth, above)

    def _dict(self, value: dict[Any, Any], depth: int, above: tuple[int, ...]) -> str:
        return f'["dict",{dict.__len__(value)},{self._pairs(value, depth, above)}]'

    def _pairs(self, value: dict[Any, Any], depth: int, above: tuple[int, ...]) -> str:
        pairs, room = [], _MOST_EVENT
        for key, inner in list(islice(dict.items(value), self._items)):
            action = self._done_with(spoken) if (spoken := _spoken(key)) is not None else 0
            text = self._withheld(action, inner) if action else self._any(inner, depth, above)
            pairs.append(f"[{self._any(key, depth, above)},{text}]")
            if (room := room - len(text)) < 0:
                raise _TooLong
        return f"[{','.join(pairs)}]"

    def _done_with(self, name: str) -> int:
        """0, or what is done with a field or key of that name."""
        action = self._keys.get(name)
        if action is None:
            action = self._action(name)
            if len(self._keys) < _MOST_TEXTS:
                self._keys[name] = action
        return action

    # --- everything else ---

    def _other(self, kind: type, value: Any, depth: int, above: tuple[int, ...]) -> str:
        name = _class_name(kind)
        if id(value) in above:
            return f'["ref",{len(above) - above.index(id(value))}]'
        lineage = _MRO(kind)
        if _derives(type, kind):
            return f'["type",{quoted(_class_name(value))}]'
        if type(kind) is type and (special := _SPECIAL.get(kind)) is not None:
            return str(special(self, name, value))
        if _is_of(_TEXTS, name, kind):
            return f'["text",{quoted(name)},{quoted(str(value))}]'
        if _is_of(_MOMENTS, name, kind) and value.tzinfo is None:  # a zone may be a class of the program's
            return f'["text",{quoted(name)},{quoted(str(value))}]'
        if _is_of(_QUEUES, name, kind) and depth > 0:
            return self._items_of("deque", value, depth - 1, (*above, id(value)))
        enum = sys.modules.get("enum")
        if enum is not None and _derives(enum.EnumType, type(kind)):
            return self._enum(name, value, depth, above)
        if _derives(BaseException, kind):
            return self._exception(name, value, depth, above)
        if (array := self._array(name, kind, value)) is not None:
            return array
        if depth <= 0:
            return self._opaque(kind, value)
        if _derives(tuple, kind) and (names := _names_of_items(lineage)) is not None:
            return self._named_items(name, names, value, depth - 1, (*above, id(value)))
        for base in lineage:
            if type(base) is type and (base in _LEAVES or base in _WALKS):
                plain = _plain(base, value)
                return f'["sub",{quoted(name)},{self._any(plain, depth, above)}]'
        return self._object(name, lineage, value, depth - 1, (*above, id(value)))

    def _opaque(self, kind: type, value: Any) -> str:
        return f'["opaque",{quoted(_class_name(kind))},{id(value)}]'

    def _object(
        self, name: str, lineage: tuple[type, ...], value: Any, depth: int, above: tuple[int, ...]
    ) -> str:
        fields = list(islice(_fields(lineage, value), self._items))
        if not fields:
            return f'["opaque",{quoted(name)},{id(value)}]'
        shown, room = [], _MOST_EVENT
        for field, inner in fields:
            action = self._done_with(field)
            text = self._withheld(action, inner) if action else self._any(inner, depth, above)
            shown.append(f"[{quoted(field)},{text}]")
            if (room := room - len(text)) < 0:
                raise _TooLong
        return f'["object",{quoted(name)},{id(value)},[{",".join(shown)}]]'

    def _named_items(
        self, name: str, names: tuple[Any, ...], value: Any, depth: int, above: tuple[int, ...]
    ) -> str:
        """A tuple whose items have names."""
        inner, room = [], _MOST_EVENT
        for number, item in enumerate(islice(tuple.__iter__(value), self._items)):
            field = names[number] if number < len(names) else None
            action = self._done_with(field) if type(field) is str else 0
            inner.append(told := self._withheld(action, item) if action else self._any(item, depth, above))
            if (room := room - len(told)) < 0:
                raise _TooLong
        return f'["sub",{quoted(name)},["tuple",{tuple.__len__(value)},[{",".join(inner)}]]]'

    def _enum(self, name: str, value: Any, depth: int, above: tuple[int, ...]) -> str:
        fields = dict(_fields(_MRO(type(value)), value))
        member = fields.get("_name_")
        member = member if type(member) is str else "?"
        inner = self._any(fields.get("_value_"), depth - 1, (*above, id(value)))
        return f'["enum",{quoted(name)},{quoted(member)},{inner}]'

    def _exception(self, name: str, value: BaseException, depth: int, above: tuple[int, ...]) -> str:
        arguments = BaseException.args.__get__(value)  # type: ignore[attr-defined]
        inner = [self._any(one, depth - 1, (*above, id(value))) for one in arguments[: self._items]]
        return f'["exception",{quoted(name)},[{",".join(inner)}]]'

    def _array(self, name: str, kind: type, value: Any) -> str | None:
        """What has a shape and a type of its items by C descriptors alone: numpy's arrays and their like."""
        own = _DICT(kind)
        shape, dtype = own.get("shape"), own.get("dtype")
        if type(shape) is not _INSTANCE_DICT or type(dtype) is not _INSTANCE_DICT:
            return None
        sizes, inner = shape.__get__(value), dtype.__get__(value)
        code = _DICT(_MRO(type(inner))[-2] if len(_MRO(type(inner))) > 2 else type(inner)).get("str")
        label = code.__get__(inner) if type(code) in (_INSTANCE_DICT, _SLOT) else _class_name(type(inner))
        if not isinstance(sizes, tuple) or type(label) is not str:
            return None
        return f'["array",{quoted(name)},[{",".join(map(self._int, sizes[:32]))}],{quoted(label)}]'

    def _named(self, _: str, value: Any) -> str:
        form = "module" if type(value) is _MODULE else "function"
        return f'["{form}",{quoted(_name_of(value))}]'

    def _range(self, _: str, value: range) -> str:
        return f'["range",{self._int(value.start)},{self._int(value.stop)},{self._int(value.step)}]'


def _is_from_elsewhere(error: BaseException) -> bool:
    """Whether it was raised by a handler of a signal, which ran in the midst of us."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and traceback.tb_frame.f_code.co_filename != _FILE


def _class_name(kind: type) -> str:
    """`module.Class`, and `Class` of a builtin: read from the type itself, whatever its metaclass says."""
    name, module = str.__str__(_QUALNAME(kind)), _MODULE_OF(kind)  # which may be of a class of the program's
    return f"{module}.{name}" if type(module) is str and module != "builtins" else name


def _name_of(value: Any) -> str:
    """Of a function, a builtin or a module, from where C keeps it."""
    if type(value) is _MODULE:
        name = object.__getattribute__(value, "__dict__").get("__name__")
        return name if type(name) is str else "?"
    if type(value) is _FUNCTION:
        name, module = str.__str__(value.__qualname__), value.__module__
        return f"{module}.{name}" if type(module) is str else name
    return str.__str__(value.__qualname__)


def _spoken(key: Any) -> str | None:
    """The name that a key is, if it is one."""
    kind = type(key)
    if kind is str:
        return key  # type: ignore[no-any-return]
    if kind is bytes:
        return key[:_SHORT].decode("latin-1")  # type: ignore[no-any-return]
    return str.__str__(key) if kind is not int and _derives(str, kind) else None


def _names_of_items(lineage: tuple[type, ...]) -> tuple[Any, ...] | None:
    """Of a named tuple."""
    for kind in lineage:
        found = _DICT(kind).get("_fields")
        if type(found) is tuple:
            return found
    return None


def _fields(lineage: tuple[type, ...], value: Any) -> Iterator[tuple[str, Any]]:
    """The fields of an instance: its slots, then its dictionary. Only what C descriptors give."""
    for kind in reversed(lineage):
        if "__slots__" not in _DICT(kind):
            continue  # a type of C's has members too: a match its pattern, a method its object
        for name, found in list(_DICT(kind).items()):
            if type(found) is _SLOT and name != "__weakref__" and type(name) is str:
                try:
                    yield name, found.__get__(value)
                except AttributeError:  # nothing stands in that slot
                    continue
    own = own_fields(value)
    if own is not None:
        yield from ((name, inner) for name, inner in list(dict.items(own)) if type(name) is str)


def own_fields(value: Any) -> dict[str, Any] | None:
    """The dictionary of an instance, where C keeps it; None: it has none."""
    for kind in _MRO(type(value)):
        found = _DICT(kind).get("__dict__")
        if type(found) is _INSTANCE_DICT and kind is not type:
            own = found.__get__(value)
            return own if _derives(dict, type(own)) else None
    return None


def _plain(base: type, value: Any) -> Any:
    """An instance of a subclass as its builtin base has it."""
    copy = _COPIES.get(base)
    return copy(value) if copy is not None else None


def _prefix(form: type) -> Any:
    return lambda value: form(islice(form.__iter__(value), 4096))  # type: ignore[attr-defined]


_INFINITE = float("inf")
_LEAVES: dict[type, Any] = {
    int: Encoder._int,
    str: Encoder.text,
    bool: lambda _, value: "true" if value else "false",
    type(None): lambda *_: "null",
    float: Encoder._float,
    bytes: Encoder._bytes_like,
    bytearray: Encoder._bytes_like,
    complex: Encoder._complex,
    type(...): lambda *_: '["opaque","ellipsis",0]',
    type(NotImplemented): lambda *_: '["opaque","NotImplementedType",0]',
}
_WALKS: dict[type, Any] = {
    list: Encoder._list,
    tuple: Encoder._tuple,
    dict: Encoder._dict,
    set: Encoder._set,
    frozenset: Encoder._frozenset,
}
_COPIES: dict[type, Any] = {
    int: int.__int__,
    str: str.__str__,
    float: float.__float__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    bytearray: lambda value: bytearray.__getitem__(value, slice(0, 65_536)),
    complex: complex.__complex__,
    dict: lambda value: dict(islice(dict.items(value), 4096)),
    list: _prefix(list),
    tuple: _prefix(tuple),
    set: _prefix(set),
    frozenset: _prefix(frozenset),
}
_SPECIAL: dict[type, Any] = {
    _FUNCTION: Encoder._named,
    _BUILTIN: Encoder._named,
    _MODULE: Encoder._named,
    range: Encoder._range,
}
# Their values can be in no container, change by no method, and need not be looked at again.
UNCHANGING = frozenset({*_LEAVES, *_SPECIAL, type, _METHOD, tuple, frozenset} - {bytearray})


# Exact C types, by name -> the module that has the true one: their own text runs no code but theirs.
_TEXTS = {"decimal.Decimal": "_decimal", "datetime.date": "_datetime", "datetime.timedelta": "_datetime"}
_MOMENTS = {"datetime.datetime": "_datetime", "datetime.time": "_datetime"}
_QUEUES = {"collections.deque": "_collections"}


def _is_of(types: dict[str, str], name: str, kind: type) -> bool:
    module = types.get(name)
    found = sys.modules.get(module) if module is not None else None
    return found is not None and getattr(found, name.rpartition(".")[2], None) is kind
