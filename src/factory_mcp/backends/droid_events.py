"""What the droid's notifications of one turn amount to, and what its errors are called here.

No input, no output, no clock: the session feeds raw notifications with the time they came.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, cast

from factory_mcp.backends.launcher import CANNOT_START
from factory_mcp.domain.errors import (
    BackendCrashed,
    BackendError,
    BackendGarbage,
    BackendMissing,
    BackendOverloaded,
    BackendQuota,
    BackendRejected,
    BackendTimeout,
    BackendUnauthorized,
    BackendUnavailable,
    BackendWrongModel,
)
from factory_mcp.domain.model import Progress, SideEffects, Usage
from factory_mcp.domain.spec import CATEGORIES, READING_TOOLS

READ_ONLY = READING_TOOLS | {"ToolSearch"}
EDITING = frozenset(CATEGORIES["edit"])

SUCCESS = frozenset({"completed", "spec_handoff"})

# Why a turn ended, as `agent_turn_completed` says it (0.225.2), and what that is called here.
REASONS: Mapping[str, type[BackendError]] = {
    "cancelled": BackendUnavailable,  # by somebody else: after our own cancel nobody asks
    "permission_rejected": BackendRejected,
    "no_approver_available": BackendRejected,
    "error": BackendUnavailable,
    "process_exit": BackendCrashed,
    "structured_output_missing": BackendGarbage,
    "structured_output_invalid": BackendGarbage,
    "structured_output_schema_invalid": BackendGarbage,
    "model_usage_exhausted": BackendQuota,
    "model_authentication_failed": BackendUnauthorized,
    "model_request_rejected": BackendRejected,
    "model_provider_unreachable": BackendUnavailable,
    "model_provider_unavailable": BackendUnavailable,
    "model_rate_limited": BackendOverloaded,  # sent by the program, unknown to droid-sdk 0.5
    "prompt_rejected": BackendRejected,
    "completion_persistence_failed": BackendUnavailable,
}

# The reason `error` covers many things that only its text tells apart.
_BY_TEXT: Mapping[str, type[BackendError]] = {
    "No access token available": BackendUnauthorized,
    "Authentication failed": BackendUnauthorized,
    "Custom model configuration is unavailable": BackendWrongModel,
    "404 ": BackendRejected,
    "413 ": BackendRejected,
}

# Every exception of droid-sdk by its class name; a subclass is found through its bases.
EXCEPTIONS: Mapping[str, type[BackendError]] = {
    "RunTimeoutError": BackendTimeout,
    "StreamIncompleteError": BackendCrashed,
    "InvalidAttachmentError": BackendRejected,
    "SessionNotOpenError": BackendUnavailable,
    "SessionBusyError": BackendUnavailable,
    "SessionClosedError": BackendUnavailable,
    "SessionReplacedError": BackendUnavailable,
    "SessionReplacementError": BackendUnavailable,
    "SessionNotFoundError": BackendRejected,
    "InvalidWorkingDirectoryError": BackendRejected,
    "SessionError": BackendUnavailable,
    "DroidConnectionError": BackendUnavailable,
    "DroidProcessError": BackendCrashed,
    "DroidProtocolError": BackendGarbage,
}

_AUTHENTICATION = -32001  # the JSON-RPC code of a DroidProtocolError
_LINE_TOO_LONG = "chunk exceed the limit"  # asyncio's words; droid-sdk takes lines of 10 MB

_REFUSALS = (
    "is not permitted in this",
    "Tool execution cancelled by user",
    "insufficient permission",
    "Error: Not found:",
)

# They say nothing about the model's being alive again after a retry.
_NOISE = frozenset(
    {
        "llm_retry",
        "assistant_message_retracted",
        "session_token_usage_changed",
        "session_title_updated",
        "settings_updated",
        "mcp_status_changed",
    }
)
_RETRIES = 3

_STATES = {
    "thinking": "thinking",
    "compacting_conversation": "thinking",
    "streaming_assistant_message": "writing",
    "executing_tool": "tool",
    "waiting_for_tool_confirmation": "tool",
}

_PATCHED = re.compile(r"^\*\*\* (?:Add File|Update File|Delete File|Move to): (.+)$", re.MULTILINE)


@dataclass(slots=True)
class _Call:
    """One tool call: `started` once it runs, `result` is ok, refused or failed once it ended."""

    name: str
    input: Mapping[str, Any]
    started: bool = False
    result: str = ""

    @property
    def side_effects(self) -> SideEffects:
        if self.name in READ_ONLY or self.result == "refused":
            return SideEffects.NONE
        if self.name in EDITING and self.result == "ok":
            return SideEffects.CONFIRMED
        return SideEffects.POSSIBLE


@dataclass(slots=True)
class Turn:
    """One turn of a session, as far as it was told. `heard_at` is when it last gave a sign."""

    folder: PurePath
    heard_at: float
    session_id: str | None = None
    reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    errors: list[str] = field(default_factory=list[str])
    mcp_status: dict[str, str] = field(default_factory=dict[str, str])
    retries: int = 0
    retry_reason: str = ""
    _state: str = "starting"
    _tool: str | None = None
    _calls: dict[str, _Call] = field(default_factory=dict[str, _Call])
    _texts: dict[str, str] = field(default_factory=dict[str, str])
    _system: list[str] = field(default_factory=list[str])

    def feed(self, note: Mapping[str, Any], now: float) -> None:
        """Take one notification, the inner object with `type`."""
        kind = note.get("type")
        if kind != "llm_retry":
            self.heard_at = now
        if kind not in _NOISE:
            self.retries = 0
        handler = getattr(self, f"_on_{kind}", None)  # most types say nothing we need
        if handler is not None:
            handler(note)

    @property
    def worn_out(self) -> bool:
        """Whether the program keeps asking a model that keeps failing."""
        return self.retries >= _RETRIES

    @property
    def text(self) -> str:
        """The last thing the assistant said."""
        said = [text for text in self._texts.values() if text.strip()]
        return said[-1] if said else ""

    @property
    def progress(self) -> Progress:
        """Where it stands."""
        return Progress(
            state=self._state,
            tool=self._tool,
            session_id=self.session_id,
            side_effects=self.side_effects,
            changed_paths=self.changed_paths,
        )

    @property
    def side_effects(self) -> SideEffects:
        """The worst that any call may have done."""
        found = {call.side_effects for call in self._calls.values()}
        worst_first = (SideEffects.CONFIRMED, SideEffects.POSSIBLE)
        return next((effect for effect in worst_first if effect in found), SideEffects.NONE)

    @property
    def changed_paths(self) -> tuple[str, ...]:
        """Files that were created or edited, relative to the folder where they are inside it."""
        paths = [
            self._relative(path)
            for call in self._calls.values()
            if call.name in EDITING and call.result == "ok"
            for path in _paths(call.input)
        ]
        return tuple(dict.fromkeys(paths))

    @property
    def warnings(self) -> list[str]:
        """What an honest report of a completed turn must not leave out."""
        refused = Counter(call.name for call in self._calls.values() if call.result == "refused")
        return [
            f"partial: the droid was refused the tool {name} ({times} of its calls)"
            for name, times in refused.items()
        ] + [f"partial: the droid reported an error: {error}" for error in self.errors]

    @property
    def explanation(self) -> str:
        """Why the turn failed, in the program's own words as far as there are any."""
        refused = [call.name for call in self._calls.values() if call.result == "refused"]
        if self.reason == "permission_rejected" and refused:
            return f"the droid stopped because it was not allowed to use {refused[-1]}"
        return (self.errors or self._system or [f"it said nothing and ended with {self.reason}"])[
            -1
        ]

    @property
    def failure(self) -> type[BackendError] | None:
        """What kind of error ended the turn, None for a success."""
        if self.reason in SUCCESS:
            return None if self.text else BackendGarbage
        if self.reason == "error":
            text = self.explanation
            by_text = (kind for mark, kind in _BY_TEXT.items() if mark in text)
            return next(by_text, BackendUnavailable)
        return REASONS.get(self.reason or "", BackendGarbage)

    def _relative(self, path: str) -> str:
        pure = PurePath(path)
        return str(pure.relative_to(self.folder)) if pure.is_relative_to(self.folder) else path

    # One method for each type of notification that matters here.

    def _on_droid_working_state_changed(self, note: Mapping[str, Any]) -> None:
        self._state = _STATES.get(str(note.get("newState")), self._state)
        if self._state != "tool":
            self._tool = None

    def _on_llm_retry(self, note: Mapping[str, Any]) -> None:
        self.retries += 1
        self.retry_reason = str(note.get("reason", "unknown"))
        self._state, self._tool = "retrying", None

    def _on_create_message(self, note: Mapping[str, Any]) -> None:
        message = _mapping(note.get("message"))
        blocks = [_mapping(block) for block in message.get("content") or ()]
        text = "".join(str(b.get("text", "")) for b in blocks if b.get("type") == "text")
        if message.get("role") == "system" and text:
            self._system.append(text)
        if message.get("role") == "assistant":
            # Said anew it comes last, wherever its first words stood.
            self._texts.pop(str(message.get("id")), None)
            self._texts[str(message.get("id"))] = text
            for block in blocks:
                if block.get("type") == "tool_use":
                    self._called(block)

    def _on_assistant_text_delta(self, note: Mapping[str, Any]) -> None:
        key = str(note.get("messageId"))
        self._texts[key] = self._texts.get(key, "") + str(note.get("textDelta", ""))

    def _on_assistant_message_retracted(self, note: Mapping[str, Any]) -> None:
        self._texts.pop(str(note.get("messageId")), None)

    def _on_tool_call(self, note: Mapping[str, Any]) -> None:
        self._called(_mapping(note.get("toolUse")))

    def _called(self, use: Mapping[str, Any]) -> None:
        key, name = str(use.get("id")), str(use.get("name"))
        call = self._calls.setdefault(key, _Call(name, {}))
        call.input = _mapping(use.get("input")) or call.input
        self._tool = name

    def _on_tool_execution_phase_changed(self, note: Mapping[str, Any]) -> None:
        call = self._calls.get(str(note.get("toolUseId")))
        if call is not None and note.get("phase") == "executing":
            call.started = True
            self._state, self._tool = "tool", call.name

    def _on_tool_result(self, note: Mapping[str, Any]) -> None:
        call = self._calls.get(str(note.get("toolUseId")))
        if call is None or call.result:  # an interrupt sends the same result twice
            return
        if not note.get("isError"):
            call.result = "ok"
        elif not call.started and any(mark in str(note.get("content")) for mark in _REFUSALS):
            call.result = "refused"
        else:
            call.result = "failed"

    def _on_error(self, note: Mapping[str, Any]) -> None:
        self.errors.append(str(note.get("message", "")))

    def _on_mcp_status_changed(self, note: Mapping[str, Any]) -> None:
        for server in note.get("servers") or ():
            self.mcp_status[str(server.get("name"))] = str(server.get("status"))

    def _on_agent_turn_completed(self, note: Mapping[str, Any]) -> None:
        used = _mapping(note.get("tokenUsage"))
        self.reason = str(note.get("reason"))
        self.usage = Usage(
            input_tokens=int(used.get("inputTokens") or 0),
            output_tokens=int(used.get("outputTokens") or 0),
            credits=float(used.get("factoryCredits") or 0),
        )


def exception_kind(error: BaseException) -> type[BackendError]:
    """What an exception of droid-sdk, of the pipe to the program or of its parsing is here."""
    if getattr(error, "exit_code", None) == CANNOT_START:
        return BackendMissing
    if getattr(error, "code", None) == _AUTHENTICATION:
        return BackendUnauthorized
    if _LINE_TOO_LONG in str(error):
        return BackendGarbage
    if isinstance(error, OSError):
        return BackendUnavailable
    named = (
        EXCEPTIONS[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in EXCEPTIONS
    )
    return next(named, BackendGarbage)


def _paths(tool_input: Mapping[str, Any]) -> list[str]:
    path = tool_input.get("file_path")
    if isinstance(path, str):
        return [path]
    return [found.strip() for found in _PATCHED.findall(str(tool_input.get("input", "")))]


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
