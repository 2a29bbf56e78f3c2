"""Nothing but the protocol on stdout: the product as a client starts it, and a noisy server."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.transports.messages import HANDSHAKE, META

ROOT = Path(__file__).parents[1]
WILLING: dict[str, Any] = {"roots": {}, "sampling": {}, "elicitation": {}}


def run(
    command: list[str], requests: list[tuple[str, Any]], env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Say everything, end stdin, and wait for the process."""
    lines = [
        json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        for number, (method, params) in enumerate(requests, start=1)
    ]
    return subprocess.run(
        [sys.executable, *command],
        input="\n".join([*lines, ""]).encode(),
        capture_output=True,
        check=False,
        cwd=ROOT,
        env=env,
        timeout=60,
    )


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Nothing of this machine's but what measures coverage; no program on the path."""
    measuring = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    home = str(folder)
    return {"PATH": home, "HOME": home, "FACTORY_MCP_DATA": f"{home}/data", **measuring, **more}


def messages(stdout: bytes) -> dict[Any, dict[str, Any]]:
    """Every line as a message, by id; a line that is none fails here."""
    found = [json.loads(line) for line in stdout.splitlines()]
    assert [message["jsonrpc"] for message in found] == ["2.0"] * len(found)
    assert len({message["id"] for message in found}) == len(found)
    return {message["id"]: message for message in found}


@pytest.mark.requirement("TRANSPORT-13")
@pytest.mark.parametrize("hello", ["/nowhere", "shipped"])
def test_a_handler_that_prints_and_a_child_that_writes_do_not_reach_the_wire(hello: str) -> None:
    """Both land on stderr; with and without an early answer."""
    path = str(ROOT / "src/factory_mcp/transports/hello.json") if hello == "shipped" else hello
    noisy = {"name": "noisy", "arguments": {}, "_meta": META}
    requests: list[tuple[str, Any]] = [("server/discover", {"_meta": META}), ("tools/call", noisy)]
    done = run(["-m", "tests.transports.sample_server", "stdio", path], requests)
    answers = messages(done.stdout)
    assert (done.returncode, sorted(answers)) == (0, [1, 2])
    for stray in (b"stray print", b"stray write", b"stray child"):
        assert stray in done.stderr


@pytest.mark.requirement("TRANSPORT-13")
@pytest.mark.requirement("TRANSPORT-22")
def test_the_product_answers_on_stdout_and_logs_on_stderr(tmp_path: Path) -> None:
    """A whole call, with no droid program to be found, and then the end of stdin: exit code 0.

    Claude Code hands its own key on to every server: it is nowhere. A client that would answer
    requests gets none.
    """
    key = "sk-ant-0123456789"
    droid = str(tmp_path / "no-droid")
    env = environment(tmp_path, FACTORY_MCP_DROID_BIN=droid, ANTHROPIC_API_KEY=key)
    arguments = {"task": "Design a queue."}
    requests: list[tuple[str, Any]] = [
        ("initialize", {**HANDSHAKE, "capabilities": WILLING}),
        ("tools/list", {}),
        ("tools/call", {"name": "architect_droid", "arguments": arguments}),
    ]
    done = run(["-m", "factory_mcp", "stdio"], requests, env)
    answers = messages(done.stdout)
    assert (done.returncode, sorted(answers)) == (0, [1, 2, 3])
    assert answers[1]["result"]["serverInfo"]["name"] == "factory-mcp"
    assert len(answers[2]["result"]["tools"]) == 10
    assert not [message for message in answers.values() if "method" in message]
    assert all(json.loads(line)["event"] for line in done.stderr.splitlines())
    assert key.encode() not in done.stdout + done.stderr


@pytest.mark.requirement("TRANSPORT-12")
def test_a_client_that_closed_its_end_of_stdout_is_no_failure(tmp_path: Path) -> None:
    """Nor is one that said nothing at all."""
    env = environment(tmp_path)
    command = [sys.executable, "-m", "factory_mcp", "stdio"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        opening = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HANDSHAKE}
        process.stdin.write(json.dumps(opening).encode() + b"\n")
        process.stdin.close()
        assert process.wait(timeout=60) == 0
    assert run(["-m", "factory_mcp", "stdio"], [], env).returncode == 0
