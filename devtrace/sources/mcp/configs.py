"""A settings file with servers, with our proxy in front of them and without. Text in, text out.

Each change is read again before it is handed out: the servers that were meant have it, nothing else differs,
and the file is still what its client reads.

Lives here: `servers`, `with_proxies`, `without_proxies`, `with_own_server`, `without_own_server`, `masked`.
Not here: which file (clients.py), which words (wrapping.py), reading and writing (services/mcp_install.py).
Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from devtrace.errors import EnvironmentError
from devtrace.sources.mcp import configs_json, configs_toml, wrapping
from devtrace.sources.mcp.clients import Config
from devtrace.sources.mcp.entries import Encode, Entry, Splice, renewed, spliced, with_proxy, without_proxy

OWN_NAME = "devtrace"
OWN_WORDS = ("mcp", "serve")
_MASK = "[redacted:settings]"
_SCHEMA = {"$schema": "https://opencode.ai/config.json"}


class Form(NamedTuple):
    """How a file is written."""

    checked: Callable[[str], None]
    entries: Callable[[str, dict[str, tuple[str, ...]]], list[Entry]]
    encode: Encode


_JSON = Form(configs_json.checked, configs_json.entries, configs_json.encode)
_TOML = Form(configs_toml.checked, configs_toml.entries, configs_toml.encode)


def servers(config: Config, text: str) -> list[Entry]:
    """The servers in the file. Raises EnvironmentError ERR_MCP_CONFIG_FILE, as all here do."""
    form = _form(config)
    try:
        form.checked(text)
    except ValueError as error:
        raise _error(config, str(error), "put it right by hand") from error
    return form.entries(text, config.lists)


def with_proxies(config: Config, text: str, run: str, wanted: Collection[str] | None) -> str:
    """With our proxy in front of these servers, None: of all that a proxy can start. `run`: its script."""
    encode = _form(config).encode
    before = servers(config, text)
    chosen = [one for one in before if _is_wanted(one, wanted) and one.standing.kind in _WITH]
    splices = [splice for one in chosen for splice in with_proxy(text, one, run, encode)]
    return _sound(config, text, before, splices, {_key(one) for one in chosen}, wrapping.PROXIED)


def without_proxies(config: Config, text: str, wanted: Collection[str] | None) -> str:
    """Without it: byte for byte what stood there before."""
    before = servers(config, text)
    chosen = [one for one in before if _is_wanted(one, wanted) and one.standing.kind == wrapping.PROXIED]
    splices = [splice for one in chosen for splice in without_proxy(text, one)]
    return _sound(config, text, before, splices, {_key(one) for one in chosen}, None)


_WITH = (wrapping.PLAIN, wrapping.PROXIED)


def _form(config: Config) -> Form:
    return _TOML if config.is_toml else _JSON


def _is_wanted(entry: Entry, wanted: Collection[str] | None) -> bool:
    return wanted is None or entry.name in wanted


def _key(entry: Entry) -> tuple[str, str]:
    return entry.scope, entry.name


def _sound(
    config: Config,
    text: str,
    before: list[Entry],
    splices: list[Splice],
    changed: set[tuple[str, str]],
    kind: str | None,
) -> str:
    """The changed text, if it is sure that it says what it should."""
    if not splices:
        return text
    new = spliced(text, splices)
    after = servers(config, new)
    is_sound = list(map(_key, before)) == list(map(_key, after))
    for old, one in zip(before, after, strict=False):
        if _key(one) not in changed:
            is_sound &= one.fields == old.fields
        else:
            is_sound &= _rest(one) == _rest(old) and one.words[_own(one) :] == old.words[_own(old) :]
            is_sound &= (one.standing.kind == wrapping.PROXIED) is (kind == wrapping.PROXIED)
    if not is_sound:
        raise _error(config, "cannot be changed without harm", "change it by hand, as --dry-run shows others")
    return new


def _own(entry: Entry) -> int:
    return wrapping.prefix(entry.words)


def _rest(entry: Entry) -> dict[str, Any]:
    return {name: value for name, value in entry.fields.items() if name not in ("command", "args")}


def _error(config: Config, why: str, hint: str) -> EnvironmentError:
    return EnvironmentError(
        f"{config.shown} {why}",
        code="ERR_MCP_CONFIG_FILE",
        hint=f"{hint}; it was left as it is",
        context={"path": config.shown},
    )


def masked(config: Config, text: str) -> str:
    """For a screen: without the values of variables and headers, and what is secret in a URL."""
    spans = {span for one in servers(config, text) for span in one.secrets}
    return spliced(text, [(*span, _MASK) for span in spans])


# --- our own server -----------------------------------------------------------------------------------------


def own_server(config: Config, text: str) -> Entry | None:
    """What goes by our server's name there, if anything does."""
    scopes = [scope for scope in config.lists if not scope]
    return next((one for one in servers(config, text) if one.name == OWN_NAME and one.scope in scopes), None)


def with_own_server(
    config: Config, text: str | None, program: Sequence[str], beside: dict[str, Any] | None = None
) -> str:
    """With `devtrace mcp serve` as a server; the words of one that is there are set right.

    `program`: the words that start devtrace. `beside`: more fields of a new entry.
    """
    there = None if text is None else own_server(config, text)
    words = [*program, *OWN_WORDS]
    if there is None or text is None:
        return _with_new(config, text, {**_entry(config, words), **(beside or {})})
    count = _length_of_ours(config, there)
    new = spliced(text, renewed(text, there, count, words, _form(config).encode))
    servers(config, new)
    return new


def _with_new(config: Config, text: str | None, entry: dict[str, Any]) -> str:
    if text is not None:
        servers(config, text)
    try:
        if config.is_toml:
            new = configs_toml.with_server(text, OWN_NAME, entry)
        else:
            names = _list_of(config, text or "")
            new = configs_json.with_server(text, names, OWN_NAME, entry, _beside(config))
    except ValueError as error:
        raise _error(config, str(error), "put it right by hand") from error
    servers(config, new)
    return new


def _list_of(config: Config, text: str) -> tuple[str, ...]:
    """opencode keeps its servers below "servers" from its second version on."""
    names = config.lists[""]
    return configs_json.deeper(text, names) if names == ("mcp",) else names


def _beside(config: Config) -> dict[str, Any]:
    return _SCHEMA if config.lists[""] == ("mcp",) else {}


def _entry(config: Config, words: list[str]) -> dict[str, Any]:
    if config.lists[""] == ("mcp",):
        return {"type": "local", "command": words}
    return {"command": words[0], "args": words[1:]}


def _length_of_ours(config: Config, entry: Entry) -> int:
    """How many of its words start our server; the user may have put more behind them."""
    words = entry.words
    if entry.standing.kind != wrapping.OURS or OWN_WORDS[1] not in words:
        why = f'has another server called "{OWN_NAME}"'
        raise _error(config, why, "give it another name")
    return words.index(OWN_WORDS[1]) + 1


def without_own_server(config: Config, text: str) -> str | None:
    """Without it; None: nothing else was in the file."""
    there = own_server(config, text)
    if there is None:
        return text
    _length_of_ours(config, there)
    before = [one for one in servers(config, text) if one.name != OWN_NAME]
    try:
        if config.is_toml:
            rest = configs_toml.without_server(text, OWN_NAME)
        else:
            rest = configs_json.without_server(text, _list_of(config, text), OWN_NAME, _beside(config))
        after = [] if rest is None else servers(config, rest)
    except ValueError as error:
        raise _error(config, str(error), "take it out by hand") from error
    if [(one.name, one.fields) for one in before] != [(one.name, one.fields) for one in after]:
        raise _error(config, f'cannot lose "{OWN_NAME}" without harm', "take it out by hand")
    return rest
