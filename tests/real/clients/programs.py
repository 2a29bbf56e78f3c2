"""The clients: which program each is, and how it is run once with a model of the test's own.

Only settings that a client documents are used. A client's model is written here; the server's
entry is written by `factory-mcp install`, into the same file where it is one file.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.real.clients.client_model import PROMPT
from tests.real.clients.stage import Stage, droid_settings
from tests.real.droid_program import KEY, droid_binary

Transport = Literal["stdio", "http"]
LOCKS = Path(__file__).parent / "npm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How a client is run: `before` in order, then `run`."""

    run: Sequence[str | Path]
    before: tuple[Sequence[str | Path], ...] = ()
    env: dict[str, str | None] = field(default_factory=dict[str, str | None])


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One client; `install` is its name for `factory-mcp install`.

    `command` writes the settings of its model, whose address it is given.
    """

    name: str
    title: str
    install: str
    program: str
    command: Callable[[Path, Stage, str], Command]

    @property
    def version(self) -> str:
        """The one that is pinned."""
        return pinned(self.name)

    def found(self) -> Path:
        """The program."""
        return droid_binary() if self.name == "droid" else client_program(self.name, self.program)


def pinned(name: str) -> str:
    """The pinned version of a client."""
    if name == "droid":
        script = Path(__file__).parents[3] / "scripts" / "fetch_droid.sh"
        return re.findall(r"(?m)^version=(.+)$", script.read_text(encoding="utf-8"))[0]
    package = json.loads((LOCKS / name / "package.json").read_text(encoding="utf-8"))
    (version,) = package["dependencies"].values()
    return version


def client_program(name: str, program: str) -> Path:
    """A program of a client that `scripts/fetch_clients.sh` has fetched.

    FACTORY_MCP_CLIENTS holds what that script prints. Without it the test fails, unless
    FACTORY_MCP_TEST_CLIENTS=0 says to do without.
    """
    lines = os.environ.get("FACTORY_MCP_CLIENTS", "").splitlines()
    folders = dict(line.split(maxsplit=1) for line in lines)
    if name in folders:
        return Path(folders[name]) / "node_modules" / program
    if os.environ.get("FACTORY_MCP_TEST_CLIENTS") == "0":
        reason = f"NOT TESTED: {name} (FACTORY_MCP_TEST_CLIENTS=0)"
        sys.stderr.write(f"\n{reason}\n")
        pytest.skip(reason)
    pytest.fail(f"FACTORY_MCP_CLIENTS does not name {name}: run scripts/clients.sh")


# ------------------------------------------------------------------------------- clients


def _claude(program: Path, stage: Stage, model: str) -> Command:
    user = stage.put(".claude.json", {"hasCompletedOnboarding": True})
    patient = ["--mcp-config", user, "--strict-mcp-config"]  # else it asks without slow servers
    return Command(
        run=[program, "-p", PROMPT, "--allowedTools", "mcp__factory", *patient],
        env={
            "ANTHROPIC_BASE_URL": model,
            "ANTHROPIC_API_KEY": KEY,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        },
    )


def _codex(program: Path, stage: Stage, model: str) -> Command:
    config = f"""model = "gpt-5"
model_provider = "local"
approval_policy = "never"

[model_providers.local]
name = "local"
base_url = "{model}/v1"
env_key = "LOCAL_KEY"
wire_api = "responses"

[mcp_servers.factory]
default_tools_approval_mode = "approve"
"""
    stage.put(".codex/config.toml", config)
    return Command(run=[program, "exec", "--json", PROMPT], env={"LOCAL_KEY": KEY})


def _opencode(program: Path, stage: Stage, model: str) -> Command:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "local",
        "options": {"baseURL": f"{model}/v1", "apiKey": KEY},
        "models": {"m": {"name": "m"}},
    }
    config = {"provider": {"local": provider}, "model": "local/m", "small_model": "local/m"}
    quiet = {"permission": "allow", "autoupdate": False, "share": "disabled"}
    stage.put(".config/opencode/opencode.json", config | quiet)
    return Command(run=[program, "run", "--model", "local/m", PROMPT])


def _cline(program: Path, _: Stage, model: str) -> Command:
    provider = ["openai-compatible", "-m", "m"]
    login = [program, "auth", "-p", *provider, "-k", KEY, "-b", f"{model}/v1"]
    run = [program, "--json", "-P", *provider, "--auto-approve", "true", PROMPT]
    return Command(run=run, before=(login,))


def _gemini(program: Path, stage: Stage, model: str) -> Command:
    settings: dict[str, Any] = {
        "security": {
            "auth": {"selectedType": "gemini-api-key"},
            "folderTrust": {"enabled": False},
        },
        "general": {"enableAutoUpdate": False},
        "privacy": {"usageStatisticsEnabled": False},
    }
    stage.put(".gemini/settings.json", settings)
    return Command(
        run=[program, "-p", PROMPT, "-y", "-m", "gemini-2.5-pro"],
        env={"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": model},
    )


def _droid(program: Path, stage: Stage, model: str) -> Command:
    settings = stage.put("client.json", droid_settings(f"{model}/v1", "client"))
    tools = ["--auto", "high", "--add-tools", "MCP:factory"]
    run = [program, "exec", "--settings", settings, *tools, "-m", "custom:client", PROMPT]
    return Command(run=run, env={"FACTORY_DROID_AUTO_UPDATE_ENABLED": "false"})


CLIENTS = (
    Client(
        name="claude",
        title="Claude Code",
        install="claude-code",
        program="@anthropic-ai/claude-code-linux-x64/claude",
        command=_claude,
    ),
    Client(
        name="codex",
        title="Codex",
        install="codex",
        program="@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex",
        command=_codex,
    ),
    Client(
        name="opencode",
        title="opencode",
        install="opencode",
        program="opencode-linux-x64/bin/opencode",
        command=_opencode,
    ),
    Client(name="cline", title="Cline", install="cline", program=".bin/cline", command=_cline),
    Client(
        name="gemini", title="Gemini CLI", install="gemini", program=".bin/gemini", command=_gemini
    ),
    Client(name="droid", title="droid", install="droid", program="", command=_droid),
)
