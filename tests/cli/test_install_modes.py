"""`factory-mcp install --modes`: modes and agents that know the handoff, beside those of others."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.test_install import files, install

MODES = ("roo", "zoo", "kilo", "claude-code", "opencode")
ROOMODES = """# ours
customModes:
  - slug: theirs # first
    name: T
    customInstructions: |
      Do it.

    groups: [read,
      edit] # both

  # about the last
  - slug: last
    groups:
    - read
# the end
other: 1
"""


@pytest.mark.requirement("CLIENT-7")
@pytest.mark.parametrize("name", MODES)
def test_a_mode_for_each_droid_knows_the_handoff(tmp_path: Path, name: str) -> None:
    """Written once, into the project."""
    shop = tmp_path / "shop"
    shop.mkdir()
    done = files(tmp_path / "home", name, "--project", str(shop), "--modes")[1:]
    texts = [Path(file["path"]).read_text(encoding="utf-8") for file in done]
    for droid in ("architect", "code", "debug", "knowledge", "reliability"):
        rule = f"If it begins with HANDOFF, do not call {droid}_droid again for this request"
        assert 1 == sum(rule in text for text in texts)
    again = files(tmp_path / "home", name, "--project", str(shop), "--modes")
    assert [False] * len(again) == [file["changed"] for file in again]


@pytest.mark.requirement("CLIENT-7")
@pytest.mark.parametrize(
    "text",
    [
        ROOMODES,
        ROOMODES.replace("\n", "\r\n"),
        "customModes: []\n",
        "customModes:\n",
        "other: 1",
        '{"customModes": [{"slug": "theirs"}], "other": 1}\n',
        "",
    ],
)
def test_foreign_modes_stay_as_they_are(tmp_path: Path, text: str) -> None:
    """With their comments; ours are put behind them and mended where they stand."""
    path = tmp_path / ".roomodes"
    path.write_bytes(text.encode())
    arguments = ("roo", "--project", str(tmp_path), "--modes")
    files(tmp_path / "home", *arguments)
    after = path.read_bytes().decode()
    assert [] == [line for line in text.splitlines()[1:] if line not in after.splitlines()]
    before: Any = yaml.safe_load(text) or {}
    found: Any = yaml.safe_load(after)
    theirs: Any = before.get("customModes") or []
    assert theirs == found["customModes"][: len(theirs)]
    modes = {mode["slug"]: mode["groups"] for mode in found["customModes"][len(theirs) :]}
    assert ["read", "edit", "command", "mcp"] == modes["factory-code"]
    assert ["edit", {"description": "Markdown only", "fileRegex": r"\.md$"}] == (
        modes["factory-architect"][1]
    )
    path.write_bytes(after.replace("Delegates to the Factory code", "Was").encode())
    assert [False, True] == [file["changed"] for file in files(tmp_path / "home", *arguments)]
    assert after == path.read_bytes().decode()


@pytest.mark.requirement("CLIENT-4")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\n", "no sound YAML: line"),
        ("- 1\n", "the whole is no mapping"),
        ("customModes: {}\n", "customModes is no list"),
        ("customModes: [{slug: x}]\n", "cannot be changed"),
        ("a: &a {slug: factory-code}\ncustomModes:\n  - *a\n", "cannot be changed"),
    ],
)
def test_a_list_of_modes_that_cannot_be_changed_safely_is_left_alone(
    tmp_path: Path, text: str, said: str
) -> None:
    """And then nothing at all is written."""
    path = tmp_path / ".roomodes"
    path.write_text(text, encoding="utf-8")
    result = install(tmp_path / "home", "roo", "--project", str(tmp_path), "--modes")
    assert (2, True) == (result.exit_code, said in result.stderr), result.stderr
    assert [path] == list(tmp_path.iterdir())
