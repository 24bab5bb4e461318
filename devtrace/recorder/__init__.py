"""The Python recorder: what a program did, line by line, attached to the command that ran it.

    import devtrace.recorder as recorder

    with recorder.trace():
        work()

Lives here: the public names. Not here: what they do (api.py, policy.py, metrics.py), the command line
(`python -m devtrace.recorder`, `devtrace record`). Standard library only, and light: programs of others
import this. With CODETRACER_TRACE in the environment the import begins a trace.
"""

import os

from devtrace.recorder.api import (
    DEFAULT_FORMAT,
    TRACE_BINARY,
    TRACE_JSON,
    TraceSession,
    flush,
    is_tracing,
    start,
    stop,
    trace,
)
from devtrace.recorder.errors import (
    EnvironmentError,
    InternalError,
    RecorderError,
    TargetError,
    UsageError,
)
from devtrace.recorder.metrics import set_metrics_sink
from devtrace.recorder.metrics import snapshot as metrics_snapshot
from devtrace.recorder.policy import configure_policy, configure_policy_from_env, policy_snapshot

__all__ = [
    "DEFAULT_FORMAT",
    "TRACE_BINARY",
    "TRACE_JSON",
    "EnvironmentError",
    "InternalError",
    "RecorderError",
    "TargetError",
    "TraceSession",
    "UsageError",
    "configure_policy",
    "configure_policy_from_env",
    "flush",
    "is_tracing",
    "metrics_snapshot",
    "policy_snapshot",
    "set_metrics_sink",
    "start",
    "stop",
    "trace",
]

if "CODETRACER_TRACE" in os.environ:
    from devtrace.recorder import children

    children.begin_into(os.environ["CODETRACER_TRACE"])
