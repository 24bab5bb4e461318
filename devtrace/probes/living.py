"""The code that is alive in the program: found from its modules and from the frames of its threads.

None of the program's own code runs while we look, and nothing of its objects changes: what one object holds
is asked of CPython's collector; types are compared by their ids, for a metaclass may have an `__eq__`.

How much else is loaded must not matter, so there is an order: the modules of the wanted files and what frames
run, then what all modules name, and behind it what code is made of (functions, classes, closures, wrappers).
That is bounded by the program's own text. Only then come objects and containers, as many as may be looked
at; code that lies behind more of them is told by the engine's discovery when it is called.

Lives here: `live_code`, `frames`. Not here: which of it a probe wants (places.py). Standard library only: a
guest imports this.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from collections import deque
from functools import cached_property, lru_cache, partial, partialmethod, singledispatchmethod
from gc import get_referents
from itertools import repeat
from operator import is_not
from types import CellType, CodeType, FunctionType, MethodType, ModuleType

from devtrace.probes.kinds import Unsafe, named

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any

MOST_OBJECTS = 8_000  # objects and containers that are looked at: some milliseconds
_MOST_ITEMS = 1_000  # of a container: larger ones hold data
_MOST_FRAMES = 10_000  # of one thread
_BATCH = 200  # objects that are asked about at once: the call keeps other threads waiting

_C_METHODS = (type(len), type(str.lower), type(str.__len__), type(dict.__dict__["fromkeys"]))
_SCALARS = (int, str, bytes, bytearray, float, bool, complex, type(None), type(...), range, *_C_METHODS)
_LEADING = (
    *(FunctionType, CellType, MethodType, type, property, staticmethod, classmethod, partial, partialmethod),
    *(cached_property, singledispatchmethod, type(lru_cache(callable))),
)
_CONTAINERS: tuple[Any, ...] = (dict, list, tuple, set, frozenset, deque)

# What is done with an object of some type: nothing, or it waits. Those that wait are taken in this order.
_IS_NOTHING = 0
_LEADS = 1  # made of code
_HELD = 2  # held by such: the names of a module or class
_BESIDE = 3  # a function of another file: what it closes over or wraps
_CALLED = 4  # can be called, so it may be a wrapper
_OTHER = 5
_REST = 6  # whatever else a function of another file holds
_IS_CODE, _IS_CONTAINER, _IS_DERIVED = range(7, 10)
_FIXED = {
    **dict.fromkeys(map(id, _SCALARS), _IS_NOTHING),
    **dict.fromkeys(map(id, _LEADING), _LEADS),
    **dict.fromkeys(map(id, _CONTAINERS), _IS_CONTAINER),
    id(CodeType): _IS_CODE,
}

# Read once from the types themselves: what a program's class says of these names is not asked.
_modules: Any = ModuleType
_names_of = _modules.__dict__["__dict__"].__get__
_functions: Any = FunctionType
_globals_of = _functions.__dict__["__globals__"].__get__
_closure_of = _functions.__dict__["__closure__"].__get__
_FUNCTION = id(FunctionType)
_is_something = partial(is_not, None)


class Found:
    """`codes`: of files that were asked for, each once. `is_whole`: the walk came to its end."""

    __slots__ = ("codes", "is_whole")

    def __init__(self, codes: list[CodeType], is_whole: bool):
        self.codes = codes
        self.is_whole = is_whole


def live_code(is_wanted: Callable[[str], bool], most: int = MOST_OBJECTS) -> Found:
    """Code objects for whose file's name `is_wanted` is true, those within others among them."""
    walk = _Walk(is_wanted)
    modules = [one for one in list(sys.modules.values()) if issubclass(type(one), ModuleType)]
    spaces = [_names_of(one) for one in modules]
    files = [_file_of(names) for names in spaces]
    first = [names for names, file in zip(spaces, files, strict=True) if file and is_wanted(file)]
    first += [frame.f_globals for frame in frames() if walk.add_code(frame.f_code)]  # exec() has no module
    others = [names for names, file in zip(spaces, files, strict=True) if file and not is_wanted(file)]
    walk.know([*modules, *spaces, *first], others)
    is_whole = walk.is_done(first, most) & walk.is_done(spaces, most)
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
    """From names to what they hold."""

    def __init__(self, is_wanted: Callable[[str], bool]):
        self.found: dict[int, CodeType] = {}  # by id: code objects of one text are equal
        self._is_wanted = is_wanted
        self._wanted: dict[str, bool] = {}
        self._waiting: list[deque[Any]] = [deque() for _ in range(_REST + 1)]
        self._others: set[int] = set()
        self._seen: set[int] = set()
        self._what_is_done = dict(_FIXED)  # id of a type -> what is done with its objects
        self._kinds: list[type] = []  # kept, so that no other type gets the id of one

    def know(self, begun_at: list[Any], others: list[dict[str, Any]]) -> None:
        """`begun_at`: looked at for themselves, so that a function that leads to one leads nowhere.

        `others`: the names of modules whose files are not wanted, and so their functions.
        """
        self._seen.update(map(id, begun_at))
        self._others.update(map(id, others))

    def is_done(self, namespaces: list[dict[str, Any]], most: int) -> bool:
        """Walk from there. Whether the end was reached before so many objects were looked at."""
        self._waiting[_HELD].extend(namespaces)
        while most > 0:
            rank = next((rank for rank, waiting in enumerate(self._waiting) if waiting), _IS_NOTHING)
            if rank == _IS_NOTHING:
                return True
            waiting = self._waiting[rank]
            batch = [waiting.popleft() for _ in range(min(_BATCH, len(waiting)))]
            most -= len(batch) * (rank >= _CALLED)
            if rank == _BESIDE:
                self._add_all(_led_to(batch), _OTHER)
                self._waiting[_REST].extend(batch)
            else:
                self._add_all(get_referents(*batch), _HELD if rank == _LEADS else _OTHER)
        return False

    def _add_all(self, found: list[Any], container: int) -> None:
        """`container`: what is done with those among them."""
        seen, waiting, wanted, what_is_done = self._seen, self._waiting, self._wanted, self._what_is_done
        others = self._others
        for one in found:
            kind = id(type(one))
            what = what_is_done[kind] if kind in what_is_done else self._judge(one)
            if not what:
                continue
            number = id(one)
            if number in seen:
                continue
            seen.add(number)
            if what == _IS_CODE:
                if wanted.get(one.co_filename, True):
                    self.add_code(one)
            elif what <= _OTHER:
                if kind == _FUNCTION and id(_globals_of(one)) in others:
                    what = _BESIDE
                waiting[what].append(one)
            elif (len(one) if what == _IS_CONTAINER else _size(one)) <= _MOST_ITEMS:
                waiting[container].append(one)

    def _judge(self, one: object) -> int:
        """What is done with the objects of a type that was not met before."""
        kind = type(one)
        if issubclass(kind, type):
            what = _LEADS
        elif issubclass(kind, _CONTAINERS):
            what = _IS_DERIVED
        else:
            what = _CALLED if callable(one) else _OTHER
        self._kinds.append(kind)
        self._what_is_done[id(kind)] = what
        return what

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


def _file_of(names: dict[str, Any]) -> str:
    """Of the module with these names; "" for none."""
    try:
        path = named(names, "__file__")
    except Unsafe:  # very many names, of which some are no texts
        return ""
    return path if type(path) is str else ""


def _led_to(functions: list[Any]) -> list[Any]:
    """What functions of other files close over or wrap."""
    closures = filter(_is_something, map(_closure_of, functions))
    wrapped = filter(_is_something, map(getattr, functions, repeat("__wrapped__"), repeat(None)))
    return [*get_referents(*closures), *wrapped]


def _size(one: object) -> int:
    """Of a container whose class may say otherwise."""
    return int(next(base.__len__(one) for base in _CONTAINERS if issubclass(type(one), base)))
