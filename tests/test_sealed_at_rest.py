"""The product's data folder: nothing in it can be read, and damage in it is told, not hidden."""

import json
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
import structlog

from factory_mcp import telemetry
from factory_mcp.domain.errors import BackendGarbage
from factory_mcp.domain.model import LOCAL, Envelope, Outcome, Progress, Status
from factory_mcp.domain.seal_errors import KeyRingUnusable, SealBroken
from tests.house import House, house, until
from tests.planted import traces

PLANTED = [f"{animal}{number:02}burrow" for number, animal in enumerate(["wombat", "badger"] * 25)]


def answer(words: Iterator[str]) -> Outcome:
    facts = {next(words): next(words), "list": [next(words), {"deep": next(words)}]}
    text = f"{next(words)} and {next(words)}.\n```context\n{json.dumps(facts)}\n```\n"
    return Outcome(text=text, warnings=(next(words),), changed_paths=(next(words),))


def garbage(words: Iterator[str]) -> BackendGarbage:
    evidence = Progress(state="tool", tool=next(words), changed_paths=(next(words),))
    return BackendGarbage(f"It said {next(words)}", remedy=next(words), evidence=evidence)


async def calls(home: House, words: Iterator[str], folder: str) -> list[Envelope]:
    """One that is answered, one that fails, one with a client's id, in a folder with a name."""
    call, client_id = home.app.calls.call, next(words)
    context = {next(words): [next(words)], "why": next(words)}
    return [
        await call(home.request(next(words), context=context, workspace=folder), 99, None),
        await call(home.request(next(words), idempotency_key=next(words)), 99, None),
        await call(home.request(next(words), call_id=client_id, droid="code"), 99, None),
    ]


async def notes(home: House, words: Iterator[str]) -> None:
    """What an agent writes down, and what it looks for."""
    for _ in range(5):
        note = {"summary": next(words), "data": {next(words): next(words), "k": next(words)}}
        await home.app.contexts.write(LOCAL, {**note, "context_id": "new"}, next(words))
    await home.app.contexts.search(LOCAL, {"query": next(words), "scope": "all"}, "")


async def stopped(home: House, words: Iterator[str]) -> None:
    """A run that somebody cancels, giving a reason; another process asks for it."""
    home.clock.advance(60)
    async with anyio.create_task_group() as tasks:
        await home.start(tasks, task=next(words))
        await until(lambda: home.backend.works)
        run = await home.until("waiting")
        home.report(Progress(state="tool", tool=next(words)))
        await home.app.reader.cancel("local", run.id, next(words))
        home.clock.advance(5)
        closed = await home.until("cancelled")
        assert closed.cancel_reason in PLANTED
        tasks.cancel_scope.cancel()


@pytest.mark.requirement("SEAL-9")
async def test_fifty_planted_words_are_in_no_file_and_in_no_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Tasks, contexts, answers, errors, keys, reasons, folders: while it runs and afterwards."""
    words = iter(PLANTED)
    folder = tmp_path / "shop" / next(words)
    folder.mkdir(parents=True)
    data = tmp_path / "data"
    telemetry.configure("DEBUG")
    try:
        async with house(tmp_path, answer(words), garbage(words)) as home:
            answers = await calls(home, words, str(folder))
            await notes(home, words)
            assert set() == traces(data, PLANTED)
        assert [Status.DONE, Status.HANDOFF] == [answer.status for answer in answers[:2]]
        async with house(tmp_path, gate=anyio.Event(), seed=8) as home:
            await stopped(home, words)
            assert set() == traces(data, PLANTED)
    finally:
        structlog.reset_defaults()
    (data / "log").write_text(capfd.readouterr().err)
    assert "run.closed" in (data / "log").read_text()
    assert set() == traces(data, PLANTED)
    assert [] == list(words)


# ---------------------------------------------------------------------------------- damage


async def _learnt(home: House, count: int) -> list[str]:
    """So many nodes of one chain."""
    calls = [await home.app.calls.call(home.request(f"task {n}"), 99, None) for n in range(count)]
    return [call.context_id or "" for call in calls]


@pytest.mark.requirement("SEAL-10")
async def test_a_damaged_node_is_named_wherever_it_is_missed(tmp_path: Path) -> None:
    """Calls go on without it and say so; lists show the others; reading it is an error."""
    facts = [Outcome(text=f'Fact.\n```context\n{{"k{n}": {n}}}\n```\n') for n in range(4)]
    async with house(tmp_path, *facts) as home:
        first, second, third = await _learnt(home, 3)
        await home.sql(f"UPDATE nodes SET data = x'0102' WHERE id = '{second}'")  # noqa: S608
        contexts = home.app.contexts
        call = await home.app.calls.call(home.request("go on"), 99, None)
        found = await contexts.search(LOCAL, {"query": "fact", "scope": "all"}, "")
        chain = await contexts.read(LOCAL, {"id": third, "view": "chain"}, 10**6)
        node = await contexts.read(LOCAL, {"id": third}, 10**6)
        for refused in ({"id": second}, {"id": first, "view": "merged"}):
            with pytest.raises(SealBroken, match=second):
                await contexts.read(LOCAL, refused, 10**6)
    warning = f"{second} cannot be read [seal_broken]: nodes.data of {second} does not open"
    assert (Status.DONE, True) == (call.status, call.warnings[0].startswith(warning))
    assert "k2: 2" in home.backend.works[-1].prompt
    assert "k1: 1" not in home.backend.works[-1].prompt
    assert [3, 1] == [len((found.data or {})["hits"]), len(found.warnings)]
    assert f"Note: {warning}" in found.text
    shown = (chain.data or {})["value"]
    assert [None, "seal_broken", None, None] == [row.get("unreadable") for row in shown]
    assert {"k2": 2} == (node.data or {})["value"]["data"]


@pytest.mark.requirement("SEAL-7")
async def test_a_lost_key_ring_stops_what_would_be_unreadable(tmp_path: Path) -> None:
    """Nothing is run unrecorded; no new ring is made; with the old one back all is there."""
    ring = tmp_path / "data" / "keyring"
    async with house(tmp_path) as home:
        (node,) = await _learnt(home, 1)
        ring.rename(ring.with_name("away"))
        with pytest.raises(KeyRingUnusable, match="No such file"):
            await home.app.calls.call(home.request("another"), 99, None)
    async with house(tmp_path, seed=8) as home:
        with pytest.raises(KeyRingUnusable):
            await home.app.calls.call(home.request("another"), 99, None)
        assert [False] == [check.ok for check in await home.app.database.check()]
        assert not ring.exists()
        ring.with_name("away").rename(ring)
        assert node == (await home.app.contexts.newest(LOCAL, 5))[0].id
        assert Status.DONE == (await home.app.calls.call(home.request("more"), 99, None)).status
