"""Where a probe sits in this process: from a place as people say it to code objects, lines and offsets.

A file is found by its real path, then as the exact name that code has, then as the only path that ends so.
Nothing is imported for it. That the file is still what was imported is told from the code objects alone: each
is compared with what the file compiles to now. A time of change proves nothing, for it can be set; a .pyc
may be stale or missing; and the text that linecache or the loader give is read from the file again. Where an
import hook rewrites modules (pytest's does), the lines in which functions begin must do.

Lives here: `resolve`, `Resolution`, `Place`, `File`. Not here: the text (source.py), the bytecode
(statements.py), what is alive (living.py), the words (locations.py). Standard library only: a guest imports
this.
"""

from __future__ import annotations

import os
import sys
from _frozen_importlib_external import SourceFileLoader  # importlib.machinery brings more with it
from types import ModuleType

from devtrace.probes.fields import Refused
from devtrace.probes.living import live_code
from devtrace.probes.locations import mapped
from devtrace.probes.source import NoCode, Spot, Unreadable, source_of, within
from devtrace.probes.statements import beginnings, lines_of

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import CodeType
    from typing import Any

    from devtrace.probes.locations import Location
    from devtrace.probes.source import Source

_HOUSE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
PENDING, INSTALLED = "pending", "installed"
NOT_IMPORTED = "the file is not imported yet"
_MOST_CANDIDATES = 10
_IS_FUNCTION = 3  # co_flags: CO_OPTIMIZED | CO_NEWLOCALS, which a class's body and a module's have not both
_COMPREHENSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}
_modules: Any = ModuleType
_names_of = _modules.__dict__["__dict__"].__get__


class Place:
    """What an engine is given: `what` is "line", "entry", "exit" or "raise"; `starts` None: each event."""

    __slots__ = ("code", "line", "starts", "what")

    def __init__(self, code: CodeType, line: int, what: str, begins: frozenset[int] | None = None):
        self.code = code
        self.line = line
        self.what = what
        self.starts = begins


class File:
    """One file of the program: `path` as it is shown, `names` under which its code is known."""

    __slots__ = ("_real", "names", "path", "source", "why_no_source")

    def __init__(self, path: str, names: Iterable[str]):
        self.path = path
        self.names = set(names)
        self._real: dict[str, bool] = dict.fromkeys(self.names, True)
        self.source: Source | None = None
        self.why_no_source = ""
        self._read()

    def is_of(self, name: str) -> bool:
        """Whether code of that file name is this file's."""
        known = self._real.get(name)
        if known is None:
            known = os.path.basename(name) == os.path.basename(self.path) and _real(name) == self.path
            self._real[name] = known
        return known

    def _read(self) -> None:
        try:
            with open(self.path, "rb") as file:
                self.source = source_of(file.read())
        except OSError as error:
            self.why_no_source = f"its text cannot be read: {error.strerror}"
        except Unreadable as error:
            self.why_no_source = str(error)


class Resolution:
    """A place in this process. `line` is where it sits, `requested_line` what was asked for.

    `source_changed`: whether the file was edited since it was imported; None where that cannot be told.
    """

    def __init__(self, file: File, spots: list[Spot], what: str, requested_line: int):
        self.file = file.path
        self.line = spots[0].line
        self.requested_line = requested_line or self.line
        self.what = "entry" if what == "line" and spots[0].is_entry else what
        self.places: list[Place] = []
        self.source_changed: bool | None = None
        self._file = file
        self._spots = spots
        self._has_owner = self._is_in_some(file.source.codes) if file.source else True
        self._is_loaded = bool(file.names)

    @property
    def status(self) -> str:
        """pending or installed."""
        return INSTALLED if self.places else PENDING

    @property
    def message(self) -> str:
        """Why it is pending, or what to doubt; "" for nothing."""
        if self.source_changed:
            return "the file was edited since it was imported: the lines that run may be others"
        if self.places:
            return ""
        if not self._is_loaded:
            return NOT_IMPORTED
        if self._spots[0].qualname == "<module>":
            return "the module has run already: its own lines run again when it is reloaded"
        return "no function with that line is known yet; it is waited for"

    @property
    def resolved(self) -> list[dict[str, object]]:
        """`{file, line, qualname}` for each code object."""
        codes = {id(place.code): place.code for place in self.places}.values()
        return [
            {
                "file": self.file,
                "line": code.co_firstlineno if self.what != "line" else self.line,
                "qualname": code.co_qualname,
            }
            for code in codes
        ]

    def place_in(self, code: CodeType) -> list[Place]:
        """Where the probe sits in code that was found just now, and in what is defined within; those not yet
        known. They are added to `places`.
        """
        if not self._file.is_of(code.co_filename):
            return []
        known = {id(place.code) for place in self.places}
        fresh = [one for one in within(code) if id(one) not in known]
        made = [place for one in fresh for spot in self._spots for place in self._places(one, spot)]
        self.places += made
        self._is_loaded = True
        return made

    def place_among(self, codes: list[CodeType]) -> None:
        """All that is alive, at the beginning."""
        if self._file.source is None:
            self._has_owner = self._is_in_some(codes)
        for code in codes:
            self.place_in(code)
        self.source_changed = self._is_changed([place.code for place in self.places] or codes)

    def _is_in_some(self, codes: Iterable[CodeType]) -> bool:
        """Whether the line is some function's own, and not only a comprehension's."""
        return any(self.line in lines_of(code) for code in codes if code.co_name not in _COMPREHENSIONS)

    def _places(self, code: CodeType, spot: Spot) -> list[Place]:
        if spot.is_entry:
            return [Place(code, spot.line, self.what)] if _is_entered(code, spot) else []
        if spot.line not in lines_of(code) or not self._is_own(code, spot):
            return []
        source = self._file.source
        is_known = source is not None and source.has(code)
        head = (spot.first, spot.last) if is_known else (0, 0)
        begins = beginnings(code, spot.line, *head)
        if not begins:  # it only ends here: better each time than never
            return [Place(code, spot.line, self.what)]
        return [Place(code, line, self.what, offsets) for line, offsets in begins.items()]

    def _is_own(self, code: CodeType, spot: Spot) -> bool:
        """Not a comprehension in a statement of that line, nor a class's body in the line of its `class`."""
        if code.co_name in _COMPREHENSIONS:
            return not self._has_owner
        if code.co_flags & _IS_FUNCTION == _IS_FUNCTION:
            return not code.co_name.startswith("<generic parameters")
        if code.co_name == "<module>":
            return True
        return spot.line != code.co_firstlineno and spot.qualname in ("", code.co_qualname)

    def _is_changed(self, codes: list[CodeType]) -> bool | None:
        source = self._file.source
        if source is None or not codes:
            return None
        is_there = source.has if _is_imported_as_it_is(self._file) else source.has_lines_of
        return not all(is_there(code) for code in codes)


def resolve(location: Location, *, maps: Iterable[tuple[str, str]] = (), nearest: bool = False) -> Resolution:
    """Raises Refused: 404 FILE_NOT_FOUND or FUNCTION_NOT_FOUND, 409 AMBIGUOUS_FILE, 400 INVALID_LINE.

    `nearest`: a line without code moves to the nearest that has some. `maps`: pairs (from, to) of paths.
    """
    path = _path_of_module(location.module) if location.module else mapped(location.file, maps)
    bases = {os.path.basename(path), os.path.basename(_real(path))}
    codes = live_code(lambda name: os.path.basename(name) in bases and not _is_ours(name)).codes
    file = _file(path, {code.co_filename for code in codes} | loaded_files(bases))
    codes = [code for code in codes if file.is_of(code.co_filename)]
    if location.function:
        spots = functions_named(file, location.function, codes)
    else:
        spots = [spot_of_line(file, location.line, codes, nearest=nearest)]
    resolution = Resolution(file, spots, location.what, location.line)
    resolution.place_among(codes)
    return resolution


def spot_of_line(file: File, line: int, codes: Sequence[CodeType] = (), *, nearest: bool = False) -> Spot:
    """Of the file's text, else of the code that is alive. Raises Refused INVALID_LINE."""
    try:
        return file.source.spot(line) if file.source else _bare_spot(file, codes, line)
    except NoCode as error:
        if nearest and error.nearest:
            best = min(error.nearest, key=lambda one: (abs(one - line), -one))
            return file.source.spot(best) if file.source else _bare_spot(file, codes, best)
        hint = f"; try {' or '.join(map(str, error.nearest))}" if error.nearest else ""
        details = {"line": line, "nearest": list(error.nearest)}
        raise Refused(400, "INVALID_LINE", f"{error.why}{hint}", details) from error


def _bare_spot(file: File, codes: Sequence[CodeType], line: int) -> Spot:
    """Without its text, from what is alive of it: a line at which a function begins is its entry."""
    for code in codes:
        if code.co_firstlineno == line and _is_def(code):
            return Spot(line, line, line, code.co_qualname, code.co_name, True)
    lines = sorted({one for code in codes for one in lines_of(code)})
    if line in lines:
        return Spot(line, line, line, "", "", False)
    around = [one for one in lines if one < line][-1:] + [one for one in lines if one > line][:1]
    raise NoCode(line, f"no code of line {line} is alive, and {file.why_no_source}", tuple(around))


def functions_named(file: File, name: str, codes: Sequence[CodeType] = ()) -> list[Spot]:
    """All of that name, which may be defined in several branches. Raises Refused FUNCTION_NOT_FOUND."""
    if file.source is not None:
        there = file.source.functions()
    else:
        there = [
            Spot(
                code.co_firstlineno,
                code.co_firstlineno,
                code.co_firstlineno,
                code.co_qualname,
                code.co_name,
                True,
            )
            for code in codes
            if _is_def(code)
        ]
    wanted = [spot for spot in there if _spoken(spot.qualname) == _spoken(name)]
    if wanted:
        return wanted
    last = name.rpartition(".")[2]
    alike = sorted({_spoken(spot.qualname) for spot in there if spot.name == last})[:_MOST_CANDIDATES]
    hint = f"; there is {' and '.join(alike)}" if alike else ""
    details = {"function": name, "candidates": alike}
    raise Refused(404, "FUNCTION_NOT_FOUND", f"{file.path} defines no {name}{hint}", details)


def _spoken(qualname: str) -> str:
    return qualname.replace(".<locals>", "")


def _is_def(code: CodeType) -> bool:
    return code.co_flags & _IS_FUNCTION == _IS_FUNCTION and not code.co_name.startswith("<")


def _is_entered(code: CodeType, spot: Spot) -> bool:
    """The head of an edited file may have moved: then the name alone would find another of that name."""
    return _is_def(code) and code.co_name == spot.name and spot.first <= code.co_firstlineno <= spot.last


def _file(path: str, names: set[str]) -> File:
    """Of the names that live code and modules have."""
    if os.path.isfile(path) and not _is_ours(_real(path)):
        real = _real(path)
        return File(real, [name for name in names if _real(name) == real])
    if path in names:
        return File(path, [path])
    ending = "/" + path.lstrip("./")
    by_real: dict[str, list[str]] = {}
    for name in names:
        if name.endswith(ending) or _real(name).endswith(ending):
            by_real.setdefault(_real(name), []).append(name)
    if not by_real:
        by_real = {real: [] for found in _on_disk(path) if not _is_ours(real := _real(found))}
    if len(by_real) > 1 or path == "__init__.py":
        raise _ambiguous(path, sorted(by_real))
    for real, of_it in by_real.items():
        return File(real, of_it)
    hint = "not in the current folder, on sys.path or among what is loaded"
    raise Refused(404, "FILE_NOT_FOUND", f"{path} is found nowhere: {hint}", {"file": path})


def _ambiguous(path: str, candidates: list[str]) -> Refused:
    shown = candidates[:_MOST_CANDIDATES]
    message = f"{path} may be several files: name its folder as well"
    if shown:
        message = f"{path} may be {' or '.join(shown)}: name more of its path"
    return Refused(409, "AMBIGUOUS_FILE", message, {"file": path, "candidates": shown})


def _on_disk(path: str) -> list[str]:
    """Where an import could find it; nothing is imported."""
    if os.path.isabs(path):
        return []
    tried = [os.path.join(folder or os.curdir, path) for folder in sys.path if type(folder) is str]
    return [one for one in tried if os.path.isfile(one)]


def _path_of_module(name: str) -> str:
    """Of a module that is loaded or could be; what stands above it is not imported. Raises Refused."""
    path = _path_of(sys.modules.get(name))
    if path:
        return path
    inner = name.replace(".", "/")
    for one in (f"{inner}.py", f"{inner}/__init__.py"):
        found = _on_disk(one) or ([one] if os.path.isfile(one) else [])
        if found:
            return found[0]
    raise Refused(404, "FILE_NOT_FOUND", f"no module {name} is loaded or on sys.path", {"module": name})


def _path_of(module: object) -> str:
    if type(module) is not ModuleType:
        return ""
    path = _names_of(module).get("__file__")
    return path if type(path) is str else ""


def loaded_files(bases: set[str]) -> set[str]:
    """Files of modules that may have no function."""
    paths = map(_path_of, list(sys.modules.values()))
    return {path for path in paths if path and os.path.basename(path) in bases and not _is_ours(path)}


def _is_ours(path: str) -> bool:
    """Whether it is a file of DevTrace, which is in the program and no part of it."""
    return path.startswith(_HOUSE)


def _is_imported_as_it_is(file: File) -> bool:
    """No hook has rewritten it: its modules come from Python's own loader."""
    loaders = [
        _names_of(module).get("__loader__")
        for module in list(sys.modules.values())
        if file.is_of(_path_of(module) or "?")
    ]
    return all(type(loader) is SourceFileLoader for loader in loaders)


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):  # a name such as <string>, with a NUL in it
        return path
