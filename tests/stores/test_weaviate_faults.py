"""What can go wrong with Weaviate: each error as ours, what it costs, and the way back."""

import gc
import inspect
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import anyio
import grpc
import httpx
import numpy as np
import pytest
from weaviate import exceptions as theirs

from factory_mcp.domain.search_errors import IndexBroken, IndexUnauthorized, IndexUnavailable
from factory_mcp.ports.index import Entry, Query
from factory_mcp.stores.weaviate import faults
from factory_mcp.stores.weaviate.index import WeaviateIndex
from tests.fakes import FakeClock, SeededRng
from tests.projected import PATIENT_S, address_of, weaviate_index
from tests.servers import start
from tests.servers.fixtures import WeaviateAddress
from tests.servers.proxy import FaultProxy, fault_proxy

SHORT_S = 0.5
ENTRY = Entry(id="a", vector=np.array([1, 0], np.float32), words=("x",), created_at=1.0)
ASKED = Query(vector=np.array([1, 0], np.float32), words=("x",), limit=3)
SECRET = "canary-key-0123456789"  # noqa: S105 — planted


def exception_classes(module: object) -> set[type[BaseException]]:
    found = (value for _, value in inspect.getmembers(module, inspect.isclass))
    return {kind for kind in found if issubclass(kind, BaseException)}


@pytest.mark.requirement("INDEX-4")
def test_every_exception_of_the_libraries_has_a_meaning() -> None:
    """A new one in a new version has to be looked at; and each status of gRPC."""
    internal = {theirs._BatchStreamShutdownError}  # noqa: SLF001 — of a way to write not used here
    known = exception_classes(theirs) | exception_classes(grpc) | exception_classes(grpc.aio)
    library = {kind for kind in known if kind.__module__.startswith(("weaviate", "grpc"))}
    assert set() == library - internal - set(faults.MEANING)
    assert len(library) > 40
    assert set(grpc.StatusCode) == set(faults.STATUS)


@pytest.mark.requirement("INDEX-4")
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, IndexUnauthorized),
        (403, IndexUnauthorized),
        (429, IndexUnavailable),
        (500, IndexUnavailable),
        (503, IndexUnavailable),
        (404, IndexBroken),
        (422, IndexBroken),
    ],
)
def test_an_http_status_means_what_it_says(status: int, kind: type[IndexUnavailable]) -> None:
    """A wrong key, too much, something else that listens there."""
    answer = httpx.Response(status, json={"error": "why"})
    error = faults.translate(theirs.UnexpectedStatusCodeError("it", answer), "there")
    assert kind is type(error)
    assert error.remedy
    assert "there" in error.message


@pytest.mark.requirement("INDEX-4")
@pytest.mark.parametrize("status", list(grpc.StatusCode))
def test_a_status_of_grpc_is_found_below_the_librarys_error(status: grpc.StatusCode) -> None:
    """The library keeps but the text; what it was made of is still there."""
    none = grpc.aio.Metadata()
    made = theirs.WeaviateQueryError("it failed", "GRPC search")
    made.__context__ = grpc.aio.AioRpcError(status, none, none, details="it failed")
    assert faults.STATUS[status] is type(faults.translate(made, "there"))
    own = faults.translate(made.__context__, "there")
    assert faults.STATUS[status] is type(own)


@pytest.fixture
async def proxy(weaviate: WeaviateAddress) -> AsyncGenerator[FaultProxy]:
    """In front of its REST."""
    async with fault_proxy(int(weaviate.url.rpartition(":")[2])) as made:
        yield made


def index_of(
    server: WeaviateAddress, clock: FakeClock, *, search_s: float = PATIENT_S, **changes: str
) -> WeaviateIndex:
    return WeaviateIndex(address_of(server, **changes), clock, SeededRng(), search_s=search_s)


async def error_of(index: WeaviateIndex) -> IndexUnavailable:
    """What a search fails with; without a secret."""
    with pytest.raises(IndexUnavailable) as caught:
        await index.nearest("acme", ASKED)
    assert SECRET not in f"{caught.value!r} {caught.value.message} {caught.value.remedy}"
    return caught.value


@pytest.mark.requirement("INDEX-5")
async def test_a_wrong_key_is_told_and_not_tried_again_and_again(
    weaviate: WeaviateAddress,
) -> None:
    """Also by `check`, with what to set; the reason stays the same while it is left alone."""
    clock = FakeClock()
    index = index_of(weaviate, clock, key=SECRET)
    assert IndexUnauthorized is type(await error_of(index))
    again = await error_of(index)
    assert IndexUnauthorized is type(again)
    assert "asked again in" in again.message
    assert again.retry_after_s is not None
    (check,) = await index.check()
    assert not check.ok
    assert "WEAVIATE_API_KEY" in (check.fix or "")
    await index.close()


@pytest.mark.requirement("INDEX-5")
async def test_a_key_that_is_no_longer_good_is_told_by_grpc_too(weaviate: WeaviateAddress) -> None:
    """There Weaviate says it in words only."""
    async with weaviate_index(weaviate) as index:
        await index.put("acme", [ENTRY])
        held = index._connection._held  # noqa: SLF001 — as if the server had forgotten the key
        assert held is not None
        inner = held.shards._any._connection  # noqa: SLF001
        another = (("authorization", "Bearer another"),)
        inner._ConnectionBase__grpc_headers = another  # noqa: SLF001
        assert IndexUnauthorized is type(await error_of(index))


@pytest.mark.requirement("INDEX-5")
async def test_a_server_that_is_away_is_asked_once_and_then_left_alone(
    weaviate: WeaviateAddress, proxy: FaultProxy
) -> None:
    """Nobody asks meanwhile; of many who come after the pause one does; then it is back."""
    clock = FakeClock()
    index = index_of(weaviate, clock, url=proxy.through(weaviate.url))
    await proxy.refuse()
    await error_of(index)
    await proxy.heal()
    assert "asked again in" in (await error_of(index)).message
    clock.advance(1.2)
    assert await index.nearest("acme", ASKED) is None
    assert {} == await index.put("acme", [ENTRY])
    assert ["a"] == [one.id for one in await index.nearest("acme", ASKED) or ()]
    await index.close()


@pytest.mark.requirement("INDEX-5")
async def test_the_pauses_grow_to_a_limit(weaviate: WeaviateAddress, proxy: FaultProxy) -> None:
    """And the first success ends them."""
    clock, pauses = FakeClock(), list[float]()
    index = index_of(weaviate, clock, url=proxy.through(weaviate.url))
    await proxy.refuse()
    for _ in range(7):
        await error_of(index)
        pauses.append((await error_of(index)).retry_after_s or 0)
        clock.advance(pauses[-1] + 0.01)
    expected = [1, 2, 4, 8, 15, 15, 15]
    assert expected == [pytest.approx(pause, rel=0.11) for pause in pauses]
    await proxy.heal()
    assert await index.nearest("acme", ASKED) is None
    await proxy.refuse()
    await index.close()
    await error_of(index)
    assert 1 == pytest.approx((await error_of(index)).retry_after_s, rel=0.11)


@pytest.mark.requirement("INDEX-5")
async def test_a_server_that_is_silent_costs_one_wait(
    weaviate: WeaviateAddress, proxy: FaultProxy
) -> None:
    """Before a client was made."""
    clock = FakeClock()
    url = proxy.through(weaviate.url)
    async with weaviate_index(weaviate) as sound:
        await sound.put("acme", [ENTRY])
    index = index_of(weaviate, clock, search_s=SHORT_S, url=url)
    proxy.freeze()
    assert "in time" in (await error_of(index)).message
    assert "asked again" in (await error_of(index)).message
    (check,) = await index.check()
    assert not check.ok
    await proxy.heal()
    await index.close()


@pytest.mark.requirement("INDEX-5")
async def test_garbage_is_told_as_garbage(weaviate: WeaviateAddress, proxy: FaultProxy) -> None:
    """No HTTP at all; HTML; JSON that is not Weaviate's; too many requests."""
    clock = FakeClock()
    index = index_of(weaviate, clock, url=proxy.through(weaviate.url))
    proxy.garbage = True
    await error_of(index)
    await index.close()


@pytest.mark.requirement("INDEX-5")
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n<p>hi", IndexBroken),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", IndexBroken),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", IndexBroken),
        (b"HTTP/1.1 429 Busy\r\ncontent-length: 2\r\n\r\n{}", IndexUnavailable),
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\n{}", IndexUnavailable),
        (b"", IndexUnavailable),
    ],
)
async def test_whatever_answers_instead_of_weaviate_is_told(
    weaviate: WeaviateAddress, answer: bytes, kind: type[IndexUnavailable]
) -> None:
    """On the REST port; its gRPC is never reached."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(answer)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, serve)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 — no SQL
        index = index_of(weaviate, FakeClock(), url=f"http://127.0.0.1:{port}")
        assert kind is type(await error_of(index))
        await index.close()
        tasks.cancel_scope.cancel()


@pytest.mark.requirement("INDEX-5")
async def test_a_search_that_is_cancelled_says_nothing_of_the_server(
    weaviate: WeaviateAddress, proxy: FaultProxy
) -> None:
    """It is asked again at once, through another client."""
    index = index_of(weaviate, FakeClock(), url=proxy.through(weaviate.url))
    proxy.freeze()
    with anyio.move_on_after(0.2) as scope:
        await index.nearest("acme", ASKED)
    assert scope.cancelled_caught
    await proxy.heal()
    assert await index.nearest("acme", ASKED) is None
    await index.close()


@pytest.mark.requirement("INDEX-5")
async def test_a_collection_of_somebody_elses_is_left_alone(weaviate: WeaviateAddress) -> None:
    """Of the same name, with other columns."""
    headers = {"authorization": f"Bearer {weaviate.api_key}"}
    async with httpx.AsyncClient(base_url=weaviate.url, headers=headers) as client:
        made = await client.post("/v1/schema", json={"class": "FactoryMcp"})
        assert made.is_success
        async with weaviate_index(weaviate) as index:
            with pytest.raises(IndexUnavailable, match="something else"):
                await index.put("acme", [ENTRY])


@pytest.mark.requirement("INDEX-5")
async def test_a_collection_that_was_removed_is_made_again(weaviate: WeaviateAddress) -> None:
    """As ours, and not as Weaviate would guess it from what is written."""
    async with weaviate_index(weaviate) as index:
        assert {} == await index.put("acme", [ENTRY])
        await anyio.to_thread.run_sync(start.empty_weaviate, weaviate.url, weaviate.api_key)
        assert await index.nearest("acme", ASKED) is None
        await index.drop("acme")
        assert {} == await index.put("acme", [ENTRY])
        assert await index.nearest("acme", ASKED)


@pytest.mark.requirement("INDEX-5")
async def test_many_first_writers_make_one_collection(weaviate: WeaviateAddress) -> None:
    """Whoever comes too late uses it."""

    async def write(number: int) -> None:
        async with weaviate_index(weaviate) as index:
            assert {} == await index.put(f"tenant{number}", [ENTRY])

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(write, number)


@pytest.fixture(scope="module")
def own_weaviate() -> Iterator[start.Weaviate]:
    """One that may be killed."""
    with start.weaviate() as server:
        yield server


@pytest.mark.requirement("INDEX-5")
async def test_a_server_that_was_killed_and_started_again_is_used_again(
    own_weaviate: start.Weaviate,
) -> None:
    """What was written is still there; the client's connection is not."""
    server = WeaviateAddress(
        url=own_weaviate.url, grpc_port=own_weaviate.grpc_port, api_key=own_weaviate.api_key
    )
    clock = FakeClock()
    index = index_of(server, clock, search_s=SHORT_S)
    slow = index_of(server, FakeClock())
    assert {} == await slow.put("acme", [ENTRY])
    assert await slow.nearest("acme", ASKED)
    await index.check()
    await anyio.to_thread.run_sync(own_weaviate.kill)
    await error_of(index)
    await error_of(index)
    await anyio.to_thread.run_sync(own_weaviate.start)
    clock.advance(2)
    await index.close()
    await slow.close()
    back = index_of(server, FakeClock())
    found = await back.nearest("acme", ASKED)
    assert ["a"] == [one.id for one in found or ()]
    await back.close()
    gc.collect()


@pytest.mark.requirement("INDEX-4")
def test_an_address_shows_no_key(tmp_path: Path) -> None:
    """In no message and no log."""
    server = WeaviateAddress(url="http://127.0.0.1:1", grpc_port=2, api_key=SECRET)
    address = address_of(server, authorities=str(tmp_path))
    assert SECRET not in f"{address!r} {address}"
