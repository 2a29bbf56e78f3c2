"""Telling that something in the store has changed, whichever process changed it."""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from factory_mcp.domain.errors import FactoryError
from factory_mcp.ports import Clock, Marks
from factory_mcp.telemetry import log

EVERY_S: Final = 1.0
"""How long a change stays unnoticed at most."""

Told = Callable[[], Awaitable[None]]


class Watching:
    """Looks at the store's mark while somebody wants to know, and only then."""

    def __init__(self, marks: Marks, clock: Clock, tenant: str) -> None:
        self._marks, self._clock, self._tenant = marks, clock, tenant
        self._wanted = anyio.Event()
        self._told: Told | None = None
        self._seen: int | None = None

    def start(self, told: Told) -> None:
        """Call `told` after every change, and once soon: one may have been missed before."""
        self._told = told
        self._seen = None
        self._wanted.set()

    def stop(self) -> None:
        """Nobody wants to know any more."""
        self._told = None
        self._wanted = anyio.Event()

    async def run(self) -> None:
        """Watch for as long as the process serves."""
        while True:
            await self._wanted.wait()
            await self._watch()

    async def _watch(self) -> None:
        while told := self._told:
            try:
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
            await self._clock.sleep(EVERY_S)
