"""What the port Backend promises, for every backend."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest

from factory_mcp.domain import spec
from factory_mcp.domain.chain import HANDOFF
from factory_mcp.domain.errors import BackendError, BackendTimeout
from factory_mcp.domain.model import Outcome, SideEffects, Status
from factory_mcp.ports import Work
from tests.contracts.backends import BACKENDS, WORKING, Subject
from tests.fakes import FakeClock
from tests.real.droid_program import GUARD_S, Reports, until

REPORT_S = 10  # the longest silence that the port allows


@pytest.fixture(params=sorted(BACKENDS))
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Subject]:
    """A backend of each kind."""
    async with BACKENDS[request.param](tmp_path) as opened:
        yield opened


async def ended(subject: Subject, work: Work, reports: Reports) -> Outcome | BackendError:
    """How a run ended; anything but these two fails the test."""
    with anyio.fail_after(GUARD_S):
        try:
            return await subject.backend.run(work, reports)
        except BackendError as error:
            return error


@pytest.mark.requirement("BACKEND-1")
async def test_work_that_can_be_done_is_an_outcome(subject: Subject) -> None:
    """With words, a status that ends a call, and at least one report before it."""
    subject.answers()
    reports = Reports()

    outcome = await ended(subject, subject.work(), reports)

    assert isinstance(outcome, Outcome)
    assert outcome.text.strip()
    assert outcome.status in (Status.DONE, Status.NEEDS_INPUT, Status.HANDOFF)
    assert (Status.HANDOFF is outcome.status) == (outcome.handoff is not None)
    assert reports.seen


@pytest.mark.requirement("BACKEND-2")
async def test_work_that_cannot_be_done_is_an_error_of_ours_with_evidence(subject: Subject) -> None:
    """It names what is wrong and how to mend it, and says what was done until then."""
    subject.fails()
    reports = Reports()

    error = await ended(subject, subject.work(), reports)

    if not subject.may_fail:
        assert isinstance(error, Outcome)
        return
    assert isinstance(error, BackendError)
    assert "backend_unauthorized" == error.code
    assert error.message
    assert error.remedy
    assert error.evidence is not None
    assert SideEffects.NONE is error.evidence.side_effects


@pytest.mark.requirement("BACKEND-3")
async def test_a_cancel_stops_the_work_and_leaves_nothing(subject: Subject) -> None:
    """No process, no file, no connection; and the cancel is not swallowed."""
    subject.hangs()
    work, went_on = subject.work(), list[Outcome | BackendError]()

    async def run() -> None:
        went_on.append(await ended(subject, work, Reports()))

    with anyio.fail_after(GUARD_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await subject.busy()
            tasks.cancel_scope.cancel()

    assert subject.may_fail == (went_on == [])
    assert [] == await subject.left(work)


async def one_report(clock: FakeClock, reports: Reports, found: list[Any]) -> None:
    """Let the time of one report pass, and wait for it, or for the end."""
    before = len(reports.seen)
    clock.advance(REPORT_S)
    await until(lambda: bool(found) or len(reports.seen) > before)


@pytest.mark.requirement("BACKEND-4")
@pytest.mark.requirement("BACKEND-5")
@pytest.mark.parametrize("subject", WORKING, indirect=True)
async def test_silent_work_is_reported_until_the_deadline_ends_it(subject: Subject) -> None:
    """A report in every ten seconds; then a time-out with the last report as evidence."""
    subject.hangs()
    clock, reports, found = subject.clock, Reports(), list[Outcome | BackendError]()
    work = subject.work(deadline=clock.monotonic() + 3 * REPORT_S)

    async def run() -> None:
        found.append(await ended(subject, work, reports))

    with anyio.fail_after(GUARD_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await subject.busy()
            for _ in range(3):
                await one_report(clock, reports, found)

    assert isinstance(found[0], BackendTimeout)
    assert reports.seen[-1] == found[0].evidence
    assert [] == await subject.left(work)


@pytest.mark.requirement("BACKEND-6")
async def test_a_check_never_raises_and_says_how_to_mend(subject: Subject) -> None:
    """Whether all is there or nothing."""
    with anyio.fail_after(GUARD_S):
        checks = [*await subject.backend.check(), *await subject.away().check()]

    assert checks
    assert [] == [check for check in checks if not check.ok and not check.fix]
    real = subject.backend.name in spec.BACKENDS
    assert real == any(not check.ok for check in checks)


@pytest.mark.requirement("BACKEND-7")
async def test_every_backend_is_known_by_its_name(subject: Subject) -> None:
    """As specs spell it; those that see no folder are the ones a spec may not rely on."""
    assert BACKENDS.keys() >= {*spec.BACKENDS, HANDOFF}
    backend = subject.backend
    assert backend.name in BACKENDS
    assert backend.sees_workspace == (backend.name not in spec.BLIND)
