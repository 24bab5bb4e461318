"""gemini_cli: one recorded run of version 0.61 by its hooks and by its chat, and whatever else may come."""

from __future__ import annotations

import hashlib
import json
import random

import pytest

from devtrace.sources.agents import gemini_cli
from tests.sources.agents.adapters import (
    AT_US,
    PAYLOADS,
    Counted,
    calls,
    fields,
    fit,
    heard,
    lines,
    mutants,
    survives,
    written,
)

RUN = PAYLOADS / "gemini-0.61.0"
HOOKS = lines("gemini-0.61.0", "hooks.jsonl")
CHAT = lines("gemini-0.61.0", "chat.jsonl")

SESSION = "ee2c3c40-d000-4312-99c6-a4e0601a32fb"
SUBAGENT = "a610e339-5b1c-4218-a413-e42b3231026b"
COMMITTED = (
    "bash -c 'sh -c \"echo nested > nested.txt\"'; printf 'a\\nb\\n' | grep b > piped.txt; "
    "(sleep 0.2; echo late > late.txt) & wait; "
    "git add -A && git commit -qm 'agent commit' && git log --oneline | head -1"
)
EXPORTED = "export API_TOKEN=ghp_0123456789abcdefghijABCDEFGHIJ0123456789; echo $API_TOKEN | wc -c"


def key(tool, number=1, **given):
    return f"{gemini_cli.call_digest(tool, given)}#{number}"


def shell(command, number=1):
    return key("run_shell_command", number, command=command, description="run a scripted command")


ONE = shell("echo one; sleep 0.3; echo one-done")
TWO = shell("echo two")
AGENT = key("invoke_agent", agent_name="generalist", prompt="Write the test file [script:sub]")
WRITE = key("write_file", file_path="/repo/test_app.py", content="def test_ok():\n    assert True\n")
PYTHON = shell("python3 -c 'print(40+2)'")
MCP = key("mcp_demo_add", a=2, b=3)
COMMIT = shell(COMMITTED)
TOKEN = shell(EXPORTED)


def parsed(*payloads):
    return fit(
        gemini_cli, heard(gemini_cli, [{"session_id": "s", "cwd": "/repo", **one} for one in payloads])
    )


def chatted(tmp_path, *payloads, name="session-x.jsonl", **head):
    """What is read of these lines behind a head."""
    first = {"sessionId": "s", "projectHash": "p", "startTime": "2026-11-21T02:00:00.000Z", **head}
    return fit(gemini_cli, gemini_cli.read(written(tmp_path / name, [first, *payloads]), tmp_path))


def message(name, kind="gemini", second=1, **told):
    return {"id": name, "type": kind, "timestamp": f"2026-11-21T02:00:{second:02}.000Z", **told}


def called(name, command, second=2, status="success", output="Output: x\nProcess Group PGID: 1", **told):
    response = {"functionResponse": {"id": name, "response": {"output": output}}}
    return {
        "id": name,
        "name": "run_shell_command",
        "args": {"command": command},
        "status": status,
        "result": [response],
        "timestamp": f"2026-11-21T02:00:{second:02}.000Z",
        **told,
    }


# --- the recorded run -------------------------------------------------------------------------------------


def test_the_hooks_of_a_run_tell_its_prompt_and_its_calls():
    facts = fit(gemini_cli, heard(gemini_cli, HOOKS))

    said = gemini_cli.message_key(facts[-3]["data"]["text"])
    assert fields(facts, "kind", "key", "status") == [
        ("agent_session", "started", "ok"),
        ("prompt", "prompt#1", "ok"),
        ("tool_call", ONE, "running"),
        ("tool_call", TWO, "running"),
        ("tool_call", TWO, "ok"),
        ("tool_call", ONE, "ok"),
        ("tool_call", AGENT, "running"),
        ("tool_call", WRITE, "running"),
        ("tool_call", WRITE, "ok"),
        ("tool_call", PYTHON, "running"),
        ("tool_call", PYTHON, "ok"),
        ("tool_call", AGENT, "ok"),
        ("tool_call", MCP, "running"),
        ("tool_call", MCP, "ok"),
        ("tool_call", COMMIT, "running"),
        ("tool_call", COMMIT, "ok"),
        ("tool_call", TOKEN, "running"),
        ("tool_call", TOKEN, "ok"),
        ("assistant_message", said, "ok"),
        ("agent_session", "stopped", "ok"),
        ("agent_session", "ended", "ok"),
    ]
    assert {fact["native"] for fact in facts} == {SESSION}
    assert facts[-3]["data"]["text"].endswith("to test redaction.\nAll done.")


def test_the_hooks_of_a_run_tell_what_each_call_was_to_do():
    begun = [fact for fact in calls(heard(gemini_cli, HOOKS)) if fact["status"] == "running"]

    assert fields(begun, "key", "does", "command", "paths", "cwd") == [
        (ONE, "shell", "echo one; sleep 0.3; echo one-done", None, "/repo"),
        (TWO, "shell", "echo two", None, "/repo"),
        (AGENT, "subagent", None, None, "/repo"),
        (WRITE, "edit", None, ["/repo/test_app.py"], "/repo"),
        (PYTHON, "shell", "python3 -c 'print(40+2)'", None, "/repo"),
        (MCP, "mcp", None, None, "/repo"),
        (COMMIT, "shell", COMMITTED, None, "/repo"),
        (TOKEN, "shell", EXPORTED, None, "/repo"),
    ]


def test_the_chat_tells_the_whole_run_with_what_was_said_before_each_call():
    facts = fit(gemini_cli, gemini_cli.read(RUN / "chat.jsonl", RUN))

    assert fields(facts, "kind", "status", "key", "text") == [
        ("agent_session", "ok", "started", None),
        ("prompt", "ok", "prompt#1", "Add a greeting [script:main]"),
        *said("Two independent checks at once."),
        ("tool_call", "ok", ONE, None),
        ("tool_call", "ok", TWO, None),
        *said("I delegate the tests."),
        ("tool_call", "ok", AGENT, None),
        *said("Ask the MCP server."),
        ("tool_call", "ok", MCP, None),
        *said("A shell in a shell, a pipeline, a background job and a commit."),
        ("tool_call", "ok", COMMIT, None),
        *said("A secret on the command line, to test redaction."),
        ("tool_call", "ok", TOKEN, None),
        *said("All done."),
    ]
    assert {fact["native"] for fact in facts} == {SESSION}
    assert {fact["data"].get("turn", "prompt#1") for fact in facts} == {"prompt#1"}


def said(text):
    return [("assistant_message", "ok", gemini_cli.message_key(text), text)]


def test_the_chat_tells_the_clients_ids_of_calls_and_the_subagent_that_one_started():
    told = calls(gemini_cli.read(RUN / "chat.jsonl", RUN))

    assert fields(told, "call", "starts", "model", "exit_code") == [
        ("run_shell_command__fc_713cc918fd8f409c98c7b585", None, "gemini-2.5-pro", None),
        ("run_shell_command__fc_fa05e1fe87ac4415a20e59e0", None, "gemini-2.5-pro", None),
        ("invoke_agent__fc_668c0d857e0b44d292f0734d", SUBAGENT, "gemini-2.5-pro", None),
        ("mcp_demo_add__fc_843dfff7e0814403990d9625", None, "gemini-2.5-pro", None),
        ("run_shell_command__fc_f76e6431f8264f6ba9407fcd", None, "gemini-2.5-pro", None),
        ("run_shell_command__fc_8ad092f7cc344dafbe3e223f", None, "gemini-2.5-pro", None),
    ]
    assert fields(told[:1], "started_us", "ended_us") == [(1_795_226_365_310_000, 1_795_226_366_226_000)]


def test_hooks_and_chat_agree_on_keys_tools_commands_and_results():
    names = ("key", "tool", "does", "command", "paths", "status", "result", "exit_code")
    by_hooks = {fact["key"]: fact for fact in calls(heard(gemini_cli, HOOKS))}  # of a call its end
    by_chat = {fact["key"]: fact for fact in calls(gemini_cli.read(RUN / "chat.jsonl", RUN))}

    assert set(by_hooks) - set(by_chat) == {WRITE, PYTHON}  # the subagent's, which has a chat of its own
    assert fields((by_hooks[key] for key in by_chat), *names) == fields(by_chat.values(), *names)


def test_hooks_and_the_chats_of_a_session_with_a_subagent_agree_on_every_call():
    chats = [*(RUN / "chats").glob("*.jsonl"), *(RUN / "chats").glob("*/*.jsonl")]
    told = [fact for chat in chats for fact in fit(gemini_cli, gemini_cli.read(chat, RUN))]
    hooks = lines("gemini-0.61.0", "subagent-hooks.jsonl")

    names = ("key", "status", "exit_code", "command", "paths")
    subagent = "3e512f01-1164-48df-ac1b-6ece4089ed40"
    same = gemini_cli.call_digest("run_shell_command", {"command": "echo same", "description": "d"})
    by_hooks = {fact["key"]: fact for fact in calls(heard(gemini_cli, hooks))}
    by_chats = {fact["key"]: fact for fact in calls(told)}

    assert fields((by_chats[key] for key in by_hooks), *names) == fields(by_hooks.values(), *names)
    assert fields(by_hooks.values(), "tool", "status", "exit_code") == [
        ("run_shell_command", "ok", None),
        ("run_shell_command", "failed", 3),
        ("read_file", "failed", None),
        ("invoke_agent", "ok", None),
        ("run_shell_command", "ok", None),
        ("write_file", "ok", None),
        ("replace", "ok", None),
        ("run_shell_command", "ok", None),
    ]
    assert fields((by_chats[f"{same}#{number}"] for number in (1, 2, 3)), "subagent") == [
        (None,),
        (subagent,),
        (None,),
    ]
    assert {fact["native"] for fact in told} == {"4098a715-609a-4f57-81bb-727a3f3fd4ed"}


def test_nothing_of_the_recorded_run_is_unknown():
    facts = [*heard(gemini_cli, HOOKS), *gemini_cli.read(RUN / "chat.jsonl", RUN)]

    assert [fact for fact in facts if fact["kind"] == "agent_payload"] == []


# --- hooks ------------------------------------------------------------------------------------------------


def test_equal_calls_are_told_apart_by_their_number():
    begins = {
        "hook_event_name": "BeforeTool",
        "tool_name": "read_file",
        "tool_input": {"file_path": "a", "n": 1},
    }
    ends = {**begins, "hook_event_name": "AfterTool", "tool_input": {"n": 1, "file_path": "a"}}

    facts = parsed(begins, begins, ends, ends, begins)

    one = key("read_file", file_path="a", n=1)[:-1]
    assert fields(facts, "key", "status", "paths") == [
        (f"{one}1", "running", ["a"]),
        (f"{one}2", "running", ["a"]),
        (f"{one}1", "ok", ["a"]),
        (f"{one}2", "ok", ["a"]),
        (f"{one}3", "running", ["a"]),
    ]


@pytest.mark.parametrize(
    ("result", "status", "exit_code"),
    [
        ("Output: no\nExit Code: 3\nProcess Group PGID: 7", "failed", 3),
        (
            "<untrusted_context>\nOutput: no\nExit Code: 3\nProcess Group PGID: 7\n</untrusted_context>",
            "failed",
            3,
        ),
        (
            "Output: no\nError: (none)\nExit Code: 0\nSignal: (none)\nBackground PIDs: 8\n"
            "Process Group PGID: 7",
            "ok",
            0,
        ),
        ("Output: no\nSignal: SIGKILL\nProcess Group PGID: 7", "failed", None),
        ("Output: Exit Code: 3\nExit Code: 3\nyes\nProcess Group PGID: 7", "ok", None),
        ("Command was cancelled by user before it could complete.", "interrupted", None),
    ],
)
def test_a_shell_command_says_how_it_ended_in_the_last_lines_of_its_result(result, status, exit_code):
    (fact,) = parsed(
        {
            "hook_event_name": "AfterTool",
            "tool_name": "run_shell_command",
            "tool_input": {"command": "make"},
            "tool_response": {"llmContent": result},
        }
    )

    assert fields([fact], "status", "exit_code", "command") == [(status, exit_code, "make")]


def test_a_tool_that_reports_an_error_has_failed():
    (fact,) = parsed(
        {
            "hook_event_name": "AfterTool",
            "tool_name": "ask",
            "tool_input": {},
            "tool_response": {"error": {"message": "no such table"}},
            "mcp_context": {"server_name": "db", "tool_name": "ask"},
        }
    )

    assert fields([fact], "status", "result", "does") == [("failed", "no such table", "mcp")]


def test_each_prompt_and_each_answer_of_a_session_has_a_key_of_its_own():
    prompt = {"hook_event_name": "BeforeAgent", "prompt": "Go"}
    answer = {"hook_event_name": "AfterAgent", "prompt": "Go", "prompt_response": "Done."}

    facts = parsed(prompt, answer, prompt, answer)

    done = gemini_cli.message_key("Done.")
    assert fields(facts, "key") == [
        ("prompt#1",),
        (done,),
        ("stopped",),
        ("prompt#2",),
        (f"{done}#2",),
        ("stopped#2",),
    ]


def test_what_tells_nothing_is_nothing_and_what_is_new_is_kept():
    facts = parsed(
        {"hook_event_name": "PreCompress", "trigger": "auto"},
        {"hook_event_name": "AfterModel", "llm_response": {"text": "Two"}},
        {"hook_event_name": "AfterDream"},
        {"hook_event_name": "BeforeTool", "tool_input": {}},
    )

    assert fields(facts, "kind", "event", "why") == [
        ("agent_payload", "AfterDream", "unknown_event"),
        ("agent_payload", "BeforeTool", "unknown_shape"),
    ]


def test_the_hook_file_registers_every_event_with_a_timeout_in_milliseconds():
    (file,) = gemini_cli.hooks(lambda event: f"hook gemini {event}")

    registered = json.loads(file.merge('{"theme": "dark"}'))

    assert file.path == ".gemini/settings.json"
    assert registered["theme"] == "dark"
    assert tuple(registered["hooks"]) == gemini_cli.EVENTS
    (handler,) = registered["hooks"]["AfterTool"][0]["hooks"]
    assert handler.pop("command").startswith("hook gemini AfterTool")
    assert handler == {"type": "command", "timeout": 10_000, "name": "devtrace"}


# --- chats ------------------------------------------------------------------------------------------------


def test_a_message_that_is_written_again_is_told_once_with_its_last_words(tmp_path):
    facts = chatted(
        tmp_path,
        message("m", content="Let me", second=1),
        message("m", content="Let me look.", second=1),
        message("m", content="Let me look.", second=9, toolCalls=[called("c", "ls", status="executing")]),
        message("m", content="Let me look.", second=9, toolCalls=[called("c", "ls", second=2)]),
    )

    assert fields(facts[1:], "kind", "text", "command", "status", "started_us") == [
        ("assistant_message", "Let me look.", None, "ok", 1_795_226_401_000_000),
        ("tool_call", None, "ls", "ok", 1_795_226_401_000_000),
    ]


def test_history_that_is_rewritten_for_the_model_changes_nothing_that_was_said(tmp_path):
    summary = message("new", "user", content=[{"text": "<state_snapshot>all of it</state_snapshot>"}])
    masked = message("m", toolCalls=[called("c", "ls", output="[masked]")])

    facts = chatted(
        tmp_path,
        message("p", "user", content=[{"text": "Look"}]),
        message("m", toolCalls=[called("c", "ls", output="Output: a.py\nProcess Group PGID: 1")]),
        {"$set": {"messages": [summary, masked]}},
        {"$rewindTo": "p"},
        message(
            "q",
            "user",
            content=[{"text": "Again, with @a.py and all it holds"}],
            displayContent="Again @a.py",
        ),
    )

    assert fields(facts[1:], "kind", "key", "text", "result") == [
        ("prompt", "prompt#1", "Look", None),
        ("tool_call", key("run_shell_command", command="ls"), None, "Output: a.py\nProcess Group PGID: 1"),
        ("prompt", "prompt#2", "Again @a.py", None),
    ]


def test_a_call_that_did_not_end_has_no_end_and_one_that_was_cancelled_was_interrupted(tmp_path):
    facts = chatted(
        tmp_path,
        message(
            "m",
            toolCalls=[
                called("c", "make", status="executing", result=[]),
                called("d", "sleep 9", status="cancelled"),
                called("e", "false", output="Output: (empty)\nExit Code: 1\nProcess Group PGID: 1"),
                called("f", "ask", status="error", output="", result=[]),
            ],
        ),
    )

    assert fields(calls(facts), "call", "status", "exit_code", "interrupted") == [
        ("c", "unknown", None, None),
        ("d", "interrupted", None, True),
        ("e", "failed", 1, None),
        ("f", "failed", None, None),
    ]
    assert calls(facts)[0]["ended_us"] is None


def test_a_subagent_has_a_chat_of_its_own_and_counts_equal_calls_with_its_parent(tmp_path):
    main = message("m", toolCalls=[called("c", "ls", second=2), called("e", "ls", second=6)])
    chatted(tmp_path, main, sessionId="s", kind="main")
    (tmp_path / "s").mkdir()

    facts = chatted(
        tmp_path,
        message("p", "user", content=[{"text": "Look there"}]),
        message("n", content="I look.", toolCalls=[called("d", "ls", second=4)]),
        name="s/sub.jsonl",
        sessionId="sub",
        kind="subagent",
    )
    of_main = gemini_cli.read(tmp_path / "session-x.jsonl", tmp_path)

    assert fields(facts, "kind", "native", "subagent", "key", "turn") == [
        ("agent_session", "s", "sub", "subagent_started:sub", None),
        ("prompt", "s", "sub", "sub/prompt#1", "sub/prompt#1"),
        ("assistant_message", "s", "sub", gemini_cli.message_key("I look.", "sub"), "sub/prompt#1"),
        ("tool_call", "s", "sub", key("run_shell_command", 2, command="ls"), "sub/prompt#1"),
    ]
    assert fields(calls(of_main), "call", "key") == [
        ("c", key("run_shell_command", 1, command="ls")),
        ("e", key("run_shell_command", 3, command="ls")),
    ]


def test_a_chat_of_an_older_version_is_one_object(tmp_path):
    path = tmp_path / "session-x.json"
    messages = [message("p", "user", content="Look"), message("m", content="Yes.")]
    path.write_text(json.dumps({"sessionId": "s", "messages": messages}))

    facts = fit(gemini_cli, gemini_cli.read(path, tmp_path))
    path.write_text("torn")

    assert fields(facts, "kind", "native", "text") == [
        ("agent_session", "s", None),
        ("prompt", "s", "Look"),
        ("assistant_message", "s", "Yes."),
    ]
    assert fields(gemini_cli.read(path, tmp_path), "event", "why") == [("chat", "no_json")]


def test_lines_that_are_unknown_or_torn_are_kept_once_for_each_kind(tmp_path):
    path = tmp_path / "session-x.jsonl"
    chatted(
        tmp_path, message("a", "dream"), message("b", "dream"), message("i", "info"), {"odd": 1}, {"odd": 2}
    )
    with path.open("a") as file:
        file.write('{"id"\n{"id": "x')

    facts = fit(gemini_cli, gemini_cli.read(path, tmp_path))

    assert fields(facts[1:], "event", "why") == [
        ("message dream", "unknown_event"),
        ("line", "unknown_shape"),
        ("line", "no_json"),
    ]


def test_chats_are_found_by_their_projects_oldest_first_with_their_subagents(tmp_path):
    root, gemini = tmp_path / "repo", tmp_path / "home/.gemini"
    hashed = hashlib.sha256(str(root).encode()).hexdigest()
    for project in ("repo", "below", "other", hashed):
        (gemini / "tmp" / project / "chats").mkdir(parents=True)
    (gemini / "projects.json").write_text(
        json.dumps({"projects": {str(root): "repo", str(tmp_path): "other"}})
    )
    (gemini / "tmp/below/.project_root").write_text(f"{root}/below\n")
    for place in (
        "repo/chats/session-2026-11-21T02-00-b.jsonl",
        "below/chats/session-2026-11-21T01-00-a.jsonl",
        "other/chats/session-2026-11-21T00-00-x.jsonl",
        f"{hashed}/chats/session-2026-01-01T00-00-old.json",
    ):
        written(gemini / "tmp" / place, [{"sessionId": place[-7:-6]}])
    (gemini / "tmp/repo/chats/b").mkdir()
    written(gemini / "tmp/repo/chats/b/sub2.jsonl", [{"sessionId": "sub2", "startTime": "2"}])
    written(gemini / "tmp/repo/chats/b/sub1.jsonl", [{"sessionId": "sub1", "startTime": "3"}])

    found = gemini_cli.transcripts({"HOME": str(tmp_path / "home")}, root)

    assert [path.name for path in found] == [
        "session-2026-01-01T00-00-old.json",
        "session-2026-11-21T01-00-a.jsonl",
        "session-2026-11-21T02-00-b.jsonl",
        "sub2.jsonl",
        "sub1.jsonl",
    ]
    assert gemini_cli.transcripts({"HOME": str(tmp_path / "nobody")}, root) == []


# --- its shell --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrapped",
    [
        "shopt -u promptvars nullglob; _bgpids_file=/tmp/g/bgpids.tmp\n(\n"
        "  trap 'jobs -p > \"$_bgpids_file\"' EXIT\necho (a); make\n)\n__code=$?\nexit $__code",
        "shopt -u promptvars; ( trap 'jobs -p > $_bgpids_file' EXIT; echo (a); make ); "
        "__code=$?; exit $__code",
        "{ echo (a); make; }; __code=$?; pgrep -g 0 >/tmp/x.tmp 2>&1; exit $__code;",
    ],
)
def test_the_command_inside_is_unwrapped(wrapped):
    assert gemini_cli.unwrapped(wrapped) == "echo (a); make"


def test_a_command_of_several_lines_is_unwrapped_whole():
    command = "cat <<EOF\n)\n__code=1\nEOF\nmake"
    wrapped = f"_bgpids_file='/tmp/a'\n(\n  trap 'x' EXIT\n{command}\n)\n__code=$?\nexit $__code"

    assert gemini_cli.unwrapped(wrapped) == command
    assert gemini_cli.unwrapped(command) is None


# --- whatever may come ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_whatever_a_hook_sends_becomes_facts_that_fit(seed):
    survives(gemini_cli, seed, HOOKS)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_a_chat_holds_becomes_facts_that_fit(tmp_path, seed):
    dice = random.Random(seed)
    for changed in mutants(seed, CHAT, 4):
        torn_at = dice.choice((None, dice.random()))
        path = written(tmp_path / dice.choice(("session-x.jsonl", "session-x.json")), changed, torn_at)
        fit(gemini_cli, gemini_cli.read(path, tmp_path))


def test_a_payload_as_deep_as_json_can_be_read_is_no_exception():
    deep = json.loads("[" * 900 + "]" * 900)

    (fact,) = gemini_cli.parse(
        "BeforeTool", {"session_id": "s", "tool_name": "x", "tool_input": deep}, AT_US, Counted()
    )

    assert fact["kind"] == "tool_call"
