"""Terminal output as it was left standing: what was overwritten is gone, what acts is left out."""

from __future__ import annotations

import pytest

from devtrace.query.output import Output
from devtrace.views.output import coloured, plain


def output(data: bytes, **info) -> Output:
    return Output(data, [], {"seen": len(data), "head": len(data), "tail": 0, "truncated": False} | info)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"hello\r\nworld\r\n", "hello\nworld\n"),
        (b"no end", "no end\n"),
        (b"\r\n\r\n", "\n\n"),
        (b"from a pipe\n  indented\n", "from a pipe\n  indented\n"),
        (b"trailing  \r\n", "trailing  \n"),
        (b"10%\r50%\r100%\r\n", "100%\n"),
        (b"100%\rok\r\n", "ok0%\n"),
        (b"100%\r\x1b[Kok\r\n", "ok\n"),
        (b"abc\b\bX\r\n", "aXc\n"),
        (b"abc\b \b\r\n", "ab \n"),
        (b"\b\b\babc", "abc\n"),
        (b"abcdef\x1b[3Dxy", "abcxyf\n"),
        (b"ab\x1b[4Cc", "ab    c\n"),
        (b"abcdef\x1b[2GX", "aXcdef\n"),
        (b"abcdef\x1b[3D\x1b[1Kx", "   xef\n"),
        (b"abcdef\x1b[1Kx", "      x\n"),
        (b"abcdef\x1b[2K", ""),
        (b"abcdef\r\x1b[2P", "cdef\n"),
        (b"abcdef\r\x1b[2@", "  abcdef\n"),
        (b"abcdef\r\x1b[3X", "   def\n"),
        (b"a\tb\r\n\tc\r\n", "a\tb\n\tc\n"),
        (b"abcdefghij\r\tX\r\n", "abcdefghXj\n"),
        (b"a\tb\rxyz", "xyz     b\n"),
    ],
)
def test_lines_are_as_they_were_left(data, text):
    assert plain(output(data)) == text


def test_several_progress_lines_are_each_their_last_state():
    bars = (
        b"a 10%\r\nb 10%\r\n"
        + b"\x1b[2A\x1b[Ka 50%\r\n\x1b[Kb 50%\r\n"
        + b"\x1b[2Aa 99%\r\nb 99%\r\ndone\r\n"
    )

    assert plain(output(bars)) == "a 99%\nb 99%\ndone\n"


def test_erasing_below_takes_the_lines_away():
    assert plain(output(b"keep\r\ngone\r\ngone\r\n\x1b[2A\x1b[Jnew\r\n")) == "keep\nnew\n"


def test_the_cursor_does_not_leave_the_lines_that_are_there():
    assert plain(output(b"a\x1b[999B\x1b[999Ab\x1b[999Ec")) == "cb\n"


SEQUENCES = [
    b"\x1b]0;title\x07", b"\x1b]0;title\x1b\\", b"\x1b]52;c;cm0=\x07", b"\x1b]8;;http://x\x1b\\",
    b"\x1b[?1049h", b"\x1b[?25l", b"\x1b[6n", b"\x1b[c", b"\x1b[>4;2m", b"\x1b[?2004h", b"\x1bP$qm\x1b\\",
    b"\x1b_Gx\x1b\\", b"\x1b^x\x1b\\", b"\x1bXx\x1b\\", b"\x1b(B", b"\x1b=", b"\x1bc", b"\x1b7\x1b8", b"\x07",
    b"\x00", b"\x7f", b"\x1b[38;2;1;2;3m", b"\x1b[4:3m", b"\x1b[m", b"\xc2\x9b31m", b"\xc2\x9d0;x\xc2\x9c",
    b"\x1b[!p", b"\x1b#8", b"\x1b[5;10r", b"\x1b[2 q",
]  # fmt: skip


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_sequences_leave_no_trace_in_plain_text(sequence):
    assert plain(output(b"be" + sequence + b"fore\r\n")) == "before\n"


@pytest.mark.parametrize(
    "rest", [b"\x1b", b"\x1b[", b"\x1b[31", b"\x1b]0;never ended", b"\x1bP", b"\x1b]0;x\x1b", b"\xe6\x97"]
)
def test_a_sequence_that_was_cut_off_is_no_text(rest):
    assert plain(output(b"text" + rest)) in ("text\n", "text�\n")


def test_colours_stay_and_end_with_their_line():
    text = coloured(output(b"\x1b[1;31mred\r\nstill\x1b[0m plain\r\n"))

    assert text == "\x1b[1;31mred\x1b[0m\n\x1b[1;31mstill\x1b[0m plain\n"


def test_colours_add_up_until_they_are_reset():
    assert coloured(output(b"\x1b[1ma\x1b[31mb\x1b[0;32mc\x1b[md")) == (
        "\x1b[1ma\x1b[0m\x1b[1m\x1b[31mb\x1b[0m\x1b[0;32mc\x1b[0md\n"
    )


def test_a_line_written_over_takes_the_new_colours():
    assert coloured(output(b"\x1b[31mwait\x1b[0m\rdone")) == "done\n"


def test_nothing_but_colours_stays():
    text = coloured(output(b"\x1b]0;t\x07\x1b[?1049h\x1b[2J\x1b[32mok\x1b[>4;2m\x1b[6n\x1b]8;;x\x07"))

    assert text == "\x1b[32mok\x1b[0m\n"


def test_bidi_and_invisible_characters_of_the_output_are_shown_too():
    assert plain(output("a\u202eb\ufeffc".encode())) == "a\\u202eb\\ufeffc\n"


def test_wide_and_combining_characters_keep_their_columns():
    assert plain(output("日本語\rab".encode())) == "ab本語\n"
    assert plain(output("日本語\ra".encode())) == "a 本語\n"
    assert plain(output("日本\x1b[2Gx".encode())) == " x本\n"
    assert plain(output("e\u0301a\rx".encode())) == "xa\n"


def test_bytes_that_are_no_text_do_not_stop_it():
    assert plain(output(b"caf\xe9 \xff\xfe\r\n")) == "caf� ��\n"


def test_what_was_not_kept_is_said_where_it_was():
    cut = output(b"head\r\ntail\r\n", seen=5_000_000, head=6, tail=6, truncated=True)

    assert plain(cut) == "head\n[... 4.8 MB not kept ...]\ntail\n"


def test_colours_of_the_head_do_not_run_into_the_tail():
    cut = output(b"\x1b[31mhead" + b"tail", seen=1000, head=9, tail=4, truncated=True)

    assert coloured(cut) == "\x1b[31mhead\x1b[0m\n[... 987 B not kept ...]\ntail\n"


@pytest.mark.parametrize(
    "data",
    [
        b"\x1b[999999999G!\n" * 2000,
        b"\x1b[99999G!" * 2000,
        b"\x1b[99999B" * 20000,
        b"\x1b[999999999999999999999P\x1b[99999@",
        b"\r\x1b[K10% ====>" * 10000,
        b"\x1b[32m.\x1b[0m" * 14000,
        b"\x1b]0;x" * 20000,
        b"\x1b[5" * 40000,
        b"\x1b[" + b"1;" * 60000 + b"m",
        b"\x1b[31m" * 20000 + b"x",
    ],
    ids=["columns", "one row", "rows", "numbers", "bar", "dots", "strings", "csi", "one csi", "colours"],
)
def test_hostile_output_neither_hangs_nor_eats_the_memory(data):
    assert len(plain(output(data))) < 3_000_000
    assert len(coloured(output(data))) < 6_000_000
