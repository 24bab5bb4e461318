"""From what a checkpoint found to commits and events: one of each for every origin of a change.

Lives here: when a path changed, as far as its times tell, and `record`. Not here: looking (checkpoint.py),
judging (attribution.py), when that is done (tracker.py, once.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from devtrace.events import EditFiles, Event, FileChange
from devtrace.ids import new_span_id
from devtrace.services.edits.attribution import Interval, Verdict
from devtrace.services.edits.checkpoint import MOST_LISTED, Checkpoints, Found
from devtrace.sources.worktree import TICK_US
from devtrace.store.checkpoints.chains import Checkpoint

Groups = dict[Verdict, list[tuple[Found, Sequence[Interval]]]]


def moments_of(one: Found, hints: Sequence[Interval], since_us: int) -> list[Interval]:
    """When a path changed, as narrowly as hints and the file's own times tell.

    `since_us`: when it was as in the last checkpoint.
    """
    last = (one.changed_us, one.changed_us + TICK_US)
    if one.is_gone:
        return list(hints) or [(min(since_us, last[0]), last[1])]
    if not hints:
        return [last]
    latest = max(hints, key=lambda moment: moment[1])
    narrowed = (max(latest[0], last[0]), min(latest[1], last[1]))
    if narrowed[0] > narrowed[1]:  # the clock was set, or the times were
        narrowed = latest if latest[1] >= last[0] else last
    return [*(moment for moment in hints if moment != latest), narrowed]


def record(
    points: Checkpoints, tip: Checkpoint, groups: Groups, session: str, seen_us: int
) -> tuple[Checkpoint, list[Event]]:
    """A commit and an event of `session` for each origin, in the order of times; then the chain advances.

    `seen_us`: when it was looked. To be done under the lock. Returns the new tip. Raises DevTraceError
    where nothing can be written; then the chain is as it was.
    """
    events = []
    for verdict, members in sorted(groups.items(), key=lambda item: _first_us(item[1])):
        for at in range(0, len(members), MOST_LISTED):
            part = members[at : at + MOST_LISTED]
            event, moment = new_span_id(), (_first_us(part), _last_us(part))
            message = f"edit_files {session} {event}"
            made = points.commit(tip, [one for one, _ in part], message, moment[1], seen_us)
            tip = made.checkpoint
            events.append(_event(session, event, verdict, made.changes, tip, points, moment))
    if events:
        points.chain.advance(tip.commit)
    return tip, events


def _first_us(members: Sequence[tuple[Found, Sequence[Interval]]]) -> int:
    return min(moments[-1][0] for _, moments in members)


def _last_us(members: Sequence[tuple[Found, Sequence[Interval]]]) -> int:
    return max(moments[-1][1] for _, moments in members)


def _event(
    session: str,
    event: str,
    verdict: Verdict,
    changes: list[FileChange],
    made: Checkpoint,
    points: Checkpoints,
    moment: Interval,
) -> Event:
    window = verdict.window
    is_ours = window is not None and window.session == session
    started_us, ended_us = moment
    if window is not None:  # the file system's clock may lag behind the shell's
        started_us = max(started_us, window.started_us)
        ended_us = ended_us if window.ended_us is None else min(ended_us, window.ended_us)
    return Event(
        session=session,
        id=event,
        parent=window.event if window is not None and is_ours else None,
        actor="unknown" if window is None else window.actor,
        started_us=started_us,
        ended_us=max(started_us, ended_us),
        status="ok",
        source="worktree",
        trusted=2,
        body=EditFiles(
            changes=changes,
            attribution=verdict.attribution,
            confidence=verdict.confidence,
            candidates=None if is_ours else list(verdict.candidates) or None,
            chain=points.chain.name,
            commit=made.commit,
            before=made.parent or "",
            root=str(points.root),
            files=len(changes),
            added=sum(change.added or 0 for change in changes),
            deleted=sum(change.deleted or 0 for change in changes),
        ),
    )
