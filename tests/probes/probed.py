"""Modules to be probed: a folder on sys.path, and a file with a bit of everything in it."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtrace.probes.fields import Refused
from devtrace.probes.locations import parse_location
from devtrace.probes.places import Resolution, resolve

numbers = itertools.count()

APP = '''\
"""What the module is for."""

import functools

LIMIT = 3


# how it is done
def add(x, y):
    """The sum."""
    if x:
        z = x + y
    else:
        z = y

    return z


@functools.lru_cache
@functools.wraps(add)
def cached(
    x,
):
    return x


class User:
    """A user."""

    kind = "user"

    @property
    def name(self):
        return "ana"

    @staticmethod
    def make(): return User()

    class Meta:
        def inner(self):
            def deepest():
                return 1

            return deepest


double = lambda x: x * 2
print_all = [lambda: 1, [lambda: 2]]


def many(xs):
    made = call(
        xs,
        # a comment within
        [x + 1
         for x in xs],
    )
    async def later():
        with made, made:
            pass
        for one in made: call(one)
    return (
        made
    )


def call(*args):
    global LIMIT
    try:
        return args[0]
    except (
        KeyError,
    ):
        pass
    finally:
        LIMIT = 4
'''


class World:
    """A folder on sys.path, and the modules of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"probed_{next(numbers)}"
        self.path = folder / f"{self.name}.py"

    def write(self, text: str, name: str = "") -> Path:
        path = self.folder / f"{name}.py" if name else self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def load(self, text: str = APP, name: str = "") -> Any:
        self.write(text, name)
        importlib.invalidate_caches()
        return importlib.import_module(name.replace("/", ".") or self.name)

    def at(self, tail: object, **more: Any) -> Resolution:
        return resolve(parse_location(f"{self.path}:{tail}"), **more)


@contextlib.contextmanager
def world_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield World(tmp_path)
    for name in set(sys.modules) - before:
        if name.startswith(("probed", "pkg")):
            del sys.modules[name]


def line_of(part: str, text: str = APP) -> int:
    (number,) = (at for at, line in enumerate(text.splitlines(), 1) if part in line)
    return number


def refused(ask: Callable[[], object]) -> Refused:
    with pytest.raises(Refused) as caught:
        ask()
    return caught.value
