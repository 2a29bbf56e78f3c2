"""`factory-mcp context`: what the droids learnt."""

from collections.abc import Awaitable, Callable
from json import loads
from typing import Annotated, Any, Final

import typer

from factory_mcp.app import App, build
from factory_mcp.cli.show import AsJson, as_json, run, table
from factory_mcp.domain.arguments import check
from factory_mcp.domain.envelope import to_json
from factory_mcp.domain.errors import InvalidArguments
from factory_mcp.domain.model import LOCAL, ContextNode, Envelope, Json
from factory_mcp.domain.tools import WRITE
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
    query: Annotated[str, typer.Argument(help="A question, or words of the note.")],
    *,
    limit: Annotated[int, typer.Option(min=1, max=50)] = 10,
    json: AsJson = False,
) -> None:
    """Search everything by meaning and by keywords."""

    async def find(built: App) -> Envelope:
        arguments = {"query": query, "limit": limit, "scope": "all"}
        return await built.contexts.search(LOCAL, arguments, "")

    _print(find, json=json)


@app.command()
def merge(
    into: Annotated[str, typer.Argument(help="The chain that takes values over: ctx_…")],
    other: Annotated[str, typer.Argument(help="The chain they come from: ctx_…")],
    *,
    settle: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE that is to stand; JSON, or else text."),
    ] = None,
    summary: Annotated[str | None, typer.Option(help="Why, for the history.")] = None,
    json: AsJson = False,
) -> None:
    """Merge a chain into another; keys that both changed must be settled with --set."""

    async def write(built: App) -> Envelope:
        settled = dict(map(_setting, settle or ()))
        arguments: Json = {"context_id": into, "merge": other, "data": settled}
        if summary is not None:
            arguments["summary"] = summary
        check(WRITE.input_schema, arguments)
        return await built.contexts.write(LOCAL, arguments, "")

    _print(write, json=json)


def _setting(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator:
        raise InvalidArguments(f"--set {text!r} is not KEY=VALUE.")
    try:
        return key, loads(value)
    except ValueError:
        return key, value


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
