"""Weaviate down, frozen, refusing, talking nonsense, holding wrong vectors: S5."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import anyio
import grpc
import httpx
from anyio.to_thread import run_sync

from factory_mcp.domain.key_ring import KeyRing
from tests.faults.load import Answer, Caller, Tally, caller, seconds_until
from tests.faults.pairs import Pairs
from tests.faults.product import Replica, replica, serving
from tests.faults.table import Row, at_least, at_most
from tests.faults.team import Team, postgres_team
from tests.servers import start
from tests.servers.process import HOST, free_port
from tests.servers.proxy import FaultProxy, fault_proxy

FAULTS: Final = ("down", "frozen", "429", "garbage", "wrong_vectors")
FIRST: Final = 10
APART_S: Final = 4.0
"""By then it is asked so seldom that one search of a hundred may wait for it."""
SMALL_S: Final = 0.005
AGAIN_S: Final = 60.0
NOTE: Final = "PostgreSQL was picked over MySQL for its JSONB columns."
QUERY: Final = "choosing a relational database"
COLLECTION: Final = "FactoryMcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Both ways to Weaviate, and a server beside it that refuses everything."""

    server: start.Weaviate
    rest: FaultProxy
    grpc: FaultProxy
    refusing: tuple[int, int]

    async def break_(self, fault: str) -> None:
        """Do it to both ways, or to what is stored."""
        for proxy in (self.rest, self.grpc):
            match fault:
                case "down":
                    await proxy.refuse()
                case "frozen":
                    proxy.freeze()
                case "garbage":
                    proxy.garbage = True
                case _:
                    pass
        if fault == "429":
            for proxy, port in zip((self.rest, self.grpc), self.refusing, strict=True):
                proxy.lead_to(port)
        if fault == "wrong_vectors":
            await run_sync(_shorten, self.server)

    async def heal(self) -> None:
        """Everything passes again."""
        for proxy, port in ((self.rest, self.server.port), (self.grpc, self.server.grpc_port)):
            proxy.lead_to(port)
            await proxy.heal()


@asynccontextmanager
async def _way() -> AsyncGenerator[Way]:
    async with AsyncExitStack() as stack:
        server = stack.enter_context(start.weaviate())
        refusing = await stack.enter_async_context(_refusing())
        rest = await stack.enter_async_context(fault_proxy(server.port))
        over_grpc = await stack.enter_async_context(fault_proxy(server.grpc_port))
        yield Way(server=server, rest=rest, grpc=over_grpc, refusing=refusing)


@asynccontextmanager
async def _refusing() -> AsyncGenerator[tuple[int, int]]:
    """Ports of servers that say 429, and what stands for it in gRPC."""

    async def too_many(_: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests")

    class Everything(grpc.GenericRpcHandler):
        """Whatever is asked."""

        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:  # noqa: ARG002
            return cast("Any", grpc).unary_unary_rpc_method_handler(too_many)

    async def answer(reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    over_http = free_port(2)
    over_grpc = over_http + 1
    web = await asyncio.start_server(answer, HOST, over_http)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Everything(),))
    server.add_insecure_port(f"{HOST}:{over_grpc}")
    await server.start()
    try:
        yield over_http, over_grpc
    finally:
        await server.stop(None)
        web.close()


async def s5(home: Path) -> AsyncGenerator[Row]:
    """Each fault: searches go on by words and say so; what was missed is found by meaning later."""
    async with _way() as way:
        env = {
            "WEAVIATE_URL": way.rest.through(way.server.url),
            "WEAVIATE_API_KEY": way.server.api_key,
            "FACTORY_MCP_WEAVIATE_GRPC": f"{HOST}:{way.grpc.port}",
        }
        async with (
            postgres_team(home, env, direct=True) as team,
            _twin(home, team, way) as twin,
            caller(team.replicas[0]) as by,
            caller(twin) as by_twin,
        ):
            tally = Tally()
            for number in range(20):
                for each in (by, by_twin):
                    await _note(each, tally, NOTE if not number else f"Lunch {number} at noon.")
            for each in (by, by_twin):
                built = await seconds_until(partial(_by_meaning, each, NOTE), within_s=AGAIN_S)
                yield at_most("S5.first_built_s", built, AGAIN_S)
            pairs = Pairs(
                faulty=lambda _: _search(by, tally), calm=lambda _: _search(by_twin, Tally())
            )
            for fault in FAULTS:
                async for row in _one(fault, way, by, tally, pairs):
                    yield row
                await way.heal()
                missed = partial(_by_meaning, by, _missed(fault))
                again = await seconds_until(missed, within_s=AGAIN_S)
                yield at_most(f"S5.{fault}.found_again_s", again, AGAIN_S)
            yield at_least("S5.succeeded", tally.share, 0.999)
            yield at_most("S5.wrong", len(tally.wrong), 0)


@asynccontextmanager
async def _twin(home: Path, team: Team, way: Way) -> AsyncGenerator[Replica]:
    """A calm replica: the same servers, a database, a key ring and so a shard of its own."""
    with start.fresh_database(team.postgres.url) as url:
        env = {
            "POSTGRES_CONNECTION_STRING": url,
            "WEAVIATE_URL": way.server.url,
            "WEAVIATE_API_KEY": way.server.api_key,
            "FACTORY_MCP_WEAVIATE_GRPC": f"{HOST}:{way.server.grpc_port}",
        }
        twin = replica(home, "twin", **env)
        ring = KeyRing(index=b"another".ljust(32), keys={}).plus(b"key".ljust(32))
        twin.write_ring(ring.text())
        await run_sync(twin.run, "db", "upgrade")
        async with serving(twin):
            yield twin


async def _one(fault: str, way: Way, by: Caller, tally: Tally, pairs: Pairs) -> AsyncGenerator[Row]:
    await way.break_(fault)
    await _note(by, tally, _missed(fault))
    faulty, calm = await pairs.block(FIRST)
    yield at_most(f"S5.{fault}.first_added_s", max(faulty) - max(calm), 1.0)
    if fault == "wrong_vectors":  # which are made right again meanwhile
        return
    await anyio.sleep(APART_S)
    begin = len(pairs.told)
    yield at_most(f"S5.{fault}.then_added_p99_s", await pairs.added_p99(SMALL_S), SMALL_S)
    silent = sum(not answer.said.get("partial") for answer in pairs.told[begin:])
    yield at_most(f"S5.{fault}.not_said", silent, 0)


def _missed(fault: str) -> str:
    """The note that is written meanwhile."""
    return f"{NOTE} Written in spite of: {fault}."


async def _note(by: Caller, tally: Tally, text: str) -> None:
    answer = await by.call("context_write", summary=text, context_id="new", droid="0")
    tally.note(0, answer)


async def _search(by: Caller, tally: Tally) -> Answer:
    return tally.note(0, await by.call("context_search", query=QUERY, limit=10))


async def _by_meaning(by: Caller, text: str) -> bool:
    """Whether the note is found by other words than its own, and nothing is missing."""
    answer = await by.call("context_search", query=QUERY, limit=50)
    hits = answer.said.get("data", {}).get("hits", [])
    return not answer.said.get("partial") and any(hit["summary"] == text for hit in hits)


def _shorten(server: start.Weaviate) -> None:
    """Put vectors of another length in the place of all that are there."""
    headers = {"Authorization": f"Bearer {server.api_key}"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False) as web:
        found = web.get(f"/v1/schema/{COLLECTION}/tenants").json()
        for name in [tenant["name"] for tenant in found]:
            its = {"class": COLLECTION, "tenant": name}
            objects = web.get("/v1/objects", params={**its, "limit": 500}).json()["objects"]
            web.request("DELETE", f"/v1/schema/{COLLECTION}/tenants", json=[name])
            web.post(f"/v1/schema/{COLLECTION}/tenants", json=[{"name": name}]).raise_for_status()
            for one in objects:
                body = {**its, "id": one["id"], "properties": one["properties"], "vector": [1, 0]}
                web.post("/v1/objects", json=body).raise_for_status()
