"""Values as CodeTracer's ValueRecords: the typed form (recorder/values.py) in the words of another program.

    5 true null 1.5 "text"  Int Bool None Float String      ["int", …] beyond 64 bits  BigInt
    list tuple set dict      Sequence, Tuple, a Sequence of Tuples of two; what is missing is its last element
    object exception         Struct, with a type for each set of field names
    enum                     Variant                        redacted dropped           Error
    all else                 Raw: its text, with a type that says what it is

The kinds are those of `codetracer_trace_types` 0.15 and 0.16: https://github.com/metacraft-labs/runtime_tracing.

Lives here: `Types`, `Values`. Not here: the events around them (codetracer.py). Standard library only, and no
dataclass: guests import this.
"""

from __future__ import annotations

import json
from binascii import Error as BadBase64
from binascii import a2b_base64, b2a_base64
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# TypeKind
SEQ, SET, STRUCT, INT, FLOAT, STRING, BOOL, RECURSION, RAW, ENUM = 0, 1, 6, 7, 8, 9, 12, 15, 16, 17
ERROR, FUNCTION, TYPE_VALUE, TUPLE, NONE, NON_EXPANDED, ANY = 24, 25, 26, 27, 30, 31, 32

NONE_TYPE = 0  # the first of each trace
_MOST_DEPTH = 24  # JSON readers give up at 128 levels, and a dict has four
_MOST_STRUCTS = 4_096  # types of objects in one trace; the others are Raw
_MOST_RAW = 4_096  # characters
_INT64 = 1 << 63
_SEQUENCES = {"list": "List", "set": "Set", "frozenset": "FrozenSet", "deque": "Deque"}


def quoted(text: str) -> str:
    """A text as JSON, in ASCII and without a lone surrogate, which strict readers refuse."""
    told = json.dumps(str(text))
    if "\\ud" in told:
        told = json.dumps(str(text).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
    return told


class Types:
    """Numbers of types, told when they are first needed: None at once."""

    def __init__(self, tell: Callable[[str], None]):
        """`tell`: takes a definition, which stands before what uses it."""
        self._tell = tell
        self._known: dict[tuple[int, str, tuple[str, ...] | None], int] = {}
        self._n_structs = 0
        self.number(NONE, "None")

    def number(self, kind: int, name: str) -> int:
        """The type of that kind and name."""
        key = (kind, name, None)
        known = self._known.get(key)
        return self._new(key, '{"kind":"None"}') if known is None else known

    def struct(self, name: str, fields: tuple[str, ...]) -> int | None:
        """The type of objects with these fields; None when there are too many already."""
        key = (STRUCT, name, fields)
        known = self._known.get(key)
        if known is not None or self._n_structs >= _MOST_STRUCTS:
            return known
        self._n_structs += 1
        of_any = self.number(ANY, "Any")
        told = ",".join(f'{{"name":{quoted(field)},"type_id":{of_any}}}' for field in fields)
        return self._new(key, f'{{"kind":"Struct","fields":[{told}]}}')

    def _new(self, key: tuple[int, str, tuple[str, ...] | None], info: str) -> int:
        number = self._known[key] = len(self._known)
        kind, name, _ = key
        self._tell(f'{{"Type":{{"kind":{kind},"lang_type":{quoted(name)},"specific_info":{info}}}}}')
        return number


class Values:
    """The typed form as ValueRecords."""

    def __init__(self, types: Types):
        self.types = types

    def text(self, value: Any) -> str:
        """The JSON of a value, whatever it is; its types are told before it returns."""
        try:
            return self._any(value, _MOST_DEPTH, "")
        except (TypeError, ValueError, IndexError, KeyError, AttributeError, BadBase64):
            return self.raw(json.dumps(value), "Object")  # nothing that we wrote

    def raw(self, text: str, name: str, kind: int = RAW) -> str:
        """A value of which only the text is known."""
        text = text if len(text) <= _MOST_RAW else f"{text[:_MOST_RAW]}…"
        return f'{{"kind":"Raw","r":{quoted(text)},"type_id":{self.types.number(kind, name)}}}'

    def error(self, message: str, name: str, kind: int = RAW) -> str:
        """What is no value: withheld, not recorded, an exception that left a function."""
        return f'{{"kind":"Error","msg":{quoted(message)},"type_id":{self.types.number(kind, name)}}}'

    def string(self, text: str, name: str = "String") -> str:
        """A text."""
        return f'{{"kind":"String","text":{quoted(text)},"type_id":{self.types.number(STRING, name)}}}'

    def _any(self, value: Any, depth: int, name: str) -> str:
        """`name`: the class of an instance of a builtin's subclass, or ""."""
        if value is None:
            return f'{{"kind":"None","type_id":{NONE_TYPE}}}'
        if isinstance(value, bool):
            told = "true" if value else "false"
            return f'{{"kind":"Bool","b":{told},"type_id":{self.types.number(BOOL, name or "Bool")}}}'
        if isinstance(value, int):
            return self._int(value, name)
        if isinstance(value, str):
            return self.string(value, name or "String")
        if isinstance(value, float):
            return self._float(value, name)
        if depth <= 0:
            return self.raw("…", "NonExpanded", NON_EXPANDED)
        form = value[0]
        write = _FORMS.get(form)
        if write is not None:
            return str(write(self, value, depth - 1, name))
        return self.raw(json.dumps(value), "Object")

    def _int(self, value: int, name: str) -> str:
        number = self.types.number(INT, name or "Int")
        if -_INT64 <= value < _INT64:
            return f'{{"kind":"Int","i":{value},"type_id":{number}}}'
        size = (abs(value).bit_length() + 7) // 8
        digits = b2a_base64(abs(value).to_bytes(size, "big"), newline=False).decode()
        sign = "true" if value < 0 else "false"
        return f'{{"kind":"BigInt","b":"{digits}","negative":{sign},"type_id":{number}}}'

    def _float(self, value: float | str, name: str) -> str:
        told = {"nan": "NaN"}.get(str(value), str(value))  # as Rust writes and reads it
        return f'{{"kind":"Float","f":"{told}","type_id":{self.types.number(FLOAT, name or "Float")}}}'

    # --- lists that name their form ---

    def _str(self, value: list[Any], _: int, name: str) -> str:
        return self.string(f"{value[2]}… ({value[1]} characters)", name or "String")

    def _big(self, value: list[Any], _: int, name: str) -> str:
        if len(value) == 3:
            return self.raw(f"{value[1]}… ({value[2]} bits)", name or "Int")
        return self._int(int(value[1]), name)

    def _named_float(self, value: list[Any], _: int, name: str) -> str:
        return self._float(str(float(value[1])), name)

    def _complex(self, value: list[Any], _: int, name: str) -> str:
        real, imaginary = (float(one[1]) if isinstance(one, list) else float(one) for one in value[1:3])
        return self.raw(str(complex(real, imaginary)), name or "Complex")

    def _bytes(self, value: list[Any], _: int, name: str) -> str:
        data = a2b_base64(value[2])
        shown = repr(data) if value[0] == "bytes" else repr(bytearray(data))
        cut = f"… ({value[1]} bytes)" if value[1] > len(data) else ""
        return self.raw(shown + cut, name or {"bytes": "Bytes"}.get(value[0], "ByteArray"))

    def _sequence(self, value: list[Any], depth: int, name: str) -> str:
        kind = SET if value[0] in ("set", "frozenset") else SEQ
        number = self.types.number(kind, name or _SEQUENCES[value[0]])
        elements = self._elements(value, depth)
        return f'{{"kind":"Sequence","elements":[{elements}],"is_slice":false,"type_id":{number}}}'

    def _tuple(self, value: list[Any], depth: int, name: str) -> str:
        number = self.types.number(TUPLE, name or "Tuple")
        return f'{{"kind":"Tuple","elements":[{self._elements(value, depth)}],"type_id":{number}}}'

    def _elements(self, value: list[Any], depth: int) -> str:
        told = [self._any(one, depth, "") for one in value[2]]
        return ",".join([*told, *self._missing(value[1] - len(told))])

    def _missing(self, n: int) -> list[str]:
        return [self.raw(f"… {n} more", "NonExpanded", NON_EXPANDED)] if n > 0 else []

    def _dict(self, value: list[Any], depth: int, name: str) -> str:
        number, pair = self.types.number(SEQ, name or "Dict"), self.types.number(TUPLE, "Tuple")
        pairs = [(self._any(key, depth, ""), self._any(one, depth, "")) for key, one in value[2]]
        told = [f'{{"kind":"Tuple","elements":[{key},{one}],"type_id":{pair}}}' for key, one in pairs]
        elements = ",".join([*told, *self._missing(value[1] - len(told))])
        return f'{{"kind":"Sequence","elements":[{elements}],"is_slice":false,"type_id":{number}}}'

    def _object(self, value: list[Any], depth: int, _: str) -> str:
        return self._struct(value[1], value[3], depth)

    def _exception(self, value: list[Any], depth: int, _: str) -> str:
        return self._struct(value[1], [["args", ["tuple", len(value[2]), value[2]]]], depth)

    def _struct(self, name: str, fields: list[Any], depth: int) -> str:
        number = self.types.struct(name, tuple(str(field) for field, _ in fields))
        if number is None:
            return self.raw(json.dumps(fields), name)
        told = ",".join(self._any(one, depth, "") for _, one in fields)
        return f'{{"kind":"Struct","field_values":[{told}],"type_id":{number}}}'

    def _enum(self, value: list[Any], depth: int, _: str) -> str:
        number, contents = self.types.number(ENUM, value[1]), self._any(value[3], depth, "")
        label = quoted(str(value[2]))
        return f'{{"kind":"Variant","discriminator":{label},"contents":{contents},"type_id":{number}}}'

    def _sub(self, value: list[Any], depth: int, _: str) -> str:
        return self._any(value[2], depth, value[1])

    def _ref(self, value: list[Any], *_: Any) -> str:
        return self.raw(f"<itself, {value[1]} up>", "Recursion", RECURSION)

    def _deep(self, *_: Any) -> str:
        return self.raw("…", "NonExpanded", NON_EXPANDED)

    def _opaque(self, value: list[Any], *_: Any) -> str:
        return self.raw(f"<{value[1]}>", value[1])

    def _text(self, value: list[Any], *_: Any) -> str:
        return self.raw(str(value[2]), value[1])

    def _array(self, value: list[Any], *_: Any) -> str:
        return self.raw(f"shape {tuple(value[2])}, dtype {value[3]}", value[1])

    def _range(self, value: list[Any], *_: Any) -> str:
        return self.raw(f"range({', '.join(str(one) for one in value[1:])})", "Range")

    def _function(self, value: list[Any], *_: Any) -> str:
        return self.raw(f"<function {value[1]}>", "Function", FUNCTION)

    def _type(self, value: list[Any], *_: Any) -> str:
        return self.raw(f"<class {value[1]!r}>", "Type", TYPE_VALUE)

    def _module(self, value: list[Any], *_: Any) -> str:
        return self.raw(f"<module {value[1]!r}>", "Module")

    def _redacted(self, *_: Any) -> str:
        return self.error("<redacted>", "Redacted")

    def _dropped(self, *_: Any) -> str:
        return self.error("<dropped>", "Dropped")


_FORMS: dict[str, Any] = {
    "str": Values._str, "int": Values._big, "float": Values._named_float, "complex": Values._complex,
    "bytes": Values._bytes, "bytearray": Values._bytes, "tuple": Values._tuple, "dict": Values._dict,
    **dict.fromkeys(_SEQUENCES, Values._sequence), "object": Values._object, "exception": Values._exception,
    "enum": Values._enum, "sub": Values._sub, "ref": Values._ref, "deep": Values._deep,
    "opaque": Values._opaque, "text": Values._text, "array": Values._array, "range": Values._range,
    "function": Values._function, "type": Values._type, "module": Values._module,
    "redacted": Values._redacted, "dropped": Values._dropped,
}  # fmt: skip
