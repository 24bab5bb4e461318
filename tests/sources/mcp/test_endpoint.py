"""The first event of a stream is looked at once, however long a line of it is."""

from __future__ import annotations

import pytest

from devtrace.sources.mcp import endpoint
from devtrace.sources.mcp.endpoint import FirstEvent, _lines


class Nobody:
    def to_ours(self, url: str) -> str:
        return url


@pytest.mark.parametrize("start", [b"data: ", b"id: 7\ndata: ", b": a comment\n\ndata: "])
def test_a_long_line_without_an_end_passes_at_once(start: bytes) -> None:
    first = FirstEvent(Nobody())  # type: ignore[arg-type]
    long = start + b"x" * (1 << 20)

    assert first.feed(long) + first.rest() == long


def test_each_line_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    class Counting:
        def match(self, text: bytes, at: int) -> object:
            tried.append(at)
            return line.match(text, at)

    line = endpoint._LINE
    monkeypatch.setattr(endpoint, "_LINE", Counting())

    assert len(list(_lines(b"a\nb\n" + b"c" * 10_000))) == 2
    assert tried == [0, 2, 4]
