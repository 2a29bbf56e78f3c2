"""Breakers that replicas share: what one learns the others know, and one of them probes."""

from dataclasses import replace

import anyio
import pytest

from factory_mcp.backends.handoff import HandoffBackend
from factory_mcp.domain.breaker import PROBE_S
from factory_mcp.ports.fast import SharedBreakers
from factory_mcp.services.chain import Chain, ChainResult
from tests.fakes import SeededRng, Step
from tests.fast import Both, running
from tests.house import until
from tests.services.test_chain import DOWN, GOOD, SPEC, House

ONE = replace(SPEC, fallback=("a",))


def replica(shared: SharedBreakers, *steps: Step) -> House:
    """A replica with one backend."""
    house = House(a=steps)
    house.chain = Chain(house.backends, HandoffBackend(), house.clock, SeededRng(), shared=shared)
    return house


def state(house: House) -> str:
    """How its one breaker stands; closed if it has seen nothing."""
    return next((known.state for known in house.chain.breakers()), "closed")


async def opened(first: House, second: House) -> None:
    """The first replica opens its circuit, the second one hears of it."""
    for _ in range(3):
        await first.run(ONE)
    assert "open" == state(first)
    await until(lambda: state(second) == "open")


@pytest.mark.requirement("REDIS-4")
async def test_a_circuit_that_opens_in_one_replica_is_open_in_all(shared: Both) -> None:
    """For as long, on each one's own clock; and closed in all once one has found it well."""
    ours = replica(shared.ours.breakers, *[DOWN] * 5, GOOD)
    theirs = replica(shared.theirs.breakers, GOOD)
    async with running(shared.ours.bus, shared.theirs.bus):
        await opened(ours, theirs)
        [known], [heard] = ours.chain.breakers(), theirs.chain.breakers()
        assert abs(known.retry_after_s - heard.retry_after_s) < 0.001
        result = await theirs.run(ONE)
        assert ("circuit_open", {"a": 0}) == (result.outcome.code, theirs.asked())
        ours.clock.advance(known.retry_after_s)
        for _ in range(2):
            assert "a" == (await ours.run(ONE)).backend
        assert "closed" == state(ours)
        await until(lambda: state(theirs) == "closed")
        assert "a" == (await theirs.run(ONE)).backend


@pytest.mark.requirement("REDIS-4")
async def test_of_two_replicas_one_probes(shared: Both) -> None:
    """The other one hands off, and looks again a little later."""
    ours = replica(shared.ours.breakers, *[DOWN] * 5, GOOD)
    theirs = replica(shared.theirs.breakers, GOOD)
    results: list[ChainResult] = []

    async def call() -> None:
        results.append(await ours.run(ONE))

    async with running(shared.ours.bus, shared.theirs.bus):
        await opened(ours, theirs)
        for house in (ours, theirs):
            house.clock.advance(33)
        probe = ours.backends["a"]
        probe.gate = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(lambda: len(probe.works) == 6)
            result = await theirs.run(ONE)
            assert ("handoff", PROBE_S) == (result.backend, result.retry_after_s)
            assert {"a": 0} == theirs.asked()
            probe.gate.set()
        theirs.clock.advance(PROBE_S)
        assert "a" == (await theirs.run(ONE)).backend


@pytest.mark.requirement("REDIS-4")
async def test_a_cancelled_probe_gives_its_leave_back(shared: Both) -> None:
    """The other replica may probe at once."""
    ours = replica(shared.ours.breakers, *[DOWN] * 5, GOOD)
    theirs = replica(shared.theirs.breakers, GOOD)
    async with running(shared.ours.bus, shared.theirs.bus):
        await opened(ours, theirs)
        for house in (ours, theirs):
            house.clock.advance(33)
        probe = ours.backends["a"]
        probe.gate = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ours.run, ONE)
            await until(lambda: len(probe.works) == 6)
            tasks.cancel_scope.cancel()
        assert "half_open" == state(ours)
        assert "a" == (await theirs.run(ONE)).backend


class Counted:
    """Another process that only says what it is asked; all may probe."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def listen(self, told: object) -> None:
        self.told = told

    def tell(self, name: str, open_s: float) -> None:
        self.asked.append(f"tell {name} {open_s > 0}")

    async def may_probe(self, name: str) -> bool:
        self.asked.append(f"may {name}")
        return True

    async def probed(self, name: str) -> None:
        self.asked.append(f"probed {name}")


@pytest.mark.requirement("REDIS-4")
async def test_nobody_is_asked_while_the_circuit_is_closed() -> None:
    """Only what opens or closes is told, and only a probe asks."""
    shared = Counted()
    house = replica(shared, *[GOOD] * 6, *[DOWN] * 5, GOOD)
    for _ in range(6):
        await house.run(ONE)
    assert [] == shared.asked
    for _ in range(3):
        await house.run(ONE)
    assert ["tell knowledge/a True"] == shared.asked
    house.clock.advance(33)
    for _ in range(3):
        await house.run(ONE)
    probe = ["may knowledge/a", "probed knowledge/a"]
    last = ["may knowledge/a", "tell knowledge/a False", "probed knowledge/a"]
    assert [*probe, *last] == shared.asked[1:]


@pytest.mark.requirement("REDIS-4")
async def test_words_that_make_no_sense_move_no_breaker() -> None:
    """An unknown backend, or a time that is none."""
    shared = Counted()
    house = replica(shared, GOOD)
    told = shared.told
    assert callable(told)
    for name, open_s in (("knowledge/b", 5.0), ("knowledge/a", float("nan")), ("a", 0.0)):
        told(name, open_s)
    assert "closed" == state(house)
    assert "a" == (await house.run(ONE)).backend
