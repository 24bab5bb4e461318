"""Hooks that were removed in the middle of a session leave a gap; whoever only edits or waits leaves none."""

from __future__ import annotations

import pytest

from tests.acceptance.traced import CTRL_D, Shell

REMOVAL = {
    "bash": "for name in $(compgen -A function __devtrace); do unset -f $name; done",
    "zsh": "precmd_functions=() preexec_functions=() zshexit_functions=()",
    "fish": "for name in (functions -a | string match '__devtrace*'); functions -e $name; end",
}


def remove_hooks(shell: Shell) -> None:
    line = REMOVAL[shell.kind.name]
    shell.types("echo before").types(line)
    shell.until(lambda session: line in [text for text, _ in session.told()], "the last that they tell")
    shell.wants_no_gaps = False


def test_a_program_of_which_no_hook_told_leaves_a_gap(shell: Shell) -> None:
    remove_hooks(shell)
    shell.types("sleep 4; echo unt''old").ends(CTRL_D)

    (gap,) = shell.session.events("gap")
    assert gap["data"]["reason"] == "hooks_silent"
    assert gap["started_us"] < gap["ended_us"] <= shell.session.row["ended_us"]
    assert ("echo before", 0) in shell.session.told()
    assert "untold" not in str(shell.session.told())


def test_a_shell_that_is_told_to_exit_and_does_not_say_so_leaves_a_gap(shell: Shell) -> None:
    remove_hooks(shell)
    shell.sends("exit 3\r")

    assert shell.ends(None) == 3
    assert shell.session.gaps() == ["hooks_silent"]


def test_one_who_presses_enter_and_leaves_is_no_gap(shell: Shell) -> None:
    shell.types("echo one").types("").types("# a comment" if shell.kind.name != "zsh" else "")
    if shell.kind.name == "bash":  # the others are deaf to Ctrl-C while they draw
        shell.presses("half a line\x03", until=shell.ready)
    shell.types("echo two")
    shell.sends("\r").waits_for(shell.ready)
    shell.ends(CTRL_D)

    assert shell.session.gaps() == []


def test_what_is_typed_ahead_of_a_slow_command_is_no_gap(shell: Shell) -> None:
    shell.starts().sends("sleep 1.2\recho se''cond\rexit 4\r")

    assert shell.ends(None) == 4
    assert shell.session.gaps() == []
    assert [code for _, code in shell.session.told()] == [0, 0, 4]


@pytest.mark.shells("bash", "zsh")
def test_an_editor_that_was_opened_from_the_line_is_no_gap(shell: Shell) -> None:
    """It stays open for longer than a hook ever takes, and Enter is pressed in it."""
    shell.program(
        "slow-editor", '#!/bin/sh\necho opened\nread line\nsleep 2.5\necho "echo from the ed\'\'itor" >"$1"\n'
    )
    shell.env |= {"EDITOR": "slow-editor", "VISUAL": "slow-editor"}
    if shell.kind.name == "zsh":
        shell.startup(
            "autoload -Uz edit-command-line; zle -N edit-command-line; bindkey '^X^E' edit-command-line"
        )
    shell.types("echo before").sends("echo draft\x18\x05")
    shell.waits_for("opened")
    shell.sends("typed in the editor\r")
    shell.waits_for("from the ed")
    if shell.kind.name == "zsh":
        shell.sends("\r")
    shell.waits_for("from the editor")
    shell.waits_for(shell.ready)
    shell.ends(CTRL_D)

    assert shell.session.gaps() == []
