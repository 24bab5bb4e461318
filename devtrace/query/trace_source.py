"""The source of a file as it was when a program ran.

From the record of the files where it reaches back that far, else from the disk, with a warning where the file
is newer than the trace.

Lives here: `source_of`. Not here: the versions themselves (versions.py), what ran (trace_lines.py).
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

from devtrace.errors import DevTraceError
from devtrace.workspace import Workspace

_MOST_BYTES = 4 << 20


class Source(NamedTuple):
    """The lines of a file; `warning`: what the reader must know of them, or ""."""

    lines: list[str]
    warning: str

    def line(self, number: int) -> str:
        """A line, counted from 1, without its newline; nothing where there is none."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""


def source_of(db: sqlite3.Connection, workspace: Workspace, path: str, at_us: int) -> Source:
    """What the file held at a moment, as well as that can be known; no lines where it cannot."""
    if not os.path.isabs(path):  # noqa: PTH117 - `<string>` and its like
        return Source([], "")
    kept = _recorded(db, workspace, Path(path), at_us)
    if kept is not None:
        return Source(_lines(kept), "")
    try:
        with Path(path).open("rb") as file:
            is_newer = os.fstat(file.fileno()).st_mtime_ns // 1_000 > at_us
            data = file.read(_MOST_BYTES)
    except (OSError, ValueError):
        return Source([], "the source is not there any more, and was not recorded")
    return Source(
        _lines(data), "the file is newer than the trace: its lines may be others" if is_newer else ""
    )


def _recorded(db: sqlite3.Connection, workspace: Workspace, path: Path, at_us: int) -> bytes | None:
    """The content in the record of the files; None: it does not say, or was withheld."""
    from devtrace.query.blame import Blame

    try:
        blame = Blame(db, workspace)
        tree, name = blame.place_of(path)
        found = None
        for version in blame.versions.timeline((tree.chain, name)):
            if version.edit is None or version.edit.started_us <= at_us:
                found = version
        return blame.annotator.content(found) if found is not None else None
    except (DevTraceError, OSError):
        return None


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "replace").splitlines()
