"""An edit in words: its files, whose it was and how that is known, what of it is not kept.

Lives here: `file_line`, `file_lines`, `edit_rows` for an event in full. Not here: the patch (patch.py), the
timeline's rows (timeline.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from devtrace.views import words
from devtrace.views.console import Line
from devtrace.views.safe import safe

Row = dict[str, Any]
Labelled = list[tuple[str, Line]]

_LISTED = 5  # files below a row of the timeline
_IN_FULL = 200  # files of one event in full
_SHORT = 10  # digits of a checkpoint, and of an id that is named in passing
_WITHHELD = {
    "path": "path rule",
    "secret": "a secret was masked",
    "size": "larger than checkpoints.file_kb",
    "checkpoint": "more than checkpoints.checkpoint_mb at once",
    "store": "checkpoints.store_mb was reached",
    "unreadable": "it could not be read",
}
_CONFIDENT = {
    "window": "changed while it ran, and nothing else that is recorded did",
    "inside": "the innermost of the commands that ran then",
    "claim": "it said so itself",
}
_NOBODY = {
    "background": "changed while no command ran that is recorded",
    "outside": "changed while no session was recorded here",
    "baseline": "how the working tree was when the record began",
}
_VERBS = {"renamed": "", "modified": "", "ignored": "no longer tracked: "}


def why_withheld(reason: str) -> str:
    """Why a content is not kept whole."""
    return _WITHHELD.get(reason, safe(reason))


def file_line(change: Row) -> Line:
    """`+12 -3 api.py`, `+1 -0 added x.py`, `old -> new`."""
    kind = str(change.get("change"))
    line = _counts(change)
    verb = _VERBS.get(kind, f"{safe(kind)} ")
    name = safe(str(change.get("path")))
    if change.get("old_path") is not None:
        name = f"{safe(str(change['old_path']))} -> {name}"
    return [*line, (verb, "dim"), (name, "")]


def file_lines(event: Row, most: int = _LISTED) -> list[Line]:
    """The files of an edit, the first of them; none where its headline names the only one."""
    data = event["data"]
    changes = data.get("changes") or []
    number = max(int(data.get("files") or 0), len(changes))
    if number <= 1:
        return []
    lines = [file_line(change) for change in changes[:most]]
    left = number - len(lines)
    return [*lines, [(f"... and {words.count(left, 'more file')}", "dim")]] if left else lines


def edit_rows(event: Row) -> Labelled:
    """Everything that an edit says, with a label for each line."""
    data = event["data"]
    rows: Labelled = [("origin", _origin(event))]
    rows += [("" if at else "files", line) for at, line in enumerate(_files(data))]
    rows += [("place", [(safe(str(data.get("root", ""))), "")]), ("checkpoint", _checkpoint(data))]
    return rows


def commit_rows(event: Row) -> Labelled:
    """Everything that a move of HEAD says."""
    data = event["data"]
    old, new = (safe(str(data.get(name) or "nothing")) for name in ("old", "new"))
    line: Line = [(safe(str(data.get("how"))), ""), (": ", "dim"), (old, "dim"), (" -> ", "dim"), (new, "")]
    rows: Labelled = [
        ("moved", line),
        ("branch", [(safe(str(data.get("branch") or "none, or not known")), "")]),
    ]
    if data.get("subject"):
        rows.append(("subject", [(safe(str(data["subject"])), "")]))
    whose = str(data.get("attribution", "command"))
    told = "a command moved it" if whose == "command" else _NOBODY.get(whose, safe(whose))
    rows.append(("origin", [(told, "")]))
    return [*rows, ("place", [(safe(str(data["root"])), "")])] if data.get("root") else rows


def snapshot_rows(event: Row) -> Labelled:
    """Everything that a snapshot says."""
    data = event["data"]
    rows: Labelled = [("checkpoint", _checkpoint(data)), ("place", [(safe(str(data.get("root", ""))), "")])]
    if data.get("label"):
        rows.insert(0, ("label", [(safe(str(data["label"])), "")]))
    if data.get("head"):
        rows.append(("head", [(safe(str(data["head"])), "")]))
    changed = [words.count(int(data.get("changed") or 0), "file") + " since the checkpoint before"]
    if data.get("dirty") is not None:
        changed.append(words.count(int(data["dirty"]), "file") + " beside what is committed")
    return [*rows, ("changed", [("; ".join(changed), "")])]


def _counts(change: Row) -> Line:
    added, deleted = change.get("added"), change.get("deleted")
    if added is None or deleted is None:
        return [("binary ", "dim")] if change.get("new_mode") != 0o160000 else [("repository ", "dim")]
    return [(f"+{int(added)} ", "added"), (f"-{int(deleted)} ", "deleted")]


def _origin(event: Row) -> Line:
    data = event["data"]
    whose, names = str(data.get("attribution")), data.get("candidates") or []
    if whose == "ambiguous":
        return [("could be any of: ", "warning"), *_named(names, event["session"])]
    if whose in _NOBODY:
        return [(_NOBODY[whose], "warning")]
    known = str(data.get("confidence"))
    line: Line = [(_CONFIDENT.get(known, safe(known)), "")]
    return [*line, (", in another session: ", "dim"), *_named(names, event["session"])] if names else line


def _named(names: Sequence[str], session: str) -> Line:
    """Ids as `show` takes them; what ran in the background has none."""
    line: Line = []
    for at, name in enumerate(names):
        outer, _, inner = str(name).partition("/")
        place = "" if outer == session else f"{outer[:_SHORT]}/"
        short = f"{place}{inner[:_SHORT]}" if inner else "something in the background"
        line += [(", " if at else "", "dim"), (safe(short), "id" if inner else "")]
    return line


def _files(data: Row) -> list[Line]:
    changes = data.get("changes") or []
    number = max(int(data.get("files") or 0), len(changes))
    lines = [[*file_line(change), *_kept(change)] for change in changes[:_IN_FULL]]
    left = number - len(lines)
    return [*lines, [(f"... and {words.count(left, 'more file')}", "dim")]] if left else lines


def _kept(change: Row) -> Line:
    line: Line = []
    modes = change.get("old_mode"), change.get("new_mode")
    if None not in modes and modes[0] != modes[1]:
        line.append((f"  {modes[0]:o} -> {modes[1]:o}", "dim"))
    if change.get("from_git"):
        line.append(("  from git", "dim"))
    if change.get("withheld"):
        line.append((f"  (withheld: {why_withheld(str(change['withheld']))})", "warning"))
    return line


def _checkpoint(data: Row) -> Line:
    line: Line = [(safe(str(data.get("commit"))), "")]
    if data.get("before"):
        line.append((f", after {safe(str(data['before'])[:_SHORT])}", "dim"))
    return [*line, (f", of the chain {safe(str(data.get('chain')))}", "dim")]
