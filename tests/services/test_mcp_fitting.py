"""An answer takes no more bytes than were asked for, and says what it left out."""

from __future__ import annotations

import json
import random

import pytest

from devtrace.services.mcp_server.answers import Answer
from devtrace.services.mcp_server.fitting import fitted
from tests.edits import Recorded as Edited
from tests.mcp_serve.asking import Alive, Model

HARD = ['"', "\\", "\n", "\t", "\x1b", "\u202e", "\u20ac", "\U0001f600", "\U000e0041", "a", " "]


def text_of(chance: random.Random, most: int) -> str:
    return "".join(chance.choices(HARD, k=chance.randrange(most)))


def size(found) -> int:
    structured = json.dumps(found.structured, ensure_ascii=False, separators=(",", ":"))
    return len(found.text.encode()) + len(structured.encode())


def listed(rows, **more):
    return Answer(
        told={}, head=lambda number: [f"{number} rows."], name="rows", rows=rows,
        lines=lambda row: [row["title"]], **more,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_whatever_it_is_made_of_it_fits(seed):
    chance = random.Random(seed)
    rows = [{"title": text_of(chance, 3_000), "n": number} for number in range(chance.randrange(30))]
    data = {
        text_of(chance, 30): [text_of(chance, 2_000) for _ in range(chance.randrange(50))] for _ in range(9)
    }
    most = chance.choice([4_096, 6_000, 32_768])
    answer = Answer(
        told={"data": data, "id": "3f2a" * 8}, head=lambda number: [f"{number} rows."], name="rows",
        rows=rows,
        lines=lambda row: [row["title"]], body=[text_of(chance, 500) for _ in range(chance.randrange(40))],
        cursor=lambda number: "c" * chance.randrange(900) if number < len(rows) else None,
        rest="Ask for less.",
    )  # fmt: skip

    found = fitted(answer, most)

    assert size(found) <= most
    assert found.structured["id"] == "3f2a" * 8
    assert len(found.structured["rows"]) >= min(len(rows), 1)


def test_what_fits_is_whole():
    found = fitted(listed([{"title": "one"}, {"title": "two"}]), 2_048)

    assert found.structured == {"rows": [{"title": "one"}, {"title": "two"}]}
    assert found.text.split("\n")[0] == "2 rows."


def test_the_head_and_the_cursor_are_of_the_rows_that_are_shown():
    rows = [{"title": f"{number} " + "x" * 300} for number in range(50)]

    found = fitted(listed(rows, cursor=lambda number: f"behind {number}"), 4_096)

    shown = len(found.structured["rows"])
    assert 1 < shown < 50
    assert found.structured["next_cursor"] == f"behind {shown}"
    assert found.text.startswith(
        f'{shown} rows.\nThere is more: repeat the arguments with cursor="behind {shown}"'
    )
    assert "cut" not in found.structured


def test_one_thing_that_is_too_large_loses_ends_and_says_so_with_what_to_do():
    told = {"event": {"id": "a" * 32, "data": {"input": "x" * 90_000, "paths": ["p"] * 900}}}

    found = fitted(Answer(told=told, head=lambda _: ["An event."], rest="Ask for less."), 4_096)

    event = found.structured["event"]
    assert found.structured["cut"]
    assert event["id"] == "a" * 32
    assert event["data"]["input"].startswith("xxx")
    assert event["data"]["input"].endswith(" characters)")
    assert found.text == "An event.\nIt was cut to fit. Ask for less."


def test_real_answers_fit_into_the_smallest_room(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chance = random.Random(5)
    made, model = Alive(tmp_path), Model()
    made.session(title=text_of(chance, 900))
    events = []
    for number in range(3):
        words = f"needle {text_of(chance, 4_000)}"
        printed = text_of(chance, 9_000).encode("utf-8", "replace")
        events.append(made.command(words, number, printed=printed, body={"cwd": text_of(chance, 900)}))
        events.append(made.tool("Bash", words, number + 0.5, result=text_of(chance, 20_000)))

    for most in (4_096, 5_000, 9_000):  # `Model` holds each answer against its bounds
        model.ask("list_sessions", max_bytes=most)
        assert len(model.rows("list_events", "events", max_bytes=most)) == 6
        assert model.rows("search_commands", "matches", query="needle", max_bytes=most)
        for event in events:
            model.ask("get_event", id=event, max_bytes=most)
            offset = 0
            while offset is not None:
                told = model.ask("get_output", id=event, max_bytes=most, offset=offset).structured
                assert told["text"] or not offset
                offset = told.get("next_offset")
            model.ask("get_output", id=event, max_bytes=most, part="tail")
    model.close()
    made.close()


def test_patches_and_lines_fit_into_the_smallest_room(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chance = random.Random(6)
    made, model = Edited(tmp_path), Model()
    made.begin()
    name = "n" * 120 + "\u20ac" * 30
    for number in range(4):
        made.write(f"{name}/{number}.txt", "".join(f"{text_of(chance, 300)}\n" for _ in range(60)))
    event = made.command("make")

    for most in (4_096, 5_000, 9_000):
        rows = model.rows("get_diff", "files", id=event.id, max_bytes=most)
        assert {row["path"] for row in rows} == {f"{name}/{number}.txt" for number in range(4)}
        model.ask("blame_line", path=f"{name}/0.txt", line=1, end_line=50, max_bytes=most)
        model.ask("why", path=f"{name}/0.txt", line=1, max_bytes=most)
        model.ask("audit", session=made.session, max_bytes=most)
    model.close()


def test_a_name_that_leaves_no_room_for_a_patch_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made, model = Edited(tmp_path), Model()
    made.begin()
    made.write("/".join(["n" * 200] * 4), "x\n")
    event = made.command("make")

    assert "give a larger max_bytes" in model.message("get_diff", id=event.id, max_bytes=4_096)
    assert model.ask("get_diff", id=event.id, max_bytes=9_000).structured["files"][0]["patch"]
    model.close()
