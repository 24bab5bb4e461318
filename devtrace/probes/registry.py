"""Which Python programs of a store can be asked: a file of each, and how they are woken.

    .devtrace/run/python/<pid>   a line of JSON: {pid, started, python, session, span, socket, engine, wakes,
                                 space, program}

A program writes its file as it starts (devtrace/bootstrap/reach.py) and takes it away as it ends; of one that
was killed it is taken away by who looks next. Command line and directory are not written there, for they may
hold a secret: they are read from the process itself.

Lives here: `write`, `registered`, `poke`, `is_there`. Not here: what is asked (server.py), what is set
(desired.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import json
import os
from _signal import SIGURG, getsignal  # type: ignore[import-not-found]  # `signal` brings enum with it

from devtrace import bootstrap

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from devtrace.workspace import Workspace

FOLDER = "python"
_MOST_BYTES = 4096
_REACH = os.path.join(bootstrap.FOLDER, "reach.py")
_MOST_WORDS = 65_536  # bytes of a command line


def folder(workspace: Workspace) -> Path:
    """Where the files are."""
    return workspace.run / FOLDER


def write(workspace: Workspace, entry: dict[str, Any]) -> None:
    """Put this process's file in the place of the one before. Raises OSError."""
    place = folder(workspace)
    place.mkdir(mode=0o700, exist_ok=True)
    if place.is_symlink():
        raise OSError(f"{place} leads somewhere else")
    made = place / f".{entry['pid']}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(made, flags, 0o600)
    try:
        os.write(fd, json.dumps(entry).encode("ascii") + b"\n")
    finally:
        os.close(fd)
    os.replace(made, place / str(entry["pid"]))


def take_away(workspace: Workspace, pid: int) -> None:
    """This process can be asked no more."""
    (folder(workspace) / str(pid)).unlink(missing_ok=True)


def registered(workspace: Workspace) -> list[dict[str, Any]]:
    """Those that are alive, by their pids, with `argv`, `cwd` and `executable`; files of the dead go."""
    found, space = [], number("ns/pid")
    try:
        names = sorted((name for name in os.listdir(folder(workspace)) if name.isdecimal()), key=int)
    except OSError:
        return []
    for name in names:
        entry = _read(folder(workspace) / name)
        if entry is None or entry["pid"] != int(name) or entry["space"] != space:
            continue  # in another pid namespace its number is another's
        if is_there(entry["pid"], entry["started"]):
            if number("exe", entry["pid"]) in (0, entry["program"]):  # else it has become another program
                found.append({**entry, **_told(entry["pid"])})
        else:
            (folder(workspace) / name).unlink(missing_ok=True)
            _unlink_socket(entry)
    return found


def poke(pid: int) -> bool:
    """Wake a program that registered itself with `wakes`; others leave the signal unnoticed. Is it there?"""
    try:
        os.kill(pid, SIGURG)
    except OSError:
        return False
    return True


def wakes() -> bool:
    """Whether the signal reaches us: the program may have taken it for itself since."""
    handler = getsignal(SIGURG)
    code = getattr(getattr(handler, "__func__", None), "__code__", None)
    return code is not None and str(code.co_filename) == _REACH


def started(pid: int | str = "self") -> int:
    """When a process began, in clock ticks since the system did; 0 where that cannot be told."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read(4096)
        return int(stat[stat.rindex(b")") + 2 :].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def number(name: str, pid: int | str = "self") -> int:
    """By which a process's pid namespace (`ns/pid`) or program (`exe`) is known again; 0: not told."""
    try:
        return os.stat(f"/proc/{pid}/{name}").st_ino
    except OSError:
        return 0


def is_there(pid: int, since: int) -> bool:
    """Whether that very process is alive, and no later one of its number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return False  # somebody else's: it is not the one that wrote here
    return not since or started(pid) in (0, since)


def _unlink_socket(entry: dict[str, Any]) -> None:
    """What the dead one has left in the folder of all programs, by the name that only it gave."""
    path: str = entry["socket"]
    if os.path.basename(path).startswith(f"probes-{entry['pid']}-"):
        try:
            os.unlink(path)
        except OSError:
            return


def _read(path: Path) -> dict[str, Any] | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            entry = json.loads(os.read(fd, _MOST_BYTES))
        finally:
            os.close(fd)
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    kinds = {"pid": int, "started": int, "python": str, "session": str, "span": str, "socket": str,
             "engine": str, "wakes": bool, "space": int, "program": int}  # fmt: skip
    return entry if all(type(entry.get(name)) is kind for name, kind in kinds.items()) else None


def _told(pid: int) -> dict[str, Any]:
    """What the process says of itself; nothing of it is kept."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = [os.fsdecode(word) for word in file.read(_MOST_WORDS).split(b"\0")[:-1]]
    except OSError:
        words = _words_by_ps(pid)
    return {"argv": words, "cwd": _link(pid, "cwd"), "executable": _link(pid, "exe")}


def _link(pid: int, name: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/{name}")
    except OSError:
        return ""


def _words_by_ps(pid: int) -> list[str]:
    """Where there is no /proc."""
    if os.path.isdir("/proc/self"):
        return []
    import subprocess  # never in a program that is asked

    told = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return told.stdout.split()
