"""What clients of both eras write, and what they read."""

import json
from typing import Any

import mcp_types as t
from mcp import Client

HANDSHAKE: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}
META: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
INITIALIZED: dict[str, Any] = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def message(request_id: Any, method: str, params: Any) -> dict[str, Any]:
    """One request."""
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def text_of(result: t.CallToolResult) -> str:
    """The text of its only block."""
    (block,) = result.content
    assert isinstance(block, t.TextContent)
    return block.text


def said(result: t.CallToolResult) -> dict[str, Any]:
    """The structured half of a result."""
    structured: Any = result.structured_content
    return structured or {}


async def read(c: Client, uri: str) -> str:
    """A resource of text."""
    contents = (await c.read_resource(uri)).contents[0]
    assert isinstance(contents, t.TextResourceContents)
    return contents.text


def sse_data(body: str) -> list[dict[str, Any]]:
    """The messages of an event stream; a priming event has none."""
    lines = [line.removeprefix("data: ") for line in body.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line]
