"""`devtrace mcp install`: in the words of the user, shown before it is done, and nothing secret with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devtrace.services.settings_files import BACKUP
from tests.agent_settings import FILES, OWN, fill, server, texts
from tests.cli.conftest import Told
from tests.processes import DEADLINE, environment
from tests.recorded import Recorded

Run = Callable[..., Told]


@pytest.fixture
def mcp(run: Run, repo: Path) -> Run:
    """`devtrace mcp ...` in a git repository."""
    subprocess.run(["git", "init", "-q", str(repo)], check=True)
    return lambda *words, **more: run("mcp", *words, **more)


@pytest.fixture
def home() -> Path:
    return Path(os.environ["HOME"])


def test_install_says_what_was_done_and_what_comes_next(mcp: Run, repo: Path, recorded: Recorded) -> None:
    fill(repo, {name: FILES[name] for name in (".mcp.json", ".codex/config.toml")})
    subprocess.run(["git", "-C", str(repo), "add", ".mcp.json"], check=True)

    told = mcp("install")

    assert (told.status, told.err) == (0, "")
    assert told.out.splitlines() == [
        "Put our proxy in front of files in .mcp.json.",
        f"What it held before is kept in .mcp.json{BACKUP}.",
        "Put our proxy in front of files in .codex/config.toml.",
        f"What it held before is kept in .codex/config.toml{BACKUP}.",
        "Git tracks .mcp.json: whoever pulls that gets our proxy where devtrace is on PATH, else the servers"
        " as they were.",
        f"Git does not ignore .codex/config.toml and .mcp.json{BACKUP} and .codex/config.toml{BACKUP}; an"
        " ignore rule keeps them out of commits.",
        "Claude Code and OpenAI Codex CLI will be heard from the next start on.",
        "See the calls with: devtrace log --kind mcp_call",
    ]
    assert server(repo / ".mcp.json")["command"] == "/bin/sh"


def test_a_second_time_nothing_is_changed_and_that_is_said(mcp: Run, repo: Path) -> None:
    fill(repo, FILES)
    mcp("install")
    before = texts(repo)

    told = mcp("install")

    assert told.out == "Our proxy is in place already; nothing was changed.\n"
    assert texts(repo) == before


def test_uninstall_says_that_all_is_as_it_was(mcp: Run, repo: Path) -> None:
    fill(repo, {".mcp.json": FILES[".mcp.json"]})
    mcp("install")

    told = mcp("uninstall")

    assert told.out.splitlines() == [
        "Took our proxy away from files in .mcp.json.",
        f"It is as it was before, so .mcp.json{BACKUP} was removed.",
        "Put it back with: devtrace mcp install",
    ]
    assert texts(repo) == {".mcp.json": FILES[".mcp.json"]}
    assert mcp("uninstall").out == "There is no proxy of ours; nothing was changed.\n"


def test_where_something_else_was_changed_the_backup_stays_and_that_is_said(mcp: Run, repo: Path) -> None:
    fill(repo, {".mcp.json": FILES[".mcp.json"]})
    mcp("install")
    (repo / ".mcp.json").write_text((repo / ".mcp.json").read_text().replace('"files"', '"docs"'))

    assert f"Something else was changed in it too: .mcp.json{BACKUP} stays.\n" in mcp("uninstall").out


def test_without_a_server_and_without_a_store_it_is_said_so(mcp: Run, repo: Path) -> None:
    assert (
        mcp("install").out
        == "No MCP server is configured in the settings of this project; nothing was changed.\n"
    )
    fill(repo, {".mcp.json": "{}"})
    assert mcp("install").out == "No MCP server is configured in .mcp.json; nothing was changed.\n"
    fill(repo, FILES)
    assert mcp("install").out.endswith("Make it with: devtrace init\n")


def test_the_users_own_settings_are_left_alone_and_named(mcp: Run, repo: Path, home: Path) -> None:
    fill(home, OWN)

    told = mcp("install")
    assert told.out.splitlines()[-1] == (
        "Your own servers in ~/.claude.json, ~/.codex/config.toml, ~/.gemini/settings.json,"
        " ~/.config/opencode/opencode.jsonc, ~/.cursor/mcp.json and"
        " ~/.cline/data/settings/cline_mcp_settings.json were left alone: add --user, or name the agent."
    )
    assert texts(home) == OWN
    told = mcp("install", "codex")
    assert "Put our proxy in front of files in ~/.codex/config.toml.\n" in told.out
    assert "left alone" not in told.out
    assert mcp("uninstall").out.endswith(
        "It is still in ~/.codex/config.toml: add --user, or name the agent.\n"
    )
    mcp("uninstall", "--user")

    assert texts(home) == OWN


def test_what_is_reached_by_http_is_left_with_the_lines_to_use(mcp: Run, repo: Path) -> None:
    entries = {
        "web": {
            "type": "http",
            "url": "https://mcp.example.com/a/mcp",
            "headers": {"Authorization": "Bearer x"},
        },
        "secret": {"url": "https://me:word@b.example/mcp?key=hidden"},
        "its own": {"url": "${BASE}/mcp"},
        "line": {"command": "npx -y x"},
    }
    fill(repo, {".mcp.json": json.dumps({"mcpServers": entries})})

    told = mcp("install")

    assert told.out.splitlines() == [
        "Left web in .mcp.json as it is: it is reached by HTTP. To record it, keep this running,",
        "  devtrace mcp proxy --name web --url https://mcp.example.com/a/mcp --port 8790",
        "and put http://127.0.0.1:8790/a/mcp in the place of its URL there.",
        "Left secret in .mcp.json as it is: it is reached by HTTP. To record it, keep this running,",
        "  devtrace mcp proxy --name secret --url https://b.example/mcp --port 8791",
        "and put http://127.0.0.1:8791/mcp in the place of its URL there.",
        "Its URL is not told in full here: write it as it stands in .mcp.json.",
        "Left its own in .mcp.json as it is: it is reached by HTTP. To record it, keep this running,",
        "  devtrace mcp proxy --name 'its own' --url URL --port 8792",
        "and put http://127.0.0.1:8792 in the place of its URL there.",
        "Its URL is not told in full here: write it as it stands in .mcp.json.",
        "Left line in .mcp.json as it is: its command is a line, and not a program with its arguments apart.",
    ]
    assert texts(repo)[".mcp.json"] == json.dumps({"mcpServers": entries})


@pytest.mark.parametrize("order", ["install", "uninstall"])
def test_a_dry_run_is_a_patch_that_git_applies(mcp: Run, repo: Path, order: str) -> None:
    files = {
        **FILES,
        ".mcp.json": FILES[".mcp.json"].replace("}\n  }", '},\n    "w": {"url": "https://a.b/"}\n  }'),
    }
    fill(repo, files)
    if order == "uninstall":
        mcp("install")
    before = texts(repo)

    told = mcp(order, "--dry-run")

    assert told.err.startswith("Nothing was written.\n")
    assert ("Left w in .mcp.json" in told.err, "Left" in told.out) == (order == "install", False)
    assert texts(repo) == before
    subprocess.run(["git", "apply"], cwd=repo, input=told.out, text=True, check=True)
    by_git = texts(repo)
    fill(repo, before)
    mcp(order)
    assert {name: by_git[name] for name in files} == {name: texts(repo)[name] for name in files}
    assert mcp(order, "--dry-run").err.startswith("Nothing would change.\n")


def test_a_dry_run_shows_no_secret(mcp: Run, repo: Path, recorded: Recorded) -> None:
    token, password = "ghp_" + "a1B2" * 9, "correct-horse-9"
    entry = {
        "command": "npx",
        "args": ["--password", "swordfish-77"],
        "env": {"GH": token, "P": password},
    }
    fill(repo, {".mcp.json": json.dumps({"mcpServers": {"a": entry}}, indent=1)})

    told = mcp("install", "--dry-run")

    assert not [word for word in (token, password, "swordfish-77") if word in told.out + told.err]
    assert '"--password"' in told.out
    assert "devtrace-mcp-proxy" in told.out


def test_one_file_that_cannot_be_read_is_an_error_and_the_others_are_done(mcp: Run, repo: Path) -> None:
    fill(repo, {**FILES, ".cursor/mcp.json": "{", ".vscode/mcp.json": "["})

    told = mcp("install")

    assert told.status == 1
    assert "Put our proxy in front of files in .mcp.json.\n" in told.out
    assert told.err.count("[ERR_MCP_CONFIG_FILE]") == 2
    assert "error: .cursor/mcp.json is no JSON" in told.err
    assert " hint: put it right by hand; it was left as it is\n" in told.err


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (["clod"], 2, "ERR_AGENT_UNKNOWN"),
        (["aider"], 2, "ERR_MCP_CONFIG_NONE"),
        (["--server", "missing"], 2, "ERR_MCP_SERVER_UNKNOWN"),
        (["missing.json"], 1, "ERR_FILE_UNREADABLE"),
    ],
)
def test_what_does_not_exist_is_told_with_its_code(
    mcp: Run, repo: Path, words: list[str], status: int, code: str
) -> None:
    fill(repo, FILES)

    for order in ("install", "uninstall"):
        told = mcp(order, *words)
        assert (told.status, f"[{code}]" in told.err, "hint: " in told.err) == (status, True, True)
    assert texts(repo) == FILES


def test_names_cannot_act_on_the_terminal(mcp: Run, repo: Path) -> None:
    entries = {"\x1b[2Jx": {"command": "cat"}, "\u202ey": {"url": "https://a.example/\u202e"}}
    fill(repo, {".mcp.json": json.dumps({"mcpServers": entries})})

    told = mcp("install")

    assert "in front of \\e[2Jx in" in told.out
    assert not {"\x1b", "\u202e"} & set(told.out + told.err)


# --- our own server ---------------------------------------------------------------------------------------


def ask(order: str, agent: str, repo: Path) -> Told:
    """What `devtrace mcp serve --install AGENT` and `--uninstall AGENT` come to."""
    program = f"from devtrace.cli.mcp_install import {order}; {order}({agent!r})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=repo, env=environment(PATH="/usr/bin:/bin"),
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    return Told(done)


def test_our_server_is_registered_and_taken_out_in_the_words_of_the_user(
    mcp: Run, repo: Path, recorded: Recorded
) -> None:
    told = ask("register", "codex", repo)
    assert (told.status, told.err) == (0, "")
    assert told.out.splitlines() == [
        "Added our server to .codex/config.toml, a new file.",
        "Git does not ignore .codex/config.toml; an ignore rule keeps it out of commits.",
        "Codex reads it only in projects that it trusts: start it here once, and say that it may.",
        "OpenAI Codex CLI can ask it from its next start on.",
    ]
    told = ask("register", "codex", repo)
    assert told.out.startswith(
        "OpenAI Codex CLI has our server already, in .codex/config.toml; nothing was changed.\n"
    )

    told = ask("unregister", "codex", repo)

    assert told.out == "Removed .codex/config.toml: nothing but our server was in it.\n"
    assert ask("unregister", "codex", repo).out == "Our server is not there; nothing was changed.\n"


def test_a_user_wide_registration_says_for_which_project_it_answers(mcp: Run, repo: Path, home: Path) -> None:
    told = ask("register", "cline", repo)

    assert "Added our server to ~/.cline/data/settings/cline_mcp_settings.json, a new file.\n" in told.out
    assert "It answers for this project: the file is one for all of yours.\n" in told.out
    assert server(home / ".cline/data/settings/cline_mcp_settings.json", "devtrace")["cwd"] == str(repo)
