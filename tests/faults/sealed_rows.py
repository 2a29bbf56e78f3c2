"""One flipped bit in each of 1,000 sealed rows: S8."""

import random
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from anyio.to_thread import run_sync

from tests.faults.load import Caller, Mix, Tally, caller, crowd
from tests.faults.product import TIMES, Replica, replica, serving
from tests.faults.table import Row, at_least, at_most
from tests.faults.team import postgres_team

ROWS: Final = 1000 * TIMES
CALLS: Final = 1100 * TIMES
COLUMNS: Final = (
    ("nodes", "data", "id"),
    ("runs", "request", "id"),
    ("history", "envelope", "run_id"),
)
LOOKED_AT: Final = 100
"""Damaged nodes that are read one by one besides, and as many sound ones if there are."""

Statement = tuple[str, tuple[Any, ...]]
Execute = Callable[[Sequence[Statement]], list[list[tuple[Any, ...]]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A sealed value: its row's `key` is `id`."""

    table: str
    column: str
    key: str
    id: str
    sealed: bytes

    @property
    def place(self) -> str:
        """As the product names it."""
        return f" {self.table}.{self.column} of {self.id} "


async def s8(home: Path) -> AsyncGenerator[Row]:
    """In SQLite and in Postgres."""
    small = home / "sqlite"
    small.mkdir()
    one = replica(small, "one")
    async with serving(one), caller(one) as by:
        execute = _sqlite(small / "one/data/factory-mcp.db")
        async for row in _flipped("S8.sqlite", one, by, execute, "?"):
            yield row
    async with postgres_team(home, direct=True) as team, caller(team.replicas[0]) as by:
        execute = _postgres(team.postgres.admin_url.rpartition("/")[0] + "/tester")
        async for row in _flipped("S8.postgres", team.replicas[0], by, execute, "%s"):
            yield row


async def _flipped(
    name: str, one: Replica, by: Caller, execute: Execute, mark: str
) -> AsyncGenerator[Row]:
    mix = await Mix.over(by, Tally())
    await crowd(16, range(CALLS), lambda number: mix.call(by, number))
    chance = random.Random(8)  # noqa: S311 — the same bits each time
    values = await run_sync(_values, execute)
    chosen = chance.sample(values, min(ROWS, len(values)))
    await run_sync(execute, [_flip(chance, mark, one) for one in chosen])
    yield at_least(f"{name}.flipped", len(chosen), ROWS)
    broken = {value.id for value in chosen if value.table == "nodes"}
    sound = {value.id for value in values if value.table == "nodes"} - broken
    refused = [await _is_refused(by, node) for node in sorted(broken)[:LOOKED_AT]]
    yield at_least(f"{name}.reads_refused", sum(refused) / len(refused), 1)
    refused = [await _is_refused(by, node) for node in sorted(sound)[:LOOKED_AT]]
    yield at_most(f"{name}.others_refused", sum(refused), 0)
    named, sealed_anew = await run_sync(_rewrapped, one)
    found = sum(any(value.place in line for line in named) for value in chosen)
    yield at_least(f"{name}.named", found, len(chosen))
    yield at_most(f"{name}.others_named", len(named) - found, 0)
    yield at_least(f"{name}.others_sealed_anew", sealed_anew, len(values) - len(chosen))


async def _is_refused(by: Caller, node: str) -> bool:
    """Whether it cannot be read, and is named."""
    answer = await by.call("context_read", id=node)
    return answer.code in ("seal_broken", "key_missing") and node in answer.said["text"]


def _rewrapped(one: Replica) -> tuple[list[str], int]:
    """All that is sealed, opened and sealed anew: what did not open, and how much did."""
    one.run("seal", "rotate")
    one.run("seal", "rotate", "--activate", check=False)  # with Postgres the new key waits
    done = one.run("seal", "rewrap", check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("not rewrapped: ")]
    return lines, int(done.stdout.split()[0])


def _values(execute: Execute) -> list[Value]:
    """A sealed value of every row."""
    found: list[Value] = []
    for table, column, key in COLUMNS:
        query = f"SELECT {key}, {column} FROM {table} ORDER BY {key}"  # noqa: S608
        for row, sealed in execute([(query, ())])[0]:
            found.append(Value(table=table, column=column, key=key, id=row, sealed=bytes(sealed)))
    return found


def _flip(chance: random.Random, mark: str, value: Value) -> Statement:
    changed = bytearray(value.sealed)
    at = chance.randrange(len(changed) * 8)
    changed[at // 8] ^= 1 << at % 8
    its = f"{value.key} = {mark}"
    return f"UPDATE {value.table} SET {value.column} = {mark} WHERE {its}", (  # noqa: S608
        bytes(changed),
        value.id,
    )


def _sqlite(path: Path) -> Execute:
    def execute(statements: Sequence[Statement]) -> list[list[tuple[Any, ...]]]:
        with closing(sqlite3.connect(path, timeout=20)) as connection, connection:
            return [connection.execute(*statement).fetchall() for statement in statements]

    return execute


def _postgres(url: str) -> Execute:
    def execute(statements: Sequence[Statement]) -> list[list[tuple[Any, ...]]]:
        with psycopg.connect(url) as connection:
            done = [connection.execute(query.encode(), values) for query, values in statements]
            return [cursor.fetchall() if cursor.description else [] for cursor in done]

    return execute
