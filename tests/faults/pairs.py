"""Two replicas, called at the same moments: what the machine does meanwhile, it does to both.

One has the fault. The other has none, and says how long things take now.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Final

import anyio

from tests.faults.load import Answer
from tests.faults.product import TIMES
from tests.faults.table import percentile

BLOCKS: Final = 9 * TIMES
SIZE: Final = 12
TRIES: Final = 3
"""What the machine does is not there each time; what the product does is."""

Once = Callable[[int], Awaitable[Answer]]


@dataclass(slots=True, kw_only=True)
class Pairs:
    """How to make call number n of each, and what the one with the fault was told."""

    faulty: Once
    calm: Once
    told: list[Answer] = field(default_factory=list[Answer])
    _number: int = 0

    async def block(self, size: int = SIZE) -> tuple[list[float], list[float]]:
        """So many calls of both; how long they took."""
        faulty, calm = list[Answer](), list[Answer]()

        async def call(once: Once, told: list[Answer]) -> None:
            told.append(await once(self._number))

        for _ in range(size):
            self._number += 1
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, self.faulty, faulty)
                tasks.start_soon(call, self.calm, calm)
        self.told += faulty
        return [answer.seconds for answer in faulty], [answer.seconds for answer in calm]

    async def added_p99(self, enough: float) -> float:
        """By how much the slowest of a hundred is slower, in the median block of the best try.

        Args:
            enough: Below that it is not tried again.
        """
        best = math.inf
        for _ in range(TRIES):
            blocks = [await self.block() for _ in range(BLOCKS)]
            added = (percentile(a, 0.99) - percentile(b, 0.99) for a, b in blocks)
            best = min(best, median(added))
            if best <= enough:
                break
        return best
