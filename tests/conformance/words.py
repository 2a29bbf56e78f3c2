"""The least of everything: a tool, a text, a picture, a sound."""

from collections.abc import Awaitable, Callable
from typing import Any

import mcp_types as t

from factory_mcp.transports.tables import Context, ToolRow

_PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8"
    "z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
_SOUND = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="

Answer = Callable[
    [Context, t.CallToolRequestParams], Awaitable[t.CallToolResult | t.InputRequiredResult]
]


def text(words: str) -> t.TextContent:
    return t.TextContent(type="text", text=words)


def picture() -> t.ImageContent:
    """One pixel."""
    return t.ImageContent(type="image", data=_PICTURE, mime_type="image/png")


def sound() -> t.AudioContent:
    """One moment of silence."""
    return t.AudioContent(type="audio", data=_SOUND, mime_type="audio/wav")


def said(words: str) -> t.CallToolResult:
    return t.CallToolResult(content=[text(words)])


def tool(name: str, answer: Answer, **properties: dict[str, Any]) -> ToolRow:
    """A tool; all of its arguments are required but one that stands in a header."""
    required = [key for key, schema in properties.items() if "x-mcp-header" not in schema]
    schema = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    description = f"The conformance suite's {name}."
    listed = t.Tool(name=name, description=description, input_schema=schema)
    return ToolRow(listed=listed, answer=answer)
