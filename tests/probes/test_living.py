"""Which code is found alive, behind what, and that nothing of it runs meanwhile."""

from __future__ import annotations

import functools
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtrace.probes.living import live_code
from tests.probes.armed import DEADLINE
from tests.probes.probed import APP, World, line_of, numbers, world_in


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with world_in(tmp_path, monkeypatch) as world:
        yield world


HIDDEN = """\
import functools

class Wrapper:
    __slots__ = ("held",)
    def __init__(self, held):
        self.held = held
    def __call__(self):
        return self.held()

class Plain:
    def __init__(self, held):
        self.held = held

def closing(function):
    def inner():
        return function()
    return inner

def hidden():
    return 1

def generator():
    yield 1

kept = {keep}
del hidden, generator
"""


@pytest.mark.parametrize(
    "keep",
    [
        "closing(closing(closing(hidden)))",
        "Wrapper(hidden)",
        "Plain(hidden)",
        "property(hidden)",
        "staticmethod(classmethod(hidden))",
        "functools.partial(hidden, 1)",
        "functools.lru_cache(functools.wraps(hidden)(lambda: 1))",
        "functools.cached_property(hidden)",
        "{'/': [(hidden,)]}",
        "type('Made', (), {'hidden': hidden})",
        "type('Made', (), {})()\nkept.hidden = hidden",
        "functools.singledispatch(hidden)",
        "closing(lambda default=hidden: default)",
    ],
)
def test_code_is_found_behind_wrappers_of_all_kinds(world: World, keep: str) -> None:
    world.load(HIDDEN.format(keep=keep))
    (place,) = world.at(line_of("return 1", HIDDEN)).places

    assert place.code.co_name == "hidden"


def test_a_generator_that_is_suspended_and_all_that_is_left_of_its_function(world: World) -> None:
    world.load(HIDDEN.format(keep="generator()\nnext(kept)"))
    (place,) = world.at(line_of("yield 1", HIDDEN)).places

    assert place.code.co_name == "generator"


def test_a_frame_of_another_thread_is_enough(world: World) -> None:
    text = "def work(ready, go):\n    ready.set()\n    go.wait(20)\n    x = 1\n"
    space: dict[str, Any] = {}
    exec(compile(text, str(world.write(text)), "exec"), space)
    ready, go = threading.Event(), threading.Event()
    thread = threading.Thread(target=space.pop("work"), args=(ready, go))
    thread.start()
    try:
        assert ready.wait(DEADLINE)
        (place,) = world.at(4).places
        assert place.code.co_name == "work"
    finally:
        go.set()
        thread.join(DEADLINE)


def test_two_modules_of_one_file_are_both_placed(world: World) -> None:
    """As a file that is run and imported is: `__main__`, and itself."""
    module = world.load()
    code = compile(APP, str(world.path), "exec")
    other = types.ModuleType(f"probed_{next(numbers)}")
    exec(code, other.__dict__)
    sys.modules[other.__name__] = other
    found = world.at(line_of("z = x + y"))

    assert len(found.places) == 2
    assert {id(place.code) for place in found.places} == {id(module.add.__code__), id(other.add.__code__)}


def test_no_code_of_the_program_runs_while_it_is_looked_at(world: World) -> None:
    calls: list[str] = []

    def note(name: str) -> Callable[..., Any]:
        def noted(self: object, *_: object) -> Any:
            calls.append(name)
            raise AssertionError(name)

        return noted

    names = (
        "__eq__ __hash__ __getattr__ __getattribute__ __len__ __iter__ __bool__ __repr__ __contains__ __get__"
    )
    names += " __instancecheck__ __class__ __dict__"
    everything: dict[str, Any] = {}
    for name in names.split():
        everything[name] = property(note(name)) if name in ("__class__", "__dict__") else note(name)
    meta = type("Meta", (type,), {key: everything[key] for key in everything if key != "__dict__"})
    module = world.load(HIDDEN.format(keep="[]"))
    hostile = type.__call__(meta, "Hostile", (), everything)
    module.kept += [hostile, object.__new__(hostile)]
    module.kept.append(type.__call__(meta, "Names", (dict,), {**everything, "__slots__": ()}))
    calls.clear()

    found = live_code(lambda name: name == str(world.path))

    assert calls == []
    assert "closing" in {code.co_name for code in found.codes}
    module.kept.clear()


def test_a_walk_ends_when_it_has_looked_at_so_many_objects() -> None:
    assert live_code(lambda _: False, most=100).is_whole is False
    whole = live_code(lambda name: name == functools.__file__)
    assert functools.wraps.__code__ in whole.codes
