"""`factory-mcp install`: our entry in a client's configuration, and nothing else changed."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from factory_mcp.cli.install import program
from factory_mcp.cli.main import app
from factory_mcp.clients import jsonc
from factory_mcp.clients.files import Change, places, write
from factory_mcp.clients.table import client, clients
from factory_mcp.domain.errors import InvalidSetting

RUNNER = CliRunner()
AWAY = "https://mcp.example.com/mcp"
HERE = "http://127.0.0.1:8080/mcp"
UNSET = (
    *("XDG_CONFIG_HOME", "CODEX_HOME", "CLAUDE_CONFIG_DIR", "APPDATA"),
    *("FACTORY_API_KEY", "FACTORY_MCP_KEY", "FACTORY_MCP_SPECS"),
)
JSON = """// mine
{
  "theme": "dark", // stays
  "%s": {
    /* theirs */
    "other": { "command": "x",   "env": {"TOKEN": "s3cret"} }, // and this
  },
  "inputs": [
    {"id": "other"}, // one
  ],
  "last": [1,2]
}
"""
TOML = """# mine
model = "gpt-5" # stays

[mcp_servers.other] # theirs
command = "x"
env = { TOKEN   = "s3cret" }

# about the profiles
[profiles.fast]
effort = 'low'
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A HOME of the test's own."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def install(home: Path, *arguments: str, **env: str) -> Result:
    """One `factory-mcp install`, in an environment of the test's own."""
    base = dict.fromkeys(UNSET) | {"HOME": str(home)} | env
    return RUNNER.invoke(app, ["install", *arguments], env=base)


def files(home: Path, *arguments: str, **env: str) -> list[dict[str, Any]]:
    """What it says, as JSON, that it did."""
    result = install(home, *arguments, "--json", **env)
    assert 0 == result.exit_code, result.stderr
    return json.loads(result.stdout)["files"]


def place(home: Path, name: str) -> Path:
    """The first file of a client."""
    return places(client(name), project=None, env={"HOME": str(home)}, platform="linux")[0]


def existing(home: Path, name: str, text: str | None = None) -> Path:
    """A configuration that somebody made, with comments and a foreign server."""
    path = place(home, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = TOML if client(name).format == "toml" else JSON % client(name).keys[0]
    path.write_bytes((whole if text is None else text).encode())
    path.chmod(0o640)
    return path


def value(path: Path, text: str | None = None) -> dict[str, Any]:
    """What a file says, or would with another text."""
    text = path.read_text(encoding="utf-8") if text is None else text
    return tomllib.loads(text) if path.suffix == ".toml" else jsonc.read(text)


def ours(path: Path, name: str) -> dict[str, Any]:
    """Our entry."""
    return value(path)[client(name).keys[0]]["factory"]


# --------------------------------------------------------------------------- nothing else


@pytest.mark.requirement("CLIENT-1")
@pytest.mark.requirement("CLIENT-2")
@pytest.mark.parametrize("name", clients())
def test_only_our_entry_differs_afterwards(home: Path, name: str) -> None:
    """With comments and a foreign server there; twice is once; the other way round and back."""
    path = existing(home, name)
    before = path.read_text(encoding="utf-8")
    key = {"FACTORY_API_KEY": "k", "FACTORY_MCP_KEY": "m"}
    (done,) = files(home, name, **key)
    first = path.read_text(encoding="utf-8")
    assert (str(path), True, f"{path}.bak") == (done["path"], done["changed"], done["backup"])
    assert before == Path(done["backup"]).read_text(encoding="utf-8")
    assert 0o640 == path.stat().st_mode & 0o777
    assert [False] == [file["changed"] for file in files(home, name, **key)]
    files(home, name, "--remote", AWAY, **key)
    files(home, name, "--remote", HERE, **key)
    last = path.read_text(encoding="utf-8")
    assert ours(path, name) != value(path, first)[client(name).keys[0]]["factory"]
    for after in (first, last):
        lines = after.splitlines()
        assert [] == [line for line in before.splitlines() if line not in lines]
        found, expected = value(path, after), value(path, before)
        del found[client(name).keys[0]]["factory"]
        found["inputs"] = expected["inputs"] = None
        assert expected == found
    assert "s3cret" not in done["diff"]


@pytest.mark.requirement("CLIENT-2")
def test_what_the_user_decided_in_our_entry_stays(home: Path) -> None:
    """Approvals, unknown keys, more variables; an old address and an old program go."""
    mine: dict[str, Any] = {
        "command": "/old/factory-mcp",
        "args": ["stdio"],
        "env": {"FACTORY_API_KEY": "fk-mine", "FACTORY_MCP_MAX_AUTONOMY": "high"},
        "alwaysAllow": [],
        "disabled": True,
    }
    path = existing(home, "roo", json.dumps({"mcpServers": {"factory": mine}}))
    files(home, "roo")
    entry = ours(path, "roo")
    assert (program(), [], True) == (entry["command"], entry["alwaysAllow"], entry["disabled"])
    assert mine["env"] | {"FACTORY_MCP_CLIENT": "roo"} == entry["env"]
    files(home, "roo", "--url", HERE)
    assert {"type", "url", "timeout", "alwaysAllow", "disabled"} == set(ours(path, "roo"))


def test_a_table_is_changed_where_it_stands(home: Path) -> None:
    """Comments in it and behind it stay where they are."""
    text = (
        "[mcp_servers.factory] # ours\n"
        'command = "/old" # was moved\n'
        "\n# about theirs\n[mcp_servers.other]\nx = 1\n"
    ).replace("\n", "\r\n")
    path = existing(home, "codex", text)
    files(home, "codex")
    after = path.read_bytes()
    assert after.count(b"\n") == after.count(b"\r\n")
    lines = after.decode().splitlines()
    assert "[mcp_servers.factory] # ours" == lines[0]
    assert f'command = "{program()}" # was moved' in lines
    assert ["", "# about theirs", "[mcp_servers.other]", "x = 1"] == lines[-4:]
    assert ours(path, "codex")["required"]


def test_a_table_in_one_line_is_changed_too(home: Path) -> None:
    """And an absent one is added to a file without a last line end."""
    path = existing(home, "codex", 'mcp_servers = { factory = { url = "x" }, other = { a = 1 } }')
    files(home, "codex")
    assert (program(), {"a": 1}) == (
        ours(path, "codex")["command"],
        value(path)["mcp_servers"]["other"],
    )
    path.write_text("a = 1\r\nb = 2", encoding="utf-8", newline="")
    files(home, "codex")
    assert path.read_bytes().startswith(b"a = 1\r\nb = 2\r\n\r\n[mcp_servers.factory]\r\ncommand")


# ----------------------------------------------------------------------------- bad input


@pytest.mark.requirement("CLIENT-4")
@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("roo", '{"mcpServers": {', "no sound JSON: line 1"),
        ("roo", '{"mcpServers": []}', "mcpServers is no object"),
        ("roo", "[1]", "the whole is no object"),
        ("vscode", '{"inputs": {"a": 1}}', "inputs is no array"),
        ("codex", "a = \n", "no sound TOML"),
        ("codex", "mcp_servers = 1\n", "mcp_servers.factory has no place"),
        ("codex", 'mcp_servers = {other = {a = "x"}}\n', "cannot be changed"),
        ("codex", "mcp_servers.factory = 1\n", "factory is no table"),
        ("droid", "{}\udcff", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_changed_safely_is_left_alone(
    home: Path, name: str, text: str, said: str
) -> None:
    """One line that names it; no backup, no half."""
    path = existing(home, name, "")
    path.write_bytes(text.encode(errors="surrogateescape"))
    result = install(home, name, FACTORY_API_KEY="k")
    assert 2 == result.exit_code
    assert f"error: {path} " in result.stderr
    assert said in result.stderr
    assert text.encode(errors="surrogateescape") == path.read_bytes()
    assert [path] == list(path.parent.iterdir())


@pytest.mark.parametrize(
    ("place", "said"), [("/proc/nobody", "cannot be written"), ("/dev/null", "cannot be read")]
)
def test_a_folder_that_takes_no_file_is_one_line(place: str, said: str) -> None:
    """It does not exist and cannot, or is no folder."""
    result = install(Path(place), "cursor")
    assert (2, True) == (result.exit_code, said in result.stderr)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["claud-code"], "did you mean claude-code?"),
        (["emacs"], "it is none of the known ones"),
        (["roo", "--remote", "mcp.example.com"], "is no address"),
        (["roo", "--project", "/no/such"], "is no folder"),
        (["codex", "--project", "."], "user's configuration only"),
        (["cline", "--project", ".", "--remote", AWAY], "user's configuration only"),
        (["codex", "--key-env", "MY_KEY"], "it must be FACTORY_API_KEY"),
        (["cline", "--key-env", "MY_KEY"], "MY_KEY is not set here"),
        (["cline", "--modes"], "these have: roo, zoo, kilo, claude-code, opencode"),
    ],
)
def test_a_wish_that_cannot_be_met_is_one_line(home: Path, arguments: list[str], said: str) -> None:
    """And nothing is written."""
    result = install(home, *arguments)
    assert (2, True) == (result.exit_code, said in result.stderr)
    assert [] == list(home.iterdir())


def test_a_file_that_changes_meanwhile_is_not_overwritten(home: Path) -> None:
    """The editor may have written it just now."""
    path = existing(home, "roo")
    with pytest.raises(InvalidSetting, match="was changed just now"):
        write(Change(path=path, before="older", after="x"))


# ---------------------------------------------------------------------- backups, dry runs


@pytest.mark.requirement("CLIENT-3")
def test_an_older_backup_and_a_symbolic_link_stay(home: Path) -> None:
    """The backup is what stood there before us; a link leads to where it led."""
    real = home / "dotfiles.json"
    real.write_text("{}", encoding="utf-8")
    link = home / ".claude.json"
    link.symlink_to(real)
    assert str(real) + ".bak" == files(home, "claude-code")[0]["backup"]
    assert None is files(home, "claude-code", "--remote", HERE)[0]["backup"]
    assert (True, "{}") == (link.is_symlink(), Path(f"{real}.bak").read_text(encoding="utf-8"))
    assert HERE == ours(real, "claude-code")["url"]


@pytest.mark.requirement("CLIENT-3")
@pytest.mark.parametrize("name", clients())
def test_a_dry_run_prints_the_change_and_writes_nothing(home: Path, name: str) -> None:
    """The lines that change, without those around them."""
    shown = install(home, name, "--dry-run")
    assert 0 == shown.exit_code
    assert "--- /dev/null" in shown.stdout
    assert program() in shown.stdout
    assert "Nothing was written." in shown.stdout
    assert [] == list(home.iterdir())


def test_what_to_do_next_is_said(home: Path) -> None:
    """And whether anything was changed at all."""
    first, second = install(home, "gemini"), install(home, "gemini")
    path = home / ".gemini" / "settings.json"
    assert first.stdout.startswith(f"wrote {path}\n")
    assert "Start Gemini CLI anew" in first.stdout
    assert "log in with `droid`" in first.stdout
    assert second.stdout.startswith(f"{path}: nothing to change\n")
    path.write_text("{}", encoding="utf-8")
    assert f"(as it was: {path}.bak)" in install(home, "gemini").stdout


# ------------------------------------------------------------------------------- secrets


@pytest.mark.requirement("CLIENT-5")
@pytest.mark.parametrize("name", clients())
@pytest.mark.parametrize("remote", [(), ("--remote", AWAY)])
def test_a_secret_is_named_and_not_written(home: Path, name: str, remote: tuple[str, ...]) -> None:
    """As the client's own variable, wherever it has such; else only when asked for by name."""
    env = {"FACTORY_API_KEY": "fk-secret-1", "FACTORY_MCP_KEY": "fk-secret-1"}
    shown = install(home, name, *remote, **env)
    text = place(home, name).read_text(encoding="utf-8")
    assert "fk-secret" not in text + shown.stdout
    variable = "FACTORY_MCP_KEY" if remote else "FACTORY_API_KEY"
    assert bool(client(name).variable) == (variable in text)


@pytest.mark.requirement("CLIENT-5")
@pytest.mark.parametrize("name", ["cline", "claude-desktop"])
def test_a_client_without_variables_gets_the_value_when_asked(home: Path, name: str) -> None:
    """It is shown to nobody, and the file is the user's alone."""
    for remote in ((), ("--remote", AWAY)):
        shown = install(home, name, *remote, "--key-env", "MY_KEY", MY_KEY="fk-secret-2")
        path = place(home, name)
        assert "fk-secret-2" in path.read_text(encoding="utf-8")
        assert "share it with nobody" in shown.stdout
        assert "fk-secret" not in shown.stdout
        assert 0o600 == path.stat().st_mode & 0o777
        diff = files(home, name, *remote, "--key-env", "MY_KEY", MY_KEY="fk-secret-3")[0]["diff"]
        assert "***" in diff
        assert "fk-secret-3" not in diff


def test_a_server_on_this_machine_needs_no_bearer(home: Path) -> None:
    """One elsewhere does; its path is /mcp if none is given; the variable may have any name."""
    for host in ("http://127.0.0.1:8080", "http://localhost:8080/", "http://[::1]:8080"):
        files(home, "roo", "--remote", host)
        assert host.rstrip("/") + "/mcp" == ours(place(home, "roo"), "roo")["url"]
        assert "headers" not in ours(place(home, "roo"), "roo")
    files(home, "roo", "--remote", "https://example.com/x", "--key-env", "TEAM")
    entry = ours(place(home, "roo"), "roo")
    assert ("https://example.com/x", {"Authorization": "Bearer ${env:TEAM}"}) == (
        entry["url"],
        entry["headers"],
    )


def test_vs_code_is_told_what_to_ask_for_once(home: Path) -> None:
    """The input is made once, and the user's own of that name is left alone."""
    path = existing(home, "vscode")
    install(home, "vscode", "--key-env", "FK")
    shown = install(home, "vscode", "--key-env", "FK")
    assert "VS Code asks for FK" in shown.stdout
    assert ["other", "FK"] == [item["id"] for item in value(path)["inputs"]]
    assert "${input:FK}" == ours(path, "vscode")["env"]["FACTORY_API_KEY"]


# -------------------------------------------------------------------------------- places


@pytest.mark.requirement("CLIENT-6")
@pytest.mark.parametrize("name", [n for n, row in clients().items() if row.project])
def test_a_project_has_a_file_of_its_own(home: Path, tmp_path: Path, name: str) -> None:
    """The user's file stays as it is."""
    (tmp_path / "shop").mkdir()
    (done,) = files(home, name, "--project", str(tmp_path / "shop"))
    assert str(tmp_path / "shop" / client(name).project[0]) == done["path"]
    assert [] == list(home.iterdir())


def test_a_client_that_starts_us_elsewhere_is_told_the_project(home: Path, tmp_path: Path) -> None:
    """Where a project has no file of its own."""
    files(home, "cline", "--project", str(tmp_path))
    assert str(tmp_path) == ours(place(home, "cline"), "cline")["env"]["FACTORY_MCP_ROOTS"]


@pytest.mark.requirement("CLIENT-6")
@pytest.mark.parametrize(
    ("name", "platform", "env", "expected"),
    [
        ("claude-desktop", "linux", {}, ".config/Claude"),
        ("claude-desktop", "linux", {"XDG_CONFIG_HOME": "/c"}, "/c/Claude"),
        ("claude-desktop", "darwin", {}, "Library/Application Support/Claude"),
        ("claude-desktop", "win32", {"APPDATA": "/a"}, "/a/Claude"),
        ("claude-code", "linux", {"CLAUDE_CONFIG_DIR": "/cc"}, "/cc"),
        ("codex", "darwin", {"CODEX_HOME": "/cx"}, "/cx"),
        ("opencode", "darwin", {}, ".config/opencode"),
    ],
)
def test_a_file_is_where_its_client_looks(
    home: Path, name: str, platform: str, env: dict[str, str], expected: str
) -> None:
    """On each platform, and where a variable moves it."""
    path, *_ = places(client(name), project=None, env=env | {"HOME": str(home)}, platform=platform)
    assert home / expected == path.parent


def test_every_file_that_is_there_is_changed(home: Path) -> None:
    """Cline's command line and its extension each have one."""
    path = place(home, "cline")
    extension = home / (
        ".config/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json"
    )
    extension.parent.mkdir(parents=True)
    extension.write_text("{}", encoding="utf-8")
    assert [str(extension)] == [file["path"] for file in files(home, "cline")]
    path.parent.mkdir(parents=True)
    path.write_text("", encoding="utf-8")
    done = files(home, "cline")
    assert [(str(path), True), (str(extension), False)] == [
        (file["path"], file["changed"]) for file in done
    ]
