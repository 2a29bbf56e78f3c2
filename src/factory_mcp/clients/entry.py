"""Our entry in a client's configuration: what it says, and how it goes into what stands there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from factory_mcp.clients import jsonc, toml_text
from factory_mcp.clients.table import Client
from factory_mcp.domain.errors import InvalidSetting

_Table = dict[str, Any]
NAME: Final = "factory"
KEY: Final = "FACTORY_API_KEY"
"""The variable our own program reads; a client that only hands variables on cannot rename it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret by its variable; `literal` only where the client cannot read variables."""

    name: str
    literal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the entry should say.

    Attributes:
        program: Absolute path of `factory-mcp`, which the client starts; or
        url: The server that it calls.
        project: The folder to work in, for clients that start us elsewhere.
        secret: Factory's key for a program, the bearer for a server; None leaves it out.
    """

    program: str
    url: str | None = None
    project: str | None = None
    secret: Secret | None = None


def entry(client: Client, wish: Wish) -> dict[str, Any]:
    """What the client's file says about us.

    Raises:
        InvalidSetting: The client cannot hand on a variable under another name.
    """
    secret, literal = wish.secret, wish.secret and wish.secret.literal
    if client.variable == "<name>" and wish.url is None and secret and secret.name != KEY:
        raise InvalidSetting(
            f"{client.title} hands variables on under their own names: it must be {KEY}."
        )
    shown = literal or (client.variable.replace("<name>", secret.name) if secret else None)
    kind = "key" if wish.url is None else "bearer"
    words: dict[str, str | None] = dict.fromkeys(
        ("<key>", "<bearer>", "<key-name>", "<bearer-name>", "<with-bearer>")
    )
    words |= {"<program>": wish.program, "<url>": wish.url, "<project>": wish.project}
    words |= {f"<{kind}>": shown, f"<{kind}-name>": secret and secret.name}
    words["<with-bearer>"] = "" if words["<bearer>"] else None
    return _filled(_templates(client, wish)[0], words) or {}


def edited(client: Client, text: str, wish: Wish) -> str:
    """The text of a configuration file with our entry in it, and nothing else changed.

    Raises:
        Unreadable: The text is not what its format says, or has no place for us.
        InvalidSetting: As `entry`.
    """
    format_ = toml_text if client.format == "toml" else jsonc
    old = _table(format_.read(text))
    for key in (*client.keys, NAME):
        old = _table(old.get(key))
    new = _merged(entry(client, wish), old, client.kept, *_templates(client, wish))
    text = format_.put(text, (*client.keys, NAME), new)
    if client.input is None or wish.secret is None:
        return text
    name = wish.secret.name
    known: Any = jsonc.read(text).get("inputs")
    if isinstance(known, list) and name in [_table(item).get("id") for item in _list(known)]:
        return text
    item = _filled(client.input, {"<name>": name})
    return jsonc.put(text, ("inputs", jsonc.Item(key="id", value=name)), item)


def _table(value: Any) -> _Table:
    """A table, empty where something else stands: then putting ours there is refused or right."""
    return cast("_Table", value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value)


def _templates(client: Client, wish: Wish) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The one that is wanted, and the other."""
    remote = wish.url is not None
    return (client.http, client.stdio) if remote else (client.stdio, client.http)


def _merged(
    new: Mapping[str, Any],
    old: Mapping[str, Any],
    kept: Sequence[str],
    *templates: Mapping[str, Any],
) -> dict[str, Any]:
    """Ours over what stands there.

    What only the other way to reach us needs goes; keys that we do not know stay, as does what
    the user decides, and what we have no value for.
    """
    wanted, other = templates
    left = {key: value for key, value in old.items() if key in wanted or key not in other}
    merged = {key: left[key] if key in kept and key in left else new[key] for key in new}
    for key, value in left.items():
        mine = merged.setdefault(key, value)
        if isinstance(mine, dict) and isinstance(value, dict):
            parts = (wanted.get(key, {}), other.get(key, {}))
            merged[key] = _merged(_table(cast("Any", mine)), _table(cast("Any", value)), (), *parts)
    return merged


def _filled(value: Any, words: Mapping[str, str | None]) -> Any:
    """A template with its words filled in; None where one of them has no value."""
    match value:
        case str():
            for word in (word for word in words if word in value):
                given = words[word]
                if given is None:
                    return None
                value = value.replace(word, given)
            return value
        case list():
            items = (_filled(item, words) for item in _list(value))
            return [item for item in items if item is not None] or None
        case dict():
            members = cast("_Table", value).items()
            filled = {key: _filled(item, words) for key, item in members}
            return {key: item for key, item in filled.items() if item is not None} or None
        case _:
            return value
