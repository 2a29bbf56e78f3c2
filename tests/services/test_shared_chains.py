"""Several writers of one memory: what both changed is named, settled by a call, and kept."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from factory_mcp.domain.context_errors import MergeConflict
from factory_mcp.domain.errors import RevisionConflict
from factory_mcp.domain.model import LOCAL, Outcome, Principal
from factory_mcp.ports import Appended, NewNode
from factory_mcp.services.contexts import ContextService
from tests.fakes import SeededRng
from tests.house import House, client, house, until
from tests.keys import sealing


def learnt(value: str, words: str = "Chosen.") -> Outcome:
    """A droid's answer that wants one fact remembered."""
    return Outcome(text=f'{words}\n```context\n{{"db": "{value}"}}\n```\n')


async def tool(c: Client, name: str, **arguments: Any) -> dict[str, Any]:
    """A tool's structured answer."""
    answer: Any = (await c.call_tool(name, arguments)).structured_content
    return answer


async def view(c: Client, node: str, name: str = "merged", **more: Any) -> Any:
    """A view of a chain, as `context_read` shows it."""
    return (await tool(c, "context_read", id=node, view=name, **more))["data"]["value"]


async def added(home: House, data: dict[str, Any], **more: Any) -> str:
    """The id of a node written by the local principal."""
    node = (await home.app.contexts.add(LOCAL, {"data": data, **more}, "key")).node
    return node.id


# ------------------------------------------------------------------- two droids at once


@pytest.mark.requirement("CONTEXT-1")
@pytest.mark.parametrize("known", [True, False], ids=["known chain", "first chain"])
async def test_two_droids_that_change_one_key_at_once(tmp_path: Path, *, known: bool) -> None:
    """The later result names both values and writers; a write settles it; the chain says why."""
    gate = anyio.Event()
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(
            house(tmp_path, learnt("postgres"), learnt("mysql"), gate=gate)
        )
        c = await stack.enter_async_context(client(home))
        if known:
            await tool(c, "context_write", data={"db": "sqlite"}, droid="debug")
        runs = list[str]()
        for name in ("architect_droid", "code_droid"):
            runs.append((await tool(c, name, task="Choose", wait_s=0))["run_id"])
            await until(lambda: len(home.backend.works) == len(runs))
        gate.set()
        results = [await tool(c, "droid_wait", run_id=run) for run in runs]
        (conflict,) = [x for result in results for x in result.get("conflicts", ())]
        later = next(result for result in results if "conflicts" in result)
        values = {conflict[side]["droid"]: conflict[side]["value"] for side in ("ours", "theirs")}
        assert {"architect": "postgres", "code": "mysql"} == values
        assert ("db", "sqlite" if known else None) == (conflict["key"], conflict["base"])
        assert later["droid"] == conflict["ours"]["droid"]
        assert all(isinstance(conflict[side]["at"], float) for side in ("ours", "theirs"))
        assert "Note: `db` was also changed by" in later["text"]

        node = later["context_id"]
        wrote = await tool(
            c,
            "context_write",
            context_id=node,
            data={"db": "postgres"},
            droid="architect",
            summary="Postgres: the team runs it already.",
        )
        assert {"db": "postgres"} == await view(c, node)
        *_, loser, settled = await view(c, wrote["context_id"], "chain")
        assert conflict["ours"]["run_id"] == loser["run_id"]
        assert ("architect", "Postgres: the team runs it already.") == (
            settled["droid"],
            settled["summary"],
        )
        history = {run.id: run.envelope or {} for run in await home.runs()}
        assert [conflict] == history[conflict["ours"]["run_id"]]["conflicts"]


# ------------------------------------------------------------------------------ merging


@pytest.mark.requirement("CONTEXT-2")
async def test_a_merge_keeps_who_and_why(tmp_path: Path) -> None:
    """Refused with both sides until settled; the summary says what stood where and why."""
    async with house(tmp_path) as home, client(home) as c:
        root = await added(home, {"db": "sqlite", "os": "linux", "gone": 1}, droid="debug")
        branch = await home.app.contexts.add(
            LOCAL,
            {"data": {"db": "mysql", "port": 80}, "droid": "code", "context_id": root},
            "",
            branch=True,
        )
        home.clock.advance(60)
        await added(home, {"db": "postgres", "gone": None}, droid="architect", context_id=root)
        asked = {"context_id": root, "merge": branch.node.id}
        refused = await tool(c, "context_write", **asked)
        (conflict,) = refused["conflicts"]
        assert ("merge_conflict", "failed") == (refused["code"], refused["status"])
        assert ("db", "sqlite", "postgres", "mysql") == (
            conflict["key"],
            conflict["base"],
            conflict["ours"]["value"],
            conflict["theirs"]["value"],
        )
        assert 60 == conflict["ours"]["at"] - conflict["theirs"]["at"]
        sides = (
            '`db`: ours is "postgres" (architect, 2027-01-15 08:01:00 UTC) and theirs is "mysql" '
            '(code, 2027-01-15 08:00:00 UTC); before, it was "sqlite".'
        )
        assert sides in refused["text"]
        assert 2 == len(await view(c, root, "chain"))

        merged = await tool(c, "context_write", **asked, data={"db": "mariadb"}, summary="Cheaper.")
        assert {"db": "mariadb", "os": "linux", "port": 80} == await view(c, root)
        node = await view(c, merged["context_id"], "node")
        assert {"db": "mariadb", "port": 80} == node["data"]
        assert node["summary"].startswith(
            f"Cheaper.\nMerged {branch.node.id} (revision 2) into this chain.\n"
            '`db` was settled as "mariadb": ours is "postgres" (architect, '
        )


@pytest.mark.requirement("CONTEXT-2")
async def test_chains_that_were_merged_are_merged_again_from_there(tmp_path: Path) -> None:
    """What was settled once is no conflict again; what changed since is."""
    async with house(tmp_path) as home:
        ours = await added(home, {"a": 1}, context_id="new")
        theirs = await added(home, {"a": 2, "b": 2}, context_id="new")
        merge = {"context_id": ours, "merge": theirs}
        await added(home, {"a": 3}, **merge)
        await added(home, {"b": 3}, context_id=ours)
        assert {"a": 3, "b": 3} == await _merged_view(home, await added(home, {}, **merge))
        await added(home, {"c": 4}, context_id=theirs)
        await added(home, {}, context_id=theirs, merge=ours)
        assert {"a": 3, "b": 3, "c": 4} == await _merged_view(home, theirs)
        await added(home, {}, **merge)
        await added(home, {"a": 5}, context_id=theirs)
        await added(home, {"a": 6}, context_id=ours)
        with pytest.raises(MergeConflict) as caught:
            await added(home, {}, **merge)
        (conflict,) = caught.value.conflicts
        assert ("a", 3) == (conflict.key, conflict.base)


async def _merged_view(home: House, node: str) -> Any:
    path = await home.app.contexts.path(LOCAL, node, "merged")
    return {k: v for n in path for k, v in n.data.items()} if path else {}


@pytest.mark.requirement("CONTEXT-3")
async def test_unrelated_chains_are_merged_from_nothing(tmp_path: Path) -> None:
    """No node is shared: each side's keys are its own changes, equal ones no conflict."""
    async with house(tmp_path) as home:
        ours = await added(home, {"a": 1, "same": [1], "x": True}, context_id="new")
        theirs = await added(home, {"b": 2, "same": [1], "x": 1}, context_id="new")
        with pytest.raises(MergeConflict) as caught:
            await added(home, {}, context_id=ours, merge=theirs)
        assert [("x", None)] == [(c.key, c.base) for c in caught.value.conflicts]
        node = await added(home, {"x": 1}, context_id=ours, merge=theirs)
        merged = {"a": 1, "b": 2, "same": [1], "x": 1}
        assert merged == await _merged_view(home, node)


@pytest.mark.requirement("CONTEXT-2")
async def test_a_merge_that_another_writer_overtakes_is_worked_out_again(tmp_path: Path) -> None:
    """What came in between is compared as well, never overwritten; a caller's revision is kept."""
    async with house(tmp_path) as home:
        ours = await added(home, {"a": 1}, context_id="new")
        theirs = await added(home, {"b": 2}, context_id="new")
        store: Any = home.app.contexts._contexts  # noqa: SLF001 — to stand between

        class Overtaken:
            """The store, in which somebody writes right before the first append."""

            head, path, standing = store.head, store.path, store.standing
            overtaken = False

            async def append(self, node: NewNode) -> Appended:
                if not self.overtaken:
                    self.overtaken = True
                    await added(home, {"b": 3}, context_id=ours)
                return await store.append(node)

        async def merge(**more: Any) -> None:
            ports = (Overtaken(), store, home.app.reader, home.clock, SeededRng(9))
            service = ContextService(*ports, blind=sealing().blind)
            arguments = {"context_id": ours, "merge": theirs, **more}
            await service.add(LOCAL, arguments, "")

        with pytest.raises(MergeConflict):
            await merge()
        with pytest.raises(RevisionConflict):
            await merge(data={"b": 9}, expected_revision=2)


# ----------------------------------------------------------------- two on one revision


@pytest.mark.requirement("CONTEXT-4")
async def test_two_writers_on_one_revision(tmp_path: Path) -> None:
    """One is stored, the other is refused with the names of both."""
    async with house(tmp_path) as home, client(home) as c:
        root = (await tool(c, "context_write", data={"a": 1}))["context_id"]
        answers: list[dict[str, Any]] = []

        async def write(droid: str) -> None:
            late = {"context_id": root, "data": {"a": droid}, "expected_revision": 1}
            answers.append(await tool(c, "context_write", **late, droid=droid))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write, "code")
            tasks.start_soon(write, "debug")
        won, lost = sorted(answers, key=lambda answer: answer["status"])
        winner = (await view(c, won["context_id"], "node"))["droid"]
        loser = "debug" if winner == "code" else "code"
        assert "revision_conflict" == lost["code"]
        assert "The chain is at revision 2, not at 1. " in lost["text"]
        assert f"{winner} (no run) wrote {won['context_id']}; the write of {loser}" in lost["text"]
        assert {"a": winner} == await view(c, root)
        early = await tool(c, "context_write", context_id="new", summary="x", expected_revision=3)
        assert "The chain is at revision 0, not at 3." in early["text"]


@pytest.mark.requirement("CONTEXT-9")
async def test_a_chain_is_read_as_it_was(tmp_path: Path) -> None:
    """Every view at every revision; another tenant reads nothing."""
    async with house(tmp_path) as home, client(home) as c:
        nodes = [(await tool(c, "context_write", data={"n": n}))["context_id"] for n in (1, 2, 3)]
        for at in (1, 2, 3):
            for name in nodes:
                assert {"n": at} == await view(c, name, revision=at)
                assert at == len(await view(c, name, "chain", revision=at))
                assert nodes[at - 1] == (await view(c, name, "node", revision=at))["id"]
        audit = await home.app.contexts.newest(Principal(tenant="other", subject="x"), 9)
        assert [] == audit
