"""A changed file as a patch, word for word as `git diff` writes it: `git apply` takes it.

The headers are those of git-diff(1), "generating patch text with -p"; the hunks are libgit2's, with the same
heuristics that git uses. Data in, bytes out.

Lives here: `patches_of`. Not here: colour and counts (diff.py), which files (query/diff.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pygit2
from pygit2.enums import DiffOption

from devtrace.errors import DevTraceError
from devtrace.query.diff import NetFile
from devtrace.store.checkpoints.tree import Entry

Read = Callable[[str], bytes]  # the content of an object; raises DevTraceError where it is not kept

_KIND = 0o170000
_REPOSITORY = 0o160000
_NULL = "0" * 40
_ABBREVIATED = 7
_LOOKED_AT = 8_000  # bytes in which git looks for a NUL
_NAMED = {
    7: b"\\a",
    8: b"\\b",
    9: b"\\t",
    10: b"\\n",
    11: b"\\v",
    12: b"\\f",
    13: b"\\r",
    34: b'\\"',
    92: b"\\\\",
}
_FLAGS = DiffOption.FORCE_TEXT | DiffOption.INDENT_HEURISTIC


class Patch(NamedTuple):
    """One `diff --git`; a file that becomes a link, or the other way round, has two."""

    header: bytes
    hunks: bytes
    added: int = 0  # lines
    deleted: int = 0
    is_binary: bool = False
    is_lost: bool = False  # a content is no longer kept
    sizes: tuple[int, int] = (0, 0)  # bytes before and after

    @property
    def data(self) -> bytes:
        """The bytes that git would write."""
        return self.header + self.hunks


class _Sides(NamedTuple):
    file: NetFile
    old: Entry | None
    new: Entry | None

    @property
    def names(self) -> tuple[bytes, bytes]:
        """Before and after; one that is not there goes by the other's name."""
        return self.file.old_path or self.file.path, self.file.path


def patches_of(file: NetFile, read: Read, *, context: int = 3, binary: bool = False) -> list[Patch]:
    """The patch of a file, or two of them. `binary`: whole contents, as `git diff --binary` has them.

    A content that is not kept any more leaves its header.
    """
    if file.is_ignored:
        return []
    old, new = file.old, file.new
    if old is not None and new is not None and old.mode & _KIND != new.mode & _KIND:
        sides = [_Sides(file, old, None), _Sides(file, None, new)]
    else:
        sides = [_Sides(file, old, new)]
    return [_patch(one, read, context, binary=binary) for one in sides]


def quoted(name: bytes) -> bytes:
    """A path as git writes it: in double quotes where it holds anything but printable ASCII."""
    if all(0x20 <= byte < 0x7F and byte not in b'"\\' for byte in name):
        return name
    plain = (_NAMED.get(byte) or (b"%c" % byte if 0x20 <= byte < 0x7F else b"\\%03o" % byte) for byte in name)
    return b'"' + b"".join(plain) + b'"'


def _patch(sides: _Sides, read: Read, context: int, *, binary: bool) -> Patch:
    try:
        before, after = _content(sides.old, read), _content(sides.new, read)
    except DevTraceError:
        return Patch(_header(sides, None), b"", is_lost=True)
    sizes = (len(before), len(after))
    if before == after:
        return Patch(_header(sides, 100), b"", sizes=sizes)
    if b"\0" in before[:_LOOKED_AT] or b"\0" in after[:_LOOKED_AT]:
        header = _header(sides, 0, whole=binary)
        hunks = _literal(before, after) if binary else b"Binary files %s and %s differ\n" % _labels(sides)
        return Patch(header, hunks, is_binary=True, sizes=sizes)
    patch = pygit2.Patch.create_from(before, after, context_lines=context, flag=_FLAGS)
    _, added, deleted = patch.line_stats
    similar = _similarity(before, after) if sides.file.old_path else None
    labels = b"--- %s\n+++ %s\n" % (tuple(map(_tabbed, _labels(sides))))
    return Patch(_header(sides, similar), labels + _hunks(patch.data), added, deleted, sizes=sizes)


def _content(entry: Entry | None, read: Read) -> bytes:
    if entry is None:
        return b""
    return b"Subproject commit %s\n" % entry.oid.encode() if entry.mode == _REPOSITORY else read(entry.oid)


def _header(sides: _Sides, similarity: int | None, *, whole: bool = False) -> bytes:
    """Everything above the `---` line. `whole`: ids are not abbreviated."""
    old, new, (source, target) = sides.old, sides.new, sides.names
    lines = [b"diff --git %s %s" % (quoted(b"a/" + source), quoted(b"b/" + target))]
    if old is None and new is not None:
        lines.append(b"new file mode %o" % new.mode)
    elif new is None and old is not None:
        lines.append(b"deleted file mode %o" % old.mode)
    elif old is not None and new is not None and old.mode != new.mode:
        lines += [b"old mode %o" % old.mode, b"new mode %o" % new.mode]
    if source != target:
        if similarity is not None:
            lines.append(b"similarity index %d%%" % similarity)
        lines += [b"rename from " + quoted(source), b"rename to " + quoted(target)]
    return b"".join(line + b"\n" for line in (*lines, *_index(old, new, whole=whole)))


def _index(old: Entry | None, new: Entry | None, *, whole: bool) -> list[bytes]:
    before, after = old.oid if old else _NULL, new.oid if new else _NULL
    if before == after:
        return []
    length = None if whole else _ABBREVIATED
    mode = b" %o" % old.mode if old is not None and new is not None and old.mode == new.mode else b""
    return [b"index %s..%s%s" % (before[:length].encode(), after[:length].encode(), mode)]


def _labels(sides: _Sides) -> tuple[bytes, bytes]:
    source, target = sides.names
    return (
        b"/dev/null" if sides.old is None else quoted(b"a/" + source),
        b"/dev/null" if sides.new is None else quoted(b"b/" + target),
    )


def _tabbed(label: bytes) -> bytes:
    """A name with a blank in it ends in a tab, so that a reader knows where it ends (diff.c: name_a_tab)."""
    return label + b"\t" if b" " in label else label


def _hunks(data: bytes) -> bytes:
    start = data.find(b"\n@@ ")
    return b"" if start < 0 else data[start + 1 :]


def _literal(before: bytes, after: bytes) -> bytes:
    data = pygit2.Patch.create_from(before, after, flag=DiffOption.SHOW_BINARY | DiffOption.FORCE_BINARY).data
    start = data.find(b"GIT binary patch\n")
    return b"" if start < 0 else data[start:]


def _similarity(before: bytes, after: bytes) -> int:
    """How much of the larger one stayed, in percent (diffcore-rename.c: estimate_similarity)."""
    data = pygit2.Patch.create_from(before, after, context_lines=0, flag=_FLAGS).data
    gone = sum(
        len(line) for line in _hunks(data).split(b"\n") if line[:1] == b"-"
    )  # the sign for the newline
    return min(max(len(before) - gone, 0) * 100 // max(len(before), len(after), 1), 99)
