"""config.yaml: the few settings that are lists, and where the file is looked for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import yaml

from factory_mcp.domain.errors import InvalidSetting
from factory_mcp.settings.source import PREFIX, Source

CONFIG_KEYS: Final = ("droid_env", "droid_settings", "trusted_workspaces")


def home(source: Source, variable: str, default: str) -> Path:
    """Our folder in one of the XDG base directories."""
    base = source.folder(variable) or Path.home() / default
    return base / "factory-mcp"


def config_path(source: Source) -> Path | None:
    """$FACTORY_MCP_CONFIG, the user's, or the machine's; never the working directory's."""
    named = source.folder(PREFIX + "CONFIG")
    if named and not named.is_file():
        raise InvalidSetting(f"{PREFIX}CONFIG: there is no file {named}.")
    usual = (
        home(source, "XDG_CONFIG_HOME", ".config") / "config.yaml",
        Path("/etc/factory-mcp/config.yaml"),
    )
    return named or next((path for path in usual if path.is_file()), None)


def config(path: Path | None) -> Mapping[str, Any]:
    """What the file holds; a key that nobody knows is an error."""
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


def strings(config: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of strings of the file."""
    value = config.get(key, [])
    items: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
    if not all(isinstance(item, str) and item for item in items):
        raise InvalidSetting(f"config.yaml: `{key}` must be a list of strings.")
    return tuple(items)


def paths(config: Mapping[str, Any], key: str) -> tuple[Path, ...]:
    """A list of absolute paths of the file."""
    paths = tuple(Path(item).expanduser() for item in strings(config, key))
    if not all(path.is_absolute() for path in paths):
        raise InvalidSetting(f"config.yaml: `{key}` must hold absolute paths.")
    return paths
