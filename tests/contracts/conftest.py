"""One store after the other."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.contracts.implementations import IMPLEMENTATIONS, POSTGRES, Stores


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def implementation(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """A kind of store, and where an empty one of it is."""
    if request.param in POSTGRES:
        return request.param, request.getfixturevalue("postgres_ready")
    return request.param, str(tmp_path)


@pytest.fixture
async def stores(implementation: tuple[str, str]) -> AsyncGenerator[Stores]:
    """A store of each kind, empty."""
    kind, place = implementation
    async with IMPLEMENTATIONS[kind](place) as opened:
        yield opened
