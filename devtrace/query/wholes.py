"""Files that have no lines to compare, judged whole: what is no text, too large, or withheld by its name.

Of the last two the record holds an HMAC, which says of a content whether it is the one that was there.

Lives here: `bringing`, `unlined`. Not here: the lines of all other files, and the classes (coverage.py).
"""

from __future__ import annotations

from pathlib import Path

from devtrace.errors import UsageError
from devtrace.query.annotate import MOST_BYTES
from devtrace.query.blame import Blame
from devtrace.query.versions import Version

_LINED = (None, "secret")  # with a secret masked a content still has its lines
_BY_NAME = "path"


def bringing(blame: Blame, file: Path, oid: str | None, data: bytes | None) -> Version | None:
    """The version that brought a content to a file; None: none is known.

    `oid`: as it is kept, or git's own. `data`: the true content; None: it is not to be had.
    """
    same = _holding(blame, file, oid, data)
    # What a checkout brings back is whose it was before.
    return next((one for one in reversed(same) if not one.brings_back), same[-1] if same else None)


def unlined(blame: Blame, file: Path, oid: str, data: bytes) -> str | None:
    """Why the record holds no lines of a content: `size`, `path`, ...; None: it may hold them."""
    same = _holding(blame, file, oid, data)
    for version in reversed(same or _last(blame, file)):
        why = blame.objects.withheld(version.oid) if version.oid is not None else None
        if why not in _LINED and (same or why == _BY_NAME):
            return why
    return "size" if len(data) > MOST_BYTES else None


def _holding(blame: Blame, file: Path, oid: str | None, data: bytes | None) -> list[Version]:
    mac = None if data is None else blame.mac_of(data)
    found = _lineage(blame, file)
    return [one for one in found if one.oid is not None and (one.oid == oid or _is(one, mac))]


def _is(version: Version, mac: str | None) -> bool:
    return mac is not None and version.hmac == mac


def _last(blame: Blame, file: Path) -> list[Version]:
    return _lineage(blame, file)[-1:]


def _lineage(blame: Blame, file: Path) -> list[Version]:
    try:
        tree, path = blame.place_of(file)
    except UsageError:  # it lies where nothing was recorded
        return []
    return blame.versions.lineage((tree.chain, path))
