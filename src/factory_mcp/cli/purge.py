"""`factory-mcp purge`: runs that are long over are taken out."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated

import typer

from factory_mcp.app import build
from factory_mcp.cli.progress import bar
from factory_mcp.cli.show import AsJson, as_json, run, table
from factory_mcp.domain.model import LOCAL
from factory_mcp.settings import Settings
from factory_mcp.stores.sql.purge import Purge, Purged


def purge(
    *,
    days: Annotated[int, typer.Option(min=1, help="What ended later than so long ago stays.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    json: AsJson = False,
) -> None:
    """Delete closed runs with their history, and expired keys of calls; contexts and audit stay."""

    async def work() -> Mapping[str, Purged]:
        built = build(Settings.load())
        async with built.store():
            purging = Purge(built.database, LOCAL, now=built.clock.now(), days=days)
            planned = await purging.planned()
            if dry_run:
                return planned
            total = sum(sum(asdict(found).values()) for found in planned.values())
            with bar() as told:
                return await purging.purge(lambda done: told("deleting", done, total))

    found = run(work)
    if json:
        as_json({tenant: asdict(purged) for tenant, purged in found.items()})
        return
    rows = [
        (tenant, str(purged.runs), str(purged.history), str(purged.call_keys))
        for tenant, purged in found.items()
    ]
    table(("tenant", "runs", "history", "call keys"), rows)
    print("Nothing was deleted." if dry_run or not found else "Deleted.")
