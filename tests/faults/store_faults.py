"""Faults of the stores, around the real product: what each row does, and in which order."""

import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import anyio

from tests.faults import (
    postgres_rows,
    redis_rows,
    replica_rows,
    sealed_rows,
    sqlite_rows,
    weaviate_rows,
)
from tests.faults.table import Row

Fault = Callable[[Path], AsyncGenerator[Row]]

FAULTS: Final[Mapping[str, Fault]] = {
    "S1": postgres_rows.s1,
    "S2": postgres_rows.s2,
    "S3": postgres_rows.s3,
    "S4": redis_rows.s4,
    "S5": weaviate_rows.s5,
    "S6": sqlite_rows.s6,
    "S7": sqlite_rows.s7,
    "S8": sealed_rows.s8,
    "S9": postgres_rows.s9,
    "R5": replica_rows.r5,
    "R7": replica_rows.r7,
    "C2": replica_rows.c2,
}


def rows(name: str) -> Iterator[Row]:
    """The rows of one fault, when it is over."""
    found: list[Row] = []

    async def collect() -> None:
        with tempfile.TemporaryDirectory(prefix="factory-mcp-faults-") as home:
            found.extend([row async for row in FAULTS[name](Path(home))])

    anyio.run(collect)
    yield from found
