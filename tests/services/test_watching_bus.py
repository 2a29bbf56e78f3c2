"""Watching the store with a bus: woken by it, and looking by itself where it is silent."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest

from factory_mcp.ports.fast import Bus
from factory_mcp.services.watching import CHANGES, EVERY_S, PAUSE_S, SELDOM_S, Watching
from factory_mcp.stores.memory import MemoryBus
from tests.fakes import FakeClock
from tests.fast import Both, running
from tests.house import until


@dataclass
class Marks:
    """A mark that the test moves, and how often it was looked at."""

    mark_now: int = 1
    looks: int = 0

    async def mark(self, tenant: str) -> int:
        assert "acme" == tenant
        self.looks += 1
        return self.mark_now


@dataclass
class Watched:
    """A watcher at rest after its first look."""

    clock: FakeClock
    marks: Marks
    told: list[int] = field(default_factory=list[int])

    async def looked(self, times: int) -> None:
        """It has looked so often, and rests."""
        await until(lambda: self.marks.looks == times)
        await anyio.wait_all_tasks_blocked()

    async def still(self, times: int) -> None:
        """It has looked so often and no more."""
        await anyio.wait_all_tasks_blocked()
        assert times == self.marks.looks


@asynccontextmanager
async def watched(bus: Bus) -> AsyncGenerator[Watched]:
    """Somebody who watches through a bus."""
    rig = Watched(clock=FakeClock(), marks=Marks())
    watching = Watching(rig.marks, rig.clock, "acme", bus=bus)

    async def tell() -> None:
        rig.told.append(rig.marks.mark_now)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watching.run)
        watching.start(tell)
        await rig.looked(1)
        yield rig
        tasks.cancel_scope.cancel()


@pytest.mark.requirement("REDIS-12")
async def test_a_word_on_the_bus_is_a_look_at_once() -> None:
    """However many words: one look for each tenth of a second."""
    bus = MemoryBus()
    async with watched(bus) as rig:
        rig.marks.mark_now = 2
        bus.publish(CHANGES, "")
        await anyio.wait_all_tasks_blocked()
        for _ in range(100):
            bus.publish(CHANGES, "")
        await rig.still(1)
        rig.clock.advance(PAUSE_S)
        await rig.looked(2)
        rig.clock.advance(PAUSE_S)
        await rig.still(2)
        assert [1, 2] == rig.told


@pytest.mark.requirement("REDIS-12")
async def test_a_bus_that_hears_nobody_leaves_it_to_look_each_second() -> None:
    """Other processes may write."""
    async with watched(MemoryBus()) as rig:
        for look in (2, 3):
            rig.clock.advance(EVERY_S)
            await anyio.wait_all_tasks_blocked()
            rig.clock.advance(PAUSE_S)
            await rig.looked(look)
        assert [1] == rig.told


@pytest.mark.requirement("REDIS-12")
async def test_while_the_bus_is_up_it_looks_seldom(shared: Both) -> None:
    """Whoever wrote says so; what it missed when the bus went it looks for at once."""
    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()

        async def run(both: Both) -> None:
            with scope:
                await both.ours.bus.run()

        tasks.start_soon(run, shared)
        await until(lambda: shared.ours.bus.up)
        async with watched(shared.ours.bus) as rig, running(shared.theirs.bus):
            rig.clock.advance(SELDOM_S - 2 * PAUSE_S)
            await rig.still(1)
            rig.marks.mark_now = 2
            shared.theirs.bus.publish(CHANGES, "")
            await until(lambda: _advanced(rig, 2))
            await anyio.wait_all_tasks_blocked()
            rig.marks.mark_now = 3
            scope.cancel()
            await until(lambda: _advanced(rig, 3))
            assert [1, 2, 3] == rig.told


def _advanced(rig: Watched, looks: int) -> bool:
    if rig.marks.looks < looks:
        rig.clock.advance(PAUSE_S / 1000)
    return rig.marks.looks >= looks
