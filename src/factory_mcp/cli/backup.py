"""`factory-mcp backup` and `restore`: all that the store holds, in one file and back."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from factory_mcp import __version__
from factory_mcp.app import build
from factory_mcp.cli.progress import bar
from factory_mcp.cli.show import AsJson, as_json, run
from factory_mcp.settings import Settings
from factory_mcp.stores.backup_file import Header, Trailer
from factory_mcp.stores.sql.backup import back_up
from factory_mcp.stores.sql.restore import Restored, check_file
from factory_mcp.stores.sql.restore import restore as restored_from

_File = Annotated[Path, typer.Argument(help="The backup.")]


def backup(
    file: _File,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if it is there.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Write all that the store holds, sealed as it is, into one file; the key ring stays apart."""

    async def work() -> tuple[Header, Trailer]:
        built = build(Settings.load())
        async with built.store():
            with bar() as told:
                return await back_up(
                    built.database,
                    file,
                    made_by=__version__,
                    at=built.clock.now(),
                    force=force,
                    told=told,
                )

    header, trailer = run(work)
    if json:
        as_json({"file": str(file), **asdict(header), "sha256": trailer.sha256})
    else:
        print(f"{_rows(header)} are in {file}, {file.stat().st_size} bytes.")
        print("The key ring is not: keep a copy of it, and elsewhere.")


def restore(
    file: _File,
    *,
    verify_only: Annotated[
        bool, typer.Option("--verify-only", help="Only see whether the file is whole.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Put a backup into an empty store, all or nothing; exit 1 if something in it is amiss."""
    if verify_only:
        _verify(file, json=json)
        return

    async def work() -> Restored:
        built = build(Settings.load())
        async with built.store():
            with bar() as told:
                return await restored_from(built.database, file, told)

    done = run(work)
    if json:
        as_json(asdict(done))
    else:
        whose = "1 tenant" if done.tenants == 1 else f"{done.tenants} tenants"
        print(f"{_rows(done.header)} of {whose} are restored, and compared with the file.")
        print("".join(f"BAD  {problem}\n" for problem in done.problems), end="")
    if done.problems:
        raise typer.Exit(1)


def _verify(file: Path, *, json: bool) -> None:
    async def work() -> tuple[Header, Trailer]:
        with bar() as told:
            return await check_file(file, told)

    header, trailer = run(work)
    if json:
        as_json({"file": str(file), **asdict(header), "sha256": trailer.sha256})
    else:
        made = f"made by factory-mcp {header.made_by} from {header.made_from}"
        print(f"{file} is whole: {_rows(header)}, {made}, revision {header.revision}.")


def _rows(header: Header) -> str:
    return f"{sum(header.rows.values())} rows"
