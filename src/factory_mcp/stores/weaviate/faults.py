"""Every error of Weaviate's client and of gRPC, as one of ours that says what to do."""

import builtins
import ssl
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import grpc
import httpx
from grpc import StatusCode
from grpc.aio import AioRpcError
from weaviate import exceptions as theirs

from factory_mcp.domain.search_errors import IndexBroken, IndexUnauthorized, IndexUnavailable

Kind = type[IndexUnavailable]

MEANING: Final[Mapping[type[BaseException], Kind]] = {
    # Weaviate's client; what carries a status is looked at more closely below
    theirs.WeaviateBaseError: IndexBroken,
    theirs.UnexpectedStatusCodeError: IndexBroken,
    theirs.InsufficientPermissionsError: IndexUnauthorized,
    theirs.AuthenticationFailedError: IndexUnauthorized,
    theirs.MissingScopeError: IndexUnauthorized,
    theirs.WeaviateStartUpError: IndexUnavailable,
    theirs.WeaviateConnectionError: IndexUnavailable,
    theirs.WeaviateGRPCUnavailableError: IndexUnavailable,
    theirs.WeaviateClosedClientError: IndexUnavailable,
    theirs.WeaviateTimeoutError: IndexUnavailable,
    theirs.WeaviateRetryError: IndexUnavailable,
    theirs.WeaviateBatchFailedToReestablishStreamError: IndexUnavailable,
    theirs.WeaviateQueryError: IndexBroken,
    theirs.WeaviateBatchError: IndexBroken,
    theirs.WeaviateBatchSendError: IndexBroken,
    theirs.WeaviateBatchStreamError: IndexBroken,
    theirs.WeaviateDeleteManyError: IndexBroken,
    theirs.WeaviateTenantGetError: IndexBroken,
    theirs.ResponseCannotBeDecodedError: IndexBroken,
    theirs.EmptyResponseError: IndexBroken,
    theirs.ObjectAlreadyExistsError: IndexBroken,
    theirs.SchemaValidationError: IndexBroken,
    theirs.AdditionalPropertiesError: IndexBroken,
    theirs.InvalidDataModelError: IndexBroken,
    theirs.WeaviateInvalidInputError: IndexBroken,
    theirs.WeaviateAddInvalidPropertyError: IndexBroken,
    theirs.WeaviateBatchValidationError: IndexBroken,
    theirs.WeaviateInsertInvalidPropertyError: IndexBroken,
    theirs.WeaviateInsertManyAllFailedError: IndexBroken,
    theirs.WeaviateUnsupportedFeatureError: IndexBroken,
    # parts of it that are not used
    theirs.BackupFailedError: IndexBroken,
    theirs.BackupCanceledError: IndexBroken,
    theirs.ExportFailedError: IndexBroken,
    theirs.ExportCanceledError: IndexBroken,
    theirs.WeaviateEmbeddedInvalidVersionError: IndexBroken,
    theirs.WeaviateAgentsNotInstalledError: IndexBroken,
    theirs.WeaviateProtobufIncompatibility: IndexBroken,
    # gRPC
    grpc.RpcError: IndexUnavailable,
    grpc.FutureTimeoutError: IndexUnavailable,
    grpc.FutureCancelledError: IndexUnavailable,
    grpc.aio.BaseError: IndexUnavailable,
    grpc.aio.UsageError: IndexUnavailable,
    grpc.aio.InternalError: IndexUnavailable,
    grpc.aio.AbortError: IndexUnavailable,
    AioRpcError: IndexUnavailable,
    # what is below them
    httpx.HTTPError: IndexUnavailable,
    httpx.InvalidURL: IndexUnavailable,
    httpx.StreamError: IndexUnavailable,
    builtins.TimeoutError: IndexUnavailable,
    OSError: IndexUnavailable,
    # the client reads an answer that is JSON, and none of Weaviate's
    KeyError: IndexBroken,
    TypeError: IndexBroken,
    ValueError: IndexBroken,
    AttributeError: IndexBroken,
}
"""What an error means, by its class or the nearest class above it."""

STATUS: Final[Mapping[StatusCode, Kind]] = {
    StatusCode.OK: IndexBroken,
    StatusCode.CANCELLED: IndexUnavailable,
    StatusCode.UNKNOWN: IndexBroken,
    StatusCode.INVALID_ARGUMENT: IndexBroken,
    StatusCode.DEADLINE_EXCEEDED: IndexUnavailable,
    StatusCode.NOT_FOUND: IndexBroken,
    StatusCode.ALREADY_EXISTS: IndexBroken,
    StatusCode.PERMISSION_DENIED: IndexUnauthorized,
    StatusCode.UNAUTHENTICATED: IndexUnauthorized,
    StatusCode.RESOURCE_EXHAUSTED: IndexUnavailable,
    StatusCode.FAILED_PRECONDITION: IndexBroken,
    StatusCode.ABORTED: IndexUnavailable,
    StatusCode.UNIMPLEMENTED: IndexBroken,
    StatusCode.INTERNAL: IndexBroken,
    StatusCode.UNAVAILABLE: IndexUnavailable,
    StatusCode.DATA_LOSS: IndexBroken,
    StatusCode.OUT_OF_RANGE: IndexBroken,
}

_DENIED: Final = (401, 403)
_BUSY: Final = (408, 425, 429, 500, 502, 503, 504)
_UNAUTHORIZED: Final = ("unauthorized:", "forbidden:")
"""How Weaviate begins to say so over gRPC, where its status is but UNKNOWN."""
_SHOWN: Final = 200
_TLS: Final = "Use https with the name in its certificate; FACTORY_MCP_CA names who signed it."


def translate(error: BaseException, where: str) -> IndexUnavailable:
    """The error as ours: it names the server and the cause."""
    kind = _kind(error)
    if (why := _handshake(error)) is not None:
        return IndexUnavailable(
            f"Weaviate at {where} cannot be used: the TLS handshake failed ({why})", remedy=_TLS
        )
    said = " ".join(str(error).split())[:_SHOWN] or type(error).__name__
    if isinstance(error, TimeoutError):
        said = "no answer in time"
    return kind(f"Weaviate at {where} cannot be used: {said}")


@contextmanager
def translated(where: str) -> Generator[None]:
    """Whatever goes wrong with Weaviate inside leaves as one of our errors."""
    try:
        yield
    except IndexUnavailable:
        raise
    except tuple(MEANING) as error:
        raise translate(error, where) from error


def _kind(error: BaseException) -> Kind:
    text = str(error)
    if any(word in text for word in _UNAUTHORIZED):
        return IndexUnauthorized
    if isinstance(error, theirs.InsufficientPermissionsError):
        return IndexUnauthorized
    if isinstance(error, theirs.UnexpectedStatusCodeError) and error.status_code > len(STATUS):
        return _of_status(error.status_code)
    if (code := _code_below(error)) is not None:
        return STATUS[code]
    return next(MEANING[kind] for kind in type(error).__mro__ if kind in MEANING)


def _of_status(status: int) -> Kind:
    if status in _DENIED:
        return IndexUnauthorized
    return IndexUnavailable if status in _BUSY else IndexBroken


def _code_below(error: BaseException) -> StatusCode | None:
    """The status of the call that an error of the client was made of."""
    calls = (below for below in _below(error) if isinstance(below, AioRpcError))
    return next((call.code() for call in calls), None)


def _handshake(error: BaseException) -> str | None:
    """Why no TLS came about with the server, None if it is not that."""
    faults = (below for below in _below(error) if isinstance(below, ssl.SSLError))
    fault = next(faults, None)
    return fault and (getattr(fault, "verify_message", None) or fault.reason)


def _below(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was made of."""
    below: BaseException | None = error
    while below is not None:
        yield below
        below = below.__cause__ or below.__context__
