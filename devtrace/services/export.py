"""export: a session, or one event of it, as a file for other programs.

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
from typing import Any

from devtrace.errors import EnvironmentError, UsageError
from devtrace.query.events import each_event, get_event
from devtrace.query.filters import Filters
from devtrace.query.ids import Found
from devtrace.query.output import Output, has_output, output
from devtrace.query.sessions import get_session
from devtrace.views import export as formats_room

Row = dict[str, Any]


def formats() -> list[str]:
    """The names of the formats there are."""
    return sorted(module.name for module in pkgutil.iter_modules(formats_room.__path__))


def export(db: sqlite3.Connection, found: Found, name: str) -> Iterator[str]:
    """The lines of a session or event in the format `name`. Raises UsageError ERR_EXPORT_FORMAT."""
    if name not in formats():
        raise UsageError(
            f"unknown export format {name!r}",
            code="ERR_EXPORT_FORMAT",
            hint=f"use one of {', '.join(formats())}",
            context={"format": name, "known": formats()},
        )
    module = importlib.import_module(f"{formats_room.__name__}.{name}")

    def read_output(event: Row) -> Output | None:
        return output(db, event) if has_output(event) else None

    lines: Iterator[str] = module.lines(get_session(db, found.session), _events(db, found), read_output)
    return lines


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
        raise EnvironmentError(
            f"{path} cannot be written: {error.strerror or error}",
            code="ERR_EXPORT_WRITE",
            hint="choose another place with -o",
            context={"path": str(path)},
        ) from error
    return count


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
