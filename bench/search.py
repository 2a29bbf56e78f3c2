"""Shared context on the embedded store: how well a search finds, and how long things take.

    python -m bench.search

Client and server are this one process: it calls the store's own functions, over SQLite in a file,
sealed, `synchronous=FULL`. The stores that are searched are made once, and kept in the cache folder
under a name that changes with what they depend on.
"""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import anyio
from sqlalchemy import Table, insert

from bench import notes as made_of
from bench.notes import TENANT, node, texts
from factory_mcp import telemetry
from factory_mcp.domain import keywords
from factory_mcp.domain.merge import merged_view
from factory_mcp.domain.model import ContextNode
from factory_mcp.domain.packing import pack
from factory_mcp.ports import NewNode
from factory_mcp.services import sealing as seals
from factory_mcp.stores.embed import StaticEmbedder
from factory_mcp.stores.sql import tables
from factory_mcp.stores.sql.append import rows_of
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.search import SearchTables
from factory_mcp.stores.sql.sqlite import SqliteDatabase, open_database
from tests.keys import sealing

SIZES: Final = (10_000, 100_000)
TARGET_MS: Final = 20
SEARCHES: Final = 60
WRITES: Final = 200
DEPTH: Final = 100
PACKED: Final = 1000
AT_ONCE: Final = 10_000
"""Nodes in one transaction."""

Work = Callable[[], Awaitable[object]]


async def main() -> None:
    """Print speed, then quality."""
    telemetry.configure("WARNING")
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'speed, ms':34} {'p50':>8} {'p90':>8}  target")
        for size in SIZES:
            await searches(size)
        await chains(Path(folder) / "chains")
        await quality(Path(folder) / "quality")


async def quality(folder: Path) -> None:
    """Shares of queries that find their note, of the set in tests/quality."""
    from tests.quality import measured  # noqa: PLC0415 — numpy: as the product imports it, above

    found = await measured.measured(folder)
    count = [len(pairs) for pairs in measured.pairs()]
    print(f"\n{count[0]} paraphrases, {count[1]} keyword queries; hit@1 and hit@3 of 1")
    print(f"{'':14} {'paraphrase @1':>14} {'@3':>6} {'keyword @1':>11}")
    for name, one in found.items():
        print(
            f"{name:14} {one.paraphrases_1:14.2f} {one.paraphrases_3:6.2f} {one.keywords_1:11.2f}"
        )
    print(f"{'target, fused':14} {'':14} {'0.75':>6} {'1.00':>11}  sealed at most 0.02 below")


async def searches(size: int) -> None:
    """A search in a store of so many nodes, in all of it and in one workspace of four."""
    database = await open_database(await stored(size), sealing())
    try:
        tables = SearchTables(database, StaticEmbedder())
        target = f"{TARGET_MS}" if size == max(SIZES) else "-"
        queries = [" ".join(words) for words in texts(SEARCHES, 3, 8, seed=size + 1)]
        begun = time.perf_counter()
        await tables.search(TENANT, queries[0], limit=10)
        _line(f"search, {size:,} nodes, first", [time.perf_counter() - begun], "-")
        for where, key in (("", None), (", workspace", "w1")):
            works = [
                lambda q=query, k=key: tables.search(TENANT, q, limit=10, workspace_key=k)
                for query in queries
            ]
            _line(f"search, {size:,} nodes{where}", await _timed(works), target)
    finally:
        await database.close()


async def chains(folder: Path) -> None:
    """A write, a chain read at its depth, and packing."""
    database = await open_database(folder / "factory.db", sealing())
    try:
        to = ContextTables(database)
        written = [_new(number, text) for number, text in enumerate(texts(WRITES, 10, 24, seed=1))]
        _line("context write", await _timed([lambda n=new: to.append(n) for new in written]), "-")
        last = f"ctx_{DEPTH - 1:026}"
        reads = await _timed([lambda: to.path(TENANT, last)] * SEARCHES)
        _line(f"chain read at depth {DEPTH}", reads, "-")
    finally:
        await database.close()
    nodes = [node(n, text) for n, text in enumerate(texts(PACKED, 10, 24, seed=2))]
    _line(f"packing {PACKED:,} nodes", [_packing(nodes) for _ in range(20)], "-")


def _packing(nodes: Sequence[ContextNode]) -> float:
    begun = time.perf_counter()
    pack(merged_view(nodes), nodes, budget_tokens=8000, marker="0123456789abcdef")
    return time.perf_counter() - begun


async def _timed(works: Sequence[Work]) -> list[float]:
    taken: list[float] = []
    for work in works:
        begun = time.perf_counter()
        await work()
        taken.append(time.perf_counter() - begun)
    return taken


def _line(name: str, seconds: Sequence[float], target: str) -> None:
    ms = sorted(1e3 * s for s in seconds)
    slow = f"{ms[len(ms) * 9 // 10]:8.1f}" if len(ms) > 1 else f"{'':8}"
    print(f"{name:34} {statistics.median(ms):8.1f} {slow}  {target}", flush=True)


# ------------------------------------------------------------------------- stores to search


async def stored(size: int) -> Path:
    """A store of so many nodes with their vectors; made if it is not there yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "factory-mcp"
    folder = cache / f"bench-{size}-{_version()}"
    if not folder.is_dir():
        print(f"setup: making a store of {size:,} nodes in {folder} (once)", flush=True)
        for old in cache.glob(f"bench-{size}-*"):
            shutil.rmtree(old)
        fresh = Path(tempfile.mkdtemp(prefix="bench-new-", dir=_made(cache)))
        await _fill(fresh / "factory.db", size)
        os.rename(fresh, folder)  # noqa: PTH104 — which ruff wants in a thread
    return folder / "factory.db"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _version() -> str:
    """Another one whenever a stored byte may be another one."""
    sources = (__file__, made_of.__file__, tables.__file__, keywords.__file__, seals.__file__)
    read = b"".join(Path(source).read_bytes() for source in sources)
    return sha256(read + StaticEmbedder.id.encode()).hexdigest()[:12]


async def _fill(path: Path, size: int) -> None:
    database = await open_database(path, sealing())
    try:
        words = texts(size, 10, 24, seed=size)
        for start in range(0, size, AT_ONCE):
            await _insert(database, start, words[start : start + AT_ONCE])
        search = SearchTables(database, StaticEmbedder())
        while (await search.search(TENANT, "", limit=1)).partial:
            pass
    finally:
        await database.close()


async def _insert(database: SqliteDatabase, start: int, notes: Sequence[list[str]]) -> None:
    """Nodes as the store itself makes their rows, each a chain of its own."""
    made = [node(number, words) for number, words in enumerate(notes, start)]
    rows = [rows_of(database.sealer, node) for node in made]
    chain = [
        {"tenant": TENANT, "id": n.id, "head_id": n.id, "head_revision": 1, "standing": False}
        for n in made
    ]
    words = sorted((word for row in rows for word in row.words), key=lambda word: word["token"])
    inserted: tuple[tuple[Table, list[dict[str, Any]]], ...] = (
        (tables.chains, chain),
        (tables.nodes, [row.node for row in rows]),
        (tables.vectors, [row.vector for row in rows]),
        (tables.node_tokens, words),
    )
    async with database.write(TENANT) as connection:
        await connection.exec_driver_sql("PRAGMA cache_size=-400000")
        for table, values in inserted:
            await connection.execute(insert(table), values)


def _new(number: int, words: Sequence[str]) -> NewNode:
    """The next node of one chain."""
    return NewNode(
        id=f"ctx_{number:026}",
        tenant=TENANT,
        summary=" ".join(words),
        data={f"key {number}": number},
        created_at=float(number),
        chain_id=f"ctx_{0:026}" if number else None,
    )


if __name__ == "__main__":
    anyio.run(main)
