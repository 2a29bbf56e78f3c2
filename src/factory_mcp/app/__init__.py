"""The composition root: only it knows every adapter; no framework, no globals."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import anyio
from mcp.server.lowlevel import Server

from factory_mcp import telemetry
from factory_mcp.app.stores import Stores, wire
from factory_mcp.backends.droid_cli import DroidCli
from factory_mcp.backends.handoff import HandoffBackend
from factory_mcp.backends.llm import LlmBackend
from factory_mcp.backends.llm_endpoint import Endpoint
from factory_mcp.backends.workspaces import FolderWorkspaces
from factory_mcp.domain.errors import FactoryError, NotLoopback, Refused
from factory_mcp.domain.model import LOCAL, Principal
from factory_mcp.ports import Backend, Check, Clock, ContextSearch, Rng, Sealer, Workspaces
from factory_mcp.services.calls import CallService
from factory_mcp.services.chain import Chain
from factory_mcp.services.contexts import ContextService, principal_key
from factory_mcp.services.droids import Droids, load
from factory_mcp.services.runs import Runs
from factory_mcp.services.seal_keys import SealKeys
from factory_mcp.services.sealing import KeyStore, Sealing
from factory_mcp.services.watching import Watching
from factory_mcp.settings import Settings, secret_of
from factory_mcp.stores.host import LinuxHost, SystemClock, SystemRng
from factory_mcp.stores.key_file import KeyFile, KeyText
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.ledger import Ledger
from factory_mcp.stores.sql.rewrap import SealedTables
from factory_mcp.stores.sql.search import SearchTables
from factory_mcp.telemetry import log
from factory_mcp.transports.hello import Opening
from factory_mcp.transports.http import HttpApp, http_app
from factory_mcp.transports.mcp import McpFace, build_server
from factory_mcp.transports.stdio import serve_stdio
from factory_mcp.transports.subscriptions import Subscriptions
from factory_mcp.transports.tables import Fixtures

REOPEN_S: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """One process of the product, wired; nothing is opened or started yet."""

    settings: Settings
    clock: Clock
    stores: Stores
    reader: Ledger
    droids: Droids
    backends: Mapping[str, Backend]
    workspaces: FolderWorkspaces
    contexts: ContextService
    search: ContextSearch
    chain: Chain
    runs: Runs
    calls: CallService
    seal_keys: SealKeys
    watching: Watching
    subscriptions: Subscriptions
    server: Server[Any]

    @property
    def database(self) -> Database:
        """Where the truth is."""
        return self.stores.database

    @asynccontextmanager
    async def store(self) -> AsyncGenerator[None]:
        """The store, open; for commands that look and go."""
        await self.stores.open()
        try:
            yield
        finally:
            await self.stores.close()

    async def rotate_vectors(self, told: Callable[[int], None]) -> int:
        """Draw new matrices for the vectors; see `SearchTables.rotate_vectors`."""
        return await SearchTables(self.database).rotate_vectors(told)

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Everything that must be up while calls are answered.

        A store that cannot be opened does not keep the server down: each call says so, and it
        is tried again.
        """
        for warning in self.settings.warnings:
            log.warning("settings.warning", warning=warning)
        opened = await self._try_open(Refused)
        try:
            async with anyio.create_task_group() as tasks:
                if not opened:
                    tasks.start_soon(self._open_later)
                tasks.start_soon(self.watching.run)
                for task in (*self.stores.tasks, *self.stores.serving):
                    tasks.start_soon(task)
                async with self.runs.serving():
                    yield
                tasks.cancel_scope.cancel()
        finally:
            await self.stores.close()

    async def stop(self, why: str) -> None:
        """End what is open: streams with a last word, runs as interrupted."""
        self.subscriptions.close()
        await self.runs.stop(why)

    async def _try_open(self, wrong: type[FactoryError]) -> bool:
        try:
            await self.stores.open()
        except wrong as error:
            log.error("store.unavailable", cause=error.message, remedy=error.remedy)
            return False
        return True

    async def _open_later(self) -> None:
        """What is wrong with the store, its tables even, may be mended while we serve."""
        await self.clock.sleep(REOPEN_S)
        while not await self._try_open(FactoryError):
            await self.clock.sleep(REOPEN_S)

    # -------------------------------------------------------------------------- checks

    async def store_checks(self) -> Sequence[Check]:
        """Whether the store can be used; it is opened for that. And what stands beside it."""
        try:
            async with self.store():
                return await self.stores.check()
        except FactoryError as error:
            return [Check(name="store", ok=False, detail=error.message, fix=error.remedy)]

    async def checks(self) -> Sequence[Check]:
        """All that `doctor` says; what to mend first comes first among the red."""
        found = [check for backend in self.backends.values() for check in await backend.check()]
        stored = [*await self.store_checks(), self.seal_keys.check()]
        return [*found, *stored, *await self._folder_checks(), *self._notes()]

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
    extra: Fixtures | None = None,
) -> App:
    """Wire the product.

    Args:
        settings: What it was told.
        home: The HOME of droids; None is the user's own.
        backends: Instead of the real ones, in tests.
        clock: Instead of the system's.
        rng: Instead of the system's.
        extra: Tools, resources and prompts beside our own.

    Raises:
        SpecInvalid: A droid spec has a mistake.
    """
    clock, rng = clock or SystemClock(), rng or SystemRng()
    keys = _key_store(settings)
    sealer = Sealing(keys)
    stores = wire(settings, sealer, clock, rng)
    clock, ledger = stores.clock, stores.ledger
    droids = load(settings.spec_folders)
    workspaces = FolderWorkspaces(roots=settings.roots, trusted=settings.trusted)
    backends = _backends(settings, clock, home) if backends is None else backends
    chain = Chain(backends, HandoffBackend(), clock, rng, shared=stores.breakers)
    contexts = ContextService(
        stores.contexts, stores.search, ledger, clock, rng, blind=sealer.blind
    )
    runs = Runs(stores.book, ledger, LinuxHost(), clock, max_parallel=settings.max_parallel)
    calls = CallService(
        droids=droids,
        workspaces=workspaces,
        contexts=contexts,
        chain=chain,
        runs=runs,
        reader=ledger,
        clock=clock,
        rng=rng,
        secret=cache(partial(_secret, settings, sealer)),
        max_autonomy=settings.max_autonomy,
        depth=settings.depth,
    )
    key, fixtures = partial(context_key, workspaces), extra or Fixtures()
    face = McpFace(calls, contexts, droids.all(), key, client=settings.client, fixtures=fixtures)
    watching = Watching(stores.marks, clock, LOCAL.tenant, bus=stores.bus)
    subscriptions = Subscriptions(face.resources, watching)
    return App(
        settings=settings,
        clock=clock,
        stores=stores,
        reader=ledger,
        droids=droids,
        backends=backends,
        workspaces=workspaces,
        contexts=contexts,
        search=stores.search,
        chain=chain,
        runs=runs,
        calls=calls,
        seal_keys=SealKeys(
            sealer, keys, SealedTables(stores.database), shared=settings.postgres is not None
        ),
        watching=watching,
        subscriptions=subscriptions,
        server=build_server(face, subscriptions),
    )


def _secret(settings: Settings, sealer: Sealer) -> bytes:
    """The key of call fingerprints: the same in all replicas, as their key ring is."""
    if settings.postgres and not settings.pepper:
        return sealer.blind("", "the key of call fingerprints").encode()
    return secret_of(settings)


def _key_store(settings: Settings) -> KeyStore:
    """Where the key ring is: in the environment, in a file that was named, or in a file of ours."""
    if settings.keyring:
        return KeyText(settings.keyring, "in FACTORY_MCP_KEYRING")
    named = settings.keyring_file
    return KeyFile(named or settings.data / "keyring", make=named is None)


async def context_key(workspaces: Workspaces, principal: Principal) -> str:
    """Whose standing chain is meant where no context is named: the default root's, else one's."""
    return await workspaces.key() or principal_key(principal)


def _backends(settings: Settings, clock: Clock, home: Path | None) -> Mapping[str, Backend]:
    made = {"droid_cli": _droid_cli(settings, clock, home), "llm": _llm(settings, clock)}
    return {name: made[name] for name in settings.backends}


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


def _llm(settings: Settings, clock: Clock) -> LlmBackend:
    """Asked only where the settings list it, which they do once it has an address."""
    endpoint = Endpoint(
        url=settings.llm_url or "",
        model=settings.llm_model,
        key=settings.llm_key,
        context_tokens=settings.llm_context,
    )
    return LlmBackend(clock=clock, endpoint=endpoint)


def over_http(app: App) -> HttpApp:
    """The product as one HTTP application.

    Raises:
        NotLoopback: Callers must have keys, and there are none.
    """
    if app.settings.auth == "required":
        raise NotLoopback("FACTORY_MCP_AUTH is `required`, and there are no API keys yet.")
    return http_app(app.server, ready=app.stores.check, lifespan=app.serving)


def asgi() -> HttpApp:
    """For `uvicorn --factory factory_mcp.app:asgi`."""
    telemetry.configure()
    settings = Settings.load()
    return over_http(build(settings, home=settings.server_home))


def run_stdio(opening: Opening) -> int:
    """Serve one client on stdin and stdout; the exit code."""
    telemetry.configure()

    async def serve(app: App) -> None:
        async with app.serving():
            stop = partial(app.stop, "The editor went away")
            await serve_stdio(app.server, opening, clock=app.clock, on_eof=stop)

    try:
        anyio.run(serve, build(Settings.load()))
    except FactoryError as error:
        log.error("start.refused", code=error.code, cause=error.message, remedy=error.remedy)
        return 2
    return 0
