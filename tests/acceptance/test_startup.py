"""The user's own start-up files run as ever, in their order, and find what they would find without us."""

from __future__ import annotations

import re

import pytest

from devtrace import bootstrap
from tests.acceptance.traced import Shell

ORDER = 'ORDER="$ORDER {0}"'
BASH_PROFILES = [".bash_profile", ".bash_login", ".profile"]
ZSH_FILES = [".zshenv", ".zprofile", ".zshrc", ".zlogin"]
PROMPTS = {"bash": "PS1='ready$ ' PS2='more> '", "zsh": "PROMPT='ready$ ' PROMPT2='more> '"}


def order(shell: Shell) -> str:
    """The start-up files that ran, as the shell tells it."""
    shell.types("echo order: $ORDER.", until=r"order: ([^$]*)\.\r\n").waits_for(shell.ready)
    found = re.findall(r"order: ([^$]*)\.\r\n", shell.shown)
    return " ".join(found[-1].replace(".", " ").split())  # fish makes a list of it, each with the full stop


def names_itself(shell: Shell, *files: str) -> None:
    """Start-up files that say they ran; each sets the prompt, since any may be the last."""
    for file in files:
        name = file.rpartition("/")[2].lstrip(".")
        shell.writes(file, f"{ORDER.format(name)}\n{PROMPTS[shell.kind.name]}\n")


# --- bash ---------------------------------------------------------------------------------------------------


@pytest.mark.shells("bash")
def test_bash_reads_bashrc(shell: Shell) -> None:
    names_itself(shell, ".bashrc", *BASH_PROFILES)

    assert order(shell.starts("--no-login")) == "bashrc"


@pytest.mark.shells("bash")
@pytest.mark.parametrize("present", [BASH_PROFILES, BASH_PROFILES[1:], BASH_PROFILES[2:]])
def test_a_login_bash_reads_the_first_profile_that_is_there(shell: Shell, present: list[str]) -> None:
    names_itself(shell, ".bashrc", *present)

    assert order(shell.starts("--login")) == present[0][1:]
    assert shell.types("shopt -q login_shell").session.commands()[-1].exit_code == 0


@pytest.mark.shells("bash")
def test_a_login_bash_that_has_no_profile_starts_all_the_same(shell: Shell) -> None:
    shell.env["PS1"] = "ready$ "
    names_itself(shell, ".bashrc")

    shell.starts("--login", until=r"[$#] ").types("PS1='rea''dy$ '").types("false")

    assert order(shell) == ""
    assert shell.session.told()[1] == ("false", 1)


@pytest.mark.shells("bash")
def test_a_login_bash_reads_bash_logout_at_its_end(shell: Shell) -> None:
    shell.writes(".bash_profile", ". ~/.bashrc")
    shell.writes(".bash_logout", "echo fare''well")

    shell.starts("--login").sends("exit\r")

    assert shell.ends(None) == 0
    assert "farewell" in shell.shown


@pytest.mark.shells("bash")
@pytest.mark.parametrize("login", ["--login", "--no-login"])
def test_the_history_stays_in_bash_history(shell: Shell, login: str) -> None:
    shell.writes(".bash_profile", ". ~/.bashrc")
    shell.writes(".bash_history", "an older line\n")

    shell.starts(login).types("echo $HISTFILE").types("history 2").ends("exit\r")

    assert shell.session.commands()[0].printed == f"{shell.home}/.bash_history\r\n".encode()
    assert b"echo $HISTFILE" in shell.session.commands()[1].printed
    assert (shell.home / ".bash_history").read_text().splitlines()[:2] == ["an older line", "echo $HISTFILE"]
    assert not (shell.home / ".sh_history").exists()


@pytest.mark.shells("bash")
@pytest.mark.parametrize("login", ["--login", "--no-login"])
@pytest.mark.parametrize("own", [None, "/nowhere/own-env"])
def test_env_is_what_it_was(shell: Shell, login: str, own: str | None) -> None:
    shell.writes(".bash_profile", ". ~/.bashrc")
    if own is not None:
        shell.env["ENV"] = own

    shell.starts(login).types('env | grep "^ENV="').types("set -o | grep posix")

    found, posix = shell.session.commands()
    assert found.printed == (None if own is None else f"ENV={own}\r\n".encode())
    assert b"off" in posix.printed


@pytest.mark.shells("bash")
@pytest.mark.parametrize("login", ["--login", "--no-login"])
def test_the_options_of_bash_are_those_of_the_bare_shell(shell: Shell, login: str) -> None:
    shell.writes(".bash_profile", ". ~/.bashrc")
    asks = "shopt; set -o; echo $- $0 $SHLVL $BASH; umask; ulimit -a; trap; alias; printf '%s\\n' ${!PS*}"
    bare = shell.bare(*(["-l"] if login == "--login" else []))
    shell.starts(login)

    told = [one.types(asks).types("true").shown.split("${!PS*}\r\n")[1] for one in (shell, bare)]

    ours = told[0].replace("PS0\r\n", "")
    assert ours.partition("ready$")[0] == told[1].partition("ready$")[0]


@pytest.mark.shells("bash")
def test_what_a_bashrc_returns_or_gets_wrong_is_its_own_matter(shell: Shell) -> None:
    shell.startup("[ -z never ] && nothing; no-such-command-here; if broken; then")
    shell.types("false")

    assert shell.session.told() == [("false", 1)]


@pytest.mark.shells("bash")
def test_a_bashrc_that_returns_early_is_left_early(shell: Shell) -> None:
    shell.startup("return 3\nPS1='never$ '")
    shell.types("false")

    assert shell.session.told() == [("false", 1)]


@pytest.mark.shells("bash", "zsh")
def test_a_startup_file_that_ends_the_shell_ends_it(shell: Shell) -> None:
    shell.startup("exit 7")
    shell.wants_no_gaps = False

    shell.starts(until="Recording")

    assert shell.ends(None) == 7
    assert shell.session.commands() == []


# --- zsh ----------------------------------------------------------------------------------------------------


@pytest.mark.shells("zsh")
@pytest.mark.parametrize(
    ("login", "expected"),
    [("--no-login", "zshenv zshrc"), ("--login", "zshenv zprofile zshrc zlogin")],
)
def test_zsh_reads_its_files_in_their_order(shell: Shell, login: str, expected: str) -> None:
    names_itself(shell, *ZSH_FILES)

    assert order(shell.starts(login)) == expected


@pytest.mark.shells("zsh")
@pytest.mark.parametrize("login", ["--login", "--no-login"])
def test_zsh_reads_them_where_zdotdir_says(shell: Shell, login: str) -> None:
    names_itself(shell, *(f"dots/{file}" for file in ZSH_FILES))
    shell.env["ZDOTDIR"] = str(shell.home / "dots")
    shell.starts(login)

    assert order(shell) == ("zshenv zshrc" if login == "--no-login" else "zshenv zprofile zshrc zlogin")
    shell.types("echo $ZDOTDIR")
    assert shell.session.commands()[-1].printed == f"{shell.home}/dots\r\n".encode()


@pytest.mark.shells("zsh")
def test_a_zshenv_may_set_zdotdir(shell: Shell) -> None:
    names_itself(shell, *(f"dots/{file}" for file in ZSH_FILES))
    shell.writes(".zshenv", 'ORDER="first"\nexport ZDOTDIR=~/dots\n')
    shell.writes(".zshrc", "echo wrong file")

    assert order(shell.starts("--login")) == "first zprofile zshrc zlogin"
    shell.types("false")
    assert shell.session.told()[-1] == ("false", 1)
    assert "wrong file" not in shell.shown


@pytest.mark.shells("zsh")
def test_zdotdir_is_unset_again_where_it_was_not_set(shell: Shell) -> None:
    shell.types("echo ${ZDOTDIR-unset}").types("sh -c 'echo ${ZDOTDIR-unset}'")

    assert [one.printed for one in shell.session.commands()] == [b"unset\r\n", b"unset\r\n"]


@pytest.mark.shells("zsh")
def test_a_login_zsh_reads_zlogout_at_its_end(shell: Shell) -> None:
    shell.writes(".zlogout", "echo fare''well")

    shell.starts("--login").sends("exit\r")

    assert shell.ends(None) == 0
    assert "farewell" in shell.shown


@pytest.mark.shells("zsh")
def test_a_zshenv_that_fails_or_prints_is_survived(shell: Shell) -> None:
    shell.writes(".zshenv", "no-such-command-here\nfalse\nreturn 1\n")
    shell.types("false")

    assert shell.session.told() == [("false", 1)]


@pytest.mark.shells("zsh")
def test_the_options_of_zsh_are_those_of_the_bare_shell(shell: Shell) -> None:
    asks = (
        "setopt; echo $- $0 $SHLVL; umask; ulimit -a; trap; alias; print -l ${precmd_functions:#__devtrace*}"
    )
    bare = shell.bare()
    shell.starts("--no-login")

    told = [one.types(asks).types("true").shown.split("#__devtrace*}")[-1] for one in (shell, bare)]

    def without_redraws(text: str) -> str:
        return re.sub(r"\x1b[^a-zA-Z]*[a-zA-Z=>]|[ \r]+", " ", text.partition("ready$")[0])

    assert without_redraws(told[0]) == without_redraws(told[1])


@pytest.mark.shells("zsh")
def test_the_newcomers_questions_of_zsh_are_asked_as_ever(shell: Shell) -> None:
    (shell.home / ".zshrc").unlink()
    prompt = r"[%#] |Type one of the keys in parentheses"
    asked = "zsh-newuser-install" in shell.bare(until=prompt).shown

    shell.starts("--no-login", until=prompt)

    assert ("zsh-newuser-install" in shell.shown) == asked
    shell.wants_no_gaps = False
    shell.sends("q" if asked else "").ends("\x04")


# --- fish ---------------------------------------------------------------------------------------------------


@pytest.mark.shells("fish")
@pytest.mark.parametrize("login", ["--login", "--no-login"])
def test_fish_reads_its_configuration_and_its_snippets(shell: Shell, login: str) -> None:
    shell.writes(".config/fish/conf.d/one.fish", "set -g ORDER $ORDER snippet")
    shell.startup("set -g ORDER $ORDER config")

    assert order(shell.starts(login)) == "snippet config"
    shell.types("status is-login")
    assert shell.session.commands()[-1].exit_code == (0 if login == "--login" else 1)


@pytest.mark.shells("fish")
def test_fish_finds_the_environment_that_it_was_given(shell: Shell) -> None:
    shell.env["XDG_DATA_DIRS"] = "/usr/share:/opt/share"
    shell.types("echo $XDG_DATA_DIRS").types("echo $fish_pid; functions -q fish_prompt")

    data, prompt = shell.session.commands()

    assert data.printed == b"/usr/share:/opt/share\r\n"
    assert prompt.exit_code == 0


# --- all ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("outer", "is_login"), [("-bash", True), ("bash", False)])
def test_it_is_a_login_shell_where_the_outer_one_is(shell: Shell, outer: str, is_login: bool) -> None:
    shell.writes(".bash_profile", ". ~/.bashrc")
    ask = {"bash": "shopt -q login_shell", "zsh": "[[ -o login ]]", "fish": "status is-login"}[
        shell.kind.name
    ]
    words = " ".join(f"'{word}'" for word in shell.command())
    shell.runs(["bash", "-c", f'exec -a {outer} bash --norc -c "$0; exit"', words], until=shell.ready)

    shell.types(ask)

    assert shell.session.told() == [(ask, 0 if is_login else 1)]


def test_the_environment_of_a_command_is_the_bare_shells_and_ours(shell: Shell) -> None:
    shell.env["PLAIN"] = "a value"
    bare = shell.bare()
    shell.starts("--no-login")
    told = []
    for one in (shell, bare):
        one.types("env > seen; sort seen > sorted; echo d''one", until="done\r\n").waits_for(one.ready)
        told.append((shell.here / "sorted").read_text().splitlines())

    mine = {line.partition("=")[0] for line in told[0]}
    theirs = {line.partition("=")[0] for line in told[1]}
    assert theirs - mine == set()
    assert mine - theirs == {
        "DEVTRACE_AGENT", "DEVTRACE_DIR", "DEVTRACE_FIFO", "DEVTRACE_SESSION", "DEVTRACE_SPAN", "TRACEPARENT",
        "BASH_ENV", "DEVTRACE_BASH_ENV", "PYTHONPATH",
    }  # fmt: skip
    assert f"PYTHONPATH={bootstrap.FOLDER}" in told[0]
    ours = ("DEVTRACE", "TRACEPARENT", "BASH_ENV", "PYTHONPATH", "_=")
    assert [line for line in told[0] if not line.startswith(ours)] == [
        line for line in told[1] if not line.startswith("_=")
    ]


def test_nothing_secret_of_ours_is_in_the_environment(shell: Shell) -> None:
    shell.types("env > seen").types("cat /proc/self/environ > raw")
    shell.ends()

    seen = (shell.here / "seen").read_text() + (shell.here / "raw").read_text()
    words = re.findall(r"^([A-Z_]*)=", seen, re.MULTILINE)
    assert not [
        word for word in words if word.startswith("DEVTRACE")
        and re.search("KEY|TOKEN|SECRET|AUTH|PASSWORD|PRIVATE|CERT|CREDENTIAL", word)
    ]  # fmt: skip
    assert "nonce" not in seen.lower()


def test_the_files_with_the_nonces_are_gone_when_the_shell_is_there(shell: Shell) -> None:
    shell.starts()

    private = next((shell.home.parent / "runtime" / "devtrace").iterdir())
    shell.on_screen.until(lambda: not [*private.glob("rc.*"), *private.glob("zsh/.zshenv")])

    assert (private.stat().st_mode & 0o777, (private / "fifo").stat().st_mode & 0o777) == (0o700, 0o600)


def test_no_file_of_the_users_is_touched(shell: Shell) -> None:
    before = {path: path.read_bytes() for path in shell.home.rglob("*") if path.is_file()}

    shell.types("true").ends()

    after = {path: path.read_bytes() for path in shell.home.rglob("*") if path.is_file()}
    changed = {str(path.relative_to(shell.home)) for path in after if before.get(path) != after[path]}
    assert changed <= {".bash_history", ".zsh_history", ".cache", ".local/share/fish/fish_history"} | {
        name for name in changed if name.startswith((".config/fish/", ".local/share/fish", ".cache"))
    }
    assert set(before) <= set(after)


def test_the_umask_and_the_limits_are_not_ours(shell: Shell) -> None:
    shell.runs(["sh", "-c", 'umask 027; ulimit -n 200; exec "$@"', "sh", *shell.command()], until=shell.ready)
    shell.types("umask").types("ulimit -n").types("touch made")

    umask, limit, _ = shell.session.commands()

    assert umask.printed.strip() in (b"0027", b"027")
    assert limit.printed == b"200\r\n"
    assert (shell.here / "made").stat().st_mode & 0o777 == 0o640
