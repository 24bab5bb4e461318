"""The list of stores in `~/.devtrace/`, for `devtrace stats --global`. Opt-in: nothing is listed by itself.

One absolute path a line, with `%` and a newline percent-escaped; the directory is 0700, the file 0600 and
replaced whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from devtrace.errors import DevTraceError
from devtrace.store.connection import locked
from devtrace.workspace import STORE_NAME, Workspace, from_os_error

_FILE = "stores"
_DRAFT = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW


def register(workspace: Workspace) -> None:
    """List a store. Raises EnvironmentError when the list cannot be written."""
    _change(lambda paths: [*(path for path in paths if path != workspace.dir), workspace.dir])


def unregister(workspace: Workspace) -> None:
    """Take a store off the list. Raises as `register` does."""
    _change(lambda paths: [path for path in paths if path != workspace.dir])


def registered() -> list[Path]:
    """The listed stores that are still there, as paths of their `.devtrace/`, in the order of listing."""
    return [path for path in _read() if path.is_dir()]


def _home() -> Path:
    return Path.home() / STORE_NAME


def _read() -> list[Path]:
    try:
        lines = (_home() / _FILE).read_bytes().split(b"\n")
    except OSError:
        return []
    return [Path(os.fsdecode(line.replace(b"%0A", b"\n").replace(b"%25", b"%"))) for line in lines if line]


def _line(path: Path) -> bytes:
    return os.fsencode(path).replace(b"%", b"%25").replace(b"\n", b"%0A") + b"\n"


def _change(edit: Callable[[list[Path]], list[Path]]) -> None:
    home = _home()
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        with locked(home / "lock"):
            draft = home / f".{_FILE}.{os.getpid()}"
            try:
                handle = os.open(draft, _DRAFT, 0o600)
                with os.fdopen(handle, "wb") as file:
                    file.writelines(map(_line, edit(_read())))
                draft.replace(home / _FILE)
            finally:
                draft.unlink(missing_ok=True)
    except DevTraceError:
        raise
    except OSError as error:
        raise from_os_error(error, home) from error
