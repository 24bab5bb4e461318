"""The process that a coding agent's hooks start: a payload on stdin, its facts into the spool, and silence.

    <absolute python> -I -S <this file> AGENT EVENT

It prints nothing, exits with 0 whatever happens, and never opens the database. In a traced shell the facts
belong to its session; elsewhere to a session of the client's own, kind `agent`, in the store above the
directory it works in; where there is no store nothing is done.

Lives here: finding store and session, facts as frames, what is remembered between two hooks of one client.
Not here: the clients' formats (sources/agents/). Standard library only: it is to be over in 40 ms.
"""

from __future__ import annotations

import fcntl
import gc
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # run by its path, in isolated mode: nothing else says where the package is
    gc.disable()  # it is over before there is anything to collect
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from devtrace.ids import is_session_id, is_span_id, new_session_id
from devtrace.sources.agents import base
from devtrace.store.spool import SESSION_FRAME, SpoolWriter, wake_host
from devtrace.workspace import Workspace, checked, find, repository_root

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from devtrace.policy.chain import Policy

_MOST = 48 << 20  # bytes of a payload; of a longer one only the beginning is kept, as it came
_KEPT_RAW = 1 << 20  # of a payload that is not understood
_MOST_SECRET = 4_096  # that much more is redacted, so that the cut leaves no half of a secret
_PATIENCE_S = 3  # for a file system that hangs, a lock that is held: then the agent goes on without us
_LOCK_S = 0.5
_LONGEST_US = 6 * 3_600_000_000  # of a call, as a client tells it


def main(argv: list[str]) -> None:
    """Take one payload; `argv`: the agent's name, the hook's. Never raises, and prints nothing."""
    try:
        at_us = time.time_ns() // 1_000
        _be_silent()
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.alarm(_PATIENCE_S)
        agent, event = (*argv, "", "")[:2]
        data = sys.stdin.buffer.read(_MOST)
        while sys.stdin.buffer.read(1 << 20):
            pass  # a client that cannot write all of it would take that for a failure
        take(agent, event, data, at_us, os.environ)
    except BaseException:  # noqa: S110 - a guest: when we fail, the agent must not notice
        pass


def take(agent: str, event: str, data: bytes, at_us: int, environ: Mapping[str, str]) -> int:
    """Put the facts of one payload into the spool; returns how many. 0 where nothing records.

    Raises DevTraceError or OSError where the store cannot be used.
    """
    adapter = base.adapter(agent)
    payload = _payload(data)
    where = _Where.found(agent, payload, environ)
    if where is None:
        return 0
    facts = _facts(adapter, event, payload, data, at_us, where)
    frames = [*where.session_frames(facts, at_us), *(where.frame(fact, at_us) for fact in facts)]
    _spool(where.workspace, frames, environ)
    if frames and not where.memory.session:
        wake_host(environ.get("DEVTRACE_FIFO", ""))
    return len(facts)


def _facts(adapter: Any, event: str, payload: Any, data: bytes, at_us: int, where: _Where) -> list[base.Fact]:
    raw = data[: _KEPT_RAW + _MOST_SECRET].decode("utf-8", "replace")
    if not isinstance(payload, dict):
        return [base.unknown(None, event, raw, "no_json", at_us)]
    if adapter is None:
        return [base.unknown(None, event, raw, "unknown_agent", at_us)]
    try:
        found: list[base.Fact] = adapter.parse(event, payload, at_us, where.memory)
    except Exception:
        return [base.unknown(where.native or None, event, raw, "unknown_shape", at_us)]
    return found


def _payload(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _be_silent() -> None:
    """What an import or a library prints would be read by the client as an answer."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)


class Memory:
    """What is kept between two hooks of one client's session: its session here, and what was counted.

    A file in `run/`, locked for the moment. Where it cannot be kept everything is new each time.
    """

    __slots__ = ("_path", "session", "since_us")

    def __init__(self, workspace: Workspace, agent: str, native: str):
        name = hashlib.sha256(f"{agent} {native}".encode("utf-8", "replace")).hexdigest()[:16]
        self._path = workspace.run / f"agent-{name}.json"
        self.session = ""
        self.since_us = 0

    def count(self, name: str) -> int:
        """1, 2, 3 ...: how often that name has been counted in this session of the client."""
        found = 1

        def counted(known: dict[str, Any]) -> None:
            nonlocal found
            counts = known.setdefault("counts", {})
            found = counts[name] = int(counts.get(name) or 0) + 1

        self._change(counted)
        return found

    def own_session(self) -> bool:
        """Find the session that stands for the client's outside traced shells; whether it is new."""
        made, now_us = new_session_id(), time.time_ns() // 1_000

        def known_or_made(known: dict[str, Any]) -> None:
            self.session = known["session"] = str(known.get("session") or made)
            self.since_us = known["since_us"] = int(known.get("since_us") or now_us)

        self._change(known_or_made)
        return self.session == made

    def _change(self, change: Callable[[dict[str, Any]], None]) -> None:
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            change({})
            return
        try:
            if not _locked(fd):
                change({})
                return
            known = _payload(os.pread(fd, 1 << 20, 0))
            known = known if isinstance(known, dict) else {}
            change(known)
            os.pwrite(fd, content := json.dumps(known).encode(), 0)
            os.ftruncate(fd, len(content))
        finally:
            os.close(fd)


class _Where:
    """Into which store and session the facts go."""

    __slots__ = ("_cwd", "_is_new", "_session", "_span", "agent", "memory", "native", "workspace")

    def __init__(self, workspace: Workspace, agent: str, native: str, cwd: str):
        self.workspace = workspace
        self.agent = agent
        self.native = native
        self.memory = Memory(workspace, agent, native)
        self._cwd = cwd
        self._session = ""
        self._span: str | None = None
        self._is_new = False

    @classmethod
    def found(cls, agent: str, payload: Any, environ: Mapping[str, str]) -> _Where | None:
        """None where nothing records: no traced shell, and no store above the directory."""
        told = base.dict_of(payload)
        names = (told.get(name) for name in ("session_id", "conversation_id", "taskId"))
        native = next(filter(None, map(base.text_of, names)), "")
        cwd = base.text_of(told.get("cwd")) or ""
        cwd = _here() if not cwd or "\0" in cwd else cwd
        named, store = environ.get("DEVTRACE_SESSION", ""), environ.get("DEVTRACE_DIR", "")
        if is_session_id(named) and store and Path(store).is_dir():
            where = cls(checked(Workspace(Path(store))), agent, native, cwd)
            where._session = named
            span = environ.get("DEVTRACE_SPAN", "")
            where._span = span if is_span_id(span) else None
            return where
        try:
            workspace = find(Path(cwd))
        except Exception:
            return None
        where = cls(workspace, agent, native, cwd)
        where._is_new = where.memory.own_session()
        where._session = where.memory.session
        return where

    def frame(self, fact: base.Fact, at_us: int) -> dict[str, Any]:
        """A fact as the spool takes it; the title is made where events are typed."""
        data = {"agent": self.agent, **fact["data"]}
        started_us = at_us if fact["started_us"] is None else fact["started_us"]
        ended_us = at_us if fact["ended_us"] is None else fact["ended_us"]
        duration_us = data.get("duration_us")
        if fact["started_us"] is None and isinstance(duration_us, int):
            started_us = max(0, ended_us - min(max(0, duration_us), _LONGEST_US))
        return {
            "v": 1,
            "kind": fact["kind"],
            "session": self._session,
            "id": base.event_id("hook", self.agent, fact),
            "parent": self._parent(fact),
            "actor": _actor(self.agent, fact),
            "started_us": started_us,
            "ended_us": None if fact["status"] == "running" else max(started_us, ended_us),
            "status": fact["status"],
            "title": "",
            "cwd": data.get("cwd"),
            "exit_code": data.get("exit_code"),
            "source": "hook",
            "exit_source": None,
            "trusted": 0,
            "data": data,
            "blobs": {},
        }

    def _parent(self, fact: base.Fact) -> str | None:
        """The prompt that it belongs under, else the command in which the client runs."""
        turn = fact["data"].get("turn")
        if turn is None or fact["kind"] == "prompt":
            return self._span
        above = {"native": fact["native"], "kind": "prompt", "key": turn}
        return base.event_id("hook", self.agent, above)

    def session_frames(self, facts: list[base.Fact], at_us: int) -> list[dict[str, Any]]:
        """The row of a session of our own, when it begins and when it ends."""
        if not self.memory.session:  # a traced shell's, which has its row
            return []
        has_ended = any(fact["data"].get("phase") == "ended" for fact in facts)
        if not self._is_new and not has_ended:
            return []
        root = repository_root(Path(self._cwd))
        columns = {
            "id": self._session,
            "kind": "agent",
            "agent": self.agent,
            "actor": f"agent:{self.agent}",
            "title": "",
            "repo_root": None if root is None else str(root),
            "cwd": self._cwd,
            "started_us": self.memory.since_us,
            "status": "active",
            "meta": {"native": self.native},
        }
        if has_ended:
            columns |= {"status": "ended", "ended_us": at_us}
        return [{"kind": SESSION_FRAME, "columns": columns}]


def _actor(agent: str, fact: base.Fact) -> str:
    is_told_by_a_person = fact["kind"] == "prompt" and fact["data"].get("subagent") is None
    return "human" if is_told_by_a_person else f"agent:{agent}"


def _here() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return "/"


def _spool(workspace: Workspace, frames: list[dict[str, Any]], environ: Mapping[str, str]) -> None:
    from devtrace.config import Config
    from devtrace.policy.chain import Policy
    from devtrace.policy.limits import Limits
    from devtrace.services.redaction import Credentials, salt_of

    settings = Config.from_snapshot(workspace)
    rules, allow = settings.family("policy.rules"), settings.family("policy.allow")
    policy = Policy.for_session(environ, salt_of(workspace), rules, allow)
    # We run in nobody's program, and an agent reads these files as its own.
    policy.learn(Credentials(environ, workspace.root, Path(_cwd_of(frames) or workspace.root)).news())
    limits = Limits(settings)
    writer = SpoolWriter(workspace.spool)
    for frame in frames:
        if "columns" in frame:
            writer.write({**frame, "columns": policy.redact_values(frame["columns"])})
        else:
            writer.write(limits.apply(_redacted(policy, frame), 0))
    writer.close()


def _redacted(policy: Policy, frame: dict[str, Any]) -> dict[str, Any]:
    data = dict(frame["data"])
    for name in base.JSON_FIELDS.get(frame["kind"], ()):
        if isinstance(data.get(name), str):
            data[name] = policy.redact_json(data[name])
    kept = policy.redact({**frame, "data": data})
    if frame["kind"] == "agent_payload":
        kept["data"]["payload"] = kept["data"]["payload"][:_KEPT_RAW]
    return kept


def _cwd_of(frames: list[dict[str, Any]]) -> str | None:
    return next((frame["cwd"] for frame in frames if frame.get("cwd")), None)


def _locked(fd: int) -> bool:
    """Whether we have the lock; it is held for a moment, by one that is as short as we are."""
    until = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > until:
                return False
            time.sleep(0.002)  # a flock with a limit of time: the kernel has none
        else:
            return True


if __name__ == "__main__":
    main(sys.argv[1:])
    os._exit(0)  # all is written, and taking the interpreter down would cost the agent some milliseconds
