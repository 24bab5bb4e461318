"""snapshot: keep the working tree as it is now, under a label.

Lives here: `snapshot`, and opening the checkpoints of a place for an order. Not here: what a checkpoint is
(services/edits/).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from devtrace import config as configuration
from devtrace.errors import EnvironmentError
from devtrace.events import Event, GitSnapshot
from devtrace.policy.chain import Policy
from devtrace.services.edits.checkpoint import Checkpoints
from devtrace.services.edits.once import State, checkpoint_now
from devtrace.services.own_session import Belonging, belonging, emit
from devtrace.services.redaction import redaction
from devtrace.store.checkpoints import tree as trees
from devtrace.store.connection import translated
from devtrace.workspace import Workspace, repository_root, working_directory


class Taken(NamedTuple):
    """What was kept."""

    event: Event
    changed: int  # files, since the checkpoint before


def snapshot(db: sqlite3.Connection, workspace: Workspace, label: str, environ: Mapping[str, str]) -> Taken:
    """Keep the working tree, in the session we are in or in one of its own; returns what was written.

    Raises DevTraceError where that cannot be done.
    """
    root = tree_root(workspace)
    policy = redaction(workspace, environ)
    points = open_checkpoints(workspace, root, policy)
    title = policy.redact_text(label) or "snapshot"
    with belonging(db, workspace, environ, "snapshot", root, title) as own:
        state = keep(workspace, points, own)
        event = _event(points, state, own, label)
        emit(db, workspace, policy, *state.events, event)
    return Taken(event, state.changed)


def tree_root(workspace: Workspace) -> Path:
    """The working tree that we are in: the repository around us, else what the store stands in."""
    return repository_root(working_directory()) or workspace.root


def open_checkpoints(workspace: Workspace, root: Path, policy: Policy) -> Checkpoints:
    """The checkpoints of a working tree. Raises DevTraceError."""
    with translated(workspace):
        return Checkpoints(workspace, root, policy, configuration.load(workspace))


def keep(workspace: Workspace, points: Checkpoints, own: Belonging) -> State:
    """A checkpoint now. Raises DevTraceError, also where git cannot tell what differs."""
    try:
        return checkpoint_now(workspace, points, own.session)
    except OSError as error:
        raise EnvironmentError(
            f"the working tree {points.root} cannot be read: {error}",
            code="ERR_TREE_UNREADABLE",
            hint="see whether `git status` works there",
            context={"path": str(points.root)},
        ) from error


def _event(points: Checkpoints, state: State, own: Belonging, label: str) -> Event:
    head = points.tree.head_tree()
    differing = trees.differences(points.objects, head, state.checkpoint.tree)
    return own.event(
        GitSnapshot(
            label=label,
            chain=points.chain.name,
            commit=state.checkpoint.commit,
            tree=state.checkpoint.tree,
            root=str(points.root),
            head=points.tree.head(),
            dirty=None if points.tree.repository is None else sum(1 for _ in differing),
            changed=state.changed,
        )
    )
