"""A note of what a recording process knows, for the one that comes after it when it is killed.

Counts, and the calls that wait for their answer, in `run/` and redacted; written when nothing else is to be
done, and removed at the end. Where it is missing or torn nothing is known, as without it.

Lives here: `Note`. Not here: what it says (sources/mcp/conversation.py, frames.py). Standard library
only: a guest.
"""

from __future__ import annotations

import json
import os
from typing import Any

from devtrace.services.mcp_proxy.texts import Texts
from devtrace.workspace import Workspace

_LONGEST = 16 << 20  # bytes


class Note:
    """The file of one run of the proxy. Never raises for the disk."""

    def __init__(self, workspace: Workspace, event: str, texts: Texts):
        self._path = workspace.run / f"mcp-{event}.json"
        self._texts = texts
        self._fd = -1

    def write(self, told: dict[str, Any], redacted: dict[str, Any]) -> None:
        """Put both down, and redact every text of the first; what stood there before is gone."""
        try:
            if self._fd < 0:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self._fd = os.open(self._path, flags, 0o600)
            content = json.dumps({**self._texts.values(told), **redacted}).encode()
            if len(content) <= _LONGEST:
                os.pwrite(self._fd, content, 0)
                os.ftruncate(self._fd, len(content))
        except (OSError, ValueError, RecursionError):
            self.forget()

    def read(self) -> dict[str, Any]:
        """What the one before us put down; nothing where that cannot be read."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return {}
        try:
            told = json.loads(os.pread(fd, _LONGEST, 0))
        except (OSError, ValueError, RecursionError):
            return {}
        finally:
            os.close(fd)
        return told if isinstance(told, dict) else {}

    def forget(self) -> None:
        """Remove it. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            return
