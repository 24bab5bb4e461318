"""The process behind a mirror: what comes out of its pipes goes to the console at once, and into the record.

    the program, its children ──► pipe, or pty ──► pump ──► the console, unchanged
                                                    └──► queue ──► recorder ──► redacted, a segment

It is nobody's child, in a session of its own, hears no signal but SIGKILL, and ends when all writers are
gone. When the console breaks, it closes its own end, so that the writers learn of it as they would have. The
words that it shares with the program (fd_mirror.py) say of each pump what it is doing:

    STATE      IDLE, READING, WRITING (a console that takes nothing keeps it there), GONE
    ROUND      odd while it empties its source because somebody asked; one more when it has
    FORWARDED  bytes that the console has taken

Control messages: `?` asks for a round, `=` with two bytes of length and a value teaches a secret.

Lives here: the process, and copying. Not here: the program's side (fd_mirror.py), what is kept of the bytes
(mirror_record.py). Run as a file, without site-packages; standard library only.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import sys
import termios
from time import perf_counter_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from devtrace.recorder.mirror_record import Recorder

WORDS_BYTES = 4_096
DONE, RECORDED = 0, 1  # of the process: whether all is recorded, and how many bytes
FIRST_PUMP, PUMP_WORDS = 8, 8  # where the words of the pumps begin, and how many each has
STATE, ROUND, FORWARDED, CHUNKS = 0, 1, 2, 3  # of a pump
IDLE, READING, WRITING, GONE = 0, 1, 2, 3
READY = b"ready\n"
ASK, TEACH = b"?", b"="

PART = 65_536  # bytes that are read at once: a whole pipe, so that no small write is cut in two
MOST_INSIDE = 1 << 16  # bytes, more than a pty holds (Linux: 20 KiB); the rest came since
_ATOMIC = 4_096  # bytes that a pipe takes as one (PIPE_BUF)
_SWITCH_S = 0.000_5  # who copies does not wait long for who redacts
_LOOK_MS = 100  # how often the console's window is looked at


# --- pumps: from a source to the console ---


class Pump:
    """One source, one console. `run` returns when the writers are gone, or the console is."""

    def __init__(self, what: int, fds: range, words: memoryview, recorder: Recorder, program: Program):
        """`fds`: its source, the console, what the program asks by."""
        source, sink, control = fds
        self._what = what
        self._source = source
        self._sink = sink
        self._control = control
        self._words = words
        self._recorder = recorder
        self._program = program
        self._is_tty = os.isatty(sink)
        self._is_cut = not self._is_tty and not _is_file(sink)
        self._size = _window(source)
        self._asked = b""  # of a control message that is not whole yet
        self._waiting = select.poll()
        self._waiting.register(source, select.POLLIN)
        self._now = select.poll()
        self._now.register(source, select.POLLIN)
        self._waiting.register(control, select.POLLIN)

    def run(self) -> None:
        """Copy until the end."""
        try:
            while self._turn():
                pass
        finally:
            self._words[STATE] = GONE
            os.close(self._source)
            os.close(self._sink)  # before all is recorded: who reads the console's other end waits for it
            self._recorder.put(self._what, 0, b"")

    def _turn(self) -> bool:
        ready = self._waiting.poll(_LOOK_MS if self._is_tty else None)
        if self._is_tty:
            self._copy_window()
        numbers = [fd for fd, _ in ready]
        if self._control in numbers:
            return self._answer()  # which may empty the source: it is looked at anew
        return self._source not in numbers or self._forward()

    def _answer(self) -> bool:
        """Take what the program asks for; the messages are read before the round begins that answers them."""
        is_asked = self._read_control()
        if not is_asked:
            return True
        words = self._words
        words[ROUND] += 1
        goes_on, enough = True, words[FORWARDED] + MOST_INSIDE
        while goes_on and words[FORWARDED] < enough and self._now.poll(0):
            goes_on = self._forward()
        words[ROUND] += 1
        return goes_on

    def _read_control(self) -> bool:
        """Whether a round is asked for."""
        data = os.read(self._control, PART)
        if not data:  # the program has ended, and so have its forks
            self._waiting.unregister(self._control)
            self._control = -1
            return False
        data = self._asked + data
        is_asked, at = False, 0
        while at < len(data):
            if data[at : at + 1] == ASK:
                is_asked, at = True, at + 1
                continue
            size = int.from_bytes(data[at + 1 : at + 3], "little")
            if at + 3 + size > len(data):
                break
            self._recorder.teach(data[at + 3 : at + 3 + size])
            at += 3 + size
        self._asked = data[at:]
        return is_asked

    def _forward(self) -> bool:
        """Copy what stands there; False at the end."""
        words = self._words
        words[STATE] = READING  # before anything is read: who finds the pipe empty looks at this next
        try:
            data = os.read(self._source, PART)
        except OSError:  # of a pty: nobody has its other end open
            data = b""
        clock_ns = perf_counter_ns()
        words[STATE] = WRITING
        written = self._write(data)
        words[FORWARDED] += written
        words[CHUNKS] += 1 if written else 0
        words[STATE] = IDLE
        if written:
            self._recorder.put(self._what, clock_ns, data[:written])
        return bool(data) and written == len(data)

    def _write(self, data: bytes) -> int:
        """How many bytes the console took: all, unless it is gone."""
        at = 0
        while at < len(data):
            end = _cut(data, at) if self._is_cut else len(data)
            try:
                at += os.write(self._sink, memoryview(data)[at:end])
            except BlockingIOError:  # somebody else made it so
                waiting = select.poll()
                waiting.register(self._sink, select.POLLOUT)
                waiting.poll()
            except OSError:
                return at
        return at

    def _copy_window(self) -> None:
        """A window that changed: the kernel has told the program, which found the old size; so once more."""
        size = _window(self._sink)
        if not size or size == self._size:
            return
        self._size = size
        try:
            fcntl.ioctl(self._source, termios.TIOCSWINSZ, size)
            self._program.tell_window()
        except OSError:
            return


def _cut(data: bytes, at: int) -> int:
    """Where a part ends that a pipe takes as one: behind a line, if there is one."""
    if len(data) - at <= _ATOMIC:
        return len(data)
    line = data.rfind(b"\n", at, at + _ATOMIC)
    return line + 1 if line >= 0 else at + _ATOMIC


def _is_file(fd: int) -> bool:
    import stat

    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return False


def _window(fd: int) -> bytes:
    try:
        return fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return b""


class Program:
    """The process that is mirrored: whether it is there yet."""

    def __init__(self, pid: int):
        self.pid = pid
        self.fd = -1  # readable when it has ended; -1 where the system has no such thing
        try:
            self.fd = os.pidfd_open(pid)
        except (AttributeError, OSError):
            return

    def has_ended(self) -> bool:
        """Whether it is known to have ended."""
        if self.fd < 0:
            return False
        waiting = select.poll()
        waiting.register(self.fd, select.POLLIN)
        return bool(waiting.poll(0))

    def tell_window(self) -> None:
        """SIGWINCH to its process group, as the kernel did."""
        import signal

        if self.fd >= 0 and not self.has_ended():
            os.killpg(os.getpgid(self.pid), signal.SIGWINCH)


# --- the process ---


def main(words: list[str]) -> None:
    """`words`: folder, session, number, most bytes, store or "", pid, first descriptor, the pumps' channels.

    From the first descriptor on stand: the shared words, where to say that we are ready, and for each pump
    its source, the console, its control.
    """
    *order, pid, first, channels = words
    if os.fork():
        os._exit(0)  # what the program started has ended: we are nobody's child
    os.setsid()
    os.chdir("/")
    base, whats = int(first), [int(what) for what in channels.split(",")]
    _close_others(range(base, base + 2 + 3 * len(whats)))
    shared = memoryview(mmap.mmap(base, WORDS_BYTES)).cast("Q")
    os.close(base)
    program = Program(int(pid))
    try:
        recorder = _recorder(order, len(whats), program, shared)
    except Exception as error:
        os.write(base + 1, (getattr(error, "strerror", "") or type(error).__name__).encode())
        return
    for index, what in enumerate(whats):
        fd, place = base + 2 + 3 * index, FIRST_PUMP + PUMP_WORDS * index
        _start(Pump(what, range(fd, fd + 3), shared[place : place + PUMP_WORDS], recorder, program))
    os.write(base + 1, READY)
    os.close(base + 1)
    recorder.run()


def _recorder(order: list[str], n_pumps: int, program: Program, shared: memoryview) -> Recorder:
    """Begin a segment. Raises OSError, Full."""
    _find_package()
    from devtrace.recorder.mirror_record import Pen, Recorder

    folder, session, number, most_bytes, workspace = order

    def tell(word: int, value: int) -> None:
        shared[word] = value

    return Recorder(
        Pen(folder, session, int(number), int(most_bytes)),
        n_pumps,
        workspace,
        has_ended=program.has_ended,
        on_written=lambda n_bytes: tell(RECORDED, n_bytes),
        on_done=lambda: tell(DONE, 1),
    )


def _find_package() -> None:
    """Make our modules importable, without what `devtrace.recorder` does when it is imported as a whole."""
    from types import ModuleType

    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    sys.path.append(os.path.dirname(os.path.dirname(here)))  # noqa: PTH120
    sys.modules["devtrace.recorder"] = package = ModuleType("devtrace.recorder")
    package.__path__ = [here]


def _start(pump: Pump) -> None:
    import threading

    sys.setswitchinterval(_SWITCH_S)
    threading.Thread(target=pump.run, name="devtrace-pump").start()


def _close_others(ours: range) -> None:
    """What the program had open is not ours to hold."""
    try:
        numbers = [int(name) for name in os.listdir("/dev/fd")]  # noqa: PTH208 - numbers, no paths
    except OSError:
        numbers = list(range(3, 1_024))
    for fd in numbers:
        if fd > 2 and fd not in ours:
            try:
                os.close(fd)
            except OSError:
                continue


if __name__ == "__main__":
    main(sys.argv[1:])
