"""How much of a change is explained: of each line that is new, whether it was seen to be made, and by whom.

A line is known by what it says, not by a commit: amend, rebase, squash and cherry-pick keep it. Lines that
are gone are counted and belong to nobody; a file that is no text counts as one file.

Lives here: `coverage` of a range of commits or of a session, the classes. Not here: what a reviewer should
look at (findings.py), who wrote a line (blame.py).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pygit2

from devtrace.errors import DevTraceError
from devtrace.events import text_and_bytes
from devtrace.query.annotate import hunks, lines_of
from devtrace.query.blame import Blame, Blamed
from devtrace.query.diff import NetFile, net, select
from devtrace.query.events import get_event
from devtrace.query.gitrange import FileChange, GitRange, changed
from devtrace.query.ids import Found
from devtrace.query.sessions import get_session
from devtrace.query.versions import BEFORE as WAS_THERE
from devtrace.query.versions import GAP, PRUNED, WITHHELD, Version
from devtrace.query.wholes import bringing, unlined

Row = dict[str, Any]

OBSERVED, CHECKPOINT, HUMAN, BEFORE, UNEXPLAINED = "observed", "checkpoint", "human", "before", "unexplained"
CLASSES = (OBSERVED, CHECKPOINT, HUMAN, BEFORE, UNEXPLAINED)
EXPLAINED = (OBSERVED, CHECKPOINT, HUMAN)
SPAN = ("path", "start", "end", "class", "why", "event", "session", "actor", "call", "prompt", "reason")

_BY_STATUS = {WAS_THERE: BEFORE, PRUNED: BEFORE, GAP: UNEXPLAINED, WITHHELD: UNEXPLAINED}
_BY_STATUS |= {"outside": UNEXPLAINED, "background": CHECKPOINT, "ambiguous": CHECKPOINT}
_FIRST = "SELECT min(started_us) FROM sessions"


class Covered(NamedTuple):
    """What is known of a change, and the change itself."""

    told: Row
    changes: list[FileChange]


class Coverage:
    """Asks of lines whose they are, in one store."""

    def __init__(self, blame: Blame):
        self.blame = blame
        self._db = blame.db
        row = self._db.execute(_FIRST).fetchone()
        self._since_us = row[0] if row and row[0] is not None else 0
        self._judged: dict[Version, tuple[str, str]] = {}
        self._authors: dict[bytes, list[tuple[range, int]]] = {}

    def of_range(self, chosen: GitRange) -> Covered:
        """The coverage of what a range of commits changed."""
        changes = list(changed(chosen))
        files = [self._of_change(chosen.root, one, str(chosen.head.id), chosen) for one in changes]
        told = {"range": chosen.name, "base": None if chosen.base is None else str(chosen.base.id)}
        return Covered(summed(told | {"head": str(chosen.head.id), "session": None}, files), changes)

    def of_session(self, session: str) -> Covered:
        """The coverage of what was changed while a session was recorded, its own doing or not."""
        edits = self._edits(session)
        last = f"{edits[-1]['session']}/{edits[-1]['id']}" if edits else ""
        changes = [
            (Path(tree.root), self._change(one))
            for tree in net(self._db, edits)
            for one in tree.files
            if not one.is_ignored
        ]
        row = get_session(self._db, session)
        told = {"range": None, "base": row["head_start"], "head": row["head_end"], "session": session}
        files = [self._of_change(root, one, last, None) for root, one in changes]
        return Covered(summed(told, files), [one for _, one in changes])

    def _edits(self, session: str) -> list[Row]:
        """The edits of a session, those that it may have made, and those that its agents say they made."""
        selection = select(self._db, Found(session))
        calls = self.blame.works.of(session).calls
        claimed = [one["event"].partition("/") for call in calls for one in call["edits"]]
        others = [*selection.unsure, *(Found(outer, inner) for outer, _, inner in claimed)]
        known = {(row["session"], row["id"]): row for row in selection.edits}
        for one in others:
            if one not in known:
                known[one.session, str(one.event)] = get_event(self._db, one.session, str(one.event))
        return sorted(known.values(), key=lambda row: row["seq"] or 0)

    # --- one file -------------------------------------------------------------------------------------------

    def _of_change(self, root: Path, change: FileChange, state: str, chosen: GitRange | None) -> Row:
        """A file in a state, a commit or an event, with the runs of its new lines."""
        file = root / os.fsdecode(change.path)
        told = _file(change)
        if change.oid is None or not (change.binary or change.added):
            return told
        if (as_whole := self._as_whole(file, change, _blob(chosen, change.oid))) is not None:
            return told | as_whole
        try:
            blamed = self.blame.at(file, state)
        except DevTraceError as error:
            return told | {"spans": _untold(told, change.added, error)}
        return told | {"spans": self._spans(blamed, [number for number, _ in change.added], chosen)}

    def _change(self, file: NetFile) -> FileChange:
        """What differs between the two contents that are kept of a path."""
        old, new = (self._content(side.oid if side else None) for side in (file.old, file.new))
        oid = file.new.oid if file.new else None
        if old is None or new is None:
            return FileChange(file.path, file.old_path, file.change, oid, True, (), ())
        found = list(hunks(old, new))
        before, after = lines_of(old), lines_of(new)
        added = [(at + 1, after[at]) for hunk in found for at in range(hunk.new, hunk.new_end)]
        deleted = [before[at] for hunk in found for at in range(hunk.old, hunk.old_end)]
        return FileChange(file.path, file.old_path, file.change, oid, False, tuple(added), tuple(deleted))

    def _content(self, oid: str | None) -> bytes | None:
        """A kept content; None: it has no lines, or they are not kept."""
        version = Version(key=("", b""), place=(0, 0), oid=oid, status=WAS_THERE)
        return self.blame.annotator.content(version)

    def _as_whole(self, file: Path, change: FileChange, data: bytes | None) -> Row | None:
        """The class of a file that has no lines to compare, by its whole content; None: it has some."""
        assert change.oid is not None
        if data is None:
            why = self.blame.objects.withheld(change.oid)
        else:
            why = unlined(self.blame, file, change.oid, data)
        if why is None and not change.binary:
            return None
        version = bringing(self.blame, file, change.oid, data)
        name = UNEXPLAINED if version is None else self._judge(version, "")[0]
        return {"withheld": why, "whole": name}

    # --- lines ----------------------------------------------------------------------------------------------

    def _spans(self, blamed: Blamed, numbers: Sequence[int], chosen: GitRange | None) -> list[Row]:
        """Runs of lines with one origin."""
        stood = self.blame.stood(blamed)
        found: list[Row] = []
        for row in self.blame.tell(blamed, numbers):
            at = row["line"] - 1
            version = blamed.origins[at].version
            if at in stood:
                judged = (BEFORE, WAS_THERE)
            elif self.blame.is_known(version):
                judged = self._judge(version, row["text"])
            else:
                judged = self._unseen(blamed, at + 1, chosen)
            _extend(found, row, *judged)
        return found

    def _judge(self, version: Version, text: str) -> tuple[str, str]:
        """The class of a line that a version brought, and the record's own word for why."""
        if version not in self._judged:
            self._judged[version] = self._class_of(version)
        judged = self._judged[version]
        calls = self.blame.calls(version, text)
        if len(calls) > 1:
            return CHECKPOINT, "ambiguous"
        if calls and judged[0] != OBSERVED:
            judged = OBSERVED, "tool"
        is_by_time = judged[0] == OBSERVED and self.blame.is_by_time(version, calls)
        return (OBSERVED, "time") if is_by_time else judged

    def _class_of(self, version: Version) -> tuple[str, str]:
        if self.blame.versions.may_be_pruned(version):
            return BEFORE, PRUNED
        if version.status in _BY_STATUS or version.edit is None:
            return _BY_STATUS.get(version.status, UNEXPLAINED), version.status
        edit = version.edit
        is_agent = edit.actor.startswith("agent:")
        if edit.attribution == "restore":
            return (OBSERVED if is_agent else HUMAN), "restore"
        if self.blame.is_clients(version):
            return CHECKPOINT, "client"
        return (OBSERVED, edit.attribution) if is_agent else (HUMAN, edit.attribution)

    def _unseen(self, blamed: Blamed, number: int, chosen: GitRange | None) -> tuple[str, str]:
        """Of a line that nothing recorded holds: whether its commit is older than the recording."""
        if chosen is None:
            return UNEXPLAINED, "unseen"
        path = blamed.key[1]
        if path not in self._authors:
            self._authors[path] = _authored(chosen, blamed)
        for lines, at_us in self._authors[path]:
            if number in lines:
                return (BEFORE, "commit") if at_us <= self._since_us else (UNEXPLAINED, "unseen")
        return UNEXPLAINED, "unseen"


def _authored(chosen: GitRange, blamed: Blamed) -> list[tuple[range, int]]:
    """When each line of a file was written by git's own account: its author's time, which a rebase keeps."""
    top = os.path.realpath(chosen.root)
    whole = os.path.join(os.path.realpath(blamed.root), os.fsdecode(blamed.key[1]))  # noqa: PTH118
    options: dict[str, Any] = {"newest_commit": chosen.head.id}
    if chosen.base is not None:
        options["oldest_commit"] = chosen.base.id
    found: list[tuple[range, int]] = []
    try:
        for hunk in chosen.repository.blame(os.path.relpath(whole, top), **options):
            commit = chosen.repository[hunk.final_commit_id]
            start = hunk.final_start_line_number
            if isinstance(commit, pygit2.Commit):
                at_us = (commit.author.time + 1) * 1_000_000  # git counts whole seconds
                found.append((range(start, start + hunk.lines_in_hunk), at_us))
    except (pygit2.GitError, KeyError, ValueError):
        return []
    return found


# --- records --------------------------------------------------------------------------------------------


def summed(told: Row, files: Sequence[Row]) -> Row:
    """The files of a change and their sums: `lines` by class, `percent` of them explained (None: no line)."""
    lines: Counter[str] = Counter(dict.fromkeys(CLASSES, 0))
    for span in (span for file in files for span in file["spans"]):
        lines[span["class"]] += span["end"] - span["start"] + 1
    total = sum(lines.values())
    explained = sum(lines[name] for name in EXPLAINED)
    whole = [file for file in files if file["whole"]]
    return told | {
        "files": list(files),
        "lines": dict(lines),
        "total": total,
        "explained": explained,
        "percent": 100 * explained / total if total else None,
        "deleted": sum(file["deleted"] for file in files),
        "binary": dict(Counter(file["whole"] for file in whole if not file["withheld"])),
        "withheld": dict(Counter(file["whole"] for file in whole if file["withheld"])),
        "whole": [{"path": file["path"], "class": file["whole"], "why": file["withheld"]} for file in whole],
        "sessions": sorted({span["session"] for file in files for span in file["spans"] if span["session"]}),
    }


def _file(change: FileChange) -> Row:
    old_path: Row = {"old_path": None}
    if change.old_path is not None:
        old_path |= text_and_bytes("old_path", os.fsdecode(change.old_path))
    return {
        **text_and_bytes("path", os.fsdecode(change.path)),
        **old_path,
        "change": change.change,
        "added": len(change.added),
        "deleted": len(change.deleted),
        "whole": None,
        "withheld": None,
        "spans": [],
    }


def _blob(chosen: GitRange | None, oid: str) -> bytes | None:
    """A content of the user's repository; None: it is none, or a session's."""
    found = chosen.repository.get(oid) if chosen is not None else None
    return bytes(found.data) if isinstance(found, pygit2.Blob) else None


def _extend(found: list[Row], row: Row, name: str, why: str) -> None:
    """Add a line to the last run, or begin another one."""
    is_told = name in (OBSERVED, CHECKPOINT, HUMAN)
    span: Row = dict.fromkeys(SPAN)
    span |= {name: row[name] for name in ("path", "path_b64") if name in row}
    span |= {"start": row["line"], "end": row["line"], "class": name, "why": why}
    for field in SPAN[5:] if is_told else ("event",):
        span[field] = row[field]
    last = found[-1] if found else None
    if last is not None and last["end"] + 1 == span["start"] and _same(last) == _same(span):
        last["end"] = span["end"]
    else:
        found.append(span)


def _same(span: Row) -> tuple[Any, ...]:
    return tuple(span[name] for name in SPAN if name not in ("start", "end"))


def _untold(told: Row, added: Iterable[tuple[int, bytes]], error: DevTraceError) -> list[Row]:
    """Lines of a file that cannot be compared with what was kept."""
    found: list[Row] = []
    for number, _ in added:
        _extend(found, told | {"line": number, "event": None}, UNEXPLAINED, error.message)
    return found
