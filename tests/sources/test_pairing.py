"""From records to events: each command once, with its output, and what is missing counted."""

from __future__ import annotations

import signal

import pytest

from devtrace.events import OUTPUT_BLOB, Gap
from devtrace.ids import new_span_id
from devtrace.sources.shell.fifo import hello_line
from devtrace.sources.shell.pairing import OUTPUT_PATIENCE_US
from tests.sources.pairing_host import STRANGER, Host, body
from tests.sources.records import NONCE, WRONG, Speaker

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


@pytest.mark.parametrize("number", [signal.SIGTSTP, signal.SIGSTOP, signal.SIGTTIN, signal.SIGTTOU])
def test_a_command_that_ctrl_z_set_aside_did_not_fail(number: int) -> None:
    host, shell = Host(), Speaker("sh")
    nested = Speaker("n", nonce="-", depth=1)

    host.hears(shell.hello(), shell.cmd("vim"), shell.exit(128 + number))
    host.hears(nested.hello(), nested.cmd("exit 148"), nested.exit(128 + number))
    host.pairing.process_gone("n", 50, 128 + number)

    assert [event.status for event in host.commands] == ["stopped", "failed"], "no job control in the nested"


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
