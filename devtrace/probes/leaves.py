"""Plain values and texts of a snapshot: what may leave of each, and what the snapshot may still spend.

Lives here: `Leaves`. Not here: what holds others (walk.py), the limits (snapshot.py), the forms in which
values are told (markers.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

from devtrace.probes.anatomy import MOST_BITS, digits
from devtrace.probes.hiding import REDACTED
from devtrace.probes.kinds import Secret
from devtrace.probes.markers import more

try:
    from _json import encode_basestring_ascii as _quoted
except ImportError:  # an interpreter without its C part
    from json.encoder import py_encode_basestring_ascii as _quoted

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from devtrace.probes.hiding import Hidden
    from devtrace.probes.snapshot import Encoder, SnapshotLimits

OVERLAP = 4096  # characters beyond a cut that are redacted with what is kept: no half of a secret stays
MOST_EXACT = 1 << 53  # JSON's numbers are doubles in many a reader
MARKER = 64  # bytes, about, of a marker without its texts
_EVERY = 64  # values, or so many times 64 characters, between two looks at the clock
_TAIL = 2048  # bytes that are left for what says that something was cut
SHORT = 32  # characters of a name that is not cut
_SHORT_TEXT = 128  # characters of a text that is remembered while the snapshot is made
_WIDEST = 12  # bytes of a character that JSON writes as two escapes
_INFINITE = float("inf")


class Leaves:
    """What may be spent, and what was found hidden. For one snapshot and one thread.

    `seen`: every text that was met, so that a hidden value that is found late can be looked for in what was
    told before it. `stopped`: the limit that was reached, "" while none is.
    """

    __slots__ = (
        "_callback", "_deadline", "_encoder", "_hidden", "_limits", "_nodes", "_redact", "_room", "_short",
        "_ticks", "seen", "stopped",
    )  # fmt: skip

    def __init__(self, encoder: Encoder, limits: SnapshotLimits, hidden: Hidden, deadline: int):
        self._encoder = encoder
        self._callback = encoder.callback
        self._redact = encoder.redact
        self._limits = limits
        self._hidden = hidden
        self._deadline = deadline
        self._nodes = limits.max_nodes
        self._room = limits.max_bytes - _TAIL
        self._ticks = _EVERY
        self._short: dict[str, tuple[str, int]] = {}  # text -> as it is told, and its bytes of JSON
        self.seen: list[str] = []
        self.stopped = ""

    def leaf(self, kind: type, value: Any) -> Any:
        """A plain value, of one of the types in `LEAVES`, as it may leave."""
        if self._callback is not None:
            value = self._asked(self._callback, value)
            kind = type(value)
        return LEAVES[id(kind)](self, value)

    def derived_leaf(self, base: type, value: Any) -> Any:
        """The plain value that an instance of a class derived from its type holds."""
        plain, size = PLAIN[base](value, self._limits.max_string + OVERLAP)
        callback = self._callback
        asked = plain if callback is None else self._asked(callback, plain)
        if asked is plain and type(plain) is str:
            return self._string(plain, size)
        if asked is plain and type(plain) in (bytes, bytearray):
            return self._binary(type(plain).__name__, plain, size)
        return LEAVES[id(type(asked))](self, asked)

    def clean(self, text: str) -> str:
        """A text as it may leave."""
        self._ticks -= len(text) // _EVERY
        self.seen.append(text)
        if self._hidden.wholes:
            text = self._hidden.masked(text)
        return self._redact(text)

    def short(self, text: str) -> tuple[str, int]:
        """A short text as it may leave, and its bytes of JSON. The same are met often: keys of many dicts.

        One that turns out to be hidden is in `seen`, and then all is told again.
        """
        self.seen.append(text)  # as `clean` does
        told = self._redact(self._hidden.masked(text) if self._hidden.wholes else text)
        known = self._short[text] = told, len(_quoted(told))
        return known

    def hide(self, value: Any) -> None:
        """Remember what stands under a hidden name."""
        self._encoder.learn(self._hidden.add(value))

    def _key(self, name: str) -> str:
        """A name or key as it is told; a long one is cut."""
        if len(name) <= SHORT:
            told, size = self._short.get(name) or self.short(name)
            self._spend(size + 4)
            return told
        most = min(self._limits.max_string, max(0, self._room) // _WIDEST)
        cut: str = _beginning(self.clean(name[: most + OVERLAP]), most, len(name))
        self._spend(len(_quoted(cut)) + 4)
        return cut

    def _type_name(self, name: str) -> str:
        known: str | None = None if self._hidden.wholes else self._encoder.types.get(name)
        if known is None:
            return self._encoder.told_type(name, self.clean(name))
        self.seen.append(name)
        return known

    def _hide(self, value: Any) -> str:
        self.hide(value)
        self._spend(len(REDACTED) + 2)
        return REDACTED

    def _spend(self, size: int) -> None:
        self._room -= size
        if self._room <= 0:
            self.stopped = "bytes"

    def _look(self) -> None:
        self._ticks = _EVERY
        if self._nodes <= 0:
            self.stopped = "nodes"
        elif self._encoder.clock() > self._deadline:
            self.stopped = "time"

    def _typed(self, type_name: str, /, **more: Any) -> dict[str, Any]:
        self._spend(MARKER + len(type_name))
        return {"__tpd_type__": self._type_name(type_name) if "." in type_name else type_name, **more}

    def _asked(self, callback: Callable[[Any], Any], value: Any) -> Any:
        """A plain value as the user's callback lets it leave; it sees no more than what could be kept."""
        most, shown = self._limits.max_string + OVERLAP, value
        if type(value) is bytearray:  # which the callback could change
            shown = value = bytes(value[:most])
        elif type(value) in (str, bytes) and len(value) > most:
            shown = value[:most]
        try:
            given = callback(shown)
        except Exception:
            return REDACTED
        if given is shown:
            return value
        return given if id(type(given)) in LEAVES else REDACTED

    # --- by type ---

    def _secret(self, _value: Any) -> Any:
        self._spend(len(REDACTED))
        return REDACTED

    def _same(self, value: Any) -> Any:
        self._spend(7)
        return value

    def _int(self, value: int) -> Any:
        if -1000 < value < 1000:
            self._spend(6)
            return value
        text = digits(value)
        self.seen.append(text)
        if self._hidden.is_one(text):
            return REDACTED
        if -MOST_EXACT <= value <= MOST_EXACT:
            self._spend(len(text) + 2)
            return value
        told = self._typed("int", __repr__=text)
        return told if value.bit_length() <= MOST_BITS else told | {"__tpd_truncated__": True}

    def _float(self, value: float) -> Any:
        if value != value or value in (_INFINITE, -_INFINITE):
            return self._typed("float", __repr__=repr(value))
        self._spend(26)
        return value

    def _complex(self, value: complex) -> Any:
        return self._typed("complex", __repr__=repr(value))

    def _str(self, value: str) -> Any:
        size = len(value)
        if size <= _SHORT_TEXT and size <= self._limits.max_string:
            told, cost = self._short.get(value) or self.short(value)
            if cost <= self._room:
                self._room = room = self._room - cost - 2
                if room <= 0:
                    self.stopped = "bytes"
                return told
        return self._string(value, size)

    def _string(self, value: str, size: int) -> Any:
        """A text of `size` characters, of which the beginning may do."""
        most = min(self._limits.max_string, max(0, self._room))
        if size <= most:
            told = self.clean(value)
        else:
            told = _beginning(self.clean(value[: most + OVERLAP]), most, size)
        cost = len(_quoted(told))
        if cost > self._room:
            most = max(0, self._room) // _WIDEST
            told = told[:most]
        self._spend(cost + 2)
        if size <= most:
            return told
        return self._typed("str", __repr__=told, **more(size - most))

    def _bytes(self, value: bytes | bytearray) -> Any:
        return self._binary(type(value).__name__, value, len(value))

    def _binary(self, name: str, value: bytes | bytearray, size: int) -> Any:
        most = min(self._limits.max_string, max(0, self._room) // 6)
        text = bytes(value[: most + OVERLAP]).decode("utf-8", "surrogateescape")
        told = self.clean(text).encode("utf-8", "surrogateescape")
        text = repr(_beginning(told, most, size))
        self._spend(len(_quoted(text)))
        return self._typed(name, __repr__=text, **({} if size <= most else more(size - most)))

    def _told_by(self, name: str, text: str) -> dict[str, Any]:
        """What a text tells."""
        told = self._string(text, len(text))
        return self._typed(name, __repr__=told) if type(told) is str else told | {"__tpd_type__": name}


def is_something(value: Any) -> bool:
    """Whether there is anything to hide."""
    kind = type(value)
    return not (value is None or ((kind is str or kind is bytes) and not value))


def quoted_size(text: str) -> int:
    """Its bytes as JSON, in ASCII."""
    return len(_quoted(text))


def _beginning(told: Any, most: int, size: int) -> Any:
    """Of what was redacted before it is cut.

    Where it became shorter, what stands at its end may have been cut itself, and is no part of the beginning.
    """
    if size <= most:
        return told
    return told[:most] if size <= most + OVERLAP else told[: max(0, min(most, len(told) - OVERLAP))]


# By the ids of types, which a metaclass cannot answer for; these types are never gone.
LEAVES: dict[int, Callable[[Leaves, Any], Any]] = {
    id(str): Leaves._str,
    id(int): Leaves._int,
    id(bool): Leaves._same,
    id(type(None)): Leaves._same,
    id(float): Leaves._float,
    id(bytes): Leaves._bytes,
    id(bytearray): Leaves._bytes,
    id(complex): Leaves._complex,
    id(Secret): Leaves._secret,
}
# Of a builtin whose instances are no containers -> how C reads one of a class derived from it. The last two
# say how much of it, and how long it is.
PLAIN: dict[type, Callable[[Any, int], tuple[Any, int]]] = {
    str: lambda value, most: (str.__getitem__(value, slice(0, most)), str.__len__(value)),
    bytes: lambda value, most: (bytes.__getitem__(value, slice(0, most)), bytes.__len__(value)),
    bytearray: lambda value, most: (bytearray.__getitem__(value, slice(0, most)), bytearray.__len__(value)),
    int: lambda value, _: (int.__pos__(value) if int.bit_length(value) <= MOST_BITS else None, 0),
    float: lambda value, _: (float.__pos__(value), 0),
    complex: lambda value, _: (complex.__pos__(value), 0),
}
