"""The embedded store locked, read-only, gone, and its disk full: S6 and S7."""

import os
import sqlite3
import subprocess
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

import anyio
from anyio.to_thread import run_sync

from tests.faults.load import Answer, Caller, Mix, Tally, caller, crowd, seconds_until
from tests.faults.product import Replica, replica, serving
from tests.faults.table import Row, at_least, at_most, unmeasured
from tests.faults.truth import accounted, broken_trails, in_sqlite

WAIT_S: Final = 2.5
"""A refusal waits 2 s for the file, and has a little for the rest."""
LOCKED_S: Final = 5.0
AGAIN_S: Final = 6.0
"""A store that could not be opened is tried again every 5 s."""
DISK: Final = "16m"
BEGUN: Final = """#!/bin/sh
echo begun >> "{log}"
exit 1
"""
"""A droid that only says that it was started."""


async def s6(home: Path) -> AsyncGenerator[Row]:
    """Locked by another process for 5 s; its folder gone, and there again; read-only at a start."""
    one, tally = replica(home, "one"), Tally()
    store = home / "one/data/factory-mcp.db"
    async with serving(one), caller(one) as by:
        mix = await Mix.over(by, tally)
        with closing(sqlite3.connect(store, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            until = anyio.current_time() + LOCKED_S
            for row in await _refusals("locked", mix, by):
                yield row
            await anyio.sleep_until(until)
            other.execute("ROLLBACK")
        yield at_most("S6.locked.recovered_s", await _stored(mix, by), 1.0)
        (home / "one/data").rename(home / "away")
        for row in await _refusals("gone", mix, by):
            yield row
        yield at_most("S6.gone.folder_made_anew", (home / "one/data").exists(), 0)
        (home / "away").rename(home / "one/data")
        yield at_most("S6.gone.recovered_s", await _stored(mix, by), 1.0)
    async for row in _read_only(home, one, mix):
        yield row
    yield at_most("S6.wrong", len(tally.wrong), 0)
    async with serving(one):
        for row in (await accounted(in_sqlite(store), tally)).rows("S6"):
            yield row
        yield at_most("S6.broken_trails", await run_sync(broken_trails, one), 0)
    yield at_most("S6.tracebacks_in_log", one.log().count("Traceback"), 0)


async def _read_only(home: Path, one: Replica, mix: Mix) -> AsyncGenerator[Row]:
    with _unwritable(home / "one/data") as writable:
        async with serving(one), caller(one) as by:
            for row in await _refusals("readonly", mix, by):
                yield row
            await run_sync(writable)
            yield at_most("S6.readonly.recovered_s", await _stored(mix, by), AGAIN_S)


async def _refusals(fault: str, mix: Mix, by: Caller) -> list[Row]:
    """How long the slowest of eight calls at once took, and how many could write all the same."""
    answers: list[Answer] = []
    first = 4 * len(mix.tally.answers)

    async def call(number: int) -> None:
        answers.append(await mix.call(by, number))

    await crowd(8, range(first, first + 8), call)
    wrote = [answer for answer in answers if answer.tool != "context_read"]
    return [
        at_most(f"S6.{fault}.slowest_s", max(answer.seconds for answer in answers), WAIT_S),
        at_most(f"S6.{fault}.answered_writes", sum(answer.good for answer in wrote), 0),
    ]


async def _stored(mix: Mix, by: Caller) -> float:
    """How long it takes until something is stored again."""
    numbers = count(5_000_000 + 4 * len(mix.tally.answers), 4)

    async def stored() -> bool:
        return (await mix.call(by, next(numbers))).good

    return await seconds_until(stored)


@contextmanager
def _unwritable(folder: Path) -> Generator[Callable[[], None]]:
    """The folder and its files cannot be written, not even by root, until that is called."""
    if os.geteuid():
        modes = {path: path.stat().st_mode for path in (folder, *folder.iterdir())}
        for path in modes:
            path.chmod(path.stat().st_mode & 0o555)

        def writable() -> None:
            for path, mode in modes.items():
                path.chmod(mode)

        yield writable
        return
    _mount("--bind", str(folder), str(folder))
    _mount("-o", "remount,bind,ro", str(folder))
    try:
        yield lambda: _mount("-o", "remount,bind,rw", str(folder))
    finally:
        subprocess.run(["/usr/bin/umount", "--lazy", folder], check=True)


def _mount(*words: str) -> None:
    subprocess.run(["/usr/bin/mount", *words], check=True)


# ------------------------------------------------------------------------------- disk full


async def s7(home: Path) -> AsyncGenerator[Row]:
    """A disk of 16 MiB is filled: the store, its log and the droids' scratch folders are on it."""
    if os.geteuid():
        yield unmeasured("S7", "only root can mount a small disk")
        return
    log, droid = home / "begun", home / "droid"
    droid.write_text(BEGUN.format(log=log))
    droid.chmod(0o755)
    one = replica(home, "one", FACTORY_MCP_DROID_BIN=str(droid))
    data = home / "one/data"
    data.mkdir(mode=0o700)
    with _small_disk(data):
        async with serving(one), caller(one) as by:
            async for row in _full(one, by, data, log):
                yield row


async def _full(one: Replica, by: Caller, data: Path, log: Path) -> AsyncGenerator[Row]:
    tally = Tally()
    mix = await Mix.over(by, tally)
    await mix.call(by, 1)
    begun = _lines(log)
    with _filled(data):
        answers = await _pressed(mix, by)
        writes = [answer for answer in answers if answer.tool != "context_read"]
        reads = [answer for answer in answers if answer.tool == "context_read"]
        full = sum(answer.code == "store_full" for answer in writes)
        yield at_least("S7.store_full", full, 1)
        yield at_most("S7.other_refusals", sum(not a.good for a in writes) - full, 0)
        yield at_most("S7.slowest_s", max(answer.seconds for answer in answers), WAIT_S)
        yield at_least("S7.reads_answered", sum(a.good for a in reads) / len(reads), 1)
        droids = sum(bool(answer.said.get("run_id")) for answer in writes)
        yield at_most("S7.droids_begun_unrecorded", max(0, _lines(log) - begun - droids), 0)
    yield at_most("S7.recovered_s", await _stored(mix, by), 5.0)
    yield at_most("S7.wrong", len(tally.wrong), 0)
    for row in (await accounted(in_sqlite(data / "factory-mcp.db"), tally)).rows("S7"):
        yield row
    yield at_most("S7.broken_trails", await run_sync(broken_trails, one), 0)


async def _pressed(mix: Mix, by: Caller) -> list[Answer]:
    """Calls until none that writes is answered any more, and some after that."""
    answers: list[Answer] = []
    for number in range(400, 800):
        answers.append(await mix.call(by, number))
        if len(answers) > 40 and not any(a.good for a in answers[-24:] if a.tool != "context_read"):
            break
    return answers


def _lines(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


@contextmanager
def _small_disk(folder: Path) -> Generator[None]:
    _mount("-t", "tmpfs", "-o", f"size={DISK},mode=0700", "faults", str(folder))
    try:
        yield
    finally:
        subprocess.run(["/usr/bin/umount", "--lazy", folder], check=True)


@contextmanager
def _filled(folder: Path) -> Generator[None]:
    """Not a byte is free in the folder's disk."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    try:
        yield
    finally:
        filler.unlink()
