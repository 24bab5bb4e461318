"""git_snapshot: a state of the working tree that somebody asked for; git_commit: HEAD moved.

Lives here: the two shapes. Not here: keeping a state (store/checkpoints/), seeing a move (sources/moves.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from devtrace.events.envelope import Body, kind, sensitive

_SHORT = 8


@kind("git_snapshot")
@dataclass(frozen=True, slots=True, kw_only=True)
class GitSnapshot(Body):
    """A checkpoint with a label."""

    label: str = sensitive(default="")
    chain: str
    commit: str  # the checkpoint in objects.git
    tree: str
    root: str = sensitive()  # the working tree
    head: str | None = None  # what was checked out; None: no repository, or nothing committed yet
    dirty: int | None = None  # how many files differ from HEAD; None: no repository
    changed: int = 0  # how many files had changed since the checkpoint before

    def headline(self) -> str:
        """The label, else that there is none."""
        return self.label or "snapshot"


@kind("git_commit")
@dataclass(frozen=True, slots=True, kw_only=True)
class GitCommit(Body):
    """HEAD moved, whoever moved it."""

    old: str | None = None  # None: nothing was committed yet
    new: str | None = None  # None: nothing is committed there yet
    how: str  # commit, amend, merge, rebase, checkout, reset, ... : sources/moves.py; unknown
    branch: str | None = sensitive(default=None)  # None: detached, or not known
    subject: str = sensitive(default="")
    attribution: str = "command"  # command, background, outside
    root: str = sensitive(default="")

    def headline(self) -> str:
        """`commit 1a2b3c4d Add up the cart`."""
        target = self.new[:_SHORT] if self.new else "nothing"
        return f"{self.how} {target} {self.subject}".rstrip()
