"""What the real program is given and what it can reach: environment, folders, tools, models."""

import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process

from factory_mcp.backends.droid_check import TESTED
from factory_mcp.backends.droid_cli import DroidCli
from factory_mcp.backends.processes import members
from factory_mcp.domain.model import SideEffects
from tests.real.droid_program import (
    GUARD_S,
    DroidSetup,
    RealClock,
    Reports,
    custom_model,
    droid_setup,
    execute,
    processes_with,
    sleepers,
    spec,
    until,
    work,
)
from tests.real.fake_model import FakeModel, Tool, calls_then, text_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def model() -> Iterator[FakeModel]:
    with FakeModel(lambda _: "hello") as server:
        yield server


@pytest.fixture
def droid(tmp_path: Path, model: FakeModel) -> DroidSetup:
    return droid_setup(tmp_path, model)


@asynccontextmanager
async def _in_a_process(droid: DroidSetup, environ: dict[str, str]) -> AsyncGenerator[Process]:
    """This file's `main` in a process of its own, whose environment and stdin we choose."""
    order = [str(droid.program), str(droid.home), str(droid.run_dir), str(droid.workspace)]
    process = await anyio.open_process(
        [sys.executable, __file__, *order],
        env={**os.environ, **droid.env, **environ, "PYTHONPATH": str(ROOT)},
        stderr=None,
    )
    async with process:
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()


def main(program: str, home: str, run_dir: str, workspace: str) -> None:
    """Run one piece of work, then print its outcome and the rest of our stdin."""
    cli = DroidCli(
        clock=RealClock(),
        program=Path(program),
        home=Path(home),
        run_dir=Path(run_dir),
        extra_env=("FAKE_MODEL_KEY", "A_MODEL_KEY", "FACTORY_MCP_KEYRING"),
        api_key="fk-mine",
        depth=1,
    )
    outcome = anyio.run(cli.run, work(Path(workspace)), Reports())
    sys.stdout.write(f"{outcome.text}|{sys.stdin.read()}")


@pytest.mark.requirement("DROID-8")
async def test_nothing_outlives_us_when_we_are_killed(droid: DroidSetup, model: FakeModel) -> None:
    """The program and its command end with a SIGKILLed parent."""
    mark = f"8{os.getpid()}"
    model.script = calls_then("done", execute(f"exec sleep {mark}"))

    with anyio.fail_after(GUARD_S):
        async with _in_a_process(droid, {}) as parent:
            await until(lambda: bool(sleepers(mark)))
            (pid_file,) = droid.run_dir.glob("*.pid")
            group, run_id = int(pid_file.read_text()), pid_file.stem
            assert members(group, run_id)
            parent.send_signal(signal.SIGKILL)
            await until(lambda: not [*processes_with(mark), *members(group, run_id)])


@pytest.mark.requirement("DROID-11")
async def test_the_droid_sees_the_allow_list_and_nothing_of_ours(
    droid: DroidSetup, model: FakeModel
) -> None:
    """Its commands get no secret of ours, know how deep they are, and leave our stdin alone."""
    model.script = calls_then("done", execute("cat /proc/$PPID/environ | tr '\\0' '\\n'; env"))
    planted = {
        "POSTGRES_CONNECTION_STRING": "postgresql://u:planted@h/d",
        "FACTORY_MCP_KEYRING": "planted",
        "FACTORY_AI_API_KEY": "planted",
        "AWS_SECRET_ACCESS_KEY": "planted",
        "XDG_CONFIG_HOME": "/planted",
        "A_MODEL_KEY": "wanted",
    }

    with anyio.fail_after(GUARD_S):
        async with _in_a_process(droid, planted) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            await process.stdin.send(b"for the protocol only")
            await process.stdin.aclose()
            out = b"".join([chunk async for chunk in process.stdout]).decode()

    seen = text_of(model.requests[1].messages[-1])
    wanted = {"A_MODEL_KEY=wanted", "FACTORY_MCP_DEPTH=2", f"HOME={droid.home}"}
    assert "done|for the protocol only" == out.splitlines()[-1]
    assert "planted" not in seen
    assert wanted | {"FACTORY_API_KEY=fk-mine"} <= set(seen.splitlines())


@pytest.mark.requirement("DROID-12")
async def test_without_a_workspace_it_works_in_a_folder_that_goes_away(
    droid: DroidSetup, model: FakeModel
) -> None:
    """An empty scratch folder, removed with whatever was put there."""
    model.script = calls_then("done", execute("pwd; ls -A | wc -l; touch left-behind"))

    await droid.run(workspace=None)

    where, entries, *_ = text_of(model.requests[1].messages[-1]).splitlines()
    assert (str(droid.run_dir), "0") == (str(Path(where).parent), entries.strip())
    assert [] == droid.left_behind


@pytest.mark.requirement("DROID-13")
async def test_only_the_mcp_servers_of_the_spec_are_offered(
    droid: DroidSetup, model: FakeModel
) -> None:
    """The user's other servers stay out of our session; a named one that is absent is said."""
    server = [sys.executable, str(ROOT / "tests" / "real" / "echo_server.py")]
    entry = {"type": "stdio", "command": server[0], "args": server[1:]}
    (droid.home / ".factory" / "mcp.json").write_text(
        json.dumps({"mcpServers": {"wanted": entry, "ambient": entry}})
    )
    model.script = calls_then(
        "done",
        Tool("ToolSearch", {"query": "select:wanted___echo,ambient___echo"}),
        Tool("wanted___echo", {}),
    )

    outcome = await droid.run(spec(tools=("Read",), mcp_servers=("wanted", "absent")))

    offered = {name for asked in model.requests for name in asked.tools}
    assert {"Read", "ToolSearch", "wanted___echo"} == offered
    assert "echoed" == text_of(model.requests[2].messages[-1])
    assert ("partial: the MCP server absent was not connected",) == outcome.warnings
    assert SideEffects.POSSIBLE == outcome.side_effects


@pytest.mark.requirement("DROID-14")
async def test_a_settings_file_of_its_own_brings_the_model(
    droid: DroidSetup, model: FakeModel, tmp_path: Path
) -> None:
    """`settings_file` reaches the program, and `check` reads it."""
    (droid.home / ".factory" / "settings.json").unlink()
    settings = tmp_path / "droid.json"
    settings.write_text(json.dumps({"customModels": [custom_model(model, "mine")]}))
    cli = droid.backend(settings_file=settings)

    with anyio.fail_after(GUARD_S):
        outcome = await cli.run(work(droid.workspace, spec(model="custom:mine")), Reports())
        checks = await cli.check()

    assert "hello" == outcome.text
    version = checks[0].detail.rpartition(" ")[2]
    assert version in TESTED
    assert [
        ("droid program", True, f"{droid.program}, version {version}"),
        ("ps", True, shutil.which("ps")),
        ("droid home", True, f"{droid.home} (a private one)"),
        ("droid access", True, "1 custom model(s)"),
    ] == [(check.name, check.ok, check.detail) for check in checks]


@pytest.mark.requirement("DROID-15")
async def test_the_shipped_specs_are_droids_to_the_program(
    droid: DroidSetup, model: FakeModel
) -> None:
    """Copied to `.factory/droids` they are listed, as the error about an unknown one shows."""
    ours = sorted((ROOT / "droid_specs").glob("*.md"))
    target = droid.workspace / ".factory" / "droids"
    target.mkdir(parents=True)
    for path in ours:
        shutil.copy(path, target)
    unknown = {"subagent_type": "zzz", "description": "a test", "prompt": "a test"}
    model.script = calls_then("done", Tool("Task", unknown))

    await droid.run(spec(tools=("Task",)))

    answer = text_of(model.requests[1].messages[-1])
    listed = answer.partition("Available subagents: ")[2].rstrip(".").split(", ")
    assert 5 == len(ours)
    assert {path.stem for path in ours} <= set(listed)


if __name__ == "__main__":
    main(*sys.argv[1:])
