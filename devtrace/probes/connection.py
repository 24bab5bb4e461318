"""One client of the control API: what it asked, what it is still to be told, until when.

    accepted ──► IDLE ──byte──► READING ──request──► WRITING ──written──► IDLE; READING where more is there
                  │                │ refused, late ──►  │ └── the last answer ──► LINGERING ──► CLOSED
                  └── over its time, gone ──────────────┴───────────────────────────────────────┘

Each state has its time, so that nobody holds a connection by being slow. A connection whose answer is not
written is not read: who never reads is owed one answer. After the last answer what still comes is thrown away
for a moment, for a socket that is closed with bytes unread takes its answer back.

Lives here: `Connection`. Not here: all of them together (server.py), what a request is (http.py), who may ask
(guard.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

from _socket import SHUT_WR
from select import POLLIN, POLLOUT

from devtrace.probes.fields import Refused
from devtrace.probes.http import CONTINUE, Incoming, response
from devtrace.probes.sockets import MSG_NOSIGNAL

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable

    from devtrace.probes.guard import Peer
    from devtrace.probes.http import Head
    from devtrace.probes.routes import Answer
    from devtrace.probes.sockets import Descriptor

IDLE, READING, WRITING, LINGERING, CLOSED = "idle", "reading", "writing", "lingering", "closed"

IDLE_S = 30.0
READING_S = 5.0  # from the first byte of a request to its last
WRITING_S = 5.0
LINGERING_S = 1.0
NOT_NOW = (BlockingIOError, InterruptedError)

_PART = 65_536  # bytes that are read at once
_MOST_THROWN_AWAY = 16 * 1024 * 1024


class Connection:
    """A client. `check(head)` raises Refused for who may not ask, `answer(head, body)` says the rest."""

    __slots__ = ("_answer", "_check", "_clock", "_head", "_incoming", "_is_last", "_out", "_thrown_away",
                 "deadline", "held", "is_refused", "peer", "state")  # fmt: skip

    def __init__(
        self,
        held: Descriptor,
        peer: Peer,
        *,
        check: Callable[[Head], None],
        answer: Callable[[Head, bytes], Answer],
        clock: Callable[[], float],
    ):
        self.held = held
        self.peer = peer
        self.is_refused = False  # one too many, and told so
        self._check = check
        self._answer = answer
        self._clock = clock
        self._incoming = Incoming()
        self._head: Head | None = None  # whose body is awaited
        self._out = memoryview(b"")
        self._is_last = False  # nothing is read after this answer
        self._thrown_away = 0
        self.state = IDLE
        self.deadline = clock() + IDLE_S

    @property
    def mask(self) -> int:
        """What to poll for."""
        return POLLOUT if self.state == WRITING else POLLIN

    def ready(self) -> None:
        """Go on by one request at most, for others wait. Raises OSError when the client is gone."""
        if self.state == WRITING:
            self._write()
        else:
            self._read()

    def late(self) -> None:
        """Its time is over."""
        if self.state == READING:
            self.refuse(
                Refused(408, "REQUEST_TIMEOUT", f"The request was not whole in {READING_S:g} seconds")
            )
        else:
            self.state = CLOSED

    def refuse(self, refused: Refused) -> None:
        """Say why, and close."""
        self._is_last = True
        is_head = self._head is not None and self._head.method == "HEAD"
        self._say(response(refused.status, refused.as_json(), is_kept=False, has_body=not is_head))

    def _become(self, state: str, seconds: float) -> None:
        self.state = state
        self.deadline = self._clock() + seconds

    def _read(self) -> None:
        try:
            data = self.held.socket.recv(_PART)
        except NOT_NOW:
            return
        if not data:
            self.state = CLOSED
        elif self.state == LINGERING:
            self._throw_away(data)
        else:
            self._incoming.take(data)
            if self.state == IDLE:
                self._become(READING, READING_S)
            self._go_on()

    def _throw_away(self, data: bytes) -> None:
        self._thrown_away += len(data)
        if self._thrown_away > _MOST_THROWN_AWAY:
            self.state = CLOSED

    def _go_on(self) -> None:
        """Answer the next request, if it is whole."""
        try:
            head = self._head or self._next_head()
        except Refused as refused:
            self.refuse(refused)
            return
        body = self._incoming.body(head.length) if head else None
        if head is not None and body is not None:
            status, document = self._answer(head, body)
            self._is_last = not head.is_kept
            has_body = head.method != "HEAD"
            self._say(response(status, document, is_kept=head.is_kept, has_body=has_body))

    def _next_head(self) -> Head | None:
        """Raises Refused, and OSError when the client is gone."""
        self._head = head = self._incoming.head()
        if head is None:
            return None
        self._check(head)
        # The client has read all that it was told, so there is room for these few bytes.
        is_asked = head.wants_continue and len(self._incoming) < head.length
        if is_asked and self.held.socket.send(CONTINUE, MSG_NOSIGNAL) < len(CONTINUE):
            raise ConnectionError
        return head

    def _say(self, data: bytes) -> None:
        self._head = None
        self._out = memoryview(data)
        self._become(WRITING, WRITING_S)

    def _write(self) -> None:
        try:
            written = self.held.socket.send(self._out, MSG_NOSIGNAL)
        except NOT_NOW:
            return
        self._out = self._out[written:]
        if not self._out:
            self._written()

    def _written(self) -> None:
        if self._is_last:
            self.held.socket.shutdown(SHUT_WR)
            self._become(LINGERING, LINGERING_S)
        elif self._incoming:
            self._become(READING, READING_S)
            self._go_on()
        else:
            self._become(IDLE, IDLE_S)
