"""What a call does next: fallback, retry, breaker, budget and deadline in ONE decision.

`decide` is asked again after every step. A step is an attempt at a backend, a wait before a
second attempt at it, a backend passed over, or the end: then the handoff backend, which is no
part of the order, has the last word. A call makes at most `MAX_PER_CALL` attempts, at most
`MAX_PER_BACKEND` of them at one backend; a droid that is `unsafe` is never started again once
anything but reading may have happened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from factory_mcp.domain.errors import (
    BackendError,
    BackendMissing,
    BackendTimeout,
    WorkspaceUnreachable,
)
from factory_mcp.domain.model import Effects, Progress, SideEffects

HANDOFF: Final = "handoff"
MAX_PER_BACKEND: Final = 2
MAX_PER_CALL: Final = 4
MAX_RETRY_AFTER_S: Final = 10.0
CIRCUIT_OPEN: Final = "circuit_open"
NOT_CONFIGURED: Final = "not_configured"

_MESSAGE: Final = 300  # characters of a backend's message in a reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One backend of a droid's chain."""

    name: str
    configured: bool = True
    sees_workspace: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An attempt that failed; `side_effects` is what it may have changed."""

    backend: str
    code: str
    message: str = ""
    remedy: str = ""
    counts: bool = False
    retry: bool = False
    retry_after_s: float | None = None
    side_effects: SideEffects = SideEffects.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """Pass over a backend without asking it."""

    backend: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """Make an attempt now."""

    backend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Wait, then make the second attempt at the same backend; it costs one retry."""

    backend: str
    seconds: float


class StopReason(StrEnum):
    """Why no further attempt is made."""

    EXHAUSTED = "exhausted"
    ATTEMPTS = "attempts"
    DEADLINE = "deadline"
    UNSAFE = "unsafe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Make no further attempt: hand off."""

    reason: StopReason


Past = tuple[Failure | Skip, ...]
Decision = Try | Wait | Skip | Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that the next step depends on.

    `refused` are the backends whose breaker lets nothing through now; `pause_s` is the jittered
    wait of the next retry; `rested` says that the `Wait` decided last is over.
    """

    order: tuple[Candidate, ...]
    effects: Effects
    remaining_s: float
    past: Past = ()
    refused: frozenset[str] = frozenset()
    may_retry: bool = True
    pause_s: float = 0.0
    rested: bool = False


def line_up(fallback: Sequence[str], sees_workspace: Mapping[str, bool]) -> tuple[Candidate, ...]:
    """A spec's fallback as candidates: each once, without `handoff`.

    Args:
        fallback: Backend names in order.
        sees_workspace: The configured backends, and whether each works in the workspace.
    """
    names = dict.fromkeys(name for name in fallback if name != HANDOFF)
    return tuple(
        Candidate(
            name=name,
            configured=name in sees_workspace,
            sees_workspace=sees_workspace.get(name, False),
        )
        for name in names
    )


def decide(now: Situation) -> Decision:
    """The next step of a call."""
    failures = failures_of(now.past)
    if now.effects is Effects.UNSAFE and any(
        failure.side_effects is not SideEffects.NONE for failure in failures
    ):
        return Stop(reason=StopReason.UNSAFE)
    if len(failures) >= MAX_PER_CALL:
        return Stop(reason=StopReason.ATTEMPTS)
    if now.remaining_s <= 0:
        return Stop(reason=StopReason.DEADLINE)
    return _again(now) or _next(now)


def failures_of(past: Past) -> tuple[Failure, ...]:
    """The attempts of a call, the passed-over backends left out."""
    return tuple(step for step in past if isinstance(step, Failure))


def _again(now: Situation) -> Try | Wait | None:
    """A second attempt at the backend that failed last, if it is worth one."""
    last = now.past[-1] if now.past else None
    if not isinstance(last, Failure) or last.backend in now.refused:
        return None
    tried = sum(failure.backend == last.backend for failure in failures_of(now.past))
    if tried >= MAX_PER_BACKEND:
        return None
    if now.rested:
        return Try(backend=last.backend)
    seconds = _wait(last, now.pause_s)
    if seconds is None or seconds >= now.remaining_s or not now.may_retry:
        return None
    return Wait(backend=last.backend, seconds=seconds)


def _wait(failure: Failure, pause_s: float) -> float | None:
    """Seconds before the backend may be asked again, or None where it should not be.

    A Retry-After invites a second attempt even where the fault alone would not, but never where
    the backend is not to blame.
    """
    asked = failure.retry_after_s
    if asked is None:
        return pause_s if failure.retry else None
    if not (failure.retry or failure.counts):
        return None
    return max(asked, pause_s) if asked <= MAX_RETRY_AFTER_S else None


def _next(now: Situation) -> Try | Skip | Stop:
    names = [candidate.name for candidate in now.order]
    place = names.index(now.past[-1].backend) + 1 if now.past else 0
    if place == len(names):
        return Stop(reason=StopReason.EXHAUSTED)
    candidate = now.order[place]
    if not candidate.configured:
        return Skip(backend=candidate.name, code=NOT_CONFIGURED)
    if not candidate.sees_workspace and now.effects is not Effects.NONE:
        return Skip(backend=candidate.name, code=WorkspaceUnreachable.code)
    if candidate.name in now.refused:
        return Skip(backend=candidate.name, code=CIRCUIT_OPEN)
    return Try(backend=candidate.name)


# ----------------------------------------------------------------------- what was learnt


def carried(earlier: Progress | None, later: Progress) -> Progress:
    """`later`, with what is known from before: the worst side effects, all changed paths."""
    if earlier is None:
        return later
    return Progress(
        state=later.state,
        tool=later.tool,
        session_id=later.session_id or earlier.session_id,
        side_effects=max(earlier.side_effects, later.side_effects, key=_badness),
        changed_paths=tuple(dict.fromkeys((*earlier.changed_paths, *later.changed_paths))),
    )


def _badness(effects: SideEffects) -> int:
    return list(SideEffects).index(effects)


def evidence_of(error: BackendError, reported: Progress | None, *, read_only: bool) -> Progress:
    """What a failed attempt may have done.

    The error's own evidence and the last report, the worse of both. Without evidence a report
    proves nothing, as more may have happened after it: then something may have been changed,
    unless the droid is read-only or never began.
    """
    known = error.evidence or unknown(read_only=read_only or _never_began(error))
    return carried(reported, known)


def unknown(*, read_only: bool) -> Progress:
    """What has to be assumed of an attempt of which nothing is known."""
    assumed = SideEffects.NONE if read_only else SideEffects.POSSIBLE
    return Progress(state="starting", side_effects=assumed)


def _never_began(error: BackendError) -> bool:
    return isinstance(error, BackendMissing | WorkspaceUnreachable)


def is_to_blame(error: BackendError, granted_s: float, fair_s: float) -> bool:
    """Whether a failure counts against the backend.

    A time-out does only if the attempt had a fair time: a backend that was asked when the
    deadline was near has done nothing wrong.
    """
    if isinstance(error, BackendTimeout):
        return granted_s >= fair_s
    return error.counts


# --------------------------------------------------------------------------- how it ended


def cause_code(past: Past) -> str:
    """The code of the last real cause: an attempt before a breaker before anything else."""
    cause = _cause(past)
    return cause.code if cause else HANDOFF


def _cause(past: Past) -> Failure | Skip | None:
    def weight(step: Failure | Skip) -> int:
        if isinstance(step, Failure):
            return 3
        return {CIRCUIT_OPEN: 2, NOT_CONFIGURED: 0}.get(step.code, 1)

    return max(reversed(past), key=weight, default=None)


_ENDINGS: Final = {
    StopReason.EXHAUSTED: "",
    StopReason.ATTEMPTS: "; no further attempt is made",
    StopReason.DEADLINE: "; the time is up",
    StopReason.UNSAFE: "; it may have changed something, so it is not started again",
}


def explain(reason: StopReason, past: Past, retry_after_s: float | None) -> str:
    """One plain sentence: the last real cause, what was tried, and when to try again."""
    cause = _cause(past)
    if cause is None:
        first = (
            "the droid names no backend" if reason is StopReason.EXHAUSTED else "nothing was tried"
        )
    elif isinstance(cause, Failure):
        first = f"{cause.backend} failed with {cause.code}: {one_line(cause.message)}"
    else:
        first = f"{cause.backend} was not asked: {cause.code}"
    tried = [f"{step.backend} {step.code}" for step in past if step.code != NOT_CONFIGURED]
    others = f"; tried: {', '.join(tried)}" if len(tried) > 1 else ""
    again = f"; it may work again in {retry_after_s:.0f} s" if retry_after_s else ""
    return f"{first}{_ENDINGS[reason]}{others}{again}"


def notes(past: Past) -> tuple[str, ...]:
    """A sentence for each kind of failure, with the remedy where a person has to mend it."""
    return tuple(dict.fromkeys(map(_note, failures_of(past))))


def remedies(past: Past) -> tuple[str, ...]:
    """The remedies alone, of failures that do not pass by themselves."""
    lasting = (failure for failure in failures_of(past) if not failure.counts)
    return tuple(dict.fromkeys(f"To mend {f.backend}: {f.remedy}" for f in lasting))


def _note(failure: Failure) -> str:
    remedy = "" if failure.counts else f" {failure.remedy}"
    return f"{failure.backend} failed ({failure.code}): {one_line(failure.message)}.{remedy}"


def one_line(message: str) -> str:
    """A backend's message as part of a sentence."""
    line = " ".join(message.split()).rstrip(".")
    return line if len(line) <= _MESSAGE else f"{line[:_MESSAGE].rstrip()} …"
