"""What a command printed: cut exactly where the command begins and ends, and nothing that was not printed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.record import Command
from tests.acceptance.traced import CTRL_C, Home, Shell
from tests.asciicast import read_strictly

CAP = 65_536  # shell.output_head and shell.output_tail, as they are by default
FISH_BEGINS = 200  # what fish prints behind the mark of a beginning takes that much of the head at most


class Gate:
    """A FIFO on which a program waits until the test lets it go on."""

    def __init__(self, path: Path):
        self.path = path
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def opens(self) -> None:
        """Let one reader of one line go on."""
        os.write(self._fd, b"go\n")

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate(Path.cwd() / "gate")
    yield gate
    gate.close()


def prints(shell: Home, data: bytes, name: str = "print-it") -> str:
    """A command that prints exactly these bytes."""
    file = shell.writes(f"{name}.data", data)
    shell.program(name, f"#!/bin/sh\nexec cat '{file}'\n")
    return name


def on_terminal(data: bytes) -> bytes:
    """The same bytes as a terminal's line discipline sends them."""
    return data.replace(b"\n", b"\r\n")


def printed(command: Command) -> bytes:
    """What the command printed, be it nothing."""
    return command.printed or b""


def shows(shell: Shell, command: Command, *options: str) -> str:
    """What `devtrace show EVENT --output` says."""
    told = shell.devtrace("show", command.id, "--output", *options)
    assert (told.returncode, told.stderr) == (0, "")
    return told.stdout


def is_nowhere(shell: Shell, secret: bytes) -> bool:
    """Whether no file below the home, the store or the runtime directory holds these bytes."""
    roots = [shell.home, shell.here, Path(shell.env["XDG_RUNTIME_DIR"])]
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if secret in path.read_bytes()] == []


# --- the borders --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"one line\n",
        b"no newline at the end",
        b"\n",
        b"\n\n blanks at both ends \n\n",
        b"blanks at the end         ",
        b"returned\r",
        b" \r \r",
        b"10%\r55%\r100%\rdone   \n",
        b"spinning |\b/\b-\b\\\b",
        b"colours \x1b[1;31mleft on",
        b"\x1b[7m%\x1b[27m inverse\n",
        b"an escape at the end \x1b",
        b"a mark begun \x1b]69",
        bytes(range(0x20)) + bytes(range(0x7F, 0x100)) + b"\n",
        b"\xff\xfe\x80 no utf-8 \xc3",
        "wide 漢字 and joined e\u0301 👩‍👩‍👧\n".encode(),
    ],
    ids=lambda data: repr(data[:18])[2:-1],
)
def test_output_is_cut_where_the_command_begins_and_ends(shell: Shell, data: bytes) -> None:
    command = prints(shell, data)

    shell.types("true").types(command).types("echo next")

    nothing, kept, following = shell.session.commands()
    assert kept.printed == on_terminal(data)
    assert (nothing.printed, following.printed) == (None, b"next\r\n")
    assert kept.output["seen"] == len(on_terminal(data))
    assert (kept.output["truncated"], kept.output["approximate"]) == (False, False)


@pytest.mark.parametrize("cols", [20, 80, 300])
def test_a_line_without_its_end_is_kept_without_what_the_shell_adds(shell: Shell, cols: int) -> None:
    """zsh marks it with an inverse % and as many blanks as the window is wide; fish has a mark of its own."""
    command = prints(shell, b"100%")

    shell.starts(cols=cols).types(command).types("true")

    assert [one.printed for one in shell.session.commands()] == [b"100%", None]


@pytest.mark.shells("zsh")
@pytest.mark.parametrize(
    "own",
    ["PROMPT_EOL_MARK=''", "PROMPT_EOL_MARK='%F{red}<no end>%f'", "unsetopt prompt_sp", "unsetopt prompt_cr"],
)
def test_zshs_mark_of_a_line_without_its_end_may_be_another_one(shell: Shell, own: str) -> None:
    shell.startup(own)
    command = prints(shell, b"no end")

    shell.types(command).types("echo next")

    assert [one.printed for one in shell.session.commands()] == [b"no end", b"next\r\n"]


@pytest.mark.shells("zsh")
@pytest.mark.parametrize(
    "own", ["", "PROMPT_EOL_MARK=own", "export PROMPT_EOL_MARK=own", "PROMPT_EOL_MARK=''"]
)
def test_zshs_mark_of_a_line_without_its_end_stays_the_users(shell: Shell, own: str) -> None:
    shell.startup(f'{own}\nprecmd() {{ : }}\nlook() {{ print "is <${{PROMPT_EOL_MARK-unset}}>" >>look }}')
    shell.startup("autoload add-zsh-hook; add-zsh-hook precmd look")

    shell.types("true").types("PROMPT_EOL_MARK+=more").types("true").types("unset PROMPT_EOL_MARK").types(
        "true"
    )
    shell.ends()

    is_set = "own" if "own" in own else "" if own else None
    before = "is <unset>" if is_set is None else f"is <{is_set}>"
    changed = f"is <{is_set or ''}more>"
    looked = (shell.here / "look").read_text().splitlines()
    assert looked == [before, before, changed, changed, "is <unset>", "is <unset>"]


def test_what_is_printed_at_the_prompt_is_no_commands_output(shell: Shell) -> None:
    shell.startup(
        {
            "bash": "PROMPT_COMMAND='echo at the prompt'",
            "zsh": "precmd() { echo at the prompt; }",
            "fish": "function mine --on-event fish_prompt; echo at the prompt; end",
        }[shell.kind.name]
    )
    shell.types("echo one").types("true").types("echo three")

    assert [one.printed for one in shell.session.commands()] == [b"one\r\n", None, b"three\r\n"]
    assert "at the prompt" in shell.shown


def test_what_both_streams_print_is_kept_in_its_order(shell: Shell) -> None:
    shell.program("both", "#!/bin/sh\necho out\necho err >&2\necho out again\n")

    shell.types("both").types("both 2>/dev/null").types("both >/dev/null")

    assert [one.printed for one in shell.session.commands()] == [
        b"out\r\nerr\r\nout again\r\n",
        b"out\r\nout again\r\n",
        b"err\r\n",
    ]


def test_a_line_that_looks_like_the_prompt_ends_nothing(shell: Shell) -> None:
    command = prints(shell, b"ready$ echo no\r\nready$ ")

    shell.types(command, until=r"no\r+\nready\$ ").waits_for(shell.ready)
    shell.types("true")

    assert shell.session.commands()[0].printed == b"ready$ echo no\r\r\nready$ "


# --- who is in front ----------------------------------------------------------------------------------------


def test_a_job_that_prints_at_the_prompt_prints_into_no_command(shell: Shell, gate: Gate) -> None:
    shell.program("late", f"#!/bin/sh\nread go <'{gate.path}'\necho came la''te\n")
    shell.types("late &").types("true")

    gate.opens()
    shell.waits_for("came late")
    shell.hears_of_its_job()
    shell.types("echo next").types("true")

    kept = shell.session.commands()
    assert [one.command for one in kept] == ["late &", "true", "echo next", "true"]
    assert not any(b"came late" in printed(one) for one in kept)
    assert b"next\r\n" in printed(kept[2])


def test_a_job_that_prints_while_another_command_runs_prints_into_that_one(shell: Shell, gate: Gate) -> None:
    shell.program(
        "late",
        f"#!/bin/sh\nread go <'{gate.path}'\necho came la''te\nmkdir busy\necho $$ >busy/pid\nmv busy done\n",
    )
    shell.program(  # ends behind the other, whose end could draw the prompt once more
        "in-front",
        "#!/bin/sh\necho in fr''ont\nuntil [ -d done ]; do sleep 0.01; done\n"
        'while kill -0 "$(cat done/pid)" 2>/dev/null; do sleep 0.01; done\n',
    )
    shell.types("late &").types("in-front", until="in front")

    gate.opens()
    shell.waits_for("came late")
    shell.waits_for(shell.ready)
    shell.types("true")

    background, front, *_ = shell.session.commands()
    assert b"came late" not in printed(background)
    assert printed(front).startswith(b"in front\r\ncame late\r\n")


def test_what_is_typed_ahead_is_output_of_the_command_that_shows_it_only(shell: Shell, gate: Gate) -> None:
    shell.program("waits", f"#!/bin/sh\necho wai''ting\nread go <'{gate.path}'\n")
    shell.types("waits", until="waiting").sends("echo sec''ond\r").waits_for("sec''ond")

    gate.opens()
    shell.waits_for(r"second\r\n")
    shell.waits_for(shell.ready)

    first, second = shell.session.commands()
    assert (second.command, second.printed) == ("echo sec''ond", b"second\r\n")
    assert printed(first).startswith(b"waiting\r\n")


def test_what_a_command_printed_before_ctrl_c_is_kept(shell: Shell) -> None:
    shell.program("waits", "#!/bin/sh\necho wai''ting\nexec cat\n")

    shell.types("waits", until="waiting").presses(CTRL_C).types("echo next")

    interrupted, following = shell.session.commands()
    assert printed(interrupted).startswith(b"waiting\r\n")
    assert (interrupted.exit_code, following.printed) == (130, b"next\r\n")


# --- how much -----------------------------------------------------------------------------------------------


def test_of_much_output_the_beginning_the_end_and_the_size_are_kept(shell: Shell) -> None:
    lines = "".join(f"{number}\n" for number in range(1, 100_001)).encode()
    command = prints(shell, lines)
    whole = on_terminal(lines)

    shell.types(command, until=r"100000\r\n").waits_for(shell.ready)
    shell.types("echo next")

    kept, following = shell.session.commands()
    head = kept.output["head"]
    assert kept.output == {
        "seen": len(whole), "head": head, "tail": CAP, "truncated": True, "approximate": False,
        "alternate_screen": 0, "stderr": None, "redacted": 0,
    }  # fmt: skip
    assert CAP - (FISH_BEGINS if shell.kind.name == "fish" else 0) <= head <= CAP
    assert kept.printed == whole[:head] + whole[-CAP:]
    assert following.printed == b"next\r\n"
    told = shows(shell, kept)
    assert told.startswith("1\n2\n3\n")
    assert told.endswith("\n99999\n100000\n")
    assert len(re.findall(r"^\[\.\.\. .* not kept \.\.\.\]$", told, re.MULTILINE)) == 1


def test_how_much_is_kept_is_the_users_choice(shell: Shell) -> None:
    shell.devtrace("init")
    for end, cap in (("head", 1_000), ("tail", 10)):
        assert shell.devtrace("config", "set", f"shell.output_{end}", str(cap)).returncode == 0
    much = b"0123456789" * 500

    shell.types(prints(shell, much)).types(prints(shell, much[:500], "fits"))

    cut, whole = shell.session.commands()
    head = cut.output["head"]
    assert 1_000 - (FISH_BEGINS if shell.kind.name == "fish" else 0) <= head <= 1_000
    assert cut.printed == much[:head] + much[-10:]
    assert (cut.output["seen"], cut.output["truncated"]) == (5_000, True)
    assert (whole.printed, whole.output["truncated"]) == (much[:500], False)


@pytest.mark.parametrize("by", ["option", "setting"])
def test_where_no_output_is_wanted_none_is_on_the_disk(shell: Shell, by: str) -> None:
    shell.devtrace("init")
    if by == "setting":
        shell.devtrace("config", "set", "shell.output", "false")
    shell.program("prints", "#!/bin/sh\necho pri''nted by it\n")

    shell.starts(*(["--no-output"] if by == "option" else []))
    shell.types("prints", until="printed by it\r\n").waits_for(shell.ready)

    kept = shell.command_alone
    assert (kept.command, kept.exit_code, kept.data["output"], kept.printed) == ("prints", 0, None, None)
    told = shell.devtrace("show", kept.id, "--output")
    assert (told.returncode, "[ERR_NO_OUTPUT]" in told.stderr) == (2, True)
    assert is_nowhere(shell, b"printed by it")


# --- colours, screens, secrets ------------------------------------------------------------------------------


def test_output_is_shown_plain_or_in_its_colours(shell: Shell) -> None:
    shell.types(prints(shell, b"\x1b]0;a title\x07\x1b[31mred\x1b[0m 10%\r\x1b[2K\x1b[1mbold\x1b[0m 100%\n"))

    kept = shell.command_alone

    assert shows(shell, kept) == shows(shell, kept, "--plain") == "bold 100%\n"
    assert shows(shell, kept, "--colour") == "\x1b[1mbold\x1b[0m 100%\n"
    (record,) = [json.loads(line) for line in shows(shell, kept, "--json").splitlines()]
    assert (record["event"], record["text"]) == (kept.id, "bold 100%\n")


@pytest.mark.needs("clear", "reset")
@pytest.mark.parametrize("command", ["clear", "reset"])
def test_a_command_that_clears_the_screen_clears_nothing_of_the_record(shell: Shell, command: str) -> None:
    shell.types("echo before").types(command).types("echo after")

    assert [one.command for one in shell.session.commands()] == ["echo before", command, "echo after"]
    before, cleared, after = shell.session.commands()
    assert (before.printed, after.printed) == (b"before\r\n", b"after\r\n")
    assert b"\x1b" in printed(cleared)
    assert (cleared.exit_code, shows(shell, cleared).strip()) == (0, "")
    transcript = shell.devtrace("show", "--output").stdout
    assert ("before" in transcript, "after" in transcript) == (True, True)


@pytest.mark.needs("less")
def test_the_screens_of_a_pager_are_counted_and_not_kept(shell: Shell) -> None:
    text = "".join(f"line {number} of the text\n" for number in range(200))
    file = shell.writes("text", text)
    shell.program("pages", f"#!/bin/sh\necho before\nless '{file}'\necho after\n")

    shell.types("pages", until=r"line 20 of").presses("q")
    shell.types("echo next")

    kept, following = shell.session.commands()
    assert b"of the text" not in printed(kept)
    assert printed(kept).startswith(b"before\r\n")
    assert printed(kept).endswith(b"after\r\n")
    assert kept.output["alternate_screen"] > 20 * len("line 1 of the text")
    assert kept.output["seen"] == len(printed(kept)) + kept.output["alternate_screen"]
    assert (kept.output["truncated"], following.printed) == (False, b"next\r\n")
    assert "on the alternate screen, not kept" in shell.devtrace("show", kept.id).stdout


@pytest.mark.needs("vim")
def test_the_screens_of_an_editor_are_counted_and_not_kept(shell: Shell) -> None:
    file = shell.writes("text", "the text of the file\n")
    line = f"vim -u NONE -i NONE -n {file}"

    shell.types(line, until="the text of the file").presses("ihello \x1b:wq\r").types("echo next")

    kept, following = shell.session.commands()
    assert (kept.command, kept.exit_code, following.printed) == (line, 0, b"next\r\n")
    assert b"the text" not in printed(kept)
    assert kept.output["alternate_screen"] > len("the text of the file")
    assert file.read_text() == "hello the text of the file\n"


def test_after_a_program_that_never_left_the_other_screen_output_is_kept(shell: Shell) -> None:
    shell.types(prints(shell, b"before\n\x1b[?1049hon the other screen")).types("echo next")

    left, following = shell.session.commands()

    assert (left.printed, following.printed) == (b"before\r\n", b"next\r\n")
    assert left.output["alternate_screen"] == len(b"\x1b[?1049hon the other screen")


def test_a_password_that_is_not_shown_is_not_kept(shell: Shell) -> None:
    shell.program(
        "asks",
        "#!/bin/sh\nstty -echo\nprintf 'pass''word? '\nread word\nstty echo\necho; echo \"${#word} signs\"\n",
    )

    shell.types("asks", until=r"password\? ").presses("correct-horse\r", until="13 signs")
    shell.waits_for(shell.ready)

    assert shell.command_alone.printed == b"password? \r\n13 signs\r\n"
    assert is_nowhere(shell, b"correct-horse")


def test_a_password_that_the_shell_itself_reads_is_not_kept(shell: Shell) -> None:
    line, said = {
        "bash": ("read -rsp 'word? ' word; echo; echo ${#word} signs", "word\\? $"),
        "zsh": ("read -rs 'word?word? '; echo; echo ${#word} signs", "word\\? $"),
        "fish": ("read -s -P 'word? ' word; echo (string length -- $word) signs", "word\\? [^']*$"),
    }[shell.kind.name]

    shell.types(line, until=f"\n[^\n]*{said}").sends("correct-horse\r").waits_for(r"13 signs\r\n")
    shell.waits_for(shell.ready)

    assert b"13 signs\r\n" in printed(shell.command_alone)
    assert is_nowhere(shell, b"correct-horse")


# --- where the streams lead ---------------------------------------------------------------------------------


@pytest.mark.shells("bash", "zsh")
def test_with_stderr_in_a_file_nothing_of_ours_is_in_it(shell: Shell) -> None:
    """bash writes its prompt there too, so the test goes by what is stored."""
    shell.starts()
    for count, line in enumerate(("exec 2>errors", "echo vis''ible; echo hid''den >&2", "echo ag''ain")):
        shell.sends(line + "\r")
        shell.until(lambda session: len(session.commands()) > count)  # noqa: B023 - called at once
        shell.until(lambda session: session.commands()[-1].status != "running")

    assert shell.ends("exit 4\r") == 4
    assert [text for text, _ in shell.session.told()] == [
        "exec 2>errors", "echo vis''ible; echo hid''den >&2", "echo ag''ain", "exit 4",
    ]  # fmt: skip
    _, first, second, _ = shell.session.commands()
    assert (first.printed, second.printed) == (b"visible\r\n", b"again\r\n")
    errors = (shell.here / "errors").read_bytes()
    assert b"hidden\n" in errors
    assert b"6973" not in errors


@pytest.mark.shells("bash", "zsh")
def test_with_stdout_in_a_file_only_the_commands_output_is_in_it(shell: Shell) -> None:
    shell.types("exec >out").types("echo hidden").types("echo visible >&2").types("exec >/dev/tty")
    shell.types("echo back")

    out = (shell.here / "out").read_bytes()  # a user's line editor may switch the keyboard there
    assert out.replace(b"\x1b[?1h\x1b=", b"").replace(b"\x1b[?1l\x1b>", b"") == b"hidden\n"
    assert [one.printed for one in shell.session.commands()] == [
        None, None, b"visible\r\n", None, b"back\r\n",
    ]  # fmt: skip


@pytest.mark.parametrize("joined", [False, True])
def test_output_on_pipes_passes_unchanged_and_is_kept_by_command(piped: Home, joined: bool) -> None:
    data = bytes(range(256)) + b"no newline"
    command = prints(piped, data)
    piped.program("complains", "#!/bin/sh\necho out\necho err >&2\n")

    piped.devtrace("init")  # which would be said
    done = piped.pipe(f"{command}\ncomplains\ntrue\n", joined=joined)

    assert (done.status, done.stdout) == (0, data + b"out\n" + (b"err\n" if joined else b""))
    assert done.stderr == (b"" if joined else b"err\n")
    session = piped.open_session()
    first, second, third = session.commands()
    session.close()
    assert (first.printed, third.printed) == (data, None)
    assert sorted(printed(second).splitlines()) == [b"err", b"out"]
    assert second.output["stderr"] == (None if joined else 4)


# --- the recording ------------------------------------------------------------------------------------------


def test_a_session_is_exported_with_a_marker_for_every_command(shell: Shell) -> None:
    shell.program("screen", "#!/bin/sh\nprintf 'before\\n\\033[?1049hhidden\\033[?1049l'\n")
    for line in ("echo one", prints(shell, b"\xff no utf-8, no newline"), "false", "screen"):
        shell.types(line)
    shell.sends("exit 3\r")
    shell.ends(None)

    told = shell.devtrace("export", shell.session.id, "--format", "asciicast")

    header, events = read_strictly(told.stdout.splitlines())
    assert (header["term"]["cols"], header["term"]["rows"]) == (300, 24)
    assert [data for _, code, data in events if code == "m"] == [
        "echo one",
        "print-it",
        "false",
        "screen",
        "exit 3",
    ]
    assert events[-1][1:] == ("x", "3")
    written = "".join(data for _, code, data in events if code == "o")
    assert (
        "$ echo one\r\none\r\n$ print-it\r\n\ufffd no utf-8, no newline\r\n$ false\r\n$ screen\r\n" in written
    )
    assert "before\r\n[22 B on the alternate screen, not kept]" in written
    assert "hidden" not in written
