"""Starting the traced shell or program: in a terminal of its own, on two pipes, or where we stand.

All three report a program that cannot be executed before they return, give the child the signal
dispositions we were started with, and leave umask, limits and the working directory alone.

Lives here: fork, what happens in the child before exec, the error that comes back.
Not here: moving its bytes and waiting for it (terminal.py), which shell and which environment
(services/shell.py, hooks.py). Imports little, and ptyprocess only when a terminal is made: the shell is
started before anything heavy is loaded, and before any thread exists.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from devtrace.errors import DevTraceError, EnvironmentError, TargetError
from devtrace.sources.shell.terminal import Attributes

# Python itself ignores these three at its start; the child gets their default back. Whatever else is
# ignored now was ignored by who started us (nohup, a background job), and stays so in the child.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
_IGNORED_AT_START = frozenset(
    number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN
).difference(_IGNORED_BY_PYTHON)
_IUTF8 = getattr(termios, "IUTF8", 0o40000)
_MOST_FDS = 1_048_576


class Child:
    """A process with a terminal of its own; `fd` is the terminal's other end, non-blocking."""

    __slots__ = ("fd", "pid")

    def __init__(self, pid: int, fd: int):
        self.pid = pid
        self.fd = fd

    def close(self) -> None:
        """Hang up the terminal. May be called twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class PipedChild:
    """A process that writes to two named FIFOs; our ends are non-blocking. `err_fd` is -1 when both are one.

    Our ends are open for writing too, so the end of the output is not seen in the pipe but in the child's
    exit: hooks come and go on the FIFOs, and background jobs may keep them for ever.
    """

    __slots__ = ("err_fd", "out_fd", "paths", "pid")

    def __init__(self, pid: int, out_fd: int, err_fd: int, paths: Sequence[str]):
        self.pid = pid
        self.out_fd = out_fd
        self.err_fd = err_fd
        self.paths = paths

    def close(self) -> None:
        """Close our ends and remove the FIFOs. May be called twice."""
        for fd in {self.out_fd, self.err_fd} - {-1}:
            os.close(fd)
        self.out_fd = self.err_fd = -1
        for path in self.paths:
            Path(path).unlink(missing_ok=True)
        self.paths = ()


class PlainChild:
    """A process that shares our terminal, or our pipes, as they are."""

    __slots__ = ("pid",)

    def __init__(self, pid: int):
        self.pid = pid


def spawn_pty(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None = None,
    rows: int,
    cols: int,
    pixels: tuple[int, int] = (0, 0),
    attributes: Attributes | None = None,
    stdin_fd: int | None = None,
    is_shell: bool = False,
) -> Child:
    """Start a program in a new terminal of that size (`pixels` is width, height, 0 where unknown).

    `attributes` are those of the outer terminal, for the erase character and the like; None takes the
    system's. With `stdin_fd` the program reads that, and has the terminal for the rest.

    Raises TargetError ERR_TARGET_START, or EnvironmentError ERR_SHELL_MISSING for a shell.
    """
    import ptyprocess

    path = _find(argv[0], env, cwd, is_shell)
    stdin = -1 if stdin_fd is None else os.dup(stdin_fd)
    size = struct.pack("HHHH", rows, cols, *pixels)

    def become_program() -> None:
        # ptyprocess would look the program up in our PATH, put the path into argv[0] and lose the errno;
        # so the exec is ours, its argv a stand-in, and only a failure goes back through its error pipe.
        _set_terminal(size, attributes, env)
        if stdin >= 0:
            os.dup2(stdin, 0)
            os.close(stdin)
        _execute(path, argv, env, cwd)

    made: list[tuple[int, int]] = []

    class Spawned(ptyprocess.PtyProcess):  # type: ignore[misc]  # ptyprocess ships no types
        # Its own __init__ wraps the fd in file objects, and its close() and __del__ sleep 0.1 s.
        def __init__(self, pid: int, fd: int):
            self.pid, self.fd, self.closed = pid, fd, True
            made.append((pid, fd))

        def setwinsize(self, rows: int, cols: int) -> None:
            """Done before the exec, and with the pixels that this would take away again."""

    try:
        Spawned.spawn(
            ["/bin/sh"],
            preexec_fn=become_program,
            dimensions=(rows, cols),
            pass_fds=(stdin,) if stdin >= 0 else (),
        )
    except Exception as error:
        _abandon(made)
        raise _not_started(argv[0], _errno_of(error), is_shell) from error
    finally:
        if stdin >= 0:
            os.close(stdin)
    pid, fd = made[0]
    os.set_inheritable(fd, False)
    os.set_blocking(fd, False)
    return Child(pid, fd)


def spawn_pipes(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None = None,
    out_path: str,
    err_path: str | None,
    is_shell: bool = False,
    own_session: bool = True,
    mute: bool = False,
) -> PipedChild:
    """Start a program whose stdout and stderr are two FIFOs, made at those paths with mode 0600.

    They have names because the hooks write marks through them by name. The directory must be private.
    `err_path` None: stderr goes where stdout goes, as after `2>&1`. stdin is inherited. With `own_session`
    the child has no terminal at all, else it stays in our process group. With `mute` it is started without a
    stderr, and opens the FIFO itself when it has something to say that is worth hearing.

    Raises as `spawn_pty` does; OSError when the FIFOs cannot be made.
    """
    path = _find(argv[0], env, cwd, is_shell)
    paths = [out_path] if err_path is None else [out_path, err_path]
    fds: list[int] = []
    try:
        for fifo in paths:
            fds.append(_make_fifo(fifo))

        def become_program() -> None:
            if own_session:
                os.setsid()
            for number, fifo in ((1, out_path), (2, err_path)):
                os.dup2(os.open(fifo, os.O_WRONLY) if fifo is not None else 1, number)
            if mute:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            _execute(path, argv, env, cwd)

        pid = _fork(become_program, argv[0], is_shell)
    except BaseException:
        PipedChild(-1, fds[0] if fds else -1, fds[1] if len(fds) > 1 else -1, paths).close()
        raise
    return PipedChild(pid, fds[0], fds[1] if len(fds) > 1 else -1, tuple(paths))


def spawn_plain(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: str | None = None, is_shell: bool = False
) -> PlainChild:
    """Start a program where we stand: our terminal, our process group. Raises as `spawn_pty` does."""
    path = _find(argv[0], env, cwd, is_shell)
    return PlainChild(_fork(lambda: _execute(path, argv, env, cwd), argv[0], is_shell))


def _find(name: str, env: Mapping[str, str], cwd: str | None, is_shell: bool) -> str:
    """The file that execvp would run: by the child's PATH and from its directory, not by ours."""
    folders = [""] if "/" in name else [f"{folder or '.'}/" for folder in os.get_exec_path(dict(env))]
    refused = errno.ENOENT
    for folder in folders:
        file = Path(cwd or ".", folder + name)
        if file.is_file() and os.access(file, os.X_OK):
            return folder + name
        if file.exists():
            refused = errno.EACCES
    raise _not_started(name, refused, is_shell)


def _make_fifo(path: str) -> int:
    os.mkfifo(path, 0o600)
    Path(path).chmod(0o600)  # mkfifo obeys the umask, which may even take our own bits
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _fork(become_program: Callable[[], None], name: str, is_shell: bool) -> int:
    """Fork; the child reports a failed exec through a pipe that a successful one closes."""
    failure, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(failure)
            become_program()
        except BaseException as error:
            os.write(report, str(_errno_of(error)).encode())
        finally:
            os._exit(127)
    os.close(report)
    try:
        said = os.read(failure, 32)
    finally:
        os.close(failure)
    if said:
        os.waitpid(pid, 0)
        raise _not_started(name, int(said), is_shell)
    return pid


def _execute(path: str, argv: Sequence[str], env: Mapping[str, str], cwd: str | None) -> NoReturn:
    """In the child: become the program, or raise ChildProcessError with the errno as its text."""
    try:
        _reset_signals()
        _close_the_rest()
        if cwd is not None:
            os.chdir(cwd)
        try:
            os.execve(path, [*argv], dict(env))  # noqa: S606 - starting programs is what this is for
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            os.execve("/bin/sh", ["sh", path, *argv[1:]], dict(env))  # noqa: S606 - as execvp does without a #! line
    except OSError as error:
        raise ChildProcessError(str(error.errno)) from error


def _reset_signals() -> None:
    for number in signal.valid_signals():
        if number not in _IGNORED_AT_START and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _close_the_rest() -> None:
    """Mark what we inherited from who started us as not to be inherited (what we open is marked anyway)."""
    try:
        fds = [int(entry.name) for entry in os.scandir("/dev/fd")]
    except OSError:
        os.closerange(3, min(_MOST_FDS, os.sysconf("SC_OPEN_MAX")))
        return
    for fd in fds:
        if fd > 2:
            try:
                os.set_inheritable(fd, False)
            except OSError as error:
                if error.errno != errno.EBADF:  # the listing's own
                    raise


def _set_terminal(size: bytes, attributes: Attributes | None, env: Mapping[str, str]) -> None:
    fcntl.ioctl(0, termios.TIOCSWINSZ, size)
    if attributes is None:
        attributes = termios.tcgetattr(0)
        if _is_utf8(env):
            attributes[0] |= _IUTF8
    termios.tcsetattr(0, termios.TCSANOW, attributes)


def _is_utf8(env: Mapping[str, str]) -> bool:
    name = env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG") or ""
    return name.lower().replace("-", "").endswith("utf8")


def _errno_of(error: BaseException) -> int:
    """The errno that `_execute` raised, also after its way as text through ptyprocess's pipe."""
    text = str(error)
    if isinstance(error, ChildProcessError) and text.isdigit():
        return int(text)
    return getattr(error, "errno", None) or 0


def _abandon(made: list[tuple[int, int]]) -> None:
    for pid, fd in made:
        os.close(fd)
        os.waitpid(pid, 0)


def _not_started(name: str, number: int, is_shell: bool) -> DevTraceError:
    why = os.strerror(number) if number else "an unknown reason"
    context = {"program": name, "errno": number}
    if is_shell:
        return EnvironmentError(
            f"the shell {name} cannot be started: {why}",
            code="ERR_SHELL_MISSING",
            hint="install it, or name another one with --shell",
            context=context,
        )
    return TargetError(
        f"{name} cannot be started: {why}",
        code="ERR_TARGET_START",
        hint="check the spelling, PATH, and that the file is executable",
        context=context,
    )
