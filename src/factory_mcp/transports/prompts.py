"""Prompts: one for each droid, and one that carries on where a run ended; and completion."""

import difflib
import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

import mcp_types as t
from mcp import MCPError

from factory_mcp.domain.arguments import check
from factory_mcp.domain.model import LOCAL, Json
from factory_mcp.domain.spec import DroidSpec
from factory_mcp.domain.tools import MAX_TASK, droid_tool
from factory_mcp.services.calls import CallService
from factory_mcp.transports.resources import Resources
from factory_mcp.transports.tables import (
    Completer,
    Context,
    Fixtures,
    PromptRow,
    one_page,
    plainly,
)

CONTINUE: Final = "continue_run"
MOST_VALUES: Final = 100
"""Values of one completion; the protocol allows no more."""


class Prompts:
    """What a person picks from a menu, and what completes its arguments."""

    def __init__(
        self,
        calls: CallService,
        resources: Resources,
        specs: tuple[DroidSpec, ...],
        fixtures: Fixtures,
    ) -> None:
        self._calls, self._resources = calls, resources
        own = (self._continue_row(), *map(self._droid_row, specs))
        self._rows = {row.listed.name: row for row in (*own, *fixtures.prompts)}

    def _continue_row(self) -> PromptRow:
        run_id = t.PromptArgument(name="run_id", description="The run: run_…", required=True)
        listed = t.Prompt(
            name=CONTINUE,
            title="Carry on with a run",
            description="What a droid's run ended with, for you to carry on: after a HANDOFF its "
            "steps, else the result, or what to do next.",
            arguments=[run_id],
        )
        complete = {"run_id": self._resources.run_ids}
        return PromptRow(listed=listed, answer=self._continued, complete=complete)

    def _droid_row(self, spec: DroidSpec) -> PromptRow:
        task = t.PromptArgument(
            name="task", description="What to do, or the name of a task.", required=True
        )
        context = t.PromptArgument(
            name="context_id", description="The context to read and write: ctx_…, or `new`."
        )
        listed = t.Prompt(
            name=spec.name,
            title=f"Ask the {spec.name} droid",
            description=spec.description,
            arguments=[task, context],
        )

        async def tasks(_: object) -> list[str]:
            return [task.name for task in spec.tasks]

        complete: dict[str, Completer] = {
            "task": tasks,
            "context_id": self._resources.context_ids,
        }
        return PromptRow(listed=listed, answer=partial(_asked, spec), complete=complete)

    async def _continued(self, _: Context, params: t.GetPromptRequestParams) -> t.GetPromptResult:
        run = await self._calls.run(LOCAL, (params.arguments or {})["run_id"])
        return _said(f"{run.droid} {run.status}", self._calls.answer(run).text)

    # ------------------------------------------------------------------------- handlers

    async def list_prompts(
        self, _: Context, params: t.PaginatedRequestParams | None
    ) -> t.ListPromptsResult:
        """Every prompt, one page."""
        one_page(params)
        return t.ListPromptsResult(prompts=[row.listed for row in self._rows.values()])

    async def get_prompt(
        self, ctx: Context, params: t.GetPromptRequestParams
    ) -> t.GetPromptResult | t.InputRequiredResult:
        """One prompt with its arguments filled in."""
        row = self._rows.get(params.name)
        if row is None:
            raise MCPError(t.INVALID_PARAMS, _unknown("prompt", params.name, self._rows))
        with plainly():
            check(_schema(row.listed), params.arguments or {})
            return await row.answer(ctx, params)

    async def complete(self, _: Context, params: t.CompleteRequestParams) -> t.CompleteResult:
        """The values of an argument of a prompt, or of a variable in a URI, that begin so."""
        argument = params.argument
        completer = self._completers(params.ref).get(argument.name)
        with plainly():
            known = await completer(LOCAL) if completer else []
        found = [value for value in known if value.startswith(argument.value)]
        return t.CompleteResult(
            completion=t.Completion(
                values=found[:MOST_VALUES],
                total=len(found),
                has_more=len(found) > MOST_VALUES,
            )
        )

    def _completers(
        self, ref: t.PromptReference | t.ResourceTemplateReference
    ) -> Mapping[str, Completer]:
        if isinstance(ref, t.PromptReference):
            kind, named, rows = "prompt", ref.name, self._rows
        else:
            templates = self._resources.templates
            kind, named = "resource template", ref.uri
            rows = {row.listed.uri_template: row for row in templates}
        if named not in rows:
            raise MCPError(t.INVALID_PARAMS, _unknown(kind, named, rows))
        return rows[named].complete


async def _asked(
    spec: DroidSpec, _: Context, params: t.GetPromptRequestParams
) -> t.GetPromptResult:
    """The call of a droid, spelt out for the client's model."""
    call = json.dumps(params.arguments, ensure_ascii=False, indent=1)
    return _said(
        spec.description,
        f"Call the tool {droid_tool(spec).name} with exactly these arguments, and tell me what "
        f"it answers:\n\n{call}\n\nIf it answers RUNNING, call droid_wait with its run_id until "
        "it has ended; never repeat the call. If it answers HANDOFF, do the listed steps yourself, "
        "then call context_write with its run_id.",
    )


def _said(description: str, text: str) -> t.GetPromptResult:
    message = t.PromptMessage(role="user", content=t.TextContent(type="text", text=text))
    return t.GetPromptResult(description=description, messages=[message])


def _schema(prompt: t.Prompt) -> Json:
    """What its arguments must be."""
    arguments = prompt.arguments or []
    return {
        "type": "object",
        "properties": {a.name: {"type": "string", "maxLength": MAX_TASK} for a in arguments},
        "required": [argument.name for argument in arguments if argument.required],
        "additionalProperties": False,
    }


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
    return f"Unknown {kind}: {name[:80]}; {hint}"
