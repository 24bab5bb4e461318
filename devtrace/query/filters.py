"""What a list is narrowed by: kind, agent, actor, time, failure, path and number.

Lives here: `Filters`, the times that `--since` and `--until` understand, and the conditions as SQL.
Not here: the queries (sessions.py, events.py), the options of the command line (cli/options.py).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from devtrace.errors import UsageError

SECOND = 1_000_000

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_WORDS = {
    "second": "s", "sec": "s", "minute": "m", "min": "m", "hour": "h", "hr": "h", "day": "d", "week": "w",
}  # fmt: skip
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)\s*")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_HINT = "write 10m, 2h, 3d, yesterday, 14:30, 2026-11-21, or 2026-11-21T14:30:00+01:00"

Condition = tuple[str, list[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Every field narrows; the default keeps everything. Times are microseconds since the Unix epoch."""

    kinds: tuple[str, ...] = ()
    agent: str | None = None
    actor: str | None = None  # human, agent (any agent), or agent:<name>
    since_us: int | None = None  # started at or after
    until_us: int | None = None  # started at or before
    failed: bool = False
    path: str | None = None  # an absolute directory: ran in it or below
    limit: int | None = None  # the newest so many
    session: str | None = None  # a whole session id

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 0:
            raise UsageError(
                "--limit cannot be negative", code="ERR_FILTER", hint="leave it out to see everything"
            )
        if self.since_us is not None and self.until_us is not None and self.since_us > self.until_us:
            raise UsageError("--since lies after --until", code="ERR_FILTER", hint="exchange the two")


def parse_time(text: str, now_us: int | None = None) -> int:
    """A moment as a person writes it, in microseconds since the epoch.

    Understands a span that is over (`90s`, `10m`, `2h`, `1d12h`, `3 days ago`), `now`, `today`,
    `yesterday`, a clock time (the last one that has passed), a date and ISO 8601; without an offset in
    local time. Raises UsageError ERR_FILTER.
    """
    now = time.time_ns() // 1000 if now_us is None else now_us
    wanted = text.strip().lower()
    for read in (_word, _ago, _clock, _iso):
        found = read(wanted, now)
        if found is not None:
            return found
    raise UsageError(f"cannot read {text!r} as a time", code="ERR_FILTER", hint=_HINT, context={"time": text})


def parse_actor(text: str) -> str:
    """`human`, `agent` or `agent:<name>`. Raises UsageError ERR_FILTER."""
    wanted = text.strip()
    if wanted in ("human", "agent") or (wanted.startswith("agent:") and len(wanted) > len("agent:")):
        return wanted
    raise UsageError(
        f"unknown actor {text!r}", code="ERR_FILTER", hint="use human, agent, or agent:<name>",
        context={"actor": text},
    )  # fmt: skip


def event_condition(filters: Filters) -> Condition:
    """The WHERE of the tables `events` and `running`, and its parameters."""
    parts: list[tuple[str, Sequence[object]]] = []
    if filters.session is not None:
        parts.append(("session = ?", [filters.session]))
    if filters.kinds:
        # A session is found by itself: the index by kind would walk through all others for each of them.
        column = "+kind" if filters.session is not None and filters.since_us is None else "kind"
        parts.append((f"{column} IN ({', '.join('?' * len(filters.kinds))})", filters.kinds))
    if filters.agent is not None:
        parts.append(("session IN (SELECT id FROM sessions WHERE agent = ?)", [filters.agent]))
    if filters.since_us is not None:
        parts.append(("started_us >= ?", [filters.since_us]))
    if filters.until_us is not None:
        parts.append(("started_us <= ?", [filters.until_us]))
    if filters.failed:
        parts.append(("status = 'failed'", []))
    return _joined([*parts, *_actor(filters), *_path(filters)])


# An event whose end arrived late has that end as an event of its own, and a link to it (store/append.py): the
# first of the two says nothing that the second does not.
ENDED_LATE = (
    "status = 'interrupted' AND EXISTS (SELECT 1 FROM links WHERE links.session = events.session"
    " AND links.event = events.id AND links.relation = 'end')"
)


def session_condition(filters: Filters) -> Condition:
    """The WHERE of the table `sessions`: time means that the session overlaps it."""
    parts: list[tuple[str, Sequence[object]]] = []
    if filters.session is not None:
        parts.append(("id = ?", [filters.session]))
    if filters.kinds:
        parts.append((f"kind IN ({', '.join('?' * len(filters.kinds))})", filters.kinds))
    if filters.agent is not None:
        parts.append(("agent = ?", [filters.agent]))
    if filters.since_us is not None:
        parts.append(("(ended_us >= ? OR ended_us IS NULL)", [filters.since_us]))
    if filters.until_us is not None:
        parts.append(("started_us <= ?", [filters.until_us]))
    if filters.failed:
        parts.append(("n_failed > 0", []))
    return _joined([*parts, *_actor(filters), *_path(filters)])


def _actor(filters: Filters) -> list[tuple[str, Sequence[object]]]:
    if filters.actor is None:
        return []
    if filters.actor == "agent":
        return [("actor GLOB 'agent:*'", [])]
    return [("actor = ?", [filters.actor])]


def _path(filters: Filters) -> list[tuple[str, Sequence[object]]]:
    if filters.path is None:
        return []
    # A shell reports the path as it was walked to, the user may mean the one without symbolic links.
    walked = os.path.abspath(filters.path)  # noqa: PTH100 - Path.resolve() would follow the links
    wanted = dict.fromkeys((walked, os.path.realpath(walked)))
    clauses, values = [], list[object]()
    for path in wanted:
        below = path.rstrip("/") + "/"
        clauses.append("cwd = ? OR substr(cwd, 1, ?) = ?")
        values += [path, len(below), below]
    return [(f"({' OR '.join(clauses)})", values)]


def _joined(parts: Sequence[tuple[str, Sequence[object]]]) -> Condition:
    return (
        " AND ".join(clause for clause, _ in parts) or "1",
        [value for _, values in parts for value in values],
    )


def _word(text: str, now: int) -> int | None:
    days: dict[str, Callable[[date], date]] = {
        "today": lambda today: today,
        "yesterday": lambda today: today - timedelta(days=1),
    }
    if text == "now":
        return now
    if text not in days:
        return None
    return _us(datetime.combine(days[text](_local(now).date()), datetime.min.time()))


def _ago(text: str, now: int) -> int | None:
    rest, seconds = text.removesuffix("ago").strip(), 0.0
    if not rest:
        return None
    while rest:
        part = _SPAN.match(rest)
        unit = _WORDS.get(part[2].removesuffix("s"), part[2]) if part else ""
        if part is None or unit not in _UNITS or len(part[1]) > 9:
            return None
        seconds += float(part[1]) * _UNITS[unit]
        rest = rest[part.end() :]
    return max(now - round(seconds * SECOND), 0)


def _clock(text: str, now: int) -> int | None:
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    local = _local(now)
    try:
        moment = local.replace(
            hour=int(found[1]), minute=int(found[2]), second=int(found[3] or 0), microsecond=0
        )
    except ValueError:
        return None
    if _us(moment) > now:
        moment -= timedelta(days=1)
    return _us(moment)


def _iso(text: str, now: int) -> int | None:
    del now
    try:
        return _us(datetime.fromisoformat(text.upper()))
    except (ValueError, OverflowError):
        return None


def _local(now: int) -> datetime:
    return datetime.fromtimestamp(now / SECOND)


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * SECOND)
