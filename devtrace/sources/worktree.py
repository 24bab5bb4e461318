"""A working tree as `git add -A` sees it: which paths count, and what would stand in a tree for each.

libgit2 answers here, and git itself where that cannot: for the list of what differs (`git status`, which is
quick at 50,000 files and no load for us), for the filters and encodings of .gitattributes, for names that
are not UTF-8. The user's index is read and never written, no hook runs, no lock is taken.

A directory that is no repository, or one that libgit2 cannot open (SHA-256), is listed file by file; its
.gitignore files count all the same.

Lives here: `WorkTree`. Not here: what changed when (watch.py), what may be kept (policy/contents.py), how
HEAD moved (moves.py).
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pygit2

from devtrace.choices import Choice
from devtrace.sources.git import head_of, places_of
from devtrace.sources.ignored import Ignored
from devtrace.sources.status import ASTRAY, QUIET, STATUS, changed
from devtrace.sources.tracked import REPOSITORY, Index, Stamp, config_stamp

__all__ = ["LINK", "NEVER", "PLAIN", "PROGRAM", "REPOSITORY", "TICK_US", "File", "WorkTree"]

LINK, PLAIN, PROGRAM = 0o120000, 0o100644, 0o100755
NEVER = (b".git", b".devtrace")  # names that no working tree has in it

# The file system's clock stands still between two ticks of the kernel's, which come late on a busy machine:
# CLOCK_REALTIME_COARSE is 5 there (clock_getres(2)), which Python does not name.
TICK_US = int(time.clock_getres(5 if sys.platform == "linux" else time.CLOCK_REALTIME) * 3e6) + 200

_GIT_TIMEOUT_S = 120
_SHA1_DIGITS = 40
_DEEPEST = 400  # folders in a row; a program that went astray makes more, and Python's own stack has an end
# Of these attributes libgit2 makes nothing, or another thing than git.
_ONLY_GIT = (b"filter", b"working-tree-encoding", b"ident")


class File(NamedTuple):
    """What a path holds now, as a tree would have it."""

    mode: int
    data: bytes | None  # what goes into the blob; None: see `oid` and `reason`
    oid: str | None = None  # known without looking: a repository's HEAD, an entry that is not checked out
    reason: str | None = None  # why there is no data: size, unreadable
    size: int = 0  # bytes on disk
    changed_ns: int = 0  # st_ctime: when content or mode changed last
    written_ns: int = 0  # st_mtime


class WorkTree:
    """One working tree. For one thread."""

    def __init__(self, root: Path, rules: Path, *, most_bytes: int):
        """`rules`: a bare repository whose info/exclude names what the user wants left out besides.

        Of a file with more than `most_bytes` the content is not read.
        """
        self.root = root
        self._most = most_bytes
        self._own = rules
        self._open()

    def _open(self) -> None:
        self._had_git = os.path.lexists(self.root / ".git")
        self._user, self.choice = _opened(self.root)
        self._index = None if self._user is None else Index(self._user, self._git)
        self._configured = config_stamp(self._user)
        rules = self._user
        if rules is None:
            rules = pygit2.Repository(str(self._own))
            rules.workdir = str(self.root)
        self._ignored = Ignored(self.root, rules, self._own, self._git)

    def refresh(self) -> bool:
        """Look at git's settings again, which libgit2 reads once; whether there was anything new."""
        is_new = self._user is None and self._had_git != os.path.lexists(self.root / ".git")
        if not is_new and config_stamp(self._user) == self._configured:
            return False
        self._open()
        return True

    def prepare(self, paths: Iterable[bytes]) -> None:
        """Before many paths are asked for by `counts`: what git has to be asked for is asked once.

        With none it is forgotten.
        """
        self._ignored.settle(
            (path for path in paths if path.count(b"/") < _DEEPEST and not self.is_tracked(path)),
            self._is_below_folders,
        )

    # --- what is committed ----------------------------------------------------------------------------------

    @property
    def repository(self) -> pygit2.Repository | None:
        """The user's repository, None where there is none that libgit2 can open."""
        return self._user

    @property
    def git_directory(self) -> Path | None:
        """Of this working tree; None where there is no repository."""
        return None if self._user is None else Path(self._user.path)

    @property
    def object_directory(self) -> Path | None:
        """Where the repository keeps its objects, shared by all its working trees."""
        folder = self.git_directory
        if folder is None:
            return None
        common = _lines(folder / "commondir")
        return (folder / os.fsdecode(common[0]) if common else folder) / "objects"

    def head_tree(self) -> str | None:
        """The tree of HEAD; None where nothing is committed yet, or there is no repository."""
        if self._user is None:
            return None
        try:
            return str(self._user.head.peel(pygit2.Tree).id)
        except (pygit2.GitError, KeyError):
            return None

    def head(self) -> str | None:
        """The commit of HEAD; None where nothing is committed yet, or there is no repository."""
        with contextlib.suppress(pygit2.GitError, KeyError):
            return None if self._user is None else str(self._user.head.peel(pygit2.Commit).id)
        return None

    def has_object(self, oid: str) -> bool:
        """Whether the repository had this content already."""
        return self._user is not None and bool(self._user.odb.exists(oid))

    # --- which paths ----------------------------------------------------------------------------------------

    def differing(self) -> set[bytes]:
        """Every path that git sees as differing from HEAD, or of which it knows nothing yet.

        In a directory that is listed file by file: all its files. Raises OSError when git cannot tell.
        """
        if self._user is None:
            return set(self._listed())
        return set(changed(self._git(*STATUS)))

    def index_stamp(self) -> Stamp | None:
        """Changes when the index does, and with it what is tracked."""
        return None if self._index is None else self._index.stamp()

    def counts(self, path: bytes) -> bool:
        """Whether `git add -A` would look at the path: tracked, or not ignored; never inside .git."""
        names = path.split(b"/")
        if len(names) > _DEEPEST or any(name.lower() in NEVER for name in names):
            return False
        if self._ignored.is_left_out(path):
            return False
        return self.is_tracked(path) or not self._ignored.is_ignored(path)

    def is_left_out(self, path: bytes) -> bool:
        """Whether the user does not want it recorded, whatever git does with it."""
        return self._ignored.is_left_out(path)

    def taken(self, path: bytes, state: os.stat_result, data: bytes) -> File:
        """What a tree had had for a path when its bytes were taken from the disk. Raises OSError."""
        mode = LINK if stat.S_ISLNK(state.st_mode) else PROGRAM if state.st_mode & stat.S_IXUSR else PLAIN
        content = data if mode == LINK else self._converted(path, data)
        return File(mode, content, None, None, state.st_size, state.st_ctime_ns, state.st_mtime_ns)

    def is_tracked(self, path: bytes) -> bool:
        """Whether the index has it."""
        return self._index is not None and self._index.has(path)

    def skips(self, folder: bytes) -> bool:
        """Whether nothing in a folder counts, so that it need not be watched."""
        if folder.count(b"/") >= _DEEPEST or folder.rsplit(b"/", 1)[-1].lower() in NEVER:
            return True
        if self._ignored.is_left_out(folder + b"/"):
            return True
        return self._ignored.is_ignored(folder + b"/") and not self._has_tracked(folder)

    def _has_tracked(self, folder: bytes) -> bool:
        return self._index is not None and folder in self._index.folders()

    # --- what a path holds ----------------------------------------------------------------------------------

    def read(self, path: bytes, known_mode: int | None = None) -> File | None:
        """What a tree would have for the path; None: nothing.

        `known_mode`: the mode it had, which stays where the file system knows no exec bit. Never raises: what
        cannot be read has the reason `unreadable`.
        """
        tracked = None if self._index is None else self._index.find(path)
        if not self._is_below_folders(path):
            return None if tracked is None or not tracked.stays else File(tracked.mode, None, tracked.oid)
        whole = os.path.join(os.fsencode(self.root), path)
        try:
            state = os.lstat(whole)
        except (FileNotFoundError, NotADirectoryError):
            return None if tracked is None or not tracked.stays else File(tracked.mode, None, tracked.oid)
        except OSError:
            return File(known_mode or PLAIN, None, reason="unreadable")
        if tracked is not None and tracked.stays and not self._is_set("core.sparseCheckout"):
            return File(tracked.mode, None, tracked.oid)
        if stat.S_ISDIR(state.st_mode):
            found = self._folder(path, whole)
        elif stat.S_ISLNK(state.st_mode):
            found = _link(whole)
        elif stat.S_ISREG(state.st_mode):
            found = self._regular(path, whole, state, None if tracked is None else tracked.mode)
        else:  # a FIFO, a socket, a device: git takes none of them
            found = None
        if found is None:
            return None
        with contextlib.suppress(OSError):
            state = os.lstat(whole)  # after it was read: what was read is no newer than its times say
        return found._replace(size=state.st_size, changed_ns=state.st_ctime_ns, written_ns=state.st_mtime_ns)

    def _regular(self, path: bytes, whole: bytes, state: os.stat_result, tracked_mode: int | None) -> File:
        mode = PROGRAM if state.st_mode & stat.S_IXUSR else PLAIN
        if not self._is_set("core.filemode", default=True):
            mode = tracked_mode if tracked_mode in (PLAIN, PROGRAM) else PLAIN
        if tracked_mode == LINK and not self._is_set("core.symlinks", default=True):
            mode = LINK
        if state.st_size > self._most:
            return File(mode, None, reason="size")
        try:
            data = _content(whole, self._most)
            if data is None:
                return File(mode, None, reason="size")
            return File(mode, data if mode == LINK else self._converted(path, data))
        except OSError:
            return File(mode, None, reason="unreadable")

    def checked_out(self, path: bytes, data: bytes) -> bytes:
        """A blob as git would write it into the working tree. Raises OSError where git has to, and fails."""
        if self._user is None:
            return data
        if self._attribute(path, b"filter") or self._attribute(path, b"working-tree-encoding"):
            return self._smudged(path, data)
        with contextlib.suppress(pygit2.GitError, ValueError):
            filters = self._user.load_filter_list(path, pygit2.enums.FilterMode.TO_WORKTREE)  # type: ignore[arg-type]
            if filters is not None:
                return self._smudged(path, data) if b"\0" in data else bytes(filters.apply_to_buffer(data))
        return data

    def each_file(self, folder: bytes) -> Iterator[bytes]:
        """Every file below a folder that may count, embedded repositories as one."""
        yield from self._listed(folder)

    def _folder(self, path: bytes, whole: bytes) -> File | None:
        head = head_of(Path(os.fsdecode(whole))) if _is_repository(whole) else None
        tracked = None if self._index is None else self._index.find(path)
        if tracked is None and self._has_tracked(path):
            return None  # its files are tracked, so that git looks into it
        if head is not None and head.commit is not None and len(head.commit) == _SHA1_DIGITS:
            return File(REPOSITORY, None, head.commit)
        if tracked is not None and tracked.mode == REPOSITORY:  # not fetched: an empty folder
            return File(REPOSITORY, None, tracked.oid)
        return None

    def _is_below_folders(self, path: bytes) -> bool:
        """Whether all above it are folders of this tree: behind a link, or in a repository, is another."""
        root, above = os.fsencode(self.root), b""
        for name in path.split(b"/")[:-1]:
            above = os.path.join(above, name)
            whole = os.path.join(root, above)
            try:
                if not stat.S_ISDIR(os.lstat(whole).st_mode):
                    return False
            except FileNotFoundError:
                return True  # and so it is not there either
            except OSError:
                return False
            if self._is_other_repository(above, whole):
                return False
        return True

    def _is_other_repository(self, path: bytes, whole: bytes) -> bool:
        """Whether git does not look into it: a submodule, or a repository with nothing tracked in it."""
        tracked = None if self._index is None else self._index.find(path)
        if tracked is not None:
            return tracked.mode == REPOSITORY
        return _is_repository(whole) and not self._has_tracked(path)

    # --- git's own ways -------------------------------------------------------------------------------------

    def _converted(self, path: bytes, data: bytes) -> bytes:
        """The content as git stores it: line ends, `ident`, filters, encodings. Raises OSError."""
        if self._user is None:
            return data
        if any(self._attribute(path, name) for name in _ONLY_GIT):
            return self._cleaned(path, data)
        if b"\r" not in data:  # line ends are all that libgit2 would change
            return data
        try:
            filters = self._user.load_filter_list(path)  # type: ignore[arg-type]
            if filters is None:
                return data
            # pygit2 takes what comes out for a C string: a NUL would end it.
            return self._cleaned(path, data) if b"\0" in data else bytes(filters.apply_to_buffer(data))
        except (pygit2.GitError, ValueError):  # core.safecrlf, or an index that libgit2 cannot read
            return self._cleaned(path, data)

    def _attribute(self, path: bytes, name: bytes) -> bool:
        assert self._user is not None
        try:
            return bool(self._user.get_attr(path, name))
        except (pygit2.GitError, ValueError):
            return True  # git will know

    def _cleaned(self, path: bytes, data: bytes) -> bytes:
        """The content as git's own filters make it, by way of an object directory that is thrown away."""
        with tempfile.TemporaryDirectory(prefix="devtrace-") as scratch:
            told = self._git(
                "hash-object", "-w", "--stdin", b"--path=" + path,
                stdin=data, objects=scratch,
            )  # fmt: skip
            oid = told.strip().decode("ascii", "replace")
            try:
                packed = Path(scratch, oid[:2], oid[2:]).read_bytes()
                return zlib.decompress(packed).partition(b"\0")[2]
            except (OSError, zlib.error) as error:
                raise OSError("git's filter left nothing") from error

    def _smudged(self, path: bytes, data: bytes) -> bytes:
        with tempfile.TemporaryDirectory(prefix="devtrace-") as scratch:
            oid = self._git("hash-object", "-w", "--stdin", "--no-filters", stdin=data, objects=scratch)
            return self._git("cat-file", "--filters", b"--path=" + path, oid.strip(), objects=scratch)

    def _git(self, *arguments: str | bytes, stdin: bytes = b"", objects: str = "", also: int = 0) -> bytes:
        """What git says in the working tree; the exit status `also` is none of failure. Raises OSError."""
        environment = {name: value for name, value in os.environ.items() if name not in ASTRAY}
        environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
        if objects:
            environment["GIT_OBJECT_DIRECTORY"] = objects
        place: tuple[str, ...] = ()
        if self._user is None and not os.path.lexists(self.root / ".git"):
            place = ("--git-dir", str(self._own), "--work-tree", str(self.root))
        try:
            done = subprocess.run(
                ["git", "-C", str(self.root), *QUIET, *place, *arguments],
                input=stdin,
                capture_output=True,
                check=False,
                timeout=_GIT_TIMEOUT_S,
                env=environment,
            )
        except FileNotFoundError as error:
            raise OSError("git was not found in PATH") from error
        except subprocess.SubprocessError as error:
            raise OSError(f"git did not answer: {error}") from error
        if done.returncode not in (0, also):
            raise OSError(f"git {arguments[0]!r} failed: {done.stderr.decode('utf-8', 'replace').strip()}")
        return done.stdout

    def _is_set(self, key: str, *, default: bool = False) -> bool:
        if self._user is None:
            return default
        try:
            return bool(self._user.config.get_bool(key))
        except (KeyError, ValueError, pygit2.GitError):
            return default

    # --- listing --------------------------------------------------------------------------------------------

    def _listed(self, folder: bytes = b"") -> Iterator[bytes]:
        """Every file below a folder that counts, by a walk that follows no link."""
        try:
            found = sorted(
                os.scandir(os.path.join(os.fsencode(self.root), folder)), key=lambda item: item.name
            )
        except OSError:
            return
        files = []
        for item in found:
            path = os.path.join(folder, item.name)
            if item.name.lower() in NEVER:
                continue
            if not item.is_dir(follow_symlinks=False):
                files.append(path)
            elif not self.skips(path):
                if _is_repository(item.path):
                    yield path
                else:
                    yield from self._listed(path)
        self.prepare(files)
        yield from [path for path in files if self.counts(path)]
        self.prepare(())


def _opened(root: Path) -> tuple[pygit2.Repository | None, Choice]:
    if not (root / ".git").exists():
        return None, Choice("edits", "every file is looked at", because="it is no git repository")
    try:
        repository = pygit2.Repository(str(root))
        if repository.is_bare:
            return None, Choice("edits", "every file is looked at", because="the repository is bare")
    except (pygit2.GitError, KeyError, ValueError) as error:
        return None, Choice("edits", "every file is looked at", because=f"libgit2 cannot open it: {error}")
    return repository, Choice("edits", "git's index and libgit2", because="the cost follows the change")


def _link(path: bytes) -> File:
    try:
        return File(LINK, os.readlink(path))
    except OSError:
        return File(LINK, None, reason="unreadable")


def _content(path: bytes, most: int) -> bytes | None:
    """The content of a file; None: it has become larger than that. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("it is no file any more")
        data = file.read(most + 1)
    return None if len(data) > most else data


def _is_repository(folder: bytes) -> bool:
    """What git takes for a repository of its own (git's setup.c, is_git_directory)."""
    if not os.path.lexists(os.path.join(folder, b".git")):
        return False
    places = places_of(Path(os.fsdecode(folder)))
    return (
        places is not None
        and os.path.lexists(places.own / "HEAD")
        and (places.common / "objects").is_dir()
        and (places.common / "refs").is_dir()
    )


def _lines(path: Path) -> list[bytes]:
    try:
        return [line for line in path.read_bytes().splitlines() if line.strip() and not line.startswith(b"#")]
    except OSError:
        return []
