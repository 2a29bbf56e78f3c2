"""The words of the house as data: what a call is, what a run is, what a context is.

Everything here is immutable and knows nothing of files, clocks or networks. Times are seconds:
`*_at` on the wall clock (Unix epoch), `deadline` on the monotonic clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]


class Effects(StrEnum):
    """May a droid's work be replayed? `none` reads only; a spec that says nothing is `unsafe`."""

    NONE = "none"
    IDEMPOTENT = "idempotent"
    UNSAFE = "unsafe"


class Status(StrEnum):
    """How a call stands or ended."""

    RUNNING = "running"
    DONE = "done"
    NEEDS_INPUT = "needs_input"
    HANDOFF = "handoff"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_open(self) -> bool:
        """Whether the run behind it can still change."""
        return self in (Status.RUNNING, Status.NEEDS_INPUT)


class SideEffects(StrEnum):
    """What a run may have changed: `none` only if every tool it called was read-only."""

    NONE = "none"
    POSSIBLE = "possible"
    CONFIRMED = "confirmed"


class Autonomy(StrEnum):
    """How much a droid may do without asking, as Factory's droid names it; ordered."""

    OFF = "off"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"

    @property
    def rank(self) -> int:
        """Its place in the order, `off` = 0."""
        return list(Autonomy).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks: every row is kept under `tenant`, every run under `subject`."""

    tenant: str
    subject: str
    scopes: frozenset[str] = frozenset()


LOCAL = Principal(tenant="local", subject="local", scopes=frozenset({"*"}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the model behind a run consumed; credits are Factory's, 0 for one's own model."""

    input_tokens: int = 0
    output_tokens: int = 0
    credits: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at one backend, as the result reports it."""

    backend: str
    outcome: str  # done | failed | skipped
    code: str
    ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Handoff:
    """A brief with which the caller's own agent can carry on."""

    reason: str
    steps: tuple[str, ...]
    suggested_mode: str
    context_uris: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """One key that two writers of a chain both changed; each side is {value, droid, run_id, at}."""

    key: str
    base: Any
    ours: Json
    theirs: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """One request for a droid, as every transport hands it on."""

    principal: Principal
    droid: str
    task: str
    context: Json = field(default_factory=dict[str, Any])
    options: Json = field(default_factory=dict[str, Any])
    context_id: str | None = None
    workspace: str | None = None
    autonomy: Autonomy | None = None
    session_id: str | None = None
    wait_s: float | None = None
    idempotency_key: str | None = None
    call_id: str | None = None  # the client's own id of this call: repeats attach to it


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A folder a droid may work in, and what is known of it without running anything.

    `key` names it for context: the git common directory where there is one, else the folder.
    `facts` are short sentences or values by name: branch, changed, manifests, tests, ….
    """

    path: str
    key: str
    facts: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a running attempt reports; the last one is also the evidence if it is cut off."""

    state: str  # starting | thinking | writing | tool | retrying | queued
    tool: str | None = None
    session_id: str | None = None
    side_effects: SideEffects = SideEffects.NONE
    changed_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a backend produced. `status` is done, needs_input or handoff."""

    text: str
    status: Status = Status.DONE
    code: str = "ok"
    session_id: str | None = None
    side_effects: SideEffects = SideEffects.NONE
    changed_paths: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    warnings: tuple[str, ...] = ()
    handoff: Handoff | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that holds a run's lease, so that another can tell whether it still lives."""

    id: str
    boot_id: str
    pid_ns: str
    pid: int
    started: str  # the process's start time as the kernel counts it, in clock ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Why a stored row could not be opened; its sealed values are not there."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The durable record of a call's work.

    `request` holds the call's arguments. `fingerprint` is unique among open runs of a tenant;
    `arguments_hash` tells whether a repeated key came with other arguments. `code` of an open
    run is `queued` or `waiting`; `envelope` is set once it is closed. `workspace_key` is blind: it
    can be compared and not read.
    """

    id: str
    tenant: str
    subject: str
    droid: str
    effects: Effects
    request: Json
    fingerprint: str
    arguments_hash: str
    owner: Owner
    created_at: float
    status: Status = Status.RUNNING
    code: str = "queued"
    workspace: str | None = None
    workspace_key: str | None = None
    fence: int = 1
    lease_until: float = 0
    started_at: float | None = None
    ended_at: float | None = None
    session_id: str | None = None
    context_id: str | None = None
    progress: Json | None = None
    cancel_reason: str | None = None
    envelope: Json | None = None
    output: str | None = None
    unreadable: Unreadable | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextNode:
    """One step of a context chain: what one author learnt. `revision` counts from 1 at the root.

    A `None` value in `data` removes that key from the merged view. `merged_id` is the node of
    another chain whose values this one took over, with all before it.
    """

    id: str
    tenant: str
    chain_id: str  # the id of the chain's first node
    parent_id: str | None
    revision: int
    droid: str | None
    run_id: str | None
    summary: str
    data: Json
    workspace_key: str | None
    created_at: float
    merged_id: str | None = None
    unreadable: Unreadable | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One node found by a search; the score is comparable within one search only."""

    node: ContextNode
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search has found, best first; `partial` names what it had to do without."""

    hits: list[Hit]
    partial: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The one result shape of every face (MCP, REST, command line, history)."""

    text: str
    status: Status
    code: str = "ok"
    run_id: str | None = None
    droid: str | None = None
    backend: str | None = None
    session_id: str | None = None
    context_id: str | None = None
    output_uri: str | None = None
    side_effects: SideEffects | None = None
    changed_paths: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    usage: Usage | None = None
    ms: Json | None = None
    cached: bool = False
    retry_after_s: float | None = None
    next: Json | None = None
    handoff: Handoff | None = None
    needs_input: Json | None = None
    data: Json | None = None
    conflicts: tuple[Conflict, ...] = ()
