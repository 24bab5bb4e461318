"""Every event, one JSON object a line: what the store holds, in the order of the record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from devtrace.query.output import Output
from devtrace.views import jsonl

SUFFIX = ".jsonl"


def lines(
    session: dict[str, Any],
    events: Iterable[dict[str, Any]],
    read_output: Callable[[dict[str, Any]], Output | None],
) -> Iterator[str]:
    """One line an event, with the fields of docs/reference/json.md."""
    del session, read_output
    for event in events:
        yield jsonl.line("event", event)
