"""The seals once more, outside the database: `.devtrace/seals.log`, a line of text a seal.

    seal1 <n> <session> <seq or -> <hash> <sealed_us> <late 0|1> <digest>

`digest` is the SHA-256 of the digest of the line before it (64 zeros before the first), a space, and the line
up to its digest: so a line that was changed or taken out shows. Who writes the database anew has not written
this file, and who writes both has not written the copy that was kept elsewhere.

Lives here: `sync`, reading the file or a copy of it, `retire`. Not here: what follows from a difference
(query/anchored.py), sealing (chain.py).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from devtrace.store.chain import FIRST
from devtrace.store.hold import try_lock
from devtrace.workspace import Workspace

_VERSION = "seal1"
_LINE = re.compile(
    rf"{_VERSION} ([1-9]\d{{0,17}}) ([0-9a-f]{{32}}) (-|\d{{1,18}}) ([0-9a-f]{{64}}) (\d{{1,18}}) ([01])"
)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NEWER = "SELECT n, session, seq, hash, sealed_us, late FROM seals WHERE n > ? ORDER BY n"
_TAIL_BYTES = 4096  # in which the last whole line is looked for first
_PATIENCE_S = 1.0  # for another process that anchors: it takes milliseconds
_LOOK_AGAIN_S = 0.005


class Seal(NamedTuple):
    """A row of the table `seals`. `seq` None: the session had no event."""

    n: int
    session: str
    seq: int | None
    hash: str
    sealed_us: int
    late: int


class Log(NamedTuple):
    """What a file says. `broken`: lines that do not follow the one before them, or are none of ours.

    `is_torn`: something stands after the last newline, as it does when the power went.
    """

    seals: list[Seal]  # of the lines that do follow, in their order
    mentioned: frozenset[int]  # the number of every seal that a line names, be it broken
    broken: int = 0
    is_torn: bool = False


class Synced(NamedTuple):
    """What one sync added. `is_new`: there was no file before; `was_torn`: its last line was."""

    added: tuple[int, ...]  # numbers of seals
    is_new: bool = False
    was_torn: bool = False

    @property
    def missed(self) -> tuple[int, ...]:
        """Those that should have stood there before, and were not just being written when the power went."""
        return () if self.is_new else self.added[int(self.was_torn) :]


_NOTHING = Synced(())


def sync(db: sqlite3.Connection, workspace: Workspace) -> Synced:
    """Append the seals that are newer than the file's last. To be called after a transaction, never in one.

    What cannot be written now is written by the next call, so nothing is raised and nothing is said. A last
    line that was torn when the power went is taken away and written again.
    """
    if db.in_transaction:  # it may be rolled back, and a line of the file cannot be
        return _NOTHING
    try:
        if db.execute("SELECT max(n) FROM seals").fetchone() == (None,):
            return _NOTHING
        is_new = not workspace.seals.exists()
        with _held(workspace.seals) as fd:
            return _append(db, workspace, fd)._replace(is_new=is_new)
    except (OSError, sqlite3.Error):
        return _NOTHING


def read(path: Path) -> Log | None:
    """The file, or a copy of it; None where there is none. Raises OSError.

    What follows the last newline was torn by a lost power, or is just being written: it is not believed.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        _must_be_regular(fd)
        return parse(file.read())


def parse(content: bytes) -> Log:
    """The lines of a file, each held against the one before it."""
    seals: list[Seal] = []
    mentioned: set[int] = set()
    broken = 0
    previous = FIRST
    *lines, rest = content.split(b"\n")
    for line in lines:
        seal, body, digest = _parsed(line)
        if seal is not None:
            mentioned.add(seal.n)
        if seal is not None and digest == _digest(previous, body):
            seals.append(seal)
        else:
            broken += 1
        previous = digest
    return Log(seals, frozenset(mentioned), broken, is_torn=bool(rest))


def render(seals: Sequence[Seal], previous: str = FIRST) -> str:
    """The lines of some seals, the first of which follows a line with that digest."""
    lines = []
    for seal in seals:
        seq = "-" if seal.seq is None else seal.seq
        body = f"{_VERSION} {seal.n} {seal.session} {seq} {seal.hash} {seal.sealed_us} {seal.late}"
        previous = _digest(previous, body)
        lines.append(f"{body} {previous}\n")
    return "".join(lines)


def retire(workspace: Workspace) -> None:
    """A new database begins a new file: the seals of the one before it are kept beside it, as `.old`."""
    with contextlib.suppress(OSError):
        workspace.seals.replace(workspace.seals.with_name(workspace.seals.name + ".old"))


def _append(db: sqlite3.Connection, workspace: Workspace, fd: int) -> Synced:
    newest, digest, whole = _end(fd)
    seals = [Seal(*row) for row in db.execute(_NEWER, (newest,))]
    if not seals:
        return _NOTHING
    was_torn = os.fstat(fd).st_size > whole
    _make_durable(workspace)
    os.ftruncate(fd, whole)
    rest = memoryview(render(seals, digest).encode("ascii"))
    while rest:
        rest = rest[os.write(fd, rest) :]
    os.fsync(fd)  # that a line is missing shall mean something
    return Synced(tuple(seal.n for seal in seals), was_torn=was_torn)


def _end(fd: int) -> tuple[int, str, int]:
    """The highest number near the end, the digest of the last whole line, and where that line ends."""
    size = os.fstat(fd).st_size
    for start in (max(0, size - _TAIL_BYTES), 0):
        content = os.pread(fd, size - start, start)
        whole, newline, _ = content.rpartition(b"\n")
        lines = whole.split(b"\n")[1 if start else 0 :] if newline else []
        parsed = [_parsed(line) for line in lines]
        numbers = [seal.n for seal, _, _ in parsed if seal is not None]
        if numbers or start == 0:
            digest = parsed[-1][2] if parsed else FIRST
            return max(numbers, default=0), digest, start + len(whole) + len(newline)
    raise AssertionError("the second round begins at 0")


def _parsed(line: bytes) -> tuple[Seal | None, str, str]:
    """The seal (None: it is no line of ours), the line without its digest, and the digest.

    Where a line has no digest, whatever comes next follows FIRST.
    """
    body, _, digest = line.decode("ascii", "replace").rpartition(" ")
    if not _DIGEST.fullmatch(digest):
        return None, body, FIRST
    if (match := _LINE.fullmatch(body)) is None:
        return None, body, digest
    n, session, seq, sealed, sealed_us, late = match.groups()
    seal = Seal(int(n), session, None if seq == "-" else int(seq), sealed, int(sealed_us), int(late))
    return seal, body, digest


def _digest(previous: str, body: str) -> str:
    return hashlib.sha256(f"{previous} {body}".encode("utf-8", "replace")).hexdigest()


def _make_durable(workspace: Workspace) -> None:
    """`synchronous = NORMAL`: a lost power takes the last commits along, and must not leave their anchors."""
    with contextlib.suppress(FileNotFoundError):  # everything has moved into the database, and was synced
        fd = os.open(f"{workspace.database}-wal", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[int]:
    """The file, made where it is missing, flocked and ours alone. Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = os.open(path, flags, 0o600)
    try:
        _must_be_regular(fd)
        until = time.monotonic() + _PATIENCE_S
        while not try_lock(fd):
            if time.monotonic() > until:
                raise BlockingIOError(errno.EAGAIN, "another process keeps it")
            time.sleep(_LOOK_AGAIN_S)  # a flock with a limit of time: the kernel has none
        if stat.S_IMODE(os.fstat(fd).st_mode) != 0o600:
            os.fchmod(fd, 0o600)
        yield fd
    finally:
        os.close(fd)


def _must_be_regular(fd: int) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
