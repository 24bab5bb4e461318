"""A program's values as a probe told them, in Python's manner: `user = app.User(id=7, name='ana')`.

What is too long for a line is unfolded, one part a line below. A form is what probes/markers.py makes of a
value, but it comes from somebody else's process: any JSON is shown somehow, and all of it made safe.

Lives here: `value_line`, `value_lines`. Not here: the event around it (probe.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from devtrace.views.safe import safe
from devtrace.views.words import count, shortened

_WIDE = 96  # characters: what is longer is unfolded
_MOST_LINES = 200  # of one value
_BRACKETS = {
    "list": ("[", "]"),
    "tuple": ("(", ")"),
    "set": ("{", "}"),
    "frozenset": ("frozenset({", "})"),
    "collections.deque": ("deque([", "])"),
    "dict": ("{", "}"),
}
_OURS = ("__repr__", "__summary__", "__message__", "__serializable__")


class _Shape(NamedTuple):
    """A container: its brackets, its parts as (what stands before the value, the value), what is left out."""

    opening: str
    closing: str
    parts: Sequence[tuple[str, Any]]
    cut: str


def value_line(told: Any) -> str:
    """A value in one line, safe for a terminal."""
    return safe(shortened(_text(told)))


def value_lines(name: str, told: Any) -> list[str]:
    """`name = value` in one line or several; what is beyond a screenful is counted."""
    lines = list(_unfolded(f"{name} = ", told, 0))
    left = len(lines) - _MOST_LINES
    if left > 0:
        lines[_MOST_LINES:] = [f"... and {count(left, 'more line')}"]
    return [safe(shortened(line)) for line in lines]


def _unfolded(head: str, told: Any, depth: int) -> Iterator[str]:
    indent = "  " * depth
    text = _text(told)
    shape = _shape(told)
    if shape is None or not shape.parts or len(indent) + len(head) + len(text) <= _WIDE:
        yield f"{indent}{head}{text}"
        return
    yield f"{indent}{head}{shape.opening}"
    for before, inner in shape.parts:
        yield from _unfolded(before, inner, depth + 1)
    if shape.cut:
        yield f"{indent}  {shape.cut}"
    yield f"{indent}{shape.closing}"


def _text(told: Any) -> str:
    shape = _shape(told)
    if shape is None:
        return _leaf(told)
    parts = [f"{before}{_text(inner)}" for before, inner in shape.parts]
    single = "," if shape.opening == "(" and len(parts) == 1 and not shape.cut else ""
    return f"{shape.opening}{', '.join([*parts, *filter(None, [shape.cut])])}{single}{shape.closing}"


def _leaf(told: Any) -> str:
    if not isinstance(told, dict):
        return repr(told)
    name = _word(told.get("__tpd_type__")) or "?"
    if "__repr__" in told:
        text = _word(told["__repr__"])
        shown = repr(text) if name == "str" else text
        return f"{shown}... ({_cut(told)})" if _cut(told) else shown
    if "__tpd_circular__" in told:
        return f"<the same {name} as above>"
    message = _word(told.get("__message__"))
    if message == "concurrentModification":
        return f"<{name}, which another thread was changing>"
    return f"{name}({message!r})" if message else f"<{name}>"


def _shape(told: Any) -> _Shape | None:
    """None: it is a single value."""
    if isinstance(told, list):
        return _Shape("[", "]", *_items(told))
    if not isinstance(told, dict):
        return None
    if "__tpd_type__" not in told:
        return _Shape("{", "}", [(f"{key!r}: ", inner) for key, inner in _own(told)], _cut(told))
    name = _word(told["__tpd_type__"])
    opening, closing = _BRACKETS.get(name, (f"{name}(", ")"))
    if "__tpd_value__" in told:
        return _Shape(f"{name}(", ")", [("", told["__tpd_value__"])], "")
    if isinstance(told.get("__tpd_items__"), list):
        parts, cut = _items(told["__tpd_items__"])
        return _Shape(opening, closing, parts, cut or _cut(told))
    if isinstance(told.get("__tpd_entries__"), list):
        pairs = [pair for pair in told["__tpd_entries__"] if isinstance(pair, list) and len(pair) == 2]
        sign = ": " if name == "dict" else "="
        return _Shape(opening, closing, [(f"{_text(key)}{sign}", inner) for key, inner in pairs], _cut(told))
    if any(key in told for key in (*_OURS, "__tpd_circular__")):
        return None
    fields = _own(told)
    parts = [(f"{key!r}: " if name == "dict" else f"{key}=", inner) for key, inner in fields]
    return _Shape(opening, closing, parts, _cut(told)) if parts or name in _BRACKETS else None


def _items(items: Sequence[Any]) -> tuple[list[tuple[str, Any]], str]:
    """The items, and what the last one says of those that are left out."""
    last = items[-1] if items else None
    if isinstance(last, dict) and "__tpd_truncated__" in last and "__tpd_type__" not in last:
        return [("", one) for one in items[:-1]], _cut(last)
    return [("", one) for one in items], ""


def _cut(told: dict[str, Any]) -> str:
    """`12 more`, or why nothing more is told; "" where nothing is left out."""
    if "__tpd_truncated__" not in told and "__tpd_remaining__" not in told:
        return ""
    remaining = told.get("__tpd_remaining__")
    if isinstance(remaining, int) and not isinstance(remaining, bool):
        return f"{remaining:,} more"
    return _word(told.get("__summary__")) or "..."


def _own(told: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(key, inner) for key, inner in told.items() if not key.startswith("__tpd_") and key not in _OURS]


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""
