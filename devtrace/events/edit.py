"""edit_files: what changed in the working tree between two checkpoints, and who did it if that is known.

Lives here: the shape and its one-line summary. Not here: finding changes (services/edits/), the contents
(store/checkpoints/), the table that answers by path (store/changes.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from devtrace.events.envelope import Body, kind, sensitive

ATTRIBUTIONS = ("command", "tool", "background", "outside", "ambiguous", "restore")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One path. Object ids are those of the checkpoints: Git's own, unless content was withheld."""

    path: str = sensitive()  # relative to the working tree's root
    change: str  # added, modified, deleted, renamed, mode, ignored (it is there, and no longer tracked)
    old_path: str | None = sensitive(default=None)  # None: it was not renamed
    old_oid: str | None = None  # None: it was not there
    new_oid: str | None = None  # None: it is not there
    old_mode: int | None = None  # as in a tree: 0o100644, 0o100755, 0o120000 a link, 0o160000 a repository
    new_mode: int | None = None
    added: int | None = None  # lines; None: binary, or not compared
    deleted: int | None = None
    size: int | None = None  # bytes of the new content as it is on disk; None: it is not there
    withheld: str | None = None  # why the content is not kept whole: the rule; None: it is
    hmac: str | None = None  # of the true content, where that is withheld, under the store's salt
    from_git: bool = False  # git's own store had the content already: a checkout, a merge, a stash


@kind("edit_files")
@dataclass(frozen=True, slots=True, kw_only=True)
class EditFiles(Body):
    """The changes of one checkpoint that have one origin; `parent` is the command or tool call, if known."""

    changes: list[FileChange]
    attribution: str  # command, tool, background, outside (of any session), ambiguous, restore
    confidence: str  # window: it ran alone; inside: the innermost of those that ran; claim; none
    candidates: list[str] | None = None  # SESSION/EVENT, or "background": who it may have been
    chain: str  # of the working tree: 16 hex digits
    commit: str  # the checkpoint in objects.git
    before: str  # the checkpoint that it is compared with
    root: str = sensitive()  # the working tree
    files: int  # changed, those included that `changes` leaves out
    added: int = 0
    deleted: int = 0

    def headline(self) -> str:
        """`+12 -3 api.py`, or the sum and how many files."""
        if not self.changes:
            return f"{self.files} files"
        first = self.changes[0]
        name = f"{first.old_path} -> {first.path}" if first.old_path else first.path
        more = "" if self.files == 1 else f" and {self.files - 1} more"
        verb = "" if first.change in ("modified", "renamed") else f"{first.change} "
        return f"+{self.added} -{self.deleted} {verb if self.files == 1 else ''}{name}{more}"
