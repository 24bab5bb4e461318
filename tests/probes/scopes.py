"""What an expression is tried on: names with values, and what asking Python itself gives."""

from __future__ import annotations

from typing import Any

from devtrace.probes.expressions import parse


class Names:
    """The scope of a test: its locals, and nothing else unless given."""

    def __init__(
        self, locals: dict[str, Any], *, extra: dict[str, Any] | None = None, args: tuple[Any, ...] = ()
    ):
        self.locals = locals
        self.globals: dict[str, Any] = {}
        self.args = args
        self.extra = extra


def value(text: str, **names: Any) -> Any:
    """What an expression gives for locals of those names."""
    return parse(text).evaluate(Names(names))


def outcome(run: Any, *arguments: Any) -> tuple[str, str]:
    """What calling something gives, or the error it ends with."""
    try:
        return "value", repr(run(*arguments))
    except Exception as error:
        return type(error).__name__, str(error)
