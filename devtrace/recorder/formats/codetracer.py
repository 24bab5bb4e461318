"""The files that CodeTracer reads, from the segments of a trace that has just ended.

Lives here: reading segments block by block. Not here: what the files say (store/trace/codetracer.py).
Standard library only: a guest imports this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from devtrace.store.trace.codetracer import write_folder
from devtrace.store.trace.records import NOTE, read_records
from devtrace.store.trace.segments import BLOCK_BYTES, Block
from devtrace.store.trace.threads import Thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def write_json(
    path: Path, segments: list[Path], process: dict[str, Any], exit_code: int | None, label: str | None
) -> None:
    """Write `trace.json`, `trace_metadata.json` and `trace_paths.json` into a directory. Raises OSError.

    What is said of the process is what the trace says of it, where secrets are taken out; `process` is what
    there is without one.
    """
    told = next((note for segment in segments[:1] for note in _processes(segment)), None)
    if told is None:
        told = {name: process.get(name) for name in ("cwd", "trace_filter")}
    threads = [Thread(number, each_block(one), with_io=True) for number, one in enumerate(segments, 1)]
    write_folder(path, told, threads, exit_code, label)


def each_block(segment: Path) -> Iterator[Block]:
    """The blocks of a segment in their order, one in memory at a time; none of a file that is gone."""
    with segment.open("rb") as file:
        for _, at in sorted((number, at) for at, number in _numbers(file)):
            file.seek(at)
            try:
                yield Block(file.read(BLOCK_BYTES))
            except ValueError:  # no block begins there
                continue


def _numbers(file: Any) -> Iterator[tuple[int, int]]:
    """Where a block may begin, and the number that stands there."""
    at = 0
    while len(head := file.read(16)) == 16:
        yield at, int.from_bytes(head[8:], "little")
        at += BLOCK_BYTES
        file.seek(at)


def _processes(segment: Path) -> Iterator[dict[str, Any]]:
    """What the first block says of the process."""
    for block in each_block(segment):
        for record in read_records(block.words):
            if record.tag == NOTE and isinstance(record.value, dict) and "process" in record.value:
                yield record.value["process"]
        return
