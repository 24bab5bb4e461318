"""Hooks on the streams that a program has: the objects stay the same, some of their methods are ours.

    text.write, flush ──► item ──► the queue            what Python code writes, with the line that does
    buffer.write      ──► within a text method: a sign to drain; else an item (bytes that skip the text layer)
    raw.readinto, readall, read ──► an item             what is read, as it comes in

A hook is an attribute of the object itself, and to delete it is to undo it. What a hook's own method raises
goes on to the program as it is; `capture.left` then says that our frame is to be taken out of its traceback.

Lives here: the hooks of one object. Not here: which objects (io_capture.py), what becomes of items
(io_queue.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import sys
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from devtrace.recorder.io_queue import GAP_NS, MOST_QUEUED, Channel, drain, ends_line, is_within_ours
from devtrace.recorder.streams import is_muted, n_muted
from devtrace.recorder.writing import NOTHING
from devtrace.store.trace import records

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

    from devtrace.recorder.io_capture import Capture
    from devtrace.recorder.recording import Recording

# Encodings of which each text becomes bytes by itself: no mark at the begin, no state between texts.
_PLAIN = ("utf-8", "ascii", "iso8859-", "latin", "cp", "koi8-", "mac-", "gb", "big5", "euc", "shift_jis")
_WITH_STATE = ("utf-8-sig", "gb2312-", "cp65001")
_CHUNK = 8_192  # bytes that a text layer holds back
_FEW = 8  # items that may be the parts of one line: unbuffered, each is passed on by itself
_OUR_FILES = {(lambda: 0).__code__.co_filename, drain.__code__.co_filename}
THROUGH = ("close", "detach", "reconfigure", "seek", "truncate", "tell")  # they may pass on what is pending


class Hooked:
    """The hooks of one object. `undo` takes away what is ours yet."""

    __slots__ = ("_names", "_of", "is_on")

    def __init__(self, of: Any):
        self._of = of
        self._names: dict[str, Any] = {}
        self.is_on = [True]  # what somebody kept of ours asks it

    def put(self, name: str, hook: Callable[..., Any]) -> None:
        """Raises AttributeError or TypeError where the object takes no attributes."""
        setattr(self._of, name, hook)
        self._names[name] = hook

    def undo(self) -> None:
        """Leave what somebody has put over ours; it passes on from now on."""
        self.is_on[0] = False
        for name, hook in self._names.items():
            if getattr(self._of, "__dict__", {}).get(name) is hook:
                delattr(self._of, name)


class TextState:
    """What is known of how a text stream makes bytes."""

    __slots__ = (
        "beneath",
        "bytes_channel",
        "channel",
        "encoding",
        "errors",
        "is_known",
        "is_plain",
        "is_sure",
        "is_through",
        "is_unbuffered",
        "lead",
        "n_pending",
        "newline",
        "unsure",
    )

    def __init__(self, what: int, text: Any, *, is_known: bool):
        """`is_known`: it is the interpreter's own, which writes a newline as it is."""
        self.is_known = is_known
        self.newline = "\n"
        self.unsure: list[tuple[str, int, int]] = []
        self.channel = Channel(what, lambda text: text.encode("utf-8", "surrogateescape"))
        self.bytes_channel = Channel(what, self.channel.encode)
        self.is_plain = self.is_sure = True
        self.is_through = self.is_unbuffered = False  # whether a line, or all, goes to the descriptor at once
        self.beneath: tuple[dict[str, Any], Any] | None = None  # the buffer's attributes, and our hook of it
        self.n_pending = _CHUNK  # bytes that the text layer may hold, at most
        self.lead: Callable[[], Any] | None = None  # past a mirror of its descriptor
        self.look(text)

    def look(self, text: Any) -> None:
        """Ask the stream how it is set now."""
        encoding = str(getattr(text, "encoding", "") or "utf-8").lower().replace("_", "-")
        errors = str(getattr(text, "errors", "") or "strict")
        self.encoding, self.errors = encoding, errors
        is_utf8 = encoding in ("utf-8", "ascii")
        self.is_plain = encoding.startswith(_PLAIN) and not encoding.startswith(_WITH_STATE)
        by_lines = bool(getattr(text, "line_buffering", False))
        self.is_unbuffered = bool(getattr(text, "write_through", False))
        self.is_through = by_lines or self.is_unbuffered

        def encode(text: str) -> bytes:
            if is_utf8 and text.isascii() and self.newline == "\n":
                return text.encode()
            if self.newline != "\n":
                text = text.replace("\n", self.newline)
            try:
                return text.encode(encoding, errors)
            except (UnicodeError, LookupError):
                return text.encode("utf-8", "backslashreplace")

        self.channel.encode = encode
        self.is_sure = self.is_known and self.is_plain

    def may_pass(self, text: str) -> bool:
        """Whether the text layer may pass on what it holds when it is given that (Modules/_io/textio.c)."""
        size = len(text) if text.isascii() else 4 * len(text)
        self.n_pending += size
        if self.n_pending < _CHUNK and not (self.is_through and "\n" in text):
            return False
        self.n_pending = size
        return True

    def takes(self, text: str) -> bool:
        """Whether the stream can make bytes of a text."""
        try:
            return text.isascii() or bool(text.encode(self.encoding, self.errors)) or not text
        except (UnicodeError, LookupError):
            return False

    def learn(self, passed: bytes) -> bool:
        """Whether the texts that were written make these bytes; from then on it is known how."""
        text = "".join(one for one, *_ in self.unsure)
        if not self.is_plain:
            return False
        for newline in ("\n", "\r\n"):
            self.newline = newline
            if self.channel.encode(text) == passed:
                self.is_known = self.is_sure = "\n" in text
                return True
        self.newline = "\n"
        return False


def hook_text(capture: Capture, text: Any, state: TextState) -> Hooked:
    """Of a text stream: write and flush, and what may pass on what is pending."""
    hooked, outer = Hooked(text), text
    is_on, plain = hooked.is_on, text.write
    recording, caught = capture.recording, capture.caught
    local, channel = recording.local, state.channel
    now, frame_at = perf_counter_ns, sys._getframe
    begin, place_of = recording.begin_thread, recording.place_of
    place_of_caller = _place_of_caller(recording)
    has_lines, muted = recording.detail != "calls", n_muted
    what = channel.what

    def write(*given: Any, **named: Any) -> Any:
        text = given[0] if len(given) == 1 and not named else None
        if not is_on[0] or not isinstance(text, str) or (muted[0] and is_muted()):
            try:
                return plain(*given, **named)
            except BaseException:
                capture.left[0] = True
                raise
        item: Any = None
        queue: Any = None
        is_added = passes = False
        try:
            try:
                stream = local.stream
            except AttributeError:
                stream = begin(_caller())
            if state.lead is not None:
                state.lead()
            if state.is_sure:
                top, at, clock = stream.top, stream.at, now()
                if top is None:
                    place: Any = place_of(_caller())
                else:
                    if top[3] is None:
                        top[3] = NOTHING  # the frame's next line, or its end, drains
                    try:
                        place = 0 if has_lines else place_of_caller(frame_at(1))
                    except ValueError:  # the interpreter itself writes
                        place = 0
                written = text if type(text) is str else str.__str__(text)
                queue = (
                    stream.queue
                )  # no call from here on: what a signal's handler prints comes before or behind
                if (
                    queue
                    and (item := queue[-1])[3] == at
                    and item[0] is channel
                    and item[1][-1] != "\n"  # all other items have a channel, or a place, of their own
                    and (clock - item[2] < GAP_NS or text == "\n")  # `print` ends its own line, if late
                    and item[4] == place
                ):
                    item[1] += written  # the same line goes on
                    item[2] = clock
                    is_added = True
                elif text:
                    item = [channel, written, clock, at, place, top]
                    queue += (item,)
                    is_added = True
                    if len(queue) > MOST_QUEUED and not is_within_ours(frame_at()):
                        drain(stream, keeps_open=True)
                passes = state.beneath is not None and state.may_pass(text)
                is_short = passes and len(text) < _CHUNK  # of a long one what is shown is told behind it
                if is_short and not outer.closed and state.takes(text) and not is_within_ours(frame_at()):
                    drain(stream, keeps_open=True)  # what the console shows is to be in the record by then
            else:
                state.unsure.append((str.__str__(text), now(), place_of(_caller())))
        except BaseException as error:
            if caught("io_write", error):
                if is_added and queue and queue[-1] is item:
                    take_back(queue, item, text)
                raise
        try:
            if passes:
                uncovered()
            count = plain(text)
            if passes:
                covered()
        except BaseException as error:
            capture.left[0] = True
            if passes:
                covered()
            if isinstance(error, ValueError | TypeError) and is_added and queue and queue[-1] is item:
                take_back(queue, item, text)
            raise
        if state.is_through and "\n" in text:
            capture.reached(what)
        elif passes:
            capture.passed()
        elif state.is_unbuffered and is_added:
            stream.reached[what] = now()
        return count

    def uncovered() -> None:
        """What the text layer passes on, it has forgotten. It goes to the buffer itself: where a hook of ours
        begins, a signal's handler could raise.
        """
        if state.beneath is not None and state.beneath[0].get("write") is state.beneath[1]:
            del state.beneath[0]["write"]

    def covered() -> None:
        if state.beneath is not None and is_on[0]:
            state.beneath[0].setdefault("write", state.beneath[1])

    def take_back(queue: list[Any], item: list[Any], text: str) -> None:
        """The stream has not taken it."""
        item[1] = item[1][: len(item[1]) - len(text)]
        if not item[1]:
            queue.remove(item)

    def flush(*given: Any) -> Any:
        try:
            if is_on[0] and state.lead is not None:
                state.lead()
            if state.is_sure:
                uncovered()
            plain_flush(*given)
            covered()
        except BaseException:
            covered()
            capture.left[0] = True
            raise
        if is_on[0] and not (muted[0] and is_muted()):
            capture.flushed(channel)

    def through(name: str) -> Callable[..., Any]:
        method = getattr(text, name)

        def call(*given: Any, **named: Any) -> Any:
            try:
                if state.is_sure:
                    uncovered()
                result = method(*given, **named)
                covered()
            except BaseException:
                covered()
                capture.left[0] = True
                raise
            if name == "reconfigure" and is_on[0]:
                state.look(text)
                if named.get("newline", "\n") != "\n":
                    state.is_known = state.is_sure = False
            return result

        return call

    hooked.put("write", write)
    plain_flush = text.flush if hasattr(text, "flush") else lambda: None
    hooked.put("flush", flush)
    capture.inside.update((write.__code__, flush.__code__))
    for name in THROUGH:
        if hasattr(text, name):
            call = through(name)
            hooked.put(name, call)
            capture.inside.add(call.__code__)
    return hooked


def _caller() -> FrameType | None:
    """The frame that called the hook that asks; None where the interpreter itself did."""
    return sys._getframe(1).f_back


def _place_of_caller(recording: Recording) -> Callable[[FrameType], Any]:
    """`Recording.place_of`, remembered for each instruction of code that is recorded."""
    infos, places, place_of = recording.infos, recording.places, recording.place_of

    def place(frame: FrameType) -> Any:
        code, offset = frame.f_code, frame.f_lasti
        known = places.get((id(code), offset))
        if known is None:
            known = place_of(frame)
            if infos.get(id(code)) is not None:  # it stays where it is, and so does its id
                places[id(code), offset] = known
        return known

    return place


def hook_buffer(capture: Capture, buffer: Any, layers: list[TextState], direct: Any = None) -> Hooked:
    """Of the bytes beneath text streams: what they pass on, and what is written past them.

    `layers`: of each of these streams, in the order in which they were hooked; later ones are added to it.
    `direct`: of a stream without a buffer, what leads its bytes past a mirror, or None.
    """
    hooked, state = Hooked(buffer), layers[0]
    is_on, original = hooked.is_on, buffer.write
    recording, caught, inside = capture.recording, capture.caught, capture.inside
    local = recording.local

    def plain(*given: Any) -> Any:
        return ((direct() if direct is not None and is_on[0] else None) or original)(*given)

    def write(*given: Any) -> Any:
        """What the text layer hands over it has forgotten: until it is written, nothing may go wrong."""
        caller = _caller()
        is_passed = caller is None or caller.f_code in inside
        is_ours = is_on[0] and not is_passed and len(given) == 1 and not (n_muted[0] and is_muted())
        try:
            if is_on[0] and not is_passed and state.lead is not None:
                state.lead()
            count = (original if direct is None else plain)(*given)
        except BaseException:
            capture.left[0] = True
            raise
        try:
            if is_passed and is_on[0]:
                passed(given[0])
            elif is_ours and isinstance(count, int) and (data := _bytes_of(given[0])):
                capture.add(state.bytes_channel, data[:count] if count < len(data) else data, caller)
        except BaseException as error:
            if caught("io_pass", error):
                raise
        return count

    def passed(data: Any) -> None:
        stream = getattr(local, "stream", None)
        if stream is None:
            return
        for one in layers:
            if one.unsure:
                _settle_unsure(stream, one, data)
                break
        queue = stream.queue
        if queue and (len(queue) > _FEW or ends_line(queue[-1][1])) and not is_within_ours(sys._getframe()):
            drain(stream, keeps_open=True)

    def flush(*given: Any) -> Any:
        try:
            if is_on[0] and state.lead is not None:
                state.lead()
            return plain_flush(*given)
        except BaseException:
            capture.left[0] = True
            raise

    hooked.put("write", write)
    if direct is None:
        layers[0].beneath = (vars(buffer), write)
    if direct is None and state.lead is not None and hasattr(buffer, "flush"):
        plain_flush = buffer.flush
        hooked.put("flush", flush)
        capture.inside.add(flush.__code__)
    return hooked


def _settle_unsure(stream: Any, state: TextState, data: Any) -> None:
    """The text layer passes on what it was given: now it is seen how that became bytes."""
    passed = _bytes_of(data) or b""
    texts = state.unsure[:]
    if state.learn(passed):
        for text, clock, place in texts:
            stream.queue.append([state.channel, text, clock, stream.at, place, None])
    else:
        _, clock, place = texts[-1]
        stream.queue.append([state.bytes_channel, passed, clock, stream.at, place, None])
    del state.unsure[: len(texts)]


def leave_unsure(stream: Any, state: TextState) -> None:
    """Nothing more is seen of what the text layer passes on: the bytes are those that its settings make."""
    if state.unsure:
        _, clock, place = state.unsure[-1]
        data = state.channel.encode("".join(text for text, *_ in state.unsure))
        state.unsure.clear()
        if data:
            stream.queue.append([state.bytes_channel, data, clock, stream.at, place, None])


def hook_reads(capture: Capture, raw: Any) -> Hooked:
    """Of what the program reads: each time that bytes come in, with the line that waited for them."""
    hooked = Hooked(raw)
    channel = Channel(records.STDIN, lambda text: text.encode("utf-8", "surrogateescape"), records.INPUT)
    is_on, plain_into, plain_all, plain_read = hooked.is_on, raw.readinto, raw.readall, raw.read

    def took(data: Any, frame: Any) -> None:
        if not data or not is_on[0]:
            return
        if capture.is_silent(raw):
            capture.learn(bytes(data))
        elif not (n_muted[0] and is_muted()):
            capture.add(channel, bytes(data), frame)

    def readinto(*given: Any) -> Any:
        try:
            count = plain_into(*given)
        except BaseException:
            capture.left[0] = True
            raise
        if count:
            took(memoryview(given[0]).cast("B")[:count], _caller())
        return count

    def readall(*given: Any) -> Any:
        try:
            data = plain_all(*given)
        except BaseException:
            capture.left[0] = True
            raise
        took(data, _caller())
        return data

    def read(*given: Any) -> Any:
        try:
            data = plain_read(*given)  # it calls neither of the others
        except BaseException:
            capture.left[0] = True
            raise
        took(data, _caller())
        return data

    for name, hook in (("readinto", readinto), ("readall", readall), ("read", read)):
        hooked.put(name, hook)
    return hooked


def without_hooks(traceback: TracebackType | None) -> None:
    """Take our frames out of the traceback of what a stream has raised, as far as it is known by now."""
    while traceback is not None:
        after = traceback.tb_next
        while after is not None and after.tb_frame.f_code.co_filename in _OUR_FILES:
            after = after.tb_next
        if after is not traceback.tb_next:
            traceback.tb_next = after
        traceback = after


def _bytes_of(data: Any) -> bytes | None:
    """A copy of what is written; None for what is no bytes: the stream says so itself."""
    try:
        return data if type(data) is bytes else bytes(memoryview(data))
    except (TypeError, ValueError, BufferError):
        return None
