"""What SQLite and the chain can hold: text that is Unicode, JSON without floats.

Bytes that are not UTF-8 come in as lone surrogates. A text gets U+FFFD for them, and the true bytes stand
beside it in base64: `field` and `field_b64`; for a list of texts a list, with null where nothing was lost.

Lives here: making values storable. Not here: the rows (append.py, sessions.py).
"""

from __future__ import annotations

from typing import Any

from devtrace.events import text_and_bytes

_PLAIN = (str, int, bool, type(None))


def text(value: str) -> str:
    """The text with U+FFFD for what is no Unicode."""
    return text_and_bytes("", value)[""]


def data(value: dict[str, Any]) -> dict[str, Any]:
    """A copy of JSON-like data that can be stored; the given one where nothing has to change.

    Raises ValueError for a float, which has no canonical form, and TypeError for what is no JSON.
    """
    return value if _is_storable(value) else _dict(value)


def _is_storable(value: dict[str, Any]) -> bool:
    """Whether nothing has to change, as with nearly every event: nothing is copied then."""
    for name, inner in value.items():
        if type(name) is not str or type(inner) not in _PLAIN:
            if type(inner) is not dict or not _is_storable(inner):
                return False
        elif type(inner) is str and not inner.isascii() and not _is_unicode(inner):
            return False
        if not name.isascii() and not _is_unicode(name):
            return False
    return True


def _is_unicode(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _dict(value: dict[str, Any]) -> dict[str, Any]:
    storable: dict[str, Any] = {}
    for key, inner in value.items():
        name = text(str(key))
        if isinstance(inner, str):
            storable.update(text_and_bytes(name, inner))
        else:
            storable[name] = _value(inner)
            if isinstance(inner, list | tuple) and (lost := _lost(inner)):
                storable[f"{name}_b64"] = lost
    return storable


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return _dict(value)
    if isinstance(value, list | tuple):
        return [_value(inner) for inner in value]
    if isinstance(value, float):
        raise ValueError("a float has no canonical form: use integers")
    if value is None or isinstance(value, int):
        return value
    raise TypeError(f"{type(value).__name__} is no JSON")


def _lost(values: list[Any] | tuple[Any, ...]) -> list[str | None]:
    """The true bytes of those texts of a list that are not UTF-8; empty when all are."""
    found = [text_and_bytes("", value).get("_b64") if isinstance(value, str) else None for value in values]
    return found if any(found) else []
