"""The stores of a team: Postgres, Redis, Weaviate, and whose certificates they may show."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from factory_mcp.domain.errors import InvalidSetting
from factory_mcp.domain.transit import SSLMODES, over_http, to_postgres, to_redis
from factory_mcp.settings.source import ENCODE, PREFIX, Found, Source, is_host, web_address

POSTGRES: Final = "POSTGRES_CONNECTION_STRING"
REDIS: Final = "REDIS_URL"
WEAVIATE: Final = "WEAVIATE_URL"
GRPC: Final = PREFIX + "WEAVIATE_GRPC"
GRPC_PORT: Final = 50051
CLOUD: Final = ".weaviate.cloud"

_REDIS_OPTIONS: Final = ("db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_REDIS_CHECKS: Final[Mapping[str, tuple[str, ...]]] = {
    "ssl_cert_reqs": ("required",),
    "ssl_check_hostname": ("true", "True", "yes", "1"),
}
"""Options that can switch the check of a certificate off, and the values that do not."""
_POSTGRES_FORMS: Final = (
    "Write postgresql://user:password@host:5432/database?sslmode=verify-full, or the words"
    f" host=… dbname=… user=…. {ENCODE}"
)
_REDIS_FORMS: Final = (
    f"Write rediss://user:password@host:6379/0, redis:// or unix:///path?db=0. {ENCODE}"
)


def authorities(source: Source) -> Path | None:
    """The PEM file of the certificate authorities that the stores' certificates come from."""
    name = PREFIX + "CA"
    given = source.plain(name) or source.plain(name + "_FILE")
    if given is None:
        return None
    import ssl  # noqa: PLC0415 — stdio without stores does not pay for it

    path = Path(given).expanduser().absolute()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except OSError as error:
        raise InvalidSetting(
            f"{name}: {path} cannot be read as certificates ({error.strerror or error}).",
            remedy="Name a file of PEM certificates; several may stand in it one after another.",
        ) from error
    return path


# -------------------------------------------------------------------------------- Postgres


def postgres(source: Source, ca: Path | None) -> Found:
    """The database; what is checked here is written out, so that it is what is used."""
    given = source.text(POSTGRES)
    if given is None:
        return Found(fields={})
    _need(POSTGRES, "psycopg")
    parameters = _written_out(_parse(given), source)
    mode = parameters["sslmode"]
    if mode not in SSLMODES:
        raise InvalidSetting(f"{POSTGRES}: sslmode must be one of {', '.join(SSLMODES)}.")
    if ca and mode.startswith("verify-"):
        parameters.setdefault("sslrootcert", str(ca))
    link = to_postgres(POSTGRES, _hosts(parameters), mode)
    return Found(fields={"postgres": _url(parameters)}, links=(link,))


def _parse(given: str) -> dict[str, str]:
    """The parameters, as libpq itself reads them."""
    from psycopg import ProgrammingError  # noqa: PLC0415 — only here if Postgres is used
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    scheme, mark, rest = given.partition("://")
    dialect = scheme.partition("+")[0]
    if mark and dialect in ("postgresql", "postgres"):  # SQLAlchemy's postgresql+psycopg as well
        place = rest.partition("?")[0]
        if "@" in place.partition("/")[2] or place.count("@") > 1:
            raise InvalidSetting(f"{POSTGRES} cannot be understood.", remedy=_POSTGRES_FORMS)
        given = f"postgresql://{rest}"
    try:
        return {name: str(value) for name, value in conninfo_to_dict(given).items()}
    except ProgrammingError:  # its message repeats what it was given
        raise InvalidSetting(
            f"{POSTGRES} cannot be understood, or has an option that libpq does not know.",
            remedy=_POSTGRES_FORMS,
        ) from None


def _written_out(parameters: Mapping[str, str], source: Source) -> dict[str, str]:
    """With what libpq would take from the environment."""
    if "service" in parameters or source.plain("PGSERVICE"):
        raise InvalidSetting(
            f"{POSTGRES} (or PGSERVICE) names a service, and its file is not read here.",
            remedy=f"Write host, dbname and sslmode into {POSTGRES}.",
        )
    usual = {
        name: value
        for name in ("host", "hostaddr", "sslmode", "sslrootcert")
        if (value := source.plain("PG" + name.upper()))
    }
    if {"host", "hostaddr"} & set(parameters):
        usual = {name: usual[name] for name in usual if not name.startswith("host")}
    whole = usual | dict(parameters)
    whole.setdefault("sslmode", "verify-full" if whole.get("sslrootcert") == "system" else "prefer")
    return whole


def _hosts(parameters: Mapping[str, str]) -> tuple[str, ...]:
    """Every place it may connect to; "" is this machine's own socket."""
    ports = parameters.get("port", "").split(",")
    pairs = zip_longest(
        parameters.get("hostaddr", "").split(","),
        parameters.get("host", "").split(","),
        fillvalue="",
    )
    hosts = tuple(address or name for address, name in pairs)
    sound = all(not host or host[0] in "/@" or is_host(host) for host in hosts)
    if not sound or not all(port == "" or port.isdecimal() for port in ports):
        raise InvalidSetting(
            f"{POSTGRES} names a host or port that cannot be one.", remedy=_POSTGRES_FORMS
        )
    return hosts


def _url(parameters: Mapping[str, str]) -> str:
    """One URL that libpq and SQLAlchemy read alike, several hosts and sockets included."""
    rest = dict(parameters)
    user, password = rest.pop("user", ""), rest.pop("password", "")
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    place = (f"{login}@" if login else "") + "/" + quote(rest.pop("dbname", ""), safe="")
    return f"postgresql://{place}?{urlencode(rest, quote_via=quote)}"


# ----------------------------------------------------------------------------------- Redis


def redis(source: Source, ca: Path | None) -> Found:
    """The cache and bus between replicas."""
    url = source.text(REDIS)
    if url is None:
        return Found(fields={})
    _need(REDIS, "redis")
    parts = _redis_parts(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    encrypted = parts.scheme == "rediss"
    known = (*_REDIS_OPTIONS, *_REDIS_CHECKS) if encrypted else _REDIS_OPTIONS[:1]
    if not set(options) <= set(known) or not options.get("db", "0").isdecimal():
        raise InvalidSetting(
            f"{REDIS}: with {parts.scheme}:// the options are {', '.join(known)}; db is a number.",
            remedy=_REDIS_FORMS,
        )
    if encrypted and ca and "ssl_ca_certs" not in options:
        mark = "&" if parts.query else "?"
        url = f"{url}{mark}{urlencode({'ssl_ca_certs': ca}, quote_via=quote)}"
    host = "" if parts.scheme == "unix" else parts.hostname or "localhost"
    checked = all(options.get(name, yes[0]) in yes for name, yes in _REDIS_CHECKS.items())
    link = to_redis(REDIS, host, parts.scheme, checked=checked)
    return Found(fields={"redis": url}, links=(link,))


def _redis_parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        sound = (parts.port or 1) > 0 and not parts.fragment
    except ValueError:
        parts, sound = urlsplit(""), False
    if parts.scheme == "unix":
        sound = sound and bool(parts.path) and not parts.hostname
    elif parts.scheme in ("redis", "rediss"):
        number = parts.path.removeprefix("/") or "0"
        sound = sound and number.isdecimal() and is_host(parts.hostname or "localhost")
    else:
        sound = False
    if not sound:
        raise InvalidSetting(f"{REDIS} cannot be understood.", remedy=_REDIS_FORMS)
    return parts


# -------------------------------------------------------------------------------- Weaviate


def weaviate(source: Source) -> Found:
    """The vector index; its gRPC is encrypted if its address is https."""
    url, key = source.text(WEAVIATE), source.bearer("WEAVIATE_API_KEY")
    grpc = source.text(GRPC)
    if url is None:
        lost = (("WEAVIATE_API_KEY", key), (GRPC, grpc))
        return Found(
            fields={},
            warnings=tuple(f"{n} is set without {WEAVIATE}: not used." for n, v in lost if v),
        )
    _need(WEAVIATE, "weaviate")
    parts = web_address(WEAVIATE, url, "WEAVIATE_API_KEY")
    if parts.path not in ("", "/"):
        raise InvalidSetting(f"{WEAVIATE} must end after host and port: the client adds the path.")
    host = parts.hostname or ""
    place = _grpc(grpc, host)
    if place == (host, parts.port or (443 if parts.scheme == "https" else 80)):
        raise InvalidSetting(f"{GRPC} must be another port than that of {WEAVIATE}.")
    return Found(
        fields={"weaviate_url": url.rstrip("/"), "weaviate_key": key, "weaviate_grpc": place},
        links=(over_http(WEAVIATE, parts.scheme, host, place[0]),),
    )


def _grpc(given: str | None, host: str) -> tuple[str, int]:
    """Where gRPC is: the usual port of the same host, unless it is hosted by Weaviate itself."""
    if given is None:
        return (f"grpc-{host}", 443) if host.endswith(CLOUD) else (host, GRPC_PORT)
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]:|([\w.-]+):)?([0-9]{1,5})", given)
    port = int(found[3]) if found else 0
    if found is None or port not in range(1, 65536):
        raise InvalidSetting(f"{GRPC} must be a port, or a host and a port: host:{GRPC_PORT}.")
    return found[1] or found[2] or host, port


def _need(setting: str, module: str) -> None:
    if find_spec(module) is None:
        raise InvalidSetting(
            f"{setting} is set, but the package {module} is not installed.",
            remedy="Install factory-mcp with its extra `server`, or unset it.",
        )
