"""What Postgres and Redis hold of a team, and what goes over Redis, all of it read."""

from pathlib import Path
from typing import Any

import anyio
import pytest
from psycopg.sql import SQL, Identifier
from redis import Redis

from factory_mcp.domain.model import LOCAL, Status
from factory_mcp.stores.sql.tables import metadata
from tests.house import house
from tests.keys import RING
from tests.planted import traces
from tests.postgres import owner
from tests.test_sealed_at_rest import PLANTED, answer, calls, garbage, notes, stopped


def dump(url: str, folder: Path) -> set[str]:
    """Write every table down as the tenant has it; the names of those that are not empty."""
    full: set[str] = set()
    with owner(url) as connection:
        connection.execute("SELECT set_config('role', 'factory_app', false)")
        connection.execute("SELECT set_config('app.tenant', %s, false)", (LOCAL.tenant,))
        for name in metadata.tables:
            all_rows = SQL("COPY (SELECT * FROM {}) TO STDOUT").format(Identifier(name))
            with connection.cursor().copy(all_rows) as rows:
                text = b"".join(map(bytes, rows))
            (folder / name).write_bytes(text)
            full |= {name} if text else set()
    return full


@pytest.mark.requirement("SEAL-9")
async def test_fifty_planted_words_are_neither_in_postgres_nor_in_redis(
    tmp_path: Path, postgres_ready: str, redis_url: str
) -> None:
    """Nor in a message that replicas send each other; caches are read on the way."""
    words = iter(PLANTED)
    shop = tmp_path / "shop" / next(words)
    shop.mkdir(parents=True)
    dumped = tmp_path / "dumped"
    dumped.mkdir()
    team: dict[str, Any] = {
        "POSTGRES_CONNECTION_STRING": postgres_ready,
        "REDIS_URL": redis_url,
        "FACTORY_MCP_KEYRING": RING.line(),
    }
    client: Any = Redis
    with client.from_url(redis_url) as redis, redis.pubsub() as heard:
        heard.psubscribe("*")
        async with house(tmp_path, answer(words), garbage(words), **team) as home:
            answers = await calls(home, words, str(shop))
            await notes(home, words)
            head = await home.app.contexts.base(LOCAL.tenant, answers[0].context_id, "")
            assert "wombat" in (await home.app.contexts.packed(head, 4000))[0]
        async with house(tmp_path, gate=anyio.Event(), seed=8, **team) as home:
            await stopped(home, words)
        sent = [
            message for message in iter(heard.get_message, None) if "message" in message["type"]
        ]
        kept = {key: redis.dump(key) for key in redis.scan_iter()}
    (dumped / "redis").write_text(repr((sent, kept)))
    assert {"runs", "history", "audit", "nodes", "node_tokens", "outbox"} <= dump(
        postgres_ready, dumped
    )
    assert Status.DONE == answers[0].status
    assert ([], True, True) == (list(words), bool(sent), bool(kept))
    assert set() == traces(dumped, PLANTED)
