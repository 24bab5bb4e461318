"""The settings of a store, and the table of agent names.

Lives here: every key with its type, default and meaning (`KEYS`), reading `config.toml`, the JSON snapshot
that guests read instead of it, and the names that `--agent` takes (`AGENTS`).
Not here: changing a setting (services/config.py), what a setting does (the room that reads it).
Standard library only, no dataclass, and no tomllib or json before a file is there to be read: the traced
shell's start and guests import this.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from devtrace.errors import UsageError
from devtrace.workspace import Workspace, from_os_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TypeGuard

Value = bool | int | str

AGENTS: dict[str, str] = {
    "manual": "a person at the keyboard",
    "claude-code": "Claude Code",
    "codex": "OpenAI Codex CLI",
    "gemini": "Gemini CLI",
    "opencode": "opencode",
    "cline": "Cline",
    "continue": "Continue",
    "aider": "Aider",
    "cursor": "Cursor",
}
CUSTOM = "custom:"
_NAME_LIMIT = 64


class Key:
    """One setting: its type is that of its default; `choices` or `least`..`most` bound it."""

    __slots__ = ("choices", "default", "least", "meaning", "most")

    def __init__(
        self,
        default: Value,
        meaning: str,
        *,
        choices: tuple[str, ...] = (),
        least: int = 0,
        most: int = 1 << 40,
    ):
        self.default = default
        self.meaning = meaning
        self.choices = choices
        self.least = least
        self.most = most

    @property
    def kind(self) -> str:
        """The type in the user's words: boolean, integer or text."""
        return {bool: "boolean", int: "integer", str: "text"}[type(self.default)]

    def wants(self) -> str:
        """What fits, as an error's hint says it."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.kind == "integer":
            return f"a whole number from {self.least} to {self.most}"
        return "true or false" if self.kind == "boolean" else "a text"

    def fits(self, value: object) -> TypeGuard[Value]:
        """Whether a value read from a file has this key's type and bounds; `true` is no integer."""
        if type(value) is not type(self.default):
            return False
        if isinstance(value, int) and not isinstance(value, bool):
            return self.least <= value <= self.most
        return not self.choices or value in self.choices


KEYS: dict[str, Key] = {
    "shell.default": Key("", "The shell that `devtrace shell` starts; empty: your own ($SHELL)."),
    "shell.output": Key(True, "Whether the terminal output of commands is kept."),
    "shell.output_head": Key(65536, "Bytes kept from the start of a command's output."),
    "shell.output_tail": Key(65536, "Bytes kept from the end of a command's output."),
    "shell.exact": Key(False, "Whether bash keeps the newlines of multi-line commands (it sets lithist)."),
    "shell.private": Key(
        "mask",
        "What a command typed with a leading space leaves: mask (that it ran), text, or skip (nothing).",
        choices=("mask", "text", "skip"),
    ),
    "shell.nested": Key(
        "first",
        "Which commands of non-interactive shells inside a command are recorded.",
        choices=("first", "all", "off"),
    ),
    "shell.nested_limit": Key(200, "Nested commands kept of one parent process; the rest is counted."),
    "edits.enabled": Key(True, "Whether it is recorded what commands change in the working tree."),
    "edits.ignore": Key(
        "", "Paths whose changes are not recorded, as in a .gitignore, separated by blanks; over git's own."
    ),
    "edits.plain_files": Key(
        20_000, "Files up to which a directory that is no git repository is watched for changes."
    ),
    "checkpoints.file_kb": Key(
        1024, "KiB of a file up to which its content is kept; of a larger one its hash and size.", most=65_536
    ),
    "checkpoints.checkpoint_mb": Key(256, "MiB of contents that one checkpoint keeps."),
    "checkpoints.store_mb": Key(
        2048, "MiB of all checkpoints; beyond that no new contents are kept until `devtrace prune`."
    ),
    "checkpoints.keep_ref": Key(
        True,
        "Whether a ref in your repository, refs/devtrace/..., keeps the tree alive that checkpoints stand on;"
        " without it the tree is copied.",
    ),
    "limits.event_kb": Key(
        256, "KiB of text that one event keeps; what is longer loses its middle.", least=4, most=65_536
    ),
    "limits.session_mb": Key(
        512,
        "MiB of outputs that one session keeps; beyond that its commands are recorded without. 0: no limit.",
    ),
    "limits.store_mb": Key(
        4096,
        "MiB of the database beyond which no outputs are kept, and the oldest go when a session ends. 0: no"
        " limit.",
    ),
    "retention.days": Key(0, "Days after which the events of ended sessions are pruned; 0: never."),
    "retention.output_days": Key(
        0, "Days after which the outputs of ended sessions are pruned, and the events stay; 0: never."
    ),
    "retention.kinds": Key(
        "", "The same as retention.days for single kinds, such as `edit_files=90 note=0`; 0: never."
    ),
    "retention.keep_labelled": Key(
        True, "Whether sessions and snapshots with a label stay however old they are."
    ),
    "follow.poll_ms": Key(20, "Milliseconds between two looks of `log --follow`.", least=1, most=1000),
    "registry.enabled": Key(False, "Whether this store is listed in ~/.devtrace/ for `stats --global`."),
}


# Settings of which there may be many, each under a name of the user's: `policy.rules.ticket`.
FAMILIES: dict[str, Key] = {
    "policy.rules": Key(
        "", "What is a secret besides what is known to be one: a regular expression, its first group if any."
    ),
    "policy.allow": Key("", "What is no secret though a rule found it: a regular expression for all of it."),
}


class Config:
    """The settings in force: what was set, over the defaults."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Value] | None = None):
        self._values = dict(values or {})

    def get(self, key: str) -> Value:
        """The value of a key. Raises UsageError ERR_CONFIG_KEY for an unknown one."""
        return self._values.get(key, find_key(key).default)

    def flag(self, key: str) -> bool:
        """The value of a boolean key."""
        return bool(self.get(key))

    def number(self, key: str) -> int:
        """The value of an integer key."""
        return int(self.get(key))

    def text(self, key: str) -> str:
        """The value of a text key."""
        return str(self.get(key))

    def family(self, prefix: str) -> dict[str, str]:
        """The settings of a family by the names that the user gave them: those of `policy.rules`, ..."""
        start = prefix + "."
        return {key[len(start) :]: str(value) for key, value in self._values.items() if key.startswith(start)}

    @property
    def named(self) -> list[str]:
        """The keys of families that are set."""
        return sorted(key for key in self._values if key not in KEYS)

    def is_set(self, key: str) -> bool:
        """Whether config.toml names the key, be it with its default."""
        return key in self._values

    @classmethod
    def from_snapshot(cls, workspace: Workspace) -> Config:
        """The settings as the host wrote them for guests; the defaults where there is no snapshot."""
        try:
            text = snapshot_path(workspace).read_bytes()
        except OSError:
            return cls()
        import json

        try:
            values = json.loads(text)
        except ValueError:
            return cls()
        known = values if isinstance(values, dict) else {}
        return cls({str(key): value for key, value in known.items() if _fits(key, value)})


def load(workspace: Workspace) -> Config:
    """Read `config.toml`; the defaults where there is none.

    Raises UsageError ERR_CONFIG_KEY or ERR_CONFIG_VALUE, EnvironmentError where it cannot be read.
    """
    path = workspace.config
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Config()
    except OSError as error:
        raise from_os_error(error, path) from error
    return Config(_checked(_parsed(text, path), path))


def snapshot_path(workspace: Workspace) -> Path:
    """Where guests find the settings."""
    return workspace.run / "config.json"


def snapshot(workspace: Workspace, config: Config | None = None) -> None:
    """Write the settings for guests, whole or not at all, mode 0600.

    Raises what `load` raises, and EnvironmentError where `run/` cannot be written.
    """
    import json

    config = config or load(workspace)
    path = snapshot_path(workspace)
    draft = path.with_name(f".config.{os.getpid()}.json")
    content = json.dumps({key: config.get(key) for key in (*KEYS, *config.named)}).encode()
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        draft.replace(path)
    except OSError as error:
        raise from_os_error(error, path) from error


def find_key(key: str) -> Key:
    """The setting of that name. Raises UsageError ERR_CONFIG_KEY, with the likeliest name as its hint."""
    found = _spec(key)
    if found is None:
        raise _unknown_key(key)
    return found


def parse_value(key: str, text: str) -> Value:
    """A value as typed on a command line. Raises UsageError ERR_CONFIG_KEY or ERR_CONFIG_VALUE."""
    spec = find_key(key)
    value: Value | None = text
    if spec.kind == "boolean":
        value = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}.get(
            text.strip().lower()
        )
    elif spec.kind == "integer":
        digits = text.strip().replace("_", "")
        value = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None
    if value is None or not spec.fits(value):
        raise _unfit(key, spec, text)
    _check_text(key, value)
    return value


def pattern_fault(pattern: str) -> str:
    """Why a text cannot be a rule's regular expression, or ""."""
    import re

    try:
        found = re.compile(pattern.encode("utf-8", "surrogateescape"), re.MULTILINE)
    except (re.error, OverflowError, RecursionError) as error:
        return str(error)
    return "it matches an empty text, and so everywhere" if found.search(b"") else ""


def days_by_kind(text: str) -> dict[str, int]:
    """What `retention.kinds` says: `io=7 python_trace=30`; 0: of that kind nothing goes by its age.

    Raises UsageError ERR_CONFIG_VALUE.
    """
    days = {}
    for word in text.replace(",", " ").split():
        kind, equals, number = word.partition("=")
        if not kind or not equals or not (number.isascii() and number.isdigit()) or len(number) > 6:
            raise UsageError(
                f"{word!r} does not fit retention.kinds",
                code="ERR_CONFIG_VALUE",
                hint="write days by kind, such as run_command=90 note=3650",
                context={"key": "retention.kinds", "value": text},
            )
        days[kind] = int(number)
    return days


def parse_agent(text: str) -> str:
    """The agent's name as it is stored: one of `AGENTS`, or `custom:NAME`.

    NAME is 1 to 64 letters, digits, dots, dashes and underscores. Raises UsageError ERR_AGENT_UNKNOWN.
    """
    name = text.strip().lower()
    if name in AGENTS:
        return name
    label = text.strip()[len(CUSTOM) :]
    plain = label.replace("-", "").replace("_", "").replace(".", "")
    if name.startswith(CUSTOM) and plain.isascii() and plain.isalnum() and len(label) <= _NAME_LIMIT:
        return CUSTOM + label
    raise UsageError(
        f"unknown agent {text!r}",
        code="ERR_AGENT_UNKNOWN",
        hint=f"use one of {', '.join(AGENTS)}, or `custom:NAME` for any other",
        context={"agent": text, "known": list(AGENTS)},
    )


def actor_of(agent: str) -> str:
    """Who acts in a session of that agent: `human`, or `agent:<name>`."""
    return "human" if agent in ("", "manual") else f"agent:{agent}"


def _parsed(text: bytes, path: Path) -> dict[str, object]:
    import tomllib

    try:
        return tomllib.loads(text.decode("utf-8"))
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are both ValueErrors
        raise UsageError(
            f"{path} is no valid TOML: {error}",
            code="ERR_CONFIG_VALUE",
            hint="correct that line, or move the file away",
            context={"path": str(path)},
        ) from error


def _checked(tables: dict[str, object], path: Path) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for key, value in _flat(tables):
        spec = _spec(key)
        if spec is None:
            raise _unknown_key(key, path)
        if not spec.fits(value):
            raise _unfit(key, spec, value, path)
        _check_text(key, value, path)
        values[key] = value
    return values


def _flat(tables: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tables.items():
        if isinstance(value, dict) and (not prefix or prefix + name in FAMILIES):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _spec(key: str) -> Key | None:
    """The setting of that name, be it one of a family; None where there is none."""
    family, _, name = key.rpartition(".")
    is_plain = name.isascii() and name.islower() and name.replace("-", "").isalnum()
    return KEYS.get(key) or (FAMILIES.get(family) if is_plain and len(name) <= _NAME_LIMIT else None)


def _fits(key: object, value: object) -> TypeGuard[Value]:
    spec = _spec(key) if isinstance(key, str) else None
    return spec is not None and spec.fits(value)


def _check_text(key: str, value: Value, path: Path | None = None) -> None:
    """Raises UsageError ERR_CONFIG_VALUE for a rule that cannot be one, and for what says no days."""
    if key == "retention.kinds":
        days_by_kind(str(value))
    if key.rpartition(".")[0] not in FAMILIES:
        return
    if why := pattern_fault(str(value)) if value else "":
        raise UsageError(
            f"{value!r} cannot be used for {key}: {why}",
            code="ERR_CONFIG_VALUE",
            hint="see `re` in Python's documentation for what a regular expression may hold",
            context={"key": key, "value": str(value), "path": "" if path is None else str(path)},
        )


def _unknown_key(key: str, path: Path | None = None) -> UsageError:
    import difflib

    near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.5)
    where = "" if path is None else f" in {path}"
    return UsageError(
        f"unknown configuration key {key!r}{where}",
        code="ERR_CONFIG_KEY",
        hint=f"did you mean {near[0]}?" if near else "`devtrace config list` shows all keys",
        context={"key": key, "path": "" if path is None else str(path)},
    )


def _unfit(key: str, spec: Key, value: object, path: Path | None = None) -> UsageError:
    where = "" if path is None else f" in {path}"
    return UsageError(
        f"{value!r} does not fit {key}{where}",
        code="ERR_CONFIG_VALUE",
        hint=f"{key} takes {spec.wants()}",
        context={"key": key, "value": str(value), "path": "" if path is None else str(path)},
    )
