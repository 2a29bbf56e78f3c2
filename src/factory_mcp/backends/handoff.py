"""The last backend of every chain: a brief with which the caller's own agent carries on."""

from collections.abc import Sequence
from typing import Any, Final, cast

from factory_mcp.domain.chain import HANDOFF
from factory_mcp.domain.model import Handoff, Json, Outcome, Progress, SideEffects, Status
from factory_mcp.domain.spec import TaskSpec, render_steps, task_for
from factory_mcp.domain.tools import SUFFIX
from factory_mcp.ports import Check, Report, Work

SHOWN_PATHS: Final = 30
"""Changed paths in the text; all of them are in the result's `changed_paths`."""

_CHANGED: Final = {
    SideEffects.NONE: "nothing; every tool that was called only reads.",
    SideEffects.POSSIBLE: "perhaps something{}; look at the workspace before you go on.",
    SideEffects.CONFIRMED: "files of the workspace{}; verify them first.",
}
_RECOGNISED: Final = 80  # characters of a task by which a step is known to speak of it


class HandoffBackend:
    """Runs nothing and never fails: it says what the caller's agent should do instead.

    `Work.reason` says why, `Work.evidence` what was done before; without evidence nothing is
    claimed about the workspace.
    """

    name: str = HANDOFF
    sees_workspace: bool = True

    async def run(self, work: Work, report: Report) -> Outcome:
        """The brief, of this task and with this call's arguments."""
        known = work.evidence or Progress(state="writing", side_effects=SideEffects.POSSIBLE)
        report(known)
        brief = Handoff(
            reason=work.reason or "no backend was asked",
            steps=_steps(work),
            suggested_mode=work.droid.mode,
            context_uris=work.context_uris,
        )
        return Outcome(
            text=_text(work, brief),
            status=Status.HANDOFF,
            code=HANDOFF,
            session_id=known.session_id,
            side_effects=known.side_effects,
            changed_paths=known.changed_paths,
            handoff=brief,
        )

    async def check(self) -> Sequence[Check]:
        """It can always work."""
        return [Check(name=self.name, ok=True, detail="always there")]


def _steps(work: Work) -> tuple[str, ...]:
    """The spec's steps for the task; a brief that would fit any task is of no use."""
    words = str(work.request.get("task", "")).strip()
    task = task_for(work.droid, words)
    steps = _rendered(work, task, words)
    if any(words[:_RECOGNISED] in step for step in steps):
        return steps
    asked = TaskSpec(name="", description="", when=(), handoff_steps=("Do what was asked: {task}",))
    return (*_rendered(work, asked, words), *steps)


def _rendered(work: Work, task: TaskSpec, words: str) -> tuple[str, ...]:
    folder = work.workspace
    context: Any = work.request.get("context") or {}
    return render_steps(
        task,
        task_text=words,
        workspace=folder.path if folder else None,
        context=cast("Json", context),
        facts=folder.facts if folder else {},
    )


def _text(work: Work, brief: Handoff) -> str:
    yourself = f'Continue yourself, in mode "{brief.suggested_mode}", with your own tools:'
    lines = [
        f"Do NOT call {work.droid.name}{SUFFIX} again for this request. {yourself}",
        *(f"{number}. {step}" for number, step in enumerate(brief.steps, start=1)),
        f"What was changed: {_changed(work.evidence)}",
    ]
    if brief.context_uris:
        uris = ", ".join(brief.context_uris)
        lines.append(f"Shared context: {uris} (read with context_read)")
    finished = f'context_write(run_id="{work.run_id}", summary=…)'
    lines.append(f"When finished call {finished} so that the other droids know.")
    return "\n".join(lines)


def _changed(evidence: Progress | None) -> str:
    """What the caller may rely on; "nothing" only where every tool called was read-only."""
    if evidence is None:
        return "not known; look at the workspace before you go on."
    return _CHANGED[evidence.side_effects].format(_listed(evidence.changed_paths))


def _listed(paths: Sequence[str]) -> str:
    if not paths:
        return ""
    more = f" and {len(paths) - SHOWN_PATHS} more" if len(paths) > SHOWN_PATHS else ""
    return f" ({', '.join(paths[:SHOWN_PATHS])}{more})"
