"""Context writes by many writers: a node, its words, its audit row and its row of the outbox."""

import time
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Final

import anyio

from bench.notes import TENANT, texts
from bench.table import at_least
from factory_mcp.ports import Contexts, NewNode
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.database import Database

WRITERS: Final = 32
WRITES: Final = 3200
ROUNDS: Final = 3

_numbers: Iterator[int] = count()


def new(words: list[str], chain_id: str | None = None, *, tenant: str = TENANT) -> NewNode:
    """A note that is still to be stored; without a chain it starts one."""
    number = next(_numbers)
    return NewNode(
        id=f"ctx_new{number:023}",
        tenant=tenant,
        summary=" ".join(words),
        data={f"key {number}": number},
        created_at=float(number),
        chain_id=chain_id,
        droid="architect_droid",
    )


async def append_all(to: Contexts, notes: Iterable[NewNode]) -> None:
    """Append notes, as many at a time as there are writers."""
    rest = iter(notes)

    async def write() -> None:
        for note in rest:
            await to.append(note)

    async with anyio.create_task_group() as tasks:
        for _ in range(WRITERS):
            tasks.start_soon(write)


async def writes(name: str, database: Database, target: float | None) -> None:
    """Each writer appends to a chain of its own, and waits for each of its writes."""
    to = ContextTables(database)
    chains = [(await to.append(new(["chain"]))).node.chain_id for _ in range(WRITERS)]
    rates: list[float] = []
    for number in range(ROUNDS + 1):
        notes = iter(texts(WRITES, 10, 24, seed=number))

        async def write(chain: str, notes: Iterator[list[str]] = notes) -> None:
            for words in notes:
                await to.append(new(words, chain))

        begun = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for chain in chains:
                tasks.start_soon(write, chain)
        rates.append(WRITES / (time.perf_counter() - begun))
    at_least(f"context write and outbox, {name}, {WRITERS} writers, /s", rates[1:], target)
