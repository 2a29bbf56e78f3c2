"""Keys, matrices and searches by meaning over Postgres, where each tenant is worked on alone."""

import anyio
import pytest

from factory_mcp.domain.key_ring import key_id
from factory_mcp.domain.model import Status
from factory_mcp.ports import Claim
from factory_mcp.stores.embed import BUNDLED, StaticEmbedder
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.ledger import Ledger
from factory_mcp.stores.sql.postgres import PostgresDatabase
from factory_mcp.stores.sql.rewrap import SealedTables
from factory_mcp.stores.sql.search import SearchTables
from tests.contracts.samples import Samples
from tests.contracts.samples import sealing as sealed_as
from tests.keys import NEW, OLD, TWO, sealing
from tests.postgres import PATIENT_S

make = Samples()

TENANTS = ("acme", "other")
NODES = 3


async def fill(database: PostgresDatabase) -> None:
    """A closed run and some nodes of each tenant, all found by meaning."""
    for tenant in TENANTS:
        ledger = Ledger(database)
        run = make.run(tenant=tenant, workspace="/home/ann/shop", output="what was said")
        await ledger.open(run, Claim())
        await ledger.close(run, make.node(tenant=tenant), sealed_as(Status.DONE))
        for _ in range(NODES - 1):
            await ContextTables(database).append(make.node(tenant=tenant, summary="relational"))
        assert NODES == await found(database, tenant)


async def found(database: PostgresDatabase, tenant: str) -> int:
    """How many nodes a search by meaning finds."""
    search = SearchTables(database, StaticEmbedder(BUNDLED))
    answer = await search.search(tenant, "relational what was learnt", limit=9)
    assert () == answer.partial
    return len(answer.hits)


@pytest.mark.requirement("PG-19")
async def test_all_tenants_are_sealed_anew_and_rotated_anew(postgres_ready: str) -> None:
    """In small transactions, tenant by tenant; both are read as before, by other replicas too."""
    old = PostgresDatabase(postgres_ready, sealing(), wait_s=PATIENT_S, connections=3)
    new = PostgresDatabase(postgres_ready, sealing(TWO), wait_s=PATIENT_S, connections=3)
    await old.open()
    await new.open()
    await fill(old)
    rows = SealedTables(new)
    used = await rows.used()
    assert {key_id(OLD)} == used.keys()
    done, after = 0, ()
    with anyio.fail_after(60):
        while batch := await rows.rewrap(key_id(NEW), after, 2):
            done, after = done + batch.values, batch.after
            assert () == batch.broken
            if not after:
                break
    assert used[key_id(OLD)] == done
    assert {key_id(NEW): done} == await rows.used()
    assert done == await rows.alone((key_id(OLD), key_id(NEW)), lambda values: values)
    rotated = await SearchTables(new).rotate_vectors(lambda _: None)
    assert len(TENANTS) * NODES == rotated
    for tenant in TENANTS:
        assert NODES == await found(new, tenant)
        runs = await Ledger(new).recent(tenant, limit=9)
        assert ["what was said"] == [run.output for run in runs]
    await old.close()
    await new.close()
