"""The composition root: the only file that knows every adapter; no framework, no globals."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
from mcp.server.lowlevel import Server

from factory_mcp import telemetry
from factory_mcp.backends.droid_cli import DroidCli
from factory_mcp.backends.handoff import HandoffBackend
from factory_mcp.backends.workspaces import FolderWorkspaces
from factory_mcp.domain.errors import FactoryError, StoreUnavailable
from factory_mcp.domain.model import Principal
from factory_mcp.ports import Backend, Check, Clock, Rng
from factory_mcp.services.calls import CallService
from factory_mcp.services.chain import Chain
from factory_mcp.services.contexts import ContextService, principal_key
from factory_mcp.services.droids import Droids, load
from factory_mcp.services.runs import Runs
from factory_mcp.settings import Settings, secret_of
from factory_mcp.stores.host import LinuxHost, SystemClock, SystemRng
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.engine import Database
from factory_mcp.stores.sql.ledger import Ledger
from factory_mcp.telemetry import log
from factory_mcp.transports.hello import Opening
from factory_mcp.transports.http import HttpApp, http_app
from factory_mcp.transports.mcp import McpFace, build_server
from factory_mcp.transports.stdio import serve_stdio

REOPEN_S: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """One process of the product, wired; nothing is opened or started yet."""

    settings: Settings
    clock: Clock
    database: Database
    reader: Ledger
    droids: Droids
    backends: Mapping[str, Backend]
    workspaces: FolderWorkspaces
    contexts: ContextService
    chain: Chain
    runs: Runs
    calls: CallService
    server: Server[Any]

    @asynccontextmanager
    async def store(self) -> AsyncGenerator[None]:
        """The store, open; for commands that look and go."""
        await self.database.open()
        try:
            yield
        finally:
            await self.database.close()

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Everything that must be up while calls are answered.

        A store that cannot be opened does not keep the server down: each call says so, and it
        is tried again.
        """
        for warning in self.settings.warnings:
            log.warning("settings.warning", warning=warning)
        opened = await self._try_open()
        try:
            async with anyio.create_task_group() as tasks:
                if not opened:
                    tasks.start_soon(self._open_later)
                async with self.runs.serving():
                    yield
                tasks.cancel_scope.cancel()
        finally:
            await self.database.close()

    async def _try_open(self) -> bool:
        try:
            await self.database.open()
        except StoreUnavailable as error:
            log.error("store.unavailable", cause=error.message, remedy=error.remedy)
            return False
        return True

    async def _open_later(self) -> None:
        await self.clock.sleep(REOPEN_S)
        while not await self._try_open():
            await self.clock.sleep(REOPEN_S)

    # -------------------------------------------------------------------------- checks

    async def store_checks(self) -> Sequence[Check]:
        """Whether the store can be used; also readiness."""
        try:
            async with self.store():
                return await self.database.check()
        except FactoryError as error:
            return [Check(name="store", ok=False, detail=error.message, fix=error.remedy)]

    async def checks(self) -> Sequence[Check]:
        """All that `doctor` says; what to mend first comes first among the red."""
        found = [check for backend in self.backends.values() for check in await backend.check()]
        return [*found, *await self.store_checks(), *await self._folder_checks(), *self._notes()]

    async def _folder_checks(self) -> Sequence[Check]:
        if not self.settings.roots:
            fix = "Set FACTORY_MCP_ROOTS, or start it in a git checkout."
            return [
                Check(name="workspace", ok=True, detail="no root: droids see no files", fix=fix)
            ]
        try:
            opened = await self.workspaces.open(None)
        except FactoryError as error:
            return [Check(name="workspace", ok=False, detail=error.message, fix=error.remedy)]
        path = opened.path if opened else ""
        return [Check(name="workspace", ok=True, detail=f"{path}, up to {self._autonomy()}")]

    def _autonomy(self) -> str:
        return f"autonomy {self.settings.max_autonomy}"

    def _notes(self) -> Sequence[Check]:
        """What is neither good nor bad but must be known."""
        warnings = [Check(name="settings", ok=True, detail=w) for w in self.settings.warnings]
        return [
            *warnings,
            Check(
                name="sandbox",
                ok=True,
                detail="none: a droid that may execute has all the rights of this user",
            ),
            Check(
                name="client time-outs",
                ok=True,
                detail="a call answers RUNNING after 45 s (25 s for Kilo and opencode), before any"
                " known client gives up; docs/clients.md has the settings",
            ),
        ]


def build(
    settings: Settings,
    *,
    home: Path | None = None,
    backends: Mapping[str, Backend] | None = None,
    clock: Clock | None = None,
    rng: Rng | None = None,
) -> App:
    """Wire the product.

    Args:
        settings: What it was told.
        home: The HOME of droids; None is the user's own.
        backends: Instead of the real ones, in tests.
        clock: Instead of the system's.
        rng: Instead of the system's.

    Raises:
        SpecInvalid: A droid spec has a mistake.
    """
    clock, rng = clock or SystemClock(), rng or SystemRng()
    database = Database(settings.database)
    ledger, tables = Ledger(database), ContextTables(database)
    droids = load(settings.spec_folders)
    workspaces = FolderWorkspaces(roots=settings.roots, trusted=settings.trusted)
    if backends is None:
        made = {"droid_cli": _droid_cli(settings, clock, home)}
        backends = {name: made[name] for name in settings.backends}
    chain = Chain(backends, HandoffBackend(), clock, rng)
    contexts = ContextService(tables, tables, ledger, clock, rng)
    runs = Runs(ledger, ledger, LinuxHost(), clock, max_parallel=settings.max_parallel)
    calls = CallService(
        droids=droids,
        workspaces=workspaces,
        contexts=contexts,
        chain=chain,
        runs=runs,
        reader=ledger,
        clock=clock,
        rng=rng,
        secret=partial(secret_of, settings),
        max_autonomy=settings.max_autonomy,
        depth=settings.depth,
    )

    async def context_key(principal: Principal) -> str:
        return await workspaces.key() or principal_key(principal)

    face = McpFace(calls, contexts, droids.all(), context_key, settings.client)
    return App(
        settings=settings,
        clock=clock,
        database=database,
        reader=ledger,
        droids=droids,
        backends=backends,
        workspaces=workspaces,
        contexts=contexts,
        chain=chain,
        runs=runs,
        calls=calls,
        server=build_server(face),
    )


def _droid_cli(settings: Settings, clock: Clock, home: Path | None) -> DroidCli:
    return DroidCli(
        clock=clock,
        run_dir=settings.data / "runs",
        program=settings.droid_bin,
        api_key=settings.api_key,
        home=home,
        extra_env=settings.droid_env,
        settings_file=settings.droid_settings,
        depth=settings.depth,
    )


def over_http(app: App) -> HttpApp:
    """The product as one HTTP application."""
    return http_app(app.server, ready=app.database.check, lifespan=app.serving)


def asgi() -> HttpApp:
    """For `uvicorn --factory factory_mcp.app:asgi`."""
    telemetry.configure()
    settings = Settings.load()
    return over_http(build(settings, home=settings.server_home))


def run_stdio(opening: Opening) -> int:
    """Serve one client on stdin and stdout; the exit code."""
    telemetry.configure()
    try:
        settings = Settings.load()
        app = build(settings)
    except FactoryError as error:
        log.error("start.refused", code=error.code, cause=error.message, remedy=error.remedy)
        return 2

    async def serve() -> None:
        async with app.serving():
            stop = partial(app.runs.stop, "The editor went away")
            await serve_stdio(app.server, opening, clock=app.clock, on_eof=stop)

    anyio.run(serve)
    return 0
