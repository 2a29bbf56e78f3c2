"""Identifiers, what an answer wants remembered, and the words of a result."""

from dataclasses import replace

import pytest

from factory_mcp.domain.errors import QueueFull
from factory_mcp.domain.ids import new_id
from factory_mcp.domain.learnt import learnt, summary
from factory_mcp.domain.model import (
    Autonomy,
    Conflict,
    Effects,
    Handoff,
    Outcome,
    Progress,
    Run,
    SideEffects,
    Status,
)
from factory_mcp.domain.wording import (
    closed_text,
    conflict_sentence,
    cut_off,
    refusal,
    running,
)
from tests.fakes import owner

RUN = Run(
    id="run_1",
    tenant="t",
    subject="s",
    droid="code",
    effects=Effects.UNSAFE,
    request={},
    fingerprint="f",
    arguments_hash="a",
    owner=owner(),
    created_at=1.0,
)


def test_identifiers_sort_by_the_time_they_were_made() -> None:
    """A ULID: time first, chance behind."""
    early, late = new_id("run", 1000.0, b"\xff" * 10), new_id("run", 1000.001, b"\x00" * 10)
    assert early < late
    assert len("run_") + 26 == len(early)
    assert "run_00000000Z80000000000000000" == new_id("run", 1.0, b"\x00" * 10)


def test_autonomy_is_ordered() -> None:
    """A cap is the lower of two."""
    assert [0, 1, 2, 3] == [level.rank for level in Autonomy]


@pytest.mark.requirement("CALLS-4")
def test_the_last_context_block_is_what_is_remembered() -> None:
    """Facts by name, and a summary without the block."""
    text = 'Done.\n```context\n{"a": 1}\n```\nMore.\n```context\n{"db": "postgres"}\n```\n'
    assert ({"db": "postgres"}, None) == learnt(text)
    assert "Done.\n\nMore." == summary(text)


@pytest.mark.parametrize(
    ("block", "warning"),
    [
        ("{not json", "not valid JSON"),
        ('{"a": NaN}', "not valid JSON"),
        ('{"a": ' + "[" * 100_000, "not valid JSON"),
        ("[1]", "no object"),
    ],
    ids=["broken", "NaN", "deep", "list"],
)
def test_a_context_block_that_is_no_object_is_named(block: str, warning: str) -> None:
    """The summary is remembered all the same."""
    data, said = learnt(f"x\n```context\n{block}\n```\n")
    assert {} == data
    assert warning in (said or "")


def test_an_answer_without_a_block_has_only_a_summary() -> None:
    """And a long one is cut."""
    assert ({}, None) == learnt("plain")
    assert 1202 == len(summary("y" * 5000))


def test_line_one_says_status_droid_and_run() -> None:
    """Then the body, what was changed, and the notes."""
    outcome = Outcome(text="All done.", side_effects=SideEffects.CONFIRMED, changed_paths=("a.py",))
    expected = (
        "DONE code run_1: finished in 2.5 s; files were changed.\n\nAll done.\n\n"
        "Changed: a.py\n\nNote: careful\n"
    )
    assert expected == closed_text(RUN, outcome, 2.5, ("careful",))


def test_a_handoff_says_why_and_an_interruption_how() -> None:
    """The other sentences of line one."""
    handoff = Handoff(reason="program missing.", steps=("x",), suggested_mode="code")
    brief = Outcome(text="Do it.", status=Status.HANDOFF, code="handoff", handoff=handoff)
    line = closed_text(RUN, brief, 1).splitlines()[0]
    assert (
        "HANDOFF code run_1: no backend can run this (program missing); nothing was changed."
        == line
    )
    cut = cut_off(Status.INTERRUPTED, "interrupted", "It died.", Progress(state="queued"))
    line = closed_text(RUN, cut, 1).splitlines()[0]
    assert "INTERRUPTED code run_1: ended after 1.0 s (interrupted); nothing was changed." == line


def test_an_interrupted_session_can_be_continued() -> None:
    """And a cancelled one starts afresh."""
    known = Progress(state="tool", session_id="s1", side_effects=SideEffects.POSSIBLE)
    cut = cut_off(Status.INTERRUPTED, "interrupted", "It died", known)
    assert "It died. The same call again continues its session." == cut.text
    assert ("s1", SideEffects.POSSIBLE) == (cut.session_id, cut.side_effects)
    cancelled = cut_off(Status.CANCELLED, "cancelled", "Stop", known)
    assert "Stop. The same call again starts afresh." == cancelled.text


def test_a_running_answer_names_the_tool_that_waits() -> None:
    """And what the droid does now."""
    reading, thinking = Progress(state="tool", tool="Read"), Progress(state="thinking")
    doing = running(RUN, reading, 12.4)
    assert "RUNNING code run_1: it waits for a free slot, 12 s so far." in doing.text
    started = replace(RUN, code="waiting")
    assert "RUNNING code run_1: it is using Read, 3 s so far." in running(started, reading, 3).text
    assert "RUNNING code run_1: it is thinking, 3 s so far." in running(started, thinking, 3).text
    assert {"tool": "droid_wait", "arguments": {"run_id": "run_1"}, "after_s": 0} == doing.next


def test_a_refusal_carries_its_remedy_and_when_to_come_back() -> None:
    """Nothing was started."""
    refused = refusal(QueueFull("32 runs wait already."), "code_droid")
    assert refused.text.startswith("FAILED code_droid: 32 runs wait already.\nNothing was started.")
    assert ("queue_full", 30) == (refused.code, refused.retry_after_s)


def test_a_conflict_names_the_other_writer() -> None:
    """By droid, by run, or as somebody."""
    conflict = Conflict(key="db", base=None, ours={"value": 1}, theirs={"value": 2, "droid": "d"})
    assert "`db` was also changed by d: theirs is 2, ours 1" in conflict_sentence(conflict)
    by_run = replace(conflict, theirs={"value": 2, "run_id": "run_2"})
    assert "`db` was also changed by run_2: " in conflict_sentence(by_run)
    by_nobody = replace(conflict, theirs={"value": 2})
    assert "`db` was also changed by another writer: " in conflict_sentence(by_nobody)
