"""A choice among techniques, kept with its reason so that `devtrace doctor` can show it.

Standard library only, and no dataclass: guests import this.
"""

from __future__ import annotations


class Choice:
    """What was chosen and why: `Choice("hook", "PS0 with one fork", because="${ } arrived in bash 5.3")`."""

    __slots__ = ("because", "chosen", "what")

    def __init__(self, what: str, chosen: str, because: str):
        self.what = what
        self.chosen = chosen
        self.because = because

    def as_dict(self) -> dict[str, str]:
        """`{what, chosen, because}`, as stored in a session's meta and shown by doctor."""
        return {"what": self.what, "chosen": self.chosen, "because": self.because}

    def __repr__(self) -> str:
        return f"Choice({self.what!r}, {self.chosen!r}, because={self.because!r})"
