"""`factory-mcp context merge`: refused with both sides until it is settled."""

import json
from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner, Result

from factory_mcp.cli.main import app
from factory_mcp.domain.model import LOCAL
from tests.house import house


async def two_chains(tmp_path: Path) -> tuple[str, str]:
    """Two that disagree on one key."""
    async with house(tmp_path) as home:
        add = home.app.contexts.add
        data = ({"db": "x", "a": 1}, {"db": "y", "b": 2})
        both = [await add(LOCAL, {"context_id": "new", "data": d}, "key") for d in data]
        return both[0].node.id, both[1].node.id


def run(tmp_path: Path, *arguments: str) -> Result:
    """One command on that store."""
    env = {
        "FACTORY_MCP_DATA": str(tmp_path / "data"),
        "FACTORY_MCP_ROOTS": str(tmp_path / "shop"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    return CliRunner().invoke(app, ["context", *arguments], env=env)


@pytest.mark.requirement("CONTEXT-2")
def test_a_merge_on_the_command_line_is_settled_key_by_key(tmp_path: Path) -> None:
    """Values are JSON or else text; the chain keeps why."""
    into, other = anyio.run(two_chains, tmp_path)
    refused = run(tmp_path, "merge", into, other)
    assert (1, True) == (refused.exit_code, "[merge_conflict]" in refused.stderr)
    assert '`db`: ours is "x"' in refused.stderr
    wrong = run(tmp_path, "merge", into, other, "--set", "db")
    assert (1, True) == (wrong.exit_code, "is not KEY=VALUE" in wrong.stderr)
    settled = ("--set", "db=z", "--set", "a=[1, 2]", "--summary", "Because.")
    merged = run(tmp_path, "merge", into, other, *settled, "--json")
    assert 2 == json.loads(merged.stdout)["data"]["revision"]
    shown = json.loads(run(tmp_path, "show", into, "--json").stdout)
    assert {"db": "z", "a": [1, 2], "b": 2} == shown["data"]["value"]
    assert "Because.\\nMerged" in run(tmp_path, "show", into, "--view", "chain").stdout
    assert 0 == run(tmp_path, "merge", into, other).exit_code
