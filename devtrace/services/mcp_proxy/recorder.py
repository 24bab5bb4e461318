"""The process that records what passes the MCP proxy: copies in, events into the spool.

    <absolute python> -I -S <this file> FD

It prints nothing, is in nobody's way, and ends when nobody writes into the pipe any more. What goes wrong
with one message costs that message; what it could not see or write is a `gap`. When it is killed the
forwarder starts another one, which goes on from a note of what was open (note.py).

Lives here: the order of things. Not here: the proxy (run.py, sources/mcp/stdio.py), what messages mean
(sources/mcp/conversation.py), what an event says (frames.py). Standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run by its path, in isolated mode: nothing else says where the package is
    os.nice(5)  # client and server work, and we watch
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from devtrace.config import Config
from devtrace.policy.chain import Policy
from devtrace.services.mcp_proxy.frames import Frames
from devtrace.services.mcp_proxy.note import Note
from devtrace.services.mcp_proxy.outbox import Frame, Loss, Outbox
from devtrace.services.mcp_proxy.passed import Passed
from devtrace.services.mcp_proxy.texts import Texts
from devtrace.services.redaction import Credentials, salt_of
from devtrace.sources.mcp.callers import session_of
from devtrace.sources.mcp.conversation import Conversation, Fact
from devtrace.sources.mcp.exchanges import Exchanges
from devtrace.sources.mcp.inlet import records
from devtrace.sources.mcp.lines import Lines, Piece
from devtrace.sources.mcp.messages import Message, read
from devtrace.sources.mcp.tap import BEGIN, DATA, END, LOST, TO_CLIENT, TO_SERVER, Record
from devtrace.store.hold import lock_path
from devtrace.store.spool import wake_host
from devtrace.workspace import Workspace, checked

_IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT)
# How clients end a server that works well: by a signal, of which it dies or which it turns into a status.
_LET_GO = frozenset(128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM))
_FIRST_FD, _MOST_FDS = 3, 1 << 16  # behind the standard ones
_WAKE_S = 0.1  # between two looks of the host into the spool
_LOOK_S = 10.0  # between two looks into credential files
_TELL_S = 60.0  # between two gaps for messages that could not be read
_OVERFLOW, _STOPPED, _UNREADABLE = "mcp_overflow", "mcp_recorder_stopped", "mcp_unreadable"
_UNWRITABLE = "store_unwritable"


def main(argv: list[str]) -> None:
    """Read records from the descriptor that `argv` names, until its end. Never raises, and prints nothing."""
    try:
        fd = int(argv[0])
        _be_alone(fd)
        run(fd, os.environ)
    except BaseException:  # noqa: S110 - a guest: whoever started us has other things to do
        pass


def run(fd: int, environ: Mapping[str, str]) -> None:
    """The same without a process of its own. Raises DevTraceError or OSError where there is no store."""
    begun: list[Recorder] = []  # the one, when it has begun
    for record in records(fd, lambda: begun[0].patience_s() if begun else None):
        if record is None:
            for recorder in begun:
                recorder.rest()
        elif begun:
            begun[0].take(record)
        elif record.kind == BEGIN:
            begun.append(Recorder(json.loads(record.payload), record.at_ns // 1000, environ))
    for recorder in begun:
        recorder.close()


def _be_alone(fd: int) -> None:
    """Nothing of the forwarder's stays open here, and no signal that was meant for others ends us."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in {0, 1, 2} - {fd}:
        os.dup2(null, standard)
    if fd > _FIRST_FD:  # else Python would close all there are
        os.closerange(_FIRST_FD, fd)
    os.closerange(max(_FIRST_FD, fd + 1), _MOST_FDS)
    os.chdir("/")
    os.umask(0o077)


class Recorder:
    """One recording: records in, frames out. For one thread."""

    def __init__(self, begin: Mapping[str, Any], at_us: int, environ: Mapping[str, str]):
        """`begin`: the tap's first record. Raises DevTraceError, OSError, KeyError where it cannot begin."""
        workspace = checked(Workspace(Path(begin["dir"])))
        settings = Config.from_snapshot(workspace)
        rules, allow = settings.family("policy.rules"), settings.family("policy.allow")
        self._begin = begin
        self._environ = environ
        self._workspace = workspace
        self._policy = Policy.for_session(environ, salt_of(workspace), rules, allow)
        self._credentials = Credentials(environ, workspace.root, Path(begin.get("cwd") or workspace.root))
        self._policy.learn(self._credentials.news())
        self._looked_at = time.monotonic()
        texts = Texts(self._policy)
        self._frames = Frames(begin, self._policy, texts, settings)
        self._passed = Passed(texts) if begin.get("frames") else None
        self._talk = Conversation(None if self._passed is None else self._see)
        self._exchanges = Exchanges(self._talk, self._unread)
        self._outbox = Outbox(workspace.spool, self._unwritten)
        self._note = Note(workspace, self._frames.event, texts)
        self._lines = {way: Lines(is_torn=bool(begin.get("died_ns"))) for way in (TO_SERVER, TO_CLIENT)}
        self._bytes = [0, 0]
        self._missed = _Missed()
        self._began_us = self._at_us = at_us
        self._woken_at = 0.0
        self._is_new = True  # something came since the last note
        self._is_over = False
        if begin.get("died_ns"):
            self._go_on(int(begin["died_ns"]) // 1000)
        if begin.get("own"):
            self._outbox.put(self._frames.session_row("active", None))
        self._known: object = None  # what the server's event says so far
        self._tell_server()

    # --- records --------------------------------------------------------------------------------------------

    def take(self, record: Record) -> None:
        """What a record says. Never raises an Exception: what cannot be read costs no more than itself."""
        if self._is_over:
            return
        at_us = record.at_ns // 1000
        self._at_us = max(self._at_us, at_us)
        self._is_new = True
        try:
            if record.kind == LOST:
                self._lost(_object(record.payload), at_us)
            elif record.kind == END:
                self._over(_object(record.payload))
            elif record.channel == 0 and record.kind == DATA:
                self._bytes[record.direction] += len(record.payload)
                self._hear(self._lines[record.direction].feed(record.payload), record.direction, at_us)
            else:
                self._bytes[record.direction] += len(record.payload) if record.kind == DATA else 0
                self._put(self._exchanges.take(record))
            if self._passed is not None and self._passed.is_full:
                self._put_passed()
        except Exception as error:
            self._unread(type(error).__name__, at_us)

    def _hear(self, pieces: Iterable[Piece], direction: int, at_us: int) -> None:
        """Whole messages of a stdio server or its client."""
        for piece in pieces:
            try:
                for message in read(piece):
                    self._put(self._talk.heard(message, direction, at_us))
            except Exception as error:
                self._unread(type(error).__name__, at_us)

    def _see(self, message: Message, direction: int, at_us: int) -> None:
        """Any message, as it passes; what goes wrong here costs no call."""
        try:
            if self._passed is not None:
                self._passed.add(message, direction, at_us)
        except Exception as error:
            self._unread(type(error).__name__, at_us)

    def _put(self, facts: Iterable[Fact]) -> None:
        """Facts become frames, and are written."""
        for fact in facts:
            self._frames.agent = self._frames.agent or self._talk.speakers.agent
            frame = self._frames.call(self._with_session(fact))
            if frame is not None:
                self._outbox.put(frame)

    def _with_session(self, fact: Fact) -> Fact:
        """The client's own session, where it tells it by the environment alone."""
        if "tool" not in fact.data or "native" in fact.data or self._begin["transport"] != "stdio":
            return fact
        native = session_of(self._frames.agent, self._environ)
        return fact if native is None else fact._replace(data={**fact.data, "native": native})

    # --- what was missed ------------------------------------------------------------------------------------

    def _lost(self, told: Mapping[str, Any], at_us: int) -> None:
        """Records did not reach us: those before us while nobody recorded, or too many at once."""
        self._talk.lost()
        self._exchanges.lost()
        for lines in self._lines.values():
            lines.lost()
        since_us, count = int(told["since_ns"]) // 1000, int(told["count"])
        if self._missed.stopped_us is not None and since_us <= self._began_us:
            self._tell_stopped()  # what stood unread in the pipe nobody has counted
            return
        detail = f"{int(told['bytes']):,} bytes"
        self._outbox.put(self._frames.gap(_OVERFLOW, since_us, at_us, count, detail))

    def _go_on(self, died_us: int) -> None:
        """The one before us was killed: what it knew is in its note."""
        told = self._note.read()
        try:
            self._talk.recall(told["talk"])
            self._frames.recall(told["frames"])
            self._bytes = [int(size) for size in told["bytes"]]
            died_us = min(died_us, int(told["at_us"]))
        except (KeyError, TypeError, ValueError):
            died_us = int(self._begin["started_us"])  # it had no time to write one
        self._missed.stopped_us = died_us

    def _tell_stopped(self, count: int | None = None) -> None:
        since_us, self._missed.stopped_us = self._missed.stopped_us, None
        if since_us is not None:
            self._outbox.put(self._frames.gap(_STOPPED, since_us, self._began_us, count))

    def _unread(self, why: str, at_us: int) -> None:
        """A message that could not be read, or not be understood by us."""
        self._missed.add(why, at_us)

    def _tell_unread(self) -> None:
        for why, count, since_us, until_us in self._missed.take():
            self._outbox.put(self._frames.gap(_UNREADABLE, since_us, until_us, count, why))

    def _unwritten(self, lost: Loss) -> Frame:
        return self._frames.gap(_UNWRITABLE, lost.since_us, lost.until_us, lost.events)

    # --- moments of rest ------------------------------------------------------------------------------------

    def rest(self) -> None:
        """All that came was taken. Never raises an Exception."""
        if self._is_over:
            return
        try:
            self._rest()
        except Exception as error:
            self._unread(type(error).__name__, self._at_us)

    def _rest(self) -> None:
        now_us = time.time_ns() // 1000
        self._put(self._talk.settle(now_us))
        if self._passed is not None and (due_us := self._passed.due_us) is not None and due_us <= now_us:
            self._put_passed()
        self._tell_stopped()
        if self._missed.is_due:
            self._tell_unread()
        self._tell_server()
        if self._outbox.patience_s is not None:
            self._outbox.flush()
        if time.monotonic() - self._looked_at > _LOOK_S:
            self._looked_at = time.monotonic()
            self._policy.learn(self._credentials.news())
        if self._is_new:
            self._is_new = False
            told = {"at_us": self._at_us, "talk": self._talk.kept(), "bytes": self._bytes}
            self._note.write(told, {"frames": self._frames.kept()})
        self._wake_host()

    def patience_s(self) -> float | None:
        """For how long nothing is to be done if nothing comes; None: for ever."""
        now_us = time.time_ns() // 1000
        passed = None if self._passed is None else self._passed.due_us
        waits = [(due_us - now_us) / 1e6 for due_us in (self._talk.due_us, passed) if due_us is not None]
        waits += [wait for wait in (self._outbox.patience_s, self._missed.patience_s) if wait is not None]
        if self._outbox.has_written and self._begin.get("fifo"):
            waits.append(self._woken_at + _WAKE_S - time.monotonic())
        return max(0.0, min(waits)) if waits and not self._is_over else None

    def _put_passed(self) -> None:
        batch = None if self._passed is None else self._passed.take()
        if batch is None:
            return
        try:
            size = self._workspace.database.stat().st_size
        except OSError:
            size = 0
        self._outbox.put(self._frames.passed(batch.since_us, batch.until_us, batch.lines, batch.number, size))

    def _tell_server(self) -> None:
        """That it runs, and again when more is known of who speaks."""
        about = self._about()
        known = (self._frames.transport, self._talk.speakers.told())
        if known != self._known:
            self._known = known
            self._outbox.put(self._frames.server("running", None, about))

    def _about(self) -> dict[str, Any]:
        """What is known of the run by now."""
        self._frames.agent = self._frames.agent or self._talk.speakers.agent
        if self._exchanges.has_two_channels:
            self._frames.transport = "sse"
        return {
            **self._talk.speakers.told(),
            "counts": self._talk.tally.told(),
            "bytes_to_server": self._bytes[TO_SERVER],
            "bytes_to_client": self._bytes[TO_CLIENT],
            "calls": self._talk.calls,
        }

    def _wake_host(self) -> None:
        fifo = self._begin.get("fifo")
        if not fifo or not self._outbox.has_written or time.monotonic() < self._woken_at + _WAKE_S:
            return
        self._woken_at = time.monotonic()
        self._outbox.has_written = False
        wake_host(fifo)

    # --- the end --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Nobody writes any more. May be called after the end, and twice."""
        if not self._is_over:
            self._over(None)

    def _over(self, told: Mapping[str, Any] | None) -> None:
        """`told`: how the server ended; None: the forwarder was killed, and nobody knows."""
        self._is_over = True
        if told is None:
            self._try(self._tell_cut)
        for step in (self._last_messages, self._last_facts, self._put_passed, self._tell_stopped):
            self._try(step)
        self._try(self._tell_unread)
        self._try(lambda: self._end_server(told))
        for frame in self._frames.dropped(self._at_us):
            self._outbox.put(frame)
        if self._begin.get("own"):
            status = "interrupted" if told is None else "ended"
            self._outbox.put(self._frames.session_row(status, self._at_us))
        self._outbox.close()
        self._note.forget()
        if told is None and self._begin.get("own"):  # else the forwarder, which lives, does so itself
            lock_path(self._workspace, str(self._begin["session"])).unlink(missing_ok=True)
        self._woken_at = 0.0
        self._wake_host()

    def _tell_cut(self) -> None:
        """The forwarder is gone without a word: what it had still to hand over is missing."""
        self._talk.lost()  # an answer to what waits may be among it
        self._exchanges.lost()
        self._outbox.put(self._frames.gap(_STOPPED, self._at_us, time.time_ns() // 1000, None))

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:
            self._unread(type(error).__name__, self._at_us)

    def _last_messages(self) -> None:
        for direction, lines in self._lines.items():
            self._hear(lines.end(), direction, self._at_us)

    def _last_facts(self) -> None:
        self._put(self._talk.ended(self._at_us))

    def _end_server(self, told: Mapping[str, Any] | None) -> None:
        about = {**self._about(), "exit_code": None if told is None else told.get("exit_code")}
        self._outbox.put(self._frames.server(_status(told), self._at_us, about, is_seen=told is not None))


class _Missed:
    """What was not recorded, until a gap tells it."""

    def __init__(self) -> None:
        self.stopped_us: int | None = None  # since when nobody recorded
        self._unread: dict[str, tuple[int, int, int]] = {}  # by reason: messages, since, until
        self._told_at = -_TELL_S

    def add(self, why: str, at_us: int) -> None:
        count, since_us, until_us = self._unread.get(why, (0, at_us, at_us))
        self._unread[why] = (count + 1, min(since_us, at_us), max(until_us, at_us))

    @property
    def patience_s(self) -> float | None:
        """When messages that could not be read are told; None: there are none."""
        return max(0.0, self._told_at + _TELL_S - time.monotonic()) if self._unread else None

    @property
    def is_due(self) -> bool:
        return self.patience_s == 0

    def take(self) -> list[tuple[str, int, int, int]]:
        """(why, messages, since, until); they are told."""
        self._told_at = time.monotonic()
        told = [(why, *amount) for why, amount in self._unread.items()]
        self._unread = {}
        return told


def _object(payload: bytes) -> dict[str, Any]:
    """What a record of the tap says; nothing where it says nothing that we know."""
    try:
        told = json.loads(payload)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _status(told: Mapping[str, Any] | None) -> str:
    """How a run ended; None: nobody told."""
    if told is None:
        return "interrupted"
    code = told.get("exit_code")
    return "ok" if code in (0, None) or code in _LET_GO else "failed"


if __name__ == "__main__":
    main(sys.argv[1:])
    os._exit(0)  # all is written
