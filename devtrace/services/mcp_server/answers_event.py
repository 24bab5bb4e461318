"""The questions about one event or session: all of it, what it printed, what it changed.

Lives here: `get_event`, `get_output`, `get_diff`. Not here: lists of events (answers.py), who wrote a
line (answers_lines.py).
"""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from devtrace.errors import UsageError
from devtrace.query import events
from devtrace.query.agents import Works
from devtrace.query.diff import Net, NetFile, inside, narrowed, net, select
from devtrace.query.ids import Found, resolve, short
from devtrace.query.output import has_output, output
from devtrace.query.sessions import get_session
from devtrace.services.mcp_server.answers import Answer, Asked, event_row, known, stamp
from devtrace.services.mcp_server.paths import base_of
from devtrace.store.checkpoints.objects import Objects, open_objects
from devtrace.views import diff as diff_view
from devtrace.views.agents import ids_of
from devtrace.views.event import event_lines
from devtrace.views.for_models import escaped, file_lines, quoted
from devtrace.views.output import plain
from devtrace.views.patch import patches_of
from devtrace.views.timeline import Reader
from devtrace.views.words import count

Row = dict[str, Any]

_MOST_AROUND = 20
_MOST_INSIDE = 20
_MOST_CALLS = 5
_MOST_UNSURE = 20
_MOST_EDITS = 5  # that are named of one file, the newest
_OVERHEAD = 1_500  # bytes of an answer besides the text that is cut to fit
_NAMINGS = 3  # times that a changed file's name stands in each form of an answer, its cursor included
_OF_A_FILE = 250  # bytes of a changed file besides name and patch
_LEAST_PATCH = 300
_INSIDE = "SELECT id FROM {} WHERE session = ? AND parent = ? ORDER BY started_us LIMIT ?"


def uri_of(session: str, event: str | None = None) -> str:
    """The resource that a session or an event is."""
    return f"devtrace://session/{session}" if event is None else f"devtrace://event/{session}/{event}"


def reader_of(asked: Asked) -> Reader:
    """Who reads what was laid out for people: nobody's terminal."""
    return Reader(now_us=asked.now_us, width=None)


# --- one event ------------------------------------------------------------------------------------------


def get_event(asked: Asked) -> Answer:
    """All that is known of one event."""
    found = event_of(asked)
    row = events.with_late_end(asked.db, events.get_event(asked.db, found.session, str(found.event)))
    row = row | {"title": asked.mask(row["title"]), "data": asked.mask(row["data"])}
    around, below = _around(asked.db, row), _inside(asked.db, found)
    calls = _calls(asked, found) if asked.arguments.get("explain") else []
    session = get_session(asked.db, found.session)
    shown = short(asked.db, [*(one["id"] for one in (row, *around, *below)), session["id"], *ids_of(calls)])
    printed = has_output(asked.db, row)
    lines = event_lines(row, session, below[:_MOST_INSIDE], shown, reader_of(asked), calls)
    uri = uri_of(found.session, found.event)
    told = known(
        event=_in_full(asked, row, shown),
        around=[event_row(asked, one, shown) for one in around],
        inside=[event_row(asked, one, shown) for one in below[:_MOST_INSIDE]],
        has_more_inside=len(below) > _MOST_INSIDE,
        has_output=printed,
        calls=calls if asked.arguments.get("explain") else None,
        uri=uri,
    )
    return Answer(
        told=told,
        head=lambda _number: _event_head(asked, found, printed=printed),
        body=["".join(text for text, _ in line) for line in lines],
        rest="get_output reads its output, get_diff its changes; max_bytes lets more through.",
        links=[(uri, f"event {found.event}", "application/json")] if printed else [],
    )


def _event_head(asked: Asked, found: Found, *, printed: bool) -> list[str]:
    line = f"Event {found.event} of session {found.session} in the store {asked.store}."
    return [line, *(["What it printed: get_output with this id."] if printed else [])]


def _in_full(asked: Asked, row: Row, shown: dict[str, str]) -> Row:
    brief = event_row(asked, row, shown)
    ended = row["ended_us"]
    return brief | known(
        title=row["title"],
        ended=None if ended is None else stamp(ended),
        seq=row["seq"],
        exit_source=row["exit_source"],
        trusted=row["trusted"],
        hash=row["hash"],
        data=row["data"],
    )


def _around(db: sqlite3.Connection, row: Row) -> list[Row]:
    """What an event happened in, the outermost last. Parents come from guests: circles end."""
    found: list[Row] = []
    seen = {row["id"]}
    while row["parent"] and row["parent"] not in seen and len(found) < _MOST_AROUND:
        seen.add(row["parent"])
        try:
            row = events.get_event(db, row["session"], row["parent"])
        except UsageError:  # its record was lost
            break
        found.append(row)
    return found


def _inside(db: sqlite3.Connection, found: Found) -> list[Row]:
    """What happened directly under it: the first of them, and one more where there are more."""
    names = [
        name
        for table in ("events", "running")
        for (name,) in db.execute(_INSIDE.format(table), (*found, _MOST_INSIDE + 1)).fetchall()
    ]
    rows = [events.get_event(db, found.session, name) for name in dict.fromkeys(names)]
    return sorted(rows, key=lambda row: int(row["started_us"]))


def _calls(asked: Asked, found: Found) -> list[Row]:
    """The agent's tool calls that it is of, with prompt and reason."""
    if "works" not in asked.found:
        asked.found["works"] = Works(asked.db)
    works: Works = asked.found["works"]
    calls: list[Row] = asked.mask(works.of_event(found.session, str(found.event))[:_MOST_CALLS])
    return calls


def event_of(asked: Asked) -> Found:
    """The event that the argument `id` means. Raises UsageError ERR_ID_UNKNOWN or ERR_ID_AMBIGUOUS."""
    prefix = asked.arguments["id"]
    found = resolve(asked.db, prefix)
    if found.event is None:
        raise UsageError(
            f"{prefix} is a session, not an event",
            code="ERR_ID_UNKNOWN",
            hint="list_events with that session lists its events",
        )
    return found


# --- what it printed ------------------------------------------------------------------------------------


def get_output(asked: Asked) -> Answer:
    """A part of what a command printed, or of what a tool's call is said to have given."""
    found = event_of(asked)
    row = events.with_late_end(asked.db, events.get_event(asked.db, found.session, str(found.event)))
    source, text, info = _printed(asked, row)
    start, end = _part(text, asked)
    told = known(
        event=found.event,
        session=found.session,
        source=source,
        text=text[start:end],
        offset=start,
        total=len(text),
        next_offset=end if end < len(text) else None,
        **info,
    )
    about = f"Characters {start:,} to {end:,} of {len(text):,} that {quoted(_title(asked, row))} gave"
    uri = uri_of(found.session, found.event)
    return Answer(
        told=told,
        head=lambda _number: [f"{about} ({source}).", *_output_rest(start, end, len(text))],
        body=text[start:end].removesuffix("\n").split("\n") if text[start:end] else [],
        links=[] if (start, end) == (0, len(text)) else [(uri, f"event {found.event}", "text/plain")],
    )


def _output_rest(start: int, end: int, total: int) -> list[str]:
    lines = []
    if start:
        lines.append("There is more before it: part=head, or a smaller offset.")
    if end < total:
        lines.append(f"There is more behind it: offset={end}, or part=tail.")
    return lines


def _title(asked: Asked, row: Row) -> str:
    return str(asked.mask(row["title"]))


def _printed(asked: Asked, row: Row) -> tuple[str, str, Row]:
    """Which kind of output it is, the text of it that is kept, and what is not kept."""
    result = row["data"].get("result")
    if not has_output(asked.db, row) and isinstance(result, str):
        return "as the client told it", escaped(asked.mask(result), keep="\n\t"), {}
    printed = output(asked.db, row)
    info = known(seen_bytes=printed.info.get("seen"), is_whole=not printed.info.get("truncated"))
    return "terminal output", escaped(asked.mask(plain(printed)), keep="\n\t"), info


def _part(text: str, asked: Asked) -> tuple[int, int]:
    """From which character to which: whole lines, as many as there is room for. Raises UsageError."""
    room, offset = (asked.arguments["max_bytes"] - _OVERHEAD) // 2, asked.arguments.get("offset")
    if asked.arguments.get("part") == "tail":
        if offset is not None:
            raise UsageError("part=tail and offset are two places", code="ERR_ARGUMENT", hint="give one")
        return _tail(text, room), len(text)
    start = offset or 0
    if start and start >= len(text):
        raise UsageError(
            f"offset {start} is behind the end: there are {len(text)} characters",
            code="ERR_ARGUMENT",
            hint="next_offset says where to go on",
        )
    return start, start + _fitting(text[start:], room)


def _fitting(text: str, room: int) -> int:
    """How many characters from the start there is room for, to the end of a line where one is in reach."""
    most = _most(text, room)
    return most if most == len(text) else (text.rfind("\n", 0, most) + 1) or max(most, 1)


def _tail(text: str, room: int) -> int:
    """The same from the end: where it begins."""
    start = len(text) - _most(text[::-1], room)
    following = text.find("\n", max(start - 1, 0)) + 1 if start else 0
    return following if 0 < following < len(text) else start


def _most(text: str, room: int) -> int:
    """The most characters that weigh no more than there is room."""
    if _weight(text) <= room:
        return len(text)
    least, most = 0, min(len(text), room)
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if _weight(text[:middle]) <= room else (least, middle - 1)
    return least


def _weight(text: str) -> int:
    """Bytes of a text in JSON; a line end takes two."""
    return len(text.encode("utf-8", "replace")) + text.count("\n") + text.count('"') + text.count("\\")


# --- what it changed ------------------------------------------------------------------------------------


class _File(NamedTuple):
    tree: int  # which of the working trees
    root: str
    file: NetFile


def get_diff(asked: Asked) -> Answer:
    """What an event with all that ran in it, or a session, changed, as patches."""
    found = resolve(asked.db, asked.arguments["id"])
    selection = select(asked.db, found)
    unsure = [f"{one.session}/{one.event}" for one in selection.unsure[:_MOST_UNSURE]]
    if not selection.edits:
        raise _no_diff(found, unsure)
    files = list(_files(asked, net(asked.db, selection.edits)))
    rows, places = _patches(asked, files)

    def cursor(number: int) -> str | None:
        place = places[number - 1] if number else None
        return None if place is None else asked.desk.hand_out(place)

    what = "session" if found.event is None else "event"
    identity = found.event or found.session
    return Answer(
        told=known(
            id=identity,
            session=found.session,
            total_files=len(files),
            unsure=unsure or None,
            title=None if found.event is None else _title_of(asked, found),
        ),
        head=lambda number: [
            f"{count(number, 'file')} of {len(files):,} that {what} {identity} changed.",
            *([f"{count(len(unsure), 'more change')} may be of it: see `unsure`."] if unsure else []),
            *([] if files else ["Nothing is left of what it changed, or nothing changed below that path."]),
        ],
        name="files",
        rows=rows,
        lines=file_lines,
        cursor=cursor,
    )


def _title_of(asked: Asked, found: Found) -> str:
    return _title(asked, events.get_event(asked.db, found.session, str(found.event)))


def _no_diff(found: Found, unsure: Sequence[str]) -> UsageError:
    what = f"event {found.event}" if found.event else f"session {found.session}"
    hint = "get_event tells what it did; list_events with kinds=[edit_files] lists what changed files"
    if unsure:
        hint = f"these changes may be of it: {', '.join(unsure[:3])}"
    return UsageError(f"{what} changed no file that is recorded", code="ERR_NO_DIFF", hint=hint)


def _files(asked: Asked, nets: Iterable[Net]) -> Iterator[_File]:
    path = asked.arguments.get("path")
    for at, one in enumerate(nets):
        files: Sequence[NetFile] = one.files
        if path is not None:
            wanted = inside(one.root, path, str(base_of(asked.workspace, one.root)))
            files = [] if wanted is None else narrowed(files, [wanted])
        for file in files:
            yield _File(at, one.root, file)


def _patches(asked: Asked, files: Sequence[_File]) -> tuple[list[Row], list[Row | None]]:
    """The files that there is room for, and behind each what a cursor says: None behind the last."""
    state = asked.place()
    start = (-1, b"") if state is None else (int(state["t"]), _decoded(state["p"]))
    offset = 0 if state is None else int(state["o"])
    waiting = [one for one in files if (one.tree, one.file.path) >= start]
    objects = open_objects(asked.workspace) if waiting else None
    room = (asked.arguments["max_bytes"] - _OVERHEAD) // 2
    rows: list[Row] = []
    places: list[Row | None] = []
    for at, one in enumerate(waiting[: asked.arguments["limit"]]):
        assert objects is not None
        row = _file_row(asked, objects, one)
        begin = offset if (one.tree, one.file.path) == start else 0
        whole = row.get("patch", "")
        left = room - _NAMINGS * _weight(row["path"]) - _OF_A_FILE
        if rows and (left <= 0 or _weight(whole) > left):
            break
        if left < _LEAST_PATCH:
            raise _no_room(row["path"])
        end = begin + _fitting(whole[begin:], left) if whole else 0
        if whole:
            row |= {"patch": whole[begin:end]} | (
                {"is_part": True} if (begin, end) != (0, len(whole)) else {}
            )
        rows.append(row)
        room = left - _weight(row.get("patch", ""))
        following = waiting[at + 1] if at + 1 < len(waiting) else None
        places.append(_place(one, end) if end < len(whole) else following and _place(following, 0))
        if end < len(whole):
            break
    return rows, places


def _no_room(path: str) -> UsageError:
    return UsageError(
        f"there is no room for a patch beside the name of the file, {len(path)} characters",
        code="ERR_ARGUMENT",
        hint="give a larger max_bytes",
    )


def _place(one: _File, offset: int) -> Row:
    return {"t": one.tree, "p": base64.b64encode(one.file.path).decode(), "o": offset}


def _decoded(text: str) -> bytes:
    return base64.b64decode(text)


def _file_row(asked: Asked, objects: Objects, one: _File) -> Row:
    """A changed file with its patch."""
    file = one.file
    sides = (side.oid for side in (file.new, file.old) if side is not None)
    withheld = next((why for oid in sides if (why := objects.withheld(oid))), None) or file.withheld
    context = int(asked.arguments["context"])
    shown = diff_view.Shown(file, patches_of(file, objects.read, context=context), withheld)
    record = diff_view.record(shown)
    return known(
        path=asked.mask(record["path"]),
        old_path=None if record["old_path"] is None else asked.mask(record["old_path"]),
        change=record["change"],
        added=record["added"],
        deleted=record["deleted"],
        binary=record["binary"] or None,
        withheld=record["withheld"],
        remarks=[asked.mask(remark) for remark in diff_view.remarks(shown)] or None,
        edits=len(record["events"]),
        events=record["events"][-_MOST_EDITS:],
        patch=escaped(asked.mask(record["patch"]), keep="\n\t") or None,
    )
