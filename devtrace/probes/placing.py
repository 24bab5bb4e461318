"""Points meet the code of the program: each is looked for, armed where it is, and waited for elsewhere.

    pending ──── the file is imported, the function is defined ────► installed
       ▲                                                                 │
       └──────────── the file was edited and is loaded anew ◄────────────┘

While a point is live the engine tells of code that runs for the first time, so that what is imported,
reloaded, made by `exec` or hidden in a closure is found as it begins to run.

Lives here: `Placing`. Not here: where a line is (places.py), how it is watched (engine.py), what happens at a
hit (hits.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import os
import threading
from collections import deque

from devtrace.probes.engine import EngineBusy
from devtrace.probes.fields import Refused
from devtrace.probes.hits import Probe
from devtrace.probes.locations import BadLocation, Location, parse_location
from devtrace.probes.places import NOT_IMPORTED, loaded_files, resolve
from devtrace.probes.point import ERROR, EXPIRED, INSTALLED, PENDING, REMOVED, Placed

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import CodeType

    from devtrace.probes.engine import Engine
    from devtrace.probes.hits import Hits
    from devtrace.probes.places import Place, Resolution
    from devtrace.probes.points import Point, Points

_PATIENCE_S = 0.02  # for which new code waits until somebody has set a probe
_NOT_YET = "FILE_NOT_FOUND"


class _Slot:
    """One point and where it sits. `resolution` None: its file was found nowhere yet."""

    __slots__ = ("bases", "failure", "is_armed", "probe", "resolution", "stamp")

    def __init__(self, probe: Probe, bases: tuple[str, ...]):
        self.probe = probe
        self.bases = bases  # what its file may be called, without folders
        self.resolution: Resolution | None = None
        self.stamp: tuple[int, int] | None = None
        self.failure = ""
        self.is_armed = False


class Placing:
    """Where the points of a process sit. Any thread may call."""

    def __init__(self, points: Points, engine: Engine, hits: Hits, tell: Callable[[Point, str, str], None]):
        """`tell(point, status, message)` is called after the standing of a point has changed."""
        self._points = points
        self._engine = engine
        self._hits = hits
        self._tell = tell
        self._lock = threading.RLock()
        self._slots: dict[str, _Slot] = {}
        self._found: dict[str, Resolution] = {}  # of points that are being made
        self._missed: deque[CodeType] = deque()  # new code that found us busy
        self._bases: set[str] = set()  # names of files of which new code is of interest
        self.is_discovering = False
        self.is_early = False  # the program has not begun: what it is made of is not there yet

    def find(self, point: Point) -> Placed:
        """Where a point is going to sit. Raises Refused, as `places.resolve`, and 400 INVALID_LOCATION."""
        resolution = resolve(_location(point), nearest=point.settings["nearest"])
        with self._lock:
            self._found[point.id] = resolution
        return self._placed(point, resolution)

    def settle(self, point: Point) -> None:
        """Arm the point, or disarm it, as it wants to be now. Raises nothing."""
        with self._lock:
            if point.standing.status in (REMOVED, EXPIRED):
                self._drop(point)
                return
            slot = self._slots.get(point.id)
            if slot is None:
                slot = self._slots[point.id] = self._new_slot(point)
                self._resolve(slot)
            else:
                slot.probe.take(point, self._hits.encoder_of)
            self._arm(slot)
            self._discover()

    def forget_removed(self) -> None:
        """Points that are not there any more."""
        with self._lock:
            for name in [name for name in self._slots if self._points.get(name) is None]:
                self._drop(self._slots[name].probe.point)
            self._discover()

    def on_new_code(self, code: CodeType) -> None:
        """Told by the engine, in the program's thread, when code runs for the first time."""
        if os.path.basename(code.co_filename) not in self._bases:
            return
        if not self._lock.acquire(timeout=_PATIENCE_S):
            self._missed.append(code)
            return
        try:
            self._seen(code)
        finally:
            self._lock.release()

    def catch_up(self) -> None:
        """Look at the code that was missed."""
        while self._missed:
            code = self._missed.popleft()
            with self._lock:
                self._seen(code)

    def renew(self) -> None:
        """Values are told in another way from now on."""
        with self._lock:
            for slot in self._slots.values():
                slot.probe.encoder = self._hits.encoder_of(slot.probe.point)

    def clear(self) -> None:
        """Nothing sits anywhere."""
        with self._lock:
            for slot in list(self._slots.values()):
                self._drop(slot.probe.point)
            self._engine.stop()

    def forget_lock(self) -> None:
        """In a forked child: a thread that is not here may have held it."""
        self._lock = threading.RLock()

    def _new_slot(self, point: Point) -> _Slot:
        location = _location(point)
        what = location.what
        last = location.module.rpartition(".")[2]
        bases = (os.path.basename(location.file),) if location.file else (f"{last}.py", "__init__.py")
        return _Slot(Probe(point, what, self._hits.encoder_of), bases)

    def _resolve(self, slot: _Slot) -> None:
        point = slot.probe.point
        if self.is_early and not loaded_files(set(slot.bases)):
            self._points.report(point.id, Placed(PENDING, NOT_IMPORTED))
            return
        try:
            found = self._found.pop(point.id, None)
            if found is None:
                found = resolve(_location(point), nearest=point.settings["nearest"])
        except Refused as refused:
            slot.resolution = None
            slot.failure = "" if refused.code == _NOT_YET else f"{refused.code}: {refused.message}"
            self._report(
                slot, Placed(ERROR if slot.failure else PENDING, slot.failure or _why_not_yet(point))
            )
            return
        if slot.failure:  # it is another text than the one that was refused
            slot.failure = ""
            self._points.report(point.id, Placed(PENDING, ""))
            slot.probe.take(self._points.get(point.id) or point, self._hits.encoder_of)
        slot.resolution = found
        slot.probe.what = found.what
        slot.bases = (os.path.basename(found.file),)
        slot.stamp = _stamp(found.file)

    def _arm(self, slot: _Slot) -> None:
        point, resolution = slot.probe.point, slot.resolution
        if resolution is None:
            return
        if not slot.probe.is_on:
            self._engine.drop(slot.probe)
            slot.is_armed = False
        elif not slot.is_armed:
            slot.is_armed = self._is_arming(slot, resolution.places)
        if slot.failure:
            self._report(slot, Placed(ERROR, slot.failure))
        elif point.standing.status != ERROR:
            self._report(slot, self._placed(point, resolution))

    def _is_arming(self, slot: _Slot, places: Iterable[Place]) -> bool:
        """Whether all is armed. What keeps us from it is told in the point's standing."""
        engine, probe = self._engine, slot.probe
        try:
            for place in places:
                if place.what == "line":
                    engine.arm(place.code, place.line, place.starts, probe)
                elif place.what == "raise":
                    engine.arm_raise(place.code, probe)
                else:
                    engine.arm_entry(place.code, probe)
                    if place.what == "exit":
                        engine.arm_exit(place.code, probe)
        except EngineBusy as busy:
            slot.failure = str(busy)
            return False
        slot.failure = ""
        return True

    def _seen(self, code: CodeType) -> None:
        base = os.path.basename(code.co_filename)
        for slot in [slot for slot in self._slots.values() if base in slot.bases]:
            if slot.resolution is None or self._is_stale(slot, code):
                self._engine.drop(slot.probe)
                slot.is_armed = False
                self._resolve(slot)
            if slot.resolution is None:
                continue
            fresh = slot.resolution.place_in(code)
            if slot.is_armed and fresh:
                slot.is_armed = self._is_arming(slot, fresh)
            self._arm(slot)
        self._discover()

    def _placed(self, point: Point, resolution: Resolution) -> Placed:
        return Placed(
            INSTALLED if resolution.places else PENDING,
            resolution.message
            or _another(point, resolution)
            or (self._engine.misses if resolution.places else ""),
            resolved=resolution.resolved,
            file=resolution.file,
            line=resolution.line,
        )

    def _is_stale(self, slot: _Slot, code: CodeType) -> bool:
        """Whether the file is being loaded as another one than we have read."""
        is_loading = code.co_name == "<module>" and slot.resolution is not None
        return is_loading and slot.resolution is not None and _stamp(slot.resolution.file) != slot.stamp

    def _drop(self, point: Point) -> None:
        slot = self._slots.pop(point.id, None)
        if slot is not None:
            slot.probe.is_on = False
            self._engine.drop(slot.probe)
        self._discover()

    def _discover(self) -> None:
        hoping = [slot for slot in self._slots.values() if slot.probe.is_on or slot.failure]
        self._bases = {base for slot in hoping for base in slot.bases}
        wanted = bool(self._bases)
        if wanted != self.is_discovering:
            self.is_discovering = self._engine.discover(wanted)

    def _report(self, slot: _Slot, placed: Placed) -> None:
        """Note it, and tell of it if it is another status than before."""
        point = slot.probe.point
        before = point.standing.status, point.standing.status_message
        self._points.report(point.id, placed)
        now = self._points.get(point.id)
        if now is None:
            return
        slot.probe.take(now, self._hits.encoder_of)
        if (placed.status, placed.status_message) != before or not point.standing.is_told:
            point.standing.is_told = True
            self._tell(now, placed.status, placed.status_message)


def _location(point: Point) -> Location:
    text = point.settings["location"]
    if not text:
        return Location(file=point.settings["file"], line=point.settings["line"])
    try:
        return parse_location(text)
    except BadLocation as error:
        raise Refused(400, "INVALID_LOCATION", f"Invalid location: {error}", {"field": "location"}) from None


def _why_not_yet(point: Point) -> str:
    return f"no file of that name is loaded, on sys.path or in the current folder: {point.where}"


def _another(point: Point, resolution: Resolution) -> str:
    """Whether the file is another one than who set the point has, as the hash that he gave tells."""
    wanted = point.settings["file_hash"]
    if not wanted:
        return ""
    import hashlib  # not before somebody gives one

    try:
        with open(resolution.file, "rb") as file:
            found = hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return "the file cannot be read, to be compared with file_hash"
    return "" if found == wanted.lower() else "the file is another one than file_hash says: lines may differ"


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size
