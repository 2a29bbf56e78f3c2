"""The sink that is the bus: what was written is said again there, whatever became of the writer.

A writer says so itself, after its commit. One that dies in between says nothing, and other
processes would believe a chain's old head until it is too old.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from factory_mcp.ports import Sealer
from factory_mcp.ports.fast import Bus
from factory_mcp.ports.outbox import Change, Progress
from factory_mcp.services.cache import HEADS_MOVED
from factory_mcp.services.watching import CHANGES

SPEAKER: Final = "sync"
"""No process is called so: every one listens."""


class BusSink:
    """The port Sink over a bus. It has nothing to make anew, and is never refused.

    What a bus cannot send, it makes good as `look again`.
    """

    def __init__(self, bus: Bus, sealer: Sealer) -> None:
        self._bus, self._sealer = bus, sealer

    @property
    def name(self) -> str:
        """As positions and parked rows have it."""
        return "bus"

    async def built_with(self, tenant: str) -> str:  # noqa: ARG002 — the same for all
        """There is nothing that could be made otherwise."""
        return self.name

    async def apply(self, tenant: str, changes: Sequence[Change]) -> Mapping[str, str]:
        """Say whose heads moved, and that there is news."""
        word = self._sealer.blind(tenant, "tenant")
        for chain in dict.fromkeys(change.chain_id for change in changes if change.chain_id):
            self._bus.publish(HEADS_MOVED, f"{SPEAKER} {word} {chain}")
        self._bus.publish(CHANGES, "")
        return {}

    async def rebuild(self, tenant: str, progress: Progress) -> Mapping[str, str]:  # noqa: ARG002
        """Say that there is news."""
        self._bus.publish(CHANGES, "")
        return {}
