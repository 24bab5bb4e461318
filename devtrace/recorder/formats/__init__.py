"""The files of a trace that was given a directory.

Lives here: `write`. Not here: exports from the store (views/export/). Standard library only: a guest imports
this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def write(
    path: Path,
    form: str,
    folder: Path,
    process: dict[str, Any],
    exit_code: int | None,
    label: str | None,
) -> None:
    """Write what belongs into `path` when a trace has ended. Raises OSError.

    binary: the segments themselves. json: CodeTracer's `trace.json`, `trace_metadata.json` and
    `trace_paths.json`.
    """
    segments = sorted(folder.glob(f"{process['id']}-{process['pid']}-*.seg"), key=_number)
    if form == "json":
        from devtrace.recorder.formats.codetracer import write_json

        write_json(path, segments, process, exit_code, label)
        if folder == path:
            for segment in segments:
                segment.unlink(missing_ok=True)
    elif folder != path:
        for segment in segments:
            copied = path / segment.name
            copied.touch(0o600)
            copied.write_bytes(segment.read_bytes())


def _number(segment: Path) -> int:
    return int(segment.stem.rpartition("-")[2])
