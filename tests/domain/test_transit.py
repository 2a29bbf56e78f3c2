"""Which addresses may be spoken to without TLS; the rest is refused or warned of."""

import pytest

from factory_mcp.domain.errors import InvalidSetting
from factory_mcp.domain.transit import (
    SSLMODES,
    Link,
    Reach,
    examine,
    over_http,
    reach,
    to_postgres,
    to_redis,
)

HERE = (
    "",
    "/var/run/postgresql",
    "@abstract",
    "localhost",
    "LOCALHOST.",
    "db.localhost",
    "127.0.0.1",
    "127.8.9.10",
    "::1",
    "::ffff:127.0.0.1",
    "0.0.0.0",  # noqa: S104
    "::",
)
PRIVATE = (
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.255",
    "169.254.169.254",
    "fd00::1",
    "fe80::1%eth0",
    "::ffff:10.0.0.1",
    "postgres",
    "db-1",
    "DB.Internal",
    "nas.local",
    "redis.default.svc.cluster.local",
    "gpu.lan",
    "box.home.arpa",
)
PUBLIC = (
    "db.example.com",
    "db.example.com.",
    "internal.example.com",
    "localhost.example.com",
    "8.8.8.8",
    "172.32.0.1",
    "100.128.0.1",
    "192.169.0.1",
    "2001:db8::1",
    "::ffff:8.8.8.8",
    "134744072",
    "0x08080808",
    "8.8.2056",
)


@pytest.mark.requirement("TRANSIT-1")
@pytest.mark.parametrize("host", HERE)
def test_words_to_this_machine_cross_no_network(host: str) -> None:
    """Loopback, a Unix socket, or no host at all."""
    assert reach(host) is Reach.HERE


@pytest.mark.requirement("TRANSIT-1")
@pytest.mark.parametrize("host", PRIVATE)
def test_an_address_is_private_by_its_form(host: str) -> None:
    """A private network, a name without a dot, or one that no public DNS answers for."""
    assert reach(host) is Reach.PRIVATE


@pytest.mark.requirement("TRANSIT-1")
@pytest.mark.parametrize("host", PUBLIC)
def test_whatever_is_not_clearly_private_is_public(host: str) -> None:
    """Numbers without dots are addresses too; no name is looked up."""
    assert reach(host) is Reach.PUBLIC


def _link(*hosts: str, lack: str | None = "is not encrypted") -> Link:
    return Link(setting="REDIS_URL", hosts=hosts, lack=lack, remedy="Use rediss://.")


@pytest.mark.requirement("TRANSIT-2")
@pytest.mark.parametrize("require_tls", [False, True])
def test_a_link_that_lacks_nothing_may_lead_anywhere(*, require_tls: bool) -> None:
    """So may one that stays on this machine."""
    assert examine(_link("db.example.com", lack=None), require_tls=require_tls) is None
    assert examine(_link("127.0.0.1"), require_tls=require_tls) is None


@pytest.mark.requirement("TRANSIT-2")
def test_a_private_address_is_a_warning_until_tls_is_required() -> None:
    """Both name setting, host, fault and remedy."""
    warning = examine(_link("10.0.0.5"), require_tls=False)
    assert "REDIS_URL: the connection to 10.0.0.5 is not encrypted. Use rediss://." == warning
    with pytest.raises(InvalidSetting, match=r"10\.0\.0\.5 is not.*REQUIRE_TLS") as refused:
        examine(_link("10.0.0.5"), require_tls=True)
    assert "Use rediss://." == refused.value.remedy


@pytest.mark.requirement("TRANSIT-2")
@pytest.mark.parametrize("require_tls", [False, True])
def test_a_public_address_is_refused(*, require_tls: bool) -> None:
    """Whatever is required."""
    with pytest.raises(InvalidSetting, match=r"db\.example\.com counts as a public") as refused:
        examine(_link("db.example.com"), require_tls=require_tls)
    assert "Use rediss://." == refused.value.remedy


@pytest.mark.requirement("TRANSIT-2")
def test_of_several_hosts_the_furthest_decides() -> None:
    """A fail-over must not lead into the open."""
    with pytest.raises(InvalidSetting, match=r"8\.8\.8\.8"):
        examine(_link("127.0.0.1", "8.8.8.8", "10.0.0.1"), require_tls=False)
    assert "10.0.0.1" in str(examine(_link("127.0.0.1", "10.0.0.1"), require_tls=False))


@pytest.mark.requirement("TRANSIT-3")
@pytest.mark.parametrize("mode", SSLMODES)
def test_only_verify_full_asks_the_database_who_it_is(mode: str) -> None:
    """Each weaker mode is explained."""
    lack = to_postgres("POSTGRES_CONNECTION_STRING", ("h",), mode).lack
    expected = None if mode == "verify-full" else f"has sslmode={mode}, which {SSLMODES[mode]}"
    assert expected == lack


@pytest.mark.requirement("TRANSIT-3")
@pytest.mark.parametrize(
    ("link", "safe"),
    [
        (to_redis("R", "h", "rediss", checked=True), True),
        (to_redis("R", "h", "rediss", checked=False), False),
        (to_redis("R", "h", "redis", checked=True), False),
        (over_http("W", "https", "h", "grpc-h"), True),
        (over_http("W", "http", "h", "grpc-h"), False),
    ],
)
def test_the_others_need_tls_with_a_checked_certificate(link: Link, *, safe: bool) -> None:
    """Encryption towards nobody in particular protects from nobody in particular."""
    assert safe is (link.lack is None)
    assert "FACTORY_MCP_CA" in link.remedy
