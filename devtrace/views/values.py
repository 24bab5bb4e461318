"""A recorded value as Python would write it, in one safe line of a given length.

The typed form is what recorder/values.py writes; what is no such form is shown as the JSON it is.

Lives here: `value_text`. Not here: where it stands (trace.py, trace_lines.py).
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from devtrace.store.trace.records import UNSET_VALUE
from devtrace.views.safe import safe
from devtrace.views.words import TIMES

ROOM = 60  # characters
_MOST_INSIDE = 12  # items of a container that are written at all
_DEEPEST = 8
_BRACKETS = {
    "list": ("[", "]"),
    "tuple": ("(", ")"),
    "set": ("{", "}"),
    "frozenset": ("frozenset({", "})"),
    "deque": ("deque([", "])"),
}


def value_text(form: Any, room: int = ROOM) -> str:
    """The value, cut to `room` characters with an ellipsis."""
    text = safe(_text(form, 0))
    return text if len(text) <= room else text[: max(room - 1, 0)] + "…"


def _text(form: Any, depth: int) -> str:
    if form is UNSET_VALUE:
        return "(deleted)"
    if form is None or isinstance(form, bool | int | float | str):
        return repr(form)
    if not isinstance(form, list) or not form or depth > _DEEPEST:
        return "…" if depth > _DEEPEST else json.dumps(form)
    write = _FORMS.get(form[0]) if isinstance(form[0], str) else None
    try:
        return write(form, depth + 1) if write is not None else json.dumps(form)
    except (IndexError, TypeError, ValueError):
        return json.dumps(form)


def _cut_str(form: list[Any], depth: int) -> str:
    del depth
    return f"{form[2]!r}… ({form[1]:,} characters)"


def _bytes(form: list[Any], depth: int) -> str:
    del depth
    kept = b64decode(form[2])
    text = f"{kept!r}" if form[0] == "bytes" else f"bytearray({kept!r})"
    return text if len(kept) >= form[1] else f"{text}… ({form[1]:,} bytes)"


def _int(form: list[Any], depth: int) -> str:
    del depth
    return f"{form[1]}… ({form[2]:,} bits)" if len(form) > 2 else str(form[1])


def _items(form: list[Any], depth: int) -> str:
    start, end = _BRACKETS[form[0]]
    shown = ", ".join(_text(one, depth) for one in form[2][:_MOST_INSIDE])
    if form[0] == "set" and not form[1]:
        return "set()"
    comma = "," if form[0] == "tuple" and form[1] == 1 else ""
    return f"{start}{shown}{comma}{_rest(form, 1)}{end}"


def _rest(form: list[Any], at: int) -> str:
    left = form[at] - min(len(form[at + 1]), _MOST_INSIDE)
    return "" if left <= 0 else f"{', ' if form[at + 1] else ''}… +{left:,}"


def _dict(form: list[Any], depth: int) -> str:
    pairs = [f"{_text(key, depth)}: {_text(value, depth)}" for key, value in form[2][:_MOST_INSIDE]]
    return f"{{{', '.join(pairs)}{_rest(form, 1)}}}"


def _object(form: list[Any], depth: int) -> str:
    fields = [f"{name}={_text(value, depth)}" for name, value in form[3][:_MOST_INSIDE]]
    more = ", …" if len(form[3]) > _MOST_INSIDE else ""
    return f"{_short(form[1])}({', '.join(fields)}{more})"


def _exception(form: list[Any], depth: int) -> str:
    return f"{_short(form[1])}({', '.join(_text(one, depth) for one in form[2][:_MOST_INSIDE])})"


def _array(form: list[Any], depth: int) -> str:
    del depth
    return f"<{_short(form[1])} {TIMES.join(map(str, form[2]))} {form[3]}>"


def _short(name: Any) -> str:
    """A class without its module."""
    return str(name).rpartition(".")[2] or str(name)


def _complex(form: list[Any], depth: int) -> str:
    real, imaginary = (_text(one, depth) for one in form[1:3])
    return f"({real}{'' if imaginary.startswith('-') else '+'}{imaginary}j)"


def _enum(form: list[Any], depth: int) -> str:
    del depth
    return f"{_short(form[1])}.{form[2]}"


def _said(form: list[Any], depth: int) -> str:
    del depth
    return f"{_short(form[1])}({form[2]!r})"


def _range(form: list[Any], depth: int) -> str:
    del depth
    return f"range({', '.join(map(str, form[1:3] if form[3] == 1 else form[1:4]))})"


def _sub(form: list[Any], depth: int) -> str:
    return f"{_short(form[1])}({_text(form[2], depth)})"


def _named(form: list[Any], depth: int) -> str:
    del depth
    return f"<{_NAMED[form[0]]}{form[1]}>"


def _word(form: list[Any], depth: int) -> str:
    del depth
    return _WORDS[form[0]]


_NAMED = {"type": "class ", "function": "function ", "module": "module ", "opaque": ""}
_WORDS = {"ref": "<cycle>", "deep": "…", "redacted": "<redacted>", "dropped": "<dropped>"}
_FORMS: dict[str, Callable[[list[Any], int], str]] = {
    "str": _cut_str,
    "bytes": _bytes,
    "bytearray": _bytes,
    "int": _int,
    "float": _int,
    "complex": _complex,
    **dict.fromkeys(_BRACKETS, _items),
    "dict": _dict,
    "object": _object,
    "exception": _exception,
    "enum": _enum,
    "array": _array,
    "text": _said,
    "range": _range,
    "sub": _sub,
    **dict.fromkeys(_NAMED, _named),
    **dict.fromkeys(_WORDS, _word),
}
