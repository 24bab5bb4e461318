"""What a shell prints around a command by itself is taken off the command's output, and nothing more."""

from __future__ import annotations

import random

import pytest

from devtrace.sources.shell.output import Capture, Captured
from devtrace.sources.shell.prompt import without_shells_own

ZSH_ENDS = [
    b"\x1b[1m\x1b[7m%\x1b[27m\x1b[1m\x1b[0m" + b" " * 79 + b"\r \r",
    b"\x1b[1m\x1b[7m#\x1b[27m\x1b[1m\x1b[0m" + b" " * 39 + b"\r \r\x1b[J",
    b"\x1b(B\x1b[m%\x1b(B\x1b[m" + b" " * 119 + b"\r \r",
    b"%" + b" " * 8 + b"\r \r",
]
FISH_STARTS = [
    b"\x1b[?2004l\x1b]0;echo ~/x\x07\x1b[30m\x1b(B\x1b[m\r",
    b"\x1b[?2004l\x1b[>4;0m\x1b[=0u\x1b>\x1b]0;make\x07",
    b"\x1b[?2004l\x1b]133;C;cmdline_url=ls\x07",
    b"\x1b[?2004l\x1b[30m\x1b(B\x1b[m",
]


def capture(*pieces: bytes, head: int = 65_536, tail: int = 65_536) -> Captured:
    kept = Capture("1234567890123456", head, tail, 0)
    for number, piece in enumerate(pieces):
        kept.feed(piece, number * 100_000)
    return kept.finish()


def check(captured: Captured) -> None:
    """What must hold of any captured output."""
    assert captured.head + captured.tail == len(captured.data)
    assert sum(size for _, size in captured.timing) == len(captured.data)
    assert all(size > 0 for _, size in captured.timing)
    assert captured.seen >= len(captured.data)


@pytest.mark.parametrize("end", ZSH_ENDS)
@pytest.mark.parametrize("printed", [b"", b"hello\r\n", b"no newline", b"100%", b"50 %\r"])
def test_zsh_s_mark_of_a_partial_line_is_no_output(printed: bytes, end: bytes) -> None:
    captured = without_shells_own(capture(*([printed] if printed else []), end), "zsh")

    check(captured)
    assert (captured.data, captured.seen) == (printed, len(printed))


@pytest.mark.parametrize("start", FISH_STARTS)
@pytest.mark.parametrize("printed", [b"", b"hello\r\n", b"\x1b[31mred\x1b[m\r\n"])
def test_fish_s_title_and_modes_are_no_output(printed: bytes, start: bytes) -> None:
    captured = without_shells_own(capture(start, *([printed] if printed else [])), "fish")

    check(captured)
    assert (captured.data, captured.seen) == (printed, len(printed))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    "printed", [b"", b"hello\r\n", b"100%\r\n", b"%   \r", b"\x1b[?2004h", b"\x1b]0;title\x07"]
)
def test_what_a_command_printed_stays(shell: str, printed: bytes) -> None:
    captured = capture(printed) if printed else capture()

    assert without_shells_own(captured, shell) == captured


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_zsh_s_mark_is_only_looked_for_in_zsh(shell: str) -> None:
    captured = capture(b"hello" + ZSH_ENDS[0])

    assert without_shells_own(captured, shell) == captured


def test_zsh_s_mark_in_the_middle_is_a_command_s_own() -> None:
    captured = capture(b"a" + ZSH_ENDS[0] + b"b")

    assert without_shells_own(captured, "zsh") == captured


def test_zsh_s_mark_is_taken_off_the_tail_of_a_long_output() -> None:
    captured = without_shells_own(capture(b"x" * 500 + ZSH_ENDS[0], head=100, tail=200), "zsh")

    check(captured)
    assert (captured.data, captured.head, captured.truncated) == (b"x" * (300 - len(ZSH_ENDS[0])), 100, True)
    assert captured.seen == 500


@pytest.mark.parametrize("tail", [0, 1, 40])
def test_a_tail_too_short_for_zsh_s_mark_leaves_the_head_alone(tail: int) -> None:
    begins_alike = b"y" * 10 + b"%" + b" " * 86 + b"\r \r"
    captured = without_shells_own(
        capture(begins_alike + b"x" * 500 + ZSH_ENDS[0], head=len(begins_alike), tail=tail), "zsh"
    )

    check(captured)
    assert captured.data[: len(begins_alike)] == begins_alike


@pytest.mark.parametrize("head", [0, 3, 10, 60])
def test_a_head_too_short_for_fish_s_start_leaves_the_tail_alone(head: int) -> None:
    captured = without_shells_own(capture(FISH_STARTS[0] + b"x" * 500, head=head, tail=40), "fish")

    check(captured)
    assert captured.data.endswith(b"x" * 40)


@pytest.mark.parametrize("round_", range(40))
def test_counts_and_timing_follow_for_any_output_in_any_pieces(round_: int) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    shell = chance.choice(("zsh", "fish"))
    printed = chance.choice((b"", b"x", b"line\r\n" * chance.randrange(60), chance.randbytes(300)))
    whole = printed + chance.choice(ZSH_ENDS) if shell == "zsh" else chance.choice(FISH_STARTS) + printed
    pieces, at = [], 0
    while at < len(whole):
        size = chance.randrange(1, 80)
        pieces.append(whole[at : at + size])
        at += size
    head, tail = chance.choice(((65_536, 65_536), (100, 200), (0, 300), (300, 0), (20, 20)))

    captured = without_shells_own(capture(*pieces, head=head, tail=tail), shell)

    check(captured)
    if len(whole) <= head:
        assert captured.data == printed, f"seed {seed}"
