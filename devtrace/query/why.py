"""The whole story of one line: edit, command, what was around it, session, commit, what it replaced.

Lives here: `story`, `search`. Not here: who wrote a line (blame.py), what git's history says of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pygit2

from devtrace.errors import UsageError
from devtrace.query.annotate import Origin, lines_of
from devtrace.query.blame import Blame, Blamed, blob_in, repository_of
from devtrace.query.events import get_event, with_late_end
from devtrace.query.sessions import sessions_by_id
from devtrace.query.versions import Version

Row = dict[str, Any]

_MOST_AROUND = 20  # commands inside each other
_MOST_MOVES = 50  # moves of HEAD that are looked at for the one that took a line in
_MOST_VERSIONS = 5_000  # in which a text is looked for
_ALIKE = 0.4
_MOST_ALIKE = 200  # replaced lines that are compared with the one that took their place


def story(blame: Blame, blamed: Blamed, number: int) -> Row:
    """What is known of one line, counted from 1: its record (`LINE`), and what each of `_CHAPTERS` adds."""
    if not 1 <= number <= len(blamed.lines):
        raise UsageError(
            f"there is no line {number}: the file has {len(blamed.lines)}",
            code="ERR_USAGE",
            hint="`devtrace blame FILE` numbers the lines",
            context={"line": number},
        )
    told = blame.tell(blamed, [number])[0]
    origin, text = blamed.origins[number - 1], blamed.lines[number - 1]
    for name, chapter in _CHAPTERS.items():
        told[name] = chapter(blame, blamed, origin, text)
    return told


def _edit(blame: Blame, blamed: Blamed, origin: Origin, text: bytes) -> Row | None:
    """The `edit_files` event, without the list of its changes."""
    del blamed, text
    edit = origin.version.edit
    if edit is None:
        return None
    row = get_event(blame.db, edit.session, edit.id)
    return row | {"data": {name: value for name, value in row["data"].items() if name != "changes"}}


def _commands(blame: Blame, blamed: Blamed, origin: Origin, text: bytes) -> list[Row]:
    """The command or tool that did it, then those around it, the outermost last."""
    del blamed, text
    edit = origin.version.edit
    found: list[Row] = []
    at = edit.command if edit is not None else None
    seen: set[tuple[str, str]] = set()
    while at is not None and at not in seen and len(found) < _MOST_AROUND:
        seen.add(at)
        try:
            row = with_late_end(blame.db, get_event(blame.db, *at))
        except UsageError:  # its record was lost
            break
        found.append(row)
        at = (at[0], row["parent"]) if row["parent"] else _outside(blame, at[0])
    return found


def _outside(blame: Blame, session: str) -> tuple[str, str] | None:
    """The command in which a session was started."""
    row = sessions_by_id(blame.db, [session]).get(session)
    if row is None or not row["parent_session"] or not row["parent_event"]:
        return None
    return row["parent_session"], row["parent_event"]


def _session(blame: Blame, blamed: Blamed, origin: Origin, text: bytes) -> Row | None:
    """The session whose work it was."""
    del blamed, text
    edit = origin.version.edit
    command = edit.command if edit is not None else None
    return None if command is None else sessions_by_id(blame.db, [command[0]]).get(command[0])


def _suspects(blame: Blame, blamed: Blamed, origin: Origin, text: bytes) -> list[Row]:
    """The commands that it may have been, where that is not known."""
    del blamed, text
    edit = origin.version.edit
    found: list[Row] = []
    if edit is not None and edit.attribution == "ambiguous":
        for name in edit.candidates:
            session, _, event = name.partition("/")
            try:
                found.append(get_event(blame.db, session, event))
            except UsageError:  # "background", or a record that was lost
                continue
    return found


def _replaced(blame: Blame, blamed: Blamed, origin: Origin, text: bytes) -> Row | None:
    """The line whose place it took in the same change, and who wrote that."""
    del blamed
    version, at = origin
    if version.edit is None:
        return None
    old, origins, likely = blame.annotator.replaced(version, at)
    best = _most_alike(old, likely, text)
    if best is None:
        return None
    source = blame.versions.source(version)
    path = os.fsdecode(source.key[1] if source is not None else version.key[1])
    return blame.record(path, origins[best].at + 1, old[best], origins[best].version)


def _most_alike(old: list[bytes], likely: int, text: bytes) -> int | None:
    if not old:
        return None
    if len(old) == 1:
        return 0
    new = text.decode("utf-8", "replace")
    ratios = {
        at: SequenceMatcher(None, old[at].decode("utf-8", "replace"), new).ratio()
        for at in range(min(len(old), _MOST_ALIKE))
    }
    best = max(ratios, key=lambda at: (ratios[at], -abs(at - likely)))
    return best if ratios[best] >= _ALIKE else None


def _taken_in(blame: Blame, blamed: Blamed, origin: Origin, text: bytes) -> Row | None:
    """The first move of HEAD behind the edit to a commit that has the line in that file."""
    edit = origin.version.edit
    repository = repository_of(blamed.root) if edit is not None else None
    if edit is None or repository is None:
        return None
    rows = blame.db.execute(
        "SELECT session, id FROM events WHERE kind = 'git_commit' AND started_us >= ?"
        " ORDER BY started_us, seq LIMIT ?",
        (edit.started_us, _MOST_MOVES),
    ).fetchall()
    for session, event in rows:
        move = get_event(blame.db, session, event)
        new = move["data"].get("new")
        if new and move["data"].get("root") == str(blamed.root):
            for path in dict.fromkeys((origin.version.key[1], blamed.key[1])):
                if _has_line(repository, new, blamed.root, path, text):
                    return move
    return None


def _has_line(repository: pygit2.Repository, commit: str, root: Path, path: bytes, text: bytes) -> bool:
    try:
        found = repository.get(commit)
    except ValueError:
        return False
    data = blob_in(repository, found, root, path) if isinstance(found, pygit2.Commit) else None
    wanted = text.rstrip(b"\r\n")
    return data is not None and any(line.rstrip(b"\r") == wanted for line in data.split(b"\n"))


def _calls(blame: Blame, blamed: Blamed, origin: Origin, text: bytes) -> list[Row]:
    """The tool calls that may have brought the line, each with its prompts and the reason that was stated."""
    del blamed
    return blame.calls(origin.version, text.decode("utf-8", "replace"))


# What a story tells besides the line.
_CHAPTERS: dict[str, Callable[[Blame, Blamed, Origin, bytes], Any]] = {
    "edit": _edit,
    "calls": _calls,
    "commands": _commands,
    "of_session": _session,
    "suspects": _suspects,
    "commit": _taken_in,
    "replaced": _replaced,
}


def search(blame: Blame, text: str, file: Path | None, most: int = 10) -> list[Row]:
    """The newest lines that hold a text, by the names of `LINE`.

    `line` counts in the version that brought it. `file`: only there, its earlier names included.
    """
    wanted, found = text.encode("utf-8", "surrogateescape"), []
    seen: set[tuple[bytes, bytes]] = set()
    for version in _newest(blame, file):
        data = blame.annotator.content(version) or b""
        lines = lines_of(data) if wanted in data else []
        at_all = [at for at, line in enumerate(lines) if wanted in line]
        origins = blame.annotator.origins(version) if at_all else None
        for at in at_all:
            is_new = origins is not None and origins[at].version is version
            if is_new and (version.key[1], lines[at]) not in seen:
                seen.add((version.key[1], lines[at]))
                found.append(blame.record(os.fsdecode(version.key[1]), at + 1, lines[at], version))
            if len(found) == most:
                return found
    return found


def _newest(blame: Blame, file: Path | None) -> Iterator[Version]:
    if file is not None:
        tree, path = blame.place_of(file)
        yield from reversed([one for one in blame.versions.lineage((tree.chain, path)) if one.oid])
        return
    rows = blame.db.execute(
        "SELECT chain, path, path_bytes, session, event FROM file_changes WHERE new_oid IS NOT NULL"
        " ORDER BY n DESC LIMIT ?",
        (_MOST_VERSIONS,),
    )
    for chain, path, raw, session, event in rows.fetchall():
        for version in blame.versions.timeline((chain, raw or path.encode())):
            edit = version.edit
            if edit is not None and (edit.session, edit.id) == (session, event):
                yield version
