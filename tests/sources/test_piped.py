"""What an interactive bash says to a person is not heard where its commands come by a pipe."""

from __future__ import annotations

import pytest

from devtrace.sources.shell.output import Captured, mark
from devtrace.sources.shell.piped import PipedTrack

NONCE = "0123456789abcdef"
SPAN = "1234567890123456"
BEGIN, END = mark(NONCE, "C", SPAN), mark(NONCE, "D", SPAN)
COMPLAINT = b"bash: [13432: 2 (255)] tcsetattr: Inappropriate ioctl for device\n"


class Pipes:
    """A track over two pipes, or over one that both streams share."""

    def __init__(self, streams: int = 2):
        self.captured: list[Captured] = []
        self.track = PipedTrack(
            NONCE, self.captured.append, head_cap=1_000, tail_cap=1_000, clock=lambda: 0, streams=streams
        )

    def shows(self, *pieces: bytes, stream: int = 2) -> bytes:
        shown = b"".join(self.track.feed(piece, stream) for piece in pieces)
        return shown + self.track.release(stream)


@pytest.mark.parametrize("word", [b"exit\n", b"logout\n"])
@pytest.mark.parametrize("before", [b"", b"an error\n", END])
def test_a_farewell_at_the_end_is_dropped(before: bytes, word: bytes) -> None:
    pipes = Pipes()

    assert pipes.shows(before + word) == before.replace(END, b"")


def test_a_farewell_is_dropped_where_both_streams_share_a_pipe() -> None:
    assert Pipes(streams=1).shows(b"hello\n", b"exit\n", stream=1) == b"hello\n"


def test_a_command_that_prints_the_same_word_on_stdout_is_heard() -> None:
    assert Pipes().shows(b"exit\n", stream=1) == b"exit\n"


def test_a_command_that_prints_the_same_word_and_goes_on_is_heard() -> None:
    pipes = Pipes()

    assert pipes.shows(BEGIN, b"exit\n", b"more\n", END) == b"exit\nmore\n"
    assert pipes.shows(b"exit\n") == b""


def test_a_line_that_only_ends_in_the_word_is_heard() -> None:
    assert Pipes().shows(b"no exit\n") == b"no exit\n"


def test_a_complaint_about_the_terminal_is_dropped_and_not_kept() -> None:
    pipes = Pipes(streams=1)

    assert pipes.shows(BEGIN + b"Killed\n" + COMPLAINT + END, stream=1) == b"Killed\n"
    assert pipes.captured[0].data == b"Killed\n"


@pytest.mark.parametrize("shell", [b"bash", b"bash-3.2", b"/usr/bin/bash", b"-bash"])
@pytest.mark.parametrize("number", [b"[9: 2]", b"[31415926: 2 (255)]"])
def test_every_bash_s_complaint_is_known(shell: bytes, number: bytes) -> None:
    complaint = shell + b": " + number + b" tcsetattr: Unpassender IOCTL f\xc3\xbcr das Ger\xc3\xa4t\n"

    assert Pipes().shows(BEGIN + complaint, b"next\n" + complaint) == b"next\n"


@pytest.mark.parametrize(
    "line",
    [
        b"grep: [1: 2] tcsetattr in a sentence\n",
        b"see bash: [1: 2] tcgetattr: no\n",
        b"jobs.c:2297: bash: [9: 2 (255)] tcsetattr: found\n",
    ],
)
def test_what_only_looks_alike_is_heard(line: bytes) -> None:
    assert Pipes().shows(line) == line


def test_a_complaint_on_stdout_is_a_command_s_own() -> None:
    assert Pipes().shows(COMPLAINT, stream=1) == COMPLAINT
