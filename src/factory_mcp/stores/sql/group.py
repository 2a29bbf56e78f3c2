"""Group commit: writers that wait at the same time share one transaction and one disk flush.

Whoever's turn it is does the work of all who wait; each is answered after the commit. When any
part of the work fails, the transaction is rolled back and everyone's work is done alone, so that
a failure is its own caller's only. Work may therefore be done more than once, and must not mind.
"""

from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Generic, TypeVar, cast

import anyio

from factory_mcp.domain.errors import FactoryError, Unsettled
from factory_mcp.stores.sql.database import Work
from factory_mcp.stores.sql.faults import Collision, Held
from factory_mcp.stores.sql.unit import Unit

T = TypeVar("T")

Transaction = Callable[[], AbstractAsyncContextManager[Unit]]

MOST_TOGETHER: Final = 64
"""Callers that share one transaction: the more, the longer the first of them waits."""
ATTEMPTS: Final = 3
"""How often work that collides with another writer's is done."""


class _Job(Generic[T]):
    """One caller's work, and how it ended."""

    def __init__(self, tenant: str, work: Work[T]) -> None:
        self.tenant, self.work = tenant, work
        self.is_taken = False
        self.is_alone = False
        self.ended: tuple[T] | None = None
        self.fault: FactoryError | None = None


class Group:
    """The writers of one process.

    Args:
        transaction: Begins a transaction that may write, and ends it.
    """

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._turn = anyio.Lock()
        self._waiting: deque[_Job[Any]] = deque()

    async def do(self, tenant: str, work: Work[T]) -> T:
        """Do work in a transaction, alone or with others; it is on disk when this returns.

        Raises:
            FactoryError: What kept everybody out, or what the work itself raised.
        """
        job = _Job(tenant, work)
        self._waiting.append(job)
        try:
            async with self._turn:
                await self._see_to(job)
        finally:
            await self._leave(job)
        return cast("tuple[T]", job.ended)[0]

    async def _see_to(self, job: _Job[Any]) -> None:
        """Make sure that the job is done, by whomever."""
        if job.fault is not None:
            raise type(job.fault)(job.fault.message, remedy=job.fault.remedy)
        if job.ended is None and not job.is_alone:
            await self._do_with_others(job)
        if job.ended is None:
            await self._do_alone(job)

    async def _leave(self, job: _Job[Any]) -> None:
        """A caller that was cancelled takes its work with it, or waits until it is done."""
        if not job.is_taken:
            self._waiting.remove(job)
        elif job.ended is None and job.fault is None and not job.is_alone:
            with anyio.CancelScope(shield=True):
                async with self._turn:
                    pass

    async def _do_with_others(self, job: _Job[Any]) -> None:
        batch: list[_Job[Any]] = []
        try:
            async with self._transaction() as unit:
                batch = self._take(job)
                results = [await _worked(each, unit) for each in batch]
        except Unsettled as error:  # it may be stored: to do it again would be wrong
            for each in batch:
                each.fault = error
            raise
        except FactoryError as error:
            if not batch or isinstance(error, Held):
                self._turn_away(error, batch)
                raise
            _part(batch)
        except Exception:  # noqa: BLE001 — whose mistake it is, meets it again alone
            _part(batch)
        else:
            for each, result in zip(batch, results, strict=True):
                each.ended = (result,)

    async def _do_alone(self, job: _Job[Any]) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._transaction() as unit:
                    result = await _worked(job, unit)
            except Collision:
                if attempt == ATTEMPTS:
                    raise
            else:
                job.ended = (result,)
                return

    def _take(self, first: _Job[Any]) -> list[_Job[Any]]:
        """The job whose turn it is and those that wait behind it, by tenant.

        Every process takes tenants in the same order, so that none waits for another in a circle.
        """
        self._waiting.remove(first)
        others = [
            self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_TOGETHER - 1))
        ]
        for job in (first, *others):
            job.is_taken = True
        return sorted([first, *others], key=lambda job: job.tenant)

    def _turn_away(self, error: FactoryError, batch: list[_Job[Any]]) -> None:
        """Nobody who waits would fare better now than the one whose turn it was."""
        for job in batch:
            job.fault = error
        while self._waiting:
            job = self._waiting.popleft()
            job.is_taken = True
            job.fault = error


async def _worked(job: _Job[T], unit: Unit) -> T:
    await unit.enter(job.tenant)
    return await job.work(unit)


def _part(batch: list[_Job[Any]]) -> None:
    for job in batch:
        job.is_alone = True
