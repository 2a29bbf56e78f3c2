"""Watching the store: no look without a watcher, and no fault ends it."""

from collections.abc import Iterator

import anyio

from factory_mcp.domain.errors import StoreUnavailable
from factory_mcp.services.watching import EVERY_S, Watching
from tests.fakes import FakeClock
from tests.house import until


class ScriptedMarks:
    """Marks in turn; then the last one for ever."""

    def __init__(self, *marks: int | Exception) -> None:
        self._marks: Iterator[int | Exception] = iter(marks)
        self._last: int | Exception = 0
        self.looks = 0

    async def mark(self, tenant: str) -> int:
        assert "acme" == tenant
        self.looks += 1
        self._last = next(self._marks, self._last)
        if isinstance(self._last, Exception):
            raise self._last
        return self._last


async def test_every_change_is_told_once_and_faults_are_looked_over() -> None:
    """The first look tells too, and the one after a fault: something may have been missed."""
    marks = ScriptedMarks(1, 1, 2, StoreUnavailable("away"), 2, RuntimeError("a bug"), 3)
    clock, told = FakeClock(), list[int]()
    watching = Watching(marks, clock, "acme")

    async def tell() -> None:
        told.append(marks.looks)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watching.run)
        await anyio.wait_all_tasks_blocked()
        assert 0 == marks.looks
        watching.start(tell)
        for look in range(1, 9):
            await until(lambda look=look: marks.looks == look)
            await anyio.wait_all_tasks_blocked()
            clock.advance(EVERY_S)
        assert [1, 3, 5, 7] == told
        watching.stop()
        clock.advance(EVERY_S)
        await anyio.wait_all_tasks_blocked()
        clock.advance(EVERY_S)
        seen = marks.looks
        await anyio.wait_all_tasks_blocked()
        assert seen == marks.looks
        watching.start(tell)
        await until(lambda: len(told) == 5)
        tasks.cancel_scope.cancel()
