"""opencode: what our plugin sends, what its database holds, that both tell the same, and the plugin."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devtrace.sources.agents import base, opencode
from tests.sources.agents.facts import (
    HEARD_US,
    PAYLOADS,
    Memory,
    assert_fit,
    keys,
    mutants,
    recorded,
    told,
)

VERSION = "opencode-1.18.33"
ROOT = Path("/repo")
SESSION = "ses_e0055940fffehgZ4GoBt7e3IIe"
SUB = "ses_e0055756cffe9w4Xt2odA3Lc1A"
TURN = "msg_1ffaa6ca9001tGG056wq96nzbn"
SUBTURN = "msg_1ffaa8a9f001di6GYy3VAp6ueU"
NOTES = "cat >notes.txt <<'END'\nThe greeting has its comma now.\nEND"
FAILING = "echo 'no such greeting' >&2; exit 3"
ADD = "git add hello.py notes.txt checked.txt nested.txt deeper.txt && git commit -q -m 'Greet Ana'"
DEEPER = "true && bash -c 'sh -c \"echo deeper >deeper.txt\"'"
DELEGATED = (
    '{"description":"check the program","prompt":"Check the program [script:sub]","subagent_type":"general"}'
)

# What was said, and what was done then: the status, and the claim of each call.
STEPS: list[tuple[str, list[tuple[str, Any]]]] = [
    ("First I see whether the shell answers.", [("ok", "echo hello")]),
    ("I write the program.", [("ok", ["/repo/hello.py"])]),
    ("The greeting lacks its comma.", [("ok", ["/repo/hello.py"])]),
    ("It should greet Ana; the shell is quicker here.", [("ok", "sed -i s/world/Ana/ hello.py")]),
    ("A note about it, by a here-document.", [("ok", NOTES)]),
    ("I ask for a greeting that does not exist.", [("failed", FAILING)]),
    (
        "Two checks that do not depend on each other.",
        [("ok", "echo one; sleep 0.2; echo one-done"), ("ok", "echo two")],
    ),
    ("Somebody else may check the program.", [("ok", DELEGATED)]),
    ("A shell in the shell.", [("ok", "bash -c 'echo nested >nested.txt'")]),
    ("And two, one in the other.", [("ok", DEEPER)]),
    ("It works, so I commit it.", [("ok", ADD)]),
    ("The program greets Ana, and the change is committed.", []),
]
SUBSTEPS: list[tuple[str, list[tuple[str, Any]]]] = [
    ("I run the program that I was asked to check.", [("ok", "python3 hello.py >checked.txt")]),
    ("The program runs.", []),
]


def heard(*payloads: dict[str, Any]) -> list[base.Fact]:
    return [fact for payload in payloads for fact in opencode.parse("", payload, HEARD_US, Memory())]


def hook(name: str, given: dict[str, Any], output: Any = None, **own: Any) -> dict[str, Any]:
    where = {"session_id": "ses_1", "cwd": "/repo", "turn": "msg_1", "model": "p/m"}
    return {"hook": name, "input": given, "output": output, "at_ms": 1_795_000_000_000, **where, **own}


def after(tool: str, output: dict[str, Any], **args: Any) -> base.Fact:
    given = {"tool": tool, "sessionID": "ses_1", "callID": "c1", "args": args}
    (fact,) = heard(hook("tool.execute.after", given, output))
    return fact


def bus(kind: str, **properties: Any) -> dict[str, Any]:
    return hook("event", {"id": "evt_1", "type": kind, "properties": properties})


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The recorded database, where opencode keeps it."""
    path = tmp_path / ".local" / "share" / "opencode" / "opencode.db"
    path.parent.mkdir(parents=True)
    change(path, (PAYLOADS / VERSION / "opencode.sql").read_text())
    return path


def change(path: Path, script: str) -> None:
    db = sqlite3.connect(path)
    db.executescript(f"PRAGMA synchronous = OFF; BEGIN; {script} COMMIT;")
    db.close()


def steps(facts: list[base.Fact], subagent: str | None = None) -> list[tuple[str, list[tuple[str, Any]]]]:
    """What was said, and what was done at once, as above."""
    found: list[tuple[str, list[tuple[str, Any]]]] = []
    for fact in facts:
        if fact["data"].get("subagent") == subagent:
            kind, _, status, what = told(fact)
            if kind == "assistant_message":
                found.append((what, []))
            elif kind == "tool_call":
                found[-1][1].append((status, what))
    return found


# --- the recorded run -----------------------------------------------------------------------------------


def test_the_plugin_tells_a_run_with_its_subagent():
    facts = heard(*recorded(f"{VERSION}/hooks.jsonl"))

    assert [told(fact) for fact in facts if fact["kind"] in ("prompt", "agent_session")] == [
        ("agent_session", "began", "ok", "started"),
        ("prompt", TURN, "ok", '"Greet Ana [script:main]"'),  # as the client's `run` quotes it
        ("agent_session", f"subagent_started:{SUB}", "ok", "subagent_started"),
        ("prompt", SUBTURN, "ok", "Check the program [script:sub]"),
        ("agent_session", f"subagent_ended:{SUB}:{SUBTURN}", "ok", "subagent_ended"),
        ("agent_session", f"stopped:{TURN}", "ok", "stopped"),
    ]
    # Each is told by a process of its own, and comes when it comes: the times put it in order.
    ended = sorted(
        (fact for fact in facts if fact["status"] != "running"),
        key=lambda fact: started(fact, facts),
    )
    assert steps(ended) == STEPS
    assert steps(ended, SUB) == SUBSTEPS
    assert {fact["native"] for fact in facts} == {SESSION}
    placed = [fact["data"] for fact in facts if "turn" in fact["data"]]
    assert {(data.get("subagent"), data["turn"]) for data in placed} == {(None, TURN), (SUB, SUBTURN)}
    assert_fit(facts, opencode.NAME)


def started(fact: base.Fact, facts: list[base.Fact]) -> int:
    """When it began; of a call its other half says so."""
    halves = [one["started_us"] for one in facts if (one["kind"], one["key"]) == (fact["kind"], fact["key"])]
    return min(one for one in halves if one is not None)


def test_the_database_tells_the_run_in_order_with_whole_calls(database):
    facts = list(opencode.read(database, ROOT))

    assert steps(facts) == STEPS
    assert steps(facts, SUB) == SUBSTEPS
    assert [told(fact) for fact in facts if fact["kind"] in ("prompt", "agent_session")] == [
        ("agent_session", "began", "ok", "started"),
        ("prompt", TURN, "ok", '"Greet Ana [script:main]"'),
        ("agent_session", f"subagent_started:{SUB}", "ok", "subagent_started"),
        ("prompt", SUBTURN, "ok", "Check the program [script:sub]"),
    ]
    (failed,) = (fact for fact in facts if fact["status"] == "failed")
    assert failed["data"]["exit_code"] == 3
    assert failed["data"]["result"] == "no such greeting\n"
    assert failed["ended_us"] > failed["started_us"]
    (delegated,) = (fact for fact in facts if fact["data"].get("does") == "subagent")
    assert delegated["data"]["starts"] == SUB
    assert {fact["data"]["model"] for fact in facts if fact["kind"] == "tool_call"} == {"scripted/model"}
    assert_fit(facts, opencode.NAME)


def test_hooks_and_database_of_a_run_agree_on_keys_and_on_what_was_done(database):
    by_hook = heard(*recorded(f"{VERSION}/hooks.jsonl"))
    by_database = list(opencode.read(database, ROOT))

    kinds = ("tool_call", "assistant_message", "prompt")
    assert keys(by_hook, *kinds) == keys(by_database, *kinds)
    assert len(keys(by_hook, "tool_call")) == 13
    halves = {(fact["kind"], fact["key"]): fact for fact in by_hook if fact["status"] != "running"}
    for fact in by_database:
        if fact["kind"] in kinds:
            other = halves[fact["kind"], fact["key"]]
            assert {**fact["data"], "cwd": "/repo"} == {"cwd": "/repo", **other["data"]}
            assert fact["status"] == other["status"]


def test_a_tool_that_threw_is_told_as_failed():
    facts = heard(*recorded(f"{VERSION}/hooks-failing.jsonl"))

    calls = [told(fact)[2:] for fact in facts if fact["kind"] == "tool_call"]
    assert calls == [
        ("running", ["/repo/a.txt"]),
        ("ok", ["/repo/a.txt"]),
        ("running", ["/repo/a.txt"]),
        ("failed", ["/repo/a.txt"]),
        ("running", FAILING),
        ("failed", FAILING),
        ("running", ["/repo/b.txt"]),
        ("failed", ["/repo/b.txt"]),
    ]
    thrown = [fact["data"]["result"] for fact in facts if fact["status"] == "failed"]
    assert [one.partition(" ")[0] for one in thrown] == ["Could", "no", "File"]
    assert_fit(facts, opencode.NAME)


# --- hooks ------------------------------------------------------------------------------------------------


def test_the_moment_is_the_plugins_and_not_that_of_the_process_that_it_starts():
    (fact,) = heard(hook("tool.execute.before", {"tool": "bash", "callID": "c1"}))

    assert (fact["started_us"], fact["ended_us"]) == (1_795_000_000_000_000, None)


def test_without_the_plugins_moment_it_is_when_it_was_heard():
    for odd in (None, "soon", -5, 10**30, True):
        payload = hook("tool.execute.before", {"tool": "bash", "callID": "c1"}, at_ms=odd)
        assert heard(payload)[0]["started_us"] == HEARD_US


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ({"output": "a\n", "metadata": {"exit": 0}}, ("ok", "a\n", 0)),
        ({"output": "a\n", "metadata": {"exit": 3}}, ("failed", "a\n", 3)),
        ({"output": "a\n", "metadata": {}}, ("ok", "a\n", None)),
        ({"output": "a\n\nUser aborted the command\n", "metadata": {"exit": None}}, ("interrupted",)),
        ({"content": [{"type": "text", "text": "sum=5"}], "isError": False}, ("ok", "sum=5", None)),
        ({"content": [{"type": "text", "text": "no"}], "isError": True}, ("failed", "no", None)),
        ({}, ("ok", None, None)),
    ],
)
def test_the_outcome_of_a_call_is_what_the_client_says(output: dict[str, Any], expected: tuple[Any, ...]):
    fact = after("bash", output, command="x")

    outcome = (fact["status"], fact["data"].get("result"), fact["data"].get("exit_code"))
    assert outcome[: len(expected)] == expected


@pytest.mark.parametrize(
    ("tool", "args", "does", "paths"),
    [
        ("edit", {"filePath": "/repo/a"}, "edit", ["/repo/a"]),
        ("read", {"filePath": "a"}, "read", ["a"]),
        (
            "apply_patch",
            {"patchText": "*** Begin Patch\n*** Update File: a\n*** Move to: b\n*** Add File: c d\n+x\n"},
            "edit",
            ["a", "b", "c d"],
        ),
        ("grep", {"pattern": "x"}, "search", None),
        ("demo_add", {"a": 1}, "mcp", None),
        ("plan_exit", {}, "other", None),
        ("todowrite", {}, "other", None),
    ],
)
def test_what_a_tool_does_and_to_which_files(tool: str, args: dict[str, Any], does: str, paths: Any):
    fact = after(tool, {}, **args)

    assert (fact["data"]["does"], fact["data"].get("paths")) == (does, paths)


def test_a_tool_that_a_person_stopped_is_interrupted():
    states = [
        {"status": "error", "error": "Tool execution aborted", "metadata": {"interrupted": True}},
        {"status": "error", "error": "Tool execution aborted"},
        {"status": "error", "error": "not found"},
    ]
    parts = [{"type": "tool", "tool": "bash", "callID": "c1", "state": state} for state in states]

    facts = heard(*(bus("message.part.updated", part=part, sessionID="ses_1") for part in parts))

    assert [fact["status"] for fact in facts] == ["interrupted", "interrupted", "failed"]


def test_files_that_a_prompt_names_are_no_part_of_what_was_typed():
    parts = [
        {"type": "text", "text": "look at @a.py"},
        {"type": "text", "text": "whole file", "synthetic": True},
        {"type": "file", "url": "file:///repo/a.py"},
    ]

    (fact,) = heard(hook("chat.message", {"sessionID": "ses_1"}, {"parts": parts}))

    assert fact["data"]["text"] == "look at @a.py"


def test_a_session_that_is_deleted_has_ended():
    (fact,) = heard(bus("session.deleted", info={"id": "ses_1"}))

    assert (fact["data"]["phase"], fact["data"]["detail"]) == ("ended", "deleted")


@pytest.mark.parametrize(
    "payload",
    [
        hook("tool.execute.before", {"tool": "bash"}),
        hook("tool.execute.after", {"callID": "c1", "tool": 3}),
        hook("chat.message", {}, {"parts": "x"}),
        hook("chat.message", {}, {"parts": []}, turn=None),
        bus("session.created", info=None),
        bus("message.part.updated", part={"type": "text", "text": "x"}),
        {"hook": "tool.execute.before", "input": {"tool": "bash", "callID": "c1"}},
    ],
)
def test_an_unexpected_shape_is_kept_as_it_came(payload: dict[str, Any]):
    (fact,) = heard(payload)

    assert fact["data"]["why"] == "unknown_shape"
    assert json.loads(fact["data"]["payload"]) == payload


def test_an_event_that_is_not_known_is_kept_as_it_came():
    facts = heard(hook("something.new", {}), bus("session.something"))

    assert [told(fact)[-1] for fact in facts] == [
        ("something.new", "unknown_event"),
        ("session.something", "unknown_event"),
    ]


def test_no_payload_is_fatal():
    payloads = recorded(f"{VERSION}/hooks.jsonl") + recorded(f"{VERSION}/hooks-failing.jsonl")
    for payload in mutants(payloads):
        assert_fit(opencode.parse("session.idle", payload, HEARD_US, Memory()), opencode.NAME)


# --- the database -----------------------------------------------------------------------------------------


def test_the_database_is_found_by_its_home_where_it_knows_the_directory(database, tmp_path):
    share = str(tmp_path / ".local" / "share")

    assert opencode.transcripts({"HOME": str(tmp_path)}, ROOT) == [database]
    assert opencode.transcripts({"XDG_DATA_HOME": share}, ROOT) == [database]
    assert opencode.transcripts({"HOME": "/nowhere", "OPENCODE_DB": str(database)}, ROOT) == [database]
    assert opencode.transcripts({"HOME": str(tmp_path)}, Path("/")) == [database]
    assert opencode.transcripts({"HOME": str(tmp_path)}, Path("/rep")) == []
    assert opencode.transcripts({"HOME": str(tmp_path / "nobody")}, ROOT) == []


def test_a_call_that_was_cut_off_is_of_unknown_outcome(database):
    state = {"status": "running", "input": {"command": "sleep 99"}, "time": {"start": 1_795_290_725_000}}
    part = json.dumps({"type": "tool", "tool": "bash", "callID": "c9", "state": state})
    messages = (fact["data"].get("message") for fact in opencode.read(database, ROOT))
    values = f"'prt_9', '{next(filter(None, messages))}', '{SESSION}', 1, 1, '{part}'"
    change(database, f"INSERT INTO part VALUES ({values});")

    (fact,) = (fact for fact in opencode.read(database, ROOT) if fact["key"] == "c9")

    assert (fact["status"], fact["started_us"], fact["ended_us"]) == ("unknown", 1_795_290_725_000_000, None)


def test_parts_that_make_no_sense_are_told_once_each(database):
    change(database, """UPDATE part SET data = '{"type": "hologram"}' WHERE data LIKE '%"step-start"%';""")

    odd = [told(fact)[-1] for fact in opencode.read(database, ROOT) if fact["kind"] == "agent_payload"]

    assert odd == [("part/hologram", "unknown_shape")]


def test_subagents_that_name_one_another_end_nowhere(database):
    change(database, f"UPDATE session SET parent_id = '{SUB}' WHERE id = '{SESSION}';")

    assert_fit(opencode.read(database, ROOT), opencode.NAME)


@pytest.mark.parametrize(
    "script", ["DROP TABLE part;", "ALTER TABLE session RENAME COLUMN time_created TO made;"]
)
def test_a_database_of_another_version_is_told_and_not_fatal(database, script: str):
    change(database, script)

    *_, last = opencode.read(database, ROOT)

    assert told(last)[-1] == ("database", "unknown_shape")


def test_a_file_that_is_no_database_is_told_and_not_fatal(tmp_path):
    path = tmp_path / "opencode.db"
    path.write_text("no database at all, " * 99)

    (fact,) = opencode.read(path, ROOT)

    assert told(fact)[-1] == ("database", "unknown_shape")


def test_no_row_is_fatal(database):
    db = sqlite3.connect(database)
    rows = [
        (table, *row) for table in ("message", "part") for row in db.execute(f"SELECT id, data FROM {table}")
    ]
    datas = [json.loads(data) for _, _, data in rows]
    for (table, row, data), mutant in zip(itertools.cycle(rows), mutants(datas, rounds=200), strict=False):
        db.execute(f"UPDATE {table} SET data = ? WHERE id = ?", (json.dumps(mutant), row))
        db.commit()
        assert_fit(opencode.read(database, ROOT), opencode.NAME)
        db.execute(f"UPDATE {table} SET data = ? WHERE id = ?", (data, row))
    db.close()


# --- the plugin -------------------------------------------------------------------------------------------

SCRIPT = """\
import os, sys
payload = sys.stdin.buffer.read()
fifo = os.open({fifo!r}, os.O_WRONLY)
os.write(fifo, sys.argv[2].encode() + b" " + payload + b"\\n")
"""
PLAY = Path(__file__).with_name("play_plugin.mjs")


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """The plugin as it is installed, with a hook that writes what it gets into a FIFO."""
    script, fifo, path = tmp_path / "agent_hook.py", tmp_path / "fifo", tmp_path / "devtrace.mjs"
    os.mkfifo(fifo)
    script.write_text(SCRIPT.format(fifo=str(fifo)))
    (file,) = opencode.hooks(lambda event: f"{sys.executable} -I -S {script} opencode {event}")
    path.write_text(file.merge(None))
    return path


def play(plugin: Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(["node", PLAY, plugin], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.needs("node")
def test_the_plugin_sends_what_it_hears_and_names_the_call_to_the_shell(plugin, tmp_path):
    fifo = os.open(tmp_path / "fifo", os.O_RDWR)  # also for writing: it does not end between two hooks
    with play(plugin) as process, os.fdopen(fifo, "rb") as lines:
        sent = [next(lines).decode().split(" ", 1) for _ in range(7)]
        out, err = process.communicate()

    done = json.loads(out)
    assert (process.returncode, err) == (0, "")
    assert (done["env"], done["args"]) == ({"DEVTRACE_CALL": "c1"}, {"command": "true"})
    events = [event for event, _ in sent]
    assert events.index("tool.execute.before") < events.index("tool.execute.after")
    payloads = [(event, json.loads(text)) for event, text in sent]
    (ended,) = (payload for event, payload in payloads if event == "tool.execute.after")
    del ended["at_ms"]
    assert ended == {
        "hook": "tool.execute.after",
        "input": {"tool": "bash", "sessionID": "ses_2", "callID": "c1", "args": {"command": "true"}},
        "output": {"title": "t", "output": "o", "metadata": {"exit": 0}},
        "session_id": "ses_1",
        "subagent": "ses_2",
        "turn": "msg_2",
        "model": "p/m",
        "cwd": "/repo",
    }
    facts = [fact for event, payload in payloads for fact in opencode.parse(event, payload, 1, Memory())]
    assert sorted(
        (*told(fact)[:3], fact["data"].get("turn")) for fact in facts if "turn" in fact["data"]
    ) == [
        ("assistant_message", "prt_1", "ok", "msg_2"),
        ("prompt", "msg_1", "ok", "msg_1"),
        ("prompt", "msg_2", "ok", "msg_2"),
        ("tool_call", "c1", "ok", "msg_2"),
        ("tool_call", "c1", "running", "msg_2"),
    ]
    assert keys(facts, "agent_session") == {
        ("agent_session", "subagent_started:ses_2"),
        ("agent_session", "ended#1"),
    }
    assert {fact["native"] for fact in facts} == {"ses_1"}


@pytest.mark.needs("node")
def test_the_plugin_does_nothing_when_the_hook_is_gone(plugin, tmp_path):
    (tmp_path / "agent_hook.py").unlink()

    with play(plugin) as process:
        out, err = process.communicate()

    assert json.loads(out)["env"] == {}
    assert (process.returncode, err) == (0, "")


def test_the_plugin_is_a_file_of_ours_alone():
    (file,) = opencode.hooks(lambda event: f"/usr/bin/python3 -I -S /x/agent_hook.py opencode {event}")

    text = file.merge(None)
    assert file.path == ".opencode/plugins/devtrace.js"
    assert all(f'"{event}": "/usr/bin/python3 -I -S ' in text for event in opencode.EVENTS)
    assert 'const SCRIPT = "/x/agent_hook.py"' in text
    assert file.merge(text) == text
    assert file.without(text) is None
