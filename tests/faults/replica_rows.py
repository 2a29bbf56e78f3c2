"""Replicas that differ: in their key rings, in who upgrades first, in their clocks. R5, R7, C2."""

import os
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import anyio
from anyio.to_thread import run_sync

from tests.faults.load import Caller, Mix, Tally, caller, crowd, until
from tests.faults.product import TIMES, many
from tests.faults.table import Row, at_least, at_most, unmeasured
from tests.faults.team import postgres_team
from tests.faults.truth import accounted
from tests.servers import start

BEHIND_S: Final = 3.0 * TIMES
"""How long the second replica has the ring of before, twice; nothing depends on how long."""
LEASE_S: Final = 20.0 * TIMES
"""Longer than a lease and the next look at the leases of others."""
STARTERS: Final = 8
LIBRARY: Final = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
ROOT: Final = Path(__file__).parents[2]
AHEAD: Final = "+300s"


async def r5(home: Path) -> AsyncGenerator[Row]:
    """A key is rotated in on one replica, and the other one hears of it much later, each time."""
    with start.redis() as redis:
        async for row in _rotated(home, {"REDIS_URL": redis.url}):
            yield row


async def _rotated(home: Path, env: dict[str, str]) -> AsyncGenerator[Row]:
    async with postgres_team(home, env, env, direct=True) as team:
        first, second = team.replicas
        async with caller(first) as one, caller(second) as other:
            tally = Tally()
            mix, failed = await Mix.over(one, tally), list[str]()
            steps = (("seal", "rotate"), ("seal", "rotate", "--activate"))
            opened = 0
            for step in steps:
                await run_sync(first.run, *step)
                opened += await _both_write_and_read(one, other, mix, failed)
                second.write_ring(first.ring)
                opened += await _both_write_and_read(one, other, mix, failed)
            keys = {row[0] for row in await run_sync(team.look, _SEALED_WITH)}
            yield at_least("R5.keys_that_sealed", len(keys), 2)
            yield at_least("R5.opens", opened, 100)
            yield at_most("R5.failed_opens", len(failed), 0)
            yield at_most("R5.wrong", len(tally.wrong), 0)
            for row in (await accounted(team.look, tally)).rows("R5"):
                yield row


_SEALED_WITH: Final = "SELECT DISTINCT substr(summary, 2, 4) FROM nodes"


async def _both_write_and_read(one: Caller, other: Caller, mix: Mix, failed: list[str]) -> int:
    """Each reads what the other one has just written; how often."""
    opened = 0

    async def call(number: int) -> None:
        nonlocal opened
        writer, reader = (one, other) if number % 2 else (other, one)
        written = await mix.call(writer, 8_000_000 + 4 * len(mix.tally.answers))
        read = await reader.call("context_read", id=written.said.get("context_id", "none"))
        opened += read.good
        if not read.good:
            failed.append(read.said.get("text", read.code))
        await anyio.sleep(0.05)

    await crowd(4, until(time.monotonic() + BEHIND_S), call)
    return opened


# ------------------------------------------------------------------------------- migrations


async def r7(home: Path) -> AsyncGenerator[Row]:
    """8 processes upgrade one empty database, or open one new file, at the same moment."""
    with start.postgres(durable=True) as server:
        program = str(ROOT / "tests/programs/upgrade_store.py")
        said, slowest = await run_sync(_race, home, program, server.url)
        yield at_most("R7.postgres.slowest_s", slowest, 10.0)
        yield at_least("R7.postgres.applied", said.count("True"), 1)
        yield at_least("R7.postgres.waited", said.count("False"), STARTERS - 1)
    program = str(ROOT / "tests/programs/upgrade_file.py")
    said, slowest = await run_sync(_race, home, program, str(home / "store/factory-mcp.db"))
    yield at_most("R7.sqlite.slowest_s", slowest, 10.0)
    yield at_least("R7.sqlite.opened", said.count("opened"), STARTERS)
    yield at_most("R7.sqlite.applied_again", abs(said.count("store.upgraded") - 1), 0)


def _race(home: Path, program: str, target: str) -> tuple[list[str], float]:
    """The words that all of them said, and how long it took until the last one was ready."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)}
    said: list[str] = []
    with many(STARTERS, sys.executable, program, target, env=env) as processes:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # it is ready
        began = time.monotonic()
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in processes:
            process.wait(60)
        took = time.monotonic() - began
        for process in processes:
            assert process.stdout is not None
            assert process.stderr is not None
            said += (process.stdout.read() + process.stderr.read()).replace('"', " ").split()
    return said, took


# ----------------------------------------------------------------------------------- clocks


async def c2(home: Path) -> AsyncGenerator[Row]:
    """Two replicas whose clocks are 5 minutes apart: neither takes the other's runs."""
    if LIBRARY is None:
        yield unmeasured("C2", "libfaketime is missing: run scripts/fetch_servers.sh faults")
        return
    ahead = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME": AHEAD,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }
    slow = home / "slow-droid"
    slow.write_text("#!/bin/sh\nexec sleep 300\n")
    slow.chmod(0o755)
    env = {"FACTORY_MCP_DROID_BIN": str(slow)}
    async with (
        postgres_team(home, env, {**env, **ahead}, direct=True) as team,
        caller(team.replicas[0]) as one,
        caller(team.replicas[1]) as other,
    ):
        async for row in _leases(one, other):
            yield row


async def _leases(one: Caller, other: Caller) -> AsyncGenerator[Row]:
    runs: list[str] = []
    for by in (one, other):
        for number in range(4):
            task = {"task": f"{len(runs)} {number}", "context_id": "new", "wait_s": 0}
            begun = await by.call("architect_droid", **task)
            if "run_id" not in begun.said:
                raise RuntimeError(f"no run was begun: {begun}")
            runs.append(begun.said["run_id"])
    times: list[float] = []
    for by in (one, other):
        note = await by.call("context_write", summary="x", context_id="new")
        read = await by.call("context_read", id=note.said["context_id"])
        times.append(read.said["data"]["value"]["created_at"])
    yield at_most("C2.notes_apart_s", abs(times[1] - times[0]), 2.0)
    await anyio.sleep(LEASE_S)
    waited = [await other.call("droid_wait", run_id=run, wait_s=0) for run in runs]
    waited += [await one.call("droid_wait", run_id=run, wait_s=0) for run in runs]
    running = sum(answer.said.get("status") == "running" for answer in waited)
    yield at_least("C2.leases_kept", running, len(waited))

    async def cancel(number: int) -> None:
        await one.call("droid_cancel", run_id=runs[number])

    await crowd(len(runs), range(len(runs)), cancel)
