"""The questions that a model may ask of a store: sessions, events, and what was searched for.

Each is a plain function of an open store and arguments that were checked: it gives an `Answer`, in which
every recorded text is masked once more by what is known now. What the answer becomes in bytes is fitted by
fitting.py.

Lives here: `Asked`, `Answer`, lists. Not here: one event, its output and its diff (answers_event.py),
lines and coverage (answers_lines.py), the tools' names and schemas (tools.py).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from devtrace.config import parse_agent
from devtrace.errors import UsageError
from devtrace.query.events import last_seq, list_running
from devtrace.query.filters import Filters, parse_actor, parse_time
from devtrace.query.ids import resolve_session, short
from devtrace.query.pages import events_page, place_of_event, place_of_session, sessions_page
from devtrace.query.search import Found, search
from devtrace.services.mcp_server.cursor import Desk, outdated
from devtrace.views.for_models import event_line, match_line, moment, quoted, session_line
from devtrace.views.words import count, place
from devtrace.workspace import Workspace

Row = dict[str, Any]
Arguments = Mapping[str, Any]

_SHORTEST = 8  # digits of an id in a text: it is repeated while others are recorded
_TITLE = 300
_MOST_RUNNING = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Of which store, by which tool, with which arguments, and for how long there is patience."""

    db: sqlite3.Connection
    workspace: Workspace
    tool: str
    arguments: Arguments
    desk: Desk
    mask: Callable[[Any], Any]  # every text in a JSON-like value without the secrets that are known now
    now_us: int
    found: dict[str, Any] = field(default_factory=dict)  # by earlier questions, and still true
    patience_s: float = 0.03  # for a page of rows that are hard to find
    begun: float = field(default_factory=time.monotonic)

    def is_over(self) -> bool:
        """Whether a page shall end with what it has."""
        return time.monotonic() - self.begun > self.patience_s

    def place(self) -> Row | None:
        """What the cursor says; None: it is the first page. Raises UsageError ERR_CURSOR."""
        cursor = self.arguments.get("cursor")
        return None if cursor is None else self.desk.take_back(cursor)

    @property
    def store(self) -> str:
        """The store's name in a sentence; where it is on the disk is nobody's business."""
        return quoted(self.workspace.root.name or "/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is told, before it is fitted into so many bytes. Recorded texts are masked, not yet escaped."""

    told: Row  # the structured answer without its rows
    head: Callable[[int], Sequence[str]]  # our own lines above the text, by how many rows are shown
    name: str = ""  # under which the rows stand in the structured answer; "": there are none
    rows: Sequence[Row] = ()
    lines: Callable[[Row], Sequence[str]] = lambda _row: ()  # of a row
    cursor: Callable[[int], str | None] = lambda _shown: None  # behind so many rows
    body: Sequence[str] = ()  # recorded lines besides
    rest: str = ""  # what to do where the answer had to be cut
    links: Sequence[tuple[str, str, str]] = ()  # URI, name and media type of what is too big for an answer


# --- sessions -------------------------------------------------------------------------------------------


def list_sessions(asked: Asked) -> Answer:
    """The sessions that pass the filters, the newest first."""
    state, wanted = asked.place(), filters_of(asked)
    after = None if state is None else tuple(state["k"])
    page = sessions_page(asked.db, wanted, limit=asked.arguments["limit"], after=after)
    shown = short(asked.db, [row["id"] for row in page.rows])
    rows = [session_row(asked, row, shown) for row in page.rows]

    def cursor(number: int) -> str | None:
        if number == len(rows) and page.after is None:
            return None
        at = page.after if number == len(rows) else place_of_session(page.rows[number - 1])
        return asked.desk.hand_out({"k": at, **meant(wanted)})

    return Answer(
        told={},
        head=lambda number: [f"{count(number, 'session')} of the store {asked.store}, newest first."],
        name="sessions",
        rows=rows,
        lines=lambda row: [session_line(row | {"id": row["short"]})],
        cursor=cursor,
    )


def session_row(asked: Asked, row: Row, shown: Mapping[str, str]) -> Row:
    """A session as a model is told of it; what is not known is left out."""
    started, ended = row["started_us"], row["ended_us"]
    return known(
        id=row["id"],
        short=shortened(shown, row["id"]),
        kind=row["kind"],
        status=row["status"],
        agent=row["agent"],
        actor=row["actor"],
        title=_masked(asked, row["title"]) or None,
        started=stamp(started),
        ended=None if ended is None else stamp(ended),
        duration_ms=None if ended is None else max(ended - started, 0) // 1000,
        events=row["n_events"],
        failed=row["n_failed"],
        exit_code=row["exit_code"],
        branch=_masked(asked, row["branch"]) or None,
        head_start=row["head_start"],
        head_end=row["head_end"],
        shell=row["shell"] or None,
        cwd=_where(asked, row["cwd"]),
        parent=row["parent_session"],
    )


# --- events ---------------------------------------------------------------------------------------------


def list_events(asked: Asked) -> Answer:
    """The events that pass the filters; what runs comes first, on the first page."""
    state, wanted = asked.place(), filters_of(asked, with_kinds=True)
    upto = last_seq(asked.db) if state is None else int(state["u"])
    if upto > last_seq(asked.db):
        raise outdated()
    page = events_page(
        asked.db,
        wanted,
        limit=asked.arguments["limit"],
        upto=upto,
        after=None if state is None else tuple(state["k"]),
        is_oldest_first=asked.arguments["order"] == "oldest",
        is_over=asked.is_over,
    )
    running = list_running(asked.db, wanted)[::-1] if state is None else []
    shown = short(asked.db, [row["id"] for row in (*page.rows, *running[:_MOST_RUNNING])])
    rows = [event_row(asked, row, shown) for row in page.rows]

    def cursor(number: int) -> str | None:
        if number == len(rows) and page.after is None:
            return None
        at = page.after if number == len(rows) else place_of_event(page.rows[number - 1], wanted)
        return asked.desk.hand_out({"u": upto, "k": at, **meant(wanted)})

    now = [event_row(asked, row, shown) for row in running[:_MOST_RUNNING]]
    return Answer(
        told={"running": now} if now else {},
        head=lambda number: _events_head(asked, wanted, number, len(running), is_short=page.is_short),
        body=[event_line(row) for row in now],
        name="events",
        rows=rows,
        lines=lambda row: [event_line(row)],
        cursor=cursor,
    )


def _events_head(asked: Asked, wanted: Filters, number: int, running: int, *, is_short: bool) -> list[str]:
    whose = f"session {wanted.session}" if wanted.session else "all sessions"
    order = f"{asked.arguments['order']} first"
    lines = [f"{count(number, 'event')} of {whose} in the store {asked.store}, {order}."]
    if running:
        lines.append(f"Above them {count(running, 'event')} that run{'s' if running == 1 else ''} now.")
    if is_short:
        lines.append("Few fit, and a part of the store is left to look at: go on with the cursor.")
    return lines


def event_row(asked: Asked, row: Row, shown: Mapping[str, str]) -> Row:
    """An event as one line of a list."""
    started, ended = row["started_us"], row["ended_us"]
    output = row["data"].get("output") if row["kind"] == "run_command" else None
    return known(
        id=row["id"],
        short=shortened(shown, row["id"]),
        session=row["session"],
        kind=row["kind"],
        status=row["status"],
        actor=row["actor"],
        source=row["source"],
        started=stamp(started),
        duration_ms=None if ended is None else max(ended - started, 0) // 1000,
        title=cut(_masked(asked, row["title"]), _TITLE),
        exit_code=row["exit_code"],
        cwd=_where(asked, row["cwd"]),
        parent=row["parent"],
        output_bytes=output.get("seen") if isinstance(output, dict) else None,
    )


# --- what was searched for ----------------------------------------------------------------------------------


def search_commands(asked: Asked) -> Answer:
    """What is recorded of some words, the best matches first.

    Where a page does not fit, its cursor is of the same page, and says how many of it were shown.
    """
    state, wanted = asked.place() or {}, filters_of(asked, with_kinds=True)
    query, limit = asked.arguments["query"], int(state.get("l") or asked.arguments["limit"])
    found = search(asked.db, query, wanted, limit=limit, after=state.get("a"))
    shown_before = min(int(state.get("n") or 0), len(found.hits))
    hits = found.hits[shown_before:]
    shown = short(asked.db, [row["id"] for row in hits])

    def cursor(number: int) -> str | None:
        if number == len(hits):
            left = int(state.get("n") or 0) - shown_before  # the page ended earlier than when it was shown
            place = known(a=found.after, n=left or None, l=limit if left else None)
            return None if found.after is None else asked.desk.hand_out({**place, **meant(wanted)})
        place = {"a": state.get("a") or {"of": found.of}, "n": shown_before + number, "l": limit}
        return asked.desk.hand_out({**place, **meant(wanted)})

    return Answer(
        told=known(
            missing=found.missing or None, not_searched=found.n_left_out or None, is_cut=found.is_cut or None
        ),
        head=lambda number: _search_head(asked, number, found),
        name="matches",
        rows=[_match_row(asked, row, shown) for row in hits],
        lines=lambda row: [match_line(row)],
        cursor=cursor,
    )


def _search_head(asked: Asked, number: int, found: Found) -> list[str]:
    lines = [f"{count(number, 'match', 'matches')} in the store {asked.store}, the best first."]
    if found.missing:
        lines.append(f"Nothing that fits has: {', '.join(quoted(term, 60) for term in found.missing)}.")
    if found.n_left_out:
        about = count(found.n_left_out, "event")
        lines.append(f"About {about} could not be searched yet: they are being indexed, ask again later.")
    return lines


def _match_row(asked: Asked, row: Row, shown: Mapping[str, str]) -> Row:
    excerpt = cut(_masked(asked, row["snippet"]), _TITLE)
    return event_row(asked, row, shown) | known(
        field=row["where"], excerpt=excerpt or None, missing=row["missing"] or None, how=row["how"]
    )


# --- what is narrowed by --------------------------------------------------------------------------------


def filters_of(asked: Asked, *, with_kinds: bool = False) -> Filters:
    """The arguments as `Filters`; on a later page relative times mean what they meant on the first.

    Raises UsageError ERR_FILTER, ERR_EVENT_KIND, ERR_AGENT_UNKNOWN, ERR_ID_UNKNOWN or ERR_ID_AMBIGUOUS.
    """
    given, state = asked.arguments, asked.place()
    kinds = tuple(dict.fromkeys(name.strip() for name in given.get("kinds") or ()))
    if with_kinds:
        _check_kinds(asked.db, kinds)
    if state is None:
        told = {name: read(asked, given[name]) for name, read in _MEANINGS.items() if name in given}
    else:
        told = {name: state[name] for name in _MEANINGS if name in state}
    since, until = told.get("since"), told.get("until")
    if since is not None and until is not None and since > until:
        raise UsageError("since lies after until", code="ERR_FILTER", hint="exchange the two")
    return Filters(
        kinds=kinds,
        agent=None if given.get("agent") is None else parse_agent(given["agent"]),
        actor=None if given.get("actor") is None else parse_actor(given["actor"]),
        since_us=since,
        until_us=until,
        failed=bool(given.get("failed")),
        path=None if given.get("path") is None else str(asked.workspace.root / given["path"]),
        session=told.get("session"),
    )


def _time(asked: Asked, text: str) -> int:
    return parse_time(text, asked.now_us)


def _session(asked: Asked, prefix: str) -> str:
    return resolve_session(asked.db, prefix)


# Arguments that may mean something else by the time of the next page: a cursor says what they meant.
_MEANINGS: dict[str, Callable[[Asked, str], Any]] = {"since": _time, "until": _time, "session": _session}


def meant(wanted: Filters) -> Row:
    """What a cursor has to say of the filters."""
    return known(since=wanted.since_us, until=wanted.until_us, session=wanted.session)


def _check_kinds(db: sqlite3.Connection, kinds: Iterable[str]) -> None:
    for kind in kinds:
        if db.execute("SELECT 1 FROM events WHERE kind = ? LIMIT 1", (kind,)).fetchone():
            continue
        from devtrace.events import KINDS

        if kind not in KINDS:
            raise UsageError(
                f"unknown event kind {kind!r}",
                code="ERR_EVENT_KIND",
                hint=f"use one of {', '.join(sorted(KINDS))}",
                context={"kind": kind},
            )


# --- parts of rows --------------------------------------------------------------------------------------


def known(**fields: Any) -> Row:
    """The fields that are known: a null tells a model nothing, and costs it words."""
    return {name: value for name, value in fields.items() if value is not None}


def stamp(microseconds: int) -> str:
    """`2026-11-21T14:03:12.345Z`."""
    return f"{moment(microseconds)[:-1]}.{microseconds % 1_000_000 // 1000:03d}Z"


def shortened(shown: Mapping[str, str], identity: str) -> str:
    """The start of an id that is unique, and a little more."""
    return identity[: max(len(shown.get(identity, identity)), _SHORTEST)]


def cut(text: str, most: int) -> str:
    """A text, of a long one its start."""
    return text if len(text) <= most else f"{text[:most]}…"


def _masked(asked: Asked, text: str | None) -> str:
    return str(asked.mask(text)) if text else ""


def _where(asked: Asked, directory: str | None) -> str | None:
    """A directory, seen from the store's where it lies below."""
    return None if not directory else _masked(asked, place(directory, str(asked.workspace.root)))
