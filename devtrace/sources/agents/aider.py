"""aider: its chat history, `.aider.chat.history.md` in the root of a repository. By its sources of 0.86.

    # aider chat started at 2026-11-21 02:00:00     a session, by the clock of the machine
    #### Add a greeting                             a prompt, this before each of its lines
    > Applied edit to greet.py                      what aider itself says
    anything else                                   what the model says

A line of the first three kinds that the client wrote ends with two blanks, which the model's own headings and
quotations do not. It has no hooks and counts nothing: keys are numbers in the order of the file, and all that
is told of a session has the time at which the session began, the only one that is told. Of a command it tells
that it ran, and not how it ended.

Lives here: reading the history, the trailer of its commits. Not here: the form of a fact (base.py).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from devtrace.sources.agents import base
from devtrace.sources.agents.base import Fact

NAME = "aider"
TITLE = "aider"
COMMANDS = ("aider",)

_HISTORY = ".aider.chat.history.md"
_END = "  "
_LONGEST = 100  # lines of what aider says at once
_BEGINS = re.compile(r"# aider chat started at (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\s*")
_VERSION = re.compile(r"Aider v(\S+)")
_MODEL = re.compile(r"(?:Main model|Model): (\S+)")
_APPLIED = re.compile(r"Applied edit to (.+)")
_RUNNING = re.compile(r"Running (.+)", re.DOTALL)
_COMMIT = re.compile(r"Commit ([0-9a-f]{7,40} .*)", re.DOTALL)
_TRAILER = re.compile(r"^Co-authored-by: aider \((.+)\) <(?:aider|noreply)@aider\.chat>\s*$", re.M | re.I)


def transcripts(environ: Mapping[str, str], root: Path) -> list[Path]:
    """The history of the repository at `root`, where there is one."""
    path = root / (environ.get("AIDER_CHAT_HISTORY_FILE") or _HISTORY)
    return [path] if path.is_file() else []


def read(path: Path, root: Path) -> Iterator[Fact]:
    """All facts of a history. Raises OSError where it cannot be read."""
    return _History(path, root).facts()


def model_of(message: str) -> str | None:
    """The model that wrote a commit with aider, by the trailer of its message; None: none says so."""
    found = _TRAILER.search(message)
    return found[1] if found else None


class _History:
    """One history while it is read: the session, its prompt, and the facts so far."""

    def __init__(self, path: Path, root: Path):
        self._path = path
        self._cwd = str(root)
        self._facts: list[Fact] = []
        self._counts: Counter[str] = Counter()
        self._native = ""
        self._at_us: int | None = None
        self._session: Fact | None = None
        self._turn: str | None = None
        self._model: str | None = None
        self._words: list[str] = []  # of the model, not yet told

    def facts(self) -> Iterator[Fact]:
        """All facts in their order."""
        with base.opened(self._path) as file:
            lines = file.read().decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
        here = 0
        while here < len(lines):
            here = self._take(lines, here)
        self._say()
        return iter(self._facts)

    def _take(self, lines: list[str], here: int) -> int:
        """Take what begins at a line; returns where it ends."""
        line = lines[here]
        begins = _BEGINS.fullmatch(line)
        if begins:
            self._begin(begins[1])
        elif line.startswith("####") and line.endswith(_END):
            return self._prompt(lines, here)
        elif line.startswith("> ") and (end := _quote_end(lines, here)):
            self._quote("\n".join(lines[here:end])[2 : -len(_END)].strip())
            return end
        else:
            self._words.append(line)
        return here + 1

    def _begin(self, started: str) -> None:
        self._say()
        self._native = self._numbered(started)
        self._at_us = _local(started)
        self._turn = self._model = None
        told = {"transcript": str(self._path), "cwd": self._cwd}
        self._session = base.session(self._native, "started", self._at_us, "started", **told)
        self._facts.append(self._session)

    def _prompt(self, lines: list[str], here: int) -> int:
        self._say()
        end = here
        while end < len(lines) and lines[end].startswith("####") and lines[end].endswith(_END):
            end += 1
        text = "\n".join(line[4 : -len(_END)].removeprefix(" ") for line in lines[here:end])
        if text != "<blank>":  # so it writes an empty line
            self._turn = f"prompt#{self._count(f'{self._native} prompt')}"
            told = {"turn": self._turn, "model": self._model, "cwd": self._cwd}
            self._facts.append(base.prompt(self._native, self._turn, self._at_us, text, **told))
        return end

    def _say(self) -> None:
        text = "\n".join(self._words).strip()
        self._words = []
        if text and self._session is not None:
            digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
            key = self._numbered(f"{self._turn or ''}/{digest}", self._native)
            told = {"turn": self._turn, "model": self._model}
            self._facts.append(base.said(self._native, key, self._at_us, text, **told))

    def _quote(self, text: str) -> None:
        """What aider says: what it did with what the model said, and what it is."""
        self._say()
        if (version := _VERSION.fullmatch(text)) and self._session:
            self._session["data"]["version"] = version[1]
        elif (model := _MODEL.match(text)) and self._session:
            self._model = self._session["data"]["model"] = model[1]
        elif applied := _APPLIED.fullmatch(text):
            self._call("edit", "edit", {"path": applied[1]}, "ok", paths=[applied[1]])
        elif running := _RUNNING.fullmatch(text):
            self._call("run", "shell", {"command": running[1]}, "unknown", command=running[1])
        elif commit := _COMMIT.fullmatch(text):
            self._call("commit", "other", {}, "ok", result=commit[1])

    def _call(self, tool: str, does: str, given: object, status: str, **told: object) -> None:
        key = f"{self._turn or ''}/call#{self._count(f'{self._native} {self._turn} call')}"
        placed = {"turn": self._turn, "model": self._model, "cwd": self._cwd, **told}
        fact = base.fact(
            "tool_call",
            self._native,
            key,
            self._at_us,
            {"tool": tool, "does": does, "native": self._native, "input": base.as_json(given), **placed},
            status=status,
        )
        if status == "unknown":
            fact["ended_us"] = None
        self._facts.append(fact)

    def _count(self, name: str) -> int:
        self._counts[name] += 1
        return self._counts[name]

    def _numbered(self, key: str, within: str = "") -> str:
        count = self._count(f"{within} {key}")
        return key if count == 1 else f"{key}#{count}"


def _quote_end(lines: list[str], here: int) -> int | None:
    """Behind the last line of what aider says; only its first has the mark. None: the model says it."""
    for end in range(here, min(here + _LONGEST, len(lines))):
        if lines[end].endswith(_END):
            return end + 1
        if not lines[end].strip():
            return None
    return None


def _local(started: str) -> int | None:
    """Microseconds since the Unix epoch of a time by the clock of this machine."""
    try:
        micros = round(datetime.fromisoformat(started).timestamp() * 1_000_000)
    except (ValueError, OverflowError, OSError):
        return None
    return micros if micros >= 0 else None
