"""The droid_cli backend with Factory's real program, on a model of our own."""

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from factory_mcp.backends.processes import members
from factory_mcp.domain.errors import (
    BackendCrashed,
    BackendError,
    BackendQuota,
    BackendRejected,
    BackendTimeout,
    BackendUnauthorized,
    BackendUnavailable,
    BackendWrongModel,
)
from factory_mcp.domain.model import Autonomy, Effects, SideEffects, Usage
from factory_mcp.ports import Work
from tests.fakes import FakeClock
from tests.real.droid_program import (
    GUARD_S,
    KEY,
    DroidSetup,
    Reports,
    create,
    droid_setup,
    execute,
    gather,
    processes_with,
    sleepers,
    spec,
    until,
    work,
)
from tests.real.fake_model import Fail, FakeModel, Hang, Reply, calls_then, text_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def model() -> Iterator[FakeModel]:
    with FakeModel(lambda _: "hello") as server:
        yield server


@pytest.fixture
def droid(tmp_path: Path, model: FakeModel) -> DroidSetup:
    return droid_setup(tmp_path, model)


async def error_of(droid: DroidSetup, *args: Any, **changes: Any) -> BackendError:
    """The error that one run ends with."""
    with pytest.raises(BackendError) as caught:
        await droid.run(*args, **changes)
    return caught.value


# --------------------------------------------------------------------------- what it does


@pytest.mark.requirement("DROID-1")
@pytest.mark.requirement("DROID-9")
async def test_a_prompt_arrives_whole_and_the_answer_comes_back(
    droid: DroidSetup, model: FakeModel
) -> None:
    """Dashes, line ends and foreign characters pass; NUL and a lone surrogate are replaced."""
    prompt = "--help\nsecond line\n\u00e9\U0001f600 \0 \ud800 end"

    outcome = await droid.run(prompt=prompt)

    asked = model.requests[0]
    assert "hello" == outcome.text
    assert (Usage(input_tokens=200, output_tokens=20), ()) == (outcome.usage, outcome.warnings)
    assert SideEffects.NONE == outcome.side_effects
    assert prompt.replace("\0", "\ufffd").replace("\ud800", "\ufffd") == text_of(asked.messages[-1])
    assert "You write code." in text_of(asked.messages[0])
    assert f"Bearer {KEY}" == asked.headers["Authorization"]


@pytest.mark.requirement("DROID-2")
async def test_a_created_file_appears_and_is_reported(droid: DroidSetup, model: FakeModel) -> None:
    """What the session changed is confirmed by name, and was reported while it happened."""
    model.script = calls_then("done", create(droid.workspace / "sub" / "a.txt"))
    reports = Reports()

    with anyio.fail_after(GUARD_S):
        outcome = await droid.backend().run(work(droid.workspace), reports)

    assert "made\n" == (droid.workspace / "sub" / "a.txt").read_text()
    assert (SideEffects.CONFIRMED, ("sub/a.txt",)) == (outcome.side_effects, outcome.changed_paths)
    assert "starting" == reports.seen[0].state
    assert ("tool", "Create") in [(seen.state, seen.tool) for seen in reports.seen]
    assert (outcome.session_id, ("sub/a.txt",)) == (
        reports.seen[-1].session_id,
        reports.seen[-1].changed_paths,
    )


@pytest.mark.requirement("DROID-3")
async def test_a_refused_tool_is_no_silent_success(droid: DroidSetup, model: FakeModel) -> None:
    """The program itself calls this a success; the result says what was refused."""
    model.script = calls_then("created", create(droid.workspace / "a.txt"))

    outcome = await droid.run(spec(tools=("Read",), effects=Effects.NONE))

    assert ("partial: the droid was refused the tool Create (1 of its calls)",) == outcome.warnings
    assert SideEffects.NONE == outcome.side_effects
    assert not (droid.workspace / "a.txt").exists()
    assert {"Read"} == model.requests[0].tools


@pytest.mark.requirement("DROID-3")
async def test_a_command_beyond_its_autonomy_stops_the_droid(
    droid: DroidSetup, model: FakeModel
) -> None:
    """The error names the tool and keeps the session, so that the caller can go on with it."""
    model.script = calls_then("done", execute(f"touch {droid.workspace}/x", risk="high"))

    error = await error_of(droid, autonomy=Autonomy.LOW)

    assert isinstance(error, BackendRejected)
    assert "the droid stopped because it was not allowed to use Execute" == error.message
    assert error.evidence is not None
    assert error.evidence.session_id is not None
    assert SideEffects.NONE == error.evidence.side_effects
    assert not (droid.workspace / "x").exists()


@pytest.mark.requirement("DROID-4")
async def test_the_providers_refusals_have_names(tmp_path: Path) -> None:
    """401, 402, 400 and 404 end the turn at once; a provider that is away is unavailable."""

    async def kind(name: str, reply: Reply) -> type[BackendError]:
        with FakeModel(lambda _: reply) as model:
            droid = droid_setup(tmp_path / name, model)
            if name == "away":
                model.stop()
            return type(await error_of(droid))

    replies = {str(status): Fail(status) for status in (401, 402, 400, 404)} | {"away": "hello"}
    found = await gather({name: partial(kind, name, reply) for name, reply in replies.items()})

    assert {
        "401": BackendUnauthorized,
        "402": BackendQuota,
        "400": BackendRejected,
        "404": BackendRejected,
        "away": BackendUnavailable,
    } == found


@pytest.mark.requirement("DROID-5")
async def test_no_key_leaves_in_an_error(droid: DroidSetup, model: FakeModel) -> None:
    """A provider that repeats the key in its refusal does not make us repeat it."""
    model.script = lambda _: Fail(400, f"bad key {KEY}, or was it sk-12345678abc?")

    error = await error_of(droid)

    assert "400 bad key [REDACTED], or was it [REDACTED]?" == error.message


@pytest.mark.requirement("DROID-6")
async def test_an_unknown_model_is_never_another_one(droid: DroidSetup, model: FakeModel) -> None:
    """The program would take its own default, which somebody may have to pay.

    `inherit` is the user's default, and nothing is checked where nothing was asked for.
    """
    found = await gather(
        {
            "nope": partial(error_of, droid, spec(model="nope")),
            "custom": partial(error_of, droid, spec(model="custom:nope")),
            "inherit": partial(droid.run, spec(model="inherit")),
        }
    )

    assert (BackendWrongModel, BackendWrongModel) == (type(found["nope"]), type(found["custom"]))
    assert "hello" == found["inherit"].text
    assert 1 == len(model.requests)


@pytest.mark.requirement("DROID-7")
async def test_a_hanging_model_ends_in_a_timeout_with_evidence(
    droid: DroidSetup, model: FakeModel
) -> None:
    """Idle time and deadline are ours: the program itself would wait."""
    model.script = calls_then("done", execute("echo hi"), Hang())
    clock = FakeClock()
    silent = work(droid.workspace, spec(idle_s=30.0), deadline=1e9)
    late = work(droid.workspace, spec(idle_s=1e9), deadline=1030.0)
    found: dict[str, tuple[BackendTimeout, Reports]] = {}

    async def timeout(asked: Work) -> tuple[BackendTimeout, Reports]:
        reports = Reports()
        with pytest.raises(BackendTimeout) as caught:
            await droid.backend(clock=clock).run(asked, reports)
        return caught.value, reports

    with anyio.fail_after(GUARD_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_time_passes, model, clock)
            jobs = {"silent": partial(timeout, silent), "late": partial(timeout, late)}
            found |= await gather(jobs)
            tasks.cancel_scope.cancel()
        await until(lambda: not members(-1, silent.run_id) | members(-1, late.run_id))

    assert "the droid was silent for 30 s" == found["silent"][0].message
    assert "the droid did not finish in time" == found["late"][0].message
    for error, reports in found.values():
        assert error.evidence is not None
        assert SideEffects.POSSIBLE == error.evidence.side_effects
        assert reports.seen[-1].session_id == error.evidence.session_id is not None


async def _time_passes(model: FakeModel, clock: FakeClock) -> None:
    """Once both wait; in steps, since a program may still have had something to say."""
    await anyio.to_thread.run_sync(model.wait_until_asked, 4)
    while True:
        clock.advance(5)
        await anyio.sleep(0.05)


# ---------------------------------------------------------------------------- how it ends


@pytest.mark.requirement("DROID-8")
async def test_a_cancelled_run_leaves_no_process(droid: DroidSetup, model: FakeModel) -> None:
    """Neither the program, nor its command, nor what the command had detached from it."""
    mark = f"7{os.getpid()}"
    model.script = calls_then("done", execute(f"(setsid sleep {mark}1 &); exec sleep {mark}2"))
    asked = work(droid.workspace)
    group = 0

    with anyio.fail_after(GUARD_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(droid.backend().run, asked, Reports())
            await until(lambda: len(sleepers(mark)) == 2)
            group = int((droid.run_dir / f"{asked.run_id}.pid").read_text())
            assert group == os.getpgid(group) == os.getsid(group)
            tasks.cancel_scope.cancel()

    assert [] == list(processes_with(mark))
    assert set() == members(group, asked.run_id)
    assert [] == droid.left_behind


@pytest.mark.requirement("DROID-8")
async def test_a_killed_program_is_a_crash_with_evidence(
    droid: DroidSetup, model: FakeModel
) -> None:
    """The process id is where the run can find it; the session can be gone on with."""
    model.script = lambda _: Hang()
    asked = work(droid.workspace)

    async def kill_when_asked() -> None:
        await anyio.to_thread.run_sync(model.wait_until_asked)
        os.killpg(int((droid.run_dir / f"{asked.run_id}.pid").read_text()), signal.SIGKILL)

    async def crash() -> BackendError:
        with pytest.raises(BackendCrashed) as caught:
            await droid.backend().run(asked, Reports())
        return caught.value

    with anyio.fail_after(GUARD_S):
        found = await gather({"crash": crash, "kill": kill_when_asked})

    assert found["crash"].evidence.session_id is not None
    assert [] == droid.left_behind


@pytest.mark.requirement("DROID-10")
async def test_a_session_goes_on_and_belongs_to_its_droid_and_folder(
    droid: DroidSetup, model: FakeModel
) -> None:
    """A later process continues it, with the rights of the later call; nobody else may."""
    first = await droid.run(prompt="remember 4711")
    again: dict[str, Any] = {"session_id": first.session_id, "prompt": "and now?"}

    second = await droid.run(spec(tools=("Read",)), **again)
    refused = await gather(
        {
            "debug": partial(error_of, droid, spec(name="debug", prompt="You debug."), **again),
            "elsewhere": partial(error_of, droid, workspace=None, **again),
            "model": partial(error_of, droid, spec(model="custom:other"), **again),
            "unknown": partial(error_of, droid, session_id="00000000-0000-4000-8000-000000000000"),
        }
    )

    assert first.session_id == second.session_id
    assert ["remember 4711", "hello", "and now?"] == [
        text_of(message) for message in model.requests[-1].messages
    ][-3:]
    assert {"Read"} == model.requests[-1].tools
    assert "that session is not one of debug" == refused["debug"].message
    assert "that session works in another folder" == refused["elsewhere"].message
    assert BackendWrongModel is type(refused["model"])
    assert "Session not found" in refused["unknown"].message
    assert 2 == len(model.requests)
