"""How much may be kept: of one event, of one session's outputs, and by when it may go.

A text that is too long loses its middle, and `data["truncated"]` tells its true size; an output beyond what
a session or the store may hold is left out, and `data["dropped"]` names the setting that said so.

Lives here: `Limits`, over frames that are redacted. Not here: where
frames pass (pipeline.py), taking out what is kept already (store/retention.py). Standard library only, and no
dataclass: guests import this.
"""

from __future__ import annotations

from typing import Any

from devtrace.config import Config

SESSION, STORE = "limits.session_mb", "limits.store_mb"
_SHORT = 1024  # bytes: names, paths and digests are never cut
_KIB, _MIB = 1 << 10, 1 << 20
_CONTINUES, _IS_CONTINUED = 0xC0, 0x80  # of UTF-8: the bits that tell a byte inside a character
_LONGEST_CHARACTER = 4
DAY_US = 86_400_000_000

Frame = dict[str, Any]


class Limits:
    """What one writer may keep, and what it had to leave out so far."""

    __slots__ = ("_dropped", "_event_bytes", "_kept", "_session_bytes", "_store_bytes")

    def __init__(self, settings: Config | None = None):
        settings = settings or Config()
        self._event_bytes = settings.number("limits.event_kb") * _KIB
        self._session_bytes = settings.number(SESSION) * _MIB
        self._store_bytes = settings.number(STORE) * _MIB
        self._kept: dict[str, int] = {}  # bytes of outputs by session
        self._dropped: dict[tuple[str, str], tuple[int, int]] = {}  # by session and setting: how many, bytes

    def apply(self, frame: Frame, store_bytes: int) -> Frame:
        """The frame as it may be kept, where the database has that size; the given one is not changed."""
        data = frame.get("data")
        if isinstance(data, dict):
            kept, sizes = _cut(data, self._event_bytes)
            if sizes:
                frame = {**frame, "data": {**kept, "truncated": sizes}}
        if isinstance(frame.get("title"), str):
            title, _ = _shortened(frame["title"], self._event_bytes)
            frame = frame if title is frame["title"] else {**frame, "title": title}
        return self._without_outputs(frame, store_bytes) if frame.get("blobs") else frame

    def take_dropped(self) -> list[tuple[str, str, int, int]]:
        """(session, setting, outputs, bytes) that were left out since the last time."""
        told = [(*key, *amount) for key, amount in self._dropped.items()]
        self._dropped = {}
        return told

    def _without_outputs(self, frame: Frame, store_bytes: int) -> Frame:
        session = str(frame.get("session"))
        size = sum(map(len, frame["blobs"].values()))
        kept = self._kept.get(session, 0) + size
        setting = STORE if self._is_over(store_bytes) else SESSION if kept > self._session_bytes > 0 else ""
        if not setting:
            self._kept[session] = kept
            return frame
        number, total = self._dropped.get((session, setting), (0, 0))
        self._dropped[session, setting] = number + 1, total + size
        return {**frame, "data": {**frame["data"], "dropped": setting}, "blobs": {}}

    def _is_over(self, store_bytes: int) -> bool:
        return store_bytes > self._store_bytes > 0


def _cut(data: dict[str, Any], room: int) -> tuple[dict[str, Any], dict[str, int]]:
    """The data with its texts short enough together, and the true sizes of those that were cut."""
    sizes = _sizes(data)
    if sum(sizes) <= room:
        return data, {}
    longest = _longest(sizes, room)
    true_sizes: dict[str, int] = {}
    return _cut_value(data, longest, "", true_sizes), true_sizes


def _sizes(value: Any) -> list[int]:
    """The bytes of every text, as far as they can matter."""
    if isinstance(value, str):
        return [len(value) if value.isascii() else len(_encoded(value))]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [size for inner in inside for size in _sizes(inner)]


def _longest(sizes: list[int], room: int) -> int:
    """The size up to which texts are whole: the shorter ones lose nothing to the longer ones."""
    left, rest = room, sorted(sizes)
    for at, size in enumerate(rest):
        share = left // (len(rest) - at)
        if size > share:
            return max(share, _SHORT)
        left -= size
    return room


def _cut_value(value: Any, longest: int, path: str, true_sizes: dict[str, int]) -> Any:
    if isinstance(value, str):
        text, size = _shortened(value, longest)
        if size:
            true_sizes[path] = size
        return text
    if isinstance(value, dict):
        start = f"{path}." if path else ""
        return {
            name: _cut_value(inner, longest, f"{start}{name}", true_sizes) for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_cut_value(inner, longest, f"{path}.{at}", true_sizes) for at, inner in enumerate(value)]
    return value


def _shortened(text: str, longest: int) -> tuple[str, int]:
    """The text without its middle, and its true size in bytes; the text itself and 0 where it fits."""
    if len(text) * _LONGEST_CHARACTER <= longest or len(text) <= _SHORT // _LONGEST_CHARACTER:
        return text, 0
    raw = _encoded(text)
    if len(raw) <= max(longest, _SHORT):
        return text, 0
    half = max(longest, _SHORT) // 2
    start, end = _character(raw, half), _character(raw, len(raw) - half)
    gone = f"\n[... {end - start:,} bytes were not kept ...]\n"
    return _decoded(raw[:start]) + gone + _decoded(raw[end:]), len(raw)


def _character(raw: bytes, at: int) -> int:
    """The start of the character in which a byte stands; the byte itself where it is no UTF-8."""
    for back in range(min(_LONGEST_CHARACTER, at)):
        if raw[at - back] & _CONTINUES != _IS_CONTINUED:
            return at - back
    return at


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return text.encode("utf-8", "replace")


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
