"""What a program itself calls: `start` and `stop`.

Lives here: those two. Not here: what they begin and end (agent.py), which is imported when they are called.
Standard library only: a guest imports this.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from devtrace.workspace import Workspace


def start(
    tracepoint_data_redaction_callback: Callable[[Any], Any] | None = None,
    log_data_redaction_callback: Callable[[Any], Any] | None = None,
    enable_control_api: bool = True,
    control_api_port: int = 5001,
    *,
    control_api_host: str | None = None,
) -> None:
    """Let this program be asked. Again, it takes other callbacks and opens HTTP where there was none.

    `tracepoint_data_redaction_callback`, `log_data_redaction_callback`: each plain value of a snapshot, or of
    a message, to what may leave of it; where one raises, nothing of the value does. `enable_control_api`:
    HTTP on loopback, at `control_api_port` (0: a free one) unless DEBUGIN_CONTROL_API_PORT says another;
    what keeps it from listening is told by `/health` over the unix socket and by `devtrace probe ps`.

    What is hit goes into the store above the current directory (DEVTRACE_DIR in a traced shell); without one
    only to DEBUGIN_EVENT_SINK_URL. Raises nothing.
    """
    from devtrace.bootstrap import reach
    from devtrace.probes import agent, registry
    from devtrace.probes.hits import Callbacks

    callbacks = Callbacks(tracepoint_data_redaction_callback, log_data_redaction_callback)
    try:
        began = agent.begun(_workspace(), callbacks)
        began.take_callbacks(callbacks)
        began.tell_started()
        if began.workspace is None:
            _end_at_exit()
        elif not registry.wakes():
            reach.listed(str(began.workspace.dir))
        began.is_held = not registry.wakes()
        if enable_control_api:
            began.asking.open(control_api_host, control_api_port)
        began.wake()
    except Exception:  # a guest: the program goes on without us
        return


def _end_at_exit() -> None:
    """Where nobody lists us, who would do it."""
    import atexit

    from devtrace.probes import agent

    atexit.unregister(agent.ended)
    atexit.register(agent.ended)


def stop() -> None:
    """Take all probes back and close what `start` opened, if anything was started. Raises nothing."""
    from devtrace.probes import agent

    try:
        agent.ended()
    except Exception:  # a guest: the program goes on
        return


def _workspace() -> Workspace | None:
    """The store that this program belongs to."""
    from devtrace.errors import DevTraceError
    from devtrace.workspace import find

    try:
        return find()
    except (DevTraceError, OSError):
        return None
