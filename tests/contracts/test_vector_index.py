"""What the port VectorIndex promises, for every index."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import numpy as np
import pytest

from factory_mcp.domain.search_errors import IndexUnfit
from factory_mcp.ports.index import Entry, Query, VectorIndex
from factory_mcp.stores.sql.index import Vectors
from tests.projected import weaviate_index
from tests.servers.fixtures import WeaviateAddress

NORTH, EAST = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


@pytest.fixture(params=["weaviate"])
async def index(weaviate: WeaviateAddress) -> AsyncGenerator[VectorIndex]:
    """An index of each kind, empty."""
    async with weaviate_index(weaviate) as made:
        yield made


def turned(numbers: Sequence[float] | None) -> Vectors | None:
    return None if numbers is None else np.asarray(numbers, np.float32)


def entry(name: str, vector: Sequence[float] | None, *words: str, **more: Any) -> Entry:
    fields: dict[str, Any] = {"created_at": 1_800_000_000.0, **more}
    return Entry(id=name, vector=turned(vector), words=words, **fields)


async def ask(
    index: VectorIndex,
    vector: Sequence[float] | None,
    *words: str,
    tenant: str = "acme",
    **more: Any,
) -> dict[str, tuple[float, float]] | None:
    """The candidates: by id, cosine and keyword score."""
    fields: dict[str, Any] = {"limit": 10, **more}
    query = Query(vector=turned(vector), words=words, **fields)
    found = await index.nearest(tenant, query)
    if found is None:
        return None
    assert len(found) == len({one.id for one in found})
    return {one.id: (round(one.cosine, 4), round(one.keywords, 4)) for one in found}


@pytest.mark.requirement("INDEX-1")
async def test_what_is_put_is_found_by_vector_and_by_words(index: VectorIndex) -> None:
    """Each candidate has both scores, whichever way it was found."""
    assert {} == await index.put(
        "acme",
        [entry("a", NORTH, "x", "y"), entry("b", EAST, "y", "y"), entry("c", None, "z", "z")],
    )
    by_vector = await ask(index, (0.6, 0.8, 0.0))
    assert {"a": (0.6, 0.0), "b": (0.8, 0.0)} == by_vector
    by_words = await ask(index, None, "z")
    assert by_words is not None
    assert ["c"] == list(by_words)
    assert by_words["c"][1] > 0
    both = await ask(index, (0.6, 0.8, 0.0), "y", "z")
    assert both is not None
    assert {"a": 0.6, "b": 0.8, "c": 0.0} == {name: cosine for name, (cosine, _) in both.items()}
    assert both["c"][1] == by_words["c"][1]
    assert both["b"][1] > both["a"][1] > 0


@pytest.mark.requirement("INDEX-1")
async def test_words_are_scored_as_in_sql(index: VectorIndex) -> None:
    """BM25 with the same numbers: so the scores may be fused by the same formula."""
    from factory_mcp.domain.keywords import bm25, rarity  # noqa: PLC0415 — its only use

    texts = {"a": "xyy", "b": "xzzzz", "c": "zz"}
    await index.put("acme", [entry(name, None, *text) for name, text in texts.items()])
    mean = sum(map(len, texts.values())) / len(texts)
    expected = {
        name: bm25(text.count("x"), len(text), mean, rarity(3, 2))
        for name, text in texts.items()
        if "x" in text
    }
    found = await ask(index, None, "x")
    assert found is not None
    assert expected == {name: pytest.approx(score, rel=1e-3) for name, (_, score) in found.items()}


@pytest.mark.requirement("INDEX-1")
async def test_an_entry_put_again_takes_the_place_of_the_first(index: VectorIndex) -> None:
    """Vector, words and names."""
    await index.put("acme", [entry("a", NORTH, "x", droid="one")])
    await index.put("acme", [entry("a", EAST, "y", droid="two")])
    assert {"a": (1.0, 0.0)} == await ask(index, EAST)
    assert {} == await ask(index, None, "x")
    assert {} == await ask(index, EAST, droid="one")
    assert ["a"] == list(await ask(index, None, "y", droid="two") or ())


@pytest.mark.requirement("INDEX-1")
async def test_a_query_can_be_narrowed(index: VectorIndex) -> None:
    """To a droid, an author, a chain, a workspace, a time; and to several of them."""
    names = {"droid": "d", "author": "p", "chain": "c", "workspace": "w"}
    await index.put("acme", [entry("a", NORTH, "x", **names, created_at=10), entry("b", EAST, "x")])
    await index.put("acme", [entry("c", EAST, "x", droid="d", created_at=5)])
    for scope, name in names.items():
        for way in ((NORTH, ()), (None, ("x",)), (NORTH, ("x",))):
            found = await ask(index, way[0], *way[1], **{scope: name})
            assert {"a", *(["c"] if scope == "droid" else [])} == set(found or ())
        assert {} == await ask(index, NORTH, "x", **{scope: "other"})
    assert ["a"] == list(await ask(index, EAST, "x", droid="d", since=10) or ())
    assert {"a", "b"} == set(await ask(index, EAST, "x", since=10) or ())


@pytest.mark.requirement("INDEX-1")
async def test_a_word_is_itself_and_nothing_else(index: VectorIndex) -> None:
    """Blind words differ in the case of a letter, and end in any character."""
    await index.put("acme", [entry("a", None, "Ab-_"), entry("b", None, "ab-_"), entry("c", None)])
    assert ["a"] == list(await ask(index, None, "Ab-_") or ())
    assert {} == await ask(index, None, "Ab")
    assert {} == await ask(index, None, "*")


@pytest.mark.requirement("INDEX-1")
async def test_the_limit_is_how_many_of_each_kind_there_are_at_least(index: VectorIndex) -> None:
    """The best ones, if there are more."""
    many = [entry(f"n{n:03}", (1.0, n / 100, 0.0), "x", *["y"] * n) for n in range(200)]
    await index.put("acme", many)
    found = await ask(index, NORTH, "x", limit=50)
    assert found is not None
    assert {f"n{n:03}" for n in range(50)} <= set(found)
    assert len(found) < 200


@pytest.mark.requirement("INDEX-1")
async def test_the_nearest_have_their_keyword_score_too(index: VectorIndex) -> None:
    """Though many others say the word more often: else both would not add up as in SQL."""
    many = [entry(f"n{n:03}", EAST, "x", "x", "x") for n in range(100)]  # all alike: a trap
    await index.put("acme", [*many, entry("near", NORTH, "x", "y", "z"), entry("mute", NORTH)])
    found = await ask(index, NORTH, "x", limit=2)
    assert found is not None
    assert found["near"][1] > 0
    assert (1.0, 0.0) == found["mute"]


@pytest.mark.requirement("INDEX-2")
async def test_tenants_are_apart(index: VectorIndex) -> None:
    """Nobody sees, removes or drops another one's."""
    await index.put("acme", [entry("a", NORTH, "x")])
    await index.put("Acme", [entry("a", EAST, "y")])
    await index.remove("Acme", ["a"])
    assert {} == await ask(index, EAST, "y", tenant="Acme")
    await index.drop("Acme")
    assert ["a"] == list(await ask(index, NORTH, "x") or ())


@pytest.mark.requirement("INDEX-2")
async def test_what_was_never_written_is_none_and_no_error(index: VectorIndex) -> None:
    """Before anybody wrote, before this tenant wrote, and after it was dropped."""
    for _ in range(2):
        assert await ask(index, NORTH, "x") is None
        assert await ask(index, None, "x") is None
        assert await ask(index, None) is None
        await index.remove("acme", ["a"])
        await index.drop("acme")
        await index.put("other", [entry("a", NORTH)])
    await index.put("acme", [entry("a", NORTH)])
    assert {} == await ask(index, None)
    await index.drop("acme")
    assert await ask(index, None) is None


@pytest.mark.requirement("INDEX-2")
async def test_entries_are_removed(index: VectorIndex) -> None:
    """Those that are not there are no error."""
    await index.put("acme", [entry("a", NORTH, "x"), entry("b", NORTH, "x")])
    await index.remove("acme", ["a", "never"])
    assert ["b"] == list(await ask(index, NORTH, "x") or ())


@pytest.mark.requirement("INDEX-3")
async def test_a_vector_of_another_size_is_refused_by_name(index: VectorIndex) -> None:
    """Alone and among good ones, which are stored; a query of another size is told so."""
    await index.put("acme", [entry("a", NORTH, "x")])
    alone = await index.put("acme", [entry("b", (1.0, 0.0), "x")])
    assert ["b"] == list(alone)
    assert "vector" in alone["b"]
    among = await index.put("acme", [entry("b", (1.0, 0.0), "x"), entry("c", EAST, "x")])
    assert ["b"] == list(among)
    assert {"a", "c"} == set(await ask(index, None, "x") or ())
    with pytest.raises(IndexUnfit, match="size"):
        await ask(index, (1.0, 0.0), "x")
    assert {"a", "c"} == set(await ask(index, NORTH) or ())


@pytest.mark.requirement("INDEX-1")
async def test_a_sound_index_says_so(index: VectorIndex) -> None:
    """To `doctor`, before and after it was used."""
    assert [True] == [check.ok for check in await index.check()]
    await index.put("acme", [entry("a", NORTH)])
    assert [True] == [check.ok for check in await index.check()]
