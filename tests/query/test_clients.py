"""What only the time connects with an agent: blame, audit and Agent Trace say the same of it."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devtrace.ids import new_span_id
from devtrace.query.blame import Blame
from devtrace.query.clients import names
from devtrace.query.coverage import Coverage
from devtrace.query.gitrange import chosen
from devtrace.query.why import story
from devtrace.services.edits.attribution import Verdict
from devtrace.services.export import export_commit
from devtrace.store.connection import open_store
from tests.edits import Recorded
from tests.query.blamed import by, told


@pytest.fixture(params=["claude-code", "manual"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Recorded:
    """An agent's session, or a person's in which an agent was started."""
    made = Recorded(tmp_path / "repo", agent=request.param)
    made.write("a.txt", "one\n")
    made.git("add", "-A")
    made.git("commit", "-qm", "first")
    made.begin()
    return made


def asked(place: Recorded) -> tuple[str, str, str | None, str]:
    """Of the last line, committed: class and why of the audit, actor of the blame, type of Agent Trace."""
    place.git("add", "-A")
    place.git("commit", "-qm", "second")
    *_, row = told(place)
    with closing(open_store(place.workspace)) as db:
        blame = Blame(db, place.workspace)
        covered = Coverage(blame).of_range(chosen(place.root, "HEAD")).told
        (line,) = export_commit(blame, place.root, "HEAD", "agent-trace")
    ((span,),) = (file["spans"] for file in covered["files"])
    ((conversation,),) = (file["conversations"] for file in json.loads(line)["files"])
    assert span["actor"] == row["actor"]
    return span["class"], span["why"], row["actor"], conversation["contributor"]["type"]


def call_in(place: Recorded, command: str, **more: Any) -> None:
    """A tool call whose shell runs a command, while which a line is added."""
    client = place.client()
    with place.calling("Bash", command, call="a", parent=client.id, **more):
        place.write("a.txt", "one\nnew\n")
        place.command(command, parent=client.id)


def test_what_changed_while_only_the_client_ran_is_nobodys_known(place):
    client = place.client()
    with place.calling("Bash", "true", call="a", parent=client.id):
        pass
    place.write("a.txt", "one\nnew\n")
    place.changed(client)

    assert told(place)[-1]["by_time"]
    assert asked(place) == ("checkpoint", "client", "unknown", "unknown")


def test_what_changed_while_a_call_ran_that_does_not_name_the_path_is_so_by_time_alone(place):
    call_in(place, "sleep 3")

    assert told(place)[-1]["by_time"]
    assert asked(place) == ("observed", "time", "agent:claude-code", "unknown")


def test_what_a_command_changed_that_names_the_path_is_the_agents(place):
    call_in(place, "sed -i s/x/new/ ./a.txt")

    assert not told(place)[-1]["by_time"]
    assert asked(place)[2:] == ("agent:claude-code", "ai")


def test_what_a_tool_changed_that_claims_the_path_is_the_agents(place):
    client = place.client()
    with place.calling("Write", {"file_path": "a.txt"}, call="a", parent=client.id):
        place.write("a.txt", "one\nnew\n")
        place.changed(client)

    assert asked(place) == ("observed", "tool", "agent:claude-code", "ai")


def test_what_one_of_several_calls_changed_is_observed_and_none_of_them_is_named(place):
    client = place.client()
    ids = [new_span_id(), new_span_id()]
    with (
        place.calling("Bash", "grep new .", id=ids[0], call="a", parent=client.id),
        place.calling("Bash", "sh gen.sh", id=ids[1], call="b", parent=client.id),
    ):
        place.write("a.txt", "one\nnew\n")
    by(place, Verdict("ambiguous", "none", None, tuple(f"{place.session}/{one}" for one in ids)))

    (*_, row) = told(place)
    with closing(open_store(place.workspace)) as db:
        blame = Blame(db, place.workspace)
        calls = story(blame, blame.on_disk(place.root / "a.txt"), 2)["calls"]

    assert [call["call"] for call in calls] == ["a", "b"]
    assert (row["status"], row["call"], row["reason"]) == ("ambiguous", None, None)
    assert asked(place) == ("checkpoint", "ambiguous", None, "unknown")


def test_what_several_tools_say_that_they_wrote_is_their_agents_and_of_no_known_call(place):
    client = place.client()
    with (
        place.calling("Write", {"file_path": "a.txt", "content": "x"}, call="a", parent=client.id),
        place.calling("Write", {"file_path": "a.txt", "content": "y"}, call="b", parent=client.id),
    ):
        place.write("a.txt", "one\nnew\n")
        place.changed(client)

    assert asked(place) == ("checkpoint", "ambiguous", "agent:claude-code", "unknown")


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("sed -i s/a/b/ src/api.py", True), ("cat > ./api.py <<'E'", True), ("black src", True),
        ("black src/", True), ("sed -i s/a/b/ *.py", True), ("sed -i s/a/b/ src/*.p?", True),
        ("python3 -c 'open(\"api.py\", \"w\")'", True), ("echo x>api.py;ls", True),
        ("sleep 3", False), ("grep -r api .", False), ("vim my-api.py", False), ("cat api.py.orig", False),
        ("make src-all", False), ("rm *.js", False), ("", False),
    ],
)  # fmt: skip
def test_a_command_names_a_file_by_its_name_a_pattern_or_its_folder(command, named):
    assert names(command, "src/api.py") is named
