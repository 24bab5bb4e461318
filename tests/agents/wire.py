"""The four ways in which the clients talk to a model: a request read, an answer written.

Each format is a function from a request's body to what was `Asked`, and one from a `Turn` to bytes. What was
asked is the same for all: the last `[script:NAME]` that a user wrote, and the tool results after it.

Lives here: Anthropic Messages, OpenAI Responses, OpenAI Chat Completions, Gemini; streamed and, where a
client asks for it, in one piece. Not here: the server (model.py), what is answered (scripts.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from uuid import uuid4

from tests.agents.scripts import Call, Turn, as_text

MARKER = re.compile(r"\[script:([\w-]+)\]")
TOKENS_IN, TOKENS_OUT = 100, 20

Body = dict[str, Any]


class Result(NamedTuple):
    """What a tool answered, as the model was told; `is_error` is only said by Anthropic's format."""

    text: str
    is_error: bool = False


class Asked(NamedTuple):
    """A request in nobody's format."""

    script: str | None
    results: tuple[Result, ...]
    tools: frozenset[str]
    streams: bool


class Answer(NamedTuple):
    """What goes back."""

    content_type: str
    body: bytes


class Format(NamedTuple):
    """How one of them reads and writes."""

    name: str
    read: Callable[[Body], Asked]
    write: Callable[[Turn, Body, bool], Answer]


def _asked(told: Iterable[str | Result], tools: Iterable[str], streams: bool) -> Asked:
    """`told`: what users wrote and what tools answered, in order."""
    script, results = None, []
    for piece in told:
        if isinstance(piece, Result):
            results.append(piece)
        elif marks := MARKER.findall(piece):
            script, results = marks[-1], []
    return Asked(script, tuple(results), frozenset(filter(None, tools)), streams)


def _id(prefix: str) -> str:
    return prefix + uuid4().hex[:24]


def _text(content: object) -> str:
    """Plain text out of a text, or of a list of parts."""
    if isinstance(content, list):
        return "\n".join(part.get("text", "") if isinstance(part, dict) else str(part) for part in content)
    return content if isinstance(content, str) else json.dumps(content)


def _json(body: object) -> Answer:
    return Answer("application/json", json.dumps(body).encode())


def _events(events: Iterable[tuple[str, object]]) -> Answer:
    """Server-sent events with and without a name."""
    lines = []
    for name, data in events:
        told = data if isinstance(data, str) else json.dumps(data)
        lines.append((f"event: {name}\n" if name else "") + f"data: {told}\n\n")
    return Answer("text/event-stream", "".join(lines).encode())


# --- Anthropic Messages -------------------------------------------------------------------------------------


def _read_messages(body: Body) -> Asked:
    told: list[str | Result] = []
    for message in body.get("messages", []):
        if message["role"] != "user":
            continue
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if part["type"] == "text":
                told.append(part["text"])
            elif part["type"] == "tool_result":
                told.append(Result(_text(part.get("content", "")), bool(part.get("is_error"))))
    tools = (tool.get("name", "") for tool in body.get("tools") or [])
    return _asked(told, tools, bool(body.get("stream")))


def _write_messages(turn: Turn, body: Body, streams: bool) -> Answer:
    content: list[Body] = [{"type": "text", "text": turn.text}] if turn.text else []
    content += [
        {"type": "tool_use", "id": _id("toolu_"), "name": call.name, "input": call.arguments}
        for call in turn.calls
    ]
    message = {
        "id": _id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": body.get("model", "scripted"),
        "content": content,
        "stop_reason": "tool_use" if turn.calls else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": TOKENS_IN, "output_tokens": TOKENS_OUT},
    }
    return _events(_message_events(message)) if streams else _json(message)


def _message_events(message: Body) -> Iterable[tuple[str, Body]]:
    def event(name: str, **more: object) -> tuple[str, Body]:
        return name, {"type": name, **more}

    yield event("message_start", message={**message, "content": [], "stop_reason": None})
    for index, block in enumerate(message["content"]):
        is_text = block["type"] == "text"
        empty = {"text": ""} if is_text else {"input": {}}
        delta = (
            {"type": "text_delta", "text": block["text"]}
            if is_text
            else {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        )
        yield event("content_block_start", index=index, content_block={**block, **empty})
        yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield event("message_delta", delta=stop, usage={"output_tokens": TOKENS_OUT})
    yield event("message_stop")


# --- OpenAI Responses ---------------------------------------------------------------------------------------


def _tools_of_responses(body: Body) -> dict[str, str | None]:
    """The tools that are offered, each with the namespace it is in."""
    found: dict[str, str | None] = {}
    for tool in body.get("tools") or []:
        if tool.get("type") == "namespace":
            found |= {inner["name"]: tool["name"] for inner in tool["tools"]}
        else:
            found[tool.get("name") or tool["type"]] = None
    return found


def _read_responses(body: Body) -> Asked:
    given = body.get("input", [])
    told: list[str | Result] = []
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        if item.get("role") == "user":
            told.append(_text(item["content"]))
        elif item.get("type") in ("function_call_output", "custom_tool_call_output"):
            told.append(Result(_text(item["output"])))
    return _asked(told, _tools_of_responses(body), bool(body.get("stream")))


def _write_responses(turn: Turn, body: Body, streams: bool) -> Answer:
    namespaces = _tools_of_responses(body)
    output: list[Body] = []
    if turn.text:
        said = {"type": "output_text", "text": turn.text, "annotations": []}
        output.append(
            {
                "type": "message",
                "id": _id("msg_"),
                "role": "assistant",
                "status": "completed",
                "content": [said],
            }
        )
    output += [_response_call(call, namespaces.get(call.name)) for call in turn.calls]
    response = {
        "id": _id("resp_"),
        "object": "response",
        "status": "completed",
        "model": body.get("model", "scripted"),
        "output": output,
        "usage": {
            "input_tokens": TOKENS_IN,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": TOKENS_OUT,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": TOKENS_IN + TOKENS_OUT,
        },
    }
    return _events(_response_events(response)) if streams else _json(response)


def _response_call(call: Call, namespace: str | None) -> Body:
    item: Body = {"call_id": _id("call_"), "name": call.name, "status": "completed"}
    if namespace:
        item["namespace"] = namespace
    if isinstance(call.arguments, str):
        return {"type": "custom_tool_call", "id": _id("ctc_"), **item, "input": call.arguments}
    return {"type": "function_call", "id": _id("fc_"), **item, "arguments": as_text(call.arguments)}


def _response_events(response: Body) -> Iterable[tuple[str, Body]]:
    def event(name: str, **more: object) -> tuple[str, Body]:
        return name, {"type": name, **more}

    yield event("response.created", response={**response, "status": "in_progress", "output": []})
    for index, item in enumerate(response["output"]):
        yield event("response.output_item.added", output_index=index, item={**item, "status": "in_progress"})
        if item["type"] == "message":
            text = item["content"][0]["text"]
            at = {"item_id": item["id"], "output_index": index, "content_index": 0}
            yield event("response.output_text.delta", **at, delta=text)
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=response)


# --- OpenAI Chat Completions --------------------------------------------------------------------------------


def _read_chat(body: Body) -> Asked:
    told: list[str | Result] = []
    for message in body.get("messages", []):
        if message["role"] == "user":
            told.append(_text(message["content"]))
        elif message["role"] == "tool":
            told.append(Result(_text(message["content"])))
    tools = (tool["function"]["name"] for tool in body.get("tools") or [])
    return _asked(told, tools, bool(body.get("stream")))


def _write_chat(turn: Turn, body: Body, streams: bool) -> Answer:
    calls = [
        {
            "index": index,
            "id": _id("call_"),
            "type": "function",
            "function": {"name": call.name, "arguments": as_text(call.arguments)},
        }
        for index, call in enumerate(turn.calls)
    ]
    head = {"id": _id("chatcmpl-"), "created": 0, "model": body.get("model", "scripted")}
    said: Body = {"role": "assistant", "content": turn.text, **({"tool_calls": calls} if calls else {})}
    stop = "tool_calls" if calls else "stop"
    usage = {
        "prompt_tokens": TOKENS_IN,
        "completion_tokens": TOKENS_OUT,
        "total_tokens": TOKENS_IN + TOKENS_OUT,
    }
    if not streams:
        choice = {"index": 0, "message": said, "finish_reason": stop}
        return _json({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
    pieces: list[tuple[Body, str | None]] = [(said, None), ({}, stop)]
    chunks = [
        {
            **head,
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": delta, "finish_reason": end}],
        }
        for delta, end in pieces
    ]
    chunks.append({**head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
    return _events([*(("", chunk) for chunk in chunks), ("", "[DONE]")])


# --- Gemini -------------------------------------------------------------------------------------------------


def _read_gemini(body: Body) -> Asked:
    told: list[str | Result] = []
    for content in body.get("contents", []):
        if content.get("role", "user") not in ("user", "function"):
            continue
        for part in content.get("parts", []):
            if "functionResponse" in part:
                told.append(Result(_text(part["functionResponse"].get("response", {}).get("output", part))))
            elif "text" in part:
                told.append(part["text"])
    declared = (tool.get("functionDeclarations") or [] for tool in body.get("tools") or [])
    return _asked(told, (tool["name"] for tools in declared for tool in tools), streams=False)


def _write_gemini(turn: Turn, body: Body, streams: bool) -> Answer:
    parts: list[Body] = [{"text": turn.text}] if turn.text else []
    parts += [
        {"functionCall": {"id": _id("fc_"), "name": call.name, "args": call.arguments}} for call in turn.calls
    ]
    answer = {
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": TOKENS_IN,
            "candidatesTokenCount": TOKENS_OUT,
            "totalTokenCount": TOKENS_IN + TOKENS_OUT,
        },
        "modelVersion": "scripted",
        "responseId": _id("resp"),
    }
    return _events([("", answer)]) if streams else _json(answer)


ANTHROPIC = Format("anthropic", _read_messages, _write_messages)
RESPONSES = Format("responses", _read_responses, _write_responses)
CHAT = Format("chat", _read_chat, _write_chat)
GEMINI = Format("gemini", _read_gemini, _write_gemini)


def format_of(path: str) -> Format | None:
    """Which of them a POST to this path speaks; None: it is no question to a model."""
    path = path.partition("?")[0]
    ends = {"/messages": ANTHROPIC, "/responses": RESPONSES, "/chat/completions": CHAT}
    ends |= {":generateContent": GEMINI, ":streamGenerateContent": GEMINI}
    return next((known for end, known in ends.items() if path.endswith(end)), None)
