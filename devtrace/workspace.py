"""Where things are: the store above the current directory, and the private runtime directory.

Lives here: finding and creating `.devtrace/`, the paths inside it, the checks that make a directory safe.
Not here: what the database holds (store/). Standard library only, and no dataclass: guests import this.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from devtrace.errors import EnvironmentError

STORE_NAME = ".devtrace"


class Workspace:
    """One store and the working tree it stands in; `dir` is the absolute path of `.devtrace/`."""

    __slots__ = ("dir", "root")

    def __init__(self, directory: Path):
        self.dir = directory
        self.root = directory.parent

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.dir / "devtrace.db"

    @property
    def lock(self) -> Path:
        """What is flocked around opening, WAL and migrating."""
        return self.dir / "lock"

    @property
    def salt(self) -> Path:
        """The key of the HMACs that stand for what was withheld; never exported."""
        return self.dir / "salt"

    @property
    def config(self) -> Path:
        """The user's settings for this store."""
        return self.dir / "config.toml"

    @property
    def spool(self) -> Path:
        """Frames of other processes, and of the host when the database cannot be written."""
        return self.dir / "spool"

    @property
    def run(self) -> Path:
        """One lock file a live session, the drain lock, the configuration snapshot for guests."""
        return self.dir / "run"

    @property
    def log(self) -> Path:
        """Where our own failures are written."""
        return self.dir / "log"

    @property
    def seals(self) -> Path:
        """The seals once more, as lines of text outside the database."""
        return self.dir / "seals.log"

    @property
    def signatures(self) -> Path:
        """SSH signatures of seals, a file each."""
        return self.dir / "signatures"

    def exists(self) -> bool:
        """Whether the store's directory is there (its database may not be yet)."""
        return self.dir.is_dir()


def find(start: Path | None = None) -> Workspace:
    """The store to read or write: `$DEVTRACE_DIR` in a traced shell, else the nearest one above `start`.

    Raises EnvironmentError ERR_STORE_MISSING where there is none, ERR_STORE_UNSAFE for a symbolic link or
    a directory of somebody else.
    """
    named = os.environ.get("DEVTRACE_DIR", "") if start is None else ""
    if named and Path(named).is_dir():
        return checked(Workspace(Path(named)))
    here = working_directory() if start is None else start.absolute()
    for folder in (here, *here.parents):
        candidate = folder / STORE_NAME
        # ~/.devtrace/ holds the registry of stores, and is no store until it has a database.
        if candidate.is_symlink() or (candidate.is_dir() and (candidate / "devtrace.db").exists()):
            return checked(Workspace(candidate))
    raise EnvironmentError(
        f"no {STORE_NAME}/ in {here} or above",
        code="ERR_STORE_MISSING",
        hint="run `devtrace init` in the repository root",
        context={"start": str(here)},
    )


def find_or_place(start: Path | None = None) -> tuple[Workspace, bool]:
    """The store above `start`, or where a new one belongs: the repository's root, else `start` itself.

    Returns the workspace and whether it was there already; makes nothing.
    """
    try:
        return find(start), True
    except EnvironmentError as error:
        if error.code != "ERR_STORE_MISSING":
            raise
    here = working_directory() if start is None else start.absolute()
    return Workspace((repository_root(here) or here) / STORE_NAME), False


def working_directory() -> Path:
    """The current directory. Raises EnvironmentError ERR_CWD_MISSING when it was removed under us."""
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise EnvironmentError(
            "the current directory does not exist any more",
            code="ERR_CWD_MISSING",
            hint="change to a directory that exists",
        ) from error


def repository_root(start: Path) -> Path | None:
    """The nearest folder above `start` with a `.git` in it (a directory, or a file in worktrees), or None."""
    return next((folder for folder in (start, *start.parents) if (folder / ".git").exists()), None)


def create(workspace: Workspace) -> None:
    """Make the store's directories, 0700, with a `.gitignore` of `*` and a fresh salt; idempotent.

    Raises EnvironmentError ERR_STORE_UNSAFE, ERR_STORE_READONLY or ERR_STORE_FULL.
    """
    checked(workspace)
    try:
        for folder in (workspace.dir, workspace.spool, workspace.run, workspace.log):
            folder.mkdir(mode=0o700, exist_ok=True)
        _write_once(workspace.dir / ".gitignore", b"*\n")
        _write_once(workspace.salt, os.urandom(32))
    except OSError as error:
        raise from_os_error(error, workspace.dir) from error


def checked(workspace: Workspace) -> Workspace:
    """The workspace, if nothing is there yet or what is there is ours and leads nowhere else.

    A repository may bring a `.devtrace/` of its own, and nothing may be led out of it by a link. Raises
    EnvironmentError ERR_STORE_UNSAFE.
    """
    try:
        state = workspace.dir.lstat()
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
            raise _unsafe(workspace.dir, "is a symbolic link, no directory, or belongs to somebody else")
        for path in (workspace.spool, workspace.run, workspace.log, workspace.database):
            if path.is_symlink():
                raise _unsafe(path, "is a symbolic link")
    except FileNotFoundError:
        return workspace
    except OSError as error:
        raise from_os_error(error, workspace.dir) from error
    return workspace


def from_os_error(error: OSError, where: Path) -> EnvironmentError:
    """The store's own words for an OSError: full, read-only, or simply not allowed."""
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EnvironmentError(
            f"no space left for {where}", code="ERR_STORE_FULL", hint="free some disk space"
        )
    return EnvironmentError(
        f"{where} cannot be written: {error.strerror or error}",
        code="ERR_STORE_READONLY",
        hint="check the directory's owner and permissions",
        context={"path": str(where)},
    )


def runtime_base() -> Path:
    """`$XDG_RUNTIME_DIR/devtrace`, else `devtrace-<uid>` in the temp folder; made 0700 and checked.

    Raises EnvironmentError ERR_RUNTIME_DIR when it exists but is not ours alone (a planted directory).
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and _is_ours(Path(runtime)):
        base = Path(runtime) / "devtrace"
    else:
        base = Path(os.environ.get("TMPDIR") or "/tmp") / f"devtrace-{os.getuid()}"  # noqa: S108 - checked below
    try:
        base.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _runtime_error(base, str(error)) from error
    if not _is_ours(base):
        raise _runtime_error(base, "it is not a directory of yours with mode 0700")
    return base


def is_memory(path: Path) -> bool:
    """Whether the path lies on tmpfs or ramfs, so that a scratch file there never reaches a disk."""
    best, kind = "", ""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    target = os.path.realpath(path)
    for line in mounts.splitlines():
        fields = line.split(" ")
        mount = fields[1].replace("\\040", " ")
        if len(mount) >= len(best) and (target + "/").startswith(mount.rstrip("/") + "/"):
            best, kind = mount, fields[2]
    return kind in ("tmpfs", "ramfs")


def _unsafe(path: Path, why: str) -> EnvironmentError:
    return EnvironmentError(
        f"{path} {why}",
        code="ERR_STORE_UNSAFE",
        hint="remove it, or run devtrace as its owner",
        context={"path": str(path)},
    )


def _is_ours(folder: Path) -> bool:
    try:
        state = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o077


def _runtime_error(base: Path, why: str) -> EnvironmentError:
    return EnvironmentError(
        f"no private runtime directory at {base}: {why}",
        code="ERR_RUNTIME_DIR",
        hint="set XDG_RUNTIME_DIR to a directory of your own with mode 0700",
        context={"path": str(base)},
    )


def _write_once(path: Path, content: bytes) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    with os.fdopen(handle, "wb") as file:
        file.write(content)
