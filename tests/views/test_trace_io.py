"""What a recorded program printed, on the screen: places, marks, bars, what the terminal says."""

from __future__ import annotations

import pytest

from devtrace.query.trace_io import IoChunk, lines
from devtrace.store.trace import records
from devtrace.views.trace_io import Columns, io_lines, labels, shown, terminal_lines

PLACES = {1: "/shop/cart.py", 2: "/usr/lib/log.py"}


def chunk(data=b"hi\n", *, channel="stdout", stream=1, function=1, line=3, flags=None, **more):
    """One that was written by cart.py:3."""
    ends = records.NEWLINE if data is not None and data.endswith(b"\n") else 0
    known = {
        "stream": stream, "n": 1, "channel": channel, "size": len(data or b""), "at_ns": 0, "event": 5,
        "flags": ends if flags is None else ends | flags, "function": function, "line": line, "frame": 2,
        "task": None, "n_unflushed": 0, "data": data,
    }  # fmt: skip
    return IoChunk(**(known | more))


def drawn(*chunks, threads=None):
    places = [one.place for one in chunks]
    writers = labels([one.writer for one in chunks], threads or {1: "MainThread"})
    columns = Columns(lambda number: {"path": PLACES[number]}, places, writers, "/shop")
    return ["".join(text for text, _ in line) for line in io_lines(lines(chunks), columns)]


def test_each_line_has_its_place_before_it_seen_from_the_directory_of_the_program():
    assert drawn(chunk(), chunk(b"far\n", function=2, line=12)) == ["cart.py:3    hi", "log.py:12    far"]


def test_streams_are_told_apart_without_colour():
    told = drawn(chunk(b"a\n"), chunk(b"b\n", channel="stderr"), chunk(b"c\n", channel="stdin", flags=16))

    assert told == ["cart.py:3    a", "cart.py:3  ! b", "cart.py:3  < c"]


def test_pieces_of_a_line_from_one_place_are_one_line():
    pieces = [chunk(b"to", flags=records.STEP_BOUNDARY), chunk(b"tal ", flags=records.FLUSH), chunk(b"22\n")]

    assert drawn(*pieces) == ["cart.py:3    total 22"]


def test_a_letter_that_was_cut_in_two_is_one_letter():
    whole = "é\n".encode()

    assert drawn(chunk(whole[:1]), chunk(whole[1:])) == ["cart.py:3    é"]


def test_a_line_that_goes_on_at_another_place_says_so():
    assert drawn(chunk(b"loading"), chunk(b"done\n", line=9)) == [
        "cart.py:3    loading",
        "cart.py:9    …done",
    ]


def test_a_line_of_another_stream_stands_between_the_parts_of_one():
    told = drawn(chunk(b"load"), chunk(b"no\n", channel="stderr"), chunk(b"ing\n"))

    assert told == ["cart.py:3    load", "cart.py:3  ! no", "cart.py:3    …ing"]


def test_what_came_from_below_python_has_no_place():
    told = drawn(chunk(), chunk(b"native\n", function=None, line=None, flags=records.MIRROR))

    assert told == ["cart.py:3       hi", "below Python    native"]


def test_a_place_that_is_not_known_is_no_mirror():
    assert drawn(chunk(function=None, line=None)) == ["?    hi"]


def test_a_line_without_a_number_names_the_file():
    assert drawn(chunk(line=None)) == ["cart.py    hi"]


def test_threads_have_a_column_where_there_are_several():
    told = drawn(chunk(), chunk(b"x\n", stream=2), threads={1: "MainThread", 2: "a\x1b[31m"})

    assert told == ["MainThread  cart.py:3    hi", "a\\e[31m     cart.py:3    x"]


def test_tasks_have_names_of_their_own():
    told = drawn(chunk(), chunk(b"x\n", task="Task-2"))
    assert told == ["MainThread  cart.py:3    hi", "Task-2      cart.py:3    x"]

    told = drawn(chunk(task="Task-2"), chunk(b"x\n", stream=2, task="T"), threads={1: "one", 2: "two"})
    assert told == ["one Task-2  cart.py:3    hi", "two T       cart.py:3    x"]


def test_what_never_reached_its_descriptor_is_marked():
    assert drawn(chunk(n_unflushed=3)) == ["cart.py:3    hi  never flushed"]
    assert drawn(chunk(n_unflushed=1)) == ["cart.py:3    hi  1 B never flushed"]


def test_what_is_no_longer_kept_says_how_much_it_was():
    assert drawn(chunk(None, size=12, flags=0)) == ["cart.py:3    (12 B, no longer kept)"]


def test_a_bar_is_shown_as_it_was_left_standing():
    bar = [chunk(f"\r{n:3}%".encode(), flags=records.FLUSH) for n in range(0, 101, 25)]

    assert drawn(*bar, chunk(b"\n")) == ["cart.py:3    100%  drawn 5 times"]


def test_a_bar_without_an_end_is_not_held_whole():
    pieces = [chunk(b"\r" + f"{n:07}".encode() * 10) for n in range(5_000)]
    (told,) = lines(iter(pieces))

    assert len(told.data) < 1 << 17
    assert shown(told.data)[0] == "0004999" * 10
    assert told.n_redrawn + shown(told.data)[1] + 1 == 5_000


def test_a_line_that_is_too_long_to_hold_goes_on_in_the_next():
    pieces = [chunk(b"x" * 1_000) for _ in range(100)]
    told = list(lines(iter(pieces)))

    assert sum(len(one.data) for one in told) == 100_000
    assert [one.goes_on for one in told] == [False, True]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""])
def test_the_end_of_a_line_is_not_shown(ending):
    assert shown(b"hi" + ending) == ("hi", 0)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"\x1b]0;title\x07text", "text"),
        ("a\u202eb".encode(), "a\\u202eb"),
        (b"\xff\xfe raw", "\\xff\\xfe raw"),
        (b"a\tb", "a       b"),
        (b"abc\b\bX", "aXc"),
        (b"nul\x00", "nul"),
        (b"\x1b[2Jgone\x1b[999;999H!", "gone!"),
    ],
)
def test_nothing_in_a_line_acts_on_the_terminal(data, expected):
    assert shown(data)[0] == expected


def test_an_endless_line_is_cut_on_the_screen():
    (told,) = drawn(chunk(b"x" * 5_000 + b"\n"))

    assert told.endswith("… (+3,000 characters)")


def terminal(**changes):
    known = {
        "session": "a", "event": "b/c", "title": "$ python cart.py", "confidence": "approximate",
        "n_lines": 3, "n_found": 3, "n_bytes": 40, "n_elsewhere": 0, "is_whole": True,
    }  # fmt: skip
    return ["".join(text for text, _ in line) for line in terminal_lines(known | changes, {"c": "c0"})]


def test_the_terminals_word_is_called_approximate():
    assert terminal() == [
        "terminal  3 lines stand in their order in what it shows of python cart.py  c0  approximate"
    ]


def test_what_the_terminal_shows_besides_is_counted():
    assert "5 B of that came from elsewhere" in terminal(n_elsewhere=5)[1]
    assert "nothing of it" in terminal(n_found=0)[0]
    assert "1 of 3 lines" in terminal(n_found=1)[0]
    assert "only a part" in terminal(is_whole=False)[1]
