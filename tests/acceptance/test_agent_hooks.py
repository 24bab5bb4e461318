"""Our own hook in an agent's shell is no command of the agent's, and nothing else can pass for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devtrace.services import agent_hook
from tests.acceptance.hosts import SHELL, Place
from tests.processes import environment

HOOK = f"{sys.executable} -I -S {agent_hook.__file__} codex Stop"
CLIENT = """
import json, subprocess, sys
for words in json.load(open("orders.json")):
    subprocess.run(words, input=b"{}", stdout=subprocess.DEVNULL)
"""


def nested(
    place: Place, shell: str, *commands: str, client: str = CLIENT, env: dict[str, str] | None = None
) -> list[str]:
    """What is recorded of a client that runs these in shells of its own; which end is heard first is open."""
    place.devtrace("init")
    (place.root / "client.py").write_text(client)
    (place.root / "orders.json").write_text(json.dumps([[shell, "-c", command] for command in commands]))
    run = [*SHELL[:3], "run", "--agent", "codex", "--", sys.executable, "client.py"]
    subprocess.run(run, cwd=place.root, env=env or environment(), check=True, timeout=60)
    return sorted(str(one.command) for one in place.commands(depth=1))


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_our_hook_alone_is_left_out(tmp_path: Path, needs: Callable[..., None], shell: str) -> None:
    needs(shell)

    assert nested(Place(tmp_path / "repo"), shell, HOOK, f"{HOOK} || true", "true beside") == ["true beside"]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_what_only_names_it_is_recorded(tmp_path: Path, needs: Callable[..., None], shell: str) -> None:
    needs(shell)
    hiding = [
        f"touch x # {HOOK}",
        f"{HOOK}; touch y",
        f"{HOOK} && touch z",
        f"{HOOK} || true; touch w",
        f"{HOOK} $(touch v)",
        "cat devtrace/services/agent_hook.py; touch u",
    ]

    assert nested(Place(tmp_path / "repo"), shell, *hiding) == sorted(hiding)


SOCKETS = """
import json, socket, subprocess
for words in json.load(open("orders.json")):
    ours, theirs = socket.socketpair()
    subprocess.run(words, stdin=theirs, stdout=subprocess.DEVNULL)
"""


@pytest.mark.parametrize("level", [None, "0", "1", "7", "x"])
def test_a_shell_whose_stdin_is_a_socket_is_recorded_at_any_level(
    tmp_path: Path, needs: Callable[..., None], level: str | None
) -> None:
    """As clients on Node give it; bash would take itself for a remote one, and read no BASH_ENV."""
    needs("bash")
    place = Place(tmp_path / "repo")
    own = environment()
    own.pop("SHLVL", None)
    own |= {} if level is None else {"SHLVL": level}

    assert nested(place, "bash", "true beside", client=SOCKETS, env=own) == ["true beside"]
