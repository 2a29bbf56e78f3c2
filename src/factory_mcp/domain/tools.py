"""The ten tools: names, schemas and truthful annotations; one output schema for all.

Schemas are flat (no `$ref`, no `oneOf`): some clients strip or refuse anything else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from factory_mcp.domain.model import Autonomy, Json, SideEffects, Status
from factory_mcp.domain.spec import DroidSpec

MAX_WAIT_S: Final = 300
MAX_TASK: Final = 200_000
SUFFIX: Final = "_droid"
WHOLE: Final = 100_000
"""Characters: no result of ours is longer, so none need be put into a file unread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool as a client lists it."""

    name: str
    title: str
    description: str
    input_schema: Json
    read_only: bool
    destructive: bool
    idempotent: bool
    open_world: bool
    always_load: bool = False  # offered to the model at once, where the client can defer tools

    @property
    def meta(self) -> Json:
        """What some client obeys (clients.toml says which); a list is the same for all."""
        whole: Json = {"anthropic/maxResultSizeChars": WHOLE}
        return whole | {"anthropic/alwaysLoad": True} if self.always_load else whole


def _text(description: str, *, most: int = 200, **more: Any) -> Json:
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": most,
        "description": description,
        **more,
    }


def _object(required: Sequence[str], **properties: Json) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_WAIT: Final[Json] = {
    "type": "number",
    "minimum": 0,
    "maximum": MAX_WAIT_S,
    "description": "Seconds to wait for the end before answering `running`; "
    "by default what your client's own time-out allows.",
}
_RUN: Final = _text("The run, as a result names it: run_…")
_CONTEXT: Final = _text("A context chain, named by any of its nodes: ctx_…")


def droid_tool(spec: DroidSpec) -> Tool:
    """The tool that runs a droid; its annotations follow from what the droid may do."""
    tasks = "; ".join(f"{t.name} ({t.description.rstrip('.')})" for t in spec.tasks)
    changes = (
        "It reads and never changes anything."
        if spec.read_only
        else "It may change files and run commands in the workspace."
    )
    description = (
        f"{spec.description.rstrip('.')}. {changes} Give `task` in plain words with everything it"
        f" needs to know{f', or one of: {tasks}' if tasks else ''}. "
        "It remembers: earlier droids' findings on this workspace are in its prompt. "
        "If the answer is RUNNING, call droid_wait with its run_id and never this tool again; if "
        "it is HANDOFF, do the listed steps yourself."
    )
    return Tool(
        name=f"{spec.name}{SUFFIX}",
        title=f"Factory {spec.name} droid",
        description=description[:1800],
        input_schema=_droid_schema(spec),
        read_only=spec.read_only,
        destructive=not spec.read_only,
        idempotent=spec.effects.value != "unsafe",
        open_world=True,
        always_load=True,
    )


def _droid_schema(spec: DroidSpec) -> Json:
    flag = {"type": "boolean", "default": False}
    return _object(
        ["task"],
        task=_text("What to do, in plain words, or the name of a listed task.", most=MAX_TASK),
        context={
            "type": "object",
            "description": "Facts for this call alone, by name.",
            "additionalProperties": True,
        },
        options={
            "type": "object",
            "description": "How to do it.",
            "properties": {
                "fresh": {**flag, "description": "Never answer with an earlier run's result."},
                "branch": {**flag, "description": "Write to a branch of the context chain."},
                **spec.options,
            },
            "additionalProperties": False,
        },
        context_id=_text(
            "The context chain to read and to write (any of its nodes), or `new`. Left out: the "
            "workspace's own chain."
        ),
        workspace=_text("Absolute path of the folder to work in.", most=4096),
        autonomy={
            "type": "string",
            "enum": [a.value for a in Autonomy if a.rank <= spec.autonomy.rank],
            "description": "Lower what the droid may do on its own.",
        },
        session_id=_text("Continue this droid session."),
        wait_s=_WAIT,
        idempotency_key=_text("The same key never starts a second run (24 h).", most=255),
    )


WAIT: Final = Tool(
    name="droid_wait",
    title="Wait for a droid",
    description=(
        "Collect the result of a droid run that answered RUNNING. Waits up to wait_s seconds and "
        "answers the result, or RUNNING again: then call it again. It never starts work."
    ),
    input_schema=_object(
        ["run_id"],
        run_id=_RUN,
        wait_s=_WAIT,
        answer=_text("The answer to a run that asked a question.", most=MAX_TASK),
    ),
    read_only=True,
    destructive=False,
    idempotent=True,
    open_world=False,
    always_load=True,
)
CANCEL: Final = Tool(
    name="droid_cancel",
    title="Stop a droid",
    description="Stop a droid run and every process it started. What it changed stays changed.",
    input_schema=_object(["run_id"], run_id=_RUN, reason=_text("Why, for the history.", most=1000)),
    read_only=False,
    destructive=True,
    idempotent=True,
    open_world=False,
)
SEARCH: Final = Tool(
    name="context_search",
    title="Search what the droids learnt",
    description=(
        "Find what droids and agents have learnt on this workspace, by meaning and by keywords. "
        "Answers the best notes with their ids; read one with context_read."
    ),
    input_schema=_object(
        ["query"],
        query=_text("A question, or words of the note.", most=2000),
        limit={
            "type": "integer",
            "minimum": 1,
            "maximum": 50,
            "default": 10,
            "description": "How many notes at most.",
        },
        droid=_text("Only notes of this droid."),
        scope={
            "type": "string",
            "enum": ["workspace", "all"],
            "default": "workspace",
            "description": "This workspace, or everything.",
        },
    ),
    read_only=True,
    destructive=False,
    idempotent=True,
    open_world=False,
)
READ: Final = Tool(
    name="context_read",
    title="Read what a droid learnt",
    description=(
        "Read a context node, its whole chain (root to node) or the merged view of the chain "
        "(nearest value wins). Long values come in pages: call again with the next_offset."
    ),
    input_schema=_object(
        [],
        id=_CONTEXT,
        uri=_text("A context://, run:// or droid:// URI instead of an id.", most=500),
        view={
            "type": "string",
            "enum": ["node", "chain", "merged"],
            "default": "node",
            "description": "What to read.",
        },
        revision={
            "type": "integer",
            "minimum": 1,
            "description": "The chain as it was at this revision.",
        },
        offset={
            "type": "integer",
            "minimum": 0,
            "default": 0,
            "description": "Where the next page starts.",
        },
    ),
    read_only=True,
    destructive=False,
    idempotent=True,
    open_world=False,
)
WRITE: Final = Tool(
    name="context_write",
    title="Write to the droids' memory",
    description=(
        "Add what you learnt or did to the shared context, so that every droid knows it: after a "
        "HANDOFF give its run_id and a summary. Give summary, data or both."
    ),
    input_schema=_object(
        [],
        data={
            "type": "object",
            "description": "Facts by name; null removes one.",
            "additionalProperties": True,
        },
        summary=_text("What happened, in a few sentences.", most=20_000),
        merge=_text("A chain (any of its nodes) to merge into context_id."),
        droid=_text("On behalf of which droid."),
        context_id=_CONTEXT,
        run_id=_RUN,
        expected_revision={
            "type": "integer",
            "minimum": 0,
            "description": "Refuse if the chain has moved on from this revision.",
        },
    ),
    read_only=False,
    destructive=False,
    idempotent=False,
    open_world=False,
)


def all_tools(specs: Sequence[DroidSpec]) -> tuple[Tool, ...]:
    """Every tool, the droids first."""
    return (*map(droid_tool, specs), WAIT, CANCEL, SEARCH, READ, WRITE)


OUTPUT_SCHEMA: Final[Json] = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "description": "All that matters, for reading."},
        "status": {"type": "string", "enum": [s.value for s in Status]},
        "code": {"type": "string"},
        "run_id": {"type": "string"},
        "droid": {"type": "string"},
        "backend": {"type": "string"},
        "session_id": {"type": "string"},
        "context_id": {"type": "string"},
        "output_uri": {"type": "string"},
        "side_effects": {"type": "string", "enum": [s.value for s in SideEffects]},
        "changed_paths": {"type": "array", "items": {"type": "string"}},
        "partial": {"type": "array", "items": {"type": "string"}},
        "warnings": {"type": "array", "items": {"type": "string"}},
        "attempts": {"type": "array", "items": {"type": "object"}},
        "usage": {"type": "object"},
        "ms": {"type": "object"},
        "cached": {"type": "boolean"},
        "retry_after_s": {"type": "number"},
        "next": {"type": "object"},
        "handoff": {"type": "object"},
        "needs_input": {"type": "object"},
        "data": {"type": "object"},
        "conflicts": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["text", "status", "code"],
}
