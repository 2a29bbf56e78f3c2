"""pytest fixtures of the real stores: started at first use, one of each for each test process.

An address in the environment wins over a server of our own. It is taken out of the environment, so
that no test's product finds it by itself.
"""

import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from tests.servers import start

NAMES: Final = (
    "POSTGRES_CONNECTION_STRING",
    "REDIS_URL",
    "WEAVIATE_URL",
    "FACTORY_MCP_WEAVIATE_GRPC",
    "WEAVIATE_API_KEY",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeaviateAddress:
    """Where a Weaviate is, and the key that it lets in."""

    url: str
    grpc_port: int
    api_key: str


@pytest.fixture(scope="session", autouse=True)
def given_stores() -> dict[str, str]:
    """The stores' addresses that the environment names."""
    return {name: value for name in NAMES if (value := os.environ.pop(name, ""))}


@pytest.fixture
def _in_turn(
    given_stores: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Test processes take turns at a given Redis or Weaviate: each empties it."""
    if not given_stores.keys() & {"REDIS_URL", "WEAVIATE_URL"}:
        yield
        return
    lock = tmp_path_factory.getbasetemp().parent / "given-stores.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def _postgres_role(given_stores: dict[str, str]) -> Iterator[str]:
    if url := given_stores.get("POSTGRES_CONNECTION_STRING"):
        yield url
        return
    with start.postgres() as server:
        yield server.url


@pytest.fixture
def postgres_url(_postgres_role: str) -> Iterator[str]:
    """A fresh database of a plain role that may make databases and roles; dropped afterwards."""
    with start.fresh_database(_postgres_role) as url:
        yield url


@pytest.fixture(scope="session")
def _redis_address(given_stores: dict[str, str]) -> Iterator[str]:
    if url := given_stores.get("REDIS_URL"):
        yield url
        return
    with start.redis() as server:
        yield server.url


@pytest.fixture
def redis_url(_redis_address: str, _in_turn: None) -> str:
    """An empty database of Redis 7."""
    start.empty_redis(_redis_address)
    return _redis_address


@pytest.fixture(scope="session")
def _valkey_address() -> Iterator[str]:
    with start.valkey() as server:
        yield server.url


@pytest.fixture
def valkey_url(_valkey_address: str) -> str:
    """An empty database of Valkey 8."""
    start.empty_redis(_valkey_address)
    return _valkey_address


@pytest.fixture(scope="session")
def _weaviate_address(given_stores: dict[str, str]) -> Iterator[WeaviateAddress]:
    if url := given_stores.get("WEAVIATE_URL"):
        yield WeaviateAddress(
            url=url,
            grpc_port=int(given_stores.get("FACTORY_MCP_WEAVIATE_GRPC", "50051")),
            api_key=given_stores.get("WEAVIATE_API_KEY", ""),
        )
        return
    with start.weaviate() as server:
        yield WeaviateAddress(url=server.url, grpc_port=server.grpc_port, api_key=server.api_key)


@pytest.fixture
def weaviate(_weaviate_address: WeaviateAddress, _in_turn: None) -> WeaviateAddress:
    """A Weaviate without collections."""
    start.empty_weaviate(_weaviate_address.url, _weaviate_address.api_key)
    return _weaviate_address
