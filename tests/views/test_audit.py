"""The verdict over a change, for a terminal and for a review."""

from __future__ import annotations

from typing import Any

import pytest

from devtrace.query.coverage import CLASSES, SPAN, summed
from devtrace.views.audit import audit_lines, percent, verdict
from tests.views.conftest import SESSION

Row = dict[str, Any]


def span(path: str, start: int, end: int, name: str, why: str = "command") -> Row:
    empty: Row = dict.fromkeys(SPAN)
    return empty | {"path": path, "start": start, "end": end, "class": name, "why": why}


def file(path: str, *spans: Row, **more: Any) -> Row:
    added = sum(one["end"] - one["start"] + 1 for one in spans)
    known: Row = {"path": path, "old_path": None, "change": "modified", "added": added, "deleted": 0}
    return known | {"whole": None, "withheld": None, "spans": list(spans)} | more


def told(*files: Row, **more: Any) -> Row:
    asked = {"range": "main..HEAD", "base": "a" * 40, "head": "b" * 40, "session": None}
    return summed(asked, files) | {"sessions": [SESSION], "findings": []} | more


def finding(kind: str, text: str, **more: Any) -> Row:
    known: Row = {
        "kind": kind,
        "text": text,
        "path": None,
        "session": SESSION,
        "event": "aa11" * 4,
        "count": 1,
    }
    return known | more


SOME = (
    file("api.py", span("api.py", 1, 1173, "observed"), span("api.py", 1180, 1188, "unexplained", "outside")),
    file("b.py", *(span("b.py", at, at, "unexplained", "unseen") for at in range(2, 44, 2)), deleted=3),
    file("c.py", span("c.py", 1, 1, "unexplained", "gap"), change="added"),
)


def test_a_verdict_says_how_much_and_where_the_rest_is():
    assert verdict(told(*SOME)) == (
        "97.4 % of 1,204 changed lines explained; 31 unexplained: api.py:1180-1188, b.py:2, b.py:4, b.py:6,"
        " b.py:8 and 18 more places."
    )


def test_lines_of_before_the_recording_are_named_apart():
    row = told(file("a", span("a", 1, 3, "before"), span("a", 4, 4, "human")))

    assert verdict(row) == "25.0 % of 4 changed lines explained; 3 before recording: a:1-3."


def test_nothing_changed_is_no_percentage():
    assert (verdict(told()), percent(told())) == ("No changed lines to explain.", "-")


@pytest.mark.parametrize(
    ("known", "left", "shown"), [(1, 0, "100 %"), (0, 1, "0 %"), (99_999, 1, "99.9 %"), (1, 99_999, "0.1 %")]
)
def test_almost_all_is_not_all(known, left, shown):
    spans = [span("a", 1, known, "observed")] * (known > 0) + [span("a", 1, left, "unexplained")] * (left > 0)

    assert percent(told(file("a", *spans))) == shown


def test_the_sums_the_files_and_the_findings_are_listed(look, painted):
    row = told(
        *SOME,
        file("x.png", change="added", whole="observed"),
        file("big.csv", change="added", whole="unexplained", withheld="size"),
        file(".env", whole="human", withheld="path"),
        findings=[
            finding("failed", "make failed with exit 2", count=3),
            finding("gap", "not observed: lost_records", count=2),
        ],
    )

    ids = {SESSION: "019aa6e0", "aa11" * 4: "aa11"}
    assert painted(audit_lines(row, ids, look(None)), None).splitlines()[1:] == [
        "main..HEAD: aaaaaaaa to bbbbbbbb, in 019aa6e0",
        "",
        "   1,173  observed by a tool call or command",
        "      31  unexplained",
        "          3 lines deleted, in no class: a line that is gone is nobody's",
        "          1 file of no text, in no percentage: observed by a tool call or command",
        "          1 file too large or withheld, in no percentage: human",
        "          1 file too large or withheld, in no percentage: unexplained",
        "",
        "+1,182 -0  99 %  api.py          1180-1188: changed outside any session",
        "   +21 -3   0 %  b.py            2, 4, 6, 8, 10, …: nothing that was recorded holds it",
        "    +1 -0   0 %  c.py  added     1: it came in while nothing was recorded",
        "  no text        x.png  added",
        "too large        big.csv  added  as a whole: nothing that was recorded holds it",
        " withheld        .env",
        "",
        "Failures that were left",
        "  make failed with exit 2  aa11",
        "",
        "Not observed",
        "  not observed: lost_records (2 times)  aa11",
    ]


def test_what_is_known_by_its_time_alone_is_said_to_be(look, painted):
    spans = span("a.py", 1, 3, "observed", "time"), span("a.py", 5, 5, "checkpoint", "client")
    row = told(file("a.py", *spans, span("a.py", 7, 7, "observed")))

    assert "4 lines by time alone: no call or command that ran then names the file\n" in painted(
        audit_lines(row, {}, look())
    )


def test_where_nothing_was_found_that_is_said(look, painted):
    assert painted(audit_lines(told(), {}, look())).endswith("\nNothing else to look at was found.\n")


def test_a_whole_file_that_nobody_explains_is_in_the_verdict():
    row = told(file("a", span("a", 1, 3, "human")), file("b.bin", whole="unexplained"))

    assert verdict(row) == "100 % of 3 changed lines explained; 1 whole file unexplained: b.bin."
    assert verdict(told(file("b.bin", whole="before"))) == (
        "No changed lines to explain; 1 whole file before recording: b.bin."
    )


def test_a_finding_is_one_line_of_a_bounded_length(look, painted):
    row = told(findings=[finding("gap", "one\n" + "x" * 5000)])
    shown = painted(audit_lines(row, {}, look()))

    assert max(map(len, shown.splitlines())) < 300
    assert "one\\nxxx" in shown


def test_what_strangers_wrote_is_harmless(look, painted):
    nasty = "\x1b[2J\u202e](javascript:x)"
    row = told(
        file(nasty, span(nasty, 1, 1, "unexplained", nasty)), findings=[finding("gap", nasty)], range=nasty
    )

    text = painted(audit_lines(row, {}, look()))

    assert ("\x1b" in text, "\u202e" in text) == (False, False)


def test_every_class_and_every_kind_has_its_words():
    from devtrace.query.smells import KINDS
    from devtrace.views import audit

    assert set(audit.WORDS) == set(CLASSES)
    assert set(audit.HEADS) == set(KINDS)


@pytest.mark.parametrize("width", [30, 60, 100])
def test_the_files_fit_the_terminal(look, painted, width):
    row = told(file("a/" * 80 + "x.py", span("x", 1, 9, "unexplained", "gap")))
    shown = painted(audit_lines(row, {}, look(width)), width).splitlines()

    (row_of_file,) = [one for one in shown if one.startswith("+9 -0")]
    assert len(row_of_file) <= width
