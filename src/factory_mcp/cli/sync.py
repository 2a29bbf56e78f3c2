"""`factory-mcp sync`: the copies that are made of the store, kept up with it."""

import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import asdict
from typing import Annotated

import anyio
import typer

from factory_mcp.app import build
from factory_mcp.cli.show import AsJson, as_json, run, table
from factory_mcp.domain.errors import InvalidSetting
from factory_mcp.ports.outbox import Standing
from factory_mcp.services.sync import Sync, Told
from factory_mcp.settings import Settings

HEAD = ("sink", "tenant", "position", "rows behind", "seconds behind", "parked")


def sync(
    *,
    once: Annotated[bool, typer.Option("--once", help="Feed what is there, then end.")] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make all copies anew from the store, then end.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Show how far it is and what was refused.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Feed Weaviate and Redis with what is written to the store, until SIGTERM or Ctrl-C.

    Any number may run at once, beside `serve` as well. Exit 1 if something was refused for good.
    """
    if once + rebuild + status > 1:
        raise typer.BadParameter("--once, --rebuild and --status are different things to do.")
    if rebuild:
        with _progress() as told:
            found = run(lambda: _done(lambda it: it.rebuild(told)))
    elif once:
        found = run(lambda: _done(Sync.drain))
    elif status:
        found = run(_status)
    else:
        run(_feed)
        return
    _show(found, json=json)


@asynccontextmanager
async def _opened(*, at_work: bool) -> AsyncGenerator[Sync]:
    """The feeder over an open store, with all that it needs running if it is to work."""
    built = build(Settings.load())
    found = built.stores.sync
    if found is None or not found.sinks:
        raise InvalidSetting(
            "There is nothing to feed: neither WEAVIATE_URL nor REDIS_URL is set.",
            remedy="Set one of them; without them the store needs no feeding.",
        )
    async with built.store(), anyio.create_task_group() as tasks:
        for task in built.stores.tasks if at_work else ():
            tasks.start_soon(task)
        yield found
        tasks.cancel_scope.cancel()


async def _feed() -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with _opened(at_work=True) as found, anyio.create_task_group() as tasks:
            tasks.start_soon(found.run)
            names = ", ".join(sink.name for sink in found.sinks)
            print(f"factory-mcp sync feeds {names} (Ctrl-C stops it)", flush=True)
            await anext(signals)
            tasks.cancel_scope.cancel()


async def _done(work: Callable[[Sync], Awaitable[None]]) -> list[Standing]:
    async with _opened(at_work=True) as found:
        await work(found)
        return await found.status()


async def _status() -> list[Standing]:
    async with _opened(at_work=False) as found:
        return await found.status()


def _show(found: Sequence[Standing], *, json: bool) -> None:
    if json:
        as_json([asdict(one) for one in found])
    else:
        table(HEAD, [_row(one) for one in found])
    for one in found:
        for refused in () if json else one.parked:
            print(f"parked: {one.sink} {one.tenant} {refused.id}: {refused.reason}")
    if any(one.parked for one in found):
        raise typer.Exit(1)


def _row(one: Standing) -> tuple[str, ...]:
    position = str(one.position) if one.built else "to be built"
    behind = (str(one.rows), f"{one.seconds:.0f}", str(len(one.parked)))
    return (one.sink, one.tenant, position, *behind)


def _progress() -> AbstractContextManager[Told]:
    """Who shows how far a rebuild is: a bar on a terminal, else a line now and then."""
    return _Bar() if sys.stderr.isatty() else nullcontext(_line)


def _line(sink: str, tenant: str, done: int, of: int) -> None:
    print(f"{sink} {tenant}: {done} of {of} nodes", file=sys.stderr, flush=True)


class _Bar(AbstractContextManager[Told]):
    """One bar, for one tenant after the other."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 — only here
        from rich.progress import MofNCompleteColumn, Progress  # noqa: PLC0415

        columns = (*Progress.get_default_columns(), MofNCompleteColumn())
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task("nothing yet", total=None)

    def __enter__(self) -> Told:
        self._progress.start()
        return self._told

    def __exit__(self, *raised: object) -> None:
        self._progress.stop()

    def _told(self, sink: str, tenant: str, done: int, of: int) -> None:
        self._progress.update(self._task, description=f"{sink} {tenant}", completed=done, total=of)
