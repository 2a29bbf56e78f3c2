"""Subscriptions in both eras: whoever changed a context, its readers are told."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import mcp_types as t
import pytest
from mcp import Client, MCPError
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated

from factory_mcp.domain.model import LOCAL
from factory_mcp.transports.subscriptions import MOST
from tests.house import House, client, house, until
from tests.transports.messages import said

MODES = ("auto", "legacy")
ANOTHER_PROCESS = """
import sys
from factory_mcp import FactoryContextManager
with FactoryContextManager() as manager:
    manager.update_context(sys.argv[1], data_updates={"db": "postgres"})
"""


async def subscribe(c: Client, uri: str) -> None:
    params = t.SubscribeRequestParams(uri=uri)
    await c.session.send_request(t.SubscribeRequest(params=params), t.EmptyResult)


async def unsubscribe(c: Client, uri: str) -> None:
    params = t.UnsubscribeRequestParams(uri=uri)
    await c.session.send_request(t.UnsubscribeRequest(params=params), t.EmptyResult)


@asynccontextmanager
async def told(of: House, mode: str, *uris: str) -> AsyncGenerator[list[str]]:
    """What a client of that era, which subscribed to these, is told."""
    heard: list[str] = []

    async def hear(message: Any) -> None:
        if mode == "legacy" and isinstance(message, t.ResourceUpdatedNotification):
            heard.append(message.params.uri)

    async def listen(c: Client) -> None:
        async with c.listen(resource_subscriptions=uris) as stream:
            ready.set()
            async for event in stream:
                assert isinstance(event, ResourceUpdated)
                heard.append(event.uri)

    ready = anyio.Event()
    async with (
        client(of, mode=mode, message_handler=hear) as c,
        anyio.create_task_group() as tasks,
    ):
        if mode == "legacy":
            for uri in uris:
                await subscribe(c, uri)
        else:
            tasks.start_soon(listen, c)
            await ready.wait()
        yield heard
        tasks.cancel_scope.cancel()


async def passes(of: House, heard: list[Any], number: int) -> None:
    """Time, until so much was heard."""

    def later() -> bool:
        of.clock.advance(0.1)
        return len(heard) >= number

    await until(later)


async def note(of: House, context_id: str = "new") -> str:
    """Something written down by this process."""
    arguments = {"summary": "a note", "context_id": context_id}
    return (await of.app.contexts.write(LOCAL, arguments, "key")).context_id or ""


def is_watched(of: House) -> bool:
    return of.app.watching._told is not None  # noqa: SLF001 — nobody else needs to know


@pytest.mark.requirement("PROTOCOL-3")
@pytest.mark.parametrize("mode", MODES)
async def test_a_context_that_another_process_changed_is_announced(
    tmp_path: Path, mode: str
) -> None:
    """By every URI of its chain, and the index; nothing is said of what stayed as it was."""
    async with house(tmp_path) as home:
        mine, other = await note(home), await note(home)
        changed = [f"context://{mine}{view}" for view in ("", "/chain", "/merged")]
        stayed = [f"context://{other}/merged", "droid://architect"]
        uris = [*changed, "context://index", *stayed]
        async with told(home, mode, *uris) as heard:
            command = [sys.executable, "-c", ANOTHER_PROCESS, mine]
            env = {
                "FACTORY_MCP_DATA": str(tmp_path / "data"),
                "XDG_CONFIG_HOME": str(tmp_path / "config"),
            }
            await anyio.run_process(command, env=env, cwd=tmp_path)
            await passes(home, heard, 4)
            assert sorted([*changed, "context://index"]) == sorted(heard)
            await note(home, mine)
            await passes(home, heard, 8)
        assert sorted([*changed, "context://index"] * 2) == sorted(heard)


@pytest.mark.requirement("PROTOCOL-3")
@pytest.mark.parametrize("mode", MODES)
async def test_a_run_that_ended_is_announced(tmp_path: Path, mode: str) -> None:
    """Once, and to nobody else."""
    gate = anyio.Event()
    async with house(tmp_path, gate=gate) as home, client(home) as c:
        held = said(await c.call_tool("code_droid", {"task": "x", "wait_s": 0}))
        await home.at_work()
        uri = f"run://{held['run_id']}"
        async with told(home, mode, uri) as heard, told(home, mode, "droid://code") as other:
            gate.set()
            await passes(home, heard, 1)
            await note(home)
            await anyio.wait_all_tasks_blocked()
        assert ([uri], []) == (heard, other)


@pytest.mark.requirement("PROTOCOL-3")
async def test_the_list_that_changed_is_announced_to_who_asked(tmp_path: Path) -> None:
    """And of tools and prompts, which stay, nothing is promised."""
    heard: list[Any] = []
    async with (
        house(tmp_path) as home,
        client(home) as c,
        c.listen(resources_list_changed=True, tools_list_changed=True) as stream,
        anyio.create_task_group() as tasks,
    ):
        assert {"resources_list_changed": True} == stream.honored.model_dump(exclude_none=True)

        async def listen() -> None:
            heard.append(await anext(aiter(stream)))

        tasks.start_soon(listen)
        await note(home)
        await passes(home, heard, 1)
    assert [ResourcesListChanged()] == heard


@pytest.mark.requirement("PROTOCOL-3")
@pytest.mark.parametrize("mode", MODES)
async def test_the_store_is_looked_at_only_while_somebody_is_subscribed(
    tmp_path: Path, mode: str
) -> None:
    """A client that leaves, however it does, is nobody."""
    async with house(tmp_path) as home:
        assert not is_watched(home)
        async with told(home, mode, "context://index"):
            assert is_watched(home)
            async with told(home, mode, "context://index"):
                pass
            assert is_watched(home)
        await until(lambda: not is_watched(home))


async def test_a_server_that_stops_ends_its_streams_with_a_last_word(tmp_path: Path) -> None:
    """The client sees an end that was meant, and no connection that broke."""
    async with (
        house(tmp_path) as home,
        client(home) as c,
        c.listen(resources_list_changed=True) as stream,
    ):
        await home.app.stop("the test is over")
        assert [] == [event async for event in stream]
        await until(lambda: not is_watched(home))


@pytest.mark.requirement("PROTOCOL-3")
async def test_who_unsubscribed_is_not_told_any_more(tmp_path: Path) -> None:
    """Nor is it an error to unsubscribe twice, or from what one never had."""
    async with house(tmp_path) as home, client(home, mode="legacy") as c:
        for _ in range(2):
            await subscribe(c, "context://index")
            await unsubscribe(c, "context://index")
            await unsubscribe(c, "context://index")
            assert not is_watched(home)


async def test_what_is_not_there_cannot_be_subscribed_to(tmp_path: Path) -> None:
    """In the later era it can, and is announced when it comes."""
    async with house(tmp_path) as home, client(home, mode="legacy") as c:
        for uri in ("context://none", "x://y", "droid://none"):
            with pytest.raises(MCPError, match="There is no") as caught:
                await subscribe(c, uri)
            assert {"uri": uri} == caught.value.error.data
        async with told(home, "auto", "run://none") as heard:
            await note(home)
            await anyio.wait_all_tasks_blocked()
        assert [] == heard


async def test_a_client_may_not_subscribe_to_more_than_it_can_mean(tmp_path: Path) -> None:
    """A limit, and one error that names it."""
    uris = [f"context://{number}" for number in range(MOST + 1)]
    async with house(tmp_path) as home, client(home) as c:
        with pytest.raises(MCPError, match="More than 1000 resources"):
            async with c.listen(resource_subscriptions=uris):
                pass
        assert not is_watched(home)


@pytest.mark.requirement("PROTOCOL-3")
async def test_a_store_that_was_away_is_looked_at_again(tmp_path: Path) -> None:
    """What changed meanwhile is announced then."""
    async with house(tmp_path) as home, told(home, "legacy", "context://index") as heard:
        await note(home)
        await home.sql("ALTER TABLE audit_heads RENAME TO away")
        for _ in range(3):
            home.clock.advance(1)
            await anyio.wait_all_tasks_blocked()
        await home.sql("ALTER TABLE away RENAME TO audit_heads")
        await passes(home, heard, 1)
        assert ["context://index"] == heard
