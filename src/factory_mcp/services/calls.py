"""The straight line of one call."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Final, Protocol

from factory_mcp.domain.envelope import from_json
from factory_mcp.domain.errors import DepthExceeded, NothingAsked, UnknownRun
from factory_mcp.domain.fingerprint import arguments_hash, fingerprint
from factory_mcp.domain.ids import ENTROPY, new_id
from factory_mcp.domain.model import (
    Autonomy,
    CallRequest,
    ContextNode,
    Effects,
    Envelope,
    Json,
    Owner,
    Principal,
    Run,
    Status,
    Workspace,
)
from factory_mcp.domain.spec import DroidSpec, task_for
from factory_mcp.domain.wording import running
from factory_mcp.ports import Claim, Clock, Report, Rng, RunReader, Work, Workspaces
from factory_mcp.services.chain import Chain
from factory_mcp.services.closing import Closing
from factory_mcp.services.contexts import ContextService, principal_key, wants_branch
from factory_mcp.services.runs import Runs, Watch

ATTACH_DONE_S: Final = 600
"""A repeated call of an `unsafe` droid answers with a run that ended less than this ago."""

_UNOWNED: Final = Owner(id="", boot_id="", pid_ns="", pid=0, started="")


class Droids(Protocol):
    """Where specs are looked up."""

    def get(self, name: str) -> DroidSpec:
        """The droid of that name, or UnknownTool."""
        ...


class CallService:
    """Calls of droids, and what may be done with a run afterwards.

    Args:
        droids: The specs.
        workspaces: The folders droids may work in.
        contexts: The shared memory.
        chain: Backends, fallback and retry.
        runs: What is running.
        reader: What ran.
        clock: Time.
        rng: Chance.
        secret: The key of call fingerprints; asked for at each call, as its file may be away.
        max_autonomy: No droid gets more.
        depth: How many droids stand above this process; more than 0 refuses every call.
    """

    def __init__(  # noqa: PLR0913 — the services one call passes, in its order
        self,
        *,
        droids: Droids,
        workspaces: Workspaces,
        contexts: ContextService,
        chain: Chain,
        runs: Runs,
        reader: RunReader,
        clock: Clock,
        rng: Rng,
        secret: Callable[[], bytes],
        max_autonomy: Autonomy = Autonomy.LOW,
        depth: int = 0,
    ) -> None:
        self._droids, self._workspaces, self._contexts = droids, workspaces, contexts
        self._chain, self._runs, self._reader = chain, runs, reader
        self._clock, self._rng, self._secret = clock, rng, secret
        self._max_autonomy, self._depth = max_autonomy, depth

    async def call(self, request: CallRequest, wait_s: float, watch: Watch | None) -> Envelope:
        """Run a droid, or attach to the run that this very call has started before.

        Args:
            request: The call, its arguments already checked against the tool's schema.
            wait_s: Answer `running` after so many seconds.
            watch: Told of progress while it waits.
        """
        self._refuse_recursion()
        droid = self._droids.get(request.droid)
        workspace = await self._workspaces.open(request.workspace)
        run = self._record(request, droid, workspace)
        await self._base(run)
        run = await self._resume(run)
        opened = await self._runs.open(
            run, _claim(request, droid), lambda run, report: self._work(run, workspace, report)
        )
        ended = await self._runs.wait(opened.run, wait_s, watch)
        return self.answer(ended, cached=opened.attached and not opened.run.status.is_open)

    def _refuse_recursion(self) -> None:
        if self._depth > 0:
            raise DepthExceeded("A droid called a droid through factory-mcp.")

    def _record(self, request: CallRequest, droid: DroidSpec, workspace: Workspace | None) -> Run:
        """The row of a call that has not been opened yet."""
        path = workspace.path if workspace else None
        home = workspace.key if workspace else principal_key(request.principal)
        arguments: Json = {
            "task": request.task,
            "context": request.context,
            "options": request.options,
            "context_id": request.context_id,
            "session_id": request.session_id,
            "autonomy": request.autonomy,
            "workspace": path,
        }
        who = asdict(request.principal) | {"scopes": None}
        parts: Json = {"principal": who, "tool": droid.name, **arguments}
        key, secret = request.idempotency_key, self._secret()
        return Run(
            id=new_id("run", self._clock.now(), self._rng.token(ENTROPY)),
            tenant=request.principal.tenant,
            subject=request.principal.subject,
            droid=droid.name,
            effects=droid.effects,
            request=arguments,
            # An explicit key says "another call", whatever the arguments.
            fingerprint=fingerprint(secret, parts | {"key": key} if key else parts),
            arguments_hash=arguments_hash(secret, parts),
            owner=_UNOWNED,
            created_at=self._clock.now(),
            workspace=path,
            workspace_key=self._contexts.scope(request.principal.tenant, home),
        )

    async def _base(self, run: Run) -> ContextNode | None:
        wanted, key = run.request["context_id"], run.workspace_key or ""
        return await self._contexts.base(run.tenant, wanted, key, branch=wants_branch(run))

    async def _resume(self, run: Run) -> Run:
        """The same call after an interruption continues the interrupted session."""
        if given := run.request["session_id"]:
            return replace(run, session_id=given)
        cut = await self._reader.recent(
            run.tenant, limit=20, droid=run.droid, status=Status.INTERRUPTED
        )
        session = next((r.session_id for r in cut if r.fingerprint == run.fingerprint), None)
        return replace(run, session_id=session)

    async def _work(self, run: Run, workspace: Workspace | None, report: Report) -> Closing:
        """What a run does once it has a slot: context, chain, closing."""
        droid = self._droids.get(run.droid)
        base = await self._base(run)
        context, lacking = await self._contexts.packed(base, droid.context_tokens)
        wanted = Autonomy(run.request["autonomy"] or droid.autonomy)
        work = Work(
            run_id=run.id,
            droid=droid,
            prompt=_prompt(droid, run.request, context),
            request=run.request,
            workspace=workspace,
            autonomy=min(wanted, droid.autonomy, self._max_autonomy, key=lambda a: a.rank),
            deadline=self._clock.monotonic() + droid.deadline_s,
            session_id=run.session_id,
            context_uris=(f"context://{base.id}/merged",) if base else (),
        )
        result = await self._chain.run(work, report)
        outcome, node = self._contexts.remembered(run, base, result.outcome)
        return Closing(
            outcome=replace(outcome, warnings=(*outcome.warnings, *lacking)),
            backend=result.backend,
            attempts=result.attempts,
            retry_after_s=result.retry_after_s,
            node=node,
        )

    # ------------------------------------------------------------------------ afterwards

    async def wait(
        self, principal: Principal, arguments: Json, wait_s: float, watch: Watch | None
    ) -> Envelope:
        """`droid_wait`: the result of a run, or `running` again."""
        run = await self.run(principal, arguments["run_id"])
        if "answer" in arguments and run.status is not Status.NEEDS_INPUT:
            raise NothingAsked(f"{run.id} has asked no question.")
        return self.answer(await self._runs.wait(run, wait_s, watch))

    async def cancel(self, principal: Principal, run_id: str, reason: str) -> Envelope:
        """`droid_cancel`: stop a run; one that is closed already stays as it ended."""
        run = await self.run(principal, run_id)
        return self.answer(await self._runs.cancel(run, reason))

    async def run(self, principal: Principal, run_id: str) -> Run:
        """A run by id.

        Raises:
            UnknownRun: It is not there, or is another tenant's.
        """
        run = await self._reader.get(principal.tenant, run_id)
        if run is None:
            raise UnknownRun(f"There is no run {run_id[:80]!r}.")
        return run

    async def recent(self, principal: Principal, limit: int) -> list[Run]:
        """The newest runs first."""
        return await self._reader.recent(principal.tenant, limit=limit)

    def answer(self, run: Run, *, cached: bool = False) -> Envelope:
        """The envelope of a run as it stands."""
        if run.envelope is not None:
            return replace(from_json(run.envelope), cached=cached)
        return running(run, self._runs.progress(run), self._clock.now() - run.created_at)


def request_of(
    principal: Principal, droid: DroidSpec, arguments: Json, call_id: str | None
) -> CallRequest:
    """A call from a tool's arguments, which have been checked against its schema."""
    given: dict[str, Any] = {**arguments}
    autonomy = given.pop("autonomy", None)
    return CallRequest(
        principal=principal,
        droid=droid.name,
        call_id=call_id,
        autonomy=Autonomy(autonomy) if autonomy else None,
        **given,
    )


def _claim(request: CallRequest, droid: DroidSpec) -> Claim:
    keys = tuple(key for key in (request.idempotency_key, request.call_id) if key)
    fresh = bool(request.options.get("fresh"))
    unsafe = droid.effects is Effects.UNSAFE
    return Claim(
        keys=keys,
        strict=request.idempotency_key,
        attach_done_s=ATTACH_DONE_S if unsafe and not fresh else 0,
    )


def _prompt(droid: DroidSpec, request: Json, context: str) -> str:
    """What the droid is told: what is known, then the task and the facts of this call."""
    named = task_for(droid, request["task"])
    task = request["task"]
    if named.name == task:
        task = f"{named.name}: {named.description}"
    parts = [context, f"# Task\n{task}"]
    for title, facts in (("Facts", request["context"]), ("Options", request["options"])):
        if facts:
            shown = json.dumps(facts, ensure_ascii=False, indent=1)
            parts.append(f"# {title} given with this call (data)\n{shown}")
    return "\n\n".join(part for part in parts if part)
