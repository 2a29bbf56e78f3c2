"""What the port Contexts promises, for every store."""

import anyio
import pytest

from factory_mcp.domain.errors import RevisionConflict, UnknownContext
from factory_mcp.domain.merge import merged_view
from factory_mcp.domain.model import Conflict, ContextNode
from tests.contracts.implementations import Stores
from tests.contracts.samples import NOW, Samples

make = Samples()


async def appended(stores: Stores, **changes: object) -> ContextNode:
    """A node as `append` answers it."""
    return (await stores.contexts.append(make.node(**changes))).node


async def grown(stores: Stores, parent: ContextNode, **changes: object) -> ContextNode:
    """A node appended to the chain of another."""
    return await appended(stores, chain_id=parent.chain_id, **changes)


# -------------------------------------------------------------------------- appending


@pytest.mark.requirement("STORE-10")
async def test_a_node_without_a_chain_starts_one(stores: Stores) -> None:
    """The chain has the id of its first node; everything comes back as it was written."""
    new = make.node(droid="code_droid", run_id="run_1", workspace_key="/w")
    expected = ContextNode(
        id=new.id,
        tenant="acme",
        chain_id=new.id,
        parent_id=None,
        revision=1,
        droid="code_droid",
        run_id="run_1",
        summary=new.summary,
        data=new.data,
        workspace_key="/w",
        created_at=new.created_at,
    )
    answer = await stores.contexts.append(new)
    assert (expected, ()) == (answer.node, answer.conflicts)
    assert [expected] == await stores.contexts.path("acme", new.id)


@pytest.mark.requirement("STORE-10")
async def test_a_node_is_appended_at_the_head(stores: Stores) -> None:
    """Its parent is the head; without a workspace of its own it has its chain's."""
    root = await appended(stores, workspace_key="/w")
    second = await grown(stores, root)
    third = await grown(stores, root, workspace_key="/else")
    assert [(root.id, 2, "/w"), (second.id, 3, "/else")] == [
        (node.parent_id, node.revision, node.workspace_key) for node in (second, third)
    ]
    for named in (root, second, third):
        assert third == await stores.contexts.head("acme", named.id)


@pytest.mark.requirement("STORE-10")
async def test_an_unknown_chain_is_refused(stores: Stores) -> None:
    """Nothing is written, nor is anything found."""
    node = make.node(chain_id="nowhere")
    with pytest.raises(UnknownContext, match="nowhere"):
        await stores.contexts.append(node)
    assert None is await stores.contexts.head("acme", node.id)
    assert [] == await stores.audit("acme")


@pytest.mark.requirement("STORE-10")
async def test_the_expected_revision_is_checked(stores: Stores) -> None:
    """A writer who says what it read is told when that is no longer so."""
    root = await appended(stores)
    second = await grown(stores, root, expected_revision=1)
    with pytest.raises(RevisionConflict, match="revision 2, not at 1"):
        await grown(stores, root, expected_revision=1)
    assert second == await stores.contexts.head("acme", root.id)


@pytest.mark.requirement("STORE-10")
async def test_no_writer_of_many_is_lost(stores: Stores) -> None:
    """Each gets a revision of its own, one after the other."""
    root = await appended(stores)

    async def write() -> None:
        await grown(stores, root)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(write)
    head = await stores.contexts.head("acme", root.id)
    assert head is not None
    path = await stores.contexts.path("acme", head.id)
    assert list(range(1, 22)) == [node.revision for node in path]


# -------------------------------------------------------------------------- conflicts


@pytest.mark.requirement("STORE-11")
async def test_a_key_that_both_changed_is_a_conflict(stores: Stores) -> None:
    """Both sides are in it with their authors; the later writer's value is in the view."""
    root = await appended(stores, data={"port": 80, "host": "a"})
    theirs = await grown(
        stores, root, data={"port": 81, "user": "x"}, droid="debug_droid", run_id="run_t"
    )
    ours = make.node(
        chain_id=root.chain_id,
        base_id=root.id,
        data={"port": 82, "host": "b", "user": "x"},
        droid="code_droid",
        run_id="run_o",
    )
    answer = await stores.contexts.append(ours)
    conflict = Conflict(
        key="port",
        base=80,
        ours={"value": 82, "droid": "code_droid", "run_id": "run_o", "at": ours.created_at},
        theirs={"value": 81, "droid": "debug_droid", "run_id": "run_t", "at": theirs.created_at},
    )
    assert (conflict,) == answer.conflicts
    assert theirs.id == answer.node.parent_id
    view = merged_view(await stores.contexts.path("acme", ours.id))
    assert {"port": 82, "host": "b", "user": "x"} == view


@pytest.mark.requirement("STORE-11")
async def test_different_keys_are_no_conflict(stores: Stores) -> None:
    """Both are in the view."""
    root = await appended(stores, data={"a": 1})
    await grown(stores, root, data={"b": 2})
    ours = make.node(chain_id=root.chain_id, base_id=root.id, data={"c": 3})
    assert () == (await stores.contexts.append(ours)).conflicts
    assert {"a": 1, "b": 2, "c": 3} == merged_view(await stores.contexts.path("acme", ours.id))


@pytest.mark.requirement("STORE-11")
async def test_a_removed_key_can_be_in_conflict(stores: Stores) -> None:
    """One removes what the other changes."""
    root = await appended(stores, data={"a": 1})
    await grown(stores, root, data={"a": None})
    ours = make.node(chain_id=root.chain_id, base_id=root.id, data={"a": 2})
    (conflict,) = (await stores.contexts.append(ours)).conflicts
    assert (1, 2, None) == (conflict.base, conflict.ours["value"], conflict.theirs["value"])


@pytest.mark.requirement("STORE-11")
async def test_a_writer_at_the_head_has_no_conflicts(stores: Stores) -> None:
    """Changing what one has read is what a chain is for."""
    root = await appended(stores, data={"a": 1})
    ours = make.node(chain_id=root.chain_id, base_id=root.id, data={"a": 2})
    assert () == (await stores.contexts.append(ours)).conflicts


@pytest.mark.requirement("STORE-11")
async def test_a_base_on_another_branch_is_compared_from_where_they_parted(stores: Stores) -> None:
    """Who read a branch and writes to the trunk hears of what the trunk has otherwise."""
    root = await appended(stores, data={"a": 1, "b": 1})
    branch = await appended(stores, base_id=root.id, branch=True, data={"b": 2})
    await grown(stores, root, data={"a": 3, "b": 3})
    ours = make.node(chain_id=root.chain_id, base_id=branch.id, data={"a": 4})
    (conflict,) = (await stores.contexts.append(ours)).conflicts
    assert ("a", 1, 4, 3) == (
        conflict.key,
        conflict.base,
        conflict.ours["value"],
        conflict.theirs["value"],
    )


@pytest.mark.requirement("STORE-11")
async def test_an_unknown_base_is_refused(stores: Stores) -> None:
    """There would be nothing to compare with."""
    root = await appended(stores)
    with pytest.raises(UnknownContext, match="nowhere"):
        await grown(stores, root, base_id="nowhere")


# ---------------------------------------------------------------------------- branches


@pytest.mark.requirement("STORE-12")
async def test_a_branch_is_a_chain_of_its_own(stores: Stores) -> None:
    """It grows from any node, shares the path up to there, and leaves the trunk's head alone."""
    root = await appended(stores, data={"a": 1}, workspace_key="/w")
    trunk = await grown(stores, root, data={"b": 2})
    branch = await appended(stores, base_id=root.id, branch=True, data={"c": 3})
    leaf = await grown(stores, branch, data={"d": 4})
    assert (branch.id, root.id, 2, "/w") == (
        branch.chain_id,
        branch.parent_id,
        branch.revision,
        branch.workspace_key,
    )
    assert [root, branch, leaf] == await stores.contexts.path("acme", leaf.id)
    assert leaf == await stores.contexts.head("acme", branch.id)
    assert trunk == await stores.contexts.head("acme", root.id)


@pytest.mark.requirement("STORE-12")
async def test_a_branch_from_a_chain_grows_from_its_head(stores: Stores) -> None:
    """Where no node is named."""
    root = await appended(stores)
    branch = await grown(stores, root, branch=True)
    assert (branch.id, root.id) == (branch.chain_id, branch.parent_id)


@pytest.mark.requirement("STORE-12")
async def test_a_branch_from_nowhere_is_refused(stores: Stores) -> None:
    """As an unknown chain is."""
    with pytest.raises(UnknownContext, match="nowhere"):
        await appended(stores, base_id="nowhere", branch=True)


# ---------------------------------------------------------------------- standing chains


@pytest.mark.requirement("STORE-13")
async def test_a_workspace_has_one_standing_chain(stores: Stores) -> None:
    """The first write makes it, the next ones append to it."""
    assert None is await stores.contexts.standing("acme", "/w")
    first = await appended(stores, standing=True, workspace_key="/w")
    assert first == await stores.contexts.standing("acme", "/w")
    second = await appended(stores, standing=True, workspace_key="/w")
    assert (first.id, first.id) == (second.parent_id, second.chain_id)
    assert second == await stores.contexts.standing("acme", "/w")


@pytest.mark.requirement("STORE-13")
async def test_first_writers_at_once_make_one_standing_chain(stores: Stores) -> None:
    """The race is decided once."""
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                node = make.node(standing=True, workspace_key="/w")
                tasks.start_soon(stores.contexts.append, node)
    head = await stores.contexts.standing("acme", "/w")
    assert head is not None
    assert 10 == head.revision


@pytest.mark.requirement("STORE-13")
async def test_other_chains_of_a_workspace_do_not_stand(stores: Stores) -> None:
    """Nor is a chain without a workspace anybody's standing one."""
    await appended(stores, workspace_key="/w")
    await appended(stores, standing=True)
    await appended(stores, standing=True)
    assert None is await stores.contexts.standing("acme", "/w")


# ------------------------------------------------------------------------------- paths


@pytest.mark.requirement("STORE-14")
async def test_a_path_begins_at_the_root_and_crosses_branches(stores: Stores) -> None:
    """Parents first, however many chains they are of."""
    path = [await appended(stores)]
    for _ in range(5):
        path.append(await grown(stores, path[-1]))
        path.append(await appended(stores, base_id=path[-1].id, branch=True))
        await grown(stores, path[-2])
    for length in (1, 6, 11):
        assert path[:length] == await stores.contexts.path("acme", path[length - 1].id)


# ----------------------------------------------------------------------------- tenants


@pytest.mark.requirement("STORE-8")
async def test_nobody_reads_or_extends_another_tenants_chain(stores: Stores) -> None:
    """Ids of another tenant are as absent ones."""
    root = await appended(stores, standing=True, workspace_key="/w")
    assert None is await stores.contexts.head("other", root.id)
    assert [] == await stores.contexts.path("other", root.id)
    assert None is await stores.contexts.standing("other", "/w")
    assert [] == await stores.search.newest("other", limit=9)
    for place in ({"chain_id": root.id}, {"base_id": root.id, "branch": True}):
        with pytest.raises(UnknownContext):
            await appended(stores, tenant="other", **place)
    own = await appended(stores, tenant="other")
    with pytest.raises(UnknownContext):
        await grown(stores, own, tenant="other", base_id=root.id)
    assert root == await stores.contexts.head("acme", root.id)
    assert NOW < root.created_at
