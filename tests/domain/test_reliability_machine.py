"""Breaker, budget and chain as one machine: many calls at once, in any order of events."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from factory_mcp.domain import breaker, budget
from factory_mcp.domain.breaker import Breaker, Permit, State
from factory_mcp.domain.budget import Budget
from factory_mcp.domain.chain import (
    Candidate,
    Failure,
    Situation,
    Skip,
    Stop,
    StopReason,
    Try,
    Wait,
    decide,
    failures_of,
)
from factory_mcp.domain.model import Effects, SideEffects

CANDIDATES = (
    Candidate(name="a"),
    Candidate(name="b"),
    Candidate(name="blind", sees_workspace=False),
    Candidate(name="c"),
    Candidate(name="absent", configured=False, sees_workspace=False),
)
CALM, SHORT = (True, None), (False, 1.0)
FAULTS = [
    Failure(
        backend="",
        code="fault",
        counts=counts,
        retry=retry,
        retry_after_s=retry_after_s,
        side_effects=side_effects,
    )
    for counts in (True, False)
    for retry, retry_after_s in (CALM, CALM, SHORT, (True, 60.0), (False, None))
    for side_effects in (SideEffects.NONE, *SideEffects)
]
ENDINGS: list[Failure | str] = [*FAULTS, *["good", "cancelled"] * 4]
WHICH = st.integers(0, 3)
AT_ONCE = 4


@dataclass
class Call:
    """A call, and the attempt that it has out."""

    situation: Situation
    seconds: float
    deadline: float
    attempts: list[str] = field(default_factory=list[str])
    out: tuple[str, Permit] | None = None
    over: bool = False


class Reliability(RuleBasedStateMachine):
    """Calls begin, step and end, time goes on. Every `Try` is checked."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.breakers = {candidate.name: Breaker() for candidate in CANDIDATES}
        self.budget = Budget()
        self.calls: list[Call] = []
        self.probes: dict[str, Call] = {}
        self.began: list[int] = []
        self.retried: list[int] = []

    def going(self) -> list[Call]:
        return [call for call in self.calls if not call.over]

    # ------------------------------------------------------------------------- events

    @initialize(retries=st.integers(0, 10))
    def busy(self, retries: int) -> None:
        """Other calls have spent some of the budget."""
        for _ in range(retries):
            self.budget = budget.withdrawn(self.budget, self.now)
            self.retried.append(int(self.now))

    @rule(name=st.sampled_from(["a", "b"]), later=st.sampled_from([0.0, 40.0]))
    def outage(self, name: str, later: float) -> None:
        """Other calls fail at a backend until its circuit opens; then some time goes by."""
        while self.breakers[name].state is State.CLOSED:
            self.breakers[name], permit = breaker.admit(self.breakers[name])
            self.breakers[name] = breaker.failed(self.breakers[name], permit, self.now, chance=0.5)
        self.now += later

    @precondition(lambda self: len(self.going()) < AT_ONCE)
    @rule(
        effects=st.sampled_from(Effects),
        order=st.permutations(CANDIDATES),
        seconds=st.sampled_from([5.0, 1800.0]),
    )
    def begin(self, effects: Effects, order: list[Candidate], seconds: float) -> None:
        """A call comes in."""
        situation = Situation(order=tuple(order), effects=effects, remaining_s=seconds)
        self.calls.append(Call(situation=situation, seconds=seconds, deadline=self.now + seconds))

    @precondition(lambda self: bool(self.going()))
    @rule(which=WHICH, endings=st.binary(min_size=10, max_size=60))
    def go_on(self, which: int, endings: bytes) -> None:
        """A call does what comes next and its attempts end; when it is over it is made again."""
        call = self.going()[which % len(self.going())]
        for number in endings:  # bytes, because drawing them is cheap
            if call.over:
                call = self.again(call)
            if call.out is not None:
                self.end(call, ENDINGS[number % len(ENDINGS)])
            while call.out is None and not call.over:
                self.step(call)

    @precondition(lambda self: bool(self.going()))
    @rule(which=WHICH)
    def step_once(self, which: int) -> None:
        """A call does one thing, so that others come between its wait and its attempt."""
        call = self.going()[which % len(self.going())]
        if call.out is None:
            self.step(call)

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.0, 31.0]))
    def tick(self, seconds: float) -> None:
        """Time goes on."""
        self.now += seconds

    # ------------------------------------------------------------------------ effects

    def again(self, call: Call) -> Call:
        self.now += 9.0  # so that open circuits do not stay so for the rest of the run
        fresh = replace(call.situation, past=(), rested=False)
        again = Call(situation=fresh, seconds=call.seconds, deadline=self.now + call.seconds)
        self.calls.append(again)
        return again

    def step(self, call: Call) -> None:
        refused = [n for n, known in self.breakers.items() if not breaker.admits(known, self.now)]
        call.situation = replace(
            call.situation,
            remaining_s=call.deadline - self.now,
            refused=frozenset(refused),
            may_retry=budget.may_retry(self.budget, self.now),
            pause_s=0.4,
        )
        match decide(call.situation):
            case Try(backend=name):
                self.check_try(call, name)
                self.admit(call, name)
            case Wait(seconds=seconds):
                self.check_wait(call, seconds)
                self.retry(call)
            case Skip() as skip:
                self.check_skip(call, skip)
                call.situation = replace(call.situation, past=(*call.situation.past, skip))
            case Stop(reason=reason):
                self.check_stop(call, reason)
                call.over = True

    def end(self, call: Call, ended: Failure | str) -> None:
        name, permit = self.taken_back(call)
        known = self.breakers[name]
        if isinstance(ended, Failure):
            past = (*call.situation.past, replace(ended, backend=name))
            call.situation = replace(call.situation, past=past, rested=False)
            if ended.counts:
                known = breaker.failed(known, permit, self.now, chance=0.5)
        else:
            call.over = True
            if ended == "good":
                known = breaker.succeeded(known, permit, self.now)
        self.breakers[name] = breaker.released(known, permit)

    def admit(self, call: Call, name: str) -> None:
        if breaker.state(self.breakers[name], self.now) is not State.CLOSED:
            self.probes[name] = call
        if not call.attempts:
            self.budget = budget.deposited(self.budget, self.now)
            self.began.append(int(self.now))
        self.breakers[name], permit = breaker.admit(self.breakers[name])
        call.attempts.append(name)
        call.out = (name, permit)

    def retry(self, call: Call) -> None:
        self.budget = budget.withdrawn(self.budget, self.now)
        self.retried.append(int(self.now))
        call.situation = replace(call.situation, rested=True)

    def taken_back(self, call: Call) -> tuple[str, Permit]:
        assert call.out is not None
        name, permit = call.out
        call.out = None
        if self.probes.get(name) is call:
            del self.probes[name]
        return name, permit

    # ----------------------------------------------------------------------- promises

    def check_try(self, call: Call, name: str) -> None:
        """Few enough attempts, let through, alone as a probe, and no unsafe replay."""
        assert len(call.attempts) < 4
        assert call.attempts.count(name) < 2
        assert breaker.state(self.breakers[name], self.now) is not State.OPEN
        if breaker.state(self.breakers[name], self.now) is State.HALF_OPEN:
            assert name not in self.probes
        assert call.deadline > self.now
        if call.situation.effects is Effects.UNSAFE:
            done = {failure.side_effects for failure in failures_of(call.situation.past)}
            assert done <= {SideEffects.NONE}
        if call.situation.effects is not Effects.NONE:
            assert name != "blind"
        assert name != "absent"
        assert (name in call.attempts) is call.situation.rested

    def check_wait(self, call: Call, seconds: float) -> None:
        """Within the budget, before the deadline and never long."""
        assert 0 <= seconds <= 10
        assert self.now + seconds < call.deadline
        since = int(self.now) - 10
        calls, retries = (sum(at > since for at in ats) for ats in (self.began, self.retried))
        assert retries < max(10, calls // 10)

    def check_skip(self, call: Call, skip: Skip) -> None:
        """Only for a reason."""
        reasons = {
            "circuit_open": skip.backend in call.situation.refused,
            "not_configured": skip.backend == "absent",
            "workspace_unreachable": skip.backend == "blind",
        }
        assert reasons[skip.code]

    def check_stop(self, call: Call, reason: StopReason) -> None:
        """Only when nothing may be tried any more."""
        past = call.situation.past
        reasons = {
            StopReason.ATTEMPTS: len(call.attempts) == 4,
            StopReason.DEADLINE: call.deadline <= self.now,
            StopReason.UNSAFE: call.situation.effects is Effects.UNSAFE
            and any(failure.side_effects is not SideEffects.NONE for failure in failures_of(past)),
            StopReason.EXHAUSTED: bool(past) and past[-1].backend == call.situation.order[-1].name,
        }
        assert reasons[reason]

    def teardown(self) -> None:
        """Once all is quiet, every backend lets an attempt through again."""
        for call in self.going():
            if call.out is not None:
                self.end(call, "cancelled")
        assert all(breaker.admits(known, self.now + 331) for known in self.breakers.values())


@pytest.mark.requirement("CHAIN-17")
class TestReliability(Reliability.TestCase):
    """Some 10,000 decisions and endings."""

    settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
