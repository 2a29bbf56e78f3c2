"""One frozen Settings: environment, config.yaml and secret files, read once."""

import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import yaml

from factory_mcp.domain.errors import InvalidSetting, StoreUnavailable
from factory_mcp.domain.key_ring import parse
from factory_mcp.domain.model import Autonomy
from factory_mcp.domain.seal_errors import KeyRingUnusable
from factory_mcp.domain.spec import BACKENDS

PREFIX: Final = "FACTORY_MCP_"
CONFIG_KEYS: Final = ("droid_env", "droid_settings", "trusted_workspaces")
NOT_FACTORY: Final = "api.factoryai.com"
FACTORY_HOSTS: Final = ("api.factory.ai", "api.eu.factory.ai")
LATER: Final = ("REDIS_URL", "WEAVIATE_URL", "JAEGER_ENDPOINT", "PROMETHEUS_PORT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the product was told. Keys and secrets never show in its repr.

    Folders are absolute; `spec_folders` are read in order, later ones override. `droid_home`
    None is the user's own HOME. `depth` counts the droids above this process.
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
    warnings: tuple[str, ...] = ()

    @property
    def database(self) -> Path:
        """The embedded store's file."""
        return self.data / "factory-mcp.db"

    @property
    def server_home(self) -> Path:
        """The HOME of droids that `serve` starts: nobody's login, nobody's MCP servers."""
        return self.data / "home"

    @classmethod
    def load(cls, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> "Settings":
        """Read the environment, the secret files it names and config.yaml.

        Raises:
            InvalidSetting: Naming the setting and what it may be.
        """
        return _load(_Source(os.environ if env is None else env), cwd or Path.cwd())


class _Source:
    """The environment, with `NAME_FILE` standing in for `NAME`."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def text(self, name: str) -> str | None:
        value = self._env.get(name, "").strip()
        path = self._env.get(f"{name}_FILE", "").strip()
        if value or not path:
            return value or None
        try:
            return Path(path).read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidSetting(f"{name}_FILE: {path} cannot be read ({error}).") from error

    def plain(self, name: str) -> str | None:
        return self._env.get(name, "").strip() or None

    def number(self, name: str, default: int, low: int, high: int) -> int:
        value = self.text(name)
        if value is None:
            return default
        if not value.isdecimal() or not low <= int(value) <= high:
            raise InvalidSetting(f"{name} must be a number from {low} to {high}, not {value!r}.")
        return int(value)

    def choice(self, name: str, default: str, known: tuple[str, ...]) -> str:
        value = self.text(name) or default
        if value not in known:
            raise InvalidSetting(f"{name} must be one of {', '.join(known)}, not {value!r}.")
        return value

    def choices(self, name: str, known: tuple[str, ...]) -> tuple[str, ...]:
        named = (part.strip() for part in (self.text(name) or "").split(","))
        chosen = tuple(part for part in named if part)
        for part in chosen:
            if part not in known:
                raise InvalidSetting(f"{name}: {part!r} is none of {', '.join(known)}.")
        return chosen or known

    def folder(self, *names: str) -> Path | None:
        value = next(filter(None, map(self.text, names)), None)
        return Path(value).expanduser().absolute() if value else None

    def folders(self, name: str) -> tuple[Path, ...]:
        parts = (self.text(name) or "").split(os.pathsep)
        return tuple(Path(part).expanduser().absolute() for part in parts if part)


def _load(source: _Source, cwd: Path) -> Settings:
    path = _config_path(source)
    config = _config(path)
    llm, llm_warnings = _llm(source)
    if source.text("POSTGRES_CONNECTION_STRING"):
        raise InvalidSetting(
            "POSTGRES_CONNECTION_STRING is set, but this version keeps its data in SQLite only.",
            remedy="Unset it; a store that is configured is never replaced by another in silence.",
        )
    api_key, warnings = _api_key(source)
    keyring, keyring_file = _keyring(source)
    ignored = [f"{name} is set, but this version does not use it." for name in LATER]
    return Settings(
        host=source.text(PREFIX + "HOST") or "127.0.0.1",
        port=source.number(PREFIX + "PORT", 8080, 1, 65535),
        data=source.folder(PREFIX + "DATA") or _home(source, "XDG_DATA_HOME", ".local/share"),
        config=path,
        spec_folders=(_shipped_specs(), *source.folders(PREFIX + "SPECS")),
        roots=_roots(source, cwd),
        trusted=_paths(config, "trusted_workspaces"),
        backends=_backends(source, has_llm="llm_url" in llm),
        droid_bin=source.folder(PREFIX + "DROID_BIN"),
        droid_env=_strings(config, "droid_env"),
        droid_settings=next(iter(_paths(config, "droid_settings")), None),
        max_autonomy=Autonomy(
            source.choice(PREFIX + "MAX_AUTONOMY", "low", tuple(a.value for a in Autonomy))
        ),
        max_parallel=source.number(PREFIX + "MAX_PARALLEL", 2, 1, 64),
        client=source.text(PREFIX + "CLIENT"),
        auth=source.choice(PREFIX + "AUTH", "auto", ("auto", "required")),
        depth=source.number(PREFIX + "DEPTH", 0, 0, 99),
        api_key=api_key,
        pepper=source.text(PREFIX + "PEPPER"),
        keyring=keyring,
        keyring_file=keyring_file,
        **llm,
        warnings=(
            *warnings,
            *llm_warnings,
            *(w for w, n in zip(ignored, LATER, strict=True) if source.text(n)),
        ),
    )


def _keyring(source: _Source) -> tuple[str | None, Path | None]:
    """FACTORY_MCP_KEYRING is a key ring or the path of one; with `_FILE` always a path."""
    value = source.plain(PREFIX + "KEYRING")
    if value is None:
        return None, source.folder(PREFIX + "KEYRING_FILE")
    if value[0] in "/~.":
        return None, Path(value).expanduser().absolute()
    try:
        parse(value, PREFIX + "KEYRING")
    except KeyRingUnusable as error:
        raise InvalidSetting(error.message) from error
    return value, None


def _shipped_specs() -> Path:
    """`droid_specs` beside the package in a wheel, at the top of a checkout otherwise."""
    inside = Path(__file__).parent / "droid_specs"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "droid_specs"


def _home(source: _Source, variable: str, default: str) -> Path:
    base = source.folder(variable) or Path.home() / default
    return base / "factory-mcp"


def _roots(source: _Source, cwd: Path) -> tuple[Path, ...]:
    """The configured roots; else the working directory, if it is in a git tree."""
    if configured := source.folders(PREFIX + "ROOTS"):
        return configured
    in_git = any((folder / ".git").exists() for folder in (cwd, *cwd.parents))
    return (cwd,) if in_git else ()


def _api_key(source: _Source) -> tuple[str | None, tuple[str, ...]]:
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
        return own, ("FACTORY_AI_BASE_URL is set, but this version does not use it.",)
    warning = (
        f"FACTORY_AI_BASE_URL names {NOT_FACTORY}, which does not exist, and is ignored: leave it"
        " unset to use Factory through the droid program, or name another factory-mcp server."
    )
    return own or source.text("FACTORY_AI_API_KEY"), (warning,) if url else ()


def _backends(source: _Source, *, has_llm: bool) -> tuple[str, ...]:
    """The named backends, else all; `llm` is there once it has an address."""
    chosen = source.choices(PREFIX + "BACKENDS", BACKENDS)
    if has_llm:
        return chosen
    if "llm" in chosen and source.text(PREFIX + "BACKENDS"):
        raise InvalidSetting(f"{PREFIX}BACKENDS names llm, which needs {PREFIX}LLM_URL.")
    return tuple(name for name in chosen if name != "llm")


def _llm(source: _Source) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The fields of the llm backend, none without an address, and what to warn of."""
    url, model = source.text(PREFIX + "LLM_URL"), source.text(PREFIX + "LLM_MODEL")
    key = source.text(PREFIX + "LLM_KEY")
    window = source.number(PREFIX + "LLM_CONTEXT", 0, 1024, 100_000_000)
    if url is None:
        lost = (("MODEL", model), ("KEY", key), ("CONTEXT", window))
        named = (f"{PREFIX}LLM_{name}" for name, value in lost if value)
        return {}, tuple(f"{name} is set without {PREFIX}LLM_URL: not used." for name in named)
    if model is None:
        raise InvalidSetting(f"{PREFIX}LLM_URL needs {PREFIX}LLM_MODEL, the model to ask there.")
    if key is not None and not re.fullmatch(r"[!-~]+", key):
        raise InvalidSetting(f"{PREFIX}LLM_KEY holds a character that no HTTP header can carry.")
    fields = {"llm_url": url, "llm_model": model, "llm_key": key, "llm_context": window or None}
    return fields, _unencrypted(url)


def _unencrypted(url: str) -> tuple[str, ...]:
    """A warning where the words go over a network in the clear; a wrong address is refused."""
    name = PREFIX + "LLM_URL"
    try:
        parts = urlsplit(url)
        sound = bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        parts, sound = urlsplit(""), False
    if not sound or parts.scheme not in ("http", "https"):
        raise InvalidSetting(f"{name} must be an http or https address, such as https://host/v1.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidSetting(
            f"{name} must hold no user, password, query or fragment.",
            remedy=f"Put the key into {PREFIX}LLM_KEY.",
        )
    if parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1"):
        return ()
    return (f"{name} is not https: the key and every prompt go over the network in the clear.",)


# ------------------------------------------------------------------------------ config.yaml


def _config_path(source: _Source) -> Path | None:
    """$FACTORY_MCP_CONFIG, the user's, or the machine's; never the working directory's."""
    named = source.folder(PREFIX + "CONFIG")
    if named and not named.is_file():
        raise InvalidSetting(f"{PREFIX}CONFIG: there is no file {named}.")
    usual = (
        _home(source, "XDG_CONFIG_HOME", ".config") / "config.yaml",
        Path("/etc/factory-mcp/config.yaml"),
    )
    return named or next((path for path in usual if path.is_file()), None)


def _config(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        value: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidSetting(f"{path} cannot be read: {error}") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidSetting(f"{path} must hold a mapping of settings.")
    config = cast("dict[str, Any]", value)
    unknown = [key for key in config if key not in CONFIG_KEYS]
    if unknown:
        raise InvalidSetting(
            f"{path}: {unknown[0]!r} is not a setting; known are {', '.join(CONFIG_KEYS)}."
        )
    return config


def _strings(config: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = config.get(key, [])
    items: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
    if not all(isinstance(item, str) and item for item in items):
        raise InvalidSetting(f"config.yaml: `{key}` must be a list of strings.")
    return tuple(items)


def _paths(config: Mapping[str, Any], key: str) -> tuple[Path, ...]:
    paths = tuple(Path(item).expanduser() for item in _strings(config, key))
    if not all(path.is_absolute() for path in paths):
        raise InvalidSetting(f"config.yaml: `{key}` must hold absolute paths.")
    return paths


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
