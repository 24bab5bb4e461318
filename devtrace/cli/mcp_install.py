"""devtrace mcp install, devtrace mcp uninstall, devtrace mcp serve --install

Lives here: what is said. Not here: which files, and what becomes of them (services/mcp_install.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from devtrace.errors import DevTraceError
    from devtrace.policy.chain import Policy
    from devtrace.services.mcp_install import Chosen, Done, Server

_FIRST_PORT = 8790  # of those proposed for servers that are reached by HTTP

Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[AGENT|FILE]...",
        help="An agent: its settings here and your own. Or a file. Default: all settings of this project.",
    ),
]
Servers = Annotated[
    list[str] | None,
    typer.Option("--server", metavar="NAME", help="Only that server; may be repeated. Default: all."),
]
Own = Annotated[bool, typer.Option("--user", help="Your own settings, of all agents, too.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change as a patch; write nothing.")]


def install(
    targets: Targets = None, server: Servers = None, user: Own = False, dry_run: DryRun = False
) -> None:
    """Put our proxy in front of the MCP servers that agents are set up with; again changes nothing.

    Where devtrace is missing or does not start, the servers start as before: a file may be shared. Your own
    settings (~/.claude.json, ~/.codex/config.toml, ...) change only where you name the agent, or with --user.
    Knows claude-code, codex, gemini, opencode, cursor and cline, and .vscode/mcp.json.

    \b
    Example:
      devtrace mcp install --dry-run
      devtrace mcp install claude-code --server github
    """
    import os

    from devtrace.cli.border import say
    from devtrace.services import mcp_install

    meant = mcp_install.chosen(targets or [], os.environ, own=user)
    home = os.environ.get("HOME", "")
    done = mcp_install.install(meant.configs, server or None, home=home, dry_run=dry_run)
    if dry_run:
        _show(done)
    else:
        for one in done:
            _tell_put(one)
        if not _changed(done):
            _tell_nothing(done)
    _tell_left(done, say if dry_run else _echo)  # stdout is the patch's
    if not dry_run:
        _tell_others(meant)
        _tell_git(meant, done)
    _raise_errors(done)
    if _changed(done) and not dry_run:
        _tell_use(done)


def uninstall(
    targets: Targets = None, server: Servers = None, user: Own = False, dry_run: DryRun = False
) -> None:
    """Take our proxy away again, and nothing else: every byte is as it was.

    \b
    Example:
      devtrace mcp uninstall
    """
    import os

    from devtrace.services import mcp_install

    meant = mcp_install.chosen(targets or [], os.environ, own=user)
    done = mcp_install.uninstall(meant.configs, server or None, dry_run=dry_run)
    if dry_run:
        _show(done)
    else:
        for one in done:
            _tell_taken(one, "our proxy")
        if not _changed(done) and not _errors(done):
            _echo("There is no proxy of ours; nothing was changed.")
        _tell_rest(meant)
    _raise_errors(done)
    if _changed(done) and not dry_run:
        _echo("Put it back with: devtrace mcp install")


def register(agent: str, *, dry_run: bool = False) -> None:
    """What `devtrace mcp serve --install AGENT` does."""
    import os

    from devtrace.cli.settings_files import tell_of_store
    from devtrace.config import AGENTS
    from devtrace.services import agents, mcp_install

    done = mcp_install.register(agent, os.environ, dry_run=dry_run)
    if dry_run:
        _show([done])
        return
    file, title = done.config.shown, AGENTS[done.config.agent]
    if done.change is None:
        _echo(f"{title} has our server already, in {file}; nothing was changed.")
    else:
        _echo(f"Added our server to {file}{'' if done.change.before is not None else ', a new file'}.")
        _tell_backup(done)
        if not done.config.is_user:
            _git_of(agents.place(), [done], "whoever pulls that gets our server too")
    if done.config.is_user:
        _echo("It answers for this project: the file is one for all of yours.")
    if done.config.agent == "codex":
        _echo("Codex reads it only in projects that it trusts: start it here once, and say that it may.")
    tell_of_store(f"{title} can ask it from its next start on.")


def unregister(agent: str, *, dry_run: bool = False) -> None:
    """What `devtrace mcp serve --uninstall AGENT` does."""
    import os

    from devtrace.services import mcp_install

    done = mcp_install.unregister(agent, os.environ, dry_run=dry_run)
    if dry_run:
        _show(done)
        return
    for one in done:
        _tell_taken(one, "our server")
    if not done:
        _echo("Our server is not there; nothing was changed.")


# --- what was done ----------------------------------------------------------------------------------------


def _echo(text: str) -> None:
    """Names in a repository's files are anybody's."""
    from devtrace.views.safe import safe

    typer.echo(safe(text))


def _changed(done: Iterable[Done]) -> list[Done]:
    return [one for one in done if one.change is not None]


def _errors(done: Iterable[Done]) -> list[DevTraceError]:
    return [one.error for one in done if one.error is not None]


def _raise_errors(done: Iterable[Done]) -> None:
    """The last as the command's own, those before it as they are."""
    from devtrace.cli.border import tell

    *others, last = [None, *_errors(done)]
    for error in others:
        if error is not None:
            tell(error)
    if last is not None:
        raise last


def _show(done: Iterable[Done]) -> None:
    from devtrace.cli.settings_files import show_patches
    from devtrace.services.mcp_install import shown
    from devtrace.views.hooks import patched

    policy = _policy()
    show_patches([patched(one.config.shown, *shown(one, policy)) for one in _changed(done)])


def _policy() -> Policy:
    import os

    from devtrace.cli.settings_files import store
    from devtrace.policy.chain import Policy
    from devtrace.services.redaction import redaction

    workspace = store()
    return redaction(workspace, os.environ) if workspace else Policy.for_session(os.environ, None)


def _tell_put(done: Done) -> None:
    for became, words in (
        ("put", "Put our proxy in front of"),
        ("renewed", "Set right our proxy in front of"),
    ):
        if names := _names(done, became):
            _echo(f"{words} {names} in {done.config.shown}.")
    _tell_backup(done)


def _tell_backup(done: Done) -> None:
    from devtrace.services.mcp_install import written_at
    from devtrace.services.settings_files import BACKUP

    if done.change is not None and done.change.backup == "made":
        _echo(f"What it held before is kept in {written_at(done.config)}{BACKUP}.")


def _tell_taken(done: Done, what: str) -> None:
    from devtrace.services.mcp_install import written_at
    from devtrace.services.settings_files import BACKUP

    if done.change is None:
        return
    file, backup = done.config.shown, written_at(done.config) + BACKUP
    if done.change.after is None:
        _echo(f"Removed {file}: nothing but {what} was in it.")
    elif done.change.before != done.change.after:
        names = _names(done, "taken")
        _echo(f"Took {what} away from {names} in {file}." if names else f"Took {what} out of {file}.")
    if done.change.backup == "removed":
        _echo(f"It is as it was before, so {backup} was removed.")
    elif done.change.backup == "kept":
        _echo(f"Something else was changed in it too: {backup} stays.")


def _names(done: Done, *became: str) -> str:
    return _listed([_name(one) for one in done.servers if one.became in became])


def _name(server: Server) -> str:
    return (
        server.name if not server.scope.startswith("project ") else f"{server.name} (of this project alone)"
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _tell_nothing(done: Sequence[Done]) -> None:
    if any(one.became == "proxied" for file in done for one in file.servers):
        _echo("Our proxy is in place already; nothing was changed.")
    elif not any(file.servers or file.error for file in done):
        looked = _listed([one.config.shown for one in done])
        where = f"in {looked}" if looked else "in the settings of this project"
        _echo(f"No MCP server is configured {where}; nothing was changed.")


def _tell_left(done: Iterable[Done], tell: Callable[[str], None]) -> None:
    """What cannot be put behind a command, and what can be done about it."""
    port = _FIRST_PORT
    for file in done:
        for server in file.servers:
            if server.became == "odd":
                tell(f"Left {_name(server)} in {file.config.shown} as it is: {server.told}.")
            elif server.became == "remote":
                for line in _about_remote(file.config.shown, server, port):
                    tell(line)
                port += 1


def _about_remote(file: str, server: Server, port: int) -> Iterator[str]:
    import shlex

    from devtrace.errors import DevTraceError
    from devtrace.sources.mcp import address

    try:
        url, path = address.public(server.told), address.parse(server.told).path
        url, path = _policy().redact_text(url), _policy().redact_text(path)
    except DevTraceError:  # made of variables, which only its client knows
        url, path = "URL", ""
    words = ["devtrace", "mcp", "proxy", "--name", server.name, "--url", url, "--port", str(port)]
    yield f"Left {_name(server)} in {file} as it is: it is reached by HTTP. To record it, keep this running,"
    yield f"  {shlex.join(words)}"
    yield f"and put http://127.0.0.1:{port}{path} in the place of its URL there."
    if url != server.told:
        yield f"Its URL is not told in full here: write it as it stands in {file}."


def _tell_others(meant: Chosen) -> None:
    """The user's own servers, which nobody asked for."""
    from devtrace.services import mcp_install

    open_ones = [
        one.config.shown
        for one in mcp_install.standing(meant.others)
        if any(server.became == "plain" for server in one.servers)
    ]
    if open_ones:
        _echo(f"Your own servers in {_listed(open_ones)} were left alone: add --user, or name the agent.")


def _tell_rest(meant: Chosen) -> None:
    from devtrace.services import mcp_install

    still = [
        one.config.shown
        for one in mcp_install.standing(meant.others)
        if any(server.became == "proxied" for server in one.servers)
    ]
    if still:
        _echo(f"It is still in {_listed(still)}: add --user, or name the agent.")


def _tell_git(meant: Chosen, done: Iterable[Done]) -> None:
    elsewhere = "whoever pulls that gets our proxy where devtrace is on PATH, else the servers as they were"
    if meant.root is not None:
        _git_of(meant.root, [one for one in _changed(done) if one.config.root == meant.root], elsewhere)


def _git_of(root: Path, changed: Sequence[Done], elsewhere: str) -> None:
    from devtrace.cli.settings_files import tell_of_git
    from devtrace.services.settings_files import BACKUP, tracked

    paths = [one.config.path for one in changed]
    if shared := tracked(root, paths):
        _echo(f"Git tracks {_listed(shared)}: {elsewhere}.")
    backups = [one.config.path + BACKUP for one in changed if one.change and one.change.backup == "made"]
    tell_of_git(root, [*(path for path in paths if path not in shared), *backups])


def _tell_use(done: Iterable[Done]) -> None:
    from devtrace.cli.settings_files import tell_of_store
    from devtrace.config import AGENTS

    titles = list(dict.fromkeys(AGENTS[one.config.agent] for one in _changed(done) if one.config.agent))
    _echo(f"{_listed(titles) or 'What uses it'} will be heard from the next start on.")
    tell_of_store("See the calls with: devtrace log --kind mcp_call")
