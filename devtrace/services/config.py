"""config: read and change the settings of a store; comments and order of config.toml survive.

Lives here: get, set, list. Not here: the keys and what they mean (devtrace/config.py).
"""

from __future__ import annotations

import fcntl
import os
from typing import Any, NamedTuple

from devtrace.config import KEYS, Value, days_by_kind, find_key, load, parse_value, snapshot
from devtrace.errors import UsageError
from devtrace.store import registry
from devtrace.workspace import Workspace, from_os_error

__all__ = ["Setting", "get", "list_settings", "load", "set_value"]


class Setting(NamedTuple):
    """One key and what is in force."""

    key: str
    value: Value
    default: Value
    is_set: bool
    meaning: str


def get(workspace: Workspace, key: str) -> Setting:
    """One setting. Raises UsageError ERR_CONFIG_KEY or ERR_CONFIG_VALUE."""
    spec, config = find_key(key), load(workspace)
    return Setting(key, config.get(key), spec.default, config.is_set(key), spec.meaning)


def list_settings(workspace: Workspace) -> list[Setting]:
    """All settings in the order of the table, then those of the families that are set.

    Raises UsageError ERR_CONFIG_KEY or ERR_CONFIG_VALUE.
    """
    config = load(workspace)
    return [
        Setting(key, config.get(key), spec.default, config.is_set(key), spec.meaning)
        for key, spec in ((key, find_key(key)) for key in (*KEYS, *config.named))
    ]


def set_value(workspace: Workspace, key: str, text: str) -> Setting:
    """Change one setting, and what hangs on it: the guests' snapshot, the list of stores.

    Raises UsageError ERR_CONFIG_KEY or ERR_CONFIG_VALUE, EnvironmentError where nothing can be written.
    """
    value = parse_value(key, text)
    if key == "retention.kinds":
        _must_be_kinds(text)
    try:
        with workspace.lock.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            load(workspace)  # a broken file is reported, never overwritten
            _write(workspace, key, value)
    except OSError as error:
        raise from_os_error(error, workspace.config) from error
    snapshot(workspace)
    if key == "registry.enabled":
        (registry.register if value else registry.unregister)(workspace)
    return get(workspace, key)


def _must_be_kinds(text: str) -> None:
    """One that is mistyped would keep for ever what was to go."""
    from devtrace.events import KINDS

    for kind in days_by_kind(text):
        if kind not in KINDS:
            raise UsageError(
                f"there is no kind {kind!r}",
                code="ERR_CONFIG_VALUE",
                hint=f"the kinds are {', '.join(sorted(KINDS))}",
                context={"key": "retention.kinds", "value": text},
            )


def _write(workspace: Workspace, key: str, value: Value) -> None:
    import tomlkit

    path = workspace.config
    document = tomlkit.parse(path.read_text(encoding="utf-8") if path.exists() else "")
    *tables, name = key.split(".")
    section: Any = document
    for table in tables:
        if table not in section:
            section[table] = tomlkit.table()
        section = section[table]
    section[name] = value
    draft = path.with_name(f".config.{os.getpid()}.toml")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(tomlkit.dumps(document))
    draft.replace(path)
