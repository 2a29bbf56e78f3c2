"""How a run ends: the closing, and the envelope sealed from it."""

from dataclasses import dataclass

from factory_mcp.domain.model import (
    Attempt,
    Effects,
    Envelope,
    Outcome,
    Progress,
    Run,
    SideEffects,
    Usage,
)
from factory_mcp.domain.wording import closed_text, conflict_sentence
from factory_mcp.ports import Appended, NewNode


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """How a run ends: what was produced, by whom, and the node to remember it by."""

    outcome: Outcome
    backend: str | None = None
    attempts: tuple[Attempt, ...] = ()
    retry_after_s: float | None = None
    node: NewNode | None = None


def recorded(run: Run) -> Progress:
    """What a run's owner wrote down last; that it wrote nothing proves nothing."""
    if run.started_at is None:
        return Progress(state="queued", session_id=run.session_id)
    known = run.progress or {}
    return Progress(
        state=known.get("state", "starting"),
        tool=known.get("tool"),
        session_id=run.session_id,
        side_effects=_at_least_possible(run, known.get("side_effects")),
        changed_paths=tuple(known.get("changed_paths", ())),
    )


def _at_least_possible(run: Run, recorded: str | None) -> SideEffects:
    known = SideEffects(recorded or SideEffects.NONE)
    if known is SideEffects.NONE and run.effects is not Effects.NONE:
        return SideEffects.POSSIBLE  # it may have done more after its last word
    return known


def seal(run: Run, closing: Closing, appended: Appended | None) -> Envelope:
    """The envelope of a run that ends, with the node it wrote."""
    outcome = closing.outcome
    conflicts = appended.conflicts if appended else ()
    notes = (*outcome.warnings, *map(conflict_sentence, conflicts))
    total = max(0.0, (run.ended_at or run.created_at) - run.created_at)
    queued = (run.started_at or run.created_at) - run.created_at
    droid = sum(attempt.ms for attempt in closing.attempts)
    return Envelope(
        text=closed_text(run, outcome, total, notes),
        status=outcome.status,
        code=outcome.code,
        run_id=run.id,
        droid=run.droid,
        backend=closing.backend,
        session_id=outcome.session_id,
        context_id=appended.node.id if appended else run.context_id,
        output_uri=f"run://{run.id}/output",
        side_effects=outcome.side_effects,
        changed_paths=outcome.changed_paths,
        warnings=outcome.warnings,
        attempts=closing.attempts,
        usage=outcome.usage if outcome.usage != Usage() else None,
        ms={
            "total": round(total * 1000),
            "overhead": max(0, round((total - queued) * 1000) - droid),
            "droid": droid,
        },
        retry_after_s=closing.retry_after_s,
        handoff=outcome.handoff,
        conflicts=conflicts,
    )
