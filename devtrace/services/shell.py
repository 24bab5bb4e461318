"""Start a traced shell, or one traced program, and stay beside it until it ends.

Lives here: putting the parts together in the right order: private directory, watchdog, FIFO, hooks, child,
and only then the threads and whatever is slow to import.
Not here: what each part does (sources/shell/), the store's side (recording.py), what is said to the user
(cli/shell.py).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from devtrace import config as configuration
from devtrace import workspace as workspaces
from devtrace.choices import Choice
from devtrace.errors import DevTraceError, EnvironmentError, InternalError
from devtrace.ids import is_session_id, is_span_id, new_session_id, new_span_id
from devtrace.sources.git import head_of
from devtrace.sources.shell import fifo, hooks
from devtrace.sources.shell.output import OutputTrack, mark
from devtrace.sources.shell.piped import PipedTrack
from devtrace.sources.shell.pipes import pump_pipes
from devtrace.sources.shell.private import Private, is_held, private_directory
from devtrace.sources.shell.pump import attend, exit_code, pump
from devtrace.sources.shell.reader import FifoReader
from devtrace.sources.shell.signals import ENDING, Signals
from devtrace.sources.shell.silence import Silence, Terminal
from devtrace.sources.shell.spawn import Child, PipedChild, PlainChild, spawn_pipes, spawn_plain, spawn_pty
from devtrace.sources.shell.terminal import OuterTerminal, size_of
from devtrace.sources.shell.watchdog import Watchdog
from devtrace.store import VERSION
from devtrace.workspace import Workspace

if TYPE_CHECKING:
    from devtrace.policy.chain import Policy
    from devtrace.services.edits.early import Early
    from devtrace.services.edits.tracker import Tracker
    from devtrace.services.recording import Recording
    from devtrace.sources.moves import Moves
    from devtrace.sources.shell.listener import Listener
    from devtrace.store.hold import Hold

_Children = Child | PipedChild | PlainChild

_SWITCH_S = 0.0005  # the terminal's thread and the FIFO's wait this long at the most for one that imports
_DATABASE_HEADER = b"SQLite format 3\0"


class Order(NamedTuple):
    """What the user asked for; None and "" mean: as the settings or the machine say."""

    kind: str  # shell, run
    agent: str = "manual"
    shell: str = ""
    label: str = ""
    login: bool | None = None
    output: bool | None = None
    exact: bool | None = None
    prefix: bool = True  # put ours before the commands of a client that takes one
    argv: tuple[str, ...] = ()  # a program instead of a shell


class Begun(NamedTuple):
    """What is known before the child starts."""

    session: str
    workspace: Workspace
    made_store: bool
    trouble: DevTraceError | None  # the store cannot be written: events wait in the spool


class Outcome(NamedTuple):
    """How it ended."""

    exit_status: int  # the child's own, 128+n for signal n
    session: str
    n_events: int
    trouble: DevTraceError | None  # why some events are not in the store


class _Streams(NamedTuple):
    """Which of our standard streams are terminals, and so how the child is connected."""

    stdin: bool
    stdout: bool

    @property
    def way(self) -> str:
        """pty; fed: a pty for output and a pipe for input; pipes."""
        if self.stdout:
            return "pty" if self.stdin else "fed"
        return "pipes"


def run(order: Order, announce: Callable[[Begun], None]) -> Outcome:
    """Carry out the order; `announce` is called once, just before the terminal is handed over.

    Raises DevTraceError when nothing could be started; a store that fails later is in the outcome.
    """
    sys.setswitchinterval(_SWITCH_S)
    place, existed = workspaces.find_or_place()
    if not existed:
        workspaces.create(place)
    settings = configuration.load(place)
    with contextlib.ExitStack() as last, private_directory(workspaces.runtime_base()) as private:
        session = hooks.new_session(new_session_id(), place.dir, order.agent, private.path)
        outcome = _Host(order, place, settings, session, private).run(
            lambda trouble: announce(Begun(session.id, place, not existed, trouble)), last
        )
    from devtrace.services.retention import start  # what nobody waits for

    start(place, settings)
    return outcome


class _Host:
    """The process beside the shell."""

    def __init__(
        self,
        order: Order,
        place: Workspace,
        settings: configuration.Config,
        session: hooks.Session,
        private: Private,
    ):
        self._order = order
        self._private = private
        self._place = place
        self._settings = settings
        self._session = session
        self._environment = dict(os.environ)
        self._streams = _Streams(os.isatty(0), os.isatty(1))
        self._size = size_of(1) if self._streams.stdout else None  # now: a terminal may hang up at any moment
        self._parent = _outer_session(self._environment)
        self._span = new_span_id()  # of the program, when it is no shell
        self._head = _checked_out()
        self._started_us = time.time_ns() // 1_000
        self._choices: list[Choice] = []
        self._shell = ""
        self._recording: Recording | None = None
        self._early: Early | None = None
        self._held: Hold | None = None
        self._reader: FifoReader | None = None
        wants = settings.flag("shell.output") if order.output is None else order.output
        self._is_plain = self._streams.way == "pty" and self._parent is not None
        self._wants_output = wants and not self._is_plain

    def run(self, announce: Callable[[DevTraceError | None], None], last: contextlib.ExitStack) -> Outcome:
        """Start, pump, wait, record; what `last` is given ends when all else is tidied up."""
        with contextlib.ExitStack() as stack:
            outer, watchdog = self._take_terminal(stack)
            reader = FifoReader(
                self._session.fifo,
                lambda data: listener.heard(data),  # noqa: PLW0108 - it is made later
                lambda: self._restore_fifo(listener),
            )
            stack.callback(reader.discard)
            self._reader = reader
            track = self._track(lambda captured: listener.cut(captured))  # noqa: PLW0108 - as above
            argv, environment, files = self._plan()
            announce(_look_at(self._place))
            self._held = self._hold()
            moves = self._moves()
            child = self._spawn(argv, environment, outer)
            # Whatever ends us meanwhile waits for the pump; what comes behind it must not cost the record.
            last.enter_context(Signals(ENDING))
            self._early = self._watch(moves)
            # From here on the child runs; what is imported below costs it nothing.
            listener = self._listener(child, track, files)
            with listener:
                with reader:
                    self._begin_program(listener, track, argv)
                    silence = self._silence(child, listener)
                    status = self._pump(child, outer, track, watchdog, silence)
                    self._end_program(track)
                    track.close()
                self._end_silence(silence, status, listener)
                listener.ended(exit_code(status))
        recording = self._recording
        bug = listener.failure or track.failure
        return Outcome(
            exit_status=exit_code(status),
            session=self._session.id,
            n_events=recording.n_events if recording else 0,
            trouble=_bug_of_ours(bug) if bug else recording.trouble if recording else None,
        )

    def _restore_fifo(self, listener: Listener) -> None:
        """Somebody removed the private directory: the hooks speak to nobody until its path is back."""
        self._private.restore()
        listener.lost("fifo_removed")

    # --- before the child -----------------------------------------------------------------------------------

    def _take_terminal(self, stack: contextlib.ExitStack) -> tuple[OuterTerminal | None, Watchdog | None]:
        """The watchdog is forked first of all: before the FIFO, the child's terminal and any thread."""
        if self._is_plain or self._streams.way == "pipes":
            return None, None
        tty = 0 if self._streams.stdin else 1
        watchdog = Watchdog.start(tty)
        stack.callback(watchdog.close)
        outer = stack.enter_context(OuterTerminal(tty, follows=not self._streams.stdin))
        self._choices.append(outer.choice)
        return outer, watchdog

    def _track(self, on_output: Callable[..., None]) -> OutputTrack:
        kind = PipedTrack if self._streams.way == "pipes" and not self._order.argv else OutputTrack
        return kind(
            self._session.mark,
            on_output,
            head_cap=self._settings.number("shell.output_head"),
            tail_cap=self._settings.number("shell.output_tail"),
            clock=lambda: time.time_ns() // 1_000,
            enabled=self._wants_output,
            streams=1 if self._streams.way != "pipes" or _is_same_file(1, 2) else 2,
        )

    def _plan(self) -> tuple[list[str], dict[str, str], list[Path]]:
        if self._order.argv:
            return list(self._order.argv), self._program_environment(), []
        asked = self._order.shell or self._settings.text("shell.default")
        name, path, choice = hooks.choose_shell(asked, self._environment)
        login = hooks.is_login_parent(os.getppid()) if self._order.login is None else self._order.login
        plan = hooks.plan(
            self._session,
            hooks.Request(
                name=name,
                path=path,
                login=login,
                piped=not self._streams.stdin,
                marks=self._marks() if self._wants_output else [],
                stderr=self._stderr_of_shell(name),
                nested=self._settings.text("shell.nested"),
                exact=self._settings.flag("shell.exact") if self._order.exact is None else self._order.exact,
                private=self._settings.text("shell.private"),
            ),
            self._environment,
        )
        self._shell = name
        self._choices += [choice, *plan.choices]
        if self._is_plain:
            because = (
                "a traced shell inside a traced shell adds no second terminal; the outer one keeps the output"
            )
            self._choices.append(Choice("output", "not kept here", because))
        return plan.argv, plan.environment | self._prefix(), plan.startup_files

    def _prefix(self) -> dict[str, str]:
        if not self._order.prefix or self._settings.text("shell.nested") == "off":
            return {}
        variables, choice = hooks.client_prefix(self._session.agent, self._environment)
        self._choices += [choice] if choice is not None else []
        return variables

    def _marks(self) -> list[Path]:
        if self._streams.way != "pipes":
            return [Path("/dev/tty")]
        out, err = self._pipe_paths()
        return [out] if err is None else [out, err]

    def _pipe_paths(self) -> tuple[Path, Path | None]:
        private = self._session.private
        return private / "out", None if _is_same_file(1, 2) else private / "err"

    def _stderr_of_shell(self, name: str) -> str:
        """Where a piped shell finds its stderr, once it has complained that it has no terminal; "": at once.

        fish has nothing to complain of, and could not open it for good.
        """
        if self._streams.way != "pipes" or self._streams.stdin or name not in ("bash", "zsh"):
            return ""
        return str(self._pipe_paths()[1] or self._pipe_paths()[0])

    def _program_environment(self) -> dict[str, str]:
        """A program finds what the hooks of a shell would have set."""
        own = {**self._environment, **hooks.session_environment(self._session)}
        own = hooks.with_python_path(own)
        own |= self._prefix()
        own["DEVTRACE_SPAN"] = self._span
        own["TRACEPARENT"] = f"00-{self._session.id}-{self._span}-01"
        return hooks.with_nested_parts(own, self._session.agent, self._settings.text("shell.nested"))

    # --- the child ------------------------------------------------------------------------------------------

    def _spawn(
        self, argv: list[str], environment: dict[str, str], outer: OuterTerminal | None
    ) -> Child | PipedChild | PlainChild:
        is_shell = not self._order.argv
        if self._is_plain:
            return spawn_plain(argv, env=environment, is_shell=is_shell)
        if outer is None:
            out, err = self._pipe_paths()
            return spawn_pipes(
                argv,
                env=environment,
                out_path=str(out),
                err_path=None if err is None else str(err),
                is_shell=is_shell,
                own_session=is_shell and not self._streams.stdin,
                mute=bool(self._stderr_of_shell(self._shell)),
            )
        size = outer.size
        return spawn_pty(
            argv,
            env=environment,
            rows=size.rows,
            cols=size.cols,
            pixels=size.pixels,
            attributes=outer.attributes,
            stdin_fd=None if self._streams.stdin else 0,
            is_shell=is_shell,
        )

    def _pump(
        self,
        child: _Children,
        outer: OuterTerminal | None,
        track: OutputTrack,
        watchdog: Watchdog | None,
        silence: Silence | None,
    ) -> int:
        try:
            if isinstance(child, PlainChild):
                return attend(child)
            if isinstance(child, PipedChild):
                return pump_pipes(child, track, hang_up=not self._order.argv)
            assert outer is not None  # a pty is only made for an outer terminal
            return pump(child, outer, track, watchdog=watchdog, silence=silence)
        finally:
            if not isinstance(child, PlainChild):
                child.close()

    def _silence(self, child: _Children, listener: Listener) -> Silence | None:
        """A shell that somebody types into on a terminal of ours may lose its hooks."""
        if self._order.argv or not self._streams.stdin or not isinstance(child, Child):
            return None
        return Silence(Terminal(child.fd, child.pid), lambda: listener.n_told)

    def _end_silence(self, silence: Silence | None, status: int, listener: Listener) -> None:
        """Everything that the hooks wrote has been read."""
        if silence is None or not listener.n_told:  # no hook ever spoke: `no_hooks` says so
            return
        silence.ended(by_itself=os.WIFEXITED(status))
        if silence.since_us is not None:
            listener.lost("hooks_silent", silence.since_us)

    def _listener(self, child: _Children, track: OutputTrack, files: list[Path]) -> Listener:
        from devtrace.config import actor_of
        from devtrace.sources.agents.base import unwrapped
        from devtrace.sources.shell.listener import Listener
        from devtrace.sources.shell.nested import Watch
        from devtrace.sources.shell.shells import Settings

        self._choices.append(Watch.technique())
        actor = actor_of(self._session.agent)
        settings = Settings(
            session=self._session.id,
            nonce=self._session.nonce,
            actor=actor if self._order.argv and self._order.kind == "run" else "human",
            nested_actor=actor,
            private=self._settings.text("shell.private"),
            nested_limit=self._settings.number("shell.nested_limit"),
            wants_output=self._wants_output,
            tells_all=self._settings.text("shell.nested") == "all",
            unwrapped=unwrapped,
        )

        def forget_secrets() -> None:
            for file in files:
                file.unlink(missing_ok=True)

        return Listener(
            settings, Watch(child.pid), self._open_recording, on_hello=forget_secrets, on_told=track.told
        )

    def _hold(self) -> Hold | None:
        """Other sessions of the tree are to know of this one before its first command."""
        from devtrace.store.hold import hold

        try:
            return hold(self._place, self._session.id)
        except OSError:  # told when the store is opened
            return None

    def _moves(self) -> Moves | None:
        """Where HEAD is before the first command; None: nobody wants to know."""
        if not self._settings.flag("edits.enabled"):
            return None
        from devtrace.sources.moves import Moves

        here = workspaces.working_directory()
        return Moves(workspaces.repository_root(here) or self._place.root)

    def _watch(self, moves: Moves | None) -> Early | None:
        """Changes of the first command are to be seen as they happen; all else of it has time."""
        if moves is None:
            return None
        from devtrace.services.edits.early import Early

        assert self._reader is not None
        return Early(moves.root, moves, self._session.fifo, self._reader.n_told)

    def _start_edits(self, redaction: Policy) -> Tracker:
        from devtrace.services.edits.tracker import Tracker

        assert self._early is not None
        tracker = Tracker(
            self._place,
            self._early.root,
            self._session.id,
            self._settings,
            redaction,
            self._started_us,
            self._early,
        )
        tracker.start()
        return tracker

    def _open_recording(self) -> Recording:
        from devtrace.services.recording import Recording

        parent_session, parent_event = self._parent or (None, None)
        self._recording = Recording(
            self._place,
            self._environment,
            {
                "id": self._session.id,
                "kind": self._order.kind,
                "parent_session": parent_session,
                "parent_event": parent_event,
                "agent": self._session.agent,
                "actor": configuration.actor_of(self._session.agent),
                "title": self._order.label,
                "cwd": str(workspaces.working_directory()),
                "shell": self._shell,
                "started_us": self._started_us,
                **self._head,
            },
            {
                "cols": self._size.cols if self._size else 80,
                "rows": self._size.rows if self._size else 24,
                "term": self._environment.get("TERM", ""),
                "choices": [choice.as_dict() for choice in self._choices],
            },
            (self._session.nonce, self._session.mark),
            None if self._early is None else self._start_edits,
            self._held,
            self._reader.n_told if self._reader else lambda: 0,
        )
        return self._recording

    # --- a program instead of a shell -----------------------------------------------------------------------

    def _begin_program(self, listener: Listener, track: OutputTrack, argv: list[str]) -> None:
        """There is no hook to tell of it, so the host does, in the hooks' own words."""
        if not self._order.argv:
            return
        words = shlex.join(argv)
        listener.said(
            fifo.hello_line(self._session.nonce, "host", os.getpid())
            + fifo.cmd_lines(
                self._session.nonce,
                "host",
                1,
                self._span,
                self._started_us,
                str(workspaces.working_directory()),
                words,
            )
        )
        for stream in range(1, track.streams + 1):
            track.feed(mark(self._session.mark, "C", self._span), stream)

    def _end_program(self, track: OutputTrack) -> None:
        if self._order.argv:
            for stream in range(1, track.streams + 1):
                track.feed(mark(self._session.mark, "D", self._span), stream)


def _checked_out() -> dict[str, str | None]:
    """Branch and commit before the first command can change them; {} where only git could tell."""
    root = workspaces.repository_root(workspaces.working_directory())
    head = None if root is None else head_of(root)
    return {} if head is None else {"branch": head.branch, "head_start": head.commit}


def _bug_of_ours(error: Exception) -> InternalError:
    found = InternalError(
        f"a bug in devtrace, which did not reach your shell: {type(error).__name__}: {error}",
        code="ERR_INTERNAL",
        hint="a part of what happened was not recorded: the session has a gap; please report it",
    )
    found.__cause__ = error
    return found


def _outer_session(environment: dict[str, str]) -> tuple[str, str | None] | None:
    """The live session around us, (session, command in flight), or None."""
    session, path = environment.get("DEVTRACE_SESSION", ""), environment.get("DEVTRACE_FIFO", "")
    if not is_session_id(session) or not path or not is_held(Path(path).parent):
        return None
    span = environment.get("DEVTRACE_SPAN", "")
    return session, span if is_span_id(span) else None


def _is_same_file(one: int, other: int) -> bool:
    """Whether two descriptors lead to the same place, as after `2>&1`."""
    try:
        a, b = os.fstat(one), os.fstat(other)
    except OSError:
        return False
    return (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino) and not stat.S_ISREG(a.st_mode)


def _look_at(place: Workspace) -> DevTraceError | None:
    """What is plainly wrong with the store, seen without SQLite: the full check comes when it is opened."""
    try:
        with place.database.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        header = b""
    except OSError as error:
        return workspaces.from_os_error(error, place.database)
    if header and not header.startswith(_DATABASE_HEADER):
        return EnvironmentError(
            f"{place.database} is damaged: it is no SQLite database",
            code="ERR_STORE_DAMAGED",
            hint="move it away; `devtrace init` makes a new one, and the spool is taken in by it",
            context={"path": str(place.database)},
        )
    version = int.from_bytes(header[60:64], "big")  # PRAGMA user_version (sqlite.org/fileformat2.html, 1.3)
    if version > VERSION:
        return EnvironmentError(
            f"{place.database} was written by a newer devtrace",
            code="ERR_STORE_NEWER",
            hint="update devtrace",
            context={"path": str(place.database), "version": version, "known": VERSION},
        )
    if not os.access(place.dir, os.W_OK | os.X_OK):
        return EnvironmentError(
            f"{place.dir} cannot be written",
            code="ERR_STORE_READONLY",
            hint="check the directory's owner and permissions",
            context={"path": str(place.dir)},
        )
    return None
