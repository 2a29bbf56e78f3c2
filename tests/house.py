"""The whole product in one process: real services and SQLite, scripted backends, fake time."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup
from mcp import Client

from factory_mcp.app import App, build
from factory_mcp.domain.model import LOCAL, CallRequest, Envelope, Outcome, Progress, Run
from factory_mcp.settings import Settings
from tests.fakes import FakeClock, ScriptedBackend, SeededRng, Step

FOR_EVER: Final = 1e9
GUARD_S: Final = 30


async def until(true: Callable[[], object]) -> None:
    """Let the others run until it is so."""
    with anyio.fail_after(GUARD_S):
        while not true():
            await anyio.lowlevel.checkpoint()


@dataclass
class Watcher:
    """Somebody who waits for a run."""

    run: anyio.Event = field(default_factory=anyio.Event)
    heard: list[str] = field(default_factory=list[str])

    def opened(self, run_id: str) -> None:
        assert run_id.startswith("run_")
        self.run.set()

    async def told(self, doing: str, seconds: float) -> None:
        self.heard.append(f"{doing} {seconds:.0f}")


@dataclass
class House:
    """A running product and the handles a test pulls."""

    app: App
    backend: ScriptedBackend
    clock: FakeClock

    def request(self, task: str = "do it", droid: str = "architect", **more: Any) -> CallRequest:
        """A call by the local principal."""
        return CallRequest(principal=LOCAL, droid=droid, task=task, **more)

    async def start(
        self, tasks: TaskGroup, *, wait_s: float = FOR_EVER, **more: Any
    ) -> list[Envelope]:
        """Make a call in the background, and return once it has its run.

        Its envelope lands in the list when it is answered.
        """
        answers: list[Envelope] = []
        watcher = Watcher()

        async def call() -> None:
            answers.append(await self.app.calls.call(self.request(**more), wait_s, watcher))

        tasks.start_soon(call)
        with anyio.fail_after(GUARD_S):
            await watcher.run.wait()
        return answers

    async def runs(self) -> list[Run]:
        """All runs, newest first."""
        return await self.app.reader.recent(LOCAL.tenant, limit=100)

    async def until(self, state: str) -> Run:
        """The newest run, once its code or status is `state`."""
        return await self.when(lambda run: state in (run.code, run.status))

    async def at_work(self) -> Run:
        """The newest run, once a backend works for it."""
        run = await self.until("waiting")
        await until(lambda: run.id in [work.run_id for work in self.backend.works])
        return run

    async def when(self, true: Callable[[Run], object]) -> Run:
        """The newest run, once that is true of it."""
        with anyio.fail_after(GUARD_S):
            while True:
                for run in (await self.runs())[:1]:
                    if true(run):
                        return run
                await anyio.lowlevel.checkpoint()

    def report(self, progress: Progress) -> None:
        """What the backend says of the work it has begun last."""
        live = self.app.runs._live  # noqa: SLF001 — a backend's own handle
        live[self.backend.works[-1].run_id].report(progress)

    async def sql(self, statement: str) -> None:
        """Change the store behind the product's back."""
        async with self.app.database.write(LOCAL.tenant) as connection:
            await connection.exec_driver_sql(statement)


def settings(tmp_path: Path, **env: str) -> Settings:
    """Settings for a data folder of the test's own; the workspace is `tmp_path/shop`."""
    shop = tmp_path / "shop"
    shop.mkdir(exist_ok=True)
    base = {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "FACTORY_MCP_DATA": str(tmp_path / "data"),
        "FACTORY_MCP_ROOTS": str(shop),
    }
    return Settings.load(base | env, cwd=tmp_path)


@asynccontextmanager
async def house(
    tmp_path: Path, *steps: Step, gate: anyio.Event | None = None, seed: int = 7, **env: str
) -> AsyncGenerator[House]:
    """The product, serving; its only backend plays `steps`."""
    clock = FakeClock()
    backend = ScriptedBackend(steps or (Outcome(text="done"),), name="droid_cli", gate=gate)
    app = build(
        settings(tmp_path, **env),
        backends={"droid_cli": backend},
        clock=clock,
        rng=SeededRng(seed),
    )
    async with app.serving():
        yield House(app=app, backend=backend, clock=clock)


@asynccontextmanager
async def client(of: House, **options: Any) -> AsyncGenerator[Client]:
    """An MCP client of the house's one server."""
    async with Client(of.app.server, **options) as connected:
        yield connected
