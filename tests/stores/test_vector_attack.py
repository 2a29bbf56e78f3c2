"""What whoever has unsealed the vectors can read out of them with the public table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from sqlalchemy import select
from tokenizers import Tokenizer

from factory_mcp.stores.embed import BUNDLED, StaticEmbedder
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.index import STORED, Vectors
from factory_mcp.stores.sql.rotations import Rotations
from factory_mcp.stores.sql.sealed import VECTORS
from factory_mcp.stores.sql.search import SearchTables
from factory_mcp.stores.sql.sqlite import SqliteDatabase, open_database
from factory_mcp.stores.sql.tables import vectors
from tests.contracts.samples import Samples
from tests.keys import sealing
from tests.quality.measured import pairs

NOTES: Final = 50
DIMENSIONS: Final = StaticEmbedder.dimensions


@pytest.mark.requirement("VECTOR-6")
async def test_stored_vectors_give_no_words_away(tmp_path: Path) -> None:
    """Matching pursuit finds most words in plain vectors, and at most a tenth in stored ones."""
    notes = [query for query, _ in pairs()[0]][:NOTES]
    database = await open_database(tmp_path / "factory.db", sealing())
    try:
        stored, plain = await _vectors(database, notes)
    finally:
        await database.close()
    assert (NOTES, DIMENSIONS) == stored.shape == plain.shape
    assert recovered(notes, plain) > 0.8
    assert recovered(notes, stored) <= 0.1


async def _vectors(database: SqliteDatabase, notes: Sequence[str]) -> tuple[Vectors, Vectors]:
    """The vectors of the notes as they are stored under the seal, and before they are rotated."""
    make, order = Samples(), list[str]()
    for note in notes:
        new = make.node(summary=note, data={})
        order.append((await ContextTables(database).append(new)).node.id)
    await SearchTables(database, StaticEmbedder()).search("acme", "anything", limit=1)
    async with database.read("acme") as connection:
        found = (await connection.execute(select(vectors))).mappings().all()
    rows = sorted(found, key=lambda row: order.index(row["node_id"]))
    sealer = database.sealer
    stored = b"".join(sealer.unseal(VECTORS.place("vector", row), row["vector"]) for row in rows)
    plain, broken = await Rotations(database).opened(rows, DIMENSIONS)
    assert [] == broken
    return np.frombuffer(stored, STORED).reshape(-1, DIMENSIONS).astype(np.float32), plain


def recovered(notes: Sequence[str], targets: Vectors) -> float:
    """The share of all words of the notes that matching pursuit names."""
    words = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    table = StaticEmbedder().embed(  # every word of the table alone: the direction of its row
        sorted(words.get_vocab(), key=words.get_vocab().__getitem__)
    )
    found = known = 0
    for note, target in zip(notes, targets, strict=True):
        said = set(words.encode(note, add_special_tokens=False).tokens)
        named = {words.id_to_token(row) for row in _pursued(table, target, len(said))}
        found, known = found + len(said & named), known + len(said)
    return found / known


def _pursued(table: Vectors, target: Vectors, count: int) -> list[int]:
    """The rows of a table whose sum comes closest to the target, found greedily."""
    rows: list[int] = []
    rest = target
    for _ in range(count):
        rows.append(int(np.argmax(table @ rest)))
        weights = np.linalg.lstsq(table[rows].T, target, rcond=None)[0]
        rest = target - table[rows].T @ weights
    return rows
