"""What goes between clients and one server: messages become facts about calls.

A call begins with a request `tools/call` and ends with its answer; a notice that it is cancelled ends it too,
a little later, since the answer may be on its way. From 2026-07-28 on an answer may ask for something, and a
retry with another id brings it: that is one call. All else is counted.

    heard(message, ...)   [Fact, ...]   a fact when a call begins, and one when it ends

Lives here: `Conversation`, `Fact`. Not here: where messages come from (lines.py, exchanges.py), who speaks
(speakers.py), which requests wait (calls.py), what becomes of facts (services/mcp_proxy/). Standard library
only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from devtrace.sources.mcp.callers import ids_of, trace_of
from devtrace.sources.mcp.calls import STDIO, Call, Open, Via, Waiting
from devtrace.sources.mcp.messages import (
    CALL,
    ERROR,
    INVALID,
    NO_ID,
    NOTIFICATION,
    REQUEST,
    RESULT,
    Message,
    digest,
    key_of,
)
from devtrace.sources.mcp.speakers import Speakers, is_modern
from devtrace.sources.mcp.tally import Tally
from devtrace.sources.mcp.tap import TO_CLIENT, TO_SERVER

GRACE_US = 2_000_000  # for the answer to a call that was cancelled
_TASK = "io.modelcontextprotocol/related-task"
_PROGRESS, _CANCELLED, _PING = "notifications/progress", "notifications/cancelled", "ping"
_COUNTED = {RESULT: "(result)", ERROR: "(error)", INVALID: "(invalid)"}
_UNASKED, _TOO_LONG = "(unasked)", "(too long)"
_MOST_PAUSED = 1_000  # calls that wait for a retry
_MOST_ASKED = 50  # of one call, and of its retries
_MOST_KEPT = 100  # calls that who comes after us is told of
_LONGEST_TEXT = 1 << 16  # characters of a text that is kept while a call goes on

Seen = Callable[[Message, int, int], None]


class Fact(NamedTuple):
    """A call began, goes on or ended; when it ends `data` has what was not told when it began."""

    number: int  # of the call in this conversation
    status: str  # running, ok, failed, interrupted, unknown
    started_us: int
    ended_us: int | None
    data: dict[str, Any]  # fields of the event (events/mcp.py)
    value: Any = None  # the arguments or the result as they were read
    cut: int = 0  # bytes of a message of which `arguments` or `result` has only the beginning
    trace: tuple[str, str] | None = None  # the span that it belongs to, as the client says
    may_go_on: bool = False  # an answer may come after all


class Conversation:
    """What is known of all calls of one run of the proxy. For one thread."""

    def __init__(self, seen: Seen | None = None):
        """`seen` is given each message, its direction and when it passed."""
        self.speakers = Speakers()
        self.tally = Tally()
        self.calls = 0
        self._seen = seen
        self._waiting = Waiting()  # requests of clients
        self._wanted = Waiting()  # requests of the server
        self._paused: dict[str, list[Call]] = {}  # by what a retry must bring
        self._cancelled: dict[int, Open] = {}  # whose end was not told yet

    def heard(self, message: Message, direction: int, at_us: int, via: Via = STDIO) -> list[Fact]:
        """What a message means."""
        if message.is_torn and message.kind == INVALID:
            return []
        if self._seen is not None:
            self._seen(message, direction, at_us)
        if message.kind == REQUEST:
            self.tally.add(direction, message.method)
            return self._requested(message, direction, at_us, via)
        if message.kind == NOTIFICATION:
            self.tally.add(direction, message.method)
            return self._noticed(message, direction, at_us, via)
        if message.kind == INVALID:
            self.tally.add(direction, _TOO_LONG if message.is_cut else _COUNTED[INVALID])
            return []
        return self._answered(message, direction, at_us, via)

    # --- requests -------------------------------------------------------------------------------------------

    def _requested(self, message: Message, direction: int, at_us: int, via: Via) -> list[Fact]:
        if direction == TO_CLIENT:
            self._asks(message, via)
            self._wanted.add(message.id, message.method, via)
            return []
        self.speakers.asked(message, via)
        call, facts = self._called(message, at_us, via) if message.method == CALL else (None, [])
        token = message.meta.get("progressToken") if call is not None else None
        gone = self._waiting.add(
            message.id, message.method, via, "" if token is None else key_of(token), call
        )
        return facts if gone is None else [*facts, *self._let_go(gone, at_us)]

    def _called(self, message: Message, at_us: int, via: Via) -> tuple[Call, list[Fact]]:
        """A new call, or one that goes on."""
        call = self._resumed(message)
        if call is not None:
            call.bytes_to_server += message.size
            if len(call.requests) < _MOST_ASKED:
                call.requests.append(message.shown_id)
            return call, []
        params, meta = message.params, message.meta
        revision = self.speakers.revision(meta, via)
        self.calls += 1
        tool = _text(params.get("name"))
        retry = "" if revision and not is_modern(revision) else _retry(tool, message.detail)
        call = Call(self.calls, digest(tool), retry, at_us)
        call.is_modern = is_modern(revision)
        call.bytes_to_server = message.size
        data = {
            "tool": tool,
            "request": message.shown_id,
            "revision": revision,
            "arguments": message.detail,
            "bytes_to_server": message.size,
            **ids_of(meta),
        }
        cut = message.size if message.is_cut else 0
        return call, [
            Fact(call.number, "running", at_us, None, data, params.get("arguments"), cut, trace_of(meta))
        ]

    def _asks(self, message: Message, via: Via) -> None:
        """The server wants something of the client. For which call, is known where only one can be meant."""
        if message.method == _PING or _TASK in message.meta:
            return
        one = self._waiting.only_call(via)
        if one is not None and one.call is not None:
            _note(one.call.asked, message.method)

    # --- notices --------------------------------------------------------------------------------------------

    def _noticed(self, message: Message, direction: int, at_us: int, via: Via) -> list[Fact]:
        params = message.params
        if direction == TO_CLIENT and message.method == _PROGRESS and "progressToken" in params:
            one = self._waiting.of_token(key_of(params["progressToken"]), via)
            if one is not None and one.call is not None:
                one.call.progress += 1
                if isinstance(params.get("message"), str):
                    one.call.progress_text = _bounded(params["message"])
        elif direction == TO_SERVER and message.method == _CANCELLED and "requestId" in params:
            one = self._waiting.to_cancel(key_of(params["requestId"]), via)
            if one is not None and one.call is not None and one.call.cancelled_us is None:
                reason = params.get("reason")
                one.call.cancelled_us = at_us
                one.call.cancel_reason = _bounded(reason) if isinstance(reason, str) else None
                self._cancelled[one.number] = one
        return []

    @property
    def due_us(self) -> int | None:
        """When `settle` has something to tell; None: it has not."""
        first = next(iter(self._cancelled.values()), None)
        return None if first is None or first.call is None else (first.call.cancelled_us or 0) + GRACE_US

    def settle(self, at_us: int) -> list[Fact]:
        """The ends of calls that were cancelled, and not answered for a while."""
        facts: list[Fact] = []
        while (due := self.due_us) is not None and due <= at_us:
            one = self._cancelled.pop(next(iter(self._cancelled)))
            facts += self._unanswered(one, at_us)
        return facts

    # --- answers --------------------------------------------------------------------------------------------

    def _answered(self, message: Message, direction: int, at_us: int, via: Via) -> list[Fact]:
        waiting = self._waiting if direction == TO_CLIENT else self._wanted
        one = waiting.find(message.id, via)
        if one is None:
            is_for_nobody = message.kind == ERROR and message.id == NO_ID
            self.tally.add(direction, _COUNTED[ERROR] if is_for_nobody else _UNASKED)
            return []
        self.tally.add(direction, _COUNTED[message.kind])
        waiting.remove(one)
        if direction == TO_CLIENT:
            self.speakers.answered(message, one.method, via)
        if one.call is None:
            return []
        self._cancelled.pop(one.number, None)
        one.call.bytes_to_client += message.size
        if message.kind == RESULT and message.params.get("resultType") == "input_required":
            return self._pause(one.call, message, at_us)
        return [self._over(one.call, message, at_us)]

    def _over(self, call: Call, message: Message, at_us: int) -> Fact:
        """The end of a call by its answer."""
        data = _said(message)
        status = "ok" if data["outcome"] == "result" else "failed"
        if call.cancelled_us is not None:
            data |= {"outcome": "cancelled", "late": True}
            # What was told already says `interrupted`, and only another end is one.
            status = status if call.is_told else "interrupted"
        cut = message.size if message.is_cut else 0
        value = message.value if message.kind == RESULT else None
        return _fact(call, status, at_us, data | {"duration_us": max(0, at_us - call.started_us)}, value, cut)

    def answer_without_id(self, message: Message, channel: int, at_us: int) -> list[Fact]:
        """An error that names no request, where one call waits in the exchange: it is the answer to that."""
        calls = self._waiting.of_channel(channel)
        if len(calls) != 1 or message.kind != ERROR or calls[0].call is None:
            return []
        self._waiting.remove(calls[0])
        self._cancelled.pop(calls[0].number, None)
        calls[0].call.bytes_to_client += message.size
        return [self._over(calls[0].call, message, at_us)]

    # --- answers that ask -----------------------------------------------------------------------------------

    def _pause(self, call: Call, message: Message, at_us: int) -> list[Fact]:
        """The answer wants more; the call goes on with a retry."""
        wanted = message.params.get("inputRequests")
        for one in wanted.values() if isinstance(wanted, dict) else ():
            if isinstance(one, dict) and isinstance(one.get("method"), str):
                _note(call.asked, one["method"])
        state = message.params.get("requestState")
        key = call.retry if state is None else _with_state(call.tool, state)
        self._paused.setdefault(key, []).append(call)
        facts = [Fact(call.number, "running", call.started_us, None, {"asked": list(call.asked)})]
        if sum(map(len, self._paused.values())) > _MOST_PAUSED:
            facts.append(self._no_answer(self._unpaused(next(iter(self._paused))), at_us))
        return facts

    def _resumed(self, message: Message) -> Call | None:
        """The call that goes on with this request; None: it is a new one."""
        params = message.params
        if not self._paused or ("requestState" not in params and "inputResponses" not in params):
            return None
        tool, state = _text(params.get("name")), params.get("requestState")
        key = _retry(tool, message.detail) if state is None else _with_state(digest(tool), state)
        return self._unpaused(key) if key in self._paused else None

    def _unpaused(self, key: str) -> Call:
        calls = self._paused[key]
        call = calls.pop(0)
        if not calls:
            del self._paused[key]
        return call

    # --- no answers -----------------------------------------------------------------------------------------

    def waits_in(self, channel: int) -> Call | None:
        """The first call that was made in an exchange and waits."""
        return next((one.call for one in self._waiting.of_channel(channel)), None)

    def gave_up(self, channel: int, at_us: int, outcome: str, **data: Any) -> list[Fact]:
        """An exchange is over, and with it the calls that wait in it.

        `outcome`: cancelled, error, no_answer, or "": what became of them is not known.
        """
        facts: list[Fact] = []
        for one in self._waiting.of_channel(channel):
            call = one.call
            if call is None or call.is_told or call.cancelled_us is not None:
                facts += self._let_go(one, at_us)
                continue
            call.is_torn = call.is_torn or not outcome
            if outcome == "cancelled":
                call.cancelled_us = at_us
            ends = self._let_go(one, at_us)
            if outcome == "error":
                told = {"outcome": outcome, "duration_us": max(0, at_us - call.started_us)}
                ends = [_fact(call, "failed", at_us, told)]
            facts += [fact._replace(data=fact.data | data) for fact in ends]
        return facts

    def session_over(self, session: str, at_us: int) -> list[Fact]:
        """A session of HTTP was ended by its client."""
        return [fact for one in self._waiting.of_session(session) for fact in self._let_go(one, at_us)]

    def lost(self) -> None:
        """Bytes are missing: what waits now may have been answered."""
        for one in self._waiting.all():
            if one.call is not None:
                one.call.is_torn = True
        for calls in self._paused.values():
            for call in calls:
                call.is_torn = True

    def ended(self, at_us: int) -> list[Fact]:
        """Nothing more comes."""
        facts = [fact for one in self._waiting.all() for fact in self._let_go(one, at_us)]
        paused = [call for calls in self._paused.values() for call in calls]
        self._paused.clear()
        return facts + [self._no_answer(call, at_us) for call in paused]

    def kept(self) -> dict[str, Any]:
        """What is known, for who comes after us: all counts, and the newest calls that wait."""
        calls = [one for one in self._waiting.all() if one.call is not None and not one.call.is_told]
        return {
            "speakers": self.speakers.kept(),
            "tally": self.tally.told(),
            "calls": self.calls,
            "waiting": [
                [one.id, one.method, list(one.via), one.token, one.call.kept()]
                for one in calls[-_MOST_KEPT:]
                if one.call is not None
            ],
        }

    def recall(self, kept: dict[str, Any]) -> None:
        """Go on from what `kept` gave. Raises KeyError, TypeError or ValueError for anything else."""
        self.speakers.recall(kept["speakers"])
        self.tally.recall(kept["tally"])
        self.calls = int(kept["calls"])
        for id, method, via, token, call in kept["waiting"]:
            self._waiting.add(id, method, Via(*via), token, Call.of(call))
        known = [one for one in self._waiting.all() if one.call is not None and one.call.cancelled_us]
        self._cancelled = {one.number: one for one in known}
        self.lost()

    def _let_go(self, one: Open, at_us: int) -> list[Fact]:
        """Nobody waits for it any more; it may be forgotten already."""
        self._waiting.remove(one)
        self._cancelled.pop(one.number, None)
        return self._unanswered(one, at_us)

    def _unanswered(self, one: Open, at_us: int) -> list[Fact]:
        """The end of a call that has none; nothing where that was told."""
        call = one.call
        if call is None or call.is_told:
            return []
        call.is_told = True
        if call.cancelled_us is None:
            return [self._no_answer(call, at_us)]
        data = {"outcome": "cancelled"}
        return [_fact(call, "interrupted", call.cancelled_us, data)._replace(may_go_on=True)]

    def _no_answer(self, call: Call, at_us: int) -> Fact:
        if call.is_torn:
            return _fact(call, "unknown", at_us, {"outcome": ""})
        return _fact(call, "interrupted", at_us, {"outcome": "no_answer"})


def _fact(call: Call, status: str, at_us: int, data: dict[str, Any], value: Any = None, cut: int = 0) -> Fact:
    """The end of a call, with what was gathered of it."""
    told = {
        "requests": call.requests or None,
        "asked": call.asked or None,
        "progress": call.progress,
        "progress_text": call.progress_text,
        "cancel_reason": call.cancel_reason,
        "bytes_to_server": call.bytes_to_server,
        "bytes_to_client": call.bytes_to_client,
    }
    return Fact(call.number, status, call.started_us, max(at_us, call.started_us), told | data, value, cut)


def _said(message: Message) -> dict[str, Any]:
    """What an answer says, as fields of the event."""
    told = message.params
    if message.kind == ERROR:
        code = told.get("code")
        is_number = isinstance(code, int) and not isinstance(code, bool) and abs(code) < 1 << 53
        text = _text(told.get("message")) if told else _text(message.value)
        return {
            "outcome": "error",
            "error": text,
            "error_code": code if is_number else None,
            "error_data": message.detail or None,
        }
    if told.get("isError") is not True:
        return {"outcome": "result", "result": message.detail}
    return {"outcome": "tool_error", "result": message.detail, "error": _texts(told.get("content"))}


def _texts(content: Any) -> str:
    """The texts of a result's content."""
    blocks = content if isinstance(content, list) else []
    texts = (block.get("text") for block in blocks if isinstance(block, dict))
    return "\n".join(text for text in texts if isinstance(text, str))


def _text(value: Any) -> str:
    """A text; of what should be one and is not, the JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, default=repr)


def _bounded(text: str) -> str:
    """A text that may be kept for long. What is too long goes as a whole: a cut could halve a secret."""
    return text if len(text) <= _LONGEST_TEXT else f"[... {len(text):,} characters were not kept ...]"


def _note(methods: list[str], method: str) -> None:
    if len(methods) < _MOST_ASKED and len(method) <= _LONGEST_TEXT:
        methods.append(method)


def _retry(tool: str, arguments: str) -> str:
    return digest(f"{tool}\0{arguments}")


def _with_state(tool: str, state: Any) -> str:
    return f"{tool} {digest(key_of(state))}"
