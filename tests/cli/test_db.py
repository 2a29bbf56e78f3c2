"""`factory-mcp db`, and what other commands say of a database that is not ready."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from factory_mcp.stores.sql.migrations import HEAD
from tests.cli.test_commands import run
from tests.postgres import owner

SETTING = "POSTGRES_CONNECTION_STRING"


@pytest.mark.requirement("PG-16")
def test_a_postgres_is_made_ready_and_looked_at(tmp_path: Path, postgres_url: str) -> None:
    """Until then every command names the one that helps; again it changes nothing."""
    env = {SETTING: postgres_url}
    before = run(tmp_path, "history", **env)
    assert (2, True) == (before.exit_code, "factory-mcp db upgrade" in before.stderr)
    red = run(tmp_path, "db", "check", **env)
    assert (1, True) == (red.exit_code, "BAD  revision: no tables\n" in red.stdout)
    for _ in range(2):
        done = run(tmp_path, "db", "upgrade", **env)
        assert (0, f"The store is at revision {HEAD}.\n") == (done.exit_code, done.stdout)
    assert {"revision": HEAD} == json.loads(run(tmp_path, "db", "upgrade", "--json", **env).stdout)
    green = run(tmp_path, "db", "check", "--json", **env)
    lines = [(line["name"], line["ok"]) for line in json.loads(green.stdout)]
    names = ["revision", "roles", "row-level security", "rights", "store"]
    assert [(name, True) for name in names] == lines[: len(names)]
    assert 0 == run(tmp_path, "history", **env).exit_code


@pytest.mark.requirement("PG-16")
def test_a_table_without_a_guard_turns_the_check_red(tmp_path: Path, postgres_ready: str) -> None:
    """With its name and the command that helps; exit 1."""
    with owner(postgres_ready) as connection:
        connection.execute("ALTER TABLE nodes DISABLE ROW LEVEL SECURITY")
    red = run(tmp_path, "db", "check", **{SETTING: postgres_ready})
    line = "BAD  row-level security: not guarded: nodes\n      fix: Run `factory-mcp db upgrade`."
    assert (1, True) == (red.exit_code, line in red.stdout)


@pytest.mark.requirement("PG-16")
def test_what_keeps_a_database_from_being_made_ready_is_one_line(
    tmp_path: Path, postgres_url: str, postgres_plain: str
) -> None:
    """The password is not in it; a user who may not make roles gets the statements."""
    parts = urlsplit(postgres_url)
    wrong = parts._replace(netloc=f"{parts.username}:hunter2@{parts.hostname}:{parts.port}")
    away = run(tmp_path, "db", "upgrade", **{SETTING: wrong.geturl()})
    assert (1, True) == (away.exit_code, "password authentication failed" in away.stderr)
    assert "hunter2" not in away.output
    refused = run(tmp_path, "db", "upgrade", **{SETTING: postgres_plain})
    assert (2, True) == (refused.exit_code, "GRANT factory_app TO plain_" in refused.stderr)


@pytest.mark.requirement("PG-16")
def test_sqlite_is_made_ready_when_it_is_opened(tmp_path: Path) -> None:
    """The same commands do for it."""
    assert (0, True) == (
        (done := run(tmp_path, "db", "upgrade")).exit_code,
        f"The store is at revision {HEAD}.\n" == done.stdout,
    )
    checked = run(tmp_path, "db", "check")
    assert (0, True) == (checked.exit_code, f"revision {HEAD}" in checked.stdout)
