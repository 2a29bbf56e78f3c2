"""The suite's fixtures: rows of the product's own tables, behind its own one server."""

import ast
import gc
from pathlib import Path
from typing import Any

import mcp_types as t
import pytest
from mcp import Client, MCPError
from mcp.server.lowlevel import Server

from factory_mcp.app import App, over_http
from tests.conformance.fixtures import FIXTURES
from tests.conformance.serve import product, servers
from tests.transports.messages import read, said, text_of

HERE = Path(__file__).parent
MODES = ("auto", "legacy")


@pytest.mark.requirement("PROTOCOL-5")
def test_the_process_that_conforms_has_one_server_and_it_is_the_products(tmp_path: Path) -> None:
    """Over HTTP as well, where the suite comes in."""
    gc.collect()
    before = servers()
    app = product(tmp_path)
    over_http(app)
    new = [server for server in servers() if not any(server is old for old in before)]
    assert [app.server] == new


@pytest.mark.requirement("PROTOCOL-5")
def test_no_module_of_the_suites_makes_a_server() -> None:
    """They have nothing to serve with but the product."""
    names = {Server.__name__, "MCPServer"}
    made = [
        f"{path.name}:{node.lineno}"
        for path in HERE.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
    ]
    assert [] == made


@pytest.mark.requirement("PROTOCOL-5")
@pytest.mark.parametrize("mode", MODES)
async def test_fixtures_are_listed_beside_our_own_and_answered_as_they_are(
    tmp_path: Path, mode: str
) -> None:
    """A result without envelope or output schema, by the tables that answer ours."""
    app = product(tmp_path)
    async with app.serving(), Client(app.server, mode=mode) as c:
        tools = {tool.name: tool for tool in (await c.list_tools()).tools}
        assert 10 + len(FIXTURES.tools) == len(tools)
        assert tools["test_simple_text"].output_schema is None
        assert tools["code_droid"].output_schema is not None
        simple = await c.call_tool("test_simple_text", {})
        assert "This is a simple text response for testing." == text_of(simple)
        assert {} == said(simple)
        uris = {resource.uri for resource in (await c.list_resources()).resources}
        assert {"context://index", "test://static-text"} <= uris
        assert '"id": "7"' in await read(c, "test://template/7/data")
        prompts = {prompt.name for prompt in (await c.list_prompts()).prompts}
        assert {"architect", "test_simple_prompt"} <= prompts


@pytest.mark.requirement("PROTOCOL-5")
@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("test_simple_text", {"x": 1}, "`x` is not a known field"),
        ("test_sampling", {}, "`prompt` is missing"),
        ("test_sampling", {"prompt": "a\x00b"}, "NUL"),
        ("test_error_handling", {}, "An internal error"),
    ],
)
async def test_a_fixture_is_checked_and_guarded_as_a_droid_is(
    tmp_path: Path, tool: str, arguments: dict[str, Any], message: str
) -> None:
    """By the same dispatcher, before it is asked and when it fails."""
    app = product(tmp_path)
    async with app.serving(), Client(app.server) as c:
        result = await c.call_tool(tool, arguments)
        assert result.is_error
        assert message in text_of(result)
        with pytest.raises(MCPError, match="`arg1` is missing"):
            await c.get_prompt("test_prompt_with_arguments", {})


async def test_an_error_of_the_protocol_stays_one(tmp_path: Path) -> None:
    """What a handler raises for the client, the client gets."""
    app: App = product(tmp_path)
    async with app.serving(), Client(app.server) as c:
        with pytest.raises(MCPError) as caught:
            await c.call_tool("test_missing_capability", {})
    assert t.MISSING_REQUIRED_CLIENT_CAPABILITY == caught.value.error.code
