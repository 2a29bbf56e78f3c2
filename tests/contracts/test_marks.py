"""The port Marks: what it rises with."""

import pytest

from tests.contracts.implementations import Stores
from tests.contracts.samples import NOW, closed, make, opened


@pytest.mark.requirement("PROTOCOL-3")
async def test_a_mark_rises_with_every_node_and_every_closed_run(stores: Stores) -> None:
    """Of its own tenant alone, whichever process wrote it."""
    marks = [await stores.marks.mark("acme")]
    await stores.contexts.append(make.node())
    marks.append(await stores.marks.mark("acme"))
    run = await opened(stores)
    await closed(stores, run, at=NOW)
    marks.append(await stores.marks.mark("acme"))
    assert 3 == len(set(marks))
    assert sorted(marks) == marks
    await stores.contexts.append(make.node(tenant="other"))
    assert marks[-1] == await stores.marks.mark("acme")
