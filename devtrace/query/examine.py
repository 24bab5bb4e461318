"""What the policy would hide of a text; nothing is written.

Lives here: `examine`. Not here: the rules and their reasons (policy/), whose rules and values they are
(services/redaction.py), how it is shown (views/hidden.py).
"""

from __future__ import annotations

import os
from typing import BinaryIO, NamedTuple

from devtrace.errors import UsageError
from devtrace.policy.chain import Found, Policy
from devtrace.policy.contents import is_secret_path
from devtrace.policy.stream import Stream

MOST_BYTES = 64 << 20
_CHUNK = 1 << 16
_AROUND = 200  # bytes of a line that are told before a secret and behind it


class Hidden(NamedTuple):
    """A secret in a text: where it begins, counted from 1 (columns in bytes), and the line as it is kept.

    Of a long line it is what stands around the secret.
    """

    line: int
    column: int
    rule: str
    tag: str | None  # the same for the same secret; None: the store has no salt, or there is none
    text: str


class Examined(NamedTuple):
    """What would become of a text."""

    by_name: bool  # a file of that name leaves an HMAC, and none of its content
    lines: int
    size: int  # bytes
    hidden: list[Hidden]
    redacted: bytes


def examine(source: BinaryIO, name: str, policy: Policy) -> Examined:
    """Judge a text; `name`: of its file, or "". Raises UsageError ERR_TOO_LARGE for more than 64 MiB."""
    data, redacted, found = _read(source, policy)
    return Examined(
        bool(name) and is_secret_path(os.fsencode(name)),
        data.count(b"\n") + (not data.endswith(b"\n") and data != b""),
        len(data),
        _hidden(data, found, policy),
        redacted,
    )


def _read(source: BinaryIO, policy: Policy) -> tuple[bytes, bytes, list[Found]]:
    found: list[Found] = []
    stream = Stream(policy, found.append)
    taken, given = bytearray(), bytearray()
    while chunk := source.read(_CHUNK):
        taken += chunk
        if len(taken) > MOST_BYTES:
            raise UsageError(
                f"the text is larger than {MOST_BYTES >> 20} MiB",
                code="ERR_TOO_LARGE",
                hint="give a part of it, such as `head -c 64M FILE | devtrace policy test -`",
            )
        given += stream.feed(chunk)
    given += stream.close()
    return bytes(taken), bytes(given), found


def _hidden(data: bytes, found: list[Found], policy: Policy) -> list[Hidden]:
    hidden: list[Hidden] = []
    number, start, at = 1, 0, 0
    for index, one in enumerate(found):
        number += data.count(b"\n", at, one.start)
        start = data.rfind(b"\n", at, one.start) + 1 or start
        at = one.start
        text = _around(data, start, found, index, policy)
        hidden.append(Hidden(number, at - start + 1, one.rule, one.tag, text))
    return hidden


def _around(data: bytes, start: int, found: list[Found], index: int, policy: Policy) -> str:
    """The line that begins at `start`, of a long one what stands around `found[index]`; no secret in it."""
    first, last = max(start, found[index].start - _AROUND), found[index].end + _AROUND
    line_end = data.find(b"\n", found[index].end, last)
    last = min(len(data), last) if line_end < 0 else line_end
    while index and found[index - 1].end > first:
        index -= 1
    pieces, at = [], first
    for one in found[index:]:
        if one.start >= last:
            break
        pieces += [data[at : max(at, one.start)], policy.marker(one.rule, one.tag)]
        at = one.end
    pieces.append(data[at : max(at, last)])
    return b"".join(pieces).decode("utf-8", "replace")
