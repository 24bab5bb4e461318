"""run_command: one line typed at the traced prompt, or run by an agent's shell, and how it ended.

Lives here: the shape and its one-line summary.
Not here: pairing CMD and EXIT records (sources/shell/pairing.py), colour (views/).
"""

from __future__ import annotations

from dataclasses import dataclass

from devtrace.events.envelope import Body, kind, sensitive

OUTPUT_BLOB = "output"  # the terminal output as it was written, head and tail, redacted
TIMING_BLOB = "timing"  # JSON [[us since the command's start, bytes], ...] over the output blob


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What is known of a command's terminal output; the bytes themselves are the blob `output`.

    The blob holds the first `head` bytes, then, when `truncated`, the last `tail` bytes of `seen`. Where a
    secret was masked, the two are the sizes of the masked parts.
    """

    seen: int  # bytes the command wrote, before any cap
    head: int  # bytes kept from the start
    tail: int  # bytes kept from the end; 0 when nothing was cut
    truncated: bool
    approximate: bool = False  # True: a mark was missing, the cut is by time
    alternate_screen: int = 0  # bytes written to the alternate screen, which are counted and not kept
    stderr: int | None = None  # bytes of `seen` that came by stderr; None: one terminal carried both
    redacted: int = 0  # bytes by which masked secrets made what is kept shorter; negative: longer


@kind("run_command")
@dataclass(frozen=True, slots=True, kw_only=True)
class RunCommand(Body):
    """A command line and its end. `exit_code` follows the shell: 128+n for signal n."""

    command: str | None = sensitive()  # None: private, or not to be had: see text_form
    # exact, normalised (bash joined the lines), unwrapped (without what an agent's client puts around a
    # command before it gives it to a shell), private, unknown
    text_form: str = "exact"
    reason: str | None = None  # why text_form is private or unknown
    cwd: str = sensitive()
    cwd_end: str | None = sensitive(default=None)  # None: as cwd, or the end was not seen
    exit_code: int | None = None  # None: the end was not seen
    pipestatus: list[int] | None = None  # None: no pipeline, or not valid after this command
    duration_us: int | None = None  # None: the end was not seen
    shell: str = ""  # bash, zsh, fish; "" when no shell ran it
    interactive: bool = True
    depth: int = 0  # 0 at the traced prompt, 1 for the first nested level
    folded: int = 0  # >0: stands for that many further commands of one parent process
    shell_pid: int | None = None  # as the shell saw itself: may be a number of another PID namespace
    output: Output | None = None  # None: none was captured

    def headline(self) -> str:
        """The command as `$ text`, or what is known instead of it."""
        if self.folded:
            return f"$ ... {self.folded} more command{'s'[: self.folded != 1]} of one parent process"
        if self.command is None:
            return f"$ ({self.text_form}: {self.reason})" if self.reason else f"$ ({self.text_form})"
        return f"$ {self.command}"
