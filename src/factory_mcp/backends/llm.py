"""The backend that asks a model over HTTP: OpenAI-compatible, without tools and files."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio.to_thread

from factory_mcp.backends.llm_endpoint import Endpoint
from factory_mcp.domain.errors import BackendRejected
from factory_mcp.domain.model import Outcome
from factory_mcp.ports import Check, Clock, Report, Work

if TYPE_CHECKING:
    from factory_mcp.backends.llm_attempt import Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmBackend:
    """A plain model, for droids that only think: it sees no workspace and keeps no session."""

    clock: Clock
    endpoint: Endpoint
    tick_s: float = 10

    @property
    def name(self) -> str:
        """As attempts, breakers and specs spell it."""
        return "llm"

    @property
    def sees_workspace(self) -> bool:
        """It has no files; the chain asks it only where a droid's effects are `none`."""
        return False

    async def run(self, work: Work, report: Report) -> Outcome:
        """Ask the model.

        Raises:
            BackendError: See `llm_errors` and `llm_stream` for what becomes which.
        """
        if work.session_id is not None:
            raise BackendRejected(
                "the llm backend keeps no sessions to go on with",
                remedy="Leave session_id out; what was learnt is in the context.",
            )
        attempt = await anyio.to_thread.run_sync(_load_attempt)
        return await attempt(self.endpoint, work, report, self.clock).run(self.tick_s)

    async def check(self) -> Sequence[Check]:
        """Whether the server answers, takes the key, and has the model."""
        look = await anyio.to_thread.run_sync(_load_check)
        return [await look(self.endpoint)]


def _load_attempt() -> "type[Attempt]":
    """Import httpx, which takes a quarter of a second, outside the event loop and when used."""
    from factory_mcp.backends.llm_attempt import Attempt  # noqa: PLC0415 — see above

    return Attempt


def _load_check() -> Callable[[Endpoint], Awaitable[Check]]:
    """The same for `doctor`."""
    from factory_mcp.backends.llm_check import check  # noqa: PLC0415 — see above

    return check
