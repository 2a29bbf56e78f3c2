"""`factory-mcp audit`: who did what, and whether that was changed since."""

import json as jsons
from dataclasses import asdict

import typer

from factory_mcp.app import build
from factory_mcp.cli.show import AsJson, as_json, run
from factory_mcp.settings import Settings
from factory_mcp.stores.sql.audit_trail import Trail, trail, verified

app = typer.Typer(help="Who did what, and whether that was changed since.", no_args_is_help=True)


@app.command()
def verify(*, json: AsJson = False) -> None:
    """Look through every tenant's audit trail; exit 1 with the first row that is not genuine."""

    async def work() -> list[Trail]:
        built = build(Settings.load())
        async with built.store(), built.database.snapshot() as (unit, tenants):
            found: list[Trail] = []
            for tenant in tenants:
                await unit.enter(tenant)
                found.append(await verified(unit, tenant))
            return found

    trails = run(work)
    if json:
        as_json([asdict(found) for found in trails])
    else:
        print("".join(f"{_line(found)}\n" for found in trails), end="")
    if any(found.broken is not None for found in trails):
        raise typer.Exit(1)


@app.command()
def export() -> None:
    """Print every row of every tenant's audit trail as a line of JSON."""

    async def work() -> None:
        built = build(Settings.load())
        async with built.store(), built.database.snapshot() as (unit, tenants):
            for tenant in tenants:
                await unit.enter(tenant)
                async for row in trail(unit, tenant):
                    print(jsons.dumps(row))

    run(work)


def _line(found: Trail) -> str:
    if found.broken is None:
        return f"ok   {found.tenant}: {found.rows} rows"
    return f"BAD  {found.tenant}: row {found.broken}: {found.why}"
