"""One droid call, end to end, for real: a TypeScript client, our program, the real droid."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from factory_mcp.app import build
from factory_mcp.backends.processes import members
from factory_mcp.domain.breaker import JITTER, OPEN_S
from factory_mcp.domain.model import LOCAL, CallRequest
from factory_mcp.settings import Settings
from factory_mcp.stores.host import SystemClock
from tests.real.droid_program import droid_setup, execute, processes_with, sleepers, until
from tests.real.fake_model import FakeModel, Messages, Reply, Tool, text_of
from tests.real.product import environment, history, program
from tests.real.ts_client import ts_client

LEARNT = 'The parser is in lexer.py.\n```context\n{"parser": "lexer.py"}\n```\n'


def structured(line: dict[str, Any]) -> dict[str, Any]:
    """The structured half of a call's result."""
    assert line["ok"], line
    return line["result"]["structuredContent"]


@pytest.mark.requirement("REAL-1")
async def test_a_call_is_answered_remembered_and_known_to_the_next_droid(tmp_path: Path) -> None:
    """Answer, progress, history, resource; the second prompt holds what the first learnt."""
    prompts: list[str] = []

    def answer(messages: Messages) -> Reply:
        prompts.append("\n".join(text_of(message) for message in messages))
        return LEARNT if len(prompts) == 1 else "Built."

    with FakeModel(answer) as model:
        setup = droid_setup(tmp_path / "droid", model)
        async with ts_client("v1", program(setup, tmp_path)) as client:
            task = {"task": "Where is the parser?"}
            made = await client.step(
                "call", name="architect_droid", arguments=task, withProgress=True
            )
            first = structured(made)
            assert ("done", "none") == (first["status"], first["side_effects"])
            assert "The parser is in lexer.py." in first["text"]
            assert made["progress"]
            rising = [report["progress"] for report in made["progress"]]
            assert sorted(set(rising)) == rising
            node = await client.step("read", uri=f"context://{first['context_id']}/merged")
            assert '"parser": "lexer.py"' in node["result"]["contents"][0]["text"]
            second = structured(
                await client.step("call", name="code_droid", arguments={"task": "Build it"})
            )
            assert "Built." in second["text"]
        assert "The parser is in lexer.py." not in prompts[0]
        assert "The parser is in lexer.py." in prompts[1]
        runs = await anyio.to_thread.run_sync(history, setup, tmp_path)
        assert [second["run_id"], first["run_id"]] == [run["run_id"] for run in runs]


@pytest.mark.requirement("REAL-2")
async def test_a_client_that_gives_up_after_two_seconds_collects_its_run(tmp_path: Path) -> None:
    """The run goes on, the same call attaches to it, and droid_wait has the result."""
    go = tmp_path / "go"

    def answer(messages: Messages) -> Reply:
        waits = execute(f"while [ ! -e {go} ]; do sleep 0.1; done")
        return "Waited." if messages[-1]["role"] == "tool" else waits

    with FakeModel(answer) as model:
        setup = droid_setup(tmp_path / "droid", model)
        async with ts_client("v1", program(setup, tmp_path)) as client:
            call: dict[str, Any] = {"name": "code_droid", "arguments": {"task": "Wait"}}
            late = await client.step("call", **call, timeoutMs=2000)
            assert not late["ok"]
            call["arguments"] = {"task": "Wait", "wait_s": 0}
            again = structured(await client.step("call", **call))
            assert "running" == again["status"]
            await anyio.Path(go).touch()
            arguments = {"run_id": again["run_id"], "wait_s": 50}
            ended = structured(await client.step("call", name="droid_wait", arguments=arguments))
            assert ("done", "possible") == (ended["status"], ended["side_effects"])
            assert "Waited." in ended["text"]
        assert 1 == len(await anyio.to_thread.run_sync(history, setup, tmp_path))


@pytest.mark.requirement("REAL-3")
async def test_droid_cancel_leaves_no_process_behind(tmp_path: Path) -> None:
    """Not the droid, not the command it ran."""
    second = "98.7654"

    def answer(_: Messages) -> Reply:
        return execute(f"sleep {second}")

    with FakeModel(answer) as model:
        setup = droid_setup(tmp_path / "droid", model)
        async with ts_client("v1", program(setup, tmp_path)) as client:
            arguments: dict[str, Any] = {"task": "Sleep", "wait_s": 0}
            call = await client.step("call", name="code_droid", arguments=arguments)
            run_id = structured(call)["run_id"]
            with anyio.fail_after(30):
                await until(lambda: bool(sleepers(second)))
            assert members(-1, run_id)
            ended = structured(
                await client.step("call", name="droid_cancel", arguments={"run_id": run_id})
            )
            assert ("cancelled", "possible") == (ended["status"], ended["side_effects"])
            assert ended["session_id"]
            assert [] == list(processes_with(second))
            assert set() == members(-1, run_id)


@pytest.mark.requirement("REAL-4")
async def test_an_editor_that_leaves_interrupts_and_the_same_call_goes_on(tmp_path: Path) -> None:
    """End of stdin: closed as interrupted, with its session, which the same call continues."""
    second = "87.6543"
    replies = iter((execute(f"sleep {second}"), "Continued."))

    def answer(_: Messages) -> Reply:
        return next(replies)

    with FakeModel(answer) as model:
        setup = droid_setup(tmp_path / "droid", model)
        call: dict[str, Any] = {"name": "code_droid", "arguments": {"task": "x", "wait_s": 0}}
        async with ts_client("v1", program(setup, tmp_path)) as client:
            await client.step("call", **call)
            with anyio.fail_after(30):
                await until(lambda: bool(sleepers(second)))
        with anyio.fail_after(30):
            await until(lambda: not sleepers(second))
        (cut,) = await anyio.to_thread.run_sync(history, setup, tmp_path)
        assert ("interrupted", "possible") == (cut["status"], cut["side_effects"])
        async with ts_client("v1", program(setup, tmp_path)) as client:
            call["arguments"] = {"task": "x"}
            again = structured(await client.step("call", **call))
        assert cut["session_id"] == again["session_id"]
        assert "Continued." in again["text"]


@pytest.mark.requirement("REAL-5")
async def test_a_model_that_is_gone_ends_as_a_handoff_with_the_tasks_own_steps(
    tmp_path: Path,
) -> None:
    """Reason, attempts, side effects, mode and steps; nothing was changed."""
    with FakeModel(lambda _: Tool("Read", {"file_path": "/etc/hostname"})) as model:
        setup = droid_setup(tmp_path / "droid", model)
        model.stop()
        async with ts_client("v1", program(setup, tmp_path)) as client:
            arguments: dict[str, Any] = {"task": "design_system", "wait_s": 200}
            answer = structured(
                await client.step(
                    "call",
                    name="architect_droid",
                    arguments=arguments,
                    timeoutMs=200_000,
                    deadline_s=200,
                )
            )
    assert ("handoff", "none") == (answer["status"], answer["side_effects"])
    assert "droid_cli" == answer["attempts"][0]["backend"]
    assert "architect" == answer["handoff"]["suggested_mode"]
    assert "design_system" in answer["handoff"]["steps"][0]
    assert answer["handoff"]["reason"].startswith("droid_cli failed with backend_")


@dataclass
class AheadClock(SystemClock):
    """The machine's clock, `ahead` seconds in the future: a test need not wait for a breaker."""

    ahead: float = 0.0

    def now(self) -> float:
        return super().now() + self.ahead

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@pytest.mark.requirement("REAL-6")
async def test_five_failures_open_the_breaker_and_two_good_probes_close_it(tmp_path: Path) -> None:
    """An open breaker answers without the droid, even when the model is back already."""
    clock = AheadClock()
    with FakeModel(lambda _: "Well.") as model:
        setup = droid_setup(tmp_path / "droid", model)
        settings = Settings.load(environment(setup, tmp_path), cwd=setup.workspace)
        app = build(settings, home=setup.home, clock=clock)

        async def codes(task: str) -> list[str]:
            request = CallRequest(principal=LOCAL, droid="code", task=task)
            answer = await app.calls.call(request, 60, None)
            return [attempt.code for attempt in answer.attempts]

        async with app.serving():
            model.stop()
            assert ["backend_unavailable"] * 5 == [c for i in range(3) for c in await codes(f"{i}")]
            model.start()
            assert ["circuit_open"] == await codes("too early")
            assert [] == model.requests
            clock.ahead = OPEN_S * (1 + JITTER)
            assert [["ok"], ["ok"]] == [await codes("first probe"), await codes("second probe")]
            model.stop()
            failed = await codes("a closed breaker stays closed at one call's failures")
            assert ["backend_unavailable"] == list(dict.fromkeys(failed))
            model.start()
            assert ["ok"] == await codes("closed")
