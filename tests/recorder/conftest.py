"""What every test of the recorder begins and ends with: the default policy, and no trace."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devtrace import recorder
from devtrace.recorder.policy import KEYS, configure_policy


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    _restore()
    yield
    recorder.stop()
    _restore()


def _restore() -> None:
    configure_policy({name: "" if key.default is None else key.default for name, key in KEYS.items()})
