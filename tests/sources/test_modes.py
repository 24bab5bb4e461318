"""What programs switch on in a terminal is followed exactly enough to be switched off for them."""

from __future__ import annotations

import pytest

from devtrace.sources.shell.modes import (
    ALTERNATE_SCREEN,
    BRACKETED_PASTE,
    HIDDEN_CURSOR,
    KEYPAD,
    KITTY_KEYBOARD,
    ModeScanner,
    closing,
    opening,
)


def open_after(*chunks: bytes) -> int:
    scanner = ModeScanner()
    for chunk in chunks:
        scanner.feed(chunk)
    return scanner.open


@pytest.mark.parametrize(
    ("on", "off"),
    [(b"\x1b[?%dh" % number, b"\x1b[?%dl" % number) for number in (1, 47, 1047, 1049, 1000, 1002, 1003, 1005)]
    + [(b"\x1b[?%dh" % number, b"\x1b[?%dl" % number) for number in (1006, 1015, 1004, 2004)]
    + [
        (b"\x1b[?25l", b"\x1b[?25h"),
        (b"\x1b=", b"\x1b>"),
        (b"\x1b[>5u", b"\x1b[<u"),
        (b"\x1b[=1;1u", b"\x1b[=0u"),
    ],
)
def test_each_mode_is_seen_to_open_and_to_close(on, off):
    assert open_after(b"text" + on + b"text")
    assert not open_after(b"text" + on + b"text", off)
    assert not open_after(on, b"\x1bc")
    for cut in range(len(on)):
        assert open_after(on[:cut], on[cut:]) == open_after(on)
        assert open_after(b"x" + on[:cut], on[cut:] + b"x") == open_after(on)


def test_what_closes_all_modes_closes_all_modes():
    opened = b"\x1b[?1049h\x1b[?1;1000;1006;2004;1004h\x1b[?25l\x1b=\x1b[>1u\x1b[>7u"
    modes = open_after(opened)
    for mode in (ALTERNATE_SCREEN, BRACKETED_PASTE, HIDDEN_CURSOR, KEYPAD, KITTY_KEYBOARD):
        assert modes & mode

    assert open_after(opened, closing(modes)) == 0
    assert closing(0) == opening(0) == b""


def test_what_opens_modes_again_opens_the_same():
    modes = open_after(b"\x1b[?1049h\x1b[?25l\x1b=\x1b[?1002;1006h\x1b[>5u")

    assert open_after(opening(modes)) == modes


def test_the_screen_is_left_before_the_cursor_is_shown_and_after_the_mouse_is_off():
    text = closing(open_after(b"\x1b[?25l\x1b[?1049h\x1b[?1000h"))

    assert text == b"\x1b[?1000l\x1b[?1049l\x1b[?25h"


def test_a_program_may_leave_the_alternate_screen_by_another_number():
    assert not open_after(b"\x1b[?1049h", b"\x1b[?47l")


def test_nested_keyboard_protocols_are_popped_one_by_one():
    assert open_after(b"\x1b[>1u\x1b[>3u", b"\x1b[<u") == open_after(b"\x1b[>1u")
    assert not open_after(b"\x1b[>1u\x1b[>3u", b"\x1b[<9u")


@pytest.mark.parametrize(
    "data", [b"\x1b[?1049$p", b"\x1b[?u", b"\x1b[?1049s", b"\x1b[1049h", b"\x1b[?9999h", b"\x1b]0;?1049h\x07"]
)
def test_queries_and_strangers_open_nothing(data):
    assert not open_after(data)


def test_a_soft_reset_shows_the_cursor():
    assert not open_after(b"\x1b[?25l\x1b[?1h", b"\x1b[!p")


def test_endless_sequences_are_not_remembered():
    scanner = ModeScanner()
    for _ in range(1000):
        scanner.feed(b"\x1b[?" + b"1" * 1000)

    assert scanner.open == 0
