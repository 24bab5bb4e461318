"""What tests of probes share: an engine with what it told, receivers of events, and what sends to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devtrace.probes.sink import Sink
from tests.probes.armed import NAMES, Told, assert_idle, nobody_traces
from tests.probes.receivers import Receiver


@pytest.fixture(params=NAMES)
def told(request: pytest.FixtureRequest) -> Iterator[Told]:
    with nobody_traces():
        told = Told(request.param)
        yield told
        told.engine.stop()
        assert_idle()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def sinks() -> Iterator[Callable[..., Sink]]:
    made: list[Sink] = []

    def make(url: str, **settings: Any) -> Sink:
        made.append(Sink(url, **settings))
        return made[-1]

    yield make
    for one in made:
        one.stop()
