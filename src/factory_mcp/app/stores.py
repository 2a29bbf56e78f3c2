"""Where things are kept, as the settings say: SQLite or Postgres, and what stands beside it."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio.to_thread import run_sync

from factory_mcp.ports import (
    Check,
    Clock,
    Contexts,
    ContextSearch,
    Embedder,
    Marks,
    Rng,
    RunBook,
    Sealer,
)
from factory_mcp.ports.fast import Bus, SharedBreakers
from factory_mcp.ports.outbox import Sink
from factory_mcp.services.cache import CachedBook, CachedContexts
from factory_mcp.services.sync import Sync
from factory_mcp.services.sync_bus import BusSink
from factory_mcp.settings import Settings
from factory_mcp.stores.clock import StoreClock
from factory_mcp.stores.embedders import embedder_of
from factory_mcp.stores.redis.breakers import RedisBreakers
from factory_mcp.stores.redis.bus import RedisBus
from factory_mcp.stores.redis.cache import RedisCache
from factory_mcp.stores.redis.connection import RedisConnection
from factory_mcp.stores.redis.replicas import RedisReplicas
from factory_mcp.stores.sql.audit import AuditMarks
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.ledger import Ledger
from factory_mcp.stores.sql.outbox import OutboxTables
from factory_mcp.stores.sql.projected import ProjectedSearch
from factory_mcp.stores.sql.projection import Projection
from factory_mcp.stores.sql.search import SearchTables
from factory_mcp.stores.sql.sqlite import SqliteDatabase
from factory_mcp.stores.sql.vector_sink import VectorSink
from factory_mcp.stores.weaviate.address import Address
from factory_mcp.stores.weaviate.index import WeaviateIndex

if TYPE_CHECKING:
    from factory_mcp.services.sync import Sync

MEASURE_S: Final = 5.0
"""How often the database's clock is looked at."""

POLL_S: Final = 3.0
"""How often the outbox is looked at, beside whenever Postgres says so."""
POLL_FILE_S: Final = 1.0
"""And where nobody says so."""

Task = Callable[[], Coroutine[Any, Any, None]]
Looks = Callable[[], Awaitable[Sequence[Check]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """What is kept where.

    `tasks` run as long as the stores are used, `serving` besides as long as calls are answered.
    `beside` looks at what the product can do without, and `closing` lets go of it. `sinks` are fed
    by `sync`, which is None where there is nothing to do for it.
    """

    database: Database
    clock: Clock
    ledger: Ledger
    book: RunBook
    contexts: Contexts
    search: ContextSearch
    marks: Marks
    bus: Bus | None = None
    breakers: SharedBreakers | None = None
    sinks: Sequence[Sink] = ()
    sync: "Sync | None" = None
    tasks: Sequence[Task] = ()
    serving: Sequence[Task] = ()
    beside: Sequence[Looks] = ()
    closing: Sequence[Task] = ()

    async def open(self) -> None:
        """Make the truth ready; all else is connected to when it is used."""
        await self.database.open()
        if isinstance(self.clock, StoreClock):
            await self.clock.sync()

    async def close(self) -> None:
        """Let go of everything."""
        with anyio.CancelScope(shield=True):
            for close in self.closing:
                await close()
            await self.database.close()

    async def check(self) -> Sequence[Check]:
        """Whether the truth can be used, and what else there is; never raises."""
        found: list[Sequence[Check]] = [()] * (1 + len(self.beside))

        async def look(place: int, looks: Looks) -> None:
            found[place] = await looks()

        async with anyio.create_task_group() as tasks:
            for place, looks in enumerate((self.database.check, *self.beside)):
                tasks.start_soon(look, place, looks)
        truth, *beside = found
        return [*truth, *(replace(check, spare=True) for checks in beside for check in checks)]


def wire(settings: Settings, sealer: Sealer, clock: Clock, rng: Rng) -> Stores:
    """The stores that the settings name; nothing is connected to yet."""
    truth = _truth(settings, sealer, clock)
    stores = _fast(truth, settings, rng) if settings.redis else truth
    embedder = embedder_of(
        settings.embedder_url or settings.embedder_folder,
        clock=clock,
        rng=rng,
        model=settings.embedder_model,
        key=settings.embedder_key,
        authorities=settings.ca,
    )

    async def embedding() -> Sequence[Check]:
        return [await run_sync(embedder.check)]

    stores = replace(stores, beside=(*stores.beside, embedding))
    if settings.weaviate_url:
        stores = _indexed(stores, settings, embedder, rng)
    else:
        stores = replace(stores, search=SearchTables(stores.database, embedder))
    return _fed(stores, settings, rng)


def _truth(settings: Settings, sealer: Sealer, clock: Clock) -> Stores:
    """SQLite only where no Postgres is configured: one that is away is replaced by nothing."""
    tasks: list[Task] = []
    if settings.postgres:
        from factory_mcp.stores.sql.postgres import PostgresDatabase  # noqa: PLC0415 — psycopg

        database = PostgresDatabase(settings.postgres, sealer, feeds=True)
        clock = StoreClock(clock, database.now)
        tasks.append(partial(_measured, clock))
    else:
        feeds = bool(settings.redis or settings.weaviate_url)
        database = SqliteDatabase(settings.database, sealer, feeds=feeds)
    ledger = Ledger(database)
    return Stores(
        database=database,
        clock=clock,
        ledger=ledger,
        book=ledger,
        contexts=ContextTables(database),
        search=SearchTables(database),
        marks=AuditMarks(database),
        tasks=tasks,
    )


async def _measured(clock: StoreClock) -> None:
    while True:
        await clock.sleep(MEASURE_S)
        await clock.sync()


def _fast(stores: Stores, settings: Settings, rng: Rng) -> Stores:
    """With Redis before and beside the truth."""
    me, clock = rng.token(8).hex(), stores.clock
    redis = RedisConnection(settings.redis or "", clock)
    bus = RedisBus(redis, clock)
    replicas = RedisReplicas(redis, clock, me, expected=settings.replicas)
    contexts = CachedContexts(
        stores.contexts, bus, stores.database.sealer, clock, me=me, shared=RedisCache(redis)
    )
    return replace(
        stores,
        book=CachedBook(stores.book, contexts),
        contexts=contexts,
        bus=bus,
        breakers=RedisBreakers(redis, bus, me),
        sinks=(BusSink(bus, stores.database.sealer),),
        tasks=(*stores.tasks, redis.run, bus.run),
        serving=(replicas.run,),
        beside=(*stores.beside, redis.check),
        closing=(*stores.closing, redis.close),
    )


def _indexed(stores: Stores, settings: Settings, embedder: Embedder, rng: Rng) -> Stores:
    """With a vector index instead of vectors in SQL."""
    address = Address(
        url=settings.weaviate_url or "",
        grpc=settings.weaviate_grpc or ("", 0),
        key=settings.weaviate_key,
        authorities=settings.ca,
    )
    index = WeaviateIndex(address, stores.clock, rng)
    projection = Projection(stores.database, embedder, index)
    return replace(
        stores,
        search=ProjectedSearch(stores.database, embedder, index, stores.clock),
        sinks=(*stores.sinks, VectorSink(projection)),
        beside=(*stores.beside, index.check, projection.check),
        closing=(*stores.closing, index.close),
    )


def _fed(stores: Stores, settings: Settings, rng: Rng) -> Stores:
    """With whoever feeds the sinks; on Postgres the outbox is kept short even if there are none."""
    if not (stores.sinks or settings.postgres):
        return stores

    outbox, clock = OutboxTables(stores.database), stores.clock
    poll_s = POLL_S if settings.postgres else POLL_FILE_S
    sync = Sync(outbox, stores.sinks, clock, rng, poll_s=poll_s)
    tasks = [*stores.tasks]
    if settings.postgres and stores.sinks:
        from factory_mcp.stores.sql.listen import Listener  # noqa: PLC0415 — psycopg

        tasks.append(partial(Listener(settings.postgres, clock).run, sync.wake))
    return replace(stores, sync=sync, tasks=tasks, serving=(*stores.serving, sync.run))
