"""The store's clock: all replicas of one database agree on it, however wrong their own are."""

from collections.abc import Awaitable, Callable

from factory_mcp.domain.errors import FactoryError
from factory_mcp.ports import Clock
from factory_mcp.telemetry import log


class StoreClock:
    """The port Clock, with the time of a database: measured now and then, counted on in between.

    Until it was first measured, and for as long as it cannot be, this machine's clock goes on from
    where it was.

    Args:
        clock: This machine's.
        measure: The database's time as it answers, Unix seconds.
    """

    def __init__(self, clock: Clock, measure: Callable[[], Awaitable[float]]) -> None:
        self._clock, self._measure = clock, measure
        self._anchor = (clock.now(), clock.monotonic())

    async def sync(self) -> None:
        """Measure; to be called when the store was opened and before each heartbeat."""
        try:
            now = await self._measure()
        except FactoryError as error:
            log.warning("clock.not_measured", code=error.code, reason=error.message)
            return
        self._anchor = (now, self._clock.monotonic())

    def now(self) -> float:
        """The database's clock, Unix seconds."""
        then, at = self._anchor
        return then + self._clock.monotonic() - at

    def monotonic(self) -> float:
        """A clock that never goes backwards, seconds from an arbitrary start."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait; cancellable."""
        await self._clock.sleep(seconds)
