"""The table of clients in the documents against the record it is made from."""

import json
import re
from pathlib import Path

import pytest

from scripts.clients_table import PAGE, RECORD, between_marks, differences, table

LOCKS = Path(__file__).parent / "real" / "clients" / "npm"


@pytest.mark.requirement("REALCLIENT-5")
def test_the_table_of_clients_is_what_the_tests_saw() -> None:
    """`make clients` fails where a client does something else; this is the other half."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    _, shown, _ = between_marks(PAGE.read_text(encoding="utf-8"))
    assert table(record) == shown


@pytest.mark.requirement("REALCLIENT-5")
def test_every_pinned_client_is_in_the_record_with_its_version() -> None:
    """A new version is tried before it is written down."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    seen = {name: client["version"] for name, client in record.items() if name != "droid"}
    packages = {
        path.parent.name: json.loads(path.read_text()) for path in LOCKS.glob("*/package.json")
    }
    pinned = {name: next(iter(p["dependencies"].values())) for name, p in packages.items()}
    assert pinned == seen


@pytest.mark.requirement("HOUSE-4")
def test_the_clients_lock_files_pin_by_hash_and_name_no_address() -> None:
    """As the lock file of the TypeScript clients."""
    for path in LOCKS.glob("*/package-lock.json"):
        text = path.read_text(encoding="utf-8")
        packages = {k: v for k, v in json.loads(text)["packages"].items() if k}
        assert [] == [k for k, v in packages.items() if "integrity" not in v or "resolved" in v]
        assert None is re.search(r'"resolved"|localhost|127\.0\.0\.1', text)


@pytest.mark.requirement("REALCLIENT-5")
def test_seconds_are_no_difference_and_everything_else_is() -> None:
    """A slow machine fails nothing; a client that speaks another version does."""
    old = {"a": {"version": "1", "stdio": {"protocol": "x", "seconds": 3}}}
    new = {"a": {"version": "1", "stdio": {"protocol": "y", "seconds": 4}}, "b": {"version": "2"}}
    assert [
        "a.stdio.protocol: 'x' in docs/clients.json, now 'y'",
        "b: None in docs/clients.json, now {'version': '2'}",
    ] == list(differences(old, new))
