"""`factory-mcp serve --hello`, as `make run` starts it: a first answer, then it serves on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from mcp import Client
from mcp.client.sse import sse_client


@pytest.mark.requirement("CALLS-24")
async def test_the_first_hour_shows_an_answer_and_serves_on(tmp_path: Path) -> None:
    """The answer, the configuration to paste, what to mend; then calls over HTTP and SSE."""
    env = {
        "PATH": str(Path(sys.executable).parent),
        "HOME": str(tmp_path),
        "FACTORY_MCP_DATA": str(tmp_path / "data"),
        "FACTORY_MCP_ROOTS": str(tmp_path),
    } | {name: value for name, value in os.environ.items() if name.startswith("COV")}
    command = [str(Path(sys.executable).with_name("factory-mcp"))]
    with subprocess.Popen(  # noqa: ASYNC220 — read line by line until it serves
        [*command, "serve", "--port", "0", "--hello"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=env,
    ) as server:
        assert server.stdout is not None
        said = list[str]()
        for line in server.stdout:
            said.append(line)
            if line.startswith("Serving "):
                break
        text = "".join(said)
        url = said[-1].split()[1]
        assert "  | HANDOFF knowledge run_" in text
        assert f'"command": "{command[0]}", "args": ["stdio"]' in text
        assert "npm install -g @factory/cli-linux-x64@0.225.2" in text
        async with httpx.AsyncClient() as web:
            ready = await web.get(url.removesuffix("/mcp") + "/readyz")
        assert 200 == ready.status_code
        for target in (url, sse_client(url.removesuffix("/mcp") + "/sse")):
            async with Client(target) as client:
                result = await client.call_tool("architect_droid", {"task": f"design {target}"})
            structured: dict[str, object] = result.structured_content or {}
            assert "handoff" == structured["status"]
        server.send_signal(signal.SIGTERM)
        assert 0 == server.wait(30)
