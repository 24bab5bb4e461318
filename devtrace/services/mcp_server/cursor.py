"""Where the next page begins, as a word that means nothing to anybody else.

It holds the question it was given for and the place in its answer, under an HMAC whose key comes from the
store's salt: one that was made up, cut off, or handed out by another tool, for other arguments or by another
store is refused.

Lives here: `Desk`. Not here: what a place is (query/pages.py, services/mcp_server/answers.py).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from typing import Any

from devtrace.errors import UsageError
from devtrace.services.redaction import salt_of
from devtrace.workspace import Workspace

_PURPOSE = b"devtrace mcp cursor 1"
_MAC_BYTES = 12
_QUESTION_BYTES = 8
# What may differ from page to page: how much of the answer is wanted, not which.
_OF_THE_PAGE = ("cursor", "limit", "max_bytes")
# Of a store whose salt cannot be read: its cursors hold as long as the process does.
_OWN_KEY = os.urandom(32)

State = dict[str, Any]


class Desk:
    """Hands out cursors for one question, and takes them back."""

    def __init__(self, workspace: Workspace, tool: str, arguments: Mapping[str, Any]):
        self._key = hmac.digest(salt_of(workspace) or _OWN_KEY, _PURPOSE, "sha256")
        self._tool = tool
        asked = {name: value for name, value in arguments.items() if name not in _OF_THE_PAGE}
        text = json.dumps([tool, asked], sort_keys=True, separators=(",", ":"))
        self._question = hashlib.sha256(text.encode()).hexdigest()[: 2 * _QUESTION_BYTES]

    def hand_out(self, state: State) -> str:
        """A cursor for a place in the answer to this question."""
        told = {"t": self._tool, "q": self._question, "s": state}
        text = json.dumps(told, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(text + self._mac(text)).rstrip(b"=").decode()

    def take_back(self, cursor: str) -> State:
        """The place. Raises UsageError ERR_CURSOR."""
        text = self._checked(cursor)
        told = json.loads(text)
        if told["t"] != self._tool:
            raise _refused("it was handed out by another tool", "use it with the tool that gave it")
        if told["q"] != self._question:
            raise _refused(
                "it was handed out for other arguments",
                "repeat the arguments of the first page; only limit and max_bytes may differ",
            )
        state: State = told["s"]
        return state

    def _checked(self, cursor: str) -> bytes:
        try:
            data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            data = b""
        text, mac = data[:-_MAC_BYTES], data[-_MAC_BYTES:]
        if not text or not hmac.compare_digest(mac, self._mac(text)):
            raise _refused("it is no cursor of this store, or not all of it", _FIRST_PAGE)
        return text

    def _mac(self, text: bytes) -> bytes:
        return hmac.digest(self._key, text, "sha256")[:_MAC_BYTES]


_FIRST_PAGE = "ask again without a cursor, and copy next_cursor as it is"


def outdated() -> UsageError:
    """What a cursor says is not there any more."""
    return _refused("what it leads to has changed since", "ask again without a cursor")


def _refused(why: str, hint: str) -> UsageError:
    return UsageError(f"the cursor cannot be used: {why}", code="ERR_CURSOR", hint=hint)
