"""Texts of the program without its secrets: the policy of the store, for whoever is hit just now.

A policy is for one thread, and hits come from all. Nearly every text passes the quick look, which needs no
turns; of the rest one thread at a time is served, and who waits for too long gets no text at all.

Lives here: `Redactor`. Not here: the rules (policy/). Standard library only: a guest imports this.
"""

from __future__ import annotations

from _thread import allocate_lock

from devtrace.config import Config
from devtrace.policy.chain import WITHHELD, Policy
from devtrace.policy.quick import Look, quick_look
from devtrace.probes.engine import is_ours

TYPE_CHECKING = False  # as mypy knows it: importing `typing` costs a guest milliseconds
if TYPE_CHECKING:
    from collections.abc import Mapping

    from devtrace.workspace import Workspace

_PATIENCE_S = 0.005


class Redactor:
    """Called with a text: what of it may leave. Any thread may call."""

    __slots__ = ("_lock", "_looks_closer", "_policy")

    def __init__(self, workspace: Workspace | None, environ: Mapping[str, str]):
        self._policy = _policy(workspace, environ)
        self._policy.is_passed_on = _is_passed_on
        self._looks_closer: Look = self._first_look
        self._lock = allocate_lock()

    def __call__(self, text: str) -> str:
        """The text, with a marker for each secret in it."""
        if not self._looks_closer(text):
            return text
        if not self._lock.acquire(timeout=_PATIENCE_S):
            return WITHHELD
        try:
            return self._policy.redact_text(text)
        finally:
            self._lock.release()

    def _first_look(self, text: str) -> bool:
        """The patterns take their time to be made, and most programs are never hit."""
        self._looks_closer = quick_look(self._policy)
        return self._looks_closer(text)

    def hides(self, text: str) -> bool:
        """Whether the text holds a secret."""
        return self(text) != text

    def learn(self, secrets: list[bytes]) -> None:
        """What turned up under a secret's name is one wherever it stands from now on."""
        if self._lock.acquire(timeout=_PATIENCE_S):
            try:
                self._policy.learn(secrets)
            finally:
                self._lock.release()

    def forget_lock(self) -> None:
        """In a forked child: a thread that is not here may have held it."""
        self._lock = allocate_lock()


def _is_passed_on(error: BaseException) -> bool:
    """What a handler of a signal raised while we were at it is the program's."""
    return isinstance(error, Exception) and not is_ours(error)


def _policy(workspace: Workspace | None, environ: Mapping[str, str]) -> Policy:
    if workspace is None:
        return Policy.for_session(environ, None)
    settings = Config.from_snapshot(workspace)
    try:
        salt = workspace.salt.read_bytes() or None
    except OSError:
        salt = None
    return Policy.for_session(environ, salt, settings.family("policy.rules"), settings.family("policy.allow"))
