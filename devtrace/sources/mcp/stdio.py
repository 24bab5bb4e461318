"""The forwarder in front of a server that speaks through its standard input and output.

Bytes go on as they come, unread; a copy is handed to the tap, which neither waits nor fails. What the two see
of each other is what they would see without us: end of file, a broken pipe, signals, the exit status, a death
by a signal; stderr is the server's own, and so are its process group and its environment.

Lives here: starting the server, the two pumps, signals, the end. Not here: what passes (lines.py,
conversation.py), the command line (cli/mcp_proxy.py). Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from devtrace.errors import TargetError
from devtrace.sources.mcp.tap import DATA, END, TO_CLIENT, TO_SERVER

_READ = 1 << 18  # bytes at most; a pipe holds 64 KiB, a socket more
_CLIENT_IN, _CLIENT_OUT = 0, 1
_PASSED_ON = frozenset[int](
    (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
)
_FROM_KERNEL = 0x80  # SI_KERNEL: a key at the terminal, which the server's process got too
PATIENCE_S = 1.0  # for the recording process, at the end
_SIGNAL_STATUS = 128
_RESET = [getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name)]


class TapLike(Protocol):
    """What takes the copies."""

    def put(self, kind: int, direction: int, channel: int, payload: bytes) -> None:
        """Never blocks, never raises."""

    def close(self, patience_s: float) -> None:
        """Wait that long for what was put."""


class Server:
    """A server's process, and our ends of its two pipes."""

    __slots__ = ("pid", "stdin", "stdout")

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]):
        """Raises TargetError ERR_TARGET_START with the status that a shell would give: 127, or 126."""
        theirs_in, self.stdin = os.pipe()
        self.stdout, theirs_out = os.pipe()
        try:
            self.pid = os.posix_spawnp(
                command[0],
                list(command),
                dict(environ),
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs_in, _CLIENT_IN),
                    (os.POSIX_SPAWN_DUP2, theirs_out, _CLIENT_OUT),
                ],
                setsigmask=[],
                setsigdef=_RESET,  # Python ignores them, and what is ignored stays so in a new program
            )
        except (OSError, ValueError) as error:
            raise _not_started(command[0], error) from error
        finally:
            os.close(theirs_in)
            os.close(theirs_out)


def forward(command: Sequence[str], environ: Mapping[str, str], tap_of: Callable[[], TapLike | None]) -> int:
    """Run the server and stand between it and our own client until both are done.

    `tap_of` is called when the server runs; None: nothing is recorded. Returns its wait status (os.wait), for
    `end`. Raises TargetError ERR_TARGET_START. For the main thread.
    """
    waited_for = frozenset((*_PASSED_ON, signal.SIGCHLD))
    signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)  # before the first thread: they all inherit it
    server = Server(command, environ)
    tap = tap_of()
    is_told = threading.Event()  # all that the server wrote has passed
    _started("devtrace-mcp-in", _CLIENT_IN, server.stdin, TO_SERVER, tap)
    _started("devtrace-mcp-out", server.stdout, _CLIENT_OUT, TO_CLIENT, tap, lambda: _wake(is_told))
    status = _attend(server.pid, is_told, waited_for)
    if tap is not None:
        tap.put(END, TO_CLIENT, 0, json.dumps(_told(status)).encode())
        tap.close(PATIENCE_S)
    return status


def _started(name: str, *args: Any) -> None:
    threading.Thread(target=_pump, args=args, name=name, daemon=True).start()


def _pump(
    source: int, target: int, direction: int, tap: TapLike | None, at_end: Callable[[], None] | None = None
) -> None:
    """Move bytes until one side is gone, and let the other side see it."""
    put = tap.put if tap is not None else None
    try:
        while data := _read(source):
            if put is not None:
                put(DATA, direction, 0, data)  # before the other side can answer: the copies keep their order
            _write(target, data)
    except OSError:
        pass  # who wrote to us finds a broken pipe at its next write, as it would have without us
    for fd in (target, source):
        _replace(fd)
    if at_end is not None:
        at_end()


def _read(fd: int) -> bytes:
    """What has come. Whoever shares a terminal or a pipe with us may have made it one that does not wait."""
    while True:
        try:
            return os.read(fd, _READ)
        except BlockingIOError:
            select.select([fd], [], [])


def _write(fd: int, data: bytes) -> None:
    sent = 0
    while sent < len(data):
        try:
            sent += os.write(fd, memoryview(data)[sent:] if sent else data)
        except BlockingIOError:
            select.select([], [fd], [])


def _replace(fd: int) -> None:
    """Close it, but for the number of a standard stream, which nobody else may get."""
    try:
        if fd in (_CLIENT_IN, _CLIENT_OUT):
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            os.dup2(null, fd, inheritable=False)
            os.close(null)
        else:
            os.close(fd)
    except OSError:
        pass


def _wake(is_told: threading.Event) -> None:
    is_told.set()
    os.kill(os.getpid(), signal.SIGCHLD)  # the main thread waits for signals alone


def _attend(pid: int, is_told: threading.Event, waited_for: frozenset[int]) -> int:
    """Pass signals on until the server has ended and all that it wrote has passed; returns its wait status.

    A process that it left behind may hold its output open: that goes on passing, as it would without us. A
    signal to us is then for nobody else, and ends us.
    """
    status: int | None = None
    while status is None or not is_told.is_set():
        number, is_from_kernel = _next_signal(waited_for)
        if number in _PASSED_ON and status is not None:
            break
        if number in _PASSED_ON and not is_from_kernel:
            _send(pid, number)
        if status is None:
            done, found = os.waitpid(pid, os.WNOHANG)
            status = found if done else None
    return status


def _next_signal(waited_for: frozenset[int]) -> tuple[int, bool]:
    if hasattr(signal, "sigwaitinfo"):
        info = signal.sigwaitinfo(waited_for)
        return info.si_signo, info.si_code == _FROM_KERNEL
    return signal.sigwait(waited_for), False  # macOS


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):  # it has ended, or belongs to somebody else now
        os.kill(pid, number)


def _told(status: int) -> dict[str, int | None]:
    if os.WIFSIGNALED(status):
        return {"exit_code": _SIGNAL_STATUS + os.WTERMSIG(status), "signal": os.WTERMSIG(status)}
    return {"exit_code": os.WEXITSTATUS(status), "signal": None}


def end(status: int) -> int:
    """What the server's client is to see: the exit status to return, or else the same death, here and now.

    No core of ours is left beside the server's.
    """
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    import resource

    number = os.WTERMSIG(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    sys.stdout.flush()
    os.kill(os.getpid(), number)
    return _SIGNAL_STATUS + number


def _not_started(program: str, error: OSError | ValueError) -> TargetError:
    number = getattr(error, "errno", None)
    is_missing = number in (errno.ENOENT, errno.ENOTDIR)
    told = TargetError(
        f"{program} cannot be started: {getattr(error, 'strerror', None) or error}",
        code="ERR_TARGET_START",
        hint="check the server's command; the agent's own configuration names it" if is_missing else "",
        context={"program": program},
    )
    told.exit_status = 127 if is_missing else 126
    return told
