"""Search by meaning as users meet it: the tool, the command line, doctor; and what it costs."""

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from factory_mcp.domain.model import LOCAL, Json
from factory_mcp.stores.embed import BUNDLED
from tests.cli.test_commands import run
from tests.house import client, house

NOTE = "PostgreSQL was picked over MySQL for its JSONB columns."
QUERY = "choosing a relational database"


@pytest.mark.requirement("VECTOR-1")
async def test_an_agent_finds_what_another_wrote_in_other_words(tmp_path: Path) -> None:
    """By `context_search`; nothing is partial."""
    async with house(tmp_path) as home, client(home) as mcp:
        await mcp.call_tool("context_write", {"summary": NOTE})
        await mcp.call_tool("context_write", {"summary": "Lunch is at noon."})
        result = await mcp.call_tool("context_search", {"query": QUERY})
        found: Json = result.structured_content or {}
        assert NOTE == found["data"]["hits"][0]["summary"]
        assert "partial" not in found
        doctor = {check.name: check for check in await home.app.checks()}
        assert doctor["embedder"].ok


async def _noted(here: Path) -> None:
    async with house(here) as home:
        await home.app.contexts.write(LOCAL, {"summary": NOTE}, "key")


@pytest.mark.requirement("VECTOR-4")
def test_the_command_line_rotates_vectors(tmp_path: Path) -> None:
    """And finds by meaning what it found before; the keys stay as they are."""
    anyio.run(_noted, tmp_path)
    assert NOTE in run(tmp_path, "context", "search", QUERY).stdout
    keys = run(tmp_path, "seal", "status").stdout
    done = run(tmp_path, "seal", "rotate", "--vectors")
    assert ("1 vectors rotated anew.\n", True) == (done.stdout, "1 vectors" in done.stderr)
    shown = run(tmp_path, "seal", "rotate", "--vectors", "--json").stdout
    assert {"vectors": 1} == json.loads(shown)
    assert keys == run(tmp_path, "seal", "status").stdout
    assert NOTE in run(tmp_path, "context", "search", QUERY).stdout


@pytest.mark.requirement("VECTOR-7")
def test_nothing_of_it_is_imported_before_the_first_search() -> None:
    """Not by the package, not by the whole wired product."""
    look = "import factory_mcp.app, sys; print({'numpy', 'model2vec'} & sys.modules.keys())"
    assert "set()" == _printed(look)


@pytest.mark.requirement("VECTOR-7")
def test_nothing_is_ever_downloaded() -> None:
    """The library that could is told not to."""
    look = (
        "from factory_mcp.stores.embed import StaticEmbedder; StaticEmbedder().embed(['a']);"
        "from huggingface_hub import constants; print(constants.HF_HUB_OFFLINE)"
    )
    assert "True" == _printed(look)
    shipped = {path.name for path in BUNDLED.parent.iterdir()}
    assert {"LICENSE", "NOTICE", BUNDLED.name} == shipped


def _printed(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip()
