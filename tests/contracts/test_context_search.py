"""What the port ContextSearch promises: for every store, by itself and with Weaviate beside it."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, cast

import pytest

from factory_mcp.stores.sql.database import Database
from tests.contracts.implementations import Stores
from tests.contracts.samples import Samples
from tests.projected import Fed, Wordless, weaviate_index

make = Samples()


@pytest.fixture(params=["by-itself", "weaviate"], name="stores")
async def _stores(request: pytest.FixtureRequest, stores: Stores) -> AsyncGenerator[Stores]:
    """A store of each kind, empty; and with a vector index that has been told all of it."""
    if request.param == "by-itself":
        yield stores
        return
    async with weaviate_index(request.getfixturevalue("weaviate")) as index:
        fed = Fed(cast("Database", stores.health), index, Wordless())
        yield replace(stores, search=fed)
        assert fed.asked == fed.answered


async def written(stores: Stores, summary: str = "a note", **changes: Any) -> str:
    """The id of a new node."""
    return (await stores.contexts.append(make.node(summary=summary, **changes))).node.id


async def found(stores: Stores, query: str, **scope: Any) -> list[str]:
    """The ids of the hits, best first."""
    filters: dict[str, Any] = {"limit": 10, **scope}
    hits = (await stores.search.search("acme", query, **filters)).hits
    scores = [hit.score for hit in hits]
    assert sorted(scores, reverse=True) == scores
    assert all(score > 0 for score in scores)
    return [hit.node.id for hit in hits]


@pytest.mark.requirement("STORE-15")
async def test_the_newest_nodes_come_first(stores: Stores) -> None:
    """As many as asked for."""
    ids = [await written(stores) for _ in range(4)]
    newest = await stores.search.newest("acme", limit=3)
    assert list(reversed(ids[1:])) == [node.id for node in newest]


@pytest.mark.requirement("STORE-15")
async def test_a_node_is_found_by_all_it_says(stores: Stores) -> None:
    """Summary, keys and values of the data however deep, and the droid's name."""
    node = await written(
        stores,
        "The retries multiply",
        data={"databaseUrl": ["postgres://db", {"nested_key": {"deep": "größe"}}], "port": 5432},
        droid="reliability_droid",
    )
    await written(stores, "nothing of the kind")
    for query in ("retry", "database", "postgres", "nested", "Größe", "5432", "reliability"):
        assert [node] == await found(stores, query)


@pytest.mark.requirement("STORE-15")
async def test_rare_words_weigh_more_than_common_ones(stores: Stores) -> None:
    """And a short note more than a long one that says it once."""
    common = [await written(stores, f"the server number {number}") for number in range(5)]
    long = await written(stores, "the breaker " + "and much else besides " * 3)
    short = await written(stores, "the breaker")
    assert [short, long] == (await found(stores, "server breaker"))[:2]
    assert {short, long, *common} == set(await found(stores, "server breaker"))


@pytest.mark.requirement("STORE-15")
async def test_a_search_can_be_narrowed(stores: Stores) -> None:
    """To a droid, to a workspace, to so many."""
    here = await written(stores, workspace_key="/w", droid="a_droid")
    other = await written(stores, workspace_key="/w", droid="b_droid")
    elsewhere = await written(stores, workspace_key="/x", droid="a_droid")
    nowhere = await written(stores, droid="a_droid")
    assert {here, other, elsewhere, nowhere} == set(await found(stores, "note"))
    assert {here, other} == set(await found(stores, "note", workspace_key="/w"))
    assert {here, elsewhere, nowhere} == set(await found(stores, "note", droid="a_droid"))
    assert [here] == await found(stores, "note", droid="a_droid", workspace_key="/w")
    assert 2 == len(await found(stores, "note", limit=2))


@pytest.mark.requirement("STORE-15")
@pytest.mark.parametrize(
    "query", ["", "  ...  ", "unheard", "\0", "\ud800", "' OR 1=1 --", "unhe*"]
)
async def test_a_query_that_fits_nothing_finds_nothing(stores: Stores, query: str) -> None:
    """Whatever it consists of."""
    await written(stores)
    assert [] == await found(stores, query)


@pytest.mark.requirement("STORE-15")
async def test_a_node_without_words_is_stored_and_not_found(stores: Stores) -> None:
    """An empty note does no harm."""
    node = await written(stores, "", data={"…": None})
    assert [node] == [n.id for n in await stores.search.newest("acme", limit=1)]
    assert [] == await found(stores, "note")


@pytest.mark.requirement("STORE-15")
async def test_a_long_query_uses_its_first_words(stores: Stores) -> None:
    """Pasting a page into the search is no error."""
    node = await written(stores, "needle")
    assert [node] == await found(stores, "needle " + " ".join(f"w{n}" for n in range(5000)))


@pytest.mark.requirement("STORE-8")
async def test_nobody_finds_another_tenants_nodes(stores: Stores) -> None:
    """Nor do they count in the weights."""
    await written(stores, tenant="other")
    assert [] == await found(stores, "note")
