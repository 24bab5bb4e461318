"""The policy of the host and the commands: with the user's own rules, and what his credential files hold.

The files are read, never written down: their values are kept in memory, to be masked wherever they turn up.

Lives here: `redaction`, `own_rules`, `Credentials`. Not here: what the files look like
(policy/credentials.py), the chain (policy/chain.py). Guests use `Policy.for_session` and read no such file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from devtrace import config as configuration
from devtrace.config import Config
from devtrace.errors import DevTraceError
from devtrace.policy.chain import Policy
from devtrace.policy.credentials import Reader, at_home, reader_of, values_in
from devtrace.workspace import Workspace

_LARGEST = 256 * 1024  # bytes of a credential file; a larger one is something else
_MOST_VALUES = 200  # of all files: each costs every text a look
_MOST_PLACES = 20  # directories that are looked into
_Stamp = tuple[int, int, int, int]


def redaction(workspace: Workspace, environ: Mapping[str, str]) -> Policy:
    """The policy of one order: with all that is known now."""
    policy = own_rules(workspace, environ)
    policy.learn(Credentials(environ, workspace.root, Path(environ.get("PWD") or workspace.root)).news())
    return policy


def own_rules(workspace: Workspace, environ: Mapping[str, str]) -> Policy:
    """The same without the credential files, for who looks at them again and again.

    Settings that cannot be read cost the user's own rules and nothing else: who reads them says so.
    """
    try:
        settings = configuration.load(workspace)
    except DevTraceError:
        settings = Config()
    rules, allow = settings.family("policy.rules"), settings.family("policy.allow")
    return Policy.for_session(environ, salt_of(workspace), rules, allow)


def salt_of(workspace: Workspace) -> bytes | None:
    """What makes a store's markers comparable; None where it cannot be read."""
    try:
        return workspace.salt.read_bytes() or None
    except OSError:
        return None


class Credentials:
    """The user's credential files, and those beside the work; read again when one has changed."""

    def __init__(self, environ: Mapping[str, str], *roots: Path):
        home = environ.get("HOME") or ""
        self._files: dict[str, Reader] = at_home(home, environ) if home.startswith("/") else {}
        self._beside: dict[
            str, tuple[int, list[tuple[str, Reader]]]
        ] = {}  # by directory: its time, its files
        self._stamps: dict[str, _Stamp] = {}
        self._told: set[bytes] = set()
        for root in roots:
            self.work_in(str(root))

    def work_in(self, directory: str) -> None:
        """Work is done in that directory too: what lies there counts from now on."""
        if directory.startswith("/") and len(self._beside) < _MOST_PLACES:
            self._beside.setdefault(directory, (0, []))

    def news(self) -> list[bytes]:
        """The secrets that were not told before; what cannot be read holds none."""
        news: set[bytes] = set()
        beside = [file for directory in self._beside for file in self._files_in(directory)]
        for path, read in [*self._files.items(), *beside]:
            stamp = _stamp(path)
            if stamp is not None and stamp != self._stamps.get(path):
                self._stamps[path] = stamp
                news |= _values(path, read) - self._told
        told = sorted(news)[: max(0, _MOST_VALUES - len(self._told))]
        self._told.update(told)
        return told

    def _files_in(self, directory: str) -> list[tuple[str, Reader]]:
        """The credential files of a directory; it is only listed when a name came or went there."""
        changed_ns, files = self._beside[directory]
        try:
            now_ns = Path(directory).stat().st_mtime_ns
            if now_ns != changed_ns:
                with os.scandir(directory) as entries:
                    names = sorted(entry.name for entry in entries if entry.name.startswith("."))
                readers = [(name, reader_of(name)) for name in names]
                files = [(f"{directory}/{name}", read) for name, read in readers if read is not None]
                self._beside[directory] = (now_ns, files)
        except OSError:
            return []
        return files


def _stamp(path: str) -> _Stamp | None:
    try:
        state = Path(path).stat()
    except OSError:
        return None
    if not stat.S_ISREG(state.st_mode) or state.st_size > _LARGEST:
        return None
    return state.st_dev, state.st_ino, state.st_mtime_ns, state.st_size


def _values(path: str, read: Reader) -> set[bytes]:
    """What the file holds; whatever is wrong with it is nobody's trouble."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return values_in(read, os.read(fd, _LARGEST))
        finally:
            os.close(fd)
    except (OSError, ValueError, RecursionError):
        return set()
