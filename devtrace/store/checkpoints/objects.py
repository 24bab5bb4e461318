"""`.devtrace/objects.git`: the objects of checkpoints, and the one way to write them.

libgit2 does not write an object that an alternate has, and the user's `git gc --prune=now` then takes it away
from us. So objects are written through a database that knows our own directory alone, and read through one
that knows the user's too: of that only a chain's base tree is borrowed.

Lives here: making and opening the repository, writing and reading objects. Not here: what stands in them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pygit2
from pygit2.enums import ObjectType

from devtrace.errors import EnvironmentError
from devtrace.workspace import Workspace, from_os_error

_FOLDERS = ("", "objects", "objects/info", "objects/pack", "refs", "refs/devtrace", "info")
_KINDS = {"blob": ObjectType.BLOB, "tree": ObjectType.TREE, "commit": ObjectType.COMMIT}
_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n[gc]\n\tauto = 0\n"
_LEVEL = 6  # of zlib
_TRIES = 2

Failure = (
    pygit2.GitError,
    OSError,
    KeyError,
    ValueError,
)  # what libgit2 says when the disk or an object fails


class Withheld(NamedTuple):
    """Why a blob is not what it stands for."""

    why: str  # path, secret, size, checkpoint, store, unreadable
    mac: str | None  # of the true content
    tags: tuple[str, ...]  # of the secrets that were masked


class Objects:
    """The repository, open. For one thread; several processes may write at once."""

    def __init__(self, path: Path):
        self.path = path
        self._list = path / "withheld"
        self._list_size = 0
        self._withheld: dict[str, Withheld] = {}
        self._open()

    def _open(self) -> None:
        self._cut = _stamp(self.path / "shallow")
        self._reader = pygit2.Repository(str(self.path))
        self._writer = pygit2.Odb()
        folder = str(self.path / "objects")
        self._writer.add_backend(pygit2.OdbBackendLoose(folder, _LEVEL, False, 0o700, 0o400), 2)
        self._writer.add_backend(pygit2.OdbBackendPack(folder), 1)

    def refresh(self) -> None:
        """Look what is there now; to be done under a chain's lock.

        libgit2 goes on to believe in a pack that was removed, and would not write what was in it.
        """
        if self._cut != _stamp(self.path / "shallow"):
            self._open()

    @property
    def repository(self) -> pygit2.Repository:
        """For reading: it knows the objects that are borrowed too."""
        return self._reader

    def write(self, kind: str, data: bytes) -> str:
        """Write a blob, tree or commit, unless it is ours already; returns its id as 40 hex digits.

        Raises EnvironmentError ERR_STORE_FULL or ERR_STORE_READONLY.
        """
        self._put_damaged_aside(kind, data)
        try:
            return str(self._writer.write(_KINDS[kind], data))
        except Failure as error:
            with translated(self.path):
                _must_have_room(self.path, zlib.compress(data, _LEVEL))
                raise error

    def read(self, oid: str) -> bytes:
        """The content of an object, borrowed or ours. Raises EnvironmentError ERR_STORE_DAMAGED."""
        with translated(self.path):
            if (own := self._loose(oid)) is not None:
                return own
            for left in reversed(range(_TRIES)):
                try:
                    return bytes(self._reader.odb.read(oid)[1])
                except KeyError:
                    if not left:
                        raise
                    self._look_again()
        raise AssertionError  # for mypy: the loop returns or raises

    def _put_damaged_aside(self, kind: str, data: bytes) -> None:
        """Whoever writes an object whose file was damaged writes it anew."""
        whole = b"%s %d\0" % (kind.encode(), len(data)) + data
        oid = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
        with contextlib.suppress(KeyError):
            self._loose(oid)

    def _loose(self, oid: str) -> bytes | None:
        """Our own loose object, checked; None: it is none. Raises KeyError for a damaged one.

        libgit2 never comes back from one that was cut, and finds its name taken when it is written again: so
        that is not left to it, and what is damaged is put aside.
        """
        path = self.path / "objects" / oid[:2] / oid[2:]
        try:
            packed = path.read_bytes()
        except (OSError, ValueError):
            return None
        with contextlib.suppress(zlib.error):
            whole = zlib.decompress(packed)
            if hashlib.sha1(whole, usedforsecurity=False).hexdigest() == oid:
                return whole.partition(b"\0")[2]
        with contextlib.suppress(OSError):
            (self.path / "damaged").mkdir(mode=0o700, exist_ok=True)
            path.replace(self.path / "damaged" / oid)
        self._open()  # libgit2 remembers that it was there
        raise KeyError(oid)

    def has(self, oid: str) -> bool:
        """Whether the object is there, borrowed or ours."""
        return bool(self._reader.odb.exists(oid))

    def owns(self, oid: str) -> bool:
        """Whether the object is ours, whatever the user does to theirs."""
        return bool(self._writer.exists(oid))

    def withhold(self, oid: str, why: str, mac: str | None = None, tags: Iterable[str] = ()) -> None:
        """Remember that a blob is not the content of the file that it stands for; before it is used.

        `mac`: of the true content; `tags`: of the secrets that were masked in it. Both are HMACs.
        """
        if oid not in self._withheld_blobs():
            found = Withheld(why, mac, tuple(tags))
            with translated(self.path):
                _append(self._list, f"{oid} {why} {mac or '-'} {','.join(found.tags) or '-'}\n".encode())
            self._withheld[oid] = found

    def learn(self, tags: Iterable[str]) -> None:
        """Remember secrets that a content may have in it, by their tags."""
        known = self.tags()
        with translated(self.path):
            for tag in dict.fromkeys(tags):
                if tag not in known:
                    _append(self._list, f"{tag} learned - {tag}\n".encode())

    def withheld(self, oid: str) -> str | None:
        """Why a blob is not the content of the file that it stands for; None: it is."""
        found = self._withheld_blobs().get(oid)
        return None if found is None else found.why

    def stands_for(self, oid: str, mac: str | None) -> bool:
        """Whether a blob stands for a content that was withheld and has this HMAC."""
        found = self._withheld_blobs().get(oid)
        return found is not None and mac is not None and found.mac == mac

    def tags(self) -> frozenset[str]:
        """The tags of all secrets that were ever masked in a content, or learned."""
        return frozenset(tag for found in self._withheld_blobs().values() for tag in found.tags)

    def _withheld_blobs(self) -> dict[str, Withheld]:
        try:
            size = self._list.stat().st_size
        except OSError:
            return self._withheld
        if size != self._list_size:
            self._list_size = size
            for line in self._list.read_text(encoding="ascii", errors="replace").splitlines():
                oid, why, mac, tags = (*line.split(" "), "-", "-", "-")[:4]
                known = () if tags == "-" else tuple(tags.split(","))
                self._withheld[oid] = Withheld(why, None if mac == "-" else mac, known)
        return self._withheld

    def borrow_from(self, folder: Path) -> None:
        """Read what is missing here in another object directory (gitrepository-layout(5): alternates)."""
        path = self.path / "objects" / "info" / "alternates"
        own = self.path.resolve() / "objects"
        line = _line(own, os.fsencode(folder.resolve()))
        known = path.read_bytes().splitlines() if path.exists() else []
        if line not in known:
            kept = [old for old in known if (own / os.fsdecode(old)).is_dir()]
            write_whole(path, b"".join(one + b"\n" for one in (*kept, line)))
            self._look_again()

    def _look_again(self) -> None:
        """Somebody packed, or another place to read in was named."""
        self._reader = pygit2.Repository(str(self.path))


def place_of(workspace: Workspace) -> Path:
    """Where the repository of a store is, be it made or not."""
    return workspace.dir / "objects.git"


def open_objects(workspace: Workspace, *, create: bool = False) -> Objects:
    """The repository of a store; with `create` it is made where it is missing.

    Raises EnvironmentError ERR_NO_CHECKPOINT where there is none, ERR_STORE_UNSAFE, ERR_STORE_READONLY or
    ERR_STORE_FULL.
    """
    path = place_of(workspace)
    _refuse_links(path)
    if create:
        _make(path)
    elif not (path / "HEAD").exists():
        raise EnvironmentError(
            f"no checkpoint was made in {workspace.dir} yet",
            code="ERR_NO_CHECKPOINT",
            hint="work in `devtrace shell`, or run `devtrace snapshot`",
            context={"path": str(path)},
        )
    with translated(path):
        return Objects(path)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what libgit2 and the disk say into errors of ours."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error, path) from error
    except (pygit2.GitError, KeyError, ValueError) as error:
        text = str(error)
        if "No space left" in text or "quota" in text.lower():
            raise EnvironmentError(
                f"no space left for {path}", code="ERR_STORE_FULL", hint="free some disk space"
            ) from error
        if isinstance(error, pygit2.GitError) and ("ermission denied" in text or "ead-only" in text):
            raise EnvironmentError(
                f"{path} cannot be written: {text}",
                code="ERR_STORE_READONLY",
                hint="check the owner and the permissions of .devtrace/",
                context={"path": str(path)},
            ) from error
        raise EnvironmentError(
            f"an object of {path} cannot be read: {text}",
            code="ERR_STORE_DAMAGED",
            hint="the record of commands is intact; a content of a file is lost",
            context={"path": str(path)},
        ) from error


def _refuse_links(path: Path) -> None:
    """A repository may bring a store of its own: nothing of it may lead elsewhere."""
    for part in (path / folder for folder in _FOLDERS):
        if part.is_symlink():
            raise EnvironmentError(
                f"{part} is a symbolic link",
                code="ERR_STORE_UNSAFE",
                hint="remove it",
                context={"path": str(part)},
            )


def _must_have_room(path: Path, data: bytes) -> None:
    """Raises OSError with its number where so much cannot be written: libgit2 tells none."""
    draft = path / "objects" / f".room.{os.getpid()}"
    try:
        draft.write_bytes(data + bytes(1 << 14))
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _make(path: Path) -> None:
    """A bare repository without hooks, templates or anybody's settings; HEAD comes last: it is whole."""
    if (path / "HEAD").exists():
        return
    try:
        for folder in _FOLDERS:
            (path / folder).mkdir(mode=0o700, exist_ok=True)
        write_whole(path / "config", _CONFIG.encode())
        write_whole(path / "HEAD", b"ref: refs/heads/none\n")
    except OSError as error:
        raise from_os_error(error, path) from error


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_ino


def _append(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(content)


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file of ours, 0600, whole or not at all. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    draft.replace(path)


def _line(folder: Path, path: bytes) -> bytes:
    """An object directory as alternates name it, relative to our own: they may be moved together."""
    relative = os.path.relpath(path, os.fsencode(folder))
    return relative if relative.startswith(b"..") else path
