"""Numbers over many commands: how many, how many failed, how long, which programs, which agents.

Lives here: counting in one store, and merging the counts of several.
Not here: which stores there are (services/stats.py).
"""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from devtrace.query.filters import ENDED_LATE, Filters, event_condition
from devtrace.store import chain

Stats = dict[str, Any]
_Count = dict[str, int]

TOP = 10
# Programs whose first argument is the real command: `git push` and `git log` are two lines of the list.
_WITH_VERB = frozenset({
    "apt", "apt-get", "aws", "brew", "bun", "cargo", "conda", "devtrace", "docker", "docker-compose",
    "gcloud", "gh", "git", "go", "helm", "hg", "jj", "just", "kubectl", "make", "npm", "nix", "npx",
    "pip", "pip3", "pipx", "pnpm", "podman", "poetry", "rustup", "svn", "systemctl", "terraform",
    "tmux", "uv", "yarn",
})  # fmt: skip
_BEFORE = frozenset({"command", "env", "exec", "nice", "nohup", "sudo", "time"})
# Summed by `total`, which has no largest number: a few forged times would make `sum` overflow.
_TOOK = "max(coalesce(ended_us, started_us) - started_us, 0)"
_EMPTY: _Count = dict.fromkeys(
    ("commands", "nested", "failed", "stopped", "interrupted", "time_us", "sessions"), 0
)


def stats(db: sqlite3.Connection, filters: Filters) -> Stats:
    """`{commands, nested, failed, stopped, interrupted, time_us, sessions, top: [...], agents: [...]}`.

    `commands` counts every command, `nested` those of them that ran inside another one; `time_us` sums the
    commands that are not nested. `top` is all programs, the most frequent first: `{command, commands,
    failed, time_us}`; `agents` has the totals' fields and `agent`.
    """
    where, values = event_condition(replace(filters, kinds=("run_command",)))
    where = f"{where} AND NOT ({ENDED_LATE})"
    rows = db.execute(
        "SELECT agent, count(*), count(ran.parent), sum(ran.status = 'failed'),"
        " sum(ran.status = 'stopped'), sum(ran.status = 'interrupted'),"
        " CAST(total(CASE WHEN ran.parent IS NULL THEN took ELSE 0 END) AS INTEGER),"
        " count(DISTINCT session)"
        f" FROM (SELECT session, parent, status, {_TOOK} AS took FROM events WHERE {where}) AS ran"
        " JOIN sessions ON sessions.id = ran.session GROUP BY agent ORDER BY 2 DESC, agent",
        values,
    ).fetchall()
    agents = [{"agent": agent or "", **dict(zip(_EMPTY, numbers, strict=True))} for agent, *numbers in rows]
    return {**_sum(agents), "top": _top(db, where, values), "agents": agents}


def held(db: sqlite3.Connection) -> _Count:
    """`{outputs, n_outputs, n_pruned}`: the stored bytes of outputs, of how many, and the events pruned."""
    count, stored = db.execute("SELECT count(*), coalesce(sum(length(data)), 0) FROM blobs").fetchone()
    pruned = db.execute("SELECT count(*) FROM pruned").fetchone()[0] if chain.knows_stubs(db) else 0
    return {"outputs": stored, "n_outputs": count, "n_pruned": pruned}


def merged(many: Iterable[Stats]) -> Stats:
    """The counts of several stores as those of one."""
    top: dict[str, Stats] = {}
    agents: dict[str, Stats] = {}
    for one in many:
        for name, totals, rows in (("command", top, one["top"]), ("agent", agents, one["agents"])):
            for row in rows:
                _add(totals.setdefault(row[name], {name: row[name]}), row)
    return {**_sum(agents.values()), "top": _ordered(top), "agents": _ordered(agents)}


def program(command: str) -> str:
    """The program a command line starts, with the verb of those that have verbs: `git push`.

    Assignments, `sudo`, `env` and their like are passed over; a text that no shell would parse counts by
    its first word.
    """
    line = command.strip(" \t\r\n({!").split("\n", 1)[0].rstrip(")};")
    try:
        words = shlex.split(line, comments=False)
    except ValueError:
        words = line.split()
    words = [word for word in words if word]
    while words and (words[0] in _BEFORE or _assigns(words[0])):
        words.pop(0)
    if not words:
        return line.split(" ", 1)[0]
    name = words[0].rsplit("/", 1)[-1] or words[0]
    verb = next((word for word in words[1:2] if word[:1].isalpha()), "") if name in _WITH_VERB else ""
    return f"{name} {verb}".strip()


def _assigns(word: str) -> bool:
    name, equals, _ = word.partition("=")
    return bool(equals) and name.isidentifier()


def _top(db: sqlite3.Connection, where: str, values: list[object]) -> list[Stats]:
    rows = db.execute(
        f"SELECT json_extract(data, '$.command') AS command, count(*), sum(status = 'failed'),"
        f" CAST(total({_TOOK}) AS INTEGER)"
        f" FROM events WHERE {where} GROUP BY command",
        values,
    )
    top: dict[str, Stats] = {}
    for command, commands, failed, time_us in rows:
        name = "(private)" if command is None else program(command)
        row = {"command": name, "commands": commands, "failed": failed, "time_us": time_us}
        _add(top.setdefault(name, {"command": name}), row)
    return _ordered(top)


def _add(total: Stats, row: Stats) -> None:
    for key, value in row.items():
        if isinstance(value, int):
            total[key] = total.get(key, 0) + value


def _ordered(totals: dict[str, Stats]) -> list[Stats]:
    return sorted(
        totals.values(), key=lambda row: (-row["commands"], str(row.get("command", row.get("agent"))))
    )


def _sum(rows: Iterable[Stats]) -> Stats:
    total: Stats = dict(_EMPTY)
    for row in rows:
        _add(total, row)
    return total
