"""A result as its client can use it: what is too long is cut, and it says where the whole is."""

import json
from typing import Any

import pytest

from factory_mcp.domain.model import Conflict, Envelope, Json, Status
from factory_mcp.domain.paging import wire_length
from factory_mcp.transports.shape import SHOWN, shaped

LONG = "é" * 5000


def side(value: Any) -> Json:
    return {"value": value, "droid": "code", "run_id": None, "at": 1.0}


def conflicts(number: int, value: Any) -> tuple[Conflict, ...]:
    return tuple(
        Conflict(key=f"key {n}", base=value, ours=side(value), theirs=side(None))
        for n in range(number)
    )


def envelope(number: int, value: Any, text: str = "DONE\n") -> Envelope:
    return Envelope(text=text, status=Status.DONE, conflicts=conflicts(number, value))


@pytest.mark.requirement("CALLS-15")
def test_conflicts_that_fit_are_shown_as_they_are() -> None:
    """Long values too."""
    shown = shaped(envelope(2, "x" * 500), 8000)
    assert ["x" * 500] * 2 == [conflict["base"] for conflict in shown["conflicts"]]


@pytest.mark.requirement("CALLS-15")
@pytest.mark.parametrize("value", [LONG, {"deep": [LONG]}])
def test_a_long_value_of_a_conflict_is_cut_and_a_short_one_is_not(value: Any) -> None:
    """The key and its writers stay."""
    (conflict,) = shaped(envelope(1, value), 8000)["conflicts"]
    cut = f"{json.dumps(value, ensure_ascii=False)[:SHOWN]} …"
    assert ("key 0", cut, None) == (conflict["key"], conflict["base"], conflict["theirs"]["value"])
    assert side(cut) == conflict["ours"]


@pytest.mark.requirement("CALLS-15")
def test_more_conflicts_than_there_is_room_for_leave_the_text_its_half() -> None:
    """The first are shown; settling these shows the next."""
    shown = shaped(envelope(200, "x" * 300, text="a line\n" * 1000), 8000)
    keys = [conflict["key"] for conflict in shown["conflicts"]]
    assert [f"key {n}" for n in range(len(keys))] == keys
    assert 1 <= len(keys) < 200
    assert 7500 < wire_length(shown) <= 8000
    assert shown["text"].endswith("… cut here\n")
