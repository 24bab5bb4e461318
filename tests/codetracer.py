"""A strict reader of CodeTracer's JSON, after its `trace_json_spec.md` and the types of its 0.16.

Its rules: every field is there, of its type, and no other is; what is used is defined before; each Call has
its Return, and the first is the `<toplevel>`; no text has a lone surrogate; nothing is nested too deep.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]

INT64 = range(-(1 << 63), 1 << 63)
KINDS = range(34)  # TypeKind
STRUCT, NONE = 6, 30
_FIELDS: dict[str, dict[str, type]] = {
    "Int": {"i": int},
    "Float": {"f": str},
    "Bool": {"b": bool},
    "String": {"text": str},
    "Sequence": {"elements": list, "is_slice": bool},
    "Tuple": {"elements": list},
    "Struct": {"field_values": list},
    "Variant": {"discriminator": str, "contents": dict},
    "Raw": {"r": str},
    "Error": {"msg": str},
    "None": {},
    "BigInt": {"b": str, "negative": bool},
}
_EVENTS: dict[str, dict[str, type]] = {
    "Function": {"path_id": int, "line": int, "name": str},
    "Step": {"path_id": int, "line": int},
    "Type": {"kind": int, "lang_type": str, "specific_info": dict},
    "Value": {"variable_id": int, "value": dict},
    "Call": {"function_id": int, "args": list},
    "Return": {"return_value": dict},
    "Event": {"kind": int, "metadata": str, "content": str},
}


class Call(NamedTuple):
    """A call as it was told, with the calls in it, in their order."""

    name: str
    arguments: Row
    result: list[Any]  # one value, once it returned
    inside: list[Call]
    steps: list[tuple[int, Row]]  # line, variables


class Trace:
    """What a directory says."""

    def __init__(self, folder: Path):
        self.events: list[Row] = json.loads((folder / "trace.json").read_text(encoding="ascii"))
        self.metadata: Row = json.loads((folder / "trace_metadata.json").read_text(encoding="ascii"))
        self.told_paths: list[str] = json.loads((folder / "trace_paths.json").read_text(encoding="ascii"))
        self.paths: list[str] = []
        self.functions: list[tuple[str, int, str]] = []
        self.names: list[str] = []
        self.types: list[Row] = []
        self.threads: list[tuple[str, int]] = []
        self.log: list[tuple[int, str]] = []
        self.calls: list[Call] = []
        self._stack: list[Call] = []
        self._before: Row = {}
        for event in self.events:
            ((kind, told),) = event.items()
            self._read(kind, told)
            self._before = event
        assert self._stack == []
        assert self.paths == self.told_paths
        self.top = self.calls[0]
        self._read_metadata()

    def called(self, name: str) -> list[Call]:
        """The calls of a function in their order."""
        return [call for call in self.calls if call.name == name]

    def type_of(self, value: Row) -> str:
        return str(self.types[value["type_id"]]["lang_type"])

    def _read(self, kind: str, told: Any) -> None:
        if kind in ("Path", "VariableName"):
            (self.paths if kind == "Path" else self.names).append(_text(told))
        elif kind.startswith("Thread"):
            assert kind in ("ThreadStart", "ThreadSwitch", "ThreadExit")
            self.threads.append((kind, _number(told)))
        else:
            _must_have(told, _EVENTS[kind])
            getattr(self, f"_{kind.lower()}")(told)

    def _function(self, told: Row) -> None:
        assert told["line"] >= 1
        self.functions.append((self.paths[_number(told["path_id"])], told["line"], _text(told["name"])))

    def _step(self, told: Row) -> None:
        assert _number(told["path_id"]) < len(self.paths)
        assert told["line"] in INT64
        self._variables: Row = {}
        if self._stack:
            self._stack[-1].steps.append((told["line"], self._variables))

    def _type(self, told: Row) -> None:
        assert told["kind"] in KINDS
        _text(told["lang_type"])
        info = told["specific_info"]
        assert info["kind"] in ("None", "Struct")
        assert (info["kind"] == "Struct") == (told["kind"] == STRUCT)
        for field in info.get("fields", []):
            _must_have(field, {"name": str, "type_id": int})
            assert field["type_id"] < len(self.types)
        if not self.types:
            assert (told["kind"], told["lang_type"]) == (NONE, "None")
        self.types.append(told)

    def _value(self, told: Row) -> None:
        name = self.names[_number(told["variable_id"])]
        value = self._checked(told["value"])
        if self._stack and self._stack[-1].steps:
            self._variables[name] = value

    def _call(self, told: Row) -> None:
        path, line, name = self.functions[_number(told["function_id"])]
        arguments = {}
        for one in told["args"]:
            _must_have(one, {"variable_id": int, "value": dict})
            arguments[self.names[one["variable_id"]]] = self._checked(one["value"])
        call = Call(name, arguments, [], [], [])
        if self._stack:
            assert self._before == {"Step": {"path_id": self.paths.index(path), "line": line}}
            self._stack[-1].inside.append(call)
        else:
            assert (name, self.calls) == ("<toplevel>", [])
        self.calls.append(call)
        self._stack.append(call)

    def _return(self, told: Row) -> None:
        self._stack.pop().result.append(self._checked(told["return_value"]))

    def _event(self, told: Row) -> None:
        assert told["kind"] in range(14)
        assert not told["metadata"] or isinstance(json.loads(told["metadata"]), dict)
        self.log.append((told["kind"], _text(told["content"])))

    def _checked(self, value: Row, depth: int = 1) -> Row:
        kind = value["kind"]
        _must_have(
            {name: one for name, one in value.items() if name != "kind"}, _FIELDS[kind] | {"type_id": int}
        )
        told = self.types[_number(value["type_id"])]
        assert depth < 60
        if kind == "Int":
            assert value["i"] in INT64
        elif kind == "Float":
            float(value["f"])
        elif kind == "BigInt":
            base64.b64decode(value["b"], validate=True)
        elif kind == "Struct":
            assert len(told["specific_info"]["fields"]) == len(value["field_values"])
        for text in (one for one in value.values() if isinstance(one, str)):
            _text(text)
        for inner in value.get("elements", value.get("field_values", [])):
            self._checked(inner, depth + 1)
        if kind == "Variant":
            self._checked(value["contents"], depth + 1)
        return value

    def _read_metadata(self) -> None:
        status = {"code": object, "label": object}
        fields = {"workdir": str, "program": str, "args": list, "recorder": dict, "trace_filter": dict}
        _must_have(self.metadata, fields | {"process_exit_status": dict})
        _must_have(self.metadata["recorder"], {"name": str, "target_script": str, "version": str})
        _must_have(self.metadata["process_exit_status"], status)
        assert all(isinstance(one, str) for one in self.metadata["args"])


def plain(value: Row) -> Any:
    """A ValueRecord as Python has it, as far as it is one of the simple kinds; else its text."""
    kind = value["kind"]
    if kind in ("Int", "Bool", "String", "Raw", "Error"):
        return next(one for name, one in value.items() if name not in ("kind", "type_id"))
    if kind == "Float":
        return float(value["f"])
    if kind == "BigInt":
        number = int.from_bytes(base64.b64decode(value["b"]), "big")
        return -number if value["negative"] else number
    if kind in ("Sequence", "Tuple"):
        items = [plain(one) for one in value["elements"]]
        return tuple(items) if kind == "Tuple" else items
    if kind == "Struct":
        return [plain(one) for one in value["field_values"]]
    return (value["discriminator"], plain(value["contents"])) if kind == "Variant" else None


def _must_have(told: Row, fields: dict[str, type]) -> None:
    assert set(told) == set(fields), told
    for name, kind in fields.items():
        assert isinstance(told[name], kind), (name, told)
        assert kind is bool or kind is object or not isinstance(told[name], bool), (name, told)


def _text(text: Any) -> str:
    assert isinstance(text, str)
    text.encode("utf-8")  # raises for a lone surrogate
    return text


def _number(number: Any) -> int:
    assert type(number) is int
    assert number >= 0
    return number
