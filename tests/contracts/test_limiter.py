"""What the port Limiter promises; and that its script is the algorithm of the domain."""

from functools import partial

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from factory_mcp.domain.gcra import SECOND, take
from factory_mcp.stores.redis.limiter import GCRA
from tests.fast import Both, admin, becomes

SLOW = 0.001  # a second call of the steady rate is far away


@pytest.mark.requirement("REDIS-2")
async def test_a_burst_is_granted_at_once_and_no_call_more(fast: Both) -> None:
    """The refused one is told how long to wait, and takes nothing."""
    take = partial(fast.ours.limiter.take, "acme", "ann", rate_per_s=SLOW, burst=3)
    assert [0, 0, 0] == [await take() for _ in range(3)]
    first, second = await take(), await take()
    assert 0 < second <= first <= 1 / SLOW


@pytest.mark.requirement("REDIS-2")
async def test_tenants_and_keys_have_each_their_own(fast: Both) -> None:
    """Nobody is slowed down by another."""
    for tenant, key in (("acme", "ann"), ("acme", "bob"), ("other", "ann")):
        take = partial(fast.ours.limiter.take, tenant, key, rate_per_s=SLOW, burst=1)
        assert 0 == await take()
        assert await take() > 0


@pytest.mark.requirement("REDIS-2")
async def test_whoever_waits_is_granted(fast: Both) -> None:
    """At the steady rate."""
    take = partial(fast.ours.limiter.take, "acme", "ann", rate_per_s=20, burst=1)
    assert 0 == await take()

    async def granted() -> bool:
        return await take() == 0

    await becomes(granted)


@pytest.mark.requirement("REDIS-2")
async def test_all_processes_together_get_one_burst(fast: Both) -> None:
    """However many of them ask at the same time."""
    waits: list[float] = []

    async def ask(number: int) -> None:
        limiter = (fast.ours if number % 2 else fast.theirs).limiter
        waits.append(await limiter.take("acme", "ann", rate_per_s=SLOW, burst=20))

    async with anyio.create_task_group() as tasks:
        for number in range(60):
            tasks.start_soon(ask, number)
    assert (20, 60) == (waits.count(0), len(waits))


class SameAsTheDomain(RuleBasedStateMachine):
    """The script on a real server, asked at whatever instant its clock shows."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.redis = admin(self.url)
        self.redis.delete("limit")

    def teardown(self) -> None:
        self.redis.close()

    @rule(interval=st.integers(1, 3_600 * SECOND), burst=st.integers(1, 1000))
    def ask(self, interval: int, burst: int) -> None:
        due = int(self.redis.get("limit") or 0)  # gone once it is in the past
        wait, now = self.redis.eval(GCRA.text, 1, "limit", interval, burst)
        expected_due, expected = take(due, now, interval, burst)
        assert expected == wait
        if wait == 0 and interval > SECOND:
            assert expected_due == int(self.redis.get("limit"))

    @rule(ahead=st.integers(-(10**9), 10**13))
    def clock_is_moved(self, ahead: int) -> None:
        """As far back or ahead as no sane clock would go."""
        seconds, micros = self.redis.time()
        self.redis.set("limit", max(0, seconds * SECOND + micros + ahead))

    @rule(garbage=st.sampled_from(["", "soon", "1e309", "-5"]))
    def value_is_damaged(self, garbage: str) -> None:
        """Whatever stands there, it is an answer in the algorithm's own bounds."""
        self.redis.set("limit", garbage)
        wait, _ = self.redis.eval(GCRA.text, 1, "limit", SECOND, 3)
        assert 0 <= wait <= SECOND
        self.redis.delete("limit")


@pytest.mark.requirement("REDIS-2")
def test_the_script_counts_as_the_domain_does(server_url: str) -> None:
    """To the microsecond, on the server's clock, wherever its clock has been."""

    class Here(SameAsTheDomain):
        url = server_url

    run_state_machine_as_test(Here, settings=settings(max_examples=30, deadline=None))
