"""One real client makes one real call; `make clients` has all of them, and longer."""

from pathlib import Path

import pytest

from tests.real.clients.play import ANSWER, delegate, play
from tests.real.clients.programs import CLIENTS


@pytest.mark.requirement("REALCLIENT-6")
async def test_claude_code_shows_its_model_what_a_droid_says(tmp_path: Path) -> None:
    """On stdio, in the 2026 era, with the configuration that `install` wrote."""
    played = await play(CLIENTS[0], "stdio", tmp_path / "s", droid_says=ANSWER, script=delegate)
    (shown,) = played.shown
    assert ANSWER in shown
    assert ("2026-07-28", ["architect_droid"]) == (played.protocol, played.tools)
    assert ["done"] == played.statuses
