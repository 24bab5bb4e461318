"""Who speaks, and which revision of the protocol, as both sides say it.

Up to 2025-11-25 they say it once, in `initialize`; from 2026-07-28 on with each request, in `_meta`, and over
HTTP in a header.

Lives here: `Speakers`. Not here: calls (conversation.py). Standard library only.
"""

from __future__ import annotations

from typing import Any

from devtrace.sources.mcp.callers import agent_of
from devtrace.sources.mcp.calls import Via
from devtrace.sources.mcp.messages import Message

FIRST_MODERN = "2026-07-28"
_META = "io.modelcontextprotocol/"
_REVISION, _CLIENT, _SERVER = f"{_META}protocolVersion", f"{_META}clientInfo", f"{_META}serverInfo"
_TELLS = ("initialize", "server/discover")  # their results say who the server is
_MOST = 10  # clients, servers, revisions
_MOST_SESSIONS = 1_000
_LONGEST = 200  # characters of a name with its version; a longer one is not kept
_LONGEST_REVISION = 50


def is_modern(revision: str | None) -> bool:
    """Whether it is of the era in which each request stands alone. Revisions are dates."""
    return revision is not None and revision[:4].isdigit() and revision >= FIRST_MODERN


class Speakers:
    """What clients and server said of themselves."""

    __slots__ = ("_in_session", "_wanted", "agent", "clients", "revisions", "servers")

    def __init__(self) -> None:
        self.clients: list[str] = []
        self.servers: list[str] = []
        self.revisions: list[str] = []
        self.agent = ""  # the agent whose client it is, by its name
        self._in_session: dict[str, str] = {}  # the revision, by session of HTTP; "" for stdio
        self._wanted = ""  # the one that a client began with

    def asked(self, message: Message, via: Via) -> None:
        """A request of a client."""
        params, meta = message.params, message.meta
        if message.method == "initialize":
            self._wanted = _revision(params.get("protocolVersion"))
            self._hear_client(params.get("clientInfo"))
        if _CLIENT in meta:
            self._hear_client(meta[_CLIENT])
        if via.client and not self.clients:
            _add(self.clients, via.client)
        if told := _revision(meta.get(_REVISION)) or _revision(via.revision):
            _add(self.revisions, told)

    def answered(self, message: Message, method: str, via: Via) -> None:
        """An answer of the server; `method`: of the request."""
        params, meta = message.params, message.meta
        if method == "initialize":
            revision = _revision(params.get("protocolVersion"))
            if revision:
                _add(self.revisions, revision)
                self._remember(via.session, revision)
        if method in _TELLS:
            _add(self.servers, _name(params.get("serverInfo")))
        if _SERVER in meta:
            _add(self.servers, _name(meta[_SERVER]))

    def revision(self, meta: dict[str, Any], via: Via) -> str | None:
        """In which revision a request is meant; None: nobody told."""
        told = _revision(meta.get(_REVISION)) or _revision(via.revision)
        return told or self._in_session.get(via.session) or self._wanted or None

    def told(self) -> dict[str, Any]:
        """As fields of the event; what nobody said is None."""
        revisions = self.revisions or ([self._wanted] if self._wanted else None)
        return {
            "client": ", ".join(self.clients) or None,
            "server": ", ".join(self.servers) or None,
            "revisions": list(revisions) if revisions else None,
        }

    def kept(self) -> dict[str, Any]:
        """All of it as JSON-like data."""
        return {name: getattr(self, name) for name in self.__slots__}

    def recall(self, kept: dict[str, Any]) -> None:
        """Go on from what `kept` gave. Raises KeyError for anything else."""
        for name in self.__slots__:
            setattr(self, name, kept[name])

    def _hear_client(self, info: Any) -> None:
        name = _name(info)
        _add(self.clients, name)
        if name and not self.agent:
            self.agent = agent_of(name)

    def _remember(self, session: str, revision: str) -> None:
        if len(self._in_session) >= _MOST_SESSIONS:
            del self._in_session[next(iter(self._in_session))]
        self._in_session[session] = revision


def _name(info: Any) -> str:
    """`claude-code 2.1.197` of `{"name": ..., "version": ...}`."""
    told = info if isinstance(info, dict) else {}
    parts = [told[key] for key in ("name", "version") if isinstance(told.get(key), str) and told[key]]
    name = " ".join(parts)
    return name if len(name) <= _LONGEST else ""


def _revision(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= _LONGEST_REVISION else ""


def _add(known: list[str], one: str) -> None:
    if one and one not in known and len(known) < _MOST:
        known.append(one)
