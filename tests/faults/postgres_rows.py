"""Postgres away, slow, flapping, restarting, exhausted: S1, S2, S3 and S9."""

import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Final

import anyio
import psycopg
from anyio.to_thread import run_sync

from tests.faults.load import Answer, Caller, Mix, Tally, caller, crowd, seconds_until, until
from tests.faults.product import LONG, TIMES
from tests.faults.table import Row, at_least, at_most, percentile
from tests.faults.team import Team, postgres_team
from tests.faults.truth import accounted, broken_trails
from tests.servers.proxy import FaultProxy

Rows = AsyncGenerator[Row]

REFUSED_S: Final = 2.5
"""What stores.md promises of a refusal."""
DEADLINE_S: Final = 6.5
"""Of a droid's call here: it waits 4 s for its end, and its run is opened in 2.5 s or refused."""
FLAPPING_S: Final = 60 * TIMES
RESTARTED: Final = 2000 * TIMES
RESTARTS_S: Final = (5.0, 20.0) if LONG else (5.0, 12.0)


async def s1(home: Path) -> Rows:
    """Refused, frozen, slow, reset in the middle of an answer."""
    async with postgres_team(home) as team, caller(team.replicas[0]) as by:
        tally = Tally()
        mix = await Mix.over(by, tally)
        for fault in ("refused", "frozen", "slow", "reset"):
            await _break(team.proxy, fault)
            seen = await _while_broken(by, mix)
            for name, value, bar in seen:
                yield at_most(f"S1.{fault}.{name}", value, bar)
            await team.proxy.heal()
            await _until_answered(mix, by)
        for row in (await accounted(team.look, tally)).rows("S1"):
            yield row
        yield at_most("S1.wrong", len(tally.wrong), 0)


async def _break(proxy: FaultProxy, fault: str) -> None:
    match fault:
        case "refused":
            await proxy.refuse()
        case "frozen":
            proxy.freeze()
        case "slow":
            proxy.latency_s = 2.0
        case _:
            proxy.reset_after = 900  # a login's answers are longer, or the first query's
            proxy.reset()


async def _while_broken(by: Caller, mix: Mix) -> list[tuple[str, float, float]]:
    """How long refusals, the list of tools and the news for `/readyz` took."""
    answers: list[Answer] = []
    listed, told = [0.0], [0.0]

    async def call(number: int) -> None:
        answers.append(await mix.call(by, number))

    async def not_ready() -> bool:
        return not await by.is_ready()

    async def look() -> None:
        told[0] = await seconds_until(not_ready)
        began = time.monotonic()
        await by.ask("tools/list", {})
        listed[0] = time.monotonic() - began

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        first = len(mix.tally.answers)
        await crowd(16, range(first, first + 48), call)
    slowest = max((answer.seconds for answer in answers if not answer.good), default=0)
    return [
        ("slowest_refusal_s", slowest, REFUSED_S),
        ("answered", sum(answer.good for answer in answers), 0),
        ("readyz_says_so_s", told[0], 2.0),
        ("tools_list_s", listed[0], 0.5),
    ]


async def _until_answered(mix: Mix, by: Caller) -> float:
    """How long it takes until something is stored again."""
    numbers = count(4_000_000 + 4 * len(mix.tally.answers), 4)

    async def stored() -> bool:
        return (await mix.call(by, next(numbers))).good

    return await seconds_until(stored)


async def s2(home: Path) -> Rows:
    """Up 3 s, down 1 s, refused and frozen by turns, under 16 callers of two replicas."""
    async with postgres_team(home, {}, {}) as team, AsyncExitStack() as stack:
        by = [await stack.enter_async_context(caller(one)) for one in team.replicas]
        tally = Tally()
        mix = await Mix.over(by[0], tally)
        healed: list[float] = []
        end = time.monotonic() + FLAPPING_S

        async def flap() -> None:
            for turn in count():
                await anyio.sleep(3)
                if time.monotonic() > end - 4:
                    return
                await _break(team.proxy, ("refused", "frozen")[turn % 2])
                await anyio.sleep(1)
                await team.proxy.heal()
                healed.append(time.monotonic())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flap)
            await crowd(16, until(end), lambda n: _paced(mix, by[n // 4 % 2], n))
        waited = [_first_after(tally, moment) for moment in healed]
        yield at_least("S2.succeeded", tally.share, 0.6)
        yield at_most("S2.p99_s", percentile(tally.seconds(), 0.99), DEADLINE_S)
        yield at_most("S2.slowest_recovery_s", max(waited, default=99), 2.0)
        yield at_most("S2.wrong", len(tally.wrong), 0)
        for row in (await accounted(team.look, tally)).rows("S2"):
            yield row
        yield at_most("S2.broken_trails", await run_sync(broken_trails, team.replicas[0]), 0)


async def _paced(mix: Mix, by: Caller, number: int, pause_s: float = 0.1) -> None:
    await mix.call(by, number)
    await anyio.sleep(pause_s)


def _first_after(tally: Tally, moment: float) -> float:
    """How long after that the first call came that was answered, counted to its answer."""
    ends = (a.at + a.seconds - moment for a in tally.good if a.at + a.seconds > moment)
    return min(ends, default=99)


async def s3(home: Path) -> Rows:
    """Calls while Postgres is killed or stopped, and started again, every few seconds."""
    chance = random.Random(3)  # noqa: S311 — the same restarts each time
    async with postgres_team(home) as team, caller(team.replicas[0]) as by:
        tally, restarts = Tally(), 0
        mix = await Mix.over(by, tally)

        async def restart() -> None:
            nonlocal restarts
            while True:
                await anyio.sleep(chance.uniform(*RESTARTS_S))
                await run_sync((team.postgres.kill, team.postgres.stop)[restarts % 2])
                await anyio.sleep(chance.uniform(0, 2))
                await run_sync(team.postgres.start)
                restarts += 1

        async def enough() -> bool:
            return restarts >= 3 and await run_sync(_runs, team)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(restart)
            await crowd(16, range(RESTARTED), lambda n: _paced(mix, by, n, 0.25))
            with anyio.CancelScope(shield=True):
                await seconds_until(enough)
                tasks.cancel_scope.cancel()
        refused = sum(answer.refused for answer in tally.answers)
        yield at_least("S3.restarts", restarts, 3)
        yield at_least("S3.answered", len(tally.good), RESTARTED / 2)
        yield at_least("S3.answered_or_refused", len(tally.good) + refused, RESTARTED)
        yield at_most("S3.wrong", len(tally.wrong), 0)
        for row in (await accounted(team.look, tally)).rows("S3"):
            yield row
        yield at_most("S3.broken_trails", await run_sync(broken_trails, team.replicas[0]), 0)


def _runs(team: Team) -> bool:
    try:
        return bool(team.look("SELECT 1"))
    except psycopg.OperationalError:
        return False


async def s9(home: Path) -> Rows:
    """64 callers and no free connection: the server gives 4, or all of them wait for a lock.

    What 64 callers at once take where nothing is wrong is not counted.
    """
    async with postgres_team(home) as team, caller(team.replicas[0]) as by:
        tally = Tally()
        mix = await Mix.over(by, tally)
        await crowd(64, range(64), lambda n: mix.call(by, n))
        busy = max(tally.seconds())
        for fault, hold in (("four_connections", _four), ("locked", _locked)):
            answers: list[Answer] = []

            async def call(number: int, kept: list[Answer] = answers) -> None:
                kept.append(await mix.call(by, number))

            async def load(start: int, call: Callable[[int], Awaitable[None]] = call) -> None:
                await crowd(64, range(start, start + 128), call)

            await hold(team, load, len(tally.answers))
            slowest = max((answer.seconds for answer in answers if not answer.good), default=0)
            recovered = await _until_answered(mix, by)
            yield at_most(f"S9.{fault}.slowest_refusal_s", slowest - busy, REFUSED_S)
            yield at_most(f"S9.{fault}.recovered_s", recovered, 1.0)
        yield at_most("S9.wrong", len(tally.wrong), 0)
        for row in (await accounted(team.look, tally)).rows("S9"):
            yield row


Load = Callable[[int], Awaitable[None]]


async def _four(team: Team, load: Load, start: int) -> None:
    """The server admits four connections of the product's user, those it has are cut."""
    limit = "ALTER ROLE tester CONNECTION LIMIT {}"
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'tester'"
    await run_sync(_do, team, limit.format(4), cut)
    await load(start)
    await run_sync(_do, team, limit.format(-1))


async def _locked(team: Team, load: Load, start: int) -> None:
    """Whoever reads or writes a node waits for a lock that somebody holds."""
    with psycopg.connect(_admin(team)) as connection:
        connection.execute("LOCK TABLE nodes, runs IN ACCESS EXCLUSIVE MODE")
        await load(start)


def _admin(team: Team) -> str:
    return team.postgres.admin_url.rpartition("/")[0] + "/tester"


def _do(team: Team, *statements: str) -> None:
    with psycopg.connect(_admin(team), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
