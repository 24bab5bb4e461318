"""Hooks that fell silent are told from lines that need no record; the terminal inside is a stand-in here."""

from __future__ import annotations

import pytest

from devtrace.sources.shell.silence import Silence


class Seen:
    """What is seen of a shell: a stand-in for the terminal inside, and for the count of records."""

    def __init__(self) -> None:
        self.shell_in_front = self.editing = True
        self.told = 3
        self.silence = Silence(self, lambda: self.told)

    def is_shell_in_front(self) -> bool:
        return self.shell_in_front

    def is_editing(self) -> bool:
        return self.editing

    def types(self, line: str, *, told: bool) -> None:
        """A line whose program stays in front."""
        self.silence.typing(line.encode() + b"\r")
        self.told += told
        self.shell_in_front = self.editing = False

    def comes_back(self) -> None:
        """The program has ended, and the prompt is there."""
        self.shell_in_front = self.editing = True


@pytest.fixture
def seen() -> Seen:
    return Seen()


def test_a_program_that_came_and_went_untold(seen: Seen) -> None:
    seen.types("vim", told=False)
    seen.silence.look()
    assert seen.silence.since_us is None  # an editor of the line would look the same
    seen.silence.look()
    seen.comes_back()
    seen.silence.look()

    assert seen.silence.since_us is not None
    assert seen.silence.due_at == 0


def test_a_line_whose_record_came_only_after_the_editor_was_closed(seen: Seen) -> None:
    seen.types("\x18\x05", told=False)
    seen.silence.look()
    seen.told += 2
    seen.comes_back()
    seen.silence.look()
    seen.silence.ended(by_itself=True)

    assert seen.silence.since_us is None


def test_keys_for_a_program_are_no_line(seen: Seen) -> None:
    seen.types("cat", told=True)
    for _ in range(3):
        seen.silence.typing(b"to the program\r")
        seen.silence.look()
    seen.silence.ended(by_itself=True)

    assert seen.silence.since_us is None
    assert seen.silence.due_at == 0


def test_an_empty_line_and_an_end_by_ctrl_d(seen: Seen) -> None:
    seen.silence.typing(b"\r")
    seen.silence.look()
    seen.silence.typing(b"\x04")
    seen.silence.ended(by_itself=True)

    assert seen.silence.since_us is None


@pytest.mark.parametrize("keys", [[b"\r"], [b" ", b"\r"], [b"echo told\r", b"\r"]])
def test_a_prompt_that_takes_its_time_is_no_command(seen: Seen, keys: list[bytes]) -> None:
    """An empty line is told by no hook, and what the prompt runs comes to the front."""
    for one in keys:
        seen.silence.typing(one)
        seen.told += one.startswith(b"echo")
    seen.shell_in_front = seen.editing = False
    seen.silence.look()
    seen.comes_back()
    seen.silence.look()
    seen.silence.ended(by_itself=True)  # by its own timeout

    assert seen.silence.since_us is None


@pytest.mark.parametrize(("by_itself", "is_silent"), [(True, True), (False, False)])
def test_an_exit_that_nobody_told(seen: Seen, by_itself: bool, is_silent: bool) -> None:
    """A shell that was killed was not told to end by the line."""
    seen.silence.typing(b"exit\r")
    seen.silence.ended(by_itself=by_itself)

    assert (seen.silence.since_us is not None) is is_silent


def test_an_untold_program_that_still_runs_when_the_terminal_is_closed(seen: Seen) -> None:
    seen.types("top", told=False)
    seen.silence.look()
    seen.silence.ended(by_itself=False)

    assert seen.silence.since_us is not None


def test_before_the_hooks_are_there_nothing_is_expected(seen: Seen) -> None:
    seen.told = 0
    seen.types("typed ahead of the start-up files", told=False)
    seen.silence.look()
    seen.comes_back()
    seen.silence.ended(by_itself=True)

    assert (seen.silence.due_at, seen.silence.since_us) == (0, None)


def test_one_line_after_another_is_each_looked_at(seen: Seen) -> None:
    seen.types("first", told=True)
    seen.comes_back()
    seen.types("second", told=False)
    seen.silence.look()
    seen.comes_back()
    seen.silence.look()

    assert seen.silence.since_us is not None
