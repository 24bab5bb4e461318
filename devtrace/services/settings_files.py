"""Settings files of other programs: read, changed and written, and what they held kept beside them.

A file is written whole or not at all, and keeps its mode; what stood in it before ours is kept beside it, and
goes when ours go and nothing else was changed. Nothing is written through a link that leads out of the root.

Lives here: `with_ours`, `without_ours`, `carried_out`, `found_in`, and what git says of such files. Not here:
what ours is (sources/agents/hookfiles.py, sources/mcp/configs.py), who asks for it (agents.py,
mcp_install.py).
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from devtrace.errors import DevTraceError, EnvironmentError
from devtrace.sources.status import ASTRAY

BACKUP = ".devtrace-backup"


class Edited(Protocol):
    """One file and what of ours goes into it; HookFile has this form. The three raise DevTraceError."""

    @property
    def path(self) -> str:
        """Relative to the root."""

    @property
    def is_executable(self) -> bool:
        """As it is made."""

    def merge(self, text: str | None, /) -> str:
        """The text with ours; None: there is no file yet."""

    def without(self, text: str, /) -> str | None:
        """Without ours; None: nothing else was in it."""

    def found(self, text: str, /) -> dict[str, str]:
        """Which of ours are in it."""


class Terms(NamedTuple):
    """The codes of errors, and what the root is called in them."""

    file: str  # what is in it cannot be changed
    path: str  # it is none, or not where it may be
    write: str
    root: str = "the repository"
    folder: str = ""  # what goes before a path where it is told


class Change(NamedTuple):
    """One file before and after; None: it is not there. `path` is relative to the root."""

    path: str
    before: bytes | None
    after: bytes | None
    backup: str = ""  # "made", "removed", or "kept" from an earlier time; "": there is none
    is_executable: bool = False  # as it is made; one that is there keeps its mode


def with_ours(root: Path, file: Edited, terms: Terms) -> Change:
    """What it is to become. Raises EnvironmentError, and what the file's own functions raise."""
    target = _target(root, file.path, terms)
    before = _read(file.path, target, terms)
    text = None if before is None else _text(file.path, before, terms)
    after = file.merge(text).encode()
    backup = "kept" if os.path.lexists(_backup_of(target)) else ""
    if not backup and text is not None and after != before and not file.found(text):
        backup = "made"
    return Change(file.path, before, after, backup, file.is_executable)


def without_ours(root: Path, file: Edited, terms: Terms) -> Change:
    """What is left of it, or what it was before where that says the same. Raises as `with_ours`."""
    target = _target(root, file.path, terms)
    before = _read(file.path, target, terms)
    if before is None:
        return Change(file.path, None, None)
    rest = file.without(_text(file.path, before, terms))
    after = None if rest is None else rest.encode()
    kept = _backup_of(target)
    if not os.path.lexists(kept):
        return Change(file.path, before, after)
    was = _was(file, kept, rest)
    return (
        Change(file.path, before, after, "kept") if was is None else Change(file.path, before, was, "removed")
    )


def found_in(root: Path, file: Edited, terms: Terms) -> dict[str, str]:
    """Which of ours are in it; none where there is no file. Raises EnvironmentError."""
    data = _read(file.path, _target(root, file.path, terms), terms)
    return {} if data is None else file.found(_text(file.path, data, terms))


def _was(file: Edited, backup: Path, rest: str | None) -> bytes | None:
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


def _target(root: Path, path: str, terms: Terms) -> Path:
    """Where the file really is: behind links, as long as they stay inside the root."""
    top = Path(os.path.realpath(root))
    target = Path(os.path.realpath(top / path))
    if not target.is_relative_to(top):
        why = f"leads out of {terms.root}, to {target}"
        raise _path_error(terms, path, why, "make it a file of its own")
    try:
        if not stat.S_ISREG(target.lstat().st_mode):
            raise _path_error(terms, path, "is there and is no file", "move it away")
    except FileNotFoundError:  # it is made
        pass
    except OSError as error:
        why = f"cannot be reached: {error.strerror}"
        raise _path_error(terms, path, why, "look at what stands there") from error
    return target


def _path_error(terms: Terms, path: str, why: str, hint: str) -> EnvironmentError:
    path = terms.folder + path
    return EnvironmentError(f"{path} {why}", code=terms.path, hint=hint, context={"path": path})


def _read(path: str, target: Path, terms: Terms) -> bytes | None:
    try:
        return target.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        why = f"cannot be read: {error.strerror or error}"
        raise _path_error(terms, path, why, "check its owner and permissions") from error


def _text(path: str, data: bytes, terms: Terms) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise EnvironmentError(
            f"{terms.folder}{path} is no UTF-8",
            code=terms.file,
            hint="save it as UTF-8; it was left as it is",
            context={"path": terms.folder + path},
        ) from error


def _backup_of(target: Path) -> Path:
    return target.with_name(target.name + BACKUP)


# --- writing ----------------------------------------------------------------------------------------------


def carried_out(root: Path, planned: list[Change], terms: Terms, *, dry_run: bool) -> list[Change]:
    """Write those that change, unless it is a dry run; which they are. Raises EnvironmentError."""
    changes = [one for one in planned if one.before != one.after or one.backup in ("made", "removed")]
    for change in () if dry_run else changes:
        try:
            _carry_out(root, change, terms)
        except OSError as error:
            raise EnvironmentError(
                f"{terms.folder}{change.path} cannot be written: {error.strerror or error}",
                code=terms.write,
                hint="check the directory's owner and permissions, and the space on the disk",
                context={"path": terms.folder + change.path},
            ) from error
    return changes


def _carry_out(root: Path, change: Change, terms: Terms) -> None:
    target = _target(root, change.path, terms)
    if _read(change.path, target, terms) != change.before:  # the client writes it too
        raise _path_error(terms, change.path, "was changed by somebody just now", "try again")
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


# --- what git says -----------------------------------------------------------------------------------------


def unignored(root: Path, paths: Iterable[str]) -> list[str]:
    """Those that git tracks, or would with the next `git add`; none where it cannot tell."""
    wanted = list(paths)
    ignored = _git(root, ["check-ignore", "-z", "--stdin"], b"\0".join(os.fsencode(path) for path in wanted))
    return [] if ignored is None else [path for path in wanted if os.fsencode(path) not in ignored]


def tracked(root: Path, paths: Iterable[str]) -> list[str]:
    """Those that git tracks; none where it cannot tell."""
    wanted = list(paths)
    known = _git(root, ["--literal-pathspecs", "ls-files", "-z", "--", *wanted]) if wanted else None
    return [path for path in wanted if os.fsencode(path) in (known or ())]


def _git(root: Path, words: list[str], told: bytes = b"") -> list[bytes] | None:
    """What git lists; None where it cannot tell."""
    environment = {name: value for name, value in os.environ.items() if name not in ASTRAY}
    command = ["git", "-C", str(root), *words]
    try:
        done = subprocess.run(
            command, input=told, capture_output=True, check=False, timeout=10, env=environment
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split(b"\0") if done.returncode < 2 else None
