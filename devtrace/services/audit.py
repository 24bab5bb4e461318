"""audit: how much of a change is explained, and what a reviewer should look at.

Lives here: putting the two together, whether it is enough, and of which agents hooks are known. Not here: the
questions (query/coverage.py, query/findings.py), the sentences (views/audit.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from devtrace.config import AGENTS
from devtrace.query.blame import Blame
from devtrace.query.coverage import EXPLAINED, Coverage
from devtrace.query.findings import Findings, sessions_of
from devtrace.query.gitrange import chosen
from devtrace.query.sessions import get_session
from devtrace.sources.agents import base

Row = dict[str, Any]

_ALL = 100


def audit_range(blame: Blame, where: Path, text: str | None) -> Row:
    """What is known of a range of commits, with `findings`. Raises UsageError ERR_RANGE."""
    found = chosen(where, text)
    covered = Coverage(blame).of_range(found)
    commits = found.commits()
    sessions = [*covered.told["sessions"], *sessions_of(blame.db, commits)]
    findings = Findings(blame.db, blame.works, sessions, hooked(), programs())
    edits = {span["event"] for file in covered.told["files"] for span in file["spans"] if span["event"]}
    listed = findings.of(covered.changes, commits, covered.told["base"], str(found.root), edits)
    return covered.told | {"sessions": findings.sessions, "findings": listed}


def audit_session(blame: Blame, session: str) -> Row:
    """What is known of a session's changes, with `findings`. Raises UsageError ERR_ID_UNKNOWN."""
    covered = Coverage(blame).of_session(session)
    findings = Findings(blame.db, blame.works, [session, *covered.told["sessions"]], hooked(), programs())
    root = get_session(blame.db, session)["repo_root"]
    listed = findings.of(covered.changes, (), None, str(root or ""))
    return covered.told | {"sessions": findings.sessions, "findings": listed}


def share(told: Row) -> float | None:
    """How much is explained, in percent: of the lines, else of the files; None: nothing has to be."""
    if told["percent"] is not None or not told["whole"]:
        return told["percent"]  # type: ignore[no-any-return] # a row of a question
    return 100 * (len(told["whole"]) - _n_unexplained(told)) / len(told["whole"])


def is_under(told: Row, least: float) -> bool:
    """Whether less is explained than was asked for; who asks for all of it means every file too."""
    found = share(told)
    return found is not None and (found < least or (least >= _ALL and _n_unexplained(told) > 0))


def _n_unexplained(told: Row) -> int:
    return sum(one["class"] not in EXPLAINED for one in told["whole"])


def hooked() -> set[str]:
    """The agents of which hooks are known."""
    return {name for name in AGENTS if hasattr(base.adapter(name), "hooks")}


def programs() -> dict[str, tuple[str, ...]]:
    """By which programs each agent is started, as far as that is known."""
    return {name: tuple(adapter.COMMANDS) for name, adapter in base.adapters().items()}
