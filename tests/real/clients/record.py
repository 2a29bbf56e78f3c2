"""What the tests of real clients saw: a JSON file, from which docs/clients.md has its table.

`scripts/clients.sh` names the file in FACTORY_MCP_CLIENTS_RECORD; without it nothing is written.
"""

import fcntl
import json
import os
from pathlib import Path
from typing import Any


def note(name: str, *, title: str, version: str, **facts: Any) -> None:
    """Add facts about one client."""
    named = os.environ.get("FACTORY_MCP_CLIENTS_RECORD")
    if not named:
        return
    path = Path(named)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # other test processes note what they saw, too
        file.seek(0)
        known: dict[str, dict[str, Any]] = json.loads(file.read() or "{}")
        known[name] = {**known.get(name, {}), "title": title, "version": version, **facts}
        file.truncate(0)
        file.write(json.dumps(known, indent=1, sort_keys=True) + "\n")
