"""Commands of nested shells: whose children they are, how they end, when they are counted only."""

from __future__ import annotations

import pytest

from devtrace.sources.shell.pairing import DEATH_PATIENCE_US
from devtrace.sources.shell.shells import Meeting
from tests.sources.pairing_host import Host, body
from tests.sources.records import Speaker

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


# --- what an agent's client puts around a command ---------------------------------------------------------


def unwrapped(text: str) -> str | None:
    return text.removeprefix("wrap ") if text.startswith("wrap ") else None


def wrapping(**more: int) -> tuple[Speaker, Speaker]:
    """A shell that sets things up, and the one that takes its place: the same process."""
    who = {"pid": 5, "start": 77} | more
    return Speaker("outer", nonce="-", depth=1, **who), Speaker("inner", nonce="-", depth=1, **who)


def test_what_a_client_puts_around_a_command_is_left_out() -> None:
    host, outer = Host(unwrapped=unwrapped), wrapping()[0]

    host.hears(outer.hello(), outer.cmd("wrap make"), outer.exit(2))
    host.pairing.process_gone("outer", 50, 2)

    assert (body(host.only).command, body(host.only).text_form) == ("make", "unwrapped")


def test_the_inside_of_it_is_the_same_command_whatever_parent_it_names() -> None:
    host, shell = Host(unwrapped=unwrapped), Speaker("sh")
    outer, inner = wrapping()
    host.hears(shell.hello(), shell.cmd("codex"), outer.hello(), outer.cmd("wrap make", parent=shell.span))

    host.hears(inner.hello(), inner.cmd("make", parent="1234567890123456"))
    deeper = Speaker("deeper", nonce="-", depth=1, pid=6, start=78)
    host.hears(deeper.hello(), deeper.cmd("true", parent=inner.span), deeper.exit(0))
    host.pairing.process_gone("deeper", 2_000, 0)
    host.hears(inner.exit(3, at=3_000))
    for name in ("outer", "inner"):
        host.pairing.process_gone(name, 4_000, 3)
    host.hears(shell.exit(0))

    told = {body(event).command: event for event in host.commands}
    assert sorted(told) == ["codex", "make", "true"]
    assert (told["make"].parent, body(told["make"]).exit_code) == (shell.span, 3)
    assert told["make"].exit_source == "shell"
    assert told["true"].parent == told["make"].id
    host.ends()
    assert len(host.commands) == 3


def test_what_only_looks_like_its_inside_is_told() -> None:
    host = Host(unwrapped=unwrapped)
    outer, inner = wrapping()
    host.hears(outer.hello(), outer.cmd("wrap make"))
    other = Speaker("other", nonce="-", depth=1, pid=5, start=78)  # another process of that number

    host.hears(inner.hello(), inner.cmd("make clean"), other.hello(), other.cmd("make"))

    assert sorted(str(body(event).command) for event in host.running) == ["make", "make", "make clean"]


def test_a_shell_that_replaces_itself_by_one_that_its_text_names_is_one_command() -> None:
    host = Host()
    outer, inner = wrapping()
    deepest = Speaker("deepest", nonce="-", depth=1, pid=5, start=77)
    host.hears(outer.hello(), outer.cmd("true; exec bash -c 'exec bash -c false'"))

    host.hears(inner.hello(), inner.cmd("exec bash -c false"), deepest.hello(), deepest.cmd("false"))
    host.hears(deepest.exit(1))
    for name in ("outer", "inner", "deepest"):
        host.pairing.process_gone(name, 4_000, 1)

    assert (host.texts, body(host.only).exit_code) == (["true; exec bash -c 'exec bash -c false'"], 1)
    host.ends()
    assert len(host.commands) == 1


def test_what_a_program_in_between_does_in_its_place_is_told() -> None:
    """`exec python3 p.py`, which replaces itself by a shell of which no text says a word."""
    host = Host()
    outer, inner = wrapping()
    host.hears(outer.hello(), outer.cmd("exec python3 p.py"))

    host.hears(inner.hello(), inner.cmd("touch x; exit 7"), inner.exit(7))
    for name in ("outer", "inner"):
        host.pairing.process_gone(name, 4_000, 7)
    host.ends()

    assert sorted(str(text) for text in host.texts) == ["exec python3 p.py", "touch x; exit 7"]


def test_where_deeper_shells_are_asked_for_nothing_is_joined() -> None:
    host = Host(tells_all=True)
    outer, inner = wrapping()

    host.hears(outer.hello(), outer.cmd("exec bash -c false"), inner.hello(), inner.cmd("false"))

    assert len(host.running) == 2


def test_a_wrapped_command_whose_inside_never_ended_is_closed_once() -> None:
    host = Host(unwrapped=unwrapped)
    outer, inner = wrapping()
    host.hears(outer.hello(), outer.cmd("wrap make"), inner.hello(), inner.cmd("make"))

    host.ends()

    assert (host.texts, host.only.status) == (["make"], "interrupted")
