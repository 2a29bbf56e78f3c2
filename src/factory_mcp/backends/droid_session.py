"""One attempt with the droid: start it, open a session, ask, listen, and leave no process.

droid-sdk's protocol client is used rather than its sessions: only there does a resumed session
say which folder it works in, and a reason that the SDK does not know yet is no parsing error.
The SDK takes a second to import, so this module is imported with the first attempt.
"""

import contextlib
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from droid_sdk import DroidError
from droid_sdk.low_level import (
    AutonomyLevel,
    DroidClient,
    InitializeSessionResult,
    LoadSessionResult,
    ProcessTransport,
    ReasoningEffort,
    SessionSettings,
    SystemPromptPreset,
)

from factory_mcp.backends import processes
from factory_mcp.backends.droid_events import Turn, exception_kind
from factory_mcp.backends.droid_launch import Launch
from factory_mcp.backends.texts import cut, writable
from factory_mcp.domain.errors import (
    BackendError,
    BackendGarbage,
    BackendOverloaded,
    BackendRejected,
    BackendTimeout,
    BackendWrongModel,
)
from factory_mcp.domain.model import Outcome
from factory_mcp.domain.spec import TOOLS, DroidSpec
from factory_mcp.ports import Clock, Report, Work
from factory_mcp.telemetry import log

TAG = "factory-mcp"

_MCP_PATIENCE_S = 20
_INTERRUPT_S = 2
_CLOSE_S = 1
_TERM_S = 3
_KILL_S = 8
_GONE_S = 2
_LOOK_S = 0.05


def allowed_tools(spec: DroidSpec) -> list[str]:
    """The tool ids a session is restricted to; MCP servers of the user only if the spec asks."""
    return [*(spec.tools or TOOLS), *(f"MCP:{server}" for server in spec.mcp_servers)]


class Attempt:
    """One attempt at one piece of work."""

    def __init__(self, work: Work, launch: Launch, report: Report, clock: Clock) -> None:
        self._work = work
        self._launch = launch
        self._report = report
        self._clock = clock
        self._turn = Turn(launch.folder, clock.monotonic())
        self._asked = False
        self._settled = anyio.Event()  # the turn ended, the pipe broke, or it is worn out
        self._mcp_settled = anyio.Event()
        self._broken: Exception | None = None
        self._failure: BackendError | None = None
        self._last = self._turn.progress
        program, *arguments = launch.command
        self._transport = ProcessTransport(
            exec_path=program,
            exec_args=arguments,
            cwd=str(launch.folder),
            env=dict(launch.secrets),
            grace_period=_TERM_S,
        )
        self._pid: int | None = None
        self._client = DroidClient(transport=self._transport)
        self._client.on_notification(self._hear)
        self._client.on_error(self._break)

    async def run(self, tick_s: float) -> Outcome:
        """Do the work, reporting at every change and at least every `tick_s` seconds.

        Raises:
            BackendError: With the last progress as evidence.
        """
        self._report(self._last)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, tasks.cancel_scope, tick_s)
                self._failure = await self._converse()
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._end()
        if self._failure is not None:
            raise self._failure
        return self._outcome()

    # ------------------------------------------------------------------------- the talk

    async def _converse(self) -> BackendError | None:
        """The whole talk; None if it ended well."""
        try:
            await self._open()
            await self._ask()
        except BackendError as error:
            error.evidence = self._turn.progress
            return error
        except (DroidError, OSError, ValueError) as error:
            return self._error(exception_kind(error), str(error))
        return self._verdict()

    async def _open(self) -> None:
        await self._client.connect()
        self._pid = self._transport.pid
        log.info("droid.started", run_id=self._work.run_id, pid=self._pid)
        if self._work.session_id is None:
            await self._start()
        else:
            await self._resume(self._work.session_id)

    async def _start(self) -> None:
        spec = self._work.droid
        prompt = {"type": "preset", "preset": "droid", "append": writable(spec.prompt)}
        tools = allowed_tools(spec)
        opened = await self._client.initialize_session(
            machine_id="default",
            cwd=str(self._launch.folder),
            model_id=None if spec.model == "inherit" else spec.model,
            reasoning_effort=_effort(spec),
            autonomy_level=AutonomyLevel(self._work.autonomy.value),
            system_prompt=prompt if spec.prompt.strip() else None,
            restrict_tool_ids=tools,
            tags=[{"name": TAG, "metadata": {"droid": spec.name}}],
            auto_reject_permission_requests=True,
        )
        self._turn.session_id = opened.session_id
        _check_model(spec, opened)
        if set(opened.settings.restrict_tool_ids or ()) != set(tools):
            raise BackendGarbage("this droid program does not restrict a session's tools")
        if spec.prompt.strip() and opened.settings.system_prompt is None:
            raise BackendGarbage("this droid program does not take a droid's prompt")

    async def _resume(self, session_id: str) -> None:
        """Load a session, which keeps its model, prompt and rights; the rights are ours to set."""
        spec = self._work.droid
        loaded = await self._client.load_session(
            session_id=session_id, auto_reject_permission_requests=True
        )
        anew = "Leave session_id out to start a new session."
        if not _belongs(loaded.settings, spec):
            raise BackendRejected(f"that session is not one of {spec.name}", remedy=anew)
        if loaded.cwd is None or Path(loaded.cwd) != self._launch.folder:
            raise BackendRejected("that session works in another folder", remedy=anew)
        _check_model(spec, loaded)
        self._turn.session_id = session_id
        await self._client.update_session_settings(
            autonomy_level=AutonomyLevel(self._work.autonomy.value),
            restrict_tool_ids=allowed_tools(spec),
        )

    async def _ask(self) -> None:
        if self._work.droid.mcp_servers:
            with anyio.move_on_after(_MCP_PATIENCE_S):
                await self._mcp_settled.wait()
        self._asked = True
        await self._client.add_user_message(text=writable(self._work.prompt))
        await self._settled.wait()

    def _hear(self, raw: dict[str, Any]) -> None:
        self._turn.feed(raw["params"]["notification"], self._clock.monotonic())
        self._show()
        states = {self._turn.mcp_status.get(name) for name in self._work.droid.mcp_servers}
        if self._turn.mcp_status and "connecting" not in states:
            self._mcp_settled.set()
        if self._turn.worn_out or self._turn.reason is not None:
            self._settled.set()

    def _break(self, error: Exception) -> None:
        self._broken = error
        self._settled.set()

    def _show(self) -> None:
        if self._turn.progress != self._last:
            self._last = self._turn.progress
            self._report(self._last)

    async def _watch(self, attempt: anyio.CancelScope, tick_s: float) -> None:
        """Report while nothing happens, and end the attempt when its time is up."""
        idle_s = self._work.droid.idle_s
        while True:
            now = self._clock.monotonic()
            left = self._work.deadline - now
            idle_left = self._turn.heard_at + idle_s - now
            if left <= 0 or idle_left <= 0:
                why = "did not finish in time" if left <= 0 else f"was silent for {idle_s:g} s"
                self._failure = self._error(BackendTimeout, f"the droid {why}")
                attempt.cancel()
                return
            await self._clock.sleep(min(tick_s, left, idle_left))
            self._report(self._turn.progress)

    # ---------------------------------------------------------------------- its results

    def _verdict(self) -> BackendError | None:
        turn = self._turn
        if turn.reason is None and self._broken is not None:
            return self._error(exception_kind(self._broken), str(self._broken))
        if turn.reason is None:
            return self._error(
                BackendOverloaded,
                f"the model failed {turn.retries} times in a row ({turn.retry_reason})",
            )
        if turn.failure is None:
            return None
        return self._error(turn.failure, turn.explanation)

    def _error(self, kind: type[BackendError], message: str) -> BackendError:
        shown = self._launch.hide(writable(message))
        remedy = None
        if self._turn.reason in ("permission_rejected", "no_approver_available"):
            remedy = (
                "Call again with the session_id and more autonomy, if FACTORY_MCP_MAX_AUTONOMY "
                "and the droid's spec allow it, or do that step yourself."
            )
        return kind(shown, remedy=remedy, evidence=self._turn.progress)

    def _outcome(self) -> Outcome:
        turn = self._turn
        text, warnings = cut(writable(turn.text))
        for server in self._work.droid.mcp_servers:
            if turn.mcp_status.get(server) != "connected":
                warnings.append(f"partial: the MCP server {server} was not connected")
        warnings += map(self._launch.hide, turn.warnings)
        return Outcome(
            text=text,
            session_id=turn.session_id,
            side_effects=turn.side_effects,
            changed_paths=turn.changed_paths,
            usage=turn.usage,
            warnings=tuple(warnings),
        )

    # -------------------------------------------------------------------------- its end

    async def _end(self) -> None:
        """Close the session; after anything but a completed turn, leave no process of the run."""
        completed = self._turn.reason is not None
        if self._asked and not completed:
            await self._quietly(self._interrupt, _INTERRUPT_S)
        await self._quietly(self._client.close_session, _CLOSE_S)
        if not completed:
            await self._signal(signal.SIGTERM)
        await self._quietly(self._client.close, _KILL_S)
        if not completed:
            await self._signal(signal.SIGKILL)
            await self._gone()
        self._launch.pid_file.unlink(missing_ok=True)
        log.info("droid.ended", run_id=self._work.run_id, pid=self._pid, reason=self._turn.reason)

    async def _interrupt(self) -> None:
        await self._client.interrupt_session()
        await self._settled.wait()

    async def _quietly(self, step: Callable[[], Awaitable[object]], within_s: float) -> None:
        """Try a step of the farewell: what it cannot do, the signals do."""
        with (
            anyio.move_on_after(within_s),
            contextlib.suppress(DroidError, OSError, ValueError),
        ):
            await step()

    async def _signal(self, number: signal.Signals) -> None:
        if self._pid is not None:
            processes.send(number, self._pid, await self._members(self._pid))

    async def _gone(self) -> None:
        """Wait until the last process is gone, and the pipes that it held with it."""
        with anyio.move_on_after(_GONE_S):
            await anyio.sleep(_LOOK_S)
            while self._pid and await self._members(self._pid):  # noqa: ASYNC110 — tells nobody
                await anyio.sleep(_LOOK_S)

    async def _members(self, pid: int) -> set[int]:
        return await anyio.to_thread.run_sync(processes.members, pid, self._work.run_id)


def _effort(spec: DroidSpec) -> ReasoningEffort | None:
    if spec.reasoning_effort is None:
        return None
    try:
        return ReasoningEffort(spec.reasoning_effort)
    except ValueError as error:
        known = ", ".join(effort.value for effort in ReasoningEffort)
        raise BackendRejected(
            f"the droid knows no reasoning effort {spec.reasoning_effort!r}",
            remedy=f"Write one of these as reasoningEffort in its spec: {known}.",
        ) from error


def _check_model(spec: DroidSpec, opened: InitializeSessionResult | LoadSessionResult) -> None:
    """The program takes an unknown model for its default one, which may cost money.

    0.225.2 says so at once; 0.215.0 repeats the unknown name, so that only its list tells.
    """
    got = opened.settings.model_id
    if spec.model not in ("inherit", got):
        raise BackendWrongModel(
            f"{spec.name} asks for the model {spec.model}, the droid would use {got}"
        )
    listed = {model.id for model in opened.available_models or ()}
    if listed and not spec.model.startswith(("inherit", "custom:")) and spec.model not in listed:
        raise BackendWrongModel(f"the droid knows no model {spec.model}")


def _belongs(settings: SessionSettings, spec: DroidSpec) -> bool:
    """Whether a session was started for this droid; 0.215.0 forgets tags but not the prompt."""
    tags = [tag for tag in settings.tags or () if tag.name == TAG]
    if tags:
        return any((tag.metadata or {}).get("droid") == spec.name for tag in tags)
    prompt = settings.system_prompt
    return isinstance(prompt, SystemPromptPreset) and prompt.append == writable(spec.prompt)
