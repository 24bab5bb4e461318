"""Programs that are recorded in a process of their own, and what their segments say.

Not here: what a store says of them (tests/store, tests/query).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from devtrace.store.trace.replay import Event, Replay
from devtrace.store.trace.segments import read_blocks

CHECKOUT = Path(__file__).parents[2]


class Told:
    """What one segment, the record of one thread, says."""

    def __init__(self, segment: Path):
        self.replay = Replay()
        self.blocks = read_blocks(segment.read_bytes())
        self.events: list[tuple[str, str, int, Any]] = []  # kind, function, line, values or result
        self.variables: list[dict[str, Any]] = []  # of the frame at each event
        for block in self.blocks:
            self._take(self.replay.feed(block))

    def _take(self, events: Any) -> None:
        for event in events:
            self.events.append((event.kind, self.name(event), event.line, _shown(event)))
            self.variables.append(dict(event.frame.variables))

    def name(self, event: Event) -> str:
        found = self.replay.functions.get(event.frame.function)
        return found.name if found is not None else "?"

    def note(self, name: str) -> Any:
        """The last note of that name, or None."""
        found = [note[name] for note in self.replay.notes if name in note]
        return found[-1] if found else None

    def kinds(self, function: str) -> list[str]:
        """What happened in a function, one after the other."""
        return [kind for kind, name, _, _ in self.events if name == function]

    def values(self, name: str) -> list[Any]:
        """Each value that a variable was told to have."""
        return [
            value
            for kind, _, _, told in self.events
            if kind not in ("raise", "handle") and isinstance(told, list)
            for one, value in told
            if one == name
        ]


def _shown(event: Event) -> Any:
    return event.result if event.kind in ("raise", "handle") else list(event.values)


class Run:
    """A program that ran: its end, its output, and what was told, a `Told` a thread of each process."""

    def __init__(self, done: subprocess.CompletedProcess[str], folder: Path):
        self.status = done.returncode
        self.stdout = done.stdout
        self.stderr = done.stderr
        self.folder = folder
        self.told = [Told(path) for path in sorted(folder.glob("*.seg"), key=_age)]

    @property
    def main(self) -> Told:
        """The first thread of the process that was started."""
        return next(told for told in self.told if not (told.note("process") or {}).get("forked_from", True))

    def text(self) -> bytes:
        """All bytes that are on the disk."""
        return b"".join(path.read_bytes() for path in self.folder.iterdir())


def _age(path: Path) -> tuple[str, int]:
    session, _, number = path.stem.split("-")
    return session, int(number)


def record(
    source: str,
    folder: Path,
    *options: str,
    arguments: Sequence[str] = (),
    name: str = "program.py",
    **more: Any,
) -> Run:
    """Run a script under the recorder, which keeps its segments in a directory, without a store."""
    script = folder / name
    script.write_text(source)
    kept = folder / "kept"
    kept.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), **more.pop("environment", {})}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "devtrace.recorder",
            "--out-dir",
            str(kept),
            *options,
            str(script),
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment,
        **{"timeout": 60, **more},
    )
    return Run(done, kept)
