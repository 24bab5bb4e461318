"""The versions of a path in their order: what it held after each recorded change, and which event that was.

Between two recorded changes there is no hole: where the state before a change is not the one that the change
before left, a version without an event stands in between. The first of them is what was there before the
recording began.

Lives here: `Version`, `Versions`. Not here: who wrote a line (annotate.py), contents (store/checkpoints/).
"""

from __future__ import annotations

import json
import re
import sqlite3
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from devtrace.errors import UsageError
from devtrace.query.events import get_event
from devtrace.store.chain import knows_stubs
from devtrace.store.changes import true_name

BEFORE, GAP, UNRECORDED, WITHHELD, PRUNED = "before", "gap", "unrecorded", "withheld", "pruned"
RECORDED = "recorded"
STATUSES = (RECORDED, "outside", "background", "ambiguous", BEFORE, GAP, UNRECORDED, WITHHELD, PRUNED)

# These bring contents back and write none of their own, whatever git's store had at that moment.
_BRINGS_BACK = re.compile(r"(?:\S*/)?(?:git|devtrace restore)(?:\s|$)")
_MOST_PATHS = 20  # that one file had in the course of time
_KEPT_EVENTS = 256
_NEAR = 2_000  # rows in which the other half of a move is looked for
_LAST_SEQ = 2**63 - 1
_KNOWN = ("command", "tool", "restore")  # attributions that name who did it

Key = tuple[str, bytes]  # the chain, and the path in it
Place = tuple[int, int]  # in the order of the record


class Edit(NamedTuple):
    """The `edit_files` event of a version."""

    session: str
    id: str
    seq: int
    parent: str | None
    actor: str
    started_us: int
    ended_us: int | None
    attribution: str
    confidence: str
    candidates: tuple[str, ...]
    commit: str

    @property
    def command(self) -> tuple[str, str] | None:
        """Session and id of the command or tool that did it, where that is known."""
        if self.attribution not in _KNOWN:
            return None
        if self.parent is not None:
            return self.session, self.parent
        if len(self.candidates) != 1 or "/" not in self.candidates[0]:
            return None
        session, _, event = self.candidates[0].partition("/")
        return session, event


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Version:
    """What a path held for a while."""

    key: Key
    place: Place
    oid: str | None  # None: nothing was there
    status: str  # one of STATUSES
    edit: Edit | None = None  # None: no event tells of it
    change: str = ""
    previous: Version | None = None  # at this path; None: nothing
    moved_from: tuple[Key, int] | None = None  # and the event's seq that took it away; None: not renamed
    brings_back: bool = False  # its lines may be older than it is
    hmac: str | None = None  # of the true content, where another one is kept


class _Lineage(NamedTuple):
    versions: list[Version]
    by_oid: dict[str, list[Version]]


class _Row(NamedTuple):
    path: bytes
    old_path: bytes | None
    change: str
    old_oid: str | None
    new_oid: str | None
    edit: Edit
    from_git: bool
    hmac: str | None
    left_seq: int  # of the event that took away what was renamed: this one, or its neighbour


_SELECT = """
    SELECT c.n, c.path, c.path_bytes, c.old_path, c.old_path_bytes, c.change, c.old_oid, c.new_oid,
           e.session, e.id, e.seq, e.parent, e.actor, e.started_us, e.ended_us
    FROM file_changes c JOIN events e ON e.id = c.event AND e.session = c.session
"""


class Versions:
    """The versions of every path of a store, read when they are asked for and never again."""

    def __init__(self, db: sqlite3.Connection, ranks: Callable[[str], dict[str, int]] | None = None):
        """`ranks`: the commits of a chain by their order, for a record that was not written in that order."""
        self._db = db
        self._ranks = ranks
        self._timelines: dict[Key, list[Version]] = {}
        self._lineages: dict[Key, _Lineage] = {}
        self._rows_of = lru_cache(None)(self._read)
        self._data = lru_cache(_KEPT_EVENTS)(self._read_data)
        self._bringing: dict[tuple[str, str], bool] = {}
        self._first_seqs: dict[str, int] | None = None

    def timeline(self, key: Key) -> list[Version]:
        """Every version of a path, the oldest first; empty for one that never changed."""
        if key not in self._timelines:
            self._timelines[key] = self._linked(key)
        return self._timelines[key]

    def source(self, version: Version) -> Version | None:
        """The version whose lines it goes on with; what was ignored for a while was there all the time."""
        found = version.previous if version.moved_from is None else self._left_for(version)
        while found is not None and found.change == "ignored":
            found = found.previous
        return found if found is not None and found.oid is not None else None

    def _left_for(self, version: Version) -> Version | None:
        """What stood at the path that was renamed to this one, just before that."""
        assert version.moved_from is not None
        key, seq = version.moved_from
        for other in self.timeline(key):
            if other.edit is not None and other.edit.seq == seq:
                return other.previous
        return None

    def lineage(self, key: Key) -> list[Version]:
        """The same of all paths that the file had in the course of time, in every working tree."""
        return self._lineage(key).versions

    def earlier(self, version: Version) -> list[Version]:
        """What the file held before, under whatever path, the oldest first."""
        found = self.lineage(version.key)
        return found[: bisect_left(found, version.place, key=lambda one: one.place)]

    def earlier_same(self, version: Version) -> list[Version]:
        """Those of them with the same content: first those at this path, the newest first."""
        same = self._lineage(version.key).by_oid.get(version.oid or "", [])
        found = [one for one in reversed(same) if one.place < version.place]
        return sorted(found, key=lambda one: one.key != version.key)

    def may_be_pruned(self, version: Version) -> bool:
        """Whether an edit that was pruned since may have brought what no event tells of any more."""
        if version.edit is not None or version.status not in (BEFORE, GAP):
            return False
        before = version.previous.place[0] if version.previous is not None else 0
        stub = "SELECT 1 FROM pruned WHERE kind = 'edit_files' AND seq BETWEEN ? AND ? LIMIT 1"
        until = version.place[0] or _LAST_SEQ  # it still stands where no change is told of
        return knows_stubs(self._db) and self._db.execute(stub, (before, until)).fetchone() is not None

    def _lineage(self, key: Key) -> _Lineage:
        if key not in self._lineages:
            keys = self._keys_of(key)
            found = sorted((one for each in keys for one in self.timeline(each)), key=lambda one: one.place)
            by_oid: dict[str, list[Version]] = {}
            for version in found:
                if version.oid is not None:
                    by_oid.setdefault(version.oid, []).append(version)
            self._lineages.update(dict.fromkeys(keys, _Lineage(found, by_oid)))
        return self._lineages[key]

    def holders(self, oid: str, chain: str) -> list[Version]:
        """The versions anywhere that hold this content, those of the chain first, then the newest first."""
        rows = self._db.execute(
            "SELECT chain, path, path_bytes, event, session FROM file_changes WHERE new_oid = ?"
            " ORDER BY chain = ? DESC, n DESC LIMIT 20",
            (oid, chain),
        ).fetchall()
        found = []
        for where, path, raw, event, session in rows:
            for version in self.timeline((where, raw or path.encode())):
                if version.edit is not None and (version.edit.session, version.edit.id) == (session, event):
                    found.append(version)
        return found

    def stood_before(self, version: Version) -> bool:
        """Whether some file held this content before its own first change, and that came earlier."""
        if self._first_seqs is None:
            rows = self._db.execute(
                "SELECT c.old_oid, min(e.seq) FROM file_changes c JOIN events e"
                " ON e.id = c.event AND e.session = c.session WHERE c.old_oid IS NOT NULL GROUP BY 1"
            )
            self._first_seqs = dict(rows.fetchall())
        return self._first_seqs.get(version.oid or "", version.place[0]) < version.place[0]

    # --- linking --------------------------------------------------------------------------------------------

    def _linked(self, key: Key) -> list[Version]:
        rows = self._rows_of(key)
        if self._ranks is not None and not _is_continuous(key[1], rows):
            rank = self._ranks(key[0])
            rows = sorted(rows, key=lambda row: (rank.get(row.edit.commit, -1), row.edit.seq))
        found: list[Version] = []
        for row in rows:
            self._follow(key, row, found)
        return found

    def _follow(self, key: Key, row: _Row, found: list[Version]) -> None:
        """Add what one change made of the path, and what must have been there before it."""
        is_leaving = row.path != key[1]
        is_renamed_here = row.old_path is not None and not is_leaving
        expected = None if is_renamed_here else row.old_oid
        last = found[-1] if found else None
        if expected != (last.oid if last is not None else None):
            last = Version(
                key=key,
                place=_next(found, row.edit.seq, 0),
                oid=expected,
                status=GAP if found else BEFORE,
                previous=last,
                brings_back=bool(found),
            )
            found.append(last)
        found.append(
            Version(
                key=key,
                place=_next(found, row.edit.seq, 1),
                oid=None if is_leaving else row.new_oid,
                status=_status(row.edit),
                edit=row.edit,
                change="deleted" if is_leaving else row.change,
                previous=last,
                moved_from=((key[0], row.old_path), row.left_seq)
                if row.old_path is not None and is_renamed_here
                else None,
                brings_back=not is_leaving and (row.from_git or self._is_bringing(row.edit)),
                hmac=None if is_leaving else row.hmac,
            )
        )

    def _is_bringing(self, edit: Edit) -> bool:
        """Whether its command was one that brings contents back."""
        command = edit.command
        if command is None or edit.attribution == "restore":
            return edit.attribution == "restore"
        if command not in self._bringing:
            try:
                text = str(get_event(self._db, *command)["data"].get("command") or "")
            except UsageError:  # the command was lost
                text = ""
            self._bringing[command] = _BRINGS_BACK.match(text.strip()) is not None
        return self._bringing[command]

    def _keys_of(self, key: Key) -> list[Key]:
        """The path, those it was renamed from and to, and the same in other working trees."""
        paths, waiting = {key[1]: None}, [key[1]]
        chains = [str(row[0]) for row in self._db.execute("SELECT DISTINCT chain FROM file_changes")]
        while waiting and len(paths) < _MOST_PATHS:
            path = waiting.pop()
            for chain in chains:
                for row in self._rows_of((chain, path)):
                    for other in (row.path, row.old_path):
                        if other is not None and other not in paths:
                            paths[other] = None
                            waiting.append(other)
        return [(chain, path) for chain in {key[0]: None, **dict.fromkeys(chains)} for path in paths]

    # --- reading --------------------------------------------------------------------------------------------

    def _read(self, key: Key) -> list[_Row]:
        chain, path = key
        name = path.decode("utf-8", "replace")
        rows = self._db.execute(
            f"{_SELECT} WHERE c.chain = ? AND (c.path = ? OR c.old_path = ?) ORDER BY e.seq, c.n",
            (chain, name, name),
        )
        found = [self._row(values) for values in rows.fetchall()]
        return [row for row in found if path in (row.path, row.old_path)]

    def _row(self, values: Iterable[Any]) -> _Row:
        n, path, raw, old_path, old_raw, change, old_oid, new_oid, session, event, seq, *rest = values
        parent, actor, started_us, ended_us = rest
        told, changes = self._data(session, event)
        name = raw or path.encode()
        one = changes.get(name, {})
        edit = Edit(
            session, event, seq, parent, actor, started_us, ended_us,
            str(told.get("attribution") or ""), str(told.get("confidence") or ""),
            tuple(str(name) for name in told.get("candidates") or ()), str(told.get("commit") or ""),
        )  # fmt: skip
        old_name = None if old_path is None else old_raw or old_path.encode()
        is_git = one.get("from_git") is True
        left_seq = seq
        if change == "added" and new_oid is not None:
            old_name, left_seq = self._moved_apart(n, told, new_oid) or (None, seq)
        return _Row(name, old_name, change, old_oid, new_oid, edit, is_git, one.get("hmac"), left_seq)

    def _moved_apart(self, n: int, told: dict[str, Any], oid: str) -> tuple[bytes, int] | None:
        """The path that the same content left in the checkpoint before this one or behind it, and its seq.

        What a move did has two events where it is less sure who took away than who brought.
        """
        rows = self._db.execute(
            "SELECT c.path, c.path_bytes, c.session, c.event, e.seq FROM file_changes c"
            " JOIN events e ON e.id = c.event AND e.session = c.session"
            " WHERE c.n BETWEEN ? AND ? AND c.chain = ? AND c.change = 'deleted' AND c.old_oid = ?",
            (n - _NEAR, n + _NEAR, told.get("chain"), oid),
        )
        for path, raw, session, event, seq in rows.fetchall():
            other = self._data(session, event)[0]
            if other.get("commit") == told.get("before") or other.get("before") == told.get("commit"):
                return raw or path.encode(), seq
        return None

    def _read_data(self, session: str, event: str) -> tuple[dict[str, Any], dict[bytes, dict[str, Any]]]:
        row = self._db.execute(
            "SELECT data FROM events WHERE session = ? AND id = ?", (session, event)
        ).fetchone()
        data = json.loads(row[0])
        return data, {true_name(change, "path"): change for change in data.pop("changes", ())}


def _next(found: list[Version], seq: int, step: int) -> Place:
    """Behind those that are there, also where the record was not written in the order of the changes."""
    place = (seq, step)
    return max(place, (found[-1].place[0], found[-1].place[1] + 1)) if found else place


def _status(edit: Edit) -> str:
    if edit.attribution in _KNOWN:
        return RECORDED
    if edit.attribution == "baseline":
        return BEFORE
    return edit.attribution if edit.attribution in STATUSES else "ambiguous"


def _is_continuous(path: bytes, rows: list[_Row]) -> bool:
    """Whether every change begins where the one before ended."""
    state: str | None = rows[0].old_oid if rows and rows[0].path == path and not rows[0].old_path else None
    for at, row in enumerate(rows):
        is_leaving = row.path != path
        before = row.old_oid if is_leaving or row.old_path is None else None
        if at and before != state:
            return False
        state = None if is_leaving else row.new_oid
    return True
