"""The product as an editor starts it, with the real droid on a model of the test's own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.real.droid_program import DroidSetup


def program(setup: DroidSetup, folder: Path, **env: str) -> dict[str, Any]:
    """The server that a TypeScript client starts on stdio; its data folder is `folder/data`."""
    return {
        "transport": "stdio",
        "command": sys.executable,
        "args": ["-m", "factory_mcp", "stdio"],
        "cwd": str(setup.workspace),
        "env": environment(setup, folder) | env,
    }


def environment(setup: DroidSetup, folder: Path) -> dict[str, str]:
    """Variables of the product: its own folders, the droid's program, HOME and model."""
    config = folder / "config.yaml"
    config.write_text("droid_env: [FAKE_MODEL_KEY]\n")
    return {
        **setup.environ,
        "PATH": os.environ["PATH"],
        "FACTORY_MCP_DATA": str(folder / "data"),
        "FACTORY_MCP_CONFIG": str(config),
        "FACTORY_MCP_ROOTS": str(setup.workspace),
    }


def history(setup: DroidSetup, folder: Path) -> list[dict[str, Any]]:
    """What `factory-mcp history` says."""
    command = [sys.executable, "-m", "factory_mcp", "history", "--json"]
    env = environment(setup, folder)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
