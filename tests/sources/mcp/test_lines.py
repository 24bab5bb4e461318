"""Lines out of pieces: whole messages whatever the pieces are, in bounded memory, and again after a loss."""

from __future__ import annotations

import random

import pytest

from devtrace.sources.mcp.lines import HEAD, TAIL, Lines, Piece, Pieces


def fed(lines: Lines, *chunks: bytes) -> list[bytes]:
    return [piece.data for chunk in chunks for piece in lines.feed(chunk)]


def test_a_line_may_come_in_any_pieces() -> None:
    whole = b'{"id":1}\n{"id":2}\r\n\n  \r\n{"id":3}\n'
    for size in range(1, len(whole) + 1):
        lines = Lines()
        chunks = [whole[at : at + size] for at in range(0, len(whole), size)]

        assert fed(lines, *chunks) == [b'{"id":1}', b'{"id":2}', b'{"id":3}'], size
        assert lines.end() == []


def test_the_last_line_needs_no_end() -> None:
    lines = Lines()

    assert fed(lines, b'{"id":1}\n{"id"') == [b'{"id":1}']
    assert fed(lines, b":2}") == []
    assert lines.end() == [Piece(b'{"id":2}', 8)]
    assert lines.end() == []


def test_a_carriage_return_alone_ends_no_line() -> None:
    assert fed(Lines(), b'{"a":\r1}\r\n') == [b'{"a":\r1}']


def test_a_line_that_is_too_long_keeps_its_ends_and_its_size() -> None:
    lines = Lines(longest=200_000)
    long = b'{"id":1,' + b"x" * 300_000 + b',"z":9}'

    for size in (1_000, 65_536, len(long)):
        found = []
        for at in range(0, len(long), size):
            found += lines.feed(long[at : at + size])
        found += lines.feed(b'\n{"id":2}\n')

        cut, following = found
        assert (cut.is_cut, cut.size) == (True, len(long))
        assert (cut.data, cut.tail) == (long[:HEAD], long[-TAIL:])
        assert (following.data, following.is_cut) == (b'{"id":2}', False)


def test_a_line_of_just_the_longest_size_is_whole() -> None:
    lines = Lines(longest=HEAD)

    (piece,) = lines.feed(b"x" * HEAD + b"\n")
    (longer,) = lines.feed(b"x" * (HEAD + 1) + b"\n")

    assert (piece.size, piece.is_cut) == (HEAD, False)
    assert (longer.size, longer.is_cut) == (HEAD + 1, True)


@pytest.mark.timeout(20)  # where each piece moves all before it, these are 500 GB
def test_a_long_message_in_small_pieces_is_not_copied_again_and_again() -> None:
    lines = Lines()
    piece = b"x" * 256
    for _ in range(65_535):
        assert lines.feed(piece) == []

    (whole,) = lines.feed(b"\n")

    assert whole.data == piece * 65_535


def test_after_a_loss_no_message_goes_on_over_it() -> None:
    lines = Lines()
    assert fed(lines, b'{"id":1}\n{"beg') == [b'{"id":1}']

    lines.lost()
    found = lines.feed(b'in":1}\n{"id":2}\n')

    assert [(piece.data, piece.is_torn) for piece in found] == [(b'in":1}', True), (b'{"id":2}', False)]


def test_after_a_loss_a_whole_line_may_come_at_once() -> None:
    lines = Lines(is_torn=True)

    found = lines.feed(b'{"id":1}\n{"id":2}\n')

    assert [(piece.data, piece.is_torn) for piece in found] == [(b'{"id":1}', True), (b'{"id":2}', False)]


def test_pieces_that_are_too_long_by_themselves_join_the_rest() -> None:
    pieces = Pieces(longest=100)
    pieces.add(b"a" * 50)
    pieces.join(Piece(b"b" * 60, 1_000, b"c" * 10))
    pieces.add(b"d" * 5)

    piece = pieces.take()

    assert (piece.size, piece.is_cut) == (1_055, True)
    assert piece.data == b"a" * 50 + b"b" * 60
    assert piece.tail == b"a" * 50 + b"c" * 10 + b"d" * 5
    assert (pieces.size, pieces.take()) == (0, Piece(b"", 0))


def test_random_lines_in_random_pieces_are_the_same_lines() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when the test fails
    chance = random.Random(seed)
    told = [bytes(chance.choices(b"abc{}\r ", k=chance.randrange(1, 90))) for _ in range(300)]
    wanted = [line.strip(b" \t\r") for line in told]
    whole = b"\n".join(told) + b"\n"
    cuts = sorted(chance.sample(range(len(whole)), 200))

    lines = Lines()
    chunks = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    assert fed(lines, *chunks) == [line for line in wanted if line]
