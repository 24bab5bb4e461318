"""Our proxy in front of the servers that agents are configured with: put in, taken out; our own server too.

A person's own settings are changed when he names the agent or asks for them, and never because a command was
run in some repository. One file that cannot be changed does not keep the others from it.

Lives here: `chosen`, `install`, `uninstall`, `standing`, `register`, `unregister`, `shown`. Not here: what
becomes of a file's text (sources/mcp/configs.py), writing it (settings_files.py), telling of it
(cli/mcp_install.py).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from devtrace.config import parse_agent
from devtrace.errors import DevTraceError, EnvironmentError, TargetError, UsageError
from devtrace.policy.chain import Policy
from devtrace.services.agents import place
from devtrace.services.settings_files import Change, Terms, carried_out, with_ours, without_ours
from devtrace.sources.agents.hookfiles import HookFile
from devtrace.sources.mcp import clients, configs, wrapping
from devtrace.sources.mcp.clients import Config
from devtrace.sources.mcp.entries import Entry

_NEEDED = "import devtrace.cli.mcp_proxy"
_PATH_PROGRAM = "devtrace"
_MAKE = Callable[[Config], HookFile]


class Chosen(NamedTuple):
    """Which files are meant."""

    root: Path | None  # the repository; None: we are in none
    configs: list[Config]
    others: list[Config]  # the user's own that nobody asked for


class Server(NamedTuple):
    """One server of a file, and what became of it."""

    name: str
    scope: str
    became: str  # "put", "renewed", "taken", or as it was: "proxied", "ours", "remote", "odd", "plain"
    told: str  # of a remote one its URL, of an odd one why it was left


class Done(NamedTuple):
    """One file that is there."""

    config: Config
    change: Change | None  # None: nothing changes
    servers: list[Server]
    error: DevTraceError | None = None


# --- which files ------------------------------------------------------------------------------------------


def chosen(targets: Sequence[str], environ: Mapping[str, str], *, own: bool = False) -> Chosen:
    """The files that agents and paths name; without any, those of the project, and with `own` the user's.

    Raises UsageError ERR_AGENT_UNKNOWN or ERR_MCP_CONFIG_NONE, EnvironmentError ERR_FILE_UNREADABLE or, where
    nothing is named and there is no project, ERR_STORE_MISSING.
    """
    root = _root(is_needed=not targets and not own)
    in_project = clients.project(root) if root else []
    users = clients.user(environ, root)
    if targets:
        found = [one for target in targets for one in _of_target(target, [*in_project, *users])]
    else:
        found = [*in_project, *(users if own else ())]
    files = {os.path.realpath(one.file): one for one in reversed(found)}
    unasked = [one for one in users if os.path.realpath(one.file) not in files]
    return Chosen(root, [*files.values()][::-1], [] if targets else unasked)


def _root(*, is_needed: bool) -> Path | None:
    try:
        return place()
    except DevTraceError:
        if is_needed:
            raise
        return None


def _of_target(target: str, known: list[Config]) -> list[Config]:
    try:
        agent = parse_agent(target)
    except UsageError as error:
        if "/" in target or "." in target or Path(target).exists():
            return [_of_file(target, known)]
        error.hint += ", or a file"
        raise
    if agent not in clients.AGENTS:
        raise _unknown_config(agent)
    return [one for one in known if one.agent == agent]


def _unknown_config(agent: str) -> UsageError:
    return UsageError(
        f"no MCP configuration of {agent} is known",
        code="ERR_MCP_CONFIG_NONE",
        hint=f"use one of {', '.join(clients.AGENTS)}, or name the file",
        context={"agent": agent},
    )


def _of_file(path: str, known: list[Config]) -> Config:
    file = Path(path)
    if not file.is_file():
        raise EnvironmentError(
            f"{path} is no file", code="ERR_FILE_UNREADABLE", hint="name one that is there, or an agent"
        )
    same = (one for one in known if os.path.realpath(one.file) == os.path.realpath(file))
    return next(same, None) or clients.named_file(file)


# --- in and out -------------------------------------------------------------------------------------------


def install(
    configs_meant: Iterable[Config], names: Collection[str] | None, *, home: str, dry_run: bool = False
) -> list[Done]:
    """Put our proxy in front of the servers of these names, None: of all; the files that are there.

    Raises UsageError ERR_MCP_SERVER_UNKNOWN, TargetError ERR_TARGET_START; what is wrong with one file is
    told with it.
    """
    run = wrapping.script(program(), home)

    def made(config: Config) -> HookFile:
        return HookFile(
            config.path,
            lambda text: configs.with_proxies(config, text or "", run, names),
            lambda text: configs.without_proxies(config, text, names),
            lambda text: _ours(config, text),
        )

    return _all_done(configs_meant, names, made, with_ours, dry_run=dry_run)


def uninstall(
    configs_meant: Iterable[Config], names: Collection[str] | None, *, dry_run: bool = False
) -> list[Done]:
    """Take it away again, and nothing else. Raises as `install` does."""

    def made(config: Config) -> HookFile:
        return HookFile(
            config.path,
            # What a backup would be with ours again, whoever's it was: only whether it goes away matters.
            lambda text: configs.with_proxies(config, text or "", wrapping.script([], ""), names),
            lambda text: configs.without_proxies(config, text, names),
            lambda text: _ours(config, text),
        )

    return _all_done(configs_meant, names, made, without_ours, dry_run=dry_run)


def standing(meant: Iterable[Config]) -> list[Done]:
    """The files that are there, as they are."""
    return [_looked_at(one) for one in meant if one.file.is_file()]


_Plan = Callable[[Path, HookFile, Terms], Change]


def _all_done(
    meant: Iterable[Config], names: Collection[str] | None, made: _MAKE, plan: _Plan, *, dry_run: bool
) -> list[Done]:
    """All are looked at before one is written."""
    planned = [_planned(one, made, plan) for one in meant if os.path.lexists(one.file)]
    if names is not None:
        _check_names(names, planned)
        planned = [one._replace(servers=[s for s in one.servers if s.name in names]) for one in planned]
    return [_carried_out(done, dry_run=dry_run) for done in planned]


def _check_names(names: Collection[str], planned: list[Done]) -> None:
    known = sorted({server.name for done in planned for server in done.servers})
    unknown = sorted(set(names) - set(known))
    if unknown and not any(done.error for done in planned):  # it may be in a file that cannot be read
        raise UsageError(
            f"no server is called {unknown[0]!r}",
            code="ERR_MCP_SERVER_UNKNOWN",
            hint=f"use one of {', '.join(known)}" if known else "there is none in the files that are meant",
            context={"unknown": unknown, "known": known},
        )


def _planned(config: Config, made: _MAKE, plan: _Plan) -> Done:
    try:
        change = plan(config.root, made(config), _terms(config))
        pairs = zip(_servers(config, change.before), _servers(config, change.after), strict=True)
        return Done(config, change, [_server(old, new) for old, new in pairs])
    except DevTraceError as error:
        return Done(config, None, [], error)


def _looked_at(config: Config) -> Done:
    try:
        data = config.file.read_bytes()
        return Done(config, None, [_server(one, one) for one in _servers(config, data)])
    except DevTraceError as error:
        return Done(config, None, [], error)
    except (OSError, UnicodeDecodeError):  # nobody asked for it: then there is nothing to say of it
        return Done(config, None, [])


def _servers(config: Config, data: bytes | None) -> list[Entry]:
    return [] if data is None else configs.servers(config, data.decode())


def _server(old: Entry, new: Entry) -> Server:
    became, told = old.standing
    if old.words != new.words and new.standing.kind != wrapping.PROXIED:
        became = "taken"
    elif old.words != new.words:
        became = "renewed" if became == wrapping.PROXIED else "put"
    return Server(old.name, old.scope, became, told)


def _carried_out(done: Done, *, dry_run: bool) -> Done:
    if done.change is None:
        return done
    terms = _terms(done.config)
    try:
        changes = carried_out(done.config.root, [done.change], terms, dry_run=dry_run)
    except DevTraceError as error:
        return done._replace(change=None, error=error)
    return done._replace(change=changes[0] if changes else None)


def _terms(config: Config) -> Terms:
    root = "its folder" if config.is_user else "the repository"
    folder = written_at(config).removesuffix(config.path)
    return Terms("ERR_MCP_CONFIG_FILE", "ERR_MCP_CONFIG_PATH", "ERR_MCP_CONFIG_WRITE", root, folder)


def written_at(config: Config) -> str:
    """The file as people write it; of a link, where it leads."""
    return config.shown if config.shown.endswith(config.path) else str(config.file)


def _ours(config: Config, text: str) -> dict[str, str]:
    """What of ours is in a file: servers with our proxy, and our own."""
    kinds = (wrapping.PROXIED, wrapping.OURS)
    found = [one for one in configs.servers(config, text) if one.standing.kind in kinds]
    return {f"{one.scope} {one.name}": shlex.join(one.words) for one in found}


# --- our own server ---------------------------------------------------------------------------------------


def register(name: str, environ: Mapping[str, str], *, dry_run: bool = False) -> Done:
    """Add `devtrace mcp serve` to an agent's servers: in the project, else where the agent has none there.

    Raises UsageError ERR_AGENT_UNKNOWN or ERR_MCP_CONFIG_NONE, EnvironmentError ERR_STORE_MISSING or one that
    is the file's, TargetError ERR_TARGET_START.
    """
    agent, root = parse_agent(name), place()
    config = clients.for_own_server(agent, root, environ)
    if config is None:
        raise _unknown_config(agent)
    return _done_with(config, _with_own(config, root, environ), with_ours, dry_run=dry_run)


def unregister(name: str, environ: Mapping[str, str], *, dry_run: bool = False) -> list[Done]:
    """Take it out of every file of the agent. Raises as `register` does."""
    agent, root = parse_agent(name), place()
    if agent not in clients.AGENTS:
        raise _unknown_config(agent)
    known = [*clients.project(root), *clients.user(environ, root)]
    meant = [one for one in known if one.agent == agent and one.file.is_file()]
    done = [
        _done_with(one, _with_own(one, root, environ), without_ours, dry_run=dry_run)
        for one in meant
        if any(server.name == configs.OWN_NAME for server in _looked_at(one).servers)
    ]
    return [one for one in done if one.change is not None]


def _with_own(config: Config, root: Path, environ: Mapping[str, str]) -> HookFile:
    def merge(text: str | None) -> str:
        there = None if text is None else configs.own_server(config, text)
        beside = {"cwd": str(root)} if config.is_user else {}  # it answers for one project
        if there is not None and text is not None and there.standing.kind == wrapping.OURS:
            if all(there.fields.get(field, value) == value for field, value in beside.items()):
                if shutil.which(there.words[0], path=environ.get("PATH")):
                    return text
            else:
                text = configs.without_own_server(config, text)
        return configs.with_own_server(config, text, _serving(config, environ), beside)

    return HookFile(
        config.path,
        merge,
        lambda text: configs.without_own_server(config, text),
        lambda text: _ours(config, text),
    )


def _done_with(config: Config, file: HookFile, plan: _Plan, *, dry_run: bool) -> Done:
    change = plan(config.root, file, _terms(config))
    changes = carried_out(config.root, [change], _terms(config), dry_run=dry_run)
    return Done(config, changes[0] if changes else None, [])


def _serving(config: Config, environ: Mapping[str, str]) -> list[str]:
    """The words that start devtrace: by its name where a project is shared, and PATH has it everywhere."""
    found = shutil.which(_PATH_PROGRAM, path=environ.get("PATH"))
    in_venv = sys.prefix != sys.base_prefix and found and Path(found).parent == Path(sys.executable).parent
    if not config.is_user and found and not in_venv:
        return [_PATH_PROGRAM]
    return program() or [_PATH_PROGRAM]


def program() -> list[str]:
    """The words that start this devtrace from anywhere; none where only PATH has one that starts.

    Without the variables and the directory of who starts it: a server's PYTHONPATH is for the server. Raises
    TargetError ERR_TARGET_START.
    """
    words = [sys.executable, "-E", "-P"]
    try:
        done = subprocess.run([*words, "-c", _NEEDED], cwd="/", capture_output=True, check=False, timeout=60)
        starts = done.returncode == 0
    except (OSError, subprocess.SubprocessError):
        starts = False
    if starts:
        return [*words, "-m", "devtrace"]
    if shutil.which(_PATH_PROGRAM):
        return []
    raise TargetError(
        f"{sys.executable} does not find devtrace when somebody else starts it",
        code="ERR_TARGET_START",
        hint="install devtrace, as with `pipx install devtrace-shell`",
        context={"python": sys.executable},
    )


# --- for a screen -----------------------------------------------------------------------------------------


def shown(done: Done, policy: Policy) -> tuple[bytes | None, bytes | None]:
    """The file before and after, without what is nobody's business: variables, headers, secrets."""
    if done.change is None:
        return None, None
    for data in (done.change.before, done.change.after):
        for entry in _servers(done.config, data):
            policy.learn(_found(policy, shlex.join(entry.words)))
    return _shown(done, done.change.before, policy), _shown(done, done.change.after, policy)


def _found(policy: Policy, line: str) -> list[bytes]:
    """The secrets of a command line, which in a list of words nobody would know."""
    data = line.encode("utf-8", "replace")
    try:
        return [data[one.start : one.end] for one in policy.find(data)]
    except Exception:  # a rule failed: then the redaction of the text withholds it
        return []


def _shown(done: Done, data: bytes | None, policy: Policy) -> bytes | None:
    if data is None:
        return None
    return policy.redact_text(configs.masked(done.config, data.decode())).encode("utf-8", "surrogateescape")
