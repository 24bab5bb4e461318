"""What happens to a session itself: what could not be observed, and what the policy did.

Lives here: `gap` and `policy`. Not here: the sessions table, which is no event (store/sessions.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from devtrace.events.envelope import Body, kind, sensitive


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


@kind("policy")
@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(Body):
    """What was redacted, dropped or pruned, and by which rule."""

    action: str  # redacted, dropped, pruned
    rule: str
    count: int
    detail: str = ""

    def headline(self) -> str:
        """`policy: redacted 2 by url-password`."""
        return f"policy: {self.action} {self.count} by {self.rule}"
