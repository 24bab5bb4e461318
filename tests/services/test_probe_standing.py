"""Many programs' answers as one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from devtrace.probes import registry
from devtrace.probes.fields import Refused
from devtrace.services import probe_standing
from devtrace.services.probe_asked import Asked, grammar, point_of
from devtrace.services.probe_client import NoAnswer
from devtrace.services.probe_standing import (
    Reply,
    is_unknown,
    probe_record,
    refused_record,
    set_record,
    standing,
    summed,
)
from devtrace.views.jsonl import FIELDS
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


def test_the_records_have_the_documented_fields(workspace, point):
    told = summed([reply("installed")])

    for name, record in (
        ("probe_set", set_record(workspace, point, told)),
        ("probe_set", refused_record(Refused(400, "INVALID_LINE", "no"))),
        ("probe", probe_record(point, told, 3)),
    ):
        assert {"record", *record} == set(FIELDS[name][1])


def test_the_record_of_a_program_has_the_documented_fields(workspace, monkeypatch):
    monkeypatch.setattr(probe_standing, "programs", lambda _: [{**process(os.getpid()), "socket": ""}])
    apart = probe_standing.unreachable.__globals__["Unreachable"](8, "3.10", ["python"], "/", "", "", "why")
    monkeypatch.setattr(probe_standing, "unreachable", lambda _: [apart])

    first, second = probe_standing.program_records(workspace)

    assert {"record", *first} == {"record", *second} == set(FIELDS["program"][1])
    assert (first["reachable"], second["reachable"], second["reason"]) == (True, False, "why")
    assert registry.registered(workspace) == []
