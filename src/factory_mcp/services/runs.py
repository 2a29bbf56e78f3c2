"""Runs: start, wait, cancel, lease. A run is a task of the app, never of a request."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Protocol

import anyio
from anyio.abc import TaskGroup

from factory_mcp.domain.errors import (
    FactoryError,
    ShuttingDown,
    StoreFull,
    StoreUnavailable,
    Unsettled,
)
from factory_mcp.domain.model import Outcome, Progress, Run, SideEffects, Status
from factory_mcp.domain.wording import cut_off
from factory_mcp.ports import Claim, Clock, Host, Opened, Report, RunBook, RunReader
from factory_mcp.services.closing import Closing, recorded, seal
from factory_mcp.telemetry import log

TICK_S: Final = 9
"""A watcher hears at least this often from a running run."""
STOP_S: Final = 10
"""How long a stopped run may take to close."""
POLL_S: Final = 0.5


class Watch(Protocol):
    """Somebody who waits for a run."""

    def opened(self, run_id: str) -> None:
        """This is the run."""
        ...

    async def told(self, doing: str, seconds: float) -> None:
        """What it does now, and for how many seconds it has been going on."""
        ...


Job = Callable[[Run, Report], Awaitable[Closing]]


@dataclass(slots=True)
class _Live:
    """A run of this process while it goes on."""

    run: Run
    since: float
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: anyio.Event = field(default_factory=anyio.Event)
    changed: anyio.Event = field(default_factory=anyio.Event)
    progress: Progress = field(init=False)
    cut: tuple[Status, str, str] | None = None
    fence_lost: bool = False
    ended: bool = False

    def __post_init__(self) -> None:
        self.progress = recorded(self.run)

    def report(self, progress: Progress) -> None:
        """Take what a backend says of itself, and wake whoever watches."""
        session = progress.session_id or self.progress.session_id
        self.progress = replace(progress, session_id=session)
        self.changed.set()
        self.changed = anyio.Event()

    def stop(self, status: Status, code: str, why: str) -> None:
        """End the work; the first reason given stands."""
        if self.cut is None:
            self.cut = (status, code, why)
            self.scope.cancel()

    def closing(self) -> Closing:
        """What is known of a run that was stopped."""
        status, code, why = self.cut or (Status.INTERRUPTED, "interrupted", "It was cut off")
        return Closing(outcome=cut_off(status, code, why, self.progress))

    def fault(self) -> Closing:
        """How a run ends that a fault of ours ended."""
        return Closing(
            outcome=Outcome(
                text="An internal error ended the run; the server's log has it.",
                status=Status.FAILED,
                code="internal",
                session_id=self.progress.session_id,
                side_effects=SideEffects.POSSIBLE,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A run belongs to its owner for `seconds` after the owner's last beat, one each `beat_s`."""

    seconds: float = 15
    beat_s: float = 5


class Runs:
    """The runs of this process and a window on everybody's.

    Args:
        book: Where runs are written.
        reader: Where runs are read.
        host: Which processes of this machine live.
        clock: Time.
        max_parallel: Slots; further runs are `queued`.
        lease: How long a run belongs to a silent owner.
    """

    def __init__(
        self,
        book: RunBook,
        reader: RunReader,
        host: Host,
        clock: Clock,
        *,
        max_parallel: int = 2,
        lease: Lease = Lease(),
    ) -> None:
        self._book, self._reader, self._host, self._clock = book, reader, host, clock
        self._owner = host.me()
        self._lease = lease
        self._slots = anyio.Semaphore(max_parallel)
        self._live: dict[str, _Live] = {}
        self._tasks: TaskGroup | None = None
        self._stopping = False
        self._leaving = False

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """The life of the runs; leaving it interrupts what is still open and closes it."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            await self._chore(self._reap)  # before the same call may come again
            tasks.start_soon(self._beat_forever)
            try:
                yield
            finally:
                with anyio.CancelScope(shield=True):
                    await self.stop("The server shut down")
                tasks.cancel_scope.cancel()

    def stamp(self, run: Run) -> Run:
        """The run with this process as its owner, from now on."""
        now = self._clock.now()
        return replace(
            run, owner=self._owner, created_at=now, lease_until=now + self._lease.seconds
        )

    async def open(self, run: Run, claim: Claim, job: Job) -> Opened:
        """Open the run and start its job, or attach to the run that answers the claim."""
        tasks = self._tasks
        if tasks is None or self._stopping:
            raise ShuttingDown("The server is shutting down.")
        # A caller that goes away between the row and the task must not leave a row without one.
        with anyio.CancelScope(shield=True):
            run = self.stamp(run)
            live = _Live(run, self._clock.monotonic())
            try:
                opened = await self._book.open(run, claim)
            except Unsettled:  # it may be there, and nobody would ever end it
                tasks.start_soon(self._close, live, live.closing())
                raise
            if not opened.attached:
                self._live[run.id] = live
                tasks.start_soon(self._carry, live, job)
            return opened
        raise AssertionError("nobody cancels that scope")

    # ------------------------------------------------------------------------ one run

    async def _carry(self, live: _Live, job: Job) -> None:
        closing: Closing | None = None
        try:
            with live.scope:
                async with self._slots:
                    closing = await self._attempt(live, job)
        finally:
            live.ended = True
            with anyio.CancelScope(shield=True):
                if not live.fence_lost:
                    await self._close(live, closing or live.closing())
                del self._live[live.run.id]
                live.done.set()

    async def _attempt(self, live: _Live, job: Job) -> Closing:
        try:
            live.run = replace(live.run, code="waiting", started_at=self._clock.now())
            live.report(Progress(state="starting"))
            await self._save(live)
            return await job(live.run, live.report)
        except FactoryError as error:
            text = f"{error.message} {error.remedy}"
            return Closing(outcome=Outcome(text=text, status=Status.FAILED, code=error.code))
        except Exception:  # noqa: BLE001 — a worker's outermost line
            log.exception("run.failed", run_id=live.run.id)
            return live.fault()

    async def _save(self, live: _Live) -> None:
        known = live.progress
        live.run = replace(
            live.run,
            session_id=known.session_id or live.run.session_id,
            lease_until=self._clock.now() + self._lease.seconds,
            progress={
                "state": known.state,
                "tool": known.tool,
                "session_id": known.session_id,
                "side_effects": known.side_effects.value,
                "changed_paths": list(known.changed_paths),
            },
        )
        if not await self._book.save(live.run) and not live.ended:
            self._lose(live)

    def _lose(self, live: _Live) -> None:
        log.warning("run.fence_lost", run_id=live.run.id)
        live.fence_lost = True
        live.scope.cancel()

    async def _close(self, live: _Live, closing: Closing) -> None:
        """Write the end of a run down, however long the store is away."""
        at = self._clock.now()
        while True:
            try:
                closed = await self._write_end(live.run, closing, at)
            except (StoreUnavailable, StoreFull) as error:
                log.error("run.close_delayed", run_id=live.run.id, cause=error.message)
                if self._leaving:
                    return  # the next start closes it as interrupted
                await self._clock.sleep(1)
            except Exception:  # noqa: BLE001 — a worker's outermost line
                log.exception("run.close_failed", run_id=live.run.id)
                closing = live.fault()
            else:
                self._closed(live, closed)
                return

    def _closed(self, live: _Live, run: Run | None) -> None:
        if run is None:
            self._lose(live)
        else:
            live.run = run
            log.info("run.closed", run_id=run.id, droid=run.droid, status=run.status)

    async def _write_end(self, run: Run, closing: Closing, at: float) -> Run | None:
        """The closed run; None if another process owns it by now."""
        outcome = closing.outcome
        ended = replace(
            run,
            session_id=outcome.session_id,
            output=outcome.text,
            ended_at=at,
        )
        return await self._book.close(ended, closing.node, partial(seal, ended, closing))

    # ------------------------------------------------------------------------ waiting

    def progress(self, run: Run) -> Progress:
        """What an open run is doing; one of another process as that wrote it down last."""
        live = self._live.get(run.id)
        return live.progress if live else recorded(run)

    async def wait(self, run: Run, seconds: float, watch: Watch | None = None) -> Run:
        """Wait until the run is closed, or so many seconds; then the run as it stands."""
        if watch is not None:
            watch.opened(run.id)
        if not run.status.is_open:
            return run
        live = self._live.get(run.id)
        if live is None:
            return await self._poll(run, seconds, watch)
        async with self._at_most(seconds) as tasks:
            if watch is not None:
                tasks.start_soon(self._tell, live, watch)
            await live.done.wait()
        return live.run

    @asynccontextmanager
    async def _at_most(self, seconds: float) -> AsyncGenerator[TaskGroup]:
        """What is done inside is given up after so many seconds, with the tasks it started."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._alarm, tasks, seconds)
            yield tasks
            tasks.cancel_scope.cancel()

    async def _alarm(self, tasks: TaskGroup, seconds: float) -> None:
        await self._clock.sleep(seconds)
        tasks.cancel_scope.cancel()

    async def _tell(self, live: _Live, watch: Watch) -> None:
        """Tell a watcher of each change, at most once a second and at least every `TICK_S`."""
        while True:
            known = live.progress
            await watch.told(_doing(known), self._clock.monotonic() - live.since)
            await self._clock.sleep(1)
            async with self._at_most(TICK_S - 1):
                if live.progress is known:
                    await live.changed.wait()

    async def _poll(self, run: Run, seconds: float, watch: Watch | None) -> Run:
        """Wait for a run of another process, and tell the watcher what that wrote down."""
        until = self._clock.monotonic() + seconds
        tell_at = self._clock.monotonic()
        while run.status.is_open and self._clock.monotonic() < until:
            if watch is not None and self._clock.monotonic() >= tell_at:
                tell_at += self._lease.beat_s
                await watch.told(_doing(recorded(run)), self._clock.now() - run.created_at)
            await self._clock.sleep(POLL_S)
            run = await self._reader.get(run.tenant, run.id) or run
        return run

    # ----------------------------------------------------------------------- stopping

    async def cancel(self, run: Run, reason: str) -> Run:
        """Stop a run and wait until it is closed."""
        live = self._live.get(run.id)
        if live is not None:
            live.stop(Status.CANCELLED, "cancelled", f"Cancelled: {reason}")
        elif run.status.is_open:
            await self._reader.cancel(run.tenant, run.id, reason)
        return await self.wait(run, self._lease.beat_s + STOP_S)

    async def drain(self, seconds: float) -> None:
        """Take no new work, and give what is open so many seconds to end."""
        self._stopping = True
        until = self._clock.monotonic() + seconds
        for live in list(self._live.values()):
            await self.wait(live.run, max(0, until - self._clock.monotonic()))

    async def stop(self, why: str) -> None:
        """Take no new work, interrupt what is open and wait for STOP_S until it is closed."""
        self._stopping = True
        open_now = list(self._live.values())
        for live in open_now:
            live.stop(Status.INTERRUPTED, "interrupted", why)
        try:
            async with self._at_most(STOP_S):
                for live in open_now:
                    await live.done.wait()
        finally:
            self._leaving = True

    # ------------------------------------------------------------------------- leases

    async def _beat_forever(self) -> None:
        while True:
            await self._clock.sleep(self._lease.beat_s)
            await self._chore(self._beat)
            await self._chore(self._reap)

    async def _chore(self, chore: Callable[[], Awaitable[None]]) -> None:
        """A part of the beat; what goes wrong in it ends neither the next part nor the server."""
        try:
            await chore()
        except FactoryError as error:
            log.warning("runs.beat_failed", cause=error.message)
        except Exception:  # noqa: BLE001 — a worker's outermost line
            log.exception("runs.beat_failed")

    async def _beat(self) -> None:
        for live in list(self._live.values()):
            if live.run.started_at is not None:
                await self._save(live)
        beat = await self._book.beat(self._owner, self._clock.now() + self._lease.seconds)
        for run_id, reason in (beat.cancelled or {}).items():
            if live := self._live.get(run_id):
                live.stop(Status.CANCELLED, "cancelled", f"Cancelled: {reason}")
        for run_id in beat.lost:
            if live := self._live.get(run_id):
                self._lose(live)

    async def _reap(self) -> None:
        """Close the runs of dead processes."""
        for run in filter(self._abandoned, await self._reader.open_runs()):
            await self._chore(partial(self._bury, run))

    async def _bury(self, run: Run) -> None:
        """Close a run as interrupted; what it changed is as its owner wrote down."""
        why = "The server that ran it died"
        outcome = cut_off(Status.INTERRUPTED, "interrupted", why, recorded(run))
        if await self._write_end(run, Closing(outcome=outcome), self._clock.now()):
            log.info("run.reaped", run_id=run.id)

    def _abandoned(self, run: Run) -> bool:
        owner, here = run.owner, self._owner
        if owner.id == here.id:
            return False
        if (owner.boot_id, owner.pid_ns) == (here.boot_id, here.pid_ns):
            return self._host.is_dead(owner)  # a laptop that slept is not dead
        return run.lease_until < self._clock.now()


def _doing(progress: Progress) -> str:
    return progress.state + (f" {progress.tool}" if progress.tool else "")
