"""MCP: tools, resources and cancels, through a client of the one server, in both eras."""

import json
import re
from pathlib import Path
from typing import Any

import anyio
import mcp_types as t
import pytest
from mcp import MCPError

from factory_mcp.domain.model import Outcome, Status
from factory_mcp.transports.mcp import REMEMBERED, Waiting
from tests.house import House, client, house, until
from tests.transports.messages import said, text_of

MODES = ("auto", "legacy")
ALWAYS = "anthropic/alwaysLoad"
LONG = Outcome(text="\n".join(f'line {n} "quoted"' for n in range(3000)))
LEARNT = Outcome(text='Use Postgres.\n```context\n{"db": "postgres", "big": "x"}\n```\n')


@pytest.mark.requirement("CALLS-14")
@pytest.mark.parametrize("mode", MODES)
async def test_ten_tools_are_listed_with_their_rights(tmp_path: Path, mode: str) -> None:
    """Read-only is what only reads."""
    async with house(tmp_path) as home, client(home, mode=mode) as c:
        tools = {tool.name: tool for tool in (await c.list_tools()).tools}
        assert len(c.instructions or "") <= 2000
    assert 10 == len(tools)
    assert all(re.fullmatch("[a-z]+(_[a-z]+)+", name) and len(name) <= 40 for name in tools)
    reads = {n for n, tool in tools.items() if tool.annotations and tool.annotations.read_only_hint}
    expected = {"architect_droid", "knowledge_droid", "droid_wait", "context_search"}
    assert expected | {"context_read"} == reads
    schemas = {json.dumps(tool.output_schema) for tool in tools.values()}
    assert 1 == len(schemas)
    assert all(len((tool.description or "").encode()) <= 1800 for tool in tools.values())
    at_once = {name for name, tool in tools.items() if (tool.meta or {}).get(ALWAYS)}
    assert {*(name for name in tools if name.endswith("_droid")), "droid_wait"} == at_once


@pytest.mark.requirement("CALLS-15")
@pytest.mark.parametrize("mode", MODES)
async def test_a_result_says_the_same_as_text_and_as_structure(tmp_path: Path, mode: str) -> None:
    """Some clients show the model only the one, some only the other."""
    async with house(tmp_path, LEARNT) as home, client(home, mode=mode) as c:
        result = await c.call_tool("architect_droid", {"task": "choose"})
    structured = said(result)
    assert text_of(result) == structured["text"]
    assert "text" == next(iter(structured))
    assert text_of(result).startswith(f"DONE architect {structured['run_id']}: finished in")
    assert text_of(result).endswith("\n")
    assert not result.is_error
    assert "partial" not in structured


@pytest.mark.requirement("CALLS-15")
@pytest.mark.parametrize(("name", "limit"), [("roo", 8000), ("Cline", 3900)])
async def test_a_long_answer_is_cut_and_the_whole_is_behind_its_uri(
    tmp_path: Path, name: str, limit: int
) -> None:
    """JSON escapes count; the whole is a resource, and a tool reads it in pages."""
    info = t.Implementation(name=name, version="1")
    async with house(tmp_path, LONG) as home, client(home, client_info=info) as c:
        result = await c.call_tool("architect_droid", {"task": "list"})
        structured = said(result)
        assert len(json.dumps(structured)) <= limit
        assert len(json.dumps(structured)) > limit - 200
        uri = structured["output_uri"]
        assert f"the whole is at {uri}" in text_of(result)
        read = await c.read_resource(uri)
        whole = read.contents[0]
        assert isinstance(whole, t.TextResourceContents)
        assert LONG.text == whole.text
        pages, offset = "", 0
        while offset is not None:
            page = await c.call_tool("context_read", {"uri": uri, "offset": offset})
            data = said(page)["data"]
            pages += text_of(page).split("\n", 1)[1][:-1]
            offset = data.get("next_offset")
        assert LONG.text == pages


@pytest.mark.requirement("CALLS-1")
@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("code_droid", {"tsk": "x"}, "`tsk` is not a known field; did you mean `task`?"),
        ("code_droid", {"task": 7}, "`task` must be of type string, not integer."),
        ("code_droid", {"task": "a\x00b"}, "`task` holds a NUL character"),
        ("code_droid", {"task": "x" * 300_000}, "at most 200000 characters, not 300000"),
        ("code_droid", {"task": "x", "workspace": "/etc"}, "/etc is outside the allowed roots"),
        ("code_droid", {"task": "x", "context_id": "ctx_1"}, "there is no context 'ctx_1'"),
        ("droid_wait", {"run_id": "run_1"}, "There is no run 'run_1'"),
        ("droid_cancel", {"run_id": "run_1"}, "There is no run 'run_1'"),
        ("context_write", {}, "there is nothing to write"),
        ("context_write", {"summary": "x", "run_id": "run_1"}, "there is no run 'run_1'"),
        ("context_write", {"merge": "ctx_1"}, "`merge` needs a `context_id`"),
        ("context_read", {}, "Give `id` or `uri`."),
        ("context_read", {"id": "ctx_1"}, "There is no context 'ctx_1'"),
        ("context_read", {"uri": "context://ctx_1/all"}, "`uri` must be context://ID"),
        ("context_read", {"uri": "file:///etc/passwd"}, "There is no resource"),
    ],
)
async def test_bad_input_is_one_clear_error_and_starts_nothing(
    tmp_path: Path, tool: str, arguments: dict[str, Any], message: str
) -> None:
    """A result the model can read, marked as an error, with a remedy."""
    async with house(tmp_path) as home, client(home) as c:
        result = await c.call_tool(tool, arguments)
        assert result.is_error
        assert message in text_of(result)
        assert "Nothing was started." in text_of(result)
        assert "run_id" not in said(result)
        assert [] == await home.runs()


async def test_an_unknown_tool_is_answered_with_the_nearest(tmp_path: Path) -> None:
    """A protocol error, as the protocol has it."""
    async with house(tmp_path) as home, client(home) as c:
        with pytest.raises(MCPError, match="did you mean architect_droid"):
            await c.call_tool("arcitect_droid", {"task": "x"})
        with pytest.raises(MCPError, match="the tools are architect_droid, code_droid"):
            await c.call_tool("xyz", {"task": "x"})


async def test_a_fault_of_ours_is_an_answer_too(tmp_path: Path) -> None:
    """And the log has it."""
    async with house(tmp_path) as home, client(home) as c:
        home.app.contexts._found = None  # type: ignore[assignment]  # noqa: SLF001 — a bug of ours
        result = await c.call_tool("context_search", {"query": "x"})
        assert result.is_error
        assert "An internal error" in text_of(result)


# ----------------------------------------------------------------------------- progress, cancel


@pytest.mark.requirement("CALLS-16")
@pytest.mark.parametrize("mode", MODES)
async def test_progress_comes_with_a_token_and_rises(tmp_path: Path, mode: str) -> None:
    """State and seconds; never after the result."""
    gate, heard = anyio.Event(), list[tuple[float, str | None]]()

    async def told(progress: float, total: float | None, message: str | None) -> None:
        assert total is None
        heard.append((progress, message))

    async with (
        house(tmp_path, gate=gate) as home,
        client(home, mode=mode) as c,
        anyio.create_task_group() as tasks,
    ):

        async def call() -> None:
            await c.call_tool("architect_droid", {"task": "x"}, progress_callback=told)

        tasks.start_soon(call)
        await until(lambda: home.backend.works and heard)
        for _ in range(12):  # a second at a time: each wait must have begun before it ends
            home.clock.advance(1)
            await anyio.wait_all_tasks_blocked()
        await until(lambda: heard[-1][0] >= 10)
        gate.set()
    values = [value for value, _ in heard]
    assert sorted(set(values)) == values
    assert f"thinking, {heard[-1][0]:.0f} s" == heard[-1][1]


async def send_cancel(of: House, reason: str | None, expected: Status) -> Status:
    """Cancel a waiting call's request with that reason; how its run stands afterwards."""
    async with client(of, mode="legacy") as c, anyio.create_task_group() as tasks:
        tasks.start_soon(c.call_tool, "code_droid", {"task": "x"})
        await of.until("waiting")
        await until(lambda: of.backend.works)
        for request_id in range(1, 9):  # the request's own id is among them
            params = t.CancelledNotificationParams(request_id=request_id, reason=reason)
            await c.session.send_notification(t.CancelledNotification(params=params))
        if expected is Status.CANCELLED:
            await of.until("cancelled")
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()  # a cancelled request is never answered
    (run,) = await of.runs()
    return run.status


@pytest.mark.requirement("CALLS-17")
@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (None, Status.CANCELLED),
        ("user pressed stop", Status.CANCELLED),
        ("MCP error -32001: Request timed out", Status.RUNNING),
        ("request TIMEOUT", Status.RUNNING),
        ("timed out after 5s", Status.RUNNING),
    ],
)
async def test_a_time_limit_ends_the_wait_and_any_other_cancel_the_run(
    tmp_path: Path, reason: str | None, status: Status
) -> None:
    """Clients send a cancel by themselves when their own timer fires."""
    gate = anyio.Event()
    async with house(tmp_path, gate=gate) as home:
        assert status == await send_cancel(home, reason, status)
        gate.set()


@pytest.mark.requirement("CALLS-17")
async def test_a_cancel_for_an_answered_request_is_ignored(tmp_path: Path) -> None:
    """Some clients send one after every result; the run behind `running` goes on."""
    gate = anyio.Event()
    async with house(tmp_path, gate=gate) as home, client(home, mode="legacy") as c:
        answer = await c.call_tool("code_droid", {"task": "x", "wait_s": 0})
        assert "running" == said(answer)["status"]
        for request_id in range(1, 9):
            params = t.CancelledNotificationParams(request_id=request_id, reason="AbortError")
            await c.session.send_notification(t.CancelledNotification(params=params))
        run_id = said(answer)["run_id"]
        gate.set()
        ended = await c.call_tool("droid_wait", {"run_id": run_id})
        assert "done" == said(ended)["status"]


@pytest.mark.parametrize("key", ["claudecode/toolUseId", "callId"])
async def test_a_call_that_claude_code_or_codex_repeats_is_one_run(
    tmp_path: Path, key: str
) -> None:
    """Its own id of the call is the key."""
    meta: Any = {key: "call_1"}
    async with house(tmp_path) as home, client(home) as c:
        first = await c.call_tool("architect_droid", {"task": "x"}, meta=meta)
        again = await c.call_tool("architect_droid", {"task": "x"}, meta=meta)
        ids = [said(r)["run_id"] for r in (first, again)]
        assert ids[0] == ids[1]
        assert 1 == len(home.backend.works)


def test_waits_that_were_never_answered_are_forgotten_in_the_end() -> None:
    """A client that leaves without a cancel leaves an entry."""
    waiting = Waiting()
    for number in range(REMEMBERED + 1):
        waiting.add(("session", number), f"run_{number}")
    assert [None, "run_1"] == [waiting.forget(("session", number)) for number in (0, 1)]


# ------------------------------------------------------------------------------ shared context


@pytest.mark.requirement("CALLS-19")
async def test_an_agent_writes_down_what_it_did_after_a_handoff(tmp_path: Path) -> None:
    """On the run's own chain, in the droid's name; searchable at once."""
    async with house(tmp_path, LEARNT) as home, client(home) as c:
        made = await c.call_tool("architect_droid", {"task": "x"})
        run = said(made)["run_id"]
        wrote = await c.call_tool(
            "context_write",
            {"run_id": run, "summary": "I built the payment gateway", "data": {"db": None}},
        )
        data = said(wrote)["data"]
        assert 2 == data["revision"]
        found = await c.call_tool("context_search", {"query": "payment gateway"})
        hits = said(found)["data"]["hits"]
        assert [(data["id"], "architect")] == [(hit["id"], hit["droid"]) for hit in hits]
        merged = await c.call_tool("context_read", {"id": data["id"], "view": "merged"})
        assert {"big": "x"} == said(merged)["data"]["value"]
        as_was = await c.call_tool(
            "context_read", {"id": data["id"], "view": "merged", "revision": 1}
        )
        assert "postgres" == said(as_was)["data"]["value"]["db"]
        nothing = await c.call_tool("context_search", {"query": "zebra", "scope": "all"})
        assert "0 notes found" in text_of(nothing)


async def test_a_writer_that_expects_an_old_revision_is_refused(tmp_path: Path) -> None:
    """Read again, write again."""
    async with house(tmp_path) as home, client(home) as c:
        one = await c.call_tool("context_write", {"data": {"a": 1}})
        node = said(one)["data"]["id"]
        await c.call_tool("context_write", {"data": {"a": 2}, "context_id": node})
        late = {"data": {"a": 3}, "context_id": node, "expected_revision": 1}
        refused = await c.call_tool("context_write", late)
        assert "The chain is at revision 2, not at 1." in text_of(refused)
        assert "revision_conflict" == said(refused)["code"]


@pytest.mark.requirement("CALLS-20")
async def test_a_merge_names_its_conflicts_until_they_are_settled(tmp_path: Path) -> None:
    """Values that only one side has come over; where both differ the caller decides."""
    async with house(tmp_path) as home, client(home) as c:

        async def write(**arguments: Any) -> str:
            wrote = await c.call_tool("context_write", arguments)
            assert not wrote.is_error, text_of(wrote)
            return str(said(wrote)["data"]["id"])

        ours = await write(data={"a": 1, "db": "x"}, droid="architect")
        theirs = await write(data={"b": 2, "db": "y"}, droid="code", context_id="new")
        merge = {"context_id": ours, "merge": theirs}
        refused = await c.call_tool("context_write", merge)
        assert '`db`: ours is "x" (architect' in text_of(refused)
        assert 'theirs is "y" (code' in text_of(refused)
        merged = await write(**merge, data={"db": "z"}, summary="settled")
        value = await c.call_tool("context_read", {"id": merged, "view": "merged"})
        data = said(value)["data"]
        assert {"a": 1, "b": 2, "db": "z"} == data["value"]
        none = await c.call_tool("context_write", {"context_id": ours, "merge": "new"})
        assert "`merge` must name a chain." in text_of(none)


async def test_a_long_value_is_read_in_pages(tmp_path: Path) -> None:
    """Each page says where the next one starts."""
    value = {"text": "äöü " * 4000}
    async with house(tmp_path) as home, client(home) as c:
        wrote = await c.call_tool("context_write", {"data": value})
        node = said(wrote)["data"]["id"]
        whole, offset = "", 0
        while offset is not None:
            arguments = {"id": node, "view": "merged", "offset": offset}
            page = await c.call_tool("context_read", arguments)
            whole += text_of(page).split("\n", 1)[1][:-1]
            offset = said(page)["data"].get("next_offset")
        assert value == json.loads(whole)
