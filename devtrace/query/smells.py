"""Words by which a diff or a command is worth a second look: assertions, skipped tests, hooks left out.

Lives here: the patterns, and what each kind of finding means. Not here: where they are looked for
(findings.py), how a command line is read (shell_line.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from devtrace.query.accounts import same_words
from devtrace.query.shell_line import Program, Simple, commands, parts, program_of

Row = dict[str, Any]

FINDING = ("kind", "text", "path", "session", "event", "count")
# The gravest first.
KINDS = {
    "test_deleted": "a test file is gone, or a test in it",
    "test_weakened": "a test asserts less than before",
    "test_skipped": "a test is skipped that was not",
    "no_verify": "a commit or push went past the repository's own hooks",
    "secret": "a secret was printed, or given to an agent; what is kept of it is masked",
    "claim": "an agent says something else than what was seen",
    "failed": "a command failed, and no later run of it there succeeded before the commit",
    "undone": "a file was changed, and brought back to what it had been",
    "outside": "a tool wrote or read a file outside the repository",
    "gap": "something could not be observed",
    "hooks": "an agent's hooks said nothing, or none are known",
}

_TEST = re.compile(
    r"(?:^|/)(?:tests?|specs?|__tests__|e2e|cypress)/|(?:^|/)test_[^/]*$|(?:^|/)tests?\.[^/.]+$"
    r"|(?:^|/)[^/]*(?:[_-]tests?|[_-]spec|\.test|\.spec|\.cy|\.e2e)\.[^/.]+$"
    r"|(?:^|/)[^/]*Tests?\.(?:java|kt|cs|swift|php|scala)$"
)
# Up to the line's end, and where a block of them is open; `#[` is no comment but an attribute.
_COMMENT = re.compile(rb"(?:^|(?<=\s))(?:#(?![\[!])|//|/\*|--\s|<!--).*|^\s*\*(?:\s|/|$).*")
# What holds whatever the code does.
_EMPTY = re.compile(
    rb"\bassert(?:True|IsTrue|_true)?!?\s*\(?\s*(?:[Tt]rue|not\s+False|!\s*false|[1-9]\d*|\"[^\"]*\"|'[^']*')"
    rb"\s*(?:,.*)?\)?\s*;?\s*$"
    rb"|\bassert\s+([\w.]+)\s*(?:==|is)\s*\1\s*(?:,|$)|\bassert\w+!?\(\s*([\w.]+)\s*,\s*\2\s*[,)]"
    rb"|\bassert\.(?:ok|isTrue|true)\(\s*(?:true|1)\s*[,)]"
    rb"|\bexpect\(\s*([\w.]+)\s*\)\.(?:to|toBe|toEqual|toStrictEqual|to\.be|to\.equal|to\.eq)\(\s*\3\s*\)"
    rb"|\bexpect\(\s*(?:true|1)\s*\)\.(?:toBeTruthy|toBeDefined|to\.be\.true|to\.be\.ok)\b"
)
# How a test begins, with its name where it has one.
_BEGINS = re.compile(
    rb"^\s*(?:async\s+)?def\s+(test\w*)|^\s*(?:it|test|specify|scenario)(?:\.\w+)*\s*\(?\s*([\"'`].*?[\"'`])"
    rb"|^\s*func\s+(Test\w+|test\w+)\s*\(|^\s*(?:public\s+)?(?:function|void)\s+(test\w+)"
    rb"|^\s*(#\[(?:\w+::)*test\b|@(?:Parameterized|Repeated)?Test\b|\[(?:Fact|Theory|Test|TestMethod)\b|TEST(?:_[FP])?\()"
)
_ASSERTION = re.compile(
    rb"\bassert\w*\b|\bexpect\w*\s*[.(]|\.should\b|\bshould\w*\(|\brequire\.[A-Z]\w*\(|\bt\.(?:Error|Fatal)f?\("
    rb"|\bpytest\.raises\b|\bEXPECT_\w+|\bCHECK\w*\(|\bverify\("
)
_SKIP = re.compile(
    rb"\bpytest\.(?:mark\.)?(?:skip|skipif|xfail)\b|\bunittest\.skip|\bself\.skipTest\(|\bt\.Skip\w*\("
    rb"|\b(?:it|test|describe|context|suite)\.(?:skip|todo|fixme|only)\b"
    rb"|(?<![\w.])[xf](?:it|describe|test|context|specify)\s*\("
    rb"|#\[ignore\b|@(?:Ignore|Disabled)\b|\bfail\.?only\b|\bexpectedFailure\b|\braise\s+(?:\w+\.)*SkipTest\b"
    rb"|@(?:module|describe)?tag\s+:skip\b|\bmarkTest(?:Skipped|Incomplete)\(|\[(?:Fact|Theory)\(.*\bSkip\b"
    rb"|^\s*(?:skip|pending)\s*(?:\(|[\"'])"
)
_ASKING = {"grep", "egrep", "fgrep", "zgrep", "rg", "ag", "test", "[", "[[", "diff", "cmp", "which", "type"}
_ASKING |= {"pgrep", "ls"}
_CONDITION = re.compile(r"\[\[(?:(?!\]\]).)*\]\]", re.DOTALL)
_LONGEST = 100  # characters of a command
_NO = 1  # the exit status by which those say no
_INTERRUPTED = 130  # by Ctrl-C: nobody ignored that
_READER_GONE = 141  # SIGPIPE: `head` had enough

# What is said of a command line that leaves the repository's hooks out.
PAST, OFF = "went past the repository's hooks", "turned the repository's hooks off"
_HOOKED = {"commit", "push", "merge", "am", "rebase", "cherry-pick", "pull"}
_SHORT_N = {"commit", "am"}  # of others -n means something else
_NO_VERIFY, _SHORTEST = "--no-verify", "--no-veri"  # git takes the start of an option, while it is clear
_TAKES = {  # short options with a value behind them, and those whose value can only stand in the same word
    "commit": ("mFCct", "Su"), "push": ("o", ""), "merge": ("mFsX", "S"), "rebase": ("xsXC", "S"),
    "am": ("", "SCp"), "cherry-pick": ("msX", "S"), "pull": ("sXo", "S"),
}  # fmt: skip
_LONG = {"--message", "--file", "--author", "--date", "--template", "--reuse-message", "--reedit-message"}
_LONG |= {"--fixup", "--squash", "--trailer", "--push-option", "--repo", "--exec", "--onto", "--strategy"}
_GLOBAL = {"-c", "-C", "--git-dir", "--work-tree", "--namespace", "--config-env", "--exec-path"}
_NONE = {"HUSKY": "0", "LEFTHOOK": "0", "HUSKY_SKIP_HOOKS": "1", "SKIP_HOOKS": "1", "OVERCOMMIT_DISABLE": "1"}
_LISTS = {"SKIP", "LEFTHOOK_EXCLUDE"}  # variables that name the hooks to be left out
_SETTING = "core.hookspath"


def finding(
    kind: str,
    text: str,
    row: Row | None,
    *,
    path: str | None = None,
    session: str | None = None,
    count: int = 1,
) -> Row:
    """A finding, by the names of `FINDING`; `row`: the event that shows it."""
    return {
        "kind": kind,
        "text": text,
        "path": path,
        "session": session if row is None else row["session"],
        "event": None if row is None else row["id"],
        "count": count,
    }


def brief(command: str) -> str:
    """A command as it is quoted in a sentence: its first line, and that not too long."""
    lines = [line for line in command.strip().split("\n") if line.strip()] or [""]
    first, more = same_words(lines[0]), len(lines) - 1
    first = f"{first[: _LONGEST - 1]}…" if len(first) > _LONGEST else first
    return f"{first} (+{more} line{'s'[: more != 1]})" if more else first


def is_test(path: str) -> bool:
    """Whether a path is that of a test, as far as its name tells."""
    return _TEST.search(path) is not None


def n_assertions(lines: Iterable[bytes]) -> int:
    """How many of the lines assert something that could fail."""
    return sum(is_assertion(line) for line in lines)


def is_assertion(line: bytes) -> bool:
    """Whether a line asserts something that could fail."""
    code = _code(line)
    return _ASSERTION.search(code) is not None and _EMPTY.search(code) is None


def n_skips(lines: Iterable[bytes]) -> int:
    """How many of the lines skip a test, or all others."""
    return sum(_SKIP.search(_code(line)) is not None for line in lines)


def begun_tests(lines: Iterable[bytes]) -> list[str]:
    """The names of the tests that begin in these lines; of one without a name, its mark."""
    found = (_BEGINS.search(_code(line)) for line in lines)
    return [next(filter(None, one.groups()), b"").decode("utf-8", "replace") for one in found if one]


def _code(line: bytes) -> bytes:
    return _COMMENT.sub(b"", line)


# --- failures -------------------------------------------------------------------------------------------


def failure(command: str, exit_code: int | None, pipestatus: Sequence[int] | None = None) -> int | None:
    """The exit status by which a command, or a part of its pipeline, failed; None: none of it did.

    That of a question is no failure: `grep` found nothing, `test` said no.
    """
    if not pipestatus or len(pipestatus) == 1:
        is_fine = not exit_code or exit_code == _INTERRUPTED or asks(command, exit_code)
        return None if is_fine else exit_code
    texts = _pipeline(command, len(pipestatus))
    for at, code in enumerate(pipestatus):
        is_cut = code == _READER_GONE and at < len(pipestatus) - 1
        if code and code != _INTERRUPTED and not is_cut and not _is_no(texts[at], code):
            return code
    return None


def asks(command: str, exit_code: int | None) -> bool:
    """Whether the failure of a line is an answer: then it is one simple command, and that asks."""
    if _CONDITION.fullmatch(command.strip()):
        return exit_code in (_NO, None)
    found = parts(command)
    return len(found) == 1 and not found[0].before and _is_no(found[0], exit_code)


def _is_no(simple: Simple | None, exit_code: int | None) -> bool:
    program = program_of(simple) if simple is not None else None
    if simple is None or program is None or exit_code not in (_NO, None):
        return False
    return program.name in _ASKING or simple.words[:2] == ("command", "-v")


def _pipeline(command: str, length: int) -> list[Simple | None]:
    """The parts of the last pipeline of a line; None for each where it is not as long as that."""
    found = parts(command)[-length:]
    is_one = len(found) == length and all(one.before in ("|", "|&") for one in found[1:])
    return [*found] if is_one else [None] * length


# --- hooks left out -------------------------------------------------------------------------------------


def hooks_left_out(command: str) -> str | None:
    """What a command line did to the repository's hooks: `PAST`, `OFF`, or None: nothing."""
    if "git" not in command and "export" not in command:
        return None
    found, exported = set[str](), list[str]()
    for simple in commands(command):
        program = program_of(simple)
        if program is None:
            continue
        if program.name in ("export", "declare", "typeset"):
            exported += program.arguments
        elif program.name == "git":
            found.add(_done_by_git(program, exported))
    found.update(OFF for one in exported if _turns_off(one))
    return PAST if PAST in found else OFF if OFF in found else None


def _done_by_git(program: Program, exported: Sequence[str]) -> str:
    words, settings = list(program.arguments), []
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word in _GLOBAL and words:
            settings.append(words.pop(0))
        else:
            settings.append(word.removeprefix("-c").removeprefix("--config-env="))
    verb, rest = (words[0], words[1:]) if words else ("", [])
    if verb == "config":
        return OFF if _sets_the_path(rest) else ""
    if verb not in _HOOKED:
        return ""
    given = (*exported, *program.given)
    is_past = any(_turns_off(one) or (one.partition("=")[0] in _LISTS and one[-1:] != "=") for one in given)
    is_past = is_past or any(one.partition("=")[2].lower() == _SETTING for one in given)
    is_past = is_past or any(one.lower().startswith(f"{_SETTING}=") for one in settings)
    return PAST if is_past or _is_unverified(verb, rest) else ""


def _turns_off(assignment: str) -> bool:
    name, _, value = assignment.partition("=")
    return name in _NONE and value in (_NONE[name], "false" if name == "LEFTHOOK" else _NONE[name])


def _sets_the_path(words: Sequence[str]) -> bool:
    """Whether `git config` is told another folder of hooks, and not asked for it."""
    named = [word.lower() for word in words if not word.startswith("-")]
    if named[:1] in (["get"], ["list"]) or any(word.startswith(("--get", "--list")) for word in words):
        return False
    named = named[1:] if named[:1] in (["set"], ["unset"]) else named
    is_unset = "unset" in (word.lstrip("-") for word in words)
    return _SETTING in named and (is_unset or named[-1] != _SETTING)


def _is_unverified(verb: str, words: Sequence[str]) -> bool:
    """Whether the options of a git command leave the hooks out; values of other options are none."""
    waiting = iter(words)
    for word in waiting:
        if word == "--":
            return False
        if word.startswith("--"):
            if word.startswith(_SHORTEST) and _NO_VERIFY.startswith(word):
                return True
            if word in _LONG:
                next(waiting, None)
        elif word.startswith("-") and _cluster(verb, word, waiting):
            return True
    return False


def _cluster(verb: str, word: str, waiting: Iterator[str]) -> bool:
    """Whether it is a cluster of short options with an n in it: `-nm`, and not `-mn`."""
    behind, within = _TAKES[verb]
    for at, letter in enumerate(word[1:], 1):
        if letter == "n" and verb in _SHORT_N:
            return True
        if letter in within:
            return False
        if letter in behind:
            if at == len(word) - 1:
                next(waiting, None)
            return False
    return False
