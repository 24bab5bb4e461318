"""Tests that a change took out, that it made to ask less than before, or that it skips.

A test is known by the name of its file; a line that went from one test file to another is where it was.

Lives here: `weakened`. Not here: the words by which assertions and skips are known (smells.py), everything
else that a reviewer should look at (findings.py).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from devtrace.query import smells
from devtrace.query.gitrange import FileChange
from devtrace.query.smells import finding
from devtrace.store.changes import true_name

Row = dict[str, Any]

_NAMED = 3  # tests by their names


class _Change(NamedTuple):
    """What became of a test file, without what only went elsewhere."""

    path: str
    old: str
    is_gone: bool
    n_lines: int
    added: list[bytes]
    deleted: list[bytes]


def weakened(changes: Iterable[FileChange], edits: Sequence[Row]) -> Iterator[Row]:
    """The findings of a change; `edits`: the `edit_files` events in which it was made, oldest first."""
    for change in _of_tests(list(changes)):
        row = _edit_of(change, edits)
        name = change.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if change.is_gone:
            told = f"{change.old} is gone, a test of {_count(change.n_lines, 'line')}"
            yield finding("test_deleted", told, row, path=name)
            continue
        yield from _inside(change, name, row)


def _inside(change: _Change, name: str, row: Row | None) -> Iterator[Row]:
    gone, begun = smells.begun_tests(change.deleted), smells.begun_tests(change.added)
    if (fewer := len(gone) - len(begun)) > 0:
        names = [one for one in dict.fromkeys(gone) if one not in begun and one[:1] not in ("#", "@", "[")]
        which = f": {', '.join(names[:_NAMED])}" if names else ""
        told = f"{change.path} has {_count(fewer, 'test')} less{which}"
        yield finding("test_deleted", told, row, path=name, count=fewer)
    fewer = smells.n_assertions(change.deleted) - smells.n_assertions(change.added)
    if fewer > 0:
        told = f"{change.path} has {_count(fewer, 'assertion')} less"
        yield finding("test_weakened", told, row, path=name, count=fewer)
    skipped = smells.n_skips(change.added) - smells.n_skips(change.deleted)
    if skipped > 0:
        were = "was" if skipped == 1 else "were"
        told = f"{change.path} has {_count(skipped, 'test')} skipped that {were} not"
        yield finding("test_skipped", told, row, path=name, count=skipped)


def _of_tests(changes: Sequence[FileChange]) -> Iterator[_Change]:
    tests = [change for change in changes if _is_test(change)]
    arrived = Counter(text.strip() for change in tests for _, text in change.added)
    arrived.subtract(text.strip() for change in tests for text in change.deleted)
    for change in tests:
        path, old = _paths(change)
        own = Counter(text.strip() for _, text in change.added)
        own.subtract(text.strip() for text in change.deleted)
        yield _Change(
            path=path,
            old=old,
            is_gone=change.change == "deleted" or not smells.is_test(path),
            n_lines=len(change.deleted),
            added=[text for _, text in change.added],
            # What is less here and not less in all tests together went into another one.
            deleted=[text for text in change.deleted if own[text.strip()] >= 0 or arrived[text.strip()] < 0],
        )


def _is_test(change: FileChange) -> bool:
    return any(map(smells.is_test, _paths(change)))


def _paths(change: FileChange) -> tuple[str, str]:
    """Where it is, and where it was."""
    path = os.fsdecode(change.path)
    return path, path if change.old_path is None else os.fsdecode(change.old_path)


def _edit_of(change: _Change, edits: Sequence[Row]) -> Row | None:
    """The event that did it: the last that took the file away, or the only one that changed it."""
    names = {os.fsencode(change.path), os.fsencode(change.old)}
    found = [(row, one) for row in edits for one in row["data"].get("changes") or () if _names(one) & names]
    if change.is_gone:
        return next((row for row, one in reversed(found) if _takes(one, os.fsencode(change.old))), None)
    return found[0][0] if len(found) == 1 else None


def _takes(change: Row, name: bytes) -> bool:
    """Whether a path is not there any more after it."""
    return change.get("new_oid") is None or true_name(change, "path") != name


def _names(change: Row) -> set[bytes]:
    return {true_name(change, name) for name in ("path", "old_path") if change.get(name) is not None}


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s'[: number != 1]}"
