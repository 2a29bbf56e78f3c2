"""When two calls are the same call."""

import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_mcp.domain.fingerprint import arguments_hash, fingerprint
from factory_mcp.domain.model import Autonomy

KEY = b"a key of thirty-two bytes, say so"
JSON = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
PARTS = st.dictionaries(st.text(max_size=8), JSON | st.lists(JSON, max_size=3), max_size=6)
FEW = settings(max_examples=50)


@FEW
@given(PARTS)
def test_the_order_of_the_keys_does_not_matter(parts: dict[str, Any]) -> None:
    """The same values in another order are the same call."""
    turned = dict(reversed(parts.items()))
    assert fingerprint(KEY, parts) == fingerprint(KEY, turned)
    assert arguments_hash(KEY, parts) == arguments_hash(KEY, turned)


@FEW
@given(PARTS, st.text(max_size=8), JSON)
def test_any_other_value_is_another_call(parts: dict[str, Any], name: str, value: Any) -> None:
    """One more part, or another value of one, changes the digest."""
    changed = {**parts, name: [parts.get(name), value]}
    assert fingerprint(KEY, parts) != fingerprint(KEY, changed)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": "1"}),
        ({"a": 1}, {"a": True}),
        ({"a": None}, {}),
        ({"a": "b", "c": "d"}, {"a": 'b","c":"d'}),
        ({"a": ["b", "c"]}, {"a": ["bc"]}),
        ({"a": "\ud800"}, {"a": "?"}),
        ({"a": "\ud800"}, {"a": "\\ud800"}),
    ],
)
def test_what_looks_alike_is_kept_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Types, absence, quoting and half surrogates."""
    assert fingerprint(KEY, one) != fingerprint(KEY, other)


def test_a_digest_is_keyed_and_says_what_it_is_for() -> None:
    """Another key or another purpose gives another digest: 64 hexadecimal digits."""
    parts = {"task": "x", "autonomy": Autonomy.LOW}
    digests = {
        fingerprint(KEY, parts),
        fingerprint(b"another", parts),
        arguments_hash(KEY, parts),
        arguments_hash(b"another", parts),
    }
    assert [4, 64] == [len(digests), *{len(digest) for digest in digests}]


def test_a_fingerprint_is_the_same_in_every_release() -> None:
    """Rows of an older release are still found: what is digested is written out here."""
    canonical = rb'["fingerprint",{"n":[1,2.5,null],"task":"r\u00e9sum\u00e9"}]'
    expected = hmac.new(KEY, canonical, hashlib.sha256).hexdigest()
    assert expected == fingerprint(KEY, {"task": "résumé", "n": [1, 2.5, None]})
