"""export: a session, one event of it, or a commit, as a file for other programs.

Lives here: finding the format by its name, collecting what it needs, writing whole files.
Not here: the formats (views/export/).
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from devtrace.errors import EnvironmentError, UsageError
from devtrace.query.events import each_event, get_event
from devtrace.query.filters import Filters
from devtrace.query.ids import Found
from devtrace.query.output import Output, has_output, output
from devtrace.query.programs import family, program_of
from devtrace.query.sessions import get_session
from devtrace.store.changes import true_name
from devtrace.views import export as formats_room

if TYPE_CHECKING:
    from devtrace.query.blame import Blame  # libgit2 takes its time, and the other formats need none

Row = dict[str, Any]


def formats() -> list[str]:
    """The names of the formats there are."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(formats_room.__path__))


def is_of_commit(name: str) -> bool:
    """Whether a format is about a commit. Raises UsageError ERR_EXPORT_FORMAT."""
    return hasattr(_format(name), "commit_lines")


def is_of_folder(name: str) -> bool:
    """Whether a format is a directory and not a file. Raises UsageError ERR_EXPORT_FORMAT."""
    return hasattr(_format(name), "write_trace")


def export(db: sqlite3.Connection, found: Found, name: str) -> Iterator[str]:
    """The lines of a session or event in the format `name`.

    Raises UsageError ERR_EXPORT_FORMAT, ERR_USAGE for what is no recorded program where it must be one.
    """
    module = _format(name)
    if hasattr(module, "trace_lines"):
        traced: Iterator[str] = module.trace_lines(family(db, program_of(db, found, name)))
        return traced

    def read_output(event: Row) -> Output | None:
        return output(db, event) if has_output(db, event) else None

    lines: Iterator[str] = module.lines(get_session(db, found.session), _events(db, found), read_output)
    return lines


def export_folder(db: sqlite3.Connection, found: Found, name: str, folder: Path) -> int:
    """Write the files of a recorded program into a directory, which is made; returns how many events.

    Raises UsageError ERR_EXPORT_FORMAT, ERR_USAGE for what is no recorded program, EnvironmentError.
    """
    module, program = _format(name), program_of(db, found, name)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        count: int = module.write_trace(program, folder)
    except OSError as error:
        raise _not_written(folder, error) from error
    return count


def export_commit(blame: Blame, where: Path, commit: str, name: str) -> Iterator[str]:
    """The lines of a commit in the format `name`. Raises UsageError ERR_EXPORT_FORMAT, ERR_RANGE."""
    from devtrace.query.annotate import lines_of, whole
    from devtrace.query.blame import blob_in
    from devtrace.query.coverage import Coverage
    from devtrace.query.gitrange import chosen

    chosen_range = chosen(where, commit)
    told = Coverage(blame).of_range(chosen_range).told

    def text_of(span: Row) -> bytes:
        data = blob_in(chosen_range.repository, chosen_range.head, chosen_range.root, true_name(span, "path"))
        return b"".join(lines_of(whole(data or b""))[span["start"] - 1 : span["end"]])

    committed_us = chosen_range.head.commit_time * 1_000_000
    lines: Iterator[str] = _format(name).commit_lines(told, committed_us, blame.works.call, text_of)
    return lines


def _format(name: str) -> ModuleType:
    if name not in formats():
        raise UsageError(
            f"unknown export format {name!r}",
            code="ERR_EXPORT_FORMAT",
            hint=f"use one of {', '.join(formats())}",
            context={"format": name, "known": formats()},
        )
    return importlib.import_module(f"{formats_room.__name__}.{name.replace('-', '_')}")


def write(lines: Iterable[str], path: Path) -> int:
    """Write the lines to a file, whole or not at all; returns how many. Raises EnvironmentError.

    What is there and is no regular file, a pipe or a device, is written into and never replaced.
    """
    target = path.resolve()
    try:
        if target.exists() and not target.is_file():
            return _write_into(target, lines)
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            count = _write_into(draft, lines)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise _not_written(path, error) from error
    return count


def _not_written(path: Path, error: OSError) -> EnvironmentError:
    return EnvironmentError(
        f"{path} cannot be written: {error.strerror or error}",
        code="ERR_EXPORT_WRITE",
        hint="choose another place with -o",
        context={"path": str(path)},
    )


def _write_into(path: Path, lines: Iterable[str]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(line + "\n")
            count += 1
    return count


def _events(db: sqlite3.Connection, found: Found) -> Iterable[Row]:
    if found.event is not None:
        return [get_event(db, found.session, found.event)]
    return each_event(db, Filters(session=found.session))
