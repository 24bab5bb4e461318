"""From records to events: each command once, nothing lost, and nobody's word against the nonce."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from devtrace.events import OUTPUT_BLOB, Event, Gap, RunCommand
from devtrace.ids import is_span_id, new_span_id, next_shell_span
from devtrace.sources.shell.fifo import Assembler, Hello, hello_line
from devtrace.sources.shell.output import Captured
from devtrace.sources.shell.pairing import DEATH_PATIENCE_US, OUTPUT_PATIENCE_US, Pairing
from devtrace.sources.shell.shells import Meeting, Settings
from tests.sources.records import NONCE, WRONG, Speaker

SESSION = "0198" * 8
IN_TREE = Meeting(1, is_watched=True, is_gone=False, family=(100, 1))
STRANGER = Meeting(0, is_watched=False, is_gone=False)


class Host:
    """A pairing with its surroundings: a clock that is set by hand, and shells met as a test wishes."""

    def __init__(self, meet: Callable[[Hello], Meeting] | Meeting = IN_TREE, **settings: Any):
        known = {"session": SESSION, "nonce": NONCE, "wants_output": False}
        self.events: list[Event] = []
        self.running: list[Event] = []
        self.now = 0
        self._assembler = Assembler(NONCE)
        how = meet if callable(meet) else lambda _: meet
        self.pairing = Pairing(Settings(**(known | settings)), self._emit, how)

    def _emit(self, event: Event) -> None:
        (self.running if event.status == "running" else self.events).append(event)

    def hears(self, *records: bytes, now: int | None = None) -> None:
        self.now = self.now if now is None else now
        for piece in records:
            for record in self._assembler.feed(piece):
                self.pairing.record(record, self.now)

    def sees(self, span: str, data: bytes = b"out", now: int | None = None, **more: Any) -> None:
        self.now = self.now if now is None else now
        self.pairing.output(captured(span, data, **more), self.now)

    def ticks(self, now: int) -> None:
        self.now = now
        self.pairing.tick(now)

    def ends(self, exit_code: int | None = 0, now: int = 9_000_000) -> None:
        for record in self._assembler.close():
            self.pairing.record(record, now)
        self.pairing.close(now, exit_code)

    @property
    def commands(self) -> list[Event]:
        return [event for event in self.events if isinstance(event.body, RunCommand)]

    @property
    def texts(self) -> list[str | None]:
        return [event.body.command for event in self.commands]  # type: ignore[attr-defined]

    @property
    def only(self) -> Event:
        (one,) = self.commands
        return one

    @property
    def gaps(self) -> dict[str, int | None]:
        return {event.body.reason: event.body.count for event in self.events if isinstance(event.body, Gap)}


def captured(span: str, data: bytes = b"out", **more: Any) -> Captured:
    known = {
        "timing": [[0, len(data)]], "started_us": 0, "seen": len(data), "head": len(data), "tail": 0,
        "truncated": False, "approximate": False, "alternate_screen": 0, "stderr": None,
    }  # fmt: skip
    return Captured(span=span, data=data, **(known | more))


def body(event: Event) -> RunCommand:
    assert isinstance(event.body, RunCommand)
    return event.body


# --- one command --------------------------------------------------------------------------------------------


def test_a_command_and_its_end_become_one_event() -> None:
    host, shell = Host(), Speaker("sh")

    host.hears(shell.hello(), shell.cmd("false", at=100, cwd=b"/a"), shell.exit(1, at=350, cwd=b"/b"))

    assert (host.only.id, host.only.status, host.only.trusted) == (shell.span, "failed", 2)
    assert (host.only.source, host.only.exit_source, host.only.actor) == ("interactive", "shell", "human")
    assert (host.only.started_us, host.only.ended_us) == (100, 350)
    command = body(host.only)
    assert (command.command, command.cwd, command.cwd_end) == ("false", "/a", "/b")
    assert (command.exit_code, command.duration_us, command.shell) == (1, 250, "bash")
    assert command.interactive


def test_a_command_is_seen_while_it_runs() -> None:
    host, shell = Host(), Speaker("sh")

    host.hears(shell.hello(), shell.cmd("sleep 9", at=100))

    (event,) = host.running
    assert (event.id, event.status, event.ended_us, event.exit_source) == (shell.span, "running", None, None)
    assert host.events == []


def test_an_end_in_the_same_directory_says_no_other() -> None:
    host, shell = Host(), Speaker("sh")

    host.hears(shell.hello(), shell.cmd("true", cwd=b"/a"), shell.exit(cwd=b"/a"))

    assert body(host.only).cwd_end is None


def test_a_shell_without_a_clock_gets_the_host_s() -> None:
    host, shell = Host(), Speaker("sh")

    host.hears(shell.hello(), shell.cmd("true", at="-"), now=700)
    host.hears(shell.exit(0, at="-"), now=900)

    assert (host.only.started_us, host.only.ended_us) == (700, 900)


def test_no_command_ends_before_it_began() -> None:
    host, shell = Host(), Speaker("sh")

    host.hears(shell.hello(), shell.cmd("true", at=500), shell.exit(0, at=100))

    assert (host.only.ended_us, body(host.only).duration_us) == (500, 0)


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("e", "ls", ("ls", "exact", None)),
        ("n", "for i in 1; do echo; done", ("for i in 1; do echo; done", "normalised", None)),
        ("p", "", (None, "private", "leading space")),
        ("h", "", (None, "private", "kept out of the shell's history")),
        ("o", "", (None, "unknown", "the shell's history is off")),
    ],
)
def test_what_is_known_of_a_text_is_said(form: str, text: str, expected: tuple[object, ...]) -> None:
    host, shell = Host(), Speaker("sh")

    host.hears(shell.hello(), shell.cmd(text, form=form), shell.exit())

    command = body(host.only)
    assert (command.command, command.text_form, command.reason) == expected


def test_a_text_that_came_with_a_private_form_is_not_kept() -> None:
    host, shell = Host(), Speaker("sh")

    host.hears(shell.hello(), shell.cmd("secret", form="p"), shell.exit())

    assert "secret" not in repr(host.events + host.running)


def test_private_commands_are_skipped_where_that_is_wanted() -> None:
    host, shell = Host(private="skip"), Speaker("sh")

    host.hears(shell.hello(), shell.cmd("", form="p"), shell.exit(), shell.cmd("ls"), shell.exit())
    host.ends()

    assert (host.texts, host.gaps) == (["ls"], {})


@pytest.mark.parametrize(
    ("text", "pipe", "expected"),
    [
        ("true | false", "0,1", [0, 1]),
        ("true", "0,1", None),  # left over from the line before
        ("f() { a | b; }", "0,1", None),
        ("function f { a | b; }", "0,1", None),
        ("a | b", "-", None),
    ],
)
def test_a_stale_pipestatus_is_dropped(text: str, pipe: str, expected: list[int] | None) -> None:
    host, shell = Host(), Speaker("sh")

    host.hears(shell.hello(), shell.cmd(text), shell.exit(1, pipe=pipe))

    assert body(host.only).pipestatus == expected


def test_a_program_that_the_host_started_is_no_shell_s() -> None:
    host = Host(actor="agent:codex")
    program = Speaker("host")

    host.hears(hello_line(NONCE, "host", 5), program.cmd("make test", before="-"))
    host.ends(exit_code=2)

    assert (host.only.source, host.only.exit_source, host.only.actor) == ("host", "waitpid", "agent:codex")
    command = body(host.only)
    assert (command.exit_code, command.shell, command.interactive, command.shell_pid) == (2, "", False, None)


# --- ends that never came -----------------------------------------------------------------------------------


def test_a_lost_end_is_repaired_by_the_next_command() -> None:
    host, shell = Host(), Speaker("sh")

    host.hears(shell.hello(), shell.cmd("false", at=100), shell.cmd("true", at=300, before=1), shell.exit())

    first, second = host.commands
    assert (first.status, first.exit_source, first.ended_us, first.body.exit_code) == (
        "failed", "next_prompt", 300, 1,
    )  # fmt: skip
    assert (second.status, second.exit_source) == ("ok", "shell")


def test_a_lost_end_whose_status_nobody_knows_is_no_guess() -> None:
    host, shell = Host(), Speaker("sh")

    host.hears(shell.hello(), shell.cmd("false"), shell.cmd("true", before="-"))

    assert (host.only.status, body(host.only).exit_code) == ("unknown", None)


def test_the_first_end_counts() -> None:
    host, shell = Host(wants_output=True), Speaker("sh")

    host.hears(shell.hello(), shell.cmd("a", at=1), shell.exit(3, at=5), shell.exit(4, at=9))
    host.sees(shell.span)

    assert (host.only.ended_us, body(host.only).exit_code) == (5, 3)


def test_an_end_without_a_command_is_ignored() -> None:
    host, shell = Host(), Speaker("sh")

    host.hears(shell.hello(), shell.exit(1), shell.bye())
    host.ends()

    assert host.commands == []


def test_a_goodbye_ends_what_runs() -> None:
    host, shell = Host(), Speaker("sh")

    host.hears(shell.hello(), shell.cmd("exit 3"), now=5)
    host.hears(shell.bye(3), now=7)

    assert (host.only.ended_us, host.only.exit_source) == (1_000, "shell")
    assert body(host.only).exit_code == 3


def test_the_shell_s_own_end_ends_its_last_command() -> None:
    host, shell = Host(), Speaker("sh")

    host.hears(shell.hello(), shell.cmd("exec sleep 1", at=100))
    host.ends(exit_code=137, now=400)

    assert (host.only.ended_us, host.only.exit_source, host.only.status) == (400, "waitpid", "failed")
    assert body(host.only).exit_code == 137


def test_a_nested_command_without_an_end_is_interrupted_when_the_session_ends() -> None:
    host, nested = Host(), Speaker("n", nonce="-", depth=1)

    host.hears(nested.hello(), nested.cmd("sleep 99"))
    host.ends(exit_code=0)

    assert (host.only.status, host.only.ended_us, body(host.only).exit_code) == ("interrupted", None, None)


def test_a_goodbye_and_a_second_end_add_nothing() -> None:
    host, shell = Host(), Speaker("sh")

    host.hears(shell.hello(), shell.cmd("a"), shell.exit(), shell.exit(), shell.bye(), shell.bye())
    host.ends()

    assert len(host.commands) == 1


# --- output -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["output first", "end first"])
def test_a_command_waits_for_its_output(order: str) -> None:
    host, shell = Host(wants_output=True), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("ls"))

    if order == "output first":
        host.sees(shell.span, b"a.txt")
        host.hears(shell.exit())
    else:
        host.hears(shell.exit())
        assert host.commands == []
        host.sees(shell.span, b"a.txt")

    assert host.only.blobs[OUTPUT_BLOB] == b"a.txt"
    assert not host.pairing.waits()


def test_an_output_may_come_before_anything_is_heard_of_its_command() -> None:
    host, shell = Host(wants_output=True), Speaker("sh")
    records = shell.cmd("ls"), shell.exit()

    host.sees(shell.span, b"a.txt")
    host.hears(*records)

    assert host.only.blobs[OUTPUT_BLOB] == b"a.txt"


def test_hundreds_of_outputs_may_come_before_their_commands() -> None:
    """A host that was stopped reads the whole terminal before it reads the FIFO."""
    host, shell = Host(wants_output=True), Speaker("sh")
    said = []
    for number in range(1_000):
        said.append(shell.cmd(f"echo {number}"))
        host.sees(shell.span, b"%d" % number)
        said.append(shell.exit())

    host.hears(*said)

    assert [event.blobs[OUTPUT_BLOB] for event in host.commands] == [b"%d" % n for n in range(1_000)]


def test_outputs_of_commands_that_never_come_are_bounded() -> None:
    host, shell = Host(wants_output=True), Speaker("sh")
    block = b"x" * 131_072
    for _ in range(1_000):
        host.sees(new_span_id(), block)
    command = shell.cmd("ls")
    host.sees(shell.span, b"a.txt")

    host.hears(command, shell.exit())

    assert host.only.blobs[OUTPUT_BLOB] == b"a.txt"


def test_a_command_whose_output_never_comes_waits_for_so_long_only() -> None:
    host, shell = Host(wants_output=True), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("ls"), shell.exit(), now=1_000)

    host.ticks(1_000 + OUTPUT_PATIENCE_US)
    assert (host.commands, host.pairing.waits()) == ([], True)
    host.ticks(1_001 + OUTPUT_PATIENCE_US)

    assert (body(host.only).output, host.pairing.waits()) == (None, False)


def test_nothing_waits_for_ever_when_the_clock_is_set_back() -> None:
    host, shell = Host(wants_output=True), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("ls"), shell.exit(), now=10_000_000)

    host.ticks(5_000_000)

    assert body(host.only).output is None


def test_what_a_private_command_printed_is_as_private() -> None:
    host, shell = Host(wants_output=True), Speaker("sh")

    host.hears(shell.hello(), shell.cmd("", form="p"))
    host.sees(shell.span, b"hush")
    host.hears(shell.exit())

    assert (dict(host.only.blobs), body(host.only).output) == ({}, None)


def test_an_empty_output_leaves_counts_and_no_blob() -> None:
    host, shell = Host(wants_output=True), Speaker("sh")

    host.hears(shell.hello(), shell.cmd("true"))
    host.sees(shell.span, b"")
    host.hears(shell.exit())

    output = body(host.only).output
    assert output is not None
    assert (output.seen, dict(host.only.blobs)) == (0, {})


# --- nested shells ------------------------------------------------------------------------------------------


def test_a_nested_command_is_a_child_of_the_one_in_flight() -> None:
    host, shell, nested = Host(nested_actor="agent:codex"), Speaker("sh"), Speaker("n", nonce="-", depth=1)
    host.hears(shell.hello(), shell.cmd("codex"))

    host.hears(nested.hello(), nested.cmd("make", parent=shell.span), nested.exit(2))
    host.pairing.process_gone("n", 50, 2)

    assert (host.only.parent, host.only.trusted, host.only.source) == (shell.span, 1, "bash_env")
    assert (host.only.actor, host.only.exit_source) == ("agent:codex", "shell")
    command = body(host.only)
    assert (command.interactive, command.depth, command.exit_code) == (False, 1, 2)


def test_a_nested_zsh_is_named_by_its_part() -> None:
    host, nested = Host(), Speaker("n", nonce="-", depth=1, version="zsh 5.9")

    host.hears(nested.hello(), nested.cmd("make"))

    assert (host.running[0].source, body(host.running[0]).shell) == ("zshenv", "zsh")


def test_the_process_knows_of_the_signal_that_the_trap_does_not() -> None:
    host, nested = Host(), Speaker("n", nonce="-", depth=1)
    host.hears(nested.hello(), nested.cmd("sleep 9"), nested.exit(0))
    assert host.commands == []

    host.pairing.process_gone("n", 5_000, 143)

    assert (body(host.only).exit_code, host.only.exit_source, host.only.status) == (143, "pidfd", "failed")


def test_a_process_that_does_not_tell_its_status_leaves_the_trap_s() -> None:
    host, nested = Host(), Speaker("n", nonce="-", depth=1)
    host.hears(nested.hello(), nested.cmd("make"), nested.exit(2))

    host.pairing.process_gone("n", 5_000, None)

    assert (body(host.only).exit_code, host.only.exit_source) == (2, "shell")


def test_an_end_that_only_the_process_tells_comes_after_some_patience() -> None:
    host, nested = Host(), Speaker("n", nonce="-", depth=1)
    host.hears(nested.hello(), nested.cmd("exec make"), now=1_000)

    host.pairing.process_gone("n", 2_000, 9)
    assert (host.commands, host.pairing.waits()) == ([], True)
    host.ticks(2_001 + DEATH_PATIENCE_US)

    assert (host.only.ended_us, host.only.exit_source) == (2_000, "pidfd")
    assert (body(host.only).exit_code, host.pairing.waits()) == (9, False)


def test_an_end_of_which_nobody_knows_the_status_is_unknown() -> None:
    host, nested = Host(), Speaker("n", nonce="-", depth=1)
    host.hears(nested.hello(), nested.cmd("exec make"), now=1_000)

    host.pairing.process_gone("n", 2_000, None)
    host.ticks(3_000_000)

    assert (host.only.status, host.only.exit_source) == ("unknown", "unknown")


def test_an_end_whose_process_is_never_told_does_not_wait_for_ever() -> None:
    host, nested = Host(), Speaker("n", nonce="-", depth=1)
    host.hears(nested.hello(), nested.cmd("make"), nested.exit(2), now=1_000)

    host.ticks(1_001 + DEATH_PATIENCE_US)

    assert (body(host.only).exit_code, host.only.exit_source) == (2, "shell")


@pytest.mark.parametrize("before", ["hello", "cmd", "exit"])
def test_a_death_may_be_known_before_what_the_shell_had_written(before: str) -> None:
    host, nested = Host(), Speaker("n", nonce="-", depth=1)
    said = {"hello": nested.hello(), "cmd": nested.cmd("make"), "exit": nested.exit(0)}

    for name, record in said.items():
        if name == before:
            host.pairing.process_gone("n", 5_000, 137)
        host.hears(record)
    host.ticks(5_000 + DEATH_PATIENCE_US)

    assert (body(host.only).exit_code, host.only.exit_source) == (137, "pidfd")


def test_a_command_that_was_killed_before_it_was_heard_of_is_closed() -> None:
    host, nested = Host(), Speaker("n", nonce="-", depth=1)
    host.hears(nested.hello())
    host.pairing.process_gone("n", 5_000, 137)

    host.hears(nested.cmd("make"), now=6_000)
    host.ticks(6_001 + DEATH_PATIENCE_US)

    assert (body(host.only).exit_code, host.only.exit_source) == (137, "pidfd")


def test_a_shell_that_was_gone_when_it_was_met_is_closed_by_its_own_word() -> None:
    host = Host(Meeting(1, is_watched=False, is_gone=True))
    nested = Speaker("n", nonce="-", depth=1)

    host.hears(nested.hello(), nested.cmd("true"), nested.exit(3))

    assert (body(host.only).exit_code, host.only.exit_source) == (3, "shell")


def test_a_shell_that_was_gone_and_left_no_word_is_closed_as_unknown() -> None:
    host = Host(Meeting(1, is_watched=False, is_gone=True))
    nested = Speaker("n", nonce="-", depth=1)

    host.hears(nested.hello(), nested.cmd("exec true"), now=1_000)
    host.ticks(1_001 + DEATH_PATIENCE_US)

    assert (host.only.status, host.only.exit_source) == ("unknown", "unknown")


def test_nested_output_is_the_outer_command_s() -> None:
    host, nested = Host(wants_output=True), Speaker("n", nonce="-", depth=1)
    host.hears(nested.hello(), nested.cmd("make"), nested.exit())
    host.sees(nested.span, b"never")

    host.pairing.process_gone("n", 5_000, 0)

    assert body(host.only).output is None


# --- folding ------------------------------------------------------------------------------------------------


def test_beyond_the_limit_of_one_parent_process_commands_are_counted() -> None:
    host = Host(Meeting(1, is_watched=False, is_gone=False, family=(77, 5)), nested_limit=3)

    for number in range(10):
        nested = Speaker(f"n{number}", nonce="-", depth=1)
        host.hears(nested.hello(), nested.cmd(f"step {number}", parent="ab" * 8), nested.exit())
    host.ends()

    *kept, folded = host.commands
    assert [body(event).command for event in kept] == ["step 0", "step 1", "step 2"]
    assert (body(folded).folded, body(folded).reason, folded.parent) == (7, "folded", "ab" * 8)


def test_each_parent_process_has_a_limit_of_its_own() -> None:
    families = iter((number // 2, 1) for number in range(20))
    host = Host(lambda _: Meeting(1, is_watched=False, is_gone=False, family=next(families)), nested_limit=2)

    for number in range(20):
        nested = Speaker(f"n{number}", nonce="-", depth=1)
        host.hears(nested.hello(), nested.cmd("step"), nested.exit())
    host.ends()

    assert len(host.commands) == 20


def test_commands_in_sandboxes_that_all_name_process_1_their_parent_are_not_folded() -> None:
    """In a PID namespace of its own, every command of an agent has the same parent's number."""
    host = Host(Meeting(0, is_watched=False, is_gone=True), nested_limit=3)

    for number in range(50):
        nested = Speaker(f"n{number}", nonce="-", depth=1, pid=2, ppid=1, start=5)
        host.hears(nested.hello(), nested.cmd(f"step {number}"), nested.exit())
    host.ends()

    assert len(host.commands) == 50


def test_a_reused_process_id_is_another_parent() -> None:
    families = iter(((7, 1), (7, 1), (7, 2), (7, 2)))
    host = Host(lambda _: Meeting(1, is_watched=False, is_gone=False, family=next(families)), nested_limit=2)

    for number in range(4):
        nested = Speaker(f"n{number}", nonce="-", depth=1)
        host.hears(nested.hello(), nested.cmd("step"), nested.exit())
    host.ends()

    assert len(host.commands) == 4


def test_commands_at_the_prompt_are_never_folded() -> None:
    host, shell = Host(nested_limit=2), Speaker("sh")
    host.hears(shell.hello())

    for _ in range(500):
        host.hears(shell.cmd("true"), shell.exit())

    assert len(host.commands) == 500


# --- gaps ---------------------------------------------------------------------------------------------------


def test_lost_records_are_counted_from_the_shell_s_counter() -> None:
    host, shell = Host(), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("a"), shell.exit(), now=10)
    shell.cmd("lost")
    shell.exit()
    shell.cmd("lost")
    host.hears(shell.exit(), now=20)
    host.hears(shell.cmd("b"), shell.exit(), now=30)
    host.ends()

    (gap,) = [event for event in host.events if isinstance(event.body, Gap)]
    assert (gap.body.reason, gap.body.count, gap.trusted) == ("lost_records", 3, 2)
    assert (gap.started_us, gap.ended_us) == (20, 20)
    assert host.texts == ["a", "b"]


def test_damage_is_one_gap_that_says_how_often_and_from_when_to_when() -> None:
    host, shell = Host(), Speaker("sh")
    host.hears(shell.hello(), b"rubbish\n", now=5)
    host.hears(b"rubbish\nrubbish\n", now=9)
    host.ends()

    (gap,) = [event for event in host.events if isinstance(event.body, Gap)]
    assert (gap.body.reason, gap.body.count, gap.started_us, gap.ended_us) == ("damaged_record", 3, 5, 9)


def test_a_session_without_hooks_says_so() -> None:
    host = Host()

    host.ends()

    assert host.gaps == {"no_hooks": 1}


def test_a_stranger_s_hello_is_not_the_shell_s() -> None:
    host, forger = Host(STRANGER), Speaker("sh", nonce="-")

    host.hears(forger.hello())
    host.ends()

    assert host.gaps == {"no_hooks": 1}
    assert host.pairing.first_hello is None


def test_a_session_without_trouble_has_no_gap() -> None:
    host, shell = Host(), Speaker("sh")

    host.hears(shell.hello(), shell.cmd("a"), shell.exit(), shell.bye())
    host.ends()

    assert host.gaps == {}


def test_warnings_are_the_traced_shell_s_only_and_once_each() -> None:
    host, shell = Host(), Speaker("sh")

    host.hears(
        shell.hello(), shell.warn("blesh"), shell.warn("blesh"), Speaker("x", nonce=WRONG).warn("lie"),
        Speaker("y", nonce="-").warn("lie"),
    )  # fmt: skip

    assert host.pairing.warnings == ["blesh"]


# --- forgery ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["-", WRONG], ids=["without the nonce", "with a wrong nonce"])
def forger(request: pytest.FixtureRequest) -> Speaker:
    """Somebody who knows the shell's id, its counter and its span, but not the nonce."""
    return Speaker("sh", nonce=request.param, depth=0)


def test_a_forged_end_does_not_end_a_true_command(forger: Speaker) -> None:
    host, shell = Host(STRANGER), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("make"))

    host.hears(forger.hello(), forger.exit(66, span=shell.span), forger.bye(66))
    host.hears(shell.exit(0, at=5_000))
    host.ends()

    assert (body(host.only).exit_code, host.only.ended_us, host.only.trusted) == (0, 5_000, 2)
    assert host.gaps == {}


def test_a_forged_command_does_not_end_a_true_one(forger: Speaker) -> None:
    host, shell = Host(STRANGER), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("make"))

    host.hears(forger.hello(), forger.cmd("evil", before=66))
    host.hears(shell.exit(0, at=5_000))

    assert (host.only.id, body(host.only).exit_code) == (shell.span, 0)


def test_a_forged_command_cannot_take_the_place_of_the_one_in_flight(forger: Speaker) -> None:
    host, shell = Host(STRANGER), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("make"))

    host.hears(forger.hello(), forger.cmd("evil", span=shell.span), forger.exit(span=shell.span))
    host.hears(shell.exit(7))

    evil, true = host.commands
    assert (true.id, body(true).command, body(true).exit_code, true.trusted) == (shell.span, "make", 7, 2)
    assert (body(evil).command, evil.trusted) == ("evil", 0)
    assert evil.id != shell.span
    assert is_span_id(evil.id)


def test_a_forged_command_cannot_take_the_place_of_one_that_has_ended(forger: Speaker) -> None:
    host, shell = Host(STRANGER), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("make"), shell.exit())

    host.hears(forger.hello(), forger.cmd("evil", span=shell.span), forger.exit(span=shell.span))

    assert len({event.id for event in host.commands}) == 2


@pytest.mark.parametrize("steps", [1, 2, 1_000])
def test_a_forged_command_cannot_take_the_place_of_one_to_come(forger: Speaker, steps: int) -> None:
    """A shell's span ids follow from one another, so that a program inside can foresee the next ones."""
    host, shell = Host(STRANGER), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("make"), shell.exit())
    ahead = shell.number
    for _ in range(steps):
        ahead = next_shell_span(ahead)

    host.hears(forger.hello(), forger.cmd("evil", span=str(ahead)), forger.exit(span=str(ahead)))
    for _ in range(steps):
        host.hears(shell.cmd("make"), shell.exit())

    assert str(ahead) == shell.span
    (true,) = [event for event in host.commands if event.id == shell.span]
    assert (body(true).command, true.trusted) == ("make", 2)
    assert len({event.id for event in host.commands}) == len(host.commands) == steps + 2


def test_a_true_command_is_kept_even_where_its_id_was_taken_before_it_was_known(forger: Speaker) -> None:
    host, shell = Host(STRANGER, wants_output=True), Speaker("sh")
    first = shell.cmd("make")
    host.hears(forger.hello(), forger.cmd("evil", span=shell.span), forger.exit(span=shell.span))

    host.hears(shell.hello(), first)
    host.sees(shell.span, b"made")
    host.hears(shell.exit(7))

    evil, true = host.commands
    assert (body(true).command, true.trusted, true.blobs[OUTPUT_BLOB]) == ("make", 2, b"made")
    assert (evil.trusted, dict(evil.blobs)) == (0, {})
    assert evil.id != true.id


def test_a_forged_command_gets_no_output(forger: Speaker) -> None:
    host, shell = Host(STRANGER, wants_output=True), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("make"))
    host.sees(shell.span, b"made")

    host.hears(forger.hello(), forger.cmd("evil", span=shell.span), forger.exit(span=shell.span))
    host.hears(shell.exit())

    evil, true = host.commands
    assert (dict(evil.blobs), true.blobs[OUTPUT_BLOB]) == ({}, b"made")


def test_a_forged_command_is_no_interactive_one_and_no_program_of_the_host(forger: Speaker) -> None:
    host = Host(STRANGER, actor="human", nested_actor="agent:codex")
    program = Speaker("p", nonce=forger.nonce, version="program")

    for liar in (forger, program):
        host.hears(liar.hello(), liar.cmd("evil"), liar.exit())

    assert {event.trusted for event in host.commands} == {0}
    assert {event.source for event in host.commands} == {"bash_env"}
    assert not any(body(event).interactive for event in host.commands)


def test_a_record_of_a_shell_that_never_said_hello_names_the_fifo_as_its_source(forger: Speaker) -> None:
    host = Host()

    host.hears(forger.cmd("evil"), forger.exit())

    assert (host.only.source, host.only.trusted, host.only.status) == ("fifo", 0, "ok")


def test_a_stranger_s_counter_makes_no_gap(forger: Speaker) -> None:
    host, shell = Host(STRANGER), Speaker("sh")
    forger.seq = 1 << 50

    host.hears(shell.hello(), forger.hello(), forger.cmd("evil"), forger.exit())
    host.ends()

    assert host.gaps == {}


def test_a_nested_shell_s_counter_makes_a_gap_of_one() -> None:
    host, shell, nested = Host(), Speaker("sh"), Speaker("n", nonce="-", depth=1)
    nested.seq = 1 << 50

    host.hears(shell.hello(), nested.hello(), nested.exit())
    host.ends()

    assert host.gaps == {"lost_records": 1}


def test_a_second_hello_changes_nothing(forger: Speaker) -> None:
    host, shell = Host(), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("make"))

    host.hears(forger.hello(), Speaker("sh", version="zsh 5.9", depth=1).hello())
    host.hears(shell.exit())

    assert (host.only.source, body(host.only).shell, body(host.only).depth) == ("interactive", "bash", 0)


def test_a_flood_of_strangers_is_bounded_and_counted() -> None:
    host, shell = Host(STRANGER), Speaker("sh")
    host.hears(shell.hello(), shell.cmd("make"))

    for number in range(10_100):
        stranger = Speaker(f"f{number}", nonce="-", span=number + 1)
        host.hears(stranger.cmd("evil"), stranger.exit())
    host.hears(shell.exit())
    host.ends()

    counts = Counter((event.trusted, body(event).folded) for event in host.commands)
    assert counts == {(2, 0): 1, (0, 0): 10_000, (0, 100): 1}


# --- any order ----------------------------------------------------------------------------------------------


class Story:
    """What was said by many shells, to be told in any order that keeps each shell's own."""

    def __init__(self, chance: random.Random):
        self.chance = chance
        self.lanes: list[list[Callable[[Host], None]]] = []
        self.started: Counter[str] = Counter()  # by command text, which is unique
        self.true_ends: dict[str, int] = {}
        self.lost = 0

    def traced(self, commands: int) -> None:
        shell, chance = Speaker("sh"), self.chance
        lane = [self.hears(shell.hello())]
        outputs: list[Callable[[Host], None]] = []
        missed = 0
        for number in range(commands):
            text, status = f"traced {number}", chance.randrange(3)
            cmd = shell.cmd(text, before=self.true_ends.get(f"traced {number - 1}", 0))
            if chance.random() < 0.1:  # never sent: the next counter shows it
                missed += 1
            else:
                self.started[text] += 1
                self.lost, missed = self.lost + missed, 0
                lane.append(self.hears(cmd))
            self.true_ends[text] = status
            if chance.random() < 0.8:
                outputs.append(self.sees(shell.span, text.encode()))
            end = shell.exit(status)
            if chance.random() < 0.15:
                missed += 1
            else:
                self.lost, missed = self.lost + missed, 0
                lane.append(self.hears(end))
        self.lanes += [lane, outputs]

    def nested(self, number: int) -> None:
        chance = self.chance
        shell = Speaker(f"n{number}", nonce="-", depth=1, span=int(f"7{number:015d}"))
        text = f"nested {number}"
        self.started[text] += 1
        lane = [self.hears(shell.hello()), self.hears(shell.cmd(text))]
        if chance.random() < 0.7:
            lane.append(self.hears(shell.exit(3)))
        self.lanes.append(lane)
        if chance.random() < 0.8:
            code = chance.choice((None, 3, 137))
            self.lanes.append([lambda host: host.pairing.process_gone(shell.shell, host.now, code)])

    def forged(self, number: int) -> None:
        """A forger without a hello, who uses the ids of the true ones."""
        chance = self.chance
        shell = Speaker("sh", nonce=chance.choice(("-", WRONG)))
        shell.seq = chance.randrange(100)
        text = f"forged {number}"
        self.started[text] += 1
        lane = [self.hears(shell.cmd(text, span=chance.choice((None, f"7{number:015d}"))))]
        if chance.random() < 0.5:
            lane.append(self.hears(shell.exit(66)))
        self.lanes.append(lane)

    def hears(self, record: bytes) -> Callable[[Host], None]:
        return lambda host: host.hears(record)

    def sees(self, span: str, data: bytes) -> Callable[[Host], None]:
        return lambda host: host.sees(span, data)

    def tell(self, host: Host) -> None:
        lanes = [lane for lane in self.lanes if lane]
        while lanes:
            lane = self.chance.choice(lanes)
            host.now += self.chance.choice((0, 10, 1_000, 100_000))
            lane.pop(0)(host)
            if self.chance.random() < 0.3:
                host.ticks(host.now)
            lanes = [lane for lane in lanes if lane]
        host.ends(exit_code=0, now=host.now + 1)


@pytest.mark.parametrize("round_", range(60))
def test_in_any_order_each_command_becomes_one_event_and_none_is_lost(round_: int) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    story = Story(chance)
    story.traced(chance.randrange(1, 30))
    for number in range(chance.randrange(12)):
        story.nested(number)
    for number in range(chance.randrange(12)):
        story.forged(number)
    host = Host(
        lambda _: Meeting(1, is_watched=chance.random() < 0.7, is_gone=chance.random() < 0.2, family=(1, 1)),
        wants_output=chance.random() < 0.7,
    )

    story.tell(host)

    assert Counter(host.texts) == story.started, f"seed {seed}"
    assert ids(host.running) == ids(host.commands), f"seed {seed}"
    assert len(set(ids(host.commands))) == len(host.commands), f"seed {seed}"
    assert host.gaps.get("lost_records", 0) == story.lost, f"seed {seed}"
    for event in host.commands:
        told = body(event).command or ""
        if event.trusted == 2:
            assert event.status != "unknown" or event.exit_source == "next_prompt", f"seed {seed}: {event}"
            assert event.blobs.get(OUTPUT_BLOB, told.encode()) == told.encode(), f"seed {seed}: {event}"
            if event.exit_source == "shell":
                assert body(event).exit_code == story.true_ends[told], f"seed {seed}: {event}"
        else:
            assert not event.blobs, f"seed {seed}: {event}"
        if told.startswith("forged"):
            assert event.trusted == 0, f"seed {seed}: {event}"


def ids(events: Iterable[Event]) -> list[str]:
    return sorted(event.id for event in events)
