"""Runs, nodes and seals to fill a store with; each call gives the next one."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any, Final

from factory_mcp.domain.model import Effects, Envelope, Run, Status
from factory_mcp.ports import Appended, Claim, NewNode, Seal
from tests.contracts.implementations import Stores
from tests.fakes import owner

NOW: Final = 1_800_000_000.0
DAY: Final = 24 * 3600.0


class Samples:
    """Numbers what it makes, so that every id and fingerprint is new."""

    def __init__(self) -> None:
        self._numbers: Iterator[int] = count(1)

    def run(self, **changes: Any) -> Run:
        """An open run, `queued`."""
        number = next(self._numbers)
        fields: dict[str, Any] = {
            "id": f"run_{number:04}",
            "tenant": "acme",
            "subject": "ann",
            "droid": "code_droid",
            "effects": Effects.UNSAFE,
            "request": {"task": "mend it"},
            "fingerprint": f"fingerprint {number}",
            "arguments_hash": f"arguments {number}",
            "owner": owner(),
            "created_at": NOW + number,
        }
        return Run(**{**fields, **changes})

    def node(self, **changes: Any) -> NewNode:
        """A node that starts a chain."""
        number = next(self._numbers)
        fields: dict[str, Any] = {
            "id": f"ctx_{number:04}",
            "tenant": "acme",
            "summary": "what was learnt",
            "data": {"key": f"value {number}"},
            "created_at": NOW + number,
            "subject": "ann",
        }
        return NewNode(**{**fields, **changes})


def sealing(status: Status = Status.DONE, code: str = "ok", **more: Any) -> Seal:
    """A seal that notes the node it was given."""

    def seal(appended: Appended | None) -> Envelope:
        context_id = appended.node.id if appended else None
        return Envelope(text="It is done.", status=status, code=code, context_id=context_id, **more)

    return seal


make: Final = Samples()


async def opened(stores: Stores, *keys: str, strict: str | None = None, **changes: object) -> Run:
    """A run as `open` answers it."""
    claim = Claim(keys=keys, strict=strict)
    return (await stores.book.open(make.run(**changes), claim)).run


async def closed(stores: Stores, run: Run, status: Status = Status.DONE, *, at: float) -> Run:
    """The run, closed."""
    answer = await stores.book.close(replace(run, ended_at=at), None, sealing(status))
    assert answer is not None
    return answer
