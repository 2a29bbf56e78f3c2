"""One call through its backends."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from factory_mcp.backends.handoff import HandoffBackend
from factory_mcp.domain.errors import (
    BackendCrashed,
    BackendError,
    BackendMissing,
    BackendUnauthorized,
    BackendUnavailable,
)
from factory_mcp.domain.model import (
    Attempt,
    Autonomy,
    Effects,
    Outcome,
    Progress,
    SideEffects,
    Status,
)
from factory_mcp.domain.spec import DroidSpec
from factory_mcp.ports import Backend, Report, Work
from factory_mcp.services.chain import Chain, ChainResult
from tests.fakes import FakeClock, ScriptedBackend, SeededRng, Step

GOOD = Outcome(text="the answer", session_id="s9")
DOWN = BackendUnavailable("connection refused")
REFUSED = BackendUnauthorized("401")
SPEC = DroidSpec(
    name="knowledge",
    description="Knows.",
    prompt="Know.",
    tools=("Read",),
    effects=Effects.NONE,
    fallback=("a", "b"),
)


class House:
    """A chain over scripted backends, on a clock that advances when somebody sleeps."""

    def __init__(self, handoff: Backend | None = None, /, **steps: Sequence[Step]) -> None:
        self.clock = FakeClock(auto=True)
        self.backends = {
            name: ScriptedBackend(script, name=name, sees_workspace=name != "blind")
            for name, script in steps.items()
        }
        self.reports: list[Progress] = []
        last = handoff or HandoffBackend()
        self.chain = Chain(self.backends, last, self.clock, SeededRng())

    def work(self, spec: DroidSpec = SPEC, **more: Any) -> Work:
        """Work with half an hour."""
        given: dict[str, Any] = {"deadline": self.clock.monotonic() + spec.deadline_s}
        return Work(
            run_id="run_1",
            droid=spec,
            prompt="Explain.",
            request={"task": "explain the cache"},
            workspace=None,
            autonomy=Autonomy.OFF,
            **(given | more),
        )

    async def run(self, spec: DroidSpec = SPEC, **more: Any) -> ChainResult:
        """One call."""
        with anyio.fail_after(5):
            return await self.chain.run(self.work(spec, **more), self.reports.append)

    def asked(self) -> dict[str, int]:
        """How often each backend was asked."""
        return {name: len(backend.works) for name, backend in self.backends.items()}


def tried(result: ChainResult) -> list[str]:
    """The attempts in short."""
    return [f"{a.backend} {a.outcome} {a.code}" for a in result.attempts]


async def test_the_first_backend_that_can_gives_the_answer() -> None:
    """One attempt, nothing carried, nothing warned."""
    house = House(a=[GOOD], b=[GOOD])
    result = await house.run()
    expected = ChainResult(
        outcome=GOOD,
        backend="a",
        attempts=(Attempt(backend="a", outcome="done", code="ok", ms=0),),
    )
    assert expected == result
    assert {"a": 1, "b": 0} == house.asked()


@pytest.mark.requirement("CHAIN-4")
async def test_a_passing_fault_is_retried_after_a_jittered_pause() -> None:
    """At most half a second the first time; the caller sees that it is retrying."""
    house = House(a=[DOWN, GOOD])
    start = house.clock.monotonic()
    result = await house.run()
    assert ["a failed backend_unavailable", "a done ok"] == tried(result)
    assert 0 < house.clock.monotonic() - start <= 0.5
    assert "retrying" in [progress.state for progress in house.reports]


@pytest.mark.requirement("CHAIN-4")
async def test_two_attempts_at_each_backend_then_the_handoff() -> None:
    """Four attempts in all, then the brief; the code is the cause's."""
    house = House(a=[DOWN], b=[DOWN], c=[GOOD])
    result = await house.run(replace(SPEC, fallback=("a", "b", "c")))
    assert {"a": 2, "b": 2, "c": 0} == house.asked()
    expected = (Status.HANDOFF, "backend_unavailable", "handoff")
    assert expected == (result.outcome.status, result.outcome.code, result.backend)
    assert ["a failed backend_unavailable"] * 2 == tried(result)[:2]


async def test_a_fallbacks_answer_says_what_failed_before_it() -> None:
    """The remedy comes with a fault that a person has to mend."""
    house = House(a=[REFUSED], b=[replace(GOOD, warnings=("old model",))])
    result = await house.run()
    note = f"a failed (backend_unauthorized): 401. {REFUSED.remedy}"
    assert ("old model", note) == result.outcome.warnings
    assert "b" == result.backend


@pytest.mark.requirement("CHAIN-10")
async def test_a_handoff_says_why_and_how_to_mend_it() -> None:
    """The exact line of a missing program's remedy is in the result."""
    house = House(a=[BackendMissing("droid is not installed", remedy="npm install -g droid")])
    result = await house.run(replace(SPEC, fallback=("a", "elsewhere", "handoff")))
    brief = result.outcome.handoff
    assert brief is not None
    assert "a failed with backend_missing: droid is not installed" == brief.reason
    assert ("To mend a: npm install -g droid",) == result.outcome.warnings
    assert ["a failed backend_missing", "elsewhere skipped not_configured"] == tried(result)


@pytest.mark.requirement("CHAIN-5")
async def test_a_short_retry_after_is_slept_and_a_long_one_is_told_to_the_caller() -> None:
    """Three seconds are waited; an hour is in the handoff's retry_after_s."""
    house = House(a=[BackendUnavailable("429", retry_after_s=3), GOOD])
    start = house.clock.monotonic()
    assert "a" == (await house.run()).backend
    assert pytest.approx(3) == house.clock.monotonic() - start
    house = House(a=[BackendUnavailable("429", retry_after_s=3600)])
    result = await house.run()
    assert ({"a": 1}, 3600) == (house.asked(), result.retry_after_s)


@pytest.mark.parametrize("asked", [float("inf"), float("nan")])
async def test_a_retry_after_that_is_no_number_is_as_none(asked: float) -> None:
    """It reaches neither the wait nor the result."""
    house = House(a=[BackendUnavailable("429", retry_after_s=asked)])
    result = await house.run()
    assert ({"a": 2}, None) == (house.asked(), result.retry_after_s)


# ------------------------------------------------------------------------------- replay


def changing(error: BackendError | None = None, *paths: str, session: str = "s1") -> Step:
    """A step that reports a change, then fails, or answers."""

    def play(_: Work, report: Report) -> Outcome:
        report(
            Progress(
                state="tool",
                session_id=session,
                side_effects=SideEffects.CONFIRMED,
                changed_paths=paths,
            )
        )
        if error is not None:
            raise error
        return GOOD

    return play


UNSAFE = replace(SPEC, name="code", effects=Effects.UNSAFE)


@pytest.mark.requirement("CHAIN-6")
async def test_an_unsafe_droid_that_changed_something_is_handed_off_at_once() -> None:
    """No retry, no next backend; side effects, paths and session are in the result."""
    house = House(a=[changing(BackendCrashed("killed"), "x.py")], b=[GOOD])
    outcome = (await house.run(UNSAFE)).outcome
    assert {"a": 1, "b": 0} == house.asked()
    expected = (Status.HANDOFF, SideEffects.CONFIRMED, ("x.py",), "s1")
    known = (outcome.status, outcome.side_effects, outcome.changed_paths, outcome.session_id)
    assert expected == known
    assert "files of the workspace (x.py); verify them first" in outcome.text


@pytest.mark.requirement("CHAIN-6")
async def test_an_unsafe_droid_that_only_read_is_tried_again() -> None:
    """The evidence says so."""
    house = House(a=[BackendCrashed("killed", evidence=Progress(state="tool")), GOOD])
    assert "a" == (await house.run(UNSAFE)).backend


@pytest.mark.requirement("CHAIN-7")
async def test_a_backend_without_the_workspace_is_passed_over_for_a_droid_that_changes() -> None:
    """And asked for one that does not."""
    spec = replace(SPEC, fallback=("blind",))
    unsafe = replace(UNSAFE, fallback=("blind",))
    house = House(blind=[GOOD])
    assert ["blind skipped workspace_unreachable"] == tried(await house.run(unsafe))
    assert ["blind done ok"] == tried(await house.run(spec))


@pytest.mark.requirement("CHAIN-8")
async def test_the_result_holds_what_all_attempts_did() -> None:
    """The worst side effects, every path once, the last session; progress says so as well."""
    house = House(
        a=[changing(BackendCrashed("killed"), "x", "y")],
        b=[replace(GOOD, session_id=None, changed_paths=("y", "z"))],
    )
    spec = replace(SPEC, effects=Effects.IDEMPOTENT)
    outcome = (await house.run(spec)).outcome
    known = (outcome.side_effects, outcome.changed_paths, outcome.session_id)
    assert (SideEffects.CONFIRMED, ("x", "y", "z"), "s1") == known
    last = house.reports[-1]
    assert (SideEffects.CONFIRMED, ("x", "y")) == (last.side_effects, last.changed_paths)


async def test_the_callers_session_is_kept_where_no_backend_opened_one() -> None:
    """The next call may still continue it."""
    result = await House(a=[REFUSED]).run(session_id="s0")
    assert "s0" == result.outcome.session_id


# ----------------------------------------------------------------------------- the edges


@pytest.mark.requirement("CHAIN-15")
@pytest.mark.parametrize(
    ("spec", "expected"), [(SPEC, SideEffects.NONE), (UNSAFE, SideEffects.POSSIBLE)]
)
async def test_a_hanging_backend_is_cut_off_at_the_deadline(
    spec: DroidSpec, expected: SideEffects
) -> None:
    """Its work is stopped; that its last report was harmless does not prove that nothing came."""
    house = House(a=[GOOD])
    house.backends["a"].gate = anyio.Event()
    result = await house.run(spec, deadline=house.clock.monotonic() + 0.01)
    assert ["a failed backend_timeout"] == tried(result)[:1]
    assert 1 == house.backends["a"].cancelled
    assert expected is result.outcome.side_effects


async def test_no_attempt_is_begun_after_the_deadline() -> None:
    """The brief says that nothing was tried."""
    house = House(a=[GOOD])
    result = await house.run(deadline=house.clock.monotonic())
    assert ({"a": 0}, "handoff") == (house.asked(), result.outcome.code)


@pytest.mark.requirement("CHAIN-16")
async def test_a_mistake_in_a_backend_costs_the_attempt_and_not_the_call() -> None:
    """It is logged, is taken as garbage, and whatever it may have changed is assumed."""

    def mistake(_: Work, __: Report) -> Outcome:
        raise ZeroDivisionError("sk-secret")

    house = House(a=[mistake])
    with capture_logs() as logs:
        outcome = (await house.run(UNSAFE)).outcome
    assert (Status.HANDOFF, "backend_garbage") == (outcome.status, outcome.code)
    assert SideEffects.POSSIBLE is outcome.side_effects
    assert "sk-secret" not in outcome.text + str(outcome.handoff)
    assert "attempt.broke" in [event["event"] for event in logs]


@pytest.mark.requirement("CHAIN-16")
async def test_even_without_a_handoff_a_call_ends_with_the_reason() -> None:
    """Should the last backend itself break, the caller still hears why."""
    last = ScriptedBackend([BackendUnavailable("broken")], name="handoff")
    result = await House(last, a=[REFUSED]).run()
    assert (Status.FAILED, "internal") == (result.outcome.status, result.outcome.code)
    assert "a failed with backend_unauthorized: 401" in result.outcome.text


async def test_every_attempt_is_one_event() -> None:
    """With run, backend, outcome, code and milliseconds."""
    house = House(a=[REFUSED], b=[GOOD])
    with capture_logs() as logs:
        await house.run()
    common = {"event": "attempt.ended", "log_level": "info", "run_id": "run_1", "ms": 0}
    expected = [
        {**common, "backend": "a", "outcome": "failed", "code": "backend_unauthorized"},
        {**common, "backend": "b", "outcome": "done", "code": "ok"},
    ]
    assert expected == logs
