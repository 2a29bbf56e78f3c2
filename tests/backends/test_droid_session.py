"""One attempt with a program that speaks the droid's protocol but does what a scenario says."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from factory_mcp.backends.droid_check import INSTALL
from factory_mcp.backends.droid_cli import DroidCli
from factory_mcp.backends.droid_launch import Launch
from factory_mcp.backends.processes import members
from factory_mcp.domain.errors import (
    BackendCrashed,
    BackendError,
    BackendGarbage,
    BackendMissing,
    BackendOverloaded,
    BackendRejected,
    BackendTimeout,
    BackendUnauthorized,
    BackendUnavailable,
    BackendWrongModel,
)
from factory_mcp.domain.model import Workspace
from factory_mcp.domain.spec import DroidSpec
from tests.backends.scenario import COMPLETED, GUARD_S, RETRY, SAID, THINKING, Stub
from tests.fakes import FakeClock

Play = Callable[..., Stub]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def play(tmp_path: Path, clock: FakeClock) -> Play:
    def start(**scenario: Any) -> Stub:
        return Stub(tmp_path.resolve(), clock, {"turn": [SAID, COMPLETED]} | scenario)

    return start


async def test_the_answer_comes_back_with_its_session(play: Play) -> None:
    """The shortest talk there is."""
    outcome = await play().run()

    assert ("hello", "session-1", ()) == (outcome.text, outcome.session_id, outcome.warnings)


@pytest.mark.requirement("DROID-12")
async def test_without_a_workspace_the_folder_is_a_scratch_one(play: Play) -> None:
    """Removed with everything else of the run."""
    stub = play()

    outcome = await stub.run(workspace=None)

    assert "hello" == outcome.text
    assert [] == os.listdir(stub.folder / "run")  # noqa: PTH208 — async


# ------------------------------------------------------------------- programs that fail us


@pytest.mark.requirement("DROID-22")
async def test_a_missing_program_says_how_to_install_it(clock: FakeClock, tmp_path: Path) -> None:
    """In the result as in `doctor`."""
    cli = DroidCli(clock=clock, run_dir=tmp_path, program=tmp_path / "no-droid")
    stub = Stub(tmp_path, clock, {})

    with pytest.raises(BackendMissing) as caught:
        await cli.run(stub.work(), stub.seen.append)
    [check] = await cli.check()

    assert "npm install -g @factory/cli-linux-x64@0.225.2" in INSTALL
    assert "npm install -g droid@0.215.0" in INSTALL
    assert (INSTALL, INSTALL) == (caught.value.remedy, check.fix)
    assert not check.ok


async def test_a_program_that_cannot_be_executed_is_missing(play: Play) -> None:
    """A file with the right to run that is no program."""
    stub = play()
    (stub.folder / "droid").write_bytes(b"\x7fELF nonsense")

    assert BackendMissing is type(await stub.error())


@pytest.mark.requirement("DROID-5")
async def test_a_program_that_ends_is_a_crash_without_secrets(play: Play) -> None:
    """What it wrote to stderr is told, the keys in it are not."""
    at_once = await play(exit=3, stderr="fatal: fk-mine").error()
    in_turn = await play(turn=[THINKING, {"exit": 4}]).error()

    assert (BackendCrashed, BackendCrashed) == (type(at_once), type(in_turn))
    assert "exit code 3" in at_once.message
    assert "fatal: [REDACTED]" in at_once.message
    assert in_turn.evidence is not None
    assert "session-1" == in_turn.evidence.session_id


@pytest.mark.parametrize(
    ("scenario", "kind"),
    [
        ({"settings": {"restrictToolIds": None}}, BackendGarbage),
        ({"settings": {"systemPrompt": None}}, BackendGarbage),
        ({"settings": {"modelId": 7}}, BackendGarbage),
        ({"error": {"code": -32603, "message": "no"}}, BackendGarbage),
        ({"error": {"code": -32001, "message": "log in"}}, BackendUnauthorized),
        ({"turn": [COMPLETED]}, BackendGarbage),
        ({"turn": [RETRY, RETRY, RETRY]}, BackendOverloaded),
    ],
)
async def test_a_program_that_does_not_do_as_it_should(
    play: Play, scenario: dict[str, Any], kind: type[BackendError]
) -> None:
    """One that restricts no tools or takes no prompt would run another droid than the spec's."""
    assert kind is type(await play(**scenario).error())


async def test_a_folder_that_vanished_is_no_mystery(play: Play) -> None:
    """It was there when the workspace was opened."""
    gone = Workspace(path="/no/such/folder", key="k")

    assert BackendUnavailable is type(await play().error(workspace=gone))


async def test_an_unknown_reasoning_effort_is_refused_with_the_known_ones(play: Play) -> None:
    """The program would take its default for it."""
    spec = DroidSpec(name="code", description="", prompt="x", reasoning_effort="huge")

    error = await play().error(spec)

    assert BackendRejected is type(error)
    assert "none, dynamic" in error.remedy


async def test_a_known_reasoning_effort_is_passed_on(play: Play) -> None:
    """An empty prompt is none at all."""
    spec = DroidSpec(name="code", description="", prompt=" ", reasoning_effort="high")

    assert "hello" == (await play(settings={"systemPrompt": None}).run(spec)).text


PRESET = {"type": "preset", "preset": "droid", "append": "You write code."}
OURS = {"tags": [{"name": "sdk"}, {"name": "factory-mcp", "metadata": {"droid": "code"}}]}


@pytest.mark.requirement("DROID-10")
async def test_a_session_of_ours_is_resumed(play: Play) -> None:
    """Its own model and prompt stay; the rights are set anew."""
    outcome = await play(settings=OURS).run(session_id="s-7")

    assert ("hello", "s-7") == (outcome.text, outcome.session_id)


@pytest.mark.requirement("DROID-10")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tags": [{"name": "factory-mcp"}], "systemPrompt": PRESET},
        {"systemPrompt": PRESET | {"append": "You paint."}},
        {"systemPrompt": "You write code."},
    ],
)
async def test_a_session_of_somebody_else_is_not(play: Play, settings: dict[str, Any]) -> None:
    """It has another prompt."""
    error = await play(settings=settings).error(session_id="s-7")

    assert "that session is not one of code" == error.message


@pytest.mark.requirement("DROID-10")
async def test_a_session_whose_tags_are_forgotten_is_known_by_its_prompt(play: Play) -> None:
    """0.215.0 does not give tags back."""
    outcome = await play(settings={"systemPrompt": PRESET}).run(session_id="s-7")

    assert "hello" == outcome.text


@pytest.mark.requirement("DROID-6")
async def test_another_model_than_the_one_asked_for_is_never_used(play: Play) -> None:
    """Neither in a new session nor in a resumed one."""
    spec = DroidSpec(name="code", description="", prompt="x", model="asked")
    other = {"modelId": "other", **OURS}

    new = await play(settings=other).error(spec)
    resumed = await play(settings=other).error(spec, session_id="s-7")

    words = "code asks for the model asked, the droid would use other"
    assert (BackendWrongModel, words) == (type(new), new.message)
    assert (BackendWrongModel, words) == (type(resumed), resumed.message)


@pytest.mark.requirement("DROID-6")
async def test_a_model_that_is_not_listed_is_unknown(play: Play) -> None:
    """0.215.0 repeats the unknown name and would run its default all the same."""
    spec = DroidSpec(name="code", description="", prompt="x", model="gpt")

    unknown = await play(models=["other", "custom:mine-0"]).error(spec)
    listed = await play(models=["other", "gpt"]).run(spec)

    assert (BackendWrongModel, "the droid knows no model gpt") == (type(unknown), unknown.message)
    assert "hello" == listed.text


@pytest.mark.requirement("DROID-10")
@pytest.mark.parametrize("cwd", [None, "/elsewhere"])
async def test_a_session_without_a_known_folder_is_not_resumed(play: Play, cwd: str | None) -> None:
    """It could change files that nobody named."""
    error = await play(cwd=cwd, settings=OURS).error(session_id="s")

    assert "that session works in another folder" == error.message


# --------------------------------------------------------------------------- time and ends


@pytest.mark.requirement("DROID-24")
async def test_silence_is_reported_every_tick(play: Play, clock: FakeClock) -> None:
    """A caller sees that it lives, and nothing is invented meanwhile."""
    stub = play(turn=[THINKING])
    before = 0

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stub.cli.run, stub.work(), stub.seen.append)
        with anyio.fail_after(GUARD_S):
            await stub.until_thinking()
            before = len(stub.seen)
            for _ in range(3):
                clock.advance(10)
                await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert [stub.seen[-1]] * 3 == stub.seen[before:]


@pytest.mark.requirement("DROID-7")
async def test_a_deadline_that_has_passed_starts_nothing(play: Play, clock: FakeClock) -> None:
    """Not even the program."""
    error = await play().error(deadline=clock.monotonic())

    assert ("the droid did not finish in time", None) == (
        error.message,
        error.evidence and error.evidence.session_id,
    )


@pytest.mark.requirement("DROID-7")
async def test_a_program_that_never_opens_a_session_is_timed_out(
    play: Play, clock: FakeClock
) -> None:
    """And is killed, though it listens to nothing."""
    stub = play(silent=["initialize_session"], deaf=True)
    work = stub.work(deadline=clock.monotonic() + 30)

    with anyio.fail_after(GUARD_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_let_time_pass, clock, stub.folder / "run" / f"{work.run_id}.pid")
            with pytest.raises(BackendTimeout):
                await stub.cli.run(work, stub.seen.append)

    assert set() == members(-1, work.run_id)


async def _let_time_pass(clock: FakeClock, pid_file: Path) -> None:
    """Once the program is there."""
    exists = partial(anyio.to_thread.run_sync, pid_file.exists)
    while not await exists():  # noqa: ASYNC110 — another program's doing
        await anyio.sleep(0.01)
    clock.advance(30)


@pytest.mark.requirement("DROID-8")
async def test_a_program_deaf_to_everything_is_gone_after_a_cancel(play: Play) -> None:
    """It answers no interrupt, no close, and ignores SIGTERM."""
    stub = play(turn=[THINKING], silent=["interrupt_session", "close_session"], deaf=True)
    work = stub.work()

    with anyio.fail_after(GUARD_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stub.cli.run, work, stub.seen.append)
            await stub.until_thinking()
            tasks.cancel_scope.cancel()

    assert set() == members(-1, work.run_id)
    assert [] == os.listdir(stub.folder / "run")  # noqa: PTH208 — async


# --------------------------------------------------------------------------- what it says


@pytest.mark.requirement("DROID-3")
async def test_a_turn_without_permission_says_what_the_caller_can_do(play: Play) -> None:
    """More autonomy is the caller's to give."""
    error = await play(turn=[COMPLETED | {"reason": "no_approver_available"}]).error()

    assert BackendRejected is type(error)
    assert "more autonomy" in error.remedy


@pytest.mark.requirement("DROID-25")
async def test_a_line_beyond_measure_is_garbage(play: Play) -> None:
    """droid-sdk takes 10 MB a line; asking again would bring the same."""
    error = await play(turn=[{"type": "error", "message": "x" * (11 << 20)}]).error()

    assert BackendGarbage is type(error)


@pytest.mark.requirement("DROID-25")
async def test_an_oversize_answer_is_cut_and_says_so(play: Play) -> None:
    """4 MiB, never inside a character; NUL and lone surrogates are replaced."""
    long = {"type": "text", "text": "\0\ud800" + "é" * (3 << 20)}
    message = {"id": "m", "role": "assistant", "content": [long]}
    stub = play(turn=[{"type": "create_message", "message": message}, COMPLETED])

    outcome = await stub.run()

    assert outcome.text.startswith("\ufffd")
    assert outcome.text.lstrip("\ufffd").startswith("é")
    assert (4 << 20) - 2 <= len(outcome.text.encode()) <= 4 << 20
    assert ["partial: the answer had"] == [warning[:23] for warning in outcome.warnings]


@pytest.mark.requirement("DROID-13")
async def test_a_wanted_mcp_server_is_waited_for(play: Play) -> None:
    """Until the program says how it stands."""
    spec = DroidSpec(name="code", description="", prompt="x", mcp_servers=("shop",))
    states: list[Any] = [
        {"type": "mcp_status_changed", "servers": [{"name": "shop", "status": status}]}
        for status in ("connecting", "failed")
    ]

    outcome = await play(before=states).run(spec)
    states[-1]["servers"][0]["status"] = "connected"
    well = await play(before=states).run(spec)

    assert ("partial: the MCP server shop was not connected",) == outcome.warnings
    assert () == well.warnings


@pytest.mark.requirement("DROID-23")
def test_the_sdk_is_not_imported_before_it_is_used() -> None:
    """It costs half a second."""
    code = "import factory_mcp.backends.droid_cli, factory_mcp.backends.workspaces, sys\n"
    code += "print('droid_sdk' in sys.modules, 'pydantic' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "False False\n" == done.stdout


def test_the_key_is_not_in_its_repr(clock: FakeClock, tmp_path: Path) -> None:
    """A backend may end up in a log."""
    cli = DroidCli(clock=clock, run_dir=tmp_path, api_key="fk-mine", env={"K": "other"})

    assert ("droid_cli", True) == (cli.name, cli.sees_workspace)
    assert "mine" not in repr(cli)
    assert "other" not in repr(cli)


@pytest.mark.requirement("DROID-5")
def test_what_is_hidden_are_keys_and_not_every_value(tmp_path: Path) -> None:
    """A variable that is `1` must not spoil each message with a 1 in it."""
    secrets = {"ON": "1", "KEY": "hunter2-long", "LONGER": "hunter2-longer"}
    launch = Launch(command=[], folder=tmp_path, pid_file=tmp_path, secrets=secrets)

    shown = launch.hide("1: hunter2-longer hunter2-long, Bearer abc, fk-12345678")

    assert "1: [REDACTED] [REDACTED], [REDACTED] [REDACTED]" == shown
