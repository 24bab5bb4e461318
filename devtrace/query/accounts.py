"""What agents say that they did: each tool call once, under its prompt, with the reason that was stated.

A hook and a transcript tell of the same call in their own words, each as an event of its own. Where both name
the call's id that joins them, else the same tool with the same input does, the n-th with the n-th.

Lives here: `Told`, `Accounts`, `told_once`. Not here: what really ran and changed (agents.py), the clients'
formats (sources/agents/).
"""

from __future__ import annotations

import json
import os
import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from devtrace.query.events import get_event, list_events, with_late_ends
from devtrace.query.filters import Filters
from devtrace.query.window import Window, is_cut, window_of

Row = dict[str, Any]
Client = tuple[str, str]  # the agent, and its own id of its session

KINDS = ("prompt", "assistant_message", "tool_call")
HOOK, TRANSCRIPT = "hook", "transcript"
# Fields of the event that a call is told with, by the first channel that tells them.
_TOLD = (
    "agent", "native", "call", "turn", "subagent", "starts", "tool", "does", "command", "paths", "input",
    "result", "exit_code", "interrupted", "model", "cwd",
)  # fmt: skip
CALL = (
    "session", "event", "events", "told_by", "started_us", "ended_us", "status", *_TOLD, "prompts", "reason",
    "ran", "edits", "differs",
)  # fmt: skip
_EMPTY = dict.fromkeys(CALL)
_ENDED = ("ok", "failed")
_MOST_INSIDE = 20  # subagents that were started by subagents


class Accounts:
    """The tool calls of a session, or of the whole store, as they were told."""

    def __init__(self, db: sqlite3.Connection, session: str | None = None, rows: Sequence[Row] | None = None):
        """`rows`: what was told, as `Told` tells it."""
        rows = Told(db).rows(session) if rows is None else rows
        self.parents = {
            f"{row['session']}/{row['id']}": f"{row['session']}/{row['parent']}" if row["parent"] else None
            for row in rows
        }
        self._prompts = _prompts(rows)
        self._spoken = _spoken(rows)
        self._batch = {event: at for spoken in self._spoken.values() for event, at in _batches(spoken)}
        self._groups = _grouped([row for row in rows if row["kind"] == "tool_call"])
        self.calls = sorted(map(_merged, self._groups), key=lambda call: int(call["started_us"]))
        self._starters = {call["starts"]: call for call in self.calls if call["starts"]}
        by_event = {f"{rows[0]['session']}/{rows[0]['id']}": rows for rows in self._groups}
        for call in self.calls:
            call["prompts"] = [_brief(row) for row in self._all_prompts(call)]
            call["reason"] = self._reason(by_event[call["event"]])

    # --- the prompt -----------------------------------------------------------------------------------------

    def _all_prompts(self, call: Row) -> list[Row]:
        """What the call was told by: its own agent's prompt, then those around it, the person's last."""
        found: list[Row] = []
        seen: set[str | None] = set()
        at: Row | None = call
        while at is not None and at["subagent"] not in seen and len(found) < _MOST_INSIDE:
            seen.add(at["subagent"])
            found += self._prompt(at)
            is_inside = at["subagent"] is not None
            at = self._starters.get(at["subagent"], at | {"subagent": None}) if is_inside else None
        return found

    def _prompt(self, call: Row) -> list[Row]:
        """The newest prompt before the call, of its own turn where the client counts turns."""
        by_turn = self._prompts.get((call["agent"], call["native"], call["subagent"]), {})
        turn = call["turn"]
        same = by_turn.get(turn, []) if turn is not None else []
        if not same and call["subagent"] is None and turn is not None and len(by_turn) > 1:
            return []  # it was told in a turn whose prompt is not recorded
        known = same or by_turn.get(None, [])
        at = bisect_right(known, call["started_us"], key=lambda row: int(row["started_us"]))
        return known[at - 1 : at] if at else same[:1]

    # --- the reason -----------------------------------------------------------------------------------------

    def _reason(self, rows: Sequence[Row]) -> Row | None:
        """What was said last before the call and after the one before it. The transcript has the order."""
        for channel in (TRANSCRIPT, HOOK):
            for row in rows:
                said = self._said_before(row) if row["source"] == channel else None
                if said is not None:
                    return _brief(said)
        return None

    def _said_before(self, row: Row) -> Row | None:
        spoken = self._spoken[_speaker(row)]
        for at in range(bisect_right(spoken, _order(row), key=_order) - 1, -1, -1):
            earlier = spoken[at]
            if self._batch.get(earlier["id"]) == self._batch[row["id"]]:
                continue
            turns = {_turn_of(earlier), _turn_of(row)} - {None}
            is_reason = earlier["kind"] == "assistant_message" and len(turns) < 2
            return earlier if is_reason else None
        return None


def told_once(rows: Sequence[Row]) -> list[Row]:
    """The rows as people read them: what a hook and a transcript tell is one row, the hook's.

    A call has what either of the two knows of its end. The record keeps both.
    """
    over: set[tuple[str, str]] = set()
    better: dict[tuple[str, str], Row] = {}
    for group in _grouped([row for row in rows if row["kind"] == "tool_call"]):
        first, others = group[0], group[1:]
        call = _merged(group)
        over.update((row["session"], row["id"]) for row in others)
        if others:
            better[first["session"], first["id"]] = first | {
                name: call[name] for name in ("started_us", "ended_us", "status", "exit_code")
            }
    for group in _twins([row for row in rows if row["kind"] in ("prompt", "assistant_message")]):
        over.update((row["session"], row["id"]) for row in group[1:])
    left = [row for row in rows if (row["session"], row["id"]) not in over]
    return [better.get((row["session"], row["id"]), row) for row in left]


# --- reading --------------------------------------------------------------------------------------------


class Told:
    """What clients told in the sessions of a store, each read once."""

    def __init__(self, db: sqlite3.Connection):
        self._db = db
        self._clients: dict[str, frozenset[Client]] = {}

    def rows(self, session: str | None) -> list[Row]:
        """What was told in a session, and elsewhere of its clients at that time; None: in all sessions."""
        rows = self._of(session)
        if session is None or not rows:
            return rows
        clients, others = self._others(session, rows)
        for other in others:
            rows += [row for row in self._of(other) if _client(row) in clients]
        return sorted(rows, key=_order)

    def part(self, session: str, since_us: int, until_us: int) -> tuple[Window, list[Row]] | None:
        """As much of a long session as the calls of that time lead to; None: all of it."""
        window = window_of(self._db, session, since_us, until_us)
        if window is None:
            return None
        inside = Filters(kinds=KINDS, session=session, since_us=window.since_us, until_us=window.until_us)
        before = Filters(kinds=("prompt",), session=session, until_us=window.since_us - 1)
        rows = [*list_events(self._db, before), *list_events(self._db, inside)]
        rows += [get_event(self._db, session, event) for event in window.running]
        rows.sort(key=_order)
        is_whole = self._others(session, rows)[1] or is_cut(self._db, session, window, rows, since_us)
        return None if is_whole else (window, rows)

    def _others(self, session: str, rows: Sequence[Row]) -> tuple[set[Client], list[str]]:
        """The clients of the rows, and the sessions in which they spoke too at that time."""
        clients = {_client(row) for row in rows}
        if not rows:
            return clients, []
        first = min(row["started_us"] for row in rows)
        last = max(row["ended_us"] or row["started_us"] for row in rows)
        others = [
            other
            for other, (since_us, until_us) in self._spans.items()
            if other != session and since_us <= last and until_us >= first
        ]
        return clients, [other for other in others if self._clients_of(other) & clients]

    def _of(self, session: str | None) -> list[Row]:
        rows = with_late_ends(self._db, list_events(self._db, Filters(kinds=KINDS, session=session)))
        return sorted(rows, key=_order)

    @cached_property
    def _spans(self) -> dict[str, tuple[int, int]]:
        """When the first and the last thing that was told in each session began."""
        marks = ", ".join("?" * len(KINDS))
        found: dict[str, tuple[int, int]] = {}
        for table in ("events", "running"):
            select = f"SELECT session, min(started_us), max(started_us) FROM {table} WHERE kind IN ({marks})"
            for session, first, last in self._db.execute(f"{select} GROUP BY session", KINDS):
                before = found.get(session, (first, last))
                found[session] = (min(first, before[0]), max(last, before[1]))
        return found

    def _clients_of(self, session: str) -> frozenset[Client]:
        if session not in self._clients:
            marks, found = ", ".join("?" * len(KINDS)), set[Client]()
            for table in ("events", "running"):
                rows = self._db.execute(
                    "SELECT DISTINCT json_extract(data, '$.agent'), json_extract(data, '$.native')"
                    f" FROM {table} WHERE session = ? AND kind IN ({marks})",
                    (session, *KINDS),
                )
                found.update((str(agent), str(native)) for agent, native in rows)
            self._clients[session] = frozenset(found)
        return self._clients[session]


def _order(row: Row) -> tuple[int, int]:
    return row["started_us"], row["seq"] or 1 << 62


def _client(row: Row) -> Client:
    return str(row["data"].get("agent")), str(row["data"].get("native"))


def _turn_of(row: Row) -> str | None:
    turn: str | None = row["data"].get("turn")
    return turn


def _speaker(row: Row) -> tuple[str, Client, str | None]:
    return row["source"], _client(row), row["data"].get("subagent")


def _prompts(rows: Iterable[Row]) -> dict[tuple[str, str, str | None], dict[str | None, list[Row]]]:
    """By client and subagent: its prompts by their turns, and all of them under None, in their order."""
    found: dict[tuple[str, str, str | None], dict[str | None, list[Row]]] = {}
    for row in rows:
        if row["kind"] == "prompt":
            by_turn = found.setdefault((*_client(row), row["data"].get("subagent")), {None: []})
            by_turn[None].append(row)
            if (turn := _turn_of(row)) is not None:
                by_turn.setdefault(turn, []).append(row)
    return found


def _spoken(rows: Iterable[Row]) -> dict[tuple[str, Client, str | None], list[Row]]:
    """By channel, client and subagent: its messages and calls, in their order."""
    found: dict[tuple[str, Client, str | None], list[Row]] = defaultdict(list)
    for row in rows:
        if row["kind"] != "prompt":
            found[_speaker(row)].append(row)
    return found


def _batches(spoken: Iterable[Row]) -> Iterator[tuple[str, str]]:
    """Each call with the first of those that ran when it did: they were decided at once, for one reason."""
    first, until_us, is_open = "", -1, False
    for row in spoken:
        if row["kind"] != "tool_call":
            continue
        runs = row["ended_us"] is None
        if row["started_us"] >= until_us and not (runs and is_open):
            first, until_us, is_open = row["id"], -1, False
        is_open = is_open or runs
        until_us = until_us if runs else max(until_us, row["ended_us"])
        yield row["id"], first


# --- joining two channels -------------------------------------------------------------------------------


def _grouped(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each call, the hook's first."""
    named: dict[object, list[Row]] = defaultdict(list)
    for row in rows:
        call = row["data"].get("call")
        named[(*_client(row), call) if call else (row["session"], row["id"])].append(row)
    whole = [group for group in named.values() if len({row["source"] for row in group}) > 1]
    alone = [group for group in named.values() if len({row["source"] for row in group}) == 1]
    by_input: dict[object, list[list[Row]]] = defaultdict(list)
    counted: dict[object, int] = defaultdict(int)
    channels: dict[Client, set[str]] = defaultdict(set)
    for group in alone:
        channels[_client(group[0])].add(group[0]["source"])
    for group in alone:
        first = group[0]
        if len(channels[_client(first)]) == 1:  # nobody else tells of it
            whole.append(group)
            continue
        same = (_client(first), first["data"].get("tool"), _canonical(first["data"].get("input")))
        counted[same, first["source"]] += 1
        by_input[same, counted[same, first["source"]]].append(group)
    for groups in by_input.values():
        whole += _paired(groups)
    return [sorted(group, key=lambda row: row["source"] != HOOK) for group in whole]


def _paired(groups: list[list[Row]]) -> list[list[Row]]:
    """One group, where the two channels tell of the same call and at most one of them has its id."""
    calls = {row["data"].get("call") for group in groups for row in group} - {None}
    return [[row for group in groups for row in group]] if len(calls) < 2 else groups


def _twins(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each prompt or message that both channels tell, the hook's first: the n-th of a text."""
    counted: dict[object, int] = defaultdict(int)
    found: dict[object, list[Row]] = defaultdict(list)
    for row in rows:
        data = row["data"]
        same = (row["kind"], _client(row), data.get("subagent"), str(data.get("text")).strip())
        counted[same, row["source"]] += 1
        found[same, counted[same, row["source"]]].append(row)
    return [sorted(group, key=lambda row: row["source"] != HOOK) for group in found.values()]


def _merged(rows: Sequence[Row]) -> Row:
    """A record of one call, by the names of `CALL`, without what the truth adds to it."""
    first = rows[0]
    if len(rows) == 1:
        return _call(
            first, {name: first["data"].get(name) for name in _TOLD}, rows, first, first["status"], []
        )
    timed = next((row for row in rows if row["ended_us"] is not None), first)
    timed = next((row for row in rows if (row["ended_us"] or 0) > row["started_us"]), timed)
    ended = [row for row in rows if row["status"] in _ENDED]
    ended.sort(
        key=lambda row: row["data"].get("exit_code") is None
    )  # who tells the status knows how it ended
    told = {name: _first(row["data"].get(name) for row in rows) for name in _TOLD}
    return _call(first, told, rows, timed, (ended or rows)[0]["status"], _differences(rows))


def _call(first: Row, told: Row, rows: Sequence[Row], timed: Row, status: str, differs: list[str]) -> Row:
    return {
        **_EMPTY,
        **told,
        "session": first["session"],
        "event": f"{first['session']}/{first['id']}",
        "events": [f"{row['session']}/{row['id']}" for row in rows],
        "told_by": list(dict.fromkeys(row["source"] for row in rows)),
        "started_us": timed["started_us"],
        "ended_us": timed["ended_us"],
        "status": status,
        "interrupted": any(row["data"].get("interrupted") for row in rows),
        "edits": [],
        "differs": differs,
    }


def _first(values: Iterable[Any]) -> Any:
    return next((value for value in values if value is not None), None)


def _differences(rows: Sequence[Row]) -> list[str]:
    """The fields in which the channels disagree. Each has its own names of tools and forms of results."""
    found = []
    for name, read in _COMPARED.items():
        told = [value for value in map(read, rows) if value is not None]
        if any(value != told[0] for value in told[1:]):
            found.append(name)
    tools = {row["data"].get("tool") for row in rows}
    if not any(_command(row) or _paths(row) for row in rows) and len(tools) == 1:
        inputs = {_canonical(row["data"].get("input")) for row in rows if not row["data"].get("truncated")}
        found += ["input"] if len(inputs) > 1 else []
    return found


def _paths(row: Row) -> list[str] | None:
    paths = row["data"].get("paths")
    here = row["data"].get("cwd") or row["cwd"] or ""
    return None if not paths else sorted({os.path.normpath(os.path.join(here, path)) for path in paths})  # noqa: PTH118


def _command(row: Row) -> str | None:
    command = row["data"].get("command")
    return None if command is None else same_words(command)


_COMPARED = {
    "command": _command,
    "paths": _paths,
    "exit_code": lambda row: row["data"].get("exit_code"),
    "status": lambda row: row["status"] if row["status"] in _ENDED else None,
}


def same_words(command: str) -> str:
    """A command in the form in which two are compared: blanks and line ends do not count."""
    return " ".join(command.split())


def _canonical(told: str | None) -> str:
    """An input in the form in which two are compared: the order of its keys does not count."""
    try:
        return json.dumps(json.loads(told or ""), sort_keys=True)
    except (ValueError, RecursionError):
        return told or ""


def _brief(row: Row) -> Row:
    """A prompt or a message as it is quoted."""
    return {
        "session": row["session"],
        "event": row["id"],
        "when_us": row["started_us"],
        "subagent": row["data"].get("subagent"),
        "text": str(row["data"].get("text") or ""),
    }
