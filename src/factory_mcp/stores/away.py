"""A server that is away is left alone: after one failure callers are refused at once.

Unlike a backend's breaker it opens at the first failure, for nobody waits twice for what is only
a help. From time to time one caller asks again.
"""

from typing import Final

from factory_mcp.ports import Clock, Rng

FIRST_S: Final = 1.0
LONGEST_S: Final = 15.0
JITTER: Final = 0.1


class Away:
    """What is known of one server. Whoever was admitted says how it went.

    Args:
        clock: When to ask again.
        rng: So that not all processes ask at once.
    """

    def __init__(self, clock: Clock, rng: Rng) -> None:
        self._clock, self._rng = clock, rng
        self._failures, self._until, self._asking = 0, 0.0, False

    def admits(self) -> bool:
        """Whether the server may be asked now; of those who come after a pause, one."""
        if not self._failures:
            return True
        if self._asking or self._clock.monotonic() < self._until:
            return False
        self._asking = True
        return True

    def answered(self) -> None:
        """It is there."""
        self._failures, self._asking = 0, False

    def failed(self) -> None:
        """It is not; of those who were asking when it went, the first counts."""
        if self._failures and not self._asking:
            return
        pause = min(FIRST_S * 2**self._failures, LONGEST_S)
        pause *= self._rng.uniform(1 - JITTER, 1 + JITTER)
        self._failures, self._asking = self._failures + 1, False
        self._until = self._clock.monotonic() + pause

    def released(self) -> None:
        """Nobody knows: the caller went away."""
        self._asking = False

    @property
    def retry_after_s(self) -> float:
        """Seconds until somebody asks again."""
        return max(self._until - self._clock.monotonic(), 0.0) if self._failures else 0.0
