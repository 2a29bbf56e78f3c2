"""What the tests of real clients saw: a JSON file, from which docs/clients.md has its table.

`scripts/clients.sh` names the file in FACTORY_MCP_CLIENTS_RECORD; without it nothing is written.
"""

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
    known: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    known[name] = {**known.get(name, {}), "title": title, "version": version, **facts}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
