"""What was typed is what is kept, to the byte, once a command; where bash changes it, the record says so."""

from __future__ import annotations

import os

import pytest

from tests.acceptance.traced import Home, Shell

LINES = [
    "echo a | cat | wc -c",
    "true && echo A || echo B; echo C",
    "(exit 7)",
    "f() { echo in f; }",
    "{ echo a; }",
    "[[ a == a ]]",
    "((1 + 1))",
    "! true",
    "x=1",
    "while false; do :; done",
    "echo one & wait",
    "echo a#b # a comment behind a command",
    "-n",
    "-f-this-is-no-option --",
    'echo "two  blanks"   ',
    "echo 100% %d %25 %s",
    "echo 'äöü 😀'",
    "echo $'a\\tb' \"$HOME\" `echo x`",
    "printf '\\033[31mred\\033[0m\\n'",
    "echo 'one\ntwo'",
    "echo \\",
]
FISH_LINES = [
    "echo a | cat | wc -c",
    "true; and echo A; or echo B; echo C",
    "begin; false; end",
    "function f; echo in f; end",
    "for i in 1 2; echo $i; end",
    "not true",
    "set x 1",
    "echo a#b # a comment behind a command",
    "-n",
    'echo "two  blanks"   ',
    "echo 100% %d %25 %s",
    "echo 'äöü 😀'",
    "echo 'one\ntwo'",
]
# Of several lines: bash joins them in its history, and no other place has them.
BLOCKS = [
    "for i in 1 2; do\necho $i\ndone",
    "if true; then\n  echo yes\nfi",
    "f() {\n  echo in f\n}",
    "case a in\na) echo x;;\nesac",
    "(\nexit 3\n)",
    "true &&\necho and",
    "echo a |\ncat",
    "x=(1\n2)",
    "{\n# a comment between\necho x\n}",
]
HERE_DOCUMENTS = [
    "cat <<END\none $HOME\n  two\nEND",
    "cat <<'A' <<B\nin a\nA\nin b\nB",
    "cat <<END | wc -l\n%s\nEND",
]


@pytest.mark.shells("bash", "zsh")
@pytest.mark.parametrize("line", [line for line in LINES if line != "echo \\"])
def test_a_line_is_kept_as_it_was_typed(shell: Shell, line: str) -> None:
    shell.types(line)

    kept = shell.command_alone

    assert kept.command == line
    assert kept.text_form == "exact" or shell.kind.lacks("exact_form")


@pytest.mark.shells("fish")
@pytest.mark.parametrize("line", FISH_LINES)
def test_a_line_of_fish_is_kept_as_it_was_typed(shell: Shell, line: str) -> None:
    shell.types(line)

    kept = shell.command_alone

    assert (kept.command, kept.text_form) == (line, "exact")


@pytest.mark.shells("bash")
def test_leading_blanks_are_kept_where_the_history_keeps_them(shell: Shell) -> None:
    shell.types("  echo indented ")

    assert shell.command_alone.command == "  echo indented "


@pytest.mark.shells("zsh")
@pytest.mark.parametrize("block", BLOCKS + HERE_DOCUMENTS)
def test_zsh_keeps_a_command_of_several_lines_as_it_was_typed(shell: Shell, block: str) -> None:
    shell.startup("setopt interactive_comments")

    shell.types(block)

    kept = shell.command_alone
    assert (kept.command, kept.text_form) == (block, "exact")


@pytest.mark.shells("fish")
def test_fish_keeps_a_command_of_several_lines_as_it_was_typed(shell: Shell) -> None:
    shell.pastes("for i in 1 2\n  echo $i\nend")

    kept = shell.command_alone
    assert (kept.command, kept.text_form) == ("for i in 1 2\n  echo $i\nend", "exact")


@pytest.mark.shells("bash")
@pytest.mark.parametrize("block", BLOCKS)
def test_lines_that_bash_joined_are_never_called_exact(shell: Shell, block: str) -> None:
    shell.types(block)

    kept = shell.command_alone

    assert kept.command != block
    assert kept.text_form == "normalised" or shell.kind.lacks("joined_lines")


@pytest.mark.shells("bash")
@pytest.mark.parametrize("block", BLOCKS)
def test_with_exact_the_line_breaks_stay(shell: Shell, block: str) -> None:
    shell.starts("--exact")

    shell.types(block)

    kept = shell.command_alone
    assert kept.command == block
    assert kept.text_form == "exact" or shell.kind.lacks("exact_form")


@pytest.mark.shells("bash")
def test_a_line_that_a_backslash_continues_is_joined_and_called_so(shell: Shell) -> None:
    shell.starts("--exact").types("echo one \\\n two")

    kept = shell.command_alone

    assert kept.command == "echo one  two"
    assert kept.text_form == "normalised" or shell.kind.lacks("joined_lines")


@pytest.mark.able("here_documents")
@pytest.mark.shells("bash")
@pytest.mark.parametrize("text", HERE_DOCUMENTS)
def test_a_here_document_is_kept_with_its_body(shell: Shell, text: str) -> None:
    shell.types(text)

    kept = shell.command_alone

    assert kept.command == text
    assert kept.text_form == "exact" or shell.kind.lacks("exact_form")


@pytest.mark.shells("bash")
def test_three_pasted_lines_are_three_commands_with_a_status_each(shell: Shell) -> None:
    asked_for_brackets = shell.starts().shown.count("\x1b[?2004h")

    shell.sends("true\r(exit 3)\recho three\r" if not asked_for_brackets else PASTED_LINES)
    shell.waits_for("three\r\n")
    shell.waits_for(shell.ready)

    assert shell.session.told() == [("true", 0), ("(exit 3)", 3), ("echo three", 0)]


PASTED_LINES = "\x1b[200~true\n(exit 3)\necho three\x1b[201~\r"


@pytest.mark.shells("zsh", "fish")
def test_three_pasted_lines_are_the_one_command_that_the_editor_ran(shell: Shell) -> None:
    shell.pastes("true\nfalse\necho three")

    assert shell.session.told() == [("true\nfalse\necho three", 0)]


def test_commands_typed_ahead_are_recorded_one_by_one(shell: Shell) -> None:
    shell.starts(type_ahead=b"echo first\rfalse\r")

    for _ in range(3):  # the two of them, and one that comes after all
        shell.until(lambda session: len(session.commands()) >= 2)
    shell.types("echo l''ast", until="last\r\n")
    shell.waits_for(shell.ready)

    assert shell.session.told() == [("echo first", 0), ("false", 1), ("echo l''ast", 0)]


@pytest.mark.able("long_lines")
def test_a_command_of_100_kilobytes_is_kept_whole(shell: Shell) -> None:
    long = ": " + "".join(f"{number:07d}%\t"[:8] for number in range(12_500)).replace("\t", "x")

    shell.sends(f"\x1b[200~{long}\x1b[201~\r" if "\x1b[?2004h" in shell.starts().shown else f"{long}\r")
    shell.until(lambda session: session.commands() and session.commands()[0].status == "ok")
    shell.types("echo d''one", until="done\r\n").waits_for(shell.ready)  # not a prompt of the long line's

    assert shell.session.commands()[0].command == long


@pytest.mark.shells("bash", "zsh")
def test_a_command_of_100_kilobytes_comes_whole_through_a_pipe(piped: Home) -> None:
    long = ": " + "0123456789äöü%" * 6_250

    done = piped.pipe(long + "\n")

    (kept,) = piped.open_session().commands()
    assert (done.status, kept.command) == (0, long)


@pytest.mark.shells("bash")  # the line editors of the others make `?` of such bytes before they run them
def test_bytes_that_are_no_utf_8_are_kept(shell: Shell) -> None:
    shell.env["LC_ALL"] = "C"
    shell.writes(".inputrc", "set input-meta on\nset output-meta on\nset convert-meta off\n")

    shell.types(b": \xff\xfe '\xe4'")

    assert shell.command_alone.bytes == b": \xff\xfe '\xe4'"
    assert shell.command_alone.title == "$ : \ufffd\ufffd '\ufffd'"


def test_bytes_that_are_no_utf_8_come_through_a_pipe(piped: Home) -> None:
    piped.pipe(b"echo \xff\xfe\n")

    (kept,) = piped.open_session().commands()

    assert kept.bytes == b"echo \xff\xfe"
    assert kept.printed == b"\xff\xfe\n"


@pytest.mark.shells("bash", "zsh")
def test_a_tab_and_a_control_character_are_kept(shell: Shell) -> None:
    shell.types("printf '\x16\t|\x16\x07|%s\\n' x")

    assert shell.command_alone.command == "printf '\t|\x07|%s\\n' x"


@pytest.mark.parametrize(
    "name", ["with blanks", "😀", "a%25b", "tab\there", "two\nlines", "`tick`$HOME", "-n", "*?[", "\x1b[31m"]
)
def test_the_directory_of_a_command_is_kept_whatever_its_name(shell: Shell, name: str) -> None:
    (shell.here / name).mkdir()
    shell.env["NAME"] = name
    shell.types('cd "./$NAME"').types("true").types("cd ..")

    there, stays, back = shell.session.commands()

    place = str(shell.here / name)
    assert (there.cwd, there.cwd_end) == (str(shell.here), place)
    assert (stays.cwd, stays.cwd_end) == (place, None)
    assert (back.cwd, back.cwd_end) == (place, str(shell.here))


@pytest.mark.shells("bash", "zsh")
def test_a_directory_whose_name_is_no_utf_8_is_kept(shell: Shell) -> None:
    place = os.fsencode(shell.here) + b"/\xff\xe4"
    os.mkdir(place)
    shell.env["NAME"] = os.fsdecode(place)
    shell.types('cd "$NAME"').types("true")

    _, stays = shell.session.commands()

    assert stays.cwd_bytes == place


def test_a_directory_with_a_very_long_path_is_kept(shell: Shell) -> None:
    place = shell.here.joinpath(*["deep" * 50] * 12)
    os.makedirs(place)
    shell.env["NAME"] = str(place)
    shell.types('cd "$NAME"').types("true")

    _, stays = shell.session.commands()

    assert stays.cwd == str(place)


@pytest.mark.shells("bash", "zsh")
def test_a_line_recalled_from_the_history_is_kept_as_it_ran(shell: Shell) -> None:
    shell.types("echo one").types("!!", until="one\r\n.*one\r\n")
    shell.waits_for(shell.ready)
    shell.presses("\x1b[A\x1b[A\r")

    first, *again = shell.session.commands()

    assert {command.command for command in [first, *again]} == {"echo one"}
    assert len(again) == 2


def test_the_tenth_command_is_as_true_as_the_first(shell: Shell) -> None:
    for number in range(10):
        shell.types(f"test {number} -lt 5")

    assert shell.session.told() == [(f"test {number} -lt 5", int(number >= 5)) for number in range(10)]


@pytest.mark.shells("bash")
def test_without_a_file_system_in_memory_a_fork_reads_the_line(shell: Shell) -> None:
    shell.types("__devtrace_scratch=").types("echo one").types("(exit 4)").types("echo 'a\nb'")

    assert shell.session.told()[1:] == [("echo one", 0), ("(exit 4)", 4), ("echo 'a\nb'", 0)]
