"""Whatever is asked wrongly is told with a code, a sentence and what to do; the server goes on."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from devtrace.services.mcp_server import answers as mcp_answers
from devtrace.services.mcp_server import calls as mcp_calls
from devtrace.services.mcp_server.arguments import checked
from devtrace.services.mcp_server.calls import Calls
from devtrace.services.mcp_server.tools import BY_NAME, TOOLS
from tests.edits import Recorded as Edited
from tests.mcp_serve.asking import Alive, Model

LINES = {"path": "a.txt", "line": 1}
LEAST: dict[str, dict[str, object]] = {
    "list_sessions": {}, "list_events": {}, "get_event": {"id": "3f2a"}, "get_diff": {"id": "3f2a"},
    "get_output": {"id": "3f2a"}, "search_commands": {"query": "make"}, "blame_line": LINES, "why": LINES,
    "audit": {},
}  # fmt: skip
every_tool = pytest.mark.parametrize("tool", LEAST)


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A store with one session."""
    monkeypatch.chdir(tmp_path)
    made = Alive(tmp_path)
    made.session()
    yield made
    made.close()


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """A repository with a recorded change of `a.txt`."""
    monkeypatch.chdir(tmp_path)
    made = Edited(tmp_path)
    made.write("a.txt", "one\ntwo\n")
    made.git("add", "-A")
    made.git("commit", "-qm", "first")
    made.begin()
    made.write("a.txt", "one\n2\n")
    made.command("sed")
    return made


@pytest.fixture
def model():
    made = Model()
    yield made
    made.close()


# --- any argument -------------------------------------------------------------------------------------------


def test_every_tool_is_asked_here():
    assert list(LEAST) == [tool.name for tool in TOOLS]


@every_tool
def test_an_argument_that_there_is_not(recorded, model, tool):
    text = model.message(tool, **LEAST[tool], colour="red")

    assert f"error: {tool}: it takes no argument 'colour' [ERR_ARGUMENT]" in text
    assert "hint: it takes " in text


@every_tool
def test_an_argument_that_is_missing(recorded, model, tool):
    for name in BY_NAME[tool].takes.get("required", ()):
        left = {one: value for one, value in LEAST[tool].items() if one != name}

        assert f"the argument '{name}' is missing" in model.message(tool, **left)


@every_tool
def test_an_argument_of_a_wrong_type(recorded, model, tool):
    wrong = {"string": 3, "integer": "3", "boolean": "yes", "array": "note"}
    for name, schema in BY_NAME[tool].takes["properties"].items():
        text = model.message(tool, **{**LEAST[tool], name: wrong[schema["type"]]})

        assert f"{tool}: {name} must be " in text
        assert "[ERR_ARGUMENT]" in text


@every_tool
def test_a_number_that_is_too_small_or_too_large(recorded, model, tool):
    for name, schema in BY_NAME[tool].takes["properties"].items():
        if schema["type"] == "integer":
            for value in (schema["minimum"] - 1, schema["maximum"] + 1, -1, 10**30):
                text = model.message(tool, **{**LEAST[tool], name: value})

                assert f"{name} must be from {schema['minimum']} to {schema['maximum']}" in text


@every_tool
def test_a_text_that_is_empty_or_endless(recorded, model, tool):
    for name, schema in BY_NAME[tool].takes["properties"].items():
        if schema["type"] == "string":
            assert f"{name} is empty" in model.message(tool, **{**LEAST[tool], name: "  "})
            endless = "x" * (schema["maxLength"] + 1)
            assert f"{name} is too long" in model.message(tool, **{**LEAST[tool], name: endless})


@every_tool
def test_a_text_with_a_character_that_is_in_none(recorded, model, tool):
    for name, schema in BY_NAME[tool].takes["properties"].items():
        if schema["type"] == "string":
            for text in ("a\0b", "a\ud800b"):
                assert "a character that is in no text" in model.message(tool, **{**LEAST[tool], name: text})


def test_a_list_that_is_empty_or_endless_or_of_something_else(recorded, model):
    for kinds in ([], ["note"] * 21, [3], ["note", None], [""]):
        assert model.refused("list_events", kinds=kinds) == "ERR_ARGUMENT"


def test_a_word_that_is_none_of_the_choices(recorded, model):
    assert "order cannot be 'random'" in model.message("list_events", order="random")
    assert "part cannot be 'middle'" in model.message("get_output", id="3f2a", part="middle")


def test_a_null_counts_as_nothing_said(recorded, model):
    assert model.ask("list_events", limit=None, kinds=None, cursor=None).structured["events"] == []


def test_a_whole_number_may_be_written_with_a_point():
    assert checked("list_events", BY_NAME["list_events"].takes, {"limit": 5.0})["limit"] == 5


# --- ids ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["get_event", "get_diff", "get_output"])
def test_an_unknown_id(recorded, model, tool):
    for wanted in ("ffff", "zz", "../x", "0" * 40, "3f2a/77b0"):
        assert model.refused(tool, id=wanted) == "ERR_ID_UNKNOWN"
    assert "list_sessions and list_events tell the ids" in model.message(tool, id="ffff")


@pytest.mark.parametrize("tool", ["get_event", "get_diff", "get_output"])
def test_the_start_of_an_id_that_fits_several(recorded, model, tool):
    for last in "123":
        recorded.command("true", id=f"abcd00000000000{last}")

    text = model.message(tool, id="abcd")

    assert "abcd fits 3 sessions or events [ERR_ID_AMBIGUOUS]" in text
    assert "add digits: " in text


@pytest.mark.parametrize("tool", ["list_events", "search_commands", "audit"])
def test_an_unknown_session(edited, model, tool):
    assert model.refused(tool, **LEAST[tool], session="ffff") == "ERR_ID_UNKNOWN"


@pytest.mark.parametrize("tool", ["get_event", "get_output"])
def test_a_session_where_an_event_is_wanted(recorded, model, tool):
    text = model.message(tool, id=recorded.session_id)

    assert "is a session, not an event" in text
    assert "list_events with that session" in text


def test_an_event_that_was_pruned(recorded, model):
    recorded.db.execute(
        "INSERT INTO pruned VALUES (99, ?, '1234567890abcdef', 'note', '0', '0')", (recorded.session_id,)
    )

    assert "event 1234567890abcdef was pruned" in model.message("get_event", id="1234567890abcdef")


# --- filters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["list_sessions", "list_events", "search_commands"])
def test_filters_that_cannot_be_read(recorded, model, tool):
    least = LEAST[tool]

    assert "cannot read 'soon' as a time" in model.message(tool, **least, since="soon")
    assert "cannot read '25:99' as a time" in model.message(tool, **least, until="25:99")
    assert "since lies after until" in model.message(tool, **least, since="1h", until="2h")
    assert "unknown actor 'robot'" in model.message(tool, **least, actor="robot")
    assert model.refused(tool, **least, agent="nobody") == "ERR_AGENT_UNKNOWN"


@pytest.mark.parametrize("tool", ["list_events", "search_commands"])
def test_a_kind_that_there_is_not(recorded, model, tool):
    text = model.message(tool, **LEAST[tool], kinds=["note", "explosion"])

    assert "unknown event kind 'explosion' [ERR_EVENT_KIND]" in text
    assert "run_command" in text


# --- cursors ------------------------------------------------------------------------------------------------


def test_cursors_that_are_none_or_of_something_else(recorded, model):
    for number in range(5):
        recorded.command("true", number)
    cursor = model.ask("list_events", limit=2).structured["next_cursor"]

    assert model.refused("list_events", cursor="nonsense") == "ERR_CURSOR"
    assert model.refused("list_events", cursor=cursor[:-3]) == "ERR_CURSOR"
    assert "another tool" in model.message("list_sessions", cursor=cursor)
    assert "other arguments" in model.message("list_events", cursor=cursor, failed=True)


def test_a_cursor_into_a_store_that_was_begun_anew(recorded, model):
    for number in range(5):
        recorded.command("true", number)
    cursor = model.ask("list_events", limit=2).structured["next_cursor"]
    recorded.db.execute("DELETE FROM events")
    recorded.db.execute("DELETE FROM outputs")

    assert "has changed since" in model.message("list_events", limit=2, cursor=cursor)


# --- what was not kept --------------------------------------------------------------------------------------


def test_output_of_what_kept_none(recorded, model):
    quiet, note = recorded.command("true", 1), recorded.note("look", 2)

    assert model.refused("get_output", id=quiet) == "ERR_NO_OUTPUT"
    assert model.refused("get_output", id=note) == "ERR_NO_OUTPUT"


def test_output_from_behind_its_end(recorded, model):
    event = recorded.command("make", 1, printed=b"done\n")

    assert "offset 5 is behind the end: there are 5 characters" in model.message(
        "get_output", id=event, offset=5
    )
    assert "are two places" in model.message("get_output", id=event, offset=1, part="tail")


def test_the_changes_of_what_made_none(edited, model):
    event = edited.command("true")

    text = model.message("get_diff", id=event.id)

    assert f"event {event.id} changed no file that is recorded [ERR_NO_DIFF]" in text


# --- lines --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["blame_line", "why"])
@pytest.mark.parametrize(
    "path",
    ["../a.txt", "src/../../a.txt", "/etc/passwd", "/", ".", "..", ".git/config", ".devtrace/salt",
     "src/../.devtrace/devtrace.db"],
)  # fmt: skip
def test_a_path_that_leads_out_of_the_working_tree(edited, model, tool, path):
    assert model.refused(tool, path=path, line=1) == "ERR_PATH"


@pytest.mark.parametrize("tool", ["blame_line", "why"])
def test_a_path_that_a_link_leads_out_of_the_working_tree(edited, model, tool, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.txt").write_text("hidden\n")
    (edited.root / "link").symlink_to(outside)

    assert model.refused(tool, path="link/secret.txt", line=1) == "ERR_PATH"


@pytest.mark.parametrize("tool", ["blame_line", "why"])
def test_a_file_that_is_a_link_is_not_followed(edited, model, tool, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.txt"
    outside.write_text("hidden\n")
    (edited.root / "link.txt").symlink_to(outside)
    edited.command("ln -s")

    assert "hidden" not in model.ask(tool, path="link.txt", line=1).text


@pytest.mark.parametrize("tool", ["blame_line", "why"])
def test_a_file_that_is_not_there(edited, model, tool):
    text = model.message(tool, path="gone.txt", line=1)

    assert "the lines of gone.txt cannot be told: it is not there [ERR_NO_BLAME]" in text


@pytest.mark.parametrize("tool", ["blame_line", "why"])
def test_a_file_of_which_nothing_is_recorded_is_not_read_out(edited, model, tool):
    edited.write("private.txt", "nobody recorded this\n")

    text = model.message(tool, path="private.txt", line=1)

    assert "nothing of that file is recorded [ERR_NO_BLAME]" in text
    assert "nobody" not in text


@pytest.mark.parametrize("tool", ["blame_line", "why"])
def test_a_file_whose_name_says_that_it_is_a_secret(edited, model, tool):
    edited.write(".env", "TOKEN=abcdef123456\n")
    edited.command("cp")

    assert "its name says that it holds a secret" in model.message(tool, path=".env", line=1)


@pytest.mark.parametrize("tool", ["blame_line", "why"])
def test_a_directory_where_a_file_is_wanted(edited, model, tool):
    (edited.root / "src").mkdir()

    assert model.refused(tool, path="src", line=1) == "ERR_NO_BLAME"


@pytest.mark.parametrize("tool", ["blame_line", "why"])
def test_a_line_behind_the_last_one(edited, model, tool):
    text = model.message(tool, path="a.txt", line=3)

    assert "there is no line 3: the file has 2 [ERR_ARGUMENT]" in text


def test_lines_the_wrong_way_round_or_too_many(edited, model):
    assert model.refused("blame_line", path="a.txt", line=2, end_line=1) == "ERR_ARGUMENT"
    assert model.refused("blame_line", path="a.txt", line=1, end_line=51) == "ERR_ARGUMENT"


def test_a_state_that_is_neither_a_commit_nor_an_event(edited, model):
    assert model.refused("blame_line", path="a.txt", line=1, at="nonsense") == "ERR_ID_UNKNOWN"


@pytest.mark.parametrize("tool", ["blame_line", "why", "audit"])
def test_a_store_in_which_no_file_was_ever_recorded(recorded, model, tool):
    assert model.refused(tool, **LEAST[tool]) in ("ERR_NO_CHECKPOINT", "ERR_NO_BLAME")


# --- ranges -------------------------------------------------------------------------------------------------


def test_a_range_that_there_is_not(edited, model):
    assert model.refused("audit", range="nowhere..HEAD") == "ERR_RANGE"
    assert model.refused("audit", range="--help") == "ERR_RANGE"


def test_a_range_and_a_session_at_once(edited, model):
    assert "are two changes" in model.message("audit", range="HEAD", session=edited.session)


def test_a_directory_that_is_no_repository(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    place = Edited(tmp_path, git=False)
    place.begin()
    place.write("a.txt", "x\n")
    place.command("make")

    text = model.message("audit", range="HEAD")

    assert "[ERR_RANGE]" in text
    assert str(tmp_path) not in text


# --- search -------------------------------------------------------------------------------------------------


def test_a_search_for_nothing(recorded, model):
    assert model.refused("search_commands", query="   ") == "ERR_ARGUMENT"
    assert model.refused("search_commands", query="x" * 401) == "ERR_ARGUMENT"
    assert model.refused("search_commands", query="? !") == "ERR_SEARCH"


# --- the store, and us --------------------------------------------------------------------------------------


@every_tool
def test_no_store_at_all(tmp_path, monkeypatch, model, tool):
    monkeypatch.chdir(tmp_path)

    text = model.message(tool, **LEAST[tool])

    assert "[ERR_STORE_MISSING]" in text
    assert "devtrace init" in text
    assert str(tmp_path) not in text


@every_tool
def test_a_store_that_is_damaged(recorded, model, tool):
    recorded.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    recorded.close()
    recorded.workspace.database.write_bytes(b"no database at all" * 1_000)

    text = model.message(tool, **LEAST[tool])

    assert "[ERR_STORE_DAMAGED]" in text
    assert str(recorded.workspace.root) not in text


def test_a_store_of_a_newer_devtrace(recorded, model):
    recorded.db.execute("PRAGMA user_version = 99")

    assert model.refused("list_sessions") == "ERR_STORE_NEWER"


def test_a_bug_of_ours_costs_one_call_and_its_details_are_in_the_log_alone(recorded, model, monkeypatch):
    def fail(*_):
        raise RuntimeError("token=s3cr3t-value-of-a-variable")

    monkeypatch.setenv("SHOP_TOKEN", "s3cr3t-value-of-a-variable")
    monkeypatch.setattr(mcp_answers, "sessions_page", fail)

    reply = model.reply("list_sessions")

    log = (recorded.workspace.log / "errors.log").read_text()
    assert reply.structured["code"] == "ERR_INTERNAL"
    assert "s3cr3t" not in reply.text + log
    assert "Traceback" in log
    assert "Traceback" not in reply.text
    monkeypatch.undo()
    monkeypatch.chdir(recorded.workspace.root)
    assert model.ask("list_sessions").structured["sessions"]


def test_a_question_that_takes_too_long_is_given_up(recorded, model, monkeypatch):
    recorded.command("true")
    monkeypatch.setattr(mcp_calls, "PATIENCE_S", -1.0)
    endless = "WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    monkeypatch.setattr(mcp_answers, "sessions_page", lambda db, *_, **__: db.execute(endless).fetchone())

    assert model.refused("list_sessions") == "ERR_TOO_SLOW"


def test_a_question_that_nobody_waits_for_any_more_stops(recorded, model, monkeypatch):
    endless = "WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    monkeypatch.setattr(mcp_answers, "sessions_page", lambda db, *_, **__: db.execute(endless).fetchone())
    stop = threading.Event()
    stop.set()

    assert model.calls.reply("list_sessions", {}, stop).structured["code"] == "ERR_TOO_SLOW"


def test_more_questions_at_once_than_are_good_for_anybody(recorded, model, monkeypatch):
    monkeypatch.setattr(mcp_calls, "_MOST_AT_ONCE", 1)
    calls, inside, leave = Calls(model.store), threading.Event(), threading.Event()

    def wait(*_, **__):
        inside.set()
        leave.wait(60)
        raise sqlite3.OperationalError("enough")

    monkeypatch.setattr(mcp_answers, "sessions_page", wait)
    first = threading.Thread(target=calls.reply, args=("list_sessions", {}))
    first.start()
    assert inside.wait(60)

    second = calls.reply("list_events", {})

    leave.set()
    first.join()
    assert second.structured["code"] == "ERR_TOO_SLOW"
    assert not calls.reply("list_events", {}).is_error
