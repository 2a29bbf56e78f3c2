"""Redis away, slow, empty, full, read-only: S4.

Of two replicas one reaches its Redis through a proxy, the other has a calm Redis of its own.
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, cast

import anyio
from anyio.to_thread import run_sync

from tests.faults.load import Caller, Mix, Tally, caller, seconds_until
from tests.faults.pairs import Pairs
from tests.faults.product import TIMES
from tests.faults.table import Row, at_least, at_most, percentile
from tests.faults.team import Team, postgres_team
from tests.faults.truth import accounted
from tests.servers import start
from tests.servers.proxy import FaultProxy, fault_proxy

FAULTS: Final = ("refused", "frozen", "flapping", "flushall", "oom", "readonly")
FIRST: Final = 12
"""Pairs of calls in which the fault is found out."""
FLAPPING: Final = 100 * TIMES
SMALL_S: Final = 0.005
SETTLE_S: Final = 0.5
FLAP_S: Final = 1.0


async def s4(home: Path) -> AsyncGenerator[Row]:
    """Each fault: what it costs while it is found out, and what it costs then."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_context
        broken, calm = enter(start.redis()), enter(start.redis())
        proxy = await stack.enter_async_context(fault_proxy(broken.port))
        envs = ({"REDIS_URL": proxy.through(broken.url)}, {"REDIS_URL": calm.url})
        team = await stack.enter_async_context(postgres_team(home, *envs, direct=True))
        by = [await stack.enter_async_context(caller(one)) for one in team.replicas]
        tallies = Tally(), Tally()
        mixes = await Mix.over(by[0], tallies[0]), await Mix.over(by[1], tallies[1])
        pairs = Pairs(
            faulty=lambda number: mixes[0].call(by[0], number),
            calm=lambda number: mixes[1].call(by[1], 2_000_000 + number),
        )
        await pairs.block()
        for fault in FAULTS:
            async for row in _one(fault, pairs, proxy, broken):
                yield row
            await _heal(proxy, broken, by[0])
        yield at_least("S4.succeeded", tallies[0].share, 0.999)
        yield at_most("S4.wrong", len(tallies[0].wrong), 0)
        async for row in _lost(team, tallies):
            yield row


async def _one(
    fault: str, pairs: Pairs, proxy: FaultProxy, server: start.Redis
) -> AsyncGenerator[Row]:
    async with anyio.create_task_group() as tasks:
        if fault == "flapping":
            tasks.start_soon(_flap, proxy)
        else:
            await _break(fault, proxy, server)
        faulty, calm = await pairs.block(FIRST)
        yield at_most(f"S4.{fault}.first_added_s", max(faulty) - max(calm), 0.3)
        if fault == "flapping":
            faulty, calm = await pairs.block(FLAPPING)
            added = percentile(faulty, 0.99) - percentile(calm, 0.99)
            yield at_most("S4.flapping.added_p99_s", added, 0.3)
        else:
            await anyio.sleep(SETTLE_S)
            yield at_most(f"S4.{fault}.then_added_p99_s", await pairs.added_p99(SMALL_S), SMALL_S)
        tasks.cancel_scope.cancel()


async def _flap(proxy: FaultProxy) -> None:
    while True:
        await proxy.refuse()
        await anyio.sleep(FLAP_S)
        await proxy.heal()
        await anyio.sleep(FLAP_S)


async def _break(fault: str, proxy: FaultProxy, server: start.Redis) -> None:
    match fault:
        case "refused":
            await proxy.refuse()
        case "frozen":
            proxy.freeze()
        case "flushall":
            await run_sync(_command, server, "FLUSHALL")
        case "oom":
            await run_sync(_command, server, "CONFIG SET maxmemory 1")
        case _:
            await run_sync(_command, server, "REPLICAOF 127.0.0.1 1")


async def _heal(proxy: FaultProxy, server: start.Redis, by: Caller) -> None:
    """Everything as it was, and the replica has seen it."""
    await proxy.heal()
    await run_sync(_command, server, "REPLICAOF NO ONE")
    await run_sync(_command, server, "CONFIG SET maxmemory 0")

    async def seen() -> bool:
        return "redis" not in await by.missed()

    await seconds_until(seen)


def _command(server: start.Redis, words: str) -> None:
    from redis import Redis  # noqa: PLC0415 — as everywhere

    with cast("Any", Redis).from_url(server.url) as client:
        client.execute_command(*words.split())


async def _lost(team: Team, tallies: tuple[Tally, Tally]) -> AsyncGenerator[Row]:
    """Both wrote to one Postgres."""
    both = Tally()
    for tally in tallies:
        both.nodes |= tally.nodes
        both.runs |= tally.runs
        both.unknown |= tally.unknown
    for row in (await accounted(team.look, both)).rows("S4"):
        yield row
