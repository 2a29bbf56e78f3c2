"""The bare SDK over stdio, to compare with: the same tools, each of which echoes.

python bench/bare_sdk.py TOOLS_FILE     a tools/list result, as JSON
"""

import json
import sys
from pathlib import Path
from typing import Any

import anyio
import mcp_types as t
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

Context = ServerRequestContext[Any, Any]


def build(tools: list[t.Tool]) -> Server[Any]:
    """A low-level server that lists these tools."""
    schemas = {tool.name: tool.input_schema for tool in tools}

    async def list_tools(_: Context, __: Any) -> t.ListToolsResult:
        return t.ListToolsResult(tools=tools)

    async def call_tool(_: Context, params: t.CallToolRequestParams) -> t.CallToolResult:
        text = str((params.arguments or {}).get("task"))
        return t.CallToolResult(content=[t.TextContent(type="text", text=text)])

    return Server(
        "bare-sdk",
        version="1",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        get_tool_input_schema=schemas.get,
    )


async def main(path: str) -> None:
    """Serve until the end of stdin."""
    listed = json.loads(await anyio.Path(path).read_text(encoding="utf-8"))
    server = build(t.ListToolsResult.model_validate(listed).tools)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    anyio.run(main, str(Path(sys.argv[1])))
