"""`factory-mcp droids`: list, show, check."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from factory_mcp.cli.droids import app

SHIPPED = Path(__file__).parents[2] / "droid_specs"
GOOD = (SHIPPED / "code.md").read_text(encoding="utf-8")


def run(*words: str, specs: Path | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    env = {"FACTORY_MCP_SPECS": str(specs) if specs else ""}
    result = CliRunner().invoke(app, list(words), env=env)
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.requirement("SPECS-11")
def test_check_prints_a_line_for_each_good_file() -> None:
    """Exit 0 says that all can be used."""
    code, out, err = run("check", str(SHIPPED))
    lines = out.splitlines()
    assert (0, 5, "") == (code, len(lines), err)
    assert f"ok: {SHIPPED}/architect.md: architect, 3 tasks, none" == lines[0]


@pytest.mark.requirement("SPECS-11")
def test_check_prints_a_line_for_each_problem_and_exits_1(tmp_path: Path) -> None:
    """The good files are still named."""
    (tmp_path / "code.md").write_text(GOOD, encoding="utf-8")
    bad = GOOD.replace("name: code", "name: bad").replace("autonomy: medium", "autonomy: mediun")
    (tmp_path / "bad.md").write_text(bad.replace("[Read, ", "[Raed, "), encoding="utf-8")
    code, out, err = run("check", str(tmp_path))
    assert 1 == code
    assert [f"ok: {tmp_path}/code.md: code, 3 tasks, unsafe"] == out.splitlines()
    assert [
        f"{tmp_path}/bad.md:5: tools.1: `Raed` is no tool; did you mean `Read`?",
        f"{tmp_path}/bad.md:9: factory_mcp.autonomy: `mediun` is not known; did you mean `medium`?",
    ] == err.splitlines()


def test_check_of_a_folder_without_specs_exits_1(tmp_path: Path) -> None:
    """A wrong path must not look like success."""
    code, out, err = run("check", str(tmp_path))
    assert (1, "", f"{tmp_path}: no spec (*.md) there\n") == (code, out, err)


def test_check_reads_the_folders_of_the_server_by_default(tmp_path: Path) -> None:
    """The shipped ones, and those of FACTORY_MCP_SPECS."""
    (tmp_path / "mine.md").write_text(GOOD.replace("name: code", "name: mine"), encoding="utf-8")
    code, out, _ = run("check", specs=tmp_path)
    assert (0, 6) == (code, len(out.splitlines()))


def test_list_shows_what_each_droid_may_do() -> None:
    """A table for people."""
    code, out, _ = run("list")
    rows = [line.split() for line in out.splitlines()]
    assert (0, 6) == (code, len(rows))
    assert ["droid", "effects", "autonomy", "tools", "tasks"] == rows[0]
    assert ["architect", "none", "off", "Read,"] == rows[1][:4]


def test_list_and_show_print_json_for_programs() -> None:
    """The whole spec, and the annotation that follows from it."""
    _, listed, _ = run("list", "--json")
    _, shown, _ = run("show", "architect_droid", "--json")
    spec = json.loads(shown)
    assert spec == json.loads(listed)[0]
    assert ("architect", "none", True) == (spec["name"], spec["effects"], spec["read_only"])
    assert "design_system" == spec["tasks"][0]["name"]


def test_show_prints_rights_tasks_and_prompt() -> None:
    """Everything a person asks before they let it work."""
    code, out, _ = run("show", "reliability")
    assert 0 == code
    for text in ("read only    no", "at most medium", "review_slo: Choose", "1800 s, silent at"):
        assert text in out
    assert "# You are the reliability droid" in out


def test_show_of_an_unknown_droid_gives_the_nearest_name() -> None:
    """And says where the names are."""
    code, out, err = run("show", "architekt")
    assert (1, "") == (code, out)
    assert "There is no droid `architekt`; did you mean `architect`?" in err


@pytest.mark.parametrize("words", [("list",), ("show", "code")])
def test_a_broken_spec_stops_list_and_show_with_its_line(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """As it stops the server."""
    (tmp_path / "broken.md").write_text("no front matter", encoding="utf-8")
    code, out, err = run(*words, specs=tmp_path)
    assert (2, "") == (code, out)
    assert f"{tmp_path}/broken.md:1: a spec begins with YAML front matter" in err
