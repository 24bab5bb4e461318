"""restore: bring files back to the state of an earlier checkpoint.

What is there now is kept first, so that it can be undone; what is not kept whole is not overwritten, nothing
is deleted unasked, and nothing outside the working tree is touched.

Lives here: the plan, and carrying it out. Not here: which state an event means (query/states.py).
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pygit2

from devtrace.errors import DevTraceError, EnvironmentError, UsageError
from devtrace.events import Event, GitSnapshot
from devtrace.query.states import State
from devtrace.services.edits.attribution import Verdict, Window
from devtrace.services.edits.telling import Groups, record
from devtrace.services.own_session import Belonging, belonging, emit
from devtrace.services.redaction import redaction
from devtrace.services.snapshot import keep, open_checkpoints, tree_root
from devtrace.sources.worktree import LINK, NEVER, PROGRAM, REPOSITORY
from devtrace.store.checkpoints import tree as trees
from devtrace.store.checkpoints.chains import Chain
from devtrace.store.checkpoints.objects import open_objects
from devtrace.store.checkpoints.tree import Entry
from devtrace.workspace import Workspace

_WITHHELD = {
    "path": "its name says that it is a secret, so its content was never kept",
    "secret": "a secret in it was masked before it was kept",
    "size": "it was too large to be kept",
    "unreadable": "it could not be read",
}


class Step(NamedTuple):
    """What becomes of one path."""

    path: bytes
    action: str  # write, create, mode, delete; left: it was not there then, and stays; refused
    before: Entry | None  # as it is now
    after: Entry | None
    reason: str = ""  # why it is refused


class Restored(NamedTuple):
    """What was done."""

    steps: list[Step]
    undo: Event  # the state before, to come back to
    failed: list[tuple[Step, str]]


def root_of(workspace: Workspace, state: State) -> Path:
    """Where the working tree of a state is now: it may have been moved together with its store.

    Raises EnvironmentError ERR_TREE_UNREADABLE where it is not there any more.
    """
    objects = open_objects(workspace)
    for root in (tree_root(workspace), workspace.root, Path(state.root)):
        if root.is_dir() and Chain(workspace, objects, root).name == state.chain:
            return root
    raise EnvironmentError(
        f"the working tree {state.root} is not there any more",
        code="ERR_TREE_UNREADABLE",
        hint="name a state of a working tree that is there",
        context={"path": state.root},
    )


class Restorer:
    """One restore: planned, shown by whoever asks, carried out."""

    def __init__(self, db: sqlite3.Connection, workspace: Workspace, root: Path, environ: Mapping[str, str]):
        """Raises DevTraceError where the checkpoints cannot be opened."""
        self._db = db
        self._workspace = workspace
        self._environ = environ
        self._policy = redaction(workspace, environ)
        self._points = open_checkpoints(workspace, root, self._policy)

    @property
    def root(self) -> Path:
        """The working tree."""
        return self._points.root

    def plan(self, commit: str, paths: Sequence[Path], *, delete: bool) -> list[Step]:
        """What would be done to reach the state of that checkpoint; nothing is written into the tree.

        `paths`: absolute, files or folders; none: everything. Raises UsageError ERR_USAGE for one outside the
        working tree, DevTraceError where the checkpoint cannot be read.
        """
        wanted = [self._inside(path) for path in paths]
        then = self._tree_of(commit)
        with self._points.chain.locked():
            tip = self._points.tip()
            now = self._present(tip.tree if tip else None, then, wanted)
        differing = [
            one for one in trees.differences(self._points.objects, now, then) if _is_wanted(one[0], wanted)
        ]
        going: set[bytes] = set()
        if delete:
            gone = [(path, before) for path, before, after in differing if after is None]
            going.update(path for path, before in gone if not self._obstacle(path, before, None, going))
        return [self._step(*one, going, delete=delete) for one in differing]

    def carry_out(self, commit: str, paths: Sequence[Path], *, delete: bool, title: str) -> Restored:
        """Keep the present state, then bring the paths back; a step that fails does not keep others."""
        root, title = self._points.root, self._policy.redact_text(title)
        with belonging(self._db, self._workspace, self._environ, "restore", root, title) as own:
            state = keep(self._workspace, self._points, own)
            undo = self._undo_event(own, state.checkpoint.commit, state.checkpoint.tree)
            emit(self._db, self._workspace, self._policy, *state.events, undo)
            steps = self.plan(commit, paths, delete=delete)
            with self._points.chain.locked():  # a session that watches does not tell it first, as another's
                failed = self._write(steps)
                events = self._record(own, steps)
            emit(self._db, self._workspace, self._policy, *events)
        return Restored(steps, undo, failed)

    def _tree_of(self, commit: str) -> str:
        """The tree of a checkpoint. Raises DevTraceError, ERR_NO_CHECKPOINT for one that was forgotten."""
        if not self._points.objects.has(commit):
            raise EnvironmentError(
                "that state of the working tree is no longer kept",
                code="ERR_NO_CHECKPOINT",
                hint="`devtrace prune` forgets old states; name a later event",
                context={"commit": commit},
            )
        return self._points.chain.read(commit).tree

    # --- the plan -------------------------------------------------------------------------------------------

    def _inside(self, path: Path) -> bytes:
        """The path as the tree names it. Raises UsageError for one outside, or behind a link."""
        # Not resolved: a link in the tree is a file of its own, and what it leads to is another one.
        whole = os.path.normpath(path)
        for root in (str(self.root), os.path.realpath(self.root)):
            if whole == root:
                return b""
            if whole.startswith(root.rstrip("/") + "/"):
                inside = os.fsencode(whole[len(root.rstrip("/")) + 1 :])
                if not self._leads_out(inside):
                    return inside
        raise UsageError(
            f"{path} is outside the working tree {self.root}",
            code="ERR_USAGE",
            hint="name files of the working tree",
            context={"path": str(path), "root": str(self.root)},
        )

    def _leads_out(self, path: bytes) -> bool:
        """Whether a folder above the path is a link, or is git's own or ours."""
        parts = path.split(b"/")
        if _is_foreign(parts):
            return True
        above = os.fsencode(self.root)
        for name in parts[:-1]:
            above = os.path.join(above, name)
            if os.path.islink(above):
                return True
        return False

    def _present(self, tip: str | None, then: str, wanted: Iterable[bytes]) -> str:
        """The tree as it is now, as far as it is asked for, on top of the newest checkpoint."""
        try:
            paths = self._points.candidates(tip)
        except OSError as error:
            raise EnvironmentError(
                f"the working tree {self.root} cannot be read: {error}", code="ERR_TREE_UNREADABLE"
            ) from error
        paths |= {path for path, _, _ in trees.differences(self._points.objects, tip, then)}
        chosen = [path for path in paths if _is_wanted(path, wanted)]
        found = list(self._points.look(tip, chosen))
        return trees.with_changes(self._points.objects, tip, {one.path: one.after for one in found})

    def _step(
        self,
        path: bytes,
        before: Entry | None,
        after: Entry | None,
        going: Collection[bytes],
        *,
        delete: bool,
    ) -> Step:
        reason = self._obstacle(path, before, after, going)
        if after is None and not delete:
            return Step(path, "left", before, after)
        if reason:
            return Step(path, "refused", before, after, reason)
        if after is None:
            return Step(path, "delete", before, after)
        if before is None:
            return Step(path, "create", before, after)
        return Step(path, "mode" if before.oid == after.oid else "write", before, after)

    def _obstacle(
        self, path: bytes, before: Entry | None, after: Entry | None, going: Collection[bytes]
    ) -> str:
        """Why a path cannot be brought back, or ""; `going`: what is deleted before that."""
        if REPOSITORY in (before.mode if before else 0, after.mode if after else 0):
            return "it is a repository of its own"
        if reason := self._above(path, going):
            return reason
        if _is_mode_only(before, after):
            return ""
        if after is not None and (why := self._points.objects.withheld(after.oid)) is not None:
            return _WITHHELD.get(why, "its content was not kept")
        if after is not None and not self._points.objects.has(after.oid):
            return "its content is no longer kept"
        if before is not None and self._points.objects.withheld(before.oid) is not None:
            return "its present content is not kept whole, so this could not be undone"
        return self._in_its_place(path, going) if before is None else ""

    def _above(self, path: bytes, going: Collection[bytes]) -> str:
        """Why there can be no folder for it."""
        root, parts = os.fsencode(self.root), path.split(b"/")
        if _is_foreign(parts):
            return "its name leads out of the working tree"
        for count in range(1, len(parts)):
            folder = b"/".join(parts[:count])
            whole = os.path.join(root, folder)
            if folder in going or not os.path.lexists(whole):
                break
            if os.path.islink(whole):
                return "a folder above it is a link now"
            if not os.path.isdir(whole):
                return "a folder above it is a file now"
        return ""

    def _in_its_place(self, path: bytes, going: Collection[bytes]) -> str:
        """What is there where nothing is recorded: a folder whose files all go makes room."""
        root = os.fsencode(self.root)
        whole = os.path.join(root, path)
        if os.path.isdir(whole) and not os.path.islink(whole):
            for folder, folders, files in os.walk(whole):
                links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
                for name in (*files, *links):
                    if os.path.relpath(os.path.join(folder, name), root) not in going:
                        return "a folder with other files is in its place"
        elif os.path.lexists(whole):
            return "something that is not recorded is in its place"
        return ""

    # --- carrying out ---------------------------------------------------------------------------------------

    def _write(self, steps: Iterable[Step]) -> list[tuple[Step, str]]:
        failed = []
        # What goes makes room first: a file may stand where a folder was.
        for step in sorted(steps, key=lambda step: step.action != "delete"):
            if step.action in ("left", "refused"):
                continue
            try:
                self._apply(step)
            except (OSError, DevTraceError) as error:
                failed.append((step, str(error)))
        return failed

    def _apply(self, step: Step) -> None:
        whole = os.path.join(os.fsencode(self.root), step.path)
        if self._leads_out(step.path):
            raise OSError("a folder above it is a link now")
        if not self._is_as_planned(step):
            raise OSError("it has changed just now")
        if step.after is None:
            os.unlink(whole)
            self._remove_empty(os.path.dirname(whole))
            return
        if _is_mode_only(step.before, step.after):
            _set_mode(whole, step.after.mode)
            return
        _remove_folders(whole)
        os.makedirs(os.path.dirname(whole), exist_ok=True)
        data, mode = self._points.objects.read(step.after.oid), step.after.mode
        if mode == LINK:
            _replace(whole, lambda draft: os.symlink(data, draft))
        else:
            content = self._points.tree.checked_out(step.path, data)
            _replace(whole, lambda draft: _create(draft, content, mode, whole))

    def _is_as_planned(self, step: Step) -> bool:
        """Whether it still holds what was kept of it."""
        if step.before is None:
            whole = os.path.join(os.fsencode(self.root), step.path)
            return not os.path.lexists(whole) or os.path.isdir(whole)
        file = self._points.tree.read(step.path, step.before.mode)
        if file is None or file.mode != step.before.mode:
            return False
        if _is_mode_only(step.before, step.after):
            return True  # whatever it holds stays, and may be withheld
        return file.data is not None and str(pygit2.hash(file.data)) == step.before.oid

    def _remove_empty(self, folder: bytes) -> None:
        """As git does: a folder is there for the files in it."""
        root = os.fsencode(self.root)
        with suppress(OSError):
            while len(folder) > len(root):
                os.rmdir(folder)
                folder = os.path.dirname(folder)

    # --- telling --------------------------------------------------------------------------------------------

    def _record(self, own: Belonging, steps: Sequence[Step]) -> list[Event]:
        """Keep the new state, and say whose change it was: here it is known. To be done under the lock."""
        now_us = time.time_ns() // 1000
        tip = self._points.tip()
        if tip is None:
            return []
        paths = [step.path for step in steps if step.action not in ("left", "refused")]
        found = list(self._points.look(tip.tree, paths))
        window = None
        if own.parent is not None:
            window = Window(own.session, own.parent, None, 0, None, own.actor)
        verdict = Verdict("restore", "claim", window)
        groups: Groups = {verdict: [(one, [(now_us, now_us)]) for one in found]} if found else {}
        return record(self._points, tip, groups, own.session, now_us)[1]

    def _undo_event(self, own: Belonging, commit: str, tree: str) -> Event:
        return own.event(
            GitSnapshot(
                label="before the restore",
                chain=self._points.chain.name,
                commit=commit,
                tree=tree,
                root=str(self.root),
                head=self._points.tree.head(),
            )
        )


def _is_wanted(path: bytes, wanted: Iterable[bytes]) -> bool:
    every = list(wanted)
    return not every or any(one in (b"", path) or path.startswith(one + b"/") for one in every)


def _is_mode_only(before: Entry | None, after: Entry | None) -> bool:
    if before is None or after is None or before.oid != after.oid:
        return False
    return LINK not in (before.mode, after.mode)


def _is_foreign(names: Iterable[bytes]) -> bool:
    """Whether git itself would refuse such a path: a tree that git did not write may hold it."""
    return any(name in (b"", b".", b"..") or name.lower() in NEVER for name in names)


def _remove_folders(whole: bytes) -> None:
    """Folders with nothing in them any more make room for a file. Raises OSError for any other."""
    if os.path.isdir(whole) and not os.path.islink(whole):
        for folder, _, _ in os.walk(whole, topdown=False):
            os.rmdir(folder)


def _replace(whole: bytes, make: Callable[[bytes], None]) -> None:
    """Make the new file beside the old one, and put it in its place at once."""
    draft = os.path.join(os.path.dirname(whole), b".devtrace-" + os.urandom(8).hex().encode())
    try:
        make(draft)
        os.replace(draft, whole)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft)
        raise


def _create(draft: bytes, data: bytes, mode: int, old: bytes) -> None:
    allowed = 0o777 if mode == PROGRAM else 0o666
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, allowed)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    with suppress(OSError):  # who may read the old one may read the new one
        state = os.stat(old, follow_symlinks=False)
        if stat.S_ISREG(state.st_mode):  # a link's own mode lets everybody do everything
            os.chmod(draft, _with_mode(state, mode))


def _set_mode(whole: bytes, mode: int) -> None:
    os.chmod(whole, _with_mode(os.stat(whole, follow_symlinks=False), mode))


def _with_mode(state: os.stat_result, mode: int) -> int:
    """Who may read it may run it, or nobody may."""
    now = stat.S_IMODE(state.st_mode)
    return now | (now & 0o444) >> 2 if mode == PROGRAM else now & ~0o111
