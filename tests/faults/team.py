"""Replicas on one Postgres, which they reach through a fault proxy."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from anyio.to_thread import run_sync

from tests.faults.product import Replica, replica, serving
from tests.faults.truth import Look, in_postgres
from tests.servers import start
from tests.servers.proxy import FaultProxy, fault_proxy

SETTING = "POSTGRES_CONNECTION_STRING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """What a row has to work with. The proxy stands in front of Postgres."""

    postgres: start.Postgres
    proxy: FaultProxy
    replicas: list[Replica]

    @property
    def look(self) -> Look:
        """Into the database, behind the product's back."""
        return in_postgres(self.postgres)


@asynccontextmanager
async def postgres_team(
    home: Path, *more: dict[str, str], direct: bool = False
) -> AsyncGenerator[Team]:
    """A replica for each of the environments; one without any.

    Args:
        home: Where they have their folders.
        more: What their environments have besides.
        direct: Past the proxy, where Postgres is not what is to break.
    """
    with start.postgres(durable=True) as server:
        async with fault_proxy(server.port) as proxy:
            env = {SETTING: server.url if direct else proxy.through(server.url)}
            names = (*("abc"[: len(more)] or "a"),)
            made = [
                replica(home, name, **env, **extra)
                for name, extra in zip(names, more or ({},), strict=True)
            ]
            await run_sync(made[0].run, "db", "upgrade")
            async with serving(*made):
                yield Team(postgres=server, proxy=proxy, replicas=made)
