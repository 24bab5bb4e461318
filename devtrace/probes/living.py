"""The code that is alive in the program: found from its modules and from the frames of its threads.

None of the program's own code runs while we look, and nothing of its objects changes: what one object holds
is asked of CPython's collector, object by object and no more than so many; types are compared by their ids,
for a metaclass may have an `__eq__`. What lies deeper than we look is told by the engine's discovery when it
is called.

Lives here: `live_code`, `frames`. Not here: which of it a probe wants (places.py). Standard library only: a
guest imports this.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from collections import deque
from functools import partial
from gc import get_referents
from types import CellType, CodeType, FunctionType, MethodType, ModuleType

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any

MOST_OBJECTS = 100_000  # that are looked at in one walk
_MOST_ITEMS = 10_000  # of a container: larger ones hold data
_MOST_FRAMES = 10_000  # of one thread
_BATCH = 200  # objects that are asked about at once

_SCALARS = (int, str, bytes, bytearray, float, bool, complex, type(None), type(...), range)
_HAS_NOTHING = frozenset(map(id, _SCALARS))
_LEADS_TO_CODE = frozenset(
    map(id, (FunctionType, CellType, MethodType, type, property, staticmethod, classmethod, partial))
)
_CODE = id(CodeType)
_CONTAINERS = frozenset(map(id, (dict, list, tuple, set, frozenset)))

# Read once from the types themselves: what a program's class says of these names is not asked.
_types: Any = type
_modules: Any = ModuleType
_bases_of = _types.__dict__["__mro__"].__get__
_names_of = _modules.__dict__["__dict__"].__get__


class Found:
    """`codes`: of files that were asked for, each once. `is_whole`: the walk came to its end."""

    __slots__ = ("codes", "is_whole")

    def __init__(self, codes: list[CodeType], is_whole: bool):
        self.codes = codes
        self.is_whole = is_whole


def live_code(is_wanted: Callable[[str], bool], most: int = MOST_OBJECTS) -> Found:
    """Code objects for whose file's name `is_wanted` is true, those within others among them."""
    walk = _Walk(is_wanted)
    for frame in frames():
        if walk.add_code(frame.f_code):  # what was run by exec() is in no module
            walk.add(frame.f_globals)
    for module in list(sys.modules.values()):
        if _is_module(module):
            walk.add(_names_of(module))
    is_whole = walk.is_done(most)
    return Found(list(walk.found.values()), is_whole)


def frames() -> Iterator[FrameType]:
    """Of all threads, but for the frames of the one that asks in this module: those would keep themselves."""
    tops = sys._current_frames()
    own: FrameType | None = tops.pop(get_ident(), None)
    while own is not None and own.f_globals is globals():
        own = own.f_back
    for top in (*tops.values(), own):
        frame = top
        for _ in range(_MOST_FRAMES):
            if frame is None:
                break
            yield frame
            frame = frame.f_back


class _Walk:
    """What may lead to code goes first, so that much data does not keep us from it."""

    def __init__(self, is_wanted: Callable[[str], bool]):
        self.found: dict[int, CodeType] = {}  # by id: code objects of one text are equal
        self._is_wanted = is_wanted
        self._wanted: dict[str, bool] = {}
        self._likely: list[object] = []
        self._other: deque[object] = deque()
        self._seen: set[int] = set()

    def is_done(self, most: int) -> bool:
        """Walk. Whether the end was reached before so many objects."""
        while most > 0 and (batch := self._batch()):
            most -= len(batch)
            self._add_all(get_referents(*batch))
        return not self._likely and not self._other

    def add(self, names: object) -> None:
        """A place to begin at."""
        if id(names) not in self._seen:
            self._seen.add(id(names))
            self._other.append(names)

    def _batch(self) -> list[object]:
        if self._likely:
            batch = self._likely[-_BATCH:]
            del self._likely[-_BATCH:]
            return batch
        return [self._other.popleft() for _ in range(min(_BATCH, len(self._other)))]

    def _add_all(self, found: list[Any]) -> None:
        seen = self._seen
        for one in found:
            kind = id(type(one))
            if kind in _HAS_NOTHING or id(one) in seen:
                continue
            seen.add(id(one))
            if kind == _CODE:
                self.add_code(one)
            elif kind in _LEADS_TO_CODE:
                self._likely.append(one)
            elif len(one) < _MOST_ITEMS if kind in _CONTAINERS else not _is_module(one):
                self._other.append(one)

    def add_code(self, code: CodeType) -> bool:
        """Whether it is wanted."""
        name = code.co_filename
        if name not in self._wanted:
            self._wanted[name] = self._is_wanted(name)
        if self._wanted[name] and id(code) not in self.found:
            self.found[id(code)] = code
            for const in code.co_consts:
                if type(const) is CodeType:
                    self.add_code(const)
        return self._wanted[name]


def _is_module(one: object) -> bool:
    """Each is looked at for itself: those in `sys.modules`."""
    return any(base is ModuleType for base in _bases_of(type(one)))
