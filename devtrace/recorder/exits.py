"""The exit status of a program that leaves by SystemExit.

Lives here: `exit_status`. Not here: ending as python ends (launch.py). Standard library only: a guest imports
this.
"""

from __future__ import annotations


def exit_status(code: object) -> int:
    """What a shell sees of `SystemExit(code)` (pythonrun.c, _Py_HandleSystemExit)."""
    if code is None:
        return 0
    if not isinstance(code, int):
        return 1
    return code & 0xFF if -(1 << 63) <= code < 1 << 63 else 0xFF
