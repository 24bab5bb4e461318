"""Under what each event stands where a session is read: its call, its prompt, what may have done it.

Lives here: `under_calls`. Not here: joining calls and commands (agents.py), drawing it (views/timeline.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from devtrace.query.agents import Work

Row = dict[str, Any]

_DONE = ("run_command", "edit_files", "git_commit")
_MOST_AROUND = 20  # events around each other


def under_calls(work: Work, rows: Sequence[Row]) -> list[Row]:
    """The rows as people read them: a command stands under its call, a subagent's work under what started it.

    What passed to an MCP server stands under its call too, where it carries that one's id.
    What a client does by itself stands under the prompt that it works on, and what one of several did under
    what they have in common: so it is read in the order of time. Those have `inside` besides. The record
    keeps them where they were told.
    """
    above = {one["event"]: call["event"] for call in work.calls for one in call["ran"] or ()}
    starters = {call["starts"]: call for call in work.calls if call["starts"]}
    named = {call["call"]: call["event"] for call in work.calls if call["call"]}
    found = []
    for row in rows:
        name = f"{row['session']}/{row['id']}"
        starter = starters.get(row["data"].get("subagent"))
        if starter is not None and starter["started_us"] < row["started_us"]:
            above.setdefault(name, starter["event"])
        if row["kind"] == "mcp_call" and row["data"].get("call") in named:
            above[name] = named[row["data"]["call"]]
        session, _, parent = above.get(name, "").partition("/")
        found.append(_moved(row, parent) if session == row["session"] else row)
    return _under_suspects(_under_prompts(found))


def _moved(row: Row, parent: str) -> Row:
    return row | {"parent": parent, "inside": True}


def _under_prompts(rows: Sequence[Row]) -> list[Row]:
    """What stands beside a prompt, and happened before its turn was over, stands under it."""
    open_prompts: dict[str, str | None] = {}
    found = []
    for row in sorted(rows, key=lambda row: int(row["started_us"])):
        parent = row["parent"]
        is_own = parent is not None and row["data"].get("subagent") is None
        if is_own and row["kind"] in ("prompt", "agent_session"):
            open_prompts[parent] = row["id"] if row["kind"] == "prompt" else None
        prompt = open_prompts.get(parent) if row["kind"] in _DONE else None
        found.append(_moved(row, prompt) if prompt else row)
    return found


def _under_suspects(rows: Sequence[Row]) -> list[Row]:
    """An edit that one of several made stands under the innermost event that all of them are inside of."""
    parents = {row["id"]: row["parent"] for row in rows}
    found = []
    for row in rows:
        is_free = row["kind"] == "edit_files" and row["parent"] is None
        names = [str(name).partition("/") for name in row["data"].get("candidates") or ()] if is_free else []
        is_here = bool(names) and all(session == row["session"] for session, _, _ in names)
        shared = _shared([_around(event, parents) for _, _, event in names]) if is_here else None
        found.append(_moved(row, shared) if shared else row)
    return found


def _around(event: str, parents: dict[str, str | None]) -> list[str]:
    """An event that is shown and those around it, the outermost last. Parents come from guests."""
    found: list[str] = []
    at: str | None = event
    while at is not None and at in parents and at not in found and len(found) < _MOST_AROUND:
        found.append(at)
        at = parents[at]
    return found


def _shared(chains: Sequence[Sequence[str]]) -> str | None:
    return next((one for one in chains[0] if all(one in chain for chain in chains)), None)
