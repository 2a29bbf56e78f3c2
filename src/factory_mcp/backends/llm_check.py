"""What `doctor` says of the model: whether its server answers, takes the key and has the model."""

import json
from http import HTTPStatus
from typing import Any, Final

import anyio
import anyio.to_thread
import httpx

from factory_mcp.backends import llm_errors, llm_http
from factory_mcp.backends.llm_endpoint import Endpoint
from factory_mcp.domain.errors import BackendError, BackendUnauthorized, BackendUnavailable
from factory_mcp.ports import Check

WITHIN_S: Final = 10

_LARGEST_LIST: Final = 8 << 20  # bytes
_SHOWN: Final = 8


async def check(endpoint: Endpoint, within_s: float = WITHIN_S) -> Check:
    """The model's line of doctor; never raises."""
    client = await anyio.to_thread.run_sync(llm_http.client, endpoint)
    try:
        with anyio.fail_after(within_s):
            return await _look(endpoint, client)
    except TimeoutError:
        late = f"does not answer within {within_s:g} s"
        return _red(endpoint, llm_errors.fault(BackendUnavailable, late))
    except llm_http.FAILURES as error:
        return _red(endpoint, llm_errors.of_exception(error))


async def _look(endpoint: Endpoint, client: httpx.AsyncClient) -> Check:
    async with client, client.stream("GET", endpoint.models) as response:
        body = await llm_http.body(response, _LARGEST_LIST)
    if response.status_code == HTTPStatus.OK:
        return _listed(endpoint, _names(body))
    error = llm_errors.of_answer(response.status_code, body, None)
    # Many servers have no list; a key that is refused there is refused everywhere.
    if response.is_server_error or isinstance(error, BackendUnauthorized):
        return _red(endpoint, error)
    return _listed(endpoint, None)


def _names(body: bytes) -> list[str] | None:
    """The models that a server lists, None if it lists none."""
    try:
        value: Any = json.loads(body)
        names = [str(model["id"]) for model in value["data"]]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return names or None


def _listed(endpoint: Endpoint, names: list[str] | None) -> Check:
    spellings = (endpoint.model, f"{endpoint.model}:latest", f"models/{endpoint.model}")
    detail = f"{endpoint.url}, model {endpoint.model}"
    if names is None:
        return Check(name="llm", ok=True, detail=f"{detail} (the server does not list its models)")
    if any(name in names for name in spellings):
        return Check(name="llm", ok=True, detail=detail)
    known = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    fix = f"Set FACTORY_MCP_LLM_MODEL to one that it has: {endpoint.hide(known)}"
    return Check(name="llm", ok=False, detail=f"{detail}, which the server does not have", fix=fix)


def _red(endpoint: Endpoint, error: BackendError) -> Check:
    detail = f"{endpoint.url}: {endpoint.hide(error.message)}"
    return Check(name="llm", ok=False, detail=detail, fix=error.remedy)
