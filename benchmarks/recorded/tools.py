"""What a workload can be run under: each function imports a tool and returns how it is started and stopped.

Lives here: the tools, with the settings that come nearest to what ours does: all events, kept in a file.
Not here: installing them (recorder_peers.py), the processes (worker.py).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

Switches = tuple[Callable[[], object], Callable[[], object]]  # start, stop


class Place(NamedTuple):
    """Where a tool may write, the program, and its function in which the work is done."""

    folder: str
    program: ModuleType
    entry: str


Tool = Callable[[Place], Switches]


def _nothing() -> None:
    pass


def plain(_: Place) -> Switches:
    """Nothing listens."""
    return _nothing, _nothing


def imported(_: Place) -> Switches:
    """Ours is there and was not started."""
    import devtrace.recorder  # noqa: F401

    return _nothing, _nothing


def _ours(detail: str, **keys: object) -> Tool:
    def tool(_: Place) -> Switches:
        import devtrace.recorder as recorder

        policy = {"detail": detail, **keys}
        return lambda: recorder.start(policy=policy), lambda: recorder.stop(exit_code=0)

    return tool


def codetracer(place: Place) -> Switches:
    """Every line with all locals and globals, and what is printed, as with ours."""
    import codetracer_python_recorder as recorder

    return lambda: recorder.start(os.path.join(place.folder, "trace"), format="binary"), recorder.stop


def viztracer(place: Place) -> Switches:
    """Calls and C calls, no lines and no values; what it has is written when it is saved."""
    from viztracer import VizTracer

    tracer = VizTracer(output_file=os.path.join(place.folder, "trace.json"), verbose=0)

    def stop() -> None:
        tracer.stop()
        tracer.save()

    return tracer.start, stop


def _coverage(core: str) -> Tool:
    def tool(place: Place) -> Switches:
        os.environ["COVERAGE_CORE"] = core
        import coverage

        measured = coverage.Coverage(data_file=os.path.join(place.folder, "coverage"), config_file=False)

        def stop() -> None:
            measured.stop()
            measured.save()

        return measured.start, stop

    return tool


def pysnooper(place: Place) -> Switches:
    """Each line and each changed variable as text, of the work and of all that it calls."""
    import pysnooper as snooper

    kept = open(os.path.join(place.folder, "snooped"), "w")  # noqa: SIM115 - closed by `stop`
    function: Any = getattr(place.program, place.entry)

    def start() -> None:
        snooped = snooper.snoop(kept, depth=1_000)(function)
        setattr(place.program, place.entry, snooped)

    return start, kept.close


TOOLS: dict[str, Tool] = {
    "plain": plain,
    "again": plain,
    "imported": imported,
    "shell": plain,  # a traced shell's Python: what is different is its environment
    "values": _ours("values"),
    "lines": _ours("lines"),
    "calls": _ours("calls"),
    "mute": _ours("values", io_capture="off"),
    "mute-calls": _ours("calls", io_capture="off"),
    "codetracer": codetracer,
    "viztracer": viztracer,
    "sysmon": _coverage("sysmon"),
    "ctrace": _coverage("ctrace"),
    "pysnooper": pysnooper,
}


def listeners() -> list[str]:
    """Who listens to this interpreter now: a trace or profile function, a tool of sys.monitoring."""
    found = [name for name in ("trace", "profile") if getattr(sys, f"get{name}")() is not None]
    if sys.version_info >= (3, 12):
        found += filter(None, map(sys.monitoring.get_tool, range(6)))
    return found
