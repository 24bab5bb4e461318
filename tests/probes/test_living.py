"""Which code is found alive, behind what, and that nothing of it runs meanwhile."""

from __future__ import annotations

import abc
import functools
import gc
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


@pytest.fixture(scope="module")
def many_objects() -> Iterator[list[str]]:
    """In modules that were loaded before: containers within containers, instances, and functions."""

    class Row:
        def __init__(self, number: int) -> None:
            self.cells = [number, {str(number): (number, [number])}]

        def __call__(self) -> None: ...

    names = [f"probed_{next(numbers)}" for _ in range(100)]
    for name in names:
        module = types.ModuleType(name)
        module.rows = [Row(number) for number in range(500)]  # type: ignore[attr-defined]
        vars(module).update({f"row_{number}": Row(number) for number in range(100)})
        module.table = {number: [[number]] for number in range(900)}  # type: ignore[attr-defined]
        sys.modules[name] = module
    assert len(gc.get_objects()) > 300_000
    yield names
    for name in names:
        del sys.modules[name]


WRAPPED = """\
import functools

def wrapping(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper

class Kind:
    def method(self):
        return 1
    @property
    def name(self):
        return 2
    @staticmethod
    @functools.lru_cache
    def cached():
        return 3

@wrapping
@wrapping
def decorated():
    return 4

table = {'/': [(lambda: 5,)]}
"""


def test_code_is_found_however_much_else_is_loaded(world: World, many_objects: list[str]) -> None:
    world.load(WRAPPED)
    for returned in range(1, 6):
        part = f"return {returned}" if returned < 5 else "lambda: 5"
        assert world.at(line_of(part, WRAPPED)).status == "installed"


@pytest.mark.parametrize(
    "keep",
    [
        "wrapping(hidden)",
        "functools.wraps(hidden)(wrapping)",
        "functools.lru_cache(hidden)",
        "functools.cached_property(hidden)",
        "type('Made', (), {'hidden': property(hidden)})",
        "abc.ABCMeta('Made', (), {'hidden': staticmethod(hidden)})",
    ],
)
def test_so_is_what_only_other_modules_hold_in_wrappers(
    world: World, many_objects: list[str], keep: str
) -> None:
    module = world.load("def hidden(*_):\n    return 1\n")
    other = f"def wrapping(function):\n    return lambda: function()\nkept = {keep}\n"
    world.write("import abc, functools\nhidden = None\n" + other, f"{world.name}_other")
    holder = types.ModuleType(f"{world.name}_other")
    sys.modules[holder.__name__] = holder
    vars(holder).update(hidden=module.hidden, functools=functools, abc=abc)
    exec(compile(other, str(world.folder / "other.py"), "exec"), vars(holder))
    del holder.hidden, module.hidden
    (place,) = world.at(2).places

    assert place.code.co_name == "hidden"


def test_what_lies_deeper_than_may_be_looked_at_is_left_out_and_said(
    world: World, many_objects: list[str]
) -> None:
    module = world.load("def hidden():\n    return 1\n")
    last = sys.modules[many_objects[-1]]
    last.deep = [[[[[[module.hidden]]]]]]  # type: ignore[attr-defined]
    del module.hidden
    found = live_code(lambda name: name == str(world.path))

    assert (found.codes, found.is_whole) == ([], False)
    assert "waited for" in world.at(2).message
