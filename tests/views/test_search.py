"""Hits of a search as lines."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from devtrace.views import console
from devtrace.views.search import hit_lines
from devtrace.views.timeline import Reader
from tests.recorded import START

SESSION = "019aa6e0c1de7abc8000000000000001"


def hit(title: str = "$ make world", **changes) -> dict:
    known = {
        "seq": 1, "session": SESSION, "id": "1" * 16, "parent": None, "kind": "run_command", "actor": "human",
        "started_us": START, "ended_us": START + 1, "status": "ok", "title": title, "exit_code": 0,
        "source": "interactive", "trusted": 2, "data": {"command": title},
        "where": "title", "snippet": title.removeprefix("$ "), "marks": [[0, 4]], "missing": [],
        "how": "words",
    }  # fmt: skip
    return known | changes


def drawn(
    *hits: dict, width: int | None = None, nowhere: tuple[str, ...] = ()
) -> list[list[tuple[str, str]]]:
    return hit_lines(
        hits, {}, {SESSION: "019aa6e0", "1" * 16: "1111"}, Reader(now_us=START, width=width), nowhere
    )


def text(line: list[tuple[str, str]]) -> str:
    return "".join(piece for piece, _ in line)


def bold(line: list[tuple[str, str]]) -> list[str]:
    return [piece for piece, style in line if style == "title"]


def test_a_hit_is_a_line_with_time_agent_kind_title_and_id():
    (line,) = drawn(hit())

    assert text(line).split() == [
        "2026-11-21",
        "14:03",
        "human",
        "ran",
        "$",
        "make",
        "world",
        "019aa6e0/1111",
    ]
    assert bold(line) == ["make"]


def test_all_that_matched_is_marked_wherever_it_stands_in_the_title():
    (line,) = drawn(hit("$ make Make remake", marks=[[0, 4]]))

    assert bold(line) == ["make", "Make", "make"]


def test_what_the_title_does_not_show_stands_below_with_its_field():
    first, second = drawn(
        hit(where="output", snippet="\tno rule\x1b[0m", marks=[[4, 8]], status="failed", exit_code=2)
    )

    assert "\u2717 2" in text(first)
    assert text(second) == "    output:  no rule\\e[0m"
    assert bold(second) == ["rule"]


def test_what_is_missing_is_said_but_not_what_nothing_has():
    lines = drawn(hit(missing=["git", "flamingo"]), nowhere=("flamingo",))
    assert [text(line) for line in lines][1:] == ["    without git"]
    below = drawn(hit(where="input", missing=["git"]))[1]
    assert text(below) == "    input: make world  without git"
    assert len(drawn(hit(missing=["flamingo"]), nowhere=("flamingo",))) == 1


def test_a_narrow_terminal_gets_lines_that_fit():
    long = hit("$ make " + "x" * 300, where="output", snippet="y" * 190, marks=[[3, 9]])

    for width in (20, 40, 80, 200):
        for line in drawn(long, width=width):
            assert len(text(line)) <= width


def test_a_hit_without_marks_and_with_an_empty_title_is_a_line_too():
    assert len(drawn(hit("", snippet="", marks=[], where="paths", kind="edit_files"))) == 1


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)], ids=["yes", "no"]
)
def test_colours_are_for_terminals_that_want_them(environment, coloured):
    out = StringIO()
    screen = Console(
        file=out, force_terminal=True, width=100, _environ={"TERM": "xterm-256color", **environment}
    )
    console.paint(screen, drawn(hit()))

    assert ("\x1b[33m" in out.getvalue()) == coloured  # the id is yellow
