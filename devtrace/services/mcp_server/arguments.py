"""Whether the arguments of a tool fit its schema, and a clear word about the first that does not.

The schemas are JSON Schema, of which the tools need little: objects of texts, whole numbers, truth values and
lists of texts, with their bounds. A null counts as an argument that was left out.

Lives here: `checked`, and the fields that several tools share. Not here: the tools (tools.py), what only
the store can tell, as whether an id is known (answers.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from devtrace.errors import UsageError

Schema = dict[str, Any]

MOST_ROWS = 200
LEAST_BYTES, USUAL_BYTES, MOST_BYTES = 4_096, 32_768, 131_072

LIMIT: Schema = {
    "type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": 20,
    "description": "Rows of one answer.",
}  # fmt: skip
BYTES: Schema = {
    "type": "integer", "minimum": LEAST_BYTES, "maximum": MOST_BYTES, "default": USUAL_BYTES,
    "description": "Bytes of one answer, its text and its structured content together.",
}  # fmt: skip
CURSOR: Schema = {
    "type": "string", "minLength": 1, "maxLength": 2_000,
    "description": "next_cursor of the page before, with otherwise the same arguments.",
}  # fmt: skip
PAGED: Schema = {"limit": LIMIT, "cursor": CURSOR, "max_bytes": BYTES}


def text(description: str, most: int = 200, **more: Any) -> Schema:
    """A text that is not empty."""
    return {"type": "string", "minLength": 1, "maxLength": most, "description": description, **more}


def texts(description: str, most: int = 20) -> Schema:
    """A list of such texts."""
    item = {"type": "string", "minLength": 1, "maxLength": 200}
    return {"type": "array", "items": item, "minItems": 1, "maxItems": most, "description": description}


def whole(description: str, least: int, most: int, **more: Any) -> Schema:
    """A whole number within bounds."""
    return {"type": "integer", "minimum": least, "maximum": most, "description": description, **more}


def flag(description: str) -> Schema:
    """Whether."""
    return {"type": "boolean", "default": False, "description": description}


def checked(tool: str, schema: Schema, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The arguments with their defaults. Raises UsageError ERR_ARGUMENT for the first that does not fit."""
    known: Mapping[str, Schema] = schema["properties"]
    found = {name: value for name, value in (given or {}).items() if value is not None}
    for name in found:
        if name not in known:
            raise _bad(tool, f"it takes no argument {name!r}", f"it takes {', '.join(known) or 'none'}", name)
    for name in schema.get("required", ()):
        if name not in found:
            raise _bad(tool, f"the argument {name!r} is missing", str(known[name]["description"]), name)
    for name, value in found.items():
        found[name] = _fitting(tool, name, value, known[name])
    defaults = {name: one["default"] for name, one in known.items() if "default" in one}
    return defaults | found


def _fitting(tool: str, name: str, value: Any, schema: Schema) -> Any:
    is_type, words = _TYPES[schema["type"]]
    if not is_type(value):
        raise _bad(tool, f"{name} must be {words}", f"it was {_kind_of(value)}", name)
    if schema["type"] == "integer":
        value = int(value)
        if not schema["minimum"] <= value <= schema["maximum"]:
            bounds = f"from {schema['minimum']} to {schema['maximum']}"
            raise _bad(tool, f"{name} must be {bounds}", f"it was {value}", name)
    elif schema["type"] == "string":
        _check_text(tool, name, value, schema)
    elif schema["type"] == "array":
        if not schema["minItems"] <= len(value) <= schema["maxItems"]:
            bounds = f"{schema['minItems']} to {schema['maxItems']}"
            raise _bad(tool, f"{name} must be a list of {bounds} texts", f"it has {len(value)}", name)
        for item in value:
            if not isinstance(item, str):
                raise _bad(tool, f"{name} must be {words}", f"it holds {_kind_of(item)}", name)
            _check_text(tool, name, item, schema["items"])
    return value


def _check_text(tool: str, name: str, value: str, schema: Schema) -> None:
    if len(value.strip()) < schema.get("minLength", 0):
        raise _bad(tool, f"{name} is empty", "leave it out, or say what is meant", name)
    if len(value) > schema["maxLength"]:
        most = schema["maxLength"]
        raise _bad(tool, f"{name} is too long: {len(value):,} characters", f"at most {most:,}", name)
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise _bad(tool, f"{name} holds a character that is in no text", "leave NUL and surrogates out", name)
    if "enum" in schema and value not in schema["enum"]:
        raise _bad(tool, f"{name} cannot be {value!r}", f"use {' or '.join(schema['enum'])}", name)


_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "string": (lambda value: isinstance(value, str), "a text"),
    "boolean": (lambda value: isinstance(value, bool), "true or false"),
    "array": (lambda value: isinstance(value, list), "a list of texts"),
    "integer": (
        lambda value: (
            (isinstance(value, int) and not isinstance(value, bool))
            or (isinstance(value, float) and value.is_integer())
        ),
        "a whole number",
    ),
}


def _kind_of(value: Any) -> str:
    names = {str: "a text", bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object")


def _bad(tool: str, what: str, hint: str, name: str) -> UsageError:
    return UsageError(
        f"{tool}: {what}", code="ERR_ARGUMENT", hint=hint, context={"tool": tool, "argument": name[:100]}
    )
