"""What clients that cannot be run here do to the product, on stdio and over HTTP."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import pytest

from factory_mcp.clients.table import profile_for
from factory_mcp.domain.errors import BackendMissing
from factory_mcp.domain.model import Outcome, Status
from tests.clients.standins import STAND_INS, WIRES, Json, StandIn, on_http
from tests.house import House, house, until

both_wires = pytest.mark.parametrize("wire", WIRES)
every_one = pytest.mark.parametrize("who", STAND_INS, ids=lambda who: who.profile)


def text_in(result: Json) -> str:
    """What Roo shows: the text blocks, and nothing of what is structured."""
    return "\n\n".join(block["text"] for block in result["content"])


def waits(home: House, seconds: float) -> bool:
    """Whether somebody sleeps so long from now: a call whose wait has begun."""
    due = home.clock.monotonic() + seconds
    return due in [when for when, *_ in home.clock._sleepers]  # noqa: SLF001 — time is ours


@pytest.mark.requirement("STANDIN-1")
@every_one
@both_wires
async def test_a_client_is_greeted_in_its_version_and_sees_every_list(
    who: StandIn, wire: str, tmp_path: Path
) -> None:
    """Names that nobody cuts, one page, a concrete resource; it is never asked anything."""
    async with house(tmp_path) as home, WIRES[wire](home, who) as line:
        hello = await line.open()
        lists = {method: await line.ask(method) for method in who.lists}
        unasked = line.unasked
    assert who.protocol == hello["protocolVersion"]
    names = [tool["name"] for tool in lists["tools/list"]["result"]["tools"]]
    assert 10 == len([name for name in names if re.fullmatch(r"[a-z0-9_]{1,24}", name)])
    assert lists["resources/list"]["result"]["resources"]
    assert all("nextCursor" not in answer.get("result", {}) for answer in lists.values())
    assert [] == unasked


@pytest.mark.requirement("STANDIN-1")
@every_one
def test_a_client_is_known_by_the_name_it_gives_itself(who: StandIn) -> None:
    """And is answered before it gives up."""
    profile = profile_for(who.name)
    assert who.profile == profile.name
    assert profile.wait_s < who.limit_s


@pytest.mark.requirement("STANDIN-2")
@every_one
@both_wires
async def test_the_text_alone_says_all_and_nothing_comes_unasked(
    who: StandIn, wire: str, tmp_path: Path
) -> None:
    """An answer, a refusal and a handoff; progress only for the one who gave a token."""
    steps = (Outcome(text="It is in lexer.py."), BackendMissing("the droid is not there"))
    async with house(tmp_path, *steps) as home, WIRES[wire](home, who) as line:
        await line.open()
        answer = await line.call("architect_droid", task="Where is the parser?")
        refused = await line.call("architect_droid", tsk="Where is the parser?")
        handoff = await line.call("architect_droid", task="Design it anew")
        unasked = line.unasked
    assert re.match(r"DONE architect run_\w+: .*\n\nIt is in lexer.py.\n$", text_in(answer))
    assert text_in(refused).startswith("FAILED architect_droid: `tsk` is not a known field")
    assert text_in(handoff).startswith("HANDOFF architect run_")
    assert "Do NOT call architect_droid again" in text_in(handoff)
    flags = [result["isError"] for result in (answer, refused, handoff)]
    assert [False, True, False] == flags
    tokens = {note["params"].get("progressToken") for note in unasked}
    assert ({who.progress} if who.progress else set()) >= tokens


@pytest.mark.requirement("STANDIN-3")
@every_one
@both_wires
async def test_a_long_call_is_answered_before_the_client_gives_up(
    who: StandIn, wire: str, tmp_path: Path
) -> None:
    """RUNNING at 45 s, and droid_wait has the rest: one run."""
    gate = anyio.Event()
    results: list[Json] = []
    async with (
        house(tmp_path, gate=gate) as home,
        WIRES[wire](home, who) as line,
        anyio.create_task_group() as tasks,
    ):

        async def call() -> None:
            results.append(await line.call("code_droid", task="x"))

        await line.open()
        tasks.start_soon(call)
        run = await home.at_work()
        await until(lambda: waits(home, 45))
        home.clock.advance(45)
        await until(lambda: results)
        gate.set()
        results.append(await line.call("droid_wait", run_id=run.id))
        assert 1 == len(home.backend.works)
        words = [re.split(r"[ :]", text_in(result))[:3] for result in results]
        assert [["RUNNING", "code", run.id], ["DONE", "code", run.id]] == words
        (waited,) = re.findall(r"(\d+) s so far", text_in(results[0]))
        assert 45 == int(waited) < who.limit_s


@pytest.mark.requirement("STANDIN-4")
@every_one
@both_wires
async def test_a_client_that_gives_up_loses_nothing_that_it_did_not_stop(
    who: StandIn, wire: str, tmp_path: Path
) -> None:
    """Its time limit leaves the run, and the same call attaches to it; VS Code's Stop ends it."""
    gate = anyio.Event()
    async with (
        house(tmp_path, gate=gate) as home,
        WIRES[wire](home, who) as line,
        anyio.create_task_group() as tasks,
    ):
        await line.open()
        tasks.start_soon(partial(line.try_call, "code_droid", task="x", wait_s=120))
        run = await home.at_work()
        await until(lambda: waits(home, 120))
        await line.give_up()
        if who.reason is None:
            await home.until("cancelled")
        await anyio.wait_all_tasks_blocked()
        (now,) = await home.runs()
        assert (Status.RUNNING if who.reason else Status.CANCELLED) is now.status
        again = await line.call("code_droid", task="x", wait_s=0)
        gate.set()
        assert bool(who.reason) is (run.id in text_in(again))
        tasks.cancel_scope.cancel()


LOST = {
    "claude-code": {"claudecode/toolUseId": "toolu_1"},
    "codex-mcp-client": {"callId": "call_1", "threadId": "thread_1"},
    "opencode": {},
}


@pytest.mark.requirement("STANDIN-5")
@pytest.mark.parametrize("name", LOST)
async def test_a_call_that_is_repeated_in_a_new_session_is_one_run(
    name: str, tmp_path: Path
) -> None:
    """They open another session on a 404 by themselves; by id or by what was asked it is known."""
    gate, connection = anyio.Event(), anyio.CancelScope()
    who = replace(STAND_INS[2], name=name, capabilities={})
    params = {"name": "code_droid", "arguments": {"task": "x"}, "_meta": LOST[name]}
    async with (
        house(tmp_path, gate=gate) as home,
        on_http(home, who) as line,
        anyio.create_task_group() as tasks,
    ):

        async def first() -> None:
            with connection:
                await line.ask("tools/call", params)

        await line.open()
        tasks.start_soon(first)
        run = await home.at_work()
        connection.cancel()
        await line.web.delete("/mcp")
        body = {"method": "tools/call", "params": params, "jsonrpc": "2.0", "id": 99}
        assert 404 == (await line.web.post("/mcp", json=body)).status_code
        await line.open()
        gate.set()
        again = (await line.ask("tools/call", params))["result"]
        assert 1 == len(home.backend.works)
        assert text_in(again).startswith(f"DONE code {run.id}")
