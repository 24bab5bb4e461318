"""Write docs/reference/ from the code: `make docs`. A test fails when a page is stale.

Lives here: the pages' form. Not here: what they say, which is the code's own words: the table of error
codes, the comments beside an event's fields, the meaning of a setting, the help of a command.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from pathlib import Path

from devtrace import errors
from devtrace.config import AGENTS, KEYS
from devtrace.events import KINDS, Event, Output, sensitive_fields
from devtrace.events.envelope import STATUSES

REFERENCE = Path(__file__).parent / "reference"
GENERATED = "<!-- Written by docs/generate.py from the code: `make docs`. -->"


def table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table; a bar in a cell is escaped."""
    escaped = [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    lines = [headings, tuple("---" for _ in headings), *escaped]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def page(title: str, *parts: str) -> str:
    """One page: the title, who wrote it, and its parts with a blank line between."""
    return "\n\n".join(part.strip("\n") for part in (f"# {title}", GENERATED, *parts)) + "\n"


def error_page() -> str:
    """The tree of errors.py, its kinds with their exit status, its codes."""
    kinds = [
        (f"`{cls.__name__}`", f"{cls.exit_status}", (inspect.getdoc(cls) or "").splitlines()[0])
        for cls in errors.DevTraceError.__subclasses__()
    ]
    codes = [(f"`{code}`", meaning) for code, meaning in sorted(errors.CODES.items())]
    return page(
        "Errors",
        "Every error has a stable code, says what happened and where, and hints at what to do next. With "
        "`--json-errors` the last line of stderr is the same as one JSON object, "
        '`{"error": {"kind", "code", "message", "hint", "context"}}`.',
        table(("kind", "exit status", "what it is"), kinds),
        "Besides, 0 is done and 130 is Ctrl-C; `shell` and `run` return the status of what they ran.",
        table(("code", "what happened"), codes),
    )


def field_comments(cls: type) -> dict[str, str]:
    """What stands behind each field of a dataclass in the source, or on the comment lines of its wrapping."""
    source, _ = inspect.getsourcelines(cls)
    (tree,) = ast.parse(inspect.cleandoc("".join(source))).body
    assert isinstance(tree, ast.ClassDef)
    comments = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            lines = source[node.lineno - 1 : node.end_lineno]
            comments[node.target.id] = " ".join(line.partition("  # ")[2].strip() for line in lines).strip()
    return comments


def field_rows(cls: type) -> list[tuple[str, ...]]:
    """(name, type, default, meaning) of a dataclass' fields."""
    comments = field_comments(cls)
    private = sensitive_fields(getattr(cls, "kind", ""))
    rows = []
    for item in fields(cls):
        default = "" if item.default is MISSING else f"`{json.dumps(item.default)}`"
        told = comments.get(item.name, "").replace("None", "null").replace("STATUSES", ", ".join(STATUSES))
        told += (" " if told else "") + "*(free text: redacted)*" if item.name in private else ""
        rows.append((f"`{item.name}`", f"`{json_type(str(item.type))}`", default, told))
    return rows


def json_type(annotation: str) -> str:
    """A field's type as the reader of the JSON sees it."""
    words = {
        "str": "string",
        "int": "integer",
        "bool": "boolean",
        "None": "null",
        "list[int]": "array of integers",
    }
    words |= {"Output": "object", "Body": "object", "Mapping[str, bytes]": "object"}
    return " | ".join(words.get(part.strip(), part.strip()) for part in annotation.split("|"))


def event_page() -> str:
    """The envelope, then each kind with its data."""
    envelope = [row for row in field_rows(Event) if row[0] not in ("`body`", "`blobs`")]
    parts = [
        "An event is a span of a session. `devtrace log --json`, `devtrace show --json` and "
        "`devtrace export --format jsonl` write one object a line: the envelope, and `data`, which is the "
        "kind's own.",
        "## The envelope",
        table(("field", "type", "default", "meaning"), envelope),
    ]
    for name, cls in sorted(KINDS.items()):
        first, *_ = (inspect.getdoc(cls) or "").splitlines()
        parts += [
            f"## `{name}`",
            first,
            table(("field of `data`", "type", "default", "meaning"), field_rows(cls)),
        ]
    parts += [
        "### `output`",
        (inspect.getdoc(Output) or ""),
        table(("field", "type", "default", "meaning"), field_rows(Output)),
    ]
    return page("Events", *parts)


def config_page() -> str:
    """The settings and the names of agents."""
    settings = [
        (
            f"`{name}`",
            key.kind,
            f"`{json.dumps(key.default)}`",
            key.meaning,
            key.wants() if key.choices else "",
        )
        for name, key in KEYS.items()
    ]
    agents = [(f"`{name}`", whom) for name, whom in AGENTS.items()]
    return page(
        "Configuration",
        "The settings of a store are in `.devtrace/config.toml`. `devtrace config list` shows those in "
        "force, `devtrace config set KEY VALUE` changes one and keeps the file's comments.",
        table(("key", "type", "default", "meaning", "values"), settings),
        "## Agents",
        "The names that `--agent` takes; `custom:NAME` labels any other.",
        table(("name", "who works in the session"), agents),
    )


PAGES: dict[str, Callable[[], str]] = {
    "errors.md": error_page,
    "events.md": event_page,
    "config.md": config_page,
}


def main() -> int:
    """Write every page."""
    REFERENCE.mkdir(exist_ok=True)
    for name, write in PAGES.items():
        (REFERENCE / name).write_text(write(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
