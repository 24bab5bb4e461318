"""What a model is told of one event: all of it, what it printed in parts, what it changed as patches."""

from __future__ import annotations

import json

import pytest

from tests.edits import Recorded as Edited
from tests.mcp_serve.asking import Alive, Model, between


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Alive(tmp_path)
    made.session()
    yield made
    made.close()


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """A repository in which a session has begun."""
    monkeypatch.chdir(tmp_path)
    made = Edited(tmp_path)
    made.write("a.txt", "one\ntwo\nthree\n")
    made.git("add", "-A")
    made.git("commit", "-qm", "first")
    made.begin()
    return made


@pytest.fixture
def model():
    made = Model()
    yield made
    made.close()


# --- an event -----------------------------------------------------------------------------------------------


def test_an_event_is_told_with_what_it_happened_in_and_what_happened_in_it(recorded, model):
    outer = recorded.command("make", 1, 9)
    inner = recorded.nested("cc -c a.c", outer, 2, 1, exit_code=1)
    deepest = recorded.nested("as a.s", inner, 2.1, 0.2)

    reply = model.ask("get_event", id=inner[:10])

    told = reply.structured
    assert (told["event"]["id"], told["event"]["title"]) == (inner, "$ cc -c a.c")
    assert told["event"]["data"]["command"] == "cc -c a.c"
    assert [row["id"] for row in told["around"]] == [outer]
    assert [row["id"] for row in told["inside"]] == [deepest]
    assert not told["has_more_inside"]
    assert told["uri"] == f"devtrace://event/{recorded.session_id}/{inner}"
    _, lines = between(reply.text)
    assert any(line.startswith("command     cc -c a.c") for line in lines)


def test_an_event_is_found_in_its_session_too(recorded, model):
    event = recorded.command("make", 1)

    assert model.ask("get_event", id=f"{recorded.session_id}/{event[:6]}").structured["event"]["id"] == event


def test_of_many_that_happened_in_it_the_first_are_told(recorded, model):
    outer = recorded.command("make", 1, 900)
    for number in range(30):
        recorded.nested(f"cc {number}", outer, 2 + number)

    told = model.ask("get_event", id=outer).structured

    assert [row["title"] for row in told["inside"]] == [f"$ cc {number}" for number in range(20)]
    assert told["has_more_inside"]


def test_an_event_with_output_says_where_it_is(recorded, model):
    event = recorded.command("make", 1, printed=b"done\n")

    reply = model.ask("get_event", id=event)

    assert reply.structured["has_output"]
    assert reply.links == ((reply.structured["uri"], f"event {event}", "application/json"),)


def test_a_call_of_a_tool_is_told_with_prompt_and_reason_when_they_are_asked_for(recorded, model):
    recorded.prompt("make it quick", 1)
    recorded.said("I will look first", 2)
    call = recorded.tool("Read", {"file_path": "a.py"}, 3)

    brief = model.ask("get_event", id=call)
    whole = model.ask("get_event", id=call, explain=True)

    assert "calls" not in brief.structured
    (told,) = whole.structured["calls"]
    assert told["prompts"][0]["text"] == "make it quick"
    assert told["reason"]["text"] == "I will look first"
    assert "I will look first" in whole.text


def test_what_is_too_large_loses_the_ends_of_its_texts_and_says_so(recorded, model):
    call = recorded.tool("Bash", "echo " + "x" * 60_000, 1, result="y" * 60_000)

    reply = model.ask("get_event", id=call, max_bytes=4_096)

    assert reply.structured["cut"]
    assert "It was cut to fit." in reply.text
    assert reply.structured["event"]["id"] == call


def test_an_end_that_came_late_is_told_under_the_id_of_the_command(recorded, model):
    lost = recorded.command("vim", 1, took=None, status="interrupted")
    end = recorded.command("vim", 1, 60)
    recorded.db.execute(
        "INSERT INTO links VALUES (?, ?, ?, ?, 'end', 'certain', 0)",
        (recorded.session_id, lost, recorded.session_id, end),
    )

    told = model.ask("get_event", id=lost).structured["event"]

    assert (told["id"], told["status"], told["duration_ms"]) == (lost, "ok", 60_000)


# --- what it printed ----------------------------------------------------------------------------------------


def test_output_is_read_as_text_without_escape_sequences(recorded, model):
    event = recorded.command("make", 1, printed=b"\x1b[31mred\x1b[0m\r\n10%\r100%\r\n")

    reply = model.ask("get_output", id=event)

    assert reply.structured["text"] == "red\n100%\n"
    assert reply.structured["source"] == "terminal output"
    assert reply.structured["is_whole"]
    ours, lines = between(reply.text)
    assert ours == ['Characters 0 to 9 of 9 that "$ make" gave (terminal output).']
    assert lines == ["red", "100%"]
    assert reply.links == ()


def test_long_output_comes_in_parts_that_are_whole_lines_and_miss_nothing(recorded, model):
    text = "".join(f"{number}: some words of a test that passed\n" for number in range(1_500))
    event = recorded.command("pytest", 1, printed=text.encode())
    found, offset, parts = "", 0, 0
    while offset is not None:
        told = model.ask("get_output", id=event, offset=offset, max_bytes=8_192).structured
        assert told["text"].endswith("\n")
        found += told["text"]
        offset, parts = told.get("next_offset"), parts + 1

    assert found == text
    assert parts > 5


def test_the_end_of_long_output_is_asked_for_by_name(recorded, model):
    text = "".join(f"{number}: passed\n" for number in range(9_000))
    event = recorded.command("pytest", 1, printed=text.encode())

    reply = model.ask("get_output", id=event, part="tail", max_bytes=4_096)

    told = reply.structured
    assert text.endswith(told["text"])
    assert told["text"][0].isdigit()
    assert text[told["offset"] - 1] == "\n"
    assert "There is more before it" in reply.text
    assert reply.links[0][0] == f"devtrace://event/{recorded.session_id}/{event}"


def test_one_endless_line_comes_in_parts_too(recorded, model):
    event = recorded.command("yes", 1, printed=("\u20ac" * 20_000).encode())
    found, offset = "", 0
    while offset is not None:
        told = model.ask("get_output", id=event, offset=offset, max_bytes=8_192).structured
        found += told["text"]
        offset = told.get("next_offset")

    assert found == "\u20ac" * 20_000 + "\n"


def test_output_whose_middle_was_not_kept_says_so(recorded, model):
    output = {"seen": 10_000, "head": 6, "tail": 5, "truncated": True}
    event = recorded.command("make", 1, printed=b"first\nlast\n", output=output)

    told = model.ask("get_output", id=event).structured

    assert not told["is_whole"]
    assert told["seen_bytes"] == 10_000
    assert "not kept" in told["text"]


def test_what_a_tool_is_said_to_have_given_is_read_in_parts_as_well(recorded, model):
    call = recorded.tool("Read", {"file_path": "a.py"}, 1, result="def f():\n    pass\n")

    told = model.ask("get_output", id=call).structured

    assert (told["text"], told["source"]) == ("def f():\n    pass\n", "as the client told it")


# --- what it changed ----------------------------------------------------------------------------------------


def test_what_a_command_changed_is_a_patch(edited, model):
    edited.write("a.txt", "one\nTWO\nthree\n")
    event = edited.command("sed -i s/two/TWO/ a.txt")

    reply = model.ask("get_diff", id=event.id)

    (file,) = reply.structured["files"]
    assert (file["path"], file["change"], file["added"], file["deleted"]) == ("a.txt", "modified", 1, 1)
    assert file["patch"].startswith("diff --git a/a.txt b/a.txt\n")
    assert "\n-two\n+TWO\n" in file["patch"]
    ours, lines = between(reply.text)
    assert ours == [f"1 file of 1 that event {event.id} changed."]
    assert lines[0] == "# modified a.txt (+1 -1)"
    assert "+TWO" in lines


def test_what_a_session_changed_comes_file_by_file(edited, model):
    for number in range(12):
        edited.write(f"src/{number:02}.txt", "x\n" * 30)
    edited.command("make")

    rows = model.rows("get_diff", "files", id=edited.session, limit=5)

    assert [row["path"] for row in rows] == [f"src/{number:02}.txt" for number in range(12)]


def test_a_patch_that_is_too_long_goes_on_in_the_next_page(edited, model):
    text = "".join(f"line {number}\n" for number in range(3_000))
    edited.write("long.txt", text)
    edited.write("short.txt", "x\n")
    event = edited.command("make")

    pages = model.pages("get_diff", "files", id=event.id, max_bytes=8_192)

    rows = [row for page in pages for row in page]
    patch = "".join(row["patch"] for row in rows if row["path"] == "long.txt")
    assert patch.count("\n+line ") == 3_000
    assert all(row["is_part"] for row in rows if row["path"] == "long.txt")
    assert rows[-1]["path"] == "short.txt"
    assert "is_part" not in rows[-1]


def test_only_the_files_below_a_path_are_shown_if_one_is_given(edited, model):
    edited.write("src/a.txt", "x\n")
    edited.write("docs/b.txt", "x\n")
    event = edited.command("make")

    def paths(**more):
        return [row["path"] for row in model.ask("get_diff", id=event.id, **more).structured["files"]]

    assert paths(path="src") == ["src/a.txt"]
    assert paths(path="docs/b.txt") == ["docs/b.txt"]
    assert paths(path=str(edited.root / "docs")) == ["docs/b.txt"]
    assert paths(path="lib") == []
    assert len(paths(path=".")) == 2


def test_a_change_that_was_taken_back_is_told_without_files(edited, model):
    edited.write("a.txt", "one\n")
    edited.command("head -1")
    edited.write("a.txt", "one\ntwo\nthree\n")
    edited.command("git checkout a.txt")

    reply = model.ask("get_diff", id=edited.session)

    assert reply.structured["files"] == []
    assert "Nothing is left of what it changed" in reply.text


def test_the_content_of_a_file_that_is_a_secret_by_its_name_is_not_shown(edited, model):
    edited.write("server.pem", "-----BEGIN PRIVATE KEY-----\nabcdef\n")
    event = edited.command("openssl")

    (file,) = model.ask("get_diff", id=event.id).structured["files"]

    assert file["withheld"] == "path"
    assert "abcdef" not in json.dumps(file)


def test_so_many_lines_stand_around_a_change_as_were_asked_for(edited, model):
    edited.write("a.txt", "one\nTWO\nthree\n")
    event = edited.command("sed")

    patch = model.ask("get_diff", id=event.id, context=0).structured["files"][0]["patch"]

    assert "\n one" not in patch
