"""What a person keeps out of the shell's history stays out of the record, and no text is ever another's."""

from __future__ import annotations

import pytest

from tests.acceptance.traced import Home, Shell

PRIVATE = (None, "private", None)


def kept(shell: Shell) -> list[tuple[str | None, str, bytes | None]]:
    """(text, form, output) of every command."""
    return [(one.command, one.text_form, one.printed) for one in shell.session.commands()]


@pytest.mark.shells("bash")
@pytest.mark.parametrize(
    "control", ["ignorespace", "ignoreboth", "ignorespace:erasedups", "ignoreboth:erasedups"]
)
def test_of_a_line_with_a_leading_space_only_that_it_ran_is_kept(shell: Shell, control: str) -> None:
    shell.startup(f"HISTCONTROL={control}")
    shell.types("echo open").types(" echo hidden").types(" false").types("echo open again")

    first, hidden, failed, again = shell.session.commands()

    assert (first.command, again.command) == ("echo open", "echo open again")
    assert (hidden.command, hidden.text_form, hidden.printed) == PRIVATE
    assert "leading space" in hidden.reason
    assert (failed.command, failed.exit_code) == (None, 1)
    assert "hidden" not in str(shell.session.events())


@pytest.mark.shells("zsh")
def test_of_a_line_with_a_leading_space_zsh_keeps_only_that_it_ran(shell: Shell) -> None:
    shell.startup("setopt hist_ignore_space")
    shell.types("echo open").types(" echo hidden").types("echo open again")

    assert kept(shell)[1] == PRIVATE
    assert [text for text, _, _ in kept(shell)] == ["echo open", None, "echo open again"]


@pytest.mark.shells("fish")
def test_of_a_line_with_a_leading_space_fish_keeps_only_that_it_ran(shell: Shell) -> None:
    shell.types("echo open").types(" echo hidden").types("echo open again")

    assert kept(shell)[1] == PRIVATE
    assert [text for text, _, _ in kept(shell)] == ["echo open", None, "echo open again"]


@pytest.mark.shells("bash", "zsh")
def test_where_blanks_mean_nothing_a_leading_space_is_text(shell: Shell) -> None:
    shell.types(" echo open")

    assert kept(shell) == [(" echo open", "exact", b"open\r\n")]


@pytest.mark.shells("bash")
@pytest.mark.parametrize("control", ["ignoredups", "ignoreboth", "erasedups", "ignoredups:erasedups", ""])
def test_a_repeated_line_is_recorded_each_time(shell: Shell, control: str) -> None:
    shell.startup(f"HISTCONTROL={control}")
    for line in ("echo a", "echo a", "echo b", "echo a", "echo a"):
        shell.types(line)

    assert [one.command for one in shell.session.commands() if one.command] == [
        "echo a", "echo a", "echo b", "echo a", "echo a",
    ][: None if "erase" not in control else 9]  # fmt: skip


@pytest.mark.shells("bash")
@pytest.mark.parametrize("control", ["ignoredups", "ignoreboth", "erasedups", "ignoreboth:erasedups"])
def test_the_users_own_history_is_what_it_would_be_without_us(shell: Shell, control: str) -> None:
    lines = ["echo a", "echo a", " echo hidden", "echo b", "echo b", "echo a", "history"]
    shell.startup(f"HISTCONTROL={control}")
    bare = Shell(shell.kind, shell.home, shell.here)
    bare.runs([shell.kind.path, "-i"], until=shell.ready)
    for one in (shell, bare):
        for line in lines:
            one.types(line)
    bare.ends()

    def listed(text: str) -> str:
        return text[text.rindex("history\r\n") :].split("ready$")[0]

    assert listed(shell.shown) == listed(bare.shown)


@pytest.mark.shells("bash")
def test_what_histignore_hides_is_not_kept(shell: Shell) -> None:
    shell.startup("HISTIGNORE='*hidden*:pwd'")
    shell.types("echo open").types("echo hidden").types("pwd").types("echo open again")

    first, hidden, pwd, again = shell.session.commands()

    assert (first.command, again.command) == ("echo open", "echo open again")
    assert (hidden.command, hidden.text_form, hidden.printed) == PRIVATE
    assert (pwd.command, pwd.text_form, pwd.printed) == PRIVATE
    assert hidden.reason == "kept out of the shell's history"


@pytest.mark.shells("zsh")
def test_what_history_ignore_hides_is_not_kept(shell: Shell) -> None:
    shell.startup("HISTORY_IGNORE='(*hidden*|pwd)'")
    shell.types("echo open").types("echo hidden").types("pwd").types("echo open again")

    assert [text for text, _, _ in kept(shell)] == ["echo open", None, None, "echo open again"]
    assert kept(shell)[1] == kept(shell)[2] == PRIVATE


@pytest.mark.shells("fish")
def test_what_a_private_fish_runs_is_not_kept(shell: Shell) -> None:
    shell.types("echo open").types("set -g fish_private_mode 1").types("echo hidden").types("false")

    assert kept(shell)[2][:2] == (None, "private")
    assert shell.session.commands()[3].exit_code == 1
    assert "hidden" not in str(shell.session.events())


@pytest.mark.shells("bash")
def test_while_the_history_is_off_no_older_line_is_taken_for_a_new_one(shell: Shell) -> None:
    for line in ("echo before", "set +o history", "echo unseen", "false", "set -o history", "echo after"):
        shell.types(line)

    before, off, unseen, failed, _, after = shell.session.commands()

    assert (before.command, after.command) == ("echo before", "echo after")
    assert off.command in ("set +o history", None)
    assert unseen.command is None
    assert unseen.reason == "the shell's history is off" or shell.kind.lacks("history_switch")
    assert (failed.command, failed.exit_code) == (None, 1)


@pytest.mark.shells("bash")
def test_without_a_history_a_command_is_known_by_its_status_alone(shell: Shell) -> None:
    shell.startup("HISTSIZE=0")
    shell.types("echo one").types("sh -c 'exit 5'")

    assert [(one.command, one.text_form, one.exit_code) for one in shell.session.commands()] == [
        (None, "unknown", 0), (None, "unknown", 5),
    ]  # fmt: skip


@pytest.mark.shells("bash")
def test_a_small_history_that_is_full_still_tells_each_line(shell: Shell) -> None:
    shell.startup("HISTSIZE=3")
    lines = [f"echo {number}" for number in range(8)]
    for line in lines:
        shell.types(line)

    assert [one.command for one in shell.session.commands()] == lines


@pytest.mark.shells("bash")
def test_histtimeformat_changes_nothing(shell: Shell) -> None:
    shell.startup("HISTTIMEFORMAT='%F %T '\nHISTCONTROL=ignoreboth")
    shell.types("echo one").types("echo one").types(" echo hidden").types("history 2", until="history 2")

    shell.waits_for(shell.ready)

    assert [one.command for one in shell.session.commands()] == ["echo one", "echo one", None, "history 2"]
    assert "20" in shell.session.commands()[3].printed.decode()  # the user still sees the time


@pytest.mark.shells("bash")
@pytest.mark.parametrize(
    "share", ["history -a; history -n", "history -a; history -c; history -r", "history -n"]
)
def test_with_a_history_shared_between_terminals_a_private_line_is_not_taken_for_theirs(
    shell: Shell, share: str
) -> None:
    shell.writes(".bash_history", "an old line\nanother\n")
    shell.startup(f"HISTCONTROL=ignorespace\nPROMPT_COMMAND='{share}'")
    shell.types("echo mine")
    with (shell.home / ".bash_history").open("a") as file:
        file.write("echo of another terminal\n")
    shell.types("true").types(" echo hidden").types("echo mine too")

    assert [one.command for one in shell.session.commands()] == ["echo mine", "true", None, "echo mine too"]
    assert "hidden" not in str(shell.session.events())


@pytest.mark.shells("bash")
def test_the_history_file_is_read_once(shell: Shell) -> None:
    shell.writes(".bash_history", "an old line\nanother\n")

    shell.types("history")

    assert shell.command_alone.printed.decode().split() == [
        "1",
        "an",
        "old",
        "line",
        "2",
        "another",
        "3",
        "history",
    ]


@pytest.mark.able("lines_of_the_editor")
@pytest.mark.shells("bash")
def test_a_line_run_from_the_line_editor_is_recorded_too(shell: Shell) -> None:
    shell.program("my-editor", "#!/bin/sh\necho '(echo from the editor; exit 4)' > \"$1\"\n")
    shell.env["EDITOR"] = shell.env["VISUAL"] = "my-editor"

    shell.types("echo before").sends("echo draft\x18\x05").waits_for("\nfrom the editor\r\n")
    shell.waits_for(shell.ready)
    shell.types("echo after")

    before, edited, after = shell.session.commands()
    assert (before.command, before.exit_code, before.printed) == ("echo before", 0, b"before\r\n")
    assert (edited.command, edited.text_form) == ("(echo from the editor; exit 4)", "normalised")
    assert (edited.exit_code, edited.status) == (None, "unknown")  # bash does not tell it
    assert shell.session.row["meta"]["warnings"] == ["line_editor"]
    assert (after.command, after.exit_code, after.printed) == ("echo after", 0, b"after\r\n")


@pytest.mark.able("exact_form")
@pytest.mark.shells("bash")
def test_without_cmdhist_no_last_line_is_taken_for_the_whole(shell: Shell) -> None:
    shell.startup("shopt -u cmdhist")
    shell.types("for i in 1 2; do\necho $i\ndone").types("echo alone")

    loop, alone = shell.session.commands()

    assert loop.command == "for i in 1 2; do\necho $i\ndone"
    assert (alone.command, alone.text_form) == ("echo alone", "exact")


@pytest.mark.parametrize("wish", ["mask", "text", "skip"])
@pytest.mark.shells("bash", "zsh", "fish")
def test_what_a_private_line_leaves_is_the_users_choice(shell: Shell, wish: str) -> None:
    can_tell = not shell.kind.lacks("private_text")
    shell.startup(
        {"bash": "HISTCONTROL=ignorespace", "zsh": "setopt hist_ignore_space", "fish": ""}[shell.kind.name]
    )
    assert shell.devtrace("init").returncode == 0
    assert shell.devtrace("config", "set", "shell.private", wish).returncode == 0
    shell.types("echo open").types(" echo hidden").types("echo again")

    texts = [one.command for one in shell.session.commands()]

    expected = {"mask": [None], "text": [" echo hidden" if can_tell else None], "skip": []}[wish]
    assert texts == ["echo open", *expected, "echo again"]


def test_nothing_of_a_private_line_is_anywhere_on_the_disk(shell: Shell) -> None:
    shell.startup(
        {"bash": "HISTCONTROL=ignorespace", "zsh": "setopt hist_ignore_space", "fish": ""}[shell.kind.name]
    )
    shell.types("echo open").types(" echo 'a hidden word'").ends()

    for file in (shell.here / ".devtrace").rglob("*"):
        if file.is_file():
            assert b"hidden word" not in file.read_bytes(), file


def test_in_a_pipe_nobody_typed_and_a_leading_space_hides_nothing(piped: Home) -> None:
    piped.startup(
        {"bash": "HISTCONTROL=ignoreboth", "zsh": "setopt hist_ignore_space", "fish": ""}[piped.kind.name]
    )

    piped.pipe("  echo indented\necho twice\necho twice\n")

    texts = [one.command for one in piped.open_session().commands()]
    assert texts == ["  echo indented", "echo twice", "echo twice"]


@pytest.mark.shells("bash")
@pytest.mark.able("ps0")
@pytest.mark.parametrize("taken", ["unset PROMPT_COMMAND", "PROMPT_COMMAND="])
def test_the_echo_of_a_private_command_is_not_kept_as_output_of_the_one_before(
    shell: Shell, taken: str
) -> None:
    """Whose end nobody told: its output goes on to the next command, over the prompt."""
    shell.startup("HISTCONTROL=ignorespace")
    shell.types(taken).types(" echo a-private-thing").types("true")

    assert shell.session.told() == [(taken, 0), (None, 0), ("true", 0)]
    assert [one for one in shell.session.commands() if b"a-private-thing" in (one.printed or b"")] == []
