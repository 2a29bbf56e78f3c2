"""One store after the other."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.contracts.implementations import IMPLEMENTATIONS, Stores


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Stores]:
    """A store of each kind, empty."""
    async with IMPLEMENTATIONS[request.param](tmp_path) as opened:
        yield opened
