"""The same question asked by many at once is answered once."""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio

from factory_mcp.domain.errors import FactoryError

K = TypeVar("K")
T = TypeVar("T")


class _Flight(Generic[T]):
    def __init__(self) -> None:
        self.done = anyio.Event()
        self.answer: tuple[T] | None = None
        self.error: FactoryError | None = None


class SingleFlight(Generic[K, T]):
    """Whoever asks first does the work; the others wait for what comes of it, be it an error."""

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[T]] = {}

    async def do(self, key: K, work: Callable[[], Awaitable[T]]) -> T:
        """The answer; if the one who did the work was cancelled, another does it."""
        while (flight := self._flights.get(key)) is not None:
            await flight.done.wait()
            if flight.error is not None:
                raise flight.error
            if flight.answer is not None:
                return flight.answer[0]
        return await self._lead(key, work)

    def detach(self) -> None:
        """Nobody who comes from now on is given an answer that is being worked out already."""
        self._flights.clear()

    async def _lead(self, key: K, work: Callable[[], Awaitable[T]]) -> T:
        flight = self._flights[key] = _Flight[T]()
        try:
            answer = await work()
            flight.answer = (answer,)
        except FactoryError as error:
            flight.error = error
            raise
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]
            flight.done.set()
        return answer
