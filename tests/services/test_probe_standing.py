"""Many programs' answers as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devtrace.services import probe_standing
from devtrace.services.probe_asked import Asked, grammar, point_of
from devtrace.services.probe_client import Ended, NoAnswer
from devtrace.services.probe_standing import Reply, is_unknown, listing, standing, summed
from devtrace.workspace import Workspace, create

LINE_6 = "INVALID_LINE: line 6 is a comment; try 5 or 7"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / ".devtrace")
    create(made)
    return made


@pytest.fixture
def point(tmp_path: Path) -> Any:
    return point_of(Asked("nobody.py:4"), tmp_path, tmp_path, grammar()).point


def process(pid: int = 7) -> dict[str, Any]:
    return {"pid": pid, "python": "3.12.1", "argv": ["python", "app.py"], "session": "", "span": "",
            "socket": "s", "started": 0, "wakes": True, "engine": "monitoring", "cwd": "/"}  # fmt: skip


def reply(status: str, code: str = "", message: str = "", **known: Any) -> Reply:
    return Reply(process(), status, code, message, known)


@pytest.mark.parametrize(
    ("replies", "status", "code"),
    [
        ([], "pending", ""),
        ([reply("pending"), reply("installed"), reply("error", "INVALID_LINE")], "installed", ""),
        ([reply("pending"), reply("error", "INVALID_LINE"), reply("silent")], "refused", "INVALID_LINE"),
        ([reply("error", "", "the engine is busy"), reply("pending")], "error", ""),
        ([reply("expired")], "expired", ""),
        ([reply("silent"), reply("pending")], "pending", ""),
    ],
)
def test_one_place_is_enough_and_one_refusal_where_there_is_none(replies, status, code):
    told = summed(replies)

    assert (told.status, told.code) == (status, code)


def test_every_program_is_asked_and_its_code_is_read_from_its_message(workspace, point, monkeypatch):
    answers = {1: (200, {"status": "error", "statusMessage": LINE_6}), 2: (200, {"status": "installed"})}
    monkeypatch.setattr(probe_standing, "programs", lambda _: [process(1), process(2), process(3)])

    def ask(_: Workspace, one: dict[str, Any], *request: str, **__: Any) -> Any:
        assert request == ("GET", f"/points/{point.id}")
        if one["pid"] == 3:
            raise NoAnswer("it is stopped")
        return answers[one["pid"]]

    monkeypatch.setattr(probe_standing, "ask", ask)

    first, second, third = standing(workspace, point).replies
    assert (first.status, first.code, first.message) == (
        "error",
        "INVALID_LINE",
        "line 6 is a comment; try 5 or 7",
    )
    assert (second.status, second.code, second.message) == ("installed", "", "")
    assert (third.status, third.code, third.message) == ("silent", "", "it is stopped")


@pytest.mark.parametrize("question", ["one", "all"])
def test_a_program_that_ends_while_it_is_asked_is_not_counted(workspace, point, monkeypatch, question):
    monkeypatch.setattr(probe_standing, "programs", lambda _: [process(1), process(2)])
    monkeypatch.setattr(probe_standing, "wanted", lambda _: [point])

    def ask(_: Workspace, one: dict[str, Any], *request: str, **__: Any) -> Any:
        if one["pid"] == 1:
            raise Ended
        told = {"id": point.id, "status": "installed"}
        return 200, told if question == "one" else {"points": [told]}

    monkeypatch.setattr(probe_standing, "ask", ask)

    told = standing(workspace, point) if question == "one" else listing(workspace)[0][1]
    assert [reply.process["pid"] for reply in told.replies] == [2]


def test_a_program_that_has_to_take_the_probe_in_first_is_asked_again(workspace, point, monkeypatch):
    answers = [(404, {"code": "POINT_NOT_FOUND"}), (404, {}), (200, {"status": "installed"})]
    monkeypatch.setattr(probe_standing, "programs", lambda _: [process()])
    monkeypatch.setattr(probe_standing, "ask", lambda *_, **__: answers.pop(0))

    assert standing(workspace, point).status == "installed"


def test_one_that_never_takes_it_in_is_silent(workspace, point, monkeypatch):
    monkeypatch.setattr(probe_standing, "programs", lambda _: [process()])
    monkeypatch.setattr(probe_standing, "ask", lambda *_, **__: (404, {}))

    (told,) = standing(workspace, point, timeout_s=0).replies

    assert (told.status, told.message) == ("silent", "it does not know the probe yet")


def test_a_file_is_unknown_where_no_program_has_found_it(point):
    waits = reply("pending", file="nobody.py")

    assert is_unknown(summed([]), point)
    assert is_unknown(summed([waits, waits]), point)
    assert not is_unknown(summed([waits, reply("pending", file="/srv/lib/nobody.py")]), point)
    assert not is_unknown(summed([waits, reply("silent")]), point)
