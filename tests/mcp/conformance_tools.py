"""The tools that the official conformance suite asks for, named and behaving as its scenarios describe them.

Lives here: each tool, and what they have in common: texts, questions to the client. Not here: resources,
prompts, and the server that offers it all (conformance_server.py).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from mcp.server.subscriptions import InMemorySubscriptionBus, PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, MISSING_REQUIRED_CLIENT_CAPABILITY, SamplingMessage

Ctx = Any  # ServerRequestContext
Result = dict[str, Any]
Run = Callable[[Ctx, Mapping[str, Any]], Awaitable[Result]]

PAUSE_S = 0.05  # between notifications, as the scenarios say
RETRY_MS = 100  # after which a client whose stream was closed comes back
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA="
BUS = InMemorySubscriptionBus()


class Tool(NamedTuple):
    """What is listed, and what it does."""

    run: Run
    schema: Result
    description: str


TOOLS: dict[str, Tool] = {}


def tool(name: str, properties: Result | None = None, **schema: Any) -> Callable[[Run], Run]:
    """A tool of that name; all its properties are required unless the schema says otherwise."""

    def keep(run: Run) -> Run:
        told = {"type": "object", "properties": properties or {}, "required": list(properties or {})}
        TOOLS[name] = Tool(run, {**told, **schema}, (run.__doc__ or "").strip())
        return run

    return keep


def text(*said: str) -> Result:
    return {"content": [{"type": "text", "text": one} for one in said]}


def embedded(uri: str, mime: str, content: str) -> Result:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime, "text": content}}


IMAGE = {"type": "image", "data": PNG, "mimeType": "image/png"}


# --- contents -----------------------------------------------------------------------------------------------


@tool("test_simple_text")
async def simple_text(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """A text."""
    return text("This is a simple text response for testing.")


@tool("test_image_content")
async def image(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """An image of one pixel."""
    return {"content": [IMAGE]}


@tool("test_audio_content")
async def audio(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """A sound that is over at once."""
    return {"content": [{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]}


@tool("test_embedded_resource")
async def resource(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """A resource inside the result."""
    return {
        "content": [
            embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")
        ]
    }


@tool("test_multiple_content_types")
async def mixed(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """A text, an image and a resource."""
    told = embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
    return {"content": [*text("Multiple content types test:")["content"], IMAGE, told]}


@tool("test_error_handling")
async def error(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """Fails."""
    return {**text("This tool intentionally returns an error for testing"), "isError": True}


# --- notifications ------------------------------------------------------------------------------------------


async def log(ctx: Ctx, message: str) -> None:
    await ctx.session.send_log_message("info", message, related_request_id=ctx.request_id)


@tool("test_tool_with_logging")
async def logging(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """Says three times how it goes on."""
    await log(ctx, "Tool execution started")
    await asyncio.sleep(PAUSE_S)
    await log(ctx, "Tool processing data")
    await asyncio.sleep(PAUSE_S)
    await log(ctx, "Tool execution completed")
    return text("Logged three times.")


@tool("test_logging_tool")
async def logging_once(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """Says something, where it may."""
    await log(ctx, "Something was done")
    return text("Logged once.")


@tool("test_tool_with_progress")
async def progress(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """Tells how far it is."""
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100, f"{done} of 100")
        await asyncio.sleep(PAUSE_S)
    return text("All of it was done.")


@tool("test_trigger_tool_change")
async def tool_change(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """Tells who listens that the tools are others."""
    await BUS.publish(ToolsListChanged())
    return text("Told.")


@tool("test_trigger_prompt_change")
async def prompt_change(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """Tells who listens that the prompts are others."""
    await BUS.publish(PromptsListChanged())
    return text("Told.")


@tool("test_reconnection")
async def reconnection(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """Closes the stream of its answer; the client comes back for it."""
    if ctx.close_sse_stream is not None:
        await ctx.close_sse_stream()
    await asyncio.sleep(2 * RETRY_MS / 1000)
    return text("Reconnected.")


# --- requests of the server's, until 2025-11-25 -------------------------------------------------------------


@tool("test_sampling", {"prompt": {"type": "string"}})
async def sampling(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """Lets the client's model speak."""
    message = SamplingMessage.model_validate({"role": "user", "content": text(given["prompt"])["content"][0]})
    said = await ctx.session.create_message([message], max_tokens=100, related_request_id=ctx.request_id)
    return text(f"LLM response: {getattr(said.content, 'text', '')}")


async def elicited(ctx: Ctx, message: str, schema: Result) -> Any:
    return await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)


@tool("test_elicitation", {"message": {"type": "string"}})
async def elicitation(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """Asks the user."""
    fields = {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    }
    schema = {"type": "object", "properties": fields, "required": list(fields)}
    said = await elicited(ctx, given["message"], schema)
    return text(f"User response: action={said.action}, content={json.dumps(said.content)}")


DEFAULTS = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
TITLED = [{"const": f"value{n}", "title": f"{word} Option"} for n, word in ((1, "First"), (2, "Second"))]
OPTIONS = ["option1", "option2", "option3"]
ENUMS = {
    "untitledSingle": {"type": "string", "enum": OPTIONS},
    "titledSingle": {"type": "string", "oneOf": TITLED},
    "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": OPTIONS}},
    "titledMulti": {"type": "array", "items": {"anyOf": TITLED}},
}


def asks_for(fields: Result) -> Run:
    async def run(ctx: Ctx, given: Mapping[str, Any]) -> Result:
        """Asks the user with that schema."""
        said = await elicited(ctx, "Fill it in", {"type": "object", "properties": fields})
        return text(f"Elicitation completed: action={said.action}, content={json.dumps(said.content)}")

    return run


tool("test_elicitation_sep1034_defaults")(asks_for(DEFAULTS))
tool("test_elicitation_sep1330_enums")(asks_for(ENUMS))


# --- results that ask, from 2026-07-28 on -------------------------------------------------------------------


def question(message: str, name: str, type: str = "string") -> Result:
    schema = {"type": "object", "properties": {name: {"type": type}}, "required": [name]}
    return {"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}}


def sample(prompt: str) -> Result:
    message = {"role": "user", "content": text(prompt)["content"][0]}
    return {"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": 100}}


ROOTS: Result = {"method": "roots/list", "params": {}}
WHO = {"user_name": question("What is your name?", "name")}


def asked(requests: Result, state: str | None = None) -> Result:
    told: Result = {"resultType": "input_required", "inputRequests": requests}
    return told if state is None else {**told, "requestState": state}


def answers(ctx: Ctx) -> Result:
    return (ctx.params or {}).get("inputResponses") or {}


def state_of(ctx: Ctx) -> str | None:
    return (ctx.params or {}).get("requestState")


def asks(requests: Result, state: str | None = None) -> Run:
    async def run(ctx: Ctx, given: Mapping[str, Any]) -> Result:
        """Asks by its result, and says what it was answered."""
        said = answers(ctx)
        if not all(isinstance(said.get(name), dict) for name in requests):
            return asked(requests, state)
        if state_of(ctx) != state:
            raise MCPError(INVALID_PARAMS, "the state is not the one that was given")
        return text(f"state-ok {json.dumps(said, sort_keys=True)}")

    return run


@tool("test_input_required_result_elicitation")
async def asks_who(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """Asks for a name by its result."""
    content = answers(ctx).get("user_name")
    name = ((content or {}).get("content") or {}).get("name") if isinstance(content, dict) else None
    return text(f"Hello, {name}!") if isinstance(name, str) else asked(WHO)


@tool("test_input_required_result_multi_round")
async def asks_twice(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """Asks twice by its results."""
    said, state = answers(ctx), state_of(ctx)
    if state == "second" and "step2" in said:
        return text(json.dumps(said, sort_keys=True))
    if state == "first" and "step1" in said:
        return asked({"step2": question("Step 2: What is your favorite color?", "color")}, "second")
    return asked({"step1": question("Step 1: What is your name?", "name")}, "first")


@tool("test_input_required_result_capabilities")
async def asks_what_it_may(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """Asks only for what the client can do."""
    can = ctx.session.client_capabilities
    requests = {"said": sample("Say something")} if can is not None and can.sampling is not None else {}
    if can is not None and can.elicitation is not None:
        requests |= WHO
    return asked(requests) if requests and not answers(ctx) else text("Nothing can be asked.")


SAMPLED = {"capital_question": sample("What is the capital of France?")}
SEVERAL = {**WHO, "greeting": sample("Generate a greeting"), "client_roots": ROOTS}
CONFIRM = {"confirm": question("Please confirm", "ok", "boolean")}
tool("test_input_required_result_sampling")(asks(SAMPLED))
tool("test_input_required_result_list_roots")(asks({"client_roots": ROOTS}))
tool("test_input_required_result_request_state")(asks(CONFIRM, "asked"))
tool("test_input_required_result_multiple_inputs")(asks(SEVERAL, "several"))
tool("test_input_required_result_tampered_state")(asks(CONFIRM, "sealed"))
tool("test_streaming_elicitation")(asks(WHO))


# --- schemas, headers, capabilities -------------------------------------------------------------------------


@tool("test_missing_capability")
async def needs_sampling(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """Wants a client that can sample."""
    can = ctx.session.client_capabilities
    if can is None or can.sampling is None:
        told = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "The client cannot sample", told)
    return text("It can.")


@tool("test_custom_header", {"region": {"type": "string", "x-mcp-header": "Region"}})
async def custom_header(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """Has an argument that stands in a header too."""
    return text(given["region"])


ADDRESS = {
    "$anchor": "addressDef", "type": "object",
    "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
}  # fmt: skip
PHONE = {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]}


@tool(
    "json_schema_2020_12_tool",
    {
        "name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}, "phone": {"type": "string"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]}, "email": {"type": "string"},
    },
    **{
        "$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": {"address": ADDRESS},
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": PHONE, "then": {"required": ["phone"]}, "else": {"required": ["email"]},
        "additionalProperties": False, "required": [],
    },
)  # fmt: skip
async def schema_2020_12(ctx: Ctx, given: Mapping[str, Any]) -> Result:
    """Tool with JSON Schema 2020-12 features"""
    return text(json.dumps(dict(given), sort_keys=True))
