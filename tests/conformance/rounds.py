"""Tools that ask before they answer (2026-07-28): the client calls again with the answers."""

import json
from collections.abc import Mapping
from typing import Any, Final

import mcp_types as t

from factory_mcp.transports.tables import Context
from tests.conformance.words import said, text, tool

Ask = t.ElicitRequest | t.CreateMessageRequest | t.ListRootsRequest
Result = t.CallToolResult | t.InputRequiredResult
Called = t.CallToolRequestParams


def ask(message: str, field: str, kind: str = "string") -> t.ElicitRequest:
    """A question to the person, with one field."""
    schema = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    return t.ElicitRequest(
        params=t.ElicitRequestFormParams(message=message, requested_schema=schema)
    )


def sample(words: str) -> t.CreateMessageRequest:
    """A question to the client's model."""
    message = t.SamplingMessage(role="user", content=text(words))
    return t.CreateMessageRequest(
        params=t.CreateMessageRequestParams(messages=[message], max_tokens=100)
    )


def needs(state: str | None = None, /, **requests: Ask) -> t.InputRequiredResult:
    """What is still missing."""
    return t.InputRequiredResult(input_requests=dict(requests), request_state=state)


def answered(params: Called | t.GetPromptRequestParams, key: str) -> Mapping[str, Any]:
    """The fields of an answered form; none while it is not."""
    answer = (params.input_responses or {}).get(key)
    return (answer.content or {}) if isinstance(answer, t.ElicitResult) else {}


async def elicitation(_: Context, params: Called) -> Result:
    if name := answered(params, "user_name").get("name"):
        return said(f"Hello, {name}!")
    return needs(user_name=ask("What is your name?", "name"))


async def sampled(_: Context, params: Called) -> Result:
    answer = (params.input_responses or {}).get("capital_question")
    if isinstance(answer, t.CreateMessageResult) and isinstance(answer.content, t.TextContent):
        return said(f"Model said: {answer.content.text}")
    return needs(capital_question=sample("What is the capital of France?"))


async def roots(_: Context, params: Called) -> Result:
    answer = (params.input_responses or {}).get("client_roots")
    if isinstance(answer, t.ListRootsResult):
        return said(f"Client exposed {len(answer.roots)} root(s).")
    return needs(client_roots=t.ListRootsRequest())


async def state(_: Context, params: Called) -> Result:
    if params.request_state == "nonce" and answered(params, "confirm"):
        return said("state-ok: confirmation received")
    return needs("nonce", confirm=ask("Please confirm", "ok", "boolean"))


async def several(_: Context, params: Called) -> Result:
    wanted: dict[str, Ask] = {
        "user_name": ask("What is your name?", "name"),
        "greeting": sample("Generate a greeting"),
        "client_roots": t.ListRootsRequest(),
    }
    if wanted.keys() <= (params.input_responses or {}).keys():
        return said("All inputs received.")
    return needs("several", **wanted)


async def three_rounds(_: Context, params: Called) -> Result:
    known: dict[str, Any] = json.loads(params.request_state or "{}")
    if "name" in known and (color := answered(params, "step2").get("color")):
        return said(f"{known['name']} likes {color}.")
    if name := answered(params, "step1").get("name"):
        question = ask("Step 2: What is your favorite color?", "color")
        return needs(json.dumps({"round": 2, "name": name}), step2=question)
    return needs(json.dumps({"round": 1}), step1=ask("Step 1: What is your name?", "name"))


async def tampered(_: Context, params: Called) -> Result:
    """A state that was changed on its way never gets here."""
    if params.request_state is not None:
        return said(f"state-ok: {params.request_state}")
    return needs("round-1", confirm=ask("Please confirm", "ok", "boolean"))


async def declared(ctx: Context, _: Called) -> Result:
    """Asks for nothing that the client has not said it can do."""
    can = ctx.session.client_capabilities or t.ClientCapabilities()
    requests: dict[str, Ask] = {}
    if can.sampling is not None:
        requests["sample"] = sample("Say hello")
    if can.elicitation is not None:
        requests["ask"] = ask("What is your name?", "name")
    return needs("declared", **requests)


async def prompt(
    _: Context, params: t.GetPromptRequestParams
) -> t.GetPromptResult | t.InputRequiredResult:
    if context := answered(params, "user_context").get("context"):
        message = t.PromptMessage(role="user", content=text(f"Use this context: {context}"))
        return t.GetPromptResult(messages=[message])
    return needs(user_context=ask("What context should the prompt use?", "context"))


TOOLS: Final = (
    tool("test_input_required_result_elicitation", elicitation),
    tool("test_streaming_elicitation", elicitation),
    tool("test_input_required_result_sampling", sampled),
    tool("test_input_required_result_list_roots", roots),
    tool("test_input_required_result_request_state", state),
    tool("test_input_required_result_multiple_inputs", several),
    tool("test_input_required_result_multi_round", three_rounds),
    tool("test_input_required_result_tampered_state", tampered),
    tool("test_input_required_result_capabilities", declared),
)
