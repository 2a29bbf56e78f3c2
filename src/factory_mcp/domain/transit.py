"""In transit: where words may leave without TLS, where with a warning, and where not at all.

No name is looked up: what a name leads to may be another address tomorrow. A name that is not
private by its form counts as public.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from factory_mcp.domain.errors import InvalidSetting

PRIVATE_NETWORKS: Final = tuple(
    map(
        ip_network,
        (
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",  # behind a carrier's NAT, and in overlay networks
            "169.254.0.0/16",
            "fc00::/7",
            "fe80::/10",
        ),
    )
)
PRIVATE_SUFFIXES: Final = (".internal", ".local", ".lan", ".home.arpa")
"""Names that no public DNS answers for."""

SSLMODES: Final[Mapping[str, str | None]] = {
    "disable": "encrypts nothing",
    "allow": "encrypts only if the server insists",
    "prefer": "encrypts only if the server offers it",
    "require": "encrypts, but does not ask who the server is",
    "verify-ca": "checks who signed the certificate, but not whose it is",
    "verify-full": None,
}
"""The modes of libpq: what each lacks."""


class Reach(IntEnum):
    """How far words travel: the further, the worse."""

    HERE = 0
    PRIVATE = 1
    PUBLIC = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One way out of this process: the setting it comes from and the hosts it may lead to.

    `lack` says what its encryption lacks, None if nothing; `remedy` how to get it.
    """

    setting: str
    hosts: tuple[str, ...]
    lack: str | None
    remedy: str


def reach(host: str) -> Reach:
    """How far a host is away: a literal address, a name, or the path of a Unix socket."""
    name = host.lower().removesuffix(".")
    if not name or name[0] in "/@" or name == "localhost" or name.endswith(".localhost"):
        return Reach.HERE
    try:
        return _of_address(ip_address(name))
    except ValueError:
        pass
    last = name.rpartition(".")[2]
    if re.fullmatch(r"\d+|0x[0-9a-f]*", last):  # 2130706433 is an address as well
        return Reach.PUBLIC
    private = last == name or name.endswith(PRIVATE_SUFFIXES)
    return Reach.PRIVATE if private else Reach.PUBLIC


def _of_address(address: IPv4Address | IPv6Address) -> Reach:
    plain = getattr(address, "ipv4_mapped", None) or address
    if plain.is_loopback or plain.is_unspecified:
        return Reach.HERE
    private = any(plain in network for network in PRIVATE_NETWORKS)
    return Reach.PRIVATE if private else Reach.PUBLIC


def examine(link: Link, *, require_tls: bool) -> str | None:
    """What to warn of, None where all is well. The furthest host of a link decides.

    Raises:
        InvalidSetting: The link must not be used as it is.
    """
    host = max(link.hosts, key=reach)
    far = reach(host)
    if link.lack is None or far is Reach.HERE:
        return None
    if far is Reach.PUBLIC:
        raise InvalidSetting(
            f"{link.setting}: {host} counts as a public address, and the connection {link.lack}.",
            remedy=link.remedy,
        )
    if require_tls:
        raise InvalidSetting(
            f"{link.setting}: the connection to {host} {link.lack}, and FACTORY_MCP_REQUIRE_TLS"
            " is set.",
            remedy=link.remedy,
        )
    return f"{link.setting}: the connection to {host} {link.lack}. {link.remedy}"


def over_http(setting: str, scheme: str, *hosts: str) -> Link:
    """A link over http or https; Weaviate's gRPC goes with it."""
    return Link(
        setting=setting,
        hosts=hosts,
        lack=None if scheme == "https" else "is not https: all it carries is in the clear",
        remedy="Use an https address; FACTORY_MCP_CA names your own certificate authority.",
    )


def to_postgres(setting: str, hosts: tuple[str, ...], sslmode: str) -> Link:
    """A link to Postgres; `sslmode` is one of SSLMODES."""
    lack = SSLMODES[sslmode]
    return Link(
        setting=setting,
        hosts=hosts,
        lack=lack and f"has sslmode={sslmode}, which {lack}",
        remedy="Add sslmode=verify-full; FACTORY_MCP_CA names the certificate authority.",
    )


def to_redis(setting: str, host: str, scheme: str, *, checked: bool) -> Link:
    """A link to Redis; `checked` says whether certificate and host name are looked at."""
    lack = None if checked else "does not check the server's certificate"
    return Link(
        setting=setting,
        hosts=(host,),
        lack=lack if scheme == "rediss" else "is not encrypted",
        remedy=(
            "Use rediss:// with neither ssl_cert_reqs nor ssl_check_hostname;"
            " FACTORY_MCP_CA names your own certificate authority."
        ),
    )
