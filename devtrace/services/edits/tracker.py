"""The thread beside a session that notices changes, makes checkpoints, and says whose changes they were.

It hears of commands as the recording does, of changes from the watcher, and looks when a command has ended,
when a burst of changes has come to rest, and at the session's end. Nobody waits for it before that.

Lives here: `Tracker`: when to look, and turning what was found into events. Not here: one checkpoint
(checkpoint.py), judging (attribution.py), what other sessions did (others.py).
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from devtrace.choices import Choice
from devtrace.config import Config
from devtrace.errors import DevTraceError
from devtrace.events import Body, Event, Gap, GitCommit, Policy
from devtrace.ids import new_span_id
from devtrace.policy.chain import Policy as Redaction
from devtrace.services.edits import others, untold
from devtrace.services.edits.attribution import Interval, Verdict, Window, attribute
from devtrace.services.edits.checkpoint import Checkpoints, Found
from devtrace.services.edits.early import Early
from devtrace.services.edits.judging import ENDED_US, LAST_S, Hints, Judge, window_of
from devtrace.services.edits.telling import Groups, moments_of, record
from devtrace.sources.moves import Move, Moves
from devtrace.sources.watch import EXTRA, Watcher
from devtrace.sources.worktree import TICK_US, File
from devtrace.store.checkpoints import tidy
from devtrace.store.checkpoints.chains import Checkpoint
from devtrace.workspace import Workspace

REST_S = 1.0  # without a change, and a burst has come to rest
LONGEST_S = 5.0  # that a change waits while others go on
_SHARE_OF_TIME = 20  # one part in so many may be spent on looking at the whole tree
_RETRY_S = 2.0
_SOON_S, _LATER_S = 0.02, 0.2  # between two questions whether it is time to look
_CLOSING_S = 5.0  # then the next session tells the rest
_MOST_MOMENTS = 16  # kept of one path; more become one wide one
_TIDY_S = 60.0


class _Command(NamedTuple):
    window: Window


class _Learn(NamedTuple):
    values: tuple[bytes, ...]


_Sign = tuple[Interval, int | None]  # of a hint: when, and its place

_STOP, _WAKE = "stop", "wake"


class Tracker:
    """The thread `devtrace-edits`. `heard`, `learn`, `take` and `close` are its session's to call."""

    def __init__(
        self,
        place: Workspace,
        root: Path,
        session: str,
        settings: Config,
        redaction: Redaction,
        started_us: int,
        early: Early,
    ):
        """`redaction`: a policy of the thread's own; `started_us`: when the session began.

        `early`: what has watched since; it is closed with this.
        """
        self._place = place
        self.root = root
        self._session = session
        self._settings = settings
        self._redaction = redaction
        self._started_us = started_us
        self._early = early
        self.places = early.places
        self._queue: queue.SimpleQueue[_Command | _Learn | str] = queue.SimpleQueue()
        self._events: deque[Event] = deque()
        self._woken = False
        self._pending: dict[bytes, list[_Sign]] = {}
        self._wants_all = True
        self._has_ended = self._is_over = False
        self._n_taught = self._n_learned = 0
        self._on_heard: Callable[[], None] = lambda: None
        self._first_hint = self._last_hint = 0.0
        self._pace_s = _SOON_S / 2  # between two looks at what could not be judged yet; longer each time
        self._again_at = self._retry_at = self._full_at = self._tidy_at = 0.0
        self._looked_us = self._compared_us = self._alone_us = started_us
        self._judge = Judge(place, root, session, started_us)
        self._is_waiting = False  # the last look left something to be judged when more has been heard
        self._index: object = None
        self._moved: list[_Sign] = []
        self._found_moves: list[Move] = []  # of HEAD, not told yet
        self._trouble: DevTraceError | OSError | None = None
        self._failures = 0
        self.choices: list[Choice] = []
        self.is_ready = threading.Event()  # it has seen the state in which the session began
        self._thread = threading.Thread(target=self._run, name="devtrace-edits", daemon=True)

    def start(self) -> None:
        """Begin to watch; returns at once."""
        self._thread.start()

    def heard(self, event: Event) -> None:
        """A command has begun, or ended."""
        if (window := window_of(event)) is not None:
            self.worked(window)

    def worked(self, window: Window) -> None:
        """The same of whatever can change files: an agent's tool, too."""
        self._queue.put(_Command(window))

    def progress(self, at_us: int) -> None:
        """Every command that began before that moment has been told."""
        self._judge.heard_us = at_us

    def waits(self) -> bool:
        """Whether there is something to be told, or `progress` is waited for."""
        return self._is_waiting or self._has_ended or bool(self._events)

    def learn(self, values: Iterable[bytes]) -> None:
        """These are secrets wherever they stand."""
        self._n_taught += 1
        self._queue.put(_Learn(tuple(values)))

    @property
    def has_learned(self) -> bool:
        """Whether every process that looks at a tree of the store can know what this was told to learn."""
        return self._n_learned == self._n_taught

    def take(self) -> list[Event]:
        """What was found since the last time, in its order."""
        found = []
        while self._events:
            found.append(self._events.popleft())
        return found

    def close(self, on_heard: Callable[[], None] = lambda: None) -> None:
        """Look a last time, and end the thread; gives up waiting where a disk hangs.

        `on_heard` is called, on the thread, when all that was to be learned is.
        """
        self._on_heard = on_heard
        self._queue.put(_STOP)
        self._thread.join(_CLOSING_S)
        if self._thread.is_alive():
            detail = "the last look took too long; what it was to tell is told by the next session"
            self._emit(Gap(reason="edits_unrecorded", detail=detail))

    # --- the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # the session goes on without us, and says so
            self._emit(Gap(reason="edits_failure", detail=f"{type(error).__name__}: {error}"))
        finally:
            self._early.close()
            self.is_ready.set()

    def _work(self) -> None:
        try:
            points = Checkpoints(self._place, self.root, self._redaction, self._settings)
        except (DevTraceError, OSError) as error:
            self._emit(Gap(reason="edits_unrecorded", detail=str(error)))
            return
        if self._is_too_large(points):
            return
        moves, watcher = self._early.result(self._wake)
        watcher.ignore(points.open_tree().skips)
        with watcher:
            self.choices = [points.choice, watcher.choice]
            self.places.compare(watcher)
            self._gather(watcher)
            self._begin(points)
            self.is_ready.set()
            self._wake()  # for what was seen before anybody listened
            while not self._is_over:
                self._listen(points, watcher)
                self._gather(watcher)
                if self._is_over:
                    break
                if self._is_due():
                    self._look(points, moves, watcher)  # which may hear that it is over
                elif self._is_quiet():
                    self._tidy(points)
            self._look_last(points, moves, watcher)
            if self._pending or self._trouble is not None:
                self._say_missing()
            if watcher.overrun is not None:
                since_us, until_us, count = watcher.overrun
                self._emit(Gap(reason="watcher_overflow", count=count), at_us=since_us, until_us=until_us)

    def _is_too_large(self, points: Checkpoints) -> bool:
        """A directory that is no repository may be anything, a home with a million files too."""
        if points.tree.repository is not None:
            return False
        most = self._settings.number("edits.plain_files")
        number = sum(1 for _ in zip(points.tree.each_file(b""), range(most + 1), strict=False))
        if number > most:
            detail = f"{self.root} is no repository and holds over {most:,} files: edits.plain_files"
            self._emit(Gap(reason="edits_unrecorded", detail=detail))
        return number > most

    def _listen(self, points: Checkpoints, watcher: Watcher) -> None:
        """Wait for what is told, or until it may be time to look."""
        with contextlib.suppress(queue.Empty):
            self._take_in(self._queue.get(timeout=self._patience_s()), points, watcher)
        self._hear(points, watcher)

    def _hear(self, points: Checkpoints, watcher: Watcher) -> None:
        """Take in what was told until now."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._take_in(self._queue.get_nowait(), points, watcher)

    def _take_in(self, item: _Command | _Learn | str, points: Checkpoints, watcher: Watcher) -> None:
        if isinstance(item, _Command):
            if item.window.ended_us is None:
                watcher.settle()  # no later hint reaches back before its start
            self._heard_command(item.window)
        elif isinstance(item, _Learn):
            with contextlib.suppress(DevTraceError):  # where nothing can be written, no content is either
                points.learn(item.values)
            self._n_learned += 1
        elif item == _STOP:
            self._is_over = True
            self._on_heard()
        else:
            self._woken = False

    def _patience_s(self) -> float | None:
        if self._pending or self._moved or self._has_ended or self._trouble is not None:
            return _SOON_S if self._has_ended or self._is_waiting else _LATER_S
        return _TIDY_S if self._tidy_at else None

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            self._queue.put(_WAKE)

    def _heard_command(self, window: Window) -> None:
        self._judge.heard(window)
        self._has_ended = self._has_ended or window.ended_us is not None

    def _gather(self, watcher: Watcher) -> None:
        for hint in watcher.take():
            sign = ((hint.since_us, hint.until_us), hint.place)
            if hint.path == EXTRA:
                self._moved.append(sign)
                self._note_hint()
            elif hint.path == b"":
                self._wants_all = True
                self._note_hint()
            else:
                self._add(hint.path, sign)
                if hint.path.rsplit(b"/", 1)[-1] in (b".gitignore", b".gitattributes"):
                    self._wants_all = True
                self._note_hint()

    def _note_hint(self) -> None:
        self._last_hint = time.monotonic()
        self._first_hint = self._first_hint or self._last_hint

    def _add(self, path: bytes, sign: _Sign) -> None:
        signs = self._pending.setdefault(path, [])
        if signs and signs[-1][1] is not None and signs[-1][1] == sign[1]:  # the same command's, or nobody's
            signs[-1] = (_joined([signs[-1], sign]), sign[1])
            return
        if len(signs) >= _MOST_MOMENTS:
            signs[:] = [(_joined(signs), None)]
        signs.append(sign)

    # --- when -----------------------------------------------------------------------------------------------

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now < self._retry_at or now < self._again_at:
            return False
        if self._has_ended:
            return now >= self._full_at or bool(self._pending)
        if not (self._pending or self._moved or self._wants_all):
            return False
        if self._is_waiting and self._has_heard_enough():
            return True
        rested = now - self._last_hint >= REST_S
        return rested or now - self._first_hint >= LONGEST_S

    def _has_heard_enough(self) -> bool:
        """Whether a second look can judge what the last one could not."""
        ended_us = time.time_ns() // 1000 - ENDED_US
        if self._judge.waits_for_others:
            return time.monotonic() - self._last_hint > _LATER_S and ended_us >= self._looked_us
        may_have_ended = self._judge.waits_for_ends and ended_us < self._looked_us
        return self._judge.heard_us >= self._looked_us and not may_have_ended

    def _is_quiet(self) -> bool:
        return bool(self._tidy_at) and time.monotonic() >= self._tidy_at and not self._pending

    # --- looking --------------------------------------------------------------------------------------------

    def _begin(self, points: Checkpoints) -> Checkpoint | None:
        """The state in which the session began: told by times, for the shell did not wait for us."""
        begun_us = time.time_ns() // 1000
        self._alone_us = min([self._started_us, *others.beginnings(self._place, self._session)])
        try:
            with points.chain.locked():
                untold.step_back(self._place, points)
                tip = points.tip()
                base = points.base() if tip is None else tip.tree
                given = self._as_it_was(points)
                paths = points.candidates(base) | given.keys()
                found = list(points.look(base, paths, given, self._alone_us))
                early = [one for one in found if self._is_early(one)]
                if tip is None:
                    tip = points.begin(early, base, self._started_us)
                elif early:
                    tip = self._record_early(points, tip, early)
            # Not read yet: a command may have put a secret into them that we are still to hear of.
            later = [one for one in found if one not in early]
            self._note_unhinted([one for one in later if one.path not in given], begun_us)
            for path in given.keys() | {one.path for one in later}:
                self._pending.setdefault(path, [])
            self._index = points.tree.index_stamp()
            self._wants_all = False
            self._note_hint()
        except (DevTraceError, OSError) as error:
            self._trouble = error
            self._retry_at = time.monotonic() + _RETRY_S
            return None
        return tip

    def _as_it_was(self, points: Checkpoints) -> dict[bytes, File | None]:
        """What was taken from the disk before the first command, of the files that have changed since."""
        given: dict[bytes, File | None] = {}
        for path, taken in self._early.taken.items():
            now = points.tree.read(path)
            if taken is None:
                if now is not None:
                    given[path] = None
            elif now is None or now.changed_ns != taken.state.st_ctime_ns:
                given[path] = points.tree.taken(path, taken.state, taken.data)
        return given

    def _is_early(self, one: Found) -> bool:
        """Whether it changed before this session began, and any other that lives."""
        return not one.is_unheard and one.changed_us + TICK_US < self._alone_us

    def _record_early(self, points: Checkpoints, tip: Checkpoint, early: list[Found]) -> Checkpoint:
        """What changed between two sessions: by a command whose session could not tell, or outside any."""
        groups: Groups = {}
        since_us = tip.seen_us
        other = others.look(self._place, self._session, self.root, since_us, self._started_us)
        for one in early:
            moments = moments_of(one, [], since_us)
            verdict = attribute(moments, other.windows)
            if verdict.attribution == "background":
                verdict = Verdict("outside", "none")
            groups.setdefault(verdict, []).append((one, moments))
        return self._commit(points, tip, groups, self._started_us)

    def _look(self, points: Checkpoints, moves: Moves, watcher: Watcher, *, is_last: bool = False) -> None:
        heard_us = self._judge.known_us(is_last=is_last)
        self._hear(points, watcher)  # the secrets of our own commands until then
        self.places.compare(watcher)
        self._gather(watcher)
        now_us = time.time_ns() // 1000
        has_ended, self._has_ended = self._has_ended, False
        try:
            points.renew()
            with points.chain.locked():
                tip = points.tip() or self._begin_anew(points, now_us, heard_us)
                paths, is_whole = self._paths(points, watcher, tip, is_last=is_last, has_ended=has_ended)
                found = list(points.look(tip.tree, paths, heard_us=heard_us))
                self._note_unhinted(found, now_us)
                groups, waiting = self._judge.judge(
                    found, self._hints, self._compared_us, now_us, is_last=is_last
                )
                if groups:
                    self._commit(points, tip, groups, now_us)
        except (DevTraceError, OSError) as error:
            self._trouble = error
            self._has_ended = has_ended
            self._wants_all = True  # what was to be looked at is not known any more
            self._lose_damaged(points, error)
            self._retry_at = time.monotonic() + _RETRY_S
            return
        self._trouble = None
        self._forget_settled(waiting)
        self._tell_bounds(points)
        self._tell_moves(moves, watcher, now_us, is_last=is_last)
        self._looked_us = now_us
        if is_whole:
            self._compared_us = now_us
        self._is_waiting = bool(waiting) or bool(self._moved)
        self._first_hint = time.monotonic() if self._pending or self._moved else 0.0
        self._pace_s = min(2 * self._pace_s, REST_S) if waiting and not groups else _SOON_S / 2
        self._again_at = time.monotonic() + self._pace_s if waiting else 0.0
        if groups:
            self._tidy_at = time.monotonic() + _TIDY_S

    def _look_last(self, points: Checkpoints, moves: Moves, watcher: Watcher) -> None:
        """Look once more, and again while another live session has not said what ran in it."""
        self._look(points, moves, watcher, is_last=True)
        until = time.monotonic() + LAST_S + 2 * _SOON_S  # their patience ends before ours
        while self._pending and self._trouble is None and time.monotonic() < until:
            time.sleep(_SOON_S)  # nothing tells us when another process has come so far
            self._look(points, moves, watcher, is_last=True)

    def _begin_anew(self, points: Checkpoints, now_us: int, heard_us: int | None) -> Checkpoint:
        """The line was lost: what no hint speaks of was told before, or was so when the session began."""
        base = points.base()
        found = list(points.look(base, points.candidates(base), heard_us=heard_us))
        self._wants_all = self._wants_all or any(one.is_unheard for one in found)
        told = [one for one in found if not one.is_unheard and not self._is_hinted(one.path)]
        return points.begin(told, base, now_us)

    def _is_hinted(self, path: bytes) -> bool:
        parts = path.split(b"/")
        return any(b"/".join(parts[:number]) in self._pending for number in range(1, len(parts) + 1))

    def _lose_damaged(self, points: Checkpoints, error: DevTraceError | OSError) -> None:
        if isinstance(error, DevTraceError) and error.code == "ERR_STORE_DAMAGED":
            with contextlib.suppress(DevTraceError, OSError), points.chain.locked():
                points.lose()

    def _paths(
        self, points: Checkpoints, watcher: Watcher, tip: Checkpoint, *, is_last: bool, has_ended: bool
    ) -> tuple[set[bytes], bool]:
        """What may differ: what was hinted at, or all where hints may be missing; and whether it is all."""
        stamp, begun = points.tree.index_stamp(), time.monotonic()
        is_whole = False
        if self._wants_all or is_last or stamp != self._index or (has_ended and begun >= self._full_at):
            if self._wants_all:
                watcher.refresh()
            self._wants_all, self._index = False, stamp
            every, is_whole = points.candidates(tip.tree), True
            self._full_at = time.monotonic() + _SHARE_OF_TIME * (time.monotonic() - begun)
        else:
            self._has_ended = has_ended  # a whole look is still owed
            every = set()
        for path in self._pending:
            every.update(points.expand(tip.tree, path))
        return every, is_whole

    def _note_unhinted(self, found: Sequence[Found], now_us: int) -> None:
        """What nobody hinted at happened since all was compared: so it stays, however often we look again.

        But for what has changed since we began to look, of which the hints are on their way.
        """
        for one in found:
            if one.changed_us + TICK_US < now_us and not self._signs(one.path):
                (moment,) = moments_of(one, [], self._compared_us)
                self._pending[one.path] = [(moment, None)]

    def _signs(self, path: bytes) -> list[_Sign]:
        """What was hinted of a path or of a folder above it."""
        found = list(self._pending.get(path, ()))
        above = path
        while b"/" in above:
            above = above.rsplit(b"/", 1)[0]
            found += self._pending.get(above, ())
        return found

    def _hints(self, path: bytes) -> Hints:
        return self._narrowed(self._signs(path))

    def _narrowed(self, signs: Sequence[_Sign]) -> Hints:
        """By their places where all of them have one, else as their times tell."""
        placed = [self.places.narrowed(moment, place) for moment, place in signs]
        if None in placed:
            may_be_placed = any(self.places.may_be_told(place) for _, place in signs)
            return Hints([moment for moment, _ in signs], may_be_placed=may_be_placed)
        return Hints([moment for moment in placed if moment is not None], bool(placed))

    def _forget_settled(self, waiting: set[bytes]) -> None:
        """What was looked at and told is not pending any more; a later hint makes it so again."""
        self._pending = {path: self._signs(path) for path in waiting}

    # --- telling --------------------------------------------------------------------------------------------

    def _commit(self, points: Checkpoints, tip: Checkpoint, groups: Groups, seen_us: int) -> Checkpoint:
        tip, events = record(points, tip, groups, self._session, seen_us)
        self._events.extend(events)
        return tip

    def _tell_moves(self, moves: Moves, watcher: Watcher, now_us: int, *, is_last: bool) -> None:
        self._found_moves += moves.look()
        if self._found_moves:
            watcher.settle()
            self._gather(watcher)  # the hints of what was found are there now
        hints = self._narrowed(self._moved or [((self._looked_us, now_us), None)])
        is_hinted = self._found_moves and self._moved
        if is_hinted and not is_last and not self._judge.is_settled(hints, now_us):
            return
        moments, windows = hints.moments, self._judge.windows(placed=hints.are_placed)
        found, self._found_moves, self._moved = self._found_moves, [], []
        each = _one_by_one(moments, windows, len(found))
        for number, move in enumerate(found):
            own = each[number] if each else _within(moments, move.at_s)
            self._emit_move(move, own, attribute(own, windows), now_us)

    def _emit_move(self, move: Move, moments: Sequence[Interval], verdict: Verdict, now_us: int) -> None:
        window = verdict.window
        at_us = min(max(moments[-1][0], window.started_us if window else 0), now_us)
        self._emit(
            GitCommit(
                old=move.old,
                new=move.new,
                how=move.how,
                branch=move.branch,
                subject=move.subject,
                attribution=verdict.attribution,
                root=str(self.root),
            ),
            parent=window.event if window else None,
            actor=window.actor if window else "unknown",
            at_us=at_us,
        )

    def _tell_bounds(self, points: Checkpoints) -> None:
        for rule, count in points.bounds.items():
            if rule == "checkpoints_lost":
                lost = "the last checkpoint could not be read: a new line begins"
                self._emit(Gap(reason=rule, detail=lost))
            else:
                kept = "of these only hash and size are kept"
                self._emit(Policy(action="dropped", rule=rule, count=count, detail=kept))
        points.bounds.clear()

    def _say_missing(self) -> None:
        detail = str(self._trouble) if self._trouble is not None else ""
        self._emit(Gap(reason="edits_unrecorded", detail=detail, count=len(self._pending) or None))

    def _emit(
        self,
        body: Body,
        *,
        parent: str | None = None,
        actor: str = "human",
        at_us: int | None = None,
        until_us: int | None = None,
    ) -> None:
        now_us = time.time_ns() // 1000 if at_us is None else at_us
        self._events.append(
            Event(
                session=self._session,
                id=new_span_id(),
                parent=parent,
                actor=actor,
                started_us=now_us,
                ended_us=until_us or now_us,
                status="unknown" if isinstance(body, Gap) else "ok",
                source="worktree" if isinstance(body, GitCommit) else "host",
                trusted=2,
                body=body,
            )
        )

    def _tidy(self, points: Checkpoints) -> None:
        self._tidy_at = 0.0
        points.is_full = tidy.tidy(points.objects, self._settings.number("checkpoints.store_mb") << 20)


def _joined(signs: Sequence[_Sign]) -> Interval:
    return min(since for (since, _), _ in signs), max(until for (_, until), _ in signs)


def _within(moments: Sequence[Interval], second: int | None) -> Sequence[Interval]:
    """Those of the moments that fall into a second of the Unix epoch, or all where none does."""
    if second is None:
        return moments
    since_us, until_us = second * 1_000_000, (second + 1) * 1_000_000
    fitting = [(max(one[0], since_us), min(one[1], until_us)) for one in moments]
    return [one for one in fitting if one[0] <= one[1]] or moments


def _one_by_one(moments: Sequence[Interval], windows: Sequence[Window], count: int) -> list[list[Interval]]:
    """The moments of each of so many moves, where so many commands were the only ones to move HEAD."""
    by_window: dict[str, list[Interval]] = {}
    for moment in sorted(moments):
        verdict = attribute([moment], windows)
        if verdict.window is None:
            return []
        by_window.setdefault(verdict.window.event, []).append(moment)
    return list(by_window.values()) if len(by_window) == count else []
