"""What was written comes back as it was, whatever characters it consists of."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from factory_mcp.domain.model import Envelope, Status
from factory_mcp.ports import Claim
from tests.contracts.implementations import Stores
from tests.contracts.samples import NOW, Samples

make = Samples()

anything = st.text(st.characters(exclude_categories=()))
"""NUL, lone surrogates, unassigned characters and all."""

# In JSON a high surrogate beside a low one is another spelling of one character.
spellable = st.text(st.characters(exclude_categories=("Cs",))) | st.just("\udfff\0\ud800")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | spellable,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(spellable, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(spellable, values, max_size=3)
same_store = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.requirement("STORE-16")
@same_store
@given(text=anything, data=objects)
@example(text="\0\ud83d\ude00\\u0000\\", data={"\0": ["\ud800", "\\ud800"]})
async def test_a_run_comes_back_as_it_was_written(stores: Stores, text: str, data: Any) -> None:
    """Every text column and every JSON column, also when looked up by them."""
    run = make.run(
        subject=text,
        droid=text,
        request=data,
        fingerprint=f"{make.run().id} {text}",
        arguments_hash=text,
        workspace=text,
        workspace_key=text,
        session_id=text,
        progress=data,
    )
    key = f"{run.id} {text}"
    assert run == (await stores.book.open(run, Claim(keys=(key,), strict=key))).run
    assert run == await stores.reader.get("acme", run.id)
    assert run == (await stores.book.open(make.run(subject=text), Claim(keys=(key,)))).run
    assert run in await stores.reader.recent("acme", limit=1, droid=text)
    await stores.reader.cancel("acme", run.id, text)
    envelope = Envelope(text=text, status=Status.DONE, droid=text, data={"value": data})
    ended = replace(run, output=text, ended_at=NOW)
    closed = await stores.book.close(ended, None, lambda _: envelope)
    assert closed is not None
    assert (text, text) == (closed.output, closed.cancel_reason)
    assert text == await _output(stores, run.id)


async def _output(stores: Stores, run_id: str) -> str | None:
    run = await stores.reader.get("acme", run_id)
    return run.output if run else None


@pytest.mark.requirement("STORE-16")
@same_store
@given(text=anything, data=objects)
@example(text="\0\ud83d\ude00\\u0000\\", data={"\0": ["\ud800", "\\ud800"]})
async def test_a_node_comes_back_as_it_was_written(stores: Stores, text: str, data: Any) -> None:
    """Also its id and its workspace, by which it is found."""
    new = make.node(summary=text, data=data, droid=text, run_id=text)
    new = replace(new, id=f"{new.id} {text}", workspace_key=f"{new.id} {text}", standing=True)
    node = (await stores.contexts.append(new)).node
    assert (text, data, text, text) == (node.summary, node.data, node.droid, node.run_id)
    assert [node] == await stores.contexts.path("acme", node.id)
    assert node == await stores.contexts.head("acme", node.id)
    assert node.workspace_key is not None
    assert node == await stores.contexts.standing("acme", node.workspace_key)


@pytest.mark.requirement("STORE-16")
@same_store
@given(text=anything)
async def test_any_query_can_be_searched_for(stores: Stores, text: str) -> None:
    """And any id asked for."""
    found = await stores.search.search("acme", text, limit=3, workspace_key=text)
    assert [] == found.hits
    assert None is await stores.contexts.head("acme", f"no {text}")
    assert None is await stores.reader.get(text, f"no {text}")
