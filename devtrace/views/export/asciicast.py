r"""asciicast v3: the commands of a session and what they printed, as a recording that can be played.

The format is https://docs.asciinema.org/manual/asciicast/v3/: a header object, then `[interval, code, data]`
a line, the interval in seconds since the line before. The prompt is synthesised, since prompts are not
recorded: each command is a marker, `$ command`, and its output when it came. Only what draws is kept of the
output: titles, the clipboard, queries and modes act on the terminal of whoever plays it, and are left out.

Lives here: the lines. Not here: where they are written (services/export.py).
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from devtrace.query.output import Output
from devtrace.views import escapes
from devtrace.views.safe import first_line, safe
from devtrace.views.words import size

Row = dict[str, Any]

SUFFIX = ".cast"

_COLS, _ROWS = 80, 24
_DRAWING_CSI = re.compile("(?:\x1b\\[|\x9b)(?:[0-9;:]*[@A-HJ-MPSTXZ`abd-gmrsu]|\\?(?:7|25)[hl])")
_DRAWING_ESCAPE = re.compile("\x1b(?:[78DEHM]|[()][0AB])")
_DRAWING_CONTROLS = "\b\t\n\v\f\r\x0e\x0f"


def lines(session: Row, events: Iterable[Row], read_output: Callable[[Row], Output | None]) -> Iterator[str]:
    """The header, then for each command with its own output a marker, the prompt and the output; the exit."""
    yield json.dumps(_header(session), separators=(", ", ": "))
    clock = _Clock(session["started_us"])
    commands = [event for event in events if event["kind"] == "run_command"]
    for event in sorted(commands, key=lambda row: int(row["started_us"])):
        output = read_output(event)
        if event["parent"] is None or output is not None:
            yield from _command(clock, event, output)
    if session["ended_us"] is not None and session["exit_code"] is not None:
        yield clock.line(session["ended_us"], "x", str(session["exit_code"]))


class _Clock:
    """Intervals in whole milliseconds whose sum stays at the true time; a clock set back counts as none."""

    def __init__(self, start_us: int):
        self._start_us = start_us
        self._now_ms = 0

    def line(self, moment_us: int, code: str, data: str) -> str:
        at = max(round((moment_us - self._start_us) / 1000), self._now_ms)
        interval, self._now_ms = at - self._now_ms, at
        return f"[{interval // 1000}.{interval % 1000:03d}, {json.dumps(code)}, {json.dumps(data)}]"


def _header(session: Row) -> Row:
    meta = session["meta"]
    term: Row = {"cols": _cells(meta.get("cols"), _COLS), "rows": _cells(meta.get("rows"), _ROWS)}
    if isinstance(meta.get("term"), str) and meta["term"]:
        term["type"] = meta["term"]
    title = session["title"] or f"devtrace session {session['id'][:12]}"
    tags = ["devtrace", *([session["agent"]] if session["agent"] else [])]
    start = session["started_us"] // 1_000_000
    return {"version": 3, "term": term, "timestamp": start, "title": first_line(title), "tags": tags}


def _cells(value: object, default: int) -> int:
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 16
    return value if fits and isinstance(value, int) else default


def _command(clock: _Clock, event: Row, output: Output | None) -> Iterator[str]:
    start = event["started_us"]
    text = event["title"].removeprefix("$ ")
    yield clock.line(start, "m", first_line(text))
    yield clock.line(start, "o", "$ " + safe(text, keep="\n\t").replace("\n", "\r\n> ") + "\r\n")
    if output is None:
        return
    whole = ""
    for moment, piece in _merged(_pieces(event, output)):
        whole += piece
        yield clock.line(start + moment, "o", piece)
    # Colours that were left on, and a last line without its end, would run into the next prompt.
    rest = ("\x1b[0m" if "\x1b[" in whole else "") + ("" if whole.endswith("\n") or not whole else "\r\n")
    if rest:
        yield clock.line(event["ended_us"] or start, "o", rest)


def _pieces(event: Row, output: Output) -> Iterator[tuple[int, str]]:
    """What was printed and when: microseconds since the command's start."""
    head, missing, tail = output.parts()
    is_pipe = output.info.get("stderr") is not None  # nobody turned its newlines into CR LF
    cleaner = _Cleaner(is_pipe)
    # Where the head ends and something is missing; None: nothing is, or it was said already.
    cut = len(head) if missing or tail else None
    at = moment = 0
    for moment, length in [*output.timing, (_end(event, output), len(output.data))]:
        chunk = output.data[at : at + length]
        if cut is not None and at <= cut <= at + len(chunk):
            yield moment, cleaner.clean(chunk[: cut - at]) + cleaner.finish()
            yield moment, f"\r\n[... {size(missing)} not kept ...]\r\n"
            yield moment, cleaner.clean(chunk[cut - at :])
            cut = None
        else:
            yield moment, cleaner.clean(chunk)
        at += len(chunk)
    yield moment, cleaner.finish()
    hidden = output.info.get("alternate_screen")
    if hidden:
        yield moment, f"[{size(hidden)} on the alternate screen, not kept]\r\n"


def _end(event: Row, output: Output) -> int:
    took = int((event["ended_us"] or event["started_us"]) - event["started_us"])
    return max(took, output.timing[-1][0] if output.timing else 0)


def _merged(pieces: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Writes of the same millisecond are one: a spinner makes thousands."""
    now, parts = 0, list[str]()
    for moment, text in pieces:
        if text and parts and moment // 1000 != now // 1000:
            yield now, "".join(parts)
            parts = []
        if text:
            now = moment if not parts else now
            parts.append(text)
    if parts:
        yield now, "".join(parts)


class _Cleaner:
    """Bytes in pieces become text that only draws; what a piece leaves unfinished waits for the next."""

    def __init__(self, is_pipe: bool):
        self._is_pipe = is_pipe
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._splitter = escapes.Splitter()

    def clean(self, data: bytes) -> str:
        return self._drawn(self._decoder.decode(data))

    def finish(self) -> str:
        """The rest of the text; an escape sequence that was cut off is dropped."""
        text = self._drawn(self._decoder.decode(b"", True))
        self._splitter = escapes.Splitter()
        return text

    def _drawn(self, text: str) -> str:
        drawn = "".join(token.text for token in self._splitter.feed(text) if _draws(token))
        return drawn.replace("\n", "\r\n") if self._is_pipe else drawn


def _draws(token: escapes.Token) -> bool:
    if token.kind == escapes.TEXT:
        return True
    if token.kind == escapes.CONTROL:
        return token.text in _DRAWING_CONTROLS
    if token.kind == escapes.CSI:
        return _DRAWING_CSI.fullmatch(token.text) is not None
    return token.kind == escapes.ESCAPE and _DRAWING_ESCAPE.fullmatch(token.text) is not None
