"""An MCP server on stdio with one tool, `echo`; given a path, it leaves a mark there."""

import json
import sys
from pathlib import Path
from typing import Any


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The result of one request."""
    match request["method"]:
        case "initialize":
            return {
                "protocolVersion": request["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "echo", "version": "1"},
            }
        case "tools/list":
            schema = {"type": "object"}
            return {"tools": [{"name": "echo", "description": "echo", "inputSchema": schema}]}
        case "tools/call":
            return {"content": [{"type": "text", "text": "echoed"}]}
        case _:
            return {}


def main() -> None:
    """Serve until stdin ends."""
    if len(sys.argv) > 1:
        Path(sys.argv[1]).touch()
    for line in sys.stdin:
        request = json.loads(line)
        if "id" in request:
            reply = {"jsonrpc": "2.0", "id": request["id"], "result": answer(request)}
            sys.stdout.write(json.dumps(reply) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
