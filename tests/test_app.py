"""The wired product: a store that comes and goes, the development server, what doctor looks at."""

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import anyio
import httpx
import pytest
from mcp import Client
from structlog.testing import capture_logs

from factory_mcp import __version__
from factory_mcp.__main__ import main
from factory_mcp.app import build, over_http
from factory_mcp.domain.errors import NotLoopback, StoreUnavailable
from factory_mcp.domain.model import Status
from tests.house import house, settings, until
from tests.test_stdout_is_protocol import HANDSHAKE, environment, run

LLM = {"FACTORY_MCP_LLM_URL": "http://127.0.0.1:1/v1", "FACTORY_MCP_LLM_MODEL": "m"}


@pytest.mark.requirement("APP-1")
async def test_a_store_that_is_away_at_start_is_tried_again_until_it_is_back(
    tmp_path: Path,
) -> None:
    """Until then each call says so; nothing is run that cannot be recorded."""
    (tmp_path / "data").write_text("a file where the folder should be")
    with capture_logs() as logs:

        def refused() -> int:
            return sum(line["event"] == "store.unavailable" for line in logs)

        async with house(tmp_path) as home:
            with pytest.raises(StoreUnavailable, match="cannot be used"):
                await home.app.calls.call(home.request(), 0, None)
            assert [] == home.backend.works
            home.clock.advance(5)
            await until(lambda: refused() == 2)
            (tmp_path / "data").unlink()
            home.clock.advance(5)
            with anyio.fail_after(30):
                while not (await home.app.database.check())[0].ok:
                    await anyio.lowlevel.checkpoint()
            ended = await home.app.calls.call(home.request(), 10, None)
    assert Status.DONE == ended.status


@pytest.mark.requirement("APP-1")
async def test_a_data_folder_that_goes_away_is_not_made_anew(tmp_path: Path) -> None:
    """Calls are refused until it is back, and nothing stands in its place then."""
    async with house(tmp_path) as home:
        await home.app.calls.call(home.request("one"), 10, None)
        (tmp_path / "data").rename(tmp_path / "away")
        with pytest.raises(StoreUnavailable, match="No such file"):
            await home.app.calls.call(home.request("two"), 10, None)
        assert not (tmp_path / "data").exists()
        (tmp_path / "away").rename(tmp_path / "data")
        ended = await home.app.calls.call(home.request("two"), 10, None)
    assert Status.DONE == ended.status


@pytest.mark.requirement("APP-2")
def test_a_store_of_another_program_keeps_stdio_from_starting(tmp_path: Path) -> None:
    """One line that says what to do, exit code 2; the client has heard of us already."""
    (tmp_path / "data").mkdir()
    with sqlite3.connect(tmp_path / "data" / "factory-mcp.db") as database:
        database.execute("CREATE TABLE mine (id INTEGER)")
    database.close()
    done = run(["-m", "factory_mcp", "stdio"], [("initialize", HANDSHAKE)], environment(tmp_path))
    assert (2, 1) == (done.returncode, len(done.stdout.splitlines()))
    assert b"Traceback" not in done.stderr
    assert b'"code": "schema_mismatch"' in done.stderr
    assert b"Name another folder in FACTORY_MCP_DATA." in done.stderr


@pytest.mark.requirement("APP-2")
def test_a_wrong_setting_keeps_stdio_from_starting(tmp_path: Path) -> None:
    """It is named."""
    env = environment(tmp_path, FACTORY_MCP_MAX_PARALLEL="many")
    done = run(["-m", "factory_mcp", "stdio"], [("initialize", HANDSHAKE)], env)
    assert 2 == done.returncode
    assert b"FACTORY_MCP_MAX_PARALLEL must be a number from 1 to 64" in done.stderr


@pytest.mark.requirement("APP-3")
async def test_uvicorn_serves_the_factory_that_the_documents_name(tmp_path: Path) -> None:
    """`uvicorn --factory factory_mcp.app:asgi`: health, and a call as a client makes it."""
    command = ["-m", "uvicorn", "--factory", "factory_mcp.app:asgi", "--port", "0"]
    env = environment(tmp_path, FACTORY_MCP_ROOTS=str(tmp_path))
    with subprocess.Popen(  # noqa: ASYNC220 — read line by line until it serves
        [sys.executable, *command], stderr=subprocess.PIPE, text=True, env=env
    ) as server:
        assert server.stderr is not None
        said = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in server.stderr)
        url = next(found.group() for found in said if found)
        async with httpx.AsyncClient() as web:
            healthy = await web.get(f"{url}/healthz")
        async with Client(f"{url}/mcp", mode="legacy") as client:
            answer = await client.call_tool("architect_droid", {"task": "design"})
        server.terminate()
        server.communicate(timeout=30)
    assert (200, {"status": "ok"}) == (healthy.status_code, healthy.json())
    assert "handoff" == (answer.structured_content or {})["status"]


@pytest.mark.requirement("APP-4")
def test_no_way_to_serve_http_does_without_the_keys_that_are_required(tmp_path: Path) -> None:
    """There are none yet, so it does not start."""
    app = build(settings(tmp_path, FACTORY_MCP_AUTH="required"))
    with pytest.raises(NotLoopback, match="there are no API keys yet"):
        over_http(app)


@pytest.mark.requirement("APP-5")
@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, ["droid_cli"]),
        (LLM, ["droid_cli", "llm"]),
        (LLM | {"FACTORY_MCP_BACKENDS": " llm, "}, ["llm"]),
        (LLM | {"FACTORY_MCP_BACKENDS": "droid_cli"}, ["droid_cli"]),
    ],
)
def test_only_the_backends_that_are_named_are_there(
    tmp_path: Path, env: dict[str, str], expected: list[str]
) -> None:
    """All that can be used where none is named; the handoff is always there besides."""
    assert expected == list(build(settings(tmp_path, **env)).backends)


@pytest.mark.requirement("CALLS-22")
async def test_doctor_looks_at_backends_store_and_workspace(tmp_path: Path) -> None:
    """Then it says what is neither good nor bad but must be known."""
    async with house(tmp_path, PROMETHEUS_PORT="9") as home:
        checks = {check.name: check for check in await home.app.checks()}
    assert all(check.ok for check in checks.values())
    notes = ["settings", "sandbox", "client time-outs"]
    assert ["droid_cli", "store", "embedder", "key ring", "workspace", *notes] == list(checks)
    assert f"{tmp_path / 'shop'}, up to autonomy low" == checks["workspace"].detail
    assert "PROMETHEUS_PORT is set, but this version does not use it." == checks["settings"].detail


@pytest.mark.requirement("CALLS-22")
async def test_doctor_says_when_droids_see_no_files(tmp_path: Path) -> None:
    """With what gives them some; that is a choice, not a fault."""
    async with house(tmp_path, FACTORY_MCP_ROOTS="") as home:
        workspace = next(c for c in await home.app.checks() if c.name == "workspace")
    assert (True, "no root: droids see no files") == (workspace.ok, workspace.detail)
    assert "FACTORY_MCP_ROOTS" in (workspace.fix or "")


def test_what_is_odd_about_the_settings_is_logged_at_start(tmp_path: Path) -> None:
    """Once."""

    async def start() -> None:
        async with house(tmp_path, PROMETHEUS_PORT="9"):
            pass

    with capture_logs() as logs:
        anyio.run(start)
    warnings = [line["warning"] for line in logs if line["event"] == "settings.warning"]
    assert ["PROMETHEUS_PORT is set, but this version does not use it."] == warnings


def test_the_program_says_its_version_before_it_loads_anything(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All other commands go to the command line."""
    assert 0 == main(["--version"])
    assert f"factory-mcp {__version__}\n" == capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["config", "nonsense"])
    assert 2 == ended.value.code
