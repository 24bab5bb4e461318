"""A range of the user's commits, and what it changed: the lines that it added, how many it took away.

Lives here: `GitRange`, `chosen`, `changed`. Not here: who wrote the lines (coverage.py), what changed between
two checkpoints (ranges.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pygit2
from pygit2.enums import DeltaStatus, SortMode

from devtrace.errors import UsageError
from devtrace.query.blame import repository_of

_DEFAULT_BRANCHES = ("origin/HEAD", "origin/main", "origin/master", "main", "master")
_REPOSITORY = 0o160000
_MOST_COMMITS = 10_000


class GitRange(NamedTuple):
    """What `head` has that `base` has not."""

    repository: pygit2.Repository
    name: str  # as people write it
    base: pygit2.Commit | None  # None: nothing was before it
    head: pygit2.Commit

    @property
    def root(self) -> Path:
        """The working tree. Raises UsageError ERR_RANGE for a bare repository."""
        if not self.repository.workdir:
            raise _unknown(self.name, "the repository has no working tree")
        return Path(self.repository.workdir)

    def checked(self) -> GitRange:
        """The same. Raises UsageError ERR_RANGE where what a commit is based on was not cloned."""
        cut = _cut_off(self.repository)
        if cut and (missing := cut.intersection(self.commits())):
            raise _shallow(self.name, f"what commit {min(missing)[:8]} is based on was not cloned")
        return self

    def commits(self) -> list[str]:
        """The commits in it, the newest first."""
        walker = self.repository.walk(self.head.id, SortMode.TOPOLOGICAL)
        if self.base is not None:
            walker.hide(self.base.id)
        return [str(commit.id) for commit, _ in zip(walker, range(_MOST_COMMITS), strict=False)]


class FileChange(NamedTuple):
    """One path of a range."""

    path: bytes
    old_path: bytes | None  # None: it was not renamed
    change: str  # added, modified, deleted, renamed
    oid: str | None  # of the content in the end; None: it is not there
    binary: bool  # it is no text, or another repository: it has no lines
    added: tuple[tuple[int, bytes], ...]  # the number of each new line, from 1, and its text
    deleted: tuple[bytes, ...]  # the lines that are gone


def chosen(where: Path, text: str | None) -> GitRange:
    """The range that `A..B`, `A...B`, `A..` or one commit means in a repository.

    Of two branches it is what B has since they parted, of one commit what that changed. Without a text: what
    HEAD has that its upstream or the default branch has not; where that is nothing, the last commit.
    Raises UsageError ERR_RANGE.
    """
    repository = repository_of(where)
    if repository is None:
        raise _unknown(text or "HEAD", f"there is no git repository at {where}")
    try:
        return _meant(repository, text).checked()
    except (pygit2.GitError, KeyError) as error:
        if _cut_off(repository):
            raise _shallow(text or "HEAD", "some of its commits were not cloned") from error
        raise


def changed(chosen_range: GitRange) -> Iterator[FileChange]:
    """Each path that differs from the start of a range to its end."""
    head = chosen_range.head.tree
    if chosen_range.base is None:
        diff = head.diff_to_tree(swap=True, context_lines=0, interhunk_lines=0)
    else:
        diff = chosen_range.base.tree.diff_to_tree(head, context_lines=0, interhunk_lines=0)
    diff.find_similar()
    for patch in diff:
        if patch is not None:
            yield _file(patch)


def _file(patch: pygit2.Patch) -> FileChange:
    delta = patch.delta
    path, old_path = delta.new_file.raw_path, delta.old_file.raw_path
    is_gone = delta.status == DeltaStatus.DELETED
    is_renamed = delta.status == DeltaStatus.RENAMED and path != old_path
    is_other = _REPOSITORY in (int(delta.new_file.mode), int(delta.old_file.mode))
    added: list[tuple[int, bytes]] = []
    deleted: list[bytes] = []
    for hunk in patch.hunks if not (delta.is_binary or is_other) else ():
        for line in hunk.lines:
            if line.origin == "+":
                added.append((line.new_lineno, line.raw_content))
            elif line.origin == "-":
                deleted.append(line.raw_content)
    is_added = delta.status == DeltaStatus.ADDED
    word = "deleted" if is_gone else "renamed" if is_renamed else "added" if is_added else "modified"
    oid = None if is_gone else str(delta.new_file.id)
    is_binary = bool(delta.is_binary) or is_other
    return FileChange(
        path, old_path if is_renamed else None, word, oid, is_binary, tuple(added), tuple(deleted)
    )


# --- which commits --------------------------------------------------------------------------------------


def _meant(repository: pygit2.Repository, text: str | None) -> GitRange:
    if text is None:
        return _unpublished(repository) or _single(repository, "HEAD")
    one, dots, other = text.partition("..")
    if not dots:
        return _single(repository, text)
    return _between(repository, text, one or "HEAD", other.removeprefix(".") or "HEAD")


def _single(repository: pygit2.Repository, name: str) -> GitRange:
    head = _commit(repository, name)
    return GitRange(repository, name, head.parents[0] if head.parents else None, head)


def _between(repository: pygit2.Repository, text: str, one: str, other: str) -> GitRange:
    head = _commit(repository, other)
    parted = repository.merge_base(_commit(repository, one).id, head.id)
    if parted is None:
        if _cut_off(repository):
            raise _shallow(text, f"what {one} and {other} have in common was not cloned")
        raise _unknown(text, f"{one} and {other} have nothing in common")
    return GitRange(repository, text, _commit(repository, str(parted)), head)


def _unpublished(repository: pygit2.Repository) -> GitRange | None:
    """What HEAD has that its upstream, or the default branch, has not; None: nothing, or there is neither."""
    for name in (_upstream(repository), *_DEFAULT_BRANCHES):
        try:
            found = name is not None and _between(repository, f"{name}..HEAD", name, "HEAD")
        except UsageError:  # there is no branch of that name here
            continue
        if found:
            return found if found.base is not None and found.base.id != found.head.id else None
    return None


def _upstream(repository: pygit2.Repository) -> str | None:
    try:
        upstream = repository.branches.local[repository.head.shorthand].upstream
    except (KeyError, pygit2.GitError, ValueError):
        return None
    return None if upstream is None else str(upstream.shorthand)


def _commit(repository: pygit2.Repository, name: str) -> pygit2.Commit:
    try:
        return repository.revparse_single(name).peel(pygit2.Commit)
    except (pygit2.GitError, KeyError, ValueError) as error:
        if _cut_off(repository):
            raise _shallow(name, "there is no such commit in this shallow clone") from error
        raise _unknown(name, "there is no such commit") from error


def _cut_off(repository: pygit2.Repository) -> frozenset[str]:
    """The commits of a shallow clone whose parents it has not got (gitrepository-layout(5), `shallow`)."""
    folder = Path(repository.path)
    try:
        named = folder / "commondir"  # of a linked working tree
        common = folder / named.read_text().strip() if named.exists() else folder
        return frozenset((common / "shallow").read_text().split())
    except (OSError, UnicodeDecodeError):
        return frozenset()


def _shallow(name: str, why: str) -> UsageError:
    return UsageError(
        f"{name} is no whole range of commits: {why}",
        code="ERR_RANGE",
        hint="fetch the rest: git fetch --unshallow",
        context={"range": name},
    )


def _unknown(name: str, why: str) -> UsageError:
    return UsageError(
        f"{name} is no range of commits: {why}",
        code="ERR_RANGE",
        hint="write main..HEAD, HEAD~3.. or a commit, inside the repository",
        context={"range": name},
    )
