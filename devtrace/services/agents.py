"""Our hooks in the agents' settings files: put in, taken out, and whether they are there.

A file is written whole or not at all, and keeps its mode; what stood in it before our first hook is kept
beside it. Nothing is written through a link that leads out of the repository.

Lives here: `install`, `uninstall`, `listing`, `standing`. Not here: what has to stand in which file
(sources/agents/), what the hooks do when they are called (agent_hook.py).
"""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from devtrace.config import AGENTS, parse_agent
from devtrace.errors import DevTraceError, EnvironmentError, TargetError, UsageError
from devtrace.query.heard import heard
from devtrace.sources.agents import base
from devtrace.sources.agents.hookfiles import HOOK_FILE, HookFile
from devtrace.sources.status import ASTRAY
from devtrace.workspace import find, repository_root, working_directory

BACKUP = ".devtrace-backup"
_NEEDED = "import fcntl, hashlib, json"  # what our hook cannot do without


class Change(NamedTuple):
    """One file before and after; None: it is not there. `path` is relative to the repository."""

    path: str
    before: bytes | None
    after: bytes | None
    backup: str = ""  # "made", "removed", or "kept" from an earlier time; "": there is none
    is_executable: bool = False  # as it is made; one that is there keeps its mode


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
    planned = [_with_hooks(root, file) for file in _hook_files(parse_agent(name), _python())]
    return _carried_out(root, planned, dry_run=dry_run)


def uninstall(root: Path, name: str, *, dry_run: bool = False) -> list[Change]:
    """Take out exactly what is ours; a file that held nothing else goes. Raises as `install` does."""
    planned = [_without_hooks(root, file) for file in _hook_files(parse_agent(name), sys.executable)]
    return _carried_out(root, planned, dry_run=dry_run)


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


def unignored(root: Path, paths: Iterable[str]) -> list[str]:
    """Those that git tracks, or would with the next `git add`; none where it cannot tell."""
    wanted = list(paths)
    environment = {name: value for name, value in os.environ.items() if name not in ASTRAY}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "check-ignore", "-z", "--stdin"],
            input=b"\0".join(os.fsencode(path) for path in wanted),
            capture_output=True,
            check=False,
            timeout=10,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    ignored = done.stdout.split(b"\0")
    return [path for path in wanted if os.fsencode(path) not in ignored] if done.returncode < 2 else []


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


# --- what changes -----------------------------------------------------------------------------------------


def _with_hooks(root: Path, file: HookFile) -> Change:
    target = _target(root, file.path)
    before = _read(file.path, target)
    text = None if before is None else _text(file.path, before)
    after = file.merge(text).encode()
    backup = "kept" if os.path.lexists(_backup_of(target)) else ""
    if not backup and text is not None and after != before and not file.found(text):
        backup = "made"
    return Change(file.path, before, after, backup, file.is_executable)


def _without_hooks(root: Path, file: HookFile) -> Change:
    target = _target(root, file.path)
    before = _read(file.path, target)
    if before is None:
        return Change(file.path, None, None)
    rest = file.without(_text(file.path, before))
    after = None if rest is None else rest.encode()
    kept = _backup_of(target)
    if not os.path.lexists(kept):
        return Change(file.path, before, after)
    was = _was(file, kept, rest)
    return (
        Change(file.path, before, after, "kept") if was is None else Change(file.path, before, was, "removed")
    )


def _was(file: HookFile, backup: Path, rest: str | None) -> bytes | None:
    """The bytes of the backup, if they say what is left; None: something else was changed too."""
    try:
        if backup.is_symlink() or not backup.is_file():
            return None
        data = backup.read_bytes()
        text = data.decode()
        same = not file.found(text) and file.without(file.merge(text)) == rest
    except (OSError, UnicodeDecodeError, DevTraceError):
        return None
    return data if same else None


def _target(root: Path, path: str) -> Path:
    """Where the file really is: behind links, as long as they stay inside the repository."""
    top = Path(os.path.realpath(root))
    target = Path(os.path.realpath(top / path))
    if not target.is_relative_to(top):
        raise _path_error(path, f"leads out of the repository, to {target}", "make it a file of its own")
    try:
        if not stat.S_ISREG(target.lstat().st_mode):
            raise _path_error(path, "is there and is no file", "move it away")
    except FileNotFoundError:  # it is made
        pass
    except OSError as error:
        raise _path_error(
            path, f"cannot be reached: {error.strerror}", "look at what stands there"
        ) from error
    return target


def _path_error(path: str, why: str, hint: str) -> EnvironmentError:
    return EnvironmentError(f"{path} {why}", code="ERR_AGENT_HOOKS_PATH", hint=hint, context={"path": path})


def _read(path: str, target: Path) -> bytes | None:
    try:
        return target.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        why = f"cannot be read: {error.strerror or error}"
        raise _path_error(path, why, "check its owner and permissions") from error


def _text(path: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise EnvironmentError(
            f"{path} is no UTF-8",
            code="ERR_AGENT_HOOKS_FILE",
            hint="save it as UTF-8; it was left as it is",
            context={"path": path},
        ) from error


def _backup_of(target: Path) -> Path:
    return target.with_name(target.name + BACKUP)


# --- writing ----------------------------------------------------------------------------------------------


def _carried_out(root: Path, planned: list[Change], *, dry_run: bool) -> list[Change]:
    changes = [one for one in planned if one.before != one.after or one.backup in ("made", "removed")]
    for change in () if dry_run else changes:
        try:
            _carry_out(root, change)
        except OSError as error:
            raise EnvironmentError(
                f"{change.path} cannot be written: {error.strerror or error}",
                code="ERR_AGENT_HOOKS_WRITE",
                hint="check the directory's owner and permissions, and the space on the disk",
                context={"path": change.path},
            ) from error
    return changes


def _carry_out(root: Path, change: Change) -> None:
    target = _target(root, change.path)
    if _read(change.path, target) != change.before:  # the client writes it too
        raise _path_error(change.path, "was changed by somebody just now", "try again")
    backup = _backup_of(target)
    if change.backup == "made" and change.before is not None:
        _write(backup, change.before, target)
    if change.after is None:
        target.unlink()
        _drop_empty(Path(os.path.realpath(root)), change.path)
    elif change.after != change.before:
        _write(target, change.after, target, is_executable=change.is_executable)
    if change.backup == "removed":
        backup.unlink()


def _write(path: Path, data: bytes, like: Path, *, is_executable: bool = False) -> None:
    """Whole or not at all, with the mode of `like` if that is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(draft, flags, 0o777 if is_executable else 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            if like.exists():
                os.fchmod(handle, stat.S_IMODE(like.stat().st_mode))
            file.write(data)
            file.flush()
            os.fsync(handle)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _drop_empty(top: Path, path: str) -> None:
    """The folders that held nothing but the file; one behind a link is left."""
    for folder in (top / path).parents:
        if folder == top or folder.is_symlink():
            return
        try:
            folder.rmdir()
        except OSError:
            return


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
            data = _read(file.path, _target(root, file.path))
            found = {} if data is None else file.found(_text(file.path, data))
        except DevTraceError:
            return "unreadable", None
        there |= {(file.path, event): line for event, line in found.items()}
    if not there:
        return "none", None
    is_current = all(wanted.get(event) == line for event, line in there.items())
    return "all" if wanted.keys() <= there.keys() else "some", is_current
