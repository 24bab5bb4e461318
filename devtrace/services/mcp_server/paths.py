"""Which file a path means that a model names: one of the recorded working tree, and no other.

Lives here: `file_of`, `base_of`. Not here: reading it (query/blame.py).
"""

from __future__ import annotations

import os
from pathlib import Path

from devtrace.errors import UsageError
from devtrace.policy.contents import is_secret_path
from devtrace.workspace import STORE_NAME, Workspace, repository_root

_OURS = (STORE_NAME, ".git")


def base_of(workspace: Workspace, root: str | None = None) -> Path:
    """What relative paths are seen from: the repository that the server runs in, else the store's directory.

    `root`: of the working tree that is asked about, where that is known.
    """
    if root is not None and Path(root).is_dir():
        return Path(root)
    try:
        here = repository_root(Path.cwd())
    except OSError:  # the directory was removed
        here = None
    return workspace.root if here is None else here


def file_of(workspace: Workspace, path: str) -> Path:
    """The file that a path means. Raises UsageError ERR_PATH or ERR_NO_BLAME.

    Links on the way are followed, and must not lead out; the last part may be one, and is not followed.
    """
    roots = list(dict.fromkeys((base_of(workspace), workspace.root)))
    for root in roots:
        whole = Path(os.path.normpath(root / path))
        name = _inside(whole, root)
        if name is not None:
            return _checked(root / name, name, path)
    raise UsageError(
        f"{path} lies outside of the repository",
        code="ERR_PATH",
        hint="name a file of the repository, as seen from its root",
    )


def _inside(whole: Path, root: Path) -> str | None:
    """The path below the root, if it is there with all links on the way followed; None: it is not."""
    real, top = Path(os.path.realpath(whole.parent), whole.name), Path(os.path.realpath(root))
    for one, base in ((real, top), (whole, root)):
        if not one.is_relative_to(base) or one == base:
            continue
        if real.is_relative_to(top) and real != top:
            return str(one.relative_to(base))
    return None


def _checked(file: Path, name: str, path: str) -> Path:
    parts = Path(name).parts
    if any(part in _OURS for part in parts):
        raise UsageError(
            f"{path} is no file of the working tree", code="ERR_PATH", hint="name a file that is worked on"
        )
    if is_secret_path(os.fsencode(name)):
        raise UsageError(
            f"the lines of {path} cannot be told: its name says that it holds a secret",
            code="ERR_NO_BLAME",
        )
    return file
