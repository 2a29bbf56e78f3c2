"""TLS towards the real stores: settings name the authority, the adapters ask who the server is.

`127.1` is 127.0.0.1 by a name that no certificate here has.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from factory_mcp.domain.errors import StoreUnavailable
from factory_mcp.domain.search_errors import IndexUnavailable
from factory_mcp.ports import Check
from factory_mcp.ports.index import Query
from factory_mcp.settings import Settings
from factory_mcp.stores.host import SystemClock, SystemRng
from factory_mcp.stores.redis.connection import RedisConnection
from factory_mcp.stores.sql.pg_connection import Address as PostgresAddress
from factory_mcp.stores.sql.pg_faults import translated
from factory_mcp.stores.weaviate.address import Address
from factory_mcp.stores.weaviate.index import WeaviateIndex
from tests.servers import start
from tests.servers.authority import Authority

OTHER_NAME = "127.1"
PATIENT_S = 3.0
WORDS = Query(vector=None, words=("wort",), limit=3)


def load(folder: Path, **env: str) -> Settings:
    base = {"XDG_DATA_HOME": str(folder / "d"), "XDG_CONFIG_HOME": str(folder / "c")}
    return Settings.load(base | env, cwd=folder)


def named(url: str, host: str = "127.0.0.1", query: str = "") -> str:
    """The same address by another name of the host, and without an authority of its own."""
    parts = urlsplit(url)
    place = parts.netloc.replace("127.0.0.1", host)
    return parts._replace(netloc=place, query=query).geturl()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whose certificates the servers show."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another authority, of the same name."""
    return Authority(tmp_path_factory.mktemp("stranger"))


# -------------------------------------------------------------------------------- Postgres

FULL = "sslmode=verify-full"


@pytest.fixture(scope="module")
def postgres_tls(authority: Authority) -> Iterator[str]:
    """The address of a Postgres that lets nobody in without TLS."""
    with start.postgres_tls(authority) as server:
        yield server.url


async def postgres(folder: Path, url: str, authority: Authority) -> str:
    """How a connection is encrypted."""
    settings = load(folder, POSTGRES_CONNECTION_STRING=url, FACTORY_MCP_CA=str(authority.file))
    address = PostgresAddress(settings.postgres or "")
    with translated(address.place, address.secret):
        async with await address.connect() as connection:
            query = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            (row,) = await (await connection.execute(query)).fetchall()
            return row[0]


@pytest.mark.requirement("TRANSIT-6")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_postgres_shows_a_certificate_of_our_authority(
    tmp_path: Path, postgres_tls: str, authority: Authority, host: str
) -> None:
    """By either of its names."""
    assert "TLSv1.3" == await postgres(tmp_path, named(postgres_tls, host, FULL), authority)


@pytest.mark.requirement("TRANSIT-6")
@pytest.mark.parametrize(
    ("query", "trusted", "cause"),
    [
        (FULL, "stranger", "certificate verify failed"),
        (f"{FULL}&hostaddr=127.0.0.1&host=db.example.com", "authority", "does not match host"),
        ("sslmode=disable", "authority", "no encryption"),
    ],
)
async def test_a_postgres_that_cannot_show_it_is_not_spoken_to(
    tmp_path: Path,
    postgres_tls: str,
    request: pytest.FixtureRequest,
    query: str,
    trusted: str,
    cause: str,
) -> None:
    """Another authority, another name, or no TLS at all."""
    url = named(postgres_tls, query=query)
    with pytest.raises(StoreUnavailable, match=cause) as refused:
        await postgres(tmp_path, url, request.getfixturevalue(trusted))
    assert "FACTORY_MCP_CA" in refused.value.remedy
    assert unquote(urlsplit(url).password or "") not in refused.value.message


# ------------------------------------------------------------------------------------ Redis


@pytest.fixture(scope="module")
def redis_tls(authority: Authority) -> Iterator[str]:
    """The address of a Redis that knows TLS only."""
    with start.redis(authority) as server:
        yield named(server.url)


async def redis(folder: Path, url: str, authority: Authority) -> Check:
    """What `doctor` would say of it."""
    settings = load(folder, REDIS_URL=url, FACTORY_MCP_CA=str(authority.file))
    connection = RedisConnection(settings.redis or "", SystemClock(), timeout_s=PATIENT_S)
    try:
        return (await connection.check())[0]
    finally:
        await connection.close()


@pytest.mark.requirement("TRANSIT-6")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_redis_shows_a_certificate_of_our_authority(
    tmp_path: Path, redis_tls: str, authority: Authority, host: str
) -> None:
    """By either of its names."""
    check = await redis(tmp_path, named(redis_tls, host), authority)
    assert check.ok, check.detail


@pytest.mark.requirement("TRANSIT-6")
async def test_a_redis_that_cannot_show_it_is_not_spoken_to(
    tmp_path: Path, redis_tls: str, authority: Authority, stranger: Authority
) -> None:
    """Another authority, another name, or no TLS at all."""
    of_stranger = await redis(tmp_path, redis_tls, stranger)
    of_another = await redis(tmp_path, named(redis_tls, OTHER_NAME), authority)
    clear = await redis(tmp_path, redis_tls.replace("rediss://", "redis://"), authority)
    assert (False, False, False) == (of_stranger.ok, of_another.ok, clear.ok)
    assert "unable to get local issuer certificate" in of_stranger.detail
    assert "certificate is not valid for '127.1'" in of_another.detail
    assert "cannot be reached" in clear.detail
    assert "FACTORY_MCP_CA" in (of_stranger.fix or "")


# --------------------------------------------------------------------------------- Weaviate


@pytest.fixture(scope="module")
def weaviate_tls(authority: Authority) -> Iterator[start.Weaviate]:
    """A Weaviate whose both ports know TLS only."""
    with start.weaviate(authority) as server:
        yield server


@asynccontextmanager
async def weaviate(
    folder: Path, server: start.Weaviate, authority: Authority, **env: str
) -> AsyncGenerator[WeaviateIndex]:
    """The index, as the settings lead to it."""
    usual = {
        "WEAVIATE_URL": server.url,
        "WEAVIATE_API_KEY": server.api_key,
        "FACTORY_MCP_WEAVIATE_GRPC": str(server.grpc_port),
        "FACTORY_MCP_CA": str(authority.file),
    }
    settings = load(folder, **usual | env)
    assert settings.weaviate_url
    assert settings.weaviate_grpc
    address = Address(
        url=settings.weaviate_url,
        grpc=settings.weaviate_grpc,
        key=settings.weaviate_key,
        authorities=settings.ca,
    )
    index = WeaviateIndex(address, SystemClock(), SystemRng(), search_s=PATIENT_S)
    try:
        yield index
    finally:
        await index.close()


@pytest.mark.requirement("TRANSIT-6")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_weaviate_shows_a_certificate_of_our_authority(
    tmp_path: Path, weaviate_tls: start.Weaviate, authority: Authority, host: str
) -> None:
    """By either of its names, on both of its ports."""
    url = named(weaviate_tls.url, host)
    async with weaviate(tmp_path, weaviate_tls, authority, WEAVIATE_URL=url) as index:
        (check,) = await index.check()
        assert check.ok, check.detail
        assert None is await index.nearest("t", WORDS)


@pytest.mark.requirement("TRANSIT-6")
async def test_a_weaviate_that_cannot_show_it_is_not_spoken_to(
    tmp_path: Path, weaviate_tls: start.Weaviate, authority: Authority, stranger: Authority
) -> None:
    """Another authority, another name, or no TLS at all."""
    other = {"WEAVIATE_URL": named(weaviate_tls.url, OTHER_NAME)}
    clear = {"WEAVIATE_URL": weaviate_tls.url.replace("https://", "http://")}
    async with weaviate(tmp_path, weaviate_tls, stranger) as index:
        (of_stranger,) = await index.check()
    async with weaviate(tmp_path, weaviate_tls, authority, **other) as index:
        (of_another,) = await index.check()
    async with weaviate(tmp_path, weaviate_tls, authority, **clear) as index:
        (in_the_clear,) = await index.check()
    assert (False, False, False) == (of_stranger.ok, of_another.ok, in_the_clear.ok)
    assert "unable to get local issuer certificate" in of_stranger.detail
    assert "certificate is not valid for '127.1'" in of_another.detail
    assert "FACTORY_MCP_CA" in (of_stranger.fix or "")


@pytest.mark.requirement("TRANSIT-6")
async def test_weaviates_grpc_must_show_it_too(
    tmp_path: Path, weaviate_tls: start.Weaviate, authority: Authority
) -> None:
    """Its REST is believed, its gRPC by another name is not; so neither is used."""
    grpc = {"FACTORY_MCP_WEAVIATE_GRPC": f"{OTHER_NAME}:{weaviate_tls.grpc_port}"}
    async with weaviate(tmp_path, weaviate_tls, authority, **grpc) as index:
        with pytest.raises(IndexUnavailable):
            await index.nearest("t", WORDS)
