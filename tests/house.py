"""The whole product in one process: real services and SQLite, scripted backends, fake time."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from mcp import Client

from factory_mcp.app import App, build
from factory_mcp.domain.model import LOCAL, CallRequest, Outcome, Run
from factory_mcp.settings import Settings
from tests.fakes import FakeClock, ScriptedBackend, SeededRng, Step


@dataclass
class House:
    """A running product and the handles a test pulls."""

    app: App
    backend: ScriptedBackend
    clock: FakeClock

    def request(self, task: str = "do it", droid: str = "architect", **more: Any) -> CallRequest:
        """A call by the local principal."""
        return CallRequest(principal=LOCAL, droid=droid, task=task, **more)

    async def runs(self) -> list[Run]:
        """All runs, newest first."""
        return await self.app.reader.recent(LOCAL.tenant, limit=100)

    async def until(self, state: str) -> Run:
        """The newest run, once its code or status is `state`."""
        with anyio.fail_after(10):
            while True:
                runs = await self.runs()
                if runs and state in (runs[0].code, runs[0].status):
                    return runs[0]
                await anyio.lowlevel.checkpoint()


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
