"""The way to a model's server; httpx takes a quarter of a second to import, so only when used."""

import ssl
from typing import Final

import httpx

from factory_mcp.backends.llm_endpoint import Endpoint

CONNECT_S: Final = 10
FAILURES: Final = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict)


def client(endpoint: Endpoint) -> httpx.AsyncClient:
    """A client for one attempt: it follows no redirect and retries nothing.

    Only connecting has a time of its own; the attempt knows how long silence may last. It reads
    the certificates of authorities, which takes a tenth of a second: call it in a thread.
    """
    secure = endpoint.url.lower().startswith("https:")
    return httpx.AsyncClient(
        headers=endpoint.headers,
        verify=secure or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        timeout=httpx.Timeout(None, connect=CONNECT_S),
        mounts={f"all://{endpoint.here}": None} if endpoint.here else None,
    )


async def body(response: httpx.Response, most: int) -> bytes:
    """At most so many bytes of a response's body, and a little more."""
    kept = bytearray()
    async for piece in response.aiter_bytes():
        kept += piece
        if len(kept) >= most:
            break
    return bytes(kept)
