"""One call through its backends: the ONE loop that falls back, retries, breaks and gives up.

What comes next is decided in `domain/chain.py`; here it is done. Nothing else in the product
retries: vendor libraries have their retries switched off or counted in.
"""

import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import anyio
import tenacity

from factory_mcp.domain import breaker, budget
from factory_mcp.domain.breaker import Breaker, Permit, State
from factory_mcp.domain.budget import Budget
from factory_mcp.domain.chain import (
    Failure,
    Past,
    Situation,
    Skip,
    Stop,
    Try,
    Wait,
    carried,
    cause_code,
    decide,
    evidence_of,
    explain,
    failures_of,
    is_to_blame,
    line_up,
    notes,
    remedies,
)
from factory_mcp.domain.errors import BackendError, BackendGarbage, BackendTimeout
from factory_mcp.domain.model import Attempt, Outcome, Progress, Status
from factory_mcp.ports import Backend, Clock, Report, Rng, Work
from factory_mcp.ports.fast import SharedBreakers
from factory_mcp.telemetry import log

GRACE_S: Final = 0.2
"""How much later than the deadline an attempt is cut off: the backend, which knows more, first."""

_BOUND: Final = tenacity.wait_exponential(multiplier=0.5, max=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainResult:
    """How a call ended, and all that was tried.

    `backend` produced the outcome. `attempts` leave the handoff out; backends passed over have
    the outcome `skipped`. `retry_after_s` is set on a handoff if it is known when a backend may
    work again.
    """

    outcome: Outcome
    backend: str
    attempts: tuple[Attempt, ...]
    retry_after_s: float | None = None


class BreakerState(NamedTuple):
    """One breaker as it stands, for `doctor` and metrics."""

    droid: str
    backend: str
    state: str
    retry_after_s: float


@dataclass(slots=True, kw_only=True)
class _Call:
    """What one call has tried so far."""

    work: Work
    tell: Report
    past: Past = ()
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    before: Progress | None = None  # what the attempts before the present one did
    reported: Progress | None = None  # the present attempt's last word
    rested: bool = False

    def report(self, progress: Progress) -> None:
        """Pass progress on, with what the earlier attempts did."""
        self.reported = progress
        self.tell(carried(self.before, progress))

    def ended(self, backend: str, outcome: str, code: str, ms: int) -> None:
        """Write an attempt down."""
        self.attempts.append(Attempt(backend=backend, outcome=outcome, code=code, ms=ms))
        run_id = self.work.run_id
        log.info("attempt.ended", run_id=run_id, backend=backend, outcome=outcome, code=code, ms=ms)

    def failed(self, backend: str, error: BackendError) -> None:
        """Learn from a failed attempt."""
        evidence = evidence_of(error, self.reported, read_only=self.work.droid.read_only)
        self.before = carried(self.before, evidence)
        failure = Failure(
            backend=backend,
            code=error.code,
            message=error.message,
            remedy=error.remedy,
            counts=error.counts,
            retry=error.retry,
            retry_after_s=_finite(error.retry_after_s),
            side_effects=evidence.side_effects,
        )
        self.past = (*self.past, failure)
        self.tell(self.before)  # should the run be cut off now, this is known already

    def whole(self, outcome: Outcome) -> Outcome:
        """An outcome with what the attempts before it did."""
        known = Progress(
            state="",
            session_id=outcome.session_id,
            side_effects=outcome.side_effects,
            changed_paths=outcome.changed_paths,
        )
        known = carried(self.before, known)
        return replace(
            outcome,
            session_id=known.session_id or self.work.session_id,
            side_effects=known.side_effects,
            changed_paths=known.changed_paths,
        )


class Chain:
    """The backends and what is remembered of them: breakers by (droid, backend), one budget.

    Its own breakers decide. What other processes tell of theirs moves them, and where several
    processes would probe one of them does.

    Args:
        backends: The configured ones, by the name that specs use.
        handoff: The one that always comes last.
        clock: Time.
        rng: Chance, for jitter.
        shared: The way to the breakers of other processes, where there are any.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        handoff: Backend,
        clock: Clock,
        rng: Rng,
        *,
        shared: SharedBreakers | None = None,
    ) -> None:
        self._backends, self._handoff = dict(backends), handoff
        self._clock, self._rng, self._shared = clock, rng, shared
        self._sees = {name: backend.sees_workspace for name, backend in self._backends.items()}
        self._breakers: dict[tuple[str, str], Breaker] = {}
        self._budget = Budget()
        if shared is not None:
            shared.listen(self._told)

    async def run(self, work: Work, report: Report) -> ChainResult:
        """Do the work with the first backend that can, else hand it off.

        It raises only if it is cancelled: then the attempt stops, and a probe frees its slot.
        """
        call = _Call(work=work, tell=report)
        while True:
            match decide(self._situation(call)):
                case Skip(backend=name, code=code) as skip:
                    call.past = (*call.past, skip)
                    call.ended(name, "skipped", code, 0)
                case Wait(seconds=seconds):
                    await self._pause(call, seconds)
                case Try(backend=name):
                    outcome = await self._attempt(call, name)
                    if outcome is not None:
                        return _answered(call, name, outcome)
                case Stop() as stop:
                    return await self._hand_off(call, stop)

    def breakers(self) -> list[BreakerState]:
        """Every breaker that has seen an attempt."""
        now = self._clock.monotonic()
        return [
            BreakerState(
                droid, backend, breaker.state(known, now).value, breaker.retry_after(known, now)
            )
            for (droid, backend), known in sorted(self._breakers.items())
        ]

    # ----------------------------------------------------------------------- deciding

    def _situation(self, call: _Call) -> Situation:
        now, droid = self._clock.monotonic(), call.work.droid
        order = line_up(droid.fallback, self._sees)
        refused = (c.name for c in order if not breaker.admits(self._breaker(call, c.name), now))
        return Situation(
            order=order,
            effects=droid.effects,
            remaining_s=call.work.deadline - now,
            past=call.past,
            refused=frozenset(refused),
            may_retry=budget.may_retry(self._budget, now),
            pause_s=self._jitter(len(failures_of(call.past))),
            rested=call.rested,
        )

    def _breaker(self, call: _Call, backend: str) -> Breaker:
        return self._breakers.get((call.work.droid.name, backend), Breaker())

    def _jitter(self, failures: int) -> float:
        """A pause before a retry, full jitter: anything up to a bound that doubles each time.

        The bound is tenacity's. Its own jitter draws from the process-wide generator, which no
        test can repeat, so the drawing is done here.
        """
        if failures == 0:
            return 0.0
        state = tenacity.RetryCallState(tenacity.AsyncRetrying(wait=_BOUND), None, (), {})
        state.attempt_number = failures
        return self._rng.uniform(0, _BOUND(state))

    async def _pause(self, call: _Call, seconds: float) -> None:
        """Wait for a retry; it is taken from the budget now, so that waiting ones are counted."""
        self._budget = budget.withdrawn(self._budget, self._clock.monotonic())
        call.report(Progress(state="retrying"))
        await self._clock.sleep(seconds)
        call.rested = True

    # --------------------------------------------------------------------- attempting

    async def _attempt(self, call: _Call, name: str) -> Outcome | None:
        """One attempt: the outcome, or None if it failed or was left to another process."""
        key, began = (call.work.droid.name, name), self._clock.monotonic()
        permit = self._admit(call, key, began)
        try:
            async with self._leave(key, permit) as may:
                if not may:
                    return None
                ended = await self._guarded(call, name, call.work.deadline - began)
                self._learn(call, key, permit, began, ended)
        except anyio.get_cancelled_exc_class():
            call.ended(name, "cancelled", "cancelled", self._ms(began))
            raise
        finally:
            # A probe that was cancelled, or that says nothing of the backend, frees its slot.
            self._breakers[key] = breaker.released(self._breakers[key], permit)
        if isinstance(ended, Outcome):
            return ended
        call.failed(name, ended)
        return None

    def _admit(self, call: _Call, key: tuple[str, str], now: float) -> Permit:
        if not failures_of(call.past):
            self._budget = budget.deposited(self._budget, now)
        call.reported, call.rested = None, False
        self._breakers[key], permit = breaker.admit(self._breakers.get(key, Breaker()))
        return permit

    async def _guarded(self, call: _Call, name: str, granted_s: float) -> Outcome | BackendError:
        """An attempt within its time, which the event loop's clock measures.

        `Clock.sleep` cannot: a test's clock that advances by itself would jump to the deadline.
        """
        with anyio.move_on_after(granted_s + GRACE_S):
            return await _caught(self._backends[name], call, call.work)
        return BackendTimeout("it was still at work when the deadline came")

    def _learn(
        self,
        call: _Call,
        key: tuple[str, str],
        permit: Permit,
        began: float,
        ended: Outcome | BackendError,
    ) -> None:
        """Tell the breaker, and write the attempt down."""
        now, known = self._clock.monotonic(), self._breakers[key]
        succeeded = isinstance(ended, Outcome)
        if succeeded:
            self._breakers[key] = breaker.succeeded(known, permit, now)
        elif is_to_blame(ended, call.work.deadline - began, _fair_s(call.work)):
            chance = self._rng.uniform(0, 1)
            self._breakers[key] = breaker.failed(known, permit, now, chance)
        self._tell(key, known, now)
        outcome = "done" if succeeded else "failed"
        call.ended(key[1], outcome, ended.code, self._ms(began))

    def _ms(self, began: float) -> int:
        return round((self._clock.monotonic() - began) * 1000)

    # ------------------------------------------------------------------------- sharing

    @asynccontextmanager
    async def _leave(self, key: tuple[str, str], permit: Permit) -> AsyncGenerator[bool]:
        """Whether an attempt may be made: of all processes one probes. Others never ask."""
        if self._shared is None or not self._breakers[key].probing:
            yield True
        elif await self._shared.may_probe(_name(key)):
            try:
                yield True
            finally:
                with anyio.CancelScope(shield=True):  # the port waits for nobody
                    await self._shared.probed(_name(key))
        else:
            now = self._clock.monotonic()
            self._breakers[key] = breaker.postponed(self._breakers[key], permit, now)
            yield False

    def _tell(self, key: tuple[str, str], before: Breaker, now: float) -> None:
        """Tell other processes of a breaker that has opened or closed."""
        after = self._breakers[key]
        if self._shared is not None and after.state is not before.state:
            if after.state is State.OPEN:
                self._shared.tell(_name(key), after.open_until - now)
            if after.state is State.CLOSED:
                self._shared.tell(_name(key), 0)

    def _told(self, name: str, open_s: float) -> None:
        """Learn what another process has."""
        droid, _, backend = name.rpartition("/")
        if backend not in self._backends or not math.isfinite(open_s):
            return
        now, known = self._clock.monotonic(), self._breakers.get((droid, backend), Breaker())
        if open_s > 0:
            known = breaker.opened_elsewhere(known, now, open_s)
        else:
            known = breaker.closed_elsewhere(known, now)
        self._breakers[droid, backend] = known
        log.info("breaker.told", droid=droid, backend=backend, open_s=open_s)

    # -------------------------------------------------------------------- handing off

    async def _hand_off(self, call: _Call, stop: Stop) -> ChainResult:
        """The last backend's brief; should even that break, a failure that says why."""
        retry_after_s = self._retry_after(call)
        reason = explain(stop.reason, call.past, retry_after_s)
        evidence = call.before or Progress(state="queued", session_id=call.work.session_id)
        work = replace(call.work, reason=reason, evidence=evidence)
        ended = await _caught(self._handoff, call, work)
        if isinstance(ended, Outcome):
            outcome = replace(ended, code=cause_code(call.past))
        else:
            text = f"No backend could do it ({reason}), and the handoff failed as well."
            outcome = Outcome(text=text, status=Status.FAILED, code="internal")
        outcome = replace(outcome, warnings=(*outcome.warnings, *remedies(call.past)))
        return ChainResult(
            outcome=call.whole(outcome),
            backend=self._handoff.name,
            attempts=tuple(call.attempts),
            retry_after_s=retry_after_s,
        )

    def _retry_after(self, call: _Call) -> float | None:
        """The soonest that a backend which cannot work now may work again."""
        now, waits = self._clock.monotonic(), list[float]()
        for name in call.work.droid.fallback:
            asked = [f.retry_after_s or 0 for f in failures_of(call.past) if f.backend == name]
            waits.append(max(*asked, breaker.retry_after(self._breaker(call, name), now), 0))
        return min((wait for wait in waits if wait > 0), default=None)


def _name(key: tuple[str, str]) -> str:
    """A breaker's name among processes."""
    return "/".join(key)


def _answered(call: _Call, backend: str, outcome: Outcome) -> ChainResult:
    warned = replace(outcome, warnings=(*outcome.warnings, *notes(call.past)))
    return ChainResult(outcome=call.whole(warned), backend=backend, attempts=tuple(call.attempts))


async def _caught(backend: Backend, call: _Call, work: Work) -> Outcome | BackendError:
    """What a backend produced or how it failed; a mistake in it must not cost the call."""
    try:
        return await backend.run(work, call.report)
    except BackendError as error:
        return error
    except Exception as error:  # noqa: BLE001 — the outermost line of an attempt
        log.exception("attempt.broke", run_id=work.run_id, backend=backend.name)
        return BackendGarbage(f"a mistake in the backend ({type(error).__name__}), see the log")


def _finite(seconds: float | None) -> float | None:
    return seconds if seconds is not None and math.isfinite(seconds) else None


def _fair_s(work: Work) -> float:
    """The time in which a backend that is well shows at least a sign of life."""
    return min(work.droid.idle_s, work.droid.deadline_s / 2)
