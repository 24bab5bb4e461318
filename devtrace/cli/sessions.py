"""devtrace sessions"""

from __future__ import annotations

from devtrace.cli.options import Actor, Agent, Failed, Json, Kind, Limit, Path, Since, Until


def sessions(
    kind: Kind = None,
    agent: Agent = None,
    actor: Actor = None,
    since: Since = None,
    until: Until = None,
    failed: Failed = False,
    path: Path = None,
    limit: Limit = None,
    json: Json = False,
) -> None:
    """List the sessions, the newest first.

    Here --kind is the kind of session: shell, run, recorder or import. --since and --until keep the sessions
    that were open at some moment between the two. The Python programs that were recorded in a session are
    counted beside it; --kind recorder lists them.

    \b
    Example:
      devtrace sessions --since yesterday --failed
    """
    from devtrace.cli import border, reading
    from devtrace.cli.options import make_filters
    from devtrace.query.ids import short
    from devtrace.query.sessions import count_traces, list_sessions
    from devtrace.views import console, jsonl
    from devtrace.views.sessions import session_lines

    wanted = make_filters(
        kind=kind, agent=agent, actor=actor, since=since, until=until, failed=failed, path=path, limit=limit
    )
    with reading.opened() as db:
        found = list_sessions(db, wanted)
        if json:
            reading.answer(jsonl.line("session", row) for row in found)
            return
        if not found:
            border.say("No session fits. Start one with: devtrace shell --agent manual")
            return
        screen = console.make_console()
        ids = short(db, [row["id"] for row in found])
        traces = count_traces(db, ids)
        console.paint(screen, session_lines(found, ids, reading.reader(screen), traces))
