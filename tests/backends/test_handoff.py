"""The brief with which the caller's own agent carries on."""

from dataclasses import replace
from typing import Any

import pytest

from factory_mcp.backends.handoff import HandoffBackend
from factory_mcp.domain.model import (
    Autonomy,
    Json,
    Outcome,
    Progress,
    SideEffects,
    Status,
    Workspace,
)
from factory_mcp.domain.spec import DroidSpec, TaskSpec
from factory_mcp.ports import Backend, Work

ARCHITECT = DroidSpec(
    name="architect",
    description="Designs systems.",
    prompt="Design.",
    mode="architect",
    tasks=(
        TaskSpec(
            name="design_system",
            description="Design a system",
            when=("design",),
            handoff_steps=(
                "Read {workspace} and note its modules.",
                "Write a design for {task}, at the level {context.level}.",
            ),
        ),
        TaskSpec(
            name="review",
            description="Review a design",
            when=("review", "judge"),
            handoff_steps=("Judge the modules of {workspace} on the branch {facts.branch}.",),
        ),
    ),
)
READ_ONLY = Progress(state="tool", session_id="s1")


def work(task: str = "design a cache", **more: Any) -> Work:
    """Work that no backend could do."""
    given: dict[str, Any] = {
        "request": {"task": task},
        "workspace": Workspace(path="/srv/shop", key="shop", facts={"branch": "main"}),
        "reason": "droid_cli failed",
        "evidence": READ_ONLY,
    }
    return Work(
        run_id="run_1",
        droid=ARCHITECT,
        prompt="",
        autonomy=Autonomy.OFF,
        deadline=0,
        **(given | more),
    )


async def hand_off(asked: Work) -> Outcome:
    """The brief for it."""
    return await HandoffBackend().run(asked, lambda _: None)


async def steps(task: str, *, droid: DroidSpec = ARCHITECT, **request: Any) -> tuple[str, ...]:
    """The steps for a task."""
    asked: Json = {"task": task, **request}
    outcome = await hand_off(replace(work(), droid=droid, request=asked))
    assert outcome.handoff is not None
    return outcome.handoff.steps


@pytest.mark.requirement("CHAIN-13")
async def test_the_brief_tells_the_callers_agent_what_to_do_in_the_imperative() -> None:
    """The whole text, as every client shows it."""
    outcome = await hand_off(work(context_uris=("context://ctx_1/merged",)))
    expected = (
        "Do NOT call architect_droid again for this request. "
        'Continue yourself, in mode "architect", with your own tools:\n'
        "1. Read /srv/shop and note its modules.\n"
        "2. Write a design for design a cache, at the level (not given).\n"
        "What was changed: nothing; every tool that was called only reads.\n"
        "Shared context: context://ctx_1/merged (read with context_read)\n"
        'When finished call context_write(run_id="run_1", summary=…) '
        "so that the other droids know."
    )
    assert expected == outcome.text
    assert (Status.HANDOFF, "handoff", "s1") == (outcome.status, outcome.code, outcome.session_id)


@pytest.mark.requirement("CHAIN-13")
async def test_the_brief_is_in_the_result_as_data_as_well() -> None:
    """Reason, steps, mode and context for clients that read structured results."""
    brief = (await hand_off(work(context_uris=("context://ctx_1/merged",)))).handoff
    assert brief is not None
    assert "droid_cli failed" == brief.reason
    assert 2 == len(brief.steps)
    assert ("architect", ("context://ctx_1/merged",)) == (brief.suggested_mode, brief.context_uris)


@pytest.mark.requirement("CHAIN-14")
async def test_two_tasks_and_two_arguments_give_different_steps() -> None:
    """Steps that would fit any task are a defect."""
    given = [
        await steps("design a cache"),
        await steps("design a queue"),
        await steps("design a cache", context={"level": "a sketch"}),
        await steps("judge the cache"),
        await steps("judge the queue"),
    ]
    assert len(given) == len(set(given))


@pytest.mark.requirement("CHAIN-14")
@pytest.mark.parametrize("droid", [ARCHITECT, replace(ARCHITECT, tasks=())])
async def test_the_steps_always_contain_the_words_of_the_call(droid: DroidSpec) -> None:
    """Even where the spec's steps do not ask for them, and where it has no tasks at all."""
    for task in ("review our rate limiter", "design a cache {with} braces", " judge\nit "):
        assert task.strip() in " ".join(await steps(task, droid=droid))


@pytest.mark.requirement("CHAIN-15")
@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (None, "not known; look at the workspace before you go on."),
        (
            Progress(state="tool", side_effects=SideEffects.POSSIBLE),
            "perhaps something; look at the workspace before you go on.",
        ),
        (
            Progress(
                state="tool", side_effects=SideEffects.CONFIRMED, changed_paths=("a.py", "b.py")
            ),
            "files of the workspace (a.py, b.py); verify them first.",
        ),
    ],
)
async def test_it_never_says_that_nothing_was_changed_unless_that_is_known(
    evidence: Progress | None, expected: str
) -> None:
    """No evidence is no claim."""
    outcome = await hand_off(work(evidence=evidence))
    assert f"What was changed: {expected}" in outcome.text.splitlines()
    assert outcome.side_effects is not SideEffects.NONE


async def test_many_changed_paths_are_counted_in_the_text_and_whole_in_the_result() -> None:
    """Forty files would push the rest out of a short client's view."""
    paths = tuple(f"file{n}.py" for n in range(40))
    evidence = Progress(state="tool", side_effects=SideEffects.CONFIRMED, changed_paths=paths)
    outcome = await hand_off(work(evidence=evidence))
    assert "file29.py and 10 more)" in outcome.text
    assert paths == outcome.changed_paths


async def test_without_workspace_context_or_reason_there_is_still_a_brief() -> None:
    """It never fails."""
    outcome = await hand_off(work("help", workspace=None, reason="", request={"task": "help"}))
    assert "Shared context" not in outcome.text
    assert outcome.handoff is not None
    assert "no backend was asked" == outcome.handoff.reason


async def test_it_can_always_work() -> None:
    """Its check is green, and it is passed over for no workspace."""
    backend: Backend = HandoffBackend()
    assert [True] == [check.ok for check in await backend.check()]
    assert ("handoff", True) == (backend.name, backend.sees_workspace)
