"""Resources: what was learnt, run and written down, listed, read and completed, in both eras."""

import json
from pathlib import Path
from typing import Any

import anyio
import mcp_types as t
import pytest
from mcp import MCPError

from factory_mcp.domain.model import LOCAL, Outcome
from tests.house import client, house
from tests.transports.messages import read, said, text_of

MODES = ("auto", "legacy")
LEARNT = Outcome(text='Use Postgres.\n```context\n{"db": "postgres", "big": "x"}\n```\n')


@pytest.mark.requirement("CALLS-18")
@pytest.mark.parametrize("mode", MODES)
async def test_what_was_learnt_is_a_resource_and_a_tool(tmp_path: Path, mode: str) -> None:
    """Half of the clients have no resources: the tool shows the same."""
    async with house(tmp_path, LEARNT) as home, client(home, mode=mode) as c:
        made = await c.call_tool("architect_droid", {"task": "x"})
        node = said(made)["context_id"]
        run = said(made)["run_id"]
        uris = [str(resource.uri) for resource in (await c.list_resources()).resources]
        listed = {"context://index", f"context://{node}", f"run://{run}", "droid://architect"}
        assert listed <= set(uris)
        assert 6 == len((await c.list_resource_templates()).resource_templates)
        assert {"db": "postgres", "big": "x"} == json.loads(
            await read(c, f"context://{node}/merged")
        )
        for view in ("node", "chain", "merged"):
            uri = f"context://{node}" + ("" if view == "node" else f"/{view}")
            by_tool = await c.call_tool("context_read", {"id": node, "view": view})
            data = said(by_tool)["data"]
            assert json.loads(await read(c, uri)) == data["value"]
            by_uri = await c.call_tool("context_read", {"uri": uri})
            assert data == said(by_uri)["data"]
        assert run == json.loads(await read(c, f"run://{run}"))["run_id"]
        assert LEARNT.text == await read(c, f"run://{run}/output")
        assert "# architect" in await read(c, "droid://architect")
        assert node in await read(c, "context://index")
        others = (f"run://{run}", f"run://{run}/output", "droid://architect", "context://index")
        for uri in others:
            by_tool = await c.call_tool("context_read", {"uri": uri})
            assert (await read(c, uri))[:5000] in text_of(by_tool)


async def test_an_open_run_is_a_resource_too(tmp_path: Path) -> None:
    """It says how it stands."""
    gate = anyio.Event()
    async with house(tmp_path, gate=gate) as home, client(home) as c:
        answer = await c.call_tool("code_droid", {"task": "x", "wait_s": 0})
        run_id = said(answer)["run_id"]
        assert "running" == json.loads(await read(c, f"run://{run_id}"))["status"]
        gate.set()


@pytest.mark.parametrize(
    "uri", ["context://none", "run://none", "droid://none", "context://a/b/c", "x://y", "nothing"]
)
async def test_an_unknown_resource_is_an_error_that_names_it(tmp_path: Path, uri: str) -> None:
    """With what to do instead."""
    async with house(tmp_path) as home, client(home) as c:
        with pytest.raises(MCPError, match="There is no"):
            await c.read_resource(uri)


@pytest.mark.requirement("PROTOCOL-1")
@pytest.mark.parametrize("mode", MODES)
async def test_the_list_has_one_page_until_there_is_more_and_then_all_of_it(
    tmp_path: Path, mode: str
) -> None:
    """The newest come first, because many clients read one page only."""
    async with house(tmp_path) as home, client(home, mode=mode) as c:
        first = await c.list_resources()
        assert 6 == len(first.resources)
        ids: list[str] = []
        for number in range(60):
            note = {"summary": f"note {number}", "context_id": "new"}
            wrote = await home.app.contexts.write(LOCAL, note, "key")
            ids.append(f"context://{wrote.context_id}")
            home.clock.advance(1)
        page = await c.list_resources(cache_mode="refresh")
        assert [*reversed(ids[10:])] == [r.uri for r in page.resources[6:]]
        rest = await c.list_resources(cursor=page.next_cursor)
        assert [*reversed(ids[:10])] == [r.uri for r in rest.resources]
        assert rest.next_cursor is None


@pytest.mark.requirement("PROTOCOL-1")
@pytest.mark.parametrize("what", ["resources", "resource_templates", "tools", "prompts"])
async def test_a_cursor_that_is_not_ours_is_refused(tmp_path: Path, what: str) -> None:
    """As the protocol has it."""
    async with house(tmp_path) as home, client(home) as c:
        for cursor in ("x", "-50", "1000", "51"):
            with pytest.raises(MCPError, match="Unknown cursor") as caught:
                await getattr(c, f"list_{what}")(cursor=cursor)
            assert t.INVALID_PARAMS == caught.value.error.code


@pytest.mark.parametrize("uri", ["context://index", "droid://architect"])
async def test_a_slash_at_the_end_is_no_other_resource(tmp_path: Path, uri: str) -> None:
    """Some clients add one."""
    async with house(tmp_path) as home, client(home) as c:
        assert await read(c, uri) == await read(c, f"{uri}/")


async def test_a_store_that_is_away_is_an_error_that_says_so(tmp_path: Path) -> None:
    """Of the server, not of what was asked."""
    async with house(tmp_path) as home, client(home) as c:
        await home.sql("ALTER TABLE nodes RENAME TO away")
        with pytest.raises(MCPError, match="store") as caught:
            await c.list_resources()
        assert t.INTERNAL_ERROR == caught.value.error.code
        await home.sql("ALTER TABLE away RENAME TO nodes")


@pytest.mark.requirement("PROTOCOL-2")
@pytest.mark.parametrize("mode", MODES)
async def test_ids_and_names_are_completed(tmp_path: Path, mode: str) -> None:
    """The newest that begin so."""
    async with house(tmp_path, LEARNT) as home, client(home, mode=mode) as c:
        made = said(await c.call_tool("architect_droid", {"task": "x"}))
        node, run = made["context_id"], made["run_id"]
        cases: list[tuple[str, str, str, list[str]]] = [
            ("context://{id}", "id", "", [node]),
            ("context://{id}/chain", "id", node[:8], [node]),
            ("context://{id}/merged", "id", "run", []),
            ("run://{id}", "id", "run_", [run]),
            ("run://{id}/output", "id", "", [run]),
            ("droid://{name}", "name", "a", ["architect"]),
            ("droid://{name}", "other", "", []),
        ]
        for template, name, value, expected in cases:
            ref = t.ResourceTemplateReference(type="ref/resource", uri=template)
            found = await c.complete(ref, {"name": name, "value": value})
            assert (expected, len(expected)) == (found.completion.values, found.completion.total)
        unknown = t.ResourceTemplateReference(type="ref/resource", uri="x://{id}")
        with pytest.raises(MCPError, match="Unknown resource template: x://"):
            await c.complete(unknown, {"name": "id", "value": ""})


@pytest.mark.requirement("PROTOCOL-7")
async def test_what_may_be_kept_and_for_how_long_is_said(tmp_path: Path) -> None:
    """What stays as it is while we run, a minute; what may change, not at all; never shared."""
    async with house(tmp_path) as home, client(home) as c:
        kept: list[Any] = [
            await c.list_tools(),
            await c.list_prompts(),
            await c.list_resource_templates(),
            await c.read_resource("droid://architect"),
        ]
        fresh: list[Any] = [await c.list_resources(), await c.read_resource("context://index")]
        assert [60_000] * 4 == [result.ttl_ms for result in kept]
        assert [0, 0] == [result.ttl_ms for result in fresh]
        assert {"private"} == {result.cache_scope for result in (*kept, *fresh)}


@pytest.mark.requirement("PROTOCOL-7")
@pytest.mark.parametrize(("mode", "list_changed"), [("auto", True), ("legacy", False)])
async def test_the_capabilities_say_what_is_so(
    tmp_path: Path, mode: str, list_changed: bool
) -> None:
    """Tools and prompts stay; a list that changes is told of where somebody asked for it."""
    async with house(tmp_path) as home, client(home, mode=mode) as c:
        can = c.server_capabilities.model_dump(exclude_none=True)
    assert {
        "completions": {},
        "prompts": {"list_changed": False},
        "resources": {"list_changed": list_changed, "subscribe": True},
        "tools": {"list_changed": False},
    } == can
