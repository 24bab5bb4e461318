"""Write docs/reference/, control-api.md and event-schema.json from the code: `make docs`. A test fails when
one of them is stale.

Lives here: the pages' form. Not here: what they say, which is the code's own words: the table of error
codes, the comments beside an event's fields, the meaning of a setting, the help of a command; the two papers
of probes (probe_papers.py).
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import itertools
import json
import os
import re
import runpy
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import typer

from devtrace import errors
from devtrace.cli.app import app
from devtrace.cli.record import main as recording
from devtrace.cli.shell import main as direct
from devtrace.config import AGENTS, FAMILIES, KEYS
from devtrace.events import KINDS, Output, sensitive_fields
from devtrace.recorder.policy import KEYS as RECORDER_KEYS
from devtrace.views.jsonl import FIELDS, VALUES

DOCS = Path(__file__).parent
REFERENCE = DOCS / "reference"
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
        if cls.__module__ == errors.__name__  # the recorder's have the same four kinds
    ]
    codes = [(f"`{code}`", meaning) for code, meaning in sorted(errors.CODES.items())]
    return page(
        "Errors",
        "Every error has a stable code, says what happened and where, and hints at what to do next. With "
        "`--json-errors` the last line of stderr is the same as one JSON object, "
        '`{"error": {"kind", "code", "message", "hint", "context"}}`. The Python recorder writes '
        '`{"run_id", "trace_id", "error_code", "error_kind", "message", "context"}` from inside the program.',
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
            told = [line.partition("  # ")[2].strip() for line in lines]
            above = source[node.lineno - 2].strip()
            if any(one.startswith("noqa") for one in told):  # it speaks to the linter: ours stands above then
                told = [above[2:]] if above.startswith("# ") else []
            comments[node.target.id] = " ".join(told).strip()
    return comments


def field_rows(cls: type) -> list[tuple[str, ...]]:
    """(name, type, default, meaning) of a dataclass' fields."""
    comments = field_comments(cls)
    private = sensitive_fields(getattr(cls, "kind", ""))
    rows = []
    for item in fields(cls):
        default = "" if item.default is MISSING else f"`{json.dumps(item.default)}`"
        told = comments.get(item.name, "").replace("None", "null")
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
    words |= {
        "dict[str, Any]": "object",
        "Output": "object",
        "Body": "object",
        "Mapping[str, bytes]": "object",
    }
    return " | ".join(words.get(part.strip(), part.strip()) for part in annotation.split("|"))


def event_page() -> str:
    """Each kind with its data."""
    headings = ("field of `data`", "type", "default", "meaning")
    parts = [
        "An event is a span of a session. What all kinds have in common is in [the JSON lines](json.md); "
        "here is what each has in `data`.",
    ]
    for name, cls in sorted(KINDS.items()):
        first, *_ = (inspect.getdoc(cls) or "").splitlines()
        parts += [f"## `{name}`", first, table(headings, field_rows(cls))]
    return page(
        "Events",
        *parts,
        "### `output`",
        inspect.getdoc(Output) or "",
        table(("field", "type", "default", "meaning"), field_rows(Output)),
    )


def json_page() -> str:
    """Each record of the JSON lines."""
    parts = [
        "With `--json` every question is answered by one object a line, in ASCII. `record` says what it is. "
        "Later versions may add fields.",
    ]
    for record, (where, meanings) in FIELDS.items():
        rows = [(f"`{name}`", meaning) for name, meaning in meanings.items()]
        parts += [f"## `{record}`", f"Written by {where}.", table(("field", "meaning"), rows)]
    parts += [
        "## Values",
        "What a variable of a recorded program held. null, true, false, and numbers and texts that are exact "
        "and short stand for themselves; what holds fewer items than its length says was cut.",
        table(("form", "meaning"), VALUES.items()),
    ]
    return page("JSON lines", *parts)


def paragraphs(told: str) -> list[str]:
    """A command's help as Markdown: indented lines are what is typed, all else is prose."""
    parts = []
    for part in told.replace("\b\n", "").split("\n\n"):
        for typed, lines in itertools.groupby(part.splitlines(), key=lambda line: line.startswith("  ")):
            words = [line.strip() for line in lines]
            block = "\n".join(["```console", *(f"$ {line}" for line in words), "```"])
            parts.append(block if typed else " ".join(words))
    return [part for part in parts if part]


def typer_command(name: str, command: Any) -> Iterator[str]:
    """One command of the typer application, and below it the commands of a group."""
    yield f"## `devtrace {name}`"
    yield from paragraphs(inspect.cleandoc(command.help or ""))
    rows = []
    for parameter in command.params:
        spelled = [*parameter.opts, *parameter.secondary_opts]
        if parameter.param_type_name == "argument":
            words = parameter.metavar or parameter.name.upper()
        else:
            metavar = "" if getattr(parameter, "is_flag", False) else parameter.metavar or ""
            words = f"{', '.join(sorted(spelled, key=lambda word: word[:2] == '--'))} {metavar}".rstrip()
        if spelled != ["--help"]:
            rows.append((f"`{words}`", getattr(parameter, "help", "") or ""))
    if rows:
        yield table(("option", "meaning"), rows)
    for inner, below in getattr(command, "commands", {}).items():
        yield from typer_command(f"{name} {inner}", below)


def argparse_command(name: str) -> Iterator[str]:
    """`shell`, `run` and `record`, which typer only lists: their help, read back."""
    told = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(told), patched_width():
        recording(["--help"]) if name == "record" else direct([name, "--help"])
    _, description, *rest = told.getvalue().split("\n\n")
    lists = [part for part in rest if re.match(r"(?:positional arguments|options):", part)]
    yield f"## `devtrace {name}`"
    yield description
    yield from paragraphs("\n\n".join(part for part in rest if part not in lists))
    rows = [
        match.groups() for part in lists for match in re.finditer(r"^  (\S.*?)  +(\S.*)$", part, re.MULTILINE)
    ]
    yield table(
        ("option", "meaning"), [(f"`{words}`", meaning) for words, meaning in rows if "--help" not in words]
    )


@contextlib.contextmanager
def patched_width() -> Iterator[None]:
    """A terminal so wide that argparse breaks no line."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "1000"
    try:
        yield
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before


def cli_page() -> str:
    """Every command with its options."""
    top = typer.main.get_command(app)
    commands: dict[str, Any] = getattr(top, "commands", {})
    parts: list[str] = []
    for name, command in commands.items():
        is_direct = name in ("shell", "run", "record")
        parts += argparse_command(name) if is_direct else typer_command(name, command)
    return page(
        "The command line",
        "Every command has `--help`. With `--json-errors`, before or behind its name, an error ends with one "
        "line of JSON. An ID is any unique start of a session's or an event's id.",
        *parts,
    )


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
        for name, key in (*KEYS.items(), *((f"{family}.NAME", key) for family, key in FAMILIES.items()))
    ]
    agents = [(f"`{name}`", whom) for name, whom in AGENTS.items()]
    return page(
        "Configuration",
        "The settings of a store are in `.devtrace/config.toml`. `devtrace config list` shows those in "
        "force, `devtrace config set KEY VALUE` changes one and keeps the file's comments. NAME is any name "
        "in lower-case letters, digits and dashes; an empty value takes that rule out of force.",
        table(("key", "type", "default", "meaning", "values"), settings),
        "## Agents",
        "The names that `--agent` takes; `custom:NAME` labels any other.",
        table(("name", "who works in the session"), agents),
    )


def recorder_page() -> str:
    """The recorder's policy: its keys, and how the environment says them."""
    rows = [
        (f"`{name}`", f"`{key.default!r}`", ", ".join(f"`{one}`" for one in key.environment), key.meaning)
        for name, key in RECORDER_KEYS.items()
    ]
    return page(
        "The recorder's policy",
        "Keys of `configure_policy` and of `start(policy=...)`, and their variables: the first that is set "
        "counts. What the recorder is for and how it is used stands in [its own paper](../recorder.md), its "
        "command line under [`devtrace record`](cli.md).",
        table(("key", "default", "variables", "meaning"), rows),
    )


probe_papers = runpy.run_path(str(DOCS / "probe_papers.py"))  # a script beside this one, and in no package
PAPERS: dict[str, Callable[[], str]] = {
    "control-api.md": lambda: page("The control API", *probe_papers["control_parts"](table)),
    "event-schema.json": probe_papers["event_schema"],
}
PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "config.md": config_page,
    "errors.md": error_page,
    "events.md": event_page,
    "json.md": json_page,
    "recorder.md": recorder_page,
}


def main() -> int:
    """Write every page."""
    REFERENCE.mkdir(exist_ok=True)
    for name, write in PAGES.items():
        (REFERENCE / name).write_text(write(), encoding="utf-8")
    for name, write in PAPERS.items():
        (DOCS / name).write_text(write(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
