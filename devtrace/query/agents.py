"""What agents did: what they say of it beside what really ran and what really changed.

A call claims a command and paths. The command that its shell ran is known from the shell, and what changed
from the working tree; neither is taken from the client, and where they disagree the record says so.

Lives here: `Work`, `Works`. Not here: what clients tell, prompts and reasons (accounts.py), whose a line is
(blame.py).
"""

from __future__ import annotations

import json
import os
import sqlite3
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

from devtrace.errors import UsageError
from devtrace.query.accounts import CALL, HOOK, TRANSCRIPT, Accounts, Told, same_words, told_once
from devtrace.query.diff import inside
from devtrace.query.events import get_event, list_events, with_late_ends
from devtrace.query.filters import Filters
from devtrace.query.nesting import under_calls
from devtrace.query.sessions import sessions_by_id
from devtrace.query.window import Window
from devtrace.store.changes import true_name

__all__ = ["CALL", "HOOK", "TRANSCRIPT", "Work", "Works", "headline", "told_once", "under_calls"]

Row = dict[str, Any]

# How an edit is known to be a call's: it stands under the call's event, under the command that it ran; it
# happened while the call ran, at a path that the call says it writes; or the record names several that may
# have made it, and all of them are calls.
BY_CALL, BY_COMMAND, BY_CLAIM, BY_CANDIDATE = "call", "command", "claim", "candidate"
# A change that was seen while a command ran may be that of a tool which ran beside it and says so.
_RANKS = {BY_CALL: 0, BY_COMMAND: 1, BY_CLAIM: 1, BY_CANDIDATE: 1}
_READS = ("read", "search")  # their paths are no claim to have changed anything
_NO_EDITS = (*_READS, "shell", "subagent")
_OPEN = 1 << 62  # the end of what has none
_MOST_AROUND = 20  # events around each other
_EDITS = """
    SELECT session, id FROM events WHERE kind = 'edit_files'
    AND started_us <= ? AND coalesce(ended_us, started_us) >= ? ORDER BY seq
"""
_HEARD_AROUND = """
    SELECT DISTINCT session FROM events WHERE kind = 'tool_call' AND started_us BETWEEN ? AND ?
    UNION SELECT DISTINCT session FROM running WHERE kind = 'tool_call'
"""
_MOST_PARTS = 20  # of one session, before it is read whole
_CALLED_UNDER = "SELECT DISTINCT parent FROM {} WHERE session = ? AND +kind = 'tool_call'"
_SETTLING_US = 10_000_000  # after which what a call changed has been told
_LONGEST_US = 6 * 3_600_000_000  # of a call in another session that an edit may have been made by


class Work:
    """The tool calls of a session, or of the whole store, with what became of them."""

    def __init__(
        self,
        db: sqlite3.Connection,
        session: str | None = None,
        rows: Sequence[Row] | None = None,
        window: Window | None = None,
    ):
        """`rows`: what was told, as `Told` tells it, be it only that of a `window`."""
        self._db = db
        self._window = window or Window(0, _OPEN, ())
        accounts = Accounts(db, session, rows)
        self.calls: list[Row] = accounts.calls
        self._until = _ends(self.calls)
        self._above: dict[str, str | None] = accounts.parents
        self._given: dict[str, dict[str, None]] = {}
        if self.calls:
            self._add_commands()
            self._add_edits()

    @cached_property
    def clients(self) -> set[str]:
        """SESSION/EVENT of the commands inside of which a client ran: what its calls stand under."""
        return {above for call in self.calls for event in call["events"] for above in self._around(event)[1:]}

    def of_edit(self, edit: str, path: str, text: str = "") -> list[Row]:
        """The calls that may have made a change (SESSION/EVENT) of a path, the surest alone.

        Of several those that say that they write the path, and were given `text` to write, come before the
        others. What else mentions it, as a search for it does, proves nothing.
        """
        found = [
            (_RANKS[one["confidence"]], call)
            for call in self._by_edit[edit]
            for one in call["edits"]
            if one["event"] == edit and path in one["paths"]
        ]
        surest = min((sure for sure, _ in found), default=0)
        best = list({call["event"]: call for sure, call in found if sure == surest}.values())
        if len(best) > 1 and text.strip():
            return self._quoting([call for call in best if _writes(call, path)], text.strip()) or best
        return best

    def _quoting(self, calls: Sequence[Row], text: str) -> list[Row]:
        """Those of the calls that were given a line as it is, else those whose input holds it."""
        for call in calls:
            if call["event"] not in self._given:
                self._given[call["event"]] = dict.fromkeys(_given(call))
        whole = [call for call in calls if text in self._given[call["event"]]]
        return whole or [call for call in calls if any(text in line for line in self._given[call["event"]])]

    def of_event(self, session: str, event: str) -> list[Row]:
        """The calls that an event tells of, is a command of, or is an edit of."""
        name = f"{session}/{event}"
        if self._by_edit[name]:
            return self._by_edit[name]
        around = set(self._around(name))
        return [
            call
            for call in self.calls
            if name in call["events"] or any(one["event"] in around for one in call["ran"] or ())
        ]

    @cached_property
    def _by_edit(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = defaultdict(list)
        for call in self.calls:
            for one in call["edits"]:
                found[one["event"]].append(call)
        return found

    # --- the commands ---------------------------------------------------------------------------------------

    def _add_commands(self) -> None:
        """Join each claimed command with the one that its shell ran."""
        shells = [
            call
            for call in self.calls
            if call["command"] is not None and call["started_us"] >= self._window.since_us
        ]
        sessions = sorted({name.partition("/")[0] for call in shells for name in call["events"]})
        commands = _Commands([row for session in sessions for row in self._commands(session)])
        for how in (self._of_its_id, self._of_its_text, self._of_its_time):
            open_calls = [call for call in shells if call["ran"] is None]
            for call in open_calls:
                if rows := how(call, commands, open_calls):
                    commands.take(rows)
                    _compare(call, rows)

    def _commands(self, session: str) -> Iterator[Row]:
        """What the shells inside commands ran, without what ran inside of that again."""
        since_us, until_us, _ = self._window
        wanted = Filters(kinds=("run_command",), session=session)
        if since_us or until_us != _OPEN:
            wanted = replace(wanted, since_us=since_us, until_us=until_us)
        rows = [row for row in with_late_ends(self._db, list_events(self._db, wanted)) if row["parent"]]
        nested = {_name(row) for row in rows}
        if since_us:  # of what stands under something older
            outer = {row["parent"] for row in rows if f"{session}/{row['parent']}" not in nested}
            nested |= {f"{session}/{one}" for one in outer if self._is_nested(session, one)}
        self._above.update((_name(row), f"{session}/{row['parent']}") for row in rows)
        for row in rows:
            above = f"{session}/{row['parent']}"
            if (above not in nested or above in self.clients) and not row["data"].get("folded"):
                yield row

    def _is_nested(self, session: str, event: str) -> bool:
        try:
            row = get_event(self._db, session, event)
        except UsageError:  # its record was lost
            return False
        return row["kind"] == "run_command" and row["parent"] is not None

    def _of_its_id(self, call: Row, commands: _Commands, others: Sequence[Row]) -> list[Row]:
        """The commands that carry the call's id, or stand under its event."""
        del others
        return commands.of(call)

    def _of_its_text(self, call: Row, commands: _Commands, others: Sequence[Row]) -> list[Row]:
        """The first command with the claimed text that began while the call ran."""
        del others
        wanted = same_words(call["command"])
        during = commands.during(call, self._until[call["event"]])
        return [row for row in during if same_words(_text(row)) == wanted][:1]

    def _of_its_time(self, call: Row, commands: _Commands, others: Sequence[Row]) -> list[Row]:
        """Whatever else began while the call ran, where no other call of unknown outcome ran then."""
        during = commands.during(call, self._until[call["event"]])
        beside = (
            other
            for other in others
            if other is not call and not other["ran"] and self._overlaps(call, other)
        )
        return during if during and next(beside, None) is None else []

    def _overlaps(self, one: Row, other: Row) -> bool:
        starts_before = one["started_us"] < self._until[other["event"]]
        return bool(starts_before and other["started_us"] < self._until[one["event"]])

    # --- the edits ------------------------------------------------------------------------------------------

    def _add_edits(self) -> None:
        """Join the calls with what changed in the working tree while they ran."""
        first = max(min(call["started_us"] for call in self.calls), self._window.since_us)
        last = min(max(self._until.values()), self._window.until_us)
        found = self._db.execute(_EDITS, (last + _SETTLING_US, first)).fetchall()
        rows = [get_event(self._db, *edit) for edit in found]
        ran = {one["event"]: call for call in self.calls for one in call["ran"] or ()}
        told = {event: call for call in self.calls for event in call["events"]}
        writers = [call for call in self.calls if call["paths"] and call["does"] not in _READS]
        known = sessions_by_id(self._db, {call["session"] for call in writers})
        for row in rows:
            owner = owner_of(row)
            call, how = self._owner(owner, told, ran)
            found = [] if call is None else [(call, how)]
            if row["data"].get("attribution") == "ambiguous":
                found = self._candidates(row, told, ran)
            for one, by in found:
                here = known.get(one["session"], {})
                paths = self._claimed(one, row, here) if by == BY_CANDIDATE and one["paths"] else None
                everything = [str(change["path"]) for change in _changes(row)]
                _add_edit(one, row, everything if paths is None else paths, by)
            for one in writers if how != BY_CALL else ():
                is_then = self._ran_during(one, row) and not any(one is other for other, _ in found)
                paths = self._claimed(one, row, known.get(one["session"], {})) if is_then else []
                if paths and self._may_be_inside(owner, one):
                    _add_edit(one, row, paths, BY_CLAIM)

    def _owner(self, owner: str | None, told: dict[str, Row], ran: dict[str, Row]) -> tuple[Row | None, str]:
        """The call whose event, or whose command, something stands under."""
        for name in self._around(owner) if owner else ():
            if name in told:
                return told[name], BY_CALL
            if name in ran:
                return ran[name], BY_COMMAND
        return None, ""

    def _candidates(self, edit: Row, told: dict[str, Row], ran: dict[str, Row]) -> list[tuple[Row, str]]:
        """The calls that an edit may be of, where nothing but calls may have made it."""
        named = [self._owner(str(name), told, ran)[0] for name in edit["data"].get("candidates") or ()]
        calls = [call for call in named if call is not None]
        return [(call, BY_CANDIDATE) for call in calls] if len(calls) == len(named) else []

    def _may_be_inside(self, owner: str | None, call: Row) -> bool:
        """Whether what an edit stands under is the call's client, or something that this one ran."""
        if owner is None:
            return True
        above = {name for event in call["events"] for name in self._around(event)[1:]}
        around = self._around(owner)
        if above.intersection(around):
            return True
        session, _, event = around[-1].partition("/")
        try:
            row = get_event(self._db, session, event)
        except UsageError:  # its record was lost
            return False
        is_then = row["started_us"] <= call["started_us"] <= (row["ended_us"] or _OPEN)
        return bool(is_then) and session == call["session"]

    def _ran_during(self, call: Row, edit: Row) -> bool:
        until = edit["ended_us"] if edit["ended_us"] is not None else edit["started_us"]
        return bool(edit["started_us"] <= self._until[call["event"]] and until >= call["started_us"])

    def _claimed(self, call: Row, edit: Row, session: Row) -> list[str]:
        """The paths of an edit that a call says it writes."""
        root = str(edit["data"].get("root") or "")
        here = call["cwd"] or session.get("cwd") or root
        claimed = {_inside(path, root, here) for path in call["paths"]}
        found = []
        for change in _changes(edit):
            names = {true_name(change, "path")}
            if change.get("old_path") is not None:
                names.add(true_name(change, "old_path"))
            if names & claimed:
                found.append(str(change["path"]))
        return found

    def _around(self, name: str) -> list[str]:
        """An event and what it is inside of, the outermost last. Parents come from guests: circles end."""
        found: list[str] = []
        at: str | None = name
        while at is not None and at not in found and len(found) < _MOST_AROUND:
            found.append(at)
            if at not in self._above:
                self._above[at] = self._parent(at)
            at = self._above[at]
        return found

    def _parent(self, name: str) -> str | None:
        session, _, event = name.partition("/")
        try:
            parent = get_event(self._db, session, event)["parent"]
        except UsageError:  # its record was lost
            return None
        return f"{session}/{parent}" if parent else None


class _Commands:
    """What the shells of some sessions ran, until a call takes it."""

    def __init__(self, rows: Iterable[Row]):
        self._rows = sorted(rows, key=lambda row: int(row["started_us"]))
        self._starts = [row["started_us"] for row in self._rows]
        self._taken: set[str] = set()
        self._known: dict[str, list[Row]] = defaultdict(list)
        for row in self._rows:
            self._known[f"{row['session']}/{row['parent']}"].append(row)
            if row["data"].get("call"):
                self._known[row["data"]["call"]].append(row)

    def take(self, rows: Iterable[Row]) -> None:
        """These are nobody else's."""
        self._taken.update(map(_name, rows))

    def of(self, call: Row) -> list[Row]:
        """Those that carry the call's id, or stand under its event."""
        found = [row for name in (call["call"], *call["events"]) if name for row in self._known[name]]
        return self._free(found)

    def during(self, call: Row, until_us: int) -> list[Row]:
        """Those of the call's sessions that began while it ran."""
        first = bisect_left(self._starts, call["started_us"])
        last = bisect_right(self._starts, until_us)
        sessions = {name.partition("/")[0] for name in call["events"]}
        return self._free(row for row in self._rows[first:last] if row["session"] in sessions)

    def _free(self, rows: Iterable[Row]) -> list[Row]:
        return [row for row in rows if _name(row) not in self._taken]


class Works:
    """The work of each session of a store, read when it is asked for."""

    def __init__(self, db: sqlite3.Connection):
        self._db = db
        self._told = Told(db)
        self._read: dict[str, Work] = {}
        self._parts: dict[str, list[tuple[int, int, Work]]] = defaultdict(list)
        self._heard: dict[str, list[str]] = {}
        self._since: dict[str, int] = {}
        tables = (
            f"SELECT 1 FROM {table} WHERE kind = 'tool_call' LIMIT 1" for table in ("events", "running")
        )
        self._is_any = any(db.execute(select).fetchone() is not None for select in tables)

    def of(self, session: str) -> Work:
        """The work of one session."""
        if session not in self._read:
            self._read[session] = Work(self._db, session, self._told.rows(session))
        return self._read[session]

    def between(self, session: str, since_us: int, until_us: int) -> Work:
        """The work of a session, where it is long of that time alone."""
        known = self._parts[session]
        for since, until, work in known:
            if since <= since_us and until_us <= until:
                return work
        told = None
        if session not in self._read and len(known) < _MOST_PARTS:
            told = self._told.part(session, since_us, until_us)
        if told is None:
            return self.of(session)
        window, rows = told
        known.append((since_us, until_us, Work(self._db, session, rows, window)))
        return known[-1][-1]

    def of_edit(self, edit: Row, path: str, text: str = "") -> list[Row]:
        """As `Work.of_edit`, of whatever session: hooks may speak in another one than the edit is told in."""
        if not self._is_any:
            return []
        since_us, until_us = self._span(edit)
        for session in self._around(edit):
            if found := self.between(session, since_us, until_us).of_edit(_name(edit), path, text):
                return found
        return []

    def _span(self, edit: Row) -> tuple[int, int]:
        """From when what may have made an edit began, as far as it is known by name, to when it was seen."""
        until = edit["ended_us"] if edit["ended_us"] is not None else edit["started_us"]
        name = _name(edit)
        if name not in self._since:
            named = [owner_of(edit), *(edit["data"].get("candidates") or ())]
            self._since[name] = min(
                edit["started_us"], *(self._began(str(one)) for one in named if one), _OPEN
            )
        return self._since[name], until

    def _began(self, name: str) -> int:
        """When something inside a command began, with all that it is inside of, but for that command."""
        began, seen = _OPEN, 0
        at: str | None = name
        while at is not None and seen < _MOST_AROUND:
            session, _, event = at.partition("/")
            try:
                row = get_event(self._db, session, event)
            except UsageError:  # its record was lost, or it is `background`
                break
            began = min(began, row["started_us"]) if row["parent"] and row["kind"] != "prompt" else began
            at, seen = f"{session}/{row['parent']}" if row["parent"] else None, seen + 1
        return began

    def _around(self, edit: Row) -> list[str]:
        """The sessions that may hold the call of an edit, the likeliest first."""
        name = _name(edit)
        if name not in self._heard:
            until = edit["ended_us"] if edit["ended_us"] is not None else edit["started_us"]
            heard = self._db.execute(_HEARD_AROUND, (edit["started_us"] - _LONGEST_US, until)).fetchall()
            own = [edit["session"], (owner_of(edit) or "").partition("/")[0]]
            known = dict.fromkeys([*own, *(row[0] for row in heard)])
            self._heard[name] = [session for session in known if session]
        return self._heard[name]

    def clients(self, session: str) -> set[str]:
        """As `Work.clients`, of what was told in the session itself."""
        found: set[str] = set()
        waiting: list[str | None] = []
        for table in ("events", "running") if self._is_any else ():
            waiting += [row[0] for row in self._db.execute(_CALLED_UNDER.format(table), (session,))]
        while waiting:
            event = waiting.pop()
            if event is not None and f"{session}/{event}" not in found:
                found.add(f"{session}/{event}")
                with suppress(UsageError):  # its record was lost
                    waiting.append(get_event(self._db, session, event)["parent"])
        return found

    def call(self, name: str) -> Row | None:
        """The call of that SESSION/EVENT; None: it is none."""
        session, _, event = name.partition("/")
        return next((call for call in self.of_event(session, event) if call["event"] == name), None)

    def of_event(self, session: str, event: str) -> list[Row]:
        """As `Work.of_event`."""
        return self.of(session).of_event(session, event) if self._is_any else []


def headline(call: Row) -> str:
    """`Bash: npm test`, `Edit: src/a.py`, or the tool alone."""
    about = call["command"] or ", ".join(call["paths"] or ())
    return f"{call['tool']}: {about}" if about else str(call["tool"])


def owner_of(edit: Row) -> str | None:
    """SESSION/EVENT of the command or call that an edit stands under; None: that is not known."""
    if edit["parent"]:
        return f"{edit['session']}/{edit['parent']}"
    named = list(edit["data"].get("candidates") or [])
    known = edit["data"].get("attribution") in ("command", "tool")
    return str(named[0]) if known and len(named) == 1 else None


def _ends(calls: Sequence[Row]) -> dict[str, int]:
    """Until when each call may have run, by its event: one whose end was not told, until the next began."""
    until: dict[str, int] = {}
    following: dict[tuple[Any, ...], int] = {}
    for call in reversed(calls):
        speaker = (call["agent"], call["native"], call["subagent"])
        is_told = call["ended_us"] is not None
        until[call["event"]] = call["ended_us"] if is_told else following.get(speaker, _OPEN)
        following[speaker] = call["started_us"]
    return until


def _compare(call: Row, rows: Sequence[Row]) -> None:
    """Put what really ran beside the claim, and name what differs."""
    wanted = same_words(call["command"])
    rows = sorted(rows, key=lambda row: (same_words(_text(row)) != wanted, row["started_us"]))
    call["ran"] = [
        {"event": _name(row), "command": row["data"].get("command"), "exit_code": row["exit_code"]}
        for row in rows
    ]
    truth = rows[0]
    found = dict.fromkeys(call["differs"])
    if truth["data"].get("command") is not None and same_words(_text(truth)) != wanted:
        found["command"] = None
    code = truth["exit_code"]
    if code is not None and call["exit_code"] is not None and code != call["exit_code"]:
        found["exit_code"] = None
    elif code and call["exit_code"] is None and call["status"] == "ok":
        found["status"] = None  # it was said to have gone well
    call["differs"] = list(found)


def _add_edit(call: Row, edit: Row, paths: Iterable[str], how: str) -> None:
    call["edits"].append({"event": _name(edit), "paths": list(paths), "confidence": how})


def _changes(edit: Row) -> list[Row]:
    return [change for change in edit["data"].get("changes") or () if change.get("path") is not None]


def _name(row: Row) -> str:
    return f"{row['session']}/{row['id']}"


def _text(row: Row) -> str:
    return str(row["data"].get("command") or "")


def _given(call: Row) -> list[str]:
    """The lines of all texts that a call was given to write, as they may stand in a file or in a patch."""
    try:
        waiting: list[Any] = [json.loads(call["input"] or "null")]
    except (ValueError, RecursionError):  # its middle is not kept
        waiting = [call["input"]]
    found: list[str] = []
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            found += [line.strip() for line in value.split("\n")]
        elif isinstance(value, dict | list):
            waiting += _new_values(value) if isinstance(value, dict) else value
    return found + [line[1:].strip() for line in found if line.startswith("+")]


def _new_values(value: Row) -> list[Any]:
    """Without what shall be replaced: `old_string`, `oldText`."""
    return [one for name, one in value.items() if not str(name).lower().startswith("old")]


def _writes(call: Row, path: str) -> bool:
    """Whether it is of an edit tool, and says that it writes a file of that name."""
    name = path.rpartition("/")[2]
    is_named = any(claimed.rpartition("/")[2] == name for claimed in call["paths"] or ())
    return is_named and call["does"] not in _NO_EDITS


def relative(path: str, root: str, here: str) -> str | None:
    """A claimed path seen from the working tree; None: it lies outside."""
    found = _inside(path, root, here or root)
    return None if found is None else os.fsdecode(found)


def _inside(path: str, root: str, here: str) -> bytes | None:
    try:
        return inside(root, path, here)
    except ValueError:  # no name of a file: it holds a NUL
        return None
