"""What changed, for people and for machines: a coloured patch, a list of counts, a record a file.

Lives here: `lines`, `remarks`, `stat_lines`, `record`. Not here: the patch itself (patch.py), the pager
(cli/pager.py).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len, set_cell_size

from devtrace.query.diff import NetFile
from devtrace.views import words
from devtrace.views.console import Line
from devtrace.views.edits import why_withheld
from devtrace.views.patch import Patch, quoted
from devtrace.views.safe import safe

_SHORT = 10  # digits of an id that is named in passing
_NAMED = 3  # changes that are told beside a diff
_PIPE_WIDTH = 80
_LEAST_GRAPH = 6
_BINARY = "Bin"
_SIGNS = {b"+": "added", b"-": "deleted", b"@": "hunk", b"\\": "dim"}


class Shown(NamedTuple):
    """A file and its patches; `withheld`: why a content in them is not the true one."""

    file: NetFile
    patches: Sequence[Patch]
    withheld: str | None = None

    @property
    def added(self) -> int:
        """Lines."""
        return sum(patch.added for patch in self.patches)

    @property
    def deleted(self) -> int:
        """Lines."""
        return sum(patch.deleted for patch in self.patches)

    @property
    def is_binary(self) -> bool:
        """Whether there are no lines to count."""
        return any(patch.is_binary for patch in self.patches)

    @property
    def is_lost(self) -> bool:
        """Whether a content is no longer kept."""
        return any(patch.is_lost for patch in self.patches)


def lines(shown: Iterable[Shown]) -> Iterator[Line]:
    """The patches for a terminal, what is to be said of a file between its header and its hunks."""
    for one in shown:
        notes: list[Line] = [[(f"({remark})", "dim")] for remark in remarks(one)]
        if not one.patches:
            yield from notes
        for at, patch in enumerate(one.patches):
            yield from ([(_text(line), "title")] for line in _split(patch.header))
            if at == 0:
                yield from notes
            yield from _coloured(patch.hunks)


def remarks(one: Shown) -> list[str]:
    """What a patch cannot say of a file, in words."""
    file = one.file
    name, told = _name(file.path), []
    if file.is_ignored:
        told.append(f"{name} is no longer tracked: it is ignored now, and still there")
    if one.is_lost:
        told.append(f"the content of {name} is no longer kept")
    if one.withheld is not None:
        told.append(f"the content of {name} is withheld: {why_withheld(one.withheld)}")
    if file.is_mixed:
        others = " and ".join(safe(other.rpartition("/")[2][:_SHORT]) for other in file.others)
        by = f" by {others}" if others else ", and by whom is not known"
        told.append(f"{name} was also changed{by} in between: that is in here too")
    return told


def record(one: Shown) -> dict[str, Any]:
    """The fields of a `file` record of views/jsonl.py."""
    file = one.file
    counted = not (one.is_binary or one.is_lost or file.is_ignored)
    return {
        **_text_or_bytes("path", file.path),
        **({"old_path": None} if file.old_path is None else _text_or_bytes("old_path", file.old_path)),
        "change": file.change,
        "old_oid": file.old.oid if file.old else None,
        "new_oid": file.new.oid if file.new else None,
        "old_mode": file.old.mode if file.old else None,
        "new_mode": file.new.mode if file.new else None,
        "added": one.added if counted else None,
        "deleted": one.deleted if counted else None,
        "binary": one.is_binary,
        "withheld": one.withheld,
        "kept": not one.is_lost,
        "events": list(file.events),
        "others": list(file.others),
        **_text_or_bytes("patch", b"".join(patch.data for patch in one.patches)),
    }


def _text_or_bytes(name: str, value: bytes) -> dict[str, str]:
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {name: value.decode("utf-8", "replace"), f"{name}_b64": base64.b64encode(value).decode()}


def _coloured(hunks: bytes) -> Iterator[Line]:
    is_header = True
    for line in _split(hunks):
        is_header = is_header and line[:4] in (b"--- ", b"+++ ")
        yield [(_text(line), "title" if is_header else _SIGNS.get(line[:1], ""))]


def _split(data: bytes) -> list[bytes]:
    return data.removesuffix(b"\n").split(b"\n") if data else []


def _text(line: bytes) -> str:
    return safe(line.decode("utf-8", "replace"), keep="\t")


def _name(path: bytes) -> str:
    return safe(path.decode("utf-8", "replace"))


# --- counts -------------------------------------------------------------------------------------------------


class _Counted(NamedTuple):
    name: str
    added: int
    deleted: int
    words: str = ""  # in place of the graph


def stat_lines(shown: Sequence[Shown], width: int | None) -> list[Line]:
    """`path | 12 +++---` for each file, and the sum, laid out as git does (diff.c: show_stats)."""
    rows = [_counted(one) for one in shown]
    most = max((row.added + row.deleted for row in rows if not row.words), default=0)
    digits = max(len(str(most)), len(_BINARY) if any(row.words.startswith(_BINARY) for row in rows) else 0)
    name, graph = _widths(rows, most, digits, width or _PIPE_WIDTH)
    return [*(_stat(row, name, graph, most, digits) for row in rows), [(_sum(shown), "")]]


def _counted(one: Shown) -> _Counted:
    name = _renamed(one.file)
    if one.file.is_ignored:
        return _Counted(name, 0, 0, "no longer tracked")
    if one.is_lost:
        return _Counted(name, 0, 0, "no longer kept")
    if one.is_binary:
        before, after = one.patches[0].sizes
        return _Counted(name, 0, 0, f"{_BINARY} {before} -> {after} bytes")
    return _Counted(name, one.added, one.deleted)


def _renamed(file: NetFile) -> str:
    """`path`, or `dir/{old => new}/name` (diff.c: pprint_rename)."""
    if file.old_path is None:
        return quoted(file.path).decode("ascii")
    source, target = quoted(file.old_path).decode("ascii"), quoted(file.path).decode("ascii")
    if source[:1] == '"' or target[:1] == '"':
        return f"{source} => {target}"
    return _braced(source, target)


def _braced(source: str, target: str) -> str:
    start = 0
    for at, (one, other) in enumerate(zip(source, target, strict=False)):
        if one != other:
            break
        if one == "/":
            start = at + 1
    end = 0
    # The slash that ends the common start may begin the common end.
    most = min(len(source), len(target)) - (start - 1 if start else 0)
    for at in range(1, most + 1):
        if source[-at] != target[-at]:
            break
        if source[-at] == "/":
            end = at
    if not start and not end:
        return f"{source} => {target}"
    middle = source[start : max(len(source) - end, start)], target[start : max(len(target) - end, start)]
    tail = source[len(source) - end :] if end else ""
    return f"{source[:start]}{{{middle[0]} => {middle[1]}}}{tail}"


def _widths(rows: Sequence[_Counted], most: int, digits: int, width: int) -> tuple[int, int]:
    """Of the names and of the graph."""
    longest = max((cell_len(row.name) for row in rows), default=0)
    told = max((len(row.words) for row in rows), default=0)
    width = max(width, 16 + 6 + digits)
    graph = max(most, told - 4 if told else 0)
    if longest + digits + 6 + graph <= width:
        return longest, graph
    graph = min(graph, max(width * 3 // 8 - digits - 6, _LEAST_GRAPH))
    if longest > width - digits - 6 - graph:
        return width - digits - 6 - graph, graph
    return longest, width - digits - 6 - longest


def _stat(row: _Counted, name: int, graph: int, most: int, digits: int) -> Line:
    line: Line = [(f" {_fitted(row.name, name)} | ", "")]
    if row.words:
        return [*line, (" " * (digits - len(_BINARY)) + row.words, "dim")]
    added, deleted = _scaled(row.added, row.deleted, graph, most)
    line.append((f"{row.added + row.deleted:>{digits}}{' ' if added + deleted else ''}", ""))
    return [*line, ("+" * added, "added"), ("-" * deleted, "deleted")]


def _scaled(added: int, deleted: int, graph: int, most: int) -> tuple[int, int]:
    if graph > most:
        return added, deleted
    total = max(_linear(added + deleted, graph, most), 2 if added and deleted else 0)
    if added < deleted:
        scaled = _linear(added, graph, most)
        return scaled, total - scaled
    scaled = _linear(deleted, graph, most)
    return total - scaled, scaled


def _linear(count: int, graph: int, most: int) -> int:
    return 1 + count * (graph - 1) // most if count else 0


def _fitted(name: str, room: int) -> str:
    over = cell_len(name) - room
    if over <= 0:
        return set_cell_size(name, room)
    tail = name[-max(room - 3, 0) :]
    slash = tail.find("/")
    return set_cell_size("..." + (tail[slash:] if slash >= 0 else tail), room)


def _sum(shown: Sequence[Shown]) -> str:
    added, deleted = sum(one.added for one in shown), sum(one.deleted for one in shown)
    parts = [f" {len(shown)} file{'' if len(shown) == 1 else 's'} changed"]
    if added or not deleted:
        parts.append(f"{added} insertion{'' if added == 1 else 's'}(+)")
    if deleted or not added:
        parts.append(f"{deleted} deletion{'' if deleted == 1 else 's'}(-)")
    return ", ".join(parts)


def mention(unsure: Sequence[str], what: str) -> str:
    """`1 more change may be of this command: devtrace show 3f2a`."""
    named = ", ".join(unsure[:_NAMED]) + (", ..." if len(unsure) > _NAMED else "")
    return f"{words.count(len(unsure), 'more change')} may be of this {what}: devtrace show {named}"
