"""`factory-mcp sync`: what it prints, how it ends; over the real servers."""

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
import pytest
from typer.testing import Result

from factory_mcp.domain.model import Json
from factory_mcp.ports.index import Query
from factory_mcp.services.sync import BATCH
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.hits import blind_words
from factory_mcp.stores.sql.postgres import PostgresDatabase
from factory_mcp.stores.sql.projection import SINK, shard
from tests import postgres as pg
from tests.cli.test_commands import run
from tests.feeding import change, rows_of, sqlite_fed, write
from tests.keys import RING
from tests.projected import weaviate_index
from tests.servers.fixtures import WeaviateAddress
from tests.test_stdout_is_protocol import environment

GUARD_S: Final = 120
MANY: Final = 2 * BATCH + 100
Env = dict[str, str]


@pytest.fixture
def bus(redis_url: str) -> Env:
    """Settings of a store in a file, and Redis."""
    return {"FACTORY_MCP_KEYRING": RING.line(), "REDIS_URL": redis_url}


@pytest.fixture
def index(weaviate: WeaviateAddress) -> Env:
    """Settings of a store in a file, and Weaviate."""
    return {
        "FACTORY_MCP_KEYRING": RING.line(),
        "WEAVIATE_URL": weaviate.url,
        "FACTORY_MCP_WEAVIATE_GRPC": str(weaviate.grpc_port),
        "WEAVIATE_API_KEY": weaviate.api_key,
    }


@pytest.fixture
def team(postgres_ready: str, redis_url: str, index: Env) -> Env:
    """Settings of all three servers."""
    return {**index, "POSTGRES_CONNECTION_STRING": postgres_ready, "REDIS_URL": redis_url}


def in_file(here: Path, count: int = 3, *statements: str) -> list[str]:
    """The ids of nodes in the file of the data folder; then do something to it."""

    async def work() -> list[str]:
        async with sqlite_fed(here / "data" / "factory-mcp.db") as database:
            ids = await write(database, count)
            for statement in statements:
                await change(database, statement)
            return ids

    return anyio.run(work)


def standing(done: Result) -> dict[str, Json]:
    """What was printed as JSON, by sink."""
    return {one["sink"]: one for one in json.loads(done.stdout)}


# ----------------------------------------------------------------------------- what it prints


@pytest.mark.requirement("SYNC-9")
def test_it_feeds_what_is_there_and_says_how_far_it_is(tmp_path: Path, bus: Env) -> None:
    """As a table, and as JSON."""
    in_file(tmp_path)
    shown = standing(run(tmp_path, "sync", "--status", "--json", **bus))["bus"]
    assert (None, False, 3, []) == (
        shown["position"],
        shown["built"],
        shown["rows"],
        shown["parked"],
    )
    assert "bus   acme    to be built  3" in run(tmp_path, "sync", "--status", **bus).stdout
    done = run(tmp_path, "sync", "--once", **bus)
    assert 0 == done.exit_code
    assert ["bus", "acme", "3", "0", "0", "0"] == done.stdout.splitlines()[1].split()
    in_file(tmp_path)
    assert 3 == standing(run(tmp_path, "sync", "--status", "--json", **bus))["bus"]["rows"]
    assert 0 == standing(run(tmp_path, "sync", "--once", "--json", **bus))["bus"]["rows"]


@pytest.mark.requirement("SYNC-9")
def test_it_refuses_what_it_cannot_do_in_one_line(tmp_path: Path, bus: Env) -> None:
    """Nothing to feed, or two things at once: exit code 2."""
    nothing = run(tmp_path, "sync", "--once")
    assert 2 == nothing.exit_code
    assert "error: There is nothing to feed: neither WEAVIATE_URL nor REDIS_URL" in nothing.stderr
    both = run(tmp_path, "sync", "--once", "--status", **bus)
    assert (2, True) == (both.exit_code, "are different things to do" in both.stderr)


@pytest.mark.requirement("SYNC-9")
def test_a_sink_that_is_away_is_one_line(tmp_path: Path, index: Env) -> None:
    """And exit code 1: a script may try again."""
    in_file(tmp_path)
    away = run(tmp_path, "sync", "--once", **{**index, "WEAVIATE_URL": "http://127.0.0.1:1"})
    assert (1, True) == (away.exit_code, "error: Weaviate at http://127.0.0.1:1 " in away.stderr)


@pytest.mark.requirement("SYNC-5")
def test_what_does_not_open_is_parked_and_shown(tmp_path: Path, index: Env) -> None:
    """With its reason, exit code 1; the rest is fed; a rebuild after the mend clears it."""
    assert 0 == run(tmp_path, "sync", "--once", **index).exit_code
    keep = "CREATE TABLE kept AS SELECT id, summary FROM nodes"
    spoil = (
        "UPDATE nodes SET summary = substr(summary, 1, 20) WHERE id = (SELECT max(id) FROM nodes)"
    )
    ids = in_file(tmp_path, 3, keep, spoil)
    done = run(tmp_path, "sync", "--once", **index)
    assert (1, True) == (
        done.exit_code,
        f"parked: {SINK} acme {ids[2]}: [seal_broken]" in done.stdout,
    )
    shown = run(tmp_path, "sync", "--status", "--json", **index)
    assert (1, [ids[2]]) == (
        shown.exit_code,
        [one["id"] for one in standing(shown)[SINK]["parked"]],
    )
    mend = "UPDATE nodes SET summary = (SELECT summary FROM kept WHERE kept.id = nodes.id)"
    in_file(tmp_path, 0, mend)
    mended = run(tmp_path, "sync", "--rebuild", **index)
    assert (0, True) == (mended.exit_code, f"\n{SINK} acme: 3 of 3 nodes\n" in mended.stderr)
    assert [] == standing(run(tmp_path, "sync", "--status", "--json", **index))[SINK]["parked"]


@pytest.mark.requirement("SYNC-9")
def test_a_rebuild_shows_a_bar_on_a_terminal(tmp_path: Path, index: Env) -> None:
    """On stderr, so that stdout stays what it is."""
    in_file(tmp_path)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "factory_mcp", "sync", "--rebuild", "--json"],
        env=environment(tmp_path, TERM="xterm", COLUMNS="120", **index),
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as rebuild:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # how a terminal ends
            while some := os.read(ours, 4096):
                shown += some
        os.close(ours)
        assert rebuild.stdout is not None
        assert [SINK] == [one["sink"] for one in json.load(rebuild.stdout)]
    assert f"{SINK} acme" in shown.decode()
    assert "3/3" in shown.decode()


# ------------------------------------------------------------------------------ as a process


def start(folder: Path, env: Env, *arguments: str) -> "subprocess.Popen[bytes]":
    """A feeder of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "factory_mcp", "sync", *arguments],
        env=environment(folder, **env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def position(database: Database) -> int:
    rows = await rows_of(database, "sync_positions")
    return next((row["seq"] for row in rows if row["sink"] == SINK), 0)


async def fed_up_to(database: Database, seq: int) -> int:
    """Where the index is, once it is there."""
    with anyio.fail_after(GUARD_S):
        while (at := await position(database)) < seq:
            await anyio.lowlevel.checkpoint()
    return at


async def write_many(database: PostgresDatabase, count: int) -> set[str]:
    """The ids of new nodes, written by many at once."""
    ids = set[str]()

    async def some() -> None:
        ids.update(await write(database, count // 50))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(some)
    return ids


async def entries(weaviate: WeaviateAddress, database: Database) -> list[tuple[str, float, float]]:
    """All that Weaviate has of the tenant, with how well it answers a query."""
    query = Query(vector=None, words=blind_words(database.sealer, "acme", "learnt"), limit=5000)
    async with weaviate_index(weaviate) as asked:
        found = await asked.nearest(shard(database.sealer, "acme"), query)
    return sorted((one.id, one.cosine, one.keywords) for one in found or [])


@pytest.mark.requirement("SYNC-3")
async def test_a_feeder_that_is_told_to_stop_gives_its_leases_back(
    tmp_path: Path, team: Env
) -> None:
    """It is called by Postgres whenever something is written, and ends with exit code 0."""
    async with pg.opened(team["POSTGRES_CONNECTION_STRING"], feeds=True) as database:
        await write(database)
        with start(tmp_path, team) as feeder:
            assert feeder.stdout is not None
            assert b"factory-mcp sync feeds bus, vector_index (Ctrl" in feeder.stdout.readline()
            await fed_up_to(database, 1)
            await write(database)
            await fed_up_to(database, 2)
            feeder.send_signal(signal.SIGTERM)
            _, said = feeder.communicate(timeout=GUARD_S)
        assert 0 == feeder.returncode
        assert b"sync.built" in said
        rows = await rows_of(database, "sync_positions")
        assert {("bus", ""), (SINK, "")} == {(row["sink"], row["owner"]) for row in rows}


@pytest.mark.requirement("SYNC-11")
async def test_a_feeder_that_is_killed_loses_nothing_and_others_finish(
    tmp_path: Path, team: Env, weaviate: WeaviateAddress
) -> None:
    """Two at once feed each node, and each is there once; a rebuild makes the same."""
    async with pg.opened(team["POSTGRES_CONNECTION_STRING"], feeds=True) as database:
        ids = {*await write(database)}
        with start(tmp_path, team, "--once") as first:
            first.communicate(timeout=GUARD_S)
        assert 0 == first.returncode
        ids |= await write_many(database, MANY)
        with start(tmp_path, team) as victim:
            at = await fed_up_to(database, 2)
            victim.kill()
            victim.communicate(timeout=GUARD_S)
        assert await position(database) < len(ids), at
        await change(database, "UPDATE sync_positions SET lease_until = 1")  # time passes
        others = [start(tmp_path, team, "--once") for _ in range(2)]
        for other in others:
            with other:
                other.communicate(timeout=GUARD_S)
        assert [0, 0] == [other.returncode for other in others]
        assert len(ids) == await position(database)
        fed = await entries(weaviate, database)
        assert sorted(ids) == [name for name, _, _ in fed]
        with start(tmp_path, team, "--rebuild") as again:
            _, said = again.communicate(timeout=GUARD_S)
        assert f"{SINK} acme: {len(ids)} of {len(ids)} nodes".encode() in said
        assert fed == await entries(weaviate, database)
        assert [] == await rows_of(database, "outbox")
