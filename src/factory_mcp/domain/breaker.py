"""The circuit breaker of one (droid, backend): a backend that keeps failing is left alone.

It opens at five failures in a row, or at a failure that makes half or more of at least five
answers of the last 30 s bad. It stays open 30 s times how often it has opened, 300 s at most,
plus or minus 10 %. Then it lets probes through, one at a time, and closes after two good ones.

Every attempt that is admitted holds a permit and gives it back by exactly one of `succeeded`,
`failed` and `released`. A permit from before the last change of state says nothing any more.
Times are seconds on the monotonic clock.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

FAILURES_IN_A_ROW: Final = 5
WINDOW_S: Final = 30.0
WINDOW_ANSWERS: Final = 5
WINDOW_SHARE: Final = 0.5
WINDOW_KEPT: Final = 128
"""Only so many of the newest answers are judged, whatever the traffic."""
OPEN_S: Final = 30.0
MAX_OPEN_S: Final = 300.0
JITTER: Final = 0.1
GOOD_PROBES: Final = 2
PROBE_S: Final = 5.0
"""What a caller is told to wait while a probe is out: nobody knows how long it will take.

As long is waited where another process has the probe.
"""


class State(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer of the backend."""

    at: float
    good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """The right to make one attempt; void once the breaker's `serial` has moved on."""

    serial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """A breaker's memory. `opened` counts since it last stayed closed for `MAX_OPEN_S`."""

    state: State = State.CLOSED
    serial: int = 0
    in_a_row: int = 0
    answers: tuple[Answer, ...] = ()
    opened: int = 0
    open_until: float = 0.0
    closed_at: float = 0.0
    good_probes: int = 0
    probing: bool = False


def admits(breaker: Breaker, now: float) -> bool:
    """Whether an attempt would be let through now."""
    return state(breaker, now) is not State.OPEN and not breaker.probing


def admit(breaker: Breaker) -> tuple[Breaker, Permit]:
    """Let an attempt through, as a probe unless the breaker is closed; ask `admits` first."""
    if breaker.state is not State.CLOSED:
        breaker = replace(breaker, state=State.HALF_OPEN, serial=breaker.serial + 1, probing=True)
    return breaker, Permit(serial=breaker.serial)


def succeeded(breaker: Breaker, permit: Permit, now: float) -> Breaker:
    """The attempt was answered well."""
    if permit.serial != breaker.serial:
        return breaker
    if breaker.state is State.CLOSED:
        return replace(breaker, in_a_row=0, answers=_remember(breaker, now, good=True))
    if breaker.good_probes + 1 < GOOD_PROBES:
        return replace(_slot_freed(breaker), good_probes=breaker.good_probes + 1)
    return _closed(breaker, now)


def failed(breaker: Breaker, permit: Permit, now: float, chance: float) -> Breaker:
    """The backend failed the attempt.

    Args:
        breaker: The breaker that admitted it.
        permit: What it was admitted by.
        now: The monotonic clock.
        chance: A uniform number in [0, 1], for the length of an opening.
    """
    if permit.serial != breaker.serial:
        return breaker
    if breaker.state is not State.CLOSED:
        return _open(breaker, now, chance)
    breaker = replace(
        breaker,
        in_a_row=breaker.in_a_row + 1,
        answers=_remember(breaker, now, good=False),
    )
    return _open(breaker, now, chance) if _too_many(breaker) else breaker


def released(breaker: Breaker, permit: Permit) -> Breaker:
    """The attempt says nothing of the backend: cancelled, or the caller's own fault."""
    if permit.serial != breaker.serial or not breaker.probing:
        return breaker
    return _slot_freed(breaker)


def postponed(breaker: Breaker, permit: Permit, now: float) -> Breaker:
    """Another process has the one probe out: look again in a while."""
    if permit.serial != breaker.serial:
        return breaker
    return replace(_slot_freed(breaker), state=State.OPEN, open_until=now + PROBE_S)


def opened_elsewhere(breaker: Breaker, now: float, seconds: float) -> Breaker:
    """Another process has opened its breaker of the same backend for so long."""
    until = now + min(max(seconds, 0.0), MAX_OPEN_S * (1 + JITTER))
    if state(breaker, now) is State.OPEN:
        return replace(breaker, open_until=max(until, breaker.open_until))
    return _opened(breaker, now, until)


def closed_elsewhere(breaker: Breaker, now: float) -> Breaker:
    """Another process has found the backend well."""
    return breaker if breaker.state is State.CLOSED else _closed(breaker, now)


def state(breaker: Breaker, now: float) -> State:
    """The state as the clock makes it: an opening that is over is half open."""
    if breaker.state is State.OPEN and now >= breaker.open_until:
        return State.HALF_OPEN
    return breaker.state


def retry_after(breaker: Breaker, now: float) -> float:
    """Seconds until another attempt may be let through; 0 if one is now."""
    if admits(breaker, now):
        return 0.0
    return PROBE_S if breaker.probing else breaker.open_until - now


def _slot_freed(breaker: Breaker) -> Breaker:
    return replace(breaker, serial=breaker.serial + 1, probing=False)


def _remember(breaker: Breaker, now: float, *, good: bool) -> tuple[Answer, ...]:
    recent = (answer for answer in breaker.answers if answer.at > now - WINDOW_S)
    return (*recent, Answer(at=now, good=good))[-WINDOW_KEPT:]


def _too_many(breaker: Breaker) -> bool:
    bad = sum(not answer.good for answer in breaker.answers)
    enough = len(breaker.answers) >= WINDOW_ANSWERS
    often = enough and bad >= WINDOW_SHARE * len(breaker.answers)
    return breaker.in_a_row >= FAILURES_IN_A_ROW or often


def _closed(breaker: Breaker, now: float) -> Breaker:
    return Breaker(serial=breaker.serial + 1, opened=breaker.opened, closed_at=now)


def _open(breaker: Breaker, now: float, chance: float) -> Breaker:
    length = min(OPEN_S * _times(breaker, now), MAX_OPEN_S)
    return _opened(breaker, now, now + length * (1 - JITTER + 2 * JITTER * chance))


def _opened(breaker: Breaker, now: float, until: float) -> Breaker:
    return Breaker(
        state=State.OPEN,
        serial=breaker.serial + 1,
        opened=_times(breaker, now),
        open_until=until,
    )


def _times(breaker: Breaker, now: float) -> int:
    """The how-manieth opening this is since it last stayed closed for long."""
    steady = breaker.state is State.CLOSED and now - breaker.closed_at >= MAX_OPEN_S
    return 1 if steady else breaker.opened + 1
