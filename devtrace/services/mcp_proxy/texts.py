"""What is kept of the texts that passed: without secrets, and not too long.

JSON stays JSON, byte for byte, but for texts in it that hold a secret, are too long, or are the bytes of an
image or a sound; so numbers, spaces and names that stand twice are what they were. What is cut is redacted
with what stood around it, so that no half of a secret is left at a cut.

Lives here: `Texts`, `media_in`. Not here: which texts there are (frames.py), the rules (policy/).
Standard library only: a guest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from devtrace.policy.chain import CUT_END, CUT_START, Policy
from devtrace.policy.quick import redact_quickly

_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_IS_NAME = re.compile(r"[ \t\r\n]*:").match
_IS_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}").fullmatch
_LEAST = 8  # characters of a text in JSON, with its quotes, in which a rule may find something
_SHORT = 256  # the same of one that is never cut
_LEAST_MEDIA = 1 << 10  # the same of bytes in base64 that are left out
_MOST_BLOCKS = 100_000  # of a value that are searched for these
_ATTEMPTS = 4  # to find how much of a text fits
_MARGIN = 8 << 10  # bytes beside what is kept that are looked at, so that no secret is halved
_CONTINUES, _IS_CONTINUED = 0xC0, 0x80  # of UTF-8: the bits that tell a byte inside a character

Media = Mapping[str, str]  # bytes in base64, and their type


class Kept(NamedTuple):
    """A text that may be written, and how many bytes it had where not all of it is there, else 0."""

    text: str
    size: int = 0


class Texts:
    """The texts of one recording process."""

    def __init__(self, policy: Policy):
        self._policy = policy
        self._redact = redact_quickly(policy)

    def text(self, text: str, longest: int) -> Kept:
        """A text for people; `longest`: in bytes."""
        if len(text) * 4 <= longest or len(data := _encoded(text)) <= longest:
            return Kept(self._redact(text))
        head, tail = _character(data, longest * 2 // 3), _character(data, len(data) - longest // 3)
        first = self._policy.redact_part(data[: head + _MARGIN], 0, head, CUT_END)
        before = max(0, tail - _MARGIN)
        last = self._policy.redact_part(data[before:], tail - before, len(data) - before, CUT_START)
        return Kept(_decoded(first.data) + _gone(tail - head) + _decoded(last.data), len(data))

    def json(self, text: str, longest: int, media: Media | None = None) -> Kept:
        """A text that is JSON."""
        size = size_of(text)
        if size <= longest:
            return Kept(self._redacted(text, longest, media or {}), size if media else 0)
        plan = _plan(text, longest, media or {})
        if plan.longest:
            return Kept(self._redacted(text, plan.longest, media or {}), size)
        # Of very many short texts: the beginning and the end of it all, cut between two.
        head, tail = (self._redacted(part, longest, {}) for part in (text[: plan.head], text[plan.tail :]))
        return Kept(head + _gone(plan.tail - plan.head) + tail, size)

    def values(self, value: Any) -> Any:
        """JSON-like data, each text in it redacted, names too."""
        if isinstance(value, str):
            return self._redact(value)
        if isinstance(value, dict):
            return {self._redact(name): self.values(inner) for name, inner in value.items()}
        return [self.values(inner) for inner in value] if isinstance(value, list | tuple) else value

    def beginning(self, text: str, size: int, longest: int) -> Kept:
        """The beginning of something of that size, of which no more came to us."""
        data = _encoded(text)
        end = _character(data, min(longest, max(0, len(data) - _MARGIN)))
        part = self._policy.redact_part(data, 0, end, CUT_END)
        return Kept(_decoded(part.data) + _gone(size - end), size)

    def _redacted(self, text: str, longest: int, media: Media) -> str:
        """Each text in it as it was meant, and not as JSON writes it; then all of it, with its names."""

        def kept(found: re.Match[str]) -> str:
            token = found[0]
            if len(token) < _LEAST:
                return token
            if media and len(token) > _LEAST_MEDIA and (kind := media.get(token[1:-1])) is not None:
                return _as_json(_absent(token[1:-1], kind))
            plain = token[1:-1] if "\\" not in token else json.loads(token, strict=False)
            if len(token) * 4 > longest and size_of(token) > longest:
                return self._written(plain, longest)
            told = self._redact(plain)
            return token if told == plain else _as_json(told)

        return self._redact(_STRING.sub(kept, text))

    def _written(self, plain: str, longest: int) -> str:
        """A text that is too long, short enough as JSON: there a line end is two bytes."""
        room = longest
        written = ""
        for _ in range(_ATTEMPTS):
            written = _as_json(self.text(plain, room).text)
            size = size_of(written)
            if size <= longest + _SHORT // 2:
                break
            room = room * longest // size
        return written


class _Plan(NamedTuple):
    """How a JSON text becomes short enough."""

    longest: int  # bytes of each text in it; 0: that alone would not do
    head: int  # where the part from its beginning ends that is kept then
    tail: int  # where the part up to its end begins


def _plan(text: str, longest: int, media: Media) -> _Plan:
    """The longer texts in it share what the short ones and the rest of it leave."""
    sizes: list[int] = []
    head, tail = 0, len(text)
    rest = len(text) if text.isascii() else len(_encoded(text))
    for found in _STRING.finditer(text):
        start, end = found.span()
        if end - start > _SHORT:
            size = end - start if text.isascii() else len(_encoded(found[0]))
            rest -= size
            sizes.append(_SHORT if media and found[0][1:-1] in media else size)
        head = end if end <= longest * 2 // 3 else head
        if tail == len(text) and start >= len(text) - longest // 3 and _IS_NAME(text, end):
            tail = start  # a value without its name may be a secret that nobody knows for one
    return _Plan(_share(sorted(sizes), longest - rest), head, tail)


def _share(sizes: list[int], room: int) -> int:
    """How much of each is kept; 0: that alone would not do."""
    share = 0
    for number, size in enumerate(sizes):
        share = room // (len(sizes) - number)
        if share < _SHORT:
            return 0
        if size > share:
            return share - _SHORT // 2  # the words for what is gone need their room
        room -= size
    return share if room >= 0 else 0


def size_of(text: object) -> int:
    """The bytes of a text; of anything else none."""
    if not isinstance(text, str):
        return 0
    return len(text) if text.isascii() else len(_encoded(text))


def media_in(text: str, value: Any) -> dict[str, str]:
    """The bytes of images, sounds and files in a value, and their types; `text`: the same as JSON."""
    if len(text) <= _LEAST_MEDIA or '"mimeType"' not in text:
        return {}
    found: dict[str, str] = {}
    waiting, seen = [value], 0
    while waiting and seen < _MOST_BLOCKS:
        one = waiting.pop()
        seen += 1
        if isinstance(one, dict):
            kind = one.get("mimeType")
            for name in ("data", "blob"):
                told = one.get(name)
                if isinstance(told, str) and len(told) > _LEAST_MEDIA and _IS_BASE64(told):
                    found[told] = kind if isinstance(kind, str) and len(kind) <= 100 else "a type not told"
            waiting += [inner for inner in one.values() if isinstance(inner, dict | list)]
        elif isinstance(one, list):
            waiting += [inner for inner in one if isinstance(inner, dict | list)]
    return found


def _as_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _absent(encoded: str, kind: str) -> str:
    size = len(encoded.rstrip("=")) * 3 // 4
    return f"[... {size:,} bytes of {kind} were not kept ...]"


def _gone(size: int) -> str:
    return f"\n[... {max(0, size):,} bytes were not kept ...]\n"


def _character(data: bytes, at: int) -> int:
    """The start of the character in which a byte stands."""
    while 0 < at < len(data) and data[at] & _CONTINUES == _IS_CONTINUED:
        at -= 1
    return at


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return text.encode("utf-8", "replace")


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
