"""The smallest host there can be, for tests: a child on a terminal or on pipes, and its story as JSON lines.

    python small_host.py WAY REPORT ARGV...

WAY is pty, fed (stdin stays a pipe), pipes, joined (one pipe for both streams) or plain. REPORT receives
{"pid", "child", "watchdog"} before the loop, one line a captured output, {"exit", "failure"} at the end.
In the environment: HANG_UP=1 treats the child of pipes as a shell, SAME_GROUP=1 leaves it in our group;
RUNS=n starts the child n times, with its number as the last argument; BUG=1 makes the loop fail once the
child is quiet; SHARED=1 hides the terminal's name; LATE_WATCHDOG=1 lets the watchdog get its first turn only
when the host is dead; DIES_BEFORE=text kills the host when it is about to show that; TELLS=text reports
{"took": text} once the host has read it from the program.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
import tempfile
import time

from devtrace.errors import DevTraceError
from devtrace.sources.shell import watchdog as watchdogs
from devtrace.sources.shell.flow import Sink
from devtrace.sources.shell.output import Captured, OutputTrack
from devtrace.sources.shell.pipes import pump_pipes
from devtrace.sources.shell.pump import attend, exit_code, pump
from devtrace.sources.shell.spawn import spawn_pipes, spawn_plain, spawn_pty
from devtrace.sources.shell.terminal import OuterTerminal
from devtrace.sources.shell.watchdog import Watchdog

NONCE = "0123456789abcdef"


class Report:
    """JSON lines, each in one write, so that a test can read them while we run."""

    def __init__(self, path: str):
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, **fields: object) -> None:
        os.write(self.fd, json.dumps(fields).encode() + b"\n")

    def captured(self, captured: Captured) -> None:
        self.write(**{**captured._asdict(), "data": captured.data.decode("latin-1")})


def main(way: str, path: str, argv: list[str]) -> int:
    report = Report(path)
    track = OutputTrack(
        NONCE,
        report.captured,
        head_cap=int(os.environ.get("HEAD_CAP", "65536")),
        tail_cap=int(os.environ.get("TAIL_CAP", "65536")),
        clock=lambda: time.time_ns() // 1_000,
        streams=2 if way == "pipes" else 1,
    )
    with contextlib.ExitStack() as stack:
        try:
            for number in range(1, int(os.environ["RUNS"]) if "RUNS" in os.environ else 1):
                with contextlib.ExitStack() as once:
                    run(way, [*argv, str(number)], track, report, once)
            status = run(
                way, [*argv, os.environ["RUNS"]] if "RUNS" in os.environ else argv, track, report, stack
            )
        except DevTraceError as error:
            report.write(error=error.code, message=error.message, errno=error.context["errno"])
            return 1
    track.close()
    report.write(exit=exit_code(status), failure=repr(track.failure) if track.failure else None)
    return exit_code(status)


def run(way: str, argv: list[str], track: OutputTrack, report: Report, stack: contextlib.ExitStack) -> int:
    env = dict(os.environ)
    if way == "plain":
        plain = spawn_plain(argv, env=env)
        report.write(pid=os.getpid(), child=plain.pid)
        return attend(plain)
    if way in ("pipes", "joined"):
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        err = f"{folder}/err" if way == "pipes" else None
        piped = spawn_pipes(
            argv, env=env, out_path=f"{folder}/out", err_path=err, own_session="SAME_GROUP" not in os.environ
        )
        stack.callback(piped.close)
        report.write(pid=os.getpid(), child=piped.pid, paths=list(piped.paths))
        return pump_pipes(piped, track, hang_up="HANG_UP" in os.environ)
    tty = 1 if way == "fed" else 0
    if "SHARED" in os.environ:
        hide_the_terminal()
    if "LATE_WATCHDOG" in os.environ:
        delay_the_watchdog()
    if "TELLS" in os.environ:
        tell_of(os.environ["TELLS"].encode(), report)
    if "DIES_BEFORE" in os.environ:
        die_before(os.environ["DIES_BEFORE"].encode())
    watchdog = Watchdog.start(tty)
    stack.callback(watchdog.close)
    outer = stack.enter_context(OuterTerminal(tty, follows=way == "fed"))
    rows, cols, pixels = outer.size
    child = spawn_pty(
        argv,
        env=env,
        rows=rows,
        cols=cols,
        pixels=pixels,
        attributes=outer.attributes,
        stdin_fd=0 if way == "fed" else None,
    )
    stack.callback(child.close)
    report.write(pid=os.getpid(), child=child.pid, watchdog=watchdog.pid, terminal=outer.choice.chosen)
    return pump(child, outer, track, watchdog=watchdog, on_idle=fail if "BUG" in os.environ else None)


def hide_the_terminal() -> None:
    """As in a container that was given a terminal of the machine around it."""
    really_open = os.open

    def refuse(path: str, flags: int, *rest: int) -> int:
        if flags & os.O_NOCTTY:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO), path)
        return really_open(path, flags, *rest)

    os.open = refuse  # type: ignore[assignment]


def delay_the_watchdog() -> None:
    """As on a machine that is so busy that a new process waits for its first turn."""
    host, settle = os.getpid(), watchdogs._settle

    def settle_late(pipe: int, tty_fd: int) -> None:
        while os.getppid() == host:
            time.sleep(0.001)  # a parent's end wakes nobody who is no watchdog yet
        settle(pipe, tty_fd)

    watchdogs._settle = settle_late


def tell_of(text: bytes, report: Report) -> None:
    """For a test that must not read the terminal, and so cannot see how far the host is."""
    feed, seen = OutputTrack.feed, b""

    def feed_and_tell(self: OutputTrack, data: bytes, stream: int = 1) -> bytes:
        nonlocal seen
        seen = seen[-len(text) :] + data  # a read may end in the middle of it
        if text in seen:
            report.write(took=text.decode())
        return feed(self, data, stream)

    OutputTrack.feed = feed_and_tell  # type: ignore[method-assign]


def die_before(text: bytes) -> None:
    """As when somebody's `kill -9` comes just then."""
    show = Sink.write

    def die_or_show(self: Sink, data: bytes) -> None:
        if text in data:
            os.kill(os.getpid(), signal.SIGKILL)
        show(self, data)

    Sink.write = die_or_show  # type: ignore[method-assign]


def fail() -> float | None:
    raise RuntimeError("a bug of ours")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
