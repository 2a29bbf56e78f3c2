"""The `factory-mcp` command."""

from typing import Annotated

import typer

from factory_mcp import __version__, telemetry
from factory_mcp.app import run_stdio
from factory_mcp.cli import audit, backup, context, db, droids, look, purge, seal
from factory_mcp.cli.demo import demo
from factory_mcp.cli.install import install
from factory_mcp.cli.serve import serve
from factory_mcp.cli.sync import sync
from factory_mcp.transports.hello import open_wire, take_wire

app = typer.Typer(
    name="factory-mcp",
    help="Factory AI's droids as MCP tools, with shared context and fallback inside.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(droids.app, name="droids")
app.add_typer(context.app, name="context")
app.add_typer(db.app, name="db")
app.add_typer(audit.app, name="audit")
app.add_typer(look.config, name="config")
app.add_typer(seal.app, name="seal")
app.command()(serve)
app.command()(sync)
app.command()(install)
app.command()(look.doctor)
app.command()(look.history)
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(purge.purge)
app.command()(demo)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"factory-mcp {__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[  # noqa: ARG001 — its callback acts
        bool,
        typer.Option("--version", help="Print it.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Set up logging for every command."""
    telemetry.configure()


@app.command()
def stdio() -> None:
    """Speak MCP on stdin and stdout, as an editor starts it."""
    # `factory-mcp stdio` without anything else never comes here: `__main__` is faster.
    raise typer.Exit(run_stdio(open_wire(*take_wire())))
