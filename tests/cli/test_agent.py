"""`devtrace agent`: hooks are put in and taken out in the words of the user, and shown before they are."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Told
from tests.recorded import Recorded

Run = Callable[..., Told]

CLAUDE = ".claude/settings.local.json"
THEIRS = '{\n  "permissions": {\n    "allow": ["Bash(ls:*)"]\n  }\n}\n'


@pytest.fixture
def settings(repo: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(repo)], check=True)
    (repo / CLAUDE).parent.mkdir()
    (repo / CLAUDE).write_text(THEIRS)
    return repo / CLAUDE


def test_install_says_what_was_done_and_what_comes_next(run: Run, settings: Path, recorded: Recorded) -> None:
    told = run("agent", "install", "claude-code")

    assert (told.status, told.err) == (0, "")
    assert told.out.splitlines() == [
        f"Put our hooks into {CLAUDE}.",
        f"What it held before is kept in {CLAUDE}.devtrace-backup.",
        f"Git does not ignore {CLAUDE} and {CLAUDE}.devtrace-backup; an ignore rule keeps them out of"
        " commits.",
        "What Claude Code does from its next start on is heard.",
        "See how it stands with: devtrace agent list",
    ]
    assert json.loads(settings.read_text())["permissions"] == {"allow": ["Bash(ls:*)"]}


def test_a_second_time_nothing_is_changed_and_that_is_said(run: Run, settings: Path) -> None:
    run("agent", "install", "claude-code")
    before = settings.read_bytes()

    told = run("agent", "install", "Claude-Code")

    assert told.out.startswith("Our hooks are in place already; nothing was changed.\n")
    assert settings.read_bytes() == before


def test_where_git_ignores_the_file_there_is_nothing_to_say_of_it(
    run: Run, settings: Path, repo: Path
) -> None:
    (repo / ".gitignore").write_text(".claude/\n")

    assert "Git" not in run("agent", "install", "claude-code").out


def test_without_a_store_it_is_said_that_nothing_is_kept(run: Run, settings: Path) -> None:
    assert "There is no store here yet" in run("agent", "install", "claude-code").out
    assert run("agent", "list").status == 0


def test_without_a_store_and_a_repository_there_is_nothing_to_install(run: Run, tmp_path: Path) -> None:
    told = run("agent", "install", "claude-code", cwd=tmp_path)

    assert (told.status, "[ERR_STORE_MISSING]" in told.err) == (1, True)
    assert not (tmp_path / ".claude").exists()


def test_a_dry_run_is_a_patch_that_git_applies(run: Run, settings: Path, repo: Path) -> None:
    told = run("agent", "install", "claude-code", "--dry-run")

    assert told.err == "Nothing was written.\n"
    assert settings.read_text() == THEIRS
    subprocess.run(["git", "apply"], cwd=repo, input=told.out, text=True, check=True)
    by_git = settings.read_bytes()
    settings.write_text(THEIRS)
    run("agent", "install", "claude-code")
    assert settings.read_bytes() == by_git


def test_a_dry_run_of_a_new_file_and_of_taking_it_away(run: Run, repo: Path) -> None:
    assert "new file mode 100644" in run("agent", "install", "opencode", "--dry-run").out
    assert not (repo / ".opencode").exists()
    run("agent", "install", "opencode")

    assert "deleted file mode 100644" in run("agent", "uninstall", "opencode", "--dry-run").out
    assert (repo / ".opencode").exists()


def test_a_dry_run_that_would_change_nothing_says_so(run: Run, repo: Path) -> None:
    told = run("agent", "uninstall", "claude-code", "--dry-run")

    assert (told.status, told.out, told.err) == (0, "", "Nothing would change.\n")


def test_uninstall_brings_back_what_was(run: Run, settings: Path) -> None:
    run("agent", "install", "claude-code")

    told = run("agent", "uninstall", "claude-code")

    assert told.out.splitlines() == [
        f"Took our hooks out of {CLAUDE}.",
        f"It is as it was before, so {CLAUDE}.devtrace-backup was removed.",
        "See how it stands with: devtrace agent list",
    ]
    assert settings.read_text() == THEIRS
    assert run("agent", "uninstall", "claude-code").out.startswith("There are no hooks of ours;")


def test_uninstall_says_why_a_backup_stays(run: Run, settings: Path) -> None:
    run("agent", "install", "claude-code")
    settings.write_text(settings.read_text().replace("ls", "make"))

    told = run("agent", "uninstall", "claude-code")

    assert f"Something else was changed in it too: {CLAUDE}.devtrace-backup stays." in told.out
    assert settings.read_text() == THEIRS.replace("ls", "make")


def test_a_file_that_was_made_for_our_hooks_goes(run: Run, repo: Path) -> None:
    assert ", a new file." in run("agent", "install", "claude-code").out

    assert (
        f"Removed {CLAUDE}: nothing but our hooks was in it." in run("agent", "uninstall", "claude-code").out
    )
    assert not (repo / ".claude").exists()


def test_hooks_that_an_agent_does_not_trust_are_not_called_heard(run: Run, repo: Path) -> None:
    told = run("agent", "install", "codex", env={"CODEX_HOME": str(repo / "nowhere")})

    assert "OpenAI Codex CLI skips hooks that it does not trust: start it here once" in told.out
    assert "is heard" not in told.out


def test_a_file_with_comments_is_an_error_that_names_it(run: Run, settings: Path) -> None:
    settings.write_text("{\n  // mine\n}\n")

    told = run("--json-errors", "agent", "install", "claude-code")

    error = json.loads(told.err.splitlines()[-1])["error"]
    assert (told.status, error["code"], error["context"]) == (1, "ERR_AGENT_HOOKS_FILE", {"path": CLAUDE})
    assert "comments" in error["hint"]
    assert settings.read_text() == "{\n  // mine\n}\n"


@pytest.mark.parametrize(
    ("name", "code"), [("clod", "ERR_AGENT_UNKNOWN"), ("continue", "ERR_AGENT_HOOKS_NONE")]
)
@pytest.mark.parametrize("order", ["install", "uninstall"])
def test_an_agent_without_hooks_is_asked_wrongly(run: Run, order: str, name: str, code: str) -> None:
    told = run("agent", order, name)

    assert (told.status, told.out) == (2, "")
    assert f"[{code}]" in told.err


# --- list -------------------------------------------------------------------------------------------------


def test_list_shows_how_each_agent_stands(run: Run, settings: Path, recorded: Recorded) -> None:
    run("agent", "install", "claude-code")
    run("agent", "install", "codex")
    (settings.parents[1] / ".gemini").mkdir()
    (settings.parents[1] / ".gemini" / "settings.json").write_text("torn")

    told = run("agent", "list", env={"PATH": "/nowhere", "CODEX_HOME": "/nowhere"})

    rows = {line.split("  ")[0]: " ".join(line.split()[1:]) for line in told.out.splitlines()}
    assert rows["agent"] == "hooks heard from program"
    assert rows["claude-code"] == "in place never not found"
    assert rows["codex"] == "in place, not trusted never not found"
    assert rows["gemini"] == "its settings cannot be read never not found"
    assert rows["opencode"] == "none never not found"
    assert rows["continue"] == "none known not found"


def test_hooks_of_another_devtrace_are_told(run: Run, settings: Path) -> None:
    run("agent", "install", "claude-code")
    settings.write_text(settings.read_text().replace("/services/agent_hook.py", "/old/agent_hook.py"))

    assert "of another devtrace: install again" in run("agent", "list").out


def test_list_as_json(run: Run, settings: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "claude"
    program.parent.mkdir()
    program.write_text("")
    program.chmod(0o755)
    run("agent", "install", "claude-code")

    first, *others = run("agent", "list", "--json", env={"PATH": str(program.parent)}).records

    assert first == {
        "record": "hooks", "agent": "claude-code", "title": "Claude Code", "program": str(program),
        "hooks": "all", "current": True, "trusted": None, "heard_us": None, "files": [CLAUDE],
    }  # fmt: skip
    assert [one["hooks"] for one in others if one["agent"] == "continue"] == ["unknown"]
