"""One checkpoint: which of the candidates differ from the last one, what may be kept of them, the commit.

Lives here: `Checkpoints`, for one working tree. Not here: whose change it was (attribution.py), when a
checkpoint is made (tracker.py, services/snapshot.py).
"""

from __future__ import annotations

import contextlib
import hmac
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pygit2

from devtrace.choices import Choice
from devtrace.config import Config
from devtrace.errors import DevTraceError
from devtrace.events import FileChange
from devtrace.policy.chain import Policy
from devtrace.policy.contents import Contents, Kept, placeholder, tags_in
from devtrace.sources.worktree import LINK, REPOSITORY, TICK_US, File, WorkTree
from devtrace.store.checkpoints import tree as trees
from devtrace.store.checkpoints.chains import Chain, Checkpoint
from devtrace.store.checkpoints.objects import Objects, open_objects, place_of, write_whole
from devtrace.store.checkpoints.tree import FOLDER, Entry
from devtrace.workspace import Workspace

MOST_LISTED = 2_000  # changes of one event; more become further events
_RENAMES = 200  # added and deleted files that are compared for being the same one
_MOST_COMPARED = 1 << 20  # bytes of a file whose lines are counted
_MOST_HASHED = 1 << 30  # bytes of a file of which an HMAC is made
_ASTRAY_US = 1_000_000  # a change that is later than now by more than that is by another clock
_BINARY = 8_000  # bytes in which Git looks for a NUL

_BOUNDS = {
    "size": "checkpoints.file_kb",
    "checkpoint": "checkpoints.checkpoint_mb",
    "store": "checkpoints.store_mb",
}


class Found(NamedTuple):
    """A path that differs from the last checkpoint."""

    path: bytes
    before: Entry | None
    after: Entry | None
    file: File | None
    kept: Kept | None  # None: nothing is there, or a repository
    changed_us: int  # when it changed last as the file system says; of what is gone, no later than then
    from_git: bool = False
    is_ignored: bool = False  # it is there, and does not count any more
    is_unheard: bool = (
        False  # it changed too late: what a command said of it may be a secret not heard of yet
    )

    @property
    def is_gone(self) -> bool:
        """Whether nothing is there, so that its own times tell nothing."""
        return self.file is None or not self.file.changed_ns


class Made(NamedTuple):
    """A checkpoint that was written."""

    checkpoint: Checkpoint
    before: str
    changes: list[FileChange]


class Checkpoints:
    """The checkpoints of one working tree, open. For one thread."""

    def __init__(self, workspace: Workspace, root: Path, policy: Policy, settings: Config):
        """Raises DevTraceError where no object can be written, OSError where the salt cannot be read."""
        self.root = root
        self._workspace = workspace
        self._policy = policy
        self._settings = settings
        self._hashed: dict[bytes, tuple[tuple[int, int, int], str]] = {}
        self._kept_bytes = 0
        self._folders: trees.Known = {}  # those that were read in this look
        self._told: dict[bytes, Entry] = {}  # for which change of a path a bound was counted last
        self.is_full = False  # the store's bound is reached: only hashes and sizes are kept
        self.bounds: dict[str, int] = {}  # how often each bound was hit since it was last told
        self._open()

    def _open(self) -> None:
        self.objects: Objects = open_objects(self._workspace, create=True)
        self._rules = place_of(self._workspace)
        self._exclude(self._rules)
        self.tree = self.open_tree()
        self.chain = Chain(self._workspace, self.objects, self.root)
        self._salt = self._workspace.salt.read_bytes()
        self._contents = Contents(self._policy, self._salt)
        self._borrow()

    def renew(self) -> None:
        """Where the store was deleted or moved away, go on in the one that is there now."""
        if not (self.objects.path / "HEAD").exists():
            self._open()

    def open_tree(self) -> WorkTree:
        """The working tree, for a thread of its own."""
        return WorkTree(self.root, self._rules, most_bytes=self._settings.number("checkpoints.file_kb") << 10)

    def learn(self, values: Sequence[bytes]) -> None:
        """These are secrets wherever they stand, for every process that looks at a tree of this store."""
        self._policy.learn(values)
        self.objects.learn(tag for tag in map(self._policy.tag, values) if tag is not None)

    @property
    def choice(self) -> Choice:
        """How changes are found here, and why so."""
        return self.tree.choice

    def tip(self) -> Checkpoint | None:
        """The newest checkpoint that can be read; a damaged one is set aside. Asked under the lock."""
        self.objects.refresh()
        try:
            found = self.chain.tip()
            if found is not None:
                trees.entries(self.objects, found.tree)
        except DevTraceError:
            self.lose()
            return None
        return found

    def lose(self) -> None:
        """The line cannot be gone on with: put it aside, and say so. To be done under the lock."""
        self._hit("checkpoints_lost")
        self.chain.set_aside()

    def gone_by_us(self, path: bytes) -> int:
        """Until when a path was there at the most: the folder above has not changed since."""
        now_us = time.time_ns() // 1000
        root = os.fsencode(self.root)
        folder = os.path.dirname(os.path.join(root, path))
        while True:
            with contextlib.suppress(OSError):
                return min(os.lstat(folder).st_mtime_ns // 1000, now_us)  # anybody may set it
            if len(folder) <= len(root):
                return now_us
            folder = os.path.dirname(folder)

    def base(self) -> str | None:
        """The tree that a new chain stands on: HEAD's, borrowed and kept alive, or none."""
        head = self.tree.head_tree()
        if head is None:
            return None
        wants_ref = self._settings.flag("checkpoints.keep_ref")
        repository, folder = self.tree.repository, self.tree.git_directory
        if (
            repository is not None
            and folder is not None
            and not (wants_ref and self.chain.keep(repository, head))
        ):
            self.chain.copy(folder, head)
        return head

    def candidates(self, tip: str | None) -> set[bytes]:
        """Every path that may differ from the tree `tip`. Raises OSError when git cannot tell."""
        self._refresh()
        found = self.tree.differing()
        other = self.tree.head_tree() if self.tree.repository is not None else None
        if self.tree.repository is None:
            return found | {path for path, _ in (trees.walk(self.objects, tip) if tip else ())}
        return found | {path for path, _, _ in trees.differences(self.objects, tip, other)}

    def expand(self, tip: str | None, path: bytes) -> Iterator[bytes]:
        """The paths that a hint may mean: itself, and where it is or was a folder all below it."""
        yield path
        entry = trees.find(self.objects, tip, path, self._folders)
        if entry is not None and entry.mode == FOLDER:
            for inner, _ in trees.walk(self.objects, entry.oid, path + b"/"):
                yield inner
        whole = os.path.join(os.fsencode(self.root), path)
        if os.path.isdir(whole) and not os.path.islink(whole):
            yield from self.tree.each_file(path)

    # --- looking --------------------------------------------------------------------------------------------

    def look(
        self,
        tip: str | None,
        paths: Iterable[bytes],
        given: Mapping[bytes, File | None] | None = None,
        heard_us: int | None = None,
    ) -> Iterator[Found]:
        """Those of the paths that differ from the tree `tip`; what may be kept of them is written.

        `given`: what some of them held at an earlier moment, which is taken instead. `heard_us`: until when
        all secrets are known that a command may have put into a file; of what changed later nothing is
        written. Raises DevTraceError where nothing can be written.
        """
        self._refresh()
        head = self.tree.head_tree()
        self._kept_bytes = 0
        self._folders.clear()
        self._contents.remember(self.objects.tags())
        every = sorted(set(paths) - {b""})
        self.tree.prepare(every)
        for path in every:
            found = self._differs(tip, head, path, given or {}, heard_us)
            if found is not None:
                yield found
        self.tree.prepare(())

    def _differs(
        self,
        tip: str | None,
        head: str | None,
        path: bytes,
        given: Mapping[bytes, File | None],
        heard_us: int | None,
    ) -> Found | None:
        if self.tree.is_left_out(path):
            return None
        before = trees.find(self.objects, tip, path, self._folders)
        if before is not None and before.mode == FOLDER:
            before = None  # what was below it are paths of their own
        known_mode = before.mode if before is not None else None
        file = given[path] if path in given else self.tree.read(path, known_mode)
        if file is not None and not self.tree.counts(path):
            at_us = file.changed_ns // 1000
            return None if before is None else Found(path, before, None, file, None, at_us, is_ignored=True)
        if file is None:
            return None if before is None else Found(path, before, None, None, None, self.gone_by_us(path))
        if file.oid is not None:
            if before == Entry(file.mode, file.oid):
                return None
            content = None if file.mode == REPOSITORY else self._staged(file)
            if content is None:
                at_us = file.changed_ns // 1000 or self.gone_by_us(path)
                return Found(path, before, Entry(file.mode, file.oid), file, None, at_us)
            file = content
        if file.reason == "unreadable" and before is not None:
            return None  # nobody knows what it holds now
        true_oid = None if file.data is None else str(pygit2.hash(file.data))
        if before is not None and before == Entry(file.mode, true_oid or ""):
            self._heal(path, file, head, before.oid)
            return None
        if before is not None and before == self._withheld_again(path, file, before):
            return None
        at_us = file.changed_ns // 1000
        if (
            heard_us is not None
            and heard_us < at_us + TICK_US
            and at_us < time.time_ns() // 1000 + _ASTRAY_US
        ):
            return Found(path, before, None, file, None, at_us, is_unheard=True)
        kept = self._judged(path, file, head, true_oid)
        after = Entry(file.mode, str(pygit2.hash(kept.data)))
        if after == before:
            return None
        if kept.withheld is not None:
            self.objects.withhold(after.oid, kept.withheld, kept.hmac, tags_in(kept.data))
        self.objects.write("blob", kept.data)
        if kept.withheld in _BOUNDS and self._told.get(path) != after:
            self._told[path] = after
            self._hit(_BOUNDS[kept.withheld])
        from_git = true_oid is not None and self.tree.has_object(true_oid)
        return Found(path, before, after, file, kept, at_us or self.gone_by_us(path), from_git)

    def _staged(self, file: File) -> File | None:
        """What the index keeps of a path, whatever is on disk; None where a partial clone has not got it."""
        assert file.oid is not None
        try:
            data = self.objects.read(file.oid)
        except DevTraceError:
            return None
        if len(data) > self._settings.number("checkpoints.file_kb") << 10:
            return file._replace(oid=None, reason="size", size=len(data))
        return file._replace(oid=None, data=data, size=len(data))

    def _withheld_again(self, path: bytes, file: File, before: Entry) -> Entry | None:
        """What stands for the file, if it would again: room, or what we know by now, is no change of it."""
        why = self.objects.withheld(before.oid)
        if why is not None and file.data is not None and file.mode == before.mode:
            mac = self._contents.mac(file.data)
            if self.objects.stands_for(before.oid, mac):
                return before
        if why not in _BOUNDS:
            return None
        kept = self._placeheld(path, file, why)
        return Entry(file.mode, str(pygit2.hash(kept.data))) if kept.hmac else None

    def _heal(self, path: bytes, file: File, head: str | None, oid: str) -> None:
        """Keep a content again that was kept before, and lost to some damage."""
        if file.data is not None and not self.objects.has(oid):
            kept = self._judged(path, file, head, oid)
            if kept.withheld is None:
                self.objects.write("blob", kept.data)

    def _judged(self, path: bytes, file: File, head: str | None, true_oid: str | None) -> Kept:
        if file.data is None:
            return self._placeheld(path, file, file.reason or "unreadable")

        def is_public() -> bool:
            there = trees.find(self.objects, head, path, self._folders)
            return there is not None and there.oid == true_oid

        if file.mode == LINK:
            return self._contents.judge(b"", file.data, is_public)
        kept = self._contents.judge(path, file.data, is_public)
        most = self._settings.number("checkpoints.checkpoint_mb") << 20
        if kept.withheld != "path" and (self.is_full or self._kept_bytes + len(kept.data) > most):
            return self._placeheld(path, file, "store" if self.is_full else "checkpoint")
        self._kept_bytes += len(kept.data)
        return kept

    def _placeheld(self, path: bytes, file: File, why: str) -> Kept:
        mac = None if why == "unreadable" else self._mac(path, file)
        words = {"size": "for its size", "unreadable": "as it cannot be read"}.get(
            why, f"by the {why}'s bound"
        )
        return Kept(placeholder(words, file.size, mac), why, mac)

    def _mac(self, path: bytes, file: File) -> str | None:
        """An HMAC of a file that is too large to be kept; made once as long as it stays the same."""
        if file.data is not None:
            return self._contents.mac(file.data)
        stamp = (file.size, file.changed_ns, file.written_ns)
        if (known := self._hashed.get(path)) is not None and known[0] == stamp:
            return known[1]
        if file.size > _MOST_HASHED:
            return None
        digest = hmac.new(self._salt, digestmod="sha256")
        try:
            with open(os.path.join(os.fsencode(self.root), path), "rb") as content:
                while chunk := content.read(1 << 20):
                    digest.update(chunk)
        except OSError:
            return None
        self._hashed[path] = (stamp, digest.hexdigest())
        return digest.hexdigest()

    # --- writing --------------------------------------------------------------------------------------------

    def commit(
        self, parent: Checkpoint, found: Sequence[Found], message: str, at_us: int, seen_us: int
    ) -> Made:
        """A checkpoint on top of `parent` with these changes in it; the chain does not know of it yet."""
        tree = trees.with_changes(self.objects, parent.tree, {one.path: one.after for one in found})
        commit = self.chain.commit(tree, parent.commit, message, at_us, seen_us)
        made = Checkpoint(commit, tree, parent.commit, seen_us, message)
        return Made(made, parent.commit, self._changes(parent.tree, tree, found))

    def begin(self, found: Sequence[Found], base: str | None, seen_us: int) -> Checkpoint:
        """The first checkpoint of a chain: the base and what differs from it. To be done under the lock."""
        tree = trees.with_changes(self.objects, base, {one.path: one.after for one in found})
        commit = self.chain.commit(tree, None, "baseline", seen_us, seen_us)
        self.chain.advance(commit)
        return Checkpoint(commit, tree, None, seen_us, "baseline")

    def _changes(self, old: str, new: str, found: Sequence[Found]) -> list[FileChange]:
        by_path = {one.path: one for one in found}
        changes = []
        for path, from_path in self._paired(old, new, found).items():
            one = by_path[path]
            before = by_path[from_path].before if from_path else one.before
            added, deleted = self._lines(before, one.after)
            changes.append(_change(one, before, from_path, added, deleted))
        return changes

    def _paired(self, old: str, new: str, found: Sequence[Found]) -> dict[bytes, bytes | None]:
        """Each path that is to be told, with the one that it was renamed from."""
        paths: dict[bytes, bytes | None] = {one.path: None for one in found}
        gone = [one for one in found if one.after is None and not one.is_ignored and one.before is not None]
        came = [one for one in found if one.before is None]
        if not gone or not came or len(gone) > _RENAMES or len(came) > _RENAMES:
            return paths
        if not self._can_all_be_read([*(one.before for one in gone), *(one.after for one in came)]):
            return paths
        try:
            diff = self.objects.repository.diff(old, new)
            diff.find_similar()
        except (pygit2.GitError, KeyError):  # a content is missing: in a partial clone git would fetch it
            return paths
        for delta in diff.deltas:
            source, target = delta.old_file.raw_path, delta.new_file.raw_path
            if delta.status == pygit2.enums.DeltaStatus.RENAMED and source in paths and target in paths:
                paths[target] = source
                del paths[source]
        return paths

    def _can_all_be_read(self, entries: Iterable[Entry | None]) -> bool:
        """Read by ourselves first: libgit2 never comes back from a loose object that was cut."""
        try:
            for entry in entries:
                if entry is not None and entry.mode != REPOSITORY:
                    self.objects.read(entry.oid)
        except DevTraceError:
            return False
        return True

    def _lines(self, before: Entry | None, after: Entry | None) -> tuple[int | None, int | None]:
        """Lines added and deleted; (None, None) for what has no lines, or too many."""
        if before is not None and after is not None and before.oid == after.oid:
            return 0, 0
        contents = [self._text(before), self._text(after)]
        if contents[0] is None or contents[1] is None:
            return None, None
        patch = pygit2.Patch.create_from(contents[0], contents[1], context_lines=0)
        _, added, deleted = patch.line_stats
        return added, deleted

    def _text(self, entry: Entry | None) -> bytes | None:
        if entry is None:
            return b""
        if entry.mode == REPOSITORY:
            return None
        try:
            data = self.objects.read(entry.oid)
        except DevTraceError:
            return None
        return None if len(data) > _MOST_COMPARED or b"\0" in data[:_BINARY] else data

    def _hit(self, bound: str) -> None:
        self.bounds[bound] = self.bounds.get(bound, 0) + 1

    # --- opening --------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        if self.tree.refresh():
            self._borrow()

    def _borrow(self) -> None:
        folder = self.tree.object_directory
        if folder is not None:
            self.objects.borrow_from(folder)

    def _exclude(self, path: Path) -> None:
        """What the user wants left out, where libgit2 looks for it: the list, and their info/exclude."""
        wanted = "".join(f"{line}\n" for line in self._settings.text("edits.ignore").split()).encode()
        place = path / "info" / "exclude"
        with contextlib.suppress(OSError):
            if not place.exists() or place.read_bytes() != wanted:
                write_whole(place, wanted)


def _change(
    one: Found, before: Entry | None, from_path: bytes | None, added: int | None, deleted: int | None
) -> FileChange:
    if one.is_ignored:
        change = "ignored"
    elif from_path:
        change = "renamed"
    elif before is None:
        change = "added"
    elif one.after is None:
        change = "deleted"
    else:
        change = "mode" if before.oid == one.after.oid else "modified"
    return FileChange(
        path=os.fsdecode(one.path),
        change=change,
        old_path=os.fsdecode(from_path) if from_path else None,
        old_oid=before.oid if before else None,
        new_oid=one.after.oid if one.after else None,
        old_mode=before.mode if before else None,
        new_mode=one.after.mode if one.after else None,
        added=added,
        deleted=deleted,
        size=one.file.size if one.file is not None and not one.is_ignored else None,
        withheld=one.kept.withheld if one.kept else None,
        hmac=one.kept.hmac if one.kept else None,
        from_git=one.from_git,
    )
