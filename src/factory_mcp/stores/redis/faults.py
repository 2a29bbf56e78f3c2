"""Every error of redis-py, as one that says what is wrong with the server and how to mend it.

A `Fault` stays inside this package: callers go on without Redis, `doctor` shows it.
"""

import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final


class Fault(Exception):
    """Redis did not do it. `away`: it would not do anything else either."""

    def __init__(self, cause: str, *, remedy: str, away: bool) -> None:
        super().__init__(cause)
        self.cause, self.remedy, self.away = cause, remedy, away


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What an error says of the server."""

    cause: str
    remedy: str
    away: bool = False


_START: Final = "Start it, or correct REDIS_URL."
_REPORT: Final = "Report this with the server's log."
_CLUSTER: Final = "REDIS_URL must name one server, or a proxy that looks like one: no cluster."
_MASTER: Final = "REDIS_URL must name the primary, not a replica."
_PASSWORD: Final = "Correct user and password in REDIS_URL."  # noqa: S105 — a sentence

_OURS: Final = Meaning(cause="it was asked in a way it does not know", remedy=_REPORT)
_SHARDS: Final = Meaning(cause="it is a node of a cluster", remedy=_CLUSTER)
_REFUSED: Final = Meaning(cause="it refused a command", remedy="Read the log of Redis.")
_UNREACHED: Final = Meaning(cause="it cannot be reached", remedy=_START, away=True)
_LOGIN: Final = Meaning(cause="it does not let us in", remedy=_PASSWORD, away=True)
_FULL: Final = Meaning(
    cause="its memory is full",
    remedy="Raise `maxmemory`, or set `maxmemory-policy volatile-lru`.",
)
_READ_ONLY: Final = Meaning(cause="it is a read-only replica", remedy=_MASTER)
_TLS: Final = Meaning(
    cause="the TLS handshake failed",
    remedy="Use rediss:// with the name in its certificate; FACTORY_MCP_CA names who signed it.",
    away=True,
)

MEANING: Final[Mapping[str, Meaning]] = {
    "AskError": _SHARDS,
    "AuthenticationError": _LOGIN,
    "AuthenticationWrongNumberOfArgsError": _LOGIN,
    "AuthorizationError": _LOGIN,
    "BusyLoadingError": Meaning(
        cause="it is loading its data", remedy="Wait until it has loaded.", away=True
    ),
    "ChildDeadlockedError": _OURS,
    "ClusterCrossSlotError": _SHARDS,
    "ClusterDownError": _SHARDS,
    "ClusterError": _SHARDS,
    "ConnectionError": _UNREACHED,
    "CrossSlotTransactionError": _SHARDS,
    "DataError": _OURS,
    "ExecAbortError": _REFUSED,
    "ExternalAuthProviderError": _LOGIN,
    "IncorrectPolicyType": _OURS,
    "InvalidPipelineStack": _OURS,
    "InvalidResponse": Meaning(
        cause="what answers there is no Redis", remedy="Correct REDIS_URL.", away=True
    ),
    "LockError": _OURS,
    "LockNotOwnedError": _OURS,
    "MasterDownError": Meaning(
        cause="it is a replica that has lost its primary", remedy=_MASTER, away=True
    ),
    "MaxConnectionsError": _OURS,
    "ModuleError": _REFUSED,
    "MovedError": _SHARDS,
    "NoPermissionError": Meaning(
        cause="its user may not do that",
        remedy="Allow the user ~factory-mcp:* &factory-mcp:* +@all -@admin -@dangerous +info.",
    ),
    "NoScriptError": _REFUSED,
    "NoSuchFieldsetError": _OURS,
    "OSError": _UNREACHED,
    "OutOfMemoryError": _FULL,
    "PubSubError": _OURS,
    "ReadOnlyError": _READ_ONLY,
    "RedisClusterException": _SHARDS,
    "RedisError": _REFUSED,
    "ResponseError": _REFUSED,
    "SlotNotCoveredError": _SHARDS,
    "TimeoutError": Meaning(cause="it does not answer in time", remedy=_START, away=True),
    "TryAgainError": _SHARDS,
    "WatchError": _OURS,
}
"""redis-py's exception classes, and the system's, by name: naming them must not import redis."""

_CODES: Final[Mapping[str, Meaning]] = {
    "MISCONF": Meaning(
        cause="it cannot write its snapshot, and so takes no writes",
        remedy="Give its disk room, or switch its snapshots off: nothing here needs them.",
    ),
    "NOREPLICAS": Meaning(
        cause="it has too few replicas to take writes",
        remedy="Bring its replicas back, or lower `min-replicas-to-write`.",
    ),
}
"""Refusals for which redis-py has no class, by the first word."""


def translate(error: BaseException) -> Fault:
    """The error as a fault. A server's own sentence is left out: it may quote what was stored."""
    chain = list(_chain(error))
    for each in chain:
        if isinstance(each, ssl.SSLError):
            return _fault(_TLS, getattr(each, "verify_message", None) or each.reason)
    meaning = _CODES.get(str(error).partition(" ")[0])
    if meaning is None:
        names = (kind.__name__ for kind in type(error).__mro__)
        meaning = next(MEANING[name] for name in names if name in MEANING)
    if meaning is _UNREACHED:
        system = next((each for each in reversed(chain) if isinstance(each, OSError)), None)
        return _fault(meaning, _said(system) if system else "the connection was lost")
    return _fault(meaning)


def _fault(meaning: Meaning, more: str | None = None) -> Fault:
    cause = f"{meaning.cause} ({more})" if more else meaning.cause
    return Fault(cause, remedy=meaning.remedy, away=meaning.away)


def _said(error: OSError) -> str | None:
    number = error.errno or 0  # below 0 it is one of looking up a name
    return os.strerror(number) if number > 0 else error.strerror


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
