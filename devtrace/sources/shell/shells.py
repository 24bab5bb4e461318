"""What is known of the session's shells and of their commands in flight, and what is wanted of them.

Lives here: the settings, the state, and what one fact alone makes of it.
Not here: what several facts together mean (pairing.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from devtrace.ids import SPAN_COUNT, SPAN_FIRST, shell_steps
from devtrace.sources.shell.fifo import PROGRAM, Cmd, Hello

_MOST_WALKS = 64
_LONGEST_STRIDE = 1 << 20  # steps between two commands that we hear of; the records of the others were lost


def _is_on_a_walk(span: str) -> bool:
    return span.isdecimal() and SPAN_FIRST <= int(span) < SPAN_FIRST + SPAN_COUNT


class Settings(NamedTuple):
    """What a session wants of its pairing; `private` and `nested_limit` as in config.KEYS."""

    session: str
    nonce: str
    actor: str = "human"
    nested_actor: str = "human"
    private: str = "mask"
    nested_limit: int = 200
    wants_output: bool = True
    tells_all: bool = False  # deeper shells too, and so one that takes another's place
    unwrapped: Callable[[str], str | None] = lambda _: None  # without what an agent's client put around it


class Meeting(NamedTuple):
    """What was found out about a shell that said hello without the nonce."""

    trusted: int  # 1 in the session's process tree, 0 not
    is_watched: bool  # its death will be told by process_gone()
    is_gone: bool  # it had ended already
    family: tuple[int, int] | None = None  # its parent, by our /proc's pid and start time; None: not found


class Command:
    """A command in flight: what its CMD told, and the facts of its end as they come."""

    __slots__ = (
        "cmd",
        "cwd_end",
        "ended_us",
        "exit_code",
        "exit_source",
        "followers",
        "gone",
        "hides_output",
        "id",
        "inner",
        "pipestatus",
        "shell",
        "started_us",
        "waiting_since",
    )

    def __init__(self, shell: Shell, cmd: Cmd, event_id: str, started_us: int):
        self.shell = shell
        self.cmd = cmd
        self.id = event_id  # its span, unless somebody had that one already
        self.started_us = started_us
        self.ended_us: int | None = None
        self.exit_code: int | None = None
        self.exit_source = "unknown"
        self.cwd_end: str | None = None
        self.pipestatus: list[int] | None = None
        self.gone: tuple[int, int | None] | None = None  # (when, exit code) of the nested shell's process
        self.hides_output = False  # something private is in it
        self.inner: str | None = None  # what it was to run, where an agent's client put something around that
        self.followers: list[tuple[Shell, str]] = []  # the shells in which it went on, and their spans for it
        self.waiting_since: int | None = None  # one fact of the end is here, another is awaited

    def end(self, ended_us: int, exit_code: int | None, source: str) -> None:
        """The first end counts."""
        if self.ended_us is None:
            self.ended_us, self.exit_code, self.exit_source = (
                max(ended_us, self.started_us),
                exit_code,
                source,
            )


class Shell:
    """One shell of the session, by the id it gave itself and whether its nonce was right."""

    __slots__ = ("_walks", "family", "gone", "hello", "inflight", "is_watched", "seq", "trusted")

    def __init__(self, hello: Hello | None, meeting: Meeting, now_us: int):
        self.hello = hello
        self.trusted = meeting.trusted
        self.is_watched = meeting.is_watched
        self.family = meeting.family
        self.gone: tuple[int, int | None] | None = (now_us, None) if meeting.is_gone else None
        self.seq = 0
        # The spans so far, which others can foresee: [where a walk began, how many steps it has come]. One,
        # and one more for each command that bash could only tell of with a span of its own.
        self._walks: list[list[int]] = []
        self.inflight: dict[str, Command] = {}  # by span; all but the newest have ended and wait

    @property
    def process(self) -> tuple[int, int] | None:
        """Its process, which stays the same when another program takes its place; None: not told."""
        if self.hello is None or self.hello.starttime is None:
            return None
        return self.hello.pid, self.hello.starttime

    def walks_to(self, span: str) -> bool:
        """Go on to this span; False for one that lies on no walk, where too many have begun already."""
        if not _is_on_a_walk(span):
            return False
        for walk in self._walks:
            steps = shell_steps(walk[0], int(span))
            if walk[1] <= steps <= walk[1] + _LONGEST_STRIDE:
                walk[1] = steps
                return True
        if len(self._walks) >= _MOST_WALKS:
            return False
        self._walks.append([int(span), 0])
        return True

    def has_walked(self, span: str, ahead: int = 0) -> bool:
        """Whether the walk came by this span so far, or will within so many steps more."""
        if not _is_on_a_walk(span):
            return False
        return any(shell_steps(start, int(span)) <= steps + ahead for start, steps in self._walks)

    @property
    def is_program(self) -> bool:
        """No shell at all: the host started a program and tells of it itself."""
        return self.trusted == 2 and self.hello is not None and self.hello.name == PROGRAM

    @property
    def is_nested(self) -> bool:
        """Not the shell at the traced prompt, whatever it says of itself without the nonce."""
        return self.trusted < 2 or (self.hello is not None and self.hello.depth > 0)
