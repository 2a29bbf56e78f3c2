"""`factory-mcp demo`: a tour, played as a real MCP client against the configuration in force."""

import os
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, Final, TextIO

import typer

from factory_mcp.cli.show import run
from factory_mcp.cli.stage import Stage
from factory_mcp.settings import PREFIX, Settings

PATIENCE_S: Final = 20
"""A droid that takes longer is shown as running, then cancelled: the tour stays under a minute."""


def demo(
    *,
    plain: Annotated[bool, typer.Option("--plain", help="No colours.")] = False,
    svg: Annotated[Path | None, typer.Option(help="Write the tour as a picture too.")] = None,
) -> None:
    """Play a tour: a call, its context, a droid that knows it, a handoff, a conflict, its merge."""
    stage = Stage(plain=plain)
    with Path(os.devnull).open("w") as log:
        run(lambda: _tour(stage, log))
    if svg is not None:
        stage.save(svg)


async def _tour(stage: Stage, log: TextIO) -> None:
    Settings.load()  # what is wrong with the configuration is said here, in one line
    with tempfile.TemporaryDirectory(prefix="factory-mcp-demo-") as scratch:
        env = {**os.environ, PREFIX + "DATA": scratch}
        async with _editor(
            stage, log, env, "your configuration, its data in a scratch folder"
        ) as client:
            chain = await _first_call(client)
            await _second_droid(client, chain)
            await _found(client)
        missing = {**env, PREFIX + "DROID_BIN": str(Path(scratch) / "no-droid-here")}
        async with _editor(stage, log, missing, "the same without its droid program") as client:
            await _handoff(client)
        async with _editor(stage, log, env, "your configuration again") as client:
            await _conflict(client, chain)
    stage.end("Your own: factory-mcp history, factory-mcp context list, factory-mcp doctor")


class _Client:
    """An MCP client whose calls and answers are shown."""

    def __init__(self, session: Any, stage: Stage) -> None:
        self._session, self.stage = session, stage

    async def call(self, tool: str, arguments: dict[str, Any], lines: int = 4) -> dict[str, Any]:
        """One call of a tool; the first `lines` of its text are shown."""
        self.stage.call(tool, arguments)
        started = perf_counter()
        result = await self._session.call_tool(tool, arguments)
        answer: dict[str, Any] = result.structured_content or {}
        self.stage.answer(answer["text"], lines, perf_counter() - started)
        return answer


@asynccontextmanager
async def _editor(
    stage: Stage, log: TextIO, env: dict[str, str], what: str
) -> AsyncGenerator[_Client]:
    """A server of its own on stdio, as an editor starts one."""
    from mcp import Client, StdioServerParameters  # noqa: PLC0415 — the slowest import
    from mcp.client.stdio import stdio_client  # noqa: PLC0415

    command = StdioServerParameters(
        command=sys.executable, args=["-m", "factory_mcp", "stdio"], env=env
    )
    started = perf_counter()
    async with Client(stdio_client(command, errlog=log)) as session:
        seconds = perf_counter() - started
        tools = (await session.list_tools()).tools
        stage.server(what, len(tools), seconds)
        yield _Client(session, stage)


async def _first_call(client: _Client) -> str:
    """A call and the context it leaves; returns the chain's newest node."""
    client.stage.scene("A droid is a tool")
    task = "Say in three sentences what this folder holds and what you would read first."
    answer = await client.call("knowledge_droid", {"task": task, "wait_s": PATIENCE_S})
    if answer["status"] == "running":
        answer = await client.call("droid_cancel", {"run_id": answer["run_id"]})
    client.stage.scene("What was learnt is shared context")
    learnt = {"cache_ttl_s": 300, "parser": "lexer.py"}
    note = "The catalogue is read often and written at night; its parser is in lexer.py."
    written = await client.call(
        "context_write", {"run_id": answer["run_id"], "summary": note, "data": learnt}
    )
    return written["context_id"]


async def _second_droid(client: _Client, chain: str) -> None:
    client.stage.scene("The next droid starts from it, and nobody had to repeat it")
    arguments = {"task": "Design a cache for the catalogue", "wait_s": PATIENCE_S}
    answer = await client.call("architect_droid", arguments)
    if answer["status"] == "running":
        await client.call("droid_cancel", {"run_id": answer["run_id"]})
    await client.call("context_read", {"id": chain, "view": "merged"}, lines=6)


async def _found(client: _Client) -> None:
    client.stage.scene("It is found again by what it says")
    await client.call("context_search", {"query": "where does the catalogue's parser live"})


async def _handoff(client: _Client) -> None:
    client.stage.scene("No droid can run: a brief that your editor's own agent carries on with")
    await client.call("debug_droid", {"task": "The nightly import fails with a timeout"}, lines=12)


async def _conflict(client: _Client, chain: str) -> None:
    client.stage.scene("Two droids disagree: the merge names both values and waits for a decision")
    other = await client.call(
        "context_write",
        {"context_id": "new", "droid": "reliability", "data": {"cache_ttl_s": 30}},
    )
    merge: dict[str, Any] = {"context_id": chain, "merge": other["context_id"]}
    await client.call("context_write", merge)
    settled = {"data": {"cache_ttl_s": 60}, "summary": "60 s: fresh enough, and the load halves."}
    await client.call("context_write", {**merge, **settled})
    await client.call("context_read", {"id": chain, "view": "merged"}, lines=6)
