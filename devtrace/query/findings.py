"""What a reviewer should look at in a change: what was undone, weakened, skipped, printed, ignored, not seen.

Lives here: `Findings`. Not here: whose lines they are (coverage.py), which words stand in a diff or a command
(smells.py), tests that ask less (weakened.py), secrets that were printed (marks.py).
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

from devtrace.query import smells
from devtrace.query.accounts import same_words
from devtrace.query.agents import Works, headline, relative
from devtrace.query.events import list_events, with_late_ends
from devtrace.query.filters import Filters
from devtrace.query.gitrange import FileChange
from devtrace.query.marks import Secrets
from devtrace.query.sessions import sessions_by_id
from devtrace.query.shell_line import Simple, commands, program_of
from devtrace.query.smells import brief, finding
from devtrace.query.weakened import weakened
from devtrace.store.changes import true_name

Row = dict[str, Any]

_KINDS = ("run_command", "edit_files", "git_commit", "gap", "agent_payload")
_BY_COMMIT = """
    SELECT DISTINCT session FROM events WHERE kind = 'git_commit' AND json_extract(data, '$.new') IN
    (SELECT value FROM json_each(?))
"""
_HEARD = "SELECT 1 FROM {} WHERE session = ? AND source = 'hook' LIMIT 1"
_TOLD = "SELECT 1 FROM events WHERE session = ? AND +kind = 'tool_call' LIMIT 1"
_TYPED = (
    "SELECT json_extract(data, '$.command') FROM {} WHERE session = ? AND +kind = 'run_command'"
    " AND parent IS NULL"
)
_RUNNER = re.compile(r"npx|bunx|uvx|pipx|pnpm|yarn|uv|node|python[\d.]*")  # programs that start another one
_SILENT = "agent_hooks_silent"  # the gap that says so
_COMMITTED = frozenset({"commit", "amend", "merge", "cherry-pick", "revert", "am", "rebase"})
_FOR_EVER = 1 << 62


class Findings:
    """Looks through the sessions in which a change was made, until it was committed."""

    def __init__(
        self,
        db: sqlite3.Connection,
        works: Works,
        sessions: Iterable[str],
        hooked: Collection[str],
        programs: Mapping[str, Sequence[str]] | None = None,
    ):
        """`hooked`: the agents of which hooks are known. `programs`: by which each agent is started."""
        self._db = db
        self._works = works
        self._hooked = hooked
        self._programs = programs or {}
        self.sessions = list(dict.fromkeys(sessions))

    def of(
        self,
        changes: Sequence[FileChange],
        commits: Collection[str],
        base: str | None,
        root: str,
        edits: Collection[str] = (),
    ) -> list[Row]:
        """What there is to look at, the gravest kinds first.

        `commits`: the range; what was done before HEAD came to `base`, and after the last of them was made,
        is none of its concern. `edits`: the ids of the events that brought its lines, for a commit that was
        made anew since. Without commits everything in the sessions is looked at.
        """
        found: list[Row] = []
        edited: list[Row] = []
        runs: list[_Run] = []
        secrets = Secrets(self._db)
        inside = {change.path for change in changes}
        for session in self.sessions:
            rows, since_us, until_us = self._rows(session, commits, base, edits)
            work = self._works.between(session, since_us, until_us)
            calls = [call for call in work.calls if since_us <= call["started_us"] <= until_us]
            edited += [row for row in rows if row["kind"] == "edit_files"]
            roots = self._roots(session, root)
            runs += _runs(rows, calls, work.clients, roots)
            found += [*_undone(rows, inside), *_unverified(rows, calls)]
            found += secrets.of(rows, calls, work.clients)
            found += [*_outside(calls, roots), *_claims(calls), *_gaps(rows), *self._unheard(session, rows)]
        found += [*weakened(changes, edited), *_left(runs)]
        order = list(smells.KINDS)
        return sorted(found, key=lambda row: order.index(row["kind"]))

    def _rows(
        self, session: str, commits: Collection[str], base: str | None, edits: Collection[str]
    ) -> tuple[list[Row], int, int]:
        """What happened in a session from `base` to the last of the commits, and from when to when."""
        rows = with_late_ends(self._db, list_events(self._db, Filters(session=session, kinds=_KINDS)))
        moves = [(at, row["data"].get("new")) for at, row in enumerate(rows) if row["kind"] == "git_commit"]
        last = max((at for at, new in moves if new in commits), default=None)
        if last is None and commits:
            last = _committed(rows, edits)
        until = len(rows) if last is None else last
        first = max((at for at, new in moves if new == base and at < until), default=None)
        since_us = 0 if first is None else rows[first]["started_us"]
        until_us = _FOR_EVER if last is None else rows[last]["started_us"]
        return rows[0 if first is None else first + 1 : until + 1], since_us, until_us

    def _roots(self, session: str, root: str) -> list[str]:
        """Where the repository lies, and where it lay when the session was recorded: stores are copied."""
        row = sessions_by_id(self._db, [session]).get(session)
        return [root, *([str(row["repo_root"])] if row is not None and row["repo_root"] else [])]

    # --- what was not seen ----------------------------------------------------------------------------------

    def _unheard(self, session: str, rows: Sequence[Row]) -> Iterator[Row]:
        """An agent whose hooks said nothing, where it was at work and no gap says so already."""
        row = sessions_by_id(self._db, [session]).get(session)
        agent = row["agent"] if row is not None else ""
        is_said = any(one["kind"] == "gap" and one["data"].get("reason") == _SILENT for one in rows)
        if not agent or agent == "manual" or is_said or not self._was_at_work(session, agent):
            return
        if agent not in self._hooked:
            yield finding("hooks", f"{agent}: hooks: none known", None, session=session)
        elif not self._is_any(_HEARD.format("events"), session) and not self._is_any(
            _HEARD.format("running"), session
        ):
            yield finding("hooks", f"{agent}: no hook of it was heard", None, session=session)

    def _was_at_work(self, session: str, agent: str) -> bool:
        """Whether an agent was started in a session, or is told of: a person may type in one of its name."""
        if agent.startswith("custom:") or self._is_any(_TOLD, session):
            return True  # nobody knows the program of a custom one
        names = set(self._programs.get(agent) or (agent, agent.partition("-")[0]))
        return any(
            _starts(simple, names)
            for table in ("events", "running")
            for (command,) in self._db.execute(_TYPED.format(table), (session,)).fetchall()
            for simple in commands(str(command or ""))
        )

    def _is_any(self, select: str, session: str) -> bool:
        return self._db.execute(select, (session,)).fetchone() is not None


def _starts(simple: Simple, names: Collection[str]) -> bool:
    program = program_of(simple)
    if program is None or not _RUNNER.fullmatch(program.name):
        return program is not None and program.name in names
    return any(word.rpartition("/")[2] in names for word in program.arguments)


def _committed(rows: Sequence[Row], edits: Collection[str]) -> int | None:
    """Where the work of a range was committed first, by the edits that brought its lines; None: unknown."""
    done = max((at for at, row in enumerate(rows) if row["id"] in edits), default=None)
    if done is None:
        return None
    moves = ((at, row) for at, row in enumerate(rows) if row["kind"] == "git_commit" and at > done)
    return next((at for at, row in moves if row["data"].get("how") in _COMMITTED), None)


def sessions_of(db: sqlite3.Connection, commits: Iterable[str]) -> list[str]:
    """The sessions in which HEAD came to one of the commits."""
    return [row[0] for row in db.execute(_BY_COMMIT, (json.dumps(list(commits)),)).fetchall()]


# --- files ----------------------------------------------------------------------------------------------


def _undone(rows: Sequence[Row], inside: Collection[bytes]) -> Iterator[Row]:
    """Paths that were changed, and then brought back to what they had been, by whatever way."""
    states: dict[tuple[str, bytes], list[_State]] = {}
    for row in rows:
        if row["kind"] != "edit_files" or row["data"].get("attribution") == "baseline":
            continue
        for change in row["data"].get("changes") or ():
            key = (str(row["data"].get("chain")), true_name(change, "path"))
            seen = states.setdefault(key, [_State(change.get("old_oid"), True, row)])
            seen.append(_State(change.get("new_oid"), change.get("from_git") is True, row))
    for (_, path), seen in states.items():
        if (back := _brought_back(seen)) is not None:
            name = path.decode("utf-8", "replace")
            whole = "" if path in inside else ", and nothing of it is left"
            told = f"{name} was changed and brought back to what it was{whole}"
            yield finding("undone", told, back.row, path=name)


class _State(NamedTuple):
    """What a path held after an edit."""

    oid: str | None
    from_git: bool
    row: Row


def _brought_back(states: Sequence[_State]) -> _State | None:
    """The last state that was there before, where what came between is gone for good.

    What git had is no work that is lost: another branch that was checked out for a while.
    """
    last = {state.oid: at for at, state in enumerate(states)}
    before: dict[str | None, int] = {}
    found = None
    for at, state in enumerate(states):
        between = states[before.get(state.oid, at) + 1 : at]
        if any(one.oid is not None and not one.from_git and last[one.oid] < at for one in between):
            found = state
        before[state.oid] = at
    return found


# --- commands and claims --------------------------------------------------------------------------------


def _runs(
    rows: Iterable[Row], calls: Sequence[Row], clients: Collection[str], roots: Sequence[str]
) -> Iterator[_Run]:
    """Each command that ended, seen or only told."""
    said = {one["event"]: call for call in calls if _is_hidden(call) for one in call["ran"] or ()}
    folder = lru_cache(None)(partial(_folder, roots=tuple(roots)))  # few, of many commands
    for row in rows:
        name = f"{row['session']}/{row['id']}"
        text = row["data"].get("command") if row["kind"] == "run_command" else None
        if text and row["status"] in ("ok", "failed") and name not in clients:
            code = smells.failure(text, row["exit_code"], row["data"].get("pipestatus"))
            how = f" with exit {code}" if code is not None else None
            if how is None and not row["exit_code"] and name in said:
                how = _as_told(said[name])
            yield _Run(row["started_us"], text, folder(row["cwd"]), how, row)
    for call in calls:
        if call["command"] and not call["ran"] and call["status"] in ("ok", "failed"):
            how = _as_told(call) if _is_failed(call) else None
            yield _Run(call["started_us"], call["command"], folder(call["cwd"]), how, _event_of(call))


def _is_failed(call: Row) -> bool:
    """Whether a call failed by its own account, and not because somebody stopped it, or as an answer."""
    if call["status"] != "failed" or call["interrupted"] or not call["command"]:
        return False
    return call["exit_code"] is None or smells.failure(call["command"], call["exit_code"]) is not None


def _is_hidden(call: Row) -> bool:
    """Whether only the client says that it failed; where what ran says otherwise, a claim is told of."""
    return _is_failed(call) and not {"exit_code", "status"}.intersection(call["differs"])


def _as_told(call: Row) -> str:
    return "" if call["exit_code"] is None else f" with exit {call['exit_code']}"


def _folder(cwd: str | None, roots: Sequence[str]) -> str:
    """A directory seen from the repository; "": its root."""
    for root in roots if cwd else ():
        if (found := relative(str(cwd), root, root)) is not None:
            return found
    return cwd or ""


def _left(runs: Iterable[_Run]) -> Iterator[Row]:
    """Commands whose last run failed, each once in each directory."""
    last: dict[tuple[str, str], _Run] = {}
    number: dict[tuple[str, str], int] = defaultdict(int)
    for run in sorted(runs, key=lambda run: run.at_us):
        key = (same_words(run.text), run.folder)
        number[key] = 0 if run.how is None else number[key] + 1
        last[key] = run
    for key, times in number.items():
        if times:
            run = last[key]
            where = f" in {run.folder}" if run.folder else ""
            again = f", {times} times" if times > 1 else ""
            told = f"{brief(run.text)} failed{where}{run.how}{again} and never succeeded after that"
            yield finding("failed", told, run.row, count=times)


class _Run(NamedTuple):
    """One run of a command."""

    at_us: int
    text: str
    folder: str  # seen from the repository
    how: str | None  # " with exit 2", or "" where that is not known; None: it did not fail
    row: Row


def _unverified(rows: Iterable[Row], calls: Iterable[Row]) -> Iterator[Row]:
    """Commits and pushes past the repository's own hooks, and hooks that were turned off."""
    for row in rows:
        text = row["data"].get("command") if row["kind"] == "run_command" else None
        if text and (done := smells.hooks_left_out(text)):
            yield finding("no_verify", f"{brief(text)} {done}", row)
    for call in calls:
        if call["command"] and not call["ran"] and (done := smells.hooks_left_out(call["command"])):
            yield _of_call("no_verify", f"{_named(call)} {done}", call)


def _outside(calls: Iterable[Row], roots: Sequence[str]) -> Iterator[Row]:
    """Files outside the repository that a tool says it wrote or read."""
    found: dict[tuple[str, str], tuple[Row, int]] = {}
    for call in calls:
        verb = "read" if call["does"] in ("read", "search") else "wrote"
        for path in call["paths"] or ():
            if all(relative(path, root, call["cwd"] or root) is None for root in roots):
                first, number = found.get((verb, path), (call, 0))
                found[verb, path] = (first, number + 1)
    for (verb, path), (call, number) in found.items():
        yield _of_call("outside", f"{call['tool']} {verb} {path}", call, path=path, count=number)


def _claims(calls: Iterable[Row]) -> Iterator[Row]:
    """Calls that say something else than what was seen."""
    for call in calls:
        if not call["ran"] or not {"command", "exit_code", "status"}.intersection(call["differs"]):
            continue
        truth = call["ran"][0]
        if "command" in call["differs"]:
            told = f"{_named(call)} is what it says, and {brief(str(truth['command']))} is what ran"
        else:
            said = "success" if call["exit_code"] is None else f"exit {call['exit_code']}"
            told = f"{_named(call)} is said to end with {said}, and ended with exit {truth['exit_code']}"
        yield _of_call("claim", told, call)


def _gaps(rows: Iterable[Row]) -> Iterator[Row]:
    """What could not be observed, and what was heard and not understood."""
    found: dict[str, tuple[Row, int]] = {}
    for row in rows:
        if row["kind"] in ("gap", "agent_payload"):
            reason = str(row["data"].get("reason") or row["title"])
            first, number = found.get(reason, (row, 0))
            found[reason] = (first, number + (row["data"].get("count") or 1))
    for reason, (row, number) in found.items():
        detail = row["data"].get("detail")
        told = f"not observed: {reason}" + (f" ({detail})" if detail else "")
        yield finding("gap", told, row, count=number)


def _named(call: Row) -> str:
    return f"{call['tool']}: {brief(call['command'])}" if call["command"] else brief(headline(call))


def _event_of(call: Row) -> Row:
    return {"session": call["session"], "id": call["event"].rpartition("/")[2]}


def _of_call(kind: str, text: str, call: Row, *, path: str | None = None, count: int = 1) -> Row:
    return finding(kind, text, _event_of(call), path=path, count=count)
