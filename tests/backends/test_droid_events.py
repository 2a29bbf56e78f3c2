"""What the notifications of one turn amount to."""

from pathlib import PurePath
from typing import Any

import droid_sdk
import pytest
from droid_sdk.errors import DroidError
from droid_sdk.schemas.enums import AgentTurnCompletionReason

from factory_mcp.backends.droid_events import EXCEPTIONS, REASONS, SUCCESS, Turn, exception_kind
from factory_mcp.domain.errors import (
    BackendCrashed,
    BackendError,
    BackendGarbage,
    BackendMissing,
    BackendOverloaded,
    BackendRejected,
    BackendUnauthorized,
    BackendUnavailable,
    BackendWrongModel,
)
from factory_mcp.domain.model import SideEffects

FOLDER = PurePath("/shop")


def turn_of(*notes: dict[str, Any]) -> Turn:
    """A turn that was told these, one second apart."""
    turn = Turn(FOLDER, 0)
    for now, note in enumerate(notes, start=1):
        turn.feed(note, now)
    return turn


def said(text: str, key: str = "m1", role: str = "assistant", **tools: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    content += [{"type": "tool_use", "id": k, "name": k, "input": v} for k, v in tools.items()]
    return {"type": "create_message", "message": {"id": key, "role": role, "content": content}}


def delta(text: str, key: str = "m1") -> dict[str, Any]:
    return {"type": "assistant_text_delta", "messageId": key, "textDelta": text}


def called(name: str, **tool_input: Any) -> dict[str, Any]:
    return {"type": "tool_call", "toolUse": {"id": name, "name": name, "input": tool_input}}


def phase(name: str, phase: str = "executing") -> dict[str, Any]:
    return {"type": "tool_execution_phase_changed", "toolUseId": name, "phase": phase}


def result(name: str, content: str = "", *, wrong: bool = False) -> dict[str, Any]:
    return {"type": "tool_result", "toolUseId": name, "content": content, "isError": wrong}


def state(name: str) -> dict[str, Any]:
    return {"type": "droid_working_state_changed", "newState": name}


def completed(reason: str = "completed", **more: Any) -> dict[str, Any]:
    return {"type": "agent_turn_completed", "reason": reason, **more}


def retry(reason: str = "overloaded") -> dict[str, Any]:
    return {"type": "llm_retry", "attempt": 1, "reason": reason}


RETRACTED = {"type": "assistant_message_retracted", "messageId": "m1"}
REFUSED = "Error: Tool Create is not permitted in this exec session. Available tools: Read."


# ------------------------------------------------------------------------------- its text


@pytest.mark.parametrize(
    ("notes", "text"),
    [
        ([delta("hel"), delta("lo")], "hello"),
        ([delta("hel"), said("hello")], "hello"),
        ([said("first"), said("last", "m2")], "last"),
        ([said("said"), said(" \n", "m2")], "said"),
        ([delta("par", "m1"), delta("x", "m2"), said("partial", "m1")], "partial"),
        ([delta("to be taken back"), RETRACTED], ""),
        ([said("kept", "m0"), delta("to be taken back"), RETRACTED], "kept"),
        ([said("for the model only", role="user")], ""),
    ],
)
def test_the_answer_is_the_last_thing_said_and_not_taken_back(
    notes: list[dict[str, Any]], text: str
) -> None:
    """Pieces count until the whole message comes; a retracted message never counts."""
    assert text == turn_of(*notes).text


# ------------------------------------------------------------------- what it may have done


@pytest.mark.parametrize(
    ("notes", "effects", "paths"),
    [
        ([], SideEffects.NONE, ()),
        ([called("Read"), result("Read")], SideEffects.NONE, ()),
        ([called("Execute")], SideEffects.POSSIBLE, ()),
        ([called("shop___delete"), result("shop___delete")], SideEffects.POSSIBLE, ()),
        ([called("Create", file_path="/shop/a")], SideEffects.POSSIBLE, ()),
        ([called("Edit"), result("Edit", "no match", wrong=True)], SideEffects.POSSIBLE, ()),
        ([called("Create"), result("Create", REFUSED, wrong=True)], SideEffects.NONE, ()),
        (
            [called("Create", file_path="/shop/sub/a"), result("Create")],
            SideEffects.CONFIRMED,
            ("sub/a",),
        ),
        (
            [said("", Edit={"file_path": "/etc/passwd"}), result("Edit"), called("Execute")],
            SideEffects.CONFIRMED,
            ("/etc/passwd",),
        ),
        ([result("never called")], SideEffects.NONE, ()),
    ],
)
def test_side_effects_are_the_worst_that_any_call_may_have_done(
    notes: list[dict[str, Any]], effects: SideEffects, paths: tuple[str, ...]
) -> None:
    """Refused calls did nothing, a finished edit is certain, all else is possible."""
    turn = turn_of(*notes)

    assert (effects, paths) == (turn.side_effects, turn.changed_paths)
    assert (effects, paths) == (turn.progress.side_effects, turn.progress.changed_paths)


def test_a_patch_names_every_file_it_touches() -> None:
    """Added, updated, deleted and moved files; the streamed call comes empty first."""
    patch = (
        "*** Begin Patch\n*** Add File: new.py\n+x\n*** Update File: /shop/old.py\n"
        "*** Move to: moved.py\n@@\n-a\n+b\n*** Delete File: gone.py\n*** End Patch"
    )

    turn = turn_of(called("ApplyPatch"), called("ApplyPatch", input=patch), result("ApplyPatch"))

    assert ("new.py", "old.py", "moved.py", "gone.py") == turn.changed_paths


def test_a_running_command_that_is_cancelled_was_not_refused() -> None:
    """The program uses the same words for both; what had begun may have had effects."""
    words = "Error: Tool execution cancelled by user"
    cut = turn_of(called("Execute"), phase("Execute"), result("Execute", words, wrong=True))
    never_begun = turn_of(called("Execute"), result("Execute", words, wrong=True))

    assert (SideEffects.POSSIBLE, []) == (cut.side_effects, cut.warnings)
    assert SideEffects.NONE == never_begun.side_effects
    assert 1 == len(never_begun.warnings)


def test_an_error_beside_an_answer_is_told() -> None:
    """A completed turn that met an error is partial."""
    turn = turn_of({"type": "error", "message": "disk full"}, said("done"), completed())

    assert None is turn.failure
    assert ["partial: the droid reported an error: disk full"] == turn.warnings


# -------------------------------------------------------------------------- where it stands


def test_progress_follows_state_and_tool() -> None:
    """Tool names come with the call and go with the state."""
    steps = [
        (state("thinking"), ("thinking", None)),
        (state("streaming_assistant_message"), ("writing", None)),
        (called("Read"), ("writing", "Read")),
        (state("executing_tool"), ("tool", "Read")),
        (state("thinking"), ("thinking", None)),
        (phase("Read", "queued"), ("thinking", None)),
        (phase("Read"), ("tool", "Read")),
        (retry(), ("retrying", None)),
        (state("idle"), ("retrying", None)),
        (state("compacting_conversation"), ("thinking", None)),
    ]
    turn = Turn(FOLDER, 0)
    assert "starting" == turn.progress.state

    for note, expected in steps:
        turn.feed(note, 1)
        assert expected == (turn.progress.state, turn.progress.tool)


@pytest.mark.requirement("DROID-21")
def test_a_retry_notice_is_no_sign_of_life() -> None:
    """Anything else resets the idle timer."""
    assert 1 == turn_of(state("thinking"), retry(), retry()).heard_at
    assert 3 == turn_of(state("thinking"), retry(), {"type": "tool_execution_heartbeat"}).heard_at


@pytest.mark.requirement("DROID-21")
def test_the_third_retry_with_nothing_between_is_the_last() -> None:
    """Retractions, token counts and titles between them are nothing."""
    noise = [{"type": "session_token_usage_changed"}, {"type": "session_title_updated"}]

    assert not turn_of(retry(), RETRACTED, *noise, retry()).worn_out
    assert turn_of(retry(), RETRACTED, retry(), *noise, retry("network")).worn_out
    assert not turn_of(retry(), retry(), delta("alive"), retry()).worn_out


# ------------------------------------------------------------------------- how it ended


def test_usage_is_the_turns_own() -> None:
    """Missing numbers are 0."""
    used = {"inputTokens": 12, "outputTokens": 3, "factoryCredits": 0.5}

    turn = turn_of(said("x"), completed(tokenUsage=used))

    assert (12, 3, 0.5) == (
        turn.usage.input_tokens,
        turn.usage.output_tokens,
        turn.usage.credits,
    )
    assert 0 == turn_of(completed()).usage.credits


@pytest.mark.requirement("DROID-20")
def test_every_reason_that_the_sdk_knows_is_mapped() -> None:
    """A new one fails here; one that only the program knows is garbage until then."""
    known = {reason.value for reason in AgentTurnCompletionReason}

    assert known <= REASONS.keys() | SUCCESS
    assert BackendGarbage is turn_of(completed("a new reason")).failure
    assert BackendOverloaded is turn_of(completed("model_rate_limited")).failure


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("No access token available", BackendUnauthorized),
        ("Authentication failed. Please log in", BackendUnauthorized),
        ("Custom model configuration is unavailable", BackendWrongModel),
        ("404 no such model", BackendRejected),
        ("413 too long", BackendRejected),
        ("Connection error.", BackendUnavailable),
    ],
)
def test_the_reason_error_is_told_apart_by_its_text(message: str, kind: type[BackendError]) -> None:
    """Without any known words it is a passing fault."""
    turn = turn_of({"type": "error", "message": message}, completed("error"))

    assert (kind, message) == (turn.failure, turn.explanation)


def test_a_success_without_a_word_is_garbage() -> None:
    """The program may have said why in a message of its own."""
    silent = turn_of(completed())
    explained = turn_of(said("several empty responses", role="system"), completed())

    assert (BackendGarbage, BackendGarbage) == (silent.failure, explained.failure)
    assert "it said nothing and ended with completed" == silent.explanation
    assert "several empty responses" == explained.explanation


def test_a_rejected_permission_names_the_tool() -> None:
    """It is the caller who can give more autonomy."""
    words = "Error: Tool execution cancelled by user"
    turn = turn_of(
        called("Execute"), result("Execute", words, wrong=True), completed("permission_rejected")
    )

    assert BackendRejected is turn.failure
    assert "the droid stopped because it was not allowed to use Execute" == turn.explanation


def test_notifications_of_other_types_and_odd_shapes_pass() -> None:
    """A newer program may say what we do not know."""
    turn = turn_of(
        {"type": "brand_new"},
        {},
        {"type": "create_message"},
        {"type": "tool_call", "toolUse": None},
        {"type": "mcp_status_changed"},
        {"type": "mcp_status_changed", "servers": [{"name": "shop", "status": "failed"}]},
    )

    assert ({"shop": "failed"}, "") == (turn.mcp_status, turn.text)


@pytest.mark.requirement("DROID-20")
def test_every_exception_of_the_sdk_is_mapped() -> None:
    """By its own name: a new one fails here instead of becoming something by accident."""
    kinds = {DroidError, *_subclasses(DroidError)} - {DroidError}
    exported = {name for name in droid_sdk.__all__ if name.endswith("Error")}

    assert {kind.__name__ for kind in kinds} == EXCEPTIONS.keys()
    assert exported - EXCEPTIONS.keys() <= {"DroidError", "AskUserParseError", "McpConfigError"} | {
        "StructuredOutputError"
    }


def _subclasses(kind: type[Exception]) -> set[type[Exception]]:
    return {found for sub in kind.__subclasses__() for found in (sub, *_subclasses(sub))}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (droid_sdk.DroidProcessError("x", exit_code=3), BackendCrashed),
        (droid_sdk.DroidProcessError("x", exit_code=127), BackendMissing),
        (droid_sdk.DroidProtocolError("x", code=-32001), BackendUnauthorized),
        (droid_sdk.DroidProtocolError("x", code=-32603), BackendGarbage),
        (droid_sdk.SessionNotFoundError("x"), BackendRejected),
        (FileNotFoundError("x"), BackendUnavailable),
        (ValueError("not what was promised"), BackendGarbage),
    ],
)
def test_exceptions_become_ours(error: Exception, kind: type[BackendError]) -> None:
    """A status or a code decides where there is one."""
    assert kind is exception_kind(error)
