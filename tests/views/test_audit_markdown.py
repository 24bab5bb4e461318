"""The verdict over a change as a comment for a review."""

from __future__ import annotations

import re
from typing import Any

import pytest

from devtrace.views.audit_markdown import code, markdown
from tests.views.conftest import SESSION
from tests.views.test_audit import SOME, file, finding, span, told

COMMENT = 65_536  # characters that the forges take
CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")


def shown(row: dict[str, Any]) -> list[str]:
    return list(markdown(row, {SESSION: "019aa6e0", "aa11" * 4: "aa11"}))


def test_a_review_gets_the_range_the_sums_the_findings_and_the_files():
    row = told(*SOME, findings=[finding("failed", "make *all* failed"), finding("gap", "a <b> gap", count=2)])

    assert shown(row)[1:] == [
        "",
        "`main..HEAD`: `aaaaaaaa` to `bbbbbbbb`, in session `019aa6e0`.",
        "",
        "| changed lines | |",
        "| ---: | --- |",
        "| 1,173 | observed by a tool call or command |",
        "| 31 | unexplained |",
        "",
        "3 lines deleted, in no class: a line that is gone is nobody's.",
        "",
        "### Failures that were left",
        "",
        "- `make *all* failed` `aa11`",
        "",
        "### Not observed",
        "",
        "- `a <b> gap` (2 times) `aa11`",
        "",
        "| lines | explained | file | unexplained |",
        "| ---: | ---: | --- | --- |",
        "| +1,182 -0 | 99 % | `api.py` | `1180-1188: changed outside any session` |",
        "| +21 -3 | 0 % | `b.py` | `2, 4, 6, 8, 10, …: nothing that was recorded holds it` |",
        "| +1 -0 | 0 % | `c.py` | `1: it came in while nothing was recorded` |",
    ]


def test_where_nothing_was_found_that_is_said():
    assert "Nothing else to look at was found." in shown(told())


@pytest.mark.parametrize(
    "nasty",
    [
        "@org/team",
        "https://evil.example/x",
        "#1",
        "](javascript:x)",
        "`@org` x",
        "``a`",
        "<img src=x>",
        "a|b @me",
    ],
)
def test_what_strangers_wrote_pings_nobody_and_leads_nowhere(nasty):
    row = told(
        file(nasty, span(nasty, 1, 1, "unexplained", nasty), old_path=nasty),
        findings=[finding("gap", nasty)],
        range=nasty,
    )

    lines = shown(row)

    assert [line for line in lines if nasty[:4] in CODE.sub("", line)] == []
    assert sum(bool(CODE.search(line)) for line in lines) >= 4


def test_a_bar_in_a_name_ends_no_cell():
    (row,) = [line for line in shown(told(file("a|b", span("a|b", 1, 1, "human")))) if "+1 -0" in line]

    assert row == r"| +1 -0 | 100 % | `a\|b` |  |"


def test_a_comment_fits_into_one_whatever_was_found():
    many = [finding("failed", f"{number} " + "x" * 900) for number in range(500)]
    files = [
        file("d/" * 300 + f"{number}", span("x", 1, 9, "unexplained", "y" * 3000)) for number in range(500)
    ]
    kinds = (
        "test_deleted",
        "no_verify",
        "secret",
        "claim",
        "undone",
        "outside",
        "gap",
        "hooks",
        "test_skipped",
    )
    others = [finding(kind, "`" * 200 + "x" * 90) for kind in kinds for _ in range(40)]

    text = "\n".join(shown(told(*files, findings=[*many, *others])))

    assert len(text) < COMMENT
    assert max(map(len, text.splitlines())) < 2000


def test_code_holds_what_it_is_given():
    assert [code(text) for text in ("a", "`a", "a``b", "")] == ["`a`", "`` `a ``", "```a``b```", "`  `"]
    assert code("a\nb") == "`a\\nb`"
    assert len(code("x" * 1000)) < 200
