"""Session ids, span ids and the nonces of a session.

A session id is a UUIDv7 (RFC 9562, section 5.7) as 32 hex digits, which is also a W3C trace id; an event
id is 16 hex digits, which is also a W3C span id (Trace Context, section 3.2.2: not all zeros).

Lives here: minting and recognising them. Not here: prefix lookup (query/ids.py).
Standard library only: guests import this.
"""

from __future__ import annotations

import os
import re
import time

_SESSION = re.compile(r"[0-9a-f]{32}")
_SPAN = re.compile(r"[0-9a-f]{16}")

# Span ids of shells walk in steps of the golden section through the 16-digit decimal numbers: a walk
# that plain shell arithmetic can do without a fork, and whose neighbours differ in their first digits,
# so that short prefixes stay unique (docs/adr/0003-ids.md).
SPAN_FIRST = 1_000_000_000_000_000
SPAN_COUNT = 9_000_000_000_000_000
SPAN_STEP = 5_562_305_898_749_053
_BACKWARDS = pow(SPAN_STEP, -1, SPAN_COUNT)  # undoes one step


def new_session_id() -> str:
    """Mint a UUIDv7: 48 bits of Unix milliseconds, version, variant, 74 random bits; 32 hex digits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (
        milliseconds << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    )
    return f"{value:032x}"


def new_span_id() -> str:
    """Mint a random span id: 16 hex digits, never all zeros."""
    while (span := os.urandom(8).hex()) == "0" * 16:
        pass
    return span


def new_shell_span() -> int:
    """Where a shell's walk of span ids starts: a random 16-digit decimal number."""
    return SPAN_FIRST + int.from_bytes(os.urandom(8), "big") % SPAN_COUNT


def next_shell_span(span: int) -> int:
    """The next number of a shell's walk, as the hooks compute it; repeats after SPAN_COUNT steps only."""
    return (span - SPAN_FIRST + SPAN_STEP) % SPAN_COUNT + SPAN_FIRST


def shell_steps(start: int, span: int) -> int:
    """How many steps of a shell's walk lead from `start` to `span`, the shortest way round."""
    return (span - start) * _BACKWARDS % SPAN_COUNT


def new_nonce() -> str:
    """64 random bits as 16 hex digits: what a record must carry to be believed."""
    return os.urandom(8).hex()


def is_session_id(text: str) -> bool:
    """Whether the text is a whole session id."""
    return _SESSION.fullmatch(text) is not None


def is_span_id(text: str) -> bool:
    """Whether the text is a whole, valid span id."""
    return _SPAN.fullmatch(text) is not None and text != "0" * 16
