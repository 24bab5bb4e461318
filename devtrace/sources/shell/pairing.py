"""From records to events: which EXIT belongs to which CMD, and what is known when one of them is missing.

Lives here: the state of every shell of a session, pairing, repair, folding, gaps. No thread, no clock, no
file: records, captured output and deaths of processes come in, events go to `emit`.
Not here: the protocol (fifo.py), who may be believed (nested.py), cutting the output (output.py).

A command of the traced prompt becomes an event when its EXIT and its output have both come. An EXIT that
never came is repaired by the next CMD's `prev_exit`, by the shell's own end, or by the death of its process.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

from devtrace.events import OUTPUT_BLOB, TIMING_BLOB, Event, Gap, Output, RunCommand
from devtrace.ids import new_span_id
from devtrace.sources.shell.fifo import FORMS, PROGRAM, Bye, Cmd, Damaged, Exit, Hello, Record, Warn
from devtrace.sources.shell.output import Captured
from devtrace.sources.shell.prompt import without_shells_own

OUTPUT_PATIENCE_US = 2_000_000  # how long an ended command waits for its output to be cut
DEATH_PATIENCE_US = (
    500_000  # how long an end waits for the process, which knows of signals, and the other way round
)
_OUTPUTS_KEPT = 64  # outputs that came before their command, or whose command is not recorded


class Meeting(NamedTuple):
    """What was found out about a shell that said hello without the nonce."""

    trusted: int  # 1 in the session's process tree, 0 not
    is_watched: bool  # its death will be told by process_gone()
    is_gone: bool  # it had ended already


class Settings(NamedTuple):
    """What a session wants of its pairing; `private` and `nested_limit` as in config.KEYS."""

    session: str
    nonce: str
    actor: str = "human"
    nested_actor: str = "human"
    private: str = "mask"
    nested_limit: int = 200
    wants_output: bool = True


class _Command:
    """A command in flight: what its CMD told, and the facts of its end as they come."""

    __slots__ = (
        "cmd",
        "cwd_end",
        "ended_us",
        "exit_code",
        "exit_source",
        "gone",
        "pipestatus",
        "started_us",
        "waiting_since",
    )

    def __init__(self, cmd: Cmd, started_us: int):
        self.cmd = cmd
        self.started_us = started_us
        self.ended_us: int | None = None
        self.exit_code: int | None = None
        self.exit_source = "unknown"
        self.cwd_end: str | None = None
        self.pipestatus: list[int] | None = None
        self.gone: tuple[int, int | None] | None = None  # (when, exit code) of the nested shell's process
        self.waiting_since: int | None = None  # one fact of the end is here, another is awaited

    def end(self, ended_us: int, exit_code: int | None, source: str) -> None:
        """The first end counts."""
        if self.ended_us is None:
            self.ended_us, self.exit_code, self.exit_source = (
                max(ended_us, self.started_us),
                exit_code,
                source,
            )


class _Shell:
    """One shell of the session, by the id it gave itself and whether its nonce was right."""

    __slots__ = ("hello", "inflight", "is_gone", "is_watched", "seq", "trusted")

    def __init__(self, hello: Hello | None, meeting: Meeting):
        self.hello = hello
        self.trusted, self.is_watched, self.is_gone = meeting
        self.seq = 0
        self.inflight: dict[str, _Command] = {}  # by span; all but the newest have ended and wait

    @property
    def is_program(self) -> bool:
        """No shell at all: the host started a program and tells of it itself."""
        return self.hello is not None and self.hello.name == PROGRAM

    @property
    def is_nested(self) -> bool:
        return self.hello is not None and self.hello.depth > 0


class Pairing:
    """The session's shells and their commands in flight. Not thread-safe: one thread feeds it."""

    def __init__(self, settings: Settings, emit: Callable[[Event], None], meet: Callable[[Hello], Meeting]):
        self._settings = settings
        self._emit = emit
        self._meet = meet
        self._shells: dict[tuple[str, bool], _Shell] = {}
        self._outputs: dict[str, Captured] = {}
        self._nested: dict[int, int] = {}  # commands so far, by parent process
        self._folded: dict[int, Event] = {}  # what stands for the rest, by parent process
        self._gaps: dict[str, tuple[int, int, int]] = {}  # reason -> (count, first_us, last_us)
        self.warnings: list[str] = []
        self.first_hello: Hello | None = None

    # --- in -------------------------------------------------------------------------------------------------

    def record(self, record: Record, now_us: int) -> None:
        """Take one record, read at `now_us`."""
        if isinstance(record, Damaged):
            return self._gap("damaged_record", now_us)
        shell = self._shell(record)
        if isinstance(record, Warn):
            if shell.trusted == 2 and record.word not in self.warnings:
                self.warnings.append(record.word)
        elif not isinstance(record, Hello):
            if record.seq > shell.seq + 1:
                self._gap("lost_records", now_us, record.seq - shell.seq - 1)
            shell.seq = max(shell.seq, record.seq)
            if isinstance(record, Cmd):
                self._cmd(shell, record, now_us)
            else:
                self._ended(shell, record, now_us)
        return None

    def output(self, captured: Captured, now_us: int) -> None:
        """Take the output that was cut for a span, before or after its EXIT."""
        self._outputs[captured.span] = captured
        while len(self._outputs) > _OUTPUTS_KEPT:
            del self._outputs[next(iter(self._outputs))]
        for shell in self._shells.values():
            if captured.span in shell.inflight:
                self._settle(shell, shell.inflight[captured.span], now_us)

    def process_gone(self, shell_id: str, now_us: int, exit_code: int | None) -> None:
        """A watched shell's process has ended; `exit_code` where the kernel told it, None where not."""
        shell = self._shells.get((shell_id, False))
        for command in list(shell.inflight.values()) if shell else []:
            command.gone = (now_us, exit_code)
            self._settle(shell, command, now_us)  # type: ignore[arg-type]  # there is a command, so a shell

    def waits(self) -> bool:
        """Whether tick() is wanted: one fact of an end is here and another is awaited."""
        return any(c.waiting_since is not None for s in self._shells.values() for c in s.inflight.values())

    def tick(self, now_us: int) -> None:
        """Stop waiting where patience has run out."""
        for shell in self._shells.values():
            patience = DEATH_PATIENCE_US if shell.is_nested else OUTPUT_PATIENCE_US
            for command in list(shell.inflight.values()):
                if command.waiting_since is not None and now_us - command.waiting_since > patience:
                    self._finish(shell, command)

    def close(self, now_us: int, exit_code: int | None) -> None:
        """The session ends: the traced shell's last command gets `exit_code`, the rest what is known."""
        for shell in self._shells.values():
            for command in list(shell.inflight.values()):
                if shell.trusted == 2:
                    command.end(now_us, exit_code, "waitpid")
                self._finish(shell, command)
        for parent in list(self._folded):
            self._emit(self._folded.pop(parent))
        if self.first_hello is None:
            self._gap("no_hooks", now_us)
        for reason, (count, first_us, last_us) in self._gaps.items():
            self._emit(self._gap_event(reason, count, first_us, last_us))
        self._gaps = {}

    # --- records --------------------------------------------------------------------------------------------

    def _shell(self, record: Hello | Cmd | Exit | Bye | Warn) -> _Shell:
        """The shell of a record. One that claims a wrong nonce is another shell, and is believed nothing."""
        believed = record.nonce == self._settings.nonce
        shell = self._shells.get((record.shell, believed))
        if shell is None:
            hello = record if isinstance(record, Hello) else None
            meeting = Meeting(2 if believed else 0, is_watched=False, is_gone=False)
            if hello is not None and hello.nonce is None:
                meeting = self._meet(hello)
            shell = self._shells[record.shell, believed] = _Shell(hello, meeting)
            if believed and hello is not None and self.first_hello is None:
                self.first_hello = hello
        return shell

    def _cmd(self, shell: _Shell, cmd: Cmd, now_us: int) -> None:
        started_us = now_us if cmd.start_us is None else cmd.start_us
        for earlier in list(shell.inflight.values()):
            if earlier.ended_us is None:
                earlier.end(started_us, cmd.prev_exit, "next_prompt")
                self._settle(shell, earlier, now_us)
        if self._settings.private == "skip" and FORMS[cmd.form][0] == "private":
            return
        command = _Command(cmd, started_us)
        if shell.is_nested and self._is_folded(shell, command):
            return
        shell.inflight[cmd.span] = command
        self._emit(self._event(shell, command, "running"))
        if shell.is_gone:
            command.gone = (now_us, None)
            command.waiting_since = now_us

    def _ended(self, shell: _Shell, record: Exit | Bye, now_us: int) -> None:
        """An EXIT ends its span, a BYE whatever runs; without a start it is of a skipped or folded one."""
        if isinstance(record, Bye):
            commands = [command for command in shell.inflight.values() if command.ended_us is None]
        else:
            commands = [shell.inflight[record.span]] if record.span in shell.inflight else []
        for command in commands:
            if isinstance(record, Exit):
                command.cwd_end, command.pipestatus = record.cwd, record.pipestatus
            ended_us = record.end_us if isinstance(record, Exit) and record.end_us is not None else now_us
            command.end(ended_us, record.exit, "shell")
            self._settle(shell, command, now_us)

    def _settle(self, shell: _Shell, command: _Command, now_us: int) -> None:
        """Finish the command when no fact of its end is awaited any more, else note since when one is."""
        if shell.is_nested:
            awaits = shell.is_watched and command.gone is None
        else:
            awaits = (
                self._settings.wants_output and shell.trusted == 2 and command.cmd.span not in self._outputs
            )
        if command.ended_us is not None and not awaits:
            self._finish(shell, command)
        elif command.waiting_since is None and (command.ended_us is not None or command.gone is not None):
            command.waiting_since = now_us

    # --- out ------------------------------------------------------------------------------------------------

    def _finish(self, shell: _Shell, command: _Command) -> None:
        """Emit the event of a command, with what is known of its end."""
        del shell.inflight[command.cmd.span]
        if command.gone is not None:
            gone_us, code = command.gone
            if command.ended_us is None:
                command.end(gone_us, code, "unknown" if code is None else "pidfd")
            elif code is not None and code != command.exit_code:  # the EXIT trap does not know of signals
                command.exit_code, command.exit_source = code, "pidfd"
        if command.ended_us is None:
            status = "interrupted"
        elif command.exit_code is None:
            status = "unknown"
        else:
            status = "ok" if command.exit_code == 0 else "failed"
        self._emit(self._event(shell, command, status))

    def _event(self, shell: _Shell, command: _Command, status: str) -> Event:
        cmd = command.cmd
        form, reason = FORMS[cmd.form]
        text = cmd.command if reason is None else None
        captured = None if status == "running" else self._outputs.pop(cmd.span, None)
        if form == "private":  # what it printed is as private as what it was
            captured = None
        elif captured is not None and shell.hello is not None:
            captured = without_shells_own(captured, shell.hello.name)
        blobs: dict[str, bytes] = {}
        if captured is not None and captured.data:
            blobs[OUTPUT_BLOB] = captured.data
            blobs[TIMING_BLOB] = json.dumps(captured.timing, separators=(",", ":")).encode()
        return Event(
            session=self._settings.session,
            id=cmd.span,
            parent=cmd.parent,
            actor=self._settings.nested_actor if shell.is_nested else self._settings.actor,
            started_us=command.started_us,
            ended_us=command.ended_us,
            status=status,
            source=_source(shell),
            exit_source=None if status == "running" else command.exit_source,
            trusted=shell.trusted,
            body=RunCommand(
                command=text,
                text_form=form,
                reason=reason,
                cwd=cmd.cwd,
                cwd_end=None if command.cwd_end == cmd.cwd else command.cwd_end,
                exit_code=command.exit_code,
                pipestatus=_valid(command.pipestatus, text),
                duration_us=None if command.ended_us is None else command.ended_us - command.started_us,
                shell=shell.hello.name if shell.hello and not shell.is_program else "",
                interactive=not shell.is_nested and not shell.is_program,
                depth=shell.hello.depth if shell.hello else 0,
                shell_pid=shell.hello.pid if shell.hello and not shell.is_program else None,
                output=None if captured is None else _output(captured),
            ),
            blobs=blobs,
        )

    # --- folding and gaps -----------------------------------------------------------------------------------

    def _is_folded(self, shell: _Shell, command: _Command) -> bool:
        """Whether the limit of this parent process is reached, so that one event stands for the rest."""
        parent = shell.hello.ppid if shell.hello else 0
        count = self._nested[parent] = self._nested.get(parent, 0) + 1
        rest = count - self._settings.nested_limit
        if rest <= 0:
            return False
        first = self._folded.get(parent)
        self._folded[parent] = Event(
            session=self._settings.session,
            id=first.id if first else new_span_id(),
            parent=first.parent if first else command.cmd.parent,
            actor=self._settings.nested_actor,
            started_us=first.started_us if first else command.started_us,
            ended_us=command.started_us,
            status="unknown",
            source=_source(shell),
            exit_source="unknown",
            trusted=min(first.trusted if first else 2, shell.trusted),
            body=RunCommand(
                command=None,
                text_form="unknown",
                reason="folded",
                cwd=command.cmd.cwd,
                interactive=False,
                depth=1,
                folded=rest,
            ),
        )
        return True

    def _gap(self, reason: str, now_us: int, count: int = 1) -> None:
        so_far, first_us, _ = self._gaps.get(reason, (0, now_us, now_us))
        self._gaps[reason] = (so_far + count, first_us, now_us)

    def _gap_event(self, reason: str, count: int, first_us: int, last_us: int) -> Event:
        return Event(
            session=self._settings.session,
            id=new_span_id(),
            actor=self._settings.actor,
            started_us=first_us,
            ended_us=last_us,
            status="unknown",
            source="host",
            trusted=2,
            body=Gap(reason=reason, count=count),
        )


def _source(shell: _Shell) -> str:
    if shell.is_program:
        return "host"
    if not shell.is_nested:
        return "interactive"
    return "zshenv" if shell.hello is not None and shell.hello.name == "zsh" else "bash_env"


def _valid(pipestatus: list[int] | None, text: str | None) -> list[int] | None:
    """A shell's PIPESTATUS is stale after a command without a pipeline, or after a function's definition."""
    if pipestatus is None or text is None or "|" not in text or len(pipestatus) < 2:
        return None
    first = text.split(None, 1)[0]
    return None if first == "function" or first.endswith("()") or "()" in first else pipestatus


def _output(captured: Captured) -> Output:
    return Output(
        seen=captured.seen,
        head=captured.head,
        tail=captured.tail,
        truncated=captured.truncated,
        approximate=captured.approximate,
        alternate_screen=captured.alternate_screen,
        stderr=captured.stderr,
    )
