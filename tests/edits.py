"""A repository whose edits are recorded without a shell: invented commands, real files, a real store.

    place = Recorded(tmp_path)
    place.write("api.py", "one\ntwo\n")
    event = place.command("cat > api.py")     # what changed since the last one was this command's

Lives here: `Recorded`, `begun`. Not here: traced shells (tests/acceptance/).
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from devtrace.config import Config, Value
from devtrace.events import Event, RunCommand
from devtrace.ids import new_session_id, new_span_id
from devtrace.pipeline import Pipeline
from devtrace.policy.chain import Policy
from devtrace.services.edits.attribution import Verdict, Window
from devtrace.services.edits.checkpoint import Checkpoints
from devtrace.services.edits.telling import record
from devtrace.store import sessions
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace, create
from tests import told


def begun(root: Path, **files: str) -> Recorded:
    """A working tree with these files (`__` in a name is a slash), in which a session has begun."""
    place = Recorded(root)
    for name, text in files.items():
        place.write(name.replace("__", "/") + ".py", text)
    place.begin()
    return place


class Recorded:
    """A working tree, its store, and one session."""

    def __init__(self, root: Path, *, git: bool = True, agent: str = "manual", **settings: Value):
        self.root = root
        self.workspace = Workspace(root / ".devtrace")
        self.settings = Config({key.replace("__", "."): value for key, value in settings.items()})
        root.mkdir(exist_ok=True)
        if git and not (root / ".git").exists():
            self.git("init", "-q")
        create(self.workspace)
        self.session = ""
        self.agent = agent
        self.points: Checkpoints | None = None

    def git(self, *arguments: str) -> str:
        """Run git in the repository; what it printed. A failing test tells what git said."""
        done = subprocess.run(["git", *arguments], cwd=self.root, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError(f"git {' '.join(arguments)}: exit status {done.returncode}: {done.stderr}")
        return done.stdout.strip()

    def write(self, path: str, text: str | bytes) -> Path:
        """Write a file of the working tree."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file

    def begin(self) -> str:
        """Begin a session, and keep the state in which it begins; returns its id."""
        self.session = new_session_id()
        with closing(open_store(self.workspace, create=True)) as db:
            actor = "human" if self.agent == "manual" else f"agent:{self.agent}"
            sessions.begin(
                db,
                id=self.session,
                kind="shell",
                agent=self.agent,
                actor=actor,
                repo_root=str(self.root),
                cwd=str(self.root),
                started_us=time.time_ns() // 1000,
            )
        self.points = Checkpoints(
            self.workspace, self.root, Policy.for_session({}, self.workspace.salt.read_bytes()), self.settings
        )
        with self.points.chain.locked():
            if self.points.tip() is None:
                base = self.points.base()
                found = list(self.points.look(base, self.points.candidates(base)))
                self.points.begin(found, base, time.time_ns() // 1000)
        return self.session

    def command(self, text: str = "edit", *, parent: str | None = None) -> Event:
        """A command that made all changes since the last one; returns its event, its edits stand under it."""
        if not self.session:
            raise AssertionError("begin() first")
        now_us = time.time_ns() // 1000
        event = self._event(new_span_id(), text, parent, now_us)
        window = Window(self.session, event.id, parent, now_us, now_us, event.actor)
        self._emit(event, *self._edits(Verdict("command", "window", window, (window.name,)), now_us))
        return event

    def client(self, text: str = "claude") -> Event:
        """A command in which an agent works for an hour; what it changes is told by `changed`."""
        now_us = time.time_ns() // 1000
        event = replace(self._event(new_span_id(), text, None, now_us), ended_us=now_us + 3_600_000_000)
        self._emit(event)
        return event

    def changed(self, by: Event) -> list[Event]:
        """What changed since the last one was that command's; returns the edit events."""
        now_us = time.time_ns() // 1000
        window = Window(self.session, by.id, by.parent, by.started_us, by.ended_us, by.actor)
        events = self._edits(Verdict("command", "window", window, (window.name,)), now_us)
        self._emit(*events)
        return events

    @contextmanager
    def calling(self, name: str, given: Any = None, **more: Any) -> Iterator[str]:
        """A tool call, during which the block happens; the id that its event gets."""
        identity = more.setdefault("id", new_span_id())
        start_us = time.time_ns() // 1000
        yield identity
        self._emit(told.tool(self.session, name, start_us, time.time_ns() // 1000, given, **more))

    def prompt(self, text: str, **more: Any) -> str:
        """What an agent is told now."""
        return self._tell(told.prompt(self.session, text, time.time_ns() // 1000, **more))

    def said(self, text: str, **more: Any) -> str:
        """What an agent says now."""
        return self._tell(told.said(self.session, text, time.time_ns() // 1000, **more))

    def _tell(self, event: Event) -> str:
        self._emit(event)
        return event.id

    def outside(self) -> list[Event]:
        """What changed since the last one was made outside any session; returns the edit events."""
        events = self._edits(Verdict("outside", "none"), time.time_ns() // 1000)
        self._emit(*events)
        return events

    def end(self) -> None:
        """End the session."""
        with closing(open_store(self.workspace)) as db:
            sessions.end(db, self.session, ended_us=time.time_ns() // 1000, status="ended", exit_code=0)
        self.session = ""

    def rows(self, kind: str = "edit_files") -> list[dict[str, Any]]:
        """The events of a kind, as the query tells them, oldest first."""
        from devtrace.query.events import list_events
        from devtrace.query.filters import Filters

        with closing(open_store(self.workspace)) as db:
            return list_events(db, Filters(kinds=(kind,)))

    def _edits(self, verdict: Verdict, now_us: int) -> list[Event]:
        assert self.points is not None
        with self.points.chain.locked():
            tip = self.points.tip()
            assert tip is not None
            found = list(self.points.look(tip.tree, self.points.candidates(tip.tree)))
            groups = {verdict: [(one, [(now_us, now_us)]) for one in found]} if found else {}
            return record(self.points, tip, groups, self.session, now_us)[1]

    def _event(self, identity: str, text: str, parent: str | None, now_us: int) -> Event:
        return Event(
            session=self.session,
            id=identity,
            parent=parent,
            actor="human" if self.agent == "manual" else f"agent:{self.agent}",
            started_us=now_us,
            ended_us=now_us,
            status="ok",
            source="interactive",
            exit_source="shell",
            trusted=2,
            body=RunCommand(command=text, cwd=str(self.root), exit_code=0, duration_us=0, shell="bash"),
        )

    def _emit(self, *events: Event) -> None:
        salt = self.workspace.salt.read_bytes()
        with closing(open_store(self.workspace)) as db:
            pipeline = Pipeline(db, self.workspace, Policy.for_session({}, salt))
            for event in events:
                pipeline.emit(event)
            pipeline.close()
            assert not pipeline.n_lost, pipeline.failures
