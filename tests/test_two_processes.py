"""Two servers on one store: no write is lost, and the death of one harms nobody."""

import json
import random
import secrets
import signal
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Final

import anyio
import pytest
from sqlalchemy import select

from factory_mcp.domain.hash_chain import verify
from factory_mcp.domain.model import LOCAL, Json
from factory_mcp.services.sealing import Sealing
from factory_mcp.stores.key_file import KeyFile
from factory_mcp.stores.sql.sealed import NODES
from factory_mcp.stores.sql.sqlite import SqliteDatabase, open_database
from factory_mcp.stores.sql.tables import audit, nodes
from tests.programs.stdio_writer import Writer, stdio_writer

WRITES: Final = 1000
GUARD_S: Final = 120
STORE: Final = "data/factory-mcp.db"


def notes(name: str) -> list[Json]:
    """What a process writes: every other note onto the chain that all share, the rest elsewhere."""
    return [
        {"summary": f"{name} {number}", "data": {f"{name}_{number}": number}}
        | ({"context_id": "new"} if number % 2 else {})
        for number in range(WRITES)
    ]


@asynccontextmanager
async def the_store(folder: Path) -> AsyncGenerator[SqliteDatabase]:
    """The store as a third process finds it."""
    ring = KeyFile((folder / STORE).with_name("keyring"), make=False)
    database = await open_database(folder / STORE, Sealing(ring))
    try:
        yield database
    finally:
        await database.close()


async def stored(folder: Path) -> dict[str, Json]:
    """Every node by its summary; the chains are whole and the file is sound."""
    async with the_store(folder) as database, database.read(LOCAL.tenant) as connection:
        sealed = (await connection.execute(select(nodes))).mappings()
        found = [NODES.open(database.sealer, row) for row in sealed]
        trail = select(audit).where(audit.c.tenant == LOCAL.tenant).order_by(audit.c.seq)
        rows = [dict(row) for row in (await connection.execute(trail)).mappings()]
    assert None is verify(rows)
    assert {row["id"] for row in found} == {row["object"] for row in rows}
    shared = sorted(row["revision"] for row in found if int(row["summary"].split()[-1]) % 2 == 0)
    assert list(range(1, len(shared) + 1)) == shared
    with closing(sqlite3.connect(folder / STORE)) as plain:
        assert [("ok",)] == plain.execute("PRAGMA integrity_check").fetchall()
        assert [] == plain.execute("PRAGMA foreign_key_check").fetchall()
    return {row["summary"]: row for row in found}


def answered(writer: Writer) -> dict[str, Json]:
    """The ids and revisions a process has answered with, by summary; each was a success."""
    assert {"done"} == {answer["status"] for answer in writer.answers.values()}
    return {summary: answer["data"] for summary, answer in writer.answers.items()}


def as_answered(rows: dict[str, Json], answers: dict[str, Json]) -> dict[str, Json]:
    """What the store has of the answered writes, in the form of the answers."""
    found = {summary: rows[summary] for summary in answers if summary in rows}
    return {s: {"id": row["id"], "revision": row["revision"]} for s, row in found.items()}


@pytest.mark.requirement("STORE-24")
async def test_two_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    """A thousand writes each, many of them onto one chain: all are answered and all are there."""
    with anyio.fail_after(GUARD_S):
        async with stdio_writer(tmp_path) as one, stdio_writer(tmp_path) as other:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one.write, notes("one"))
                tasks.start_soon(other.write, notes("other"))
            await one.close()
            await other.close()
    answers = answered(one) | answered(other)
    assert 2 * WRITES == len(answers)
    rows = await stored(tmp_path)
    assert answers.keys() == rows.keys()
    assert answers == as_answered(rows, answers)
    assert [note["data"] for note in notes("one")] == [
        rows[f"one {n}"]["data"] for n in range(WRITES)
    ]


@pytest.mark.requirement("STORE-25")
async def test_a_process_that_is_killed_takes_nothing_with_it(tmp_path: Path) -> None:
    """At any moment: what it had answered is there, and the other one does not even notice."""
    seed = secrets.randbelow(1 << 32)
    print(json.dumps({"seed": seed}))  # noqa: T201 — to try the same moment again
    chance = random.Random(seed)  # noqa: S311
    after, moment = chance.randrange(50, 600), chance.uniform(0, 0.2)
    begun = anyio.Event()
    with anyio.fail_after(GUARD_S):
        async with stdio_writer(tmp_path) as victim, stdio_writer(tmp_path) as survivor:

            async def writes_until_killed() -> None:
                with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.IncompleteRead):
                    await victim.write(notes("victim"), lambda n: n == after and begun.set())

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(writes_until_killed)
                tasks.start_soon(survivor.write, notes("survivor"))
                await begun.wait()
                with anyio.move_on_after(moment):
                    await victim.process.wait()
                victim.process.kill()
            assert -signal.SIGKILL == await victim.process.wait()
            await survivor.close()
    answers = answered(victim) | answered(survivor)
    assert WRITES == len(survivor.answers)
    rows = await stored(tmp_path)
    assert answers == as_answered(rows, answers)
    async with stdio_writer(tmp_path) as third:
        await third.write([{"summary": "third 0"}])
        await third.close()
    assert 1 + len(rows) == len(await stored(tmp_path))
