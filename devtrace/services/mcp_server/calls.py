"""A call of a tool from its name and arguments to what is sent back, whatever happens on the way.

A wrong argument, a store that is not there, a bug of ours: each becomes an error of this one call, with a
code, a sentence and a hint. None of them names a path outside of the repository, and a traceback goes to
the store's log, never to the client.

Lives here: `Calls`, `Reply`. Not here: the answers (answers.py and its like), the protocol
(serve.py).
"""

from __future__ import annotations

import importlib
import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

from devtrace.errors import DevTraceError, InternalError, UsageError
from devtrace.policy.chain import Policy
from devtrace.services.mcp_server.answers import Answer, Asked
from devtrace.services.mcp_server.arguments import checked
from devtrace.services.mcp_server.cursor import Desk
from devtrace.services.mcp_server.fitting import fitted
from devtrace.services.mcp_server.store import Store
from devtrace.services.mcp_server.tools import BY_NAME, READS_MUCH, SEARCHES, Tool
from devtrace.views.for_models import error_text, structured
from devtrace.workspace import STORE_NAME, Workspace, find, runtime_base

Row = dict[str, Any]

PATIENCE_S = 15.0  # for one call
_MOST_AT_ONCE = 24  # calls that are at work, those included that nobody waits for any more
_LOG_LIMIT = 1 << 20  # bytes after which the log is begun anew


class Reply(NamedTuple):
    """What is sent back. `links`: URI, name and media type."""

    text: str
    structured: Row
    is_error: bool = False
    links: tuple[tuple[str, str, str], ...] = ()


class Calls:
    """Answers calls, each in the thread of whoever asks."""

    def __init__(self, store: Store):
        self._store = store
        self._room = threading.BoundedSemaphore(_MOST_AT_ONCE)

    def reply(self, name: str, given: Mapping[str, Any] | None, stop: threading.Event | None = None) -> Reply:
        """The answer to a call, or its error. `stop`: set when nobody waits for it any more."""
        try:
            return self._reply(BY_NAME[name], given, stop)
        except DevTraceError as error:
            if error.context.get("is_damaged"):  # the index alone: it is made anew for the next search
                self._store.index(anew=True)
            return refused(error)
        except Exception as error:  # a bug of ours costs this call, and not the server
            return refused(logged(error))

    def _reply(self, tool: Tool, given: Mapping[str, Any] | None, stop: threading.Event | None) -> Reply:
        arguments = checked(tool.name, tool.takes, given)
        if not self._room.acquire(blocking=False):
            raise _busy()
        try:
            if tool.name in SEARCHES:
                self._store.index()
            until, keeps = time.monotonic() + PATIENCE_S, tool.name in READS_MUCH
            with self._store.opened(until, stop, keeps=keeps) as opened:
                asked = Asked(
                    db=opened.db,
                    workspace=opened.workspace,
                    tool=tool.name,
                    arguments=arguments,
                    desk=Desk(opened.workspace, tool.name, arguments),
                    mask=opened.mask,
                    now_us=time.time_ns() // 1000,
                    found=opened.found,
                )
                room = int(arguments["max_bytes"]) - 2 * len(opened.note)
                found = fitted(_function(tool)(asked), room)
        finally:
            self._room.release()
        if not opened.note:
            return Reply(found.text, found.structured, links=found.links)
        return Reply(
            f"{opened.note}\n{found.text}", {**found.structured, "note": opened.note}, links=found.links
        )


def _function(tool: Tool) -> Callable[[Asked], Answer]:
    """Imported when it is first asked for: a server is to be there at once."""
    module = importlib.import_module(f"devtrace.services.mcp_server.{tool.module}")
    return cast("Callable[[Asked], Answer]", getattr(module, tool.answer))


def warm() -> None:
    """Import what the tools need, while nobody waits."""
    for tool in BY_NAME.values():
        with suppress(ImportError):
            _function(tool)


# --- errors ---------------------------------------------------------------------------------------------


# Hints speak of the command line, which a model that asks us does not use.
_FOR_MODELS = (
    ("`devtrace sessions` and `devtrace show` list the ids", "list_sessions and list_events tell the ids"),
    ("see `devtrace sessions`", "list_sessions tells the ids"),
    ("see `devtrace show`", "list_events tells the ids"),
    ("`devtrace search` makes it anew", "it is being made anew: ask again in a while"),
    ("add --at EVENT or --at COMMIT of when it was", "say at=EVENT or at=COMMIT of when it was there"),
)


def refused(error: DevTraceError) -> Reply:
    """An error as it is told to a model."""
    hint = error.hint
    for words, others in _FOR_MODELS:
        hint = hint.replace(words, others)
    told = type(error)(_placeless(error.message), code=error.code, hint=_placeless(hint))
    fields = structured({"code": told.code, "message": told.message, "hint": told.hint})
    return Reply(error_text(told), fields, is_error=True)


def _placeless(text: str) -> str:
    """A sentence without where on this machine things are."""
    for place, word in _places():
        if len(place) > 1:
            text = text.replace(place, word)
    return text


def _places() -> list[tuple[str, str]]:
    """Directories by which a path may begin, the longest first, and what is said instead."""
    found: dict[str, str] = {}
    with suppress(DevTraceError, OSError):
        workspace = find()
        for folder in (workspace.root, Path(os.path.realpath(workspace.root))):
            found |= {str(folder / STORE_NAME): STORE_NAME, f"{folder}/": "", str(folder): "the repository"}
    with suppress(OSError):
        found.setdefault(str(Path.cwd()), "the working directory")
    if home := os.environ.get("HOME", ""):
        found.setdefault(home, "~")
    return sorted(found.items(), key=lambda one: -len(one[0]))


def _busy() -> UsageError:
    return UsageError(
        "too many calls are at work at once",
        code="ERR_TOO_SLOW",
        hint="wait for their answers, then ask again",
    )


def logged(error: Exception) -> InternalError:
    """Our bug, as the client is told of it; the traceback goes to a log."""
    details = "".join(traceback.format_exception(error))
    hint = "no log could be written; please report what you asked"
    with suppress(Exception):  # the disk is full, or the policy itself is what failed
        _write(details)
        hint = "the details are in the log of the store, errors.log; please report them"
    return InternalError(f"a bug in devtrace: {type(error).__name__}", code="ERR_INTERNAL", hint=hint)


def _write(details: str) -> None:
    try:
        folder = _log_of(find())
    except DevTraceError:
        folder = runtime_base()
    path = folder / "errors.log"
    fresh = os.O_TRUNC if path.exists() and path.stat().st_size > _LOG_LIMIT else os.O_APPEND
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | fresh, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(Policy.for_session(dict(os.environ), None).redact_text(details) + "\n")


def _log_of(workspace: Workspace) -> Path:
    workspace.log.mkdir(mode=0o700, exist_ok=True)
    return workspace.log
