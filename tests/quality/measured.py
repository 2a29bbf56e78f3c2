"""How well searches find the note that was meant: by meaning, by keywords, by both, and sealed.

The first three rank in memory, with nothing stored; the last one asks a store, as the product does.
"""

import tomllib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from factory_mcp.domain.keywords import telling, tokens
from factory_mcp.ports import NewNode
from factory_mcp.stores.embed import StaticEmbedder
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.index import Facts, TenantIndex
from factory_mcp.stores.sql.search import SearchTables
from factory_mcp.stores.sql.sqlite import open_database
from tests.keys import sealing

TOP: Final = 3

Pairs = list[tuple[str, str]]
Ranked = Callable[[str], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Shares of the queries whose note came first, or among the first three."""

    paraphrases_1: float
    paraphrases_3: float
    keywords_1: float


def pairs() -> tuple[Pairs, Pairs]:
    """Query and note: the paraphrases, and the keyword queries."""
    text = (Path(__file__).parent / "pairs.toml").read_text(encoding="utf-8")
    found = tomllib.loads(text)
    return [(q, n) for q, n in found["paraphrases"]], [(q, n) for q, n in found["keywords"]]


async def measured(folder: Path) -> dict[str, Quality]:
    """The quality of each way to search; the store is made in the folder."""
    paraphrases, keywords = pairs()
    notes = [note for _, note in (*paraphrases, *keywords)]
    bench = _Memory(notes)
    ways: dict[str, Ranked] = {
        "vector": lambda query: bench.best(query, meaning=True, words=False),
        "keyword": lambda query: bench.best(query, meaning=False, words=True),
        "fused": lambda query: bench.best(query, meaning=True, words=True),
    }
    found = {name: await quality(way, paraphrases, keywords) for name, way in ways.items()}
    database = await open_database(folder / "factory.db", sealing())
    try:
        for number, note in enumerate(notes):
            await ContextTables(database).append(
                NewNode(id=f"ctx_{number:03}", tenant="t", summary=note, data={}, created_at=number)
            )
        tables = SearchTables(database, bench.embedder)

        async def sealed(query: str) -> list[str]:
            hits = (await tables.search("t", query, limit=TOP)).hits
            return [hit.node.summary for hit in hits]

        found["sealed-fused"] = await quality(sealed, paraphrases, keywords)
    finally:
        await database.close()
    return found


async def quality(way: Ranked, paraphrases: Pairs, keywords: Pairs) -> Quality:
    """How well a way to search does."""
    places = [[note in (await way(query))[:at] for query, note in paraphrases] for at in (1, TOP)]
    first = [note in (await way(query))[:1] for query, note in keywords]
    one, three, words = (sum(hits) / len(hits) for hits in (*places, first))
    return Quality(paraphrases_1=one, paraphrases_3=three, keywords_1=words)


class _Memory:
    """The notes in memory, under their own texts, neither rotated nor sealed."""

    def __init__(self, notes: list[str]) -> None:
        self.embedder = StaticEmbedder()
        self._words = {note: tokens(note) for note in notes}
        self._index = TenantIndex(self.embedder.dimensions)
        self._index.put(
            [
                Facts(id=note, droid=None, workspace_key=None, length=len(words))
                for note, words in self._words.items()
            ],
            self.embedder.embed(notes),
        )

    async def best(self, query: str, *, meaning: bool, words: bool) -> list[str]:
        vector = self.embedder.embed([query])[0] if meaning else np.zeros(256, np.float32)
        asked = dict.fromkeys(telling(tokens(query))) if words else ()
        holders = [
            [(note, held.count(word)) for note, held in self._words.items() if word in held]
            for word in asked
        ]
        return [note for note, _ in self._index.best(self._index.cosines(vector), holders, TOP)]
