"""Stand-ins for time, chance and backends; everything else in the tests is the real thing."""

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import anyio

from factory_mcp.domain.errors import BackendError
from factory_mcp.domain.model import Outcome, Owner, Progress
from factory_mcp.ports import Check, Report, Work


class FakeClock:
    """Time that moves only by `advance`; with `auto` a sleep advances it by itself."""

    def __init__(self, *, start: float = 1_800_000_000.0, auto: bool = False) -> None:
        self._now = start
        self._elapsed = 1000.0
        self._auto = auto
        self._sleepers: list[tuple[float, int, anyio.Event]] = []
        self._count = 0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if self._auto or seconds <= 0:
            self.advance(seconds)
            await anyio.lowlevel.checkpoint()
            return
        wake = anyio.Event()
        self._count += 1
        heapq.heappush(self._sleepers, (self._elapsed + seconds, self._count, wake))
        await wake.wait()

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._elapsed += seconds
        while self._sleepers and self._sleepers[0][0] <= self._elapsed:
            heapq.heappop(self._sleepers)[2].set()

    def set_wall_clock(self, now: float) -> None:
        """Move the wall clock alone, as an administrator would."""
        self._now = now


class SeededRng:
    """Chance that is the same in every run."""

    def __init__(self, seed: int = 7) -> None:
        self._random = random.Random(seed)  # noqa: S311 — repeatable on purpose

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def token(self, size: int) -> bytes:
        return self._random.randbytes(size)


Step = Outcome | BackendError | Callable[[Work, Report], Outcome]


@dataclass
class ScriptedBackend:
    """A backend that plays a list of outcomes, then repeats the last one.

    A step that is a function may report progress; `gate`, when set, is waited for first.
    """

    steps: Sequence[Step]
    name: str = "scripted"
    sees_workspace: bool = True
    gate: anyio.Event | None = None
    works: list[Work] = field(default_factory=list[Work])
    cancelled: int = 0

    async def run(self, work: Work, report: Report) -> Outcome:
        step = self.steps[min(len(self.works), len(self.steps) - 1)]
        self.works.append(work)
        report(Progress(state="thinking"))
        try:
            if self.gate is not None:
                await self.gate.wait()
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        if isinstance(step, BackendError):
            raise step
        return step if isinstance(step, Outcome) else step(work, report)

    async def check(self) -> Sequence[Check]:
        return [Check(name=self.name, ok=True, detail="scripted")]


def owner(name: str = "test") -> Owner:
    """A process that holds leases."""
    return Owner(id=name, boot_id="boot", pid_ns="ns", pid=1, started="1")
