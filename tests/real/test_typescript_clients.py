"""The TypeScript SDKs, as editors embed them, against the program that editors start."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.real.ts_client import Version, run_ts, ts_client
from tests.real.ts_memory import uses_the_memory

CLIENTS = [
    pytest.param("v1", "legacy", "2025-11-25", id="sdk-1"),
    pytest.param("v2", "legacy", "2025-11-25", id="client-2-legacy"),
    pytest.param("v2", "auto", "2026-07-28", id="client-2-modern"),
]


def _stdio(data: Path, era: str) -> dict[str, Any]:
    return {
        "transport": "stdio",
        "command": sys.executable,
        "args": ["-m", "factory_mcp", "stdio"],
        "cwd": str(data),
        "env": {"FACTORY_MCP_DATA": str(data / "data")},
        "era": era,
    }


@pytest.mark.requirement("HOUSE-11")
@pytest.mark.parametrize(("version", "era", "protocol"), CLIENTS)
async def test_a_typescript_client_finds_what_it_wrote(
    version: Version, era: str, protocol: str, tmp_path: Path
) -> None:
    """It agrees on the newest revision of its era, lists ten tools, and memory works."""
    steps = [
        {"op": "initialize"},
        {"op": "listTools"},
        {
            "op": "call",
            "name": "context_write",
            "arguments": {
                "summary": "The parser lives in lexer.py",
                "data": {"parser": "lexer.py"},
            },
        },
        {"op": "call", "name": "context_search", "arguments": {"query": "parser"}},
    ]
    hello, listed, written, found = await run_ts(version, _stdio(tmp_path, era) | {"steps": steps})
    assert protocol == hello["result"]["protocolVersion"]
    assert len(listed["result"]["tools"]) == 10
    node = written["result"]["structuredContent"]["context_id"]
    assert [node] == [hit["id"] for hit in found["result"]["structuredContent"]["data"]["hits"]]


@pytest.mark.requirement("HOUSE-11")
@pytest.mark.parametrize(("version", "era", "protocol"), CLIENTS)
async def test_a_typescript_client_that_leaves_leaves_no_server_behind(
    version: Version, era: str, protocol: str, tmp_path: Path
) -> None:
    """Closing the client ends the program that it started."""
    (hello,) = await run_ts(version, _stdio(tmp_path, era) | {"steps": [{"op": "initialize"}]})
    assert protocol == hello["result"]["protocolVersion"]
    with pytest.raises(ProcessLookupError):
        os.kill(hello["result"]["pid"], 0)


@pytest.mark.requirement("PROTOCOL-6")
@pytest.mark.parametrize(("version", "era", "protocol"), CLIENTS)
async def test_a_typescript_client_watches_the_memory(
    version: Version, era: str, protocol: str, tmp_path: Path
) -> None:
    """Templates, completion, prompts, and a context that changed."""
    async with ts_client(version, _stdio(tmp_path, era)) as client:
        await uses_the_memory(client, protocol)
