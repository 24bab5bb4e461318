"""When each agent's hooks were last heard from: its newest event that a hook told.

Lives here: `heard`. Not here: whether the hooks are in place (services/agents.py).
"""

from __future__ import annotations

import sqlite3

_NEWEST = """
    SELECT actor, max(started_us) FROM (
        SELECT actor, started_us FROM running WHERE source = 'hook'
        UNION ALL
        SELECT actor, started_us FROM events
        WHERE kind IN ('agent_session', 'assistant_message', 'tool_call') AND source = 'hook'
    )
    WHERE actor LIKE 'agent:%' GROUP BY actor
"""


def heard(db: sqlite3.Connection) -> dict[str, int]:
    """By agent, in microseconds since the Unix epoch; one that was never heard of is not there."""
    return {actor.removeprefix("agent:"): at_us for actor, at_us in db.execute(_NEWEST)}
