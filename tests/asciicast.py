"""A strict reader of asciicast v3, after https://docs.asciinema.org/manual/asciicast/v3/."""

from __future__ import annotations

import json
import re
from typing import Any


def read_strictly(text_lines: list[str]) -> tuple[dict[str, Any], list[tuple[float, str, str]]]:
    """The header and the events of a cast; any step aside from the format is an assertion."""
    header = json.loads(text_lines[0])
    assert isinstance(header, dict)
    assert header["version"] == 3
    assert type(header["version"]) is int
    assert set(header) <= {
        "version", "term", "timestamp", "idle_time_limit", "command", "title", "env", "tags",
    }  # fmt: skip
    term = header["term"]
    assert set(term) <= {"cols", "rows", "type", "version", "theme"}
    for name in ("cols", "rows"):
        assert type(term[name]) is int
        assert 0 < term[name] < 1 << 16
    assert isinstance(term.get("type", ""), str)
    assert type(header.get("timestamp", 0)) is int
    assert isinstance(header.get("title", ""), str)
    assert all(isinstance(tag, str) for tag in header.get("tags", []))
    events = []
    for line in text_lines[1:]:
        assert "\n" not in line
        assert line.isascii(), "non-printable code points must be escaped; all others may be"
        event = json.loads(line)
        assert isinstance(event, list)
        interval, code, data = event
        assert type(interval) in (int, float)
        assert interval >= 0
        assert re.fullmatch(r"\[\d+\.\d{3}, .*", line)
        assert code in ("o", "i", "m", "r", "x")
        assert isinstance(data, str)
        if code == "r":
            assert re.fullmatch(r"\d+x\d+", data)
        if code == "x":
            assert re.fullmatch(r"\d+", data)
            assert line == text_lines[-1], "the exit comes last"
        data.encode("utf-8")
        events.append((interval, code, data))
    return header, events
