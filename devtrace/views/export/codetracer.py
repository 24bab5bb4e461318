"""CodeTracer: a recorded Python program as the directory that CodeTracer opens.

Lives here: nothing but the way there. Not here: the form, which the recorder shares
(store/trace/codetracer.py).
"""

from __future__ import annotations

from pathlib import Path

from devtrace.query.programs import Program
from devtrace.store.trace.codetracer import write_folder


def write_trace(program: Program, folder: Path) -> int:
    """Write the files into a directory; returns how many events. Raises OSError."""
    return write_folder(folder, program.process, program.threads(), program.exit_code, program.label)
