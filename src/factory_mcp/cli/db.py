"""`factory-mcp db`: the tables of the store, and who may see what in them."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Protocol, runtime_checkable

import typer

from factory_mcp.app import build
from factory_mcp.cli.show import AsJson, as_json, check_line, run
from factory_mcp.ports import Check
from factory_mcp.settings import Settings
from factory_mcp.stores.sql.migrations import HEAD

app = typer.Typer(help="The tables of the store.", no_args_is_help=True)


@runtime_checkable
class Prepared(Protocol):
    """A database that has to be made ready by somebody with the right to; SQLite is not."""

    async def upgrade(self) -> bool:
        """Make or upgrade what is in it; whether there was need."""
        ...

    async def inspect(self) -> Sequence[Check]:
        """How that stands."""
        ...


@app.command()
def upgrade(*, json: AsJson = False) -> None:
    """Make or upgrade tables, roles and row-level security; safe while others do the same."""
    run(_upgraded)
    if json:
        as_json({"revision": HEAD})
    else:
        print(f"The store is at revision {HEAD}.")


@app.command()
def check(*, json: AsJson = False) -> None:
    """Look at revision, roles and row-level security; exit 1 if something is wrong."""
    checks = run(_checked)
    if json:
        as_json([asdict(check) for check in checks])
    else:
        print("\n".join(map(check_line, checks)))
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


async def _upgraded() -> None:
    built = build(Settings.load())
    if isinstance(built.database, Prepared):
        await built.database.upgrade()
    else:
        async with built.store():  # SQLite is brought up to date whenever it is opened
            pass


async def _checked() -> list[Check]:
    built = build(Settings.load())
    stored = list(await built.store_checks())
    if isinstance(built.database, Prepared):
        return [*await built.database.inspect(), *stored]
    return stored
