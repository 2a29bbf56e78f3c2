"""The seams: what a service may ask of the world.

Each docstring is the contract that the port's shared test suite checks against every
implementation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from factory_mcp.domain.model import (
    Autonomy,
    Conflict,
    ContextNode,
    Envelope,
    Found,
    Json,
    Outcome,
    Owner,
    Progress,
    Run,
    Workspace,
)
from factory_mcp.domain.spec import DroidSpec


class Clock(Protocol):
    """Time. `now` is the wall clock in Unix seconds, for records; `monotonic` is for durations."""

    def now(self) -> float:
        """The wall clock, Unix seconds."""
        ...

    def monotonic(self) -> float:
        """A clock that never goes backwards, seconds from an arbitrary start."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; cancellable."""
        ...


class Rng(Protocol):
    """Chance: uniform numbers for jitter, bytes for identifiers and markers."""

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high]."""
        ...

    def token(self, size: int) -> bytes:
        """`size` unpredictable bytes."""
        ...


# ------------------------------------------------------------------------------- backends

Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a backend is asked to do. `deadline` is on the monotonic clock.

    `prompt` is the whole user prompt (packed context and task); `request` is the call as made,
    for a handoff's steps. `autonomy` is already capped.
    """

    run_id: str
    droid: DroidSpec
    prompt: str
    request: Json
    workspace: Workspace | None
    autonomy: Autonomy
    deadline: float
    session_id: str | None = None
    context_uris: tuple[str, ...] = ()
    reason: str = ""  # for the last backend: why the ones before it could not
    evidence: Progress | None = None  # for the last backend: what the ones before it did


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of `doctor`: green, or red and how to mend it; what is `spare` is not needed."""

    name: str
    ok: bool
    detail: str
    fix: str | None = None
    spare: bool = False


class Backend(Protocol):
    """Something that can run a droid.

    `run` returns an Outcome or raises a BackendError; every foreign exception is translated at
    its edge. Cancelling it stops the work and leaves no process behind. `report` is called at
    least every 10 s while it works, with all that is known of session and side effects; a
    BackendError carries the same as `evidence`. `check` never raises.
    """

    @property
    def name(self) -> str:
        """As attempts, breakers and specs spell it."""
        ...

    @property
    def sees_workspace(self) -> bool:
        """Whether it works in the caller's folder."""
        ...

    async def run(self, work: Work, report: Report) -> Outcome:
        """Do the work."""
        ...

    async def check(self) -> Sequence[Check]:
        """Whether it could work now, for `doctor`."""
        ...


class Workspaces(Protocol):
    """The folders droids may work in.

    `open` resolves symlinks, refuses what is outside the roots (WorkspaceOutsideRoots) and what
    would start programs of its own (WorkspaceHasHooks, naming the files), and runs nothing.
    `None` is the default root, and None again where there is no root at all.
    """

    async def open(self, path: str | None) -> Workspace | None:
        """The workspace at `path`."""
        ...

    async def key(self) -> str | None:
        """The default root's key of context chains, whatever the folder holds."""
        ...


# --------------------------------------------------------------------------------- stores


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """How a call asks for its run: the keys it answers to, and how far attaching goes.

    `keys` are idempotency keys and client call ids, all of them kept for 24 h. `strict` names
    the one whose arguments must agree. `attach_done_s`: a `done` run with the same fingerprint
    that ended less than so many seconds ago is attached to. `max_queued`: more open queued
    runs than that refuse the call (QueueFull).
    """

    keys: tuple[str, ...] = ()
    strict: str | None = None
    attach_done_s: float = 0
    max_queued: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The run that answers a call; `attached` if an earlier call opened it."""

    run: Run
    attached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What a heartbeat learnt: runs whose fence is lost, and runs that somebody cancelled."""

    lost: frozenset[str] = frozenset()
    cancelled: dict[str, str] | None = None  # run id -> reason


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNode:
    """A context node to append.

    `chain_id` None starts a chain; with `standing` it becomes the standing chain of
    `workspace_key`, unless there is one already, which is then appended to. `base_id` is the
    head its author had read: keys changed since by others come back as conflicts. So do those of a
    standing chain that its author had not found, with neither `chain_id` nor `base_id`.
    `expected_revision` refuses (RevisionConflict) unless the head has it. `branch` appends to
    `base_id` itself and makes a chain of its own.
    """

    id: str
    tenant: str
    summary: str
    data: Json
    created_at: float
    droid: str | None = None
    run_id: str | None = None
    chain_id: str | None = None
    base_id: str | None = None
    workspace_key: str | None = None
    standing: bool = False
    branch: bool = False
    expected_revision: int | None = None
    merged_id: str | None = None  # the node of another chain that is merged
    subject: str = ""  # whose write it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """The node as stored, and the keys that another writer changed at the same time."""

    node: ContextNode
    conflicts: tuple[Conflict, ...] = ()


Seal = Callable[[Appended | None], Envelope]


class RunBook(Protocol):
    """The durable record of runs, written.

    `open` is one transaction: a run that answers one of the claim's keys, or an open run with
    the same fingerprint, or a `done` one as recent as the claim allows, is returned as
    attached; else the run is inserted. A unique index on open fingerprints decides a race.
    `save` writes status, code, started_at, lease_until, session_id and progress where id and
    fence agree, and says whether they did. `close` is one transaction: the node (if any), the
    closing row with the envelope that `seal` makes of the appended node, one history row and
    one audit row; it returns the closed run, or None when the fence was lost (then nothing is
    written). `beat` renews the leases of an owner.
    """

    async def open(self, run: Run, claim: Claim) -> Opened:
        """Open a run or attach to one."""
        ...

    async def save(self, run: Run) -> bool:
        """Write an open run's progress."""
        ...

    async def close(self, run: Run, node: NewNode | None, seal: Seal) -> Run | None:
        """Close a run for good."""
        ...

    async def beat(self, owner: Owner, lease_until: float) -> Beat:
        """Renew the leases of `owner`'s open runs."""
        ...


class RunReader(Protocol):
    """The durable record of runs, read; and the one thing a stranger may write, a cancel.

    What does not open any more is SealBroken or KeyMissing; lists show it as `unreadable`.
    """

    async def get(self, tenant: str, run_id: str) -> Run | None:
        """A run by id."""
        ...

    async def recent(
        self, tenant: str, *, limit: int, droid: str | None = None, status: str | None = None
    ) -> list[Run]:
        """The newest runs first."""
        ...

    async def cancel(self, tenant: str, run_id: str, reason: str) -> None:
        """Ask the owner of an open run to stop it; its next heartbeat tells it."""
        ...

    async def open_runs(self) -> list[Run]:
        """Every open run of every tenant, for finding those whose owner is dead."""
        ...


class Contexts(Protocol):
    """Context chains. Ids of another tenant are as absent ones.

    A node that does not open any more is `unreadable`, empty but in its place.
    """

    async def append(self, node: NewNode) -> Appended:
        """Append a node by compare-and-set on the chain's head; one audit row with it."""
        ...

    async def head(self, tenant: str, id: str) -> ContextNode | None:  # noqa: A002
        """The newest node of the chain that `id` (any of its nodes) names."""
        ...

    async def path(
        self, tenant: str, id: str, *, lenient: bool = False  # noqa: A002
    ) -> list[ContextNode]:
        """The nodes from the root to `id`, parents first; [] when absent.

        Raises:
            ContextDamaged: They lead to no root.
            SealBroken: One of them is `unreadable`; KeyMissing likewise; unless it is `lenient`.
        """
        ...

    async def standing(self, tenant: str, workspace_key: str) -> ContextNode | None:
        """The head of the standing chain of a workspace."""
        ...


class ContextSearch(Protocol):
    """Context nodes found.

    A search goes by meaning and by keywords. Where it cannot go by meaning it goes by keywords
    alone, and its `partial` says `vector_index`. All scores are above zero.
    """

    async def newest(self, tenant: str, *, limit: int) -> list[ContextNode]:
        """The newest nodes first."""
        ...

    async def search(
        self,
        tenant: str,
        query: str,
        *,
        limit: int,
        droid: str | None = None,
        workspace_key: str | None = None,
    ) -> Found:
        """The nodes that answer a query best; `workspace_key` None is the whole tenant."""
        ...


class Embedder(Protocol):
    """Texts as vectors: the larger the dot product of two, the more alike their meanings.

    `id` is another one whenever a text would give another vector. It may block for a second.
    """

    @property
    def id(self) -> str:
        """As it is stored beside each vector."""
        ...

    def embed(self, texts: Sequence[str]) -> Any:
        """An array with a row for each text, of unit length or zero; or EmbedderUnusable."""
        ...


class Marks(Protocol):
    """Whether anything has changed, whichever process changed it."""

    async def mark(self, tenant: str) -> int:
        """A number that rises with every node and every closed run; cheap to ask for."""
        ...


class Store(Protocol):
    """The health of the truth."""

    async def check(self) -> Sequence[Check]:
        """Whether it can be read and written now, for `doctor` and readiness; never raises."""
        ...


class Host(Protocol):
    """Which processes live on this machine."""

    def me(self) -> Owner:
        """This process."""
        ...

    def is_dead(self, owner: Owner) -> bool:
        """Surely gone: same boot and pid namespace, and no process of that pid and start."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a sealed value stands; it cannot be opened anywhere else.

    `table` names the column too where a row has several: `runs.request`.
    """

    tenant: str
    table: str
    id: str
    revision: int = 0


class Sealer(Protocol):
    """Sealing at rest: secret and bound to its place; and blind words for an index.

    The newest key of the ring seals, every key of it opens. All of them raise KeyRingUnusable.
    """

    def seal(self, place: Place, plain: bytes) -> bytes:
        """The value as it is stored; another one each time."""
        ...

    def unseal(self, place: Place, sealed: bytes) -> bytes:
        """What was sealed; SealBroken if it was not sealed so, KeyMissing without its key."""
        ...

    def blind(self, tenant: str, text: str) -> str:
        """A word that stands for the text, the same for ever: 16 ASCII characters."""
        ...

    def prepare(self) -> None:
        """Make the key ring if there is none yet; a store asks before it makes its tables."""
        ...
