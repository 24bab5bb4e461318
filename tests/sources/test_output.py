"""Marks are cut out whatever way they arrive, and each command keeps its own output, within bounds."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable

import pytest

from devtrace.sources.shell.output import (
    MARK_LENGTH,
    Capture,
    Captured,
    Mark,
    MarkSplitter,
    OutputTrack,
    mark,
)

NONCE = "00c0ffee00c0ffee"
SPAN, OTHER = "1111111111111111", "abcdef0123456789"
BEGIN, END = mark(NONCE, "C", SPAN), mark(NONCE, "D", SPAN)


def split(chunks: Iterable[bytes]) -> tuple[bytes, list[Mark]]:
    """Everything that came out of a splitter: the bytes joined, the marks in order."""
    splitter = MarkSplitter(NONCE)
    pieces = [piece for chunk in chunks for piece in splitter.feed(chunk)]
    pieces.append(splitter.release())
    shown = b"".join(piece for piece in pieces if isinstance(piece, bytes))
    return shown, [piece for piece in pieces if isinstance(piece, Mark)]


def in_chunks(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


class Studio:
    """An OutputTrack with a clock that is turned by hand; `done` are the captures it handed out."""

    def __init__(self, *, head: int = 100, tail: int = 100, streams: int = 1, enabled: bool = True):
        self.now_us = 1_000_000
        self.done: list[Captured] = []
        self.track = OutputTrack(
            NONCE,
            self.done.append,
            head_cap=head,
            tail_cap=tail,
            clock=lambda: self.now_us,
            enabled=enabled,
            streams=streams,
        )

    def feeds(self, *chunks: bytes, stream: int = 1) -> bytes:
        return b"".join(self.track.feed(chunk, stream) for chunk in chunks)

    def later(self, ms: int) -> None:
        """Time passes, and there is nothing to read."""
        self.now_us += ms * 1000
        for stream in range(1, self.track.streams + 1):
            self.track.caught_up(stream)

    def is_kept_waiting(self, ms: int) -> None:
        """Time passes, and nobody reads."""
        self.now_us += ms * 1000


# --- marks --------------------------------------------------------------------


def test_a_mark_is_what_the_hooks_write():
    assert BEGIN == b"\x1b]6973;00c0ffee00c0ffee;C;1111111111111111\x07"
    assert len(BEGIN) == len(END) == MARK_LENGTH


@pytest.mark.parametrize("cut", range(MARK_LENGTH + 7))
def test_a_mark_cut_in_two_at_any_place_is_found(cut):
    data = b"abc" + BEGIN + b"def"

    assert split([data[:cut], data[cut:]]) == (b"abcdef", [Mark("C", SPAN)])


def test_marks_that_come_a_byte_at_a_time_are_found():
    data = b"a" + BEGIN + b"b\x1b[1mc" + END + BEGIN + END

    shown, marks = split(in_chunks(data, 1))

    assert shown == b"ab\x1b[1mc"
    assert [found.letter for found in marks] == ["C", "D", "C", "D"]


@pytest.mark.parametrize(
    "data",
    [
        mark("0123456789abcdef", "C", SPAN),
        BEGIN.replace(b";C;", b";E;"),
        BEGIN.replace(SPAN.encode(), b"111111111111111g"),
        BEGIN.replace(b"\x07", b"\x1b\\"),
        BEGIN[:-1] + b"!",
        b"\x1b]133;C\x07",
        b"\x1b\x1b]6973;\x1b]",
    ],
    ids=["foreign nonce", "letter", "span", "ended by ST", "ended wrongly", "OSC 133", "escapes"],
)
def test_what_only_resembles_a_mark_passes_unchanged(data):
    for size in (1, 7, len(data)):
        assert split(in_chunks(data, size)) == (data, [])


def test_an_escape_before_a_mark_does_not_hide_it():
    assert split([b"\x1b" + BEGIN, b"\x1b", END]) == (b"\x1b\x1b", [Mark("C", SPAN), Mark("D", SPAN)])


def test_only_a_true_prefix_of_a_mark_is_kept_back():
    splitter = MarkSplitter(NONCE)

    assert splitter.feed(b"text\x1b[3") == [b"text\x1b[3"]
    assert splitter.held == b""
    assert splitter.feed(b"text" + BEGIN[:20]) == [b"text"]
    assert splitter.held == BEGIN[:20]
    assert splitter.feed(b"?") == [BEGIN[:20] + b"?"]
    assert splitter.held == b""


def test_what_was_kept_back_comes_out_when_nothing_follows():
    splitter = MarkSplitter(NONCE)
    splitter.feed(BEGIN[:-1])

    assert splitter.release() == BEGIN[:-1]
    assert splitter.release() == b""


def test_a_chunk_without_an_escape_is_not_even_copied():
    chunk = b"x" * 100_000

    assert MarkSplitter(NONCE).feed(chunk)[0] is chunk


def test_ten_megabytes_of_one_escape_sequence_are_never_kept_back():
    splitter = MarkSplitter(NONCE)
    data = b"\x1b]6973;" + b"A" * 10_000_000 + b"\x07"

    shown = 0
    for chunk in in_chunks(data, 65_536):
        shown += sum(len(piece) for piece in splitter.feed(chunk))
        assert len(splitter.held) < MARK_LENGTH

    assert shown == len(data)


def test_twenty_megabytes_with_marks_cut_everywhere_come_out_byte_for_byte():
    dice = random.Random(20)
    parts, expected = [], []
    for number in range(2000):
        noise = dice.randbytes(dice.randrange(20_000))
        parts.append(noise + b"\x1b]6973;" * (number % 3) + mark(NONCE, "CD"[number % 2], f"{number:016x}"))
        expected.append(noise + b"\x1b]6973;" * (number % 3))
    data = b"".join(parts)
    chunks, at = [], 0
    while at < len(data):
        size = dice.choice((1, 3, 42, 43, 44, 4096, 65_536))
        chunks.append(data[at : at + size])
        at += size

    shown, marks = split(chunks)

    assert shown == b"".join(expected)
    assert [int(found.span, 16) for found in marks] == list(range(2000))


# --- what is kept of one command ----------------------------------------------


def test_short_output_is_kept_whole():
    capture = Capture(SPAN, 100, 100, 0)
    capture.feed(b"hello\n", 5)

    kept = capture.finish()

    assert (kept.data, kept.seen, kept.head, kept.tail, kept.truncated) == (b"hello\n", 6, 6, 0, False)


def test_output_that_just_fits_head_and_tail_is_not_truncated():
    capture = Capture(SPAN, 10, 10, 0)
    capture.feed(b"0123456789abcdefghij", 5)

    kept = capture.finish()

    assert (kept.data, kept.head, kept.tail, kept.truncated) == (b"0123456789abcdefghij", 20, 0, False)


@pytest.mark.parametrize("size", [1, 3, 7, 64, 1000])
def test_long_output_keeps_its_head_and_tail_and_its_true_size(size):
    data = bytes(range(256)) * 10
    capture = Capture(SPAN, 100, 30, 0)
    for number, chunk in enumerate(in_chunks(data.replace(b"\x1b", b"."), size)):
        capture.feed(chunk, number * 3_000)

    kept = capture.finish()

    assert kept.data == data[:100].replace(b"\x1b", b".") + data[-30:]
    assert (kept.seen, kept.head, kept.tail, kept.truncated) == (len(data), 100, 30, True)
    assert sum(count for _, count in kept.timing) == len(kept.data)


@pytest.mark.parametrize(("head", "tail", "data"), [(0, 4, b"6789"), (4, 0, b"0123"), (0, 0, b"")])
def test_a_cap_of_nothing_keeps_nothing_there(head, tail, data):
    capture = Capture(SPAN, head, tail, 0)
    capture.feed(b"0123456789", 0)

    kept = capture.finish()

    assert (kept.data, kept.seen, kept.truncated) == (data, 10, True)


def test_times_count_from_the_start_in_steps_of_ten_milliseconds():
    capture = Capture(SPAN, 100, 100, 5_000)
    for at_ms in (0, 4, 9, 10, 30, 39, 40):
        capture.feed(b"x", 5_000 + at_ms * 1000)

    assert capture.finish().timing == [[0, 3], [10_000, 1], [30_000, 2], [40_000, 1]]


def test_a_spinner_that_turns_for_hours_keeps_a_bounded_timing():
    capture = Capture(SPAN, 65_536, 65_536, 0)
    for number in range(300_000):
        capture.feed(b"/", number * 80_000)

    kept = capture.finish()

    assert len(kept.timing) <= 2 * 2_048
    assert sum(count for _, count in kept.timing) == len(kept.data) == 131_072
    assert [at for at, _ in kept.timing] == sorted(at for at, _ in kept.timing)
    assert kept.timing[-1][0] > 23_000_000_000


def test_a_flood_stays_within_the_caps():
    capture = Capture(SPAN, 65_536, 65_536, 0)
    for number in range(400):
        capture.feed(b"x" * 65_536, number * 100)

    kept = capture.finish()

    assert (len(kept.data), kept.seen) == (131_072, 400 * 65_536)


@pytest.mark.parametrize("number", [b"1049", b"1047", b"47", b"12;1049"])
def test_the_alternate_screen_is_counted_and_not_kept(number):
    before, inside, after = b"before", b"\x1b[?%bh" % number + b"~" * 500 + b"\x1b[?%bl" % number, b"after"
    data = before + inside + after
    for cut in range(len(data)):
        capture = Capture(SPAN, 50, 50, 0)
        capture.feed(data[:cut], 0)
        capture.feed(data[cut:], 1)

        kept = capture.finish()

        assert (kept.data, kept.truncated) == (b"beforeafter", False)
        assert (kept.seen, kept.alternate_screen) == (len(data), len(inside))


def test_an_editor_that_was_killed_leaves_its_screen_uncounted_as_text():
    capture = Capture(SPAN, 50, 50, 0)
    capture.feed(b"$ vim\x1b[?1049h~~~~", 0)

    kept = capture.finish()

    assert (kept.data, kept.alternate_screen) == (b"$ vim", 12)


def test_other_private_modes_stay_in_the_output():
    data = b"\x1b[?25l\x1b[?2004h\x1b[1;31mred\x1b[m\x1b["
    capture = Capture(SPAN, 100, 0, 0)
    for byte in in_chunks(data, 1):
        capture.feed(byte, 0)

    assert capture.finish().data == data


# --- the stream of a terminal -------------------------------------------------


def test_a_command_keeps_what_lies_between_its_marks_and_the_user_sees_no_mark():
    studio = Studio()

    shown = studio.feeds(b"$ make\r\n" + BEGIN + b"cc -c a.c\r\n" + END + b"$ ")

    assert shown == b"$ make\r\ncc -c a.c\r\n$ "
    (kept,) = studio.done
    assert (kept.span, kept.data, kept.approximate, kept.stderr) == (SPAN, b"cc -c a.c\r\n", False, None)


def test_commands_are_cut_apart_even_byte_by_byte():
    studio = Studio()
    second = mark(NONCE, "C", OTHER) + b"two" + mark(NONCE, "D", OTHER)

    shown = studio.feeds(*in_chunks(b"p1 " + BEGIN + b"one" + END + b"p2 " + second + b"p3", 1))

    assert shown == b"p1 onep2 twop3"
    assert [(kept.span, kept.data) for kept in studio.done] == [(SPAN, b"one"), (OTHER, b"two")]


def test_a_command_without_its_end_mark_is_closed_by_the_next_one_as_approximate():
    studio = Studio()

    studio.feeds(BEGIN + b"one\n$ ", mark(NONCE, "C", OTHER) + b"two" + mark(NONCE, "D", OTHER))

    first, second = studio.done
    assert (first.data, first.approximate) == (b"one\n$ ", True)
    assert (second.data, second.approximate) == (b"two", False)


def test_an_end_mark_of_an_unknown_command_is_ignored():
    studio = Studio()

    assert studio.feeds(END + BEGIN + b"x" + mark(NONCE, "D", OTHER) + b"y" + END) == b"xy"
    assert [kept.data for kept in studio.done] == [b"xy"]


def test_a_mark_that_comes_twice_changes_nothing():
    studio = Studio()

    studio.feeds(BEGIN + b"a" + BEGIN + b"b" + END + END)

    assert [(kept.data, kept.approximate) for kept in studio.done] == [(b"ab", False)]


def test_the_last_command_is_closed_by_the_end_of_the_stream():
    studio = Studio()
    studio.feeds(BEGIN + b"exit\r\n" + END[:10])

    studio.track.close()
    studio.track.close()

    assert [(kept.data, kept.approximate) for kept in studio.done] == [(b"exit\r\n" + END[:10], False)]


def test_bytes_that_may_begin_a_mark_are_shown_when_released():
    studio = Studio()

    assert studio.feeds(b"a" + END[:8]) == b"a"
    assert studio.track.holds()
    assert studio.track.release() == END[:8]
    assert not studio.track.holds()


def test_without_capturing_the_marks_are_removed_all_the_same():
    studio = Studio(enabled=False)

    assert studio.feeds(BEGIN + b"secret" + END) == b"secret"
    assert studio.done == []


def test_the_terminal_lives_on_when_the_recording_fails():
    def fail(captured: Captured) -> None:
        raise RuntimeError("a bug of ours")

    track = OutputTrack(NONCE, fail, head_cap=10, tail_cap=10, clock=lambda: 0)

    shown = track.feed(BEGIN + b"hello" + END)
    shown += track.feed(b" world")

    assert b"hello" in shown
    assert shown.endswith(b" world")
    assert isinstance(track.failure, RuntimeError)
    track.close()


def test_modes_that_programs_open_are_known():
    studio = Studio()

    studio.feeds(b"\x1b[?10", b"49h", BEGIN)
    assert studio.track.modes
    studio.feeds(b"\x1b[?1049l")
    assert not studio.track.modes


# --- what the FIFO says when marks are missing --------------------------------


def test_a_command_whose_marks_went_elsewhere_is_cut_by_time():
    studio = Studio()
    studio.track.told("C", SPAN)
    studio.feeds(b"$ ")
    studio.later(60)
    studio.feeds(b"seen ")
    studio.feeds(b"and kept")
    studio.track.told("D", SPAN)
    studio.later(60)
    studio.feeds(b"$ ")

    (kept,) = studio.done
    assert (kept.data, kept.approximate) == (b"seen and kept", True)


def test_the_fifo_does_not_disturb_a_command_that_has_marks():
    studio = Studio()
    studio.track.told("C", SPAN)
    studio.feeds(BEGIN + b"one ")
    studio.later(100)
    studio.feeds(b"two")
    studio.track.told("D", SPAN)
    studio.feeds(END)
    studio.later(100)
    studio.feeds(b"$ ")

    assert [(kept.data, kept.approximate) for kept in studio.done] == [(b"one two", False)]


def test_a_mark_that_comes_late_cuts_exactly_after_all():
    studio = Studio()
    studio.track.told("C", SPAN)
    studio.later(60)
    studio.feeds(b"prompt" + BEGIN + b"output" + END)

    assert [(kept.data, kept.approximate) for kept in studio.done] == [(b"output", False)]


def test_on_a_busy_machine_the_fifo_does_not_overtake_the_marks():
    studio = Studio()
    studio.track.told("C", SPAN)
    studio.track.told("D", SPAN)
    studio.is_kept_waiting(500)
    studio.feeds(b"of the command before", b"$ " + BEGIN + b"out", b"put" + END)

    assert [(kept.data, kept.approximate) for kept in studio.done] == [(b"output", False)]


def test_on_a_busy_machine_each_of_many_commands_keeps_its_own_output():
    studio = Studio(streams=2)
    spans = [f"{number:016x}" for number in range(1, 100)]
    for span in spans:
        studio.track.told("C", span)
        studio.track.told("D", span)
        studio.is_kept_waiting(5)
    for stream in (1, 2):
        for span in spans:
            studio.feeds(mark(NONCE, "C", span) + span.encode() + mark(NONCE, "D", span), stream=stream)
            studio.is_kept_waiting(1)

    assert [kept.span for kept in studio.done] == spans
    assert {(kept.data == kept.span.encode() * 2, kept.approximate) for kept in studio.done} == {
        (True, False)
    }


def test_a_stream_that_is_never_empty_is_cut_in_the_end():
    studio = Studio()
    studio.track.told("C", SPAN)
    for _ in range(12):
        studio.is_kept_waiting(100)
        studio.feeds(b"y\n")
    studio.track.told("D", SPAN)
    for _ in range(12):
        studio.is_kept_waiting(100)
        studio.feeds(b"y\n")

    (kept,) = studio.done
    assert (kept.approximate, kept.seen > 0) == (True, True)


def test_telling_is_safe_from_another_thread():
    studio = Studio()
    teller = threading.Thread(
        target=lambda: [studio.track.told(letter, f"{n:016x}") for n in range(2000) for letter in "CD"]
    )
    teller.start()
    while teller.is_alive():
        studio.feeds(b"x")
        studio.later(1)
    teller.join()
    studio.later(60)
    studio.feeds(b"x")

    assert studio.track.failure is None
    assert len(studio.done) <= 2000


# --- two pipes ----------------------------------------------------------------


def test_both_pipes_share_one_capture_of_a_command():
    studio = Studio(streams=2)

    shown = [
        studio.feeds(BEGIN + b"out1 "),
        studio.feeds(BEGIN + b"err ", stream=2),
        studio.feeds(b"out2" + END),
        studio.feeds(END, stream=2),
    ]

    assert shown == [b"out1 ", b"err ", b"out2", b""]
    (kept,) = studio.done
    assert (kept.data, kept.stderr, kept.seen, kept.approximate) == (b"out1 err out2", 4, 13, False)


def test_a_slow_pipe_keeps_its_place_while_the_other_is_a_command_ahead():
    studio = Studio(streams=2)
    next_one = mark(NONCE, "C", OTHER), mark(NONCE, "D", OTHER)

    studio.feeds(BEGIN + b"out" + END + next_one[0] + b"OUT" + next_one[1])
    assert studio.done == []
    studio.feeds(BEGIN + b"err" + END + next_one[0] + b"ERR" + next_one[1], stream=2)

    assert [(kept.span, kept.data, kept.approximate) for kept in studio.done] == [
        (SPAN, b"outerr", False),
        (OTHER, b"OUTERR", False),
    ]


def test_a_pipe_that_never_shows_marks_holds_nothing_up():
    studio = Studio(streams=2)
    spans = [f"{number:016x}" for number in range(1, 41)]

    for span in spans:
        studio.feeds(mark(NONCE, "C", span) + b"out" + mark(NONCE, "D", span))
    studio.track.close()

    assert [kept.span for kept in studio.done] == spans
    assert {kept.data for kept in studio.done} == {b"out"}
