"""What a call does next, decided without doing anything."""

from dataclasses import replace

import pytest

from factory_mcp.domain.chain import (
    Candidate,
    Decision,
    Failure,
    Past,
    Situation,
    Skip,
    Stop,
    StopReason,
    Try,
    Wait,
    carried,
    cause_code,
    decide,
    evidence_of,
    explain,
    is_to_blame,
    line_up,
    notes,
    remedies,
)
from factory_mcp.domain.errors import (
    BackendCrashed,
    BackendError,
    BackendMissing,
    BackendTimeout,
    BackendUnauthorized,
    BackendUnavailable,
    WorkspaceUnreachable,
)
from factory_mcp.domain.model import Effects, Progress, SideEffects

A, B = Candidate(name="a"), Candidate(name="b")
BLIND = Candidate(name="blind", sees_workspace=False)


def failure(
    backend: str = "a",
    *,
    retry: bool = True,
    counts: bool = True,
    retry_after_s: float | None = None,
    side_effects: SideEffects = SideEffects.NONE,
    message: str = "connection refused.",
) -> Failure:
    """A passing fault of a backend."""
    return Failure(
        backend=backend,
        code="backend_unavailable" if counts else "backend_unauthorized",
        message=message,
        remedy="Log in.",
        counts=counts,
        retry=retry,
        retry_after_s=retry_after_s,
        side_effects=side_effects,
    )


START = Situation(order=(A, B), effects=Effects.NONE, remaining_s=60, pause_s=0.3)


def after(*past: Failure | Skip, situation: Situation = START) -> Decision:
    """What comes after these steps."""
    return decide(replace(situation, past=past))


@pytest.mark.requirement("CHAIN-4")
def test_a_passing_fault_is_tried_once_more_at_the_same_backend_and_then_at_the_next() -> None:
    """Try, wait, try, next, wait, try, stop: two attempts for each of two backends."""
    rested = replace(START, rested=True)
    b = failure("b")
    assert Try(backend="a") == after()
    assert Wait(backend="a", seconds=0.3) == after(failure())
    assert Try(backend="a") == after(failure(), situation=rested)
    assert Try(backend="b") == after(failure(), failure())
    assert Wait(backend="b", seconds=0.3) == after(failure(), failure(), b)
    assert Stop(reason=StopReason.ATTEMPTS) == after(failure(), failure(), b, b)


@pytest.mark.requirement("CHAIN-4")
def test_a_call_makes_at_most_four_attempts_however_many_backends_there_are() -> None:
    """A fifth backend is not asked any more."""
    names = "abcde"
    order = tuple(Candidate(name=name) for name in names)
    lasting = [failure(name, retry=False) for name in names]
    long = replace(START, order=order)
    assert Try(backend="d") == after(*lasting[:3], situation=long)
    assert Stop(reason=StopReason.ATTEMPTS) == after(*lasting[:4], situation=long)


@pytest.mark.requirement("CHAIN-4")
@pytest.mark.parametrize(
    "situation",
    [
        replace(START, may_retry=False),
        replace(START, remaining_s=0.3),
        replace(START, refused=frozenset("a")),
        replace(START, refused=frozenset("a"), rested=True),
    ],
    ids=["no budget", "no time", "breaker opened", "breaker opened while it waited"],
)
def test_without_budget_time_or_breaker_the_next_backend_is_asked(situation: Situation) -> None:
    """A second attempt must be paid for, end before the deadline and be let through."""
    assert Try(backend="b") == after(failure(), situation=situation)


@pytest.mark.requirement("CHAIN-4")
def test_a_lasting_fault_goes_to_the_next_backend_at_once() -> None:
    """A refused key is not better a second later."""
    assert Try(backend="b") == after(failure(retry=False, counts=False))


@pytest.mark.requirement("CHAIN-5")
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (1, Wait(backend="a", seconds=1)),
        (10, Wait(backend="a", seconds=10)),
        (0, Wait(backend="a", seconds=0.3)),
        (-5, Wait(backend="a", seconds=0.3)),
        (10.1, Try(backend="b")),
        (3600, Try(backend="b")),
        (1e9, Try(backend="b")),
        (float("nan"), Try(backend="b")),
    ],
)
@pytest.mark.parametrize("retry", [True, False])
def test_a_retry_after_is_obeyed_up_to_ten_seconds(
    asked: float, expected: Decision, *, retry: bool
) -> None:
    """It invites a second attempt; a longer one means the next backend."""
    assert expected == after(failure(retry_after_s=asked, retry=retry))


@pytest.mark.requirement("CHAIN-5")
def test_a_retry_after_is_never_slept_past_the_deadline() -> None:
    """With less time left than it asks for, the next backend is asked."""
    near = replace(START, remaining_s=5)
    assert Try(backend="b") == after(failure(retry_after_s=5), situation=near)


@pytest.mark.requirement("CHAIN-5")
def test_a_retry_after_does_not_repeat_a_fault_that_is_not_the_backends() -> None:
    """An exhausted account stays exhausted."""
    assert Try(backend="b") == after(failure(retry_after_s=1, retry=False, counts=False))


@pytest.mark.requirement("CHAIN-6")
@pytest.mark.parametrize("effects", [SideEffects.POSSIBLE, SideEffects.CONFIRMED])
def test_an_unsafe_droid_is_never_started_again_once_something_may_have_happened(
    effects: SideEffects,
) -> None:
    """Neither at the same backend nor at the next, whatever came after it."""
    unsafe = replace(START, effects=Effects.UNSAFE)
    stop = Stop(reason=StopReason.UNSAFE)
    assert stop == after(failure(side_effects=effects), situation=unsafe)
    assert stop == after(failure(side_effects=effects), failure(), situation=unsafe)


@pytest.mark.requirement("CHAIN-6")
@pytest.mark.parametrize(
    ("effects", "side_effects"),
    [
        (Effects.UNSAFE, SideEffects.NONE),
        (Effects.IDEMPOTENT, SideEffects.CONFIRMED),
        (Effects.NONE, SideEffects.POSSIBLE),
    ],
)
def test_what_may_be_replayed_is_tried_again(effects: Effects, side_effects: SideEffects) -> None:
    """An unsafe droid that only read so far, and droids whose work may be repeated."""
    situation = replace(START, effects=effects)
    expected = Wait(backend="a", seconds=0.3)
    assert expected == after(failure(side_effects=side_effects), situation=situation)


@pytest.mark.requirement("CHAIN-7")
@pytest.mark.parametrize(
    ("effects", "expected"),
    [
        (Effects.NONE, Try(backend="blind")),
        (Effects.IDEMPOTENT, Skip(backend="blind", code="workspace_unreachable")),
        (Effects.UNSAFE, Skip(backend="blind", code="workspace_unreachable")),
    ],
)
def test_a_backend_that_cannot_see_the_workspace_gets_no_droid_that_changes_it(
    effects: Effects, expected: Decision
) -> None:
    """Only a droid without effects may run there."""
    assert expected == decide(replace(START, order=(BLIND, A), effects=effects))


@pytest.mark.requirement("CHAIN-7")
def test_a_backend_that_is_not_configured_or_whose_circuit_is_open_is_passed_over() -> None:
    """Each with its own code, then the next one is tried."""
    absent = Candidate(name="absent", configured=False, sees_workspace=False)
    situation = replace(START, order=(absent, A, B), refused=frozenset("a"))
    first = after(situation=situation)
    assert isinstance(first, Skip)
    assert Skip(backend="absent", code="not_configured") == first
    second = after(first, situation=situation)
    assert isinstance(second, Skip)
    assert Skip(backend="a", code="circuit_open") == second
    assert Try(backend="b") == after(first, second, situation=situation)


def test_the_end_of_the_order_or_of_the_time_stops_the_call() -> None:
    """And then the handoff has the last word."""
    lasting = failure(retry=False)
    assert Stop(reason=StopReason.EXHAUSTED) == after(lasting, replace(lasting, backend="b"))
    assert Stop(reason=StopReason.EXHAUSTED) == decide(replace(START, order=()))
    assert Stop(reason=StopReason.DEADLINE) == decide(replace(START, remaining_s=0))


def test_a_fallback_is_lined_up_once_each_without_the_handoff() -> None:
    """Names that nobody configured stay in, to be reported."""
    order = line_up(("a", "handoff", "x", "a"), {"a": True, "handoff": True})
    absent = Candidate(name="x", configured=False, sees_workspace=False)
    assert (Candidate(name="a"), absent) == order


# ----------------------------------------------------------------------- what was learnt


def progress(side_effects: SideEffects, *paths: str, session: str | None = None) -> Progress:
    """A report."""
    return Progress(
        state="tool", session_id=session, side_effects=side_effects, changed_paths=paths
    )


@pytest.mark.requirement("CHAIN-8")
def test_side_effects_of_earlier_attempts_are_carried_on() -> None:
    """The worst of all, every path once, the last session that is known."""
    earlier = progress(SideEffects.CONFIRMED, "x", "y", session="s1")
    later = progress(SideEffects.POSSIBLE, "y", "z")
    expected = progress(SideEffects.CONFIRMED, "x", "y", "z", session="s1")
    assert expected == carried(earlier, later)
    assert later == carried(None, later)


NOTHING, CHANGED = progress(SideEffects.NONE), progress(SideEffects.CONFIRMED, "x")


@pytest.mark.requirement("CHAIN-8")
@pytest.mark.parametrize(
    ("error", "reported", "read_only", "expected"),
    [
        (BackendCrashed("", evidence=CHANGED), NOTHING, False, SideEffects.CONFIRMED),
        (BackendCrashed("", evidence=NOTHING), CHANGED, False, SideEffects.CONFIRMED),
        (BackendCrashed("", evidence=NOTHING), None, False, SideEffects.NONE),
        (BackendCrashed(""), CHANGED, False, SideEffects.CONFIRMED),
        (BackendCrashed(""), NOTHING, False, SideEffects.POSSIBLE),
        (BackendCrashed(""), NOTHING, True, SideEffects.NONE),
        (BackendCrashed(""), None, False, SideEffects.POSSIBLE),
        (BackendCrashed(""), None, True, SideEffects.NONE),
        (BackendMissing(""), None, False, SideEffects.NONE),
        (WorkspaceUnreachable(""), None, False, SideEffects.NONE),
    ],
)
def test_a_failed_attempt_is_harmless_only_if_that_is_known(
    error: BackendError, reported: Progress | None, expected: SideEffects, *, read_only: bool
) -> None:
    """The worse of evidence and report; a report alone does not prove that it was the last act."""
    assert expected == evidence_of(error, reported, read_only=read_only).side_effects


@pytest.mark.parametrize(
    ("error", "granted_s", "expected"),
    [
        (BackendUnavailable(""), 1, True),
        (BackendUnauthorized(""), 900, False),
        (BackendTimeout(""), 300, True),
        (BackendTimeout(""), 299, False),
    ],
)
@pytest.mark.requirement("CHAIN-9")
def test_only_the_backends_own_faults_count(
    error: BackendError, granted_s: float, *, expected: bool
) -> None:
    """Not the caller's, and not a time-out of an attempt that never had a fair time."""
    assert expected is is_to_blame(error, granted_s, 300)


# --------------------------------------------------------------------------- how it ended

OPEN, ABSENT = Skip(backend="a", code="circuit_open"), Skip(backend="x", code="not_configured")
REFUSED = Skip(backend="y", code="workspace_unreachable")


@pytest.mark.parametrize(
    ("past", "expected"),
    [
        ((), "handoff"),
        ((ABSENT,), "not_configured"),
        ((ABSENT, REFUSED), "workspace_unreachable"),
        ((OPEN, REFUSED, ABSENT), "circuit_open"),
        ((failure(), OPEN), "backend_unavailable"),
        ((failure(), failure("b", counts=False)), "backend_unauthorized"),
    ],
)
def test_the_code_is_that_of_the_last_real_cause(past: Past, expected: str) -> None:
    """An attempt before an open circuit before a backend that was never in question."""
    assert expected == cause_code(past)


@pytest.mark.requirement("CHAIN-10")
@pytest.mark.parametrize(
    ("reason", "past", "again", "expected"),
    [
        (StopReason.EXHAUSTED, (), None, "the droid names no backend"),
        (StopReason.DEADLINE, (), None, "nothing was tried; the time is up"),
        (
            StopReason.EXHAUSTED,
            (OPEN,),
            47.6,
            "a was not asked: circuit_open; it may work again in 48 s",
        ),
        (
            StopReason.UNSAFE,
            (failure(message=" killed\nby 9. "),),
            None,
            (
                "a failed with backend_unavailable: killed by 9; it may have changed something, "
                "so it is not started again"
            ),
        ),
        (
            StopReason.ATTEMPTS,
            (ABSENT, failure(), failure()),
            None,
            (
                "a failed with backend_unavailable: connection refused; no further attempt is "
                "made; tried: a backend_unavailable, a backend_unavailable"
            ),
        ),
    ],
)
def test_the_reason_names_the_cause_the_attempts_and_when_to_try_again(
    reason: StopReason, past: Past, again: float | None, expected: str
) -> None:
    """One plain sentence on one line."""
    assert expected == explain(reason, past, again)


def test_a_long_message_is_cut_in_a_reason() -> None:
    """A page of HTML is no reason."""
    assert len(explain(StopReason.ATTEMPTS, (failure(message="x" * 5000),), None)) < 400


def test_notes_say_each_failure_once_and_remedies_only_what_a_person_must_mend() -> None:
    """A passing fault needs nobody; a refused key does."""
    past: Past = (failure(), failure(), OPEN, failure("b", counts=False, message="401"))
    expected = (
        "a failed (backend_unavailable): connection refused.",
        "b failed (backend_unauthorized): 401. Log in.",
    )
    assert expected == notes(past)
    assert ("To mend b: Log in.",) == remedies(past)
