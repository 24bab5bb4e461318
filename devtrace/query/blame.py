"""Who wrote each line of a file: as it is on disk, in a commit of the user's, or after an event.

Lives here: `Blame`: from a file to its chain and state, and from a line to a record of it. Not here: the walk
over the versions (annotate.py), the whole story of one line (why.py).
"""

from __future__ import annotations

import contextlib
import hmac
import os
import sqlite3
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pygit2

from devtrace.errors import DevTraceError, EnvironmentError, UsageError
from devtrace.events import text_and_bytes
from devtrace.query.agents import BY_COMMAND, Works, headline
from devtrace.query.annotate import (
    MOST_BYTES,
    Annotator,
    Lines,
    Origin,
    hunks,
    lines_of,
    unveiled,
    whole,
    why_untold,
)
from devtrace.query.clients import Clients, names
from devtrace.query.events import get_event
from devtrace.query.ids import resolve
from devtrace.query.sessions import sessions_by_id
from devtrace.query.versions import BEFORE, GAP, PRUNED, UNRECORDED, Key, Version, Versions
from devtrace.store.checkpoints import tree as trees
from devtrace.store.checkpoints.chains import Chain, Checkpoint
from devtrace.store.checkpoints.objects import open_objects
from devtrace.workspace import Workspace, from_os_error

Row = dict[str, Any]

LINE = (
    "path", "line", "text", "event", "session", "actor", "agent", "when_us", "command", "attribution",
    "confidence", "candidates", "status", "by_time", "call", "tool", "prompt", "reason",
)  # fmt: skip
UNKNOWN = "unknown"  # the actor, where an agent was at work and nobody was seen writing
_NOW = (1 << 62, 1)  # behind everything that is recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Blamed:
    """A content, and where each of its lines comes from."""

    key: Key
    root: Path
    lines: Lines
    origins: list[Origin]


class _Tree(NamedTuple):
    """A working tree with a chain."""

    root: Path
    chain: str
    tip: Checkpoint | None


class Blame:
    """Answers about the files of one store, as it is now."""

    def __init__(self, db: sqlite3.Connection, workspace: Workspace):
        """Raises EnvironmentError ERR_NO_CHECKPOINT where no edit was recorded."""
        self.db = db
        self._workspace = workspace
        self.objects = open_objects(workspace)
        self._trees: dict[str, _Tree] = {}
        self.versions = Versions(db, self._ranks)
        self.annotator = Annotator(self.versions, self.objects)
        self.works = Works(db)
        self._clients = Clients(db, self.works)
        self._told: dict[Version, Row] = {}
        self._edits: dict[Version, Row] = {}

    @cached_property
    def _since_us(self) -> int:
        """When the recording began."""
        row = self.db.execute("SELECT min(started_us) FROM sessions").fetchone()
        return int(row[0]) if row and row[0] is not None else 0

    # --- which state ----------------------------------------------------------------------------------------

    def on_disk(self, file: Path) -> Blamed:
        """The file as it is now. Raises UsageError or EnvironmentError ERR_NO_BLAME."""
        tree, path = self.place_of(file)
        key, data = (tree.chain, path), _read(file)
        last = self._last(tree, key)
        kept = self.annotator.content(last) if last is not None else None
        if kept is not None and b"\r" not in kept:
            data = data.replace(b"\r\n", b"\n")  # as git keeps it, where it converts line ends
        _check(file, data)
        if last is not None and last.oid is not None and kept is None and self._is_withheld(last):
            raise _untold(file, "its content is withheld")
        kept_now = self._in_tip(tree, path)
        is_told = kept_now is not None and kept_now.oid == _oid(
            data
        )  # by an event that is not there any more
        status = GAP if is_told or tree.tip is None else UNRECORDED
        top = self._top(key, data, status, last, brings_back=_has(tree.root, _oid(data)))
        return Blamed(key=key, root=tree.root, lines=lines_of(whole(data)), origins=self._origins(top, data))

    def at(self, file: Path, state: str) -> Blamed:
        """The file in a commit of the user's repository, or as it was after an event.

        Raises UsageError ERR_ID_UNKNOWN, ERR_ID_AMBIGUOUS, or as `on_disk` does.
        """
        tree, path = self.place_of(file)
        commit = _commit(tree.root, state)
        try:
            found = resolve(self.db, state)
        except UsageError:
            if commit is None:
                raise
            return self._in_commit(file, tree, path, *commit)
        if found.event is None:
            if commit is not None:
                return self._in_commit(file, tree, path, *commit)
            raise UsageError(
                f"{state} is a session, not an event or a commit",
                code="ERR_ID_UNKNOWN",
                hint=f"`devtrace show {state}` lists its events",
                context={"prefix": state},
            )
        if commit is not None:
            raise UsageError(
                f"{state} is an event and a commit",
                code="ERR_ID_AMBIGUOUS",
                hint="add digits",
                context={"prefix": state},
            )
        return self._after_event(file, tree, path, get_event(self.db, found.session, found.event))

    def place_of(self, file: Path) -> tuple[_Tree, bytes]:
        """The recorded working tree that holds a file, and the path in it. Raises UsageError ERR_NO_BLAME."""
        whole = Path(os.path.abspath(file))  # noqa: PTH100 - a last part that is a link stays one
        for one in dict.fromkeys((whole, Path(os.path.realpath(whole.parent), whole.name))):
            for folder in one.parents:
                tree = self._tree(folder)
                if tree is not None:
                    return tree, os.fsencode(one.relative_to(folder))
        raise UsageError(
            f"{file} is in no working tree that is recorded in {self._workspace.dir}",
            code="ERR_NO_BLAME",
            hint="name a file of a repository in which `devtrace shell` was used",
            context={"file": str(file)},
        )

    def _tree(self, folder: Path) -> _Tree | None:
        try:
            chain = Chain(self._workspace, self.objects, folder)
        except OSError as error:
            raise from_os_error(error, self._workspace.salt) from error
        if not (self.objects.path / "refs" / "devtrace" / chain.name).exists():
            return None
        tip = None
        with contextlib.suppress(DevTraceError):
            tip = chain.tip()
        return self._trees.setdefault(chain.name, _Tree(folder, chain.name, tip))

    def _ranks(self, chain: str) -> dict[str, int]:
        """The checkpoints of a chain by their order."""
        tree, commits = self._trees.get(chain), []
        at = tree.tip if tree is not None else None
        while at is not None:
            commits.append(at.commit)
            try:
                reader = Chain(self._workspace, self.objects, self._trees[chain].root)
                at = reader.read(at.parent) if at.parent else None
            except DevTraceError:
                break
        return {commit: rank for rank, commit in enumerate(reversed(commits))}

    # --- the states -----------------------------------------------------------------------------------------

    def _after_event(self, file: Path, tree: _Tree, path: bytes, event: Row) -> Blamed:
        key = (tree.chain, path)
        until_us = event["ended_us"] if event["ended_us"] is not None else event["started_us"]
        timeline = self.versions.timeline(key)
        last = timeline[0] if timeline and timeline[0].edit is None else None
        for version in timeline:
            if version.edit is not None and _is_until(version, event, until_us):
                last = version
        if not timeline:
            last = self._last(tree, key)
        if last is None or last.oid is None:
            raise _untold(file, f"it was not there after {event['id']}")
        data, origins = self.annotator.content(last), self.annotator.origins(last)
        if data is None or origins is None:
            raise _untold(file, "its content is not kept, or is no text")
        return Blamed(key=key, root=tree.root, lines=lines_of(data), origins=origins)

    def _in_commit(
        self, file: Path, tree: _Tree, path: bytes, repository: pygit2.Repository, commit: pygit2.Commit
    ) -> Blamed:
        data = blob_in(repository, commit, tree.root, path)
        if data is None:
            raise _untold(file, f"it is not in commit {str(commit.id)[:8]}")
        _check(file, data)
        key, mac = (tree.chain, path), self._mac(data)
        timeline = self.versions.timeline(key)
        same = next((one for one in reversed(timeline) if one.hmac == mac and self._is_readable(one)), None)
        last = same if timeline else self._last(tree, key)
        top = self._top(key, data, BEFORE, last, brings_back=True)
        is_older = (commit.author.time + 1) * 1_000_000 <= self._since_us  # git counts whole seconds
        if not is_older and not self.versions.may_be_pruned(top):
            top = self._top(key, data, UNRECORDED, last, brings_back=True)
        return Blamed(key=key, root=tree.root, lines=lines_of(whole(data)), origins=self._origins(top, data))

    def _top(self, key: Key, data: bytes, status: str, last: Version | None, *, brings_back: bool) -> Version:
        """A version behind all others, for a content that no event tells of."""
        oid = _oid(data)
        self.annotator.give(oid, data)
        return Version(key=key, place=_NOW, oid=oid, status=status, previous=last, brings_back=brings_back)

    def _origins(self, top: Version, data: bytes) -> list[Origin]:
        last = top.previous
        if last is not None and top.oid != last.oid and self._is_withheld(last) and self._is_readable(last):
            old, before = self.annotator.content(last), self.annotator.origins(last)
            if old is not None and before is not None:
                is_same = last.hmac is not None and last.hmac == self._mac(data)
                return unveiled(before, top, old, whole(data), same=is_same)
        return self.annotator.origins(top) or []

    def _last(self, tree: _Tree, key: Key) -> Version | None:
        """The newest state that is kept of a path; None: it was never there."""
        timeline = self.versions.timeline(key)
        if timeline:
            return timeline[-1]
        entry = self._in_tip(tree, key[1])
        return None if entry is None else Version(key=key, place=(0, 0), oid=entry.oid, status=BEFORE)

    def _in_tip(self, tree: _Tree, path: bytes) -> trees.Entry | None:
        """What the last checkpoint has for a path; None: no file, or it cannot be read."""
        with contextlib.suppress(DevTraceError):
            entry = trees.find(self.objects, tree.tip.tree, path) if tree.tip is not None else None
            return entry if entry is not None and entry.mode not in (trees.FOLDER, 0o160000) else None
        return None

    def _is_readable(self, version: Version) -> bool:
        return version.oid is not None and self.annotator.content(version) is not None

    def _is_withheld(self, version: Version) -> bool:
        return version.oid is not None and self.objects.withheld(version.oid) is not None

    def mac_of(self, data: bytes) -> str:
        """What the record holds in place of a content that is withheld."""
        return self._mac(data)

    def _mac(self, data: bytes) -> str:
        try:
            return hmac.digest(self._workspace.salt.read_bytes(), data, "sha256").hex()
        except OSError as error:
            raise from_os_error(error, self._workspace.salt) from error

    def is_known(self, version: Version) -> bool:
        """Whether what it holds stands in anything that was kept, and not only in what was asked for."""
        return version.place != _NOW

    def stood(self, blamed: Blamed) -> set[int]:
        """Of a file that no event tells of: the lines, from 0, that the newest checkpoint holds too."""
        tree = self._trees[blamed.key[0]]
        last = self._last(tree, blamed.key) if not self.versions.timeline(blamed.key) else None
        kept = self.annotator.content(last) if last is not None else None
        if kept is None:
            return set()
        found = set(range(len(blamed.lines)))
        for hunk in hunks(kept, b"".join(blamed.lines)):
            found.difference_update(range(hunk.new, hunk.new_end))
        return found

    # --- telling --------------------------------------------------------------------------------------------

    def tell(self, blamed: Blamed, numbers: Iterable[int]) -> list[Row]:
        """A record, by the names of `LINE`, of each of these lines, counted from 1."""
        path = os.fsdecode(blamed.key[1])
        return [
            self.record(path, number, blamed.lines[number - 1], blamed.origins[number - 1].version)
            for number in numbers
        ]

    def record(self, path: str, number: int, text: bytes, version: Version) -> Row:
        """The record of one line that a version brought."""
        line = text.removesuffix(b"\n").decode("utf-8", "replace")
        row: Row = {**text_and_bytes("path", path), "line": number, "text": line, **self._base(version)}
        calls = self.calls(version, line)
        row["by_time"] = self.is_by_time(version, calls)
        if len(calls) != 1 and self.is_clients(version):
            agents = {call["agent"] for call in calls}
            agent = agents.pop() if len(agents) == 1 else None
            row |= {"actor": f"agent:{agent}" if agent else UNKNOWN, "agent": agent}
        elif len(calls) == 1:
            (call,) = calls
            prompt = call["prompts"][0] if call["prompts"] else None
            row |= {
                "session": row["session"] or call["session"],
                "actor": f"agent:{call['agent']}",
                "agent": call["agent"],
                "command": headline(call) if call["command"] is None else row["command"] or headline(call),
                "call": call["event"],
                "tool": call["tool"],
                "prompt": f"{prompt['session']}/{prompt['event']}" if prompt is not None else None,
                "reason": call["reason"]["text"] if call["reason"] is not None else None,
            }
        return row

    def calls(self, version: Version, text: str) -> list[Row]:
        """The tool calls that may have brought a line with a version, as `Work` tells them."""
        if version.edit is None or version.status == BEFORE:
            return []
        if version not in self._edits:
            self._edits[version] = get_event(self.db, version.edit.session, version.edit.id)
        return self.works.of_edit(self._edits[version], version.key[1].decode("utf-8", "replace"), text)

    def is_clients(self, version: Version) -> bool:
        """Whether a version came while an agent's own command ran, by which of its tools nobody saw."""
        command = version.edit.command if version.edit is not None else None
        return command is not None and version.status != BEFORE and self._clients.has(*command)

    def is_by_time(self, version: Version, calls: Sequence[Row]) -> bool:
        """Whether only the time connects an agent with a change: what it ran does not name the path."""
        edit = version.edit
        if edit is None or edit.attribution != "command" or version.status == BEFORE or len(calls) > 1:
            return False
        if not calls and (self.is_clients(version) or not edit.actor.startswith("agent:")):
            return self.is_clients(version)
        name = f"{edit.session}/{edit.id}"
        hows = {one["confidence"] for call in calls for one in call["edits"] if one["event"] == name}
        path = version.key[1].decode("utf-8", "replace")
        texts = [self._base(version)["command"], *(call["command"] for call in calls)]
        return not hows - {BY_COMMAND} and not any(names(text, path) for text in texts if text)

    def _base(self, version: Version) -> Row:
        """What is the same of every line that a version brought."""
        if version not in self._told:
            self._told[version] = self._whose(version)
        return self._told[version]

    def _whose(self, version: Version) -> Row:
        edit = version.edit
        status = PRUNED if self.versions.may_be_pruned(version) else version.status
        row: Row = dict.fromkeys(LINE[3:], None) | {"status": status, "by_time": False}
        if edit is None or version.status == BEFORE:
            return row
        row |= {
            "event": edit.id,
            "when_us": edit.started_us if edit.ended_us is None else edit.ended_us,
            "attribution": edit.attribution,
            "confidence": edit.confidence,
            "candidates": list(edit.candidates) or None,
        }
        if edit.command is not None:
            session = edit.command[0]
            row |= {"session": session, "actor": edit.actor, "command": self._text(edit.command)}
            known = sessions_by_id(self.db, [session]).get(session)
            row["agent"] = known["agent"] if known is not None else None
        elif edit.attribution == "restore":  # outside any traced shell: a session of its own
            row |= {"session": edit.session, "actor": edit.actor, "command": "devtrace restore"}
        return row

    def _text(self, command: tuple[str, str]) -> str | None:
        try:
            event = get_event(self.db, *command)
        except UsageError:
            return None  # its record was lost
        return str(event["data"].get("command") or event["title"])


def blob_in(repository: pygit2.Repository, commit: pygit2.Commit, root: Path, path: bytes) -> bytes | None:
    """What a commit of the user's has for a path of the working tree; None: nothing, or no file."""
    top = repository.workdir
    whole = os.path.join(os.path.realpath(root), os.fsdecode(path))  # noqa: PTH118 - may be no UTF-8
    try:
        name = os.path.relpath(whole, os.path.realpath(top)) if top else os.fsdecode(path)
        found = commit.tree[name]
    except (KeyError, ValueError, TypeError, pygit2.GitError):
        return None
    return bytes(found.data) if isinstance(found, pygit2.Blob) else None


def repository_of(root: Path) -> pygit2.Repository | None:
    """The user's repository, None where there is none that libgit2 can open."""
    try:
        found = pygit2.discover_repository(str(root))
        return None if found is None else pygit2.Repository(found)
    except (pygit2.GitError, KeyError, ValueError):
        return None


def parse_range(text: str | None, count: int) -> range:
    """The lines that `-L` names: `10,20`, `10,+5`, `10`, `,20`; `count`: how many there are.

    Raises UsageError ERR_USAGE.
    """
    if text is None:
        return range(1, count + 1)
    first, comma, last = text.partition(",")
    digits = last.removeprefix("+")
    if not all(not part or (part.isascii() and part.isdigit()) for part in (first, digits)) or text == "":
        raise _bad_range(text, "it is no range of lines")
    start = int(first or 1)
    if last.startswith("+"):
        if not int(digits or 0):
            raise _bad_range(text, "it holds no line")
        end = start + int(digits) - 1
    else:
        end = int(digits) if digits else count
    if not start or end < start:
        raise _bad_range(text, "it holds no line")
    if start > count:
        raise _bad_range(text, f"there are only {count} lines")
    del comma
    return range(start, min(end, count) + 1)


def _bad_range(text: str, why: str) -> UsageError:
    return UsageError(
        f"-L {text}: {why}",
        code="ERR_USAGE",
        hint="write 10,20 or 10,+5 or 10 (to the end) or ,20",
        context={"range": text},
    )


def _is_until(version: Version, event: Row, until_us: int) -> bool:
    edit = version.edit
    assert edit is not None
    if (edit.session, edit.id) == (event["session"], event["id"]):
        return True
    if event["kind"] == "edit_files":
        return event["seq"] is not None and edit.seq < event["seq"]
    return edit.started_us <= until_us or edit.command == (event["session"], event["id"])


def _commit(root: Path, name: str) -> tuple[pygit2.Repository, pygit2.Commit] | None:
    repository = repository_of(root)
    if repository is None:
        return None
    try:
        return repository, repository.revparse_single(name).peel(pygit2.Commit)
    except (pygit2.GitError, KeyError, ValueError):
        return None


def _has(root: Path, oid: str) -> bool:
    repository = repository_of(root)
    return repository is not None and bool(repository.odb.exists(oid))


def _oid(data: bytes) -> str:
    return str(pygit2.hash(data))


def _check(file: Path, data: bytes) -> None:
    if (reason := why_untold(data)) is not None:
        raise _untold(file, reason)


def _read(file: Path) -> bytes:
    """What is on disk, of a link where it leads. Raises UsageError or EnvironmentError ERR_NO_BLAME."""
    try:
        state = file.lstat()
        if stat.S_ISLNK(state.st_mode):
            return os.fsencode(file.readlink())
        if not stat.S_ISREG(state.st_mode):
            raise _untold(file, "it is no file")
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as content:
            return content.read(MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _untold(file, "it is not there", hint="add --at EVENT or --at COMMIT of when it was") from error
    except OSError as error:
        raise EnvironmentError(
            f"{file} cannot be read: {error.strerror}",
            code="ERR_NO_BLAME",
            hint="check its permissions",
            context={"file": str(file)},
        ) from error


def _untold(file: Path, why: str, *, hint: str = "") -> UsageError:
    return UsageError(
        f"the lines of {file} cannot be told: {why}",
        code="ERR_NO_BLAME",
        hint=hint,
        context={"file": str(file)},
    )
