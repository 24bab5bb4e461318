"""Secrets known by their value: of the environment, and those that turned up in the session.

A value is also found percent-encoded, in JSON, in base64, quoted by a shell, and where the bytes in its
middle were not kept. The values are kept in memory only.

Lives here: `Known`, `known_values`. Not here: secrets known by their shape (secrets.py). Standard library
only, and no dataclass: guests import this.
"""

from __future__ import annotations

import binascii
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
_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"


class Known:
    """A step of the chain that finds values, wherever and however they are written."""

    __slots__ = ("_both", "_forms", "_learned", "_probes", "_run", "_shortest_run")

    def __init__(self, values: Iterable[bytes] = ()):
        self._forms: dict[bytes, bytes] = {}  # how it may be written -> the value
        self._both: dict[bytes, bytes] = {}  # the same, and in base64, which needs a long run of its letters
        self._probes: dict[bytes, list[bytes]] = {}  # the first few bytes of a form -> the forms
        self._shortest_run = 1 << 15
        self._run = b""
        self._learned = 0
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

    def learn(self, value: bytes) -> bool:
        """Take a value that a rule found, if it looks like nothing but a secret; whether it is a new one.

        A rule that was wrong once must not mask a plain word from then on.
        """
        if self._learned >= MOST_LEARNED or value in self._both or not looks_like_a_secret(value):
            return False
        self._learned += 1
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

    def _present(self, text: bytes) -> list[bytes]:
        """The forms that the text holds: a short text is probed, a long one searched for each form."""
        if len(text) < len(self._forms) * _PER_FORM:
            probes = {text[at : at + _PROBE] for at in range(0, len(text), _STRIDE)}
            begun = {form for probe in probes & self._probes.keys() for form in self._probes[probe]}
            return [form for form in begun if form in text]
        candidates = self._both if compiled(self._run).search(text) else self._forms
        return [form for form in candidates if form in text]


def known_values(environment: Mapping[str, str]) -> Known:
    """A step that finds the values of the secret-named variables of this environment."""
    return Known(sorted(_values(environment)))


def _values(environment: Mapping[str, str]) -> set[bytes]:
    values = set()
    for name, text in environment.items():
        value = text.encode("utf-8", "surrogateescape").strip()
        if is_secret_name(name) or (name.upper().endswith("_KEY") and looks_random(value, 20)):
            values.add(value)
        if b"://" in value and (match := compiled(rb"[^:/@\s]+://[^:/@\s]*:([^/\s]+)@").match(value)):
            values.add(match[1])
    return {
        value
        for value in values
        if len(value) >= LEAST_VALUE
        and not is_too_common(value)
        and not is_placeholder(value, is_expanded=False)
    }


def _forms(value: bytes) -> set[bytes]:
    forms = {value, value.replace(b"\n", b"\r\n")}  # a terminal writes CR LF for a newline
    for mark in (b"%%%02X", b"%%%02x"):
        quoted = b"".join(bytes((byte,)) if byte in _UNRESERVED else mark % byte for byte in value)
        forms |= {quoted, quoted.replace(b"%20", b"+")}
    forms |= _in_json(value)
    forms.add(compiled(rb"([^A-Za-z0-9_@%+=:,./-])").sub(rb"\\\1", value))
    forms.add(value.replace(b"'", b"'\\''"))
    return forms


def _in_json(value: bytes) -> set[bytes]:
    import json

    text = value.decode("utf-8", "surrogateescape")
    wide = json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "surrogateescape")
    plain = json.dumps(text)[1:-1].encode()
    return {wide, plain, wide.replace(b"/", b"\\/")}


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
