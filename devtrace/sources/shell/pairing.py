"""From records to events: which EXIT belongs to which CMD, and what is known when one of them is missing.

Lives here: pairing, repair, folding, gaps. No thread, no clock, no file: records, captured output and deaths
of processes come in, events go to `emit`.
Not here: the protocol (fifo.py), the state of a shell (shells.py), who may be believed (nested.py), cutting
the output (output.py).

A command of the traced prompt becomes an event when its EXIT and its output have both come. An EXIT that
never came is repaired by the next CMD's `prev_exit`, by the shell's own end, or by the death of its process.

Anybody in the session may write to the FIFO. So what comes without the nonce is kept apart in everything: it
ends no command but its own shell's, takes no output, counts no gap but one a shell, and may not take the id
that a believed command has or is going to have.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable

from devtrace.events import OUTPUT_BLOB, TIMING_BLOB, Event, Gap, Output, RunCommand
from devtrace.ids import new_span_id
from devtrace.sources.shell.fifo import FORMS, Bye, Cmd, Damaged, Exit, Hello, Record, Warn
from devtrace.sources.shell.output import Captured
from devtrace.sources.shell.prompt import without_shells_own
from devtrace.sources.shell.shells import Command, Meeting, Settings, Shell

OUTPUT_PATIENCE_US = 10_000_000  # how long an ended command waits for its output; a terminal may be stalled
DEATH_PATIENCE_US = (
    500_000  # how long an end waits for the process, which knows of signals, and the other way round
)
_OUTPUTS_KEPT = 32 << 20  # bytes of outputs that came before their command, or whose command is not recorded
_OUTPUT_OVERHEAD = 1 << 10  # what each of them counts besides its data
_SHELLS_KEPT = 4_096  # shells without the nonce that are remembered
_STRANGERS_KEPT = 10_000  # commands of shells whose parent process is not known; the rest is counted
_RESERVED = 1 << 20  # how many of a shell's next span ids nobody else may take
_IDS_KEPT = 1 << 16  # ids that are remembered one by one; those who are not believed get no more of their own
# What a shell says of a job that was stopped and not ended (signal(7): the signals that stop a process).
_STOPPED = {128 + number for number in (signal.SIGTSTP, signal.SIGSTOP, signal.SIGTTIN, signal.SIGTTOU)}
# A shell to type into, which knows no hooks of ours: one event stands for all that is done in it.
_INNER_SHELL = re.compile(
    r"\s*(exec(\s+-\S+)*\s+)?(\S*/)?(ba|z|da|k|fi)?sh(\s+(-[fil]+|--login|--norc|--noprofile|--no-config))*\s*"
)


class Pairing:
    """The session's shells and their commands in flight. Not thread-safe: one thread feeds it."""

    def __init__(self, settings: Settings, emit: Callable[[Event], None], meet: Callable[[Hello], Meeting]):
        self._settings = settings
        self._emit = emit
        self._meet = meet
        self._shells: dict[tuple[str, str | None], Shell] = {}  # by id and nonce
        self._believed: list[Shell] = []  # those of them that carry the nonce
        self._ids: set[int] = set()  # of events so far, without those on a believed shell's walk
        self._waiting: dict[str, Command] = {}  # by event id: one fact of the end is here, another is not
        self._outputs: dict[str, Captured] = {}
        self._outputs_size = 0
        self._gone: dict[str, tuple[int, int | None]] = {}  # shells that ended before they were heard of
        self._nested: dict[tuple[int, int] | None, int] = {}  # commands so far, by parent process
        self._folded: dict[tuple[int, int] | None, Event] = {}  # what stands for the rest
        self._replaceable: dict[tuple[int, int], Command] = {}  # in flight, by the process of their shell
        self._aliases: dict[str, str] = {}  # the spans of shells that took their place, and their own ids
        self._gaps: dict[str, tuple[int, int, int]] = {}  # reason -> (count, first_us, last_us)
        self.warnings: list[str] = []
        self.first_hello: Hello | None = None

    # --- in -------------------------------------------------------------------------------------------------

    def record(self, record: Record, now_us: int) -> None:
        """Take one record, read at `now_us`."""
        if isinstance(record, Damaged):
            return self.lost("damaged_record", now_us)
        shell = self._shell(record, now_us)
        if isinstance(record, Warn):
            if shell.trusted == 2 and record.word not in self.warnings:
                self.warnings.append(record.word)
        elif not isinstance(record, Hello):
            if record.seq > shell.seq + 1 and shell.trusted:
                self.lost("lost_records", now_us, record.seq - shell.seq - 1 if shell.trusted == 2 else 1)
            shell.seq = max(shell.seq, record.seq)
            if isinstance(record, Cmd):
                self._cmd(shell, record, now_us)
            else:
                self._ended(shell, record, now_us)
        return None

    def output(self, captured: Captured, now_us: int) -> None:
        """Take the output that was cut for a span, before or after its EXIT."""
        self._forget_output(captured.span)
        self._outputs[captured.span] = captured
        self._outputs_size += _OUTPUT_OVERHEAD + len(captured.data)
        while self._outputs_size > _OUTPUTS_KEPT:
            self._forget_output(next(iter(self._outputs)))
        for shell in self._believed:
            if not shell.is_nested and captured.span in shell.inflight:
                self._settle(shell.inflight[captured.span], now_us)
                return

    def process_gone(self, shell_id: str, now_us: int, exit_code: int | None) -> None:
        """A watched shell's process has ended; `exit_code` where the kernel told it, None where not.

        It may be known before what the shell had written: then it waits for that.
        """
        shell = self._shells.get((shell_id, None))
        if shell is None:
            if len(self._gone) < _SHELLS_KEPT:
                self._gone[shell_id] = (now_us, exit_code)
            return
        shell.gone = (now_us, exit_code)
        for command in list(shell.inflight.values()):
            command.gone = shell.gone
            self._settle(command, now_us)

    def waits(self) -> bool:
        """Whether tick() is wanted: one fact of an end is here and another is awaited."""
        return bool(self._waiting)

    def tick(self, now_us: int) -> None:
        """Stop waiting where patience has run out, or the clock was set back."""
        for command in list(self._waiting.values()):
            patience = DEATH_PATIENCE_US if command.shell.is_nested else OUTPUT_PATIENCE_US
            if command.waiting_since is not None and not 0 <= now_us - command.waiting_since <= patience:
                self._finish(command)

    def lost(self, reason: str, now_us: int, count: int = 1) -> None:
        """Something could not be observed; said by one `gap` a reason when the session ends."""
        so_far, first_us, _ = self._gaps.get(reason, (0, now_us, now_us))
        self._gaps[reason] = (so_far + count, first_us, now_us)

    def close(self, now_us: int, exit_code: int | None) -> None:
        """The session ends: the traced shell's last command gets `exit_code`, the rest what is known."""
        for shell in self._shells.values():
            for command in list(shell.inflight.values()):
                if shell.trusted == 2:
                    command.end(now_us, exit_code, "waitpid")
                self._finish(command)
        for parent in list(self._folded):
            self._emit(self._folded.pop(parent))
        if self.first_hello is None:
            self.lost("no_hooks", now_us)
        for reason, (count, first_us, last_us) in self._gaps.items():
            self._emit(self._gap_event(reason, count, first_us, last_us))
        self._gaps = {}

    # --- records --------------------------------------------------------------------------------------------

    def _shell(self, record: Hello | Cmd | Exit | Bye | Warn, now_us: int) -> Shell:
        """The shell of a record. One that claims a wrong nonce is another shell, and is believed nothing."""
        believed = record.nonce == self._settings.nonce
        shell = self._shells.get((record.shell, record.nonce))
        if shell is None:
            hello = record if isinstance(record, Hello) else None
            meeting = Meeting(2 if believed else 0, is_watched=False, is_gone=False)
            if hello is not None and hello.nonce is None:
                meeting = self._meet(hello)
            shell = self._shells[record.shell, record.nonce] = Shell(hello, meeting, now_us)
            if not believed:
                if record.nonce is None:
                    shell.gone = self._gone.pop(record.shell, shell.gone)
                self._forget_shell()
            else:
                self._believed.append(shell)
                self.first_hello = self.first_hello or hello
        return shell

    def _forget_shell(self) -> None:
        """The oldest of those that have nothing in flight, when there are too many."""
        if len(self._shells) <= _SHELLS_KEPT:
            return
        newest = next(reversed(self._shells))
        for key, shell in self._shells.items():
            if shell.trusted < 2 and not shell.inflight and key != newest:
                del self._shells[key]
                return

    def _forget_output(self, span: str) -> Captured | None:
        captured = self._outputs.pop(span, None)
        if captured is not None:
            self._outputs_size -= _OUTPUT_OVERHEAD + len(captured.data)
        return captured

    def _id(self, shell: Shell, span: str) -> str:
        """The event's id: the span that the shell gave it, unless that is or will be another event's."""
        is_believed = shell.trusted == 2
        is_taken = int(span, 16) in self._ids or self._is_walked(span, 0 if is_believed else _RESERVED)
        if not is_believed and len(self._ids) >= _IDS_KEPT:
            return new_span_id()  # nobody's choice, and so nobody else's: it need not be remembered
        if is_taken:
            span = new_span_id()
        elif is_believed and shell.walks_to(span):
            return span
        self._ids.add(int(span, 16))
        return span

    def _is_walked(self, span: str, ahead: int) -> bool:
        """Whether a shell that is believed came by this span on its walk, or will within so many steps."""
        return any(shell.has_walked(span, ahead) for shell in self._believed)

    def _cmd(self, shell: Shell, cmd: Cmd, now_us: int) -> None:
        started_us = now_us if cmd.start_us is None else cmd.start_us
        for earlier in list(shell.inflight.values()):
            if earlier.ended_us is None:
                earlier.end(started_us, cmd.prev_exit, "next_prompt")
                # Its output went on over the prompt, where this command's text was echoed.
                earlier.hides_output = FORMS[cmd.form][0] == "private"
                self._settle(earlier, now_us)
        if self._settings.private == "skip" and FORMS[cmd.form][0] == "private":
            return
        if shell.is_nested and (self._goes_on(shell, cmd) or self._is_folded(shell, cmd, started_us)):
            return
        if cmd.span in shell.inflight:  # the shell says the same span twice: the first one waits no longer
            self._finish(shell.inflight[cmd.span])
        if not shell.is_nested and not shell.is_program and _INNER_SHELL.fullmatch(cmd.command):
            self.lost("inner_shell", started_us)
        command = Command(shell, cmd, self._id(shell, cmd.span), started_us)
        shell.inflight[cmd.span] = command
        if shell.is_nested and shell.process is not None:
            command.inner = self._settings.unwrapped(cmd.command)
            self._replaceable[shell.process] = command
        self._emit(self._event(command, "running"))
        if shell.gone is not None:
            command.gone = shell.gone
            self._settle(command, now_us)

    def _goes_on(self, shell: Shell, cmd: Cmd) -> bool:
        """Whether it is the end of a command in flight, in a shell that took the place of that one's.

        So it is where the process is the same and the text says it: a client sets a shell up and replaces it
        by the real one, bash runs the last command of a line in its own place. What no text says is told.
        """
        outer = self._replaceable.get(shell.process) if shell.process is not None else None
        if outer is None or outer.ended_us is not None or self._settings.tells_all:
            return False
        inner = self._settings.unwrapped(cmd.command) or cmd.command
        if outer.inner not in (cmd.command, inner) and (not inner or inner not in outer.cmd.command):
            return False
        outer.followers.append((shell, cmd.span))
        shell.inflight[cmd.span] = outer
        self._aliases[cmd.span] = outer.id
        while len(self._aliases) > _SHELLS_KEPT:
            del self._aliases[next(iter(self._aliases))]
        return True

    def _ended(self, shell: Shell, record: Exit | Bye, now_us: int) -> None:
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
            self._settle(command, now_us)

    def _settle(self, command: Command, now_us: int) -> None:
        """Finish the command when no fact of its end is awaited any more, else note since when one is."""
        shell = command.shell
        if shell.is_nested:
            awaits = shell.is_watched and command.gone is None
        else:
            awaits = self._settings.wants_output and command.cmd.span not in self._outputs
        if command.ended_us is not None and not awaits:
            self._finish(command)
        elif command.waiting_since is None and (command.ended_us is not None or command.gone is not None):
            command.waiting_since = now_us
            self._waiting[command.id] = command

    # --- out ------------------------------------------------------------------------------------------------

    def _finish(self, command: Command) -> None:
        """Emit the event of a command, with what is known of its end."""
        del command.shell.inflight[command.cmd.span]
        for follower, span in command.followers:
            follower.inflight.pop(span, None)
        if command.shell.process is not None and self._replaceable.get(command.shell.process) is command:
            del self._replaceable[command.shell.process]
        self._waiting.pop(command.id, None)
        if command.gone is not None:
            gone_us, code = command.gone
            if command.ended_us is None:
                command.end(gone_us, code, "unknown" if code is None else "pidfd")
            elif code is not None and code != command.exit_code:  # the EXIT trap does not know of signals
                command.exit_code, command.exit_source = code, "pidfd"
        self._emit(self._event(command, _status(command)))

    def _event(self, command: Command, status: str) -> Event:
        shell, cmd = command.shell, command.cmd
        form, reason = FORMS[cmd.form]
        text = cmd.command if reason is None else None
        if text is not None and command.inner is not None:
            text, form = command.inner, "unwrapped"
        captured = None if status == "running" or shell.is_nested else self._forget_output(cmd.span)
        if form == "private" or command.hides_output:  # what it printed is as private as what it was
            captured = None
        elif captured is not None and shell.hello is not None:
            captured = without_shells_own(captured, shell.hello.name)
        blobs: dict[str, bytes] = {}
        if captured is not None and captured.data:
            blobs[OUTPUT_BLOB] = captured.data
            blobs[TIMING_BLOB] = json.dumps(captured.timing, separators=(",", ":")).encode()
        return Event(
            session=self._settings.session,
            id=command.id,
            parent=self._aliases.get(cmd.parent or "", cmd.parent),
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

    def _is_folded(self, shell: Shell, cmd: Cmd, started_us: int) -> bool:
        """Whether the limit of this parent process is reached, so that one event stands for the rest."""
        family = shell.family
        count = self._nested[family] = self._nested.get(family, 0) + 1
        rest = count - (self._settings.nested_limit if family else _STRANGERS_KEPT)
        if rest <= 0:
            return False
        first = self._folded.get(family)
        self._folded[family] = Event(
            session=self._settings.session,
            id=first.id if first else new_span_id(),
            parent=first.parent if first else cmd.parent,
            actor=self._settings.nested_actor,
            started_us=first.started_us if first else started_us,
            ended_us=max(first.started_us if first else started_us, started_us),
            status="unknown",
            source=_source(shell),
            exit_source="unknown",
            trusted=min(first.trusted if first else 2, shell.trusted),
            body=RunCommand(
                command=None,
                text_form="unknown",
                reason="folded",
                cwd=cmd.cwd,
                interactive=False,
                depth=1,
                folded=rest,
            ),
        )
        return True

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


def _status(command: Command) -> str:
    """How a command ended. At a prompt with job control a stop signal's number says that it was set aside."""
    shell, code = command.shell, command.exit_code
    if command.ended_us is None:
        return "interrupted"
    if code is None:
        return "unknown"
    if code in _STOPPED and not shell.is_nested and not shell.is_program:
        return "stopped"
    return "ok" if code == 0 else "failed"


def _source(shell: Shell) -> str:
    if shell.is_program:
        return "host"
    if not shell.is_nested:
        return "interactive"
    if shell.hello is None:
        return "fifo"
    return "zshenv" if shell.hello.name == "zsh" else "bash_env"


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
