"""How long what failed is left alone: each name by itself, and all together while all fail."""

from dataclasses import dataclass, field
from typing import Final

from factory_mcp.ports import Clock, Rng

FIRST_S: Final = 0.5
LONGEST_S: Final = 5.0
"""So soon it is noticed at the latest that it would work again."""


@dataclass(slots=True)
class _Name:
    failures: int = 0
    until: float = 0.0


@dataclass(slots=True, kw_only=True)
class Patience:
    """Waits with full jitter: any time up to twice as long after each failure, up to LONGEST_S."""

    clock: Clock
    rng: Rng
    streak: int = 0
    """Failures since the last success, of whatever name."""
    _names: dict[str, _Name] = field(default_factory=dict[str, _Name])

    def may(self, name: str) -> bool:
        """Whether that name may be tried now."""
        return name not in self._names or self.clock.monotonic() >= self._names[name].until

    def failed(self, name: str) -> float:
        """It failed; how long to wait before anything else is tried."""
        its = self._names.setdefault(name, _Name())
        its.failures += 1
        its.until = self.clock.monotonic() + self._wait(its.failures)
        self.streak += 1
        return self._wait(self.streak)

    def succeeded(self, name: str) -> bool:
        """It went well; whether nothing had before. Then the others may be tried at once, too."""
        was_away, self.streak = self.streak > 1, 0
        self._names.pop(name, None)
        if was_away:
            self._names.clear()
        return was_away

    def _wait(self, failures: int) -> float:
        return self.rng.uniform(0.0, min(FIRST_S * 2.0 ** min(failures - 1, 16), LONGEST_S))
