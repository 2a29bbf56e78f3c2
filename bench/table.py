"""Lines of a table: what was measured, beside its target."""

import statistics
from collections.abc import Sequence
from typing import Final

WIDTH: Final = 56


def heading(unit: str) -> None:
    """The line above."""
    print(f"\n{unit:{WIDTH}} {'measured':>10} {'target':>10}")


def at_least(what: str, values: Sequence[float], target: float | None = None) -> None:
    """The median of some rounds, which should not be below the target."""
    _line(what, values, target, ">=", statistics.median(values) >= (target or 0))


def at_most(what: str, value: float, target: float) -> None:
    """One value, which should not be above the target."""
    _line(what, [value], target, "<=", value <= target)


def _line(
    what: str,
    values: Sequence[float],
    target: float | None,
    sign: str,
    is_met: bool,
) -> None:
    wanted = "" if target is None else f"{sign} {_text(target)}"
    met = "" if target is None else "ok" if is_met else "missed"
    spread = ""
    if len(values) > 1:
        spread = f"  {len(values)} rounds, {_text(min(values))} to {_text(max(values))}"
    measured = _text(statistics.median(values))
    print(f"{what:{WIDTH}} {measured:>10} {wanted:>10}  {met:6}{spread}".rstrip(), flush=True)


def _text(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"  # noqa: PLR2004 — three digits
