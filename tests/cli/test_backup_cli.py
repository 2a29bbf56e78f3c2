"""`factory-mcp backup`, `restore`, `audit` and `purge`."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from factory_mcp.domain.hash_chain import verify
from tests.cli.test_commands import one_call, run


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A data folder with a run and its node, and a backup of it."""
    anyio.run(one_call, tmp_path)
    assert 0 == run(tmp_path, "backup", str(tmp_path / "backup")).exit_code
    return tmp_path


def _empty(here: Path) -> None:
    """Only the key ring is left."""
    for file in (here / "data").glob("factory-mcp.db*"):
        file.unlink()


def _shown(here: Path, **env: str) -> list[str]:
    """What was done and learnt."""
    commands = (
        ("history", "--json"),
        ("context", "list", "--json"),
        ("context", "search", "postgres", "--json"),
    )
    return [run(here, *command, **env).stdout for command in commands]


@pytest.mark.requirement("BACKUP-1")
def test_a_store_is_backed_up_and_restored_by_commands(here: Path) -> None:
    """What is printed says how much it was, and what is not in the file."""
    shown, file = _shown(here), here / "backup"
    again = run(here, "backup", str(file))
    assert (1, True) == (again.exit_code, "add --force" in again.stderr)
    made = run(here, "backup", "--force", str(file))
    assert f"rows are in {file}, {file.stat().st_size} bytes." in made.stdout
    assert "The key ring is not: keep a copy of it" in made.stdout
    told = json.loads(run(here, "backup", "--json", str(here / "other")).stdout)
    assert (1, "sqlite") == (told["rows"]["nodes"], told["made_from"])
    _empty(here)
    done = run(here, "restore", str(file))
    assert (0, True) == (done.exit_code, "rows of 1 tenant are restored" in done.stdout)
    assert shown == _shown(here)
    twice = run(here, "restore", str(file))
    assert (1, True) == (twice.exit_code, "[store_not_empty]" in twice.stderr)


@pytest.mark.requirement("BACKUP-1")
def test_a_user_moves_from_sqlite_to_postgres(here: Path, postgres_ready: str) -> None:
    """With a backup and the same key ring."""
    shown, env = _shown(here), {"POSTGRES_CONNECTION_STRING": postgres_ready}
    done = run(here, "restore", "--json", str(here / "backup"), **env)
    assert (0, [], 1) == (
        done.exit_code,
        json.loads(done.stdout)["problems"],
        json.loads(done.stdout)["tenants"],
    )
    assert shown == _shown(here, **env)
    verified = run(here, "audit", "verify", **env)
    assert (0, "ok   local: 2 rows\n") == (verified.exit_code, verified.stdout)


@pytest.mark.requirement("BACKUP-6")
def test_what_is_amiss_after_a_restore_is_printed(here: Path) -> None:
    """And the exit code is one, though the data is there."""
    _empty(here)
    (here / "data" / "keyring").unlink()
    done = run(here, "restore", str(here / "backup"))
    assert 1 == done.exit_code
    assert "BAD  The key " in done.stdout
    assert "rows of 1 tenant are restored" in done.stdout


@pytest.mark.requirement("BACKUP-10")
def test_a_file_can_be_looked_at_without_a_store(here: Path, tmp_path: Path) -> None:
    """Whole, or not, and then nothing is written."""
    file = here / "backup"
    found = run(tmp_path, "restore", "--verify-only", str(file))
    assert 0 == found.exit_code
    assert f"{file} is whole: " in found.stdout
    told = json.loads(run(tmp_path, "restore", "--verify-only", "--json", str(file)).stdout)
    assert ("0005", 64) == (told["revision"], len(told["sha256"]))
    file.write_bytes(file.read_bytes()[:-100])
    for command in (("--verify-only",), ()):
        cut = run(here, "restore", *command, str(file))
        assert (1, True) == (cut.exit_code, "[backup_unusable]" in cut.stderr)


@pytest.mark.requirement("BACKUP-11")
def test_the_audit_trail_is_verified_and_exported(here: Path) -> None:
    """Anybody can count the hashes again; a row that was changed is named, an end that was cut."""
    assert "ok   local: 2 rows\n" == run(here, "audit", "verify").stdout
    rows = [json.loads(line) for line in run(here, "audit", "export").stdout.splitlines()]
    assert (["run.open", "run.close"], None) == ([row["action"] for row in rows], verify(rows))
    database = here / "data" / "factory-mcp.db"
    changes = (
        ("DELETE FROM audit WHERE seq = 2", 2, "the last one there is row 1"),
        ("UPDATE audit SET detail = '{' WHERE seq = 1", 1, "it was changed"),
    )
    for statement, row, why in changes:
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute(statement)
        found = run(here, "audit", "verify")
        assert (1, True) == (found.exit_code, why in found.stdout)
        assert found.stdout.startswith(f"BAD  local: row {row}: ")
        (told,) = json.loads(run(here, "audit", "verify", "--json").stdout)
        assert row == told["broken"]
    assert "{" == json.loads(run(here, "audit", "export").stdout)["detail"]


@pytest.mark.requirement("PURGE-3")
def test_old_runs_are_counted_and_deleted_by_a_command(here: Path) -> None:
    """The run is as old as the test's clock says: it is younger than any day ago."""
    nothing = run(here, "purge", "--days", "1")
    assert (0, True) == (nothing.exit_code, nothing.stdout.endswith("Nothing was deleted.\n"))
    with closing(sqlite3.connect(here / "data" / "factory-mcp.db")) as connection, connection:
        connection.execute("UPDATE runs SET created_at = 1, ended_at = 2")
        connection.execute("UPDATE history SET at = 2")
    counted = json.loads(run(here, "purge", "--days", "1", "--dry-run", "--json").stdout)
    assert (1, 1) == (counted["local"]["runs"], counted["local"]["history"])
    done = run(here, "purge", "--days", "1")
    assert (0, True) == (done.exit_code, "local   1     1        " in done.stdout)
    assert done.stdout.endswith("Deleted.\n")
    assert [] == json.loads(run(here, "history", "--json").stdout)
    assert 1 == len(json.loads(run(here, "context", "list", "--json").stdout))
    assert 2 == run(here, "purge", "--days", "0").exit_code
