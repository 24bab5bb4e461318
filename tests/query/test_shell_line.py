"""Command lines as a shell would read them."""

from __future__ import annotations

import random

import pytest

from devtrace.query.shell_line import commands, parts, program_of


def words(line: str) -> list[tuple[str, ...]]:
    return [one.words for one in commands(line)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a b && c | d; e", [("a", "b"), ("c",), ("d",), ("e",)]),
        ("a 'b && c' \"d | e\" f\\ g", [("a", "b && c", "d | e", "f g")]),
        ("a # b && c\nd", [("a",), ("d",)]),
        ("a x#y", [("a", "x#y")]),
        ("a > b 2>&1 < c >>d", [("a",)]),
        ("a \\\n b", [("a", "b")]),
        ("cat <<E > x && b\nc d\nE\ne", [("cat",), ("b",), ("e",)]),
        ("cat <<-'E'\n\tc\n\tE\ne", [("cat",), ("e",)]),
        ("cat <<< x", [("cat",)]),
        ('a $(b c) "$(d)" `e f`', [("a", "$()", "$()", ""), ("b", "c"), ("d",), ("e", "f")]),
        ("a '$(b)'", [("a", "$(b)")]),
        ("a <(b c)", [("a", ""), ("b", "c")]),
        ("bash -lc 'a && b'", [("bash", "-lc", "a && b"), ("a",), ("b",)]),
        ('eval "a b"', [("eval", "a b"), ("a", "b")]),
        ("bash <<E\na b\nE", [("bash",), ("a", "b")]),
        ("a 'b", [("a", "b")]),
        ("", []),
    ],
)
def test_a_line_falls_apart_as_in_a_shell(line, expected):
    assert words(line) == expected


def test_the_operator_in_front_of_each_is_known():
    assert [one.before for one in parts("a && b | c; (d)")] == ["", "&&", "|", "("]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("A=1 git x", ("git", ("x",), ("A=1",))),
        ("/usr/bin/env -u X B=2 /bin/git", ("git", (), ("B=2",))),
        ("sudo -u me timeout -k 5 60s git", ("git", (), ())),
        ("! time -p git", ("git", (), ())),
        ("A=1", ("", (), ("A=1",))),
    ],
)
def test_what_is_started_stands_behind_what_is_put_around_it(line, expected):
    assert program_of(parts(line)[0]) == expected


def test_any_line_is_read_to_its_end():
    seed = random.randrange(1 << 32)
    made = random.Random(seed)
    for _ in range(2000):
        line = "".join(made.choices("ab \n'\"`$()<>&|;#\\-{}=1E", k=made.randrange(60)))
        assert all(one.words for one in commands(line)), (seed, line)


def test_a_line_of_strangers_nests_no_deeper_than_is_read():
    assert len(words("$(" * 20_000 + "a")) > 0
    assert len(words("bash -c " * 3000 + "x")) > 0
