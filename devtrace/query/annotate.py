"""Who wrote each line of a version: a walk over the versions of a file, each compared with the one before.

Git's own blame over the chain is fooled by going back and forth between branches: what a checkout brings back
would be the checkout's. So the lines of a version that brings something back are looked for in what was there
earlier, and keep who wrote them.

Lives here: `Annotator`. Not here: which versions there are (versions.py), what a person asks for (blame.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import pygit2
from pygit2.enums import DiffOption

from devtrace.errors import DevTraceError
from devtrace.query.versions import BEFORE, GAP, WITHHELD, Version, Versions
from devtrace.store.checkpoints.objects import Objects

MOST_BYTES = 1 << 20  # of a content whose lines are told
_BINARY = 8_000  # bytes in which Git looks for a NUL
_MOST_EARLIER = 50  # versions in which a line that was brought back is looked for
_KEPT = 128  # contents in memory
_PLACEHOLDER = b"[withheld "
_SAYS_SOMETHING = re.compile(rb"[^\W_]|[\x80-\xff]")
_REDACTED = re.compile(rb"\[redacted:[^\]]*\]")

Lines = list[bytes]  # each ends in a newline


class Origin(NamedTuple):
    """The version that brought a line, and which line of it that was, from 0."""

    version: Version
    at: int


class Hunk(NamedTuple):
    """Lines `old` to `old_end` became lines `new` to `new_end`; counted from 0, the ends are not in it."""

    old: int
    old_end: int
    new: int
    new_end: int


def whole(data: bytes) -> bytes:
    """The content with a newline behind its last line, so that writing behind it does not make it another."""
    return data if not data or data.endswith(b"\n") else data + b"\n"


def lines_of(data: bytes) -> Lines:
    """The lines of a whole content."""
    return [line + b"\n" for line in data.split(b"\n")[:-1]]


def why_untold(data: bytes) -> str | None:
    """Why the lines of a content cannot be told; None: they can."""
    if len(data) > MOST_BYTES:
        return "it is larger than 1 MiB"
    if b"\0" in data[:_BINARY]:
        return "it is no text"
    if data.startswith(_PLACEHOLDER) and data.count(b"\n") == 1:
        return "its content is withheld"
    return None


def hunks(old: bytes, new: bytes) -> Iterator[Hunk]:
    """What differs between two whole contents, by the algorithm of Git's own diff."""
    if not old or not new:
        if old or new:
            yield Hunk(0, old.count(b"\n"), 0, new.count(b"\n"))
        return
    patch = pygit2.Patch.create_from(old, new, flag=DiffOption.FORCE_TEXT, context_lines=0, interhunk_lines=0)
    for hunk in patch.hunks:
        before = hunk.old_start - (hunk.old_lines > 0)
        after = hunk.new_start - (hunk.new_lines > 0)
        yield Hunk(before, before + hunk.old_lines, after, after + hunk.new_lines)


class Annotator:
    """Remembers what it found: no two contents are compared twice."""

    def __init__(self, versions: Versions, objects: Objects):
        self._versions = versions
        self._objects = objects
        self._found: dict[Version, list[Origin] | None] = {}
        self._given: dict[str, bytes | None] = {}
        self._read = lru_cache(_KEPT)(self._read_kept)
        self._set = lru_cache(_KEPT)(self._read_set)

    def content(self, version: Version) -> bytes | None:
        """What a version holds, whole; None: it is no text, too large, withheld, or lost."""
        if version.oid is None:
            return b""
        return self._given[version.oid] if version.oid in self._given else self._read(version.oid)

    def give(self, oid: str, data: bytes) -> None:
        """Know a content that no checkpoint holds."""
        self._given[oid] = whole(data) if why_untold(data) is None else None

    def origins(self, version: Version) -> list[Origin] | None:
        """Where each line of a version comes from; None: its lines cannot be told."""
        for earlier in self._versions.timeline(version.key):
            if version in self._found or earlier.place >= version.place:
                break
            if earlier not in self._found:
                self._found[earlier] = self._judged(earlier)
        if version not in self._found:
            self._found[version] = self._judged(version)
        return self._found[version]

    def replaced(self, version: Version, at: int) -> tuple[Lines, list[Origin], int]:
        """The lines that line `at` of a version took the place of, where they came from, and the most likely.

        Empty where it was added between others.
        """
        source, new = self._versions.source(version), self.content(version)
        old, before = self._known(source)
        if old is not None and before is not None and new is not None:
            for hunk in hunks(old, new):
                if hunk.new <= at < hunk.new_end:
                    likely = min(at - hunk.new, max(hunk.old_end - hunk.old - 1, 0))
                    return lines_of(old)[hunk.old : hunk.old_end], before[hunk.old : hunk.old_end], likely
        return [], [], 0

    # --- judging --------------------------------------------------------------------------------------------

    def _judged(self, version: Version) -> list[Origin] | None:
        self._found[version] = None  # a record that leads in a circle ends here
        new = self.content(version)
        if new is None:
            return None
        if version.brings_back and (same := self._identical(version, new)) is not None:
            return same
        origins = self._carried(version, new)
        if version.brings_back:
            self._bring_back(version, new, origins)
        return origins

    def _carried(self, version: Version, new: bytes) -> list[Origin]:
        """The lines that were there just before keep their origin."""
        source, author = self._versions.source(version), version
        if source is not None and source.oid == version.oid and (same := self.origins(source)) is not None:
            return same
        while source is not None and self.content(source) is None:
            # What is new was added by this version or by the one that nobody can read: nobody knows.
            source, author = self._versions.source(source), _nobody(version, GAP)
        old, before = self._known(source)
        if old is None or before is None:
            return new_lines(author, 0, new.count(b"\n"))
        return transferred(before, author, hunks(old, new))

    def _known(self, version: Version | None) -> tuple[bytes | None, list[Origin] | None]:
        return (None, None) if version is None else (self.content(version), self.origins(version))

    def _identical(self, version: Version, new: bytes) -> list[Origin] | None:
        """The origins of an earlier version with the same content: at this path, else anywhere."""
        if version.oid is None:  # a row that no event of ours made
            return None
        for one in self._versions.earlier_same(version):
            if (found := self.origins(one)) is not None:
                return found
        if not new:
            return []
        for one in self._versions.holders(version.oid, version.key[0]):
            if one.place < version.place and (found := self.origins(one)) is not None:
                return found
        if self._versions.stood_before(version):
            return new_lines(_nobody(version, BEFORE), 0, new.count(b"\n"))
        return None

    def _bring_back(self, version: Version, new: bytes, origins: list[Origin]) -> None:
        """Look in the newest earlier versions for the lines that nothing explains yet."""
        left = {at for at, origin in enumerate(origins) if origin.version.place == version.place}
        source = self._versions.source(version)
        tried = {version.oid, source.oid if source is not None else None, None}
        lines = lines_of(new) if left else []
        for earlier in reversed(self._versions.earlier(version) if left else ()):
            if not left or len(tried) > _MOST_EARLIER:
                return
            if earlier.oid is not None and earlier.oid not in tried:
                tried.add(earlier.oid)
                known = self._set(earlier.oid)
                if any(lines[at] in known for at in left):
                    self._match(earlier, lines, origins, left)

    def _match(self, earlier: Version, lines: Lines, origins: list[Origin], left: set[int]) -> None:
        """Give the lines that `earlier` had too their origin there, and take them out of `left`."""
        old, before = self._known(earlier)
        if old is None or before is None:
            return
        old_at = new_at = 0
        end = Hunk(len(before), len(before), len(lines), len(lines))
        for hunk in (*hunks(old, b"".join(lines)), end):
            same = [at for at in range(new_at, hunk.new) if at in left]
            # A lone brace proves nothing; one between lines that were around it then is the same one.
            if same and any(map(_SAYS_SOMETHING.search, lines[new_at : hunk.new])):
                for at in same:
                    origins[at] = before[old_at + at - new_at]
                left.difference_update(same)
            old_at, new_at = hunk.old_end, hunk.new_end

    def _read_set(self, oid: str) -> frozenset[bytes]:
        return frozenset(lines_of(self._read(oid) or b""))

    def _read_kept(self, oid: str) -> bytes | None:
        try:
            data = self._objects.read(oid)
        except DevTraceError:
            return None
        if self._objects.withheld(oid) not in (None, "secret") or why_untold(data) is not None:
            return None
        return whole(data)


def new_lines(author: Version, start: int, end: int) -> list[Origin]:
    """Lines that a version brought."""
    return [Origin(author, at) for at in range(start, end)]


def transferred(before: Sequence[Origin], author: Version, found: Iterable[Hunk]) -> list[Origin]:
    """The origins after a change: what is new in it is the author's."""
    origins: list[Origin] = []
    at = 0
    for hunk in found:
        origins += before[at : hunk.old]
        origins += new_lines(author, hunk.new, hunk.new_end)
        at = hunk.old_end
    return [*origins, *before[at:]]


def unveiled(
    before: Sequence[Origin], author: Version, old: bytes, new: bytes, *, same: bool
) -> list[Origin]:
    """The origins of a true content, by those of the redacted one that is kept of it or of an earlier one.

    `same`: it is the very content that was redacted, so every line that differs was only redacted.
    """
    found, lines = list(hunks(old, new)), lines_of(old)
    origins = transferred(before, author, found)
    for hunk in found:
        is_veiled = any(_REDACTED.search(line) for line in lines[hunk.old : hunk.old_end])
        for at in range(hunk.new, hunk.new_end):
            likely = min(hunk.old + at - hunk.new, hunk.old_end - 1)
            if same and likely >= hunk.old:
                origins[at] = before[likely]
            elif is_veiled:
                origins[at] = Origin(_nobody(author, WITHHELD), at)
    return origins


def _nobody(version: Version, status: str) -> Version:
    """In place of a version: somebody wrote this, and it is not known who."""
    return Version(key=version.key, place=version.place, oid=version.oid, status=status)
