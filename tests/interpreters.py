"""The Pythons of this machine, of any version: what records, and what must not be disturbed.

Those beside this one on PATH, and pyenv's. Not here: what CI installs into each (.ci/run).
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.conftest import REAL_ENVIRON

_ASK = "import sys; sys.stdout.write('%d.%d %s' % (sys.version_info[0], sys.version_info[1], sys.executable))"


@cache
def found() -> dict[str, str]:
    """Paths by version, such as "2.7"; this Python is there as what it is."""
    folders = [Path(folder) for folder in REAL_ENVIRON.get("PATH", "").split(":")]
    if root := REAL_ENVIRON.get("PYENV_ROOT"):
        folders += sorted(Path(root).glob("versions/*/bin"))
    pythons = {f"{sys.version_info[0]}.{sys.version_info[1]}": sys.executable}
    for folder in folders:
        for name in ("python", "python3", "python2"):
            version, path = _asked(folder / name)
            if path:
                pythons.setdefault(version, path)
    return pythons


@cache
def recordable() -> dict[str, str]:
    """Those that can be recorded: CPython from 3.11 on."""
    return {
        version: path
        for version, path in found().items()
        if tuple(map(int, version.split("."))) >= (3, 11) and _is_cpython(path)
    }


def _asked(path: Path) -> tuple[str, str]:
    if not path.is_file():
        return "", ""
    asked = subprocess.run([path, "-c", _ASK], capture_output=True, text=True, check=False)
    version, _, executable = asked.stdout.partition(" ")
    return (version, executable) if asked.returncode == 0 else ("", "")


def _is_cpython(path: str) -> bool:
    ask = "import sys; sys.exit(sys.implementation.name != 'cpython')"
    return subprocess.run([path, "-c", ask], check=False).returncode == 0
