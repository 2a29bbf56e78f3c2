"""Write transports/hello.json anew, from the server itself: after a change to its first answers."""

import json
import tempfile
from pathlib import Path

import anyio

from factory_mcp.app import build
from factory_mcp.settings import Settings
from factory_mcp.transports.hello import HELLO
from factory_mcp.transports.stdio import record


def main() -> None:
    """Ask the SDK and write down what it says."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.load({"FACTORY_MCP_DATA": folder}, Path(folder))
        content = anyio.run(record, build(settings).server)
    Path(HELLO).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {HELLO}")


if __name__ == "__main__":
    main()
