"""Trace filters: which code is recorded, and which of its values are hidden.

The chain, each after what it adds to:

    1. the default (filter_builtin.py)
    2. the nearest `.devtrace/trace-filter.toml` or `.codetracer/trace-filter.toml`, going up from the script
    3. DEVTRACE_TRACE_FILTER, else CODETRACER_TRACE_FILTER
    4. what was asked for: `--trace-filter`, `start(trace_filter=...)`

Code: all rules of the chain that fit are asked, and the last one that says `exec` has the last word;
where none does, the default skips what is not the user's, and the last `default_exec` is for the rest. So
a rule without `exec` switches nothing on, and `pkg:*` with `exec = "trace"` means everything, the
standard library too. Never recorded are DevTrace itself and code without a file, but for `<string>` and
`<stdin>`, which a rule can name. `only` then leaves what it names; where it spells a module or file, the
default does not hide that one.

Values: the value patterns of all rules that fit are asked, those of the last rule first and in a rule
from the top; the first that fits has it. Then come the secret names of the default, then the last
`value_default`, then the last `default_value_action`. So patterns add up down the chain, and no rule
takes the default's away, but for an `allow` whose pattern spells the secret itself: `local:api_token` or
`local:*token`, and not `local:*`. Where `drop` is what is left, patterns of the filters before the one
that says so are not asked: what a filter drops does not come back as redacted.

Lives here: the chain, the decision, what the trace's metadata says of both. Not here: the language
(filter_patterns.py), the files (filter_files.py), `--only` (filter_scopes.py), what is done with a value
that is redacted (values.py). Standard library only, and no dataclass: guests import this.
"""

from __future__ import annotations

import os
from _thread import get_ident
from collections.abc import Iterable, Mapping, Sequence
from os import getpid
from pathlib import Path
from typing import Any

from devtrace.recorder import filter_builtin as builtin
from devtrace.recorder import filter_files as files
from devtrace.recorder.filter_files import FilterFile, Pattern, Rule
from devtrace.recorder.filter_patterns import VALUE_KINDS
from devtrace.recorder.filter_scopes import Only, Scope, modules_of
from devtrace.recorder.metrics import (
    FILENAME_LOOKUP_FAILED,
    FILTER_RESOLUTION_ERROR,
    FILTER_SCOPE_SKIP,
    SYNTHETIC_FILENAME,
)

_MOST_NAMES = 4096  # of a kind whose answer is remembered: keys of mappings are without an end
_NEVER = (builtin.OURS, builtin.NO_FILE)
_NO_FILES = (builtin.NO_FILE, builtin.GIVEN_TO_EXEC)
_LABELS = {"arg": "argument", "local": "local", "global": "global", "ret": "return", "attr": "attribute"}


def load(
    specs: object = None,
    target: str | os.PathLike[str] | None = None,
    *,
    only: Iterable[str] = (),
    environ: Mapping[str, str] | None = None,
    folder: str | None = None,
) -> Filters:
    """The filters for a script, or for what is run in a folder (the current one, unless said).

    `specs` is a path, a text of paths with `::` between them, or a sequence of both. Raises
    FileNotFoundError for a filter that is missing, TypeError for what cannot be a path, and ValueError for
    a directory, an empty text, an `only` that names nothing, and a file that cannot be read, with the field
    and the reason.
    """
    here = folder or _here()
    start = _start(target, here)
    project = files.of_the_project(start)
    named = files.from_environment(os.environ if environ is None else environ, here)
    paths = [*([project] if project else []), *named, *files.paths_of(specs, here)]
    chain = [files.read(path) for path in paths]
    wanted = tuple(Only(text, here) for text in ([only] if isinstance(only, str) else only))
    return Filters(chain, root=files.project_root(start), folder=here, only=wanted)


class Verdict:
    """What the filters say of some code: `records`, else the metrics' `reason`; `because` is for people."""

    __slots__ = ("_scope", "_values", "because", "reason", "records")

    def __init__(self, reason: str, because: str, values: _Values, scope: Scope):
        self.records = not reason
        self.reason = reason
        self.because = because
        self._values = values
        self._scope = scope

    def action(self, kind: str, name: str) -> str:
        """`allow`, `redact` or `drop` for a value of that kind: local, global, arg, ret, attr.

        `name` is an exact str: a variable's, an attribute's or a text key's; for `ret` the function's.
        """
        if kind == "ret":
            return self._values.of(kind, self._returning(name))[0]
        return self._values.action(kind, name)

    def rule(self, kind: str, name: str) -> str:
        """What decided that: the reason of a pattern or the pattern, else which default it was."""
        return self._values.of(kind, self._returning(name) if kind == "ret" else (name,))[1]

    def _returning(self, name: str) -> tuple[str, ...]:
        """What a function is called, its bare name last: that is what secrets are told by."""
        own = self._scope.qualname
        qualname = own if own.endswith(f".{name}") else name
        dotted = [f"{module}.{qualname}" for module in self._scope.modules]
        return (*dotted, qualname, qualname.rpartition(".")[2])


class Stats:
    """How often the filters were in the way; who skips, redacts or drops says so here.

    No lock, as in metrics.py: each thread of each process counts in a table of its own.
    """

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables: dict[tuple[int, int], dict[str, int]] = {}

    def skipped(self) -> None:
        """A code object was not recorded."""
        self._count("scopes_skipped")

    def redacted(self, kind: str) -> None:
        """A value of that kind was redacted."""
        self._count(f"redactions.{_LABELS[kind]}")

    def dropped(self, kind: str) -> None:
        """A value of that kind was dropped."""
        self._count(f"drops.{_LABELS[kind]}")

    def as_dict(self) -> dict[str, Any]:
        """`{scopes_skipped, value_redactions: {argument, …}, value_drops: {argument, …}}` of this process."""
        here = getpid()
        tables = [table for (pid, _), table in list(self._tables.items()) if pid == here]

        def total(name: str) -> int:
            return sum(table.get(name, 0) for table in tables)

        return {
            "scopes_skipped": total("scopes_skipped"),
            "value_redactions": {label: total(f"redactions.{label}") for label in _LABELS.values()},
            "value_drops": {label: total(f"drops.{label}") for label in _LABELS.values()},
        }

    def _count(self, name: str) -> None:
        key = getpid(), get_ident()
        table = self._tables.get(key)
        if table is None:
            table = self._tables.setdefault(key, {})
        table[name] = table.get(name, 0) + 1


class Filters:
    """The chain for one program. `io`: what it says of output capture; `stats`: how often it hid things."""

    def __init__(self, chain: list[FilterFile], *, root: str, folder: str, only: tuple[Only, ...] = ()):
        self.stats = Stats()
        self.io: dict[str, object] = {}
        self._chain = chain
        self._root = root
        self._folder = folder
        self._only = only
        self._origins = builtin.Origins()
        self._execs: tuple[bool, str] = (True, builtin.NAME)
        self._default: tuple[str, int, str] = ("allow", 0, builtin.NAME)
        self._rules: list[Rule] = []
        for number, file in enumerate(chain, 1):
            self._append(file, number)
        self._values: dict[tuple[int, ...], _Values] = {(): _Values((), self._default)}
        self._modules: dict[tuple[str, str | None], tuple[str, ...]] = {}

    def verdict(self, path: str, module: str | None, qualname: str) -> Verdict:
        """Of a code object: its `co_filename`, its module's `__name__` if that is known, its `co_qualname`.

        Never fails: code that cannot be judged is not recorded.
        """
        if type(module) is not str:  # `__name__` is the program's to set
            module = None
        try:
            if not isinstance(path, str) or not path:
                return self._unjudged(FILENAME_LOOKUP_FAILED, "it names no file")
            return self._verdict(self._absolute(path), module, qualname)
        except Exception as error:  # we are a guest: the program goes on
            return self._unjudged(FILTER_RESOLUTION_ERROR, type(error).__name__)

    def origin(self, path: str, module: str | None, qualname: str) -> str:
        """Whose code it is: "" for the user's own, else why it is not."""
        return self._origins.of(path, module, qualname)

    def metadata(self) -> dict[str, Any]:
        """`trace_filter` of a trace's metadata: `{filters: [{path, sha256, name, version}], stats}`."""
        from hashlib import sha256

        own = (builtin.PATH, builtin.description().encode(), builtin.NAME, builtin.VERSION)
        chain = [own, *((file.path, file.content, file.name, file.version) for file in self._chain)]
        listed = [
            {"path": path, "sha256": sha256(content).hexdigest(), "name": name, "version": version}
            for path, content, name, version in chain
        ]
        return {"filters": listed, "stats": self.stats.as_dict()}

    def _append(self, file: FilterFile, number: int) -> None:
        self.io.update(file.io)
        if file.default_exec is not None:
            self._execs = file.default_exec, f"default_exec of {file.name}"
        if file.default_value_action is not None:
            self._default = file.default_value_action, number, f"default_value_action of {file.name}"
        for rule in file.rules:
            rule.source = number
            rule.roots = tuple({f"{root.rstrip('/')}/": None for root in (file.root, self._root)})
            self._rules.append(rule)

    def _absolute(self, path: str) -> str:
        if path.startswith("<"):
            return path
        if not path.startswith("/"):
            path = f"{self._folder}/{path}"
        return os.path.normpath(path) if "/." in path or "//" in path else path

    def _verdict(self, path: str, module: str | None, qualname: str) -> Verdict:
        origin = self._origins.of(path, module, qualname)
        scope = Scope(path, self._modules_of(path, module), qualname)
        if origin in _NEVER:
            return Verdict(_reason(origin), origin, self._values[()], scope)
        fitting = [number for number, rule in enumerate(self._rules) if _fits(rule, scope)]
        records, because, is_told = self._exec(fitting, origin)
        if self._only and (records or not is_told):
            records, because = self._narrowed(scope, records)
        return Verdict("" if records else _reason(origin), because, self._values_of(fitting), scope)

    def _exec(self, fitting: list[int], origin: str) -> tuple[bool, str, bool]:
        """Whether it is recorded, what says so, and whether that is a rule."""
        for number in reversed(fitting):
            rule = self._rules[number]
            if rule.execs is not None:
                return rule.execs, rule.reason, True
        return (False, origin, False) if origin else (*self._execs, False)

    def _narrowed(self, scope: Scope, records: bool) -> tuple[bool, str]:
        for one in self._only:
            if (records or one.is_named) and one.fits(scope):
                return True, f"--only {one.text}"
        return False, "not in --only"

    def _unjudged(self, reason: str, because: str) -> Verdict:
        return Verdict(reason, because, self._values[()], Scope("", (), ""))

    def _modules_of(self, path: str, module: str | None) -> tuple[str, ...]:
        if module and module != "__main__":
            return (module,)
        if not self._rules and not self._only:
            return (module,) if module else ()
        known = self._modules.get((path, module))
        if known is None:
            if len(self._modules) >= _MOST_NAMES:
                self._modules.clear()
            known = self._modules[path, module] = modules_of(path, module, self._root)
        return known

    def _values_of(self, fitting: list[int]) -> _Values:
        """What is to be done with values where these rules fit: made once for each such set of rules."""
        key = tuple(fitting)
        values = self._values.get(key)
        if values is None:
            rules = tuple(self._rules[number] for number in reversed(fitting))
            values = self._values[key] = _Values(rules, self._default)
        return values


class _Values:
    """What becomes of values where some rules fit, the last of them first. It remembers what it was asked."""

    __slots__ = ("_default", "_known", "_patterns")

    def __init__(self, rules: tuple[Rule, ...], default: tuple[str, int, str]):
        action, source, because = default
        for rule in rules:
            if rule.value_default is not None:
                action, source, because = rule.value_default, rule.source, rule.reason
                break
        self._default = action, because
        self._known: dict[str, dict[str, str]] = {kind: {} for kind in VALUE_KINDS}
        self._patterns: dict[str, list[Pattern]] = {kind: [] for kind in VALUE_KINDS}
        for rule in rules:
            if action != "drop" or rule.source >= source:
                for pattern in rule.patterns:
                    self._patterns[pattern.selector.kind].append(pattern)

    def action(self, kind: str, name: str) -> str:
        """Of a name: an answer that was given before costs one look."""
        known = self._known[kind]
        action = known.get(name)
        if action is None:
            if len(known) >= _MOST_NAMES:
                known.clear()
            action = known[name] = self.of(kind, (name,))[0]
        return action

    def of(self, kind: str, names: tuple[str, ...]) -> tuple[str, str]:
        """Of something with several names, the last of which tells a secret; and what says so."""
        is_secret = builtin.is_secret(names[-1])
        for pattern in self._patterns[kind]:
            if any(pattern.selector.fits(name) for name in names) and not (
                is_secret and pattern.action == "allow" and not _spells_a_secret(pattern)
            ):
                return pattern.action, pattern.reason
        if is_secret and self._default[0] == "allow":
            return "redact", builtin.NAME
        return self._default


def _here() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it was removed: plain Python runs there too
        return "/"


def _start(target: str | os.PathLike[str] | None, here: str) -> str:
    """The folder to go up from: the one of a script, or itself, absolute."""
    path = Path(os.path.normpath(Path(here, target or here)))
    return str(path if path.is_dir() else path.parent)


def _reason(origin: str) -> str:
    return SYNTHETIC_FILENAME if origin in _NO_FILES else FILTER_SCOPE_SKIP


def _spells_a_secret(pattern: Pattern) -> bool:
    return pattern.selector.is_literal or builtin.is_secret(pattern.selector.pattern)


def _fits(rule: Rule, scope: Scope) -> bool:
    return any(map(rule.selector.fits, _names(rule, scope)))


def _names(rule: Rule, scope: Scope) -> Sequence[str]:
    """What the selector of a rule is held against."""
    kind = rule.selector.kind
    if kind == "pkg":
        return scope.modules
    if kind == "obj":
        return scope.objects
    if rule.selector.is_absolute:
        return (scope.path,)
    below = [scope.path[len(root) :] for root in rule.roots if scope.path.startswith(root)]
    return below or (scope.path,)
