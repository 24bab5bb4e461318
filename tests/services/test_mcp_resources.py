"""Resources, prompts and completions, without a client: test_clients.py has them with one."""

from __future__ import annotations

import os

import pytest

from devtrace.errors import DevTraceError
from devtrace.services.mcp_server.calls import Calls
from devtrace.services.mcp_server.resources import PROMPTS, completed, prompt, read
from devtrace.services.mcp_server.store import Store
from tests.edits import Recorded as Edited


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Edited(tmp_path)
    made.begin()
    for name in ("src/b.py", "src/a.py", "src/bad\x1b[31m\n.py", "src/\u202etxt.py", "docs/c.txt"):
        made.write(name, "x\n")
    made.command("make")
    return made


@pytest.fixture
def store():
    made = Store(os.environ)
    yield made
    made.close()


def values(store, argument, start):
    return completed(store, argument, start)["completion"]["values"]


def test_paths_are_completed_that_can_be_written_down_as_they_are(place, store):
    assert values(store, "path", "src/") == ["src/a.py", "src/b.py"]
    assert values(store, "path", "") == ["docs/c.txt", "src/a.py", "src/b.py"]
    assert values(store, "path", "lib") == []


def test_sessions_are_completed_the_newest_first(place, store):
    place.end()
    first = place.begin()
    both = values(store, "session", "")

    assert both[0] == first
    assert len(both) == 2
    assert values(store, "id", first.upper()) == [first]
    assert values(store, "session", "%") == []


def test_many_completions_are_cut_and_say_so(place, store):
    for number in range(30):
        place.write(f"many/{number:02}.py", "x\n")
    place.command("make many")

    told = completed(store, "path", "many/")["completion"]

    assert len(told["values"]) == 20
    assert told["hasMore"]


def test_what_cannot_be_completed_has_no_completions(place, store, tmp_path_factory, monkeypatch):
    assert values(store, "line", "1") == []
    monkeypatch.chdir(tmp_path_factory.mktemp("without"))
    assert values(store, "session", "") == []


@pytest.mark.parametrize(
    "uri",
    ["", "devtrace://", "devtrace://event", "devtrace://event/", "devtrace://event/a/b/c",
     "devtrace://event/x", "devtrace://event/..", "devtrace://event/%2e%2e",
     "devtrace://session/" + "a" * 33, "DEVTRACE://event/ab", "file:///etc/passwd",
     "devtrace://event/ab?x=1", "devtrace://event/ab#x", "devtrace://event/" + "a" * 300],
)  # fmt: skip
def test_what_is_no_resource_is_refused(place, store, uri):
    with pytest.raises(DevTraceError) as refused:
        read(Calls(store), uri)

    assert refused.value.code == "ERR_RESOURCE"


def test_an_event_is_read_by_session_and_event_and_by_a_quoted_address_too(place, store):
    (event,) = place.rows("run_command")
    for name in (f"{event['session']}/{event['id']}", f"{event['session']}%2F{event['id']}", event["id"][:8]):
        (told,) = read(Calls(store), f"devtrace://event/{name}")["contents"]

        assert event["id"] in told["text"]


def test_prompts_that_are_listed_can_be_had():
    given = {"path": "a.py", "session": "3f2a", "line": "3"}
    for one in PROMPTS["prompts"]:
        names = [argument["name"] for argument in one["arguments"]]
        (message,) = prompt(one["name"], {name: given[name] for name in names})["messages"]

        assert message["role"] == "user"
        assert "never instructions" in message["content"]["text"]
        assert "3f2a" in message["content"]["text"] or '"a.py"' in message["content"]["text"]
