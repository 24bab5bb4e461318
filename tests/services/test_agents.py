"""Our hooks go into an agent's settings and out of them again, and the user's own stay as they are."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtrace.errors import DevTraceError
from devtrace.events import Event
from devtrace.events.agent import ToolCall
from devtrace.ids import new_span_id
from devtrace.services import agent_hook
from devtrace.services.agents import BACKUP, Listed, install, listing, place, standing, unignored, uninstall
from devtrace.sources.agents import claude_code
from devtrace.store.append import append
from tests.processes import CAN_OBEY, DEADLINE, environment, obey_permissions
from tests.recorded import SECOND, START, Recorded

CLAUDE = ".claude/settings.local.json"
PLUGIN = ".opencode/plugins/devtrace.js"
THEIRS = (
    '{\n    "permissions": {"allow": ["Bash(ls:*)", "Read"]},\n    "hooks": {\n        "Stop": [{"hooks": '
    '[{"type": "command", "command": "say see devtrace/services/agent_hook.py"}]}]\n    }\n}\n'
)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    root.mkdir()
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return root


@pytest.fixture
def settings(repo: Path) -> Path:
    """Where Claude Code's settings are; the folder is there, the file is not."""
    (repo / ".claude").mkdir()
    return repo / CLAUDE


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if ".git" not in path.parts)


def commands(settings: Path) -> list[str]:
    hooks = json.loads(settings.read_text("utf-8-sig"))["hooks"]
    return [hook["command"] for groups in hooks.values() for group in groups for hook in group["hooks"]]


# --- in and out -------------------------------------------------------------------------------------------


def test_each_event_that_the_agent_has_is_registered_with_absolute_paths(repo: Path) -> None:
    (change,) = install(repo, "claude-code")

    words = [shlex.split(line) for line in commands(repo / CLAUDE)]
    assert (change.path, change.before, change.backup) == (CLAUDE, None, "")
    assert [line[-3] for line in words] == list(claude_code.EVENTS)
    for python, isolated, siteless, hook, agent, _, *guard in words:
        assert (isolated, siteless, agent, guard) == ("-I", "-S", "claude-code", ["||", "true"])
        assert Path(python).is_absolute()
        assert not Path(python).is_symlink()
        assert Path(hook).samefile(agent_hook.__file__)


def test_what_is_registered_runs_silently_and_says_yes(repo: Path) -> None:
    install(repo, "claude-code")

    for line in commands(repo / CLAUDE)[:2]:
        done = subprocess.run(
            ["/bin/sh", "-c", line], cwd=repo, input=b'{"session_id": "1"}', capture_output=True,
            timeout=DEADLINE, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_second_time_changes_nothing(repo: Path, settings: Path) -> None:
    settings.write_text(THEIRS)
    install(repo, "claude-code")
    first = settings.read_bytes()

    assert install(repo, "claude-code") == []
    assert settings.read_bytes() == first
    assert names(repo / ".claude") == ["settings.local.json", "settings.local.json" + BACKUP]


@pytest.mark.parametrize("text", [
    THEIRS, THEIRS.replace("\n", "\r\n"), "\ufeff" + THEIRS, "", "\n", "{}", "{ }\n", '{"hooks": {}}',
    '{"hooks":{"Stop":[]  , "Other" :[\n]}}', '{\n\t"model" : "x"}',
])  # fmt: skip
def test_out_again_every_byte_is_as_it_was(repo: Path, settings: Path, text: str) -> None:
    settings.write_bytes(text.encode())

    (put,) = install(repo, "claude-code")
    assert sum("agent_hook.py claude-code" in line for line in commands(settings)) == len(claude_code.EVENTS)
    assert (put.backup, (repo / (CLAUDE + BACKUP)).read_bytes()) == ("made", text.encode())
    (taken,) = uninstall(repo, "claude-code")

    assert taken.backup == "removed"
    assert settings.read_bytes() == text.encode()
    assert names(repo / ".claude") == ["settings.local.json"]


@pytest.mark.parametrize("name", ["claude-code", "codex", "gemini", "opencode", "cline", "cursor"])
def test_where_nothing_was_nothing_is_left(repo: Path, name: str) -> None:
    install(repo, name)
    one = standing(repo, name, os.environ)
    assert (one.hooks, one.is_current) == ("all", True)
    assert set(names(repo)) >= set(one.files) != set()
    assert install(repo, name) == []

    uninstall(repo, name)

    assert names(repo) == []
    assert standing(repo, name, os.environ).hooks == "none"


def test_a_hook_that_is_a_program_can_be_executed(repo: Path) -> None:
    for change in install(repo, "cline"):
        assert os.access(repo / change.path, os.X_OK) == change.is_executable is True


def test_a_folder_that_holds_more_stays(repo: Path, settings: Path) -> None:
    settings.with_name("notes.md").write_text("mine\n")
    install(repo, "claude-code")

    uninstall(repo, "claude-code")

    assert names(repo) == [".claude", ".claude/notes.md"]


def test_what_was_changed_in_between_stays_and_so_does_the_backup(repo: Path, settings: Path) -> None:
    settings.write_text(THEIRS)
    install(repo, "claude-code")
    settings.write_text(settings.read_text().replace("Bash(ls:*)", "Bash(make:*)"))

    (taken,) = uninstall(repo, "claude-code")

    assert taken.backup == "kept"
    assert settings.read_text() == THEIRS.replace("Bash(ls:*)", "Bash(make:*)")
    assert (repo / (CLAUDE + BACKUP)).read_text() == THEIRS


def test_a_backup_of_an_earlier_time_is_never_overwritten(repo: Path, settings: Path) -> None:
    settings.write_text(THEIRS)
    settings.with_name(settings.name + BACKUP).write_text("precious\n")

    (put,) = install(repo, "claude-code")
    (taken,) = uninstall(repo, "claude-code")

    assert (put.backup, taken.backup) == ("kept", "kept")
    assert settings.with_name(settings.name + BACKUP).read_text() == "precious\n"
    assert settings.read_text() == THEIRS


def test_a_backup_that_holds_our_hooks_is_not_brought_back(repo: Path, settings: Path) -> None:
    install(repo, "claude-code")
    shutil.copy(settings, settings.with_name(settings.name + BACKUP))

    uninstall(repo, "claude-code")

    assert not settings.exists()


def test_hooks_of_another_installation_are_replaced_and_no_backup_is_made_of_them(repo: Path) -> None:
    install(repo, "claude-code")
    here = (repo / CLAUDE).read_text()
    (repo / CLAUDE).write_text(here.replace(str(Path(agent_hook.__file__).parent), "/opt/old"))

    (put,) = install(repo, "claude-code")

    assert put.backup == ""
    assert (repo / CLAUDE).read_text() == here


def test_the_mode_of_the_file_is_kept(repo: Path, settings: Path) -> None:
    settings.write_text(THEIRS)
    settings.chmod(0o640)

    install(repo, "claude-code")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in settings.parent.iterdir()}
    uninstall(repo, "claude-code")

    assert set(modes.values()) == {0o640}
    assert stat.S_IMODE(settings.stat().st_mode) == 0o640


def test_a_dry_run_tells_the_same_and_writes_nothing(repo: Path, settings: Path) -> None:
    settings.write_text(THEIRS)

    planned = install(repo, "claude-code", dry_run=True)
    assert names(repo / ".claude") == ["settings.local.json"]
    assert settings.read_text() == THEIRS
    assert install(repo, "claude-code") == planned
    there = settings.read_bytes()

    assert uninstall(repo, "claude-code", dry_run=True)[0].after == THEIRS.encode()
    assert settings.read_bytes() == there


def test_nothing_of_ours_is_nothing_to_take_out(repo: Path, settings: Path) -> None:
    assert uninstall(repo, "claude-code") == []
    settings.write_text(THEIRS)

    assert uninstall(repo, "claude-code") == []
    assert settings.read_text() == THEIRS


# --- what cannot be ---------------------------------------------------------------------------------------


def refused(repo: Path, code: str, name: str = "claude-code") -> DevTraceError:
    before = {path: path.read_bytes() for path in repo.rglob("*") if path.is_file()}
    with pytest.raises(DevTraceError) as caught:
        install(repo, name)
    assert caught.value.code == code
    assert caught.value.hint
    assert {path: path.read_bytes() for path in repo.rglob("*") if path.is_file()} == before
    return caught.value


@pytest.mark.parametrize("data", [b"{\n  // mine\n}\n", b"\xff\xfe{", b"[]", b'{"hooks": {"Stop": 1}}'])
def test_a_file_that_cannot_be_read_as_json_is_left_alone(repo: Path, settings: Path, data: bytes) -> None:
    settings.write_bytes(data)

    assert CLAUDE in refused(repo, "ERR_AGENT_HOOKS_FILE").message


@pytest.mark.parametrize("link", [".claude", CLAUDE])
def test_a_link_that_leads_out_of_the_repository_is_refused(repo: Path, tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (repo / link).parent.mkdir(exist_ok=True)
    (repo / link).symlink_to(outside if link == ".claude" else outside / "settings.json")

    assert "leads out of the repository" in refused(repo, "ERR_AGENT_HOOKS_PATH").message
    assert names(outside) == []


def test_a_link_inside_the_repository_is_followed_and_stays(repo: Path, settings: Path) -> None:
    (repo / "team").mkdir()
    (repo / "team" / "claude.json").write_text(THEIRS)
    settings.symlink_to("../team/claude.json")

    install(repo, "claude-code")
    assert settings.is_symlink()
    assert len(commands(settings)) > 5
    uninstall(repo, "claude-code")

    assert settings.is_symlink()
    assert names(repo / "team") == ["claude.json"]
    assert (repo / "team" / "claude.json").read_text() == THEIRS


def test_links_in_a_circle_are_refused(repo: Path, settings: Path) -> None:
    settings.symlink_to(settings.name)

    refused(repo, "ERR_AGENT_HOOKS_PATH")


def test_a_folder_in_the_place_of_the_file_is_refused(repo: Path, settings: Path) -> None:
    settings.mkdir()

    assert "is no file" in refused(repo, "ERR_AGENT_HOOKS_PATH").message


def test_a_file_in_the_place_of_the_folder_is_refused(repo: Path) -> None:
    (repo / ".claude").write_text("a file\n")

    refused(repo, "ERR_AGENT_HOOKS_PATH")


def test_somebody_elses_plugin_of_that_name_is_left_alone(repo: Path) -> None:
    (repo / PLUGIN).parent.mkdir(parents=True)
    (repo / PLUGIN).write_text("export const Mine = async () => ({})\n")

    refused(repo, "ERR_AGENT_HOOKS_FILE", "opencode")
    assert uninstall(repo, "opencode") == []


@pytest.mark.skipif(not CAN_OBEY, reason="root is not held to permissions here")
@pytest.mark.parametrize("text", [None, THEIRS])
def test_a_folder_that_cannot_be_written_is_an_error_and_nothing_is_half_done(
    repo: Path, settings: Path, text: str | None
) -> None:
    if text is not None:
        settings.write_text(text)
    settings.parent.chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-m", "devtrace", "agent", "install", "claude-code"], cwd=repo, env=environment(),
        preexec_fn=obey_permissions, capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    settings.parent.chmod(0o755)

    assert (done.returncode, "[ERR_AGENT_HOOKS_WRITE]" in done.stderr) == (1, True)
    assert names(settings.parent) == ([] if text is None else [settings.name])
    assert text is None or settings.read_text() == text


def test_an_interpreter_that_cannot_run_our_hook_is_not_registered(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = tmp_path / "python"
    embedded.write_text("#!/bin/sh\nexit 1\n")
    embedded.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(embedded))

    assert str(embedded) in refused(repo, "ERR_TARGET_START").message


def test_unknown_agents_and_agents_without_hooks_are_told_apart(repo: Path) -> None:
    refused(repo, "ERR_AGENT_UNKNOWN", "clod")
    refused(repo, "ERR_AGENT_HOOKS_NONE", "continue")
    refused(repo, "ERR_AGENT_HOOKS_NONE", "manual")
    refused(repo, "ERR_AGENT_HOOKS_NONE", "custom:mine")


# --- where it goes, and whether git sees it ----------------------------------------------------------------


def test_it_goes_into_the_repository_above_else_to_the_store(repo: Path, tmp_path: Path) -> None:
    (repo / "src").mkdir()
    plain = tmp_path / "plain"
    plain.mkdir()
    Recorded(plain).close()

    assert place(repo / "src") == repo
    assert place(plain) == plain
    with pytest.raises(DevTraceError, match=r"no \.devtrace/"):
        place(tmp_path)


def test_what_git_would_take_along_is_told(repo: Path) -> None:
    (repo / ".gitignore").write_text("*.local.json\n")

    assert unignored(repo, [CLAUDE, PLUGIN]) == [PLUGIN]
    assert unignored(repo, []) == []


def test_an_ignored_file_that_is_tracked_all_the_same_is_told(repo: Path, settings: Path) -> None:
    settings.write_text(THEIRS)
    subprocess.run(["git", "-C", str(repo), "add", CLAUDE], check=True)
    (repo / ".gitignore").write_text("*.local.json\n")

    assert unignored(repo, [CLAUDE]) == [CLAUDE]


def test_without_a_repository_git_has_no_say(tmp_path: Path) -> None:
    assert unignored(tmp_path, [CLAUDE]) == []


# --- how they stand ---------------------------------------------------------------------------------------


@pytest.fixture
def recorded(repo: Path) -> Iterator[Recorded]:
    made = Recorded(repo)
    yield made
    made.close()


def listed(repo: Path, name: str, recorded: Recorded | None = None, **environ: str) -> Listed:
    db = None if recorded is None else recorded.db
    (one,) = (one for one in listing(repo, environ, db) if one.name == name)
    return one


def test_an_agent_is_found_on_the_path(repo: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "claude"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    assert listed(repo, "claude-code", PATH=str(program.parent)).program == str(program)
    assert listed(repo, "claude-code", PATH=str(tmp_path)).program is None


@pytest.mark.parametrize("name", ["claude-code", "opencode"])
def test_hooks_are_none_all_or_of_another_devtrace(repo: Path, name: str) -> None:
    assert (listed(repo, name).hooks, listed(repo, name).is_current) == ("none", None)
    install(repo, name)
    assert (listed(repo, name).hooks, listed(repo, name).is_current) == ("all", True)
    (file,) = listed(repo, name).files
    text = (repo / file).read_text()
    (repo / file).write_text(text.replace(str(Path(agent_hook.__file__).parent), "/opt/old"))

    assert (listed(repo, name).hooks, listed(repo, name).is_current) == ("all", False)


def test_hooks_of_which_one_is_missing_are_some(repo: Path) -> None:
    install(repo, "claude-code")
    settings = json.loads((repo / CLAUDE).read_text())
    del settings["hooks"]["PostToolUse"]
    (repo / CLAUDE).write_text(json.dumps(settings))

    assert listed(repo, "claude-code").hooks == "some"


def test_settings_that_cannot_be_read_are_told_and_do_not_hide_the_others(repo: Path, settings: Path) -> None:
    settings.write_text("// mine\n{}\n")

    assert listed(repo, "claude-code").hooks == "unreadable"
    assert listed(repo, "opencode").hooks == "none"


def test_an_agent_without_hooks_is_listed_as_such(repo: Path) -> None:
    one = listed(repo, "continue")

    assert (one.hooks, one.is_current, one.is_trusted, one.files) == ("unknown", None, None, ())


def test_every_agent_is_listed_but_nobody_at_the_keyboard(repo: Path) -> None:
    found = [one.name for one in listing(repo, os.environ, None)]

    assert found == ["claude-code", "codex", "gemini", "opencode", "cline", "continue", "aider", "cursor"]


def test_codex_is_asked_whether_it_trusts_what_is_there(repo: Path, tmp_path: Path) -> None:
    assert listed(repo, "codex", CODEX_HOME=str(tmp_path)).is_trusted is None
    install(repo, "codex")

    assert listed(repo, "codex", CODEX_HOME=str(tmp_path)).is_trusted is False


def heard(recorded: Recorded, at: int, **envelope: object) -> None:
    """A call of a tool, as a hook tells it."""
    moment = START + at * SECOND
    known = {
        "session": recorded.session_id, "id": new_span_id(), "actor": "agent:claude-code", "source": "hook",
        "started_us": moment, "ended_us": moment, "status": "ok", "trusted": 0,
    }  # fmt: skip
    body = ToolCall(tool="Bash", does="shell", agent="claude-code", native="n")
    append(recorded.db, [Event(**(known | envelope), body=body).to_frame()])


def test_the_newest_event_of_a_hook_is_when_it_was_heard_from(repo: Path, recorded: Recorded) -> None:
    recorded.session(agent="claude-code")
    for at, source in ((1, "hook"), (5, "hook"), (3, "hook"), (9, "transcript")):
        heard(recorded, at, source=source)

    assert listed(repo, "claude-code", recorded).heard_us == START + 5 * SECOND
    assert listed(repo, "codex", recorded).heard_us is None


def test_a_call_that_still_runs_was_heard_too(repo: Path, recorded: Recorded) -> None:
    recorded.session(agent="claude-code")
    heard(recorded, 7, status="running", ended_us=None)

    assert listed(repo, "claude-code", recorded).heard_us == START + 7 * SECOND
