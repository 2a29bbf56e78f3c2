"""What whoever has Weaviate's disk, or may ask it everything, can read of the notes."""

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anyio.to_thread import run_sync

from factory_mcp.stores.embed import StaticEmbedder
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.projection import shard
from factory_mcp.stores.sql.sqlite import open_database
from factory_mcp.stores.weaviate.index import WeaviateIndex
from tests.contracts.samples import Samples
from tests.keys import sealing
from tests.planted import traces
from tests.projected import Fed, weaviate_index
from tests.quality.measured import pairs
from tests.servers import start
from tests.servers.fixtures import WeaviateAddress
from tests.stores.test_vector_attack import DIMENSIONS, NOTES, recovered

PLANTED = [f"{animal}{number:02}burrow" for number, animal in enumerate(["wombat", "badger"] * 25)]


@pytest.fixture(scope="module")
def own_weaviate() -> Iterator[start.Weaviate]:
    """One whose disk may be read."""
    with start.weaviate() as server:
        yield server


@pytest.fixture
async def index(own_weaviate: start.Weaviate) -> AsyncGenerator[WeaviateIndex]:
    server = WeaviateAddress(
        url=own_weaviate.url, grpc_port=own_weaviate.grpc_port, api_key=own_weaviate.api_key
    )
    async with weaviate_index(server) as made:
        yield made


@pytest.fixture
async def database(tmp_path: Path) -> AsyncGenerator[Database]:
    opened = await open_database(tmp_path / "factory.db", sealing())
    yield opened
    await opened.close()


async def copied(index: WeaviateIndex, tenant: str) -> dict[str, Any]:
    """Every object that Weaviate has of a tenant, by the node's id."""
    held = index._connection._held  # noqa: SLF001 — whatever may be asked, not what we ask
    assert held is not None
    everything = held.shards._tenant(shard(sealing(), tenant)).query  # noqa: SLF001
    found = await everything.fetch_objects(limit=1000, include_vector=True)
    return {one.properties["node"]: one for one in found.objects}


@pytest.mark.requirement("INDEX-10")
async def test_fifty_planted_words_are_in_no_file_of_weaviates(
    own_weaviate: start.Weaviate, index: WeaviateIndex, database: Database
) -> None:
    """Summaries, keys, values, droids, workspaces, authors, tenants, queries; while it runs, after.

    The id of a node is there: so what is looked through is what was written.
    """
    make, words, to = Samples(), iter(PLANTED), ContextTables(database)
    tenant, node = f"tenant {next(words)}", ""
    for _ in range(8):
        new = make.node(
            tenant=tenant,
            summary=f"{next(words)} and {next(words)}",
            data={next(words): [next(words)]},
            droid=next(words),
            workspace_key=f"/home/{next(words)}",
        )
        node = (await to.append(new)).node.id
    fed = Fed(database, index)
    found = await fed.search(tenant, next(words), limit=3, droid=PLANTED[5])
    assert () == found.partial
    assert 8 == len(await copied(index, tenant))
    folder = own_weaviate.folder / "data"
    assert {node} == await run_sync(traces, folder, [*PLANTED, node])
    await index.close()
    await run_sync(own_weaviate.stop)
    assert {node} == await run_sync(traces, folder, [*PLANTED, node])
    await run_sync(own_weaviate.start)
    assert [] == list(words)


@pytest.mark.requirement("INDEX-10")
async def test_weaviates_vectors_give_no_words_away(
    index: WeaviateIndex, database: Database
) -> None:
    """Matching pursuit with the public table: most words of plain vectors, none of these."""
    make, order = Samples(), list[str]()
    notes = [query for query, _ in pairs()[0]][:NOTES]
    for note in notes:
        new = make.node(summary=note, data={})
        order.append((await ContextTables(database).append(new)).node.id)
    await Fed(database, index).feed("acme")
    there = await copied(index, "acme")
    stored = np.array([there[node].vector["default"] for node in order], np.float32)
    plain = StaticEmbedder().embed(notes)
    assert (NOTES, DIMENSIONS) == stored.shape == plain.shape
    assert recovered(notes, plain) > 0.8
    assert recovered(notes, stored) <= 0.1
    assert {"node", "tokens", "created_at", "droid", "author", "chain", "workspace"} == set(
        there[order[0]].properties
    )
