"""Real clients, each on a machine of its own: a droid call, a handoff, a run beyond patience.

`make clients` runs this folder; `make test` leaves it out, but for one client's short call
(`tests/real/test_one_client.py`).
"""

import re
from functools import partial
from pathlib import Path

import pytest

from tests.real.clients.play import ANSWER, Played, call_then_lose_the_droid, delegate, play
from tests.real.clients.programs import CLIENTS, Client
from tests.real.clients.record import note
from tests.real.clients.stage import DEAD, make_stage
from tests.real.droid_program import gather
from tests.real.fake_model import Slow

TRANSPORTS = ("stdio", "http")
BY_NAME = {client.name: client for client in CLIENTS}
SLOW = Slow((*["Looking. "] * 15, ANSWER), every_s=5)  # 75 s


@pytest.mark.requirement("REALCLIENT-1", "REALCLIENT-2")
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
async def test_a_client_shows_its_model_a_droids_answer_and_then_a_handoff(
    client: Client, tmp_path: Path
) -> None:
    """Over stdio and over HTTP at once; nothing is called a second time."""
    plan = partial(play, client, droid_says=ANSWER, script=call_then_lose_the_droid)
    jobs = {transport: partial(plan, transport, tmp_path / transport) for transport in TRANSPORTS}
    played: dict[str, Played] = await gather(jobs)
    for one in played.values():
        assert ["architect_droid", "code_droid"] == one.tools
        assert ["done", "handoff"] == one.statuses
        answer, handoff = one.shown
        assert ANSWER in answer
        assert "HANDOFF code run_" in handoff
        assert "Do NOT call code_droid again" in handoff
    facts = {
        transport: {"protocol": one.protocol, "shown": one.kind, "seconds": round(one.seconds)}
        for transport, one in played.items()
    }
    note(client.name, title=client.title, version=client.version, **facts)


@pytest.mark.requirement("REALCLIENT-7")
@pytest.mark.parametrize("name", ["claude", "opencode", "gemini", "droid"])
async def test_a_clients_own_check_reaches_the_server_that_install_wrote(
    name: str, tmp_path: Path
) -> None:
    """`mcp list`, as `install` says; Codex only prints its file, and Cline has no such command."""
    client = BY_NAME[name]
    stage = make_stage(tmp_path / "stage", DEAD)
    command = client.command(client.found(), stage, DEAD)
    await stage.factory_mcp("install", client.install)
    ended = await stage.run([client.found(), "mcp", "list"], command.env)
    assert re.search("factory.*(?<!dis)connected", ended.output, re.IGNORECASE), ended.output


@pytest.mark.requirement("REALCLIENT-3")
@pytest.mark.parametrize(
    "pair", [("claude", "codex"), ("opencode", "cline"), ("gemini", "droid")], ids="-".join
)
async def test_a_client_collects_a_run_that_outlasts_its_patience(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    """75 s: its model is told RUNNING, waits, and has the answer; there was one run."""
    plan = partial(play, droid_says=SLOW, script=delegate)
    jobs = {name: partial(plan, BY_NAME[name], "stdio", tmp_path / name) for name in pair}
    played: dict[str, Played] = await gather(jobs)
    for name, one in played.items():
        *waits, answer = one.shown
        assert waits
        assert all("RUNNING architect run_" in text for text in waits)
        assert ANSWER in answer
        assert ["architect_droid", *["droid_wait"] * len(waits)] == one.tools
        assert ["done"] == one.statuses
        client = BY_NAME[name]
        run = {"seconds": round(one.seconds)}
        note(name, title=client.title, version=client.version, long_run=run)
