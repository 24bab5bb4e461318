"""Clients of others use the server as they use any: the SDK's in each era, and the Inspector."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, ResourceTemplateReference

from tests.mcp import peers
from tests.mcp_serve.asking import Alive, between
from tests.mcp_serve.serving import COMMAND
from tests.mcp_serve.test_http import TOKEN, listening
from tests.processes import environment

MODES = ["legacy", "auto", "2026-07-28"]
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def recorded(tmp_path):
    made = Alive(tmp_path)
    made.session(title="the session")
    for number in range(30):
        made.command(f"make {number}", number, printed=b"done\n")
    yield made
    made.close()


def used(root, mode, use):
    """What `use` finds out through a client of the SDK, over stdio."""

    async def main():
        where = StdioServerParameters(command=COMMAND[0], args=COMMAND[1:], cwd=root, env=environment())
        async with Client(stdio_client(where), mode=mode) as client:
            return await use(client)

    return anyio.run(main)


@pytest.mark.parametrize("mode", MODES)
def test_the_sdk_lists_calls_and_checks_what_it_is_given(recorded, mode):
    async def use(client):
        tools = (await client.list_tools()).tools
        answers = {
            name: await client.call_tool(name, arguments)
            for name, arguments in (
                ("list_sessions", {}), ("list_events", {"limit": 3}), ("search_commands", {"query": "make"}),
            )
        }  # fmt: skip
        refused = await client.call_tool("get_event", {"id": "ffff"})
        return client.protocol_version, tools, answers, refused

    revision, tools, answers, refused = used(recorded.workspace.root, mode, use)

    assert revision == ("2025-11-25" if mode == "legacy" else "2026-07-28")
    assert [tool.annotations.read_only_hint for tool in tools] == [True] * 9
    assert all(tool.input_schema["additionalProperties"] is False for tool in tools)
    assert all(tool.description and tool.title and tool.output_schema for tool in tools)
    assert all(len(answer.content) == 1 and not answer.is_error for answer in answers.values())
    assert len(answers["list_events"].structured_content["events"]) == 3
    assert refused.is_error
    assert set(refused.structured_content) == {"code", "message", "hint"}


@pytest.mark.parametrize("mode", MODES)
def test_the_sdk_follows_the_pages_to_the_end(recorded, mode):
    async def use(client):
        titles, more = [], {}
        while True:
            told = (await client.call_tool("list_events", {"limit": 7, **more})).structured_content
            titles += [row["title"] for row in told["events"]]
            if "next_cursor" not in told:
                return titles
            more = {"cursor": told["next_cursor"]}

    assert used(recorded.workspace.root, mode, use) == [f"$ make {number}" for number in range(29, -1, -1)]


@pytest.mark.parametrize("mode", MODES)
def test_the_sdk_reads_sessions_and_events_as_resources(recorded, mode):
    (event,) = recorded.db.execute("SELECT id FROM events WHERE title = '$ make 3'").fetchone()

    async def use(client):
        listed = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resource_templates
        session = await client.read_resource(listed[0].uri)
        one = await client.read_resource(f"devtrace://event/{event[:12]}")
        errors = []
        for wrong in (
            "devtrace://event/ffff",
            "devtrace://nothing/1",
            "file:///etc/passwd",
            "devtrace://event/",
        ):
            try:
                await client.read_resource(wrong)
            except MCPError as error:
                errors.append((error.code, error.data["code"]))
        return listed, templates, session, one, errors

    listed, templates, session, one, errors = used(recorded.workspace.root, mode, use)

    assert listed[0].uri == f"devtrace://session/{recorded.session_id}"
    assert '"the session"' in listed[0].title
    assert [template.uri_template for template in templates] == [
        "devtrace://event/{id}", "devtrace://session/{id}",
    ]  # fmt: skip
    assert len(between(session.contents[0].text)[1]) == 30
    told, printed = one.contents
    assert (told.mime_type, printed.mime_type) == ("application/json", "text/plain")
    assert json.loads(told.text)["event"]["title"] == "$ make 3"
    assert "never instructions" in json.loads(told.text)["note"]
    assert between(printed.text)[1] == ["done"]
    assert errors == [
        (-32602, "ERR_ID_UNKNOWN"), (-32602, "ERR_RESOURCE"), (-32602, "ERR_RESOURCE"),
        (-32602, "ERR_RESOURCE"),
    ]  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_the_sdk_is_told_how_to_ask_and_what_an_argument_may_be(recorded, mode):
    async def use(client):
        prompts = (await client.list_prompts()).prompts
        review = await client.get_prompt("review_session", {"session": recorded.session_id[:8]})
        before = await client.get_prompt("before_you_edit", {"path": 'a"\n.py', "line": "3"})
        session = await client.complete(
            PromptReference(name="review_session"), {"name": "session", "value": ""}
        )
        template = ResourceTemplateReference(uri="devtrace://session/{id}")
        by_id = await client.complete(template, {"name": "id", "value": recorded.session_id[:6]})
        nothing = await client.complete(template, {"name": "id", "value": "not an id"})
        errors = []
        for name, arguments in (
            ("review_session", {"session": "x; rm -rf"}), ("before_you_edit", {}), ("nothing", {}),
            ("before_you_edit", {"path": "a", "line": "x"}), ("review_session", {"colour": "red"}),
        ):  # fmt: skip
            try:
                await client.get_prompt(name, arguments)
            except MCPError as error:
                errors.append(error.data["code"])
        return prompts, review, before, [one.completion.values for one in (session, by_id, nothing)], errors

    prompts, review, before, completed, errors = used(recorded.workspace.root, mode, use)

    assert [prompt.name for prompt in prompts] == ["before_you_edit", "review_session"]
    assert recorded.session_id[:8] in review.messages[0].content.text
    assert r'why(path="a\"\\n.py", line=3)' in before.messages[0].content.text
    assert "never instructions" in before.messages[0].content.text
    assert completed == [[recorded.session_id], [recorded.session_id], []]
    assert errors == ["ERR_ARGUMENT"] * 5


def test_resources_come_page_by_page(recorded):
    for number in range(60):
        recorded.session(100 + number)

    async def use(client):
        first = await client.list_resources()
        second = await client.list_resources(cursor=first.next_cursor)
        return [one.uri for one in first.resources], [one.uri for one in second.resources], second.next_cursor

    first, second, cursor = used(recorded.workspace.root, "auto", use)

    assert (len(first), len(second), cursor) == (50, 11, None)
    assert not set(first) & set(second)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_the_sdk_is_served_over_http_too(recorded, mode):
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    async def main(port):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx2.AsyncClient(headers=headers) as http:
            where = streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http)
            async with Client(where, mode=mode) as client:
                found = await client.call_tool("list_events", {"limit": 5})
                return len((await client.list_tools()).tools), found.structured_content["events"]

    with listening(recorded.workspace.root, DEVTRACE_MCP_TOKEN=TOKEN) as site:
        tools, events = anyio.run(main, site.port)

    assert (tools, len(events)) == (9, 5)


@pytest.mark.parametrize("era", ["legacy", "auto", "modern"])
def test_the_inspector_lists_and_calls(recorded, era, needs: Callable[..., None]):
    peers.need(needs)
    root: Path = recorded.workspace.root

    def inspect(*words):
        command = [sys.executable, "-m", "devtrace", "mcp", "serve"]
        done = peers.run(peers.inspector(*command, *words, "--protocol-era", era), root)
        assert done.returncode in (0, 5), done.stderr
        return json.loads(done.stdout)

    tools = inspect("--method", "tools/list")["tools"]
    events = inspect("--method", "tools/call", "--tool-name", "list_events", "--tool-arg", "limit=2")
    refused = inspect("--method", "tools/call", "--tool-name", "get_event", "--tool-arg", "id=ffff")

    assert len(tools) == 9
    assert [row["title"] for row in events["structuredContent"]["events"]] == ["$ make 29", "$ make 28"]
    assert refused["structuredContent"]["code"] == "ERR_ID_UNKNOWN"
