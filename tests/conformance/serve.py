"""The product with the conformance suite's fixtures, served on a free port.

    python -m tests.conformance.serve FOLDER

FOLDER takes the data. It says on stdout its URL, and at the end how many SDK servers there were.
It is the product's own server, with
what only fixtures need: sealed `requestState`, and the log level of the handshake era.
"""

import gc
import secrets
import sys
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import mcp_types as t
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity

from factory_mcp import telemetry
from factory_mcp.app import App, build, over_http
from factory_mcp.settings import Settings
from factory_mcp.transports.http import Shutdown, serve
from factory_mcp.transports.tables import Context
from tests.conformance.fixtures import FIXTURES


def product(folder: Path) -> App:
    """The product, with more rows in its tables."""
    app = build(Settings.load({"FACTORY_MCP_DATA": str(folder)}, folder), extra=FIXTURES)
    sealed = RequestStateSecurity(keys=[secrets.token_bytes(32)])
    app.server.middleware.append(RequestStateBoundary(sealed, default_audience=app.server.name))
    app.server.add_request_handler("logging/setLevel", t.SetLevelRequestParams, set_level)
    return app


async def set_level(_: Context, __: t.SetLevelRequestParams) -> t.EmptyResult:
    """The fixtures log at one level."""
    return t.EmptyResult()


async def main(folder: Path) -> None:
    """Serve until SIGTERM."""
    telemetry.configure()
    app = product(folder)
    shutdown = Shutdown(drain=partial(app.runs.drain, 0), stop=partial(app.stop, "the end"))
    async with anyio.create_task_group() as tasks:
        start = partial(serve, over_http(app), host="127.0.0.1", port=0, shutdown=shutdown)
        url: str = await tasks.start(start)
        print(f"{url}/mcp", flush=True)
    print(f"SDK servers: {len(servers())}")


def servers() -> list[Server[Any]]:
    """Every SDK server of this process."""
    return [found for found in gc.get_objects() if issubclass(type(found), Server)]


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
