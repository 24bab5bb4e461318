"""Whatever is recorded, nothing of it acts on the terminal of whoever reads it."""

from __future__ import annotations

import re
import unicodedata

import pytest

from devtrace.views.safe import first_line, safe

NASTY = {
    "clear screen": "\x1b[2J\x1b[H",
    "colour": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;you are root\x07",
    "clipboard": "\x1b]52;c;cm0gLXJmIC8=\x07",
    "hyperlink": "\x1b]8;;http://evil\x1b\\here\x1b]8;;\x1b\\",
    "device status, answered as if typed": "\x1b[6n",
    "answerback": "\x05",
    "DECRQSS": "\x1bP$qm\x1b\\",
    "sixel": "\x1bPq#0;2;0;0;0\x1b\\",
    "kitty graphics": "\x1b_Ga=T;AAAA\x1b\\",
    "8-bit CSI": "\x9b2J",
    "8-bit OSC": "\x9d0;x\x9c",
    "8-bit DCS": "\x90q\x9c",
    "next line": "a\x85b",
    "backspaces over what was there": "rm -rf /\b\b\b\b\b\b\b\bls      ",
    "carriage return": "rm -rf /\rls      ",
    "newline": "ls\n$ true",
    "vertical tab": "a\x0bb",
    "form feed": "a\x0cb",
    "null": "a\x00b",
    "delete": "a\x7fb",
    "shift out": "\x0eaaa",
    "bell": "\x07" * 100,
    "right to left override": "access\u202egpj.sh",
    "isolates": "\u2066\u2067\u2068x\u2069",
    "embedding": "\u202a\u202b\u202c\u202d",
    "marks": "\u200e\u200f\u061c",
    "line separator": "a\u2028b\u2029c",
    "zero width space": "s\u200budo",
    "word joiner": "a\u2060b",
    "invisible operators": "a\u2061\u2062\u2063\u2064b",
    "byte order mark": "\ufeffls",
    "soft hyphen": "a\u00adb",
    "tags that spell an order": "ls" + "".join(chr(0xE0000 + ord(letter)) for letter in "rm -rf /"),
    "supplementary selectors": "a\U000e0100\U000e01ef",
    "hangul filler": "a\u3164\uffa0\u115f\u1160b",
    "interlinear annotation": "a\ufff9b\ufffac\ufffb",
    "bytes that were no UTF-8": b"caf\xe9".decode("utf-8", "surrogateescape"),
    "half a pair": "\ud83d",
    "musical and shorthand formats": "\U0001bca0\U0001d173\U0001d17a",
    "deprecated formats": "\u206a\u206f",
}


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_nothing_that_acts_or_hides_is_left(text):
    shown = safe(text)

    kinds = {character: unicodedata.category(character) for character in shown}
    assert {one: kind for one, kind in kinds.items() if kind in ("Cc", "Cf", "Cs", "Zl", "Zp")} == {}
    assert len(shown.splitlines()) <= 1
    assert shown.encode("utf-8")


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_everything_that_was_there_can_still_be_seen(text):
    assert len(safe(text)) > len(text) or safe(text) != text


def test_each_unsafe_character_becomes_an_escape_of_its_own():
    assert (
        safe("a\x1b[2Jb\n\t\r\x00\x9b\u202e\U000e0072\udcff")
        == r"a\e[2Jb\n\t\r\x00\x9b\u202e\U000e0072\udcff"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain text, with punctuation: ~!@#$%^&*()",
        "übergröße, naïve, 日本語, русский, ελληνικά",
        "שלום עולם and العربية",
        "می\u200cخواهم",  # noqa: RUF001 - the zero width non-joiner is how Persian is spelt
        "👩\u200d💻 and ❤\ufe0f",  # a family of joiners and a variation selector
        "e\u0301",
        "\ue0b0 powerline",
        r"a literal \x1b stays",
    ],
)
def test_what_people_write_is_left_alone(text):
    assert safe(text) == text


def test_a_bidi_text_without_controls_is_no_suspect():
    assert "\\" not in safe("עברית")


def test_the_newlines_of_a_whole_text_may_stay():
    assert safe("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\e"


def test_every_control_format_and_surrogate_of_unicode_is_known_or_argued():
    """The table in safe.py was made by hand: this walks all of Unicode beside it."""
    spared = {
        character
        for character in map(chr, range(0x110000))
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and safe(character) == character
    }

    # Joiners, and visible signs of scripts that stand before the numbers or hieroglyphs they govern.
    assert spared <= {
        "\u200c", "\u200d", *map(chr, range(0x600, 0x606)), "\u06dd", "\u070f", "\u0890", "\u0891", "\u08e2",
        "\U000110bd", "\U000110cd", *map(chr, range(0x13430, 0x13440)),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ls", "ls"),
        ("for i in 1 2\ndo\n  echo $i\ndone", "for i in 1 2 (+3 lines)"),
        ("a\nb", "a (+1 line)"),
        ("a\n", "a"),
        ("\n\n  b\nc\n", "  b (+1 line)"),
        ("a\r\nb\r\n", "a (+1 line)"),
        ("", ""),
        ("\n", ""),
        ("a\x1b[2J\nb", r"a\e[2J (+1 line)"),
    ],
)
def test_a_list_shows_the_first_line_and_how_many_more(text, line):
    assert first_line(text) == line


def test_a_megabyte_of_text_takes_no_time_to_speak_of():
    text = "x" * 1_000_000 + "\x1b"

    assert safe(text).endswith(r"x\e")
    assert not re.search("\x1b", safe(text * 3))
