"""Search by meaning over real stores: what it finds, who else writes, and what may break."""

import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from factory_mcp.domain.key_ring import key_id
from factory_mcp.domain.keywords import telling, tokens
from factory_mcp.domain.model import Found
from factory_mcp.domain.search_errors import EmbedderUnusable
from factory_mcp.ports import Sealer
from factory_mcp.stores.embed import BUNDLED, StaticEmbedder
from factory_mcp.stores.sql import vectors as tables
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.rotations import Rotations
from factory_mcp.stores.sql.search import SearchTables
from factory_mcp.stores.sql.sqlite import SqliteDatabase, open_database
from tests.contracts.samples import Samples
from tests.keys import OLD, RING, TWO, sealing

EMBEDDER = StaticEmbedder()
NOTES = (
    "PostgreSQL was picked over MySQL for its JSONB columns.",
    "Card charges go through Stripe.",
    "The parser is in parser.py.",
)

make = Samples()
Opener = Callable[..., Awaitable[SqliteDatabase]]


@pytest.fixture
async def opener(tmp_path: Path) -> AsyncGenerator[Opener]:
    """Opens the one store of the test, as often as wanted: each time another process's."""
    opened: list[SqliteDatabase] = []

    async def one_more(sealer: Sealer | None = None) -> SqliteDatabase:
        opened.append(await open_database(tmp_path / "factory.db", sealer or sealing()))
        return opened[-1]

    yield one_more
    for database in opened:
        await database.close()


@pytest.fixture
async def database(opener: Opener) -> SqliteDatabase:
    return await opener()


async def write(database: SqliteDatabase, *notes: str, **more: Any) -> list[str]:
    """The ids of new nodes."""
    to = ContextTables(database)
    return [(await to.append(make.node(summary=n, data={}, **more))).node.id for n in notes]


def ids(found: Found) -> list[str]:
    """Of the hits, best first; none of them in doubt."""
    scores = [hit.score for hit in found.hits]
    assert sorted(scores, reverse=True) == scores
    assert all(0 < score <= 1.1 for score in scores)
    return [hit.node.id for hit in found.hits]


async def ask(search: SearchTables, query: str, limit: int = 9, **scope: Any) -> list[str]:
    """The ids that a search gives which had all it needs."""
    found = await search.search("acme", query, limit=limit, **scope)
    assert () == found.partial
    return ids(found)


async def change(database: SqliteDatabase, statement: str, *values: Any) -> None:
    """The store, behind everybody's back."""
    async with database.write("acme") as connection:
        await connection.exec_driver_sql(statement, values)


@pytest.mark.requirement("VECTOR-1")
async def test_a_note_is_found_by_what_it_means_and_by_its_words(database: SqliteDatabase) -> None:
    """Without a word in common; by a name that no embedder knows; what fits nothing is left out."""
    sql, cards, parser = await write(database, *NOTES)
    search = SearchTables(database, EMBEDDER)
    assert sql == (await ask(search, "choosing a relational database"))[0]
    assert cards == (await ask(search, "how do customers pay"))[0]
    assert parser == (await ask(search, "parser.py"))[0]
    assert [] == await ask(search, "zebra xylophone")
    assert [] == await ask(search, " ... ")
    assert [sql] == await ask(search, "choosing a relational database", limit=1)


@pytest.mark.requirement("VECTOR-1")
async def test_a_search_by_meaning_can_be_narrowed(database: SqliteDatabase) -> None:
    """To a droid, to a workspace, to a tenant; words weigh as if nothing else were there."""
    [here] = await write(database, NOTES[0], workspace_key="w", droid="a")
    [there] = await write(database, NOTES[0], workspace_key="x", droid="b")
    await write(database, NOTES[0], tenant="other")
    search = SearchTables(database, EMBEDDER)
    assert [there, here] == await ask(search, "relational databases")
    assert [here] == await ask(search, "relational databases", workspace_key="w")
    assert [there] == await ask(search, "relational databases", droid="b")
    assert [] == await ask(search, "relational databases", droid="b", workspace_key="w")
    assert [] == await ask(search, "postgresql", droid="nobody")
    assert [] == ids(await search.search("nobody", "postgresql", limit=9))


@pytest.mark.requirement("VECTOR-1")
async def test_keywords_weigh_in_memory_as_in_the_database(database: SqliteDatabase) -> None:
    """The same BM25, with the same words left out."""
    await write(database, "the quokka", "a quokka and a numbat", "the numbat, the numbat", "others")
    plain = await SearchTables(database).search("acme", "where is the numbat quokka", limit=9)
    assert ("vector_index",) == plain.partial
    by_words = {hit.node.id: hit.score for hit in plain.hits}
    index = tables.VectorTables(database, EMBEDDER)
    blind = [sealing().blind("acme", f"word {w}") for w in telling(tokens("the numbat quokka"))]
    wanted = tables.Wanted(tenant="acme", text="", words=blind, limit=9)
    found = await index.best(wanted)
    assert found is not None
    assert {node: pytest.approx(score) for node, score in found} == by_words


@pytest.mark.requirement("VECTOR-2")
async def test_what_other_processes_write_and_delete_is_seen(opener: Opener) -> None:
    """By searches that have the rest in memory already."""
    ours, theirs = await opener(), await opener()
    search = SearchTables(ours, EMBEDDER)
    old = await write(ours, NOTES[0])
    assert old == await ask(search, "relational databases")
    new = await write(theirs, NOTES[0])
    assert [*new, *old] == await ask(SearchTables(theirs, EMBEDDER), "relational databases")
    assert [*new, *old] == await ask(search, "relational databases")
    await change(theirs, "DELETE FROM nodes WHERE id = ?", old[0])
    assert new == await ask(search, "relational databases")
    assert new == await ask(search, "postgresql")


@pytest.mark.requirement("VECTOR-2")
async def test_two_searches_at_once_make_each_vector_once(opener: Opener) -> None:
    """In one process or in two."""
    database = await opener()
    await write(database, *NOTES * 5)
    searches = [SearchTables(await opener(), EMBEDDER) for _ in range(2)]
    async with anyio.create_task_group() as tasks:
        for search in searches * 2:
            tasks.start_soon(ask, search, "payment")
    async with database.read("acme") as connection:
        query = "SELECT count(*), count(DISTINCT seq), count(vector) FROM vectors WHERE seq > 0"
        assert (15, 15, 15) == (await connection.exec_driver_sql(query)).one()
    assert len(set(await ask(searches[0], "card payment", limit=50))) >= 5


async def crowded(database: SqliteDatabase) -> str:
    """The id of a note among as many others as one search makes vectors for, all with a word."""
    [root] = await write(database, NOTES[0])
    await change(
        database,
        "INSERT INTO nodes (tenant, id, chain_id, revision, created_at, length, data, summary)"
        " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        " SELECT tenant, 'x' || i, chain_id, revision, created_at, length, data, summary"
        " FROM n, nodes",
        tables.CATCH_UP,
    )
    others = "FROM nodes WHERE id LIKE 'x%'"
    columns = "(tenant, node_id, embedder, seq, generation)"
    await change(
        database,
        f"INSERT INTO vectors {columns} SELECT tenant, id, '', 0, 0 {others}",
    )
    word = sealing().blind("acme", "word postgresql")
    await change(
        database,
        f"INSERT INTO node_tokens SELECT tenant, ?, id, 1 {others}",
        word,
    )
    return root


@pytest.mark.requirement("VECTOR-2")
async def test_many_notes_are_caught_up_with_search_by_search(database: SqliteDatabase) -> None:
    """Each search ends; until all is there it goes by keywords and says so."""
    root = await crowded(database)
    search = SearchTables(database, EMBEDDER)
    found = await search.search("acme", "jsonb", limit=3)
    assert (("vector_index",), [root]) == (found.partial, ids(found))
    assert root == (await ask(search, "relational databases"))[0]


@pytest.mark.requirement("VECTOR-2")
async def test_words_that_thousands_have_count_only_where_there_are_no_others(
    database: SqliteDatabase,
) -> None:
    """So that a search stays fast however common its words are."""
    root = await crowded(database)
    search = SearchTables(database, EMBEDDER)
    await search.search("acme", "", limit=1)
    assert [root] == await ask(search, "postgresql jsonb")
    assert 9 == len(await ask(search, "postgresql"))


@pytest.mark.requirement("VECTOR-2")
async def test_no_more_tenants_than_a_few_are_kept_in_memory(database: SqliteDatabase) -> None:
    """The others are read again."""
    search = SearchTables(database, EMBEDDER)
    for tenant in ("acme", *(f"t{number}" for number in range(tables.TENANTS)), "acme"):
        [note] = await write(database, NOTES[0], tenant=tenant)
        assert note == ids(await search.search(tenant, "relational databases", limit=1))[0]


@pytest.mark.requirement("VECTOR-3")
@pytest.mark.parametrize("damage", ["missing", "damaged"])
async def test_without_its_files_a_search_goes_by_keywords(
    database: SqliteDatabase, tmp_path: Path, damage: str
) -> None:
    """And says so; writes go on; put back, all is found by meaning."""
    folder = tmp_path / "embedder"
    shutil.copytree(BUNDLED, folder)
    table = folder / "model.safetensors"
    whole = table.read_bytes()
    table.unlink()
    if damage == "damaged":
        table.write_bytes(whole[:-1] + b"\0")
    embedder = StaticEmbedder(folder)
    search = SearchTables(database, embedder)
    sql, *_ = await write(database, *NOTES)
    found = await search.search("acme", "postgresql", limit=3)
    assert (("vector_index",), [sql]) == (found.partial, ids(found))
    with pytest.raises(EmbedderUnusable, match=r"model\.safetensors"):
        embedder.embed(["anything"])
    red = embedder.check()
    assert (False, EmbedderUnusable.remedy) == (red.ok, red.fix)
    table.write_bytes(whole)
    assert embedder.check().ok
    assert sql == (await ask(search, "choosing a relational database"))[0]


class Moody:
    """An embedder that knows notes and refuses questions."""

    id = "moody"

    def embed(self, texts: Sequence[str]) -> Any:
        if any(text.endswith("?") for text in texts):
            raise EmbedderUnusable("no questions")
        return EMBEDDER.embed(texts)


@pytest.mark.requirement("VECTOR-3")
async def test_a_query_that_gets_no_vector_goes_by_keywords(database: SqliteDatabase) -> None:
    """Whatever the reason."""
    [sql] = await write(database, NOTES[0])
    search = SearchTables(database, Moody())
    assert [sql] == await ask(search, "relational databases")
    found = await search.search("acme", "which PostgreSQL?", limit=3)
    assert (("vector_index",), [sql]) == (found.partial, ids(found))


@pytest.mark.requirement("VECTOR-3")
async def test_vectors_of_another_embedder_are_made_anew(database: SqliteDatabase) -> None:
    """By the next search."""
    [sql] = await write(database, NOTES[0])
    await ask(SearchTables(database, EMBEDDER), "anything")
    await change(database, "UPDATE vectors SET embedder = 'another'")
    assert [sql] == await ask(SearchTables(database, EMBEDDER), "relational databases")


@pytest.mark.requirement("VECTOR-3")
async def test_a_text_of_any_kind_has_a_vector_or_none(database: SqliteDatabase) -> None:
    """Lone surrogates, nothing at all, and pages of text."""
    odd = ["\ud800 database", "", "…", "database " * 20_000]
    await write(database, *odd)
    assert 2 == len(await ask(SearchTables(database, EMBEDDER), "databases \udfff"))


@pytest.mark.requirement("VECTOR-4")
@pytest.mark.parametrize("column", ["vectors.vector", "rotations.matrix"])
async def test_what_does_not_open_is_made_anew(opener: Opener, column: str) -> None:
    """A vector is a projection: the search that meets the damage mends it."""
    database = await opener()
    [sql] = await write(database, NOTES[0])
    await ask(SearchTables(database, EMBEDDER), "anything")
    table, name = column.split(".")
    await change(database, f"UPDATE {table} SET {name} = substr({name}, 2)")  # noqa: S608
    search = SearchTables(await opener(), EMBEDDER)
    assert [sql] == await ask(search, "relational databases")


@pytest.mark.requirement("VECTOR-4")
async def test_a_note_that_does_not_open_hides_no_other(opener: Opener) -> None:
    """It keeps its place in the keyword index."""
    [lost] = await write(await opener(sealing(RING)), NOTES[0])
    newer = await opener(sealing(TWO.minus([key_id(OLD)])))
    [sql] = await write(newer, NOTES[0])
    search = SearchTables(newer, EMBEDDER)
    assert [sql] == await ask(search, "relational databases")
    assert {lost, sql} == set(await ask(search, "postgresql"))


@pytest.mark.requirement("VECTOR-4")
async def test_new_matrices_rotate_what_is_stored_without_the_embedder(opener: Opener) -> None:
    """Searches find the same before, meanwhile and after; the old matrix is gone."""
    database = await opener()
    await write(database, *NOTES)
    [_] = await write(database, NOTES[0], tenant="other")
    running = SearchTables(database, EMBEDDER)
    before = await ask(running, "card payment")
    await running.search("other", "card payment", limit=1)
    await change(database, "UPDATE vectors SET vector = x'00' WHERE node_id = ?", before[-1])
    stored = await _stored(database)
    told: list[int] = []
    assert 4 == await running.rotate_vectors(told.append)
    assert 4 == told[-1]
    after = await _stored(database)
    assert {2} == {generation for generation, _ in after.values()}
    assert all(stored[node] != after[node] for node in stored)
    async with database.read("acme") as connection:
        rows = await connection.exec_driver_sql("SELECT generation FROM rotations")
        assert [2, 2] == list(rows.scalars())
    await write(database, NOTES[1])  # by the new matrix, in a process that knew the old one
    for search in (running, SearchTables(await opener(), EMBEDDER)):
        assert before[0] in await ask(search, "card payment")
    await change(database, "UPDATE rotations SET matrix = x'00' WHERE tenant = 'other'")
    assert 4 == await SearchTables(await opener(), EMBEDDER).rotate_vectors(told.append)


async def _stored(database: SqliteDatabase) -> dict[str, tuple[int, bytes]]:
    async with database.read("acme") as connection:
        rows = await connection.exec_driver_sql("SELECT node_id, generation, vector FROM vectors")
        return {row.node_id: (row.generation, row.vector) for row in rows}


@pytest.mark.requirement("VECTOR-4")
async def test_processes_that_begin_at_once_draw_one_matrix(opener: Opener) -> None:
    """A second one would make all that was rotated with the first old at once."""
    found: list[int] = []

    async def begin(rotations: Rotations) -> None:
        found.append((await rotations.newest("acme", 8))[0])

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(begin, Rotations(await opener()))
    assert [1, 1, 1] == found
