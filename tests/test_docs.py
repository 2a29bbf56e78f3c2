"""The documents against the code: a code, setting, command or link that is wrong fails here."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from factory_mcp.cli.main import app
from factory_mcp.clients.table import clients
from factory_mcp.domain.errors import FactoryError
from factory_mcp.domain.model import Status
from factory_mcp.domain.spec_text import parse
from factory_mcp.domain.tools import OUTPUT_SCHEMA, all_tools
from factory_mcp.settings import CONFIG_KEYS, Settings
from factory_mcp.transports.resources import INDEX
from scripts.client_docs import MADE, PAGE, made
from tests.house import client, house

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# Codes of results that are no errors, and of backends that a chain passed over.
WORDS = {
    "ok",
    "queued",
    "waiting",
    "handoff",
    "needs_input",
    "interrupted",
    "cancelled",
    "circuit_open",
    "not_configured",
}


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _rows(name: str, heading: str) -> set[str]:
    """The `code` words in the first cells of the tables under one heading."""
    section = re.split(r"^## ", _text(name), flags=re.MULTILINE)
    body = next(part for part in section if part.startswith(heading))
    cells = re.findall(r"^\| (`[^|]+) \|", body, re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


# -------------------------------------------------------------------------- error codes


def _classes(error: type[FactoryError]) -> Iterator[type[FactoryError]]:
    yield error
    for child in error.__subclasses__():
        yield from _classes(child)


def _given_codes() -> set[str]:
    """Every code that the source writes down as `code="…"`."""
    return {
        str(node.value.value)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.keyword)
        and node.arg == "code"
        and isinstance(node.value, ast.Constant)
    }


@pytest.mark.requirement("HOUSE-6")
def test_every_code_has_a_row_in_troubleshooting() -> None:
    """Whoever meets a code finds what it means and what to do; no row is for a code of the past."""
    codes = {error.code for error in _classes(FactoryError)} | WORDS
    assert codes == _rows("docs/troubleshooting.md", "Codes")


@pytest.mark.requirement("HOUSE-6")
def test_no_code_is_invented_where_it_is_used() -> None:
    """A code belongs to an error class or to the list above."""
    assert set() == _given_codes() - {error.code for error in _classes(FactoryError)} - WORDS


# ----------------------------------------------------------------------------- settings


class _Recorder(dict[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self, **values: str) -> None:
        super().__init__(values)
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)


def _variables(home: Path) -> set[str]:
    """What Settings reads, and what any other file names; `…_FILE` is said once for all."""
    recorder = _Recorder(XDG_CONFIG_HOME=str(home))
    Settings.load(recorder, ROOT)
    named = {
        word
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for word in re.findall(r"\bFACTORY_MCP_[A-Z_]*[A-Z]\b", node.value)
    }
    return {name for name in recorder.asked | named if not name.endswith("_FILE")}


@pytest.mark.requirement("HOUSE-7")
def test_every_variable_has_a_row_and_every_row_a_variable(tmp_path: Path) -> None:
    """Nothing can be set that is not described, and nothing is described that does nothing."""
    assert _variables(tmp_path) == _rows("docs/configuration.md", "Environment")


@pytest.mark.requirement("HOUSE-7")
def test_every_key_of_config_yaml_has_a_row() -> None:
    """The same for the file."""
    assert set(CONFIG_KEYS) == _rows("docs/configuration.md", "config.yaml")


# -------------------------------------------------------------------- commands and tools


def _commands(command: Any, path: str) -> Iterator[str]:
    children: dict[str, Any] = getattr(command, "commands", {})
    if not children:
        yield path
    for name, child in children.items():
        yield from _commands(child, f"{path} {name}")


@pytest.mark.requirement("HOUSE-8")
def test_every_command_has_a_row_and_every_row_a_command() -> None:
    """The command line is what the documents say it is."""
    commands = set(_commands(typer.main.get_command(app), "factory-mcp"))
    rows = {re.sub(r" (\[|[A-Z-]).*", "", row) for row in _rows("docs/README.md", "Commands")}
    assert commands == rows


def _tool_words() -> Iterator[str]:
    files = sorted((ROOT / "droid_specs").glob("*.md"))
    specs = [parse(path.read_text(encoding="utf-8"), path.name) for path in files]
    for tool in all_tools(specs):
        yield tool.name
        yield from tool.input_schema["properties"]
    yield from OUTPUT_SCHEMA["properties"]
    yield from (status.value for status in Status)


@pytest.mark.requirement("HOUSE-8")
def test_every_tool_argument_and_result_key_is_described() -> None:
    """What a model can send and what it can receive."""
    described = set(re.findall(r"`([^`]+)`", _text("docs/tools.md")))
    assert set() == set(_tool_words()) - described


@pytest.mark.requirement("HOUSE-8")
async def test_every_resource_and_prompt_has_a_row(tmp_path: Path) -> None:
    """And none is described that is not there."""
    async with house(tmp_path) as home, client(home) as c:
        templates = (await c.list_resource_templates()).resource_templates
        prompts = {prompt.name for prompt in (await c.list_prompts()).prompts}
    uris = {re.sub(r"{(\w+)}", lambda v: v[1].upper(), row.uri_template) for row in templates}
    assert {INDEX, *uris} == _rows("docs/tools.md", "Resources")
    assert prompts == _rows("docs/tools.md", "Prompts")


@pytest.mark.requirement("CLIENT-9")
def test_what_is_said_about_clients_is_what_install_writes() -> None:
    """Files, entries and limits come from clients.toml; scripts/client_docs.py makes them anew."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == made(page)
    assert {*clients(), "http", "limits"} == {found[2] for found in MADE.finditer(page)}


# ------------------------------------------------------------------------ links and names


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def _broken(document: Path) -> Iterator[str]:
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            yield f"{document.relative_to(ROOT)}: {link}"


@pytest.mark.requirement("HOUSE-9")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_local_link_leads_somewhere(document: Path) -> None:
    """To a file that is there, and to a heading in it."""
    assert [] == list(_broken(document))


@pytest.mark.requirement("HOUSE-9")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_document_installs_a_package_that_is_not_ours(document: Path) -> None:
    """The name factory-mcp on PyPI belongs to somebody else."""
    foreign = r"(uvx|pipx?|uv tool|uv pip|uv)( run| install| add)? factory-mcp"
    assert None is re.search(foreign, document.read_text(encoding="utf-8"))


@pytest.mark.requirement("HOUSE-10")
def test_the_readme_shows_a_first_answer_within_sixty_lines() -> None:
    """A reader sees on the first screens what a droid's answer looks like."""
    lines = _text("README.md").splitlines()
    answers = (at for at, line in enumerate(lines, 1) if re.match(r"(DONE|HANDOFF) \w+ run_", line))
    assert next(answers, len(lines) + 60) <= 60
