"""A Python of a traced shell can be asked: it says where it is, and listens for one signal.

    started    .devtrace/run/python/<pid> is written, SIGURG (which nobody uses, and which is ignored where
               nobody listens) has a handler; probes that are wanted already are set before the program begins
    SIGURG     a thread imports the agent, which begins (devtrace/probes/agent.py), and ends
    ended      the file goes

Nothing else happens, no thread is there, and no module of DevTrace is in sys.modules until the signal comes.
Imported by its path from sitecustomize.py, in Python 3.11 and newer.

Lives here: `begin`. Not here: the form of the file (probes/registry.py), what is done when it is asked.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from types import ModuleType

_PLACE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_LIBRARY = os.path.dirname(os.__file__) + os.sep
_HEAD = b'{"until":'
_IMPORT_S = 1.0  # for which a fork may wait


_listed: _Reach | None = None


def begin() -> None:
    """For this process, as it starts. Silent whatever happens."""
    try:
        store = os.environ.get("DEVTRACE_DIR", "")
        if os.path.isdir(store) and not _is_ours(sys.orig_argv[1:]) and _is_main():
            reach = _Reach(store)
            reach.begin(_listen(reach.asked))
            if _is_any_wanted(store):
                reach.start()
    except Exception:  # noqa: S110 - a guest: what it cannot do is no reason to disturb
        pass


def listed(store: str) -> None:
    """For a process that has started the agent itself, and need not be in a traced shell. Raises OSError."""
    global _listed
    if _listed is None:
        _listed = _Reach(store)
        try:
            wakes = _listen(_listed.asked)
        except ValueError:  # a thread that is not the main one
            wakes = False
        _listed.begin(wakes)


class _Reach:
    def __init__(self, store: str):
        import _thread

        self._store = store
        self._pid = 0
        self._answering = _thread.allocate_lock()  # held while our thread imports what answers
        self._is_watching = False

    def begin(self, wakes: bool) -> None:
        import atexit

        self._register(wakes)
        atexit.register(self._leave)  # the first of all that is registered, so the last that is called
        os.register_at_fork(after_in_child=lambda: self._forked(wakes))

    def _forked(self, wakes: bool) -> None:
        """The child is listed if the parent still was."""
        if os.path.exists(self._file()):
            self._register(wakes)
            if "devtrace.probes.agent" not in sys.modules and _is_any_wanted(self._store):
                self.asked(0, None)

    def _watch_forks(self) -> None:
        """A module that is half imported stays so in the child, where who imports it waits for ever.

        C alone runs in the parent: what a handler of a signal raises in Python code there is lost. The lock
        is taken without waiting before it is let go, so that it never is free by then.
        """
        from functools import partial

        take, let_go = self._answering.acquire, self._answering.release
        again = self._answering._at_fork_reinit  # type: ignore[attr-defined]  # as threading does
        os.register_at_fork(
            before=partial(take, True, _IMPORT_S),
            after_in_parent=partial(take, False),
            after_in_child=again,
        )
        os.register_at_fork(after_in_parent=let_go)
        self._is_watching = True

    def _register(self, wakes: bool) -> None:
        try:
            self._pid = os.getpid()
            _write(self._store, self._pid, wakes)
        except OSError:  # a store that went, a full disk
            return

    def _file(self) -> str:
        return f"{self._store}/run/python/{self._pid}"

    def _leave(self) -> None:
        """The program has ended, its own exit functions too."""
        end = getattr(sys.modules.get("devtrace.probes.agent"), "ended", None)  # half imported it has none
        try:
            if end is not None:
                end()
            if self._pid == os.getpid():
                os.unlink(self._file())
        except OSError:
            return

    def asked(self, _signal: int, _frame: object) -> None:
        """The program may stand in the middle of an import: what we import is imported by a thread.

        All but `threading`, which takes the thread that imports it first for the main thread; where the
        program is half through importing what that needs, the next signal is heard. What another handler
        raises meanwhile is the program's.
        """
        try:
            import _thread
            import threading  # noqa: F401

            if not self._is_watching:
                self._watch_forks()
            _thread.start_new_thread(self._answer, ())
        except Exception as error:
            if not _is_of_library(error):
                raise

    def _answer(self) -> None:
        try:
            with self._answering:
                _agents().reached(self._store).wake()
        except Exception:  # half an installation
            return

    def start(self) -> None:
        _agents().reached(self._store, is_early=True)


def _agents() -> ModuleType:
    """The module `devtrace.probes.agent`. The program's sys.path is not touched for it."""
    if "devtrace" not in sys.modules:
        from _frozen_importlib import _load  # type: ignore[attr-defined]  # what `import` itself calls
        from _frozen_importlib_external import PathFinder

        _load(PathFinder.find_spec("devtrace", [_PLACE]))
    from devtrace.probes import agent

    return agent


def _is_of_library(error: Exception) -> bool:
    """Whether we raised it, or what we call: no file of the program's has to do with it."""
    traceback = error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith((__file__, "<frozen ", _LIBRARY)) or "-packages" in file:
            return False
        traceback = traceback.tb_next
    return True


def _is_ours(words: list[str]) -> bool:
    """Whether the program is DevTrace itself."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "-m":
            return following.partition(".")[0] == "devtrace"
        if not word.startswith("-"):
            return os.path.basename(word) == "devtrace"
    return False


def _is_main() -> bool:
    """Whether this is the main interpreter: one beside it comes and goes, and the process stays listed."""
    import _signal  # type: ignore[import-not-found]  # `signal` brings enum with it

    try:
        _signal.set_wakeup_fd(_signal.set_wakeup_fd(-1))
    except ValueError:  # as it says beside the main thread of the main one
        return False
    return True


def _listen(handler: object) -> bool:
    """Whether we have the signal: the program's own use of it comes first.

    Raises ValueError beside the main thread.
    """
    import _signal

    if _signal.getsignal(_signal.SIGURG) not in (_signal.SIG_DFL, 0):
        return False
    _signal.signal(_signal.SIGURG, handler)
    return (
        True  # no siginterrupt(..., False): in a restarted read() of the main thread it would never be heard
    )


def _write(store: str, pid: int, wakes: bool) -> None:
    folder = f"{store}/run/python"
    made = f"{folder}/.{pid}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    if os.path.islink(folder):  # it leads somewhere else
        return
    try:
        fd = os.open(made, flags, 0o600)
    except FileNotFoundError:
        os.mkdir(folder, 0o700)
        fd = os.open(made, flags, 0o600)
    try:
        os.write(fd, _entry(pid, wakes))
    finally:
        os.close(fd)
    os.replace(made, f"{folder}/{pid}")


def _entry(pid: int, wakes: bool) -> bytes:
    version = ".".join(map(str, sys.version_info[:3]))
    names = [os.environ.get(name, "") for name in ("DEVTRACE_SESSION", "DEVTRACE_SPAN")]
    session, span = (name if name.isalnum() and name.isascii() else "" for name in names)
    return (
        f'{{"pid": {pid}, "started": {_started()}, "python": "{version}", "session": "{session}", '
        f'"span": "{span}", "socket": "", "engine": "", "wakes": {str(wakes).lower()}, '
        f'"space": {_number("ns/pid")}, "program": {_number("exe")}}}\n'
    ).encode("ascii")


def _number(name: str) -> int:
    """By which a pid namespace, or a program's file, is known again."""
    try:
        return os.stat(f"/proc/self/{name}").st_ino
    except OSError:
        return 0


def _started() -> int:
    try:
        fd = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        stat = os.read(fd, 4096)
    finally:
        os.close(fd)
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


def _is_any_wanted(store: str) -> bool:
    """From the beginning of the file of wanted probes, which says until when there are some."""
    try:
        fd = os.open(f"{store}/probes.json", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        head = os.read(fd, 64)
    finally:
        os.close(fd)
    until = head.removeprefix(_HEAD).partition(b",")[0].strip()
    return not until.isdigit() or int(until) >= time.time()
