"""Leases: whose a run is, what its owner hears, and what becomes of it when that has died."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from factory_mcp.domain.model import (
    LOCAL,
    Effects,
    Envelope,
    Owner,
    Progress,
    Run,
    SideEffects,
    Status,
)
from factory_mcp.ports import Claim
from factory_mcp.stores.host import LinuxHost
from factory_mcp.stores.sql.tables import history
from tests.contracts.samples import NOW, Samples
from tests.house import FOR_EVER, GUARD_S, House, Watcher, house, until

ALIVE: Final = replace(LinuxHost().me(), id="another server")
DEAD: Final = replace(ALIVE, id="gone", started="0")
ELSEWHERE: Final = replace(DEAD, boot_id="another machine")
BEAT_S: Final = 5


def left_behind(owner: Owner = DEAD, **changes: Any) -> Run:
    """A run as its owner left it."""
    known = {"owner": owner, "tenant": LOCAL.tenant, "lease_until": NOW + 15, "started_at": NOW}
    return Samples().run(**(known | changes))


async def leave(home: House, run: Run) -> None:
    """Write a run into the store as another process would have."""
    await home.app.reader.open(run, Claim())


@asynccontextmanager
async def two(tmp_path: Path, gate: anyio.Event) -> AsyncGenerator[tuple[House, House]]:
    """Two servers on one data folder; the first has a run that waits for the gate."""
    async with house(tmp_path, gate=gate) as owner, house(tmp_path, seed=8) as stranger:
        await owner.app.calls.call(owner.request(), 0, None)
        await owner.at_work()
        yield owner, stranger


async def answer(home: House, answers: list[Envelope]) -> Envelope:
    """The first answer; until it is there, time goes by."""
    with anyio.fail_after(GUARD_S):
        while not answers:
            home.clock.advance(0.5)
            await home.runs()
    return answers[0]


@pytest.mark.requirement("RUNS-1")
async def test_each_beat_renews_the_lease_and_writes_progress_down(tmp_path: Path) -> None:
    """So that it is known what a run did, should this process die."""
    async with house(tmp_path, gate=anyio.Event()) as home, anyio.create_task_group() as tasks:
        await home.start(tasks, droid="code")
        opened = await home.at_work()
        home.report(
            Progress(
                state="tool",
                tool="Edit",
                session_id="s1",
                side_effects=SideEffects.CONFIRMED,
                changed_paths=("a.py",),
            )
        )
        home.clock.advance(BEAT_S)
        run = await home.when(lambda run: run.session_id)
        await home.app.runs.stop("The test is over")
    assert (NOW + 15, NOW + 20) == (opened.lease_until, run.lease_until)
    assert run.progress == {
        "state": "tool",
        "tool": "Edit",
        "session_id": "s1",
        "side_effects": "confirmed",
        "changed_paths": ["a.py"],
    }


@pytest.mark.requirement("RUNS-2")
@pytest.mark.parametrize("noticed", ["at the beat", "at the end"])
async def test_a_lost_fence_stops_the_run_and_writes_nothing(tmp_path: Path, noticed: str) -> None:
    """Another process owns it by now: the caller is sent to droid_wait."""
    gate = anyio.Event()
    async with house(tmp_path, gate=gate) as home:
        async with anyio.create_task_group() as tasks:
            answers = await home.start(tasks)
            await home.at_work()
            await home.sql("UPDATE runs SET fence = fence + 1")
            if noticed == "at the beat":
                home.clock.advance(BEAT_S)
                await until(lambda: home.backend.cancelled)
            else:
                gate.set()
        run = (await home.runs())[0]
        async with home.app.database.read(LOCAL.tenant) as connection:
            assert [] == (await connection.execute(history.select())).all()
    assert (Status.RUNNING, 2, None) == (run.status, run.fence, run.output)
    assert Status.RUNNING == answers[0].status
    assert {"tool": "droid_wait", "arguments": {"run_id": run.id}, "after_s": 0} == answers[0].next


@pytest.mark.requirement("RUNS-2")
async def test_a_queued_run_that_another_process_closed_is_not_started(tmp_path: Path) -> None:
    """It gives up its place in the queue."""
    gate = anyio.Event()
    async with house(tmp_path, gate=gate, FACTORY_MCP_MAX_PARALLEL="1") as home:
        async with anyio.create_task_group() as tasks:
            await home.start(tasks, task="one")
            await home.until("waiting")
            queued = await home.start(tasks, task="two")
            await home.sql("UPDATE runs SET status = 'interrupted' WHERE code = 'queued'")
            home.clock.advance(BEAT_S)
            await until(lambda: queued)
            gate.set()
        assert ["one"] == [work.request["task"] for work in home.backend.works]


@pytest.mark.requirement("RUNS-3")
@pytest.mark.parametrize(
    ("owner", "lease_s", "status"),
    [
        pytest.param(DEAD, 15, Status.INTERRUPTED, id="died here"),
        pytest.param(ALIVE, -60, Status.RUNNING, id="lives here, its laptop slept"),
        pytest.param(ELSEWHERE, 15, Status.RUNNING, id="elsewhere, heard of lately"),
        pytest.param(ELSEWHERE, -1, Status.INTERRUPTED, id="elsewhere, silent"),
    ],
)
async def test_the_runs_of_dead_processes_are_closed_at_start_and_at_each_beat(
    tmp_path: Path, owner: Owner, lease_s: float, status: Status
) -> None:
    """A process of this machine is dead when it is gone, one of another when its lease is over."""
    run = left_behind(owner, lease_until=NOW + lease_s)
    async with house(tmp_path) as first:
        await leave(first, run)
    async with house(tmp_path, seed=8) as second:
        assert status == (await second.runs())[0].status
        later = left_behind(DEAD, id="run_later", fingerprint="later", created_at=NOW + 1000)
        await leave(second, later)
        second.clock.advance(BEAT_S)
        assert "run_later" == (await second.until("interrupted")).id
        found = await second.app.reader.get(LOCAL.tenant, run.id)
        assert status == (found and found.status)


@pytest.mark.requirement("RUNS-4")
@pytest.mark.parametrize(
    ("known", "expected"),
    [
        pytest.param({"started_at": None}, SideEffects.NONE, id="never started"),
        pytest.param({}, SideEffects.POSSIBLE, id="said nothing"),
        pytest.param(
            {"progress": {"side_effects": "none"}}, SideEffects.POSSIBLE, id="said none so far"
        ),
        pytest.param(
            {"effects": Effects.NONE, "progress": {"side_effects": "none"}},
            SideEffects.NONE,
            id="can only read",
        ),
        pytest.param(
            {"progress": {"side_effects": "confirmed", "changed_paths": ["a.py"]}},
            SideEffects.CONFIRMED,
            id="changed a file",
        ),
    ],
)
async def test_a_dead_run_tells_what_it_may_have_changed_and_keeps_its_session(
    tmp_path: Path, known: dict[str, Any], expected: SideEffects
) -> None:
    """As its owner wrote it down last."""
    async with house(tmp_path) as home:
        await leave(home, left_behind(session_id="s1", **known))
        home.clock.advance(BEAT_S)
        run = await home.until("interrupted")
        ended = home.app.calls.answer(run)
    assert (expected, "s1", "s1") == (ended.side_effects, ended.session_id, run.session_id)
    assert ("a.py" in ended.text) == (expected is SideEffects.CONFIRMED)
    assert "The server that ran it died. The same call again continues its session." in ended.text


@pytest.mark.requirement("RUNS-5")
async def test_a_row_that_nobody_understands_stops_neither_server_nor_beat(tmp_path: Path) -> None:
    """The other dead runs are closed, and leases renewed."""
    broken = left_behind(id="run_broken", progress={"side_effects": "unheard of"})
    async with house(tmp_path) as first:
        await leave(first, broken)
        await leave(first, left_behind(fingerprint="another", created_at=NOW + 2))
    gate = anyio.Event()
    async with house(tmp_path, seed=8, gate=gate) as home, anyio.create_task_group() as tasks:
        assert [Status.INTERRUPTED, Status.RUNNING] == [run.status for run in await home.runs()]
        home.clock.set_wall_clock(NOW + 100)
        await home.start(tasks)
        await home.until("waiting")
        home.clock.advance(BEAT_S)
        assert NOW + 120 == (await home.when(lambda run: run.lease_until > NOW + 115)).lease_until
        gate.set()


@pytest.mark.requirement("RUNS-6")
async def test_a_cancel_from_another_process_reaches_the_owner_by_its_next_beat(
    tmp_path: Path,
) -> None:
    """And whoever cancelled gets the result of the run."""
    async with two(tmp_path, anyio.Event()) as (owner, stranger):
        run = (await stranger.runs())[0]
        answers: list[Envelope] = []

        async def cancel() -> None:
            answers.append(await stranger.app.calls.cancel(LOCAL, run.id, "not needed"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel)
            await owner.when(lambda run: run.cancel_reason)
            owner.clock.advance(BEAT_S)
            await owner.until("cancelled")
            ended = await answer(stranger, answers)
        assert 1 == owner.backend.cancelled
    assert (Status.CANCELLED, run.id) == (ended.status, ended.run_id)
    assert "Cancelled: not needed" in ended.text


@pytest.mark.requirement("RUNS-7")
async def test_a_run_of_another_process_is_waited_for_with_its_progress(tmp_path: Path) -> None:
    """The same call attaches to it, and hears what its owner wrote down."""
    gate = anyio.Event()
    async with two(tmp_path, gate) as (owner, stranger):
        owner.report(Progress(state="tool", tool="Read"))
        owner.clock.advance(BEAT_S)
        await owner.when(lambda run: run.progress and run.progress["tool"])
        open_now = await stranger.app.calls.call(stranger.request(), 0, None)
        assert ": it is using Read, 0 s so far." in open_now.text
        watcher, answers = Watcher(), list[Envelope]()

        async def wait() -> None:
            arguments = {"run_id": open_now.run_id}
            waited = await stranger.app.calls.wait(LOCAL, arguments, FOR_EVER, watcher)
            answers.append(waited)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await until(lambda: watcher.heard)
            with anyio.fail_after(GUARD_S):
                while len(watcher.heard) < 2:
                    stranger.clock.advance(0.5)
                    await stranger.runs()
            gate.set()
            await owner.until("done")
            ended = await answer(stranger, answers)
        assert [] == stranger.backend.works
    assert "tool Read 0" == watcher.heard[0]
    assert (Status.DONE, open_now.run_id) == (ended.status, ended.run_id)
