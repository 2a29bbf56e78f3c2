"""Commands that look: doctor, history, config."""

from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Annotated, Any, cast

import typer

from factory_mcp.app import build
from factory_mcp.cli.show import AsJson, as_json, check_line, one_line_errors, run, table
from factory_mcp.domain.errors import UnknownRun
from factory_mcp.domain.model import LOCAL, Run, Status
from factory_mcp.settings import Settings

config = typer.Typer(help="The configuration in force.", no_args_is_help=True)


def doctor(*, json: AsJson = False) -> None:
    """Say what works and what does not; each red line with its fix."""

    async def work() -> list[Any]:
        return list(await build(Settings.load()).checks())

    checks = run(work)
    if json:
        as_json([asdict(check) for check in checks])
    else:
        print("\n".join(map(check_line, checks)))
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def history(
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many runs.")] = 20,
    droid: Annotated[str | None, typer.Option(help="Only this droid's.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only those with this status.")] = None,
    run_id: Annotated[str | None, typer.Option("--run", help="One run, whole.")] = None,
    json: AsJson = False,
) -> None:
    """List what the droids did, newest first."""

    async def work() -> list[Run]:
        app = build(Settings.load())
        async with app.store():
            if run_id is not None:
                found = await app.reader.get(LOCAL.tenant, run_id)
                if found is None:
                    raise UnknownRun(f"There is no run {run_id!r}.")
                return [found]
            return await app.reader.recent(LOCAL.tenant, limit=limit, droid=droid, status=status)

    runs = run(work)
    if json:
        as_json([_row(r) for r in runs])
    elif run_id is not None:
        print(runs[0].envelope["text"] if runs[0].envelope else _line(runs[0]))
    else:
        table(("when", "droid", "status", "code", "s", "run", "task"), [_line(r) for r in runs])


def _row(found: Run) -> dict[str, Any]:
    open_run = {"run_id": found.id, "droid": found.droid, "status": found.status}
    return (found.envelope or open_run) | {"task": found.request.get("task")}


def _line(found: Run) -> tuple[str, ...]:
    when = datetime.fromtimestamp(found.created_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    seconds = f"{found.ended_at - found.created_at:.1f}" if found.ended_at else "-"
    task = " ".join(str(found.request.get("task", "")).split())[:60]
    return (when, found.droid, found.status, found.code, seconds, found.id, task)


@config.command()
def show(*, json: AsJson = False) -> None:
    """Print the settings in force, secrets left out."""
    with one_line_errors():
        settings = Settings.load()
    secret = {field.name for field in fields(settings) if not field.repr}
    rows = {
        name: ("set" if value else "not set") if name in secret else value
        for name, value in asdict(settings).items()
    }
    if json:
        as_json({name: _plain(value) for name, value in rows.items()})
    else:
        table(("setting", "value"), [(name, str(_plain(value))) for name, value in rows.items()])


@config.command()
def check() -> None:
    """Check the configuration; exit 2 and one line if it is wrong."""
    with one_line_errors():
        settings = Settings.load()
    for warning in settings.warnings:
        print(f"warning: {warning}")
    print(f"ok: {settings.config or 'no config.yaml; the defaults are in force'}")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[Any, ...]", value)]
    return value if isinstance(value, int | str | type(None)) else str(value)
