"""Exchanges of HTTP: their bodies become messages of one conversation.

A POST has one message, or a batch before 2025-06-18; its answer is JSON, or an event stream in which the
server may say more before it answers. A GET stream belongs to a session. On the older HTTP with two channels
a GET stream begins with the address to which the client posts, and all answers come in it. From 2026-07-28
on each request has its own stream, and a client that closes it has cancelled the request.

Lives here: `Exchanges`. Not here: what messages mean (conversation.py), event streams (sse.py), encodings
(bodies.py), the proxy (http.py). Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from devtrace.sources.mcp.bodies import Reader, Unreadable, reader
from devtrace.sources.mcp.calls import Via
from devtrace.sources.mcp.conversation import Conversation, Fact
from devtrace.sources.mcp.lines import Pieces
from devtrace.sources.mcp.messages import ERROR, INVALID, NO_ID, read
from devtrace.sources.mcp.sse import Event, Events
from devtrace.sources.mcp.tap import CLOSE, DATA, OPEN, TO_CLIENT, TO_SERVER, Record

_MOST_OPEN = 5_000  # exchanges at once; beyond that the oldest is forgotten
_EVENTS = "text/event-stream"
_MESSAGE, _ENDPOINT = "message", "endpoint"  # names of events
_SESSION = "mcp-session-id"
_ACCEPTED = 202
_LONGEST_NAME = 200  # characters of a session, a revision, a client
_LONGEST_ADDRESS = 2_000

Unread = Callable[[str, int], None]


class Exchanges:
    """All exchanges of one run of the proxy. For one thread."""

    def __init__(self, conversation: Conversation, unread: Unread):
        """`unread` is told why a body could not be read, and when."""
        self._conversation = conversation
        self._unread = unread
        self._open: dict[int, _Exchange] = {}
        self._addresses: set[str] = set()  # to which clients post, on the older HTTP

    @property
    def has_two_channels(self) -> bool:
        """Whether the server speaks the older HTTP."""
        return bool(self._addresses)

    def take(self, record: Record) -> list[Fact]:
        """What a record of an exchange means."""
        one = self._open.get(record.channel)
        if one is None or (record.kind == OPEN and record.direction == TO_SERVER):
            one = self._open[record.channel] = self._begun(record.channel)
            if record.kind != OPEN or record.direction != TO_SERVER:
                one.lost()  # it began before we did
        if record.kind == CLOSE:
            del self._open[record.channel]
        return one.take(record)

    def lost(self) -> None:
        """Bytes are missing, of any of those that are open."""
        for one in self._open.values():
            one.lost()

    def _begun(self, channel: int) -> _Exchange:
        if len(self._open) >= _MOST_OPEN:
            del self._open[next(iter(self._open))]
        return _Exchange(self._conversation, self._unread, self._addresses, channel)


class _Body:
    """One body, decoded as it comes: a stream of events, or one message."""

    __slots__ = ("_is_torn", "_left", "_pieces", "_reader", "events")

    def __init__(self, headers: Mapping[str, str], *, is_torn: bool = False):
        """`is_torn`: what it is is not known, and its beginning is missing. Raises Unreadable."""
        self._reader: Reader = reader(headers.get("content-encoding", ""))
        self._pieces = Pieces()
        length = headers.get("content-length", "")
        self._left = int(length) if length.isascii() and length.isdigit() and len(length) < 20 else -1
        is_stream = headers.get("content-type", "").lower().startswith(_EVENTS)
        self.events = Events(is_torn=is_torn) if is_stream or is_torn else None
        self._is_torn = is_torn

    def add(self, data: bytes) -> Iterator[Event]:
        """The messages that these bytes complete. Raises Unreadable."""
        self._left = max(0, self._left - len(data)) if self._left > 0 else -1
        for piece in self._reader(data):
            if self.events is not None:
                yield from self.events.feed(piece)
            else:
                self._pieces.add(piece)
        if self._left == 0:
            yield from self.end()

    def end(self) -> list[Event]:
        """What is whole when no more comes. May be called twice."""
        if not self._pieces.size:
            return []
        return [Event(_MESSAGE, self._pieces.take(is_torn=self._is_torn))]

    def lost(self) -> None:
        """Bytes are missing."""
        self._is_torn = True
        if self.events is not None:
            self.events.lost()


class _Exchange:
    """One request and its answer."""

    __slots__ = (
        *("_addresses", "_answer", "_asked_us", "_conversation", "_is_torn", "_method", "_request"),
        *("_status", "_unread", "_via"),
    )

    def __init__(self, conversation: Conversation, unread: Unread, addresses: set[str], channel: int):
        self._conversation = conversation
        self._unread = unread
        self._addresses = addresses
        self._via = Via(channel)
        self._method = ""
        self._status = 0  # 0: there was no answer so far
        self._asked_us = 0
        self._request: _Body | None = None  # None: it cannot be read
        self._answer: _Body | None = None
        self._is_torn = False

    def take(self, record: Record) -> list[Fact]:
        """What a record of it means."""
        at_us = record.at_ns // 1000
        if record.kind == DATA:
            if record.direction == TO_SERVER:
                self._asked_us = at_us
            return self._read(record.direction, at_us, record.payload)
        told = _object(record.payload)
        if record.kind == OPEN and record.direction == TO_SERVER:
            self._begin(told, at_us)
            return []
        facts = self._read(TO_SERVER, self._asked_us or at_us, None)
        if record.kind == OPEN:
            self._begin_answer(told, at_us)
            return facts
        facts += self._read(TO_CLIENT, at_us, None)
        return facts + self._close(str(told.get("why")), str(told.get("detail") or ""), at_us)

    def lost(self) -> None:
        """Bytes of it may be missing."""
        self._is_torn = True
        for body in (self._request, self._answer):
            if body is not None:
                body.lost()
        if self._answer is None and not self._status:
            self._answer = _Body({}, is_torn=True)

    def _begin(self, told: Mapping[str, Any], at_us: int) -> None:
        headers = _headers(told)
        self._method = str(told.get("method")).upper()
        address = _address(str(told.get("path")))
        session = headers.get(_SESSION) or (address if address in self._addresses else "")
        self._via = self._via._replace(
            session=session[:_LONGEST_NAME],
            revision=headers.get("mcp-protocol-version", "")[:_LONGEST_NAME],
            client=headers.get("user-agent", "")[:_LONGEST_NAME],
        )
        self._request = self._body(headers, at_us)

    def _begin_answer(self, told: Mapping[str, Any], at_us: int) -> None:
        headers = _headers(told)
        status = told.get("status")
        self._status = status if isinstance(status, int) else -1
        if _SESSION in headers:
            self._via = self._via._replace(session=headers[_SESSION][:_LONGEST_NAME])
        self._answer = self._body(headers, at_us)

    def _body(self, headers: Mapping[str, str], at_us: int) -> _Body | None:
        try:
            return _Body(headers)
        except Unreadable as error:
            self._give_up(error, at_us)
            return None

    def _give_up(self, error: Unreadable, at_us: int) -> None:
        self._is_torn = True
        self._unread(str(error), at_us)

    def _read(self, direction: int, at_us: int, data: bytes | None) -> list[Fact]:
        """What of a body is whole now; `data` None: no more comes."""
        body = self._request if direction == TO_SERVER else self._answer
        facts: list[Fact] = []
        if body is None:
            return facts
        try:
            for event in body.end() if data is None else body.add(data):
                facts += self._heard(event, direction, at_us, is_alone=body.events is None)
        except Unreadable as error:
            self._give_up(error, at_us)
            if direction == TO_SERVER:
                self._request = None
            else:
                self._answer = None
        return facts

    def _heard(self, event: Event, direction: int, at_us: int, *, is_alone: bool) -> list[Fact]:
        if event.name == _ENDPOINT and direction == TO_CLIENT and self._method == "GET":
            self._know(_address(event.data.data[:_LONGEST_ADDRESS].decode("utf-8", "replace")))
        if event.name != _MESSAGE or not event.data.size:
            return []  # an event that only has an id lets a client take the stream up again
        facts: list[Fact] = []
        for message in read(event.data):
            if message.kind == INVALID and is_alone and direction == TO_CLIENT:
                continue  # a page of HTML, say: the status tells what it means
            try:
                if direction == TO_CLIENT and message.kind == ERROR and message.id == NO_ID:
                    facts += self._conversation.answer_without_id(message, self._via.channel, at_us)
                facts += self._conversation.heard(message, direction, at_us, self._via)
            except Exception as error:  # a guest: it costs this message, and no other of the batch
                self._unread(type(error).__name__, at_us)
        return facts

    def _know(self, address: str) -> None:
        """The older HTTP: what is posted there is answered here."""
        if len(self._addresses) < _MOST_OPEN:
            self._addresses.add(address)
        self._via = self._via._replace(session=address, is_shared=True)

    def _close(self, why: str, detail: str, at_us: int) -> list[Fact]:
        """What becomes of the calls that were made in it and wait still."""
        talk, channel = self._conversation, self._via.channel
        is_over = self._via.is_shared or (self._method == "DELETE" and 200 <= self._status < 300)
        if is_over and self._via.session:
            return talk.session_over(self._via.session, at_us)
        call = talk.waits_in(channel)
        if call is None or self._status == _ACCEPTED:
            return []
        if self._is_torn:
            return talk.gave_up(channel, at_us, "")
        if self._status >= 300:
            return talk.gave_up(channel, at_us, "error", error=f"HTTP {self._status}")
        if why == "client_gone":
            # Before 2026-07-28 a client may take up again what it left, and cancels by a notice.
            return talk.gave_up(channel, at_us, "cancelled") if call.is_modern else []
        if self._answer is not None and self._answer.events is not None and self._answer.events.has_ids:
            return []  # the same for a stream that broke
        return talk.gave_up(channel, at_us, "no_answer", error=detail or None)


def _object(payload: bytes) -> Mapping[str, Any]:
    """What a record of the tap says."""
    try:
        told = json.loads(payload)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _headers(told: Mapping[str, Any]) -> Mapping[str, str]:
    headers = told.get("headers")
    return headers if isinstance(headers, dict) else {}


def _address(path: str) -> str:
    """Where a client posts: the path of an address, by which a session of the older HTTP is known."""
    try:
        return urlsplit(path.strip()).path
    except ValueError:
        return ""
