"""What a model's server says when it refuses, and what that is called here.

No input, no output: a status and a body come in, an error comes out. Providers agree on little
but the status, so the words of the body decide only where one status stands for several things.
"""

import json
import math
import re
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple, cast

from factory_mcp.domain.errors import (
    BackendContextTooLong,
    BackendError,
    BackendGarbage,
    BackendMissing,
    BackendOverloaded,
    BackendQuota,
    BackendRejected,
    BackendTimeout,
    BackendUnauthorized,
    BackendUnavailable,
    BackendWrongModel,
)

SHOWN: Final = 500  # characters of a provider's message

_REDIRECTS: Final = range(300, 400)
_SERVERS_OWN: Final = range(500, 600)
_REFUSING: Final = range(400, 600)

STATUSES: Final[Mapping[int, type[BackendError]]] = {
    401: BackendUnauthorized,
    402: BackendQuota,
    403: BackendUnauthorized,
    404: BackendMissing,
    405: BackendMissing,
    407: BackendMissing,
    408: BackendUnavailable,
    409: BackendUnavailable,
    410: BackendMissing,
    425: BackendUnavailable,
    429: BackendOverloaded,
    529: BackendOverloaded,
}

# In this order, and each only where the status leaves room for it.
_BY_WORDS: Final[tuple[tuple[type[BackendError], frozenset[int | None], str], ...]] = (
    (
        BackendQuota,
        frozenset({None, 400, 403, 429}),
        r"insufficient_quota|credit balance|billing_(hard_limit|not_active)",
    ),
    (
        BackendContextTooLong,
        frozenset({None, 400, 413, 422, 500}),
        r"context.?(length|window|size)|prompt is too long|input is too long|too many tokens",
    ),
    (
        BackendWrongModel,
        frozenset({None, 400, 404, 422}),
        r"model_not_found|(invalid|unknown) model|\bmodel\b.*\bnot (found|exist)",
    ),
    (BackendOverloaded, frozenset({None}), r"overloaded|rate.?limit"),
)

_REMEDIES: Final[Mapping[type[BackendError], str]] = {
    BackendUnauthorized: "Set FACTORY_MCP_LLM_KEY to a key that this endpoint takes.",
    BackendMissing: "Set FACTORY_MCP_LLM_URL to the address before /chat/completions; it mostly"
    " ends in /v1.",
    BackendWrongModel: "Set FACTORY_MCP_LLM_MODEL to one that the endpoint has; `factory-mcp"
    " doctor` names them.",
    BackendGarbage: "Check FACTORY_MCP_LLM_URL: it has to be an OpenAI-compatible endpoint that"
    " streams.",
}


class _Fault(NamedTuple):
    kind: type[BackendError]
    what: str
    remedy: str | None = None


# Every exception of httpx by its class name; a subclass is found through its bases. Their own
# texts are never shown: one of them quotes the header that holds the key.
EXCEPTIONS: Final[Mapping[str, _Fault]] = {
    "ConnectTimeout": _Fault(BackendUnavailable, "cannot be reached: it does not answer"),
    "ConnectError": _Fault(BackendUnavailable, "cannot be reached"),
    "TimeoutException": _Fault(BackendTimeout, "was silent for too long"),
    "NetworkError": _Fault(BackendUnavailable, "broke the connection off"),
    "ProxyError": _Fault(
        BackendMissing,
        "cannot be reached through the proxy",
        "Check HTTPS_PROXY and NO_PROXY in the server's environment.",
    ),
    "UnsupportedProtocol": _Fault(BackendMissing, "has an address that is not http or https"),
    "InvalidURL": _Fault(BackendMissing, "has an address that cannot be used"),
    "LocalProtocolError": _Fault(BackendUnauthorized, "cannot be sent such a key"),
    "RemoteProtocolError": _Fault(BackendUnavailable, "broke off in the middle of its answer"),
    "DecodingError": _Fault(BackendGarbage, "sent what cannot be unpacked"),
    "TooManyRedirects": _Fault(BackendMissing, "redirects"),
    "HTTPStatusError": _Fault(BackendUnavailable, "refused"),
    "CookieConflict": _Fault(BackendGarbage, "sent cookies that contradict each other"),
    "HTTPError": _Fault(BackendUnavailable, "could not be asked"),  # whatever else comes one day
    "StreamError": _Fault(BackendUnavailable, "broke off in the middle of its answer"),
}
_NO_TLS: Final = _Fault(
    BackendMissing,
    "has no TLS that can be trusted",
    "Check that FACTORY_MCP_LLM_URL is right; if its certificate is your own authority's, name"
    " that authority's file in SSL_CERT_FILE.",
)


def fault(kind: type[BackendError], what: str, remedy: str | None = None) -> BackendError:
    """An error of the model's server, with the remedy that fits this backend."""
    return kind(f"the model's server {what}", remedy=remedy or _REMEDIES.get(kind))


def of_exception(error: Exception) -> BackendError:
    """What an exception of httpx is here, with the reason that the system gave below it."""
    cause = _first_cause(error)
    if isinstance(cause, ssl.SSLError):
        return fault(*_NO_TLS)
    names = (kind.__name__ for kind in type(error).__mro__ if kind.__name__ in EXCEPTIONS)
    found = EXCEPTIONS[next(names)]
    reason = _reason(cause)
    return fault(found.kind, f"{found.what} ({reason})" if reason else found.what, found.remedy)


def _reason(cause: BaseException) -> str | None:
    if isinstance(cause, ConnectionRefusedError):
        return "nothing listens there"
    return cause.strerror if isinstance(cause, OSError) else None


def _first_cause(error: BaseException) -> BaseException:
    while below := error.__cause__ or error.__context__:
        error = below
    return error


def of_answer(status: int, body: bytes, retry_after_s: float | None) -> BackendError:
    """What an answer that is no success is here; the message is the provider's own."""
    if status in _REDIRECTS:
        return fault(BackendMissing, f"redirects ({status}), which is not followed")
    kind, words = _kind(status, body)
    message = f"answered {status}: {words}" if words else f"answered {status}"
    error = fault(kind, message)
    error.retry_after_s = retry_after_s
    return error


def of_no_stream(kind: str, body: bytes) -> BackendError:
    """What a success that is no event stream is here: an error in disguise, or another program."""
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if _mapping(value).get("error"):
        return of_event(value)
    return fault(BackendGarbage, f"answered with {kind or 'nothing'} and not with a stream")


def of_event(value: Any) -> BackendError:
    """What an error in the middle of a stream is here."""
    status = _status_in(value)
    kind, words = _kind(status, json.dumps(value).encode())
    return fault(kind, f"broke off: {words or 'it did not say why'}")


def _kind(status: int | None, body: bytes) -> tuple[type[BackendError], str]:
    words, marks = _words(body)
    for kind, where, pattern in _BY_WORDS:
        if status in where and re.search(pattern, f"{marks} {words}", re.IGNORECASE):
            return kind, words
    passing = status is None or status in _SERVERS_OWN
    usual = BackendUnavailable if passing else BackendRejected
    return STATUSES.get(status or 0, usual), words


def _status_in(value: Any) -> int | None:
    """A provider's error code, where it is an HTTP status."""
    error = _mapping(_mapping(value).get("error"))
    code = error.get("code")
    return code if isinstance(code, int) and code in _REFUSING else None


def _words(body: bytes) -> tuple[str, str]:
    """The provider's message, and its code, type and parameter."""
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        text = body.decode(errors="replace").strip()
        return ("" if text.startswith("<") else text[:SHOWN]), ""
    if isinstance(value, list) and value:
        value = cast("list[Any]", value)[0]
    outer = _mapping(value)
    error = outer.get("error", outer.get("detail", outer))
    inner = _mapping(error)
    message = inner.get("message", error)
    text = message if isinstance(message, str) else json.dumps(message)
    marks = " ".join(str(inner.get(key, "")) for key in ("code", "type", "param"))
    return text[:SHOWN], marks


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for, given as seconds or as a date.

    Args:
        value: The header.
        now: The wall clock, Unix seconds.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = _until(value, now)
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _until(date: str, now: float) -> float:
    try:
        return parsedate_to_datetime(date).timestamp() - now
    except (ValueError, OverflowError):
        return math.nan


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
