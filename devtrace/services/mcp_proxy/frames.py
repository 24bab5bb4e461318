"""Facts of an MCP conversation as frames: redacted, cut, and with what all of one run have in common.

Lives here: `Frames`. Not here: what happened (sources/mcp/), how one text is redacted (texts.py), where
frames go (outbox.py). Standard library only: a guest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from devtrace.config import Config, actor_of
from devtrace.ids import new_span_id
from devtrace.policy.chain import Policy
from devtrace.policy.limits import Limits
from devtrace.services.mcp_proxy.texts import Kept, Texts, media_in, size_of
from devtrace.sources.mcp.conversation import Fact
from devtrace.store.spool import SESSION_FRAME
from devtrace.workspace import repository_root

Frame = dict[str, Any]

_LONGEST_NAME = 1 << 10  # bytes of a name, an id
_LONGEST_NOTE = 4 << 10  # of a reason, a report of progress
_LONGEST_TITLE = 1_000  # characters
_LEAST = 1 << 10  # bytes that there is always room for
_RESERVE = 8 << 10  # of an event, for what is short
_MOST_BEGUN = 64 << 20  # bytes that are kept of calls until they end
_MOST_LATE = 50  # calls that are over, and may be answered after all
_MOST_CALLS_KEPT, _MOST_KEPT = 100, 64 << 10  # that who comes after us is told of; bytes of arguments
_NAMES = ("tool", "request", "revision", "call", "native", "turn")
_NOTES = ("progress_text", "cancel_reason")


class Begun:
    """What was told of a call when it began: its end is told with it."""

    __slots__ = ("data", "id", "parent", "rules", "sizes")

    def __init__(self, id: str, parent: str | None):
        self.id = id
        self.parent = parent
        self.data: dict[str, Any] = {}
        self.rules: set[str] = set()  # that found a secret
        self.sizes: dict[str, int] = {}  # true ones, of texts that were cut

    def kept(self) -> dict[str, Any]:
        """All of it as JSON-like data."""
        told = {"id": self.id, "parent": self.parent, "data": self.data}
        return {**told, "rules": sorted(self.rules), "sizes": self.sizes}


class Frames:
    """The frames of one run of the proxy. For one thread."""

    def __init__(self, begin: Mapping[str, Any], policy: Policy, texts: Texts, settings: Config):
        """`begin`: what the tap's first record says. Raises KeyError where that is none."""
        self._begin = begin
        self._policy = policy
        self._texts = texts
        self._limits = Limits(settings)
        self._room = settings.number("limits.event_kb") << 10
        self._begun: dict[int, Begun] = {}
        self._late: dict[int, Begun] = {}
        self._size = 0  # of the arguments in `_begun`
        self.session = str(begin["session"])
        self.event = str(begin["event"])
        self.agent = str(begin.get("agent") or "")
        self.transport = str(begin["transport"])
        self._name = self._short(begin.get("name")) or "mcp"
        self._cwd = self._short(begin.get("cwd"))
        self._about = {name: self._short(begin.get(name), _LONGEST_NOTE) for name in ("command", "url")}

    # --- calls ----------------------------------------------------------------------------------------------

    def call(self, fact: Fact) -> Frame | None:
        """A call that began, goes on or ended; None for one whose beginning was forgotten."""
        one = self._begun.get(fact.number) or self._late.pop(fact.number, None)
        if one is None:
            if "tool" not in fact.data:
                return None
            one = self._begun[fact.number] = Begun(new_span_id(), self._parent(fact.trace))
        with self._noting(one.rules):
            self._tell(one, fact)
        if fact.status != "running":
            self._forget(fact.number, one, is_late=fact.may_go_on)
        elif "arguments" in fact.data:
            self._make_room(len(one.data["arguments"]))
        frame = self._frame(
            "mcp_call", one.id, one.parent, fact.status, fact.started_us, fact.ended_us, one.data
        )
        frame["exit_source"] = "unknown" if fact.may_go_on else None
        return self._limited(frame, one.rules, one.sizes)

    def _tell(self, one: Begun, fact: Fact) -> None:
        """Put what a fact says into the call's data."""
        told, data = dict(fact.data), one.data
        if "tool" in told:
            data |= {"server": self._name, "transport": self.transport, "cwd": self._cwd}
        for names, longest in ((_NAMES, _LONGEST_NAME), (_NOTES, _LONGEST_NOTE)):
            data |= {
                name: self._short(told.pop(name), longest) for name in names if told.get(name) is not None
            }
        for name in ("asked", "requests"):
            if told.get(name):
                data[name] = [self._short(item) for item in told.pop(name)]
        for name, share in (("arguments", 2), ("error_data", 8), ("error", 4), ("result", 1)):
            if isinstance(text := told.pop(name, None), str):
                self._keep(one, name, text, max(_LEAST, self._left(data) // share), fact)
        data |= {name: value for name, value in told.items() if value is not None}

    def _keep(self, one: Begun, name: str, text: str, longest: int, fact: Fact) -> None:
        if name == "error":
            kept = self._texts.text(text, longest)
        elif fact.cut and name in ("arguments", "result"):
            kept = self._texts.beginning(text, fact.cut, longest)
        elif text:
            kept = self._texts.json(text, longest, media_in(text, fact.value))
        else:
            kept = Kept("")
        one.data[name] = kept.text
        if kept.size:
            one.sizes[name] = kept.size

    def _left(self, data: Mapping[str, Any]) -> int:
        """Bytes of an event that are not used so far."""
        return self._room - _RESERVE - sum(map(size_of, data.values()))

    def _forget(self, number: int, one: Begun, *, is_late: bool) -> None:
        if self._begun.pop(number, None) is not None:
            self._size -= len(one.data.get("arguments") or "")
        if is_late:
            self._late[number] = one
            if len(self._late) > _MOST_LATE:
                del self._late[next(iter(self._late))]

    def _make_room(self, size: int) -> None:
        """The oldest calls lose their arguments when very many are open; they were told when these began."""
        self._size += size
        for one in self._begun.values():
            if self._size <= _MOST_BEGUN:
                return
            known = len(one.data["arguments"])
            if known > _LEAST:
                one.sizes.setdefault("arguments", known)
                one.data["arguments"] = f"[... {known:,} bytes were not kept ...]"
                self._size -= known - len(one.data["arguments"])

    def _parent(self, trace: tuple[str, str] | None) -> str:
        return trace[1] if trace is not None and trace[0] == self.session else self.event

    def kept(self) -> dict[str, Any]:
        """What is known of the newest calls that go on, redacted, for who comes after us."""
        kept: dict[str, Any] = {}
        room = _MOST_KEPT
        for number, one in reversed(self._begun.items()):
            told = one.kept()
            size = size_of(one.data.get("arguments"))
            if size > room:
                gone = f"[... {size:,} bytes were not kept ...]"
                told |= {"data": {**one.data, "arguments": gone}, "sizes": {**one.sizes, "arguments": size}}
            else:
                room -= size
            kept[str(number)] = told
            if len(kept) == _MOST_CALLS_KEPT:
                break
        return kept

    def recall(self, kept: Mapping[str, Any]) -> None:
        """Go on from what `kept` gave. Raises KeyError, TypeError or ValueError for anything else."""
        for number, told in kept.items():
            one = self._begun[int(number)] = Begun(str(told["id"]), told["parent"])
            one.data, one.rules, one.sizes = dict(told["data"]), set(told["rules"]), dict(told["sizes"])
            self._size += len(one.data.get("arguments") or "")

    # --- what is around them --------------------------------------------------------------------------------

    def server(
        self, status: str, ended_us: int | None, about: Mapping[str, Any], *, is_seen: bool = True
    ) -> Frame:
        """The run of the proxy; `about`: the fields that change. `is_seen`: we know how it ended."""
        rules: set[str] = set()
        with self._noting(rules):
            data = {"name": self._name, "transport": self.transport, **self._about, "cwd": self._cwd}
            data |= self._policy.redact_values(dict(about))
        started_us = int(self._begin["started_us"])
        frame = self._frame(
            "mcp_server", self.event, self._begin.get("span"), status, started_us, ended_us, data
        )
        frame["exit_code"] = about.get("exit_code")
        frame["exit_source"] = None if ended_us is None else "waitpid" if is_seen else "unknown"
        return self._limited(frame, rules, {})

    def session_row(self, status: str, ended_us: int | None) -> Frame:
        """The row of a session of our own."""
        cwd = Path(str(self._begin.get("cwd") or "/"))
        root = repository_root(cwd)
        columns: dict[str, Any] = {
            "id": self.session,
            "kind": "mcp",
            "agent": self.agent or "manual",
            "actor": actor_of(self.agent),
            "title": self._name,
            "repo_root": None if root is None else str(root),
            "cwd": str(cwd),
            "started_us": int(self._begin["started_us"]),
            "status": status,
            "meta": {},
        }
        if ended_us is not None:
            columns["ended_us"] = ended_us
        return {"kind": SESSION_FRAME, "columns": self._policy.redact_values(columns)}

    def passed(self, since_us: int, until_us: int, lines: bytes, number: int, store_bytes: int) -> Frame:
        """Messages as they passed, redacted already."""
        data = {"server": self._name, "transport": self.transport, "frames": number}
        frame = self._frame("mcp_frames", new_span_id(), self.event, "ok", since_us, until_us, data)
        return self._limits.apply({**frame, "blobs": {"frames": lines}}, store_bytes)

    def gap(
        self, reason: str, since_us: int, until_us: int, count: int | None = None, detail: str = ""
    ) -> Frame:
        """Something was not seen, or could not be written."""
        data = {"reason": reason, "detail": self._short(detail) or "", "count": count}
        since_us = min(since_us, until_us)
        return self._frame("gap", new_span_id(), self.event, "unknown", since_us, until_us, data)

    def dropped(self, at_us: int) -> Iterator[Frame]:
        """What the settings did not let us keep."""
        for _, setting, count, size in self._limits.take_dropped():
            data = {"action": "dropped", "rule": setting, "count": count, "size": size}
            yield self._frame("policy", new_span_id(), self.event, "ok", at_us, at_us, data)

    # --- one frame ------------------------------------------------------------------------------------------

    def _frame(
        self,
        kind: str,
        id: str,
        parent: str | None,
        status: str,
        started_us: int,
        ended_us: int | None,
        data: Mapping[str, Any],
    ) -> Frame:
        return {
            "v": 1,
            "kind": kind,
            "session": self.session,
            "id": id,
            "parent": parent,
            "actor": actor_of(self.agent),
            "started_us": started_us,
            "ended_us": None if status == "running" else max(started_us, ended_us or started_us),
            "status": status,
            "title": "",  # made where events are typed
            "cwd": data.get("cwd"),
            "exit_code": None,
            "source": "mcp",
            "exit_source": None,
            "trusted": 0,
            "data": {name: value for name, value in data.items() if value is not None},
            "blobs": {},
        }

    def _limited(self, frame: Frame, rules: set[str], sizes: Mapping[str, int]) -> Frame:
        data = frame["data"]
        if rules:
            data["redacted"] = sorted(rules)
        if len(data.get("arguments") or "") > _LONGEST_TITLE:
            # As the kind's own headline, and not as long as the arguments.
            frame["title"] = f"{data['server']}/{data['tool']} {data['arguments']}"[:_LONGEST_TITLE]
        frame = self._limits.apply(frame, 0)
        if sizes:
            frame["data"]["truncated"] = {**frame["data"].get("truncated", {}), **sizes}
        return frame

    def _short(self, text: object, longest: int = _LONGEST_NAME) -> str | None:
        return None if text is None else self._texts.text(str(text), longest).text

    @contextmanager
    def _noting(self, rules: set[str]) -> Iterator[None]:
        """Which rules find something meanwhile."""
        before = dict(self._policy.counts)
        yield
        rules |= {rule for rule, count in self._policy.counts.items() if count > before.get(rule, 0)}
