"""Other debuggers that ask a running Python program, from PyPI, and one variant of a probe in each of them.

Lives here: environments for them, one a Python, kept in a cache folder outside the tree; a process of one of
them, with who it speaks to. Not here: what is measured of ours, and the table (probes.py).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.probed import ddtraced, debugpied, variants
from benchmarks.recorder_peers import Run, cache_folder, failure_of

REQUIREMENTS = {"ddtraced": "ddtrace==4.16.0", "debugpied": "debugpy==1.8.22"}
LABELS = {"ddtraced": "ddtrace 4.16.0", "debugpied": "debugpy 1.8.22"}
# A debugger that stops has no snapshots, and counts hits instead of limiting them.
VARIANTS = {
    "ddtraced": tuple(variants.VARIANTS),
    "debugpied": ("idle", "elsewhere", "never", "false", "attribute", "log"),
}
WORKER = "benchmarks.probed.worker"
CHECKOUT = Path(__file__).parents[1]


class Peers(NamedTuple):
    """The environment of one Python: who is in it, and why the others are not."""

    python: str
    missing: Mapping[str, str]


def prepared(python: str, version: str, cache: Path | None = None, run: Run = failure_of) -> Peers:
    """Made at the first time, which takes a while and needs a network. `run`: why a program failed, or ""."""
    place = (cache or cache_folder()) / f"probes-python{version}"
    inside = place / "bin" / "python"
    done = place / "installed.json"
    wanted = [python, *REQUIREMENTS.values()]
    if _read(done) == wanted:
        return Peers(str(inside), {})
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    why = run([python, "-m", "venv", str(place)])
    if why:
        return Peers(str(inside), dict.fromkeys(REQUIREMENTS, f"no environment: {why}"))
    missing = {name: why for name, one in REQUIREMENTS.items() if (why := run(_installing(str(inside), one)))}
    if not missing:
        done.write_text(json.dumps(wanted))
    return Peers(str(inside), missing)


def _installing(python: str, requirement: str) -> list[str]:
    """The command line; wheels only, for nothing is compiled here."""
    return [
        python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1",
        "--timeout", "20", "--only-binary", ":all:", requirement,
    ]  # fmt: skip


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None


# --- one variant of one of them -----------------------------------------------------------------------------


def measured(
    python: str, tool: str, name: str, rounds: int, calls: int, patience_s: float
) -> tuple[float | None, str]:
    """Nanoseconds of a call over the bare one; or why there is no figure."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        argv = [python, "-m", WORKER, tool, text, str(rounds), str(calls), name]
        why = _WATCHED[tool](argv, folder, name, patience_s)
        found = _read(folder / "measured.json")
        if why or found is None:
            return None, why or "nothing was measured"
        return min(found[name]) - min(found["bare"]), ""


def _under_ddtrace(argv: list[str], folder: Path, name: str, patience_s: float) -> str:
    variant, place = variants.VARIANTS[name], variants.copied(folder, name)
    with ddtraced.listening() as agent:
        (folder / ddtraced.PROBES).write_text(json.dumps(ddtraced.wanted(variant, [place])))
        why = completed(argv, folder, ddtraced.environment(folder, agent.port), patience_s)
        return why or ("no hit was told" if variant.is_told and not agent.bytes else "")


def _under_debugpy(argv: list[str], folder: Path, name: str, patience_s: float) -> str:
    variant, place = variants.VARIANTS[name], variants.copied(folder, name)
    client = debugpied.Client(folder, variant, [place])
    client.start()
    try:
        why = completed(argv, folder, {}, patience_s)
    finally:
        client.end()
    if not why and place.line and not all(client.verified or [False]):
        return client.problem or "the breakpoint was not set"
    return why or ("no hit was told" if variant.is_told and not client.messages else "")


_WATCHED: Mapping[str, Callable[[list[str], Path, str, float], str]] = {
    "ddtraced": _under_ddtrace,
    "debugpied": _under_debugpy,
}


def environment(folder: Path) -> dict[str, str]:
    """What every process finds: little, and no chance."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(CHECKOUT),
        "HOME": str(folder),
        "TMPDIR": str(folder),
    }


def completed(argv: list[str], folder: Path, more: Mapping[str, str], patience_s: float) -> str:
    """Run it in the folder with little around it; why it failed, or ""."""
    with (folder / "said").open("w+b") as said:
        try:
            done = subprocess.run(
                argv, env={**environment(folder), **more}, cwd=folder, stdin=subprocess.DEVNULL,
                stdout=said, stderr=said, check=False, timeout=patience_s,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"it hung: killed after {patience_s:.3g} s"
        if done.returncode == 0:
            return ""
        said.seek(0)
        lines = [line for line in said.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return f"it ended with status {done.returncode}: {(lines or [''])[-1][:160]}"
