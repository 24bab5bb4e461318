"""inotify over a tree: the kernel's own calls, and which directories are watched by which descriptor.

Lives here: the three system calls through ctypes, the masks, the table path <-> descriptor, the walk.
Not here: the thread, what an event means, when something happened (watch.py).

Nothing is opened and ctypes is not imported before an `Inotify` is made. Source: inotify(7).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
import termios
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

IN_MODIFY = 0x2
IN_ATTRIB = 0x4
IN_CLOSE_WRITE = 0x8
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_UNMOUNT = 0x2000
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x0100_0000
IN_DONT_FOLLOW = 0x0200_0000
IN_EXCL_UNLINK = 0x0400_0000
IN_MASK_ADD = 0x2000_0000
IN_ISDIR = 0x4000_0000

CAME = IN_CREATE | IN_MOVED_TO
WENT = IN_DELETE | IN_MOVED_FROM
# What a file that was unlinked but is still open does afterwards happens at no path: IN_EXCL_UNLINK.
CHANGES = (
    CAME
    | WENT
    | IN_MODIFY
    | IN_CLOSE_WRITE
    | IN_ATTRIB
    | IN_DELETE_SELF
    | IN_MOVE_SELF
    | IN_ONLYDIR
    | IN_EXCL_UNLINK
)
IN_TREE = CHANGES | IN_DONT_FOLLOW
WRITES = (
    IN_MODIFY | IN_CLOSE_WRITE
)  # each closed: so that equal events do not follow each other and are joined
DEPARTURES = WENT | IN_ONLYDIR | IN_DONT_FOLLOW  # of an embedded repository only the end is watched

OURS = (b".git", b".devtrace")
ANY_NAME = b"/"  # no file is called so
_HEAD = struct.Struct("iIII")  # wd, mask, cookie, length of the name with its padding
_LONGEST = _HEAD.size + 256  # NAME_MAX and its NUL, padded
_READ_SIZE = 1 << 18
_SETTINGS = Path("/proc/sys/fs/inotify")


class Inotify:
    """One inotify instance. OSError is raised with the kernel's errno, and by the maker too (EMFILE)."""

    def __init__(self) -> None:
        import ctypes  # 10 ms and a library: only for those who watch

        libc = ctypes.CDLL(None, use_errno=True)
        self._errno = ctypes.get_errno
        self._add = libc.inotify_add_watch
        self._add.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
        self._remove = libc.inotify_rm_watch
        self._remove.argtypes = (ctypes.c_int, ctypes.c_int)
        self.fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(self._errno(), os.strerror(self._errno()))

    def add(self, path: bytes, mask: int) -> int:
        """The descriptor of this inode's watch; the same as before if it had one, whatever its path was."""
        wd: int = self._add(self.fd, path, mask)
        if wd < 0:
            raise OSError(self._errno(), os.strerror(self._errno()), path)
        return wd

    def remove(self, wd: int) -> None:
        """End a watch. One that the kernel ended before is none to us; IN_IGNORED comes in both cases."""
        if self._remove(self.fd, wd) < 0 and self._errno() != errno.EINVAL:
            raise OSError(self._errno(), os.strerror(self._errno()))

    def n_queued(self) -> int:
        """Bytes that wait to be read."""
        (n_bytes,) = struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, bytes(4)))
        return int(n_bytes)

    def read(self) -> tuple[bytes, bool]:
        """What is queued, and whether the queue was seen empty at the end: there was room for one more."""
        try:
            data = os.read(self.fd, _READ_SIZE)
        except BlockingIOError:
            return b"", True
        return data, len(data) <= _READ_SIZE - _LONGEST

    def close(self) -> None:
        os.close(self.fd)


def events(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """`(wd, mask, name)` of what one read returned; no name: the watched directory itself is meant."""
    head, offset, end = _HEAD.unpack_from, 0, len(data)
    while offset < end:
        wd, mask, _, length = head(data, offset)
        offset += 16 + length
        yield wd, mask, data[offset - length : offset].rstrip(b"\0")


def setting(name: str) -> int | None:
    """A limit of /proc/sys/fs/inotify. None: it cannot be read here."""
    try:
        return int((_SETTINGS / name).read_text())
    except (OSError, ValueError):
        return None


class WatchTable:
    """Which descriptor stands for which directories, exactly.

    A descriptor belongs to an inode, so one may stand for several paths: a bind mount, or a directory that
    was renamed while the event that says so still waits. `extras` are the watches outside the tree: the
    names that matter below each. A watch lives while either needs it.

    A watch that we ended still has events in the queue, up to its IN_IGNORED: until then its number is
    `ending`, so that a number given out anew is never taken for the old one.
    """

    def __init__(self, inotify: Inotify):
        self._inotify = inotify
        self.paths: dict[int, tuple[bytes, ...]] = {}
        self.extras: dict[int, set[bytes]] = {}
        self.ending: set[int] = set()
        self._wds: dict[bytes, int] = {}
        self._below: dict[bytes, set[bytes]] = {}  # what is watched one step below a path
        self._old: tuple[int, ...] = ()

    @property
    def n_watches(self) -> int:
        return len(self.paths) + sum(wd not in self.paths for wd in tuple(self.extras))

    def __contains__(self, path: bytes) -> bool:
        return path in self._wds

    def all_paths(self) -> set[bytes]:
        return set(self._wds)

    def put(self, path: bytes, wd: int) -> bool:
        """Say that the descriptor stands for this path; False: it did already."""
        old = self._wds.get(path)
        if old == wd:
            return False
        if old is not None:
            self.drop(path)  # another directory is here now, and another tree below it
        self._wds[path] = wd
        self.paths[wd] = (*self.paths.get(wd, ()), path)
        if path:
            self._below.setdefault(path.rpartition(b"/")[0], set()).add(path)
        return True

    def put_extra(self, wd: int, name: bytes) -> None:
        self.extras.setdefault(wd, set()).add(name)

    def drop(self, path: bytes) -> None:
        """End the watches of this directory and of all below it."""
        self.drop_below(path)
        if path in self._wds:
            self._forget(path)

    def drop_below(self, path: bytes) -> None:
        children = list(self._below.get(path, ()))
        for child in children:  # it grows as we go: a tree may be deeper than Python's stack
            children += self._below.get(child, ())
        for child in children:
            self._forget(child)

    def ended(self, wd: int) -> None:
        """IN_IGNORED came: the kernel has no such watch any more, and nothing more comes from it."""
        if wd in self.ending:
            self.ending.discard(wd)
            return
        self.extras.pop(wd, None)
        for path in self.paths.pop(wd, ()):
            self._unlist(path)

    def begin_again(self) -> None:
        """Forget which paths are watched, and end no watch: a walk puts in again what it meets."""
        self._old = tuple(self.paths) + tuple(self.extras)
        for table in (self.paths, self.extras, self._wds, self._below):
            table.clear()

    def end_the_unmet(self) -> None:
        """After that walk: end the watches that it did not meet."""
        for wd in dict.fromkeys(self._old):
            self._end_if_unused(wd)

    def _forget(self, path: bytes) -> None:
        wd = self._wds[path]
        self._unlist(path)
        left = tuple(other for other in self.paths[wd] if other != path)
        if left:
            self.paths[wd] = left
        else:
            del self.paths[wd]
            self._end_if_unused(wd)

    def _unlist(self, path: bytes) -> None:
        del self._wds[path]
        parent = path.rpartition(b"/")[0]
        siblings = self._below.get(parent)
        if siblings is not None:
            siblings.discard(path)
            if not siblings:
                del self._below[parent]

    def _end_if_unused(self, wd: int) -> None:
        if wd not in self.paths and wd not in self.extras and wd not in self.ending:
            self.ending.add(wd)
            with contextlib.suppress(OSError):
                self._inotify.remove(wd)


class WatchedTree:
    """Which directories below a root are watched: all but the ignored ones and other repositories.

    Symbolic links are not followed, `.git` and `.devtrace` are never watched. `on_short(because)` is called
    for what could not be watched. `extra` are absolute paths outside of these rules.
    """

    def __init__(
        self,
        kernel: Inotify,
        root: bytes,
        is_ignored: Callable[[bytes], bool],
        extra: Sequence[bytes],
        most: int,
        on_short: Callable[[str], None],
    ):
        self._kernel = kernel
        self._root = root
        self._is_ignored = is_ignored
        self.extra = extra
        self._most = most
        self._on_short = on_short
        self.table = WatchTable(kernel)
        self.skipped: set[bytes] = set()  # ignored directories that we met
        self.embedded: set[bytes] = set()  # directories with a repository of their own
        self.is_over = False  # set by whoever cannot wait for a walk to end

    def exists(self, path: bytes) -> bool:
        try:
            return stat.S_ISDIR(os.lstat(self._absolute(path)).st_mode)
        except OSError:
            return False

    def walk(self) -> None:
        """Watch what is to be watched, and end what is not, whatever was believed before."""
        self.skipped.clear()
        self.embedded.clear()
        self.table.begin_again()
        self.descend(b"", None)
        self.watch_extras()
        self.table.end_the_unmet()

    def descend(self, top: bytes, found: dict[bytes, bool] | None) -> None:
        """Watch a directory and all below, watching each before it is read; its files go to `found`.

        One that is watched already was read after that, and its events tell the rest.
        """
        waiting = [top]
        while waiting and not self.is_over:
            path = waiting.pop()
            if self._is_new(path):
                waiting += self._scan(path, found)

    def _is_new(self, path: bytes) -> bool:
        """Watch this directory; False: it is watched already, or it cannot be."""
        if path not in self.table and self.table.n_watches >= self._most:
            self._on_short(f"{self._most:,} directories are watched, {_share()}")
            return False
        try:
            return self.table.put(path, self._kernel.add(self._absolute(path), IN_TREE))
        except OSError as error:
            self._excuse(error)
            return False

    def _scan(self, path: bytes, found: dict[bytes, bool] | None) -> list[bytes]:
        """The directories to go down to."""
        try:
            with os.scandir(self._absolute(path)) as entries:
                listed = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except OSError as error:
            self._excuse(error)
            return []
        if path and any(name == b".git" for name, _ in listed):
            self.embed(path)
            return []
        prefix = path + b"/" if path else b""
        if found is not None:
            found.update((prefix + name, False) for name, is_dir in listed if not is_dir)
        return [prefix + name for name, is_dir in listed if is_dir and not self.is_skipped(prefix + name)]

    def is_skipped(self, path: bytes) -> bool:
        if path.rpartition(b"/")[2] in OURS:
            return True
        if path in self.skipped or self._is_ignored(path):
            self.skipped.add(path)
            return True
        return False

    def embed(self, path: bytes) -> None:
        """Another repository is here: only the end of its `.git` is still of interest."""
        self.drop_below(path)
        self.embedded.add(path)
        try:
            self.table.put(path, self._kernel.add(self._absolute(path), DEPARTURES))
        except OSError as error:
            self._excuse(error)

    def leave(self, path: bytes) -> None:
        """End what is known of a directory that went."""
        self.drop_below(path)
        self.embedded.discard(path)
        self.table.drop(path)

    def drop_below(self, path: bytes) -> None:
        self.table.drop_below(path)
        prefix = path + b"/"
        for paths in (self.skipped, self.embedded):
            paths.difference_update([one for one in paths if one.startswith(prefix)])

    def watch_extras(self) -> None:
        """Watch where an extra is or will be, for files are replaced by a rename, and into a directory."""
        for path in self.extra:
            parent, _, name = path.rpartition(b"/")
            self._watch_extra(parent or b"/", name)
            self._watch_extra(path, ANY_NAME)

    def _watch_extra(self, folder: bytes, name: bytes) -> None:
        try:
            self.table.put_extra(self._kernel.add(folder, CHANGES | IN_MASK_ADD), name)
        except OSError as error:
            self._excuse(error)

    def _excuse(self, error: OSError) -> None:
        """What is gone again, or no directory any more, is no loss: its event waits."""
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            self._on_short(advice(error))

    def _absolute(self, path: bytes) -> bytes:
        return self._root + b"/" + path


def advice(error: OSError) -> str:
    """Why the kernel refused, and what to do about it."""
    if error.errno == errno.ENOSPC:
        return f"there are no more inotify watches, {_share()}"
    if error.errno == errno.EMFILE:
        return "too many inotify instances or open files (raise fs.inotify.max_user_instances, or ulimit -n)"
    place = f" at {os.fsdecode(error.filename)}" if error.filename else ""
    return f"{error.strerror}{place}"


def _share() -> str:
    limit = setting("max_user_watches")
    told = "" if limit is None else f" of {limit:,}"
    return f"the limit{told} is for all programs of a user (raise fs.inotify.max_user_watches)"
