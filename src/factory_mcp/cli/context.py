"""`factory-mcp context`: what the droids learnt."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import typer

from factory_mcp.app import App, build
from factory_mcp.cli.show import AsJson, as_json, run, table
from factory_mcp.domain.envelope import to_json
from factory_mcp.domain.model import LOCAL, ContextNode, Envelope
from factory_mcp.services.contexts import node_json
from factory_mcp.settings import Settings

EVERYTHING: Final = 10**9

app = typer.Typer(help="What the droids learnt.", no_args_is_help=True)


@app.command("list")
def listed(
    *, limit: Annotated[int, typer.Option(min=1, max=1000)] = 20, json: AsJson = False
) -> None:
    """List the newest context nodes."""

    async def work() -> list[ContextNode]:
        built = build(Settings.load())
        async with built.store():
            return await built.contexts.newest(LOCAL, limit)

    nodes = run(work)
    if json:
        as_json([node_json(node) for node in nodes])
    else:
        table(("node", "revision", "droid", "summary"), [_line(node) for node in nodes])


@app.command()
def show(
    node: Annotated[str, typer.Argument(help="A node: ctx_…")],
    *,
    view: Annotated[str, typer.Option(help="node, chain or merged.")] = "merged",
    json: AsJson = False,
) -> None:
    """Print a node, its chain or the merged view."""

    async def read(built: App) -> Envelope:
        return await built.contexts.read(LOCAL, {"id": node, "view": view}, EVERYTHING)

    _print(read, json=json)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="Keywords.")],
    *,
    limit: Annotated[int, typer.Option(min=1, max=50)] = 10,
    json: AsJson = False,
) -> None:
    """Search everything by keywords."""

    async def find(built: App) -> Envelope:
        arguments = {"query": query, "limit": limit, "scope": "all"}
        return await built.contexts.search(LOCAL, arguments, "")

    _print(find, json=json)


def _print(ask: Callable[[App], Awaitable[Envelope]], *, json: bool) -> None:
    async def work() -> Envelope:
        built = build(Settings.load())
        async with built.store():
            return await ask(built)

    envelope = run(work)
    if json:
        as_json(to_json(envelope))
    else:
        print(envelope.text, end="")


def _line(node: ContextNode) -> tuple[str, ...]:
    summary = " ".join(node.summary.split())[:80]
    return (node.id, str(node.revision), node.droid or "-", summary)
