"""The folders of specs, and the five droids that come with the product."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

from factory_mcp.domain.errors import SpecInvalid, UnknownTool
from factory_mcp.domain.learnt import learnt
from factory_mcp.domain.model import Autonomy, Effects
from factory_mcp.domain.spec import (
    CATEGORIES,
    FACTS,
    TOOLS,
    DroidSpec,
    TaskSpec,
    render_steps,
    task_for,
)
from factory_mcp.domain.spec_text import (
    EFFORTS,
    FACTORY_KEYS,
    OPTION_KEYS,
    OUR_KEYS,
    TASK_KEYS,
    parse,
)
from factory_mcp.domain.tools import droid_tool
from factory_mcp.services.droids import Droids, load, read

SHIPPED = Path(__file__).parents[2] / "droid_specs"
FIVE = ("architect", "code", "debug", "knowledge", "reliability")
READING = (*CATEGORIES["read-only"], *CATEGORIES["web"])
WRITING = (*CATEGORIES["read-only"], *CATEGORIES["edit"], *CATEGORIES["execute"])
SPEC = """---
name: {name}
description: {description}
factory_mcp:
  tasks:
    help:
      description: Help somebody
      handoff_steps: ["Do {{task}}"]
---
Be helpful.
"""


def put(folder: Path, name: str, description: str = "Helps.") -> Path:
    """A sound spec in a folder, which is made where it is missing."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.md"
    file.write_text(SPEC.format(name=name, description=description), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def shipped() -> Droids:
    return load([SHIPPED])


# ----------------------------------------------------------------------------------- folders


@pytest.mark.requirement("SPECS-8")
def test_a_later_folder_adds_and_overrides_by_name(tmp_path: Path) -> None:
    """FACTORY_MCP_SPECS puts a user's droids beside and over the shipped ones."""
    put(tmp_path / "one", "helper", "Old.")
    put(tmp_path / "one", "zebra")
    put(tmp_path / "two", "helper", "New.")
    put(tmp_path / "two", "adder")
    droids = load([tmp_path / "one", tmp_path / "two"])
    found = [(spec.name, spec.description) for spec in droids.all()]
    assert [("helper", "New."), ("zebra", "Helps."), ("adder", "Helps.")] == found
    assert str(tmp_path / "two" / "helper.md") == droids.get("helper").source


@pytest.mark.requirement("SPECS-3")
def test_the_problems_of_all_files_come_at_once(tmp_path: Path) -> None:
    """The server does not start, and says all there is to mend."""
    put(tmp_path, "good")
    put(tmp_path, "helper").rename(tmp_path / "other.md")
    (tmp_path / "latin.md").write_bytes(b"---\nname: \xff\n---\n")
    (tmp_path / "folder.md").mkdir()
    with pytest.raises(SpecInvalid) as raised:
        load([tmp_path, tmp_path / "absent"])
    assert [
        f"{tmp_path}/folder.md: cannot be read (Is a directory)",
        f"{tmp_path}/latin.md: is no UTF-8 text (byte 10)",
        f"{tmp_path}/other.md:2: name: `helper` is not the file's own name `other`",
        f"{tmp_path}/absent: is no folder",
    ] == raised.value.message.split("\n")


def test_only_markdown_directly_in_the_folder_is_read(tmp_path: Path) -> None:
    """As Factory's droid reads its own folder."""
    put(tmp_path, "helper")
    put(tmp_path / "inner", "hidden")
    (tmp_path / "notes.txt").write_text("no spec", encoding="utf-8")
    names = [found.name for found in read([tmp_path]) if isinstance(found, DroidSpec)]
    assert ["helper"] == names


def test_a_server_without_any_droid_does_not_start(tmp_path: Path) -> None:
    """An empty list of tools would look like a fault of the client."""
    for folders, where in (([tmp_path], str(tmp_path)), ([], "no folder")):
        with pytest.raises(SpecInvalid, match=re.escape(f"No droid spec (*.md) in {where}.")):
            load(folders)


@pytest.mark.requirement("SPECS-9")
def test_a_droid_is_found_by_its_name_and_by_its_tool(shipped: Droids) -> None:
    """Both are what callers know it by."""
    assert shipped.get("architect") is shipped.get("architect_droid")


@pytest.mark.requirement("SPECS-9")
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("architetc", "There is no droid `architetc`; did you mean `architect`?"),
        ("debg_droid", "There is no droid `debg_droid`; did you mean `debug`?"),
        ("zzz", "There is no droid `zzz`; known are architect, code, debug, knowledge, reliab"),
    ],
)
def test_an_unknown_droid_is_answered_with_the_nearest(
    shipped: Droids, name: str, hint: str
) -> None:
    """A typo costs one look, not a search."""
    with pytest.raises(UnknownTool, match=re.escape(hint)):
        shipped.get(name)


@pytest.mark.requirement("SPECS-12")
def test_the_page_about_droids_shows_a_sound_file_and_names_every_key() -> None:
    """What a reader copies works, and what a file may say stands there."""
    page = (SHIPPED.parent / "docs" / "droids.md").read_text(encoding="utf-8")
    example = re.search(r"```markdown\n(.*?)```", page, re.DOTALL)
    assert example is not None
    assert parse(example[1], "releaser.md").read_only
    rows = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert {*FACTORY_KEYS, *OUR_KEYS, *TASK_KEYS} == rows
    assert [] == [word for word in (*OPTION_KEYS, *EFFORTS, *FACTS, *TOOLS) if word not in page]


# --------------------------------------------------------------------------- the five droids


def _tasks(droids: Droids) -> Iterator[tuple[DroidSpec, TaskSpec]]:
    return ((spec, task) for spec in droids.all() for task in spec.tasks)


@pytest.mark.requirement("SPECS-10")
@pytest.mark.parametrize(
    ("name", "tools", "effects", "autonomy", "mode"),
    [
        ("architect", READING, Effects.NONE, Autonomy.OFF, "architect"),
        ("code", WRITING, Effects.UNSAFE, Autonomy.MEDIUM, "code"),
        ("debug", WRITING, Effects.UNSAFE, Autonomy.MEDIUM, "debug"),
        ("knowledge", READING, Effects.NONE, Autonomy.OFF, "ask"),
        (
            "reliability",
            (*CATEGORIES["read-only"], *CATEGORIES["execute"]),
            Effects.UNSAFE,
            Autonomy.MEDIUM,
            "debug",
        ),
    ],
)
def test_each_shipped_droid_has_its_rights_and_no_more(
    shipped: Droids,
    name: str,
    tools: tuple[str, ...],
    effects: Effects,
    autonomy: Autonomy,
    mode: str,
) -> None:
    """The tool's annotations follow from them."""
    spec = shipped.get(name)
    assert (effects, autonomy, mode) == (spec.effects, spec.autonomy, spec.mode)
    assert (sorted(tools), ()) == (sorted(spec.tools), spec.mcp_servers)
    tool = droid_tool(spec)
    reads = effects is Effects.NONE
    assert (reads, not reads, reads) == (tool.read_only, tool.destructive, tool.idempotent)


@pytest.mark.requirement("SPECS-10")
@pytest.mark.parametrize("name", FIVE)
def test_a_shipped_prompt_is_real_work(shipped: Droids, name: str) -> None:
    """It says what is delivered, checked, forbidden, and when to stop; in 60 to 150 lines."""
    prompt = shipped.get(name).prompt
    assert 60 <= len(prompt.splitlines()) <= 150
    headings = re.findall(r"^## (.+)$", prompt, re.MULTILINE)
    assert [
        "What you are given",
        "How you work",
        "What you must check before you answer",
        "What you never do",
        "What you leave for the others",
    ] == [h for h in headings if h not in ("What you deliver", "When you stop")]
    assert {"What you deliver", "When you stop"} < set(headings)
    assert "It is data" in prompt


@pytest.mark.requirement("SPECS-10")
@pytest.mark.parametrize("name", FIVE)
def test_a_shipped_prompt_shows_the_context_block_as_it_is_read(shipped: Droids, name: str) -> None:
    """Its example is one flat object with keys in snake_case, and factory-mcp can read it."""
    spec = shipped.get(name)
    example, warning = learnt(spec.prompt)
    assert (None, True) == (warning, len(example) > 2)
    assert all(re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)*", key) for key in example)
    assert all(isinstance(value, str) for value in example.values())
    assert spec.prompt.endswith("```")


def test_there_are_five_droids(shipped: Droids) -> None:
    """The seed's five, in the order of their names."""
    assert FIVE == tuple(spec.name for spec in shipped.all())


def test_a_shipped_description_fits_the_tool_in_full(shipped: Droids) -> None:
    """Every task is named in what the client shows; nothing is cut."""
    for spec in shipped.all():
        text = droid_tool(spec).description
        assert len(text.encode()) < 1800
        assert all(task.name in text for task in spec.tasks)
        assert 2 <= len(spec.tasks) <= 4


@pytest.mark.requirement("SPECS-10")
@pytest.mark.parametrize("facts", [{}, {"branch": "main", "tests": "make test", "top": "src"}])
def test_a_handoff_of_a_shipped_droid_fits_no_other_task(
    shipped: Droids, facts: dict[str, str]
) -> None:
    """No step is shared, four to seven make a brief, and the call's own words are in it."""
    words = "Sell tickets for the night train"
    briefs = {
        (spec.name, task.name): render_steps(
            task, task_text=words, workspace=None, context={"who": "Ada"}, facts=facts
        )
        for spec, task in _tasks(shipped)
    }
    for steps in briefs.values():
        assert 4 <= len(steps) <= 7
        assert any(words in step for step in steps)
        assert any(json.dumps({"who": "Ada"}) in step for step in steps)
        assert not any(sign in step for step in steps for sign in ("(not given)", "[[", "]]"))
    for one, other in combinations(briefs.values(), 2):
        assert not set(one) & set(other)


@pytest.mark.requirement("SPECS-6")
def test_a_shipped_task_is_found_by_its_name(shipped: Droids) -> None:
    """`design_system` means the seed's task, and every other name its own."""
    assert "design_system" in {task.name for task in shipped.get("architect").tasks}
    assert all(task is task_for(spec, task.name) for spec, task in _tasks(shipped))


@pytest.mark.requirement("SPECS-6")
@pytest.mark.parametrize(
    ("droid", "words", "name"),
    [
        ("architect", "Design a queue for outgoing mail", "design_system"),
        ("architect", "How do we move to Postgres without an outage?", "plan_migration"),
        ("architect", "Review the boundaries of our modules", "review_architecture"),
        ("code", "Add an endpoint that cancels an order", "implement_feature"),
        ("code", "Rename Order to Booking and split the module", "refactor"),
        ("code", "Write unit tests for the parser, it is untested", "write_tests"),
        ("debug", "Why does login crash with a 500?", "find_root_cause"),
        ("debug", "CI fails: make the failing test green", "fix_failing_test"),
        ("debug", "The upload hangs now and then, a race condition?", "hunt_flaky"),
        ("reliability", "Checkout is down since 14:00, an incident", "assess_incident"),
        ("reliability", "Choose SLOs and alerting for search", "review_slo"),
        ("reliability", "Is the billing service production ready?", "harden_service"),
        ("knowledge", "Where is the currency set?", "answer_question"),
        ("knowledge", "Explain the retry loop", "explain_code"),
        ("knowledge", "Document the settings in the README", "write_docs"),
    ],
)
def test_plain_words_point_to_the_task_they_mean(
    shipped: Droids, droid: str, words: str, name: str
) -> None:
    """Nobody has to know the names."""
    assert name == task_for(shipped.get(droid), words).name
