"""Records as the hooks write them, for tests: bytes for the FIFO, in parts where they are long.

Lives here: spelling records. Not here: the hooks themselves (shell-hooks/), what the host reads (fifo.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from devtrace.ids import new_shell_span, next_shell_span

NONCE = "0123456789abcdef"
WRONG = "fedcba9876543210"
PART = 800


def escaped(data: bytes) -> bytes:
    """What the hooks escape, and nothing else."""
    return data.replace(b"%", b"%25").replace(b"\t", b"%09").replace(b"\n", b"%0A")


def line(*fields: object, text: bytes | None = None) -> bytes:
    """One record: its fields as text, and a last one of bytes."""
    head = "\t".join(map(str, fields)).encode()
    return head + (b"" if text is None else b"\t" + text) + b"\n"


def parts(kind: str, nonce: str, shell: str, seq: int, short: tuple[object, ...], text: bytes) -> list[bytes]:
    """A record with a long last field, as lines of at most 1,000 bytes."""
    count = max(1, -(-len(text) // PART))
    return [
        line(
            *(kind, 1, nonce, shell, seq, f"{part + 1}/{count}", *short),
            text=text[part * PART : (part + 1) * PART],
        )
        for part in range(count)
    ]


class Speaker:
    """A shell that tells of itself: it keeps its counter and its span as the hooks do."""

    def __init__(
        self,
        shell: str,
        *,
        nonce: str = NONCE,
        pid: int = 4_000_001,
        ppid: int = 4_000_000,
        start: int | str = "-",
        depth: int = 0,
        version: str = "bash 5.2.15(1)-release",
        span: int | None = None,
    ):
        self.shell = shell
        self.nonce = nonce
        self.who = (pid, ppid, start, depth, version)
        self.seq = 0
        self.number = new_shell_span() if span is None else span

    @property
    def span(self) -> str:
        """The id of the command in flight."""
        return str(self.number)

    def hello(self) -> bytes:
        return line("HELLO", 1, self.nonce, self.shell, "-", *self.who)

    def cmd(
        self,
        command: bytes | str = b"true",
        *,
        at: int | str = 1_000,
        before: int | str = 0,
        form: str = "e",
        cwd: bytes = b"/home/ana",
        span: str | None = None,
        parent: str = "-",
    ) -> bytes:
        """The next command begins."""
        return b"".join(
            self.cmd_parts(command, at=at, before=before, form=form, cwd=cwd, span=span, parent=parent)
        )

    def cmd_parts(
        self,
        command: bytes | str,
        *,
        at: int | str = 1_000,
        before: int | str = 0,
        form: str = "e",
        cwd: bytes = b"/home/ana",
        span: str | None = None,
        parent: str = "-",
    ) -> list[bytes]:
        self.seq += 1
        self.number = next_shell_span(self.number)
        words = command.encode() if isinstance(command, str) else command
        text = escaped(cwd) + b"\t" + escaped(words)
        short = (span or self.span, parent, at, before, form)
        return parts("CMD", self.nonce, self.shell, self.seq, short, text)

    def exit(
        self,
        status: int = 0,
        *,
        at: int | str = 2_000,
        pipe: str = "-",
        cwd: bytes = b"/home/ana",
        span: str | None = None,
    ) -> bytes:
        """It has ended."""
        self.seq += 1
        short = (span or self.span, at, status, pipe)
        return b"".join(parts("EXIT", self.nonce, self.shell, self.seq, short, escaped(cwd)))

    def bye(self, status: int = 0) -> bytes:
        self.seq += 1
        return line("BYE", 1, self.nonce, self.shell, self.seq, status)

    def warn(self, word: str) -> bytes:
        return line("WARN", 1, self.nonce, self.shell, word)


def cut(data: bytes, sizes: Iterator[int]) -> Iterator[bytes]:
    """The bytes in pieces of those sizes, as reads of a pipe give them."""
    at = 0
    while at < len(data):
        size = next(sizes)
        yield data[at : at + size]
        at += size
