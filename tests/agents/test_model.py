"""The scripted model, asked in each of its formats by a client of a few lines; no real one is needed."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agents import wire
from tests.agents.model import SIDE_ANSWER, ModelServer
from tests.agents.scripts import SCRIPTS, WAITING, reasons
from tests.agents.wire import Body

PROMPT = "Greet Ana [script:main]"
Said = tuple[str, list[str]]  # a text, the names of the tools that are called


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ModelServer]:
    with ModelServer(tmp_path) as server:
        yield server


def post(server: ModelServer, path: str, body: object) -> str:
    told = urllib.request.Request(server.url + path, json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(told) as answer:
        return str(answer.read().decode())


def events(told: str) -> list[Any]:
    """The data of server-sent events, but for the word that ends a chat."""
    data = [line.removeprefix("data: ") for line in told.splitlines() if line.startswith("data: ")]
    return [json.loads(each) for each in data if each != "[DONE]"]


# --- a client of a few lines for each format: how it asks, what it reads, how it tells a result -------------


class Anthropic:
    path = "/v1/messages?beta=true"
    tools = ("Bash", "Write", "Edit", "Agent")

    def asks(self, prompt: str) -> Body:
        return {
            "stream": True,
            "tools": [{"name": name} for name in self.tools],
            "messages": [{"role": "user", "content": [{"type": "text", "text": prompt}]}],
        }

    def reads(self, told: str) -> Said:
        seen = events(told)
        deltas = [each["delta"] for each in seen if each["type"] == "content_block_delta"]
        blocks = [each["content_block"] for each in seen if each["type"] == "content_block_start"]
        assert seen[-1]["type"] == "message_stop"
        return "".join(delta.get("text", "") for delta in deltas), [b["name"] for b in blocks if "name" in b]

    def answers(self, body: Body, n: int) -> None:
        results = [{"type": "tool_result", "tool_use_id": "x", "content": "done"}] * n
        body["messages"] += [{"role": "assistant", "content": []}, {"role": "user", "content": results}]


class Responses:
    path = "/v1/responses"
    tools = ("exec_command", "apply_patch")

    def asks(self, prompt: str) -> Body:
        agents = [{"name": name} for name in ("spawn_agent", "wait_agent")]
        return {
            "stream": True,
            "tools": [
                *({"name": name} for name in self.tools),
                {"type": "namespace", "name": "n", "tools": agents},
            ],
            "input": [{"role": "user", "content": [{"type": "input_text", "text": prompt}]}],
        }

    def reads(self, told: str) -> Said:
        seen = events(told)
        items = [each["item"] for each in seen if each["type"] == "response.output_item.done"]
        assert seen[-1]["type"] == "response.completed"
        texts = [item["content"][0]["text"] for item in items if item["type"] == "message"]
        return "".join(texts), [item["name"] for item in items if "name" in item]

    def answers(self, body: Body, n: int) -> None:
        body["input"] += [{"type": "function_call_output", "output": '{"agent_id":"a"}'}] * n


class Chat:
    path = "/v1/chat/completions"
    tools = ("bash", "write", "edit", "task")

    def asks(self, prompt: str) -> Body:
        tools = [{"type": "function", "function": {"name": name}} for name in self.tools]
        return {"stream": True, "tools": tools, "messages": [{"role": "user", "content": prompt}]}

    def reads(self, told: str) -> Said:
        deltas = [each["choices"][0]["delta"] for each in events(told) if each["choices"]]
        calls = [call["function"]["name"] for delta in deltas for call in delta.get("tool_calls", [])]
        return "".join(delta.get("content", "") for delta in deltas), calls

    def answers(self, body: Body, n: int) -> None:
        body["messages"] += [{"role": "tool", "content": "done"}] * n


class Gemini:
    path = "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
    tools = ("run_shell_command", "write_file", "replace", "invoke_agent")

    def asks(self, prompt: str) -> Body:
        declared = [{"name": name} for name in self.tools]
        contents = [{"role": "user", "parts": [{"text": prompt}]}]
        return {"tools": [{"functionDeclarations": declared}], "contents": contents}

    def reads(self, told: str) -> Said:
        (answer,) = events(told)
        parts = answer["candidates"][0]["content"]["parts"]
        calls = [part["functionCall"]["name"] for part in parts if "functionCall" in part]
        return "".join(part.get("text", "") for part in parts), calls

    def answers(self, body: Body, n: int) -> None:
        part = {"functionResponse": {"name": "x", "response": {"output": "done"}}}
        body["contents"].append({"role": "user", "parts": [part] * n})


Small = Anthropic | Responses | Chat | Gemini
every_format = pytest.mark.parametrize(
    "client", [pytest.param(kind(), id=kind.__name__) for kind in (Anthropic, Responses, Chat, Gemini)]
)


def play(client: Small, server: ModelServer, prompt: str = PROMPT) -> list[Said]:
    """All that is said until no tool is called any more."""
    body, said = client.asks(prompt), []
    while not said or said[-1][1]:
        said.append(client.reads(post(server, client.path, body)))
        client.answers(body, len(said[-1][1]))
    return said


@every_format
def test_a_script_is_played_to_its_end_with_every_reason(client: Small, server: ModelServer) -> None:
    said = [text for text, _ in play(client, server)]

    assert [text for text in said if text != WAITING] == reasons("main")
    assert (WAITING in said) == isinstance(client, Responses)  # whose subagents run beside their parent
    assert server.faults == []


@every_format
def test_two_actions_of_a_step_are_called_at_once(client: Small, server: ModelServer) -> None:
    assert [len(calls) for _, calls in play(client, server)].count(2) == 1


@every_format
def test_who_asks_again_is_told_the_same(client: Small, server: ModelServer) -> None:
    body = client.asks(PROMPT)
    client.answers(body, 1)

    first, second = (client.reads(post(server, client.path, body)) for _ in range(2))

    assert first == second
    assert first[0] == SCRIPTS["main"].steps[1].reason


@every_format
def test_a_second_prompt_begins_its_script_at_the_start(client: Small, server: ModelServer) -> None:
    body = client.asks(PROMPT)
    client.answers(body, 3)
    later = client.asks("And now check it [script:sub]")
    for key in ("messages", "input", "contents"):
        if key in body:
            body[key] += later[key]

    said, _ = client.reads(post(server, client.path, body))

    assert said == reasons("sub")[0]


@every_format
def test_a_request_without_tools_gets_a_harmless_answer(client: Small, server: ModelServer) -> None:
    body = client.asks(f"Write a title for: {PROMPT}")
    del body["tools"]

    assert client.reads(post(server, client.path, body)) == (SIDE_ANSWER, [])


@pytest.mark.parametrize(
    "write", [wire.ANTHROPIC.write, wire.RESPONSES.write, wire.CHAT.write, wire.GEMINI.write]
)
def test_an_answer_in_one_piece_is_one_json_object(write: Callable[..., wire.Answer]) -> None:
    answer = write(wire.Turn("All is well."), {}, False)

    assert answer.content_type == "application/json"
    assert "All is well." in json.dumps(json.loads(answer.body))


def test_what_is_no_question_to_a_model_gets_a_harmless_answer_too(server: ModelServer) -> None:
    assert json.loads(post(server, "/v1/messages/count_tokens", {}))["input_tokens"] == 100
    assert json.loads(post(server, "/v1/telemetry", [1, 2])) is not None

    assert [request.path for request in server.requests] == ["/v1/messages/count_tokens", "/v1/telemetry"]


def test_a_request_to_anybody_else_is_refused_and_remembered(server: ModelServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as tunnel:
        tunnel.sendall(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n")
        assert b" 403 " in tunnel.recv(1000)

    proxied = urllib.request.Request("http://example.org/", headers={})
    proxied.set_proxy(f"127.0.0.1:{server.port}", "http")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(proxied)
    refused.value.close()

    assert server.strays == ["example.org:443", "example.org"]
    assert "stray: example.org:443" in server.story()


def test_a_tunnel_to_the_model_itself_is_dug(server: ModelServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as tunnel, tunnel.makefile("rb") as lines:
        tunnel.sendall(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n\r\n".encode())
        assert b" 200 " in lines.readline()
        while lines.readline() != b"\r\n":
            pass
        tunnel.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in lines.readline()

    assert server.strays == []


def test_a_request_that_cannot_be_read_is_a_fault_and_not_silence(server: ModelServer) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(server, "/v1/messages", {"messages": [{"role": "user"}]})
    refused.value.close()

    (fault,) = server.faults
    assert fault == "POST /v1/messages: KeyError('content')"
    assert fault in server.story()
