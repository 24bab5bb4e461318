"""How a shell is started so that it records itself, without touching a file of the user's.

Lives here: choosing the shell, the start-up file of one session (0600, in the private directory, with the
nonces in it), the command line and the environment that make the shell read it in the right order.
Not here: the hooks themselves (shell-hooks/), the pty (spawn.py).

    bash            --rcfile FILE -i            FILE: ~/.bashrc, then ours
    bash, login     --posix -l -i, ENV=FILE     FILE: /etc/profile, the first profile, then ours; `-l` ignores
                                                --rcfile, and a posix shell reads $ENV after its own files
    zsh             ZDOTDIR=DIR                 DIR/.zshenv: puts ZDOTDIR back, so that zsh itself reads the
                                                user's files; ours is installed at the first prompt
    fish            --init-command              after the user's configuration
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from devtrace import bootstrap, workspace
from devtrace.choices import Choice
from devtrace.errors import EnvironmentError, UsageError
from devtrace.ids import new_nonce, new_shell_span

SHELLS = ("bash", "zsh", "fish")
NESTED = ("first", "all", "off")

_SCRATCH_PREFIX = "devtrace-"
SCRATCH_NAMES = _SCRATCH_PREFIX + "[0-9a-f]" * 16  # of the directories in /dev/shm, as a pattern


class Session(NamedTuple):
    """What a session's hooks must know."""

    id: str
    store: Path
    fifo: Path
    agent: str
    private: Path  # the session's own directory, 0700
    nonce: str
    mark: str  # the marks' nonce


class Request(NamedTuple):
    """How the shell is wanted; `nested` and `private` as in config.KEYS."""

    name: str  # bash, zsh, fish
    path: str
    login: bool
    piped: bool  # standard input is no terminal: no line editing, no prompt
    marks: list[Path]  # where C and D marks go; none: no output is cut
    stderr: str = ""  # a piped shell is started without one, and opens this first of all
    nested: str = "first"
    exact: bool = False  # bash keeps the line breaks of compound commands (lithist)
    private: str = "mask"


class Plan(NamedTuple):
    """How to start the shell."""

    argv: list[str]
    environment: dict[str, str]
    choices: list[Choice]
    startup_files: list[Path]  # hold the nonces: removed once the shell has said hello


def hooks_directory() -> Path:
    """Where the hooks are: inside the wheel, or beside the package in a checkout."""
    inside = Path(__file__).parents[2] / "_shell_hooks"
    return inside if inside.is_dir() else Path(__file__).parents[3] / "shell-hooks"


def choose_shell(asked: str, environment: dict[str, str]) -> tuple[str, str, Choice]:
    """The shell to start: (name, absolute path, why); `asked` is a name, a path, or "" for the user's own.

    Raises UsageError ERR_SHELL_UNSUPPORTED, EnvironmentError ERR_SHELL_MISSING.
    """
    if asked:
        name = shell_name(asked)
        if name is None:
            raise UsageError(
                f"no hooks for the shell {asked!r}",
                code="ERR_SHELL_UNSUPPORTED",
                hint=f"choose one of {', '.join(SHELLS)}",
                context={"shell": asked},
            )
        return name, _absolute(asked, environment), Choice("shell", asked, because="it was asked for")
    own = environment.get("SHELL", "")
    name = shell_name(own)
    if name is not None and os.access(own, os.X_OK):
        return name, own, Choice("shell", own, because="it is $SHELL")
    why = f"$SHELL is {own!r}, for which there are no hooks" if own else "$SHELL is not set"
    return "bash", _absolute("bash", environment), Choice("shell", "bash", because=why)


def shell_name(path: str) -> str | None:
    """bash, zsh or fish for a path or name such as `/opt/bash-5.3`; None for any other shell."""
    base = Path(path).name.lstrip("-")
    return next((name for name in SHELLS if base == name or base.startswith(f"{name}-")), None)


def is_login_parent(ppid: int) -> bool:
    """Whether the process that started us is a login shell, told by its argv[0] (login(1): a leading `-`)."""
    try:
        arguments = Path(f"/proc/{ppid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        arguments = _ps_arguments(ppid)
    if not arguments or not arguments[0]:
        return False
    is_shell = shell_name(os.fsdecode(arguments[0])) is not None
    return arguments[0].startswith(b"-") or (
        is_shell and any(a in (b"-l", b"--login") for a in arguments[1:])
    )


def plan(session: Session, request: Request, environment: dict[str, str]) -> Plan:
    """Write the session's start-up files and say how to start the shell with them."""
    scratch, because = _scratch(session.private)
    choices = [because] if request.name == "bash" else []
    nested = "" if request.nested == "off" else str(hooks_directory() / "nested.bash")
    variables = {
        "nonce": session.nonce,
        "mark": session.mark,
        "fifo": str(session.fifo),
        "scratch": scratch,
        "env": nested,
        "zdotdir": nested and str(hooks_directory() / "zdotdir"),
        "seed": str(new_shell_span()),
        "quiet": "1" if request.piped else "",
        "private": request.private,
        "agent": "" if session.agent == "manual" else session.agent,
    }
    own = with_python_path({**environment, **session_environment(session)})
    if request.nested == "all":
        own["DEVTRACE_NESTED"] = "all"
    if request.name == "bash":
        argv, file = _plan_bash(session, request, own, variables)
    elif request.name == "zsh":
        argv, file = _plan_zsh(session, request, own, variables)
        if session.agent == "manual" and nested:
            because = Choice("nested zsh", "not recorded", because="ZDOTDIR stays yours in a manual session")
            choices.append(because)
    else:
        argv, file = _plan_fish(session, request, variables)
        choices.append(technique("fish", ""))
    return Plan(argv, own, choices, [file])


def session_environment(session: Session) -> dict[str, str]:
    """What everything inside a session finds in its environment; spans are added by the hooks."""
    return {
        "DEVTRACE_DIR": str(session.store),
        "DEVTRACE_SESSION": session.id,
        "DEVTRACE_FIFO": str(session.fifo),
        "DEVTRACE_AGENT": session.agent,
    }


def with_python_path(environment: dict[str, str]) -> dict[str, str]:
    """The environment in which every Python looks whether it is to be recorded (devtrace/bootstrap/)."""
    return {**environment, "PYTHONPATH": bootstrap.python_path(environment.get("PYTHONPATH", ""))}


def new_session(session_id: str, store: Path, agent: str, private: Path) -> Session:
    """A session's hooks-side facts, with fresh nonces: the FIFO's and the marks' are not the same."""
    return Session(session_id, store, private / "fifo", agent, private, new_nonce(), new_nonce())


def with_nested_parts(environment: dict[str, str], agent: str, nested: str) -> dict[str, str]:
    """The environment in which the bash (and, under an agent, the zsh) of a program records itself."""
    own = dict(environment)
    if nested == "off":
        return own
    if nested == "all":
        own["DEVTRACE_NESTED"] = "all"
    parts = {"BASH_ENV": hooks_directory() / "nested.bash"}
    if agent != "manual":
        parts["ZDOTDIR"] = hooks_directory() / "zdotdir"
    # With a socket for its stdin, which clients give it, a bash below level 2 takes itself for one that rshd
    # started, and reads ~/.bashrc in place of BASH_ENV (bash's shell.c, run_startup_files).
    if not own.get("SHLVL", "").isdigit() or own["SHLVL"].strip("0") == "":
        own["SHLVL"] = "1"
    for name, path in parts.items():
        if own.get(name) != str(path):
            own[f"DEVTRACE_{name}"] = own.get(name, "")
            own[name] = str(path)
    return own


def client_prefix(agent: str, environment: Mapping[str, str]) -> tuple[dict[str, str], Choice | None]:
    """What makes an agent's client run its commands through a shell of ours, and why it is so or not.

    Empty and None for a client that knows no such thing.
    """
    if agent != "claude-code":
        return {}, None
    what, variable, path = "agent's shell", "CLAUDE_CODE_SHELL_PREFIX", hooks_directory() / "claude-shell.sh"
    if environment.get(variable):
        return {}, Choice(what, "BASH_ENV alone", because=f"{variable} is the user's own")
    if not os.access(path, os.X_OK) or " " in str(path):
        return {}, Choice(what, "BASH_ENV alone", because=f"{path} cannot be put before a command")
    return {variable: str(path)}, Choice(what, variable, because="some versions take BASH_ENV away")


def technique(name: str, version: str) -> Choice:
    """The hook technique that a version such as `5.2.15(1)-release` gets and why, for doctor."""
    if name == "zsh":
        return Choice("hook", "preexec and precmd, no fork", because="zsh hands the typed text to preexec")
    if name == "fish":
        return Choice(
            "hook", "fish_preexec and fish_postexec, one process a record", because="fish has no `<>`"
        )
    major, minor = (int("".join(filter(str.isdigit, part)) or 0) for part in [*version.split("."), "0"][:2])
    if (major, minor) >= (5, 3):
        return Choice("hook", "PS0 with ${ ...; }, no fork", because="bash 5.3 runs commands in place there")
    if (major, minor) >= (4, 4):
        return Choice("hook", "PS0 with one fork", because="${ ...; } arrived in bash 5.3")
    return Choice("hook", "a DEBUG trap armed at the prompt", because="PS0 arrived in bash 4.4")


def _plan_bash(
    session: Session, request: Request, own: dict[str, str], variables: dict[str, str]
) -> tuple[list[str], Path]:
    rc = session.private / "rc.bash"
    lines = _BASH_LOGIN if request.login else _BASH_PLAIN
    if request.login:
        lines = lines.replace(
            "@ENV@", f"export ENV={shlex.quote(own['ENV'])}" if "ENV" in own else "unset ENV"
        )
        own["ENV"] = str(rc)
    assignments = [f"__devtrace_{key}={shlex.quote(value)}" for key, value in variables.items()]
    assignments.append(f"__devtrace_marks=({shlex.join(map(str, request.marks))})")
    assignments += [
        f"export {key}={shlex.quote(value)}" for key, value in session_environment(session).items()
    ]
    if request.exact:
        assignments.append("shopt -s lithist")
    hook = shlex.quote(str(hooks_directory() / "devtrace.bash"))
    mute = f"exec 2>{shlex.quote(request.stderr)}\n" if request.stderr else ""
    # Under `set -a` the nonce would be exported to every child.
    lines += "\n__devtrace_allexport=${-//[!a]/}\nset +a"
    hook += "\n[[ -z $__devtrace_allexport ]] || set -a\nunset __devtrace_allexport\n: ''"  # $_
    _write(rc, f"{mute}{lines}\n" + "\n".join(assignments) + f"\n\\builtin . {hook}\n")
    editing = ["--noediting"] if request.piped else []
    start = ["--posix", "-l"] if request.login else ["--rcfile", str(rc)]
    return [request.path, *editing, *start, "-i"], rc


# SHELLOPTS and POSIXLY_CORRECT stay as `bash` alone would have them.
_BASH_LOGIN = """\
[[ $- == *i* ]] || return 0
set +o posix
shopt -u inherit_errexit 2>/dev/null
@ENV@
HISTFILE=~/.bash_history
if [ -r /etc/profile ]; then . /etc/profile; fi
if [ -r ~/.bash_profile ]; then . ~/.bash_profile
elif [ -r ~/.bash_login ]; then . ~/.bash_login
elif [ -r ~/.profile ]; then . ~/.profile
fi"""

_BASH_PLAIN = "if [ -r ~/.bashrc ]; then . ~/.bashrc; fi"


_ZSHENV = """\
@BACK@
{ [[ ! -r ${ZDOTDIR-$HOME}/.zshenv ]] || builtin . "${ZDOTDIR-$HOME}/.zshenv" } always {
  [[ ! -o allexport ]] || typeset -g __devtrace_allexport=1
  unsetopt allexport  # else the nonce would be exported to every child
@VARIABLES@
  builtin . @HOOK@
  [[ -z ${__devtrace_allexport-} ]] || setopt allexport
  unset __devtrace_allexport
}
"""


def _plan_zsh(
    session: Session, request: Request, own: dict[str, str], variables: dict[str, str]
) -> tuple[list[str], Path]:
    folder = session.private / "zsh"
    folder.mkdir(mode=0o700)
    back = f"export ZDOTDIR={shlex.quote(own['ZDOTDIR'])}" if "ZDOTDIR" in own else "unset ZDOTDIR"
    lines = [f"  typeset -g __devtrace_{key}={shlex.quote(value)}" for key, value in variables.items()]
    lines.append(f"  typeset -ga __devtrace_marks=({shlex.join(map(str, request.marks))})")
    text = _ZSHENV.replace("@BACK@", back).replace(
        "@HOOK@", shlex.quote(str(hooks_directory() / "devtrace.zsh"))
    )
    if request.stderr:
        text = f"exec 2>{shlex.quote(request.stderr)}\n{text}"
    _write(folder / ".zshenv", text.replace("@VARIABLES@", "\n".join(lines)))
    own["ZDOTDIR"] = str(folder)
    return [request.path, *(["-l"] if request.login else []), "-i"], folder / ".zshenv"


def _plan_fish(session: Session, request: Request, variables: dict[str, str]) -> tuple[list[str], Path]:
    rc = session.private / "rc.fish"
    lines = [f"set -g __devtrace_{key} {_fish_quote(value)}" for key, value in variables.items()]
    lines.append(" ".join(["set -g __devtrace_marks", *(_fish_quote(str(mark)) for mark in request.marks)]))
    lines.append(f"source {_fish_quote(str(hooks_directory() / 'devtrace.fish'))}")
    _write(rc, "\n".join(lines) + "\n")
    start = f"source {_fish_quote(str(rc))}"
    login = ["-l"] if request.login else []
    if (
        request.piped
    ):  # an interactive fish reads a whole pipe before it runs a line of it: our own loop does not
        return [request.path, *login, "-i", "-c", f"{start}; __devtrace_drive"], rc
    return [request.path, *login, "-i", "-C", start], rc


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def scratch_place(private: Path) -> tuple[Path | None, Choice]:
    """Where bash's history line may pass through: in memory only, for it is not redacted yet."""
    what = "scratch file"
    if workspace.is_memory(private):
        return private, Choice(what, "in the runtime directory", because="it is a memory file system")
    shared = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it, 0700
    if workspace.is_memory(shared) and os.access(shared, os.W_OK):
        folder = scratch_directory(private)
        return folder, Choice(what, "in /dev/shm", because="the runtime directory is on a disk")
    return None, Choice(what, "none, one more fork", because="no memory file system was found")


def _scratch(private: Path) -> tuple[str, Choice]:
    folder, choice = scratch_place(private)
    if folder is None:
        return "", choice
    try:
        folder.mkdir(mode=0o700, exist_ok=folder == private or _is_held_scratch(folder))
    except OSError as error:
        return "", Choice(choice.what, "none, one more fork", because=str(error))
    return str(folder / "line"), choice


def _is_held_scratch(folder: Path) -> bool:
    """Whether it was made for this session before (private.py): ours, and with the lock in it."""
    try:
        return folder.lstat().st_uid == os.getuid() and (folder / "host").is_file()
    except OSError:
        return False


def scratch_directory(private: Path) -> Path:
    """The directory that may have been made in /dev/shm for a session; it goes with the session."""
    return Path("/dev/shm") / f"{_SCRATCH_PREFIX}{private.name}"  # noqa: S108 - see _scratch


def _absolute(shell: str, environment: dict[str, str]) -> str:
    from shutil import which

    found = which(shell, path=environment.get("PATH"))
    if found is None:
        raise EnvironmentError(
            f"the shell {shell!r} is not installed",
            code="ERR_SHELL_MISSING",
            hint="install it, or choose another with --shell",
            context={"shell": shell},
        )
    return str(Path(found).absolute())


def _ps_arguments(ppid: int) -> list[bytes]:
    import subprocess

    try:
        done = subprocess.run(
            ["ps", "-o", "args=", "-p", str(ppid)], capture_output=True, check=False, timeout=2
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.split()


def _write(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
