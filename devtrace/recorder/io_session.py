"""Input and output of one recording: what of it the policy and the filters want, begun, changed and ended.

Lives here: `Io`. Not here: hooks (io_capture.py, io_hooks.py), the mirror of descriptors (fd_mirror.py).
Standard library only: a guest imports this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from devtrace.recorder import logs
from devtrace.recorder.policy import current

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from devtrace.recorder.fd_mirror import FdMirror
    from devtrace.recorder.io_capture import Capture
    from devtrace.recorder.recording import Recording

GAP = "fd_mirror_failed"


class Io:
    """Of one recording; `capture` and `mirror` are None where they are not wanted, or cannot be."""

    def __init__(
        self,
        recording: Recording,
        folder: Path,
        workspace_dir: Path | None,
        told: Mapping[str, object],
        caught: Callable[[str, BaseException], bool],
    ):
        """`told`: what the filters say of it, `{capture, streams}`. `caught`: as for an engine."""
        self.capture: Capture | None = None
        self.mirror: FdMirror | None = None
        self._recording = recording
        self._folder = folder
        self._workspace_dir = workspace_dir
        self._told = told
        self._caught = caught
        self._n_replaced = 0

    def begin(self) -> None:
        """Hook the streams that are wanted; one line in the log where none is."""
        self.capture = self._wanted()
        if self.capture is not None:
            self.capture.install()

    def look_again(self) -> None:
        """The policy has said something of it: as if it had begun with that, but for the mirror."""
        if self.capture is not None and current().io_capture_line_proxies:
            self.capture.again()
            return
        self._take_away()
        self.begin()

    def let_go(self) -> None:
        """Take the hooks away, and nothing more: something went wrong, or a child is left alone."""
        if self.capture is not None:
            self.capture.let_go()

    def end(self) -> dict[str, Any]:
        """Let the streams be the program's own again; returns what is to be told of them."""
        self._take_away()
        told: dict[str, Any] = {"replaced": self._n_replaced} if self._n_replaced else {}
        if self.mirror is not None:
            logs.tell_by(None)
            told["mirror"] = self.mirror.stop()
        return told

    def _take_away(self) -> None:
        capture, self.capture = self.capture, None
        if capture is not None:
            capture.uninstall()
            self._n_replaced += capture.n_replaced

    def _wanted(self) -> Capture | None:
        is_filtered = self._told.get("capture") is False
        if is_filtered or not current().io_capture_line_proxies:
            because = "a trace filter" if is_filtered else "the policy"
            logs.log("info", f"what the program reads and prints is not recorded: {because} says so")
            return None
        from devtrace.recorder import io_capture

        streams: Any = self._told.get("streams") if self._told.get("capture") else io_capture.CHANNELS
        channels = frozenset(streams) & io_capture.CHANNELS
        if current().io_capture_fd_fallback and self.mirror is None:
            self.mirror = self._mirror()
        return io_capture.Capture(self._recording, self._caught, channels=channels, mirror=self.mirror)

    def _mirror(self) -> FdMirror | None:
        from devtrace.recorder import fd_mirror

        recording = self._recording
        try:
            mirror = fd_mirror.FdMirror.start(
                folder=self._folder,
                session=recording.session,
                number=recording.next_stream(),
                workspace_dir=self._workspace_dir,
                limits=recording.limits,
                on_failed=self._mirror_failed,
            )
        except fd_mirror.FdMirrorFailed as error:
            self._mirror_failed(error.reason)
            return None
        logs.tell_by(lambda: mirror.saved(2))
        return mirror

    def _mirror_failed(self, reason: str) -> None:
        logs.log("warn", f"what is written below Python is not recorded: {reason}")
        self._recording.tell_gap(GAP)
