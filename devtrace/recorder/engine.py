"""Which engine listens to Python, and why: a fallback keeps its reason.

Lives here: `chosen`. Not here: the engines (monitoring.py, settrace.py). Standard library only: a guest
imports this.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from devtrace.choices import Choice
from devtrace.recorder.errors import EnvironmentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from devtrace.recorder.recording import Recording

_SINCE = (3, 12)
_WHAT = "recorder"


class Engine(Protocol):
    """What listens to the interpreter and writes into the recording's streams."""

    name: str

    def start(self) -> None:
        """Listen from now on. Raises when something else is in the way."""

    def stop(self) -> None:
        """Listen no more; may be called twice, by any thread."""

    def rearm(self) -> None:
        """Ask again about code that was skipped."""


def chosen(wanted: str) -> Choice:
    """The engine for this interpreter. Raises EnvironmentError ERR_TRACER_INSTALL_CONFLICT.

    `wanted`: auto, monitoring or settrace.
    """
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise _conflict("this interpreter runs without a GIL, where no engine of ours is safe yet")
    has_monitoring = sys.version_info >= _SINCE
    if wanted == "monitoring" and not has_monitoring:
        raise _conflict("sys.monitoring arrived in Python 3.12")
    if wanted == "settrace":
        return Choice(_WHAT, "settrace", "it was asked for")
    if has_monitoring:
        return Choice(
            _WHAT, "monitoring", "sys.monitoring is there, and costs nothing where nothing is recorded"
        )
    return Choice(_WHAT, "settrace", "sys.monitoring arrived in Python 3.12")


def begin(choice: Choice, recording: Recording, caught: Callable[[str, BaseException], bool]) -> Engine:
    """Start it. Raises EnvironmentError ERR_TRACER_INSTALL_CONFLICT when something else is in the way."""
    engine: Engine
    if choice.chosen == "monitoring":
        from devtrace.recorder.monitoring import Monitoring, NoToolId

        engine = Monitoring(recording, caught)
        try:
            engine.start()
        except NoToolId as error:
            raise _conflict("all six tool ids of sys.monitoring are taken") from error
        return engine
    from devtrace.recorder.settrace import SetTrace, TracerTaken

    engine = SetTrace(recording, caught)
    try:
        engine.start()
    except TracerTaken as error:
        raise _conflict("another tool has set a trace function (sys.settrace)") from error
    return engine


def _conflict(why: str) -> EnvironmentError:
    return EnvironmentError(
        f"this program cannot be recorded: {why}",
        code="ERR_TRACER_INSTALL_CONFLICT",
        hint="stop the other tool, or record with another interpreter",
        context={"python": sys.version.split()[0]},
    )
