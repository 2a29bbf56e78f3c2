"""The circuit breaker of one (droid, backend)."""

import pytest

from factory_mcp.domain.breaker import (
    MAX_OPEN_S,
    PROBE_S,
    WINDOW_KEPT,
    Breaker,
    Permit,
    State,
    admit,
    admits,
    closed_elsewhere,
    failed,
    opened_elsewhere,
    postponed,
    released,
    retry_after,
    state,
    succeeded,
)

EVEN = 0.5  # the middle of the jitter: none at all


def one(breaker: Breaker, now: float, *, good: bool, chance: float = EVEN) -> Breaker:
    """An attempt that is answered at once."""
    breaker, permit = admit(breaker)
    return succeeded(breaker, permit, now) if good else failed(breaker, permit, now, chance)


def run(answers: str, *, start: float = 1000, every: float = 1) -> Breaker:
    """Answers in a row, `+` good and `-` bad, one every so many seconds."""
    breaker = Breaker()
    for place, answer in enumerate(answers):
        breaker = one(breaker, start + place * every, good=answer == "+")
    return breaker


def opened_again(times: int, *, now: float = 1000) -> tuple[Breaker, float]:
    """A breaker that has opened so often in a row, and when it did last."""
    breaker = run("-----", start=now, every=0)
    for _ in range(times - 1):
        now += retry_after(breaker, now)
        breaker = one(breaker, now, good=False)
    return breaker, now


@pytest.mark.requirement("CHAIN-1")
@pytest.mark.parametrize(
    ("answers", "every", "expected"),
    [
        ("----", 1, State.CLOSED),
        ("-----", 1, State.OPEN),
        ("-----", 3600, State.OPEN),
        ("----+----", 60, State.CLOSED),
        ("+-+-", 1, State.CLOSED),
        ("+-+--", 1, State.OPEN),
        ("++-+-", 1, State.CLOSED),
        ("+++---", 1, State.OPEN),
        ("++++---", 1, State.CLOSED),
        ("+-+--", 8, State.CLOSED),
        ("+-+--", 7, State.OPEN),
    ],
)
def test_it_opens_at_five_failures_in_a_row_or_half_of_at_least_five_in_thirty_seconds(
    answers: str, every: float, expected: State
) -> None:
    """Both rules, each just met and just not."""
    assert expected == run(answers, every=every).state


@pytest.mark.requirement("CHAIN-1")
def test_it_stays_open_longer_each_time_up_to_a_cap() -> None:
    """30 s times how often it opened, 300 s at most."""
    waits = [retry_after(*opened_again(times)) for times in (1, 2, 3, 9, 10, 11, 40)]
    assert [30, 60, 90, 270, 300, 300, 300] == waits


@pytest.mark.requirement("CHAIN-1")
@pytest.mark.parametrize(("chance", "expected"), [(0.0, 27.0), (0.5, 30.0), (1.0, 33.0)])
def test_an_opening_is_jittered_by_a_tenth(chance: float, expected: float) -> None:
    """The uniform number is an argument: nothing here is random."""
    breaker = one(run("----", every=0), 1000, good=False, chance=chance)
    assert pytest.approx(expected) == retry_after(breaker, 1000)


@pytest.mark.requirement("CHAIN-2")
def test_one_probe_at_a_time_and_two_good_ones_close_it() -> None:
    """Half open, a second attempt is refused until the first has answered."""
    breaker, now = run("-----", every=0), 1030.0
    assert not admits(breaker, 1029.9)
    for _ in range(2):
        assert State.HALF_OPEN == state(breaker, now)
        assert admits(breaker, now)
        breaker, permit = admit(breaker)
        assert not admits(breaker, now)
        assert retry_after(breaker, now) > 0
        breaker = succeeded(breaker, permit, now)
    assert (State.CLOSED, 0.0) == (state(breaker, now), retry_after(breaker, now))


@pytest.mark.requirement("CHAIN-2")
def test_a_bad_probe_opens_it_for_longer() -> None:
    """A good probe before it does not soften that."""
    breaker = one(run("-----", every=0), 1030, good=True)
    breaker = one(breaker, 1031, good=False)
    assert (State.OPEN, 60.0) == (breaker.state, retry_after(breaker, 1031))


@pytest.mark.requirement("CHAIN-2")
def test_a_probe_that_never_reports_gives_its_slot_back() -> None:
    """Cancelled or the caller's own fault: the next probe is admitted, nothing is counted."""
    breaker, permit = admit(run("-----", every=0))
    breaker = released(breaker, permit)
    assert (True, 0) == (admits(breaker, 1030), breaker.good_probes)


def test_a_released_attempt_of_a_closed_breaker_changes_nothing() -> None:
    """Four failures, and a fifth attempt that says nothing."""
    breaker, permit = admit(run("----"))
    assert breaker == released(breaker, permit)


@pytest.mark.requirement("CHAIN-2")
def test_a_late_answer_from_before_a_change_of_state_says_nothing() -> None:
    """An attempt admitted while it was closed neither closes it nor frees a probe's slot."""
    closed, late = admit(Breaker())
    breaker = closed
    for _ in range(5):
        breaker = one(breaker, 1000, good=False)
    probing, probe = admit(breaker)
    assert probing == succeeded(probing, late, 1031)
    assert probing == failed(probing, late, 1031, EVEN)
    assert probing == released(probing, late)
    done = succeeded(probing, probe, 1031)
    assert done == released(done, probe)


def test_openings_are_forgotten_after_five_quiet_minutes() -> None:
    """Closed for 300 s, the next opening is a first one again; sooner, it is the next one."""
    breaker, now = opened_again(3)
    now += retry_after(breaker, now)
    closed = one(one(breaker, now, good=True), now, good=True)
    for later, expected in ((299.0, 120.0), (300.0, 30.0)):
        again = closed
        for _ in range(5):
            again = one(again, now + later, good=False)
        assert pytest.approx(expected) == retry_after(again, now + later)


def test_its_memory_is_bounded_whatever_the_traffic() -> None:
    """A thousand answers in one second are not all kept."""
    assert WINDOW_KEPT == len(run("+" * 1000, every=0.001).answers)


def test_a_permit_of_the_future_is_void() -> None:
    """Permits are compared, not ordered."""
    assert Breaker() == failed(Breaker(), Permit(serial=9), 0, EVEN)


@pytest.mark.requirement("REDIS-4")
def test_what_another_process_opened_is_open_here_for_as_long() -> None:
    """An attempt that was out says nothing any more, and the next opening counts on from this."""
    before, permit = admit(Breaker())
    breaker = opened_elsewhere(before, 1000, 45)
    assert (False, 45) == (admits(breaker, 1000), retry_after(breaker, 1000))
    assert breaker == succeeded(breaker, permit, 1000)
    again = one(breaker, 1045, good=False)
    assert 60 == retry_after(again, 1045)
    assert 60 == retry_after(opened_elsewhere(again, 1045, 10), 1045)
    assert 90 == retry_after(opened_elsewhere(again, 1045, 90), 1045)
    longest = retry_after(opened_elsewhere(Breaker(), 1000, 1e9), 1000)
    assert pytest.approx(MAX_OPEN_S * 1.1) == longest
    assert admits(opened_elsewhere(Breaker(), 1000, -5), 1000)


@pytest.mark.requirement("REDIS-4")
def test_what_another_process_closed_is_closed_here() -> None:
    """A closed one stays as it is, with all that it remembers."""
    assert State.CLOSED is closed_elsewhere(run("-----"), 1010).state
    closed = run("---")
    assert closed is closed_elsewhere(closed, 1010)


@pytest.mark.requirement("REDIS-4")
def test_a_probe_that_another_process_makes_is_waited_for() -> None:
    """Good probes of one's own still count."""
    breaker = one(run("-----", every=0), 1031, good=True)
    breaker, permit = admit(breaker)
    waiting = postponed(breaker, permit, 1032)
    assert (False, PROBE_S) == (admits(waiting, 1032), retry_after(waiting, 1032))
    assert waiting == postponed(waiting, permit, 1033)
    assert State.CLOSED is one(waiting, 1032 + PROBE_S, good=True).state
