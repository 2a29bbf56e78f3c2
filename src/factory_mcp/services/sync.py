"""Keeping the copies: sinks are fed with what the outbox says, in order, by any number of workers.

For each sink and tenant one worker at a time has the lease. A worker that dies lets it run out, and
the next one goes on from the position; so a sink may be told something twice. Sinks do not wait for
each other.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import anyio

from factory_mcp.domain.errors import FactoryError
from factory_mcp.ports import Clock, Rng
from factory_mcp.ports.outbox import Lease, Outbox, Progress, Sink, Standing
from factory_mcp.services.patience import Patience
from factory_mcp.telemetry import log

WORKERS: Final = 2
"""For each sink: while one builds a large tenant, the others' news do not wait."""
BATCH: Final = 2000
"""A sink splits it, and makes a part ready while it writes the one before."""
BATCHES: Final = 5
"""With one lease: then it is another tenant's turn."""
LEASE_S: Final = 15.0
REST_S: Final = 0.05
"""Between two looks, so that the next batch is worth its way."""
REVISE_S: Final = 300.0
"""How often is looked whether copies are still made with what they would be made with now."""
TRIM_S: Final = 10.0
AGAIN_S: Final = 0.5
"""How often is asked for a lease that another worker has."""
RELEASE_S: Final = 2.0

T = TypeVar("T")
Told = Callable[[str, str, int, int], None]
"""Hears a sink, a tenant, how many nodes are done, and of how many."""


@dataclass(slots=True)
class _Held:
    """How a lease is doing, and what it was used for."""

    building: bool = False
    fed: bool = False
    """Whether the sink has taken something."""
    overdue: bool = False
    """Whether somebody else could take it by now."""
    lost: bool = False


class Sync:
    """Feeds sinks from an outbox.

    Args:
        outbox: What was written, and how far each sink has come.
        sinks: Who wants to know. With none the outbox is only kept short.
        clock: Time.
        rng: Names of workers, and jitter.
        poll_s: How often to look where nobody calls `wake`.
    """

    def __init__(
        self,
        outbox: Outbox,
        sinks: Sequence[Sink],
        clock: Clock,
        rng: Rng,
        *,
        poll_s: float,
    ) -> None:
        self._outbox, self.sinks = outbox, tuple(sinks)
        self._clock, self._rng, self._poll_s = clock, rng, poll_s
        self._woken = anyio.Event()

    def wake(self) -> None:
        """Something was written: look now."""
        self._woken.set()
        self._woken = anyio.Event()

    async def status(self) -> list[Standing]:
        """How far each sink has come with each tenant, and what it refused."""
        return await self._outbox.standing([sink.name for sink in self.sinks])

    async def run(self) -> None:
        """Feed for as long as the process serves; when it is cancelled it gives its leases back."""
        log.info("sync.started", sinks=[sink.name for sink in self.sinks])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._trim_now_and_then)
            for sink in self.sinks:
                patience = Patience(clock=self._clock, rng=self._rng)
                for _ in range(WORKERS):
                    tasks.start_soon(self._work, sink, patience)
                tasks.start_soon(self._revise_now_and_then, sink, patience)

    async def drain(self) -> None:
        """Feed all sinks until nothing is left to do that no other worker is at.

        Raises:
            FactoryError: A sink or the store cannot be used now.
        """
        for sink in self.sinks:
            for tenant in await self._changed(sink):
                await self._follow(sink, tenant)
            while tenants := await self._outbox.waiting(sink.name):
                for tenant in tenants:
                    await self._follow(sink, tenant)
        await self._outbox.trim()

    async def rebuild(self, told: Told) -> None:
        """Make every tenant's copies from the truth, for all sinks.

        Raises:
            FactoryError: A sink or the store cannot be used now.
        """
        for tenant in await self._outbox.tenants():
            for sink in self.sinks:
                progress = partial(told, sink.name, tenant)
                while not await self._follow(sink, tenant, progress):
                    await self._clock.sleep(AGAIN_S)

    # -------------------------------------------------------------------------- workers

    async def _work(self, sink: Sink, patience: Patience) -> None:
        looking = Patience(clock=self._clock, rng=self._rng)
        while True:
            woken = self._woken
            waiting = await self._tried(sink, looking, "", self._outbox.waiting(sink.name))
            tenant = next((name for name in waiting or () if patience.may(name)), None)
            if waiting is not None:
                looking.succeeded("")
            if tenant is not None:
                await self._try_to_follow(sink, patience, tenant)
                await self._clock.sleep(REST_S)
            elif waiting is not None:
                await self._wait_for(woken)

    async def _revise_now_and_then(self, sink: Sink, patience: Patience) -> None:
        """See to copies that must be made anew although nothing was written."""
        looking = Patience(clock=self._clock, rng=self._rng)
        while True:
            changed = await self._tried(sink, looking, "", self._changed(sink))
            for tenant in changed or ():
                await self._try_to_follow(sink, patience, tenant)
            if changed is not None:
                looking.succeeded("")
                await self._clock.sleep(REVISE_S)

    async def _trim_now_and_then(self) -> None:
        while True:
            await self._clock.sleep(self._rng.uniform(TRIM_S / 2, TRIM_S))
            try:
                await self._outbox.trim()
            except FactoryError as error:
                log.debug("sync.not_trimmed", code=error.code)
            except Exception:  # noqa: BLE001 — a worker's outermost line: the next time, then
                log.exception("sync.not_trimmed")

    async def _try_to_follow(self, sink: Sink, patience: Patience, tenant: str) -> None:
        held = await self._tried(sink, patience, tenant, self._follow(sink, tenant))
        if held and held.fed and patience.succeeded(tenant):
            log.info("sync.recovered", sink=sink.name)

    async def _tried(
        self, sink: Sink, patience: Patience, name: str, work: Awaitable[T]
    ) -> T | None:
        """The work's answer; None if it went wrong, after a wait."""
        try:
            return await work
        except FactoryError as error:
            wait_s = patience.failed(name)
            level = log.warning if patience.streak == 1 else log.debug
            level("sync.failed", sink=sink.name, tenant=name, code=error.code, cause=error.message)
        except Exception:  # noqa: BLE001 — a worker's outermost line: the others go on
            wait_s = patience.failed(name)
            log.exception("sync.failed", sink=sink.name, tenant=name)
        await self._clock.sleep(wait_s)
        return None

    async def _wait_for(self, woken: anyio.Event) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cancel_in, self._poll_s, tasks.cancel_scope)
            await woken.wait()
            tasks.cancel_scope.cancel()

    async def _cancel_in(self, seconds: float, scope: anyio.CancelScope) -> None:
        await self._clock.sleep(seconds)
        scope.cancel()

    async def _changed(self, sink: Sink) -> list[str]:
        """Tenants whose copies are made with something else than they would be now."""
        built = await self._outbox.built(sink.name)
        return [
            tenant
            for tenant, built_with in built.items()
            if built_with and built_with != await sink.built_with(tenant)
        ]

    # ------------------------------------------------------------------- with a lease

    async def _follow(self, sink: Sink, tenant: str, told: Progress | None = None) -> _Held | None:
        """Feed one tenant as far as that goes; None if another worker has it, or took it over.

        With `told` its copy is made anew.
        """
        owner = self._rng.token(8).hex()
        lease = await self._outbox.lease(sink.name, tenant, owner, LEASE_S)
        if lease is None:
            return None
        held, failure = _Held(), None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._hold, lease, held, tasks.cancel_scope)
                try:
                    await self._feed(sink, lease, held, told)
                except FactoryError as error:
                    failure = error
                tasks.cancel_scope.cancel()
        finally:
            await self._let_go(lease, held)
        if failure is not None:
            raise failure
        return None if held.lost else held

    async def _hold(self, lease: Lease, held: _Held, scope: anyio.CancelScope) -> None:
        """Renew the lease; end the work once it is lost, or may be."""
        until = self._clock.monotonic() + LEASE_S
        while not held.lost:
            await self._clock.sleep(LEASE_S / 3)
            now = self._clock.monotonic()
            held.overdue = now >= until
            try:
                if await self._outbox.renew(lease, LEASE_S):
                    until = now + LEASE_S
                else:
                    held.lost = True
            except FactoryError:
                held.lost = self._clock.monotonic() >= until
        log.info("sync.lease_lost", sink=lease.sink, tenant=lease.tenant)
        scope.cancel()

    async def _let_go(self, lease: Lease, held: _Held) -> None:
        with anyio.move_on_after(RELEASE_S, shield=True):
            try:
                if held.building and held.lost and held.overdue:
                    # It may have dropped what the next one has made meanwhile.
                    await self._outbox.void(lease.sink, lease.tenant)
                await self._outbox.release(lease)
            except FactoryError as error:  # it runs out, then
                log.debug("sync.not_released", sink=lease.sink, code=error.code)

    async def _feed(self, sink: Sink, lease: Lease, held: _Held, told: Progress | None) -> None:
        made_with = await sink.built_with(lease.tenant)
        at: Lease | None = lease
        if told or lease.built_with != made_with:
            held.building = True
            at = await self._build(sink, lease, made_with, told or _nobody)
            held.building, held.fed = False, True
        for _ in range(BATCHES):
            changes = await self._outbox.read(at, BATCH) if at else []
            if not at or not changes:
                return
            refused = await sink.apply(at.tenant, changes)
            held.fed = True
            _tell(at, refused)
            at = await self._outbox.move(at, changes, refused)

    async def _build(
        self, sink: Sink, lease: Lease, made_with: str, told: Progress
    ) -> Lease | None:
        its = {"sink": lease.sink, "tenant": lease.tenant}
        log.info("sync.building", **its, was=lease.built_with, made_with=made_with)
        at = await self._outbox.restart(lease)
        if at is None:
            return None
        refused = await sink.rebuild(at.tenant, told)
        _tell(at, refused)
        at = await self._outbox.completed(at, made_with, refused)
        log.info("sync.built", **its, whole=at is not None)
        return at


def _tell(lease: Lease, refused: Mapping[str, str]) -> None:
    for name, reason in refused.items():
        log.warning("sync.parked", sink=lease.sink, tenant=lease.tenant, id=name, reason=reason)


def _nobody(done: int, of: int) -> None:
    """Hears of a rebuild that nobody asked for."""
