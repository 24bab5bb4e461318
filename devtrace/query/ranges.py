"""From one state of a working tree to another, whoever made the difference.

Lives here: `between`, for two checkpoints of one chain, and what an open end means. Not here: the state that
an event means (states.py), the net of chosen edits (diff.py).
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator

import pygit2

from devtrace.errors import DevTraceError, UsageError
from devtrace.query.diff import Net, NetFile
from devtrace.query.ids import Found
from devtrace.query.states import State, state_at
from devtrace.store.checkpoints.chains import read
from devtrace.store.checkpoints.objects import Objects, translated
from devtrace.store.checkpoints.tree import Entry

_NEWEST = "SELECT data FROM events WHERE kind IN ('edit_files', 'git_snapshot') {} ORDER BY seq DESC LIMIT 1"
_MADE_BY = """
    SELECT session || '/' || event, path, path_bytes, change FROM file_changes
    WHERE event IN (SELECT value FROM json_each(?)) AND chain = ? ORDER BY n
"""


def between(db: sqlite3.Connection, objects: Objects, one: Found | None, other: Found | None) -> Net:
    """What differs from the state after `one` (None: the first) to the state after `other` (the newest).

    Raises UsageError ERR_USAGE for states of two working trees, ERR_NO_CHECKPOINT where nothing was kept, and
    EnvironmentError ERR_STORE_DAMAGED.
    """
    start = None if one is None else state_at(db, one)
    end = None if other is None else state_at(db, other)
    if start is not None and end is not None and start.chain != end.chain:
        raise UsageError(
            f"the two are states of different working trees: {start.root} and {end.root}",
            code="ERR_USAGE",
            hint="name two events of one repository",
            context={"chains": [start.chain, end.chain]},
        )
    known = start or end or _newest(db)
    old = start.commit if start is not None else _first(objects, known.commit)
    new = end.commit if end is not None else _tip(objects, known)
    return Net(known.chain, known.root, _files(db, objects, known.chain, old, new))


def _newest(db: sqlite3.Connection, chain: str = "") -> State:
    narrow, values = ("AND json_extract(data, '$.chain') = ?", (chain,)) if chain else ("", ())
    row = db.execute(_NEWEST.format(narrow), values).fetchone()
    if row is None:
        raise UsageError(
            "no state of the working tree was kept yet",
            code="ERR_NO_CHECKPOINT",
            hint="work in `devtrace shell`, or run `devtrace snapshot`",
        )
    data = json.loads(row[0])
    return State(data["chain"], data["root"], data["commit"])


def _tip(objects: Objects, known: State) -> str:
    """The newest checkpoint of the chain, as its ref says."""
    try:
        commit = (objects.path / "refs" / "devtrace" / known.chain).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return known.commit
    return commit if objects.has(commit) else known.commit


def _first(objects: Objects, commit: str) -> str:
    """The oldest checkpoint that is still kept."""
    return [commit, *(older for older, _ in _history(objects, commit))][-1]


def _history(objects: Objects, commit: str, until: str | None = None) -> Iterator[tuple[str, str]]:
    """(id, message) of a checkpoint and those before it, newest first, without `until`."""
    now: str | None = commit
    while now is not None and now != until:
        try:
            point = read(objects, now)
        except DevTraceError:  # what was before it was pruned
            return
        yield now, point.message
        now = point.parent


def _files(db: sqlite3.Connection, objects: Objects, chain: str, old: str, new: str) -> list[NetFile]:
    before, after = (read(objects, commit).tree for commit in (old, new))
    with translated(objects.path):
        diff = objects.repository.diff(before, after)
        diff.find_similar()
        files = [_file(delta) for delta in diff.deltas]
    if not files:
        return []
    made = _made(db, objects, chain, old, new)
    return sorted((_with_makers(file, made) for file in files), key=lambda file: file.path)


def _with_makers(file: NetFile, made: dict[bytes, list[tuple[str, str]]]) -> NetFile:
    """The file with the edits that made it so. One that is only ignored by now is not deleted."""
    rows = [row for path in (file.old_path, file.path) if path is not None for row in made.get(path, ())]
    is_ignored = file.new is None and bool(rows) and rows[-1][1] == "ignored"
    return file._replace(events=tuple(dict.fromkeys(name for name, _ in rows)), is_ignored=is_ignored)


def _file(delta: pygit2.DiffDelta) -> NetFile:
    before, after = (
        Entry(int(side.mode), str(side.id)) if int(side.mode) else None
        for side in (delta.old_file, delta.new_file)
    )
    source, target = delta.old_file.raw_path, delta.new_file.raw_path
    is_rename = delta.status == pygit2.enums.DeltaStatus.RENAMED
    return NetFile(target, source if is_rename and source != target else None, before, after)


def _made(
    db: sqlite3.Connection, objects: Objects, chain: str, old: str, new: str
) -> dict[bytes, list[tuple[str, str]]]:
    """By path, (edit, change) between the two checkpoints, oldest first: their messages name the events."""
    messages = [message.split() for _, message in _history(objects, new, old)]
    messages = messages or [message.split() for _, message in _history(objects, old, new)]
    known = {f"{words[1]}/{words[2]}" for words in messages if len(words) == 3 and words[0] == "edit_files"}
    events = json.dumps(sorted(name.rpartition("/")[2] for name in known))
    found: dict[bytes, list[tuple[str, str]]] = defaultdict(list)
    for name, path, raw, change in db.execute(_MADE_BY, (events, chain)):
        if name in known:
            found[raw if raw is not None else os.fsencode(path)].append((name, change))
    return found
