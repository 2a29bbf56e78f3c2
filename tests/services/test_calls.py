"""Calls: what repeats a run, what stops one, what is waited for, what is remembered."""

from pathlib import Path

import anyio
import pytest

from factory_mcp.domain.errors import (
    BackendUnavailable,
    DepthExceeded,
    KeyReused,
    NothingAsked,
    ShuttingDown,
    UnknownContext,
    UnknownRun,
    WorkspaceOutsideRoots,
)
from factory_mcp.domain.model import (
    LOCAL,
    Autonomy,
    Outcome,
    Principal,
    Progress,
    SideEffects,
    Status,
)
from tests.house import House, Watcher, house, until

REMEMBER = Outcome(text='We chose Postgres.\n```context\n{"db": "postgres"}\n```\n')
FAILED = BackendUnavailable("no route", evidence=Progress(state="starting"))


@pytest.mark.requirement("CALLS-6")
async def test_an_answered_call_is_in_the_history_with_its_node(tmp_path: Path) -> None:
    """Closing row, context node and history are there when the answer is."""
    async with house(tmp_path, REMEMBER) as home:
        answer = await home.app.calls.call(home.request(), 10, None)
        assert (Status.DONE, "ok", "droid_cli") == (answer.status, answer.code, answer.backend)
        run = (await home.runs())[0]
        assert run.envelope is not None
        assert answer.text == run.envelope["text"]
        path = await home.app.contexts.path(LOCAL, answer.context_id or "", "node")
        assert {"db": "postgres"} == path[-1].data
        assert ("architect", run.id) == (path[-1].droid, path[-1].run_id)


@pytest.mark.requirement("CALLS-4")
async def test_facts_that_cannot_be_remembered_are_named_in_the_result(tmp_path: Path) -> None:
    """The work is done all the same, and its summary remembered."""
    broken = Outcome(text="We chose Postgres.\n```context\n{db: postgres}\n```\n")
    async with house(tmp_path, broken) as home:
        answer = await home.app.calls.call(home.request(), 10, None)
        path = await home.app.contexts.path(LOCAL, answer.context_id or "", "node")
    warning = "The droid's context block was not valid JSON; only its summary was remembered."
    assert (Status.DONE, (warning,)) == (answer.status, answer.warnings)
    assert f"Note: {warning}" in answer.text
    assert ("We chose Postgres.", {}) == (path[-1].summary, path[-1].data)


@pytest.mark.requirement("CALLS-7")
async def test_the_next_droid_knows_what_the_first_learnt(tmp_path: Path) -> None:
    """Neither names a context: the workspace's standing chain joins them."""
    async with house(tmp_path, REMEMBER) as home:
        await home.app.calls.call(home.request(), 10, None)
        await home.app.calls.call(home.request("build it", "code"), 10, None)
        prompt = home.backend.works[1].prompt
        assert "We chose Postgres." in prompt
        assert "build it" in prompt
        assert prompt.index("We chose Postgres.") < prompt.index("build it")


async def test_a_new_chain_knows_nothing(tmp_path: Path) -> None:
    """`new` starts beside the standing chain."""
    async with house(tmp_path, REMEMBER) as home:
        await home.app.calls.call(home.request(), 10, None)
        answer = await home.app.calls.call(home.request("two", context_id="new"), 10, None)
        assert "Postgres" not in home.backend.works[1].prompt
        await home.app.calls.call(home.request("three"), 10, None)
        assert "Postgres" in home.backend.works[2].prompt
        path = await home.app.contexts.path(LOCAL, answer.context_id or "", "chain")
        assert 1 == len(path)


async def test_a_branch_stands_beside_its_chain(tmp_path: Path) -> None:
    """The chain's head stays where it was."""
    async with house(tmp_path, REMEMBER) as home:
        first = await home.app.calls.call(home.request(), 10, None)
        branch = await home.app.calls.call(
            home.request("two", context_id=first.context_id, options={"branch": True}), 10, None
        )
        head = await home.app.contexts.path(LOCAL, first.context_id or "", "merged")
        assert first.context_id == head[-1].id
        beside = await home.app.contexts.path(LOCAL, branch.context_id or "", "chain")
        assert [first.context_id, branch.context_id] == [node.id for node in beside]


@pytest.mark.requirement("CALLS-8")
async def test_a_call_answers_running_and_droid_wait_collects_it(tmp_path: Path) -> None:
    """The wait ends, the work goes on."""
    gate = anyio.Event()
    async with house(tmp_path, gate=gate) as home, anyio.create_task_group() as tasks:
        answers = await home.start(tasks, wait_s=45)
        run = await home.until("waiting")
        home.clock.advance(46)
        await until(lambda: answers)
        assert (Status.RUNNING, "waiting") == (answers[0].status, answers[0].code)
        gate.set()
        ended = await home.app.calls.wait(LOCAL, {"run_id": run.id}, 45, None)
        assert (Status.DONE, run.id) == (ended.status, ended.run_id)


@pytest.mark.requirement("CALLS-9")
async def test_the_same_call_attaches_to_the_run_that_is_open(tmp_path: Path) -> None:
    """One run, two equal answers."""
    gate = anyio.Event()
    async with house(tmp_path, gate=gate) as home:
        async with anyio.create_task_group() as tasks:
            first = await home.start(tasks)
            await home.until("waiting")
            second = await home.start(tasks)
            gate.set()
        assert first[0].run_id == second[0].run_id
        assert 1 == len(home.backend.works)


@pytest.mark.requirement("CALLS-9")
async def test_a_repeated_unsafe_call_is_not_run_again(tmp_path: Path) -> None:
    """For ten minutes it answers with the run it was; `fresh` asks for another."""
    async with house(tmp_path) as home:
        request = home.request(droid="code")
        first = await home.app.calls.call(request, 10, None)
        again = await home.app.calls.call(request, 10, None)
        assert (first.run_id, True) == (again.run_id, again.cached)
        fresh = home.request(droid="code", options={"fresh": True})
        assert first.run_id != (await home.app.calls.call(fresh, 10, None)).run_id
        home.clock.advance(601)
        assert first.run_id != (await home.app.calls.call(request, 10, None)).run_id


@pytest.mark.requirement("CALLS-9")
async def test_a_repeated_handoff_is_tried_again(tmp_path: Path) -> None:
    """Only work that was done is answered twice."""
    steps = (FAILED, FAILED, Outcome(text="now"))
    async with house(tmp_path, *steps) as home, anyio.create_task_group() as tasks:
        answers = await home.start(tasks, droid="code")
        with anyio.fail_after(10):
            while not answers:
                home.clock.advance(1)
                await anyio.lowlevel.checkpoint()
        assert Status.HANDOFF == answers[0].status
        again = await home.app.calls.call(home.request(droid="code"), 10, None)
        assert (Status.DONE, False) == (again.status, again.cached)


@pytest.mark.requirement("CALLS-10")
async def test_an_idempotency_key_answers_whatever_the_status(tmp_path: Path) -> None:
    """And refuses other arguments."""
    async with house(tmp_path) as home:
        request = home.request(idempotency_key="k")
        first = await home.app.calls.call(request, 10, None)
        again = await home.app.calls.call(request, 10, None)
        assert first.run_id == again.run_id
        with pytest.raises(KeyReused):
            await home.app.calls.call(home.request("other", idempotency_key="k"), 10, None)
        other = await home.app.calls.call(home.request(idempotency_key="k2"), 10, None)
        assert first.run_id != other.run_id


async def test_a_clients_own_call_id_finds_its_run(tmp_path: Path) -> None:
    """Claude Code and Codex repeat a call after a lost session."""
    async with house(tmp_path) as home:
        request = home.request(call_id="call:toolu_1")
        first = await home.app.calls.call(request, 10, None)
        assert first.run_id == (await home.app.calls.call(request, 10, None)).run_id
        other = await home.app.calls.call(home.request(call_id="call:toolu_2"), 10, None)
        assert first.run_id != other.run_id


@pytest.mark.requirement("CALLS-11")
async def test_a_cancel_stops_the_run_and_says_what_is_known(tmp_path: Path) -> None:
    """Side effects as they were reported last; a second cancel changes nothing."""
    gate = anyio.Event()
    async with house(tmp_path, gate=gate) as home:
        async with anyio.create_task_group() as tasks:
            answers = await home.start(tasks)
            run = await home.at_work()
            ended = await home.app.calls.cancel(LOCAL, run.id, "not needed")
        assert (Status.CANCELLED, "cancelled") == (ended.status, ended.code)
        assert ended.text == answers[0].text
        assert "Cancelled: not needed" in ended.text
        assert 1 == home.backend.cancelled
        assert ended == await home.app.calls.cancel(LOCAL, run.id, "again")


@pytest.mark.requirement("CALLS-12")
async def test_runs_beyond_the_slots_are_queued(tmp_path: Path) -> None:
    """`running`, code `queued`; a queued run can be cancelled."""
    gate = anyio.Event()
    async with house(tmp_path, gate=gate, FACTORY_MCP_MAX_PARALLEL="1") as home:
        async with anyio.create_task_group() as tasks:
            await home.start(tasks, task="one")
            await home.until("waiting")
            queued = await home.app.calls.call(home.request("two"), 0, None)
            assert (Status.RUNNING, "queued") == (queued.status, queued.code)
            assert "waits for a free slot" in queued.text
            gone = await home.app.calls.cancel(LOCAL, queued.run_id or "", "no")
            assert Status.CANCELLED == gone.status
            gate.set()
        assert 1 == len(home.backend.works)


@pytest.mark.requirement("CALLS-13")
async def test_stopping_interrupts_and_the_same_call_continues_the_session(
    tmp_path: Path,
) -> None:
    """What is open closes as interrupted with its session; then nothing new is taken."""
    gate = anyio.Event()
    reached = anyio.Event()

    async def play(home: House) -> None:
        async with anyio.create_task_group() as tasks:
            answers = await home.start(tasks, droid="code")
            await home.at_work()
            known = Progress(state="tool", session_id="s1", side_effects=SideEffects.POSSIBLE)
            home.report(known)
            await home.app.runs.stop("The editor went away")
        assert (Status.INTERRUPTED, "s1") == (answers[0].status, answers[0].session_id)
        assert SideEffects.POSSIBLE == answers[0].side_effects
        with pytest.raises(ShuttingDown):
            await home.app.calls.call(home.request("more"), 10, None)
        reached.set()

    async with house(tmp_path, gate=gate) as home:
        await play(home)
    async with house(tmp_path, seed=8) as home:
        await home.app.calls.call(home.request(droid="code"), 10, None)
        assert "s1" == home.backend.works[0].session_id
    assert reached.is_set()


async def test_autonomy_is_the_lowest_of_three_caps(tmp_path: Path) -> None:
    """The call's, the droid's and the configuration's."""
    async with house(tmp_path) as home:
        await home.app.calls.call(home.request(droid="code"), 10, None)
        asked = home.request("b", droid="code", autonomy=Autonomy.OFF)
        await home.app.calls.call(asked, 10, None)
        caps = [work.autonomy for work in home.backend.works]
        assert [Autonomy.LOW, Autonomy.OFF] == caps


async def test_a_droid_under_a_droid_is_refused(tmp_path: Path) -> None:
    """Recursion ends at the first step."""
    async with house(tmp_path, FACTORY_MCP_DEPTH="1") as home:
        with pytest.raises(DepthExceeded):
            await home.app.calls.call(home.request(), 10, None)
        assert [] == await home.runs()


async def test_what_is_wrong_before_the_start_starts_nothing(tmp_path: Path) -> None:
    """An unknown context, a folder outside the roots."""
    async with house(tmp_path) as home:
        with pytest.raises(UnknownContext):
            await home.app.calls.call(home.request(context_id="ctx_none"), 10, None)
        branch = home.request(context_id="ctx_none", options={"branch": True})
        with pytest.raises(UnknownContext):
            await home.app.calls.call(branch, 10, None)
        with pytest.raises(WorkspaceOutsideRoots):
            await home.app.calls.call(home.request(workspace=str(tmp_path)), 10, None)
        assert [] == await home.runs()


async def test_a_run_of_another_tenant_is_as_absent(tmp_path: Path) -> None:
    """Not found, not forbidden."""
    stranger = Principal(tenant="other", subject="x")
    async with house(tmp_path) as home:
        answer = await home.app.calls.call(home.request(), 10, None)
        with pytest.raises(UnknownRun):
            await home.app.calls.run(stranger, answer.run_id or "")
        arguments = {"run_id": answer.run_id, "answer": "yes"}
        with pytest.raises(NothingAsked):
            await home.app.calls.wait(LOCAL, arguments, 1, None)


async def test_facts_and_options_of_a_call_reach_the_prompt(tmp_path: Path) -> None:
    """And a named task its description."""
    async with house(tmp_path) as home:
        request = home.request("design_system", context={"goal": "ship"}, options={"fresh": True})
        await home.app.calls.call(request, 10, None)
        prompt = home.backend.works[0].prompt
        assert "# Task\ndesign_system: " in prompt
        assert '"goal": "ship"' in prompt
        assert '"fresh": true' in prompt


async def test_a_watcher_hears_of_the_run_at_least_every_ten_seconds(tmp_path: Path) -> None:
    """And of each change, at most once a second."""
    gate, watcher = anyio.Event(), Watcher()
    async with house(tmp_path, gate=gate) as home, anyio.create_task_group() as tasks:
        tasks.start_soon(home.app.calls.call, home.request(), 1000, watcher)
        await until(lambda: home.backend.works and watcher.heard)
        for _ in range(3):
            said = len(watcher.heard)
            home.clock.advance(1)
            await anyio.wait_all_tasks_blocked()
            home.clock.advance(9)
            await until(lambda said=said: len(watcher.heard) > said)
        gate.set()
    assert "thinking 30" == watcher.heard[-1]


async def test_a_fault_of_ours_fails_the_run_and_not_the_server(tmp_path: Path) -> None:
    """The run is closed as failed, with what it may have done; the next call works."""
    broken = Outcome(text="x", changed_paths=7)  # type: ignore[arg-type] — a backend's bug
    async with house(tmp_path, broken, Outcome(text="fine")) as home:
        answer = await home.app.calls.call(home.request(), 10, None)
        assert (Status.FAILED, "internal") == (answer.status, answer.code)
        assert SideEffects.POSSIBLE == answer.side_effects
        assert Status.DONE == (await home.app.calls.call(home.request(), 10, None)).status
