"""Whose call it was: what passed through the proxy beside what agents say that they called.

A client may send its own id of the call along, and then the two are one. Where it does not, a call that the
agent tells of is the same if it names that tool with those arguments, and ran then. Of several that fit, any
may be it.

Lives here: `callers`, `passed`. Not here: what agents tell (accounts.py), the proxy (sources/mcp/).
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from typing import Any

from devtrace.query.accounts import Accounts
from devtrace.query.events import list_events, with_late_ends
from devtrace.query.filters import Filters

Row = dict[str, Any]

_LONGEST_US = 6 * 3_600_000_000  # of a call, from its hook to its end
_SLACK_US = 2_000_000  # a hook is told before or after, by a process of its own
_OPEN = 1 << 62
_SESSIONS = """
    SELECT DISTINCT session FROM events WHERE kind = 'tool_call' AND started_us BETWEEN ? AND ?
    UNION SELECT DISTINCT session FROM running WHERE kind = 'tool_call'
"""
_ODD = re.compile(r"[\W_]+")


def callers(db: sqlite3.Connection, event: Row) -> list[Row]:
    """The agents' calls (`accounts.CALL`) that an `mcp_call` event may be; one whose id it has, alone."""
    at_us, wanted = event["started_us"], event["data"].get("call")
    span = (at_us - _LONGEST_US, at_us + _SLACK_US)
    sessions = [session for (session,) in db.execute(_SESSIONS, span)]
    told = {call["event"]: call for session in sessions for call in Accounts(db, session).calls}
    calls = sorted(told.values(), key=lambda call: int(call["started_us"]))
    if wanted:
        named = [call for call in calls if call["call"] == wanted]
        if named:
            return named
    nameless = [call for call in calls if not (wanted and call["call"])]  # two ids that differ are two calls
    return [call for call in nameless if _is_then(call, at_us) and _fits(call, event["data"])]


def passed(db: sqlite3.Connection, call: Row) -> list[Row]:
    """The `mcp_call` events that an agent's call may be: what was seen of it on its way."""
    since_us = call["started_us"] - _SLACK_US
    until_us = (call["ended_us"] or call["started_us"] + _LONGEST_US) + _SLACK_US
    wanted = Filters(kinds=("mcp_call",), since_us=since_us, until_us=until_us)
    rows = with_late_ends(db, list_events(db, wanted))
    named = [row for row in rows if call["call"] and row["data"].get("call") == call["call"]]
    return named or [row for row in rows if not row["data"].get("call") and _fits(call, row["data"])]


def _is_then(call: Row, at_us: int) -> bool:
    until_us = call["ended_us"] or _OPEN
    return bool(call["started_us"] - _SLACK_US <= at_us <= until_us + _SLACK_US)


def _fits(call: Row, data: Row) -> bool:
    """Whether an agent's call names that tool, and gives it those arguments."""
    seen = _value(str(data.get("arguments") or "{}"))
    return call["does"] == "mcp" and any(
        _names(tool, str(data.get("server")), str(data.get("tool"))) and given == seen
        for tool, given in _told(call)
    )


def _told(call: Row) -> Iterator[tuple[str, Any]]:
    """The tool and its arguments, as the client tells them: in its name, or by a tool that calls tools."""
    given = _value(str(call["input"] or "{}"))
    yield str(call["tool"]), given
    if isinstance(given, dict) and isinstance(given.get("tool_name"), str):  # Cline's use_mcp_tool
        inner = given.get("arguments")
        yield (
            f"{given.get('server_name')}_{given['tool_name']}",
            _value(inner) if isinstance(inner, str) else inner,
        )


def _names(told: str, server: str, tool: str) -> bool:
    """`mcp__files__read`, `mcp_files_read`, `files_read`, `MCP:read` are all `read` of `files`."""
    whole, wanted = _plain(told), _plain(tool)
    before = whole.removesuffix(wanted)
    return whole.endswith(wanted) and before in ("", "mcp_", *(f"{lead}{_plain(server)}_" for lead in _LEADS))


_LEADS = ("", "mcp_")


def _plain(name: str) -> str:
    return _ODD.sub("_", name.lower())


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
