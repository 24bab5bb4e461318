"""How a command ended: its status, those of its pipeline, when, and what was no command at all."""

from __future__ import annotations

import shutil
import signal

import pytest

from tests.acceptance.traced import CTRL_C, CTRL_D, CTRL_Z, Shell

# --- status -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("true", 0),
        ("false", 1),
        ("sh -c 'exit 42'", 42),
        ("no-such-command", 127),
        ("./no-program", 126),
        ("sh -c 'kill -TERM $$'", 143),
        ("sh -c 'kill -KILL $$'", 137),
        ("sh -c 'kill -SEGV $$'", 139),
    ],
)
def test_the_status_is_the_shells_own(shell: Shell, line: str, status: int) -> None:
    (shell.here / "no-program").write_text("no program\n")

    shell.types(line)

    kept = shell.command_alone
    assert (kept.command, kept.exit_code, kept.exit_source) == (line, status, "shell")
    assert kept.status == ("ok" if status == 0 else "failed")


@pytest.mark.shells("bash", "zsh")
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("(exit 7)", 7),
        ("! true", 1),
        ("false || (exit 9)", 9),
        ("true && false", 1),
        ("[[ a == b ]]", 1),
        ("((0))", 1),
        ("f() { return 5; }; f", 5),
        ("x=$(exit 6)", 6),
        ("while true; do break; done", 0),
        ("if false; then :; fi", 0),
    ],
)
def test_the_status_of_a_compound_command_is_its_own(shell: Shell, line: str, status: int) -> None:
    shell.types(line)

    assert shell.session.told() == [(line, status)]


@pytest.mark.shells("bash", "zsh")
def test_the_status_of_a_definition_is_not_that_of_the_command_before(shell: Shell) -> None:
    shell.types("(exit 7)").types("f() { :; }").types("false").types("f")

    assert shell.session.told() == [("(exit 7)", 7), ("f() { :; }", 0), ("false", 1), ("f", 0)]


@pytest.mark.shells("bash", "zsh")
def test_the_user_sees_the_status_of_his_last_command(shell: Shell) -> None:
    for line in ("(exit 7)", "echo is $?", "true", "echo is $?"):
        shell.types(line)

    assert [one.printed for one in shell.session.commands()] == [None, b"is 7\r\n", None, b"is 0\r\n"]


def test_a_command_of_a_fifth_of_a_second_took_a_fifth_of_a_second(shell: Shell) -> None:
    shell.types("sleep 0.2")

    kept = shell.command_alone

    assert 180_000 < kept.duration_us < 5_000_000
    assert kept.ended_us - kept.started_us == kept.duration_us
    assert shell.session.row["started_us"] < kept.started_us
    assert kept.ended_us <= shell.session.row["ended_us"]


# --- pipelines ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "statuses"),
    [
        ("true | false | true", [0, 1, 0]),
        ("false | true", [1, 0]),
        ("true | sh -c 'exit 3'", [0, 3]),
        ("echo a | cat | wc -c", [0, 0, 0]),
    ],
)
def test_a_pipeline_keeps_the_status_of_each_part(shell: Shell, line: str, statuses: list[int]) -> None:
    shell.types(line)

    kept = shell.command_alone
    assert (kept.exit_code, kept.pipestatus) == (statuses[-1], statuses)


@pytest.mark.shells("bash", "zsh")
@pytest.mark.parametrize("line", ["true", "f() { true | true; }", "x=1", "(exit 2)", "[[ a ]]"])
def test_what_is_no_pipeline_does_not_inherit_the_statuses_of_one(shell: Shell, line: str) -> None:
    shell.types("false | true | true").types(line)

    assert shell.session.commands()[1].pipestatus is None


@pytest.mark.shells("bash", "zsh")
def test_with_pipefail_the_status_is_that_of_the_part_that_failed(shell: Shell) -> None:
    shell.types("set -o pipefail").types("sh -c 'exit 4' | true").types("true | true")

    _, failed, fine = shell.session.commands()

    assert (failed.exit_code, failed.pipestatus) == (4, None)
    assert (fine.exit_code, fine.pipestatus) == (0, None)


@pytest.mark.shells("bash")
def test_digits_in_ifs_do_not_run_the_statuses_together(shell: Shell) -> None:
    shell.types("IFS=0123456789,-").types("true | false | true").types("(exit 7)")

    _, pipeline, alone = shell.session.commands()

    assert (pipeline.exit_code, pipeline.pipestatus) == (0, [0, 1, 0])
    assert alone.exit_code == 7


# --- no command ---------------------------------------------------------------------------------------------


def test_an_empty_line_is_no_command(shell: Shell) -> None:
    shell.types("").types("").types("   ").types("true").types("")

    assert shell.session.told() == [("true", 0)]


def test_a_line_given_up_with_ctrl_c_is_no_command(shell: Shell) -> None:
    shell.starts().presses("echo half", until="half").gives_up()
    shell.types("true")

    assert shell.session.told() == [("true", 0)]


@pytest.mark.shells("bash", "zsh")
def test_half_a_block_given_up_with_ctrl_c_is_no_command(shell: Shell) -> None:
    shell.types("for i in 1 2 3", until="more> ").gives_up().types("false")

    kept = shell.command_alone

    assert (kept.command, kept.exit_code) == ("false", 1)
    assert kept.text_form == "exact"


@pytest.mark.shells("bash")
def test_a_comment_is_no_command(shell: Shell) -> None:
    shell.types("# only a comment").types("  # another").types("true")

    assert shell.session.told() == [("true", 0)]


@pytest.mark.shells("zsh")
def test_a_comment_is_no_command_where_zsh_allows_comments(shell: Shell) -> None:
    shell.startup("setopt interactive_comments")
    shell.types("# only a comment").types("true")

    assert shell.session.told()[-1] == ("true", 0)
    assert len(shell.session.commands()) <= 2  # zsh hands a comment to preexec


@pytest.mark.shells("bash", "zsh")
def test_what_does_not_parse_is_no_command(shell: Shell) -> None:
    shell.types("echo ) (").types("true")

    assert shell.session.told() == [("true", 0)]


# --- signals and jobs ---------------------------------------------------------------------------------------


# Ctrl-C goes to whoever is in front, so a test waits for the program to say that it is.
WAITS = "#!/bin/sh\necho ready and w''aiting\nexec cat\n"
STOPS = "#!/bin/sh\necho stops\nkill -STOP $$\necho goes on\nexit 6\n"


def test_a_command_that_ctrl_c_ended_has_the_status_130(shell: Shell) -> None:
    shell.program("wait-for-me", WAITS)
    shell.types("wait-for-me", until="ready and waiting").presses(CTRL_C)

    assert shell.session.told() == [("wait-for-me", 130)]


@pytest.mark.able("interrupted_loops")
@pytest.mark.shells("bash", "zsh")
def test_a_loop_of_the_shell_that_ctrl_c_ended_has_the_status_130(shell: Shell) -> None:
    shell.starts().sends("while :; do :; done\r")
    shell.until(lambda session: [one for one in session.commands() if one.status == "running"])
    shell.presses(CTRL_C)
    shell.types("echo after")

    assert shell.session.told() == [("while :; do :; done", 130), ("echo after", 0)]


@pytest.mark.shells("bash", "zsh")
def test_a_command_that_ctrl_z_stopped_has_the_status_148(shell: Shell) -> None:
    shell.program("wait-for-me", WAITS)
    shell.types("wait-for-me", until="ready and waiting").presses(CTRL_Z).types("jobs")
    # Ended here, or the shell may not want to end. By `fg`: the `wait` of bash waits for no job that it
    # holds for stopped, and so not for one whose end by the signal it has not heard of yet.
    shell.types("kill -9 %1; fg")

    stopped, jobs, *_ = shell.session.commands()

    assert (stopped.command, stopped.exit_code) == ("wait-for-me", 128 + signal.SIGTSTP)
    assert b"wait-for-me" in jobs.printed


@pytest.mark.able("continued_jobs")
@pytest.mark.shells("bash", "zsh")  # the fg of fish ends with 0 in any case
def test_a_job_that_is_continued_is_a_command_of_its_own(shell: Shell) -> None:
    shell.program("stop-for-me", STOPS)
    shell.types("stop-for-me").types("fg")

    stopped, continued = shell.session.commands()

    assert stopped.command == "stop-for-me"
    assert (continued.command, continued.exit_code) == ("fg", 6)
    assert b"goes on" not in stopped.printed
    assert b"goes on" in continued.printed


def test_a_command_in_the_background_ends_with_its_line(shell: Shell) -> None:
    # Ended here, or the shell may not want to end. In one line: a zsh that hears of the end at its prompt
    # draws that once more, and what is typed too soon after it is lost.
    shell.types("sleep 100 &").types("kill -9 %1; wait")

    background = shell.session.commands()[0]

    assert (background.command, background.exit_code) == ("sleep 100 &", 0)
    assert background.duration_us < 10_000_000


# --- the shell's own end ------------------------------------------------------------------------------------


def test_the_command_that_ends_the_shell_has_the_shells_status(shell: Shell) -> None:
    shell.starts().sends("exit 3\r")

    assert shell.ends(None) == 3
    assert shell.session.told() == [("exit 3", 3)]
    assert shell.session.row["exit_code"] == 3


@pytest.mark.shells("bash", "zsh")  # fish ends with 0 there
def test_at_the_end_of_its_input_the_shell_ends_with_the_last_status(shell: Shell) -> None:
    shell.types("sh -c 'exit 5'")

    assert shell.ends(CTRL_D) == 5
    assert shell.session.told() == [("sh -c 'exit 5'", 5)]
    assert shell.session.row["status"] == "ended"


def test_a_shell_that_a_signal_killed_ends_with_128_and_its_number(shell: Shell) -> None:
    line = "kill -KILL $fish_pid" if shell.kind.name == "fish" else "kill -KILL $$"
    shell.starts().sends(f"{line}\r")

    assert shell.ends(None) == 137
    (kept,) = shell.session.commands()
    assert (kept.command, kept.exit_code, kept.exit_source) == (line, 137, "waitpid")


@pytest.mark.shells("bash")  # the others end a hang-up with a status of their own
def test_a_shell_that_hangs_itself_up_ends_with_129(shell: Shell) -> None:
    shell.starts().sends("kill -HUP $$\r")

    assert shell.ends(None) == 129
    assert shell.session.told() == [("kill -HUP $$", 129)]


@pytest.mark.shells("bash", "zsh")
def test_exec_ends_the_shell_with_the_status_of_what_it_became(shell: Shell) -> None:
    shell.starts().sends("exec sh -c 'exit 9'\r")

    assert shell.ends(None) == 9
    (kept,) = shell.session.commands()
    assert (kept.command, kept.exit_code, kept.exit_source) == ("exec sh -c 'exit 9'", 9, "waitpid")


@pytest.mark.shells("bash", "zsh")
def test_an_exit_trap_of_the_user_still_runs(shell: Shell) -> None:
    shell.startup("trap 'echo good''bye' EXIT")
    shell.types("true").sends("exit 4\r")

    assert shell.ends(None) == 4
    assert "goodbye" in shell.shown
    assert shell.session.told() == [("true", 0), ("exit 4", 4)]


@pytest.mark.shells("bash")
def test_a_shell_that_set_e_ended_leaves_the_command_that_failed(shell: Shell) -> None:
    shell.types("set -e").types("true").sends("false\r")

    assert shell.ends(None) == 1
    assert shell.session.told() == [("set -e", 0), ("true", 0), ("false", 1)]


@pytest.mark.shells("bash", "zsh")
def test_the_exit_of_a_subshell_is_not_the_end_of_the_line(shell: Shell) -> None:
    shell.types("(exit 7); sh -c 'exit 5'; (exit 3) | true")

    assert shell.session.told() == [("(exit 7); sh -c 'exit 5'; (exit 3) | true", 0)]


@pytest.mark.shells("bash", "zsh")
def test_tracing_shows_little_of_us_and_no_nonce(shell: Shell) -> None:
    shell.types("set -x").types("echo one").types("set +x").ends()

    ours = [line for line in shell.shown.splitlines() if line.startswith("+") and "__devtrace" in line]
    assert len(ours) <= {"bash": 0, "zsh": 14}[shell.kind.name]
    assert "6973" not in shell.shown
    assert "EXIT" not in shell.shown


@pytest.mark.parametrize("line", ["{bash}", "{bash} --norc -i", "exec {bash} --norc"])
def test_a_shell_inside_that_has_no_hooks_is_said_to_be_a_gap(shell: Shell, line: str) -> None:
    shell.wants_no_gaps = False
    shell.types(line.format(bash=shutil.which("bash")), until=r"[$#] ").types("echo unheard", until=r"[$#] ")
    shell.sends(CTRL_D)
    if not line.startswith("exec"):
        shell.waits_for(shell.ready)

    session = shell.session
    assert "echo unheard" not in [command for command, _ in session.told()]
    assert ["inner_shell" in str(gap) for gap in session.gaps()] == [True]
