"""aider: a history as its sources write it, and whatever else may stand in that file."""

from __future__ import annotations

import random
import time

import pytest

from devtrace.sources.agents import aider
from tests.sources.agents.adapters import PAYLOADS, calls, fields, fit

HISTORY = PAYLOADS / "aider-0.86/chat.history.md"
FIRST, SECOND = "2026-11-21 02:00:00", "2026-11-21 02:30:00"


@pytest.fixture(autouse=True)
def clock_in_new_york(monkeypatch):
    """aider writes the time of the machine's own clock."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def read(path=HISTORY):
    return fit(aider, aider.read(path, path.parent))


def written(tmp_path, text):
    path = tmp_path / ".aider.chat.history.md"
    path.write_text(text, "utf-8", "surrogatepass")
    return read(path)


def test_a_history_tells_sessions_prompts_words_edits_commands_and_commits():
    facts = read()

    assert fields(facts, "kind", "native", "turn", "status") == [
        ("agent_session", FIRST, None, "ok"),
        ("prompt", FIRST, "prompt#1", "ok"),
        ("assistant_message", FIRST, "prompt#1", "ok"),
        ("tool_call", FIRST, "prompt#1", "ok"),
        ("tool_call", FIRST, "prompt#1", "ok"),
        ("tool_call", FIRST, "prompt#1", "ok"),
        ("tool_call", FIRST, "prompt#1", "unknown"),
        ("prompt", FIRST, "prompt#2", "ok"),
        ("agent_session", SECOND, None, "ok"),
        ("prompt", SECOND, "prompt#1", "ok"),
        ("assistant_message", SECOND, "prompt#1", "ok"),
        ("prompt", SECOND, "prompt#2", "ok"),
        ("assistant_message", SECOND, "prompt#2", "ok"),
    ]
    assert len({(fact["native"], fact["kind"], fact["key"]) for fact in facts}) == len(facts)


def test_what_was_typed_and_said_is_told_as_it_stands_there():
    texts = [text for (text,) in fields(read(), "text") if text]

    assert texts[0] == "Add a greeting\n\nand a test for it"
    assert texts[1].startswith("I add `greet.py` with a function, and a test.\n\n> not the client")
    assert "#### a comment, not a prompt" in texts[1]
    assert texts[1].endswith(">>>>>>> REPLACE\n```")
    assert texts[2:] == ["/run git status", "Thanks", "You are welcome.", "Thanks", "You are welcome."]


def test_calls_name_their_files_commands_and_commits():
    assert fields(calls(read()), "tool", "does", "paths", "command", "result", "exit_code") == [
        ("edit", "edit", ["greet.py"], None, None, None),
        ("edit", "edit", ["tests/test greet.py"], None, None, None),
        ("commit", "other", None, None, "1a2b3c4 feat: add a greeting", None),
        ("run", "shell", None, "python -m pytest \\\n-q", None, None),
    ]


def test_a_session_tells_the_client_its_model_and_when_it_began():
    sessions = [fact for fact in read() if fact["kind"] == "agent_session"]

    assert fields(sessions, "started_us", "version", "model") == [
        (1_795_244_400_000_000, "0.86.1", "claude-sonnet-4"),
        (1_795_246_200_000_000, "0.86.1", "gpt-5"),
    ]


def test_two_sessions_of_the_same_second_are_told_apart(tmp_path):
    begins = "\n# aider chat started at 2026-11-21 02:00:00\n\n#### Go  \n"

    facts = written(tmp_path, begins + begins)

    assert fields(facts, "native", "key") == [
        (FIRST, "started"),
        (FIRST, "prompt#1"),
        (f"{FIRST}#2", "started"),
        (f"{FIRST}#2", "prompt#1"),
    ]


def test_a_time_that_is_none_is_not_told(tmp_path):
    (fact,) = written(tmp_path, "# aider chat started at 2026-99-99 99:99:99\n")

    assert fact["started_us"] is None


def test_the_history_of_a_repository_is_found(tmp_path):
    assert aider.transcripts({}, tmp_path) == []

    (tmp_path / ".aider.chat.history.md").touch()
    (tmp_path / "talk.md").touch()

    assert aider.transcripts({}, tmp_path) == [tmp_path / ".aider.chat.history.md"]
    assert aider.transcripts({"AIDER_CHAT_HISTORY_FILE": "talk.md"}, tmp_path) == [tmp_path / "talk.md"]


def test_the_trailer_of_a_commit_names_the_model():
    message = "feat: add a greeting\n\nCo-authored-by: aider (gpt-5 (high)) <aider@aider.chat>\n"

    assert aider.model_of(message) == "gpt-5 (high)"
    assert aider.model_of("feat: aider (gpt-5) <aider@aider.chat>") is None


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_history_holds_becomes_facts_that_fit(tmp_path, seed):
    dice = random.Random(seed)
    pieces = (
        "#### ",
        "> ",
        "  ",
        "\n",
        "# aider chat started at ",
        "0001-01-01 00:00:00",
        "\ufffd",
        "Running ",
        "```",
    )
    recorded = HISTORY.read_text()
    for _ in range(20):
        text = list(recorded)
        for _ in range(dice.randint(1, 40)):
            place = dice.randrange(len(text))
            text[place : place + dice.randrange(4)] = dice.choice(pieces)
        written(tmp_path, "".join(text)[: dice.randrange(len(text))])
