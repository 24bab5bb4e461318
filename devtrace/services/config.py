"""config: read and change the settings of a store; comments and order of config.toml survive.

Lives here: get, set, list. Not here: the keys and what they mean (devtrace/config.py).
"""

from __future__ import annotations

import fcntl
import os
from typing import Any, NamedTuple

from devtrace.config import KEYS, Value, find_key, load, parse_value, snapshot
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
    """All settings in the order of the table. Raises UsageError ERR_CONFIG_KEY or ERR_CONFIG_VALUE."""
    config = load(workspace)
    return [
        Setting(key, config.get(key), spec.default, config.is_set(key), spec.meaning)
        for key, spec in KEYS.items()
    ]


def set_value(workspace: Workspace, key: str, text: str) -> Setting:
    """Change one setting, and what hangs on it: the guests' snapshot, the list of stores.

    Raises UsageError ERR_CONFIG_KEY or ERR_CONFIG_VALUE, EnvironmentError where nothing can be written.
    """
    value = parse_value(key, text)
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


def _write(workspace: Workspace, key: str, value: Value) -> None:
    import tomlkit

    path = workspace.config
    document = tomlkit.parse(path.read_text(encoding="utf-8") if path.exists() else "")
    table, _, name = key.partition(".")
    if table not in document:
        document[table] = tomlkit.table()
    section: Any = document[table]
    section[name] = value
    draft = path.with_name(f".config.{os.getpid()}.toml")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(tomlkit.dumps(document))
    draft.replace(path)
