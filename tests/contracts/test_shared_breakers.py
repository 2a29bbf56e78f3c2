"""What the port SharedBreakers promises."""

import anyio
import pytest

from tests.fast import Both, running
from tests.house import until


@pytest.mark.requirement("REDIS-4")
async def test_what_one_process_tells_the_others_hear(shared: Both) -> None:
    """As a duration, and not its own words."""
    ours, theirs = list[tuple[str, float]](), list[tuple[str, float]]()
    shared.ours.breakers.listen(lambda name, open_s: ours.append((name, open_s)))
    shared.theirs.breakers.listen(lambda name, open_s: theirs.append((name, open_s)))
    async with running(shared.ours.bus, shared.theirs.bus):
        shared.ours.breakers.tell("my droid/droid_cli", 32.5)
        shared.ours.breakers.tell("my droid/droid_cli", 0)
        shared.theirs.breakers.tell("other/llm", 1)
        await until(lambda: len(theirs) == 2 and ours)
    assert ([("other/llm", 1)], [("my droid/droid_cli", 32.5), ("my droid/droid_cli", 0)]) == (
        ours,
        theirs,
    )


@pytest.mark.requirement("REDIS-4")
async def test_of_all_processes_one_may_probe(shared: Both) -> None:
    """Until it gives the leave back, which nobody else can; another breaker has its own."""
    assert await shared.ours.breakers.may_probe("a")
    assert not await shared.theirs.breakers.may_probe("a")
    assert await shared.theirs.breakers.may_probe("b")
    await shared.theirs.breakers.probed("a")
    assert not await shared.theirs.breakers.may_probe("a")
    await shared.ours.breakers.probed("a")
    assert await shared.theirs.breakers.may_probe("a")


@pytest.mark.requirement("REDIS-4")
async def test_a_process_alone_asks_nobody(fast: Both) -> None:
    """In memory every probe is allowed: there is nobody who could probe as well."""
    heard: list[str] = []
    fast.ours.breakers.listen(lambda name, _: heard.append(name))
    fast.ours.breakers.tell("a", 1)
    granted = [await fast.ours.breakers.may_probe("a") for _ in range(2)]
    await fast.ours.breakers.probed("a")
    assert ([True, not fast.is_shared], []) == (granted, heard)


@pytest.mark.requirement("REDIS-4")
async def test_foreign_words_on_the_bus_harm_nobody(shared: Both) -> None:
    """A message that no process of ours sends is passed over, and the next one is heard."""
    heard: list[str] = []
    shared.ours.breakers.listen(lambda name, _: heard.append(name))
    async with running(shared.ours.bus, shared.theirs.bus):
        for words in ("", "x", "they soon a", "they"):
            shared.theirs.bus.publish("breakers", words)
        shared.theirs.breakers.tell("a", 1)
        with anyio.fail_after(30):
            await until(lambda: heard)
    assert ["a"] == heard
