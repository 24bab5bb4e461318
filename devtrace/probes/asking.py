"""How this process can be asked: its unix socket, HTTP on loopback where somebody wants it, and the grammar.

Lives here: `Asking`, `grammar`, which environment variables say what. Not here: requests (server.py), who may
ask (guard.py), what is answered (routes.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import os
import sys

from devtrace.errors import DevTraceError
from devtrace.probes import registry
from devtrace.probes.expressions import parse
from devtrace.probes.guard import Guard, read_or_make_token
from devtrace.probes.hiding import hides_name
from devtrace.probes.limits import HitCount
from devtrace.probes.point import Grammar
from devtrace.probes.server import Server
from devtrace.probes.template import parse_template
from devtrace.workspace import runtime_base

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from devtrace.probes.agent import Agent
    from devtrace.probes.redactor import Redactor

TOKEN = "control.token"  # noqa: S105 - the name of its file in run/
PORT = 5001
_LONGEST_PATH = 100  # bytes of a unix socket's name: 104 on macOS, 108 on Linux
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - where somebody asks for it, and never without a token
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_NOWHERE = "-"  # in the place of the socket's path: there can be none
_TRUE = ("1", "true", "yes", "on")


class Asking:
    """The sockets of one agent."""

    def __init__(self, agent: Agent, environ: Mapping[str, str]):
        self._agent = agent
        self._environ = environ
        self.server = Server(agent.answer, Guard(""))
        self.is_open = False  # HTTP was asked for
        self.tags = [tag for tag in map(str.strip, environ.get("DEBUGIN_AGENT_TAGS", "").split(",")) if tag]
        self.problem = ""  # why there is none, though it was
        self.address = ""
        self._path = ""

    def turn(self) -> None:
        """Of the worker: what is late is closed, and the unix socket is there."""
        self.server.tick()
        if self._path not in ("", _NOWHERE) and not self.server.is_listening:
            self._path = ""  # the program has closed what it does not know, as who becomes a daemon does
        if not self._path and (self._agent.workspace is not None or self._agent.is_held):
            self._listen()

    def open(self, host: str | None, port: int | None) -> None:
        """Listen for HTTP. Raises nothing: `problem` says why there is none."""
        if self.is_open:
            return
        environ = self._environ
        host = _host(environ, host)
        is_insecure = _is_true(environ, "DEVTRACE_PROBE_INSECURE")
        try:
            wanted = _port(environ, port)
            self.server.guard = Guard(
                self._token(),
                is_insecure=is_insecure,
                is_everywhere=host not in _LOOPBACK,
            )
            given = self.server.listen_tcp(host, wanted)
        except (OSError, ValueError, DevTraceError) as error:
            self.problem = f"no HTTP at {host}: {getattr(error, 'strerror', None) or error}"
            return
        self.is_open, self.problem = True, ""
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{given}"

    def close(self) -> None:
        """Nobody can ask any more."""
        self.server.close()
        self.is_open, self.address = False, ""
        if self._path:
            self._path = ""
            self._register()

    def leave(self) -> None:
        """The same, and for good: it is not listed any more."""
        self.close()
        if self._agent.workspace is not None:
            try:
                registry.take_away(self._agent.workspace, os.getpid())
            except OSError:  # the store went
                return

    def forget(self) -> None:
        """In a forked child: the sockets are the parent's."""
        self.server.forget()
        self.is_open, self.address, self._path = False, "", ""

    def siblings(self) -> list[int]:
        """Process ids of the other programs of the store that can be asked."""
        workspace = self._agent.workspace
        found = [] if workspace is None else registry.registered(workspace)
        return [entry["pid"] for entry in found if entry["pid"] != os.getpid()]

    def told(self) -> dict[str, Any]:
        """For /health."""
        return {
            "socket": self._path if self._path != "-" else "",
            "http": self.address or None,
            "problem": self.problem,
        }

    def _listen(self) -> None:
        path = self._socket_path()
        if not path:
            self.problem = "there is no directory for a unix socket"
            self._path = _NOWHERE
            return
        try:
            self.server.listen_unix(path)
        except OSError as error:
            self.problem = f"no unix socket: {error.strerror or error}"
            self._path = _NOWHERE
            return
        self._path = path
        self._register()

    def _socket_path(self) -> str:
        """In the private directory at run time, for names of sockets are short; else in the store."""
        name = f"probes-{os.getpid()}-{os.urandom(4).hex()}.sock"
        workspace = self._agent.workspace
        try:
            folders = [str(runtime_base())]
        except (DevTraceError, OSError):
            folders = []
        folders += [str(workspace.run)] if workspace is not None else []
        tried = (f"{folder}/{name}" for folder in folders)
        return next((path for path in tried if len(os.fsencode(path)) < _LONGEST_PATH), "")

    def _register(self) -> None:
        """Say in the list of programs where we are to be found now."""
        workspace, environ = self._agent.workspace, self._environ
        if workspace is None:
            return
        entry = {
            "pid": os.getpid(),
            "started": registry.started(),
            "python": ".".join(map(str, sys.version_info[:3])),
            "session": environ.get("DEVTRACE_SESSION", ""),
            "span": environ.get("DEVTRACE_SPAN", ""),
            "socket": "" if self._path == _NOWHERE else self._path,
            "engine": self._agent.engine_name,
            "wakes": registry.wakes(),
            "space": registry.number("ns/pid"),
            "program": registry.number("exe"),
        }
        try:
            registry.write(workspace, entry)
        except OSError as error:
            self.problem = f"this program cannot be listed: {error.strerror or error}"

    def _token(self) -> str:
        """The token of the store; none without a store."""
        workspace = self._agent.workspace
        if workspace is None:
            return ""
        return read_or_make_token(str(workspace.run / TOKEN))


def grammar(redactor: Redactor) -> Grammar:
    """How conditions, messages and hit conditions are read, and what is refused in them."""
    return Grammar(parse, parse_template, HitCount, hides_name, redactor.hides)


def broker_url(environ: Mapping[str, str]) -> str | None:
    """Where a broker was asked for. It is told, and never reached: there is none."""
    url = environ.get("DEBUGIN_BROKER_URL", "").strip()
    host, port = (
        environ.get("SIDEKICK_BROKER_HOST", "").strip(),
        environ.get("SIDEKICK_BROKER_PORT", "").strip(),
    )
    return _plain(url) or (f"{host}:{port}" if host and port else host) or None


def _plain(url: str) -> str:
    """A URL without what may be a secret in it."""
    scheme, mark, rest = url.partition("://") if "://" in url else ("", "", url)
    place = rest.partition("?")[0].partition("#")[0]
    host, slash, path = place.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"


def _port(environ: Mapping[str, str], asked: int | None) -> int:
    """Raises ValueError for what is no port."""
    told = environ.get("DEBUGIN_CONTROL_API_PORT", "").strip()
    port = int(told) if told else PORT if asked is None else asked
    if not 0 <= port < 65_536:
        raise ValueError(f"{port} is no port")
    return port


def _host(environ: Mapping[str, str], asked: str | None) -> str:
    if _is_true(environ, "DEBUGIN_CONTROL_API_BIND_ALL"):
        return _EVERYWHERE
    return environ.get("DEBUGIN_CONTROL_API_HOST", "").strip() or asked or "127.0.0.1"


def _is_true(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").strip().lower() in _TRUE
