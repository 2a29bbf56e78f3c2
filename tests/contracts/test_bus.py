"""What the port Bus promises."""

import pytest

from factory_mcp.stores.redis.bus import WAITING
from tests.fast import Both, running
from tests.house import until


@pytest.mark.requirement("REDIS-3")
async def test_a_message_reaches_every_listener_of_its_topic(fast: Both) -> None:
    """In every process, the sender's own included, in order; other topics are quiet."""
    ours, theirs, other = list[str | None](), list[str | None](), list[str | None]()
    async with running(fast.ours.bus, fast.theirs.bus):
        fast.ours.bus.listen("news", ours.append)
        fast.theirs.bus.listen("news", theirs.append)
        fast.theirs.bus.listen("other", other.append)
        for message in ("one", "two words", "", "drei: ä"):
            fast.ours.bus.publish("news", message)
        await until(lambda: "drei: ä" in ours and "drei: ä" in theirs)
    expected = ["one", "two words", "", "drei: ä"]
    assert (expected, expected, []) == (
        [message for message in ours if message is not None],
        [message for message in theirs if message is not None],
        [message for message in other if message is not None],
    )


@pytest.mark.requirement("REDIS-3")
async def test_a_listener_is_told_to_look_when_the_bus_comes_and_goes(shared: Both) -> None:
    """Until it comes, and after it has gone, messages may be missed."""
    heard: list[str | None] = []
    shared.ours.bus.listen("news", heard.append)
    assert not shared.ours.bus.up
    async with running(shared.ours.bus):
        assert (True, [None]) == (shared.ours.bus.up, heard)
    assert (False, [None, None]) == (shared.ours.bus.up, heard)


@pytest.mark.requirement("REDIS-3")
async def test_what_waits_when_a_process_ends_is_sent(shared: Both) -> None:
    """Its last word is often the one that matters."""
    heard: list[str | None] = []
    shared.theirs.bus.listen("news", heard.append)
    async with running(shared.theirs.bus):
        async with running(shared.ours.bus):
            shared.ours.bus.publish("news", "the last word")
        await until(lambda: "the last word" in heard)


@pytest.mark.requirement("REDIS-3")
async def test_more_than_can_wait_becomes_look_again(shared: Both) -> None:
    """A process that writes faster than it can tell costs memory for so much only."""
    heard: list[str | None] = []
    shared.theirs.bus.listen("news", heard.append)
    async with running(shared.theirs.bus):
        for number in range(WAITING + 10):
            shared.ours.bus.publish("news", f"{number}")
        async with running(shared.ours.bus):
            await until(lambda: len(heard) == WAITING + 2)
    assert [None, None, "0"] == heard[:3]


@pytest.mark.requirement("REDIS-3")
async def test_a_listener_that_breaks_costs_the_others_nothing(shared: Both) -> None:
    """It is a mistake of its own."""
    heard: list[str | None] = []

    def broken(message: str | None) -> None:
        raise ValueError(message)

    shared.ours.bus.listen("news", broken)
    shared.ours.bus.listen("news", heard.append)
    async with running(shared.ours.bus):
        shared.ours.bus.publish("news", "one")
        await until(lambda: "one" in heard)
