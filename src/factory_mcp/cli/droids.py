"""Commands for the droid specs: list, show, check."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from factory_mcp.cli.show import AsJson, as_json, one_line_errors, table
from factory_mcp.domain.errors import SpecInvalid
from factory_mcp.domain.spec import DroidSpec
from factory_mcp.services.droids import Droids, load, read
from factory_mcp.settings import Settings

app = typer.Typer(help="The droids, and whether their specs are sound.", no_args_is_help=True)


@app.command("list")
def list_(*, json: AsJson = False) -> None:
    """List the droids with what each may do."""
    specs = _droids().all()
    if json:
        as_json([_plain(spec) for spec in specs])
        return
    head = ("droid", "effects", "autonomy", "tools", "tasks")
    table(head, [(s.name, s.effects, s.autonomy, _tools(s), _tasks(s)) for s in specs])


@app.command()
def show(name: str, *, json: AsJson = False) -> None:
    """Show one droid in full: its rights, its tasks and its prompt."""
    with one_line_errors():
        spec = _droids().get(name)
    if json:
        as_json(_plain(spec))
    else:
        table(("field", "value"), _rows(spec))
        print(f"\n{spec.prompt}")


@app.command()
def check(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER]...", help="By default the folders the server reads."),
    ] = None,
) -> None:
    """Check every spec: a line per problem and exit 1, or a line per good file."""
    with one_line_errors():
        places = folders or Settings.load().spec_folders
    found = list(read(places)) or [SpecInvalid(_nothing(places))]
    for item in found:
        if isinstance(item, DroidSpec):
            print(f"ok: {item.source}: {item.name}, {len(item.tasks)} tasks, {item.effects}")
        else:
            typer.echo(item.message, err=True)
    if any(isinstance(item, SpecInvalid) for item in found):
        raise typer.Exit(1)


def _nothing(places: Sequence[Path]) -> str:
    return f"{', '.join(map(str, places))}: no spec (*.md) there"


def _droids() -> Droids:
    with one_line_errors():
        return load(Settings.load().spec_folders)


def _plain(spec: DroidSpec) -> dict[str, Any]:
    return asdict(spec) | {"read_only": spec.read_only}


def _tools(spec: DroidSpec) -> str:
    return ", ".join(spec.tools) or "all"


def _tasks(spec: DroidSpec) -> str:
    return ", ".join(task.name for task in spec.tasks)


def _rows(spec: DroidSpec) -> list[tuple[str, str]]:
    return [
        ("name", spec.name),
        ("source", spec.source),
        ("description", spec.description),
        ("model", spec.model),
        ("tools", _tools(spec)),
        ("mcpServers", ", ".join(spec.mcp_servers) or "none"),
        ("effects", spec.effects),
        ("read only", "yes" if spec.read_only else "no"),
        ("autonomy", f"at most {spec.autonomy}"),
        ("deadline", f"{spec.deadline_s:g} s, silent at most {spec.idle_s:g} s"),
        ("backends", ", ".join((*spec.fallback, "handoff"))),
        ("mode", spec.mode),
        ("options", ", ".join(spec.options) or "none"),
        *(("task", f"{task.name}: {task.description}") for task in spec.tasks),
    ]
