"""What did this change? The edits of an event, a command or a session, and what is left of them in the end.

An edit belongs to the command that it stands under, or to the one that its record names: a change that a
command of another session made is told by the recording that saw it. Of each path the net is the first old
side and the last new one, followed through renames.

Lives here: `select` and `net`. Not here: from one state to another (ranges.py), the text of a patch
(views/patch.py).
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from devtrace.query.events import get_event
from devtrace.query.ids import Found
from devtrace.store.changes import true_name
from devtrace.store.checkpoints.tree import Entry

Row = dict[str, Any]

_FILE = 0o100644
_KIND = 0o170000  # of a mode: whether it is a file, a link or a repository
_NOBODY = ("outside", "baseline")  # of no session: nobody is asked whether it was theirs
_EDITS = """
    SELECT seq, session, id, parent, json_extract(data, '$.attribution'), json_extract(data, '$.candidates')
    FROM events WHERE kind = 'edit_files' AND coalesce(ended_us, started_us) >= ? ORDER BY seq
"""
_BETWEEN = """
    SELECT DISTINCT events.session || '/' || events.id FROM file_changes
    JOIN events ON events.session = file_changes.session AND events.id = file_changes.event
    WHERE file_changes.path = ? AND file_changes.chain = ? AND events.seq > ? AND events.seq < ?
    ORDER BY events.seq
"""


class Selection(NamedTuple):
    """Edits of something, in the order of the record."""

    edits: list[Row]
    unsure: list[Found]  # edits that may be of it, or of something else


class NetFile(NamedTuple):
    """One path before and after."""

    path: bytes
    old_path: bytes | None  # None: it was not renamed
    old: Entry | None  # None: it was not there
    new: Entry | None  # None: it is not there, or does not count any more
    events: tuple[str, ...] = ()  # SESSION/EVENT: the edits that made it so
    is_ignored: bool = False  # it is still there, and no longer tracked
    is_mixed: bool = False  # something else changed it in between
    others: tuple[str, ...] = ()  # SESSION/EVENT: what that was, as far as it is known
    withheld: str | None = None  # as the record says; None: the content is kept, or the record does not say

    @property
    def change(self) -> str:
        """The word for it, as in an edit's record."""
        if self.is_ignored:
            return "ignored"
        if self.old is None or self.new is None:
            return "added" if self.old is None else "deleted"
        if self.old_path is not None:
            return "renamed"
        return "mode" if self.old.oid == self.new.oid else "modified"


class Net(NamedTuple):
    """What changed in one working tree."""

    chain: str
    root: str
    files: list[NetFile]


# --- whose edits ----------------------------------------------------------------------------------------


def select(db: sqlite3.Connection, found: Found) -> Selection:
    """The edits of an event, with those of all that ran inside it, or of a session.

    One that may be of several things counts where all of them are inside. Raises UsageError ERR_ID_UNKNOWN.
    """
    found = _first_id(db, found)
    if found.event is not None:
        event = get_event(db, found.session, found.event)
        if event["kind"] == "edit_files":
            return Selection([event], [])
        since_us = event["started_us"]
    else:
        (since_us,) = db.execute("SELECT started_us FROM sessions WHERE id = ?", (found.session,)).fetchone()
    return _below(db, found, since_us)


def _below(db: sqlite3.Connection, found: Found, since_us: int) -> Selection:
    around = _Around(db)
    selection = Selection([], [])
    for _, session, event, parent, attribution, named in db.execute(_EDITS, (since_us,)).fetchall():
        if attribution in _NOBODY:
            continue
        owners = _owners(session, parent, named)
        inside = [owner is not None and found in around.all(owner) for owner in owners]
        if inside and all(inside):
            selection.edits.append(get_event(db, session, event))
        elif any(inside) or (found.event is None and session == found.session and None in owners):
            selection.unsure.append(Found(session, event))
    return selection


def _owners(session: str, parent: str | None, named: str | None) -> list[Found | None]:
    """Who may have made an edit; None: something that ran in the background."""
    if parent is not None:
        return [Found(session, parent)]
    names = json.loads(named) if named else []
    pairs = [str(name).partition("/") for name in names]
    return [Found(outer, inner) if inner else None for outer, _, inner in pairs] or [None]


class _Around:
    """What an event is inside of: commands, its session, the command in which that was started, and so on."""

    def __init__(self, db: sqlite3.Connection):
        self._db = db
        self._known: dict[Found, Found | None] = {}

    def all(self, found: Found) -> set[Found]:
        """The event itself and everything around it. Parents come from guests: a circle ends at itself."""
        seen: set[Found] = set()
        now: Found | None = found
        while now is not None and now not in seen:
            seen.add(now)
            if now not in self._known:
                self._known[now] = self._above(now)
            now = self._known[now]
        return seen

    def _above(self, found: Found) -> Found | None:
        if found.event is None:
            select = "SELECT parent_session, parent_event FROM sessions WHERE id = ?"
            row = self._db.execute(select, (found.session,)).fetchone()
            return Found(*row) if row is not None and row[0] is not None else None
        for table in ("events", "running"):
            select = f"SELECT parent FROM {table} WHERE id = ? AND session = ?"
            row = self._db.execute(select, (found.event, found.session)).fetchone()
            if row is not None:
                break
        return Found(found.session, row[0] if row is not None else None)


def _first_id(db: sqlite3.Connection, found: Found) -> Found:
    """An end that came late is an event of its own; what happened inside stands under the first."""
    row = db.execute(
        "SELECT event FROM links WHERE session = ? AND other_event = ? AND relation = 'end'",
        (found.session, found.event),
    ).fetchone()
    return found if row is None else Found(found.session, row[0])


# --- what is left in the end ----------------------------------------------------------------------------


def net(db: sqlite3.Connection, edits: Iterable[Row]) -> list[Net]:
    """The net of edits, for each working tree; paths in the order of their bytes."""
    trees: dict[str, tuple[str, list[Row]]] = {}
    for edit in edits:
        data = edit["data"]
        trees.setdefault(str(data["chain"]), (str(data.get("root", "")), []))[1].append(edit)
    return [Net(chain, root, _net(db, chain, rows)) for chain, (root, rows) in trees.items()]


def _net(db: sqlite3.Connection, chain: str, edits: Sequence[Row]) -> list[NetFile]:
    states = _States()
    for edit in edits:
        states.seq, states.event = int(edit["seq"] or 0), f"{edit['session']}/{edit['id']}"
        for change in edit["data"]["changes"]:
            states.take(change)
    chosen = {f"{edit['session']}/{edit['id']}" for edit in edits}
    return [file._replace(others=_between(db, chain, states, file.path, chosen)) for file in states.files()]


@dataclass(slots=True)
class _States:
    """The paths that were met: how each was first, how it is now, and where what is there came from."""

    seq: int = 0
    event: str = ""
    old: dict[bytes, Entry | None] = field(default_factory=dict)
    new: dict[bytes, Entry | None] = field(default_factory=dict)
    origin: dict[bytes, bytes] = field(default_factory=dict)
    last: dict[bytes, int] = field(default_factory=dict)
    names: dict[bytes, str] = field(default_factory=dict)  # as the table of changes has them
    events: dict[bytes, list[str]] = field(default_factory=lambda: defaultdict(list))
    holes: dict[bytes, list[tuple[str, int, int]]] = field(default_factory=lambda: defaultdict(list))
    withheld: dict[bytes, str | None] = field(default_factory=dict)
    ignored: set[bytes] = field(default_factory=set)

    def take(self, change: Row) -> None:
        """One change of one path."""
        path = true_name(change, "path")
        before, after = _entry(change, "old"), _entry(change, "new")
        if change.get("old_path") is None:
            self._meet(path, before, str(change["path"]))
            if after is None:
                self.origin.pop(path, None)
        else:
            self._move(true_name(change, "old_path"), path, before, change)
        self.new[path] = after
        self.withheld[path] = change.get("withheld")
        self.ignored.discard(path)
        if change["change"] == "ignored":
            self.ignored.add(path)

    def _meet(self, path: bytes, before: Entry | None, name: str) -> None:
        if path not in self.old:
            self.old[path] = before
        elif self.new[path] != before:
            self.holes[path].append((name, self.last[path], self.seq))
        self.last[path] = self.seq
        if self.event not in self.events[path]:
            self.events[path].append(self.event)

    def _move(self, source: bytes, target: bytes, before: Entry | None, change: Row) -> None:
        self._meet(source, before, str(change["old_path"]))
        self._meet(target, None, str(change["path"]))
        self.new[source] = None
        self.origin[target] = self.origin.pop(source, source)
        self.holes[target] += self.holes[source]
        made = self.events[source] + self.events[target]
        self.events[target] = list(dict.fromkeys(made))

    def files(self) -> list[NetFile]:
        """What differs in the end, in the order of the paths' bytes."""
        moved = {target: source for target, source in self.origin.items() if self._is_rename(source, target)}
        sources = set(moved.values())
        return [
            self._file(path, moved.get(path))
            for path in sorted(self.old)
            if path in moved or (path not in sources and self.old[path] != self.new[path])
        ]

    def _is_rename(self, source: bytes, target: bytes) -> bool:
        """Whether in the end one is gone that was there, and the other there that was not."""
        was, now = self.old[source], self.new[target]
        if source == target or was is None or now is None or was.mode & _KIND != now.mode & _KIND:
            return False
        return self.new[source] is None and self.old[target] is None

    def _file(self, path: bytes, old_path: bytes | None) -> NetFile:
        return NetFile(
            path,
            old_path,
            self.old[path if old_path is None else old_path],
            self.new[path],
            events=tuple(self.events[path]),
            is_ignored=path in self.ignored,
            is_mixed=bool(self.holes[path]),
            withheld=self.withheld.get(path),
        )


def _between(
    db: sqlite3.Connection, chain: str, states: _States, path: bytes, chosen: set[str]
) -> tuple[str, ...]:
    """The edits, none of the chosen ones, that explain why a path was not as it had been left."""
    found: dict[str, None] = {}
    for name, after, before in states.holes[path]:
        rows = db.execute(_BETWEEN, (name, chain, after, before))
        found.update((row[0], None) for row in rows if row[0] not in chosen)
    return tuple(found)


def _entry(change: Row, side: str) -> Entry | None:
    oid = change.get(f"{side}_oid")
    return None if oid is None else Entry(int(change.get(f"{side}_mode") or _FILE), str(oid))


# --- which paths ----------------------------------------------------------------------------------------


def narrowed(files: Iterable[NetFile], wanted: Sequence[bytes]) -> list[NetFile]:
    """Those at or below one of the paths, before or after; `b""` is all of them."""
    return [file for file in files if any(is_below(file, path) for path in wanted)]


def is_below(file: NetFile, wanted: bytes) -> bool:
    """Whether a file is, or was, that path or something in that directory."""
    names = [name for name in (file.path, file.old_path) if name is not None]
    return any(not wanted or name == wanted or name.startswith(wanted + b"/") for name in names)


def inside(root: str, path: str, here: str) -> bytes | None:
    """A path as given in the directory `here`, seen from the working tree; None: it is not in there."""
    whole = os.path.normpath(Path(here, path))
    folder, name = os.path.split(whole)
    # Links on the way are followed, as the root was found without them; the last part may be what changed.
    for candidate in (Path(os.path.realpath(folder), name), whole, os.path.realpath(whole)):
        relative = os.path.relpath(os.fsencode(candidate), os.fsencode(os.path.realpath(root)))
        if relative == b".":
            return b""
        if relative != b".." and not relative.startswith(b"../"):
            return relative
    return None
