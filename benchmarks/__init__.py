"""Side by side with peers, in one run: what DevTrace costs, as ratios, with the budgets beside them.

    python -m benchmarks [--only hooks] [--quick]        (or `make bench`)

One room is one file here, found by its name, with a function

    def measure(*, quick: bool = False) -> list[Row]

A `Row` is a plain dict, described by its annotations below. Absolute times differ from machine to machine
and from minute to minute; a ratio measured side by side in one run is steadier, so the table leads with it.
Nothing here is a test: the suite asserts counts, not seconds.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict


class Row(TypedDict):
    """One figure of ours beside one of a peer, measured in the same run."""

    what: str
    ours: float | None  # None: it could not be measured here, `reason` says why
    peer_name: str  # "" where the budget is absolute and no peer exists
    peer: float | None  # None: the peer is missing, `reason` says why
    ratio: float | None  # ours / peer; None where either is missing
    budget: str  # "<= 0.8 ms", ">= 0.8x"; a figure with an x is about the ratio; "" where there is none
    unit: str  # of ours and peer: "ms", "MB/s", "events/s"
    reason: NotRequired[str]
