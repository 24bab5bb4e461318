"""doctor: what is here, what DevTrace makes of it, and why.

Each finding is something that was looked at, what was found or chosen, and the reason where there is one to
give. Nothing here fails because something else is broken: that is what it is asked about.

Lives here: looking. Not here: showing (views/doctor.py), the choices themselves (the rooms that make them).
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import devtrace
from devtrace import config, workspace
from devtrace.errors import DevTraceError
from devtrace.probes.engine import choose
from devtrace.query.events import list_events
from devtrace.query.filters import Filters
from devtrace.query.sessions import list_sessions
from devtrace.services.refresh import open_fresh
from devtrace.sources.shell import hooks, nested
from devtrace.store import drain, registry, traces
from devtrace.store.spool import SUFFIX
from devtrace.views.words import count
from devtrace.workspace import Workspace

_T = TypeVar("_T")

OK, NOTE, PROBLEM = "ok", "note", "problem"
SHELLS = ("bash", "zsh", "fish")

_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)?(?:\([0-9]+\))?\S*")
_PATIENCE = 5.0  # seconds for a shell to say its version
_GAPS = 5  # of the latest session: the newest are told


class Finding(NamedTuple):
    """One line of the report."""

    section: str
    what: str
    chosen: str
    because: str = ""
    state: str = OK


def doctor(environ: Mapping[str, str], start: Path | None = None) -> list[Finding]:
    """All findings, section by section: platform, shells, store, sessions, settings, environment."""
    findings = [*_platform(environ), *_shells(environ), *_probes(environ)]
    found = _tried("store", "store", lambda: workspace.find(start))
    if isinstance(found, Finding):
        missing = "no .devtrace/" in found.chosen
        findings.append(found._replace(state=NOTE) if missing else found)
    else:
        findings += [*_store(found), *_settings(found)]
    return [*findings, *_environment(environ)]


def _platform(environ: Mapping[str, str]) -> Iterator[Finding]:
    section = "platform"
    yield Finding(section, "devtrace", devtrace.__version__, str(Path(devtrace.__file__).parent))
    yield Finding(section, "system", f"{platform.system()} {platform.release()} {platform.machine()}")
    yield Finding(section, "python", platform.python_version(), sys.executable)
    strict = sqlite3.sqlite_version_info >= (3, 37)
    yield Finding(
        section, "sqlite", sqlite3.sqlite_version,
        "" if strict else "strict tables arrived in SQLite 3.37", OK if strict else PROBLEM,
    )  # fmt: skip
    git = shutil.which("git", path=environ.get("PATH"))
    if git is None:
        yield Finding(section, "git", "not found", "branches and commits stay empty", NOTE)
    else:
        yield Finding(section, "git", git)
    base = _tried(section, "runtime dir", workspace.runtime_base)
    if isinstance(base, Finding):
        yield base
        return
    yield Finding(section, "runtime dir", str(base))
    place, scratch = hooks.scratch_place(base)
    yield Finding(section, scratch.what, scratch.chosen, scratch.because, NOTE if place is None else OK)
    watch = nested.Watch.technique()
    yield Finding(section, watch.what, watch.chosen, watch.because)


def _probes(environ: Mapping[str, str]) -> Iterator[Finding]:
    """What would watch the lines of a program that this very Python runs: each has its own."""
    engine = choose(environ.get("TRACEPOINTDEBUG_ENGINE", "auto").strip().lower())
    yield Finding("probes", f"python {platform.python_version()}", engine.name, engine.because)


def _shells(environ: Mapping[str, str]) -> Iterator[Finding]:
    chosen = _tried("shells", "yours", lambda: hooks.choose_shell("", dict(environ)))
    if isinstance(chosen, Finding):
        yield chosen._replace(state=NOTE)
    else:
        _, path, choice = chosen
        yield Finding("shells", "yours", path, choice.because)
    for name in SHELLS:
        found = shutil.which(name, path=environ.get("PATH"))
        if found is None:
            yield Finding("shells", name, "not found", "", NOTE)
            continue
        version = _version(found)
        if version is None:
            yield Finding("shells", name, found, "it did not say its version", NOTE)
            continue
        technique = hooks.technique(name, version)
        yield Finding("shells", f"{name} {version.split('(')[0]}", technique.chosen, technique.because)


def _version(path: str) -> str | None:
    try:
        told = subprocess.run(
            [path, "--version"], capture_output=True, timeout=_PATIENCE, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = _VERSION.search(told.stdout.decode("utf-8", "replace"))
    return found[0] if found else None


def _store(found: Workspace) -> Iterator[Finding]:
    section = "store"
    yield Finding(section, "path", str(found.dir))
    mode = found.dir.stat().st_mode & 0o777
    if mode & 0o077:
        yield Finding(section, "permissions", oct(mode), "others can look in: chmod 700 helps", PROBLEM)
    fresh = _tried(section, "database", lambda: open_fresh(found))
    if isinstance(fresh, Finding):
        yield fresh
        return
    with closing(fresh.db) as db:
        if fresh.stale is not None:
            reason = f"{fresh.stale.message} [{fresh.stale.code}]"
            yield Finding(section, "writing", "not possible", reason, PROBLEM)
        yield from _database(db, found)
        yield from _sessions(db)


def _database(db: sqlite3.Connection, found: Workspace) -> Iterator[Finding]:
    section = "store"
    checked = _tried(section, "quick_check", lambda: [row[0] for row in db.execute("PRAGMA quick_check(3)")])
    if isinstance(checked, Finding):
        yield checked
    else:
        fine = checked == ["ok"]
        told = "ok" if fine else "; ".join(checked)
        yield Finding(section, "quick_check", told, "", OK if fine else PROBLEM)
    version = db.execute("PRAGMA user_version").fetchone()[0]
    yield Finding(section, "schema", str(version))
    sizes = {part: _size(Path(f"{found.database}{part}")) for part in ("", "-wal")}
    tables = ("events", "sessions")
    events, sessions = (db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)
    yield Finding(
        section, "content", f"{count(events, 'event')} in {count(sessions, 'session')}",
        f"{sizes['']} bytes, write-ahead log {sizes['-wal']} bytes",
    )  # fmt: skip
    yield from _spool(found)
    listed = found.dir in registry.registered()
    how = "" if listed else "`devtrace init --register` lists it for `devtrace stats --global`"
    yield Finding(section, "registry", "listed" if listed else "not listed", how)


def _spool(found: Workspace) -> Iterator[Finding]:
    section = "store"
    files = drain.waiting(found)
    number = sum(not obstacle for _, obstacle in files)
    if number:
        told = "1 file waits" if number == 1 else f"{number:,} files wait"
        yield Finding(section, "spool", told, "the writer still runs, or holds it open", NOTE)
    for path, obstacle in files:
        if obstacle:
            why = f"{obstacle}; each drain tries it again, and passes it over"
            yield Finding(section, "spool", f"{path.name} cannot be read", why, PROBLEM)
    segments = traces.waiting(found)
    if number := sum(not obstacle for _, obstacle in segments):
        told = f"{count(number, 'segment')} of traces {'waits' if number == 1 else 'wait'}"
        yield Finding(section, "spool", told, "the program still runs, or they are taken in soon", NOTE)
    for path, obstacle in segments:
        if obstacle:
            yield Finding(section, "spool", f"{path.name} cannot be read", obstacle, PROBLEM)
    unfit = found.spool / drain.UNFIT_FOLDER
    kept = len(list(unfit.glob(f"*{SUFFIX}")))
    if kept:
        why = "ERR_FRAME: whole frames that have not the shape of an event; remove them when you have looked"
        yield Finding(section, "unfit frames", f"{count(kept, 'file')} in {unfit}", why, NOTE)
    if found.spool.is_dir() and not os.access(found.spool, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(section, "spool", "cannot be looked into", f"chmod 700 {found.spool} helps", PROBLEM)


def _sessions(db: sqlite3.Connection) -> Iterator[Finding]:
    latest = list_sessions(db, Filters(limit=20))
    live = [session for session in latest if session["status"] == "active"]
    yield Finding("sessions", "live", str(len(live)))
    for session in live or latest[:1]:
        what = f"{session['status']} {session['id'][:12]}"
        who = session["agent"] or session["actor"]
        yield Finding("sessions", what, f"{who} in {session['cwd'] or '?'}")
        for what, chosen, because in _told(session["meta"].get("choices"), ("what", "chosen", "because")):
            yield Finding("sessions", what, chosen, because)
        gaps = list_events(db, Filters(session=session["id"], kinds=("gap",), limit=_GAPS))
        for reason, detail in _told([gap["data"] for gap in gaps], ("reason", "detail")):
            yield Finding("sessions", "gap", reason, detail, NOTE)


def _told(stored: object, names: tuple[str, ...]) -> Iterator[list[str]]:
    """The named fields of each stored object, as texts; what is no object is passed over."""
    rows: list[Any] = stored if isinstance(stored, list) else []
    for row in rows:
        if isinstance(row, dict):
            yield [str(row.get(name) or "") for name in names]


def _settings(found: Workspace) -> Iterator[Finding]:
    loaded = _tried("settings", "config.toml", lambda: config.load(found))
    if isinstance(loaded, Finding):
        yield loaded
        return
    own = [key for key in config.KEYS if loaded.is_set(key)]
    if not own:
        yield Finding("settings", "config.toml", "all defaults")
    for key in own:
        yield Finding("settings", key, str(loaded.get(key)), config.KEYS[key].meaning)


def _environment(environ: Mapping[str, str]) -> Iterator[Finding]:
    names = sorted(name for name in environ if name.startswith("DEVTRACE_") or name == "TRACEPARENT")
    inside = "DEVTRACE_SESSION" in environ
    yield Finding("environment", "traced shell", "yes" if inside else "no")
    for name in names:
        yield Finding("environment", name, environ[name])


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _tried(section: str, what: str, look: Callable[[], _T]) -> _T | Finding:
    """What `look` finds, or the error it met as a finding."""
    try:
        return look()
    except DevTraceError as error:
        hint = f"; {error.hint}" if error.hint else ""
        return Finding(section, what, error.message, f"{error.code}{hint}", PROBLEM)
    except sqlite3.Error as error:
        return Finding(section, what, str(error), "SQLite cannot read it", PROBLEM)
