"""What every search over the tables shares: what notes mean, what is asked, how hits are read."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, select

from factory_mcp.domain.keywords import telling, texts_in, tokens
from factory_mcp.domain.model import Hit, Json
from factory_mcp.ports import Sealer
from factory_mcp.stores.sql.append import NODE, to_node
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.sealed import blind_word
from factory_mcp.stores.sql.tables import nodes

QUERY_WORDS: Final = 32
"""Different words of a query that are looked for."""
WITHOUT_VECTORS: Final = ("vector_index",)
"""What a search says that went by keywords alone."""

EMBEDDED: Final = 4000
"""Characters of a note that its vector is made of."""

_THESE: Final = select(*NODE).where(
    nodes.c.tenant == bindparam("its_tenant"), nodes.c.id.in_(bindparam("ids", expanding=True))
)

Ranked = Sequence[tuple[str, float]]


def blind_words(sealer: Sealer, tenant: str, query: str) -> list[str]:
    """The words of a query as the index has them."""
    words = list(dict.fromkeys(telling(tokens(query))))[:QUERY_WORDS]
    return [blind_word(sealer, tenant, word) for word in words]


def embedded(summary: str, data: Json) -> str:
    """What the vector of a note is made of."""
    return "\n".join((summary, *texts_in(data)))[:EMBEDDED]


async def read_hits(database: Database, tenant: str, ranked: Ranked) -> list[Hit]:
    """The nodes of a ranking that are still there, in its order."""
    ids = [id for id, _ in ranked]  # noqa: A001
    async with database.read(tenant) as connection:
        found = await connection.execute(_THESE, {"its_tenant": tenant, "ids": ids})
        rows = {row["id"]: row for row in found.mappings()}
    return [
        Hit(node=to_node(database.sealer, rows[id]), score=score)
        for id, score in ranked  # noqa: A001
        if id in rows
    ]
