"""bash: the user's own PROMPT_COMMAND, PS0 and DEBUG trap do what they did, and every command is recorded."""

from __future__ import annotations

import pytest

from tests.acceptance.traced import Shell

pytestmark = pytest.mark.shells("bash")

LINES = ["echo one", "(exit 7)", "echo three"]
TOLD = [("echo one", 0), ("(exit 7)", 7), ("echo three", 0)]


def runs_as_ever(shell: Shell, before: int = 0) -> bool:
    """Whether the usual three commands are recorded, with all there is to know of them."""
    for line in LINES:
        shell.types(line)
    kept = shell.session.commands()[before:]
    assert [(one.command, one.exit_code) for one in kept] == TOLD
    assert [one.printed for one in kept] == [b"one\r\n", None, b"three\r\n"]
    return True


# --- PROMPT_COMMAND -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "own",
    [
        "mine",
        "mine;",
        "mine ; ",
        "mine; :",
        "mine # with a comment",
        " mine",
        "mine\n",
        "mine &>/dev/null; mine",
        "mine; { :; }",
        "if true; then mine; fi",
    ],
)
def test_a_prompt_command_of_the_user_goes_on(shell: Shell, own: str) -> None:
    if "#" in own and (why := shell.kind.lacks("comments_in_prompt_command")):
        pytest.skip(f"{shell.kind.label}: {why}")
    shell.startup(f"mine() {{ ran+=x; }}\nPROMPT_COMMAND='{own}'")

    shell.types("ran=").types("echo ran $ran", until="ran xx?\r\n").waits_for(shell.ready)

    assert runs_as_ever(shell, before=2)


@pytest.mark.able("prompt_arrays")
def test_every_part_of_an_array_of_prompt_commands_goes_on(shell: Shell) -> None:
    shell.startup("PROMPT_COMMAND=('a+=1' 'b+=$?' 'c+=1;')")

    shell.types("a= b= c=").types("(exit 3)").types("echo $a/$b/$c", until="11/03/11\r\n")
    shell.waits_for(shell.ready)

    assert runs_as_ever(shell, before=3)


@pytest.mark.parametrize(
    "change",
    [
        'PROMPT_COMMAND="$PROMPT_COMMAND; mine"',
        'PROMPT_COMMAND="${PROMPT_COMMAND%;};mine;"',
        'PROMPT_COMMAND="$PROMPT_COMMAND\nmine"',
        'PROMPT_COMMAND="mine; $PROMPT_COMMAND"',
        'PROMPT_COMMAND="mine;$PROMPT_COMMAND"',
        'PROMPT_COMMAND="mine; $PROMPT_COMMAND; mine"',
        'PROMPT_COMMAND="mine;$PROMPT_COMMAND;mine"',
    ],
)
@pytest.mark.parametrize("before", ["", "PROMPT_COMMAND=first"])
def test_a_prompt_command_may_be_changed_at_the_prompt(shell: Shell, change: str, before: str) -> None:
    shell.startup(f"mine() {{ ran+=x; }}\nfirst() {{ :; }}\n{before}")
    shell.types(change).types("ran=").types("echo ran $ran.", until="ran x*\\.\r\n").waits_for(shell.ready)

    assert runs_as_ever(shell, before=3)
    ran = shell.session.commands()[2].printed.decode()
    assert ("x" in ran) == ("mine" in change)
    assert "error" not in shell.shown


@pytest.mark.able("overwritten_prompt_command")
@pytest.mark.parametrize("change", ["PROMPT_COMMAND='mine'", "PROMPT_COMMAND='mine;'"])
@pytest.mark.parametrize("before", ["", "PROMPT_COMMAND=first"])
def test_a_prompt_command_may_be_overwritten_at_the_prompt(shell: Shell, change: str, before: str) -> None:
    shell.startup(f"mine() {{ ran+=x; }}\nfirst() {{ :; }}\n{before}")
    shell.types(change).types("ran=").types("echo ran $ran.", until="ran xx?\\.\r\n").waits_for(shell.ready)

    assert runs_as_ever(shell, before=3)


@pytest.mark.able("ps0")
@pytest.mark.parametrize("change", ["unset PROMPT_COMMAND", "PROMPT_COMMAND="])
@pytest.mark.parametrize("before", ["", "PROMPT_COMMAND=first"])
def test_a_prompt_command_may_be_taken_away_at_the_prompt(shell: Shell, change: str, before: str) -> None:
    shell.startup(f"first() {{ :; }}\n{before}")
    shell.types(change).types("true")

    assert runs_as_ever(shell, before=2)


@pytest.mark.able("ps0")
def test_the_command_that_overwrites_prompt_command_has_its_status_too(shell: Shell) -> None:
    for line in ("PROMPT_COMMAND=:", "(exit 7)", "echo three", "PROMPT_COMMAND=; false", "true"):
        shell.types(line)

    assert [code for _, code in shell.session.told()] == [0, 7, 0, 1, 0]


@pytest.mark.able("prompt_arrays")
@pytest.mark.parametrize("change", ["PROMPT_COMMAND+=(mine)", 'PROMPT_COMMAND=(mine "${PROMPT_COMMAND[@]}")'])
def test_an_array_of_prompt_commands_may_grow_at_either_end(shell: Shell, change: str) -> None:
    shell.startup("mine() { ran+=x; }\nPROMPT_COMMAND=(: :)")
    shell.types(change).types("ran=").types("echo ran $ran.", until="ran xx?\\.\r\n").waits_for(shell.ready)

    assert runs_as_ever(shell, before=3)


def test_a_prompt_command_sees_the_status_and_the_last_argument(shell: Shell) -> None:
    shell.startup("""PROMPT_COMMAND='seen="$?:$_"'""")

    for line in ("sh -c 'exit 9' first last", "echo $seen", "true", "echo $seen"):
        shell.types(line)

    printed = [one.printed for one in shell.session.commands()]
    assert printed == [None, b"9:last\r\n", None, b"0:true\r\n"]


def test_the_last_argument_is_still_there_for_the_next_command(shell: Shell) -> None:
    shell.types("echo a last-one").types("echo $_").types("f() { :; }; f x y").types("echo $_")

    printed = [one.printed for one in shell.session.commands()]
    assert printed[1] == b"last-one\r\n"
    assert printed[3] == b"y\r\n"


def test_a_prompt_command_that_fails_harms_nothing(shell: Shell) -> None:
    shell.startup("PROMPT_COMMAND='no-such-command; false'")

    assert runs_as_ever(shell)


def test_a_prompt_command_that_rewrites_itself_at_the_first_prompt_is_survived(shell: Shell) -> None:
    shell.startup(
        """first_time() {
          PROMPT_COMMAND="invoke"$'\\n'"${PROMPT_COMMAND//first_time/:}"$'\\n'"last"
          invoke; last
        }
        invoke() { local s=$?; ran+=i; return $s; }
        last() { ran+=l; }
        PROMPT_COMMAND='first_time'"""
    )
    shell.types("ran=").types("echo ran $ran", until="ran il\r\n").waits_for(shell.ready)

    assert runs_as_ever(shell, before=2)


def test_a_readonly_prompt_command_costs_the_ends_and_no_command(shell: Shell) -> None:
    shell.startup("PROMPT_COMMAND=:\nreadonly PROMPT_COMMAND")
    for line in LINES:
        shell.types(line)

    if shell.kind.lacks("starts_of_its_own"):
        shell.wants_no_gaps = (
            False  # its hook lives in PROMPT_COMMAND alone: nothing is recorded, and it is said
        )
        return
    kept = shell.session.commands()
    assert [(one.command, one.exit_code) for one in kept] == TOLD
    assert [one.exit_source for one in kept] == ["next_prompt", "next_prompt", "waitpid"]
    assert "prompt_command_readonly" in shell.session.row["meta"]["warnings"]


# --- PS0 ----------------------------------------------------------------------------------------------------


@pytest.mark.able("ps0")
def test_a_ps0_of_the_user_is_still_shown(shell: Shell) -> None:
    shell.startup("PS0='<<\\u>>'")
    shell.types("echo one")

    assert shell.shown.count("<<root>>") + shell.shown.count("<<") >= 1
    assert runs_as_ever(shell, before=1)


@pytest.mark.able("ps0")
@pytest.mark.parametrize("change", ["PS0='<mine>'", "unset PS0", "PS0=", "PS0='<mine>'$PS0", "PS0+='<mine>'"])
def test_a_ps0_may_be_changed_at_the_prompt(shell: Shell, change: str) -> None:
    shell.types(change)

    assert runs_as_ever(shell, before=1)
    assert shell.shown.count("<mine>\r") + shell.shown.count("<mine>o") > 0 or "mine" not in change


@pytest.mark.able("ps0")
def test_a_readonly_ps0_costs_the_starts_and_no_command(shell: Shell) -> None:
    shell.startup("readonly PS0=")
    for line in LINES:
        shell.types(line)

    assert shell.session.told() == TOLD
    assert "ps0_readonly" in shell.session.row["meta"]["warnings"]


@pytest.mark.able("ps0")
def test_without_promptvars_nothing_of_ours_is_shown(shell: Shell) -> None:
    shell.startup("shopt -u promptvars")
    for line in LINES:
        shell.types(line)

    assert shell.session.told() == TOLD
    assert "__devtrace" not in shell.shown
    assert "promptvars_off" in shell.session.row["meta"]["warnings"]


@pytest.mark.able("ps0")
def test_promptvars_may_go_off_and_on_at_the_prompt(shell: Shell) -> None:
    shell.types("shopt -u promptvars").types("false").types("shopt -s promptvars").types("(exit 4)")

    assert runs_as_ever(shell, before=4)
    assert [one.exit_code for one in shell.session.commands()[:4]] == [0, 1, 0, 4]
    assert "__devtrace" not in shell.shown


# --- DEBUG traps --------------------------------------------------------------------------------------------


def test_a_debug_trap_of_the_user_still_fires_for_every_command(shell: Shell) -> None:
    shell.startup("""trap 'printf "<%s>" "it'\\''s $BASH_COMMAND"' DEBUG""")
    shell.types("echo one; echo two").types("f() { :; }").types("f").types("(exit 3)").types("true | cat")

    shown = shell.shown
    for command in ("echo one", "echo two", "f", "true", "cat"):
        assert f"<it's {command}>" in shown
    assert shown.count("<it's echo one>") == 1
    assert shell.session.told() == [
        ("echo one; echo two", 0), ("f() { :; }", 0), ("f", 0), ("(exit 3)", 3), ("true | cat", 0),
    ]  # fmt: skip


def test_a_debug_trap_set_at_the_prompt_stays(shell: Shell) -> None:
    shell.types("trap 'printf D' DEBUG").types("echo one").types("trap -p DEBUG", until="printf D").waits_for(
        shell.ready
    )

    assert "Done\r\n" in shell.shown
    assert shell.session.told()[1:] == [("echo one", 0), ("trap -p DEBUG", 0)]


def test_a_debug_trap_may_be_taken_away(shell: Shell) -> None:
    shell.startup("trap 'printf D' DEBUG")
    shell.types("trap - DEBUG")

    assert runs_as_ever(shell, before=1)


@pytest.mark.able("ps0")
def test_a_shell_without_a_debug_trap_gets_none(shell: Shell) -> None:
    shell.types("true").types("trap")

    assert shell.session.commands()[1].printed is None


def test_a_loop_of_many_commands_is_one_command(shell: Shell) -> None:
    shell.types("for ((i = 0; i < 3000; i++)); do :; done").types("echo after")

    assert [text for text, _ in shell.session.told()][1:] == ["echo after"]


# --- options and oddities -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        "set -u",
        "set -T",
        "set -E",
        "set -f",
        "set -C",
        "set -o posix",
        "set -o vi",
        "set -b",
        "set +m",
        "set +B",
        "set +h",
        "set -P",
        "set +H",
        "IFS=",
        "IFS=_d",
        "IFS=0123456789",
        "shopt -s nullglob failglob nocasematch",
        "shopt -s nocaseglob dotglob extglob",
        "shopt -s extdebug",
        "shopt -s lithist",
        "shopt -u sourcepath expand_aliases interactive_comments",
        "shopt -s compat31",
        "LC_ALL=C",
        "LC_ALL=tr_TR.UTF-8 2>/dev/null",
        "LC_NUMERIC=de_DE.UTF-8",
        "POSIXLY_CORRECT=1",
        "HISTTIMEFORMAT='%F %T '",
        "PS4='+ $(echo ps4) '",
        "alias builtin='echo alias' local='echo alias' printf='echo alias' trap='echo alias'",
        "history() { echo function; }",
        "printf() { echo function; }",
        "read() { echo function; }",
        "shopt() { echo function; }",
        "eval() { echo function; }",
        "umask 777; umask 022",
        "ulimit -n 64",
        "enable -n history; enable history",
        "TMPDIR=/nonexistent",
        "PATH=/nonexistent; true",
        "cd / && cd - >/dev/null",
        "unset DEVTRACE_SPAN DEVTRACE_SESSION",
        "exec 9>&1",
    ],
)
def test_whatever_the_user_has_set_the_record_is_the_same(shell: Shell, odd: str) -> None:
    if "sourcepath expand" in odd:
        odd = "shopt -u sourcepath expand_aliases"
    shell.types(odd)

    assert runs_as_ever(shell, before=1)


@pytest.mark.parametrize(
    "odd",
    [
        "set -u",
        "set -T",
        "set -o vi",
        "shopt -s nullglob failglob",
        "IFS=_d",
        "set -C",
        "PS1='two\\nlines ready$ '",
        "PS1='\\[\\e[32m\\]\\u@\\h \\w\\[\\e[0m\\] ready$ '",
        "PS1='$(date +%s) ready$ '",
    ],
)
def test_whatever_the_users_startup_file_has_set_the_record_is_the_same(shell: Shell, odd: str) -> None:
    shell.startup(odd)

    assert runs_as_ever(shell)


def test_under_set_x_only_the_users_commands_are_traced(shell: Shell) -> None:
    shell.types("set -x").types("echo one").types("(exit 7)").types("set +x")

    shown = shell.shown.split("ready$ ", 1)[1]
    assert "devtrace" not in shown
    assert "builtin" not in shown
    assert shell.session.told() == [("set -x", 0), ("echo one", 0), ("(exit 7)", 7), ("set +x", 0)]


def test_under_set_e_a_status_that_is_no_failure_does_not_end_the_shell(shell: Shell) -> None:
    shell.types("set -e").types("! true").types("false || :").types("if false; then :; fi").types(
        "echo alive"
    )

    assert [code for _, code in shell.session.told()] == [0, 1, 0, 0, 0]


def test_sourcing_the_startup_file_again_records_nothing_twice(shell: Shell) -> None:
    shell.types(". ~/.bashrc").types(". ~/.bashrc")

    assert runs_as_ever(shell, before=2)


def test_the_hooks_sourced_again_record_nothing_twice(shell: Shell) -> None:
    shell.types("true")
    hooks = shell.hooks_directory() / "devtrace.bash"
    shell.types(f". '{hooks}'")

    assert runs_as_ever(shell, before=2)


def test_completion_is_no_command(shell: Shell) -> None:
    (shell.here / "a-file-with-a-long-name").touch()
    shell.startup(
        "_complete() { COMPREPLY=(completed); local x; for x in 1 2 3; do :; done; }\n"
        "complete -F _complete mine\n"
        "mine() { echo $1; }"
    )
    shell.starts().sends("mine c\t").waits_for("completed")
    shell.presses("\r").sends("cat a-f\t").waits_for("a-file-with-a-long-name")
    shell.presses("\r")

    assert [text.strip() for text, _ in shell.session.told()] == [
        "mine completed",
        "cat a-file-with-a-long-name",
    ]


@pytest.mark.able("bind_x")
def test_bind_x_is_no_command(shell: Shell) -> None:
    shell.startup("bind -x '\"\\C-g\": echo bound'")
    shell.starts().presses("\x07", until="bound\r\n").waits_for(shell.ready)  # the prompt is drawn anew
    shell.types("true")

    assert shell.session.told() == [("true", 0)]


def test_it_finds_the_statuses_of_a_pipeline_and_the_last_argument(shell: Shell) -> None:
    lines = [
        "false | true",
        "true a",
        "sh -c 'exit 3' | true b | false",
        "! false | true",
        "false",
    ]
    shell.startup("PROMPT_COMMAND='echo \"$? ${PIPESTATUS[*]} $_\" >>~/seen-$WHERE'")
    shell.env["WHERE"] = "bare"
    bare = shell.bare()
    shell.env["WHERE"] = "traced"
    for line in lines:
        bare.types(line)
        shell.types(line)
    shell.ends()

    bare_saw, saw = ((shell.home / f"seen-{where}").read_text() for where in ("bare", "traced"))

    assert saw.splitlines() == bare_saw.splitlines()
    assert saw.splitlines()[1:3] == ["0 1 0 ", "0 0 a"]


def test_a_status_above_1_is_what_it_finds_without_the_pipeline_s(shell: Shell) -> None:
    shell.startup("PROMPT_COMMAND='echo \"$? ${PIPESTATUS[*]}\" >>~/seen'")
    shell.types("false | sh -c 'exit 3'").types("true").ends()

    assert (shell.home / "seen").read_text().splitlines()[1] == "3 3"


def test_errexit_and_a_trap_of_err_hear_nothing_of_it(shell: Shell) -> None:
    shell.startup("PROMPT_COMMAND=:; trap 'echo $WHERE >>~/heard' ERR")
    for where, one in (("bare", shell.bare()), ("traced", shell)):
        one.types(f"WHERE={where}").types("true | false").types("false | true").types("true")
    shell.ends()

    heard = (shell.home / "heard").read_text().splitlines()
    assert heard.count("traced") == heard.count("bare") == len(heard) / 2


@pytest.mark.able("ps0")  # who has none joins the functions of bash-preexec, which is not here
def test_it_is_kept_short_for_bash_preexec_whose_patterns_take_its_length_cubed(shell: Shell) -> None:
    shell.startup("PROMPT_COMMAND=:")
    shell.types('echo "$PROMPT_COMMAND"').types("bash_preexec_imported=defined")
    shell.types('echo "${PROMPT_COMMAND[*]}"').types("false")

    long, _, short, _ = shell.session.commands()

    assert b"__devtrace_again" in long.printed
    assert b"__devtrace_again" not in short.printed
    assert short.printed.count(b"__devtrace_precmd") == 2  # the one that is called, and the one in our tail
    assert shell.session.told()[-1] == ("false", 1)
