"""`factory-mcp serve`: the server on HTTP, and with `--hello` its first call."""

import json
from dataclasses import replace
from functools import partial
from typing import Annotated

import anyio
import typer

from factory_mcp.app import App, build, over_http
from factory_mcp.cli.install import program
from factory_mcp.cli.show import check_line, one_line_errors
from factory_mcp.clients.entry import NAME
from factory_mcp.clients.table import clients
from factory_mcp.settings import Settings
from factory_mcp.transports.http import DRAIN_S, Shutdown
from factory_mcp.transports.http import serve as serve_http


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="The address; loopback only.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 is any free one.")] = None,
    hello: Annotated[bool, typer.Option(help="Make one call and print it, then serve on.")] = False,
) -> None:
    """Serve MCP on HTTP until SIGTERM or Ctrl-C."""
    with one_line_errors():
        settings = Settings.load()
        settings = replace(
            settings,
            host=host or settings.host,
            port=settings.port if port is None else port,
        )
        app = build(settings, home=settings.server_home)
        anyio.run(_serve, app, hello)


async def _serve(app: App, hello: bool) -> None:
    shutdown = Shutdown(
        drain=partial(app.runs.drain, DRAIN_S),
        stop=partial(app.stop, "The server was told to stop"),
    )
    listen = partial(
        serve_http,
        over_http(app),
        host=app.settings.host,
        port=app.settings.port,
        shutdown=shutdown,
    )
    async with anyio.create_task_group() as tasks:
        url: str = await tasks.start(listen)
        print(f"factory-mcp serves {url}/mcp (Ctrl-C stops it)", flush=True)
        if hello:
            tasks.start_soon(_hello, app, url)


async def _hello(app: App, url: str) -> None:
    """The first hour: one real call through our own `/mcp`, and what to do next."""
    from mcp import Client  # noqa: PLC0415 — only here

    task = "Say in three sentences what this workspace holds and what you would read first."
    print(f"\nThe first call, made as a client of {url}/mcp: knowledge_droid\n", flush=True)
    async with Client(f"{url}/mcp") as client:
        result = await client.call_tool("knowledge_droid", {"task": task})
    text = "".join(block.text for block in result.content if block.type == "text")
    print("\n".join(f"  | {line}" for line in text.splitlines()))
    print(_paste(url))
    red = [check for check in await app.checks() if not check.ok]
    if red:
        print(f"Mend first (factory-mcp doctor):\n  {check_line(red[0])}")
    print(f"\nServing {url}/mcp", flush=True)


def _paste(url: str) -> str:
    ours = program()
    entry = {"command": ours, "args": ["stdio"], "timeout": 300}
    return f"""
Put it into your editor; it then starts the server itself, or with --remote calls this one:

  {ours} install {"|".join(clients())}
  {ours} install CLIENT --remote {url}/mcp

or paste:  {json.dumps({"mcpServers": {NAME: entry}})}
"""
