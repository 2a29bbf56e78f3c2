"""`factory-mcp demo`: the tour, played by a real MCP client on a machine without the droid."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

SCENES = (
    "1 · A droid is a tool",
    "HANDOFF knowledge run_",
    "2 · What was learnt is shared context",
    "DONE context_write ctx_",
    "3 · The next droid starts from it",
    "HANDOFF architect run_",
    "4 · It is found again",
    "DONE context_search: 1 note found.",
    "5 · No droid can run",
    "HANDOFF debug run_",
    "6 · Two droids disagree",
    "`cache_ttl_s`: ours is 300 (knowledge",
    "stored as revision 2.",
    '\n   "cache_ttl_s": 60',
)


@pytest.mark.requirement("DEMO-1")
def test_the_tour_shows_every_scene_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """In this order; the picture shows it too; the data folder of the user stays as it was."""
    env = {
        "PATH": str(tmp_path),
        "HOME": str(tmp_path),
        "FACTORY_MCP_DATA": str(tmp_path / "data"),
        "FACTORY_MCP_ROOTS": str(tmp_path),
    } | {name: value for name, value in os.environ.items() if name.startswith("COV")}
    picture = tmp_path / "demo.svg"
    command = [sys.executable, "-m", "factory_mcp", "demo", "--plain", "--svg", str(picture)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    said = done.stdout
    places = [said.find(scene) for scene in SCENES]
    assert -1 not in places, f"not shown: {SCENES[places.index(-1)]}"
    assert sorted(places) == places
    assert "\x1b" not in said
    assert "svg" in ET.parse(picture).getroot().tag  # noqa: S314 — we wrote it
    assert not (tmp_path / "data").exists()
