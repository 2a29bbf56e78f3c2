"""Clients without a model: the Inspector's command line, and mcp-remote in front of `serve`.

What a model would be shown is what they print. The Inspector keeps no connection between two
commands, so that its long run is one over HTTP.
"""

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from tests.real.clients.play import ANSWER, TASK
from tests.real.clients.programs import client_program, pinned
from tests.real.clients.record import note
from tests.real.clients.stage import OFFLINE, Stage, make_stage
from tests.real.droid_program import gather
from tests.real.fake_model import FakeModel, Reply, Slow
from tests.transports.messages import text_of

ASKED = {"task": TASK}
TITLES = {"inspector": "MCP Inspector", "mcp-remote": "mcp-remote"}
LISTS = {
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
    "prompts/list": "prompts",
}
SLOW = Slow((*["Looking. "] * 15, ANSWER), every_s=5)  # 75 s
CallTool = Callable[[str, dict[str, str]], Awaitable[str]]


def record(name: str, **facts: Any) -> None:
    """Note facts about one of the two."""
    note(name, title=TITLES[name], version=pinned(name), **facts)


@asynccontextmanager
async def staged(folder: Path, droid_says: Reply) -> AsyncGenerator[Stage]:
    """A machine whose droid says this."""
    with FakeModel(lambda _: droid_says) as model:
        yield make_stage(folder, model.url)


async def inspect(stage: Stage, target: list[str | Path], *arguments: str) -> dict[str, Any]:
    """One command of the Inspector, which refuses to go on where there is a proxy."""
    program = client_program("inspector", ".bin/mcp-inspector")
    command = [program, "--cli", *target, *arguments]
    ended = await stage.run(command, dict.fromkeys(OFFLINE))
    assert 0 == ended.code, ended.output
    return json.loads(ended.output[ended.output.index("{") :])


def inspector_call(stage: Stage, target: list[str | Path]) -> CallTool:
    """Call a tool with the Inspector; the text of the result."""

    async def call(tool: str, arguments: dict[str, str]) -> str:
        pairs = [part for k, v in arguments.items() for part in ("--tool-arg", f"{k}={v}")]
        named = ["--method", "tools/call", "--tool-name", tool, *pairs]
        result = await inspect(stage, target, *named)
        return result["content"][0]["text"]

    return call


@asynccontextmanager
async def remote(stage: Stage, url: str) -> AsyncGenerator[tuple[Client, CallTool]]:
    """A client behind mcp-remote."""
    program = client_program("mcp-remote", ".bin/mcp-remote")
    env = {**stage.env, "MCP_REMOTE_CONFIG_DIR": str(stage.home / "mcp-remote")}
    command = StdioServerParameters(
        command=str(program), args=[f"{url}/mcp", "--allow-http"], env=env, cwd=stage.workspace
    )
    async with Client(command, mode="legacy") as client:

        async def call(tool: str, arguments: dict[str, str]) -> str:
            return text_of(await client.call_tool(tool, arguments))

        yield client, call


async def call_then_lose_the_droid(stage: Stage, call: CallTool) -> dict[str, Any]:
    """An answer, then a handoff; what the record says of it."""
    started = monotonic()
    assert ANSWER in await call("architect_droid", ASKED)
    seconds = monotonic() - started
    stage.droid.unlink()
    assert "HANDOFF code run_" in await call("code_droid", {"task": "Move it"})
    assert ["handoff", "done"] == [run["status"] for run in await stage.history()]
    versions = {event["protocol"] for event in stage.calls()}
    return {"protocol": versions.pop(), "shown": "both", "seconds": round(seconds)}


async def collect(stage: Stage, call: CallTool) -> dict[str, Any]:
    """A run of 75 s, collected; what the record says of it."""
    started = monotonic()
    text = await call("architect_droid", ASKED)
    assert "RUNNING architect run_" in text
    while found := re.search(r"RUNNING architect (run_\w+)", text):
        text = await call("droid_wait", {"run_id": found[1]})
    assert ANSWER in text
    assert 1 == len(await stage.history())
    return {"seconds": round(monotonic() - started)}


@pytest.mark.requirement("REALCLIENT-4")
@pytest.mark.parametrize("transport", ["stdio", "http", "sse"])
async def test_the_inspector_lists_calls_and_shows_a_handoff(
    transport: str, tmp_path: Path
) -> None:
    """From its command line, on every transport."""
    async with staged(tmp_path / "stage", ANSWER) as stage, stage.serving() as url:
        path = {"http": "mcp", "sse": "sse"}.get(transport)
        target: list[str | Path] = [f"{url}/{path}", "--transport", transport]
        if transport == "stdio":
            target = [stage.program, "stdio"]
        listed = await inspect(stage, target, "--method", "tools/list")
        assert 10 == len(listed["tools"])
        for method, key in LISTS.items():
            assert (await inspect(stage, target, "--method", method))[key]
        facts = await call_then_lose_the_droid(stage, inspector_call(stage, target))
    record("inspector", **{transport: facts})


@pytest.mark.requirement("REALCLIENT-4")
async def test_a_client_behind_mcp_remote_lists_calls_and_sees_a_handoff(tmp_path: Path) -> None:
    """Its own side speaks stdio, ours HTTP."""
    async with (
        staged(tmp_path / "stage", ANSWER) as stage,
        stage.serving() as url,
        remote(stage, url) as (client, call),
    ):
        assert 10 == len((await client.list_tools()).tools)
        facts = await call_then_lose_the_droid(stage, call)
    record("mcp-remote", http=facts)


@pytest.mark.requirement("REALCLIENT-3")
async def test_a_run_that_outlasts_a_client_is_collected_over_http(tmp_path: Path) -> None:
    """75 s: with two commands of the Inspector, and on one connection of mcp-remote."""

    async def by_inspector() -> dict[str, Any]:
        async with staged(tmp_path / "inspector", SLOW) as stage, stage.serving() as url:
            return await collect(stage, inspector_call(stage, [f"{url}/mcp"]))

    async def by_mcp_remote() -> dict[str, Any]:
        async with (
            staged(tmp_path / "remote", SLOW) as stage,
            stage.serving() as url,
            remote(stage, url) as (_, call),
        ):
            return await collect(stage, call)

    runs = await gather({"inspector": by_inspector, "mcp-remote": by_mcp_remote})
    for name, run in runs.items():
        record(name, long_run=run)
