"""Search over Weaviate fed from SQL: what it finds, when it does without, how it is built again."""

import shutil
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import insert

from factory_mcp.domain.model import Found
from factory_mcp.domain.search_errors import EmbedderUnusable
from factory_mcp.ports.index import Entry, Query
from factory_mcp.stores.embed import BUNDLED, StaticEmbedder
from factory_mcp.stores.embed_folder import FolderEmbedder
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.projection import mark, scope, shard
from factory_mcp.stores.sql.search import SearchTables
from factory_mcp.stores.sql.sqlite import open_database
from factory_mcp.stores.sql.tables import outbox
from factory_mcp.stores.weaviate.index import WeaviateIndex
from tests.contracts.samples import NOW, Samples
from tests.fakes import FakeClock, SeededRng
from tests.keys import sealing
from tests.projected import Fed, Wordless, address_of, built_with, weaviate_index
from tests.quality.measured import pairs, quality
from tests.servers.fixtures import WeaviateAddress

NOTES = (
    "PostgreSQL was picked over MySQL for its JSONB columns.",
    "Card charges go through Stripe.",
    "The parser is in parser.py.",
)
EMBEDDER = StaticEmbedder()

make = Samples()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncGenerator[Database]:
    opened = await open_database(tmp_path / "factory.db", sealing())
    yield opened
    await opened.close()


@pytest.fixture
async def index(weaviate: WeaviateAddress) -> AsyncGenerator[WeaviateIndex]:
    async with weaviate_index(weaviate) as made:
        yield made


@pytest.fixture
def fed(database: Database, index: WeaviateIndex) -> Fed:
    return Fed(database, index)


async def write(database: Database, *notes: str, **more: Any) -> list[str]:
    """The ids of new nodes."""
    to = ContextTables(database)
    return [(await to.append(make.node(summary=n, data={}, **more))).node.id for n in notes]


def ids(found: Found) -> list[str]:
    scores = [hit.score for hit in found.hits]
    assert sorted(scores, reverse=True) == scores
    assert all(0 < score <= 1.1 for score in scores)
    return [hit.node.id for hit in found.hits]


async def ask(search: Fed, query: str, limit: int = 9, **narrow: Any) -> list[str]:
    """The ids that a search gives which had all it needs."""
    found = await search.search("acme", query, limit=limit, **narrow)
    assert () == found.partial
    return ids(found)


async def partial(search: Fed, query: str = "parser.py") -> list[str]:
    """The ids that a search gives which went without the index."""
    found = await search.search("acme", query, limit=9)
    assert ("vector_index",) == found.partial
    return ids(found)


async def change(database: Database, statement: str, *values: Any) -> None:
    async with database.write("acme") as connection:
        await connection.exec_driver_sql(statement, values)


# ------------------------------------------------------------------------------ what it finds


@pytest.mark.requirement("INDEX-6")
async def test_a_note_is_found_by_what_it_means_and_by_its_words(
    database: Database, fed: Fed
) -> None:
    """As over SQL: the same nodes in the same order with the same scores."""
    sql, cards, parser = await write(database, *NOTES)
    by_itself = SearchTables(database, EMBEDDER)
    for query, best in (
        ("choosing a relational database", [sql]),
        ("how do customers pay", [cards]),
        ("parser.py", [parser]),
        ("zebra xylophone", []),
        (" ... ", []),
    ):
        found = await ask(fed, query)
        assert best == found[:1]
        expected = (await by_itself.search("acme", query, limit=9)).hits
        scores = [hit.score for hit in (await fed.search("acme", query, limit=9)).hits]
        assert [hit.node.id for hit in expected] == found
        assert [pytest.approx(hit.score, abs=2e-3) for hit in expected] == scores
    assert [sql] == await ask(fed, "choosing a relational database", limit=1)


@pytest.mark.requirement("INDEX-6")
async def test_a_search_can_be_narrowed(database: Database, fed: Fed) -> None:
    """To a droid, to a workspace, to a tenant; of equal ones the newest comes first."""
    [here] = await write(database, NOTES[0], workspace_key="w", droid="a")
    [there] = await write(database, NOTES[0], workspace_key="x", droid="a")
    await write(database, NOTES[0], tenant="other")
    assert [there, here] == await ask(fed, "relational databases")
    assert [here] == await ask(fed, "relational databases", workspace_key="w")
    assert [there, here] == await ask(fed, "relational databases", droid="a")
    assert [] == await ask(fed, "relational databases", droid="a", workspace_key="other")
    assert [] == await ask(fed, "postgresql", droid="nobody")


@pytest.mark.requirement("INDEX-6")
async def test_searches_find_what_was_meant(database: Database, fed: Fed) -> None:
    """The set of tests/quality, against the same search over SQL."""
    paraphrases, keywords = pairs()
    await write(database, *(note for _, note in (*paraphrases, *keywords)))
    await fed.feed("acme")
    fed.feeding = False
    by_itself = SearchTables(database, EMBEDDER)

    def way(search: Fed | SearchTables) -> Callable[[str], Any]:
        async def best(query: str) -> list[str]:
            found = await search.search("acme", query, limit=3)
            assert () == found.partial
            return [hit.node.summary for hit in found.hits]

        return best

    over_index = await quality(way(fed), paraphrases, keywords)
    over_sql = await quality(way(by_itself), paraphrases, keywords)
    assert over_index.paraphrases_3 >= max(0.75, over_sql.paraphrases_3 - 0.02)
    assert over_index.paraphrases_1 >= over_sql.paraphrases_1 - 0.02
    assert over_index.keywords_1 == over_sql.keywords_1 == 1.0


@pytest.mark.requirement("INDEX-8")
async def test_a_node_that_was_deleted_is_forgotten(
    database: Database, fed: Fed, index: WeaviateIndex
) -> None:
    """The search that misses it fills its place, and tells the index; so does the feeder."""
    first, second, third = await write(database, "a quokka", "a quokka", "a quokka")
    await fed.feed("acme")
    await change(database, "DELETE FROM nodes WHERE id = ?", third)
    assert [second, first] == await ask(fed, "quokka", limit=2)
    assert {first, second} == await _held(index)
    await change(database, "DELETE FROM nodes WHERE id = ?", second)
    assert {} == await fed.projection.feed("acme", [first, second])
    assert {first} == await _held(index)


async def _held(index: WeaviateIndex) -> set[str]:
    """The ids in the index that have the word quokka."""
    words = (sealing().blind("acme", "word quokka"),)
    asked = Query(vector=None, words=words, limit=9)
    return {one.id for one in await index.nearest(shard(sealing(), "acme"), asked) or ()}


# ----------------------------------------------------------------------- when it does without


@pytest.mark.requirement("INDEX-7")
async def test_what_was_never_fed_is_found_by_keywords(database: Database, fed: Fed) -> None:
    """Until the feeder has come."""
    *_, parser = await write(database, *NOTES)
    fed.feeding = False
    assert [parser] == await partial(fed)
    fed.feeding = True
    assert parser == (await ask(fed, "parser.py"))[0]
    assert list(reversed([parser])) == [n.id for n in await fed.newest("acme", limit=1)]


@pytest.mark.requirement("INDEX-7")
async def test_a_server_that_is_away_costs_the_meaning_and_no_hit(
    database: Database, weaviate: WeaviateAddress
) -> None:
    """Refused, or with a wrong key."""
    [*_, parser] = await write(database, *NOTES)
    async with weaviate_index(weaviate) as sound:
        await Fed(database, sound).feed("acme")
    for changes in ({"url": "http://127.0.0.1:1"}, {"key": "another"}):
        index = WeaviateIndex(address_of(weaviate, **changes), FakeClock(), SeededRng())
        search = Fed(database, index)
        search.feeding = False
        for _ in range(2):
            assert [parser] == await partial(search)


@pytest.mark.requirement("INDEX-7")
async def test_another_embedder_asks_nothing_of_the_old_vectors(
    database: Database, fed: Fed, index: WeaviateIndex
) -> None:
    """Words are looked up in SQL until the tenant was built again."""
    [*_, parser] = await write(database, *NOTES)
    await fed.feed("acme")
    another = Fed(database, index, Wordless())
    another.feeding = False
    assert [parser] == await partial(another)
    assert await fed.projection.built_with("acme") != await another.projection.built_with("acme")
    await another.rebuild("acme")
    assert [parser] == await ask(another, "parser.py")


@pytest.mark.requirement("INDEX-9")
async def test_doctor_says_that_another_embedder_wants_a_rebuild(
    database: Database, fed: Fed, index: WeaviateIndex, tmp_path: Path
) -> None:
    """And what was made with what."""
    (nothing,) = await fed.projection.check()
    assert (True, "0 tenants") == (nothing.ok, nothing.detail[:9])
    await write(database, *NOTES)
    await fed.feed("acme")
    (sound,) = await fed.projection.check()
    assert (True, f"1 tenants, made with {EMBEDDER.id}") == (sound.ok, sound.detail)
    (other,) = await Fed(database, index, Wordless()).projection.check()
    assert not other.ok
    assert f"{EMBEDDER.id}/1, the embedder is wordless" in other.detail
    assert "factory-mcp sync --rebuild" in (other.fix or "")
    await mark(database, "acme", "")
    (waiting,) = await fed.projection.check()
    assert (True, "1 still to be made") == (waiting.ok, waiting.detail.rpartition("; ")[2])
    broken = Fed(database, index, FolderEmbedder(tmp_path / "nowhere"))
    (unusable,) = await broken.projection.check()
    assert not unusable.ok


@pytest.mark.requirement("INDEX-9")
async def test_a_new_matrix_makes_the_index_old(database: Database, fed: Fed) -> None:
    """Nothing turned by one is compared with what was turned by another."""
    await write(database, *NOTES)
    before, was = await ask(fed, "how do customers pay"), await fed.projection.built_with("acme")
    assert 0 == await SearchTables(database).rotate_vectors(lambda _: None)
    assert was != await fed.projection.built_with("acme")
    await partial(fed)
    await fed.rebuild("acme")
    assert before == await ask(fed, "how do customers pay")


@pytest.mark.requirement("INDEX-7")
async def test_a_feeder_that_is_late_is_not_relied_upon(
    database: Database, index: WeaviateIndex
) -> None:
    """What has waited for two seconds would be missed; less is normal; a run is no node."""
    clock = FakeClock(start=NOW)
    fed = Fed(database, index, clock=clock)
    [*_, parser] = await write(database, *NOTES)
    await fed.feed("acme")
    fed.feeding = False
    row = {"tenant": "acme", "id": parser, "at": NOW}
    async with database.write("acme") as connection:
        await connection.execute(insert(outbox), {**row, "seq": 5, "kind": "run"})
        await connection.execute(insert(outbox), {**row, "seq": 6, "kind": "node", "at": NOW + 1})
    clock.advance(2.9)
    assert parser == (await ask(fed, "parser.py"))[0]
    clock.advance(0.2)
    assert [parser] == await partial(fed)
    await change(database, "UPDATE sync_positions SET seq = 6")
    assert parser == (await ask(fed, "parser.py"))[0]


@pytest.mark.requirement("INDEX-7")
async def test_a_damaged_embedder_leaves_the_words(
    database: Database, index: WeaviateIndex, tmp_path: Path
) -> None:
    """And the feeder says what is wrong."""
    [*_, parser] = await write(database, *NOTES)
    folder = tmp_path / "embedder"
    shutil.copytree(BUNDLED, folder)
    (folder / "tokenizer.json").unlink()
    fed = Fed(database, index, StaticEmbedder(folder))
    with pytest.raises(EmbedderUnusable):
        await fed.feed("acme")
    fed.feeding = False
    assert [parser] == await partial(fed)


# ------------------------------------------------------------------------------- how it is fed


@pytest.mark.requirement("INDEX-9")
async def test_an_index_that_lost_everything_is_built_again(
    database: Database, fed: Fed, index: WeaviateIndex
) -> None:
    """A search notices, and has it built; the feeder builds it before it adds anything."""
    [*_, parser] = await write(database, *NOTES)
    await fed.feed("acme")
    fed.feeding = False
    await index.drop(shard(sealing(), "acme"))
    assert [parser] == await partial(fed)
    assert [""] == await built_with(database)
    [fresh] = await write(database, "another note of parser.py")
    assert {} == await fed.projection.feed("acme", [fresh])
    assert [await fed.projection.built_with("acme")] == await built_with(database)
    assert {parser, fresh} == set((await ask(fed, "parser.py"))[:2])


@pytest.mark.requirement("INDEX-9")
async def test_vectors_of_another_size_are_built_again(
    database: Database, fed: Fed, index: WeaviateIndex
) -> None:
    """As those of a backup of another time; a search goes by the words, and has it done."""
    [*_, parser] = await write(database, *NOTES)
    await fed.feed("acme")
    fed.feeding, [vector] = False, Wordless().embed(["x"])
    await index.drop(shard(sealing(), "acme"))
    other = Entry(id=parser, vector=vector, words=("x",), created_at=1.0)
    assert {} == await index.put(shard(sealing(), "acme"), [other])
    assert ([parser], [""]) == (await partial(fed), await built_with(database))


@pytest.mark.requirement("INDEX-8")
async def test_what_does_not_open_is_named_and_the_rest_is_fed(
    database: Database, fed: Fed
) -> None:
    """By the feeder and by a rebuild; with the reason that every other reader is given."""
    lost, *_, parser = await write(database, *NOTES)
    await change(database, "UPDATE nodes SET data = x'0102' WHERE id = ?", lost)
    for poisoned in (
        await fed.projection.rebuild("acme"),
        await fed.projection.feed("acme", [lost, parser]),
    ):
        assert [lost] == list(poisoned)
        assert poisoned[lost].startswith("[seal_broken] nodes.data of")
    assert {} == await fed.projection.feed("acme", [parser])


@pytest.mark.requirement("INDEX-9")
async def test_a_rebuild_writes_all_and_tells_how_far_it_is(database: Database, fed: Fed) -> None:
    """More than fit into one batch; what was there before is gone."""
    to, told = ContextTables(database), list[tuple[int, int]]()

    async def append(number: int) -> None:
        await to.append(make.node(summary=f"note number {number}", data={}))

    async with anyio.create_task_group() as tasks:
        for number in range(1100):
            tasks.start_soon(append, number)
    assert {} == await fed.projection.rebuild("acme", lambda done, of: told.append((done, of)))
    assert [(500, 1100), (1000, 1100), (1100, 1100)] == told
    await fed.rebuild("acme")
    fed.feeding = False
    for number in (0, 499, 500, 1099):
        found = await fed.search("acme", f"{number}", limit=1)
        assert [f"note number {number}"] == [hit.node.summary for hit in found.hits]


@pytest.mark.requirement("INDEX-8")
async def test_entries_carry_blind_names_and_the_time(
    database: Database, fed: Fed, index: WeaviateIndex
) -> None:
    """Whoever asks the index directly can narrow by each of them."""
    [node] = await write(database, "a quokka", droid="code", workspace_key="w")
    await fed.feed("acme")
    sealer = sealing()
    for kind, name in (("droid", "code"), ("workspace", "w"), ("chain", node)):
        blind = scope(sealer, "acme", kind, name)
        assert blind is not None
        assert name not in blind
        asked = Query(vector=None, words=(sealer.blind("acme", "word quokka"),), limit=1)
        found = await index.nearest(shard(sealer, "acme"), _narrowed(asked, kind, blind))
        assert [node] == [one.id for one in found or ()]


def _narrowed(query: Query, kind: str, name: str) -> Query:
    return Query(vector=None, words=query.words, limit=query.limit, since=NOW, **{kind: name})
