"""Every error a user can meet, as one tree.

    FactoryError
    ├── Refused                 nothing was started, nothing was stored
    │   ├── InvalidArguments        invalid_arguments          422
    │   ├── TooLarge                too_large                  413
    │   ├── BodyTimeout             body_timeout               408
    │   ├── HostNotAllowed          host_not_allowed           421
    │   ├── OriginNotAllowed        origin_not_allowed         403
    │   ├── ProxiedRequest          proxied_request            403
    │   ├── UnknownTool             unknown_tool               404
    │   ├── UnknownRun              unknown_run                404
    │   ├── UnknownContext          unknown_context            404
    │   ├── UnknownResource         unknown_resource           404
    │   ├── NothingAsked            nothing_asked              409
    │   ├── KeyReused               idempotency_key_reused     409
    │   ├── RevisionConflict        revision_conflict          409
    │   ├── WorkspaceOutsideRoots   workspace_outside_roots    422
    │   ├── WorkspaceHasHooks       workspace_has_hooks        403
    │   ├── DepthExceeded           depth_exceeded             403
    │   ├── ShuttingDown            shutting_down              503
    │   ├── QueueFull               queue_full                 429
    │   ├── StoreUnavailable        store_unavailable          503
    │   └── StoreFull               store_full                 503
    ├── BackendError            one attempt failed; the chain decides what comes next
    │   ├── BackendMissing          backend_missing            next backend
    │   ├── BackendUnauthorized     backend_unauthorized       next backend
    │   ├── BackendQuota            backend_quota              next backend
    │   ├── BackendRejected         backend_rejected           next backend
    │   ├── BackendContextTooLong   backend_context_too_long   next backend
    │   ├── BackendWrongModel       backend_wrong_model        next backend
    │   ├── WorkspaceUnreachable    workspace_unreachable      next backend
    │   ├── BackendUnavailable      backend_unavailable        counts, may be tried again
    │   ├── BackendOverloaded       backend_overloaded         counts
    │   ├── BackendTimeout          backend_timeout            counts
    │   ├── BackendCrashed          backend_crashed            counts, may be tried again
    │   └── BackendGarbage          backend_garbage            counts
    └── ConfigError             the server does not start
        ├── InvalidSetting          invalid_setting
        ├── SpecInvalid             spec_invalid
        ├── PortBusy                port_busy
        ├── NotLoopback             not_loopback
        └── SchemaMismatch          schema_mismatch

`code` is stable and public; `http` is its status on REST; `counts` says whether the circuit
breaker counts it; `retry` whether the same backend may be asked again; `remedy` is what the
reader can do. `docs/troubleshooting.md` has a row for each code, and a test checks it.
"""

from typing import ClassVar

from factory_mcp.domain.model import Progress


class FactoryError(Exception):
    """The root; never raised itself."""

    code: ClassVar[str] = "internal"
    http: ClassVar[int] = 500
    counts: ClassVar[bool] = False
    retry: ClassVar[bool] = False
    remedy: str = "Report this with the server's log."

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if remedy is not None:
            self.remedy = remedy


class Refused(FactoryError):
    """Nothing was started and nothing was stored."""

    retry_after_s: float | None = None


class InvalidArguments(Refused):
    """An argument is unknown, missing, of the wrong type or out of range."""

    code = "invalid_arguments"
    http = 422
    remedy = "Correct the named argument and call again."


class TooLarge(Refused):
    """The request is larger than the server takes."""

    code = "too_large"
    http = 413
    remedy = "Shorten it, or put the material into a file of the workspace and name the file."


class BodyTimeout(Refused):
    """The request's body did not arrive in time."""

    code = "body_timeout"
    http = 408
    remedy = "Send the whole body at once."


class HostNotAllowed(Refused):
    """The request names a host that this server does not answer for."""

    code = "host_not_allowed"
    http = 421
    remedy = "Reach the server as 127.0.0.1 or localhost, with the port it listens on."


class OriginNotAllowed(Refused):
    """The request comes from a web page of another site."""

    code = "origin_not_allowed"
    http = 403
    remedy = "Call it from a program, or from a page that the server itself serves."


class ProxiedRequest(Refused):
    """The request came through a proxy, so nobody knows whose it is."""

    code = "proxied_request"
    http = 403
    remedy = "Connect to the server directly; API keys do not exist in this version."


class UnknownTool(Refused):
    """No tool or droid of that name."""

    code = "unknown_tool"
    http = 404
    remedy = "List the tools and call one of them."


class UnknownRun(Refused):
    """No run of that id for this principal."""

    code = "unknown_run"
    http = 404
    remedy = "Check the run_id; `factory-mcp history` lists the runs."


class UnknownContext(Refused):
    """No context node of that id for this principal."""

    code = "unknown_context"
    http = 404
    remedy = (
        "Find it with context_search, or leave context_id out to use the workspace's own chain."
    )


class UnknownResource(Refused):
    """No resource at that URI."""

    code = "unknown_resource"
    http = 404
    remedy = "List the resources and read one of them."


class NothingAsked(Refused):
    """An answer was given to a run that asked nothing."""

    code = "nothing_asked"
    http = 409
    remedy = "Leave `answer` out."


class KeyReused(Refused):
    """The idempotency key was used for a call with other arguments."""

    code = "idempotency_key_reused"
    http = 409
    remedy = "Use a new key for a new call, or repeat the old call unchanged."


class RevisionConflict(Refused):
    """The chain has moved on from the revision the writer expected."""

    code = "revision_conflict"
    http = 409
    remedy = "Read the chain again and write with its present revision."


class WorkspaceOutsideRoots(Refused):
    """The workspace is not a folder inside the allowed roots."""

    code = "workspace_outside_roots"
    http = 422
    remedy = "Add the folder to FACTORY_MCP_ROOTS, or name a workspace inside it."


class WorkspaceHasHooks(Refused):
    """The repository would start programs of its own under the droid."""

    code = "workspace_has_hooks"
    http = 403
    remedy = (
        "Read the named files; if you trust them, add the folder to trusted_workspaces in "
        "config.yaml."
    )


class DepthExceeded(Refused):
    """A droid tried to call a droid through us."""

    code = "depth_exceeded"
    http = 403
    remedy = "Do the work in the droid that was called; droids do not call droids."


class ShuttingDown(Refused):
    """The server takes no new work any more."""

    code = "shutting_down"
    http = 503
    remedy = "Call again once the server has restarted."


class QueueFull(Refused):
    """Too many runs wait for a slot already."""

    code = "queue_full"
    http = 429
    remedy = "Wait for a run to end (droid_wait), then call again."
    retry_after_s = 30


class StoreUnavailable(Refused):
    """The store cannot be read or written; nothing is run unrecorded."""

    code = "store_unavailable"
    http = 503
    remedy = "Run `factory-mcp doctor`; it says what is wrong with the store."
    retry_after_s = 5


class Unsettled(StoreUnavailable):
    """The connection was lost while something was stored, and nobody says how that ended."""

    remedy = "Look whether it was stored before you call again."


class StoreFull(Refused):
    """The store's disk is full."""

    code = "store_full"
    http = 503
    remedy = "Free space on the disk that holds the data folder, then call again."


class BackendError(FactoryError):
    """One attempt failed. `evidence` is the attempt's last progress: session and side effects."""

    http = 502
    evidence: Progress | None = None
    retry_after_s: float | None = None

    def __init__(
        self,
        message: str,
        *,
        remedy: str | None = None,
        evidence: Progress | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.evidence = evidence
        self.retry_after_s = retry_after_s


class BackendMissing(BackendError):
    """The program or address behind the backend is not there."""

    code = "backend_missing"
    remedy = "Run `factory-mcp doctor`; it prints the install line."


class BackendUnauthorized(BackendError):
    """The key or login was refused."""

    code = "backend_unauthorized"
    remedy = "Set FACTORY_AI_API_KEY, or log in with `droid`."


class BackendQuota(BackendError):
    """The account's usage is exhausted."""

    code = "backend_quota"
    remedy = "Top up the account, or configure another model for the droid."


class BackendRejected(BackendError):
    """The model's provider refused the request itself."""

    code = "backend_rejected"
    remedy = "Shorten or change the task; the provider's message says what it refused."


class BackendContextTooLong(BackendError):
    """The prompt does not fit into the model's context window."""

    code = "backend_context_too_long"
    remedy = "Shorten the task or its context, or use a model with a larger context window."


class BackendWrongModel(BackendError):
    """The droid would have used another model than the one asked for."""

    code = "backend_wrong_model"
    remedy = "Use a model that `droid` lists, or `inherit`."


class WorkspaceUnreachable(BackendError):
    """The backend cannot see the workspace that the droid has to change."""

    code = "workspace_unreachable"
    remedy = "Install the droid program; only it can work in a folder."


class BackendUnavailable(BackendError):
    """It could not be reached, or answered with a passing fault."""

    code = "backend_unavailable"
    counts = True
    retry = True
    remedy = "Wait and call again; the attempt's message names the cause."


class BackendOverloaded(BackendError):
    """It said that it is overloaded, and kept saying so."""

    code = "backend_overloaded"
    counts = True
    remedy = "Wait and call again later."


class BackendTimeout(BackendError):
    """It said nothing for too long, or the deadline came."""

    code = "backend_timeout"
    counts = True
    remedy = "Split the task, or raise the droid's deadline in its spec."


class BackendCrashed(BackendError):
    """Its process ended in the middle of the work."""

    code = "backend_crashed"
    counts = True
    retry = True
    remedy = "Call again; if it happens again run `factory-mcp doctor`."


class BackendGarbage(BackendError):
    """It answered with something that is no answer."""

    code = "backend_garbage"
    counts = True
    remedy = "Update the backend; `factory-mcp doctor` names the tested versions."


class ConfigError(FactoryError):
    """The server does not start."""


class InvalidSetting(ConfigError):
    """A setting has a value that cannot be used."""

    code = "invalid_setting"
    remedy = "Correct the named setting."


class SpecInvalid(ConfigError):
    """A droid spec has a mistake."""

    code = "spec_invalid"
    remedy = "Run `factory-mcp droids check`; it names the file, the line and the mend."


class PortBusy(ConfigError):
    """Another program listens on the port."""

    code = "port_busy"
    remedy = "Stop the named program, or choose another port with --port."


class NotLoopback(ConfigError):
    """The server would be reachable from outside without keys."""

    code = "not_loopback"
    remedy = "Bind to 127.0.0.1; API keys do not exist in this version."


class SchemaMismatch(ConfigError):
    """The database was written by another version."""

    code = "schema_mismatch"
    remedy = "Use the factory-mcp version that wrote it, or a newer one."
