"""Postgres, Weaviate and Redis: all of it dropped, and restored from a backup of Postgres."""

import json
from pathlib import Path

import anyio
import pytest

from factory_mcp.domain.model import LOCAL
from tests.cli.test_commands import run
from tests.contracts.samples import Samples
from tests.filled import NOTES, QUESTIONS, drop, fill, opened
from tests.keys import RING
from tests.servers import start
from tests.servers.fixtures import WeaviateAddress

Env = dict[str, str]


@pytest.fixture
def team(postgres_ready: str, redis_url: str, weaviate: WeaviateAddress) -> Env:
    """Settings of all three servers, the first of which has the notes of two tenants."""

    async def work() -> None:
        async with opened("postgres", postgres_ready) as database:
            await fill(database, Samples(), (LOCAL.tenant, "acme"), NOTES[:2])

    anyio.run(work)
    return {
        "FACTORY_MCP_KEYRING": RING.line(),
        "POSTGRES_CONNECTION_STRING": postgres_ready,
        "REDIS_URL": redis_url,
        "WEAVIATE_URL": weaviate.url,
        "FACTORY_MCP_WEAVIATE_GRPC": str(weaviate.grpc_port),
        "WEAVIATE_API_KEY": weaviate.api_key,
    }


def shown(here: Path, team: Env) -> list[str]:
    """Histories, contexts and search results."""
    history = run(here, "history", "--json", **team).stdout
    listed = run(here, "context", "list", "--json", **team).stdout
    paths = [
        run(here, "context", "show", node["id"], "--view", "chain", "--json", **team).stdout
        for node in json.loads(listed)
    ]
    searches = [run(here, "context", "search", q, "--json", **team).stdout for q in QUESTIONS[:2]]
    for found in searches:
        assert (False, True) == ("partial" in json.loads(found), "ctx_" in found)
    return [history, listed, *paths, *searches]


@pytest.mark.requirement("BACKUP-12")
def test_a_team_has_everything_again_after_all_its_stores_were_dropped(
    tmp_path: Path, team: Env
) -> None:
    """Backup, drop everything, restore, `sync --rebuild`."""
    assert 0 == run(tmp_path, "sync", "--rebuild", **team).exit_code
    before = shown(tmp_path, team)
    assert 0 == run(tmp_path, "backup", str(tmp_path / "backup"), **team).exit_code
    drop("postgres", team["POSTGRES_CONNECTION_STRING"])
    start.empty_weaviate(team["WEAVIATE_URL"], team["WEAVIATE_API_KEY"])
    start.empty_redis(team["REDIS_URL"])
    assert [] == json.loads(run(tmp_path, "context", "list", "--json", **team).stdout)
    restored = run(tmp_path, "restore", str(tmp_path / "backup"), **team)
    assert (0, True) == (restored.exit_code, "rows of 2 tenants are restored" in restored.stdout)
    rebuilt = run(tmp_path, "sync", "--rebuild", "--json", **team)
    assert 0 == rebuilt.exit_code
    standing = {(one["sink"], one["tenant"]): one for one in json.loads(rebuilt.stdout)}
    assert {LOCAL.tenant, "acme"} == {tenant for _, tenant in standing}
    assert all(one["built"] and one["rows"] == 0 for one in standing.values())
    assert before == shown(tmp_path, team)
