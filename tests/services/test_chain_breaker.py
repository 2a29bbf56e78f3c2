"""Breakers and the retry budget, as calls meet them."""

from dataclasses import replace

import anyio
import pytest
from structlog.testing import capture_logs

from factory_mcp.backends.handoff import HandoffBackend
from factory_mcp.domain.errors import BackendError, BackendTimeout
from factory_mcp.domain.model import Status
from factory_mcp.services.chain import Chain, ChainResult
from tests.fakes import FakeClock, SeededRng
from tests.services.test_chain import DOWN, GOOD, REFUSED, SPEC, House


@pytest.mark.requirement("CHAIN-1")
async def test_after_five_failures_the_backend_is_not_touched_until_its_time_is_up() -> None:
    """Then probes go through, and two good ones close the circuit."""
    spec = replace(SPEC, fallback=("a",))
    house = House(a=[*[DOWN] * 5, GOOD])
    for _ in range(3):
        result = await house.run(spec)
    assert {"a": 5} == house.asked()
    for _ in range(100):
        result = await house.run(spec)
        assert (Status.HANDOFF, "circuit_open") == (result.outcome.status, result.outcome.code)
    assert {"a": 5} == house.asked()
    [(droid, backend, state, retry_after_s)] = house.chain.breakers()
    assert ("knowledge", "a", "open") == (droid, backend, state)
    assert retry_after_s == result.retry_after_s
    house.clock.advance(retry_after_s)
    states: list[str] = []
    for _ in range(2):
        states.append(house.chain.breakers()[0].state)
        assert "a" == (await house.run(spec)).backend
    assert ["half_open", "half_open", "closed"] == [*states, house.chain.breakers()[0].state]


async def broken(house: House) -> None:
    """Open the circuit of `a`, and wait until it is half open."""
    for _ in range(3):
        await house.run(replace(SPEC, fallback=("a",)))
    house.clock.advance(33)


@pytest.mark.requirement("CHAIN-2")
async def test_one_probe_among_a_hundred_callers() -> None:
    """The others are handed off while it is out."""
    house = House(a=[*[DOWN] * 5, GOOD])
    await broken(house)
    house.backends["a"].gate = gate = anyio.Event()
    results: list[ChainResult] = []

    async def call() -> None:
        results.append(await house.run(replace(SPEC, fallback=("a",))))
        if len(results) == 99:
            gate.set()

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(call)
    assert {"a": 6} == house.asked()
    assert [("handoff", 5.0)] * 99 == [(r.backend, r.retry_after_s) for r in results[:99]]
    assert "a" == results[99].backend


@pytest.mark.requirement("CHAIN-2")
async def test_a_cancelled_probe_gives_its_slot_back() -> None:
    """The cancellation goes on to the caller, the next call probes."""
    house = House(a=[*[DOWN] * 5, GOOD])
    await broken(house)
    house.backends["a"].gate = anyio.Event()
    with capture_logs() as logs:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(house.run)
            with anyio.fail_after(5):
                while house.asked()["a"] < 6:
                    await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    assert ["cancelled"] == [event["outcome"] for event in logs]
    assert 1 == house.backends["a"].cancelled
    house.backends["a"].gate = None
    assert "a" == (await house.run()).backend


@pytest.mark.requirement("CHAIN-9")
@pytest.mark.parametrize(("error", "left_s"), [(REFUSED, 1800), (BackendTimeout("deadline"), 100)])
async def test_a_fault_that_is_not_the_backends_leaves_its_breaker_closed(
    error: BackendError, left_s: float
) -> None:
    """A refused key, or a time-out of an attempt that had little time left."""
    house = House(a=[error])
    for _ in range(20):
        await house.run(deadline=house.clock.monotonic() + left_s)
    assert ["closed"] == [breaker.state for breaker in house.chain.breakers()]
    assert {"a": 20} == house.asked()


async def test_breakers_are_kept_by_droid() -> None:
    """A droid that breaks a backend does not take it away from another."""
    house = House(a=[*[DOWN] * 5, GOOD])
    await broken(house)
    assert "a" == (await house.run(replace(SPEC, name="architect"))).backend
    assert ["architect", "knowledge"] == [breaker.droid for breaker in house.chain.breakers()]


@pytest.mark.requirement("CHAIN-3")
async def test_retries_never_multiply_the_load() -> None:
    """Five hundred calls at one instant, each of a droid of its own so that no breaker helps."""
    house = House(a=[DOWN])
    clock = FakeClock()  # time stands still: every retry waits for good

    async with anyio.create_task_group() as tasks:
        house.chain = Chain(house.backends, HandoffBackend(), clock, SeededRng())
        ended: list[ChainResult] = []

        async def call(name: str) -> None:
            spec = replace(SPEC, name=name, fallback=("a",))
            ended.append(await house.run(spec, deadline=clock.monotonic() + 1800))

        for number in range(500):
            tasks.start_soon(call, f"droid{number}")
        with anyio.fail_after(5):
            while len(ended) < 450:
                await anyio.lowlevel.checkpoint()
        clock.advance(1)
    assert 500 < house.asked()["a"] <= 550
