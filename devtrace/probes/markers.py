"""The forms in which a program's values are told as JSON, and how such a form reads in one line.

    5  true  null  1.5  "text"  [1, "a"]  {"a": 1}                themselves
    {"__tpd_type__": "app.User", "name": "ana"}                   an object: its fields
    {"__tpd_type__": "tuple", "__tpd_items__": [1, 2]}            set, frozenset and deque as well
    {"__tpd_type__": "app.Names", "__tpd_value__": ["a"]}         of a class derived from a builtin
    {"__tpd_type__": "dict", "__tpd_entries__": [[1, "a"]]}       keys that are no texts, or look like ours
    {"__tpd_type__": "bytes", "__repr__": "b'hi'"}                what a text tells, or what tells nothing
    {"__tpd_type__": "ValueError", "__message__": "no"}           an exception
    {"__tpd_type__": "list", "__tpd_circular__": true, "__message__": "..."}

What was cut has `__tpd_truncated__`, with `__tpd_remaining__` (how many more) or `__summary__` (why) and, of
a dict, `__tpd_keys__`; a list that was cut ends with such an entry. A long text is
`{"__tpd_type__": "str", "__tpd_truncated__": true, "__tpd_remaining__": 4000, "__repr__": "its beginning"}`.
What another thread changed meanwhile has the `__message__` "concurrentModification". A key that begins with
`__tpd_`, or is another of these, is always a marker: a dict of the program's that has one is told as entries.

Lives here: putting these together, `line`. Not here: reading values (walk.py). Standard library only.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from typing import Any

_RESERVED = frozenset(("__repr__", "__summary__", "__message__", "__serializable__"))
_BRACKETS = {
    "list": "[]",
    "tuple": "()",
    "set": "{}",
    "frozenset": ("frozenset({", "})"),
    "collections.deque": ("deque([", "])"),
    "dict": "{}",
}


def more(remaining: int) -> dict[str, Any]:
    """That so many more are not told."""
    return {"__tpd_truncated__": True, "__tpd_remaining__": remaining}


def changing(name: str) -> dict[str, Any]:
    """That another thread changed it while it was read."""
    return {"__tpd_type__": name, "__tpd_truncated__": True, "__message__": "concurrentModification"}


def assembled(pairs: list[tuple[Any, Any]], name: str | None = None) -> dict[str, Any]:
    """An object of these pairs; `name` is its type's, None: it is a dict.

    Entries, where a key is no text, or is a marker, or stands there twice: keys that were cut, or redacted.
    """
    head = {} if name is None else {"__tpd_type__": name}
    document = {key: value for key, value in pairs if type(key) is str}
    if len(document) < len(pairs) or ("__" in "".join(document) and any(map(_is_reserved, document))):
        return {"__tpd_type__": name or "dict", "__tpd_entries__": [list(pair) for pair in pairs]}
    return head | document


def line(told: Any, *, is_whole: bool = False) -> str:
    """A form in one line, in Python's manner; `is_whole`: a text stands for itself, without quotes."""
    kind = type(told)
    if kind is str:
        return told if is_whole else repr(told)
    if kind is list:
        return f"[{_items(told)}]"
    if kind is not dict:
        return repr(told)
    name = told.get("__tpd_type__", "dict")
    if "__tpd_value__" in told:
        return line(told["__tpd_value__"], is_whole=is_whole)
    if "__repr__" in told:
        text = told["__repr__"] if is_whole or name != "str" else repr(told["__repr__"])
        if text.startswith(f"<{name} object at "):
            return f"<{name}>"
        return f"{text}..." if "__tpd_truncated__" in told else text
    if "__tpd_circular__" in told:
        return "..."
    opening, closing = _BRACKETS.get(name, ("", ""))
    return f"{opening}{_inside(name, told)}{closing}" if opening else f"<{name}>"


def _inside(name: str, told: dict[str, Any]) -> str:
    """What stands between the brackets of a container."""
    if "__tpd_items__" in told:
        items = told["__tpd_items__"]
        return _items(items) + ("," if name == "tuple" and len(items) == 1 else "")
    entries = told.get("__tpd_entries__")
    pairs = entries if entries is not None else [[key, told[key]] for key in told if not _is_reserved(key)]
    texts = [f"{line(key)}: {line(value)}" for key, value in pairs]
    return ", ".join([*texts, "..."] if "__tpd_truncated__" in told else texts)


def _items(items: list[Any]) -> str:
    return ", ".join("..." if _is_a_cut(one) else line(one) for one in items)


def _is_a_cut(told: Any) -> bool:
    return type(told) is dict and "__tpd_truncated__" in told and "__tpd_type__" not in told


def _is_reserved(key: str) -> bool:
    return key.startswith("__tpd_") or key in _RESERVED
