"""Settings in transit: every way out is examined, and one file names the authorities."""

from pathlib import Path

import pytest

from factory_mcp.domain.errors import InvalidSetting
from tests.servers.authority import Authority
from tests.test_settings_stores import POSTGRES, arguments, load, parameters


@pytest.fixture
def ca(tmp_path: Path) -> str:
    """The file of a certificate authority."""
    return str(Authority(tmp_path).file)


OPEN = {
    POSTGRES: "postgresql://u:hush@{host}/d?sslmode=require",
    "REDIS_URL": "redis://:hush@{host}",
    "WEAVIATE_URL": "http://{host}:8081",
    "FACTORY_MCP_EMBEDDER": "http://{host}/v1",
    "FACTORY_MCP_LLM_URL": "http://{host}/v1",
}
MODELS = {"FACTORY_MCP_EMBEDDER_MODEL": "m", "FACTORY_MCP_LLM_MODEL": "m"}


@pytest.mark.requirement("TRANSIT-4")
@pytest.mark.parametrize("setting", OPEN)
def test_every_way_out_is_examined(tmp_path: Path, setting: str) -> None:
    """Here: nothing. Private: a warning, or refused on demand. Public: refused."""

    def warned(host: str, **env: str) -> list[str]:
        value = OPEN[setting].format(host=host)
        settings = load(tmp_path, **{setting: value} | MODELS | env)
        return [line for line in settings.warnings if line.startswith(f"{setting}: ")]

    assert [] == warned("127.0.0.1", FACTORY_MCP_REQUIRE_TLS="1")
    assert ["10.0.0.1" in line for line in warned("10.0.0.1")] == [True]
    for host, env in (("10.0.0.1", {"FACTORY_MCP_REQUIRE_TLS": "1"}), ("db.example.com", {})):
        with pytest.raises(InvalidSetting, match=f"^{setting}: .*{host}") as refused:
            warned(host, **env)
        assert "hush" not in str(refused.value)


@pytest.mark.requirement("TRANSIT-4")
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        (POSTGRES, "postgresql://localhost,db.example.com/d"),
        (POSTGRES, "hostaddr=8.8.8.8 host=localhost"),
        (POSTGRES, "postgresql://db.example.com/d?sslmode=verify-ca"),
        ("REDIS_URL", "rediss://r.example.com?ssl_cert_reqs=none"),
        ("REDIS_URL", "rediss://r.example.com?ssl_check_hostname=no"),
        ("WEAVIATE_URL", "http://localhost:8081"),
    ],
)
def test_half_of_a_protection_is_none(tmp_path: Path, setting: str, value: str) -> None:
    """One host of several, an unchecked certificate, gRPC elsewhere."""
    grpc = {"FACTORY_MCP_WEAVIATE_GRPC": "g.example.com:50051"}
    with pytest.raises(InvalidSetting, match=f"^{setting}: .* counts as a public address"):
        load(tmp_path, **{setting: value} | grpc)


@pytest.mark.requirement("TRANSIT-5")
def test_one_file_names_the_authorities_of_all_stores(tmp_path: Path, ca: str) -> None:
    """An address that names its own keeps it."""
    full = "postgresql://db.example.com/d?sslmode=verify-full"
    assert ca == parameters(tmp_path, full, FACTORY_MCP_CA=ca)["sslrootcert"]
    own = parameters(tmp_path, f"{full}&sslrootcert=/own.pem", FACTORY_MCP_CA=ca)
    assert "/own.pem" == own["sslrootcert"]
    assert "sslrootcert" not in parameters(tmp_path, "host=localhost", FACTORY_MCP_CA=ca)
    for url in ("rediss://r.example.com", "rediss://r.example.com/1?db=1"):
        settings = load(tmp_path, REDIS_URL=url, FACTORY_MCP_CA_FILE=ca)
        read = arguments(settings.redis)
        assert (ca, Path(ca)) == (read["ssl_ca_certs"], settings.ca)
    kept = load(tmp_path, REDIS_URL="rediss://r.example.com?ssl_ca_certs=/own.pem")
    assert "rediss://r.example.com?ssl_ca_certs=/own.pem" == kept.redis
    assert "redis://localhost" == load(tmp_path, REDIS_URL="redis://localhost").redis


@pytest.mark.requirement("TRANSIT-5")
def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    """At start, not at the first connection."""
    (tmp_path / "empty.pem").write_text("nothing\n")
    for name in ("empty.pem", "missing.pem"):
        with pytest.raises(InvalidSetting, match=f"^FACTORY_MCP_CA: .*{name} cannot") as refused:
            load(tmp_path, FACTORY_MCP_CA=str(tmp_path / name))
        assert "PEM" in refused.value.remedy
