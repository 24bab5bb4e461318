"""Probes and programs as records: the documented fields, and no secret of a command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from devtrace.policy.chain import Policy
from devtrace.probes.fields import Refused
from devtrace.services import probe_records
from devtrace.services.probe_asked import Asked, grammar, point_of
from devtrace.services.probe_processes import Unreachable
from devtrace.services.probe_records import Records, redacted_words, refused_record
from devtrace.services.probe_standing import Reply, summed
from devtrace.views.jsonl import FIELDS
from devtrace.workspace import Workspace, create

TOKEN = "ghp_0123456789abcdefghij0123456789ABCDEF"
OTHER = Unreachable(8, "3.10", ["python", "--token", TOKEN], f"/srv/{TOKEN}", "", "", "why")


@pytest.fixture
def policy() -> Policy:
    return Policy.for_session({"DB_PASSWORD": "tr0ub4dor-and-3"}, b"salt")


@pytest.fixture
def records(tmp_path: Path, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> Records:
    """Of a store with one program that can be asked, and one that cannot."""
    store = Workspace(tmp_path / ".devtrace")
    create(store)
    monkeypatch.setattr(probe_records, "programs", lambda _: [process()])
    monkeypatch.setattr(probe_records, "unreachable", lambda _: [OTHER])
    return Records(store, policy)


@pytest.fixture
def point(tmp_path: Path) -> Any:
    return point_of(Asked("nobody.py:4"), tmp_path, tmp_path, grammar()).point


def process() -> dict[str, Any]:
    return {"pid": 7, "python": "3.12.1", "argv": ["python", "app.py", f"--token={TOKEN}"], "session": "",
            "span": "", "socket": "", "started": 0, "wakes": True, "engine": "monitoring",
            "cwd": f"/home/{TOKEN}", "executable": ""}  # fmt: skip


def test_the_records_have_the_documented_fields(records, point):
    told = summed([Reply(process(), "installed", "", "", {})])

    for name, record in (
        ("probe_set", records.was_set(point, told)),
        ("probe_set", refused_record(Refused(400, "INVALID_LINE", "no"))),
        ("probe", records.probe(point, told, 3)),
    ):
        assert {"record", *record} == set(FIELDS[name][1])


def test_the_record_of_a_program_has_the_documented_fields(records):
    first, second = records.programs()

    assert {"record", *first} == {"record", *second} == set(FIELDS["program"][1])
    assert (first["reachable"], second["reachable"], second["reason"]) == (True, False, "why")


def test_no_record_holds_a_secret_of_a_command_line_or_a_directory(records, point):
    told = summed([Reply(process(), "installed", "", "", {})])

    for record in (records.was_set(point, told), records.probe(point, told, 0), *records.programs()):
        text = json.dumps(record)
        assert TOKEN not in text
        assert "[redacted:github-token:" in text


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["python", "app.py", "a b", "it's", ""], ["python", "app.py", "a b", "it's", ""]),
        (["a", "--password", "correct horse", "b"], ["a", "--password", "[redacted]", "b"]),
        (["a", "--password=correct horse", "b"], ["a", "--password=[redacted]", "b"]),
        (["a", "--db", "postgres://ana:hunter2@db/x"], ["a", "--db", "postgres://ana:[redacted]@db/x"]),
        (["a", "tr0ub4dor-and-3"], ["a", "[redacted]"]),
        (["a", "--token", TOKEN, "b"], ["a", "--token", "[redacted]", "b"]),
        ([], []),
    ],
)
def test_a_word_is_hidden_for_itself_or_for_the_word_before_it(policy, words, kept):
    told = redacted_words(policy, words)

    assert [re.sub(r"\[redacted:[^]]*\]", "[redacted]", word) for word in told] == kept


@pytest.mark.parametrize("secret", ['it\'s "x" y', "a\nb 'c", "\\ x", "a;b c"])
def test_quotes_in_a_secret_do_not_show_a_part_of_it(policy, secret):
    _, option, told, rest = redacted_words(policy, ["app", "--password", secret, "rest"])

    assert (option, rest) == ("--password", "rest")
    assert re.fullmatch(r"\[redacted:[^]]*\]", told)
