"""JSON with comments: whatever a file looks like, putting one value leaves every other byte."""

import json
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_mcp.clients.jsonc import Item, Unreadable, put, read

KEYS = st.text(st.sampled_from('aé"\\/{}[],:* \n'), max_size=4).filter(lambda key: key != "ours")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | st.text()
GAPS = st.sampled_from(["", " ", "\n", "\r\n\t", "// }],\n", "/* { */", "/**/ // [\r\n", "  \n  "])


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """A value as somebody might have typed it: any blanks and comments, trailing commas."""
    if isinstance(value, dict):
        ends, items = "{}", list[str]()
        for key, item in cast("dict[str, Any]", value).items():
            parts = (json.dumps(key), draw(GAPS), ":", draw(GAPS), draw(written(item)))
            items.append("".join(parts))
    elif isinstance(value, list):
        ends, items = "[]", [draw(written(item)) for item in cast("list[Any]", value)]
    else:
        return json.dumps(value, ensure_ascii=draw(st.booleans()))
    spaced = [draw(GAPS) + item + draw(GAPS) for item in items]
    trailing = "," + draw(GAPS) if items and draw(st.booleans()) else ""
    return ends[0] + draw(GAPS) + ",".join(spaced) + trailing + ends[1]


VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=3)


def outside(before: str, after: str) -> list[str]:
    """What of the text before cannot be found, in order, in the text after."""
    at, missing = 0, list[str]()
    for sign in before:
        found = after.find(sign, at)
        if found < 0:
            missing.append(sign)
        else:
            at = found + 1
    return missing


@pytest.mark.requirement("CLIENT-1")
@settings(max_examples=60, deadline=None)
@given(st.data(), OBJECTS, OBJECTS, VALUES, VALUES)
def test_putting_a_value_keeps_every_other_byte(
    data: st.DataObject, whole: Any, servers: Any, ours: Any, again: Any
) -> None:
    """Blanks, comments, order, trailing commas; and putting it twice changes nothing."""
    if data.draw(st.booleans()):
        whole = {**whole, "servers": servers}
    text = data.draw(GAPS) + data.draw(written(whole)) + data.draw(GAPS)
    assert whole == read(text)
    path = ("servers", "ours")
    after = put(text, path, ours)
    assert {**whole, "servers": {**whole.get("servers", {}), "ours": ours}} == read(after)
    assert [] == outside(text, after)
    assert after == put(after, path, ours)
    changed = put(after, path, again)
    assert [] == outside(text, changed)
    assert again == read(changed)["servers"]["ours"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '{\n  "a": {\n    "b": 1\n  }\n}\n'),
        ('{"x": 1}', '{"x": 1, "a": {"b": 1}}'),
        ('{"a": {"c": 2,}}', '{"a": {"c": 2, "b": 1}}'),
        ('{\n\t"x": 1 // one\n}\n', '{\n\t"x": 1, // one\n\t"a": {\n\t\t"b": 1\n\t}\n}\n'),
        ('{\r\n  "a": {}\r\n}', '{\r\n  "a": {\r\n    "b": 1\r\n  }\r\n}'),
        ('{\n  "a": {\n    // none\n  }\n}', '{\n  "a": {\n    // none\n    "b": 1\n  }\n}'),
        ('\ufeff{"a": {"b": true}}', '\ufeff{"a": {"b": 1}}'),
        ('{"a": {"b": 1.0}}', '{"a": {"b": 1}}'),
    ],
)
def test_what_is_put_looks_like_the_rest(before: str, after: str) -> None:
    """Its indentation and line ends, and one line where the rest stands on one line."""
    assert after == put(before, ("a", "b"), 1)


def test_an_item_of_a_list_is_found_by_its_name() -> None:
    """And is put at the end if it is not there."""
    text = '{"inputs": [1, {"id": "x"}, {"id": "key"}]}'
    path = ("inputs", Item(key="id", value="key"))
    assert text == put(text, path, {"id": "key"})
    assert [1, {"id": "x"}, {"id": "key", "new": 2}] == read(
        put(text, path, {"id": "key", "new": 2})
    )["inputs"]
    assert [{"id": "key"}] == read(put("{}", path, {"id": "key"}))["inputs"]


@pytest.mark.requirement("CLIENT-4")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1: a value is missing"),
        ('{"a": 1\n "b": 2}', "line 2: a comma or } is missing"),
        ("[1 2]", "a comma or ] is missing"),
        ("{'a': 1}", "no JSON"),
        ("{1: 1}", "a key is no string"),
        ('{"a" 1}', "a colon is missing"),
        ('{"a": }', "a value is missing"),
        ('{"a": "\\x"}', "no JSON"),
        ("{} {}", "something follows the end"),
        ("/* open", "no JSON"),
        ("[" * 1000, "too deep"),
        ('{"a": 1}', "a is no object"),
        ("[]", "the whole is no object"),
        ('{"a": {"b": 1, "b": 2}}', "b stands there 2 times"),
    ],
)
def test_what_is_no_json_or_has_no_place_is_refused(text: str, said: str) -> None:
    """With its line."""
    with pytest.raises(Unreadable, match=said):
        put(text, ("a", "b"), 3)
