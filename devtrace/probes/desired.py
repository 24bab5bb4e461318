"""Which probes are wanted: one file of a store, read by each of its programs and written by whoever sets one.

    .devtrace/probes.json   0600: {"until": seconds, "v": 1, "points": {id: a point as it is stored}}
    .devtrace/run/probes.lock   flocked while it is changed; readers need no lock, for it is replaced whole

It is a file and no table, because programs that are asked set probes too, and those never open SQLite. What
happened to a probe, and who set it, are events. `until` stands first, so that a Python that starts sees from
the beginning of the file whether any probe is left to be set.

Lives here: `Desired`. Not here: what a point is (point.py), who is told of a change (registry.py).
Standard library only: guests import this.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from devtrace.workspace import Workspace

    Stored = dict[str, Any]
    Result = TypeVar("Result")

NAME = "probes.json"
_VERSION = 1
_MOST_BYTES = 8 << 20
_LOCK_S = 0.5
_PAUSE_S = 0.002
_KEPT_NS = 24 * 3600 * 1_000_000_000  # for so long it is still told that a probe has expired


class Desired:
    """The probes that are wanted in one store."""

    __slots__ = ("_lock", "path")

    def __init__(self, workspace: Workspace):
        self.path = workspace.dir / NAME
        self._lock = workspace.run / "probes.lock"

    def stamp(self) -> tuple[int, int, int] | None:
        """What is another one after each change; None: there is no file."""
        try:
            state = os.stat(self.path, follow_symlinks=False)
        except OSError:
            return None
        return state.st_ino, state.st_mtime_ns, state.st_size

    def read(self) -> list[Stored]:
        """The points as they are stored, the oldest first. Raises OSError, ValueError for a damaged file."""
        return list(self._read().values())

    def change(self, edit: Callable[[dict[str, Stored]], Result]) -> Result:
        """Let `edit` change the points, by their ids, in place; what it returns.

        What `edit` raises is passed on, and nothing is changed then. Raises OSError, TimeoutError too when
        the lock is held for too long, and ValueError for a file that is damaged.
        """
        fd = self._locked()
        try:
            points = self._read()
            before = json.dumps(points)
            result = edit(points)
            now_ns = time.time_ns()
            left = {name: kept for name, kept in points.items() if _until(kept) > now_ns - _KEPT_NS}
            if json.dumps(left) != before:
                self._write(left)
            return result
        finally:
            os.close(fd)

    def _read(self) -> dict[str, Stored]:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return {}
        with os.fdopen(fd, "rb") as file:
            data = file.read(_MOST_BYTES)
        try:
            found = json.loads(data)
        except RecursionError:
            raise ValueError(f"{NAME} is nested too deeply") from None
        points = found.get("points") if isinstance(found, dict) else None
        if not isinstance(points, dict) or not all(isinstance(one, dict) for one in points.values()):
            raise ValueError(f"{NAME} holds no points")
        return points

    def _write(self, points: dict[str, Stored]) -> None:
        """All at once, and on the disk before it takes the place of the one before."""
        if not points:
            self.path.unlink(missing_ok=True)
            return
        ends = [_until(one) for one in points.values() if one.get("enabled", True) and not one.get("ended")]
        until = max(ends, default=0) // 1_000_000_000 + 1
        text = json.dumps({"until": until, "v": _VERSION, "points": points}, separators=(",", ":"))
        made = self.path.with_name(f".{NAME}.{os.getpid()}.{os.urandom(4).hex()}")
        fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(fd, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(made, self.path)
        except BaseException:
            made.unlink(missing_ok=True)
            raise

    def _locked(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._lock, flags, 0o600)
        until = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES) or time.monotonic() > until:
                    os.close(fd)
                    raise
                time.sleep(_PAUSE_S)  # a flock with a limit of time: the kernel has none
            else:
                return fd


def _until(stored: Stored) -> int:
    """When the point's time is over, in nanoseconds since the epoch."""
    value = stored.get("expires_ns")
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
