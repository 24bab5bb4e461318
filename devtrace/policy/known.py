"""Secrets known by their value: what secret-named variables of the environment hold, wherever it is printed.

A value is also found percent-encoded, in JSON, in base64, quoted by a shell, and where the bytes in its
middle were not kept. The values are kept in memory only.

Lives here: `known_values`. Not here: secrets known by their shape (secrets.py). Standard library only, and no
dataclass: guests import this.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator, Mapping

from devtrace.policy.chain import CUT_END, CUT_START, Span
from devtrace.policy.names import compiled, is_placeholder, is_secret_name, is_too_common, looks_random

LEAST_VALUE = 6  # bytes; a shorter value is found by its variable's name only
_LEAST_PART = 4  # bytes of a value beside a cut
_LEAST_BASE64 = 8
_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"


def known_values(environment: Mapping[str, str]) -> Callable[[bytes, int], Iterator[Span]]:
    """A step that finds the values of the secret-named variables of this environment."""
    forms: dict[bytes, bytes] = {}  # how it may be written -> the value
    encoded: dict[bytes, bytes] = {}  # the same in base64, where a long run of its letters is a condition
    for value in sorted(_values(environment)):
        forms |= dict.fromkeys(_forms(value), value)
        encoded |= dict.fromkeys(_in_base64(value), value)
    both = encoded | forms
    shortest = min(map(len, both), default=0)
    run = rb"[A-Za-z0-9+/_-]{%d}" % min(map(len, encoded), default=0)

    def find(text: bytes, edges: int) -> Iterator[Span]:
        if not both or (len(text) < shortest and not edges):
            return
        candidates = both if compiled(run).search(text) else forms
        for form in [form for form in candidates if form in text]:
            at = text.find(form)
            while at >= 0:
                yield at, at + len(form), "known-value", both[form]
                at = text.find(form, at + len(form))
        if edges:
            for form, value in both.items():
                yield from _beside_a_cut(text, form, value, edges)

    return find


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
