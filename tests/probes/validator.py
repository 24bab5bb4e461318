"""As much of JSON Schema as docs/event-schema.json takes, for the tests that hold events against it.

Lives here: `faults` (what the schema refuses) and `undeclared` (what it does not name).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCHEMA: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "docs" / "event-schema.json").read_text(encoding="utf-8")
)
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
KNOWN = {
    "$comment", "$defs", "$ref", "$schema", "const", "description", "enum", "format", "items", "oneOf",
    "pattern", "properties", "required", "title", "type",
}  # fmt: skip
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


def faults(value: Any, schema: dict[str, Any] = SCHEMA, at: str = "event") -> list[str]:
    """What of a value the schema refuses, each as `event.payload.line: ...`."""
    return list(_faults(value, schema, at))


def _faults(value: Any, schema: dict[str, Any], at: str) -> Iterator[str]:
    assert schema.keys() <= KNOWN, schema.keys() - KNOWN
    if "$ref" in schema:
        yield from _faults(value, SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")], at)
    wanted = schema.get("type", list(TYPES))
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if type(value) not in {kind for name in wanted for kind in TYPES[name]}:
        yield f"{at}: no {' or '.join(wanted)}"
        return
    if "const" in schema and value != schema["const"]:
        yield f"{at}: not {schema['const']}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: none of {schema['enum']}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{at}: does not match {schema['pattern']}"
    if schema.get("format") == "uuid" and not UUID.fullmatch(value):
        yield f"{at}: no UUID of version 4"
    if "oneOf" in schema and sum(not faults(value, one, at) for one in schema["oneOf"]) != 1:
        yield f"{at}: not one of the kinds"
    if isinstance(value, dict):
        yield from (f"{at}.{name}: missing" for name in schema.get("required", ()) if name not in value)
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield from _faults(value[name], inner, f"{at}.{name}")
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _faults(item, schema["items"], f"{at}[{index}]")


def undeclared(event: dict[str, Any]) -> list[str]:
    """Members of an event that the schema does not name, as paths; what it leaves open is passed over."""
    payload = SCHEMA["$defs"][event["name"]]["properties"]["payload"]
    outer = {**SCHEMA, "properties": {**SCHEMA["properties"], "payload": payload}}
    return list(_undeclared(event, outer, ""))


def _undeclared(value: Any, schema: dict[str, Any], at: str) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _undeclared(item, schema.get("items", {}), f"{at}[]")
    if not isinstance(value, dict) or "properties" not in schema:
        return
    for name, inner in value.items():
        path = f"{at}.{name}".lstrip(".")
        if name not in schema["properties"]:
            yield path
        else:
            yield from _undeclared(inner, schema["properties"][name], path)
