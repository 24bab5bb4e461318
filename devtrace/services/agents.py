"""Our hooks in the agents' settings files: put in, taken out, and whether they are there.

Lives here: `install`, `uninstall`, `listing`, `standing`. Not here: what has to stand in which file
(sources/agents/), writing it (settings_files.py), what the hooks do when they are called (agent_hook.py).
"""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from devtrace.config import AGENTS, parse_agent
from devtrace.errors import DevTraceError, TargetError, UsageError
from devtrace.query.heard import heard
from devtrace.services.settings_files import BACKUP as BACKUP
from devtrace.services.settings_files import Change as Change
from devtrace.services.settings_files import Terms, carried_out, found_in, with_ours, without_ours
from devtrace.services.settings_files import unignored as unignored
from devtrace.sources.agents import base
from devtrace.sources.agents.hookfiles import HOOK_FILE, HookFile
from devtrace.workspace import find, repository_root, working_directory

_NEEDED = "import fcntl, hashlib, json"  # what our hook cannot do without
_TERMS = Terms("ERR_AGENT_HOOKS_FILE", "ERR_AGENT_HOOKS_PATH", "ERR_AGENT_HOOKS_WRITE")


class Listed(NamedTuple):
    """An agent, and how it stands with our hooks."""

    name: str
    title: str
    program: str | None  # its path; None: not on PATH
    hooks: str  # "all", "some" or "none" are in place, "unreadable", "unknown": it has none that we know
    is_current: bool | None  # whether they are those that this devtrace would write; None: there are none
    is_trusted: bool | None  # whether the client says that it runs them; None: it does not say
    heard_us: int | None  # when they last told something; None: never
    files: tuple[str, ...]  # where they belong, relative to the repository


def place(start: Path | None = None) -> Path:
    """The repository above `start`, else the directory of the store there.

    Raises EnvironmentError ERR_STORE_MISSING where there is neither: then nothing would be recorded.
    """
    here = working_directory() if start is None else start.absolute()
    return repository_root(here) or find(here).root


def install(root: Path, name: str, *, dry_run: bool = False) -> list[Change]:
    """Put our hooks into the agent's files below `root`; the files that change by it.

    All are looked at before one is written. Raises UsageError ERR_AGENT_UNKNOWN or ERR_AGENT_HOOKS_NONE,
    EnvironmentError ERR_AGENT_HOOKS_FILE, ERR_AGENT_HOOKS_PATH or ERR_AGENT_HOOKS_WRITE, TargetError
    ERR_TARGET_START.
    """
    planned = [with_ours(root, file, _TERMS) for file in _hook_files(parse_agent(name), _python())]
    return carried_out(root, planned, _TERMS, dry_run=dry_run)


def uninstall(root: Path, name: str, *, dry_run: bool = False) -> list[Change]:
    """Take out exactly what is ours; a file that held nothing else goes. Raises as `install` does."""
    planned = [without_ours(root, file, _TERMS) for file in _hook_files(parse_agent(name), sys.executable)]
    return carried_out(root, planned, _TERMS, dry_run=dry_run)


def listing(root: Path, environ: Mapping[str, str], db: sqlite3.Connection | None) -> list[Listed]:
    """Every agent, whether it has hooks or not. `db`: the store, if there is one."""
    times = {} if db is None else heard(db)
    return [standing(root, name, environ, times.get(name)) for name in AGENTS if name != "manual"]


def standing(root: Path, name: str, environ: Mapping[str, str], heard_us: int | None = None) -> Listed:
    """How one agent of `AGENTS` stands."""
    adapter = base.adapter(name)
    files = _files_of(name, os.path.realpath(sys.executable))
    hooks, is_current = _in_place(root, files)
    trusted = getattr(adapter, "trusted", None)
    programs = (shutil.which(one, path=environ.get("PATH")) for one in getattr(adapter, "COMMANDS", ()))
    return Listed(
        name,
        AGENTS[name],
        next(filter(None, programs), None),
        hooks,
        is_current,
        trusted(environ, root) if trusted and hooks in ("all", "some") else None,
        heard_us,
        tuple(file.path for file in files),
    )


# --- which hooks ------------------------------------------------------------------------------------------


def _hook_files(name: str, python: str) -> list[HookFile]:
    files = _files_of(name, python)
    if not files:
        raise UsageError(
            f"no hooks of {name} are known",
            code="ERR_AGENT_HOOKS_NONE",
            hint=f"record it with `devtrace shell --agent {name}`: commands and edits are seen without",
            context={"agent": name},
        )
    return files


def _files_of(name: str, python: str) -> list[HookFile]:
    hook = str(Path(__file__).resolve().with_name(HOOK_FILE))

    def command(event: str) -> str:
        return shlex.join([python, "-I", "-S", hook, name, event])

    hooks: Callable[[Callable[[str], str]], list[HookFile]] | None
    hooks = getattr(base.adapter(name), "hooks", None)
    return hooks(command) if hooks else []


def _python() -> str:
    """The interpreter behind a virtual environment, for it outlives that."""
    for python in dict.fromkeys((os.path.realpath(sys.executable), sys.executable)):
        try:
            done = subprocess.run(
                [python, "-I", "-S", "-c", _NEEDED], capture_output=True, check=False, timeout=60
            )
        except (OSError, subprocess.SubprocessError):  # it does not start: then the next one
            continue
        if done.returncode == 0:
            return python
    raise TargetError(
        f"{sys.executable} does not run with -I -S, as our hooks are to be run",
        code="ERR_TARGET_START",
        hint="install devtrace with another Python",
        context={"python": sys.executable},
    )


# --- how they stand ---------------------------------------------------------------------------------------


def _in_place(root: Path, files: list[HookFile]) -> tuple[str, bool | None]:
    """How many of our hooks are in place, and whether they are those that we would write now."""
    if not files:
        return "unknown", None
    wanted: dict[tuple[str, str], str] = {}
    there: dict[tuple[str, str], str] = {}
    for file in files:
        wanted |= {(file.path, event): line for event, line in file.found(file.merge(None)).items()}
        try:
            found = found_in(root, file, _TERMS)
        except DevTraceError:
            return "unreadable", None
        there |= {(file.path, event): line for event, line in found.items()}
    if not there:
        return "none", None
    is_current = all(wanted.get(event) == line for event, line in there.items())
    return "all" if wanted.keys() <= there.keys() else "some", is_current
