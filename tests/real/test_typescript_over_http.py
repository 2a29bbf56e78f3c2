"""Both TypeScript SDKs against `factory-mcp serve`: Streamable HTTP in both eras, and old SSE."""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.real.ts_client import Version, run_ts, ts_client
from tests.real.ts_memory import uses_the_memory

CLIENTS = [
    pytest.param("v1", "http", "legacy", "2025-11-25", id="sdk-1"),
    pytest.param("v1", "sse", "legacy", "2025-11-25", id="sdk-1-sse"),
    pytest.param("v2", "http", "legacy", "2025-11-25", id="client-2-legacy"),
    pytest.param("v2", "http", "auto", "2026-07-28", id="client-2-modern"),
    pytest.param("v2", "sse", "auto", "2026-07-28", id="client-2-sse"),
]
WAYS = [pytest.param(*client.values[:3], id=client.id) for client in CLIENTS]
PATHS = {"http": "/mcp", "sse": "/sse"}
DEAF = "#!/bin/sh\nexec /bin/sleep 60\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The product as a process of its own, and where it looks for the droid program."""

    base: str
    droid: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    """On a free port; there is no droid program yet."""
    folder = tmp_path_factory.mktemp("served")
    env = {
        "PATH": str(folder),
        "HOME": str(folder),
        "FACTORY_MCP_DATA": str(folder / "data"),
        "FACTORY_MCP_DROID_BIN": str(folder / "droid"),
    } | {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    command = [sys.executable, "-m", "factory_mcp", "serve", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env, cwd=folder
    ) as server:
        assert server.stdout is not None
        try:
            said = server.stdout.readline()  # factory-mcp serves http://…/mcp (…)
            yield Served(base=said.split()[2].removesuffix("/mcp"), droid=folder / "droid")
        finally:
            server.terminate()
        assert 0 == server.wait(30)


@contextmanager
def deaf(droid: Path) -> Generator[None]:
    """A droid program that starts and says nothing."""
    droid.write_text(DEAF)
    droid.chmod(0o755)
    yield
    droid.unlink()


@pytest.mark.requirement("TRANSPORT-14")
@pytest.mark.parametrize(("version", "transport", "era", "protocol"), CLIENTS)
async def test_a_typescript_client_calls_droids_over_http(
    served: Served, version: Version, transport: str, era: str, protocol: str
) -> None:
    """A handoff, a run that goes on with its progress, a cancel, and the run as a resource."""
    url = served.base + PATHS[transport]
    call: dict[str, Any] = {"name": "architect_droid", "arguments": {"task": "design_system"}}
    async with ts_client(version, {"transport": transport, "url": url, "era": era}) as client:
        hello = await client.step("initialize")
        assert protocol == hello["result"]["protocolVersion"]
        listed = await client.step("listTools")
        assert 10 == len(listed["result"]["tools"])
        left = await client.step("call", **call)
        assert ("handoff", []) == (status(left), left["progress"])
        call["arguments"]["wait_s"] = 1
        with deaf(served.droid):
            held = await client.step("call", **call, withProgress=True)
            assert "running" == status(held)
            assert held["progress"]
            run = {"run_id": held["result"]["structuredContent"]["run_id"]}
            ended = await client.step("call", name="droid_cancel", arguments=run)
            assert "cancelled" == status(ended)
        read = await client.step("read", uri=f"run://{run['run_id']}")
        assert "cancelled" == json.loads(read["result"]["contents"][0]["text"])["status"]


@pytest.mark.requirement("PROTOCOL-6")
@pytest.mark.parametrize(("version", "transport", "era", "protocol"), CLIENTS)
async def test_a_typescript_client_watches_the_memory_over_http(
    served: Served, version: Version, transport: str, era: str, protocol: str
) -> None:
    """Templates, completion, prompts, and a context that changed."""
    url = served.base + PATHS[transport]
    async with ts_client(version, {"transport": transport, "url": url, "era": era}) as client:
        await uses_the_memory(client, protocol)


def status(line: dict[str, Any]) -> str:
    return line["result"]["structuredContent"]["status"]


@pytest.mark.requirement("TRANSPORT-1")
@pytest.mark.parametrize(("version", "transport", "era"), WAYS)
async def test_a_typescript_client_in_a_page_of_another_site_is_refused(
    served: Served, version: Version, transport: str, era: str
) -> None:
    """Whichever way it comes in, before the handshake."""
    program: dict[str, Any] = {
        "transport": transport,
        "url": served.base + PATHS[transport],
        "era": era,
        "headers": {"origin": "http://evil.example"},
        "steps": [{"op": "initialize"}],
    }
    (hello,) = await run_ts(version, program)
    assert not hello["ok"]
    assert "403" in str(hello["error"])


@pytest.mark.requirement("TRANSPORT-1")
@pytest.mark.parametrize("path", PATHS.values())
def test_the_product_does_not_answer_for_another_host(served: Served, path: str) -> None:
    """A name that was rebound to this machine; no fetch of JavaScript can send one."""
    answer = httpx.get(served.base + path, headers={"host": "rebound.example"})
    assert (421, "host_not_allowed") == (answer.status_code, answer.json()["code"])
