"""What programs write and read is captured while a trace is active, and of which streams.

Lives here: start and stop, muting, replaced streams, policy and filters. Not here: every way to write
(test_io_cases.py), batches and secrets (test_io_queue.py), threads and sudden ends (test_io_processes.py).
"""

# ruff: noqa: T201 - what is printed is what is looked at

from __future__ import annotations

import contextlib
import io
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from devtrace import recorder
from devtrace.recorder import metrics
from devtrace.recorder.streams import LineAwareStderr, LineAwareStdin, LineAwareStdout, ScopedMuteIoCapture
from tests.processes import DEADLINE
from tests.recorder.captured import Captured, buffered


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    recorder.stop()


class Console:
    """Streams in the place of the interpreter's own, upon files of their own."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch):
        self.folder, self._patch = folder, patch
        self._files: list[Any] = []

    def open(self) -> None:
        """Take their place. A fixture cannot: pytest puts its own there when the test begins."""
        for name in ("stdout", "stderr"):
            file = (self.folder / name).open("wb")
            stream = io.TextIOWrapper(file, "utf-8", errors="surrogateescape")
            self._patch.setattr(sys, name, stream)
            self._patch.setattr(sys, f"__{name}__", stream)
            self._files += [stream, file]

    def shown(self, name: str = "stdout") -> bytes:
        """All that was written there."""
        getattr(sys, f"__{name}__").flush()
        return (self.folder / name).read_bytes()

    def close(self) -> None:
        for file in self._files:
            with contextlib.suppress(ValueError):
                file.close()


@pytest.fixture
def console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    made = Console(tmp_path, monkeypatch)
    yield made
    recorder.stop()
    made.close()


def captured(folder: str = "out") -> Captured:
    return Captured(Path(folder))


# --- start and stop ---


def test_the_streams_are_line_aware_while_a_trace_is_active(console: Console) -> None:
    console.open()
    streams = [(sys.stdout, LineAwareStdout), (sys.stderr, LineAwareStderr)]
    assert not any(isinstance(stream, kind) for stream, kind in streams)

    with recorder.trace("out"):
        assert all(isinstance(stream, kind) for stream, kind in streams)
        assert not isinstance(sys.stderr, LineAwareStdout | LineAwareStdin)
        assert not isinstance(io.StringIO(), LineAwareStdout)
        assert [sys.stdout, sys.stderr] == [stream for stream, _ in streams]
        print("seen")
    print("unseen")

    assert not any(isinstance(stream, kind) for stream, kind in streams)
    assert console.shown() == b"seen\nunseen\n"
    assert captured().bytes_of("stdout") == b"seen\n"


def test_a_hundred_starts_and_stops_leave_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("""
import builtins, os, sys
from devtrace import recorder
from devtrace.recorder.streams import LineAwareStdin, LineAwareStdout, captured
def look():
    found = []
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        for layer in (stream, stream.buffer, getattr(stream.buffer, "raw", stream)):
            found.append((id(layer), sorted(vars(layer)) if hasattr(layer, "__dict__") else []))
    return found, len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0, builtins.input
with recorder.trace("once"):  # what is imported and cached is there from now on
    print("first")
before = look()
for number in range(100):
    recorder.start("out", apply_env_policy=False)
    print(number, isinstance(sys.stdout, LineAwareStdout))
    if not number:
        within = look()
    recorder.stop()
sys.stdout.flush()
after = look()
print([one == other for one, other in zip(before, after)], any(captured.values()), file=sys.stderr)
print([one[0] for one in within[0]] == [one[0] for one in before[0]], file=sys.stderr)
""")

    done = subprocess.run(
        [sys.executable, "script.py"],
        env=buffered(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )

    assert done.stderr == b"[True, True, True] False\nTrue\n"
    assert done.stdout == b"first\n" + b"".join(b"%d True\n" % number for number in range(100))
    assert captured().bytes_of("stdout") == done.stdout[6:]


def test_what_somebody_kept_of_ours_writes_on_when_we_are_gone(console: Console) -> None:
    console.open()
    recorder.start("out")
    write, below, flush = sys.stdout.write, sys.stdout.buffer.write, sys.stdout.flush
    write("within\n")
    recorder.stop()

    write("after\n")
    flush()
    below(b"bytes\n")

    assert console.shown() == b"within\nafter\nbytes\n"
    assert captured().bytes_of("stdout") == b"within\n"


def test_what_somebody_put_over_ours_stays(console: Console) -> None:
    console.open()
    recorder.start("out")
    ours = sys.stdout.write

    def loud(text: str) -> int:
        return ours(text.upper())

    sys.stdout.write = loud  # type: ignore[method-assign]
    print("one")
    recorder.stop()
    print("two")

    assert sys.stdout.write is loud
    assert console.shown() == b"ONE\nTWO\n"
    assert captured().bytes_of("stdout") == b"ONE\n"


def test_another_thread_may_stop_it(console: Console) -> None:
    console.open()
    recorder.start("out")
    print("before", end="")
    thread = threading.Thread(target=recorder.stop)
    thread.start()
    thread.join()
    recorder.stop()
    print("after")

    assert captured().bytes_of("stdout") == b"before"
    assert console.shown() == b"beforeafter\n"


def test_what_is_not_yet_passed_on_is_captured_when_it_stops(console: Console) -> None:
    console.open()
    sys.stdout.reconfigure(encoding="utf-16-le")  # type: ignore[union-attr]
    recorder.start("out")
    print("pending")
    recorder.stop()

    assert captured().bytes_of("stdout") == console.shown() == "pending\n".encode("utf-16-le")


def test_a_log_handler_of_before_is_captured_with_the_line_that_logged(console: Console) -> None:
    console.open()
    log = logging.getLogger("of-before")
    handler = logging.StreamHandler(sys.stderr)
    log.addHandler(handler)
    try:
        with recorder.trace("out"):
            log.warning("look")
    finally:
        log.removeHandler(handler)

    (chunk,) = captured().of("stderr")
    line = test_a_log_handler_of_before_is_captured_with_the_line_that_logged.__code__.co_firstlineno + 7
    assert (chunk.payload, chunk.line) == (b"look\n", line)


# --- muting ---


def test_a_muted_scope_is_its_threads_alone(console: Console) -> None:
    console.open()
    is_muted, is_done = threading.Event(), threading.Event()

    def quietly() -> None:
        with ScopedMuteIoCapture():
            is_muted.set()
            is_done.wait(DEADLINE)
            print("quiet")

    with recorder.trace("out"):
        thread = threading.Thread(target=quietly)
        thread.start()
        is_muted.wait(DEADLINE)
        print("loud")
        is_done.set()
        thread.join()

    assert captured().bytes_of("stdout") == b"loud\n"
    assert console.shown() == b"loud\nquiet\n"


def test_a_muted_scope_is_its_contexts_alone_and_ends_with_an_exception(console: Console) -> None:
    console.open()
    mute = ScopedMuteIoCapture()
    with recorder.trace("out"):
        other = copy_context()
        try:
            with mute, mute:
                print("quiet")
                other.run(print, "loud")
                raise KeyError
        except KeyError:
            print("on")
        copy_context().run(print, "again")

    assert captured().bytes_of("stdout") == b"loud\non\nagain\n"


def test_what_is_read_in_a_muted_scope_is_not_captured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").write_bytes(b"x" * 10_000 + b"secret\nopen\n")
    with io.TextIOWrapper((tmp_path / "in").open("rb", buffering=10_007)) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with recorder.trace("out"), ScopedMuteIoCapture():
            stdin.buffer.read(10_007)
        with recorder.trace("out2"):
            stdin.buffer.read()

    assert (captured().bytes_of("stdin"), captured("out2").bytes_of("stdin")) == (b"", b"open\n")


# --- streams that are replaced ---


def test_a_stream_that_is_replaced_is_noticed_and_counted(console: Console, tmp_path: Path) -> None:
    console.open()
    with recorder.trace("out"):
        plain = sys.stdout
        print("plain")
        sys.stdout = io.TextIOWrapper(plain.buffer, "utf-8", write_through=True)
        plain.flush()
        print("first")
        print("second")
        assert isinstance(sys.stdout, LineAwareStdout)
        counts = metrics.snapshot()["dropped_events"]
        sys.stdout.detach()
        sys.stdout = plain
        print("third")

    assert console.shown() == b"plain\nfirst\nsecond\nthird\n"
    assert captured().bytes_of("stdout") == console.shown()
    assert counts["io_stream_replaced"] == 1


def test_what_is_no_console_is_not_captured(console: Console) -> None:
    console.open()
    with recorder.trace("out"), contextlib.redirect_stdout(io.StringIO()):
        print("hidden")
        sys.stderr.write("told\n")

    assert (captured().bytes_of("stdout"), captured().bytes_of("stderr")) == (b"", b"told\n")


class Slotted:
    """As some editors have it: a stream that takes no attributes."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, text: str) -> int:
        self.lines.append(text)
        return len(text)

    def flush(self) -> None:
        self.lines.append("<flush>")

    def fileno(self) -> int:
        return 1


def test_a_stream_that_takes_no_attributes_gets_a_proxy_and_is_back_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bare: Any = Slotted()
    monkeypatch.setattr(sys, "stdout", bare)
    with recorder.trace("out"):
        assert isinstance(sys.stdout, LineAwareStdout)
        print("one", flush=True)
        sys.stdout.writelines(["two\n", "three\n"])
        sys.stdout.lines.append("own")  # type: ignore[attr-defined]
        assert sys.stdout.fileno() == 1

    assert sys.stdout is bare
    assert bare.lines == ["one", "\n", "<flush>", "two\n", "three\n", "own"]
    assert captured().bytes_of("stdout") == b"one\ntwo\nthree\n"


def test_configuring_the_policy_hooks_again_what_was_replaced(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    console.open()
    with recorder.trace("out"):
        kept = io.StringIO()
        monkeypatch.setattr(sys, "stdout", kept)
        print("not yet")
        assert not isinstance(sys.stdout, LineAwareStdout)
        recorder.configure_policy(io_capture_line_proxies=True)
        assert isinstance(sys.stdout, LineAwareStdout)
        print("now")

    assert kept.getvalue() == "not yet\nnow\n"
    assert captured().bytes_of("stdout") == b"now\n"
    assert vars(kept) == {}


# --- policy and filters ---


def test_the_policy_may_leave_the_streams_alone(console: Console) -> None:
    console.open()
    with recorder.trace("out", policy={"io_capture_line_proxies": False}):
        assert not isinstance(sys.stdout, LineAwareStdout)
        assert "write" not in vars(sys.stdout)
        print("alone")

    assert captured().chunks == []


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("capture = false", []),
        ('capture = true\nstreams = ["stdout", "stderr", "stdin"]', ["stderr", "stdout"]),
        ('capture = true\nstreams = ["stderr"]', ["stderr"]),
        ('capture = true\nstreams = ["stdin", "files"]', []),
    ],
)
def test_a_filter_says_which_streams(console: Console, tmp_path: Path, asked: str, names: list[str]) -> None:
    console.open()
    (tmp_path / "filter.toml").write_text(f'[meta]\nname = "x"\nversion = 1\n[io]\n{asked}\n')
    with recorder.trace("out", trace_filter=tmp_path / "filter.toml"):
        print("out")
        print("err", file=sys.stderr)

    assert sorted({chunk.channel for chunk in captured().chunks}) == names
