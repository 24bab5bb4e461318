"""A model that asks a store by its tools, in this process, and checks what every answer has to keep.

    model = Model()                      # of the store above the working directory
    rows = model.ask("list_events", limit=5).structured["events"]
    assert model.refused("get_event", id="zz") == "ERR_ID_UNKNOWN"

Lives here: `Model`, `Alive`, `between`. Not here: any test, real servers (serving.py).
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from devtrace.services.mcp_server.calls import Calls, Reply
from devtrace.services.mcp_server.store import Store
from devtrace.services.mcp_server.tools import BY_NAME
from devtrace.store.hold import hold
from devtrace.views.for_models import escaped
from tests.recorded import Recorded

Row = dict[str, Any]


class Model:
    """Asks, and holds each answer against its schema, its bounds, and what may be in it."""

    def __init__(self) -> None:
        self.store = Store(os.environ)
        self.calls = Calls(self.store)

    def close(self) -> None:
        self.store.close()

    def reply(self, tool: str, **arguments: Any) -> Reply:
        """The answer, or the error."""
        reply = self.calls.reply(tool, arguments)
        Draft202012Validator(BY_NAME[tool].gives).validate(reply.structured)
        _check_harmless(reply.text)
        for text in _texts(reply.structured):
            _check_harmless(text)
        most = arguments.get("max_bytes", 32_768)
        if not reply.is_error and isinstance(most, int):
            size = len(json.dumps(reply.structured, ensure_ascii=False, separators=(",", ":")).encode())
            assert len(reply.text.encode()) + size <= most
        return reply

    def ask(self, tool: str, **arguments: Any) -> Reply:
        """The answer."""
        reply = self.reply(tool, **arguments)
        assert not reply.is_error, reply.text
        return reply

    def refused(self, tool: str, **arguments: Any) -> str:
        """The code of the error, which says what happened and what to do."""
        reply = self.reply(tool, **arguments)
        assert reply.is_error, reply.text
        told = reply.structured
        assert set(told) == {"code", "message", "hint"}
        assert told["message"]
        assert told["message"] in reply.text.replace("\\", "") or "\\" in reply.text
        return str(told["code"])

    def message(self, tool: str, **arguments: Any) -> str:
        """What an error says, with its hint."""
        assert self.refused(tool, **arguments)
        return self.reply(tool, **arguments).text

    def pages(self, tool: str, name: str, **arguments: Any) -> list[list[Row]]:
        """All rows of a list, page by page."""
        found, more = [], {}
        while True:
            told = self.ask(tool, **arguments, **more).structured
            found.append(told[name])
            if "next_cursor" not in told:
                return found
            more = {"cursor": told["next_cursor"]}

    def rows(self, tool: str, name: str, **arguments: Any) -> list[Row]:
        """All rows of a list."""
        return [row for page in self.pages(tool, name, **arguments) for row in page]


class Alive(Recorded):
    """A store whose sessions have a host that lives: who reads it closes none of them."""

    def __init__(self, root: Path):
        super().__init__(root)
        self._held: list[Any] = []

    def session(self, at: float = 0, **more: Any) -> str:
        """As `Recorded.session`."""
        session = super().session(at, **more)
        if more.get("took") is None:
            self._held.append(hold(self.workspace, session))
        return session

    def close(self) -> None:
        """Let go of the sessions too."""
        for held in self._held:
            held.close()
        super().close()


def between(text: str) -> tuple[list[str], list[str]]:
    """The lines of ours, and the recorded ones between the two marks, which stand there once each."""
    lines = text.split("\n")
    starts = [at for at, line in enumerate(lines) if re.fullmatch(r"recorded [0-9a-f]{16}", line)]
    number = lines[starts[0]].removeprefix("recorded ")
    assert lines[-1] == f"end of recorded {number}"
    assert text.count(number) == 2
    return lines[: starts[0]], lines[starts[0] + 1 : -1]


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for name, inner in value.items() for text in (name, *_texts(inner))]
    return [text for inner in value for text in _texts(inner)] if isinstance(value, list) else []


def _check_harmless(text: str) -> None:
    assert text == escaped(text, keep="\n\t")
