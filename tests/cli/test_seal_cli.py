"""`factory-mcp seal`, and what `doctor` and `config show` say of the ring."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from tests.cli.test_commands import one_call, run
from tests.keys import RING


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A data folder with a run and its node."""
    anyio.run(one_call, tmp_path)
    return tmp_path


def _status(here: Path, **env: str) -> dict[str, tuple[str, int]]:
    shown = json.loads(run(here, "seal", "status", "--json", **env).stdout)
    return {use["key"]: (use["state"], use["values"]) for use in shown}


@pytest.mark.requirement("SEAL-13")
def test_a_key_is_rotated_rewrapped_and_dropped_by_commands(here: Path) -> None:
    """Each says what comes next; all that was written can still be read."""
    ((old, (state, values)),) = _status(here).items()
    assert ("newest", True) == (state, values > 5)
    new = json.loads(run(here, "seal", "rotate", "--json").stdout)["key"]
    assert {old: ("old", values), new: ("newest", 0)} == _status(here)
    refused = run(here, "seal", "drop", old)
    assert (1, True) == (refused.exit_code, "[key_in_use]" in refused.stderr)
    done = run(here, "seal", "rewrap")
    assert f"{values} values sealed anew.\nNo longer in use: factory-mcp seal drop {old}\n" == (
        done.stdout
    )
    assert f"{values} of {values} values" in done.stderr
    assert f"{old} is no longer in the ring.\n" == run(here, "seal", "drop", old).stdout
    assert f"{new}  newest  {values}" in run(here, "seal", "status").stdout
    assert "Choose a database" in run(here, "history").stdout
    again = json.loads(run(here, "seal", "rewrap", "--json").stdout)
    assert {"values": 0, "broken": [], "idle_keys": []} == again


@pytest.mark.requirement("SEAL-13")
def test_what_cannot_be_rewrapped_is_named_and_the_exit_code_is_one(here: Path) -> None:
    """So that a script notices."""
    run(here, "seal", "rotate")
    with closing(sqlite3.connect(here / "data" / "factory-mcp.db")) as connection, connection:
        connection.execute("UPDATE nodes SET summary = substr(summary, 1, 20)")
    done = run(here, "seal", "rewrap")
    assert (1, True) == (done.exit_code, "not rewrapped: nodes.summary of ctx_" in done.stderr)


@pytest.mark.requirement("SEAL-13")
def test_a_ring_of_the_environment_is_printed_and_never_shown_else(tmp_path: Path) -> None:
    """Nothing is written into the data folder; `config show` hides it."""
    env = {"FACTORY_MCP_KEYRING": RING.line()}
    rotated = run(tmp_path, "seal", "rotate", **env).stdout
    assert "put this into FACTORY_MCP_KEYRING" in rotated
    line = rotated.splitlines()[-1]
    assert line.startswith(f"{RING.line()},key:")
    assert [2] == [len(_status(tmp_path, FACTORY_MCP_KEYRING=line))]
    assert not (tmp_path / "data" / "keyring").exists()
    for command in (("config", "show"), ("doctor",)):
        assert RING.line()[-20:] not in run(tmp_path, *command, **env).stdout


@pytest.mark.requirement("SEAL-13")
def test_doctor_looks_at_the_ring(here: Path) -> None:
    """Green with its place and its newest key; red with the mend."""
    ring, (key,) = here / "data" / "keyring", _status(here)
    assert f"ok   key ring: {ring}, 1 key, {key} seals" in run(here, "doctor").stdout
    ring.chmod(0o644)
    found = run(here, "doctor").stdout
    assert f"BAD  key ring: The key ring {ring} can be read by others." in found
    assert f"fix: Run: chmod 600 {ring}" in found
    status = run(here, "seal", "status")
    assert (1, True) == (status.exit_code, "[keyring_unusable]" in status.stderr)


@pytest.mark.requirement("SEAL-14")
def test_with_postgres_a_new_key_waits_until_every_replica_has_it(
    tmp_path: Path, postgres_url: str
) -> None:
    """It can be given up as well; a second one has to wait for the first."""
    env = {"POSTGRES_CONNECTION_STRING": postgres_url}
    run(tmp_path, "db", "upgrade", **env)
    ((old, _),) = _status(tmp_path, **env).items()
    none = run(tmp_path, "seal", "rotate", "--activate", **env)
    assert (1, True) == (none.exit_code, "No key of the ring waits" in none.stderr)
    said = run(tmp_path, "seal", "rotate", **env).stdout
    new = said.split()[0]
    assert f"{new} opens, and does not seal yet. Next: bring the ring" in said
    assert {old: ("newest", 0), new: ("next", 0)} == _status(tmp_path, **env)
    assert f"{old} seals, {new} waits;" in run(tmp_path, "doctor", **env).stdout
    second = run(tmp_path, "seal", "rotate", **env)
    assert (1, True) == (second.exit_code, "[key_in_use]" in second.stderr)
    active = json.loads(run(tmp_path, "seal", "rotate", "--activate", "--json", **env).stdout)
    assert {"key": new, "ring": None, "seals": True} == active
    assert {old: ("old", 0), new: ("newest", 0)} == _status(tmp_path, **env)
    third = json.loads(run(tmp_path, "seal", "rotate", "--json", **env).stdout)["key"]
    run(tmp_path, "seal", "drop", third, **env)
    assert {old: ("old", 0), new: ("newest", 0)} == _status(tmp_path, **env)


@pytest.mark.requirement("SEAL-4")
def test_a_lost_key_is_missing_in_the_status(here: Path) -> None:
    """Exit code 1, and how much it has sealed."""
    (old,) = _status(here)
    env = {"FACTORY_MCP_KEYRING": RING.line()}
    shown = run(here, "seal", "status", **env)
    assert (1, True) == (shown.exit_code, f"{old}  missing" in shown.stdout)
    listed = run(here, "history", **env)
    assert (0, True) == (listed.exit_code, "[cannot be read: runs." in listed.stdout)


@pytest.mark.parametrize("form", ["path", "file"])
def test_a_ring_can_be_named(tmp_path: Path, form: str) -> None:
    """As a path, in either variable; a ring that is none is a wrong setting."""
    ring = tmp_path / "ring"
    ring.touch(0o600)
    ring.write_text(RING.text())
    name = "FACTORY_MCP_KEYRING" + ("_FILE" if form == "file" else "")
    assert [*RING.keys] == list(_status(tmp_path, **{name: str(ring)}))
    wrong = run(tmp_path, "config", "check", FACTORY_MCP_KEYRING="key:1:2")
    assert (2, True) == (wrong.exit_code, "entry 1 is damaged. [invalid_setting]" in wrong.stderr)
