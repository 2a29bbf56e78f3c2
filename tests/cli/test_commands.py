"""The command line: what a person types, what it prints, how it ends."""

import json
import os
import socket
from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner, Result

from factory_mcp import __version__
from factory_mcp.cli.main import app
from factory_mcp.cli.show import as_json, one_line_errors
from factory_mcp.domain.model import Outcome
from tests.backends.scenario import Stub
from tests.fakes import FakeClock
from tests.house import house
from tests.test_stdout_is_protocol import environment
from tests.test_stdout_is_protocol import run as run_program

RUNNER = CliRunner()
LEARNT = Outcome(text='Use Postgres for orders.\n```context\n{"db": "postgres"}\n```\n')


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A data folder, a workspace and no droid program."""
    (tmp_path / "shop").mkdir()
    return tmp_path


def run(here: Path, *arguments: str, **env: str) -> Result:
    """One command, in an environment of the test's own."""
    base = {
        "FACTORY_MCP_DATA": str(here / "data"),
        "FACTORY_MCP_ROOTS": str(here / "shop"),
        "XDG_CONFIG_HOME": str(here / "config"),
        "FACTORY_MCP_DROID_BIN": str(here / "no-droid"),
    }
    return RUNNER.invoke(app, list(arguments), env=base | env)


async def one_call(here: Path) -> None:
    """A run and its node in the data folder."""
    async with house(here, LEARNT) as home:
        await home.app.calls.call(home.request("Choose a database"), 10, None)


@pytest.mark.requirement("CALLS-21")
def test_history_lists_what_the_droids_did(here: Path) -> None:
    """As a table, as JSON, one whole."""
    anyio.run(one_call, here)
    shown = run(here, "history")
    assert 0 == shown.exit_code
    assert "architect  done    ok    0.0  run_" in shown.stdout
    assert "Choose a database" in shown.stdout
    rows = json.loads(run(here, "history", "--json", "--status", "done").stdout)
    assert ["Choose a database"] == [row["task"] for row in rows]
    one = run(here, "history", "--run", rows[0]["run_id"])
    assert one.stdout.startswith("DONE architect run_")
    assert [] == json.loads(run(here, "history", "--json", "--droid", "code").stdout)


def test_an_unknown_run_is_one_line_with_its_remedy(here: Path) -> None:
    """And exit code 1."""
    missing = run(here, "history", "--run", "run_x")
    assert 1 == missing.exit_code
    assert "error: There is no run 'run_x'. [unknown_run]" in missing.stderr


def test_what_was_learnt_can_be_listed_shown_and_found(here: Path) -> None:
    """Tables for people, JSON for programs."""
    anyio.run(one_call, here)
    listed = json.loads(run(here, "context", "list", "--json").stdout)
    assert [{"db": "postgres"}] == [node["data"] for node in listed]
    assert "Use Postgres for orders." in run(here, "context", "list").stdout
    node = listed[0]["id"]
    assert '"db": "postgres"' in run(here, "context", "show", node).stdout
    shown = json.loads(run(here, "context", "show", node, "--view", "chain", "--json").stdout)
    assert "chain" == shown["data"]["view"]
    assert f"1. {node}" in run(here, "context", "search", "orders").stdout
    assert 1 == run(here, "context", "show", "ctx_none").exit_code


@pytest.mark.requirement("CALLS-22")
def test_doctor_names_what_is_wrong_and_its_fix(here: Path) -> None:
    """A missing program is red, with the install line; the store is green."""
    found = run(here, "doctor")
    assert 1 == found.exit_code
    assert "npm install -g @factory/cli-linux-x64@0.225.2" in found.stdout
    assert "ok   store: " in found.stdout
    assert "ok   workspace: " in found.stdout
    checks = {check["name"]: check for check in json.loads(run(here, "doctor", "--json").stdout)}
    assert checks["store"]["ok"]


@pytest.mark.requirement("CALLS-22")
def test_doctor_is_content_where_nothing_is_wrong(here: Path) -> None:
    """Every line green, exit code 0."""
    Stub(here, FakeClock(), {})
    found = run(here, "doctor", FACTORY_MCP_DROID_BIN=str(here / "droid"), FACTORY_API_KEY="fk-x")
    assert (0, []) == (
        found.exit_code,
        [line for line in found.stdout.split("\n") if "BAD" in line],
    )
    assert "ok   droid access: a Factory key" in found.stdout


def test_doctor_sees_a_data_folder_that_cannot_be_used(here: Path) -> None:
    """And a workspace that would act by itself."""
    (here / "data").write_text("a file")
    (here / "shop" / ".factory").mkdir()
    (here / "shop" / ".factory" / "hooks.json").write_text('{"hooks": {"Stop": [{}]}}')
    found = run(here, "doctor")
    assert "BAD  store: " in found.stdout
    assert "BAD  workspace: " in found.stdout


def test_the_configuration_is_shown_without_its_secrets(here: Path) -> None:
    """A key is `set` or `not set`."""
    shown = json.loads(run(here, "config", "show", "--json", FACTORY_AI_API_KEY="fk-x").stdout)
    assert ("set", "not set", 8080) == (shown["api_key"], shown["pepper"], shown["port"])
    table = run(here, "config", "show", FACTORY_AI_API_KEY="fk-secret").stdout
    assert "fk-secret" not in table
    assert "max_autonomy" in table


def test_a_wrong_setting_is_one_line_and_exit_code_two(here: Path) -> None:
    """Naming the setting."""
    wrong = run(here, "config", "check", FACTORY_MCP_PORT="http")
    assert 2 == wrong.exit_code
    assert "error: FACTORY_MCP_PORT must be a number from 1 to 65535" in wrong.stderr
    fine = run(here, "config", "check", PROMETHEUS_PORT="9090")
    assert "warning: PROMETHEUS_PORT is set, but this version does not use it." in fine.stdout
    assert "ok: no config.yaml" in fine.stdout


@pytest.mark.requirement("CALLS-23")
def test_serve_refuses_what_it_cannot_do_in_one_line(here: Path) -> None:
    """A busy port, an address others can reach, keys that do not exist: exit code 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        busy = run(here, "serve", "--port", port)
    assert 2 == busy.exit_code
    assert f"error: port {port} is held by" in busy.stderr
    assert f"(pid {os.getpid()})" in busy.stderr
    assert "Traceback" not in busy.stderr
    outside = run(here, "serve", "--host", "0.0.0.0")  # noqa: S104 — it must be refused
    assert (2, True) == (outside.exit_code, "[not_loopback]" in outside.stderr)
    keys = run(here, "serve", FACTORY_MCP_AUTH="required")
    assert (2, True) == (keys.exit_code, "there are no API keys yet" in keys.stderr)


def test_a_fault_that_is_not_ours_keeps_its_traceback() -> None:
    """One line would hide where it came from."""
    with pytest.raises(ExceptionGroup), one_line_errors():
        raise ExceptionGroup("two", [ValueError(), KeyError()])


def test_stdio_behind_options_is_stdio_too(here: Path) -> None:
    """The short cut is taken for `stdio` alone."""
    code = "from factory_mcp.cli.main import app; app(['--', 'stdio'])"
    done = run_program(["-c", code], [], environment(here))
    assert (0, b"") == (done.returncode, done.stdout)


def test_the_version_is_printed(here: Path) -> None:
    """And nothing else."""
    assert f"factory-mcp {__version__}\n" == run(here, "--version").stdout


def test_half_a_surrogate_pair_is_printed_as_an_escape(capsys: pytest.CaptureFixture[str]) -> None:
    """No file can hold it as it is, and a note may hold it."""
    as_json({"ö": "a\ud800"})
    printed = capsys.readouterr().out
    assert '{\n  "ö": "a\\ud800"\n}\n' == printed
    assert {"ö": "a\ud800"} == json.loads(printed)
