"""What happens to a session itself: what could not be observed, and what the policy did.

Lives here: `gap` and `policy`. Not here: the sessions table, which is no event (store/sessions.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from devtrace.events.envelope import Body, Event, kind, sensitive
from devtrace.ids import new_span_id


@kind("gap")
@dataclass(frozen=True, slots=True, kw_only=True)
class Gap(Body):
    """Something that could not be observed, from when to when, and why: the envelope has the times."""

    reason: str  # a stable word: lost_records, no_hooks, inner_shell, store_unwritable, damaged_frame, ...
    detail: str = sensitive(default="")
    count: int | None = None  # None: not countable

    def headline(self) -> str:
        """`gap: 3 lost_records (detail)`."""
        amount = "" if self.count is None else f"{self.count} "
        return f"gap: {amount}{self.reason}" + (f" ({self.detail})" if self.detail else "")


def gap_event(session: str, gap: Gap, since_us: int, until_us: int) -> Event:
    """What a host says of its own record: something between these moments was not observed."""
    return Event(
        session=session,
        id=new_span_id(),
        actor="human",
        started_us=since_us,
        ended_us=until_us,
        status="unknown",
        source="host",
        trusted=2,
        body=gap,
    )


@kind("policy")
@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(Body):
    """What was redacted, dropped or pruned, and by which rule.

    The store keeps the list of what was pruned (store/retention.py), events in the order of `seq`, digests in
    their own; the event keeps its SHA-256.
    """

    action: str  # redacted; dropped: not kept in the first place; pruned: kept, and taken away later
    rule: str  # events, outputs, checkpoints, a key of the settings, or a rule of the redaction
    count: int  # how many events, outputs or checkpoints
    detail: str = ""
    size: int | None = None  # bytes of what went; None: not counted
    first_seq: int | None = None  # the events that it was done to, from
    last_seq: int | None = None  # to
    listed: int | None = None  # how many stubs or digests the list has; None: there is no list
    sha256: str | None = (
        None  # over the list as canonical JSON (no spaces, ASCII): [[seq, id, kind, hash], ...] of events,
        # [digest, ...] of outputs
    )

    def headline(self) -> str:
        """`policy: redacted 2 by url-password`, `policy: pruned 2 events`."""
        if self.action == "pruned":
            return f"policy: pruned {self.count} {self.rule[:-1] if self.count == 1 else self.rule}"
        return f"policy: {self.action} {self.count} by {self.rule}"
