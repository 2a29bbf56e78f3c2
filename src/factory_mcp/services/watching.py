"""Telling that something in the store has changed, whichever process changed it."""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from factory_mcp.domain.errors import FactoryError
from factory_mcp.ports import Clock, Marks
from factory_mcp.ports.fast import Bus
from factory_mcp.telemetry import log

CHANGES: Final = "changes"
"""The bus's topic: something was written. Whoever hears it looks for himself."""
EVERY_S: Final = 1.0
"""How long a change stays unnoticed at most, where no bus tells of it."""
SELDOM_S: Final = 15.0
"""How often is looked while the bus is up: not all that write may be on it."""
PAUSE_S: Final = 0.1
"""Between two looks, however much is written."""

Told = Callable[[], Awaitable[None]]


class Watching:
    """Looks at the store's mark while somebody wants to know, and only then.

    With a bus it looks when that says so, and seldom besides.
    """

    def __init__(self, marks: Marks, clock: Clock, tenant: str, *, bus: Bus | None = None) -> None:
        self._marks, self._clock, self._tenant, self._bus = marks, clock, tenant, bus
        self._wanted = anyio.Event()
        self._woken = anyio.Event()
        self._told: Told | None = None
        self._seen: int | None = None
        if bus is not None:
            bus.listen(CHANGES, self._heard)

    def start(self, told: Told) -> None:
        """Call `told` after every change, and once soon: one may have been missed before."""
        self._told = told
        self._seen = None
        self._wanted.set()
        self._woken.set()

    def stop(self) -> None:
        """Nobody wants to know any more."""
        self._told = None
        self._wanted = anyio.Event()

    async def run(self) -> None:
        """Watch for as long as the process serves."""
        while True:
            await self._wanted.wait()
            await self._watch()

    def _heard(self, message: str | None) -> None:  # noqa: ARG002 — it only says: look
        self._woken.set()

    async def _watch(self) -> None:
        while told := self._told:
            try:
                self._woken = anyio.Event()  # what is written from now on is not in this mark
                mark = await self._marks.mark(self._tenant)
                if mark != self._seen:
                    self._seen = mark
                    await told()
            except FactoryError as error:
                self._seen = None
                log.debug("watch.failed", code=error.code)  # whoever calls is told; look again
            except Exception:  # noqa: BLE001 — a worker's outermost line: the calls go on
                self._seen = None
                log.exception("watch.failed")
            await self._pause()

    async def _pause(self) -> None:
        if self._bus is None:
            await self._clock.sleep(EVERY_S)
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._wake_in, SELDOM_S if self._bus.up else EVERY_S)
            await self._woken.wait()
            tasks.cancel_scope.cancel()
        await self._clock.sleep(PAUSE_S)

    async def _wake_in(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._woken.set()
