"""Which Python programs of a store there are, which of them can be asked, and why the others cannot.

A program can be asked when it has registered itself. Its entry outlives an `exec` of the same Python, which
takes the process over for another program: that one is known by the signal, which it does not hear. Others
that belong to the store are known by their environment, which Linux shows; what kept them from it is told by
their command line, their Python and their environment.

Lives here: `programs`, `registered`, `unreachable`, `why_not`. Not here: the registry (probes/registry.py),
asking one (probe_client.py), entering one (probe_attach.py).
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from devtrace.bootstrap import FOLDER
from devtrace.probes import registry
from devtrace.workspace import Workspace

_PROC = Path("/proc")
_PYTHON = re.compile(r"(?:python|pypy)(\d+(?:\.\d+)?)?[a-z]?")
_CAUGHT = re.compile(rb"^SigCgt:\s*([0-9a-f]+)$", re.MULTILINE)
_LIBRARY = re.compile(r"libpython(\d+\.\d+)")
_MOST_BYTES = 1 << 20
_DELETED = " (deleted)"  # what Linux says of a program that was replaced since
OFF = ("0", "f", "false", "n", "no", "off", "none")  # as bootstrap/sitecustomize.py has them
_WITH_WORD = "cmWX"  # options of Python that take a word


class Unreachable(NamedTuple):
    """A Python that cannot be asked. `reason` is a clause: `it was started with -S`."""

    pid: int
    python: str  # "3.10"; "" where that cannot be told
    argv: Sequence[str]
    cwd: str
    session: str  # of the traced shell; "" for none
    span: str
    reason: str


def programs(workspace: Workspace) -> list[dict[str, Any]]:
    """Those that can be asked, as `registry.registered` has them; commands of ours are none."""
    found = registered(workspace)
    return [one for one in found if one["pid"] != os.getpid() and not _is_ours(one["argv"])]


def registered(workspace: Workspace) -> list[dict[str, Any]]:
    """`registry.registered`, without those in whose process another program runs."""
    return [one for one in registry.registered(workspace) if _is_still_there(one)]


def unreachable(workspace: Workspace) -> list[Unreachable]:
    """The Pythons that run with this store in their environment and have not registered; [] without /proc."""
    listed = {one["pid"] for one in registry.registered(workspace)}
    known = {one["pid"] for one in registered(workspace)} | {os.getpid()}
    found = []
    for pid in _pids():
        if pid in known:
            continue
        environ = environment(pid)
        if environ is None or environ.get("DEVTRACE_DIR") != str(workspace.dir):
            continue
        argv = command_line(pid)
        if is_python(pid, argv) and not _is_ours(argv):
            found.append(_unreachable(pid, argv, environ, is_listed=pid in listed))
    return found


def why_not(
    argv: Sequence[str],
    python: str,
    environ: Mapping[str, str],
    store: str = "",
    *,
    is_listed: bool = False,
) -> str:
    """Why a Python cannot be asked, as a clause. `is_listed`: its process has registered with the store."""
    flags = _options(argv)
    if environ.get("DEVTRACE_PROBES", "").strip().lower() in OFF and environ.get("DEVTRACE_PROBES"):
        return f"it was started with DEVTRACE_PROBES={environ['DEVTRACE_PROBES']}"
    if python and _version(python) < (3, 11):
        return f"its Python is {python}, and 3.11 is the oldest that can be asked"
    for flag, why in (("I", "-I"), ("S", "-S"), ("E", "-E")):
        if flag in flags:
            return f"it was started with {why}, so that nothing of a traced shell is loaded in it"
    if not environ.get("DEVTRACE_DIR") or (store and environ["DEVTRACE_DIR"] != store):
        return "it was not started in a traced shell of this store"
    if FOLDER not in environ.get("PYTHONPATH", "").split(os.pathsep):
        return "it was started without the PYTHONPATH of the traced shell"
    if is_listed:
        return "it does not hear SIGURG, by which it would be woken: it may be starting, or have given it up"
    return "it has not said that it is there: it is starting, or could not write into the store"


def is_python(pid: int, argv: Sequence[str]) -> bool:
    """Whether a process is a Python, by the program that it runs."""
    return any(_PYTHON.fullmatch(Path(name).name) for name in (_exe(pid), *argv[:1]))


def is_there(entry: Mapping[str, Any]) -> bool:
    """Whether it has not ended; one that its parent has not waited for has, and has a number still."""
    return registry.is_there(entry["pid"], entry["started"]) and state(entry["pid"]) != "Z"


def state(pid: int) -> str:
    """The letter that the kernel has for what a process does; "" where that cannot be told."""
    return (_read(pid, "stat") or b"").rpartition(b") ")[2][:1].decode("ascii", "replace")


def hears(pid: int) -> bool | None:
    """Whether a process has a handler for the signal that wakes; None where that cannot be told."""
    found = _CAUGHT.search(_read(pid, "status") or b"")
    return None if found is None else bool(int(found[1], 16) >> (signal.SIGURG - 1) & 1)


def python_of(pid: int) -> str:
    """`3.10`, by the name of its program or of its library; "" where neither tells."""
    named = _PYTHON.fullmatch(Path(_exe(pid)).name)
    if named and named[1] and "." in named[1]:
        return named[1]
    try:
        maps = (_PROC / str(pid) / "maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = _LIBRARY.search(maps)
    return found[1] if found else ""


def environment(pid: int) -> dict[str, str] | None:
    """The environment that a process was started with; None where it may not be seen, or is not there."""
    data = _read(pid, "environ")
    if data is None:
        return None
    pairs = (os.fsdecode(item).partition("=") for item in data.split(b"\0") if b"=" in item)
    return {name: value for name, _, value in pairs}


def command_line(pid: int) -> list[str]:
    """Its words; [] where they may not be seen."""
    return [os.fsdecode(word) for word in (_read(pid, "cmdline") or b"").split(b"\0")[:-1]]


def _is_still_there(entry: Mapping[str, Any]) -> bool:
    """Whether a process still hears what its entry says it does: an exec takes every handler away."""
    if not is_there(entry):
        return False
    return bool(entry["socket"]) or not entry["wakes"] or hears(entry["pid"]) is not False


def _unreachable(
    pid: int, argv: Sequence[str], environ: Mapping[str, str], *, is_listed: bool
) -> Unreachable:
    python = python_of(pid)
    return Unreachable(
        pid, python, argv, _link(pid, "cwd"), environ.get("DEVTRACE_SESSION", ""),
        environ.get("DEVTRACE_SPAN", ""), why_not(argv, python, environ, is_listed=is_listed),
    )  # fmt: skip


def _is_ours(argv: Sequence[str]) -> bool:
    """`devtrace ...`, however it was started: nobody wants to probe the recording itself."""
    words = [Path(word).name for word in argv[:2]]
    return "devtrace" in words or "devtrace" in _module(argv)[:1]


def _module(argv: Sequence[str]) -> Sequence[str]:
    """What stands behind `-m`, where Python was started so."""
    for at, word in enumerate(argv[1:], 1):
        if word == "-m":
            return argv[at + 1 :]
        if not word.startswith("-") or word == "-c":
            break
    return ()


def _options(argv: Sequence[str]) -> set[str]:
    """The letters of Python's own options: those in front of the script, `-c` or `-m`."""
    letters: set[str] = set()
    skips = False
    for word in argv[1:]:
        if skips:
            skips = False
        elif not word.startswith("-") or word in ("-", "--"):
            break
        elif not word.startswith("--"):
            for at, letter in enumerate(word[1:], 1):
                letters.add(letter)
                if letter in _WITH_WORD:
                    skips = at == len(word) - 1
                    break
        if letters & {"c", "m"}:
            break
    return letters


def _version(python: str) -> tuple[int, ...]:
    return tuple(int(part) for part in python.split(".")[:2] if part.isdigit())


def _pids() -> list[int]:
    try:
        return sorted(int(path.name) for path in _PROC.iterdir() if path.name.isdecimal())
    except OSError:
        return []


def _read(pid: int, name: str) -> bytes | None:
    try:
        with (_PROC / str(pid) / name).open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError:
        return None


def _exe(pid: int) -> str:
    return _link(pid, "exe").removesuffix(_DELETED)


def _link(pid: int, name: str) -> str:
    try:
        return str((_PROC / str(pid) / name).readlink())
    except OSError:
        return ""
