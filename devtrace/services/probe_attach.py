"""attach: a Python that was not started in a traced shell is entered from outside, or it is said why not.

Python 3.14 lets a process of the same user run a script in another one (PEP 768), where both are of the same
minor version: the program's own interpreter is started for that. It runs the script as soon as it comes back
from C code: what sleeps is entered when it wakes.

Lives here: `attach`, `Attached`. Not here: which programs there are (probe_processes.py).
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from devtrace import bootstrap
from devtrace.errors import EnvironmentError, TargetError, UsageError
from devtrace.services.probe_processes import (
    command_line,
    environment,
    is_python,
    python_of,
    registered,
    why_not,
)
from devtrace.workspace import Workspace

_OLDEST = (3, 14)
_PATIENCE_S = 5.0
_PAUSE_S = 0.02
_HINT = "start it in a traced shell (`devtrace shell`), or call devtrace.probes.start() in it"
_ASK = "import sys; sys.remote_exec(int(sys.argv[1]), sys.argv[2])"
_SCRIPT = """\
def _devtrace():
    import os
    from _frozen_importlib import module_from_spec
    from _frozen_importlib_external import spec_from_file_location
    before = os.environ.get("DEVTRACE_DIR")
    try:
        os.unlink({script!r})
        os.environ["DEVTRACE_DIR"] = {store!r}
        spec = spec_from_file_location("_devtrace_reach", {reach!r})
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        module.begin()
    except Exception:
        pass
    finally:
        os.environ.pop("DEVTRACE_DIR", None)
        if before is not None:
            os.environ["DEVTRACE_DIR"] = before
_devtrace()
del _devtrace
"""  # runs among the program's own names, as what a traced shell's Python does when it starts


class Attached(NamedTuple):
    """A program that can be asked now. `is_new`: it could not before."""

    pid: int
    argv: list[str]
    is_new: bool


def attach(workspace: Workspace, pid: int, *, patience_s: float = _PATIENCE_S) -> Attached:
    """Let a running program be asked. Raises UsageError; TargetError ERR_TARGET_START with the reason."""
    argv = command_line(pid)
    if _is_registered(workspace, pid):
        return Attached(pid, argv, False)
    _check(workspace, pid, argv)
    script = workspace.run / f"attach-{pid}.py"
    try:
        _write(script, script_of(workspace, script))
        _enter(pid, script)
    except BaseException:
        script.unlink(missing_ok=True)
        raise
    _wait(workspace, pid, patience_s)
    return Attached(pid, argv, True)


def script_of(workspace: Workspace, path: Path) -> str:
    """What the program runs: its text removes the file in which it stands."""
    reach = Path(bootstrap.FOLDER) / "reach.py"
    return _SCRIPT.format(script=str(path), store=str(workspace.dir), reach=str(reach))


def _check(workspace: Workspace, pid: int, argv: list[str]) -> None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        raise UsageError(
            f"there is no process {pid}", code="ERR_USAGE", hint="see `devtrace probe ps`"
        ) from None
    except (PermissionError, OverflowError):
        raise _refused(pid, "it belongs to another user", "only its owner can do that") from None
    if not is_python(pid, argv):
        raise _refused(pid, "it is no Python", "give the number of the Python process itself")
    python, environ = python_of(pid), environment(pid)
    if environ is None:
        raise _refused(pid, "it belongs to another user, or does not let itself be looked at", _HINT)
    why = why_not(argv, python, environ, str(workspace.dir))
    if "DEVTRACE_PROBES=" in why:
        raise _refused(pid, why, "start it without that variable")
    if tuple(int(part) for part in python.split(".") if part) < _OLDEST:
        version = f"its Python is {python}" if python else "which Python it is cannot be told"
        raise _refused(pid, f"{why}; {version}, and only 3.14 and newer let themselves be entered", _HINT)


def _enter(pid: int, script: Path) -> None:
    """By the program's own interpreter: the two must be of the same minor version."""
    told = subprocess.run(
        [f"/proc/{pid}/exe", "-I", "-S", "-c", _ASK, str(pid), str(script)],
        capture_output=True, text=True, check=False, timeout=_PATIENCE_S,
    )  # fmt: skip
    if told.returncode:
        last = told.stderr.strip().rpartition("\n")[2] or f"its Python ended with {told.returncode}"
        raise _refused(pid, f"it cannot be entered: {last}", _HINT)


def _wait(workspace: Workspace, pid: int, patience_s: float) -> None:
    until = time.monotonic() + patience_s
    while not _is_registered(workspace, pid):
        if time.monotonic() > until:
            raise _refused(
                pid,
                f"it has not run our script within {patience_s:g} s: it may sleep, or be busy in C code",
                "if so it will when it comes back; see `devtrace probe ps` later",
            )
        time.sleep(_PAUSE_S)  # a file appears


def _is_registered(workspace: Workspace, pid: int) -> bool:
    return any(one["pid"] == pid for one in registered(workspace))


def _write(path: Path, text: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise EnvironmentError(
            f"{path} cannot be written: {error.strerror or error}",
            code="ERR_STORE_READONLY",
            hint="check the owner and the permissions of .devtrace/",
        ) from error


def _refused(pid: int, why: str, hint: str) -> TargetError:
    return TargetError(
        f"process {pid} cannot be asked: {why}",
        code="ERR_TARGET_START",
        hint=hint,
        context={"pid": pid, "reason": why},
    )
