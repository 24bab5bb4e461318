"""io: what a program wrote and read, in a line, and what fits the kind."""

from __future__ import annotations

from typing import Any

import pytest

from devtrace.errors import UsageError
from devtrace.events import check_body, titled
from tests.store.frames import frame

DATA = {
    "stream": 1, "thread": "MainThread", "first": 1, "last": 4, "n_chunks": 4, "bytes": {"stdout": 21},
    "lines": {"stdout": 3}, "flags": {"newline": 3, "flush": 1}, "rows": "0" * 64, "digest": "1" * 64,
}  # fmt: skip


def io(**data: Any) -> dict[str, Any]:
    told = frame(kind="io", title="")
    return told | {"data": DATA | data}


@pytest.mark.parametrize(
    ("sizes", "lines", "headline"),
    [
        ({"stdout": 21, "stderr": 5}, {"stdout": 3, "stderr": 1}, "printed 3 lines to stdout, 1 to stderr"),
        ({"stderr": 5}, {"stderr": 1}, "printed 1 line to stderr"),
        ({"stdout": 1, "stderr": 2}, {"stderr": 1}, "printed 1 byte to stdout, 1 line to stderr"),
        (
            {"stdout": 4_000, "stderr": 2},
            {"stdout": 2_000},
            "printed 2,000 lines to stdout, 2 bytes to stderr",
        ),
        ({"stdin": 9}, {"stdin": 2}, "read 2 lines from stdin"),
        ({"stdout": 9, "stdin": 3}, {"stdin": 1}, "printed 9 bytes to stdout; read 1 line from stdin"),
        ({}, {}, "nothing was printed"),
        ({"stdout": "many"}, {"stdout": []}, "printed 0 bytes to stdout"),
    ],
)
def test_its_headline_counts_lines_and_else_bytes(sizes, lines, headline):
    assert titled(check_body(io(bytes=sizes, lines=lines)))["title"] == headline


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stream", "1"),
        ("first", None),
        ("bytes", [1]),
        ("lines", {"stdout": 1.5}),
        ("rows", 5),
        ("thread", 1),
    ],
)
def test_what_does_not_fit_is_refused(field, value):
    with pytest.raises(UsageError) as refused:
        check_body(io(**{field: value}))

    assert refused.value.context["field"] == f"data.{field}"
