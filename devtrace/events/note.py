"""note: something a person or an agent wanted to be remembered at this point of the session."""

from __future__ import annotations

from dataclasses import dataclass

from devtrace.events.envelope import Body, kind, sensitive


@kind("note")
@dataclass(frozen=True, slots=True, kw_only=True)
class Note(Body):
    """Free text, as given."""

    text: str = sensitive()
    cwd: str | None = sensitive(default=None)  # None: written from outside any directory we know

    def headline(self) -> str:
        """The note itself."""
        return self.text
