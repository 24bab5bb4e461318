"""The files of trace filters: which ones are in force, and what stands in them.

    [meta]                       name (not empty) and version (1 or more) must be there; description, labels
    [io]                         capture, streams (stdout, stderr, stdin, files); modes is reserved: empty
    [scope]                      default_exec          trace | skip | inherit
                                 default_value_action  allow | redact | drop | inherit     (deny is redact)
    [[scope.rules]]              selector (pkg, file, obj); exec, value_default as above; reason
    [[scope.rules.value_patterns]]   selector (local, global, arg, ret, attr), action, reason

What is not said is inherited from the filter before. A field that is not named here is an error.

Lives here: finding, reading and checking them. Not here: the default that comes before them all
(filter_builtin.py), what they decide (filters.py). Standard library only, no dataclass, and no tomllib
before there is a file to read: guests import this.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from devtrace.recorder.filter_patterns import SCOPE_KINDS, VALUE_KINDS, Selector, parsed

FOLDERS = (".devtrace", ".codetracer")  # in this order, where a folder has both
FILE_NAME = "trace-filter.toml"
VARIABLES = ("DEVTRACE_TRACE_FILTER", "CODETRACER_TRACE_FILTER")  # the first that is set
SEPARATOR = "::"

EXECS = ("trace", "skip", "inherit")
ACTIONS = ("allow", "redact", "deny", "drop")
STREAMS = ("stdout", "stderr", "stdin", "files")
_LARGEST = 1 << 20

Spec = str | os.PathLike[str]


class Pattern:
    """What becomes of the values of that name: `action` is allow, redact or drop."""

    __slots__ = ("action", "reason", "selector")

    def __init__(self, selector: Selector, action: str, reason: str):
        self.selector = selector
        self.action = action
        self.reason = reason or selector.text


class Rule:
    """What a filter says of some code; None: nothing, it is as the rules before have it."""

    __slots__ = ("execs", "patterns", "reason", "roots", "selector", "source", "value_default")

    def __init__(
        self,
        selector: Selector,
        *,
        execs: bool | None = None,
        value_default: str | None = None,
        patterns: tuple[Pattern, ...] = (),
        reason: str = "",
    ):
        self.selector = selector
        self.execs = execs
        self.value_default = value_default
        self.patterns = patterns
        self.reason = reason or selector.text
        self.roots: tuple[str, ...] = ()  # folders, each with its slash, that a file's name is relative to
        self.source = 0  # the number of its filter in the chain


class FilterFile:
    """A filter as it was read. `path` is absolute."""

    __slots__ = ("content", "default_exec", "default_value_action", "io", "name", "path", "rules", "version")

    def __init__(self, path: str, content: bytes):
        self.path = path
        self.content = content
        document = _Table(_document(content, path), path, "")
        meta, io, scope = (document.table(field) for field in ("meta", "io", "scope"))
        if meta is None:
            raise document.fault("meta", "is missing: write [meta] with a name and a version")
        self.name, self.version = _meta(meta)
        self.io = _io(io)
        self.default_exec = None if scope is None else _exec(scope, "default_exec")
        self.default_value_action = None if scope is None else _action(scope, "default_value_action")
        self.rules = [] if scope is None else [_rule(rule) for rule in scope.tables("rules")]
        for table in (document, scope):
            if table is not None:
                table.done()

    @property
    def root(self) -> str:
        """The folder that its file selectors are relative to: its own, or the one of `.devtrace/`."""
        folder = Path(self.path).parent
        return str(folder.parent if folder.name in FOLDERS else folder)


def read(path: str) -> FilterFile:
    """The filter of that file: FileNotFoundError, or a ValueError that names file, field and reason."""
    if Path(path).is_dir():
        raise ValueError(f"{path}: a trace filter is a file, and this is a directory")
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no trace filter {path}") from None
    except OSError as error:
        raise ValueError(f"{path}: it cannot be read: {error.strerror}") from error
    if len(content) > _LARGEST:
        raise ValueError(f"{path}: it is larger than {_LARGEST >> 20} MiB")
    return FilterFile(path, content)


def paths_of(specs: object, folder: str) -> list[str]:
    """The absolute paths of what was asked for: a text with `::`, a path, or a sequence of them; None: none.

    TypeError for anything else, ValueError for a text in which nothing stands.
    """
    if specs is None:
        return []
    if isinstance(specs, (str, os.PathLike)):
        return list(_paths_of_one(specs, folder))
    if not isinstance(specs, Sequence) or isinstance(specs, (bytes, bytearray, memoryview)):
        raise _unfit(specs)
    return [path for spec in specs for path in _paths_of_one(spec, folder)]


def from_environment(environ: Mapping[str, str], folder: str) -> list[str]:
    """The filters that the environment names; a variable that is empty is not set."""
    spec = next((environ[name] for name in VARIABLES if environ.get(name)), None)
    return paths_of(spec, folder)


def for_children(specs: object, environ: Mapping[str, str], folder: str) -> str:
    """`DEVTRACE_TRACE_FILTER` for a child, wherever it runs: the environment's, then what was asked for."""
    return SEPARATOR.join([*from_environment(environ, folder), *paths_of(specs, folder)])


def of_the_project(start: str) -> str | None:
    """The nearest trace filter at or above a folder.

    What somebody else put above is not heard: it could lift what protects our secrets. Whoever owns the
    folder is trusted, since it is their code that runs.
    """
    trusted = {0, os.geteuid(), _owner(Path(start))}
    for place in _at_and_above(start):
        for path in (Path(place, folder, FILE_NAME) for folder in FOLDERS):
            if path.is_file() and _owner(path) in trusted:
                return str(path)
    return None


def project_root(start: str) -> str:
    """The nearest folder at or above that holds `.devtrace`, `.codetracer` or `.git`, else that folder."""
    marks = (*FOLDERS, ".git")
    return next((place for place in _at_and_above(start) if _holds(place, marks)), start)


def _at_and_above(start: str) -> Iterator[str]:
    folder = Path(start)
    yield str(folder)
    yield from map(str, folder.parents)


def _holds(place: str, names: tuple[str, ...]) -> bool:
    return any(Path(place, name).exists() for name in names)


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None


def _paths_of_one(spec: object, folder: str) -> Iterator[str]:
    if isinstance(spec, str):
        texts = [text.strip() for text in spec.split(SEPARATOR) if text.strip()]
    elif isinstance(spec, os.PathLike):
        named = os.fspath(spec)
        if not isinstance(named, str):
            raise _unfit(named)
        texts = [named]
    else:
        raise _unfit(spec)
    if not texts:
        raise ValueError("a trace filter was asked for, and its path is empty")
    for text in texts:
        yield os.path.normpath(Path(folder) / Path(text).expanduser())


def _unfit(spec: object) -> TypeError:
    return TypeError(f"a trace filter is a text, a path or a sequence of them, not {type(spec).__name__}")


class _Table:
    """A table of a filter that is being read: each field is taken once, and what is left over is an error."""

    __slots__ = ("_at", "_known", "_path", "_values")

    def __init__(self, values: dict[str, object], path: str, at: str):
        self._values = values
        self._path = path
        self._at = at
        self._known: list[str] = []

    def fault(self, field: str, reason: str) -> ValueError:
        """`/home/ana/shop/.devtrace/trace-filter.toml: scope.rules 2, selector: no kind 'pakg' here: …`."""
        return ValueError(f"{self._path}: {self._name(field)}: {reason}")

    def take(self, field: str) -> object:
        """What stands there, None where nothing does."""
        self._known.append(field)
        return self._values.get(field)

    def text(self, field: str) -> str:
        """A text, "" where there is none."""
        value = self.take(field)
        if value is not None and not isinstance(value, str):
            raise self.fault(field, f"it must be a text, not {value!r}")
        return value or ""

    def texts(self, field: str) -> list[str]:
        """A list of texts."""
        value = self.take(field)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.fault(field, f"it must be a list of texts, not {value!r}")
        return value

    def choice(self, field: str, choices: tuple[str, ...]) -> str | None:
        """One of some words, None where nothing stands."""
        value = self.take(field)
        if value is not None and (not isinstance(value, str) or value not in choices):
            raise self.fault(field, f"{value!r} is none of {', '.join(choices)}")
        return value

    def selector(self, kinds: tuple[str, ...]) -> Selector:
        """The selector that a rule or pattern must have."""
        if "selector" not in self._values:
            raise self.fault("selector", "it is missing")
        try:
            return parsed(self.text("selector"), kinds)
        except ValueError as error:
            if str(error).startswith(self._path):
                raise
            raise self.fault("selector", str(error)) from error

    def table(self, field: str) -> _Table | None:
        """A table in this one."""
        value = self.take(field)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.fault(field, f"it must be a table: write [{field}]")
        return _Table(value, self._path, self._name(field))

    def tables(self, field: str) -> Iterator[_Table]:
        """The tables of a list of them."""
        values = self.take(field)
        if values is None:
            return
        name = self._name(field)
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise self.fault(field, "they must be tables, each under its own [[...]]")
        for number, value in enumerate(values, 1):
            yield _Table(value, self._path, f"{name} {number}")

    def done(self) -> None:
        """Nothing else may stand here."""
        for field in self._values:
            if field not in self._known:
                raise self.fault(field, f"there is no such field: known are {', '.join(self._known)}")

    def _name(self, field: str) -> str:
        if not self._at:
            return field
        return f"{self._at}, {field}" if self._at[-1].isdigit() else f"{self._at}.{field}"


def _document(content: bytes, path: str) -> dict[str, object]:
    import tomllib

    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise ValueError(f"{path}: it is no valid TOML: {error}") from error


def _meta(meta: _Table) -> tuple[str, int]:
    name, version = meta.text("name"), meta.take("version")
    if not name.strip():
        raise meta.fault("name", "it must be there, and not be empty")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise meta.fault("version", "it must be there, a whole number from 1")
    meta.text("description")
    meta.texts("labels")
    meta.done()
    return name, version


def _io(table: _Table | None) -> dict[str, object]:
    """What it says of output capture: `{capture, streams}`, without what it does not say."""
    if table is None:
        return {}
    capture, streams = table.take("capture"), table.texts("streams")
    if capture is not None and not isinstance(capture, bool):
        raise table.fault("capture", f"it must be true or false, not {capture!r}")
    for stream in streams:
        if stream not in STREAMS:
            raise table.fault("streams", f"{stream!r} is none of {', '.join(STREAMS)}")
    if capture and not streams:
        raise table.fault("streams", "it must name a stream where capture is true")
    if table.texts("modes"):
        raise table.fault("modes", "it is reserved and must be empty")
    table.done()
    said = {"capture": capture, "streams": streams or None}
    return {field: value for field, value in said.items() if value is not None}


def _exec(table: _Table, field: str) -> bool | None:
    """Whether to trace it; None: as before."""
    return {"trace": True, "skip": False}.get(table.choice(field, EXECS) or "")


def _action(table: _Table, field: str) -> str | None:
    """What to do with values: allow, redact or drop; None: as before."""
    word = table.choice(field, (*ACTIONS, "inherit"))
    return {"deny": "redact", "inherit": None}.get(word or "inherit", word)


def _rule(table: _Table) -> Rule:
    rule = Rule(
        table.selector(SCOPE_KINDS),
        execs=_exec(table, "exec"),
        value_default=_action(table, "value_default"),
        patterns=tuple(_pattern(pattern) for pattern in table.tables("value_patterns")),
        reason=table.text("reason"),
    )
    table.done()
    return rule


def _pattern(table: _Table) -> Pattern:
    selector = table.selector(VALUE_KINDS)
    action = table.choice("action", ACTIONS)
    if action is None:
        raise table.fault("action", "it is missing")
    pattern = Pattern(selector, "redact" if action == "deny" else action, table.text("reason"))
    table.done()
    return pattern
