"""The words of a result: line one says what happened, the rest is what a model should read."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from factory_mcp.domain.errors import FactoryError
from factory_mcp.domain.model import (
    Conflict,
    ContextNode,
    Envelope,
    Json,
    Outcome,
    Progress,
    Run,
    SideEffects,
    Status,
)

MOST_CONFLICTS: Final = 20
"""Conflicts that a text spells out."""
SHOWN: Final = 200
"""Characters of a value that a sentence shows."""

_CHANGED: Final = {
    SideEffects.NONE: "nothing was changed",
    SideEffects.POSSIBLE: "files may have been changed; look before you go on",
    SideEffects.CONFIRMED: "files were changed",
}


def closed_text(run: Run, outcome: Outcome, seconds: float, extra: tuple[str, ...] = ()) -> str:
    """The whole text of a run that ended.

    Args:
        run: The run, for its droid and id.
        outcome: What the chain produced; a handoff's text is already imperative.
        seconds: How long it took.
        extra: Warnings and conflicts, a sentence each.
    """
    head = f"{outcome.status.upper()} {run.droid} {run.id}"
    lines = [f"{head}: {_sentence(outcome, seconds)}", "", outcome.text.strip()]
    if outcome.changed_paths:
        lines += ["", "Changed: " + ", ".join(outcome.changed_paths[:50])]
    if extra:
        lines += ["", *(f"Note: {sentence}" for sentence in extra)]
    return "\n".join(lines).strip() + "\n"


def _sentence(outcome: Outcome, seconds: float) -> str:
    changed = _CHANGED[outcome.side_effects]
    match outcome.status:
        case Status.HANDOFF:
            reason = outcome.handoff.reason if outcome.handoff else outcome.code
            return f"no backend can run this ({reason.rstrip('.')}); {changed}."
        case Status.DONE:
            return f"finished in {seconds:.1f} s; {changed}."
        case _:
            return f"ended after {seconds:.1f} s ({outcome.code}); {changed}."


def running(run: Run, progress: Progress, seconds: float) -> Envelope:
    """The answer while a run goes on: do not call again, wait for it."""
    if run.code == "queued":
        doing = "it waits for a free slot"
    else:
        doing = f"it is using {progress.tool}" if progress.tool else f"it is {progress.state}"
    text = (
        f"RUNNING {run.droid} {run.id}: {doing}, {seconds:.0f} s so far.\n"
        f'Do NOT call {run.droid}_droid again for this. Call droid_wait with run_id "{run.id}" '
        "to collect the result.\n"
    )
    return Envelope(
        text=text,
        status=Status.RUNNING,
        code=run.code,
        run_id=run.id,
        droid=run.droid,
        session_id=progress.session_id or run.session_id,
        next={"tool": "droid_wait", "arguments": {"run_id": run.id}, "after_s": 0},
    )


def cut_off(status: Status, code: str, why: str, known: Progress) -> Outcome:
    """What is known of a run that was cancelled or interrupted."""
    again = (
        "The same call again continues its session."
        if known.session_id and status is Status.INTERRUPTED
        else "The same call again starts afresh."
    )
    return Outcome(
        text=f"{why.rstrip('.')}. {again}",
        status=status,
        code=code,
        session_id=known.session_id,
        side_effects=known.side_effects,
        changed_paths=known.changed_paths,
    )


def refusal(error: FactoryError, tool: str) -> Envelope:
    """The answer when nothing was started."""
    return Envelope(
        text=f"FAILED {tool}: {error.message}\nNothing was started. {error.remedy}\n",
        status=Status.FAILED,
        code=error.code,
        retry_after_s=getattr(error, "retry_after_s", None),
        conflicts=getattr(error, "conflicts", ()),
    )


def conflict_sentence(conflict: Conflict) -> str:
    """One conflict, for a reader."""
    return (
        f"`{conflict.key}` was also changed by {_writer(conflict.theirs)}: theirs is "
        f"{_shown(conflict.theirs)}, ours {_shown(conflict.ours)}; ours stands in "
        "the merged view. Settle it with context_write."
    )


def choice_sentence(conflict: Conflict) -> str:
    """One conflict that must be settled before two chains can be merged."""
    return f"`{conflict.key}`: {_sides(conflict)}; before, it was {_value(conflict.base)}."


def merge_note(why: str, other: ContextNode, settled: Sequence[Conflict], data: Json) -> str:
    """The summary of a merge: why, what was merged, and both sides of what was settled how."""
    lines = [
        *([why] if why else []),
        f"Merged {other.id} (revision {other.revision}) into this chain.",
        *(
            f"`{conflict.key}` was settled as {_value(data[conflict.key])}: {_sides(conflict)}."
            for conflict in settled[:MOST_CONFLICTS]
        ),
    ]
    return "\n".join(lines)


def _sides(conflict: Conflict) -> str:
    return " and ".join(
        f"{whose} is {_shown(side)} ({_writer(side)}, {_when(side)})"
        for whose, side in (("ours", conflict.ours), ("theirs", conflict.theirs))
    )


def _writer(side: Json) -> str:
    return str(side.get("droid") or side.get("run_id") or "another writer")


def _when(side: Json) -> str:
    at = side.get("at")
    return "at a time unknown" if at is None else f"{datetime.fromtimestamp(at, UTC):%F %T} UTC"


def _shown(side: Json) -> str:
    return _value(side.get("value"))


def _value(value: Any) -> str:
    """A value short enough for a sentence; None stands for an absent key."""
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} …"
