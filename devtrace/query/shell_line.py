"""A command line as a shell would read it: the simple commands in it, and which of them runs which.

Quotes, comments, here-documents, redirections and substitutions are told apart; variables, globs and aliases
are left as they are written. What a shell is given to read, by `-c` or a here-document, is read too.

Lives here: `commands`, `parts`, `program_of`. Not here: what a command is suspected of (smells.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

SHELLS = frozenset({"sh", "bash", "zsh", "dash", "ksh", "fish"})
# Programs that run another one, and those of their short options behind which stands a value.
_AROUND = {
    "env": "uCS", "sudo": "ughpCrtT", "doas": "uC", "command": "", "exec": "a", "builtin": "", "time": "fo",
    "nohup": "", "nice": "n", "ionice": "cnp", "stdbuf": "ioe", "timeout": "ks", "setsid": "", "chronic": "",
    "xargs": "InPLdasE",
}  # fmt: skip
_RESERVED = frozenset(
    {"if", "then", "elif", "else", "while", "until", "do", "!", "{", "}", "fi", "done", "esac"}
)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_AMOUNT = re.compile(r"\d+(?:\.\d+)?[smhd]?")
_OPERATOR = re.compile(r"&&|\|\||\|&|;;|[;&|()\n]")
_REDIRECTION = re.compile(r"&>>?|<<<|<<-?|<>|>>|>\||[<>]&|[<>]")
_HERE = ("<<", "<<-")
_DEPTH = 5  # command lines in command lines


class Simple(NamedTuple):
    """One simple command."""

    words: tuple[str, ...]  # without quotes and redirections; never empty
    before: str = ""  # the operator in front of it; "": it is the first
    document: str = ""  # its here-documents


class Program(NamedTuple):
    """What a simple command starts."""

    name: str  # without its folder
    arguments: tuple[str, ...]
    given: tuple[str, ...]  # the assignments in front of it


def parts(line: str) -> list[Simple]:
    """The simple commands of a line itself, in their order."""
    return _Reader(line).read().found


def commands(line: str, depth: int = 0) -> Iterator[Simple]:
    """The same, with those in substitutions and in what shells are given to read."""
    reader = _Reader(line).read()
    for simple in (*reader.found, *reader.inside):
        yield simple
        for text in _given_to_a_shell(simple) if depth < _DEPTH else ():
            yield from commands(text, depth + 1)


def program_of(simple: Simple) -> Program | None:
    """What a simple command starts, `env`, `sudo`, `timeout 60` and the like taken away; None: nothing."""
    words, given = list(simple.words), []
    while words:
        word = words.pop(0)
        name = word.rpartition("/")[2]
        if _ASSIGNMENT.match(word):
            given.append(word)
        elif name in _AROUND:
            _drop_options(words, _AROUND[name])
        elif word not in _RESERVED:
            return Program(name, tuple(words), tuple(given))
    return Program("", (), tuple(given)) if given else None


def _drop_options(words: list[str], with_value: str) -> None:
    while words and (words[0].startswith("-") or _AMOUNT.fullmatch(words[0])):
        option = words.pop(0)
        if len(option) == len("-x") and option[1] in with_value and words:
            words.pop(0)


def _given_to_a_shell(simple: Simple) -> list[str]:
    """The command lines that a shell, or `eval`, is given."""
    program = program_of(simple)
    if program is None or program.name not in SHELLS | {"eval"}:
        return []
    if program.name == "eval":
        return [" ".join(program.arguments)]
    found = [simple.document] if simple.document else []
    takes = False
    for word in program.arguments:
        if word.startswith("-") and not word.startswith("--"):
            takes = takes or "c" in word
        elif takes and not word.startswith("+"):
            return [*found, word]
    return found


class _Reader:
    """Goes once over a line, from left to right; a substitution has a reader of its own."""

    def __init__(self, line: str, at: int = 0, depth: int = 0):
        self._line = line if depth else line.replace("\\\n", "")
        self._at = at
        self._depth = depth
        self._brackets = 0
        self._is_over = False
        self.found: list[Simple] = []
        self.inside: list[Simple] = []  # in substitutions
        self._words: list[str] = []
        self._word: list[str] | None = None
        self._operator = ""
        self._target = ""  # the redirection whose target the next word is
        # of here-documents: the command that reads it, its end, whether tabs go
        self._waiting: list[tuple[int, str, bool]] = []

    def read(self) -> _Reader:
        """Go to the end of the line, or of the substitution."""
        while self._at < len(self._line) and not self._is_over:
            self._step(self._line[self._at])
        self._end_command("")
        return self

    def _step(self, character: str) -> None:
        if character in " \t\r":
            self._end_word()
            self._at += 1
        elif character == "#" and self._word is None:
            end = self._line.find("\n", self._at)
            self._at = len(self._line) if end < 0 else end
        elif found := _REDIRECTION.match(self._line, self._at):
            self._redirect(found[0])
        elif found := _OPERATOR.match(self._line, self._at):
            self._at = found.end()
            self._brackets += (found[0] == "(") - (found[0] == ")")
            self._is_over = self._depth > 0 and self._brackets < 0
            self._end_command(found[0])
        else:
            self._add(self._piece())

    def _redirect(self, operator: str) -> None:
        if self._line.startswith(("<(", ">("), self._at) and self._depth < _DEPTH:
            self._substitute(2)
            self._add("")
            return
        if self._word is not None and "".join(self._word).isdigit():
            self._word = None  # the number of a file
        self._end_word()
        self._at += len(operator)
        self._target = operator

    # --- pieces of words ------------------------------------------------------------------------------------

    def _add(self, text: str) -> None:
        if self._word is None:
            self._word = []
        self._word.append(text)

    def _piece(self) -> str:
        """What stands here, a quoted part as a whole, and go behind it."""
        character, following = self._line[self._at], self._line[self._at + 1 : self._at + 2]
        if character == "\\":
            self._at += 2
            return following
        if character == "'":
            return self._until("'")
        if character == '"':
            return self._quoted()
        if character == "`":
            inner = _Reader(self._until("`")).read()
            self.inside += [*inner.found, *inner.inside]
            return ""
        if character == "$" and following == "(" and self._depth < _DEPTH:
            self._substitute(2)
            return "$()"
        self._at += 1
        return character

    def _until(self, quote: str) -> str:
        end = self._line.find(quote, self._at + 1)
        end = len(self._line) if end < 0 else end
        text = self._line[self._at + 1 : end]
        self._at = end + 1
        return text

    def _quoted(self) -> str:
        found: list[str] = []
        self._at += 1
        while self._at < len(self._line) and self._line[self._at] != '"':
            if self._line[self._at] == "'":
                self._at += 1
                found.append("'")
            else:
                found.append(self._piece())
        self._at += 1
        return "".join(found)

    def _substitute(self, length: int) -> None:
        """Read what a substitution runs, and go behind its bracket."""
        inner = _Reader(self._line, self._at + length, self._depth + 1).read()
        self._at = inner._at
        self.inside += [*inner.found, *inner.inside]

    # --- ends -----------------------------------------------------------------------------------------------

    def _end_word(self) -> None:
        if self._word is None:
            return
        word, self._word = "".join(self._word), None
        if not self._target:
            self._words.append(word)
        elif self._target in _HERE:
            self._waiting.append((len(self.found), word, self._target == "<<-"))
        self._target = ""

    def _end_command(self, operator: str) -> None:
        self._end_word()
        self._target = ""
        if self._words:
            self.found.append(Simple(tuple(self._words), self._operator))
            self._operator = ""
        self._words = []
        if operator and (operator != "\n" or not self._operator):
            self._operator = operator
        if operator == "\n":
            for reader, end, is_stripped in self._waiting:
                text = self._document(end, is_stripped=is_stripped)
                if reader < len(self.found):
                    self.found[reader] = self.found[reader]._replace(document=text)
            self._waiting = []

    def _document(self, end: str, *, is_stripped: bool) -> str:
        """Go behind a here-document; what it says."""
        lines: list[str] = []
        while self._at < len(self._line):
            stop = self._line.find("\n", self._at)
            stop = len(self._line) if stop < 0 else stop
            line = self._line[self._at : stop]
            self._at = stop + 1
            if (line.lstrip("\t") if is_stripped else line) == end:
                break
            lines.append(line)
        return "\n".join(lines)
