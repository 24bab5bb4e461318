"""How many messages of which method went which way, however many names somebody makes up.

Lives here: `Tally`. Standard library only.
"""

from __future__ import annotations

from typing import Any

_MOST_NAMES = 200  # in each direction
_LONGEST_NAME = 200  # characters
OTHER = "(other)"
_DIRECTIONS = ("to_server", "to_client")  # TO_SERVER, TO_CLIENT of tap.py


class Tally:
    """Messages by method, for both directions."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: tuple[dict[str, int], dict[str, int]] = ({}, {})

    def add(self, direction: int, name: str) -> None:
        """One more; a name that is too long, or one too many, counts as another."""
        counts = self._counts[direction]
        if name not in counts and (len(name) > _LONGEST_NAME or len(counts) >= _MOST_NAMES):
            name = OTHER
        counts[name] = counts.get(name, 0) + 1

    def told(self) -> dict[str, Any]:
        """`{"to_server": {method: count}, "to_client": {...}}`."""
        return {name: dict(counts) for name, counts in zip(_DIRECTIONS, self._counts, strict=True)}

    def recall(self, told: dict[str, Any]) -> None:
        """Go on from what `told` gave. Raises KeyError, TypeError, ValueError for anything else."""
        for name, counts in zip(_DIRECTIONS, self._counts, strict=True):
            counts.update({str(method): int(count) for method, count in told[name].items()})
