"""The four ways in which clients talk to a model, read and spoken: streamed, one reply each.

A dialect reads a request into what was offered and which tool results it holds, and turns a reply
into events. What the client's model is shown of a result is all text in it, in whatever wrapping.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

Json = dict[str, Any]
Name = str | tuple[str, str]
"""A tool's name; Codex has a namespace before it."""
CALL = "function_call"
Event = tuple[str | None, Any]
"""Its type, where the dialect names types, and its data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The model calls a tool."""

    id: str
    name: Name
    arguments: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the model is shown of one result of a tool."""

    tool: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request: the tools on offer, and the results that the conversation holds."""

    tools: tuple[Name, ...]
    results: tuple[Result, ...]


Reply = str | Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How requests are read and how a reply is said."""

    read: Callable[[Json], Asked]
    say: Callable[[Reply], Iterator[Event]]


def text_in(value: Any) -> str:
    """Every text in a JSON value, one after the other."""
    match value:
        case str():
            return value
        case list():
            return "\n".join(map(text_in, cast("list[Any]", value)))
        case dict():
            return "\n".join(map(text_in, cast("Json", value).values()))
        case _:
            return ""


def _all(value: Any) -> list[Json]:
    """A list of objects, or nothing: a text or no value."""
    return cast("list[Json]", value) if isinstance(value, list) else []


def bare(name: Name) -> str:
    """The name without its namespace."""
    return name if isinstance(name, str) else name[1]


# --------------------------------------------------------------- OpenAI chat completions


def _read_chat(body: Json) -> Asked:
    messages = _all(body["messages"])
    calls = [call for message in messages for call in _all(message.get("tool_calls"))]
    called: dict[str, str] = {call["id"]: call["function"]["name"] for call in calls}
    return Asked(
        tools=tuple(tool["function"]["name"] for tool in _all(body.get("tools"))),
        results=tuple(
            Result(tool=called[message["tool_call_id"]], text=text_in(message["content"]))
            for message in messages
            if message["role"] == "tool"
        ),
    )


def _say_chat(reply: Reply) -> Iterator[Event]:
    def chunk(delta: Json, finish: str | None = None) -> Event:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return None, {**base, "choices": [choice]}

    base = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    yield chunk({"role": "assistant", "content": ""})
    if isinstance(reply, str):
        yield chunk({"content": reply})
        yield chunk({}, "stop")
    else:
        function = {"name": reply.name, "arguments": json.dumps(reply.arguments)}
        call = {"index": 0, "id": reply.id, "type": "function", "function": function}
        yield chunk({"tool_calls": [call]})
        yield chunk({}, "tool_calls")
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    yield None, {**base, "choices": [], "usage": usage}
    yield None, "[DONE]"


# ---------------------------------------------------------------------- OpenAI Responses


def _read_responses(body: Json) -> Asked:
    items = _all(body["input"])
    called: dict[str, str] = {i["call_id"]: i["name"] for i in items if i.get("type") == CALL}
    outputs = [item for item in items if item.get("type") == f"{CALL}_output"]
    return Asked(
        tools=tuple(name for tool in _all(body.get("tools")) for name in _names(tool)),
        results=tuple(
            Result(tool=called[item["call_id"]], text=text_in(item["output"])) for item in outputs
        ),
    )


def _names(tool: Json) -> Iterator[Name]:
    """A tool's name; those of all its tools if it is a namespace."""
    if tool.get("type") == "namespace":
        yield from ((tool["name"], inner["name"]) for inner in tool["tools"])
    else:
        yield tool.get("name") or tool["type"]


def _say_responses(reply: Reply) -> Iterator[Event]:
    def event(kind: str, **fields: Any) -> Event:
        return kind, {"type": kind, "sequence_number": next(numbers), **fields}

    numbers = iter(range(99))
    item = _item(reply)
    usage = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}
    whole = {"id": "r", "object": "response", "created_at": 0, "model": "m", "usage": usage}
    whole |= {"status": "completed", "output": [item]}
    yield event("response.created", response={**whole, "status": "in_progress", "output": []})
    yield event("response.output_item.added", output_index=0, item=item)
    yield event("response.output_item.done", output_index=0, item=item)
    yield event("response.completed", response=whole)


def _item(reply: Reply) -> Json:
    if isinstance(reply, str):
        annotations: list[Json] = []
        text: Json = {"type": "output_text", "text": reply, "annotations": annotations}
        message: Json = {"type": "message", "id": "m", "role": "assistant", "content": [text]}
        return {**message, "status": "completed"}
    call: Json = {"type": CALL, "id": "f", "call_id": reply.id, "status": "completed"}
    space = {} if isinstance(reply.name, str) else {"namespace": reply.name[0]}
    return {**call, "name": bare(reply.name), **space, "arguments": json.dumps(reply.arguments)}


# --------------------------------------------------------------------- Anthropic Messages


def _read_anthropic(body: Json) -> Asked:
    parts = [part for message in _all(body["messages"]) for part in _all(message["content"])]
    called: dict[str, str] = {p["id"]: p["name"] for p in parts if p["type"] == "tool_use"}
    return Asked(
        tools=tuple(tool["name"] for tool in _all(body.get("tools"))),
        results=tuple(
            Result(tool=called[part["tool_use_id"]], text=text_in(part.get("content")))
            for part in parts
            if part["type"] == "tool_result"
        ),
    )


def _say_anthropic(reply: Reply) -> Iterator[Event]:
    def event(kind: str, **fields: Any) -> Event:
        return kind, {"type": kind, **fields}

    usage = {"input_tokens": 100, "output_tokens": 10}
    message = {"id": "msg", "type": "message", "role": "assistant", "model": "m", "usage": usage}
    message |= {"content": [], "stop_reason": None, "stop_sequence": None}
    if isinstance(reply, str):
        block: Json = {"type": "text", "text": ""}
        delta, stop = {"type": "text_delta", "text": reply}, "end_turn"
    else:
        block = {"type": "tool_use", "id": reply.id, "name": reply.name, "input": {}}
        arguments = json.dumps(reply.arguments)
        delta, stop = {"type": "input_json_delta", "partial_json": arguments}, "tool_use"
    yield event("message_start", message=message)
    yield event("content_block_start", index=0, content_block=block)
    yield event("content_block_delta", index=0, delta=delta)
    yield event("content_block_stop", index=0)
    ended = {"stop_reason": stop, "stop_sequence": None}
    yield event("message_delta", delta=ended, usage=usage)
    yield event("message_stop")


# --------------------------------------------------------------------------------- Gemini


def _read_gemini(body: Json) -> Asked:
    tools = [f for tool in _all(body.get("tools")) for f in _all(tool.get("functionDeclarations"))]
    parts = [part for content in _all(body["contents"]) for part in _all(content.get("parts"))]
    responses: list[Json] = [p["functionResponse"] for p in parts if "functionResponse" in p]
    return Asked(
        tools=tuple(tool["name"] for tool in tools),
        results=tuple(
            Result(tool=response["name"], text=text_in(response["response"]))
            for response in responses
        ),
    )


def _say_gemini(reply: Reply) -> Iterator[Event]:
    if isinstance(reply, str):
        part: Json = {"text": reply}
    else:
        call = {"id": reply.id, "name": reply.name, "args": reply.arguments}
        part = {"functionCall": call}
    content = {"role": "model", "parts": [part]}
    usage = {"promptTokenCount": 100, "candidatesTokenCount": 10, "totalTokenCount": 110}
    candidate = {"index": 0, "content": content, "finishReason": "STOP"}
    yield None, {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m"}


DIALECTS = {
    "/chat/completions": Dialect(read=_read_chat, say=_say_chat),
    "/responses": Dialect(read=_read_responses, say=_say_responses),
    "/messages": Dialect(read=_read_anthropic, say=_say_anthropic),
    ":streamGenerateContent": Dialect(read=_read_gemini, say=_say_gemini),
}
"""By the end of the path that a request is posted to."""
