"""Secrets known by their value: of the environment, and those that turned up in the session.

A value is also found percent-encoded, in JSON, in base64, quoted by a shell, and where the bytes in its
middle were not kept. The values are kept in memory only.

Lives here: `Known`, `known_values`. Not here: secrets known by their shape (secrets.py). Standard library
only, and no dataclass: guests import this.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator, Mapping

from devtrace.policy.chain import CUT_END, CUT_START, Span
from devtrace.policy.names import (
    compiled,
    is_placeholder,
    is_secret_name,
    is_too_common,
    looks_like_a_secret,
    looks_random,
)

LEAST_VALUE = 6  # bytes; a shorter value is found by its variable's name only
MOST_LEARNED = 64  # values that turned up: each costs every text a look
_PROBE = 4  # bytes by which a form is recognised in a short text
_STRIDE = LEAST_VALUE - _PROBE + 1  # a form holds a whole probe at one of so many places, wherever it begins
_PER_FORM = 6  # bytes of a text that are probed in the time in which it is searched for one form
_LEAST_PART = 4  # bytes of a value beside a cut
_LEAST_BASE64 = 8
_RESERVED = b";,/?:@&=+$!'()*#"  # which JavaScript's encodeURI leaves as they are
# Characters of texts and names, the most frequent last; what is none of them is rare.
_COMMON = "#QZXJKVWYGHBUMFPqDCLNORITzSAEjxkvwyb9786543fgpmu2chdl01-/:._,nsiroate "
_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"


class Known:
    """A step of the chain that finds values, wherever and however they are written."""

    __slots__ = ("_both", "_forms", "_glance", "_probes", "_run", "_shortest_run", "learned")

    def __init__(self, values: Iterable[bytes] = ()):
        self._forms: dict[bytes, bytes] = {}  # how it may be written -> the value
        self._both: dict[bytes, bytes] = {}  # the same, and in base64, which needs a long run of its letters
        self._probes: dict[bytes, list[bytes]] = {}  # the first few bytes of a form -> the forms
        self._shortest_run = 1 << 15
        self._run = b""
        self._glance: re.Pattern[str] | None = None
        self.learned: list[bytes] = []  # the values that turned up
        for value in values:
            self.add(value)

    def add(self, value: bytes) -> None:
        """From now on this value is a secret, unless it is too short to be one wherever it stands."""
        if len(value) < LEAST_VALUE or value in self._forms:
            return
        forms, encoded = _forms(value), _in_base64(value)
        for form in (forms | encoded) - self._both.keys():
            for at in range(_STRIDE):
                self._probes.setdefault(form[at : at + _PROBE], []).append(form)
        self._forms |= dict.fromkeys(forms, value)
        self._both |= dict.fromkeys(forms | encoded, value)
        self._shortest_run = min(self._shortest_run, *map(len, encoded), 1 << 15)
        self._run = rb"[A-Za-z0-9+/_-]{%d}" % self._shortest_run
        self._glance = None  # made anew when somebody asks

    def learn(self, value: bytes) -> bool:
        """Take a value that a rule found, if it looks like nothing but a secret; whether it is a new one.

        A rule that was wrong once must not mask a plain word from then on.
        """
        if len(self.learned) >= MOST_LEARNED or value in self._both or not looks_like_a_secret(value):
            return False
        self.learned.append(value)
        self.add(value)
        return True

    def __call__(self, text: bytes, edges: int) -> Iterator[Span]:
        if self._both and len(text) >= LEAST_VALUE:
            for form in self._present(text):
                at = text.find(form)
                while at >= 0:
                    yield at, at + len(form), "known-value", self._both[form]
                    at = text.find(form, at + len(form))
        if edges:
            for form, value in self._both.items():
                yield from _beside_a_cut(text, form, value, edges)

    def begun_at_end(self, text: bytes, least: int) -> int:
        """How many bytes at the end are the begin of a value, the longest; 0: fewer than `least`."""
        longest = 0
        for form in self._both:
            at = text.find(form[:least], max(0, len(text) - len(form)))
            while 0 <= at < len(text) - longest:
                if form.startswith(text[at:]):
                    longest = len(text) - at
                at = text.find(form[:least], at + 1)
        return longest

    def may_stand_in(self, text: str) -> bool:
        """Whether a short text, one character a byte, can hold a value: by a few bytes of each form."""
        if not self._both:
            return False
        glance = self._glance
        if glance is None:
            glance = self._glance = re.compile(_rare_places(self._both), re.ASCII)
        return glance.search(text) is not None and bool(self._present(text.encode("latin-1")))

    def _present(self, text: bytes) -> list[bytes]:
        """The forms that the text holds: a short text is probed, a long one searched for each form."""
        if len(text) < len(self._forms) * _PER_FORM:
            probes = {text[at : at + _PROBE] for at in range(0, len(text), _STRIDE)}
            begun = {form for probe in probes & self._probes.keys() for form in self._probes[probe]}
            return [form for form in begun if form in text]
        candidates = self._both if compiled(self._run).search(text) else self._forms
        return [form for form in candidates if form in text]


def _rare_places(forms: Iterable[bytes]) -> str:
    """A pattern that fits within each form: its rarest character, and what stands on either side of it.

    It begins with characters that most texts have not: these are passed at the speed of a scan.
    """
    beside: dict[str, set[str]] = {}
    for form in forms:
        text = form.decode("latin-1")
        at = min(range(1, len(text) - 1), key=lambda place: _COMMON.find(text[place]))
        around = text[max(0, at - 2) : at + 4]
        after = re.escape(text[at + 1 : at + 4])
        beside.setdefault(text[at], set()).add(f"{after}(?<={re.escape(around)})")
    return "|".join(f"{re.escape(sign)}(?:{'|'.join(sorted(rest))})" for sign, rest in sorted(beside.items()))


def known_values(environment: Mapping[str, str]) -> Known:
    """A step that finds the values of the secret-named variables of this environment."""
    return Known(sorted(secret_values(environment)))


def is_maskable(value: bytes) -> bool:
    """Whether a value is long and rare enough to be masked wherever it stands."""
    return len(value) >= LEAST_VALUE and not is_too_common(value)


def secret_values(environment: Mapping[str, str]) -> set[bytes]:
    """The values that a name makes a secret, and the passwords in URLs."""
    values = set()
    for name, text in environment.items():
        value = text.encode("utf-8", "surrogateescape").strip()
        if is_secret_name(name) or (name.upper().endswith("_KEY") and looks_random(value, 20)):
            values.add(value)
        if b"://" in value and (match := compiled(rb"[^:/@\s]+://[^:/@\s]*:([^/\s]+)@").match(value)):
            values.add(match[1])
    return {value for value in values if is_maskable(value) and not is_placeholder(value, is_expanded=False)}


def _forms(value: bytes) -> set[bytes]:
    forms = {value, value.replace(b"\n", b"\r\n")}  # a terminal writes CR LF for a newline
    for mark in (b"%%%02X", b"%%%02x"):
        for plain in (_UNRESERVED, _UNRESERVED + b"/", _UNRESERVED + b"!'()*", _UNRESERVED + _RESERVED):
            quoted = b"".join(bytes((byte,)) if byte in plain else mark % byte for byte in value)
            forms |= {quoted, quoted.replace(b"%20", b"+")}
    forms |= _in_json(value)
    forms.add(compiled(rb"([^A-Za-z0-9_@%+=:,./-])").sub(rb"\\\1", value))
    forms |= {value.replace(b"'", quote) for quote in (b"'\\''", b"'\"'\"'", b"\\'", b"''")}
    forms.add(compiled(rb"([$`\"\\])").sub(rb"\\\1", value))  # in a shell's double quotes
    forms.add(_in_html(value))
    return forms


def _in_html(value: bytes) -> bytes:
    for sign, name in ((b"&", b"&amp;"), (b"<", b"&lt;"), (b">", b"&gt;"), (b'"', b"&quot;")):
        value = value.replace(sign, name)
    return value


def _in_json(value: bytes) -> set[bytes]:
    import json

    text = value.decode("utf-8", "surrogateescape")
    wide = json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "surrogateescape")
    plain = json.dumps(text)[1:-1].encode()
    twice = json.dumps(wide.decode("utf-8", "surrogateescape"), ensure_ascii=False)[1:-1]
    html = plain.replace(b"&", b"\\u0026").replace(b"<", b"\\u003c").replace(b">", b"\\u003e")
    return {wide, plain, html, twice.encode("utf-8", "surrogateescape"), wide.replace(b"/", b"\\/")}


def _in_base64(value: bytes) -> set[bytes]:
    """What of its base64 form does not depend on the bytes around it, for each of the three alignments."""
    forms = set()
    for before, spoilt in ((0, 0), (1, 2), (2, 3)):
        whole = binascii.b2a_base64(b"\0" * before + value, newline=False).rstrip(b"=")
        is_even = (before + len(value)) % 3 == 0
        core = whole[spoilt:] if is_even else whole[spoilt:-1]
        if len(core) >= _LEAST_BASE64:
            forms |= {core, core.replace(b"+", b"-").replace(b"/", b"_")}
    return forms


def _beside_a_cut(text: bytes, form: bytes, value: bytes, edges: int) -> Iterator[Span]:
    """The beginning of a value where the text breaks off, and its end where the text sets in again."""
    sizes = range(min(len(form) - 1, len(text)), _LEAST_PART - 1, -1)
    if edges & CUT_END and (size := next((size for size in sizes if text.endswith(form[:size])), 0)):
        yield len(text) - size, len(text), "known-value", value
    if edges & CUT_START and (size := next((size for size in sizes if text.startswith(form[-size:])), 0)):
        yield 0, size, "known-value", value
