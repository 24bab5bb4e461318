"""The hook protocol: lines on a FIFO, one record a line.

Lives here: parsing records, joining their parts, writing those of a program that has no hooks.
Not here: reading the FIFO (reader.py), what a record means (pairing.py), who may be believed (nested.py),
the hooks that write it (shell-hooks/). The format is docs/adr/0001-hook-protocol.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from devtrace.ids import is_span_id

RECORD_LIMIT = 1_000  # bytes, with the newline: an interactive bash writes through a 1,024-byte buffer
TEXT_LIMIT = 16 << 20  # bytes of one record's joined text; what is longer is damaged
_LINE_LIMIT = 16 * RECORD_LIMIT  # bytes without a newline that are kept while one is waited for
_MOST_BEGUN = 1_024  # records of several parts that are on their way at one time,
_BEGUN_LIMIT = 4 * TEXT_LIMIT  # and what they may hold together
PROGRAM = "program"  # the name in the HELLO of what is no shell, and which the host sends for it
_PART = 800  # bytes of text in one record
_MOST_DIGITS = 18
_ESCAPES = ((b"%09", b"\t"), (b"%0A", b"\n"), (b"%00", b"\0"), (b"%25", b"%"))  # %25 last

# How well the text of a CMD is known: the hook's letter -> (text_form, reason).
FORMS: dict[str, tuple[str, str | None]] = {
    "e": ("exact", None),
    "n": ("normalised", None),
    "p": ("private", "leading space"),
    "a": ("private", "leading space, or a line repeated under erasedups"),
    "h": ("private", "kept out of the shell's history"),
    "o": ("unknown", "the shell's history is off"),
    "s": ("unknown", "lines came into the shell's history from elsewhere"),
    "z": ("unknown", "the shell keeps no history"),
}

# What a shell may warn of: the hook's word -> what it means for the record, shown by doctor.
WARNINGS: dict[str, str] = {
    "promptvars_off": "promptvars is off, so PS0 cannot run: starts are seen at the next prompt",
    "ps0_readonly": "PS0 is read-only: starts are seen at the next prompt",
    "prompt_command_readonly": "PROMPT_COMMAND is read-only: an end is seen when the next command starts",
    "line_editor": "the line editor ran commands (Ctrl-X Ctrl-E): of each, the last line is recorded",
    "blesh": "ble.sh edits the line here, which is not tested",
}


class Hello(NamedTuple):
    """A shell says who it is; pid, start time and stack are as its /proc shows them.

    A start time is counted in 10 ms, and sandbox after sandbox has a process 1: where their stacks begin,
    which is random, tells them apart.
    """

    nonce: str | None
    shell: str
    parent_shell: str | None
    pid: int
    ppid: int
    starttime: int | None
    depth: int
    name: str  # bash, zsh, fish
    version: str
    stack: int | None = None


class Cmd(NamedTuple):
    """A command begins."""

    nonce: str | None
    shell: str
    seq: int
    span: str
    parent: str | None
    start_us: int | None  # None: the shell has no clock
    prev_exit: int | None  # the status before it; None: unknown
    form: str  # a key of FORMS
    cwd: str
    command: str


class Exit(NamedTuple):
    """A command has ended."""

    nonce: str | None
    shell: str
    seq: int
    span: str
    end_us: int | None
    exit: int
    pipestatus: list[int] | None
    cwd: str | None  # None: too long to tell


class Bye(NamedTuple):
    """A shell ends by itself."""

    nonce: str | None
    shell: str
    seq: int
    exit: int


class Warn(NamedTuple):
    """Something makes this shell's record weaker."""

    nonce: str | None
    shell: str
    word: str


class Damaged(NamedTuple):
    """Bytes that are no record, or parts that never became one."""

    size: int


Record = Hello | Cmd | Exit | Bye | Warn | Damaged


class _Begun:
    """A record of several parts that is on its way; broken: a part is missing, and the rest is swallowed."""

    __slots__ = ("head", "is_broken", "part", "size", "texts")

    def __init__(self, head: list[str]):
        self.head = head
        self.part = 0  # the last one that came
        self.size = 0
        self.texts: list[bytes] = []
        self.is_broken = False

    def fits(self, head: list[str], part: int, size: int) -> bool:
        return self.head == head and part == self.part + 1 and self.size + size <= TEXT_LIMIT

    def add(self, part: int, text: bytes) -> None:
        self.part = part
        if not self.is_broken:
            self.size += len(text)
            self.texts.append(text)


_Key = tuple[str, str, str, int]  # kind, nonce, shell, seq


class Assembler:
    """Bytes in, records out: cuts lines, joins the parts of a record, tells what was damaged.

    Whoever may write to the FIFO may write rubbish. It costs nobody else a record: a record that follows
    bytes without a newline is found by its head, and records with the session's nonce are joined apart from
    all others, so that the bounds on what is kept never push one of them out for a stranger's sake.
    """

    def __init__(self, nonce: str | None = None):
        self._nonce = nonce
        self.n_lines = 0  # so far; while a record is yielded, the number of the line that completed it
        self._rest = b""
        self._skipped = 0  # bytes of the present line that were dropped already
        self._begun: dict[bool, dict[_Key, _Begun]] = {True: {}, False: {}}  # by: with the nonce
        self._damaged: list[int] = []  # found while something else was looked at

    def feed(self, data: bytes) -> Iterator[Record]:
        """Yield the records that these bytes complete; bytes that fit nothing come out as Damaged."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self.n_lines += 1
            if line or self._skipped:
                yield from self._line(line)
        if len(self._rest) > _LINE_LIMIT:  # no record is that long: drop it before it grows
            self._skipped += len(self._rest) - RECORD_LIMIT
            self._rest = self._rest[-RECORD_LIMIT:]

    def skip(self, size: int, lines: int) -> None:
        """So many bytes and lines that came here were dropped: what they began or ended is damaged."""
        self.n_lines += lines
        self._skipped += len(self._rest) + size
        self._rest = b""

    def close(self) -> Iterator[Record]:
        """What was begun and never ended, at the end of the session."""
        if self._rest or self._skipped:
            yield Damaged(self._skipped + len(self._rest))
        for begun in [*self._begun[True].values(), *self._begun[False].values()]:
            if not begun.is_broken:
                yield Damaged(begun.size)
        self._rest, self._skipped, self._begun = b"", 0, {True: {}, False: {}}

    def _line(self, line: bytes) -> Iterator[Record]:
        at = _last_head(line)
        rubbish, self._skipped = self._skipped + max(at, 0), 0
        if rubbish:
            yield Damaged(rubbish if at >= 0 else rubbish + len(line))
            if at < 0:
                return
            line = line[at:]
        try:
            record = self._record(line)
        except (ValueError, IndexError, KeyError):
            record = Damaged(len(line))
        yield from map(Damaged, self._damaged)
        self._damaged.clear()
        if record is not None:
            yield record

    def _record(self, line: bytes) -> Record | None:
        kind = line.split(b"\t", 1)[0]
        *head, text = line.split(b"\t", _FIELDS[kind])
        fields = [field.decode("ascii") for field in head]
        if fields[1] != "1":
            raise ValueError("another version of the protocol")
        if kind not in (b"CMD", b"EXIT"):
            return _SHORT[kind]([*fields, text.decode("ascii")])
        part, parts = map(_whole, fields[5].split("/"))
        if not 1 <= part <= parts:
            raise ValueError(fields[5])
        if parts > 1:
            whole = self._join(fields, text, part, parts)
            if whole is None:
                return None
            text = whole
        return (_cmd if kind == b"CMD" else _exit)(fields, text)

    def _join(self, fields: list[str], text: bytes, part: int, parts: int) -> bytes | None:
        all_begun = self._begun[fields[2] == self._nonce]
        key = (fields[0], fields[2], fields[3], _whole(fields[4]))
        begun = all_begun.get(key)
        if begun is None or part == 1:
            if begun is not None and not begun.is_broken:
                self._damaged.append(begun.size)
            begun = all_begun[key] = _Begun([str(parts), *fields[6:]])
        if not begun.is_broken and not begun.fits([str(parts), *fields[6:]], part, len(text)):
            begun.is_broken = True
            self._damaged.append(begun.size + len(text))
            begun.texts, begun.size = [], 0
        begun.add(part, text)
        if part < parts:
            self._bound(all_begun, key)
            return None
        del all_begun[key]
        return None if begun.is_broken else b"".join(begun.texts)

    def _bound(self, all_begun: dict[_Key, _Begun], newest: _Key) -> None:
        """The oldest go first, the one that has just grown never."""
        size = sum(begun.size for begun in all_begun.values())
        for key in list(all_begun):
            if len(all_begun) <= _MOST_BEGUN and size <= _BEGUN_LIMIT:
                return
            if key != newest:
                oldest = all_begun.pop(key)
                size -= oldest.size
                if not oldest.is_broken:
                    self._damaged.append(oldest.size)


def _last_head(line: bytes) -> int:
    """Where the last head of a record in a line begins, -1 for none.

    There is one at the line's beginning and no other, unless something without a newline stands before it:
    in the text of a record every tab is escaped.
    """
    at = len(line)
    while (at := line.rfind(b"\t1\t", 0, at)) >= 0:
        for kind in _FIELDS:
            if line.endswith(kind, 0, at):
                return at - len(kind)
        at += 2  # the tab that ends this one may begin another
    return -1


def hello_line(nonce: str, shell: str, pid: int) -> bytes:
    """The HELLO of a program that has no hooks, written by the host for it."""
    return f"HELLO\t1\t{nonce}\t{shell}\t-\t{pid}\t0\t-\t0\t{PROGRAM}\n".encode()


def cmd_lines(nonce: str, shell: str, seq: int, span: str, start_us: int, cwd: str, command: str) -> bytes:
    """The CMD of a program that has no hooks, in as many parts as it takes."""
    text = b"\t".join(_escaped(part) for part in (cwd, command))
    parts = max(1, -(-len(text) // _PART))
    lines = []
    for part in range(parts):
        head = f"CMD\t1\t{nonce}\t{shell}\t{seq}\t{part + 1}/{parts}\t{span}\t-\t{start_us}\t-\te\t"
        lines.append(head.encode() + text[part * _PART : (part + 1) * _PART] + b"\n")
    return b"".join(lines)


def _escaped(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    for escape, byte in reversed(_ESCAPES):
        data = data.replace(byte, escape)
    return data


def _hello(fields: list[str]) -> Hello:
    name, _, version = fields[9].partition(" ")
    starttime, _, stack = fields[7].partition(".")
    return Hello(
        nonce=_dash(fields[2]),
        shell=_name(fields[3]),
        parent_shell=_dash(fields[4]),
        pid=_whole(fields[5]),
        ppid=_whole(fields[6]),
        starttime=_number(starttime),
        depth=_whole(fields[8]),
        name=_name(name),
        version=version[:64],
        stack=_whole(stack) if stack else None,
    )


def _cmd(fields: list[str], text: bytes) -> Cmd:
    cwd, command = text.split(b"\t")
    if fields[10] not in FORMS:
        raise ValueError(fields[10])
    return Cmd(
        nonce=_dash(fields[2]),
        shell=_name(fields[3]),
        seq=_whole(fields[4]),
        span=_span(fields[6]),
        parent=None if fields[7] == "-" else _span(fields[7]),
        start_us=_number(fields[8]),
        prev_exit=_number(fields[9]),
        form=fields[10],
        cwd=_text(cwd),
        command=_text(command),
    )


def _exit(fields: list[str], text: bytes) -> Exit:
    if b"\t" in text:
        raise ValueError("more fields than an EXIT has")
    return Exit(
        nonce=_dash(fields[2]),
        shell=_name(fields[3]),
        seq=_whole(fields[4]),
        span=_span(fields[6]),
        end_us=_number(fields[7]),
        exit=_whole(fields[8]),
        pipestatus=None if fields[9] == "-" else [_whole(status) for status in fields[9].split(",")],
        cwd=_text(text) if text else None,
    )


def _bye(fields: list[str]) -> Bye:
    return Bye(_dash(fields[2]), _name(fields[3]), _whole(fields[4]), _whole(fields[5]))


def _warn(fields: list[str]) -> Warn:
    return Warn(_dash(fields[2]), _name(fields[3]), _name(fields[4]))


# How many tabs stand before the last field.
_FIELDS = {b"HELLO": 9, b"CMD": 11, b"EXIT": 10, b"BYE": 5, b"WARN": 4}
_SHORT: dict[bytes, Callable[[list[str]], Record]] = {b"HELLO": _hello, b"BYE": _bye, b"WARN": _warn}


def _text(escaped: bytes) -> str:
    """Undo the percent escapes; bytes that are not UTF-8 become lone surrogates (PEP 383)."""
    for escape, byte in _ESCAPES:
        escaped = escaped.replace(escape, byte)
    return escaped.decode("utf-8", "surrogateescape")


def _dash(field: str) -> str | None:
    return None if field == "-" else field


def _number(field: str) -> int | None:
    return None if field == "-" else _whole(field)


def _whole(field: str) -> int:
    """A number as the hooks write it; nothing that a column of 64 bits could not hold."""
    if not field.isdigit() or len(field) > _MOST_DIGITS:
        raise ValueError(field)
    return int(field)


def _name(field: str) -> str:
    if not 0 < len(field) <= 64 or not field.replace("_", "").replace("-", "").isalnum():
        raise ValueError(field)
    return field


def _span(field: str) -> str:
    if not is_span_id(field):
        raise ValueError(field)
    return field
