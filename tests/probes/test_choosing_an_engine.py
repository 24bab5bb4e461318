"""Which engine is taken, and why."""

from __future__ import annotations

import pytest

from devtrace.probes import engine as engines
from devtrace.probes.engine import choose
from tests.probes.armed import (
    NAMES,
)


@pytest.mark.parametrize(
    ("wanted", "has_monitoring", "has_gil", "name", "because"),
    [
        ("pytrace", True, True, "pytrace", "asked for"),
        ("auto", False, True, "pytrace", "arrived in Python 3.12"),
        ("monitoring", False, True, "pytrace", "arrived in Python 3.12"),
        ("auto", True, False, "pytrace", "without a GIL"),
        ("native", True, False, "pytrace", "without a GIL"),
        ("auto", True, True, "monitoring", "costs nothing"),
        ("", True, True, "monitoring", "costs nothing"),
        ("native", True, True, "monitoring", "no native engine"),
        ("native", False, True, "pytrace", "arrived in Python 3.12"),
        ("magic", True, True, "monitoring", "no engine 'magic'"),
        ("monitoring", True, False, "monitoring", "costs nothing"),
    ],
)
def test_the_choice_of_an_engine_keeps_its_reason(
    wanted: str, has_monitoring: bool, has_gil: bool, name: str, because: str
) -> None:
    chosen = choose(wanted, has_monitoring=has_monitoring, has_gil=has_gil)

    assert chosen.name == name
    assert because in chosen.because


def test_no_choice_fails_in_this_interpreter() -> None:
    assert {choose(name).name for name in ("auto", "native", "pytrace", "monitoring", "?")} == set(NAMES)


def test_the_engines_promise_is_the_same() -> None:
    promised = {name for name in vars(engines.Engine) if not name.startswith("_")}
    for name in NAMES:
        assert not [one for one in promised if not hasattr(choose(name), one)]
