"""Hosts to be ill-treated: `devtrace shell` as a process of its own, with a bash whose home is empty.

    with Piped(place) as shell:
        shell.says("echo hello")
        shell.waits_for("hello")
        shell.kill()

Lives here: `Place` and its store, `Piped` with a pipe on every side. A host on a terminal is a `Terminal`
(tests/terminals.py) that runs `SHELL`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Self, TypeVar

from devtrace.store import chain
from devtrace.store.connection import open_reader
from devtrace.workspace import Workspace
from tests.processes import environment

SHELL = (sys.executable, "-m", "devtrace", "shell", "--shell", "bash")
PATIENCE_S = 30.0
PROMPT = "ready$ "
_LOOK_S = 0.01
_SESSION = ("id", "kind", "status", "exit_code", "n_events", "ended_us", "meta")
_EVENT = (
    "session",
    "id",
    "parent",
    "status",
    "exit_code",
    "source",
    "exit_source",
    "trusted",
    "hash",
    "data",
)

_T = TypeVar("_T")


def until(claim: Callable[[], _T], what: str, timeout: float = PATIENCE_S) -> _T:
    """Look again and again until the claim is true; returns what it returned."""
    deadline = time.monotonic() + timeout
    while not (result := claim()):
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        select.select([], [], [], _LOOK_S)
    return result


class Event(dict[str, Any]):
    """A row of the events table, `data` decoded."""

    def __getattr__(self, name: str) -> Any:
        return self[name] if name in self else self["data"][name]


class Place:
    """A directory with a store in it, and the questions that the tests ask of it."""

    def __init__(self, root: Path):
        self.root = root
        self.store = Workspace(root / ".devtrace")
        root.mkdir(exist_ok=True)
        Path.home().joinpath(".bashrc").write_text(f"PS1='{PROMPT}'\n")

    def devtrace(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another devtrace command, run here."""
        return subprocess.run(
            [*SHELL[:3], *arguments],
            cwd=self.root,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """A question in SQL; no rows while there is no store."""
        if not self.store.database.exists():
            return []
        try:
            with closing(open_reader(self.store)) as db:
                return db.execute(query, values).fetchall()
        except Exception:
            if self.store.database.exists() and self.store.database.stat().st_size > 4096:
                raise
            return []  # it is being made

    def sessions(self) -> list[dict[str, Any]]:
        """Every session, `meta` decoded."""
        rows = self.ask(f"SELECT {', '.join(_SESSION)} FROM sessions ORDER BY started_us")
        found = [dict(zip(_SESSION, row, strict=True)) for row in rows]
        return [{**session, "meta": json.loads(session["meta"])} for session in found]

    def events(self, session: str | None = None, kind: str = "run_command") -> list[Event]:
        """The events of a session (None: of all) in the order in which they were written."""
        of_session = "kind = ? AND coalesce(?, session) = session"
        select = f"SELECT {', '.join(_EVENT)} FROM events WHERE {of_session} ORDER BY seq"
        found = [Event(zip(_EVENT, row, strict=True)) for row in self.ask(select, kind, session)]
        return [Event(event, data=json.loads(event["data"])) for event in found]

    def commands(self, session: str | None = None, depth: int = 0) -> list[Event]:
        """The commands of the traced prompt, or of shells inside them."""
        return [event for event in self.events(session) if event["data"]["depth"] == depth]

    def texts(self, session: str | None = None) -> list[str | None]:
        return [event.command for event in self.commands(session)]

    def gaps(self, session: str | None = None) -> dict[str, int]:
        """How much could not be observed, by reason."""
        counts = Counter[str]()
        for event in self.events(session, "gap"):
            counts[event["data"]["reason"]] += event["data"]["count"] or 1
        return dict(counts)

    def running(self) -> list[str]:
        """The titles of the commands in flight."""
        return [title for (title,) in self.ask("SELECT title FROM running ORDER BY n")]

    def is_sound(self) -> None:
        """What must be true of a store whatever happened to its writers."""
        assert self.ask("PRAGMA quick_check") == [("ok",)]
        assert self.ask("SELECT id, session, count(*) FROM events GROUP BY 1, 2 HAVING count(*) > 1") == []
        assert (
            self.ask("SELECT r.id FROM running r JOIN events e ON e.id = r.id AND e.session = r.session")
            == []
        )
        with closing(open_reader(self.store)) as db:
            for session, n_events in db.execute("SELECT id, n_events FROM sessions").fetchall():
                assert chain.check(db, session) is None, f"the chain of {session} is broken"
                counted = db.execute("SELECT count(*) FROM events WHERE session = ?", (session,)).fetchone()
                assert counted == (n_events,)

    def private(self) -> list[Path]:
        """The private directories of live or killed hosts."""
        return sorted(Path(os.environ["XDG_RUNTIME_DIR"], "devtrace").glob("*"))


class Piped:
    """A traced shell that reads its commands from a pipe."""

    def __init__(
        self,
        place: Place,
        *options: str,
        argv: tuple[str, ...] = SHELL,
        env: Mapping[str, str] | None = None,
        **more: Any,
    ):
        self.place = place
        self.shown = b""
        self.process = subprocess.Popen(
            [*argv, *options],
            cwd=place.root,
            env=environment(**(env or {})),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **more,
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def session(self) -> str:
        """The session of this host, once it is in the store."""
        return until(
            lambda: next((s["id"] for s in self.place.sessions() if s["meta"].get("pid") == self.pid), ""),
            "the session is in the store",
        )

    def says(self, *lines: str) -> Self:
        """Send command lines."""
        assert self.process.stdin is not None
        self.process.stdin.write("".join(line + "\n" for line in lines).encode())
        self.process.stdin.flush()
        return self

    def waits_for(self, what: str) -> Self:
        """Wait until that is shown."""
        assert self.process.stdout is not None

        def look() -> bool:
            self.shown += self.process.stdout.read() or b""  # type: ignore[union-attr]
            return what.encode() in self.shown

        until(look, f"{what!r} is shown; shown is {self.shown[-500:]!r}")
        return self

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def ends(self) -> tuple[int, bytes, bytes]:
        """Close its input; returns its exit status and all it wrote."""
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), True)
        out, err = self.process.communicate(timeout=PATIENCE_S)
        self.shown += out
        return self.process.returncode, self.shown, err
