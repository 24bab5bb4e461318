"""The Pythons of this machine, and the other recorders for each of them, from PyPI.

Lives here: environments for the peers, one a Python, kept in a cache folder outside the tree and never mixed
with our own; who could not be installed, and why. Not here: what is measured (recorder.py).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

REQUIREMENTS = {
    "codetracer": "codetracer-python-recorder==0.3.0",
    "viztracer": "viztracer==1.1.1",
    "coverage": "coverage==7.17.3",
    "pysnooper": "PySnooper==1.2.3",
}
_PATIENCE_S = 120.0

Run = Callable[[list[str]], str]


class Peers(NamedTuple):
    """The environment of one Python: who is in it, and why the others are not."""

    python: str
    installed: frozenset[str]
    missing: Mapping[str, str]


def prepared(
    pythons: Mapping[str, str], cache: Path | None = None, run: Run | None = None
) -> dict[str, Peers]:
    """An environment for each Python; the first time takes a while, and needs a network.

    `run` starts a program and returns why it failed, or "".
    """
    folder = cache or cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max_workers=len(pythons) or 1) as pool:
        made = pool.map(
            lambda one: _environment(one[1], folder / f"python{one[0]}", run or failure_of), pythons.items()
        )
        return dict(zip(pythons, made, strict=True))


def cache_folder() -> Path:
    """Where they stay until somebody removes them."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if named else Path.home() / ".cache"
    return base / "devtrace-benchmarks"


def _environment(python: str, place: Path, run: Run) -> Peers:
    inside = place / "bin" / "python"
    stamp = place / "installed.json"
    wanted = {"python": _version(python), "requirements": sorted(REQUIREMENTS.values())}
    known = _read(stamp)
    if known.get("wanted") != wanted:
        shutil.rmtree(place, ignore_errors=True)
        why = run([python, "-m", "venv", str(place)])
        if why:
            return Peers(str(inside), frozenset(), dict.fromkeys(REQUIREMENTS, f"no environment: {why}"))
        known = {"wanted": wanted, "installed": []}
    missing = {}
    for name, requirement in REQUIREMENTS.items():
        if name in known["installed"]:
            continue
        why = run(_installing(str(inside), requirement))
        if why:
            missing[name] = why
        else:
            known["installed"].append(name)
    stamp.write_text(json.dumps(known))
    return Peers(str(inside), frozenset(known["installed"]), missing)


def _installing(python: str, requirement: str) -> list[str]:
    """The command line; wheels only, for nothing is compiled here."""
    return [
        python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1",
        "--timeout", "20", "--only-binary", ":all:", requirement,
    ]  # fmt: skip


def failure_of(argv: list[str]) -> str:
    """Run it; why it failed, as its last line says, or ""."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    if done.returncode == 0:
        return ""
    said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("[notice]")]
    return (said or [f"exit status {done.returncode}"])[-1].removeprefix("ERROR: ")[:200]


def _read(stamp: Path) -> dict[str, Any]:
    try:
        found = json.loads(stamp.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _version(python: str) -> str:
    ask = "import sys; sys.stdout.write(sys.version + sys.base_prefix)"
    return subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False).stdout
