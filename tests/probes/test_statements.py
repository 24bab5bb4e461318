"""Each statement is hit as often as it runs: the engines, the places and the bytecode together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.probes.armed import NAMES, Told, nobody_traces
from tests.probes.probed import World, world_in


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with world_in(tmp_path, monkeypatch) as world:
        yield world


COUNTED = """\
def outer(call, context):
    made = call(  # 1
        1,  # 1
        call(2),  # 1
    )  # 1
    with context(  # 1
        made
    ) as one, context(made):  # 1
        made = [  # 1
            call(x)  # 3
            for x in (1, 2, 3)  # 1
        ]
    for x in call(  # 4
        (1, 2, 3)  # 1
    ):
        pass  # 3
    for x in (  # 4
        call((1, 2, 3))
    ):
        if x and (  # 3
            x > 1  # 3
        ):
            continue  # 2
    while made:  # 4
        made.pop()  # 3
    try:  # 1
        call(  # 1
            made["no"]  # 1
        )
    except (  # 1
        KeyError  # 1
    ):
        pass  # 0
    except TypeError as error:  # 1
        made = str(error)  # 1
    else:
        made = ""  # 0
    finally:
        call(made)  # 1
    match x:  # 1
        case 1:  # 1
            pass  # 0
        case 3 | 4:  # 1
            made = x  # 1
    later = lambda: (  # 2
        made
    )
    x = later(); later  # 1
    key = {  # 1
        k: v for k, v in ((1, 2),)  # 1
    }
    total = sum(x for x in (1, 2, 3))  # 1
    del key  # 1
    assert (  # 1
        total == 6
    ), "no"
    return (  # 1
        x  # 1
    )
"""


@pytest.mark.parametrize("name", NAMES)
def test_each_statement_is_hit_as_often_as_it_runs(world: World, name: str) -> None:
    """The numbers stand in the text, beside the lines."""
    module = world.load(COUNTED)
    counts = {
        at: int(text.rpartition("# ")[2]) for at, text in enumerate(COUNTED.splitlines(), 1) if "  # " in text
    }
    with nobody_traces():
        told = Told(name)
        for line in counts:
            for place in world.at(line).places:
                told.engine.arm(place.code, place.line, place.starts, line)
        assert module.outer(lambda one, *_: one, contextlib.nullcontext) == 3
        told.engine.stop()

    assert {line: told.count(line) for line in counts} == counts
