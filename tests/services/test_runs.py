"""Runs: slots and the queue, how long a call waits, how a run ends when all is against it."""

from pathlib import Path
from typing import Any

import anyio
import mcp_types as t
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from factory_mcp.domain.errors import QueueFull, ShuttingDown, Unsettled
from factory_mcp.domain.model import LOCAL, Outcome, Progress, SideEffects, Status
from tests.house import House, client, house, until


class Away:
    """The store of a house, out of reach until it is back."""

    def __init__(self, home: House) -> None:
        self._file = home.app.settings.database
        self._hidden = self._file.with_suffix(".away")
        self._file.rename(self._hidden)

    def back(self) -> None:
        self._hidden.rename(self._file)


def delayed(logs: list[EventDict]) -> int:
    return sum(line["event"] == "run.close_delayed" for line in logs)


@pytest.mark.requirement("CALLS-12")
async def test_a_run_beyond_the_queue_is_refused(tmp_path: Path) -> None:
    """32 wait; the next is not opened, and once one has ended there is room again."""
    gate = anyio.Event()
    async with house(tmp_path, gate=gate, FACTORY_MCP_MAX_PARALLEL="1") as home:
        await home.app.calls.call(home.request("runs"), 0, None)
        await home.until("waiting")
        queued = [
            await home.app.calls.call(home.request(f"waits {number}"), 0, None)
            for number in range(32)
        ]
        with pytest.raises(QueueFull, match="32 runs wait for a slot already"):
            await home.app.calls.call(home.request("too much"), 0, None)
        assert 33 == len(await home.runs())
        await home.app.calls.cancel(LOCAL, queued[0].run_id or "", "room, please")
        room = await home.app.calls.call(home.request("fits"), 0, None)
        assert (Status.RUNNING, "queued") == (room.status, room.code)


@pytest.mark.requirement("RUNS-8")
async def test_queued_runs_start_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    """A slot that becomes free goes to the one that waits longest."""
    async with house(tmp_path, FACTORY_MCP_MAX_PARALLEL="1") as home:
        async with anyio.create_task_group() as tasks:
            for task in ("one", "two", "three"):
                await home.start(tasks, task=task)
        assert ["one", "two", "three"] == [work.request["task"] for work in home.backend.works]


@pytest.mark.requirement("CALLS-3")
@pytest.mark.parametrize(
    ("name", "progress", "wait_s", "limit"),
    [
        ("roo", False, None, 45),
        ("kilo", False, None, 25),
        ("opencode", False, None, 25),
        ("kilo", True, None, 45),
        ("kilo", True, 3, 3),
    ],
)
async def test_a_call_answers_running_at_the_limit_of_its_client(
    tmp_path: Path, name: str, progress: bool, wait_s: int | None, limit: int
) -> None:
    """Not later, and not sooner."""
    answers: list[t.CallToolResult] = []

    async def told(progress: float, total: float | None, message: str | None) -> None:
        """Progress; what it says is another test's."""

    info = t.Implementation(name=name, version="1")
    async with (
        house(tmp_path, gate=anyio.Event()) as home,
        client(home, client_info=info, mode="legacy") as c,  # the other mode sends no token here
    ):

        async def call() -> None:
            given = {} if wait_s is None else {"wait_s": wait_s}
            arguments = {"task": "do it", **given}
            callback = told if progress else None
            answers.append(await c.call_tool("code_droid", arguments, progress_callback=callback))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await home.at_work()
            home.clock.advance(limit - 1)
            await anyio.wait_all_tasks_blocked()
            assert [] == answers
            home.clock.advance(1)
            await until(lambda: answers)
    said = answers[0].structured_content
    assert (said or {})["status"] == "running"


@pytest.mark.requirement("RUNS-9")
async def test_a_store_that_is_away_when_a_run_ends_loses_nothing(tmp_path: Path) -> None:
    """The end is written down once the store is back; the caller waits for that."""
    gate = anyio.Event()
    with capture_logs() as logs:
        async with house(tmp_path, Outcome(text="hard work"), gate=gate) as home:
            async with anyio.create_task_group() as tasks:
                answers = await home.start(tasks)
                await home.at_work()
                store = Away(home)
                gate.set()
                await until(lambda: delayed(logs))
                home.clock.advance(1)
                await until(lambda: delayed(logs) == 2)
                store.back()
                home.clock.advance(1)
            assert (Status.DONE, 1) == (answers[0].status, len(home.backend.works))
            run = (await home.runs())[0]
    assert (Status.DONE, "hard work") == (run.status, run.output)


@pytest.mark.requirement("RUNS-9")
async def test_a_run_that_cannot_be_recorded_when_its_turn_comes_is_not_started(
    tmp_path: Path,
) -> None:
    """It fails with the store's own code, and that is written down once the store is back."""
    gate = anyio.Event()
    with capture_logs() as logs:
        async with (
            house(tmp_path, gate=gate, FACTORY_MCP_MAX_PARALLEL="1") as home,
            anyio.create_task_group() as tasks,
        ):
            first = await home.start(tasks, task="one")
            await home.at_work()
            second = await home.start(tasks, task="two")
            store = Away(home)
            gate.set()
            await until(lambda: delayed(logs) == 2)
            store.back()
            home.clock.advance(1)
            await until(lambda: first and second)
    assert (Status.DONE, 1) == (first[0].status, len(home.backend.works))
    assert (Status.FAILED, "store_unavailable") == (second[0].status, second[0].code)
    assert SideEffects.NONE == second[0].side_effects


@pytest.mark.requirement("RUNS-10")
async def test_a_server_that_stops_waits_ten_seconds_for_what_is_open(tmp_path: Path) -> None:
    """A run that cannot be closed by then stays open, and is closed by whoever starts next."""
    with capture_logs() as logs:
        async with house(tmp_path, gate=anyio.Event()) as home, anyio.create_task_group() as tasks:
            answers = await home.start(tasks, droid="code")
            await home.at_work()
            store = Away(home)
            stopped = anyio.Event()

            async def stop() -> None:
                await home.app.runs.stop("The editor went away")
                stopped.set()

            tasks.start_soon(stop)
            await until(lambda: delayed(logs))
            home.clock.advance(9)
            await until(lambda: delayed(logs) == 2)
            assert not stopped.is_set()
            home.clock.advance(1)
            await until(stopped.is_set)
            home.clock.advance(1)
            await until(lambda: answers)
            store.back()
            run = (await home.runs())[0]
    assert (Status.RUNNING, Status.RUNNING) == (answers[0].status, run.status)
    assert 1 == home.backend.cancelled


@pytest.mark.requirement("RUNS-10")
async def test_an_end_that_is_late_is_still_written_while_the_server_stops(tmp_path: Path) -> None:
    """Stopping does not give up on a store that comes back within the ten seconds."""
    gate = anyio.Event()
    with capture_logs() as logs:
        async with house(tmp_path, gate=gate) as home, anyio.create_task_group() as tasks:
            answers = await home.start(tasks)
            await home.at_work()
            store = Away(home)
            gate.set()
            await until(lambda: delayed(logs))
            tasks.start_soon(home.app.runs.stop, "The editor went away")
            await anyio.wait_all_tasks_blocked()
            store.back()
            home.clock.advance(1)
            await until(lambda: answers)
    assert Status.DONE == answers[0].status


@pytest.mark.requirement("RUNS-11")
@pytest.mark.parametrize("ends", [True, False])
async def test_draining_takes_no_new_work_and_lets_open_work_end(
    tmp_path: Path, ends: bool
) -> None:
    """As long as it may take; what is not done by then goes on until it is stopped."""
    gate, drained = anyio.Event(), anyio.Event()
    async with house(tmp_path, gate=gate) as home, anyio.create_task_group() as tasks:
        answers = await home.start(tasks)
        await home.at_work()

        async def drain() -> None:
            await home.app.runs.drain(8)
            drained.set()

        tasks.start_soon(drain)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ShuttingDown):
            await home.app.calls.call(home.request("more"), 0, None)
        if ends:
            gate.set()
        else:
            home.clock.advance(8)
        await until(drained.is_set)
        assert ends == (home.app.calls.answer((await home.runs())[0]).status is Status.DONE)
        await home.app.runs.stop("The server was told to stop")
    assert [Status.DONE if ends else Status.INTERRUPTED] == [each.status for each in answers]


@pytest.mark.requirement("CALLS-13")
async def test_a_run_that_never_got_a_slot_keeps_the_session_it_was_to_continue(
    tmp_path: Path,
) -> None:
    """Nothing was changed, and the same call again continues where it would have."""
    async with (
        house(tmp_path, gate=anyio.Event(), FACTORY_MCP_MAX_PARALLEL="1") as home,
        anyio.create_task_group() as tasks,
    ):
        await home.start(tasks)
        await home.until("waiting")
        answers = await home.start(tasks, task="on", droid="code", session_id="s1")
        await home.app.runs.stop("The editor went away")
    assert (Status.INTERRUPTED, "s1") == (answers[0].status, answers[0].session_id)
    assert SideEffects.NONE == answers[0].side_effects
    assert "The same call again continues its session." in answers[0].text


@pytest.mark.requirement("CALLS-11")
async def test_the_first_reason_to_end_a_run_stands(tmp_path: Path) -> None:
    """A server that stops right behind a cancel does not turn it into an interruption."""
    async with house(tmp_path, gate=anyio.Event()) as home, anyio.create_task_group() as tasks:
        answers = await home.start(tasks)
        run = await home.at_work()
        home.report(Progress(state="thinking", session_id="s1"))
        tasks.start_soon(home.app.runs.cancel, run, "not needed")
        tasks.start_soon(home.app.runs.stop, "The editor went away")
    assert Status.CANCELLED == answers[0].status


class LosesTouch:
    """A book whose store goes away at a commit: what is stored, its caller never hears of."""

    def __init__(self, home: House) -> None:
        self._book, self.next = home.app.stores.book, ""
        vars(home.app.runs)["_book"] = self

    def __getattr__(self, name: str) -> Any:
        async def stored(*arguments: Any) -> Any:
            answer = await getattr(self._book, name)(*arguments)
            if self.next == name:
                self.next = ""
                raise Unsettled("The store went away while it stored this.")
            return answer

        return stored


@pytest.mark.requirement("RUNS-17")
async def test_a_run_that_may_have_been_opened_is_closed_again(tmp_path: Path) -> None:
    """Its caller was refused; left open it would keep every later call waiting."""
    async with house(tmp_path) as home:
        LosesTouch(home).next = "open"
        with pytest.raises(Unsettled):
            await home.app.calls.call(home.request("lost"), 0, None)
        assert Status.INTERRUPTED == (await home.when(lambda run: not run.status.is_open)).status
        assert [] == home.backend.works
        again = await home.app.calls.call(home.request("lost"), 60, None)
        assert Status.DONE == again.status


@pytest.mark.requirement("RUNS-17")
async def test_a_closing_that_was_stored_unheard_is_no_lost_run(tmp_path: Path) -> None:
    """It is asked for again, and found as it was written."""
    async with house(tmp_path) as home:
        LosesTouch(home).next = "close"
        with capture_logs() as logs:
            async with anyio.create_task_group() as tasks:
                answers = await home.start(tasks)
                await until(lambda: delayed(logs))
                home.clock.advance(1)
        assert [(Status.DONE, 1)] == [(one.status, len(await home.runs())) for one in answers]
