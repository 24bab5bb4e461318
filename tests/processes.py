"""What a test needs to start `python -m devtrace` as somebody's shell would."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import devtrace

DEADLINE = 30.0  # seconds: reached only when something is broken


def environment(**changes: str) -> dict[str, str]:
    """This test's own world, with the package that is under test."""
    checkout = str(Path(devtrace.__file__).parents[1])
    path = os.pathsep.join(filter(None, [checkout, os.environ.get("PYTHONPATH", "")]))
    return os.environ | {"PYTHONPATH": path, "TZ": "UTC"} | changes


def obey_permissions() -> None:
    """For `preexec_fn`: even root is held to the permission bits, as everybody else is.

    Linux only: it takes CAP_DAC_OVERRIDE (1) from what the coming exec may have (prctl 24,
    PR_CAPBSET_DROP).
    """
    if os.getuid() == 0 and sys.platform == "linux":
        ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


CAN_OBEY = os.getuid() != 0 or sys.platform == "linux"
