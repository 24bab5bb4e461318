"""Requests that wait for their answer, found again by their id, by a token, by their exchange.

Each direction has ids of its own, and the same id may wait twice, in two exchanges of HTTP or by a
client's mistake. Which of them an answer means is told by the exchange it came in, then by the session, then
by their order.

Lives here: `Call`, what is known of one call of a tool; `Open`, a request that waits; `Waiting`, all of them.
Not here: what messages mean for them (conversation.py). Standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

MOST_OPEN = 10_000


class Via(NamedTuple):
    """By which way a message came; of a stdio server there is one."""

    channel: int = 0  # the exchange of HTTP
    session: str = ""  # of HTTP, before 2026-07-28
    revision: str = ""  # of the protocol, by a header
    client: str = ""  # by a header
    is_shared: bool = False  # it carries what the server sends to a whole session


STDIO = Via()


class Call:
    """What is known of a call until it ends, but for its arguments, which were told when it began."""

    __slots__ = (
        *("asked", "bytes_to_client", "bytes_to_server", "cancel_reason", "cancelled_us", "is_modern"),
        *(
            "is_told",
            "is_torn",
            "number",
            "progress",
            "progress_text",
            "requests",
            "retry",
            "started_us",
            "tool",
        ),
    )

    def __init__(self, number: int, tool: str, retry: str, started_us: int):
        self.number = number
        self.tool = tool  # a digest of its name
        self.retry = retry  # a digest by which a retry that brings no state is known; "": there will be none
        self.started_us = started_us
        self.is_modern = False  # of the era in which each request stands alone
        self.requests: list[str] = []
        self.asked: list[str] = []
        self.progress = 0
        self.progress_text: str | None = None
        self.cancelled_us: int | None = None
        self.cancel_reason: str | None = None
        self.is_torn = False  # bytes were lost while it waited
        self.is_told = False  # its end was told, as cancelled; an answer may come after all
        self.bytes_to_server = 0
        self.bytes_to_client = 0

    def kept(self) -> dict[str, Any]:
        """All of it as JSON-like data."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def of(cls, kept: dict[str, Any]) -> Call:
        """What `kept` gave. Raises KeyError or TypeError for anything else."""
        call = cls(kept["number"], kept["tool"], kept["retry"], kept["started_us"])
        for name in cls.__slots__:
            setattr(call, name, kept[name])
        return call


class Open(NamedTuple):
    """A request that waits for its answer."""

    number: int  # its own, of all that ever waited
    id: str
    method: str
    via: Via
    token: str  # of its progress; "": it wants none
    call: Call | None  # None: it calls no tool


class Waiting:
    """The requests of one direction that wait. Beyond `MOST_OPEN` the oldest one goes."""

    __slots__ = ("_by_channel", "_by_id", "_by_number", "_by_token", "_last")

    def __init__(self) -> None:
        self._by_number: dict[int, Open] = {}
        self._by_id: dict[str, list[int]] = {}
        self._by_token: dict[str, list[int]] = {}  # of calls
        self._by_channel: dict[int, dict[int, None]] = {}  # the same
        self._last = 0

    def all(self) -> list[Open]:
        """In the order in which they began to wait."""
        return list(self._by_number.values())

    def add(self, id: str, method: str, via: Via, token: str = "", call: Call | None = None) -> Open | None:
        """A request that begins to wait; returns the one that had to go for it."""
        self._last += 1
        one = Open(self._last, id, method, via, token, call)
        self._by_number[one.number] = one
        self._by_id.setdefault(id, []).append(one.number)
        if call is not None:
            self._by_channel.setdefault(via.channel, {})[one.number] = None
            if token:
                self._by_token.setdefault(token, []).append(one.number)
        if len(self._by_number) <= MOST_OPEN:
            return None
        oldest = next(iter(self._by_number.values()))
        self.remove(oldest)
        return oldest

    def remove(self, one: Open) -> None:
        """It waits no more. May be called twice."""
        if self._by_number.pop(one.number, None) is None:
            return
        _without(self._by_id, one.id, one.number)
        if one.call is not None:
            numbers = self._by_channel[one.via.channel]
            del numbers[one.number]
            if not numbers:
                del self._by_channel[one.via.channel]
            if one.token:
                _without(self._by_token, one.token, one.number)

    def find(self, id: str, via: Via) -> Open | None:
        """The request of that id that a message of this way means."""
        return self._meant(self._by_id.get(id, ()), via)

    def to_cancel(self, id: str, via: Via) -> Open | None:
        """The same for a notice that comes in an exchange of its own, where servers give no sessions."""
        found = self.find(id, via)
        numbers = self._by_id.get(id, ())
        if found is None and not via.session and len(numbers) == 1:
            lone = self._by_number[numbers[0]]
            return None if lone.via.session else lone
        return found

    def of_token(self, token: str, via: Via) -> Open | None:
        """The call that wants to hear of its progress by that token."""
        return self._meant(self._by_token.get(token, ()), via)

    def of_channel(self, channel: int) -> list[Open]:
        """The calls that were made in an exchange and wait, in their order."""
        return [self._by_number[number] for number in self._by_channel.get(channel, ())]

    def of_session(self, session: str) -> list[Open]:
        """The calls of a session of HTTP that wait."""
        return [
            one for one in self._by_number.values() if one.call is not None and one.via.session == session
        ]

    def only_call(self, via: Via) -> Open | None:
        """The one call that can be meant by this way; None where there is none, or more than one."""
        calls = self.of_session(via.session) if via.is_shared else self.of_channel(via.channel)
        calls = [one for one in calls if one.call is not None and one.call.cancelled_us is None]
        return calls[0] if len(calls) == 1 else None

    def _meant(self, numbers: Sequence[int], via: Via) -> Open | None:
        known = self._by_number
        for number in numbers:
            if known[number].via.channel == via.channel:
                return known[number]
        if not (via.channel and via.session):
            return None
        return next((known[at] for at in numbers if known[at].via.session == via.session), None)


def _without(index: dict[Any, list[int]], key: Any, number: int) -> None:
    index[key].remove(number)
    if not index[key]:
        del index[key]
