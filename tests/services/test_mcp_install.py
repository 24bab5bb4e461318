"""Our proxy goes in front of the servers in agents' settings and away again; what is not meant stays."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devtrace.errors import DevTraceError
from devtrace.policy.chain import Policy
from devtrace.services import mcp_install
from devtrace.services.mcp_install import Done, chosen, install, uninstall
from devtrace.services.settings_files import BACKUP, tracked
from tests.agent_settings import FILES, OWN, fill, server, started, texts
from tests.processes import CAN_OBEY, DEADLINE, environment, obey_permissions


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """We are in a repository, and PATH has no devtrace but what a test puts there."""
    root = tmp_path / "repo"
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    monkeypatch.chdir(root)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return root


@pytest.fixture
def home() -> Path:
    return Path(os.environ["HOME"])


def put(
    *targets: str, own: bool = False, names: list[str] | None = None, dry_run: bool = False
) -> list[Done]:
    meant = chosen(targets, os.environ, own=own)
    return install(meant.configs, names, home=os.environ["HOME"], dry_run=dry_run)


def take(
    *targets: str, own: bool = False, names: list[str] | None = None, dry_run: bool = False
) -> list[Done]:
    return uninstall(chosen(targets, os.environ, own=own).configs, names, dry_run=dry_run)


def changed(done: list[Done]) -> list[str]:
    return [one.config.shown for one in done if one.change is not None]


def became(done: list[Done]) -> dict[str, str]:
    return {server.name: server.became for one in done for server in one.servers}


# --- in and out -------------------------------------------------------------------------------------------


def test_all_settings_of_the_project_get_it_and_are_as_they_were_without(repo: Path, home: Path) -> None:
    fill(repo, FILES)
    fill(home, OWN)

    done = put()
    assert changed(done) == list(FILES)
    assert texts(home) == OWN
    assert all(text != FILES.get(name) for name, text in texts(repo).items() if not name.endswith(BACKUP))
    assert {
        name.removesuffix(BACKUP): text for name, text in texts(repo).items() if name.endswith(BACKUP)
    } == FILES
    assert changed(put()) == []

    assert changed(take()) == list(FILES)
    assert texts(repo) == FILES
    assert changed(take()) == []


@pytest.mark.parametrize("own", [True, False])
def test_the_users_own_settings_are_for_who_asks_for_them(repo: Path, home: Path, own: bool) -> None:
    fill(home, OWN)

    put(own=own)
    assert (texts(home) == OWN) is not own
    take(own=True)

    assert texts(home) == OWN


def test_an_agent_that_is_named_has_its_settings_here_and_the_users_own(repo: Path, home: Path) -> None:
    fill(repo, FILES)
    fill(home, OWN)

    assert changed(put("codex", "Cursor")) == [
        ".codex/config.toml", "~/.codex/config.toml", ".cursor/mcp.json", "~/.cursor/mcp.json",
    ]  # fmt: skip
    assert changed(put("cline")) == ["~/.cline/data/settings/cline_mcp_settings.json"]


def test_what_is_written_starts_the_server_through_the_real_proxy(repo: Path) -> None:
    fill(repo, {".mcp.json": '{"mcpServers": {"it": {"command": "cat", "env": {"PYTHONPATH": "."}}}}'})
    put()
    (repo / "json.py").write_text("raise SystemExit('a module of the server')\n")

    entry = server(repo / ".mcp.json", "it")
    done = started(entry, env={"PATH": "/usr/bin:/bin", **entry["env"]})

    assert sys.executable in entry["args"][1]
    assert (done.returncode, done.stdout, done.stderr) == (0, b"bytes\n", b"")
    assert put("claude-code")[0].servers[0].became == "proxied"


def test_where_this_devtrace_is_gone_the_server_starts_as_before(repo: Path) -> None:
    fill(repo, FILES)
    put()
    text = (repo / ".cursor/mcp.json").read_text()
    (repo / ".cursor/mcp.json").write_text(text.replace(sys.executable, "/nowhere/python"))

    entry = server(repo / ".cursor/mcp.json")
    done = subprocess.run(
        [entry["command"], *entry["args"]],
        input=b"bytes\n",
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"bytes\n", b"")


def test_a_file_that_is_named_gets_it(repo: Path, tmp_path: Path) -> None:
    fill(
        tmp_path,
        {
            "elsewhere/claude_desktop_config.json": FILES[".mcp.json"],
            "elsewhere/it.toml": FILES[".codex/config.toml"],
        },
    )
    paths = [str(tmp_path / "elsewhere" / name) for name in ("claude_desktop_config.json", "it.toml")]

    assert changed(put(*paths)) == paths
    assert server(Path(paths[0]))["command"] == "/bin/sh"
    assert changed(take(*paths)) == paths


def test_a_known_file_that_is_named_is_known_whichever_way_it_is_written(repo: Path, home: Path) -> None:
    fill(repo, FILES)
    own = {"projects": {str(repo): {"mcpServers": {"mine": {"command": "cat"}}}}}
    fill(home, {".claude.json": json.dumps(own)})

    assert changed(put("./.cursor/../.mcp.json")) == [".mcp.json"]
    assert became(put(str(home / ".claude.json"))) == {"mine": "put"}


def test_servers_that_the_user_has_in_this_project_alone_count(repo: Path, home: Path) -> None:
    own = {
        "projects": {
            str(repo): {"mcpServers": {"mine": {"command": "cat"}}},
            "/other": {"mcpServers": {"no": {"command": "cat"}}},
        }
    }
    fill(home, {".claude.json": json.dumps(own)})

    done = put("claude-code")

    assert became(done) == {"mine": "put"}
    assert json.loads((home / ".claude.json").read_text())["projects"]["/other"] == own["projects"]["/other"]


def test_only_the_servers_that_are_named_get_it_and_the_backup_waits_for_the_last(repo: Path) -> None:
    text = '{"mcpServers": {"a": {"command": "cat"}, "b": {"command": "cat"}, "c": {"command": "cat"}}}'
    fill(repo, {".mcp.json": text})

    assert became(put(names=["a", "b"])) == {"a": "put", "b": "put"}
    (one,) = take(names=["a"])
    assert one.change is not None
    assert one.change.backup == "kept"
    take(names=["b"])

    assert texts(repo) == {".mcp.json": text}


def test_a_server_that_is_nowhere_is_an_error_and_nothing_is_done(repo: Path) -> None:
    fill(repo, FILES)

    with pytest.raises(DevTraceError) as caught:
        put(names=["files", "flies"])

    assert (caught.value.code, caught.value.exit_status) == ("ERR_MCP_SERVER_UNKNOWN", 2)
    assert "files, more" in caught.value.hint
    assert texts(repo) == FILES


def test_what_became_of_each_server_is_told(repo: Path) -> None:
    entries = {
        "web": {"type": "http", "url": "https://a.example/mcp"},
        "ours": {"command": "devtrace", "args": ["mcp", "serve"]},
        "line": {"command": "npx -y x"},
        "plain": {"command": "cat"},
    }
    fill(repo, {".mcp.json": json.dumps({"mcpServers": entries})})

    told = {"web": "remote", "ours": "ours", "line": "odd", "plain": "put"}
    assert became(put()) == told
    assert became(put()) == {**told, "plain": "proxied"}
    text = (repo / ".mcp.json").read_text()
    (repo / ".mcp.json").write_text(text.replace(sys.executable, "/old/python"))
    assert became(put()) == {**told, "plain": "renewed"}
    assert became(take()) == {**told, "plain": "taken"}


def test_what_was_changed_in_between_stays_and_so_does_the_backup(repo: Path) -> None:
    fill(repo, FILES)
    put()
    file = repo / ".mcp.json"
    file.write_text(file.read_text().replace('"files"', '"documents"'))

    (one, *_) = take("./.mcp.json")

    assert one.change is not None
    assert one.change.backup == "kept"
    assert file.read_text() == FILES[".mcp.json"].replace('"files"', '"documents"')
    assert (repo / (".mcp.json" + BACKUP)).read_text() == FILES[".mcp.json"]


def test_hooks_and_proxy_in_one_file_do_not_get_in_each_others_way(repo: Path) -> None:
    from devtrace.services import agents

    fill(repo, {".gemini/settings.json": FILES[".gemini/settings.json"]})
    agents.install(repo, "gemini")
    put("gemini")
    agents.uninstall(repo, "gemini")
    take("gemini")
    assert texts(repo)[".gemini/settings.json"] == FILES[".gemini/settings.json"]

    shutil.rmtree(repo / ".gemini")
    fill(repo, {".gemini/settings.json": FILES[".gemini/settings.json"]})
    put("gemini")
    agents.install(repo, "gemini")
    take("gemini")
    agents.uninstall(repo, "gemini")
    assert texts(repo) == {".gemini/settings.json": FILES[".gemini/settings.json"]}


def test_a_dry_run_tells_the_same_and_writes_nothing(repo: Path) -> None:
    fill(repo, FILES)

    planned = put(dry_run=True)
    assert texts(repo) == FILES
    assert put() == planned
    there = texts(repo)
    planned = take(dry_run=True)

    assert texts(repo) == there
    assert [one.change.after for one in planned if one.change] == [text.encode() for text in FILES.values()]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
def test_the_mode_of_a_file_is_that_of_its_backup_too(repo: Path, home: Path, mode: int) -> None:
    fill(home, OWN)
    (home / ".claude.json").chmod(mode)

    put("claude-code")

    kept = [home / ".claude.json", home / (".claude.json" + BACKUP)]
    assert [stat.S_IMODE(path.stat().st_mode) for path in kept] == [mode, mode]


def test_the_users_link_is_followed_and_stays(repo: Path, home: Path, tmp_path: Path) -> None:
    fill(tmp_path, {"dotfiles/codex": FILES[".codex/config.toml"]})
    (home / ".codex").mkdir()
    (home / ".codex" / "config.toml").symlink_to(tmp_path / "dotfiles" / "codex")

    assert changed(put("codex")) == ["~/.codex/config.toml"]
    assert (home / ".codex" / "config.toml").is_symlink()
    assert "/bin/sh" in (tmp_path / "dotfiles" / "codex").read_text()
    take("codex")

    assert texts(tmp_path / "dotfiles") == {"codex": FILES[".codex/config.toml"]}


# --- what cannot be ---------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_read_does_not_keep_the_others_from_it(repo: Path) -> None:
    fill(repo, {**FILES, ".cursor/mcp.json": '{"mcpServers": {'})

    done = put()

    assert changed(done) == [name for name in FILES if name != ".cursor/mcp.json"]
    (error,) = (one.error for one in done if one.error)
    assert (error.code, error.exit_status) == ("ERR_MCP_CONFIG_FILE", 1)
    assert ".cursor/mcp.json is no JSON" in error.message
    assert error.hint
    assert (repo / ".cursor/mcp.json").read_text() == '{"mcpServers": {'


@pytest.mark.parametrize("data", [b"\xff{", b"[]", b"{,}", b'"x"'])
def test_what_is_no_settings_file_is_left_alone(repo: Path, data: bytes) -> None:
    (repo / ".mcp.json").write_bytes(data)

    (one,) = put()

    assert one.error is not None
    assert one.error.code == "ERR_MCP_CONFIG_FILE"
    assert (repo / ".mcp.json").read_bytes() == data


def test_a_projects_link_that_leads_out_of_it_is_refused(repo: Path, tmp_path: Path) -> None:
    fill(tmp_path, {"outside.json": FILES[".mcp.json"]})
    (repo / ".mcp.json").symlink_to(tmp_path / "outside.json")

    (one,) = put()

    assert one.error is not None
    assert (one.error.code, "leads out of the repository" in one.error.message) == (
        "ERR_MCP_CONFIG_PATH",
        True,
    )
    assert (tmp_path / "outside.json").read_text() == FILES[".mcp.json"]


def test_a_folder_in_the_place_of_a_file_is_told(repo: Path) -> None:
    (repo / ".mcp.json").mkdir()

    (one,) = put()

    assert one.error is not None
    assert one.error.code == "ERR_MCP_CONFIG_PATH"


def test_a_file_that_its_client_wrote_meanwhile_is_not_overwritten(
    repo: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(home, {".claude.json": FILES[".mcp.json"]})
    fresh = FILES[".mcp.json"].replace("files", "fresh")
    real = mcp_install.with_ours

    def with_a_client(*given: Any) -> Any:
        planned = real(*given)
        (home / ".claude.json").write_text(fresh)
        return planned

    monkeypatch.setattr(mcp_install, "with_ours", with_a_client)

    (one,) = put("claude-code")

    assert one.error is not None
    assert "~/.claude.json was changed by somebody just now" in one.error.message
    assert "try again" in one.error.hint
    assert texts(home) == {".claude.json": fresh}


@pytest.mark.skipif(not CAN_OBEY, reason="root is not held to permissions here")
def test_a_folder_that_cannot_be_written_is_an_error_and_nothing_is_half_done(repo: Path) -> None:
    fill(repo, {".cursor/mcp.json": FILES[".cursor/mcp.json"]})
    (repo / ".cursor").chmod(0o555)
    program = (
        "import os; from devtrace.services.mcp_install import chosen, install\n"
        "(one,) = install(chosen([], os.environ).configs, None, home='/'); print(one.error.code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), preexec_fn=obey_permissions, capture_output=True,
        text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    (repo / ".cursor").chmod(0o755)

    assert (done.stdout, done.stderr) == ("ERR_MCP_CONFIG_WRITE\n", "")
    assert texts(repo) == {".cursor/mcp.json": FILES[".cursor/mcp.json"]}


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("clod", "ERR_AGENT_UNKNOWN"),
        ("aider", "ERR_MCP_CONFIG_NONE"),
        ("continue", "ERR_MCP_CONFIG_NONE"),
        ("manual", "ERR_MCP_CONFIG_NONE"),
        ("custom:mine", "ERR_MCP_CONFIG_NONE"),
        ("./missing.json", "ERR_FILE_UNREADABLE"),
        (".", "ERR_FILE_UNREADABLE"),
    ],
)
def test_what_is_neither_an_agent_with_mcp_nor_a_file_is_told(repo: Path, target: str, code: str) -> None:
    with pytest.raises(DevTraceError) as caught:
        put(target)

    assert caught.value.code == code
    assert caught.value.hint


def test_outside_of_a_project_only_what_is_named_is_looked_at(
    repo: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(home, OWN)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(DevTraceError, match=r"no \.devtrace/"):
        put()
    assert changed(put("codex")) == ["~/.codex/config.toml"]
    assert len(changed(put(own=True))) == len(OWN) - 1


def test_a_python_that_does_not_find_devtrace_is_not_written_down(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(repo, FILES)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    with pytest.raises(DevTraceError) as caught:
        put()
    assert caught.value.code == "ERR_TARGET_START"
    fill(tmp_path, {"bin/devtrace": "#!/bin/sh\n"})
    (tmp_path / "bin" / "devtrace").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")

    assert changed(put()) == list(FILES)
    assert "/nowhere" not in (repo / ".mcp.json").read_text()


# --- for a screen -----------------------------------------------------------------------------------------


def test_nothing_secret_is_shown_of_a_file() -> None:
    secret = "swordfish-77"  # of no known form where it stands alone
    text = json.dumps(
        {
            "mcpServers": {
                "a": {
                    "command": "npx",
                    "args": ["x", "--password", secret],
                    "env": {"PLAIN": "hunter2 word"},
                },
                "b": {
                    "url": "https://u:pw-12345678@b.example/mcp?key=abcdef",
                    "headers": {"X": "Bearer abc.def"},
                },
            },
            "token": "ghp_" + "a1B2" * 9,
        },
        indent=1,
    )
    fill(Path.cwd(), {"it.json": text})
    (done,) = put("./it.json", dry_run=True)

    before, after = mcp_install.shown(done, Policy.for_session({}, None))

    assert before is not None
    assert after is not None
    for shown in (before.decode(), after.decode()):
        for word in (secret, "hunter2", "pw-12345678", "abcdef", "abc.def", "a1B2a1B2"):
            assert word not in shown
    assert b'"--password"' in before
    assert before.count(b"\n") == text.count("\n")


# --- git --------------------------------------------------------------------------------------------------


def test_git_says_which_files_it_tracks(repo: Path, tmp_path: Path) -> None:
    fill(repo, {**FILES, "*.json": "x"})
    subprocess.run(["git", "-C", str(repo), "add", ".mcp.json"], check=True)

    assert tracked(repo, [".mcp.json", "opencode.json", "*.json"]) == [".mcp.json"]
    assert tracked(repo, []) == []
    assert tracked(tmp_path, [".mcp.json"]) == []
