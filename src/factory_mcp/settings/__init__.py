"""One frozen Settings: environment, config.yaml and secret files, read once."""

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from factory_mcp.domain.errors import InvalidSetting, StoreUnavailable
from factory_mcp.domain.key_ring import parse
from factory_mcp.domain.model import Autonomy
from factory_mcp.domain.seal_errors import KeyRingUnusable
from factory_mcp.domain.spec import BACKENDS
from factory_mcp.domain.transit import examine
from factory_mcp.settings.config_file import CONFIG_KEYS, config, config_path, home, paths, strings
from factory_mcp.settings.models import embedder, llm
from factory_mcp.settings.source import PREFIX, Found, Source
from factory_mcp.settings.stores import authorities, postgres, redis, weaviate

__all__ = ["CONFIG_KEYS", "PREFIX", "Settings", "secret_of"]

NOT_FACTORY: Final = "api.factoryai.com"
FACTORY_HOSTS: Final = ("api.factory.ai", "api.eu.factory.ai")
LATER: Final = ("JAEGER_ENDPOINT", "PROMETHEUS_PORT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the product was told. Keys and secrets never show in its repr.

    Folders are absolute; `spec_folders` are read in order, later ones override. `droid_home`
    None is the user's own HOME. `depth` counts the droids above this process. Without `postgres`,
    one URL for libpq and SQLAlchemy alike, the store is SQLite. `ca` stands in the URLs of
    Postgres and Redis already. Neither an `embedder_folder` nor an `embedder_url`: the bundled one.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    data: Path
    config: Path | None = None
    spec_folders: tuple[Path, ...]
    roots: tuple[Path, ...] = ()
    trusted: tuple[Path, ...] = ()
    backends: tuple[str, ...] = BACKENDS
    droid_bin: Path | None = None
    droid_env: tuple[str, ...] = ()
    droid_settings: Path | None = None
    max_autonomy: Autonomy = Autonomy.LOW
    max_parallel: int = 2
    client: str | None = None
    auth: str = "auto"
    depth: int = 0
    api_key: str | None = field(default=None, repr=False)
    pepper: str | None = field(default=None, repr=False)
    keyring: str | None = field(default=None, repr=False)
    keyring_file: Path | None = None
    llm_url: str | None = None
    llm_model: str = ""
    llm_key: str | None = field(default=None, repr=False)
    llm_context: int | None = None
    postgres: str | None = field(default=None, repr=False)
    redis: str | None = field(default=None, repr=False)
    weaviate_url: str | None = None
    weaviate_key: str | None = field(default=None, repr=False)
    weaviate_grpc: tuple[str, int] | None = None
    embedder_folder: Path | None = None
    embedder_url: str | None = None
    embedder_model: str = ""
    embedder_key: str | None = field(default=None, repr=False)
    ca: Path | None = None
    require_tls: bool = False
    replicas: int = 1
    warnings: tuple[str, ...] = ()

    @property
    def database(self) -> Path:
        """The embedded store's file, used without `postgres`."""
        return self.data / "factory-mcp.db"

    @property
    def server_home(self) -> Path:
        """The HOME of droids that `serve` starts: nobody's login, nobody's MCP servers."""
        return self.data / "home"

    @classmethod
    def load(cls, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> "Settings":
        """Read the environment, the secret files it names and config.yaml.

        Raises:
            InvalidSetting: Naming the setting and what it may be; never its value if that may
                hold a secret.
        """
        return _load(Source(os.environ if env is None else env), cwd or Path.cwd())


def _load(source: Source, cwd: Path) -> Settings:
    path = config_path(source)
    listed = config(path)
    ca = authorities(source)
    groups = (
        _api_key(source),
        _keyring(source),
        llm(source),
        embedder(source),
        postgres(source, ca),
        redis(source, ca),
        weaviate(source),
    )
    require_tls = source.choice(PREFIX + "REQUIRE_TLS", "0", ("0", "1")) == "1"
    links = chain.from_iterable(group.links for group in groups)
    exposed = (examine(link, require_tls=require_tls) for link in links)
    ignored = (f"{n} is set, but this version does not use it." for n in LATER if source.text(n))
    fields: dict[str, Any] = {}
    for group in groups:
        fields |= group.fields
    return Settings(
        host=source.text(PREFIX + "HOST") or "127.0.0.1",
        port=source.number(PREFIX + "PORT", 8080, 1, 65535),
        data=source.folder(PREFIX + "DATA") or home(source, "XDG_DATA_HOME", ".local/share"),
        config=path,
        spec_folders=(_shipped_specs(), *source.folders(PREFIX + "SPECS")),
        roots=_roots(source, cwd),
        trusted=paths(listed, "trusted_workspaces"),
        backends=_backends(source, has_llm="llm_url" in fields),
        droid_bin=source.folder(PREFIX + "DROID_BIN"),
        droid_env=strings(listed, "droid_env"),
        droid_settings=next(iter(paths(listed, "droid_settings")), None),
        max_autonomy=Autonomy(
            source.choice(PREFIX + "MAX_AUTONOMY", "low", tuple(a.value for a in Autonomy))
        ),
        max_parallel=source.number(PREFIX + "MAX_PARALLEL", 2, 1, 64),
        client=source.text(PREFIX + "CLIENT"),
        auth=source.choice(PREFIX + "AUTH", "auto", ("auto", "required")),
        depth=source.number(PREFIX + "DEPTH", 0, 0, 99),
        pepper=source.text(PREFIX + "PEPPER"),
        ca=ca,
        require_tls=require_tls,
        replicas=source.number(PREFIX + "REPLICAS", 1, 1, 64),
        **fields,
        warnings=(
            *chain.from_iterable(group.warnings for group in groups),
            *filter(None, exposed),
            *ignored,
        ),
    )


def _keyring(source: Source) -> Found:
    """FACTORY_MCP_KEYRING is a key ring or the path of one; with `_FILE` always a path."""
    value = source.plain(PREFIX + "KEYRING")
    if value is None:
        return Found(fields={"keyring_file": source.folder(PREFIX + "KEYRING_FILE")})
    if value[0] in "/~.":
        return Found(fields={"keyring_file": Path(value).expanduser().absolute()})
    try:
        parse(value, PREFIX + "KEYRING")
    except KeyRingUnusable as error:
        raise InvalidSetting(error.message) from error
    return Found(fields={"keyring": value})


def _shipped_specs() -> Path:
    """`droid_specs` beside the package in a wheel, at the top of a checkout otherwise."""
    inside = Path(__file__).parents[1] / "droid_specs"
    return inside if inside.is_dir() else Path(__file__).parents[3] / "droid_specs"


def _roots(source: Source, cwd: Path) -> tuple[Path, ...]:
    """The configured roots; else the working directory, if it is in a git tree."""
    if configured := source.folders(PREFIX + "ROOTS"):
        return configured
    in_git = any((folder / ".git").exists() for folder in (cwd, *cwd.parents))
    return (cwd,) if in_git else ()


def _api_key(source: Source) -> Found:
    """The droid's key. FACTORY_AI_API_KEY has one audience: a base URL's host, or the droid."""
    own = source.text("FACTORY_API_KEY")
    url = source.text("FACTORY_AI_BASE_URL")
    host = urlsplit(url).hostname if url else None
    if host in FACTORY_HOSTS:
        raise InvalidSetting(
            f"FACTORY_AI_BASE_URL: {host} is reached through the droid program, not directly.",
            remedy="Unset FACTORY_AI_BASE_URL; it names another factory-mcp server.",
        )
    if url and host != NOT_FACTORY:
        unused = "FACTORY_AI_BASE_URL is set, but this version does not use it."
        return Found(fields={"api_key": own}, warnings=(unused,))
    warning = (
        f"FACTORY_AI_BASE_URL names {NOT_FACTORY}, which does not exist, and is ignored: leave it"
        " unset to use Factory through the droid program, or name another factory-mcp server."
    )
    key = own or source.text("FACTORY_AI_API_KEY")
    return Found(fields={"api_key": key}, warnings=(warning,) if url else ())


def _backends(source: Source, *, has_llm: bool) -> tuple[str, ...]:
    """The named backends, else all; `llm` is there once it has an address."""
    chosen = source.choices(PREFIX + "BACKENDS", BACKENDS)
    if has_llm:
        return chosen
    if "llm" in chosen and source.text(PREFIX + "BACKENDS"):
        raise InvalidSetting(f"{PREFIX}BACKENDS names llm, which needs {PREFIX}LLM_URL.")
    return tuple(name for name in chosen if name != "llm")


# --------------------------------------------------------------------------------- secrets


def secret_of(settings: Settings) -> bytes:
    """The key of call fingerprints: FACTORY_MCP_PEPPER, else a file made once, mode 0600.

    Raises:
        StoreUnavailable: The data folder cannot be written.
        InvalidSetting: Others can read the file.
    """
    if settings.pepper:
        return settings.pepper.encode()
    path = settings.data / "pepper"
    try:
        if not path.exists():
            settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make_secret(path)
        return _read_secret(path)
    except OSError as error:
        raise StoreUnavailable(
            f"The data folder {settings.data} cannot be used ({error.strerror}).",
            remedy="Make it writable, or name another one in FACTORY_MCP_DATA.",
        ) from error


def _make_secret(path: Path) -> None:
    """Whole or not at all: another process may be starting at the same moment."""
    draft = path.with_name(f"pepper.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(os.urandom(32))
    with suppress(FileExistsError):
        path.hardlink_to(draft)
    draft.unlink()


def _read_secret(path: Path) -> bytes:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise InvalidSetting(f"{path} can be read by others.", remedy=f"Run: chmod 600 {path}")
    return path.read_bytes()
