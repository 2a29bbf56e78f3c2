"""`factory-mcp seal`: the keys that the store is sealed with."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, TypeVar

import typer

from factory_mcp.app import build
from factory_mcp.cli.show import AsJson, as_json, run, table
from factory_mcp.services.seal_keys import Changed, KeyUse, SealKeys
from factory_mcp.settings import Settings

T = TypeVar("T")

_NEWEST = "is the newest key now. Next: factory-mcp seal rewrap"
_NEXT = (
    "opens, and does not seal yet. Next: bring the ring to every replica, then"
    " factory-mcp seal rotate --activate"
)

app = typer.Typer(help="The keys that the store is sealed with.", no_args_is_help=True)


@app.command()
def status(*, json: AsJson = False) -> None:
    """Show the keys and how much each has sealed; exit 1 if one is missing."""
    uses = _do(SealKeys.status)
    if json:
        as_json([asdict(use) for use in uses])
    else:
        table(("key", "state", "values"), [(use.key, use.state, str(use.values)) for use in uses])
    if any(use.state == "missing" for use in uses):
        raise typer.Exit(1)


@app.command()
def rotate(
    *,
    vectors: Annotated[
        bool, typer.Option("--vectors", help="New matrices for the vectors, and no new key.")
    ] = False,
    activate: Annotated[
        bool, typer.Option("--activate", help="No new key: let the one that waits seal.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Make a new key, which seals from now on; then rewrap.

    With Postgres it waits until --activate, so that every replica has it before.
    """
    if vectors:
        _rotate_vectors(json=json)
        return
    changed = _do(SealKeys.activate if activate else SealKeys.rotate)
    _show(changed, _NEWEST if changed.seals else _NEXT, json=json)


@app.command()
def rewrap(*, json: AsJson = False) -> None:
    """Seal anew with the newest key all that older keys have sealed; can be stopped and resumed."""

    async def work(keys: SealKeys) -> tuple[int, tuple[str, ...], list[KeyUse]]:
        old = sum(use.values for use in await keys.status() if use.state != "newest")
        done = await keys.rewrap(lambda values: _progress(values, old))
        return done.values, done.broken, await keys.status()

    values, broken, uses = _do(work)
    idle = [use.key for use in uses if use.state == "old" and not use.values]
    if json:
        as_json({"values": values, "broken": broken, "idle_keys": idle})
    else:
        print(f"{values} values sealed anew.")
        print("".join(f"No longer in use: factory-mcp seal drop {key}\n" for key in idle), end="")
    if broken:
        print(file=sys.stderr)  # after the progress, which did not come to its end
    for message in broken:
        print(f"not rewrapped: {message}", file=sys.stderr)
    if broken:
        raise typer.Exit(1)


@app.command()
def drop(
    key: Annotated[str, typer.Argument(help="An old key, as `status` names it.")],
    *,
    json: AsJson = False,
) -> None:
    """Take an old key out of the ring, once nothing is sealed with it any more."""
    _show(_do(lambda keys: keys.drop(key)), "is no longer in the ring.", json=json)


def _rotate_vectors(*, json: bool) -> None:
    async def work() -> int:
        built = build(Settings.load())
        async with built.store():
            return await built.rotate_vectors(_rotating)

    done = run(work)
    print(file=sys.stderr)
    if json:
        as_json({"vectors": done})
    else:
        print(f"{done} vectors rotated anew.")


def _rotating(done: int) -> None:
    print(f"\r{done} vectors", end="", file=sys.stderr, flush=True)


def _do(work: Callable[[SealKeys], Awaitable[T]]) -> T:
    async def opened() -> T:
        built = build(Settings.load())
        async with built.store():
            return await work(built.seal_keys)

    return run(opened)


def _show(changed: Changed, what: str, *, json: bool) -> None:
    if json:
        as_json(asdict(changed))
        return
    print(f"{changed.key} {what}")
    if changed.ring:
        print(
            "The ring is given by the environment and cannot be changed from here: put this into"
            f" FACTORY_MCP_KEYRING and restart every factory-mcp.\n\n{changed.ring}"
        )


def _progress(done: int, of: int) -> None:
    end = "\n" if done >= of else ""
    print(f"\r{done} of {of} values", end=end, file=sys.stderr, flush=True)
