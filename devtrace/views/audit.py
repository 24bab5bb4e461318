"""Whether a change is explained: a verdict, the files, what a reviewer should look at.

Lives here: the lines for a terminal. Not here: the same as Markdown (audit_markdown.py), finding it out
(query/coverage.py, query/findings.py), what a line of JSON means (jsonl.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from devtrace.query.coverage import BEFORE, CHECKPOINT, CLASSES, EXPLAINED, HUMAN, OBSERVED, UNEXPLAINED
from devtrace.query.smells import KINDS
from devtrace.views import words
from devtrace.views.console import Line
from devtrace.views.layout import Across, Cells, Column, lay_out
from devtrace.views.safe import safe
from devtrace.views.timeline import Reader

Row = dict[str, Any]

_NAMED = 5  # places in the verdict
LISTED = 20  # findings of one kind
_LONGEST = 240  # characters of a finding
WORDS = {
    OBSERVED: "observed by a tool call or command",
    CHECKPOINT: "observed by checkpoint only",
    HUMAN: "human",
    BEFORE: "before recording",
    UNEXPLAINED: "unexplained",
}
_STYLES = {OBSERVED: "good", HUMAN: "good", UNEXPLAINED: "failed", BEFORE: "warning", CHECKPOINT: "warning"}
_WHY = {
    "outside": "changed outside any session",
    "gap": "it came in while nothing was recorded",
    "withheld": "what is kept of it was redacted",
    "unseen": "nothing that was recorded holds it",
}
HEADS = {
    "test_deleted": "Tests deleted",
    "test_weakened": "Tests weakened",
    "test_skipped": "Tests skipped",
    "no_verify": "Hooks of the repository left out",
    "secret": "Secrets printed",
    "claim": "Other than the agent says",
    "failed": "Failures that were left",
    "undone": "Edits undone",
    "outside": "Files outside the repository",
    "gap": "Not observed",
    "hooks": "Agents without hooks",
}
_COLUMNS = (
    Column(right=True),  # new lines
    Column(right=True, drop=1),  # explained
    Column(flex=True),  # path
    Column(drop=2),  # what is missing
)
_BY_TIME = ("time", "client")
_WHOLE = {None: "no text", "size": "too large"}  # why a file has no lines; else its content is withheld


def verdict(told: Row, quoted: Callable[[str], str] = str) -> str:
    """`97.4 % of 1,204 changed lines explained; 31 unexplained: api.py:12-20, ...`.

    `quoted`: how the names of files are written.
    """
    total = words.count(told["total"], "changed line")
    known = (
        "No changed lines to explain" if told["percent"] is None else f"{percent(told)} of {total} explained"
    )
    left = [
        f"{told['lines'][name]:,} {WORDS[name]}: {_places(_spans(told, name), quoted)}"
        for name in (UNEXPLAINED, BEFORE)
        if told["lines"][name]
    ]
    for name in (UNEXPLAINED, BEFORE):
        if files := [one["path"] for one in told["whole"] if one["class"] == name]:
            named = ", ".join(map(quoted, files[:_NAMED]))
            left.append(f"{words.count(len(files), 'whole file')} {WORDS[name]}: {_and_more(named, files)}")
    return "; ".join([known, *left]) + "."


def percent(told: Row) -> str:
    """To one place, and never rounded to all or nothing."""
    value = told["percent"]
    if value is None:
        return "-"
    if 0 < value < 100:
        value = min(max(value, 0.1), 99.9)
    return f"{value:.1f} %" if value not in (0, 100) else f"{value:.0f} %"


def audit_lines(told: Row, short: Mapping[str, str], reader: Reader) -> list[Line]:
    """The verdict, the sums, the files, the findings."""
    good = told["explained"] == told["total"] and not unexplained_files(told)
    lines: list[Line] = [[(safe(verdict(told)), "title" if good else "warning")], [*_about(told, short)], []]
    lines += [[(f"{number:>8,}  ", _STYLES[name]), (WORDS[name], "")] for name, number in sums(told)]
    lines += [[(f"{'':8}  {one}", "dim")] for one in uncounted(told)]
    if told["files"]:
        lines += [[], *lay_out(_COLUMNS, [*_files(told)], reader.width)]
    for kind, rows in by_kind(told["findings"]):
        lines += [[], [(HEADS[kind], "title")]]
        lines += [_finding(row, short) for row in rows[:LISTED]]
        if len(rows) > LISTED:
            lines.append([(f"  ... and {words.count(len(rows) - LISTED, 'more')}", "dim")])
    return lines if told["findings"] else [*lines, [], [("Nothing else to look at was found.", "dim")]]


# --- parts, some of which Markdown needs too ------------------------------------------------------------


def unexplained_files(told: Row) -> list[str]:
    """The files that were judged whole, and that nothing explains."""
    return [one["path"] for one in told["whole"] if one["class"] not in EXPLAINED]


def text_of(row: Row) -> str:
    """A finding as one safe line of a bounded length."""
    text = safe(row["text"])
    return f"{text[: _LONGEST - 1]}…" if len(text) > _LONGEST else text


def _about(told: Row, short: Mapping[str, str]) -> Line:
    """What was looked at."""
    if told["session"]:
        return [("session ", "dim"), (short.get(told["session"], told["session"]), "id")]
    base = told["base"][:8] if told["base"] else "nothing"
    line: Line = [(f"{safe(told['range'])}: {base} to {told['head'][:8]}, in ", "dim")]
    names = [short.get(one, one[:8]) for one in told["sessions"]]
    return [*line, (", ".join(names) or "no recorded session", "id" if names else "warning")]


def sums(told: Row) -> list[tuple[str, int]]:
    """The classes that there are, with how many lines."""
    return [(name, told["lines"][name]) for name in CLASSES if told["lines"][name]]


def uncounted(told: Row) -> Iterator[str]:
    """What the sums do not say, and what has no share in the percentage."""
    spans = [span for file in told["files"] for span in file["spans"]]
    if by_time := sum(span["end"] - span["start"] + 1 for span in spans if span["why"] in _BY_TIME):
        yield f"{words.count(by_time, 'line')} by time alone: no call or command that ran then names the file"
    if told["deleted"]:
        yield f"{words.count(told['deleted'], 'line')} deleted, in no class: a line that is gone is nobody's"
    for name in CLASSES:
        if number := told["binary"].get(name):
            yield f"{words.count(number, 'file')} of no text, in no percentage: {WORDS[name]}"
    for name in CLASSES:
        if number := told["withheld"].get(name):
            which = "too large or withheld, in no percentage"
            yield f"{words.count(number, 'file')} {which}: {WORDS[name]}"


def _files(told: Row) -> Iterator[Cells | Across]:
    for file in told["files"]:
        share, is_known = share_of(file)
        name = safe(file["path"])
        if file["old_path"]:
            name = f"{safe(file['old_path'])} -> {name}"
        verb = "" if file["change"] in ("modified", "renamed") else f"  {safe(file['change'])}"
        yield Cells(
            [
                [(size_of(file), "dim")],
                [(share, "good" if is_known else "warning")],
                [(name, ""), (verb, "dim")],
                [(reason_of(file), "failed")] if reason_of(file) else [],
            ]
        )


def size_of(file: Row) -> str:
    """`+12 -3`, or why it has no lines."""
    if file["whole"]:
        return _WHOLE.get(file["withheld"], "withheld")
    return f"+{file['added']:,} -{file['deleted']:,}"


def share_of(file: Row) -> tuple[str, bool]:
    """How much of a file's new lines is explained, and whether that is all of it."""
    total = sum(_length(span) for span in file["spans"])
    known = sum(_length(span) for span in file["spans"] if span["class"] in EXPLAINED)
    return f"{100 * known // total} %" if total else "", known == total


def reason_of(file: Row) -> str:
    """Which of its lines are unexplained, and why."""
    if file["whole"] == UNEXPLAINED:
        return f"as a whole: {_WHY['unseen']}"
    left = [span for span in file["spans"] if span["class"] == UNEXPLAINED]
    return _reason(left) if left else ""


def _reason(spans: Sequence[Row]) -> str:
    why = dict.fromkeys(_WHY.get(str(span["why"]), safe(str(span["why"]))) for span in spans)
    numbers = ", ".join(_numbers(span) for span in spans[:_NAMED])
    return f"{numbers}{', …' if len(spans) > _NAMED else ''}: {'; '.join(why)}"


def by_kind(findings: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """The findings of each kind, the gravest kind first."""
    found = [(kind, [row for row in findings if row["kind"] == kind]) for kind in KINDS]
    return [(kind, rows) for kind, rows in found if rows]


def _finding(row: Row, short: Mapping[str, str]) -> Line:
    line: Line = [("  ", ""), (text_of(row), ""), (times(row), "dim")]
    name = row["event"] or row["session"]
    return [*line, ("  ", ""), (short.get(name, name[:8]), "id")] if name else line


def times(row: Row) -> str:
    """How often, where the text does not say it."""
    is_told = row["kind"] in ("failed", "test_weakened", "test_skipped")
    return f" ({row['count']:,} times)" if row["count"] > 1 and not is_told else ""


def _spans(told: Row, name: str) -> list[Row]:
    return [span for file in told["files"] for span in file["spans"] if span["class"] == name]


def _places(spans: Sequence[Row], quoted: Callable[[str], str]) -> str:
    named = ", ".join(quoted(f"{span['path']}:{_numbers(span)}") for span in spans[:_NAMED])
    return _and_more(named, spans)


def _and_more(named: str, places: Sequence[object]) -> str:
    left = len(places) - _NAMED
    return f"{named} and {words.count(left, 'more place')}" if left > 0 else named


def _numbers(span: Row) -> str:
    return f"{span['start']}" if span["start"] == span["end"] else f"{span['start']}-{span['end']}"


def _length(span: Row) -> int:
    return int(span["end"] - span["start"] + 1)


def ids_of(told: Row) -> Iterable[str]:
    """Every id that the lines name."""
    yield from told["sessions"]
    if told["session"]:
        yield told["session"]
    for row in told["findings"]:
        if row["event"] or row["session"]:
            yield row["event"] or row["session"]
