"""What clients keep of their own work becomes events: of sessions that nobody recorded, and beside those.

A client's session that was recorded live keeps its events; from the transcript comes what its hooks did not
tell. One that was not recorded becomes a session of its own, kind `import`. Ids follow from what is told, so
importing again adds what is new and nothing twice.

Lives here: `import_records`, `Filling`. Not here: the clients' formats (sources/agents/), merging what both
channels tell of one call (query/accounts.py).
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from devtrace.config import parse_agent
from devtrace.errors import UsageError
from devtrace.events import Event, Frame, Gap, body_from_data, check_body, check_frame, gap_event, titled
from devtrace.pipeline import Pipeline
from devtrace.policy.chain import Policy
from devtrace.sources.agents import base
from devtrace.store import anchors, sessions
from devtrace.store.hold import hold
from devtrace.workspace import Workspace

TRANSCRIPT, HOOK = "transcript", "hook"
_SLACK_US = 2_000_000  # clocks of a client and of a shell, and what a start takes
_LARGEST = 256 << 20  # bytes of a transcript that is read at a session's end, when somebody waits
_FIRST_WORDS = 4  # of a command line: `FOO=1 sudo -u me claude`
_KINDS = ("prompt", "assistant_message", "tool_call", "agent_session", "agent_payload")
_TOLD = """
    SELECT json_extract(e.data, '$.agent'), json_extract(e.data, '$.native'), e.id, s.started_us, s.kind,
           e.session, e.source, e.status, e.exit_code, json_type(e.data, '$.result') IS NOT NULL
    FROM events e JOIN sessions s ON s.id = e.session
    WHERE e.kind = ? AND e.started_us BETWEEN ? AND ? AND e.source IN ('hook', 'transcript')
"""
_AROUND = (
    "SELECT id FROM events WHERE session = :session AND kind = 'run_command' AND parent IS NULL"
    " AND started_us <= :at ORDER BY started_us DESC LIMIT 1"
)


class Imported(NamedTuple):
    """One session of a client, as it was found on the disk."""

    agent: str
    native: str
    path: str
    session: str  # ours
    events: int  # that were new


class _Told(NamedTuple):
    agent: str
    native: str
    path: Path
    facts: list[base.Fact]


def import_records(
    db: sqlite3.Connection,
    workspace: Workspace,
    policy: Policy,
    environ: Mapping[str, str],
    *,
    name: str | None = None,
    since_us: int = 0,
) -> Iterator[Imported]:
    """Import the transcripts of work in this repository; `name`: of one agent, else of all.

    Raises UsageError ERR_AGENT_UNKNOWN, or ERR_USAGE for an agent that keeps none; EnvironmentError where the
    store cannot be written.
    """
    known = _records(db)
    for told in _found(environ, workspace.root, _names(name), since_us):
        record = known.setdefault((told.agent, told.native), _Record())
        yield from _import(db, workspace, policy, told, record)
    anchors.sync(db, workspace)


def _names(name: str | None) -> list[str]:
    if name is None:
        return [known for known, one in base.adapters().items() if hasattr(one, "transcripts")]
    wanted = parse_agent(name)
    if not hasattr(_adapter(wanted), "transcripts"):
        raise UsageError(
            f"{wanted} keeps no transcript that is known",
            code="ERR_USAGE",
            hint="`devtrace agent list` shows what is known of each agent",
        )
    return [wanted]


def _found(
    environ: Mapping[str, str], root: Path, names: Iterable[str], since_us: int, largest: int = 0
) -> Iterator[_Told]:
    """The sessions that clients kept, each with its facts and those of its subagents."""
    for name in names:
        waiting: _Told | None = None
        for path in _adapter(name).transcripts(environ, root):
            for told in _read(name, path, root, since_us, largest):
                if waiting is not None and waiting.native == told.native:
                    waiting.facts.extend(told.facts)  # a subagent's record follows that of its session
                    continue
                if waiting is not None:
                    yield waiting
                waiting = told
        if waiting is not None:
            yield waiting


def _read(name: str, path: Path, root: Path, since_us: int, largest: int) -> Iterator[_Told]:
    """What one record holds, by the client's sessions; nothing where it cannot be read."""
    by_native: dict[str, list[base.Fact]] = {}
    try:
        state = path.stat()
        if state.st_mtime_ns // 1000 < since_us or 0 < largest < state.st_size:
            return
        for fact in _adapter(name).read(path, root):
            by_native.setdefault(fact["native"], []).append(fact)
    except (OSError, sqlite3.Error):
        return
    for native, facts in by_native.items():
        yield _Told(name, native, path, facts)


def _adapter(name: str) -> Any:
    return base.adapter(name)


def _import(
    db: sqlite3.Connection, workspace: Workspace, policy: Policy, told: _Told, record: _Record
) -> list[Imported]:
    made = _import_id(told)
    by_session: dict[str, list[Event]] = {}
    for event in _news(db, policy, told, record, lambda at_us: record.session_at(at_us) or made):
        by_session.setdefault(event.session, []).append(event)
    for session, events in by_session.items():
        is_ours = session == made or record.kinds.get(session) == "import"
        held = hold(workspace, session) if is_ours else None
        try:
            if is_ours:
                _begin(db, policy, workspace, session, told, events)
            pipeline = Pipeline(db, workspace, policy)
            for event in events:
                pipeline.emit(event)
            pipeline.close()
            if is_ours:
                ended_us = max(event.ended_us or event.started_us for event in events)
                sessions.end(db, session, ended_us=ended_us, status="ended", exit_code=None)
        finally:
            if held is not None:
                held.close()
    return [
        Imported(told.agent, told.native, str(told.path), session, len(events))
        for session, events in by_session.items()
    ]


def _begin(
    db: sqlite3.Connection,
    policy: Policy,
    workspace: Workspace,
    session: str,
    told: _Told,
    events: Sequence[Event],
) -> None:
    first_us = min(event.started_us for event in events)
    row = db.execute("SELECT started_us FROM sessions WHERE id = ?", (session,)).fetchone()
    if row is not None:
        sessions.update(db, session, started_us=min(row[0], first_us))
        return
    cwd = next((fact["data"]["cwd"] for fact in told.facts if fact["data"].get("cwd")), str(workspace.root))
    columns = {
        "kind": "import",
        "agent": told.agent,
        "actor": f"agent:{told.agent}",
        "title": "",
        "repo_root": str(workspace.root),
        "cwd": cwd,
        "meta": {"native": told.native, "transcript": str(told.path)},
    }
    sessions.begin(db, id=session, started_us=first_us, **policy.redact_values(columns))


def _import_id(told: _Told) -> str:
    """A UUIDv7 that follows from what is told: the time of the first fact, and a digest (RFC 9562, 5.7)."""
    at_us = min((fact["started_us"] for fact in told.facts if fact["started_us"]), default=0)
    digest = hashlib.sha256(f"{told.agent}\0{told.native}".encode("utf-8", "replace")).digest()
    value = (at_us // 1000 & (1 << 48) - 1) << 80 | int.from_bytes(digest[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return f"{value & ~(0b11 << 62) | 0b10 << 62:032x}"


# --- what the record has of a client's session ------------------------------------------------------------


class _Row(NamedTuple):
    session: str
    source: str
    status: str
    exit_code: int | None
    has_result: bool


class _Record:
    """What is recorded of one session of a client, in whatever sessions of ours."""

    def __init__(self) -> None:
        self.rows: dict[str, _Row] = {}
        self.kinds: dict[str, str] = {}  # of our sessions
        self._began: dict[str, int] = {}

    def add(self, event: str, row: _Row, kind: str, started_us: int) -> None:
        self.rows[event] = row
        self.kinds[row.session] = kind
        self._began[row.session] = started_us

    def session_at(self, at_us: int) -> str | None:
        """Ours that went on at that moment: a client's session may be resumed in another terminal."""
        if not self._began:
            return None
        earlier = [session for session, began_us in self._began.items() if began_us <= at_us + _SLACK_US]
        return (
            max(earlier or self._began, key=self._began.__getitem__)
            if earlier
            else min(self._began, key=self._began.__getitem__)
        )


def _records(
    db: sqlite3.Connection, since_us: int = 0, until_us: int = 1 << 62
) -> dict[tuple[str, str], _Record]:
    """By the agent and its own id of its session: what was told of it in that time."""
    found: dict[tuple[str, str], _Record] = {}
    for kind in _KINDS:
        for agent, native, event, began_us, of_kind, *row in db.execute(_TOLD, (kind, since_us, until_us)):
            record = found.setdefault((str(agent), str(native)), _Record())
            record.add(event, _Row(*row), of_kind, began_us)
    return found


# --- what is new of it ------------------------------------------------------------------------------------


def _news(
    db: sqlite3.Connection,
    policy: Policy,
    told: _Told,
    record: _Record,
    session_at: Callable[[int], str],
) -> Iterator[Event]:
    """What the record does not have yet, as events of the sessions that went on then, in their order."""
    rows = record.rows
    half_heard = _half_heard(told, rows)
    last_us = 0
    known: set[str] = set()
    for fact in told.facts:
        last_us = fact["started_us"] if fact["started_us"] is not None else last_us
        row = rows.get(base.event_id(HOOK, told.agent, fact))
        has_order = fact["data"].get("subagent") not in half_heard
        event = _id_of(told.agent, fact, rows)
        if event is None or event in known:
            continue
        if row is not None and _tells_nothing_new(fact, row, has_order=has_order):
            continue
        session = row.session if row is not None else session_at(last_us)
        if _is_pruned(db, session, event):
            continue
        known.add(event)
        if row is not None and row.has_result:
            fact["data"].pop("result", None)  # it is there once already
        parent = _parent(db, session, told.agent, fact, record, last_us)
        made = _event(session, event, parent, told.agent, _redacted(policy, fact), last_us)
        if made is not None:
            yield made


def _id_of(agent: str, fact: base.Fact, rows: Mapping[str, _Row]) -> str | None:
    """The id of a fact that is not recorded yet; one more where only its end is new; None: it is there."""
    event = base.event_id(TRANSCRIPT, agent, fact)
    if event not in rows:
        return event
    end = base.event_id(f"{TRANSCRIPT} end", agent, fact)
    is_end = rows[event].status == "unknown" and fact["status"] not in ("unknown", "running")
    return end if is_end and end not in rows else None


def _is_pruned(db: sqlite3.Connection, session: str, event: str) -> bool:
    stub = "SELECT 1 FROM pruned WHERE session = ? AND id = ?"
    return db.execute(stub, (session, event)).fetchone() is not None


def _redacted(policy: Policy, fact: base.Fact) -> base.Fact:
    """JSON that stands in a text is redacted as what it means; the pipeline sees it as a text."""
    data = dict(fact["data"])
    for name in base.JSON_FIELDS.get(fact["kind"], ()):
        if isinstance(data.get(name), str):
            data[name] = policy.redact_json(data[name])
    return {**fact, "data": data}


def _half_heard(told: _Told, rows: Mapping[str, object]) -> set[str | None]:
    """The subagents (None: the agent) of which no hook told all messages.

    What was said before which call of theirs only the transcript knows.
    """
    return {
        fact["data"].get("subagent")
        for fact in told.facts
        if fact["kind"] == "assistant_message" and base.event_id(HOOK, told.agent, fact) not in rows
    }


def _tells_nothing_new(fact: base.Fact, row: _Row, *, has_order: bool) -> bool:
    """Whether the hook told all of it; of a call the transcript may know end, exit code and place."""
    if fact["kind"] != "tool_call":
        return True
    is_known = row.exit_code is not None or fact["data"].get("exit_code") is None
    has_result = row.has_result or "result" not in fact["data"]
    return has_order and is_known and row.status == fact["status"] and has_result


def _parent(
    db: sqlite3.Connection, session: str, agent: str, fact: base.Fact, record: _Record, at_us: int
) -> str | None:
    """The prompt that it belongs under, as the hook told it if it did; of a prompt the client's command."""
    turn = fact["data"].get("turn")
    if turn is not None and fact["kind"] != "prompt":
        prompt = {"native": fact["native"], "kind": "prompt", "key": turn}
        live = base.event_id(HOOK, agent, prompt)
        return live if live in record.rows else base.event_id(TRANSCRIPT, agent, prompt)
    row = db.execute(_AROUND, {"session": session, "at": at_us + _SLACK_US}).fetchone()
    return None if row is None else str(row[0])


def _event(
    session: str, event: str, parent: str | None, agent: str, fact: base.Fact, at_us: int
) -> Event | None:
    """The typed event of a fact; None for one that has no shape of ours, which no adapter makes."""
    started_us = at_us if fact["started_us"] is None else fact["started_us"]
    data = {"agent": agent, **fact["data"]}
    is_typed = fact["kind"] == "prompt" and data.get("subagent") is None
    frame: Frame = {
        "kind": fact["kind"],
        "session": session,
        "id": event,
        "parent": parent,
        "actor": "human" if is_typed else f"agent:{agent}",
        "started_us": started_us,
        "ended_us": fact["ended_us"],
        "status": "unknown" if fact["status"] == "running" else fact["status"],
        "title": "",
        "cwd": data.get("cwd"),
        "exit_code": data.get("exit_code"),
        "source": TRANSCRIPT,
        "exit_source": None,
        "trusted": 0,
        "data": data,
        "blobs": {},
    }
    try:
        titled(check_body(check_frame(frame)))
    except UsageError:
        return None
    return Event(
        session=session,
        id=event,
        parent=parent,
        actor=frame["actor"],
        started_us=started_us,
        ended_us=frame["ended_us"],
        status=frame["status"],
        source=TRANSCRIPT,
        trusted=0,
        body=body_from_data(fact["kind"], data),
    )


# --- at the end of a traced session -------------------------------------------------------------------------


class Filling:
    """What a session's clients kept of it: from them comes what no hook told, and a gap says so."""

    def __init__(
        self,
        workspace: Workspace,
        environ: Mapping[str, str],
        policy: Policy,
        session: str,
        agent: str,
    ):
        """`agent`: as the session was labelled."""
        self._workspace = workspace
        self._environ = environ
        self._policy = policy
        self._session = session
        self._agent = agent

    def events(self, db: sqlite3.Connection, since_us: int, until_us: int) -> list[Event]:
        """The events to be added, and a gap for each client that ran unheard. Raises sqlite3.Error."""
        heard, typed = self._heard(db), self._typed(db)
        news: list[Event] = []
        for name in sorted({self._agent, *(agent for agent, _ in heard), *typed}):
            adapter = base.adapter(name)
            if adapter is None:
                continue
            natives = {native for agent, native in heard if agent == name}
            found = list(self._missing(db, name, natives, since_us, until_us, is_typed=name in typed))
            news += found
            if not natives and (found or name in typed):
                body = Gap(reason="agent_hooks_silent", detail=_why(adapter, is_filled=bool(found)))
                news.append(gap_event(self._session, body, since_us, until_us))
        return news

    def _heard(self, db: sqlite3.Connection) -> set[tuple[str, str]]:
        """The clients' sessions that hooks told of: the agent, and its own id of it."""
        told = (
            "SELECT DISTINCT json_extract(data, '$.agent'), json_extract(data, '$.native') FROM {}"
            " WHERE session = ? AND source = 'hook'"
        )
        selects = (told.format(table) for table in ("events", "running"))
        rows = [row for select in selects for row in db.execute(select, (self._session,))]
        return {(agent, native) for agent, native in rows if agent is not None and native is not None}

    def _typed(self, db: sqlite3.Connection) -> set[str]:
        """The agents whose programs were started by a line at the prompt."""
        words = {
            word.rsplit("/", 1)[-1]
            for command, is_nested in self._commands(db)
            for word in command.split()[:_FIRST_WORDS]
            if not is_nested
        }
        return {name for name, one in base.adapters().items() if words.intersection(one.COMMANDS)}

    def _commands(self, db: sqlite3.Connection) -> list[tuple[str, bool]]:
        """What ran in the session, and whether it was inside of something."""
        ran = (
            "SELECT json_extract(data, '$.command'), parent IS NOT NULL FROM events"
            " WHERE session = ? AND kind = 'run_command'"
        )
        rows = db.execute(ran, (self._session,)).fetchall()
        return [(command, bool(is_nested)) for command, is_nested in rows if command]

    def _missing(
        self,
        db: sqlite3.Connection,
        name: str,
        natives: set[str],
        since_us: int,
        until_us: int,
        *,
        is_typed: bool,
    ) -> Iterator[Event]:
        """What no hook told: of sessions that spoke here, and of one that began here and is nobody else's.

        It began here where its program was typed, or where a shell of ours ran what it says it ran.
        """
        if not hasattr(_adapter(name), "transcripts"):
            return
        known = _records(db, since_us - _SLACK_US, until_us + _SLACK_US)
        ran = {command.strip() for command, _ in self._commands(db)}
        for told in _found(self._environ, self._workspace.root, [name], since_us, _LARGEST):
            within = [fact for fact in told.facts if _is_within(fact, since_us, until_us)]
            record = known.get((name, told.native), _Record())
            is_anothers = any(session != self._session for session in record.kinds)
            is_here = is_typed or any(call["data"]["command"].strip() in ran for call in _shell_calls(within))
            is_ours = told.native in natives or (is_here and not is_anothers and _is_anew(told, since_us))
            if within and is_ours:
                facts = told._replace(facts=within)
                yield from _news(db, self._policy, facts, record, lambda _: self._session)


def _shell_calls(facts: Iterable[base.Fact]) -> Iterator[base.Fact]:
    return (fact for fact in facts if fact["kind"] == "tool_call" and fact["data"].get("command"))


def _why(adapter: Any, *, is_filled: bool) -> str:
    if hasattr(adapter, "hooks"):
        known = "no hook was heard: they are not installed, not trusted, or turned off"
    else:
        known = "hooks: none known"
    return f"{adapter.TITLE}: {known}" + ("; filled from its transcript" if is_filled else "")


def _is_within(fact: base.Fact, since_us: int, until_us: int) -> bool:
    at_us = fact["started_us"]
    return at_us is not None and since_us - _SLACK_US <= at_us <= until_us + _SLACK_US


def _is_anew(told: _Told, since_us: int) -> bool:
    """Whether the client's session began in ours, and so is no other terminal's that goes on."""
    first_us = min((fact["started_us"] for fact in told.facts if fact["started_us"]), default=0)
    return first_us >= since_us - _SLACK_US
