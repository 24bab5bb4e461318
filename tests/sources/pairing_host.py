"""A pairing with its surroundings, for the tests of test_pairing*.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from devtrace.events import Event, Gap, RunCommand
from devtrace.sources.shell.fifo import Assembler, Hello
from devtrace.sources.shell.output import Captured
from devtrace.sources.shell.pairing import Pairing
from devtrace.sources.shell.shells import Meeting, Settings
from tests.sources.records import NONCE

SESSION = "0198" * 8
IN_TREE = Meeting(1, is_watched=True, is_gone=False, family=(100, 1))
STRANGER = Meeting(0, is_watched=False, is_gone=False)


class Host:
    """A pairing with its surroundings: a clock that is set by hand, and shells met as a test wishes."""

    def __init__(self, meet: Callable[[Hello], Meeting] | Meeting = IN_TREE, **settings: Any):
        known = {"session": SESSION, "nonce": NONCE, "wants_output": False}
        self.events: list[Event] = []
        self.running: list[Event] = []
        self.now = 0
        self._assembler = Assembler(NONCE)
        how = meet if callable(meet) else lambda _: meet
        self.pairing = Pairing(Settings(**(known | settings)), self._emit, how)

    def _emit(self, event: Event) -> None:
        (self.running if event.status == "running" else self.events).append(event)

    def hears(self, *records: bytes, now: int | None = None) -> None:
        self.now = self.now if now is None else now
        for piece in records:
            for record in self._assembler.feed(piece):
                self.pairing.record(record, self.now)

    def sees(self, span: str, data: bytes = b"out", now: int | None = None, **more: Any) -> None:
        self.now = self.now if now is None else now
        self.pairing.output(captured(span, data, **more), self.now)

    def ticks(self, now: int) -> None:
        self.now = now
        self.pairing.tick(now)

    def ends(self, exit_code: int | None = 0, now: int = 9_000_000) -> None:
        for record in self._assembler.close():
            self.pairing.record(record, now)
        self.pairing.close(now, exit_code)

    @property
    def commands(self) -> list[Event]:
        return [event for event in self.events if isinstance(event.body, RunCommand)]

    @property
    def texts(self) -> list[str | None]:
        return [event.body.command for event in self.commands]  # type: ignore[attr-defined]

    @property
    def only(self) -> Event:
        (one,) = self.commands
        return one

    @property
    def gaps(self) -> dict[str, int | None]:
        return {event.body.reason: event.body.count for event in self.events if isinstance(event.body, Gap)}


def captured(span: str, data: bytes = b"out", **more: Any) -> Captured:
    known = {
        "timing": [[0, len(data)]], "started_us": 0, "seen": len(data), "head": len(data), "tail": 0,
        "truncated": False, "approximate": False, "alternate_screen": 0, "stderr": None,
    }  # fmt: skip
    return Captured(span=span, data=data, **(known | more))


def body(event: Event) -> RunCommand:
    assert isinstance(event.body, RunCommand)
    return event.body
