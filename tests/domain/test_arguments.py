"""Arguments that do not fit are refused with one sentence that names the field."""

from typing import Any

import pytest

from factory_mcp.domain.arguments import check
from factory_mcp.domain.errors import InvalidArguments, TooLarge
from factory_mcp.domain.spec import DroidSpec
from factory_mcp.domain.tools import SEARCH, droid_tool

SPEC = DroidSpec(name="code", description="Writes code.", prompt="x")
SCHEMA = droid_tool(SPEC).input_schema


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.requirement("CALLS-1")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "`task` is missing."),
        ({"task": ""}, "`task` must have at least 1 characters, not 0."),
        ({"task": 7}, "`task` must be of type string, not integer."),
        ({"task": None}, "`task` must be of type string, not null."),
        ({"task": "x", "tsk": 1}, "`tsk` is not a known field; did you mean `task`?"),
        (
            {"task": "x", "options": {"frehs": True}},
            "`frehs` is not a known field in `options`; did you mean `fresh`?",
        ),
        ({"task": "x", "autonomy": "high"}, "`autonomy` must be one of `off`."),
        ({"task": "x", "context": []}, "`context` must be of type object, not array."),
        ({"task": "a\x00b"}, "`task` holds a NUL character; remove it."),
        (
            {"task": "x", "context": {"k": ["\ud800"]}},
            "`context.k[0]` holds half of a surrogate pair at character 0; send valid Unicode.",
        ),
        (
            {"task": "x", "context": {"k\x00": 1}},
            "`context.k\x00` holds a NUL character; remove it.",
        ),
    ],
)
def test_a_wrong_argument_is_named_with_what_would_be_right(
    arguments: dict[str, Any], message: str
) -> None:
    """One error, naming the field."""
    with pytest.raises(InvalidArguments) as error:
        check(SCHEMA, arguments)
    assert message == error.value.message


def test_a_field_unlike_any_other_is_answered_with_the_known_ones() -> None:
    """No near name: all of them."""
    with pytest.raises(InvalidArguments, match="known are `task`, `context`"):
        check(SCHEMA, {"task": "x", "zzzzzz": 1})


def test_a_number_out_of_range_is_refused() -> None:
    """Bounds of the schema hold."""
    with pytest.raises(InvalidArguments, match="`limit`: 0 is less than the minimum of 1"):
        check(SEARCH.input_schema, {"query": "x", "limit": 0})


def test_deep_nesting_is_refused() -> None:
    """Nothing of ours recurses into what a caller nests."""
    with pytest.raises(InvalidArguments, match="nested deeper than 32 levels"):
        check(SCHEMA, {"task": "x", "context": {"k": deep(40)}})


def test_arguments_that_are_too_large_together_are_refused() -> None:
    """Many strings below their own limits still add up."""
    with pytest.raises(TooLarge, match="the limit is 900000"):
        check(SCHEMA, {"task": "x", "context": {str(i): "y" * 100_000 for i in range(10)}})


def test_arguments_that_fit_pass() -> None:
    """Everything a call may say."""
    check(
        SCHEMA,
        {
            "task": "--build\nit",
            "context": {"goal": "ship", "deep": {"a": [1, 2.5, None, True]}},
            "options": {"fresh": True, "branch": False},
            "context_id": "new",
            "workspace": "/srv/shop",
            "autonomy": "off",
            "session_id": "s",
            "wait_s": 0,
            "idempotency_key": "k",
        },
    )
