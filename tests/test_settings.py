"""Settings: environment, secret files, config.yaml; wrong ones are named with a remedy."""

import os
from pathlib import Path

import pytest

from factory_mcp.domain.errors import FactoryError, InvalidSetting, StoreUnavailable
from factory_mcp.domain.model import Autonomy
from factory_mcp.settings import Settings, secret_of


def load(tmp_path: Path, **env: str) -> Settings:
    base = {
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    return Settings.load(base | env, cwd=tmp_path)


def write_config(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "config" / "factory-mcp"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(text)


def test_without_any_setting_everything_is_local(tmp_path: Path) -> None:
    """The embedded default."""
    settings = load(tmp_path)
    assert ("127.0.0.1", 8080) == (settings.host, settings.port)
    assert tmp_path / "data" / "factory-mcp" == settings.data
    assert settings.data / "factory-mcp.db" == settings.database
    assert settings.data / "home" == settings.server_home
    assert (Autonomy.LOW, 2, ()) == (settings.max_autonomy, settings.max_parallel, settings.roots)
    assert (settings.spec_folders[0] / "architect.md").is_file()


def test_the_working_directory_is_a_root_only_inside_a_git_tree(tmp_path: Path) -> None:
    """An editor's home folder must not be one by accident."""
    (tmp_path / ".git").mkdir()
    assert (tmp_path,) == load(tmp_path).roots
    named = load(tmp_path, FACTORY_MCP_ROOTS=f"/a{os.pathsep}/b")
    assert (Path("/a"), Path("/b")) == named.roots


def test_a_secret_may_come_from_a_file_and_never_shows(tmp_path: Path) -> None:
    """`NAME_FILE` stands in for `NAME`."""
    (tmp_path / "key").write_text("fk-secret\n")
    settings = load(tmp_path, FACTORY_AI_API_KEY_FILE=str(tmp_path / "key"))
    assert settings.api_key == "fk-secret"
    assert "fk-secret" not in repr(settings)
    with pytest.raises(InvalidSetting, match="FACTORY_AI_API_KEY_FILE"):
        load(tmp_path, FACTORY_AI_API_KEY_FILE=str(tmp_path / "none"))


@pytest.mark.requirement("CALLS-5")
def test_the_factory_key_has_one_audience(tmp_path: Path) -> None:
    """With a base URL it is that host's; the droid then has its own key or none."""
    url = "https://other.example/mcp"
    elsewhere = load(tmp_path, FACTORY_AI_API_KEY="a", FACTORY_AI_BASE_URL=url)
    assert elsewhere.api_key is None
    both = load(tmp_path, FACTORY_AI_API_KEY="a", FACTORY_API_KEY="b", FACTORY_AI_BASE_URL=url)
    assert both.api_key == "b"
    assert load(tmp_path, FACTORY_AI_API_KEY="a").api_key == "a"


@pytest.mark.requirement("CALLS-5")
def test_the_address_that_exists_nowhere_gets_no_key(tmp_path: Path) -> None:
    """It is ignored with one warning that names the real choices."""
    url = "https://api.factoryai.com/v1"
    settings = load(tmp_path, FACTORY_AI_API_KEY="a", FACTORY_AI_BASE_URL=url)
    assert settings.api_key == "a"
    assert ["does not exist" in warning for warning in settings.warnings] == [True]


@pytest.mark.requirement("CALLS-5")
@pytest.mark.parametrize("host", ["api.factory.ai", "api.eu.factory.ai"])
def test_factory_itself_is_reached_through_the_droid(tmp_path: Path, host: str) -> None:
    """Its API as a base URL is refused at start."""
    with pytest.raises(InvalidSetting, match="through the droid program"):
        load(tmp_path, FACTORY_AI_BASE_URL=f"https://{host}/api")


def test_what_this_version_does_not_use_is_named(tmp_path: Path) -> None:
    """Nobody waits for traces that nobody sends."""
    warnings = load(tmp_path, JAEGER_ENDPOINT="http://j:4317", PROMETHEUS_PORT="9090").warnings
    named = [warning.split()[0] for warning in warnings]
    assert ["JAEGER_ENDPOINT", "PROMETHEUS_PORT"] == named


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FACTORY_MCP_PORT", "http"),
        ("FACTORY_MCP_PORT", "70000"),
        ("FACTORY_MCP_MAX_AUTONOMY", "godlike"),
        ("FACTORY_MCP_AUTH", "off"),
        ("FACTORY_MCP_BACKENDS", "droid"),
        ("FACTORY_MCP_CONFIG", "/nowhere/config.yaml"),
        ("FACTORY_MCP_REPLICAS", "0"),
        ("FACTORY_MCP_REPLICAS", "65"),
        ("FACTORY_MCP_REQUIRE_TLS", "yes"),
    ],
)
def test_a_wrong_value_is_named_with_its_setting(tmp_path: Path, name: str, value: str) -> None:
    """One clear error."""
    with pytest.raises(InvalidSetting, match=name):
        load(tmp_path, **{name: value})


def test_config_yaml_is_read_from_the_users_folder(tmp_path: Path) -> None:
    """Trusted workspaces and what the droid may see of the environment."""
    write_config(
        tmp_path,
        "trusted_workspaces: [/srv/shop]\ndroid_env: [MODEL_KEY]\ndroid_settings: /etc/d.json\n",
    )
    settings = load(tmp_path)
    assert (Path("/srv/shop"),) == settings.trusted
    assert ("MODEL_KEY",) == settings.droid_env
    assert Path("/etc/d.json") == settings.droid_settings


def test_config_yaml_of_the_working_directory_is_never_read(tmp_path: Path) -> None:
    """An editor sets it to whatever repository is open."""
    (tmp_path / "config.yaml").write_text("trusted_workspaces: [/]\n")
    assert load(tmp_path).trusted == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trusted_workspace: [/x]", "'trusted_workspace' is not a setting; known are"),
        ("- a\n- b", "must hold a mapping"),
        ("a: [", "cannot be read"),
        ("trusted_workspaces: [shop]", "absolute paths"),
        ("trusted_workspaces: [7]", "list of strings"),
    ],
)
def test_a_mistake_in_config_yaml_is_named(tmp_path: Path, text: str, message: str) -> None:
    """Nothing is guessed."""
    write_config(tmp_path, text)
    with pytest.raises(InvalidSetting, match=message):
        load(tmp_path)


def test_an_empty_config_yaml_changes_nothing(tmp_path: Path) -> None:
    """Comments alone are fine."""
    write_config(tmp_path, "# nothing yet\n")
    assert load(tmp_path).trusted == ()


def test_the_secret_is_made_once_and_is_ours_alone(tmp_path: Path) -> None:
    """A file of mode 0600, the same for every process; one that others can read is refused."""
    settings = load(tmp_path)
    secret = secret_of(settings)
    assert 32 == len(secret)
    assert secret == secret_of(settings)
    path = settings.data / "pepper"
    assert ["pepper"] == [file.name for file in settings.data.iterdir()]
    path.chmod(0o644)
    with pytest.raises(InvalidSetting, match="can be read by others"):
        secret_of(settings)
    assert secret_of(load(tmp_path, FACTORY_MCP_PEPPER="given")) == b"given"


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """With what to do about it."""
    (tmp_path / "file").write_text("")
    settings = load(tmp_path, FACTORY_MCP_DATA=str(tmp_path / "file" / "data"))
    with pytest.raises(StoreUnavailable, match="cannot be used") as error:
        secret_of(settings)
    assert "FACTORY_MCP_DATA" in error.value.remedy
    assert isinstance(error.value, FactoryError)


# ---------------------------------------------------------------------------------- the model

LLM = {"FACTORY_MCP_LLM_URL": "https://models.example/v1", "FACTORY_MCP_LLM_MODEL": "m"}


@pytest.mark.requirement("LLM-12")
def test_a_plain_model_is_a_backend_once_it_has_an_address(tmp_path: Path) -> None:
    """Its key may come from a file, and never shows."""
    (tmp_path / "key").write_text("sk-secret\n")
    settings = load(
        tmp_path,
        **LLM,
        FACTORY_MCP_LLM_KEY_FILE=str(tmp_path / "key"),
        FACTORY_MCP_LLM_CONTEXT="8192",
    )
    assert ("https://models.example/v1", "m", "sk-secret", 8192) == (
        settings.llm_url,
        settings.llm_model,
        settings.llm_key,
        settings.llm_context,
    )
    assert (("droid_cli", "llm"), ()) == (settings.backends, settings.warnings)
    assert "sk-secret" not in repr(settings)
    assert ("llm",) == load(tmp_path, **LLM, FACTORY_MCP_BACKENDS="llm").backends


@pytest.mark.requirement("LLM-12")
def test_without_an_address_there_is_no_model(tmp_path: Path) -> None:
    """What is set in vain is named; a key goes nowhere."""
    settings = load(tmp_path, FACTORY_MCP_LLM_KEY="k", FACTORY_MCP_LLM_CONTEXT="2000")
    assert (None, None, ("droid_cli",)) == (settings.llm_url, settings.llm_key, settings.backends)
    named = [warning.split()[0] for warning in settings.warnings]
    assert ["FACTORY_MCP_LLM_KEY", "FACTORY_MCP_LLM_CONTEXT"] == named


@pytest.mark.requirement("LLM-12")
@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://127.0.0.1:11434/v1", 0),
        ("http://[::1]:80/v1", 0),
        ("http://localhost/v1", 0),
        ("http://gpu.lan:8000/v1", 1),
        ("https://models.example/v1", 0),
    ],
)
def test_words_that_cross_a_network_in_the_clear_are_warned_of(
    tmp_path: Path, url: str, warned: int
) -> None:
    """On this machine they cross none."""
    assert warned == len(load(tmp_path, **LLM | {"FACTORY_MCP_LLM_URL": url}).warnings)


@pytest.mark.requirement("LLM-12")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"FACTORY_MCP_LLM_URL": "models.example/v1"}, "LLM_URL must be an http or https address"),
        ({"FACTORY_MCP_LLM_URL": "ftp://models.example"}, "LLM_URL must be an http or https addr"),
        ({"FACTORY_MCP_LLM_URL": "https://"}, "LLM_URL must be an http or https address"),
        ({"FACTORY_MCP_LLM_URL": "http://[::1/v1"}, "LLM_URL must be an http or https address"),
        ({"FACTORY_MCP_LLM_URL": "http://h:99999/v1"}, "LLM_URL must be an http or https address"),
        ({"FACTORY_MCP_LLM_URL": "https://me:hush@h/v1"}, "LLM_URL must hold no user, password"),
        ({"FACTORY_MCP_LLM_URL": "https://h/v1?key=hush"}, "LLM_URL must hold no user, password"),
        ({"FACTORY_MCP_LLM_MODEL": ""}, "LLM_URL needs FACTORY_MCP_LLM_MODEL"),
        ({"FACTORY_MCP_LLM_KEY": "hush\nhush"}, "LLM_KEY holds a character"),
        ({"FACTORY_MCP_LLM_CONTEXT": "12"}, "LLM_CONTEXT must be a number from 1024"),
        ({"FACTORY_MCP_LLM_URL": "", "FACTORY_MCP_BACKENDS": "llm"}, "needs FACTORY_MCP_LLM_URL"),
    ],
)
def test_a_model_that_cannot_be_asked_is_refused_at_start(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    """Without repeating what may be a secret."""
    with pytest.raises(InvalidSetting, match=message) as error:
        load(tmp_path, **LLM | change)
    assert "hush" not in str(error.value)
