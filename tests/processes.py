"""What a test needs to start `python -m devtrace` as somebody's shell would."""

from __future__ import annotations

import os
from pathlib import Path

import devtrace

DEADLINE = 30.0  # seconds: reached only when something is broken


def environment(**changes: str) -> dict[str, str]:
    """This test's own world, with the package that is under test."""
    checkout = str(Path(devtrace.__file__).parents[1])
    path = os.pathsep.join(filter(None, [checkout, os.environ.get("PYTHONPATH", "")]))
    return os.environ | {"PYTHONPATH": path, "TZ": "UTC"} | changes
