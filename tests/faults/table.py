"""What a fault did to the product, as rows: `id value bar pass|fail`."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One value and what it may be at most; `least` turns that round. What is unknown fails."""

    id: str
    value: float
    bar: float
    least: bool = False

    @property
    def passed(self) -> bool:
        """Whether the value is within its bar."""
        return self.value >= self.bar if self.least else self.value <= self.bar

    def __str__(self) -> str:
        sign, verdict = ">=" if self.least else "<=", "pass" if self.passed else "fail"
        return f"{self.id:46} {self.value:10.3f} {sign}{self.bar:9.3f} {verdict}"


def at_most(name: str, value: float, bar: float) -> Row:
    """A row whose value may not be above the bar."""
    return Row(id=name, value=value, bar=bar)


def at_least(name: str, value: float, bar: float) -> Row:
    """A row whose value may not be below the bar."""
    return Row(id=name, value=value, bar=bar, least=True)


def unmeasured(name: str, why: str) -> Row:
    """A row that fails because it could not be measured."""
    return Row(id=f"{name} ({why})", value=math.nan, bar=0)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of all lies; unknown where there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.nan


def summary(rows: Iterable[Row]) -> int:
    """Print the whole table and the count; the exit code."""
    rows = list(rows)
    failed = sum(not row.passed for row in rows)
    print("\n" + "\n".join(map(str, rows)))
    print(f"{len(rows) - failed} passed, {failed} failed")
    return int(failed > 0)
