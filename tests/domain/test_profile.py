"""What is known about the clients: the table, and the profile it gives a call."""

import tomllib
from importlib.resources import files

import pytest

from factory_mcp.clients.table import Client, client_of, clients, profile_for
from factory_mcp.domain.profile import DEFAULT, patience
from factory_mcp.domain.tools import WAIT

TEXT = files("factory_mcp").joinpath("clients.toml").read_text(encoding="utf-8")
CLIENTS = [
    *("roo", "zoo", "cline", "kilo", "claude-code", "claude-desktop"),
    *("cursor", "vscode", "codex", "gemini", "opencode", "droid"),
]


@pytest.mark.requirement("CALLS-3")
@pytest.mark.parametrize(
    ("client", "name", "wait_s", "characters"),
    [
        (None, "default", 45, 8000),
        ("somebody", "default", 45, 8000),
        ("Roo Code", "roo", 45, 8000),
        ("zoo", "zoo", 45, 8000),
        ("kilo-cli", "kilo", 25, 8000),
        ("opencode", "opencode", 25, 8000),
        ("@cline/core", "cline", 45, 3900),
        ("claude-code", "claude-code", 45, 8000),
        ("claude-ai (via mcp-remote 0.15.1)", "claude-desktop", 45, 8000),
        ("cursor-vscode", "cursor", 45, 8000),
        ("Visual Studio Code", "vscode", 45, 8000),
        ("codex-mcp-client", "codex", 45, 8000),
        ("gemini-cli-mcp-client", "gemini", 45, 8000),
        ("factory-cli", "droid", 45, 8000),
    ],
)
def test_a_client_is_waited_for_no_longer_than_it_bears(
    client: str | None, name: str, wait_s: float, characters: int
) -> None:
    """By the name it gives itself; 25 s where the client's default is 30 s of silence."""
    found = profile_for(client)
    assert (name, wait_s, characters) == (found.name, found.wait_s, found.characters)


def test_progress_carries_a_client_that_counts_silence() -> None:
    """Kilo and opencode wait on while progress arrives."""
    kilo = profile_for("kilo")
    assert 45 == patience(kilo, wait_s=None, has_progress=True)
    assert 25 == patience(kilo, wait_s=None, has_progress=False)
    assert 3 == patience(kilo, wait_s=3, has_progress=True)


@pytest.mark.requirement("CLIENT-8")
def test_every_key_of_the_table_is_described_at_its_head() -> None:
    """And no client has a key that is not known."""
    assert CLIENTS == list(clients())
    head = TEXT.split("\n\n")[0]
    rows = tomllib.loads(TEXT)
    keys = {key for row in rows.values() for key in (*row, *row["limits"])}
    tables = {"limits", "stdio", "http", "input"}
    assert set() == {key for key in keys - tables if key not in head}
    assert set() == {key for key in tables if f"[.{key}]" not in head}
    with pytest.raises(TypeError, match="colour"):
        client_of("x", rows["roo"] | {"colour": "blue"})


@pytest.mark.requirement("CLIENT-8")
@pytest.mark.parametrize("row", clients().values(), ids=lambda row: row.id)
def test_a_row_of_the_table_does_not_contradict_itself(row: Client) -> None:
    """A wait ends before the client does, a text fits, a time-out has the unit of its number."""
    assert row.profile.wait_s < row.limits.call_s
    shown = 2 if row.profile.shows == "both" else 1
    assert not row.limits.text or row.profile.characters * shown <= row.limits.text
    assert row.profile.shows in ("text", "structured", "both")
    assert not row.profile.progress_extends or row.profile.wait_s < DEFAULT.wait_s
    for entry in (row.stdio, row.http):
        timeout = entry.get("timeout", entry.get("tool_timeout_sec"))
        assert timeout in {"s": (300,), "ms": (300_000, 600_000), "none": (None,)}[row.limits.unit]
    assert row.user
    assert all(name == name.lower() for name in row.names)
    assert row.format in ("json", "toml")
    assert set(row.meta) <= set(WAIT.meta)
    assert row.input is None or "${input:" in row.variable
