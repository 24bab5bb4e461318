"""How HEAD moved in a working tree, whoever moved it: the reflog of HEAD, read as it grows.

Lives here: `Moves`, which looks again and again, and `Move`, one step with its reason. The words of `how`:

    commit        a new commit, the first one too     reset        `git reset`
    amend         the last commit was replaced        pull         `git pull`, with --rebase too; see below
    merge         a merge commit                      fetch, push  the branch that is checked out was updated
    fast-forward  a merge that made no commit         clone        `git clone`
    rebase        any step of a rebase                branch       the branch was renamed, HEAD stayed
    cherry-pick   `git cherry-pick`                   unknown      HEAD is elsewhere and nothing says why, or
    revert        `git revert`                                     in words that git itself does not use
    am            a patch from `git am`
    checkout      `git checkout`, `switch`, `bisect`, `stash branch`

git says "initial pull" for a merge into a branch without commits: that is told as pull.
Not here: what HEAD is now (git.py), when to look, events.
Standard library only, and git is started only where HEAD's files cannot tell (the reftable format).
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from devtrace.sources.git import Head, Places, head_files, head_in, places_of


class Move(NamedTuple):
    """One step of HEAD. Free text may hold surrogates: names and messages are bytes to git."""

    old: str | None  # the commit before; None: there was none yet
    new: str | None  # the commit after; None: there is none yet, as after `git checkout --orphan`
    how: str  # a word of the table above
    branch: (
        str | None
    )  # after the move; None: detached, or the reflog does not say (never so at the last move)
    subject: (
        str  # the rest of the reflog's message: a commit's subject, "moving from a to b"; "": nothing said
    )
    at_s: int | None  # seconds since the Unix epoch, by the committer's clock; None: no line of the reflog


class Moves:
    """Looks at one working tree. What happened before it was made is not told."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._places: Places | None = None
        self._files: list[Path] = []
        self._signature: object = None
        self._log = Reflog()
        self._head = _NOWHERE
        self._is_new = True  # until HEAD was told once: what led there is not ours to tell
        self.look()

    @property
    def root(self) -> Path:
        """The working tree."""
        return self._root

    @property
    def watched(self) -> list[Path]:
        """The files that change when HEAD moves. git replaces most of them: watch their directories."""
        return list(self._files)

    def look(self) -> list[Move]:
        """What has happened since the last look, oldest first; a few stat calls where nothing has.

        `new` of one move is `old` of the next, and the last one ends at HEAD as it is now. A repository that
        was not there at the last look is told from the first line of its reflog.
        """
        if self._signature is not None and self._signature == self._seen():
            return []
        self._places = places_of(self._root)
        if self._places is None:
            return self._without_repository()
        head, log = self._settled(self._places)
        if head is None:  # not even git could tell: what the reflog says waits until HEAD is readable
            return []
        entries, self._log = self._log.grown(log, self._head.commit)
        before, self._head = self._head, head
        is_new, self._is_new = self._is_new, False
        return [] if is_new else _linked(before, entries, head)

    def _without_repository(self) -> list[Move]:
        self._files = [self._root / ".git"]
        self._signature = self._seen()
        self._is_new = False
        before, self._head, self._log = self._head, _NOWHERE, Reflog()
        return [] if before.commit is None else [_unsaid(before, None, None)]

    def _settled(self, places: Places) -> tuple[Head | None, LogFile]:
        """HEAD and its reflog, of one moment. git holds a lock while it writes the one and then the other."""
        for left in reversed(range(_TRIES)):
            self._files = _files_of(places)
            self._signature = self._seen()
            log = self._log.opened(places.own / "logs" / "HEAD")
            head = head_in(places) or _asked_git(self._root)
            is_quiet = not (places.own / "HEAD.lock").exists() and self._signature == self._seen()
            if is_quiet or not left:
                break
            time.sleep(_PAUSE_S)  # git lets go of its lock and tells nobody
        return head, log

    def _seen(self) -> tuple[object, ...]:
        place = _stat(self._root / ".git")
        if place is None:
            return ()
        # A directory's own time changes with every lock in it, and says nothing.
        is_settled = self._places is not None and stat.S_ISDIR(place.st_mode)
        return (place.st_ino, None if is_settled else place.st_mtime_ns, *map(_signature, self._files))


class LogFile(NamedTuple):
    """What was read of a reflog: `data` from its start (`is_whole`), or what was appended."""

    inode: int
    data: bytes
    is_whole: bool


class Entry(NamedTuple):
    """A line of the reflog, and what its message says of the branch: None is detached, "" is not a word."""

    old: str | None
    new: str | None
    how: str
    subject: str
    at_s: int | None
    left: str | None
    reached: str | None
    stays: bool  # what git does under this word never changes the branch


class Reflog(NamedTuple):
    """How far a reflog was read. By `last`, its last line, it is known again when it was rewritten."""

    inode: int = 0
    size: int = 0
    last: bytes = b""

    def opened(self, path: Path) -> LogFile:
        try:
            with path.open("rb") as file:
                facts = os.fstat(file.fileno())
                begin = self.size - len(self.last)
                if facts.st_ino == self.inode and facts.st_size >= self.size:
                    file.seek(begin)
                    data = file.read()
                    if data.startswith(self.last):  # else another file got the inode of the old one
                        return LogFile(facts.st_ino, data[len(self.last) :], False)
                    file.seek(0)
                return LogFile(facts.st_ino, file.read(), True)
        except (OSError, ValueError):
            return LogFile(0, b"", True)

    def grown(self, log: LogFile, commit: str | None) -> tuple[list[Entry], Reflog]:
        """The lines that are new, and how far it is read now; a line without its end waits for it."""
        end = log.data.rfind(b"\n") + 1
        data = log.data[:end]
        last = data[data[:-1].rfind(b"\n") + 1 :]
        if not log.is_whole:
            return _entries(data), Reflog(log.inode, self.size + end, last or self.last)
        read = Reflog(log.inode, end, last)
        return self._after_rewriting(data, commit) if self.last else _entries(data), read

    def _after_rewriting(self, data: bytes, commit: str | None) -> list[Entry]:
        """Old lines expire (git-reflog(1)), by time or one by one: only what surely is newer is told."""
        place = (b"\n" + data).rfind(b"\n" + self.last)
        if place >= 0:
            return _entries(data[place + len(self.last) :])
        entries, known = _entries(data), _entries(self.last)
        if not entries or not known or entries[0].old != commit:
            return []
        return entries if (entries[0].at_s or 0) >= (known[0].at_s or 0) else []


_NOWHERE = Head("", None)  # no repository; "" is, here and below, a branch of which nothing is said
_TRIES = 10
_PAUSE_S = 0.004
_GIT_PATIENCE_S = 5

# Names may hold tabs, but no "<" or ">": git leaves them out (ident.c).
_LINE = re.compile(
    rb"([0-9a-f]{40,64}) ([0-9a-f]{40,64})(?: [^<]*<[^>]*> (-?\d{1,15}) [+-]\d+|[^\t]*)(?:\t(.*))?", re.DOTALL
)
_RENAMED = re.compile(r"renamed refs/heads/(.+) to refs/heads/(.+)", re.DOTALL)
_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_STAY = frozenset(("commit", "amend", "merge", "fast-forward", "cherry-pick", "revert", "am", "reset"))
_STAY |= {"fetch", "push", "pull"}
_WORDS = _STAY | {"rebase", "checkout", "clone"}
_QUALIFIED = {"(amend)": "amend", "(merge)": "merge", "(cherry-pick)": "cherry-pick"}
_WHOLE = {"initial pull": "pull", "push": "push", "am --abort": "am"}  # messages without a colon


def _entries(data: bytes) -> list[Entry]:
    """Lines that are no reflog's are passed over: the hole they leave is told by `_linked`."""
    parsed = [entry for line in data.split(b"\n") if (entry := _entry(line))]
    # A rename is written as two lines, away to nothing and back; elsewhere checked out, as the second only.
    kept = [entry for entry in parsed if entry.how != "branch" or entry.new]
    return [entry._replace(old=entry.new) if entry.how == "branch" else entry for entry in kept]


def _entry(line: bytes) -> Entry | None:
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    message = (found[4] or b"").decode("utf-8", "surrogateescape")
    how, subject = _how(message)
    left, reached = _branches(how, message, subject)
    stays = how in _STAY and reached == ""
    at_s = None if found[3] is None else int(found[3])
    return Entry(_commit(found[1]), _commit(found[2]), how, subject, at_s, left, reached, stays)


def _commit(name: bytes) -> str | None:
    return name.decode() if name.strip(b"0") else None


def _how(message: str) -> tuple[str, str]:
    """The word and the rest of a message; one that GIT_REFLOG_ACTION or update-ref -m made up stays whole."""
    if message in _WHOLE:
        return _WHOLE[message], ""
    action, colon, subject = message.partition(": ")
    if not colon:
        if not action.endswith(":"):  # git cuts the space after it where there is no subject
            return "unknown", message
        action = action[:-1]
    word, _, options = action.partition(" ")
    if action == "Branch" and _RENAMED.fullmatch(subject):
        return "branch", subject
    if word == "commit":
        return _QUALIFIED.get(options, "commit"), subject
    if word == "merge" and subject.startswith("Fast-forward"):
        return "fast-forward", subject
    return (word, subject) if word in _WORDS - {"amend", "fast-forward"} else ("unknown", message)


def _branches(how: str, message: str, subject: str) -> tuple[str | None, str | None]:
    """The branch that was left and the one that was reached, as far as the message says."""
    if how == "branch" and (renamed := _RENAMED.fullmatch(subject)):
        return renamed[1], renamed[2]
    if how == "checkout" and subject.startswith("moving from "):
        left = subject.removeprefix("moving from ").partition(" to ")[0]
        return (None if _HASH.fullmatch(left) else left), ""
    if how in ("rebase", "pull"):
        return _branches_of_rebase(how, message, subject)
    return "", ""


def _branches_of_rebase(how: str, message: str, subject: str) -> tuple[str | None, str | None]:
    if subject.startswith("returning to "):
        name = subject.removeprefix("returning to ")
        return "", name.removeprefix("refs/heads/") if name.startswith("refs/heads/") else None
    is_step = how == "rebase" or message.partition(": ")[0].endswith(")")
    # "rebase: checkout b" is what an up-to-date `git rebase a b` says: it is on b, or on what b names.
    return "", "" if not is_step or message.startswith("rebase: checkout ") else None


def _linked(before: Head, entries: list[Entry], head: Head) -> list[Move]:
    """The moves that lead from `before` to `head`: what the reflog leaves out is one `unknown` there."""
    moves: list[Move] = []
    at = before
    for entry in _with_branches(entries, head):
        start = _start_of(entry, at)
        if start != at:
            moves.append(_unsaid(at, start.commit, start.branch))
        branch = start.branch if entry.stays and start.branch != "" else entry.reached
        moves.append(Move(entry.old, entry.new, entry.how, branch, entry.subject, entry.at_s))
        at = Head(branch, entry.new)
    if at.commit != head.commit or at.branch not in ("", head.branch):
        moves.append(_unsaid(at, head.commit, head.branch))
    return [move._replace(branch=move.branch or None) for move in _telling(before, moves)]


def _start_of(entry: Entry, at: Head) -> Head:
    """Where this line says it started: at `at`, or there is a hole between the two."""
    if entry.old == at.commit:
        return at if "" in (entry.left, at.branch) else Head(entry.left, entry.old)
    left = entry.reached if entry.left == "" and entry.stays else entry.left
    return Head(left, entry.old)


def _with_branches(entries: list[Entry], head: Head) -> list[Entry]:
    """Backwards from HEAD: "moving from a" tells where the line before led to, if nothing came between."""
    told: list[Entry] = []
    names = {head.branch, *(name for entry in entries for name in (entry.left, entry.reached))}
    then, now = head.commit, head.branch
    for entry in reversed(entries):
        reached = entry.reached
        if reached == "" and entry.new == then:
            reached = now
        aim = entry.subject.rpartition(" to ")[2]
        if reached == "" and entry.how == "checkout" and aim in names:
            reached = aim  # some other line says that this is a branch's name
        told.append(entry._replace(reached=reached))
        then, now = entry.old, entry.left if entry.left != "" or not entry.stays else reached
    return told[::-1]


def _telling(before: Head, moves: Iterable[Move]) -> list[Move]:
    """Without those that changed nothing. A rebase's end, back on its branch, is part of its last step."""
    kept: list[Move] = []
    for said in moves:
        move = said
        is_end = move.old == move.new and move.subject.startswith("returning to ")
        if is_end and kept and kept[-1].how == move.how:
            move = kept.pop()._replace(branch=move.branch)
        branch = kept[-1].branch if kept else before.branch
        if move.old != move.new or move.branch not in ("", branch):
            kept.append(move)
    return kept


def _unsaid(at: Head, commit: str | None, branch: str | None) -> Move:
    return Move(at.commit, commit, "unknown", branch, "", None)


def _files_of(places: Places) -> list[Path]:
    files = [*head_files(places), places.own / "logs" / "HEAD"]
    tables = [base / "reftable" / "tables.list" for base in dict.fromkeys(places)]
    return files + [table for table in tables if table.parent.is_dir()]


def _signature(path: Path) -> tuple[int, int, int] | None:
    facts = _stat(path)
    return None if facts is None else (facts.st_ino, facts.st_size, facts.st_mtime_ns)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):
        return None


def _asked_git(root: Path) -> Head | None:
    """HEAD as git tells it; the second process is for a branch that has no commit yet."""
    told = _git(root, "rev-parse", "HEAD", "--symbolic-full-name", "HEAD").split("\n")
    if len(told) == 2 and _HASH.fullmatch(told[0]):
        return Head(None if told[1] == "HEAD" else told[1].removeprefix("refs/heads/"), told[0])
    name = _git(root, "symbolic-ref", "-q", "HEAD")
    return Head(name.removeprefix("refs/heads/"), None) if name else None


def _git(root: Path, *words: str) -> str:
    import subprocess  # slow to import, and hardly ever needed

    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environ |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_CEILING_DIRECTORIES": str(root.resolve().parent)}
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-C", str(root), *words]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=_GIT_PATIENCE_S,
            env=environ,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return "" if done.returncode else done.stdout.decode("utf-8", "surrogateescape").strip("\n")
