"""Settings of the stores and the embedder: every form, what it comes to, and what is refused."""

import sys
from pathlib import Path
from typing import Any, cast

import pytest
from psycopg.conninfo import conninfo_to_dict
from redis.asyncio import ConnectionPool
from sqlalchemy.engine import make_url

from factory_mcp.domain.errors import InvalidSetting
from factory_mcp.settings import Settings

POSTGRES = "POSTGRES_CONNECTION_STRING"
HUSH = "p%40ss%2Fhush"


def load(tmp_path: Path, **env: str) -> Settings:
    base = {"XDG_DATA_HOME": str(tmp_path / "d"), "XDG_CONFIG_HOME": str(tmp_path / "c")}
    return Settings.load(base | env, cwd=tmp_path)


def parameters(tmp_path: Path, value: str, **env: str) -> dict[str, str]:
    """What libpq reads in the URL that the settings make of a connection string."""
    url = load(tmp_path, **{POSTGRES: value} | env).postgres
    return {name: str(found) for name, found in conninfo_to_dict(url or "").items()}


def arguments(url: str | None) -> dict[str, object]:
    """What the client of Redis reads in an address."""
    return cast("Any", ConnectionPool).from_url(url).connection_kwargs


@pytest.mark.requirement("SET-1")
def test_without_stores_everything_is_embedded(tmp_path: Path) -> None:
    """SQLite, no vector index beside it, no cache beside the process's own."""
    settings = load(tmp_path)
    stores = (settings.postgres, settings.redis, settings.weaviate_url, settings.weaviate_grpc)
    assert (None, None, None, None) == stores
    assert (None, None, None) == (settings.embedder_folder, settings.embedder_url, settings.ca)
    assert (1, False, ()) == (settings.replicas, settings.require_tls, settings.warnings)
    assert 64 == load(tmp_path, FACTORY_MCP_REPLICAS="64").replicas
    assert load(tmp_path, FACTORY_MCP_REQUIRE_TLS="1").require_tls


@pytest.mark.requirement("SET-1")
def test_each_store_may_come_from_a_file_and_no_secret_shows(tmp_path: Path) -> None:
    """Passwords in addresses are secrets like any other."""
    given = {
        POSTGRES: f"postgresql://u:{HUSH}@127.0.0.1/d",
        "REDIS_URL": f"redis://:{HUSH}@127.0.0.1/1",
        "WEAVIATE_URL": "http://127.0.0.1:8081",
        "WEAVIATE_API_KEY": "hush",
        "FACTORY_MCP_EMBEDDER": "http://127.0.0.1:11434/v1",
        "FACTORY_MCP_EMBEDDER_MODEL": "m",
        "FACTORY_MCP_EMBEDDER_KEY": "hush",
    }
    for name, value in given.items():
        (tmp_path / name).write_text(value + "\n")
    settings = load(tmp_path, **{f"{name}_FILE": str(tmp_path / name) for name in given})
    assert load(tmp_path, **given) == settings
    assert "hush" not in repr(settings)
    assert ("hush", "hush") == (settings.weaviate_key, settings.embedder_key)
    assert () == settings.warnings


@pytest.mark.requirement("SET-1")
@pytest.mark.parametrize(
    ("setting", "value", "module"),
    [
        (POSTGRES, "postgresql:///d", "psycopg"),
        ("REDIS_URL", "redis://localhost", "redis"),
        ("WEAVIATE_URL", "http://localhost:8081", "weaviate"),
    ],
)
def test_a_store_whose_client_is_not_installed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, module: str
) -> None:
    """The extra that brings it is named."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InvalidSetting, match=f"{setting} .* {module} is not installed") as refused:
        load(tmp_path, **{setting: value})
    assert "`server`" in refused.value.remedy


# -------------------------------------------------------------------------------- Postgres

FORMS = {
    "postgresql://u:p%40ss%2Fhush@127.0.0.1:5433/d": {"host": "127.0.0.1", "port": "5433"},
    "postgres://u:p%40ss%2Fhush@127.0.0.1/d": {"host": "127.0.0.1"},
    "postgresql+psycopg://u:p%40ss%2Fhush@[::1]/d": {"host": "::1"},
    "postgresql+psycopg2://u:p%40ss%2Fhush@localhost/d": {"host": "localhost"},
    "postgresql://u:p%40ss%2Fhush@127.0.0.1:1,127.0.0.2:2/d": {
        "host": "127.0.0.1,127.0.0.2",
        "port": "1,2",
    },
    "postgresql://u:p%40ss%2Fhush@/d?host=/run/pg&port=5433": {"host": "/run/pg", "port": "5433"},
    "postgresql:///d?user=u&password=p%40ss%2Fhush": {},
    "host=localhost dbname=d user=u password='p@ss/hush'": {"host": "localhost"},
    "dbname=d user=u password=p@ss/hush hostaddr=127.0.0.1 host=db.example.com": {
        "hostaddr": "127.0.0.1",
        "host": "db.example.com",
    },
}


@pytest.mark.requirement("SET-2")
@pytest.mark.parametrize("form", FORMS)
def test_a_connection_string_may_have_any_form(tmp_path: Path, form: str) -> None:
    """All come to one URL, which libpq and SQLAlchemy read alike."""
    login = {"user": "u", "password": "p@ss/hush", "dbname": "d", "sslmode": "prefer"}
    expected = login | FORMS[form]
    assert expected == parameters(tmp_path, form)
    url = make_url(load(tmp_path, **{POSTGRES: form}).postgres or "")
    read = {"user": url.username, "password": url.password, "dbname": url.database, **url.query}
    assert expected == read
    assert "hush" not in str(url)


@pytest.mark.requirement("SET-2")
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("mysql://u:hush@h/d", "cannot be understood"),
        ("hush", "cannot be understood"),
        ("postgresql://u:hush%zz@h/d", "cannot be understood"),
        ("postgresql://u:x@hush@h/d", "cannot be understood"),
        ("postgresql://u:5/hush@h/d", "cannot be understood"),
        ("postgresql://u:hush/d", "host or port that cannot be one"),
        ("postgresql://h:hush/d", "host or port that cannot be one"),
        ("host='a hush' dbname=d", "host or port that cannot be one"),
        ("postgresql://127.0.0.1/d?sslmode=hush", "sslmode must be one of disable, allow"),
        ("postgresql://u:hush@127.0.0.1/d?pool_size=5", "option that libpq does not know"),
        ("service=hush", "names a service"),
    ],
)
def test_a_connection_string_that_cannot_be_used_is_refused(
    tmp_path: Path, value: str, message: str
) -> None:
    """With what to write instead, and without repeating what may be a password."""
    with pytest.raises(InvalidSetting, match=f"^{POSTGRES}.*{message}") as refused:
        load(tmp_path, **{POSTGRES: value})
    assert "hush" not in f"{refused.value}{refused.value.remedy}{refused.value.__cause__}"


@pytest.mark.requirement("SET-2")
def test_what_libpq_takes_from_the_environment_counts_as_well(tmp_path: Path) -> None:
    """It is written out, so that what was examined is what is used."""
    env = {"PGHOST": "db.example.com", "PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/pg/ca.pem"}
    found = parameters(tmp_path, "dbname=d", **env)
    expected = {"host": "db.example.com", "sslmode": "verify-full", "sslrootcert": "/pg/ca.pem"}
    assert expected | {"dbname": "d"} == found
    own = parameters(tmp_path, "host=localhost sslmode=disable", PGHOSTADDR="8.8.8.8", **env)
    assert ("localhost", "disable", None) == (
        own["host"],
        own["sslmode"],
        own.get("hostaddr"),
    )
    assert "verify-full" == parameters(tmp_path, "sslrootcert=system")["sslmode"]
    with pytest.raises(InvalidSetting, match="names a service"):
        load(tmp_path, **{POSTGRES: "dbname=d"}, PGSERVICE="shop")


# ------------------------------------------------------------------------------------ Redis


@pytest.mark.requirement("SET-3")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("redis://", {}),
        ("redis://localhost:6380/2", {"host": "localhost", "port": 6380, "db": 2}),
        ("redis://me:p%40ss@localhost", {"username": "me", "password": "p@ss"}),
        ("unix:///run/redis.sock?db=3", {"path": "/run/redis.sock", "db": 3}),
        ("unix://:p%40ss@/run/redis.sock", {"path": "/run/redis.sock", "password": "p@ss"}),
        ("rediss://r.example.com/1", {"host": "r.example.com", "db": 1}),
        ("rediss://r.example.com?ssl_ca_certs=/r/ca.pem", {"ssl_ca_certs": "/r/ca.pem"}),
        ("rediss://r.example.com?ssl_cert_reqs=required", {"ssl_cert_reqs": "required"}),
    ],
)
def test_redis_is_named_as_its_client_reads_it(
    tmp_path: Path, value: str, expected: dict[str, object]
) -> None:
    """Over TCP, TLS or a Unix socket."""
    settings = load(tmp_path, REDIS_URL=value)
    read = arguments(settings.redis)
    assert expected == {name: read[name] for name in expected}
    assert () == settings.warnings


@pytest.mark.requirement("SET-3")
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("localhost:6379", "cannot be understood"),
        ("http://localhost", "cannot be understood"),
        ("redis://:pa/hush@localhost", "cannot be understood"),
        ("redis://:5/hush@localhost", "cannot be understood"),
        ("redis://:5#hush@localhost", "cannot be understood"),
        ("redis://:5?hush@localhost", "the options are db;"),
        ("redis://localhost/hush", "cannot be understood"),
        ("redis://localhost:99999", "cannot be understood"),
        ("redis://[::1", "cannot be understood"),
        ("unix://", "cannot be understood"),
        ("unix://run/redis.sock", "cannot be understood"),
        ("redis://localhost?db=hush", "db is a number"),
        ("redis://localhost?socket_timeout=0", "the options are db;"),
        ("redis://localhost?ssl_ca_certs=/x", "the options are db;"),
        ("rediss://localhost?sslmode=verify-full", "the options are db, ssl_ca_certs"),
    ],
)
def test_a_redis_that_cannot_be_meant_is_refused(tmp_path: Path, value: str, message: str) -> None:
    """Its client would take some of these in silence, and mean another database."""
    with pytest.raises(InvalidSetting, match=f"^REDIS_URL.*{message}") as refused:
        load(tmp_path, REDIS_URL=value)
    assert "hush" not in f"{refused.value}{refused.value.remedy}{refused.value.__cause__}"
    assert "rediss://" in refused.value.remedy


# --------------------------------------------------------------------------------- Weaviate


@pytest.mark.requirement("SET-4")
@pytest.mark.parametrize(
    ("url", "grpc", "expected"),
    [
        ("http://localhost:8081", "", ("localhost", 50051)),
        ("http://localhost:8081/", "50061", ("localhost", 50061)),
        ("http://[::1]:8081", "50061", ("::1", 50061)),
        ("https://w.example.com", "g.example.com:443", ("g.example.com", 443)),
        ("https://w.example.com", "[2001:db8::1]:50051", ("2001:db8::1", 50051)),
        (
            "https://x.c0.europe-west3.gcp.weaviate.cloud",
            "",
            ("grpc-x.c0.europe-west3.gcp.weaviate.cloud", 443),
        ),
    ],
)
def test_the_place_of_weaviates_grpc_is_known_or_named(
    tmp_path: Path, url: str, grpc: str, expected: tuple[str, int]
) -> None:
    """Its usual port on the same host, and a host of its own in Weaviate's cloud."""
    settings = load(tmp_path, WEAVIATE_URL=url, FACTORY_MCP_WEAVIATE_GRPC=grpc)
    assert (url.rstrip("/"), expected) == (settings.weaviate_url, settings.weaviate_grpc)
    assert () == settings.warnings


@pytest.mark.requirement("SET-4")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"WEAVIATE_URL": "localhost:8081"}, "WEAVIATE_URL must be an http or https address"),
        ({"WEAVIATE_URL": "http://me:hush@localhost"}, "WEAVIATE_URL must hold no user"),
        ({"WEAVIATE_URL": "http://localhost/v1"}, "WEAVIATE_URL must end after host and port"),
        ({"WEAVIATE_API_KEY": "hush\nhush"}, "WEAVIATE_API_KEY holds a character"),
        ({"FACTORY_MCP_WEAVIATE_GRPC": "grpc"}, "WEAVIATE_GRPC must be a port, or a host"),
        ({"FACTORY_MCP_WEAVIATE_GRPC": "h:0"}, "WEAVIATE_GRPC must be a port, or a host"),
        ({"FACTORY_MCP_WEAVIATE_GRPC": "99999"}, "WEAVIATE_GRPC must be a port, or a host"),
        ({"FACTORY_MCP_WEAVIATE_GRPC": "me@h:5"}, "WEAVIATE_GRPC must be a port, or a host"),
        ({"FACTORY_MCP_WEAVIATE_GRPC": "8081"}, "WEAVIATE_GRPC must be another port"),
        ({"WEAVIATE_URL": "http://localhost", "FACTORY_MCP_WEAVIATE_GRPC": "80"}, "another port"),
    ],
)
def test_a_weaviate_that_cannot_be_reached_so_is_refused(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    """At start, in one line."""
    with pytest.raises(InvalidSetting, match=message) as refused:
        load(tmp_path, **{"WEAVIATE_URL": "http://localhost:8081"} | change)
    assert "hush" not in f"{refused.value}{refused.value.remedy}{refused.value.__cause__}"


@pytest.mark.requirement("SET-4")
def test_what_is_set_without_weaviate_is_named(tmp_path: Path) -> None:
    """The key goes nowhere."""
    settings = load(tmp_path, WEAVIATE_API_KEY="hush", FACTORY_MCP_WEAVIATE_GRPC="50051")
    assert (None, None) == (settings.weaviate_key, settings.weaviate_grpc)
    named = [warning.split()[0] for warning in settings.warnings]
    assert ["WEAVIATE_API_KEY", "FACTORY_MCP_WEAVIATE_GRPC"] == named


# --------------------------------------------------------------------------------- embedder

EMBEDDER = {
    "FACTORY_MCP_EMBEDDER": "https://models.example/v1",
    "FACTORY_MCP_EMBEDDER_MODEL": "m",
    "FACTORY_MCP_EMBEDDER_KEY": "hush",
}


@pytest.mark.requirement("SET-5")
def test_the_embedder_is_a_folder_or_an_endpoint(tmp_path: Path) -> None:
    """What only an endpoint needs is named where there is none."""
    endpoint = load(tmp_path, **EMBEDDER)
    assert (None, "https://models.example/v1", "m", "hush") == (
        endpoint.embedder_folder,
        endpoint.embedder_url,
        endpoint.embedder_model,
        endpoint.embedder_key,
    )
    folder = load(tmp_path, **EMBEDDER | {"FACTORY_MCP_EMBEDDER": str(tmp_path)})
    assert (tmp_path, None, None) == (
        folder.embedder_folder,
        folder.embedder_url,
        folder.embedder_key,
    )
    bundled = load(tmp_path, FACTORY_MCP_EMBEDDER_KEY="hush")
    assert (None, None) == (bundled.embedder_folder, bundled.embedder_key)
    named = [warning.split()[0] for warning in (*folder.warnings, *bundled.warnings)]
    key, model = "FACTORY_MCP_EMBEDDER_KEY", "FACTORY_MCP_EMBEDDER_MODEL"
    assert [model, key, key] == named


@pytest.mark.requirement("SET-5")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"FACTORY_MCP_EMBEDDER": "/nowhere/model"}, "EMBEDDER: there is no folder /nowhere"),
        ({"FACTORY_MCP_EMBEDDER": "ftp://h/v1"}, "EMBEDDER must be an http or https address"),
        ({"FACTORY_MCP_EMBEDDER": "https://me:hush@h/v1"}, "EMBEDDER must hold no user"),
        ({"FACTORY_MCP_EMBEDDER_MODEL": ""}, "EMBEDDER needs FACTORY_MCP_EMBEDDER_MODEL"),
        ({"FACTORY_MCP_EMBEDDER_KEY": "hu sh"}, "EMBEDDER_KEY holds a character"),
    ],
)
def test_an_embedder_that_cannot_be_asked_is_refused(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    """Without repeating what may be a secret."""
    with pytest.raises(InvalidSetting, match=message) as refused:
        load(tmp_path, **EMBEDDER | change)
    assert "hush" not in f"{refused.value}{refused.value.remedy}{refused.value.__cause__}"
