"""The envelope as JSON: the one result shape of every face, `text` first, empty keys left out."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final

from factory_mcp.domain.model import (
    Attempt,
    Conflict,
    Envelope,
    Handoff,
    Json,
    SideEffects,
    Status,
    Usage,
)

KEYS: Final = (
    "text",
    "run_id",
    "status",
    "code",
    "droid",
    "backend",
    "session_id",
    "context_id",
    "output_uri",
    "side_effects",
    "changed_paths",
    "partial",
    "warnings",
    "attempts",
    "usage",
    "ms",
    "cached",
    "retry_after_s",
    "next",
    "handoff",
    "needs_input",
    "data",
    "conflicts",
)
"""The keys in the order in which a reader meets them."""

_ALWAYS: Final = frozenset({"text", "status", "code"})


def to_json(envelope: Envelope) -> Json:
    """The envelope as plain JSON values.

    A key is left out when it says nothing: None, an empty list, or `cached` when it is not.
    """
    named = ((key, _plain(getattr(envelope, key))) for key in KEYS)
    return {key: value for key, value in named if key in _ALWAYS or _says_something(value)}


def from_json(value: Json) -> Envelope:
    """The envelope that `to_json` made these values of; keys it does not know are passed over."""
    known: dict[str, Any] = {
        key: _READERS.get(key, _as_is)(value[key]) for key in KEYS if key in value
    }
    return Envelope(**known)


def _as_is(value: Any) -> Any:
    return value


def _attempts(value: list[Json]) -> tuple[Attempt, ...]:
    return tuple(Attempt(**attempt) for attempt in value)


def _conflicts(value: list[Json]) -> tuple[Conflict, ...]:
    return tuple(Conflict(**conflict) for conflict in value)


def _usage(value: Json) -> Usage:
    return Usage(**value)


def _handoff(value: Json) -> Handoff:
    return Handoff(
        reason=value["reason"],
        steps=tuple(value["steps"]),
        suggested_mode=value["suggested_mode"],
        context_uris=tuple(value["context_uris"]),
    )


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "status": Status,
    "side_effects": SideEffects,
    "changed_paths": tuple,
    "partial": tuple,
    "warnings": tuple,
    "attempts": _attempts,
    "usage": _usage,
    "handoff": _handoff,
    "conflicts": _conflicts,
}


def _says_something(value: Any) -> bool:
    return value is not None and value is not False and value != []


def _plain(value: Any) -> Any:
    """Enums as their words, tuples as lists, records as objects of what they hold."""
    match value:
        case Status() | SideEffects():
            return value.value
        case tuple():
            return [_plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        case Attempt() | Conflict() | Handoff() | Usage():
            return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            return value
