"""What a command printed: the kept bytes, when they came, and what was cut.

Lives here: reading it from the store. Not here: making it fit a terminal (views/output.py).
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any, NamedTuple

from devtrace.errors import UsageError
from devtrace.query.events import command_data
from devtrace.store import blobs

_OUTPUT, _TIMING = "output", "timing"  # as events/command.py names the blobs; importing it costs 15 ms


class Output(NamedTuple):
    """`data` is the kept bytes, head and tail; `timing` is [[us since the start, bytes], ...] over them."""

    data: bytes
    timing: list[tuple[int, int]]
    info: dict[str, Any]  # the fields of events.Output

    def parts(self) -> tuple[bytes, int, bytes]:
        """The head, how many bytes were not kept after it, and the tail (empty when nothing was cut)."""
        if not self.info.get("truncated"):
            return self.data, 0, b""
        cut = max(len(self.data) - self._number("tail"), 0)
        kept = self._number("head") + self._number("tail") + self._number("redacted")
        missing = self._number("seen") - self._number("alternate_screen") - kept
        return self.data[:cut], max(missing, 0), self.data[cut:]

    def _number(self, name: str) -> int:
        return int(self.info.get(name) or 0)


def output(db: sqlite3.Connection, event: dict[str, Any]) -> Output:
    """An event's terminal output. Raises UsageError ERR_NO_OUTPUT where none was kept."""
    if not has_output(db, event):
        raise _none(event)
    named = event["data"]["blobs"]
    info = command_data(event).get("output") or {}
    data = blobs.get(db, named[_OUTPUT]["sha256"])
    is_timed = event["kind"] == "run_command" and _TIMING in named
    is_timed = is_timed and not blobs.is_pruned(db, named[_TIMING]["sha256"])
    timing = blobs.get(db, named[_TIMING]["sha256"]) if is_timed else b"[]"
    return Output(data, [(int(at), int(length)) for at, length in json.loads(timing)], info)


def has_output(db: sqlite3.Connection, event: dict[str, Any]) -> bool:
    """Whether the event kept terminal output, and that was not pruned."""
    named = (event["data"].get("blobs") or {}).get(_OUTPUT)
    return named is not None and not blobs.is_pruned(db, named["sha256"])


def _none(event: dict[str, Any]) -> UsageError:
    if event["status"] == "running":
        hint = "it still runs; its output is kept when it ends"
    elif event["data"].get("blobs"):
        hint = "it was pruned: `devtrace log --kind policy` tells when"
    elif event["data"].get("dropped"):
        hint = f"there was no room left for it: see {event['data']['dropped']} in `devtrace config list`"
    elif command_data(event).get("output") is None:
        hint = "output is kept of commands at the prompt, unless `--no-output` or shell.output=false is set"
    else:
        hint = "the command printed nothing that was kept"
    return UsageError(
        f"event {event['id']} kept no terminal output",
        code="ERR_NO_OUTPUT",
        hint=hint,
        context={"session": event["session"], "event": event["id"]},
    )
