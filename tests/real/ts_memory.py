"""What every TypeScript client does with the memory: templates, completion, prompts, a watch."""

import json
from typing import Any

from tests.real.ts_client import TsClient


async def uses_the_memory(client: TsClient, protocol: str) -> None:
    """Each step is answered as the client's own types have it."""
    listed = (await client.step("listTemplates"))["result"]["resourceTemplates"]
    assert "context://{id}/merged" in [template["uriTemplate"] for template in listed]
    node = await _write(client, data={"db": "mysql"}, context_id="new")
    uri = f"context://{node}/merged"
    completed = await client.step(
        "complete",
        ref={"type": "ref/resource", "uri": "context://{id}/merged"},
        argument={"name": "id", "value": node[:-4]},
    )
    assert [node] == completed["result"]["completion"]["values"]
    prompts = (await client.step("listPrompts"))["result"]["prompts"]
    assert {"continue_run", "architect"} <= {prompt["name"] for prompt in prompts}
    asked = {"task": "design it", "context_id": node}
    filled = await client.step("getPrompt", name="architect", arguments=asked)
    assert node in filled["result"]["messages"][0]["content"]["text"]
    watched = await client.step("listen" if protocol == "2026-07-28" else "subscribe", uri=uri)
    assert watched["ok"], watched
    await _write(client, data={"db": "postgres"}, context_id=node)
    told = await client.step("waitNotification", method="notifications/resources/updated")
    assert uri == told["result"]["params"]["uri"]
    read = await client.step("read", uri=uri)
    assert {"db": "postgres"} == json.loads(read["result"]["contents"][0]["text"])


async def _write(client: TsClient, **arguments: Any) -> str:
    wrote = await client.step("call", name="context_write", arguments=arguments)
    return wrote["result"]["structuredContent"]["context_id"]
