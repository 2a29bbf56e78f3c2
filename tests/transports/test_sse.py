"""The old HTTP+SSE transport, over real sockets."""

import anyio
import httpx
import mcp_types as t
import pytest
from mcp import Client
from mcp.client.sse import sse_client

from tests.transports.sample_server import sample_app, serving


@pytest.mark.parametrize(("mode", "version"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
@pytest.mark.requirement("TRANSPORT-5")
async def test_a_client_of_either_era_calls_tools_over_sse(mode: str, version: str) -> None:
    """The stream and the posts belong together."""
    with anyio.fail_after(20):
        async with (
            serving(sample_app()) as url,
            Client(sse_client(f"{url}/sse"), mode=mode) as client,
        ):
            assert client.protocol_version == version
            result = await client.call_tool("echo", {"text": "x"})
            assert result.content == [t.TextContent(type="text", text="echo x")]


async def test_a_message_for_a_stream_that_is_gone_is_a_404(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is answered, and no traceback is logged."""
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    with anyio.fail_after(20):
        async with serving(sample_app()) as url, httpx.AsyncClient() as client:
            async with client.stream("GET", f"{url}/sse") as stream:
                lines = stream.aiter_lines()
                assert await anext(lines) == "event: endpoint"
                address = (await anext(lines)).removeprefix("data: ")
            answers = [await client.post(f"{url}{address}", json=ping) for _ in range(3)]
    assert {answer.status_code for answer in answers} <= {202, 404}
    assert [record for record in caplog.records if record.exc_info] == []
