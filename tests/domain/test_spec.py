"""What a sound spec means: its rights, which task a call means, and the steps of a handoff."""

from collections.abc import Mapping
from typing import Any

import pytest

from factory_mcp.domain.model import Effects
from factory_mcp.domain.spec import DroidSpec, TaskSpec, render_steps, task_for


@pytest.mark.requirement("SPECS-2")
def test_read_only_follows_from_effects_and_tools() -> None:
    """Never from effects alone: a wrong annotation lets a client skip its question."""
    none = DroidSpec(name="a", description="", prompt="", effects=Effects.NONE)
    assert [False, True, False, False] == [
        DroidSpec(
            name="a", description="", prompt="", effects=effects, tools=tools, mcp_servers=servers
        ).read_only
        for effects, tools, servers in (
            (Effects.UNSAFE, ("Read",), ()),
            (Effects.NONE, ("Read", "FetchUrl", "TodoWrite"), ()),
            (Effects.NONE, ("Read", "Execute"), ()),
            (Effects.NONE, ("Read",), ("linear",)),
        )
    ]
    assert not none.read_only


# ------------------------------------------------------------------------------- which task


def task(name: str, *when: str, description: str = "Do something.") -> TaskSpec:
    return TaskSpec(name=name, description=description, when=when, handoff_steps=("Do {task}",))


ARCHITECT = DroidSpec(
    name="architect",
    description="",
    prompt="",
    tasks=(
        task("design_system", "design", "blueprint"),
        task("plan_migration", "migrate", "move to"),
        task("review", "review", "technical debt"),
    ),
)


@pytest.mark.requirement("SPECS-6")
@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("plan_migration", "plan_migration"),
        (" Plan-Migration\n", "plan_migration"),
        ("plan migration: from the review, redesign all and design it", "plan_migration"),
        ("design_system", "design_system"),
        (
            "We are migrating the orders, by a design of ours, and move to Postgres",
            "plan_migration",
        ),
        ("MIGRATED", "plan_migration"),
        ("reviews, please", "review"),
        ("what of our technical  debt and its design?", "review"),
        ("redesign previews", "design_system"),
        ("previewed", "design_system"),
        ("hello", "design_system"),
        ("", "design_system"),
    ],
)
def test_a_call_means_the_task_it_names_or_the_one_its_words_point_to(
    words: str, name: str
) -> None:
    """By name, else by most words of `when`, else the first."""
    assert name == task_for(ARCHITECT, words).name


def test_a_spec_without_tasks_gives_a_task_without_steps() -> None:
    """A handoff never fails for want of a task."""
    bare = DroidSpec(name="bare", description="Bare.", prompt="")
    expected = TaskSpec(name="bare", description="Bare.", when=(), handoff_steps=())
    assert expected == task_for(bare, "anything")


# ------------------------------------------------------------------------------------- steps


def rendered(
    *templates: str,
    words: str = "Paint it",
    workspace: str | None = "/srv/shop",
    context: Mapping[str, Any] | None = None,
    facts: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """The steps of a task for one call."""
    named = TaskSpec(name="paint", description="Paint.", when=(), handoff_steps=templates)
    return render_steps(
        named, task_text=words, workspace=workspace, context=context or {}, facts=facts or {}
    )


@pytest.mark.requirement("SPECS-7")
@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("Do {task}.", "Do Paint it."),
        ("In {workspace}", "In /srv/shop"),
        ("On {facts.branch}", "On main"),
        ("With {context.colour}", "With red"),
        ("With {context.wall.size}", 'With {"m": 3}'),
        ("With {context.wall.size.m}", "With 3"),
        ("With {context.a.b}", "With 7"),
        ("With {context.a.b.c} and {context.colour.x}", "With (not given) and (not given)"),
        ("With {context.none}, {context.no}", "With (not given), (not given)"),
        ("Off: {context.off}", "Off: false"),
        ("Run {facts.tests}", "Run (not given)"),
        ("Run all[[ with {facts.tests}]].", "Run all."),
        ("Run all[[ on {facts.branch}]].", "Run all on main."),
        ("Run [[{facts.tests} and {facts.branch} ]]all", "Run all"),
        ("Look [[ in {facts.top} ]] , then stop", "Look, then stop"),
        ("Keep[[ this]]", "Keep this"),
        ("Run .venv/bin/x [[ {facts.tests}]]  .", "Run .venv/bin/x."),
    ],
)
def test_a_step_is_filled_with_what_the_call_gives(template: str, expected: str) -> None:
    """What is missing reads sensibly or takes its optional part with it."""
    context = {"colour": "red", "wall": {"size": {"m": 3}}, "a.b": 7, "none": None, "off": False}
    assert (expected,) == rendered(template, context=context, facts={"branch": "main"})


def test_without_a_workspace_the_caller_works_where_it_is() -> None:
    """The caller's agent has a folder of its own."""
    assert ("Look in your current workspace", "Look") == rendered(
        "Look in {workspace}", "Look[[ in {workspace}]]", workspace=None
    )


def test_a_step_that_is_optional_as_a_whole_is_left_out() -> None:
    """No empty line in a brief."""
    assert ("Do Paint it",) == rendered("[[First {facts.changed}]]", "Do {task}")


def test_the_whole_context_is_given_as_json() -> None:
    """With its own letters; empty it is missing."""
    assert ('Given {"wo": "Köln"}',) == rendered("Given {context}", context={"wo": "Köln"})
    assert ("Given (not given)",) == rendered("Given {context}")


@pytest.mark.requirement("SPECS-7")
def test_what_a_value_holds_is_never_a_placeholder() -> None:
    """A task that speaks of {workspace} or [[ stays as its author wrote it."""
    words = "Use  {workspace} , [[ {facts.tests} ]]"
    assert (f"Do {words}: {{task}}",) == rendered(
        "Do {task}: {context.a}", words=words, context={"a": "{task}"}
    )


def test_a_bare_name_of_the_task_is_given_with_its_description() -> None:
    """`design_system` alone would tell the caller's agent nothing."""
    assert ("Do Paint (Paint)",) == rendered("Do {task}", words="Paint")


def test_long_values_are_cut_so_that_a_step_stays_a_step() -> None:
    """The call itself has the whole text."""
    [step] = rendered("{task}|{context.a}", words="w" * 5000, context={"a": "a" * 5000})
    assert f"{'w' * 1500} … (cut)|{'a' * 300} … (cut)" == step
