"""codex: one recorded run of Codex 0.169 by its hooks and by its rollouts, and whatever else may come."""

from __future__ import annotations

import json

import pytest

from devtrace.sources.agents import codex
from tests.sources.agents.adapters import (
    AT_US,
    PAYLOADS,
    Counted,
    calls,
    fields,
    fit,
    heard,
    lines,
    survives,
)

RUN = PAYLOADS / "codex-0.169.0"
HOOKS = lines("codex-0.169.0", "hooks.jsonl")
MAIN = lines("codex-0.169.0", "rollout.jsonl")
SUBAGENTS = lines("codex-0.169.0", "rollout-subagent.jsonl")

SESSION = "01a1fbd4-1518-7fe0-8416-d8d47cb702a9"
TURN = "01a1fbd4-1547-7393-96ac-1b9538700a82"
SUBAGENT = "01a1fbd4-1807-7742-b3c5-0c210bb4dbdc"
SUBAGENT_TURN = "01a1fbd4-1815-79e2-8a10-8b12a8c5961f"
ONE = "call_75d6be145f3841d4ba5ff7ab"
TWO = "call_f7a0bb1c4185403b8885f8f9"
SPAWN = "call_26409d9d3ed946b0a391a4e2"
MCP = "call_2501fef6acca419197e37ad8"
PATCH = "call_4808f9abc1514890a628f6a2"
PYTHON = "call_79c1a0ab060b434e89ffa914"
COMMIT = "call_f6ebe217a6e0412992374e75"
TOKEN = "call_499b18a752d945ae963d1bac"

COMMITTED = (
    "bash -c 'sh -c \"echo nested > nested.txt\"'; printf 'a\\nb\\n' | grep b > piped.txt; "
    "(sleep 0.2; echo late > late.txt) & wait; "
    "git add -A && git commit -qm 'agent commit' && git log --oneline | head -1"
)
EXPORTED = "export API_TOKEN=ghp_0123456789abcdefghijABCDEFGHIJ0123456789; echo $API_TOKEN | wc -c"
PATCHED = (
    "apply_patch <<'EOP'\n*** Begin Patch\n*** Add File: test_app.py\n"
    "+def test_ok():\n+    assert True\n*** End Patch\nEOP"
)


def read(name):
    return fit(codex, codex.read(RUN / name, RUN))


def parsed(**payload):
    told = {"session_id": "s", "turn_id": "t", "cwd": "/repo", **payload}
    return fit(codex, codex.parse("", told, AT_US, Counted()))


# --- the recorded run -------------------------------------------------------------------------------------


def test_the_hooks_of_a_run_tell_its_prompts_calls_and_subagent():
    facts = fit(codex, heard(codex, HOOKS))

    last, last_of_subagent = (codex.message_key(*said) for said in SAID_LAST)
    assert fields(facts, "kind", "key", "status", "turn", "subagent") == [
        ("agent_session", "started", "ok", None, None),
        ("prompt", TURN, "ok", TURN, None),
        ("tool_call", ONE, "running", TURN, None),
        ("tool_call", TWO, "running", TURN, None),
        ("tool_call", TWO, "unknown", TURN, None),
        ("tool_call", ONE, "unknown", TURN, None),
        ("tool_call", SPAWN, "running", TURN, None),
        ("tool_call", SPAWN, "ok", TURN, None),
        ("agent_session", f"subagent_started:{SUBAGENT}", "ok", None, SUBAGENT),
        ("tool_call", MCP, "running", TURN, None),
        ("prompt", SUBAGENT_TURN, "ok", SUBAGENT_TURN, SUBAGENT),
        ("tool_call", MCP, "ok", TURN, None),
        ("tool_call", PATCH, "running", SUBAGENT_TURN, SUBAGENT),
        ("tool_call", COMMIT, "running", TURN, None),
        ("tool_call", PYTHON, "running", SUBAGENT_TURN, SUBAGENT),
        ("tool_call", PYTHON, "unknown", SUBAGENT_TURN, SUBAGENT),
        ("assistant_message", last_of_subagent, "ok", SUBAGENT_TURN, SUBAGENT),
        ("agent_session", f"subagent_ended:{SUBAGENT}/{SUBAGENT_TURN}", "ok", None, SUBAGENT),
        ("tool_call", COMMIT, "unknown", TURN, None),
        ("tool_call", TOKEN, "running", TURN, None),
        ("tool_call", TOKEN, "unknown", TURN, None),
        ("assistant_message", last, "ok", TURN, None),
        ("agent_session", f"stopped:{TURN}", "ok", None, None),
    ]
    assert {fact["native"] for fact in facts} == {SESSION}


SAID_LAST = (("All done.", TURN), ("Subagent: test_app.py written.", SUBAGENT_TURN))


def test_the_hooks_of_a_run_tell_what_each_call_was_to_do():
    begun = [fact for fact in calls(heard(codex, HOOKS)) if fact["status"] == "running"]

    assert fields(begun, "call", "tool", "does", "command", "paths") == [
        (ONE, "Bash", "shell", "echo one; sleep 0.3; echo one-done", None),
        (TWO, "Bash", "shell", "echo two", None),
        (SPAWN, "spawn_agent", "subagent", None, None),
        (MCP, "mcp__demo__add", "mcp", None, None),
        (PATCH, "Bash", "edit", PATCHED, ["test_app.py"]),
        (COMMIT, "Bash", "shell", COMMITTED, None),
        (PYTHON, "Bash", "shell", "python3 -c 'print(40+2)'", None),
        (TOKEN, "Bash", "shell", EXPORTED, None),
    ]


def test_the_hooks_of_a_run_tell_how_calls_ended_without_exit_codes():
    ended = [fact for fact in calls(heard(codex, HOOKS)) if fact["status"] != "running"]

    assert fields(ended, "call", "result", "exit_code", "starts") == [
        (TWO, "two\n", None, None),
        (ONE, "one\none-done\n", None, None),
        (SPAWN, json.dumps(SPAWNED, separators=(",", ":")), None, SUBAGENT),
        (MCP, "sum=5", None, None),
        (PYTHON, "42\n", None, None),
        (COMMIT, "9d158f6 agent commit\n", None, None),
        (TOKEN, "45\n", None, None),
    ]
    assert all(fact["started_us"] is None and fact["ended_us"] > AT_US for fact in ended)


SPAWNED = {"agent_id": SUBAGENT, "nickname": "Chandrasekhar"}


def test_a_here_document_patch_is_left_running_by_the_hooks():
    told = [fact for fact in calls(heard(codex, HOOKS)) if fact["key"] == PATCH]

    assert fields(told, "status", "ended_us", "subagent") == [("running", None, SUBAGENT)]


def test_a_rollout_tells_the_whole_run_with_exit_codes():
    facts = read("rollout.jsonl")

    assert fields(facts, "kind", "status", "call", "exit_code", "text") == [
        ("agent_session", "ok", None, None, None),
        ("prompt", "ok", None, None, "Add a greeting [script:main]"),
        ("assistant_message", "ok", None, None, "Two independent checks at once."),
        ("tool_call", "ok", ONE, 0, None),
        ("tool_call", "ok", TWO, 0, None),
        ("assistant_message", "ok", None, None, "I delegate the tests."),
        ("tool_call", "ok", SPAWN, None, None),
        ("assistant_message", "ok", None, None, "Ask the MCP server."),
        ("tool_call", "ok", MCP, None, None),
        (
            "assistant_message",
            "ok",
            None,
            None,
            "A shell in a shell, a pipeline, a background job and a commit.",
        ),
        ("tool_call", "ok", COMMIT, 0, None),
        ("assistant_message", "ok", None, None, "A secret on the command line, to test redaction."),
        ("tool_call", "ok", TOKEN, 0, None),
        ("assistant_message", "ok", None, None, "All done."),
        ("agent_session", "ok", None, None, None),
    ]
    assert {fact["native"] for fact in facts} == {SESSION}
    assert {fact["data"].get("turn", TURN) for fact in facts} == {TURN}


def test_a_rollout_tells_when_a_call_began_and_ended():
    (one, two, *_) = calls(read("rollout.jsonl"))

    assert fields([one, two], "started_us", "ended_us", "duration_us", "cwd", "result") == [
        (1_795_226_342_958_000, 1_795_226_343_339_000, 160_272, "/repo", "one\none-done\n"),
        (1_795_226_342_958_000, 1_795_226_343_069_000, 7, "/repo", "two\n"),
    ]


def test_the_rollout_of_a_subagent_belongs_to_the_session_that_started_it():
    facts = read("rollout-subagent.jsonl")

    assert fields(facts, "kind", "native", "turn", "subagent", "call", "status") == [
        ("agent_session", SESSION, None, SUBAGENT, None, "ok"),
        ("prompt", SESSION, SUBAGENT_TURN, SUBAGENT, None, "ok"),
        ("assistant_message", SESSION, SUBAGENT_TURN, SUBAGENT, None, "ok"),
        ("tool_call", SESSION, SUBAGENT_TURN, SUBAGENT, PATCH, "ok"),
        ("tool_call", SESSION, SUBAGENT_TURN, SUBAGENT, PYTHON, "ok"),
        ("assistant_message", SESSION, SUBAGENT_TURN, SUBAGENT, None, "ok"),
        ("agent_session", SESSION, None, SUBAGENT, None, "ok"),
    ]


def test_a_here_document_patch_ends_in_the_rollout():
    (patch, _) = calls(read("rollout-subagent.jsonl"))

    assert fields([patch], "does", "command", "paths", "exit_code", "result") == [
        (
            "edit",
            PATCHED,
            ["/repo/test_app.py"],
            None,
            "Success. Updated the following files:\nA test_app.py\n",
        )
    ]


def test_hooks_and_rollouts_agree_on_keys_tools_commands_turns_and_subagents():
    told = [*read("rollout.jsonl"), *read("rollout-subagent.jsonl")]
    names = ("kind", "native", "key", "tool", "does", "command", "turn", "subagent", "starts", "text")

    by_hooks = {fact["key"]: fact for fact in heard(codex, HOOKS)}  # of a call its end
    by_rollouts = {fact["key"]: fact for fact in told}

    assert set(by_hooks) < set(by_rollouts)
    assert {by_rollouts[key]["kind"] for key in set(by_rollouts) - set(by_hooks)} == {"assistant_message"}
    assert fields(by_hooks.values(), *names) == fields((by_rollouts[key] for key in by_hooks), *names)


def test_commands_and_a_patch_that_failed_are_known_by_the_rollout_alone():
    by_hooks = {fact["key"]: fact for fact in heard(codex, lines("codex-0.169.0", "failing-hooks.jsonl"))}
    told = calls(read("failing-rollout.jsonl"))

    assert fields(told, "key", "does", "status", "exit_code", "paths") == [
        ("call_1", "shell", "failed", 3, None),
        ("call_2", "shell", "failed", 127, None),
        ("call_3", "edit", "ok", None, ["/repo/sub/a b.txt"]),
        ("call_4", "edit", "failed", None, ["none.txt"]),
    ]
    assert fields((by_hooks[fact["key"]] for fact in told), "does", "status", "exit_code", "paths") == [
        ("shell", "unknown", None, None),
        ("shell", "unknown", None, None),
        ("edit", "running", None, ["sub/a b.txt"]),
        ("edit", "running", None, ["none.txt"]),
    ]
    assert set(by_hooks) - {fact["key"] for fact in read("failing-rollout.jsonl")} == {"ended"}


def test_nothing_of_the_recorded_run_is_unknown():
    facts = [*heard(codex, HOOKS), *read("rollout.jsonl"), *read("rollout-subagent.jsonl")]

    assert [fact for fact in facts if fact["kind"] == "agent_payload"] == []


# --- hooks ------------------------------------------------------------------------------------------------


def test_a_patch_names_all_files_that_it_touches():
    patch = (
        "*** Begin Patch\n*** Update File: src/a.py\n*** Move to: src/b c.py\n@@\n-x\n+y\n"
        "*** Delete File: old.py\n*** Add File: new.py\n+*** Add File: only text\n*** End Patch"
    )

    (fact,) = parsed(
        hook_event_name="PreToolUse", tool_name="apply_patch", tool_input={"command": patch}, tool_use_id="c"
    )

    assert fields([fact], "does", "command", "paths") == [
        ("edit", None, ["src/a.py", "src/b c.py", "old.py", "new.py"])
    ]


@pytest.mark.parametrize(
    ("command", "paths"),
    [
        ("apply_patch <<EOF\n*** Add File: a\n+x\nEOF\n", ["a"]),
        ("cd src && apply_patch <<'EOF'\n*** Add File: a\n+x\nEOF", ["src/a"]),
        ("cd 'my src/' && apply_patch <<'EOF'\n*** Add File: a\n+x\nEOF", ["my src/a"]),
        ("apply_patch <<EOF\n*** Add File: a\n+x\nEOF\nmake test", None),
        ("make; apply_patch <<EOF\n*** Add File: a\n+x\nEOF", None),
        ("cat <<EOF\n*** Add File: a\nEOF", None),
    ],
)
def test_only_a_command_that_is_a_patch_and_nothing_else_is_an_edit(command, paths):
    told = codex.claims("Bash", {"command": command})

    assert told == {"does": "edit" if paths else "shell", "command": command, "paths": paths}


def test_an_mcp_tool_that_reports_an_error_has_failed():
    answer = {"content": [{"type": "text", "text": "no such table"}], "isError": True}

    (fact,) = parsed(
        hook_event_name="PostToolUse", tool_name="mcp__db__ask", tool_response=answer, tool_use_id="c"
    )

    assert fields([fact], "status", "result", "does") == [("failed", "no such table", "mcp")]


def test_what_is_typed_while_codex_works_is_a_prompt_of_its_own_in_the_same_turn():
    told = {"hook_event_name": "UserPromptSubmit", "session_id": "s", "turn_id": "t"}

    facts = heard(codex, [{**told, "prompt": "Go"}, {**told, "prompt": "Stop that"}])

    assert fields(facts, "key", "turn", "text") == [("t", "t", "Go"), ("t#2", "t", "Stop that")]


def test_a_session_that_is_resumed_cleared_compacted_and_ended_says_so():
    told = {"session_id": "s", "cwd": "/repo"}
    facts = heard(
        codex,
        [
            {**told, "hook_event_name": "SessionStart", "source": "startup"},
            {**told, "hook_event_name": "SessionStart", "source": "resume"},
            {**told, "hook_event_name": "SessionStart", "source": "resume"},
            {**told, "hook_event_name": "PreCompact", "turn_id": "t", "trigger": "auto"},
            {**told, "hook_event_name": "PostCompact", "turn_id": "t", "trigger": "auto"},
            {**told, "hook_event_name": "Interrupt", "turn_id": "t"},
            {**told, "hook_event_name": "SessionEnd", "reason": "logout"},
        ],
    )

    assert fields(facts, "key", "phase", "detail") == [
        ("started", "started", "startup"),
        ("resumed", "resumed", "resume"),
        ("resumed#2", "resumed", "resume"),
        ("compacted:t", "compacted", "auto"),
        ("stopped:t", "stopped", "interrupted"),
        ("ended", "ended", "logout"),
    ]


def test_an_event_of_a_newer_version_is_kept_as_it_came():
    (fact,) = parsed(hook_event_name="PreThought", mood="good")

    assert fields([fact], "kind", "event", "why", "status") == [
        ("agent_payload", "PreThought", "unknown_event", "unknown")
    ]
    assert json.loads(fact["data"]["payload"])["mood"] == "good"


def test_a_call_without_an_id_is_kept_as_it_came():
    (fact,) = parsed(hook_event_name="PreToolUse", tool_name="Bash", tool_input={"command": "ls"})

    assert fields([fact], "kind", "why") == [("agent_payload", "unknown_shape")]


def test_the_name_that_the_hook_was_registered_for_counts_where_the_payload_names_none():
    (fact,) = codex.parse("Stop", {"session_id": "s", "turn_id": "t"}, AT_US, Counted())

    assert fact["data"]["phase"] == "stopped"


# --- its shell --------------------------------------------------------------------------------------------


def test_the_command_behind_a_snapshot_is_unwrapped():
    wrapped = (
        '__CODEX_SNAPSHOT_OVERRIDE_SET_0="${CODEX_CI+x}"\n\n'
        "if . '/home/ana/.codex/shell_snapshots/s.sh' >/dev/null 2>&1; then :; fi\n\n"
        'if [ -n "${PATH:-}" ]; then export PATH=\'/opt/codex\':"$PATH"; fi\n\n'
        "exec '/bin/bash' -c 'echo '\"'\"'a b'\"'\"'\nexec make'"
    )

    assert codex.unwrapped(wrapped) == "echo 'a b'\nexec make"


@pytest.mark.parametrize(
    "command",
    [
        '__CODEX_SNAPSHOT_OVERRIDE_SET_0="${CODEX_CI+x}"\n__CODEX_SNAPSHOT_OVERRIDE_0="${CODEX_CI-}"\n',
        "if . '/home/ana/.codex/s.sh' >/dev/null 2>&1; then :; fi\n\nexec '/bin/bash' -c 'make'",
        'if [ -z "${BASH_ENV-}" ] && [ -n "${HOME-}" ] && [ -r "$HOME/.bashrc" ]; then\n'
        '  . "$HOME/.bashrc"\nfi\n'
        "echo '# Snapshot file'\necho '# Unset all aliases to avoid conflicts with functions'\n",
        'set -e; . "/home/ana/.codex/shell_snapshots/01a1ffb2.tmp-1795291244053159635"',
    ],
)
def test_a_shell_that_codex_starts_for_itself_is_its_own(command):
    assert codex.is_own(command)


@pytest.mark.parametrize("command", ["make", "set -e; . ./env; make", "if . './env'; then make; fi"])
def test_a_shell_that_runs_a_command_is_not_codexs_own(command):
    assert not codex.is_own(command)


@pytest.mark.parametrize(
    "command",
    [
        "make test",
        "exec '/bin/bash' -c 'make'",
        "if . 'a' >/dev/null 2>&1; then :; fi\n\nexec '/bin/bash' -c 'open",
    ],
)
def test_a_command_that_is_not_wrapped_is_none(command):
    assert codex.unwrapped(command) is None


# --- trust ------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path):
    """A repository with our hooks, and a home with nothing in it."""
    root = tmp_path / "repo"
    (root / ".codex").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    (file,) = codex.hooks(lambda event: f"/usr/bin/python3 -I -S /opt/devtrace/agent_hook.py codex {event}")
    theirs = '{"hooks": {"Stop": [{"hooks": [{"type": "command", "command": "say done"}]}]}}'
    (root / file.path).write_text(file.merge(theirs))
    return root


def trusts(repository, *, level="trusted", skip="", **changed):
    """config.toml as Codex writes it when a person has trusted the project and all of its hooks."""
    settings = json.loads((repository / codex.HOOK_FILE).read_text())
    text = f'[projects."{repository}"]\ntrust_level = "{level}"\n'
    for event, groups in settings["hooks"].items():
        label = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in event)[1:]
        for number, group in enumerate(groups):
            for place, handler in enumerate(group["hooks"]):
                if event != skip:
                    digest = codex.hook_hash(label, group, handler)
                    key = f"{repository / codex.HOOK_FILE}:{label}:{number}:{place}"
                    text += f'[hooks.state."{key}"]\ntrusted_hash = "{digest}"\n'
    (repository.parent / "home/config.toml").write_text(text)
    return codex.trusted({"CODEX_HOME": str(repository.parent / "home")}, repository)


def test_the_digest_of_a_hook_is_codexs_own():
    handler = {"type": "command", "command": "/bin/echo hi"}

    assert codex.hook_hash("session_start", {}, handler) == (
        "sha256:3524dc80a43d23e5b183b4775038027cc6e152a7d9a8f8b0cd49c90a3410ccdf"
    )
    assert codex.hook_hash("pre_tool_use", {"matcher": "Bash"}, {**handler, "command": "/bin/echo tool"}) == (
        "sha256:a0fed18c4c7a2b85d069b4b7afb578daa0c412c668f819ee9e14b894a11156cb"
    )


def test_hooks_that_a_person_has_trusted_are_trusted(repository):
    assert trusts(repository) is True


def test_hooks_are_not_trusted_while_one_of_ours_was_not_asked_about(repository):
    assert trusts(repository, skip="SessionEnd") is False


def test_hooks_are_not_trusted_in_a_project_that_is_not(repository):
    assert trusts(repository, level="untrusted") is False


def test_hooks_that_changed_since_are_not_trusted(repository):
    trusts(repository)
    path = repository / codex.HOOK_FILE
    path.write_text(path.read_text().replace("/usr/bin/python3", "/usr/local/bin/python3"))

    assert codex.trusted({"CODEX_HOME": str(repository.parent / "home")}, repository) is False


def test_hooks_that_were_switched_off_are_not_trusted(repository):
    trusts(repository)
    config = repository.parent / "home/config.toml"
    config.write_text(config.read_text().replace("trusted_hash", "enabled = false\ntrusted_hash", 2))

    assert codex.trusted({"CODEX_HOME": str(config.parent)}, repository) is False


def test_without_a_config_nothing_is_trusted(repository):
    assert codex.trusted({"HOME": str(repository.parent / "home")}, repository) is False


def test_it_cannot_be_told_of_a_broken_config_or_without_hooks(repository):
    environ = {"CODEX_HOME": str(repository.parent / "home")}
    (repository.parent / "home/config.toml").write_text("[projects")
    assert codex.trusted(environ, repository) is None

    (repository.parent / "home/config.toml").write_text("")
    (repository / codex.HOOK_FILE).unlink()
    assert codex.trusted(environ, repository) is None


def test_the_hook_file_registers_every_event_with_its_own_command():
    (file,) = codex.hooks(lambda event: f"hook codex {event}")

    registered = json.loads(file.merge(None))["hooks"]

    assert file.path == ".codex/hooks.json"
    assert tuple(registered) == codex.EVENTS
    assert registered["Stop"][0]["hooks"][0]["command"] == "hook codex Stop || true"


# --- whatever may come ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_whatever_a_hook_sends_becomes_facts_that_fit(seed):
    survives(codex, seed, HOOKS)
