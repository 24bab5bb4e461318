"""Each real client plays the script to its end, offline: what is in the repository then, what its model saw.

One run per client and one test per run: a run takes seconds, and its result is looked at from all sides.
Beside it stands what `run` promises, shown by clients that are a line of shell.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agents.clients import CHECKOUT, CLIENTS, CODEX, Client, run, running, whole_environment
from tests.agents.model import ModelServer
from tests.agents.scripts import COMMIT, FILES, WAITING, reasons

pytestmark = [pytest.mark.needs("git"), pytest.mark.timeout(180)]

every_client = pytest.mark.parametrize("client", [pytest.param(client, id=client.name) for client in CLIENTS])


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A fresh repository with one commit, and an identity of its own: Gemini's shell hides the user's."""
    place = tmp_path / "repo"
    subprocess.run(["git", "init", "-q", place], check=True)
    for name, value in (("name", "Ana Tester"), ("email", "ana@example.org")):
        git(place, "config", f"user.{name}", value)
    git(place, "commit", "-q", "--allow-empty", "-m", "Begin")
    return place


def git(repo: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", repo, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def need(client: Client, needs: Callable[..., None]) -> None:
    """Skip with the reason; where all is required, only the clients that CI installs are."""
    if client.is_installed():
        return
    because = f"because {client.package} is not installed (make clients CLIENTS={client.package})"
    if client.is_required:
        needs(because=because)
    pytest.skip(because)


@every_client
def test_a_client_plays_the_script_to_its_end(client: Client, repo: Path, needs: Callable[..., None]) -> None:
    need(client, needs)

    with ModelServer(repo) as server:
        done = run(client, repo, "Greet Ana [script:main]", server)

    story = f"{server.story()}\n\n{done.stderr[-2000:]}\n{done.stdout[-2000:]}"
    assert done.returncode == 0, story
    assert {name: read(repo / name) for name in FILES} == FILES, story
    assert git(repo, "log", "-1", "--format=%s") == COMMIT, story
    assert git(repo, "status", "--porcelain") == "", story
    said = server.has_said("main")
    assert [turn.text for turn in said if turn.text != WAITING] == reasons("main"), story
    assert len(server.results("main")) == sum(len(turn.calls) for turn in said), story
    assert len(server.results("sub")) == 1, story
    (failed,) = [result for result in server.results("main") if "no such greeting" in result.text]
    assert client.tells_failure(failed, done.stdout), story
    assert (server.strays, server.faults) == ([], []), story
    assert running(f"HOME={Path.home()}") == [], story


def read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


class Missing(Client):
    """A client that is not there."""

    name = package = binary = "missing"


def test_a_missing_client_that_ci_installs_is_asked_for_as_a_tool_is() -> None:
    client, reasons_given = Missing(), list[str]()
    client.is_required = True

    with pytest.raises(pytest.skip.Exception):
        need(client, lambda because: reasons_given.append(because))

    assert reasons_given == ["because missing is not installed (make clients CLIENTS=missing)"]


def test_another_missing_client_is_skipped_even_where_all_is_required() -> None:
    with pytest.raises(pytest.skip.Exception, match="because missing is not installed"):
        need(Missing(), lambda because: pytest.fail(because))


# --- what `run` promises ------------------------------------------------------------------------------------


class Line(Client):
    """A client that is a line of shell."""

    name = package = "line"

    def __init__(self, line: str):
        self.line = line

    def command(self, prompt: str) -> list[str]:
        return ["sh", "-c", self.line, "line", prompt]

    def environment(self, home: Path, server: ModelServer) -> dict[str, str]:
        return {"GREETING": "hello"}


def test_a_client_gets_its_prompt_its_environment_and_what_a_test_adds(repo: Path) -> None:
    line = Line('echo "$1, $GREETING, $ADDED"; pwd; echo "$PWD"; echo aside >&2; exit 4')

    with ModelServer(repo) as server:
        done = run(line, repo, "a prompt", server, {"ADDED": "more"})

    assert done.stdout == f"a prompt, hello, more\n{repo}\n{repo}\n"
    assert (done.stderr, done.returncode) == ("aside\n", 4)


def test_words_before_the_command_run_it(repo: Path) -> None:
    with ModelServer(repo) as server:
        done = run(Line('echo "$ADDED"'), repo, "a prompt", server, through=["env", "ADDED=by env"])

    assert done.stdout == "by env\n"


def test_what_a_client_leaves_running_is_ended(repo: Path) -> None:
    with ModelServer(repo) as server:
        done = run(Line("sleep 600 & echo begun"), repo, "a prompt", server, parting_s=0)

    assert (done.stdout, done.returncode) == ("begun\n", 0)
    assert running(f"HOME={Path.home()}") == []


def test_a_client_that_hangs_is_ended(repo: Path) -> None:
    with ModelServer(repo) as server:
        done = run(Line("exec sleep 600"), repo, "a prompt", server, patience_s=0.1)

    assert done.returncode == -signal.SIGKILL
    assert running(f"HOME={Path.home()}") == []


def test_the_developers_own_settings_do_not_reach_a_client(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "CODEX_HOME", "HTTPS_PROXY", "all_proxy", "NODE_OPTIONS", "AGENT"):
        monkeypatch.setenv(name, "mine")

    with ModelServer(repo) as server:
        environment = whole_environment(CODEX, Path.home(), server)

    assert "mine" not in environment.values()
    assert environment["HTTPS_PROXY"] == server.url


def test_nobodys_real_home_is_used(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", pwd.getpwuid(os.getuid()).pw_dir)

    with ModelServer(repo) as server, pytest.raises(AssertionError, match="somebody's real home"):
        run(Line("true"), repo, "a prompt", server)


def test_no_client_works_in_this_checkout(repo: Path) -> None:
    with ModelServer(repo) as server, pytest.raises(AssertionError, match="in this checkout"):
        run(Line("true"), CHECKOUT, "a prompt", server)
