"""What is really stored, looked up behind the product's back, against what callers were told."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
from anyio.to_thread import run_sync

from tests.faults.load import Tally, seconds_until
from tests.faults.product import Replica
from tests.faults.table import Row, at_most
from tests.servers.start import Postgres

SETTLE_S: Final = 30.0
"""How long what is open may take to close once everything works again."""

Look = Callable[[str], list[tuple[Any, ...]]]


def in_postgres(server: Postgres) -> Look:
    """Looks as the superuser does, to whom row-level security means nothing."""
    url = urlsplit(server.admin_url)._replace(path="/tester").geturl()

    def look(query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    return look


def in_sqlite(path: Path) -> Look:
    """Looks beside the product."""

    def look(query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as connection:
            return connection.execute(query).fetchall()

    return look


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What does not agree: ids of what was answered and is not stored, and the other way round."""

    lost: tuple[str, ...]
    unrecorded: tuple[str, ...]

    def rows(self, name: str) -> Iterator[Row]:
        """As rows: none may be there."""
        yield at_most(f"{name}.lost", len(self.lost), 0)
        yield at_most(f"{name}.unrecorded", len(self.unrecorded), 0)


async def accounted(look: Look, tally: Tally) -> Account:
    """Compare, once every open run is closed or its time is over."""

    async def all_closed() -> bool:
        return not await run_sync(look, _OPEN)

    await seconds_until(all_closed, within_s=SETTLE_S)
    return await run_sync(_compare, look, tally)


_OPEN: Final = "SELECT id FROM runs WHERE status IN ('running', 'needs_input')"


def _compare(look: Look, tally: Tally) -> Account:
    nodes = dict(look("SELECT id, droid FROM nodes"))
    history = Counter(row[0] for row in look("SELECT run_id FROM history"))
    audit = Counter(row[:2] for row in look("SELECT object, action FROM audit"))
    lost = [node for node in tally.nodes if node not in nodes]
    lost += [run for run in tally.runs if history[run] != 1]
    told = set(tally.nodes.values()) | tally.unknown
    dark = [node for node, number in nodes.items() if int(number) not in told]
    dark += [node for node in nodes if audit[node, "context.write"] != 1]
    dark += [run for run in history if audit[run, "run.close"] != 1]
    dark += [row[0] for row in look(_OPEN)]
    extra = len(history.keys() - tally.runs.keys()) - len(tally.unknown)
    dark += ["runs that nobody was told of"] * max(0, extra)
    return Account(lost=tuple(lost), unrecorded=tuple(dark))


def broken_trails(replica: Replica) -> int:
    """How many tenants' audit trails do not verify; 1 where there is none to verify."""
    done = replica.run("audit", "verify", "--json", check=False)
    trails = json.loads(done.stdout or "[]")
    return sum(trail["broken"] is not None for trail in trails) if trails else 1
