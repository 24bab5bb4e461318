"""The next tree from the last one: only the folders above a change are written anew.

A tree's content is a row of `mode name NUL id`, the id as 20 bytes, in the order of the names as bytes, where
that of a folder counts as ending in a slash (gitformat: tree objects).

Lives here: reading and writing trees. Not here: where their objects are (objects.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from devtrace.store.checkpoints.objects import Objects

FOLDER = 0o40000
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

_ENTRY = re.compile(rb"([0-7]+) ([^\0]+)\0(.{20})", re.DOTALL)


class Entry(NamedTuple):
    """What stands in a tree for a path: 0o100644, 0o100755, 0o120000 (a link) or 0o160000 (a repository)."""

    mode: int
    oid: str


Changes = Mapping[bytes, Entry | None]  # by path; None: it is not there
Known = dict[str, dict[bytes, Entry]]  # folders that were read already, by their ids


def with_changes(objects: Objects, tree: str | None, changes: Changes) -> str:
    """The tree with these paths set or taken out; returns its id. `tree` None: an empty one.

    A file takes the place of a folder and the other way round; a folder that becomes empty goes. Every tree
    that is not an unchanged part of the old one is written.
    """
    return _rebuilt(objects, tree, _nested(changes)) or objects.write("tree", b"")


def find(objects: Objects, tree: str | None, path: bytes, known: Known | None = None) -> Entry | None:
    """What stands in the tree for a path; a folder's entry has the mode FOLDER.

    `known` spares whoever looks for many paths to read the same folders again.
    """
    known = {} if known is None else known
    entry: Entry | None = None if tree is None else Entry(FOLDER, tree)
    for name in path.split(b"/"):
        if entry is None or entry.mode != FOLDER:
            return None
        if entry.oid not in known:
            known[entry.oid] = entries(objects, entry.oid)
        entry = known[entry.oid].get(name)
    return entry


def entries(objects: Objects, tree: str) -> dict[bytes, Entry]:
    """The entries of one folder, by their names."""
    if tree == EMPTY_TREE:
        return {}
    found = _ENTRY.finditer(objects.read(tree))
    return {match[2]: Entry(int(match[1], 8), match[3].hex()) for match in found}


def walk(objects: Objects, tree: str, below: bytes = b"") -> Iterator[tuple[bytes, Entry]]:
    """Every path of a tree that is no folder, with its entry, in the tree's order, however deep it is."""
    opened = [(below, iter(entries(objects, tree).items()))]
    while opened:
        prefix, rest = opened[-1]
        for name, entry in rest:
            if entry.mode == FOLDER:
                opened.append((prefix + name + b"/", iter(entries(objects, entry.oid).items())))
                break
            yield prefix + name, entry
        else:
            opened.pop()


def differences(
    objects: Objects, old: str | None, new: str | None, below: bytes = b""
) -> Iterator[tuple[bytes, Entry | None, Entry | None]]:
    """(path, before, after) of every path that differs; equal folders are not looked into."""
    opened = [(below, _unequal(objects, old, new))]
    while opened:
        prefix, rest = opened[-1]
        for name, one, other in rest:
            path = prefix + name
            one_folder = one.oid if one is not None and one.mode == FOLDER else None
            other_folder = other.oid if other is not None and other.mode == FOLDER else None
            file, other_file = None if one_folder else one, None if other_folder else other
            if file is not None or other_file is not None:
                yield path, file, other_file
            if one_folder or other_folder:
                opened.append((path + b"/", _unequal(objects, one_folder, other_folder)))
                break
        else:
            opened.pop()


def _unequal(
    objects: Objects, old: str | None, new: str | None
) -> Iterator[tuple[bytes, Entry | None, Entry | None]]:
    """(name, before, after) of what differs in one folder."""
    if old == new:
        return
    before = {} if old is None else entries(objects, old)
    after = {} if new is None else entries(objects, new)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield name, before.get(name), after.get(name)


class _Folder(dict[bytes, "Entry | _Folder | None"]):
    """Changes inside a folder, by name."""


def _nested(changes: Changes) -> _Folder:
    root = _Folder()
    # Deletions first: where a file becomes a folder, what stands below it stays.
    for path, entry in sorted(changes.items(), key=lambda change: change[1] is not None):
        *folders, name = path.split(b"/")
        place = root
        for folder in folders:
            inner = place.get(folder)
            if not isinstance(inner, _Folder):
                inner = place[folder] = _Folder()
            place = inner
        if entry is not None or not isinstance(place.get(name), _Folder):
            place[name] = entry
    return root


def _rebuilt(objects: Objects, tree: str | None, changes: _Folder) -> str | None:
    """The id of the folder with the changes in it, None when nothing is left in it."""
    kept = {} if tree is None else entries(objects, tree)
    for name, change in changes.items():
        entry: Entry | None
        if isinstance(change, _Folder):
            old = kept.get(name)
            was = old.oid if old is not None and old.mode == FOLDER else None
            inner = _rebuilt(objects, was, change)
            entry = None if inner is None else Entry(FOLDER, inner)
            if entry is None and old is not None and old.mode != FOLDER and not _adds(change):
                continue  # what is taken out below a file was not there: the file stays
        else:
            entry = change
        if entry is None:
            kept.pop(name, None)
        else:
            kept[name] = entry
    if not kept:
        return None
    return objects.write("tree", b"".join(_line(name, kept[name]) for name in sorted(kept, key=_order(kept))))


def _adds(changes: _Folder) -> bool:
    return any(
        _adds(inner) if isinstance(inner, _Folder) else inner is not None for inner in changes.values()
    )


def _order(kept: Mapping[bytes, Entry]):  # type: ignore[no-untyped-def]
    return lambda name: name + b"/" if kept[name].mode == FOLDER else name


def _line(name: bytes, entry: Entry) -> bytes:
    return b"%o %s\0%s" % (entry.mode, name, bytes.fromhex(entry.oid))
