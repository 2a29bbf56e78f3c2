"""The Python API: what the documents print runs, and all faces show the same memory."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mcp_types as t
import pytest

import factory_mcp
from factory_mcp import AsyncFactoryContextManager, FactoryContextManager
from factory_mcp.api import (
    FactoryError,
    InvalidArguments,
    MergeConflict,
    RevisionConflict,
    StoreUnavailable,
    TooLarge,
    UnknownContext,
)
from factory_mcp.domain.model import Outcome
from tests.house import client, house, settings

PAGE = (Path(__file__).parents[1] / "docs" / "python.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\nprints\n\n```text\n(.*?)```", PAGE, re.DOTALL)


def run(tmp_path: Path, program: str) -> str:
    """What another process prints, to stdout alone."""
    env = {
        **os.environ,
        "FACTORY_MCP_DATA": str(tmp_path / "data"),
        "FACTORY_MCP_ROOTS": str(tmp_path / "shop"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[FactoryContextManager]:
    """A manager of an empty store."""
    with FactoryContextManager(settings(tmp_path)) as opened:
        yield opened


# ------------------------------------------------------------------------------ documents


@pytest.mark.requirement("API-1")
@pytest.mark.parametrize(("program", "printed"), EXAMPLES)
def test_every_example_runs_as_printed(tmp_path: Path, program: str, printed: str) -> None:
    """In a process of its own, the seed's example first; nothing but its output is on stdout."""
    assert printed == run(tmp_path, program)


@pytest.mark.requirement("API-1")
def test_no_example_is_left_out() -> None:
    """Each block of Python says what it prints."""
    assert PAGE.count("```python") == len(EXAMPLES) == 3


# ----------------------------------------------------------------- one memory, many faces

WRITER = """
from dataclasses import asdict
import json
from factory_mcp import FactoryContextManager
manager = FactoryContextManager()
context = manager.create_context("architect", initial_data={"db": "postgres"}, summary="Chose it.")
manager.update_context(context.task_id, data_updates={"port": 5432})
print(json.dumps([asdict(node) for node in manager.get_context_chain(context.task_id)]))
"""
READER = """
import json, sys
from factory_mcp import FactoryContextManager
print(json.dumps(FactoryContextManager().get_context({!r})))
"""


@pytest.mark.requirement("API-2")
async def test_the_api_the_resource_and_the_tool_show_the_same(tmp_path: Path) -> None:
    """A running server shows what another process writes, to droids as well; and back."""
    async with house(tmp_path, Outcome(text="ok")) as home, client(home) as c:
        chain = json.loads(run(tmp_path, WRITER))
        task_id = chain[0]["task_id"]
        nodes = [{k: v for k, v in node.items() if k != "task_id"} for node in chain]
        for view, expected in (("chain", nodes), ("merged", {"db": "postgres", "port": 5432})):
            resource = (await c.read_resource(f"context://{task_id}/{view}")).contents[0]
            assert isinstance(resource, t.TextResourceContents)
            assert expected == json.loads(resource.text)
            answer = await c.call_tool("context_read", {"id": task_id, "view": view})
            shown: Any = answer.structured_content
            assert expected == shown["data"]["value"]
        await c.call_tool("context_write", {"context_id": task_id, "data": {"port": None}})
        assert {"db": "postgres"} == json.loads(run(tmp_path, READER.format(task_id)))
        await c.call_tool("architect_droid", {"task": "x", "context_id": task_id})
        assert 'db: "postgres"' in home.backend.works[0].prompt


@pytest.mark.requirement("API-3")
async def test_the_async_twin_does_the_same(tmp_path: Path) -> None:
    """Call by call, on the same store; it opens what was closed again."""
    twin = AsyncFactoryContextManager(settings(tmp_path))
    root = await twin.create_context("architect", {"a": 1}, summary="the payment gateway")
    branch = await twin.branch_context(root.task_id, {"b": 2}, droid="code", summary="beside")
    assert (branch.id, root.id, 2) == (branch.task_id, branch.parent_id, branch.revision)
    await twin.update_context(root.task_id, {"a": 3}, expected_revision=1)
    await twin.merge_contexts(root.task_id, branch.task_id, summary="both")
    assert {"a": 3, "b": 2} == await twin.get_context(root.task_id)
    await twin.aclose()
    assert {"a": 1} == await twin.get_context(root.task_id, revision=1)
    found = await twin.search_contexts("payment gateway", scope="all", droid="architect")
    assert [root.id] == [hit.task_id for hit in found]
    chain = await twin.get_context_chain(root.task_id)
    assert [1, 2, 3] == [node.revision for node in chain]
    await twin.aclose()


# ------------------------------------------------------------------------ in plain scripts


@pytest.mark.requirement("API-4")
def test_threads_may_share_a_manager(manager: FactoryContextManager) -> None:
    """No write of theirs is lost."""
    root = manager.create_context("code", {})
    with ThreadPoolExecutor(4) as pool:
        writes = [pool.submit(manager.update_context, root.task_id, {str(n): n}) for n in range(12)]
    assert set(range(2, 14)) == {write.result().revision for write in writes}
    assert {str(n): n for n in range(12)} == manager.get_context(root.task_id)


@pytest.mark.requirement("API-4")
def test_it_is_usable_without_with_and_after_close(tmp_path: Path) -> None:
    """Closing lets go of the store, a later call opens it again."""
    manager = FactoryContextManager(settings(tmp_path))
    manager.close()
    root = manager.create_context("code", {"a": 1})
    manager.close()
    manager.close()
    assert [asdict(root)] == [asdict(node) for node in manager.get_context_chain(root.id)]
    assert [root.id] == [f.task_id for f in manager.search_contexts("code")]
    branch = manager.branch_context(root.id, {"b": 1})
    assert {"a": 1, "b": 1} == manager.get_context(branch.id)
    manager.close()


def test_the_package_has_nothing_else_to_offer() -> None:
    """A name that is not there is an AttributeError, as always."""
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = factory_mcp.nothing


# ------------------------------------------------------------------------------- bad input

ITSELF: dict[str, Any] = {}
ITSELF["me"] = ITSELF


@pytest.mark.requirement("API-5")
@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        ({"a": object()}, InvalidArguments, "cannot be written as JSON"),
        ({"a": float("nan")}, InvalidArguments, "cannot be written as JSON"),
        (ITSELF, InvalidArguments, "Circular reference"),
        ({"a": "x\0"}, InvalidArguments, "holds a NUL character"),
        ({"a": "\ud800"}, InvalidArguments, "half of a surrogate pair"),
        ({"a": "x" * 2**20}, TooLarge, "characters; the limit is 900000"),
    ],
)
def test_what_cannot_be_kept_is_refused_whole(
    manager: FactoryContextManager, data: dict[str, Any], error: type[FactoryError], said: str
) -> None:
    """With the reason; nothing of it is stored."""
    root = manager.create_context("code", {"kept": (1, 2)})
    with pytest.raises(error, match=said):
        manager.update_context(root.task_id, data)
    assert [{"kept": [1, 2]}] == [node.data for node in manager.get_context_chain(root.task_id)]


@pytest.mark.requirement("API-5")
def test_wrong_calls_have_the_tools_own_errors(manager: FactoryContextManager) -> None:
    """Unknown chains, stale revisions, unsettled merges, words the tools do not take."""
    one = manager.create_context("code", {"a": 1})
    other = manager.create_context("debug", {"a": 2})
    with pytest.raises(UnknownContext, match="ctx_none"):
        manager.update_context("ctx_none", {"a": 1})
    with pytest.raises(RevisionConflict):
        manager.update_context(one.id, {"a": 1}, expected_revision=9)
    with pytest.raises(MergeConflict) as caught:
        manager.merge_contexts(one.id, other.id)
    assert ["a"] == [conflict.key for conflict in caught.value.conflicts]
    with pytest.raises(InvalidArguments, match="`scope` must be one of"):
        manager.search_contexts("x", scope="everywhere")
    with pytest.raises(InvalidArguments, match="`droid` must have at least 1"):
        manager.create_context("")


def test_a_store_that_cannot_be_opened_is_said_at_the_call(tmp_path: Path) -> None:
    """And tried again at the next one."""
    (tmp_path / "data").write_text("a file")
    manager = FactoryContextManager(settings(tmp_path))
    with pytest.raises(StoreUnavailable):
        manager.create_context("code")
    (tmp_path / "data").unlink()
    assert 1 == manager.create_context("code").revision
    manager.close()
